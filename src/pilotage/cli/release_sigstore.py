"""Sign a release in the form of model hubs, and verify such a signature."""

from __future__ import annotations

from pathlib import Path

import click

from pilotage.cli.identity import acting, opened
from pilotage.cli.main import Chosen
from pilotage.cli.output import as_json, json_option
from pilotage.errors import InputError
from pilotage.kernel.digests import digest
from pilotage.releases.model_signing import verify_model
from pilotage.wiring.releases import folder_of, sign_for_hubs

__all__ = ["model_signing_group"]

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group("model-signing")
def model_signing_group() -> None:
    """Signatures by sigstore's model-signing, for model hubs and other tools.

    Each release is signed by its installation already (release verify). These are for readers who know sigstore
    bundles. Needs: pip install 'pilotage[sigstore]'.
    """


@model_signing_group.command("sign")
@click.argument("ref")
@click.option("--key", type=_FILE, required=True, help="The signer's private key, PEM: P-256, P-384 or P-521.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The bundle to write; must not be there.")
@json_option
@click.pass_obj
def sign_command(chosen: Chosen, ref: str, key: Path, out: Path, json_: bool) -> None:
    """Sign every file of a release with a key of yours, on record. Every byte is checked first."""
    installation = opened(chosen)
    folder, bundle = sign_for_hubs(installation, acting(installation), ref, key)
    try:
        with out.open("xb") as file:
            file.write(bundle)
    except OSError as error:
        raise InputError(f"cannot write {out}", got=error, mend="name a new file in a folder that is there") from None
    if json_:
        as_json({"bundle": str(out), "digest": digest(bundle), "folder": str(folder)})
        return
    click.echo(f"{out}: {digest(bundle)}")
    click.echo(f"verify it anywhere: model_signing verify key {folder} --signature {out} --public_key KEY.pub")


@model_signing_group.command("verify")
@click.argument("ref", metavar="REF|FOLDER")
@click.option("--bundle", type=_FILE, required=True, help="The signature.")
@click.option("--key", type=_FILE, required=True, help="The signer's public key, PEM.")
@json_option
@click.pass_obj
def verify_command(chosen: Chosen, ref: str, bundle: Path, key: Path, json_: bool) -> None:
    """Hold a release here, or any folder of one, against a bundle; exit status 1 when a file is not as it was."""
    folder = Path(ref) if Path(ref).is_dir() else folder_of(opened(chosen), ref)
    verify_model(folder, bundle, key)
    if json_:
        as_json({"holds": True, "folder": str(folder)})
    else:
        click.echo(f"holds: every file of {folder.name} is as it was signed")
