"""Releases: build one, list them, show one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import msgspec

from pilotage.access.model import require
from pilotage.cli.identity import acting, opened
from pilotage.cli.main import Chosen
from pilotage.cli.output import as_json, json_option, show_facts, show_table, step_bar
from pilotage.cli.release_diff import diff_command
from pilotage.cli.release_proof import (
    evidence_command,
    export_command,
    import_command,
    sign_command,
    verify_command,
    yank_command,
)
from pilotage.cli.release_sigstore import model_signing_group
from pilotage.errors import NotFound
from pilotage.evidence.store import for_subject
from pilotage.kernel.clock import day, now_us, rfc3339
from pilotage.kernel.digests import short
from pilotage.papers.model import KINDS
from pilotage.releases.build import build_release
from pilotage.releases.folder import seal_folder
from pilotage.releases.load import LoadedRelease, open_release
from pilotage.releases.model import Release
from pilotage.releases.scan.model import Scan
from pilotage.releases.sealed_rows import rows_key
from pilotage.releases.store import find_release, list_releases
from pilotage.replay.environments import keep_environment
from pilotage.storage.database import reading
from pilotage.systems.store import find_system
from pilotage.wiring.releases import taken_back
from pilotage.wiring.remotes import look_at_remote

__all__ = ["release"]

_NOT_PASSED = 3
"""Exit code of a scan that does not pass."""


@click.group()
def release() -> None:
    """Immutable releases, named by the digest of everything in them."""


for _command in (
    verify_command,
    sign_command,
    evidence_command,
    export_command,
    import_command,
    yank_command,
    diff_command,
    model_signing_group,
):
    release.add_command(_command)


@release.command("build")
@click.argument("path", type=click.Path(exists=True, path_type=Path), default=".")
@json_option
@click.pass_obj
def build(chosen: Chosen, path: Path, json_: bool) -> None:
    """Build a release of the system that PATH/pilotage.yaml declares. The pilot's model is opened only in a box."""
    installation = opened(chosen, create=True)
    person = acting(installation)
    require(person, "release.build")
    declaration = path / "pilotage.yaml" if path.is_dir() else path
    if not declaration.is_file():
        raise NotFound("there is no declaration", got=declaration, mend="write a pilotage.yaml beside your pilot")
    with step_bar("building") as progress:
        made = build_release(
            declaration,
            home=installation.home,
            control=installation.control,
            keyring=installation.keyring,
            author=person.id,
            progress=progress,
        )
    keep_environment(installation.home, installation.control)
    loaded = open_release(installation.releases, made.digest)
    if json_:
        as_json(_document(made, loaded))
        return
    _show(made, loaded)
    click.echo(f"next: pilotage gate check --release {short(made.digest)} --to internal")


def _document(made: Release, loaded: LoadedRelease) -> dict[str, Any]:
    return {
        "digest": made.digest,
        "system": made.system,
        "version": made.version,
        "runtime": made.runtime,
        "contract": made.contract,
        "policy": made.policy,
        "folder": str(loaded.folder),
        "evaluation": json.loads(loaded.file("evaluation.json")),
    }


def _show(made: Release, loaded: LoadedRelease) -> None:
    show_facts(
        [
            ("release", f"{made.name}  {made.digest}"),
            ("built", rfc3339(made.created)),
            ("served by", made.runtime),
            ("contract", f"{len(loaded.contract.features)} features, subject {loaded.contract.subject or 'none'}"),
            ("reasons", _reasons(loaded)),
            ("folder", loaded.folder),
        ]
    )
    show_table(
        ("file", "bytes", "digest"),
        [(name, entry.bytes, short(entry.digest)) for name, entry in sorted(loaded.manifest.files.items())],
    )


def _reasons(loaded: LoadedRelease) -> str:
    """How reasons are made and how stable they are, in a line."""
    explainer = loaded.explainer()
    facts = json.loads(loaded.file("evaluation.json")).get("explanation", {})
    judged = facts.get("stability")
    told = f"{explainer.method}, against {explainer.background_rows} rows"
    if judged is None:
        return f"{told}; stability not measured"
    told += f"; same for {judged['same_reasons']:.1%} of {judged['rows']} adverse rows against another background"
    hidden = sorted(judged.get("withheld", {}))
    return told + (f"; may not be told though strong: {', '.join(hidden)}" if hidden else "")


