"""Prove a release, carry it to another installation, take it back."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import click
import msgspec

from pilotage.access.model import require
from pilotage.cli.identity import acting, opened
from pilotage.cli.main import Chosen
from pilotage.cli.output import as_json, json_option, show_facts, show_table, step_bar
from pilotage.errors import InputError
from pilotage.kernel.digests import short
from pilotage.ledger.notes import parse_vkey
from pilotage.releases.importing import import_release
from pilotage.releases.unpacking import unpack
from pilotage.releases.verifying import Verified
from pilotage.replay.rebuilding import Rebuilt
from pilotage.wiring.installation import Installation
from pilotage.wiring.releases import evidence_lines, export, rebuild, set_yank, sign, verify

__all__ = ["evidence_command", "export_command", "import_command", "sign_command", "verify_command", "yank_command"]

_WORDS = {
    "signed": "holds",
    "missing": "missing",
    "broken": "broken",
    "untrusted": "of a key that is not trusted here",
}


@click.command("verify")
@click.argument("ref", metavar="REF|ARCHIVE")
@click.option("--key", "keys", multiple=True, metavar="VKEY", help="Believe this verifier key alone; may be repeated.")
@click.option("--rebuild", "again", is_flag=True, help="Also rebuild its environment, and ask it its evaluation set.")
@click.option(
    "--data",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="With --rebuild: the file it was built from, if that is no longer where it was.",
)
@json_option
@click.pass_obj
def verify_command(
    chosen: Chosen, ref: str, keys: tuple[str, ...], again: bool, data: Path | None, json_: bool
) -> None:
    """Verify a release here, or an archive: every byte, the signature and whose key it is, the row and its event.

    Exit status 1 when anything is not as it was; each fault is named with what was got and expected. An archive can be
    verified without an installation, by the key of the one that exported it.

    With --rebuild the locked environment is installed anew, offline where its wheels are cached; in it the release
    answers its evaluation set again, which is held to the answers that its build kept. The result is evidence.
    """
    for key in keys:
        parse_vkey(key)
    if data is not None and not again:
        raise InputError("--data is only for --rebuild", got=data, mend="add --rebuild, or leave --data out")
    if Path(ref).is_file():
        if again:
            raise InputError(
                "an archive cannot be rebuilt", got=ref, expected="a release of an installation", mend="import it first"
            )
        _verify_archive(chosen, Path(ref), keys, json_)
        return
    installation = opened(chosen)
    found = verify(installation, ref, keys)
    proved = _rebuilt(installation, ref, data) if again and found.holds else None
    if json_:
        told = {} if proved is None else {"rebuilt": msgspec.to_builtins(proved)}
        as_json({**msgspec.to_builtins(found), **told, "holds": found.holds and (proved is None or proved.holds)})
    else:
        _show(found)
        if proved is not None:
            _show_rebuilt(proved)
    sys.exit(0 if found.holds and (proved is None or proved.holds) else 1)


def _rebuilt(installation: Installation, ref: str, data: Path | None) -> Rebuilt:
    with step_bar("rebuilding") as tell:
        return rebuild(installation, acting(installation), ref, data, tell)


_VERDICTS = {
    "bit_exact": "answers to the last bit as when it was built",
    "within_tolerance": "answers within the declared tolerance",
    "differs": "DIFFERS from when it was built",
    "cannot": "cannot be told",
}


def _show_rebuilt(found: Rebuilt) -> None:
    facts: list[tuple[str, object]] = [("rebuilt", _VERDICTS[found.verdict])]
    if found.reason:
        facts.append(("because", found.reason))
    facts.append(("environment", found.environment))
    if found.rows:
        facts += [
            ("made of", f"Python {found.python}, {found.distributions} distributions"),
            (
                "rows",
                f"{found.rows:,}: {found.bit_exact:,} bit exact, {found.within_tolerance:,} within tolerance,"
                f" {found.differs:,} differ",
            ),
            ("labels changed", found.labels_changed),
            ("largest", "not known" if found.largest is None else f"{found.largest:.3g} apart"),
            ("evaluation set", found.set),
        ]
    show_facts(facts)


def _show(found: Verified) -> None:
    rows = {"none": "none", "clear": "in clear here", "opened": "open, and are those of the release"}
    show_facts(
        [
            ("release", f"{found.name}  {found.release}"),
            (
                "verdict",
                "everything is as it was" if found.holds else f"faults: {len(found.faults)}",
            ),
            ("files", f"{found.files} with {found.bytes:,} bytes" if found.files else "not opened"),
            ("signature", _WORDS[found.signature]),
            ("signed by", found.key or "nobody"),
            ("imported from", found.imported.get("key", "") or "nowhere: built here"),
            ("event", "attests its row" if found.event else "none tells of it"),
            ("reference rows", rows.get(found.rows, "do not open")),
        ]
    )
    if found.faults:
        show_table(
            ("part", "what", "got", "expected"),
            [(each.path, each.what, each.got, each.expected) for each in found.faults],
        )


def _verify_archive(chosen: Chosen, path: Path, keys: tuple[str, ...], json_: bool) -> None:
    trusted = keys or opened(chosen).keyring.vkeys
    with path.open("rb") as stream, tempfile.TemporaryDirectory() as draft:
        found = unpack(stream, Path(draft), trusted)
    facts = {
        "archive": found.archive,
        "release": found.release,
        "system": found.manifest.system,
        "key": found.vkey,
        "files": len(found.manifest.files) + 1,
        "rows": found.rows[0].removeprefix("rows/") if found.rows else "none",
        "evidence": len(found.evidence),
        "holds": True,
    }
    if json_:
        as_json(facts)
    else:
        show_facts([("verdict", "everything is as it was exported"), *list(facts.items())[:-1]])


@click.command("sign")
@click.argument("ref")
@json_option
@click.pass_obj
def sign_command(chosen: Chosen, ref: str, json_: bool) -> None:
    """Sign a release that was built before releases were signed. Every byte of it is checked first."""
    installation = opened(chosen)
    made, new = sign(installation, acting(installation), ref)
    if json_:
        as_json({"new": new, "signature": made.digest, "key": made.vkey})
    else:
        click.echo(f"{'signed' if new else 'was signed already'} by {made.vkey}")


@click.command("evidence")
@click.argument("ref")
@click.option("--export", "to", type=click.Path(path_type=Path), required=True, help="The file to write; - prints it.")
@click.pass_obj
def evidence_command(chosen: Chosen, ref: str, to: Path) -> None:
    """Write the evidence about a release as signed in-toto Statements (test-result), one DSSE envelope a line."""
    installation = opened(chosen)
    require(acting(installation), "release.export")
    lines = evidence_lines(installation, ref)
    content = b"".join(line + b"\n" for line in lines)
    if str(to) == "-":
        click.echo(content, nl=False)
        return
    try:
        with to.open("xb") as file:
            file.write(content)
    except OSError as error:
        raise InputError(f"cannot write {to}", got=error, mend="name a new file in a folder that is there") from None
    click.echo(f"{len(lines)} statements in {to}, signed by {installation.keyring.vkeys[0]}")


@click.command("export")
@click.argument("ref")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--to", metavar="KEY", default="", help="Let this installation read the reference rows: its steward key.")
@json_option
@click.pass_obj
def export_command(chosen: Chosen, ref: str, file: Path, to: str, json_: bool) -> None:
    """Write a release with signature, evidence and public keys into one archive; the same release, the same bytes.

    Reference rows are rows of people. They stay encrypted under this installation's key, and only an installation with
    the same keyring can import them; --to seals them to the steward key that `pilotage keys show` prints there.
    """
    try:
        receiver = bytes.fromhex(to)
    except ValueError:
        raise InputError(
            "not a receiver's key", got=to[:80], expected="64 hexadecimal digits", mend="copy the key `steward`"
        ) from None
    installation = opened(chosen)
    made = export(installation, acting(installation), ref, file, receiver)
    if json_:
        as_json({**msgspec.to_builtins(made), "key": installation.keyring.vkeys[0]})
        return
    rows = {"none": "none in it", "sealed": "encrypted under this installation's key", "box": f"sealed to {to[:16]}..."}
    show_facts(
        [
            ("archive", made.archive),
            ("file", f"{made.file}, {made.bytes:,} bytes"),
            ("evidence", made.evidence),
            ("reference rows", rows[made.rows]),
            ("key", installation.keyring.vkeys[0]),
        ]
    )
    click.echo(f"there: pilotage release import {file.name} --trust KEY (tell them the key by another way)")


@click.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--trust", "trust", multiple=True, metavar="VKEY", help="Believe this verifier key; may be repeated.")
@json_option
@click.pass_obj
def import_command(chosen: Chosen, file: Path, trust: tuple[str, ...], json_: bool) -> None:
    """Import a release from another installation's archive; nothing is visible before all of it was checked.

    Measured evidence comes along, with its origin; approvals and what people attested do not. Killed midway, it leaves
    nothing, and is simply run again.
    """
    installation = opened(chosen, create=True)
    person = acting(installation)
    require(person, "release.import")
    with file.open("rb") as stream, step_bar("importing") as tell:
        made = import_release(
            stream,
            releases=installation.releases,
            control=installation.control,
            keyring=installation.keyring,
            by=person.id,
            trust=trust,
            tell=tell,
        )
    if json_:
        as_json(msgspec.to_builtins(made))
        return
    show_facts(
        [
            ("release", f"{made.name}  {made.release}"),
            ("state", "new here" if made.new else "was here already"),
            ("from", made.key),
            ("archive", made.archive),
            ("evidence", f"{made.evidence} taken; {made.attested} attested by people there, to be made here"),
            ("declaration", "taken from the release" if made.declared else "this installation's own stays"),
        ]
    )
    click.echo(f"next: pilotage gate check --release {short(made.release)} --to internal")


@click.command("yank")
@click.argument("ref")
@click.option("--reason", required=True, help="Why, without personal data: it is shown wherever the release is.")
@click.option("--undo", is_flag=True, help="Take the yank back; for who may approve releases.")
@json_option
@click.pass_obj
def yank_command(chosen: Chosen, ref: str, reason: str, undo: bool, json_: bool) -> None:
    """Take a release back: no gate lets it through any more. What serves it goes on, and says so."""
    installation = opened(chosen)
    made = set_yank(installation, acting(installation), ref, reason, undo=undo)
    if json_:
        as_json({"release": made.subject, "yanked": not made.passed, "reason": made.figures["reason"]})
    else:
        click.echo("the yank is undone" if undo else "yanked: it cannot be promoted; what serves it goes on")
