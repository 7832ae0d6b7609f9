"""Turn a pilot that was found into a production-first system: read it, decide on each file, write what is missing.

Nothing of the pilot is run, imported or unpickled, no link in it is followed, and its data are read in a box.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import msgspec

from pilotage.assess.criteria import load_criteria
from pilotage.assess.folder import Folder
from pilotage.assess.probes import guess_target
from pilotage.assess.probing.drafting import contract_text, draft_contract
from pilotage.assess.roadmap import make_roadmap
from pilotage.assess.service import assess
from pilotage.contracts.guessing import Guessed
from pilotage.contracts.model import Column
from pilotage.errors import InputError
from pilotage.runtimes.environment import installed_distributions
from pilotage.scaffold.choosing import Chosen, choose
from pilotage.scaffold.entries import Decision, Training, decision, training
from pilotage.scaffold.migration import Migration, as_markdown, findings_of, made_migration
from pilotage.scaffold.model import Files, NewSystem
from pilotage.scaffold.pinning import pins_of
from pilotage.scaffold.starting import known_columns, told_of
from pilotage.scaffold.texts import pinned, rendered, shared_files
from pilotage.systems.model import AISystem
from pilotage.systems.parse import parse_system
from pilotage.systems.placeholders import UNNAMED

__all__ = ["Adopted", "adopt"]

Progress = Callable[[str, float], None]

_READABLE = (".csv", ".csv.gz", ".tsv", ".parquet", ".jsonl", ".ndjson")
_CODE = (".py", ".yaml", ".yml", ".json", ".toml", ".cfg", ".ini", ".sql")
_MOST_INPUTS = 150
_TRAIN = "steps/train_pilot.py"
_LATER = (_TRAIN, "README.md", "MIGRATION.md", "migration.json", "requirements.txt", "requirements-dev.txt")
_CONTRACT = "contract.odcs.yaml"
_YES = (
    "1",
    "1.0",
    "yes",
    "y",
    "true",
    "True",
    "TRUE",
    "Yes",
    "YES",
    "Y",
    "positive",
    "bad",
    "churn",
    "fraud",
    "default",
)


@dataclass(frozen=True, kw_only=True)
class Adopted:
    """The files of the new system, the list of what became of the pilot, and what the team must do first.

    `bring` are paths that the pipeline reads and that were not copied; `open_fields` those of the declaration.
    `asks_a_model`: it asks a language model and has none of its own, while what is made is for a model of rows.
    """

    files: Files
    migration: Migration
    bring: list[str]
    open_fields: list[str]
    declared: bool
    asks_a_model: bool


def adopt(
    pilot: Path, into: Path, system: NewSystem, *, ci: str, progress: Progress = lambda _what, _share: None
) -> Adopted:
    """Everything that is written for a pilot, by path; nothing is written yet. The same files give the same bytes.

    `system` is what people say of it; a pilot that declares itself in pilotage.yaml is taken at that word instead.
    Raises NotFound where there is no such folder, InputError where one folder lies in the other, Unavailable where no
    box can be made in which its data are read.
    """
    _keep_apart(pilot, into)
    progress("assessing", 0.0)
    found = assess(pilot, probes=False)
    folder, criteria = Folder(pilot), load_criteria()
    entry, taken, declared = training(folder), decision(folder), folder.declared
    progress("drawing up the contract", 0.6)
    drafting = _Drafting(folder=folder, entry=entry, taken=taken)
    draft = drafting.of_declared(declared) if declared else drafting.of_found(system)
    progress("deciding on each file", 0.8)
    files = _own_files(draft, ci)
    chosen = choose(folder, findings_of(found), entry, [*files, *_LATER])
    kept = {each.file: each.to for each in chosen.fates if each.fate in ("kept", "converted")}
    pins = pins_of(folder, [module for module in folder.modules if module.path in kept])
    files |= pinned(pins.names, pins.versions)
    content, inputs = _declaration(draft, declared, folder, chosen, foreign=_foreign(pins.versions))
    files["pilotage.yaml"] = content
    hidden = "" if draft.data in chosen.files else draft.data
    files[".gitignore"] = rendered("gitignore", made=[draft.artefact], hidden=hidden)
    ours = draft.training and not (declared and declared.pipeline.steps)
    if entry is not None and ours:
        script = kept.get(entry.module.path, entry.module.path)
        values = {"at": entry.at, "fitted": entry.fitted, "artefact": draft.artefact}
        files[_TRAIN] = rendered("steps/train_pilot.py", script=script, **values)
    brought = {*kept.values(), *files}
    wanted = dict.fromkeys([*inputs, draft.data])
    bring = [path for path in wanted if path in folder.files and path not in brought]
    roadmap = make_roadmap(
        found.dimensions, criteria, subject=found.subject, at=0, verdict=found.verdict, required=found.required
    )
    migration = made_migration(
        pilot.resolve().name,
        found,
        roadmap,
        criteria,
        chosen,
        notes=_notes(draft, entry),
        seeded=entry.module.path if entry and ours else "",
    )
    files |= chosen.files
    files |= _pages(draft, migration, bring, [*files, "MIGRATION.md"])
    progress("done", 1.0)
    return Adopted(
        files=dict(sorted(files.items())),
        migration=migration,
        bring=bring,
        open_fields=draft.system.open_fields,
        declared=declared is not None,
        asks_a_model="classic" not in found.makeup.kinds,
    )


def _keep_apart(pilot: Path, into: Path) -> None:
    one, other = pilot.resolve(), into.resolve()
    if one == other or one.is_relative_to(other) or other.is_relative_to(one):
        mend = "name a folder outside the pilot"
        raise InputError("the pilot and the new folder lie in each other", got=into, expected="two folders", mend=mend)


def _pages(draft: _Draft, migration: Migration, bring: list[str], paths: list[str]) -> Files:
    """What people and programs read of the adoption."""
    readme = rendered(
        "README.adopted.md",
        id=draft.system.id,
        name=draft.system.name,
        told=told_of(dict.fromkeys(paths, b"")),
        bring=_copies(bring),
        check=draft.data if draft.contract else "",
    )
    return {
        "migration.json": msgspec.json.format(msgspec.json.encode(migration), indent=1) + b"\n",
        "MIGRATION.md": as_markdown(migration, _copies(bring), draft.system.open_fields).encode(),
        "README.md": readme,
    }


@dataclass(frozen=True, kw_only=True)
class _Draft:
    """What is known of the new system: `contract` is its path, empty without one, `written` its text if it is new."""

    system: NewSystem
    data: str
    artefact: str
    training: bool
    taken: Decision | None
    contract: str
    written: str
    why_not: str = ""


@dataclass(frozen=True, kw_only=True)
class _Drafting:
    folder: Folder
    entry: Training | None
    taken: Decision | None

    def of_declared(self, declared: AISystem) -> _Draft:
        """A pilot that says itself what it is: nothing of that is guessed over."""
        pilot, owners = declared.pilot, msgspec.structs.asdict(declared.owners)
        system = NewSystem(
            id=declared.id,
            name=declared.name,
            purpose=declared.purpose,
            risk_tier=declared.risk_tier,
            owners=owners,
            target=pilot.target,
            positive=pilot.positive,
            subject=pilot.subject,
            protected=tuple(pilot.protected),
            adverse=declared.answer.adverse,
            favourable=declared.answer.favourable,
        )
        found, why_not = (None, "") if declared.contract else self._contract(pilot.data, system.id)
        return _Draft(
            system=system,
            data=pilot.data,
            artefact=pilot.artefact,
            training=self.entry is not None,
            taken=None,
            contract=declared.contract or (_CONTRACT if found else ""),
            written=contract_text(found, pilot.data) if found else "",
            why_not=why_not,
        )

    def of_found(self, system: NewSystem) -> _Draft:
        """A pilot that nobody declared: columns, threshold and labels as far as its files show them."""
        folder, entry = self.folder, self.entry
        data = entry.data[0] if entry and entry.data else folder.table
        system = replace(system, target=guess_target(folder) or UNNAMED)
        if self.taken:
            system = replace(
                system,
                threshold=self.taken.threshold,
                adverse=self.taken.adverse,
                favourable=self.taken.favourable,
            )
        found, why_not = self._contract(data, system.id, system.target if system.target != UNNAMED else "")
        if found:
            target = found.contract.column(system.target)
            system = replace(known_columns(system, found.contract), positive=_positive(target))
        return _Draft(
            system=system,
            data=data or "data/raw.csv",
            artefact=entry.artefact if entry and entry.artefact else folder.artefact or "model.joblib",
            training=bool(entry and entry.artefact),
            taken=self.taken,
            contract=_CONTRACT if found else "",
            written=contract_text(found, data) if found else "",
            why_not=why_not,
        )

    def _contract(self, data: str, name: str, target: str = "") -> tuple[Guessed | None, str]:
        """The contract that the data suggest; or why there is none."""
        folder = self.folder
        if data not in folder.files:
            return None, "there are no data in the folder"
        if not data.lower().endswith(_READABLE) or any(each in data for each in "*?[{"):
            return None, f"{data} is of no form that a contract is drawn up from"
        told, _ = draft_contract(folder, data, name=name, target=target)
        if told.draft is None:
            return None, f"{told.skipped[0].removeprefix('not probed: ')}; try `pilotage contract infer {data}`"
        return told.draft, ""


def _own_files(draft: _Draft, ci: str) -> Files:
    files = shared_files(
        draft.system, ci=ci, raw=draft.data, contract=draft.contract, made=[draft.artefact], hidden=bool(draft.data)
    )
    return files | ({draft.contract: draft.written.encode()} if draft.written else {})


def _declaration(
    draft: _Draft, declared: AISystem | None, folder: Folder, chosen: Chosen, *, foreign: bool
) -> tuple[bytes, list[str]]:
    """pilotage.yaml, and what its steps read. One that is there is kept word for word, with what it lacks below it."""
    inputs = _inputs(draft, folder, chosen)
    values = {"training": draft.training, "inputs": inputs, "artefact": draft.artefact, "own_python": foreign}
    if declared is None:
        drawn = rendered(
            "adopted.yaml",
            system=draft.system,
            data=draft.data,
            contract=draft.contract,
            decision=draft.taken,
            **values,
        )
        return drawn, inputs
    content = folder.content("pilotage.yaml").rstrip(b"\n") + b"\n"
    steps = [path for step in declared.pipeline.steps for path in step.inputs]
    more = b""
    if draft.written:
        more += f"\n# Added by pilotage adopt.\ncontract: {draft.contract}\n".encode()
    if not declared.pipeline.steps:
        more += b"\n# Added by pilotage adopt.\n" + rendered("adopted_pipeline.yaml", **values)
    try:
        parse_system(content + more, draft=True)
    except InputError:  # such as a declaration in braces, to which nothing can be added below
        return content, steps or inputs
    return content + more, steps or inputs


def _inputs(draft: _Draft, folder: Folder, chosen: Chosen) -> list[str]:
    """What the step `train` reads: its own file, the code and settings that came along, and the data."""
    if not draft.training:
        return []
    came = [each.to for each in chosen.fates if each.fate in ("kept", "converted")]
    code = [path for path in came if path.endswith(_CODE) and PurePosixPath(path).parts[0] != "tests"]
    if len(code) > _MOST_INPUTS:
        code = sorted({PurePosixPath(path).parts[0] for path in code})
    return list(dict.fromkeys([_TRAIN, *code, draft.data]))


def _notes(draft: _Draft, entry: Training | None) -> dict[str, str]:
    """What is left beyond findings, by criterion."""
    notes: dict[str, str] = {}
    if draft.why_not:
        notes["data.schema"] = f"no contract could be drawn up: {draft.why_not}"
    if entry is None:
        notes["model.reproduced"] = "no code was found that fits a model: write it, and name it in `pipeline`"
    elif not entry.artefact:
        notes["model.reproduced"] = f"{entry.module.path} fits a model inside a function and writes it nowhere: let it"
    return notes


def _foreign(versions: dict[str, str]) -> bool:
    """Whether the pilot says other versions than those installed here."""
    here = dict(line.split("==", 1) for line in installed_distributions().splitlines())
    return any(here.get(name) != version for name, version in versions.items())


def _positive(target: Column | None) -> str:
    values = (
        [f"{each:g}" if isinstance(each, float) else str(each) for each in (target.categories or ())] if target else []
    )
    return next((each for each in _YES if each in values), values[-1] if values else "1")


def _copies(paths: list[str]) -> list[str]:
    """Lines that bring files from the pilot, whose folder is in $PILOT."""
    lines = []
    for path in paths:
        quoted = msgspec.json.encode(path).decode().replace("$", "\\$").replace("`", "\\`")
        parent = str(PurePosixPath(path).parent)
        lines += [f"mkdir -p {msgspec.json.encode(parent).decode()}"] if parent != "." else []
        lines.append(f'cp "$PILOT"/{quoted} {quoted}')
    return lines