@release.command("list")
@click.option("--system", default="", help="Only this system's.")
@json_option
@click.pass_obj
def list_(chosen: Chosen, system: str, json_: bool) -> None:
    """List releases, newest first."""
    installation = opened(chosen)
    with reading(installation.control) as connection:
        listed = list_releases(connection, system)
    found = [(each, taken_back(installation, each)) for each in listed]
    if json_:
        names = ("digest", "system", "version", "created")
        as_json([{**{name: getattr(each, name) for name in names}, "yanked": why} for each, why in found])
        return
    show_table(
        ("release", "digest", "built", "served by", "state"),
        [
            (each.name, short(each.digest), rfc3339(each.created), each.runtime, "" if why is None else "yanked")
            for each, why in found
        ],
    )


@release.command("seal")
@json_option
@click.pass_obj
def seal(chosen: Chosen, json_: bool) -> None:
    """Encrypt the reference rows of releases that were built before releases did so. Their digests stay as they are."""
    installation = opened(chosen)
    require(acting(installation), "keyring.rotate")
    with reading(installation.control) as connection:
        found = list_releases(connection)
    key, sealed = rows_key(installation.keyring), []
    for each in found:
        folder = installation.releases / each.folder
        if folder.is_dir() and seal_folder(folder, key):
            sealed.append(each.name)
    if json_:
        as_json({"sealed": sealed})
    else:
        click.echo(f"sealed: {', '.join(sealed) or 'none, all were'}")


@release.command("remote")
@click.argument("ref")
@json_option
@click.pass_obj
def remote(chosen: Chosen, ref: str, json_: bool) -> None:
    """Ask the remote model of release REF whether it still is the one that was released.

    A steward does so every five minutes for what is live. A change is put on record and makes the evidence stale.
    """
    installation = opened(chosen)
    require(acting(installation), "release.build")
    with reading(installation.control) as connection:
        found = find_release(connection, ref)
    loaded = open_release(installation.releases, found.digest)
    if loaded.serving.runtime != "remote":
        raise NotFound("no remote model answers for this release", got=ref, mend="name one that has `pilot.remote`")
    state = look_at_remote(installation.control, loaded)
    if json_:
        as_json(msgspec.to_builtins(state))
        return
    show_facts(
        [
            ("release", found.name),
            ("state", state.state.replace("_", " ")),
            ("pinned", state.pinned or "nothing"),
            ("says now", state.found or "nothing"),
            ("made stale", ", ".join(state.stale) or "nothing"),
        ]
    )


@release.command("show")
@click.argument("ref")
@click.option("--card", is_flag=True, help="Print the model card.")
@json_option
@click.pass_obj
def show(chosen: Chosen, ref: str, card: bool, json_: bool) -> None:
    """Show a release (digest, short digest or system@version); every byte of it is checked first."""
    installation = opened(chosen)
    with reading(installation.control) as connection:
        made = find_release(connection, ref)
        evidence = for_subject(connection, made.digest)
    why = taken_back(installation, made)
    loaded = open_release(installation.releases, made.digest)
    if card:
        click.echo(loaded.file("card.md").decode())
    elif json_:
        as_json({**_document(made, loaded), "yanked": why})
    else:
        if why is not None:
            click.echo(f"{click.style('yanked', fg='red', bold=True)}: {why}; it cannot be promoted")
        _show(made, loaded)
        show_table(
            ("evidence", "class", "passed", "collected"),
            [(each.check, each.grade, "yes" if each.passed else "no", rfc3339(each.collected)) for each in evidence],
        )


