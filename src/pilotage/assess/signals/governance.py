"""What people declared and what the folder shows of it: owners, purpose, schema, origin, card."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from pilotage.assess.folder import Folder
from pilotage.assess.model import Finding
from pilotage.assess.signals.llm.reading import read
from pilotage.assess.signals.python import finding, name_in, scripts
from pilotage.assess.signals.seen import Seen
from pilotage.systems.model import AISystem
from pilotage.systems.placeholders import UNSTATED, is_placeholder

__all__ = [
    "by_declaration",
    "data_present",
    "declared",
    "features",
    "lineage",
    "model_card",
    "protected_inputs",
    "schema",
]

_SCHEMAS = re.compile(
    r"(\.odcs\.ya?ml|great_expectations\.ya?ml|expectations/.+\.json|schema\.(json|ya?ml)|datacontract\.ya?ml)$"
)
_CARD = re.compile(r"(?i)(^|/)model[-_ ]?card[^/]*\.(md|html|ya?ml|json)$")
_PROTECTED = re.compile(
    r"(?i)(sex|gender|race|ethnicity|religion|nationality|marriage|marital(_?status)?|age|disability)"
)


def features(folder: Folder) -> list[str]:
    """The columns of the data that may be inputs: all but target, subject and ignored ones, as far as declared."""
    if folder.declared is None:
        return folder.columns
    pilot = folder.declared.pilot
    return [name for name in folder.columns if name not in {pilot.target, pilot.subject, *pilot.ignore}]


def declared(folder: Folder) -> Iterator[Seen]:
    """What pilotage.yaml states: a statement that nobody confirmed yet."""
    system = folder.declared
    if system is None:
        owners = [path for path in folder.named("codeowners") if folder.files[path]]
        if owners:
            yield Seen(criterion="team.owners", level=0.5, summary=f"{owners[0]} names owners of the code")
        return
    yield from by_declaration(system)
    if system.reasons:
        yield _reasons(folder)


def by_declaration(system: AISystem) -> Iterator[Seen]:
    """What a declaration states by itself: owners, purpose, and the decision. A placeholder states nothing."""
    owners = [system.owners.business, system.owners.model, system.owners.operations, system.owners.risk]
    named = [name for name in owners if not is_placeholder(name)]
    if named:
        said = f"pilotage.yaml names {len({*named})} different owners; none has confirmed"
        yield Seen(criterion="team.owners", level=len(named) / len(owners), summary=said, grade="E0")
    if not is_placeholder(system.purpose):
        said = f"pilotage.yaml states the purpose and risk tier {system.risk_tier}; not confirmed"
        yield Seen(criterion="governance.purpose", level=1, summary=said, grade="E0")
    answer = system.answer
    said = f"from {answer.threshold:g} up the answer is {answer.adverse!r}, below it {answer.favourable!r}"
    yield Seen(criterion="business.decision", level=1, summary=f"pilotage.yaml states: {said}", grade="E0")


def _reasons(folder: Folder) -> Seen:
    assert folder.declared is not None  # noqa: S101 - the caller looked
    pilot, listed = folder.declared.pilot, {f for reason in folder.declared.reasons for f in reason.features}
    wanted = [name for name in features(folder) if name not in pilot.protected]
    missing = [name for name in wanted if name not in listed]
    unknown = sorted(listed - set(folder.columns)) if folder.columns else []
    findings = [
        Finding(file="pilotage.yaml", line=0, message=message, mend="complete the code map")
        for message in [*(f"{name} has no reason" for name in missing), *(f"{name} is no column" for name in unknown)]
    ]
    level = 1.0 if not findings else 0.5 if len(missing) < len(wanted) else 0.0
    said = f"the code map covers {len(wanted) - len(missing)} of {len(wanted)} permitted inputs"
    return Seen(criterion="governance.reasons", level=level, summary=said, findings=findings)


def data_present(folder: Folder) -> Iterator[Seen]:
    """The data file is there and its head can be read."""
    if folder.table and (folder.columns or folder.table.endswith(".parquet")):
        said = f"{folder.table}: {len(folder.columns)} columns" if folder.columns else folder.table
        yield Seen(criterion="data.present", level=1, summary=said)
    elif folder.table:
        yield Seen(criterion="data.present", level=0, summary=f"{folder.table} cannot be read")
    elif folder.artefact or folder.modules:
        yield Seen(criterion="data.present", level=0, summary="no data file in the folder")


def schema(folder: Folder) -> Iterator[Seen]:
    """A written schema of the inputs: a contract, an expectation suite, or a typed model of the request."""
    files = [path for path in folder.files if _SCHEMAS.search(path.lower()) and folder.files[path] > 20]
    typed = [
        finding(module, node, f"{node.name} describes the inputs")
        for module in scripts(folder)
        for node in module.nodes
        if isinstance(node, ast.ClassDef)
        and any(name_in(base, "basemodel", "dataframemodel", "schema") for base in node.bases)
    ]
    if files:
        yield Seen(criterion="data.schema", level=1, summary=f"{files[0]} describes the inputs")
    elif typed:
        yield Seen(criterion="data.schema", level=0.5, summary=typed[0].message, findings=typed)
    elif folder.modules or folder.table:
        yield Seen(criterion="data.schema", level=0, summary="no schema of the inputs")


def lineage(folder: Folder) -> Iterator[Seen]:
    """A record of where the data comes from, and under which right."""
    tracked = [path for path in folder.files if path.endswith((".dvc", "dvc.lock")) and folder.files[path]]
    told = [
        path
        for path in folder.files
        if re.search(r"(?i)(attribution|datasheet|data[-_ ]?card|provenance)[^/]*\.(md|txt|ya?ml)$", path)
        or (re.search(r"(?i)(^|/)data/readme[^/]*$", path))
    ]
    words = {path: " ".join(text.lines) for path in told if (text := folder.text(path))}
    spoken = [path for path, text in words.items() if len(text) > 80 and UNSTATED not in text]
    if tracked or spoken:
        level = 1.0 if tracked else 0.5
        yield Seen(
            criterion="data.lineage", level=level, summary=f"{(tracked or spoken)[0]} says where the data is from"
        )
    elif folder.table:
        yield Seen(criterion="data.lineage", level=0, summary="nothing says where the data is from")
    rights = [path for path in spoken if re.search(r"(?i)licen[cs]e|legal basis|consent|CC BY", words[path])]
    if rights:
        yield Seen(criterion="data.rights", level=1, summary=f"{rights[0]} states the licence of the data")


def protected_inputs(folder: Folder) -> Iterator[Seen]:
    """Columns that look like, or are declared as, protected attributes are among the inputs."""
    if not folder.columns:
        return
    said = set(folder.declared.pilot.protected) if folder.declared else set()
    used = [name for name in features(folder) if name in said or _PROTECTED.fullmatch(name)]
    findings = [
        Finding(
            file=folder.table,
            line=1,
            message=f"{name} is a protected attribute and may be an input",
            mend="leave it out",
        )
        for name in used
    ]
    bad = f"protected attributes among the inputs: {', '.join(used)}"
    yield Seen.of("governance.protected_inputs", findings, bad, "no protected attribute among the columns")


def model_card(folder: Folder) -> Iterator[Seen]:
    """A model card that says what it is for, what it is not for, and how it was tested."""
    cards = [path for path in folder.files if _CARD.search(path)]
    full = [path for path in cards if (text := folder.text(path)) and _is_card(" ".join(text.lines))]
    if folder.artefact or folder.once(read).flows:
        said = f"{full[0]} is there" if full else "the model card is hollow" if cards else "no model card"
        yield Seen(criterion="governance.model_card", level=1 if full else 0, summary=said)


def _is_card(text: str) -> bool:
    topics = (r"intended use|purpose", r"limit|not (intended|for)|out.of.scope", r"evaluat|metric|test")
    return len(text) > 200 and all(re.search(topic, text, re.IGNORECASE) for topic in topics)