@release.command("papers")
@click.argument("ref")
@click.option("--kind", type=click.Choice([*KINDS, "all"]), default="all", show_default=True, help="Which paper.")
@click.option("--against", default="", help="The release that the notes compare with; else the one that serves now.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="The folder to write to.")
@json_option
@click.pass_obj
def papers(chosen: Chosen, ref: str, kind: str, against: str, out: Path | None, json_: bool) -> None:
    """Make the papers about release REF from evidence: cards, data sheet, bill of materials, release notes.

    Each as Markdown, as a page that loads nothing, and as JSON (the bill of materials as CycloneDX). With one kind and
    no --out its Markdown is printed.
    """
    from pilotage.papers.service import chosen_kinds, make_paper
    from pilotage.web.paper_files import contents

    installation = opened(chosen)
    require(acting(installation), "evidence.read")
    kinds = chosen_kinds(kind)
    made = [
        make_paper(installation.control, installation.objects, installation.releases, ref, each, against=against)
        for each in kinds
    ]
    written = []
    if out is None and not json_ and len(made) > 1:
        out = Path(f"papers-{made[0].paper.release.removeprefix('sha256:')[:12]}")
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        for each in made:
            for ending, content in contents(each).items():
                name = each.json_name if ending == "json" else f"{each.paper.kind}.{ending}"
                (out / name).write_bytes(content)
                written.append(out / name)
    if json_:
        as_json({each.paper.kind: each.document for each in made})
    elif out is None:
        click.echo(made[0].markdown, nl=False)
    else:
        show_table(("paper", "bytes"), [(path, path.stat().st_size) for path in written])


@release.command("scan")
@click.argument("ref")
@click.option(
    "--advisories",
    type=click.Path(exists=True, path_type=Path),
    help="OSV JSON (a file, a folder, or the zip of an export), or the JSON of pip-audit.",
)
@json_option
@click.pass_obj
def scan(chosen: Chosen, ref: str, advisories: Path | None, json_: bool) -> None:
    """Scan every package that release REF answers with: its licence, and advisories about its version.

    Nothing is fetched: without --advisories it is unknown, not clean, whether any is vulnerable. The result is evidence
    that grows old. Exit code 3 when it does not pass.
    """
    from pilotage.releases.scan.advisories import Advisories, read_advisories
    from pilotage.releases.scan.scanning import keep_scan, scan_release

    installation = opened(chosen)
    require(acting(installation), "release.build")
    with reading(installation.control) as connection:
        found = find_release(connection, ref)
        rules = find_system(connection, found.system).packages
    loaded = open_release(installation.releases, found.digest)
    with step_bar("scanning") as tell:
        known = Advisories()
        if advisories is not None:
            known = read_advisories(advisories, lambda done, files: tell("reading advisories", 0.9 * done / files))
        tell("judging packages", 0.9)
        made = scan_release(loaded, rules, known, at=now_us())
    evidence = keep_scan(installation.control, installation.objects, made, rules)
    if json_:
        as_json({"evidence": evidence.id, "passed": made.passed, "counts": made.counts, **msgspec.to_builtins(made)})
    else:
        _show_scan(made, found.name, evidence.id)
    if not made.passed:
        raise SystemExit(_NOT_PASSED)


def _show_scan(made: Scan, name: str, evidence: str) -> None:
    counts, database = made.counts, made.database
    age = "of no known day" if not database.as_of else f"of {day(database.as_of)}"
    show_facts(
        [
            ("release", f"{name}  {made.release}"),
            (
                "advisories",
                f"{database.source}, {age}, {database.records:,} records" if database.source else "none given",
            ),
            (
                "packages",
                ", ".join(f"{counts[f'packages_{each}']} {each}" for each in ("clean", "vulnerable", "unknown")),
            ),
            (
                "licences",
                ", ".join(
                    f"{counts[f'licences_{each}']} {each}" for each in ("allowed", "review", "denied", "unknown")
                ),
            ),
        ]
    )
    for why in made.missing:
        click.echo(f"does not pass: {why}")
    for what in made.review:
        click.echo(f"to look at: {what}")
    click.echo(f"{'passed' if made.passed else 'NOT PASSED'}; evidence {evidence}")
    if not made.passed:
        click.echo("next: give a database with --advisories; put what was looked at under packages.accepted")
