"""The migration list of an adopted pilot: each file and finding, what was done about it, what is left, in order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from pilotage.assess.model import Assessment, Criterion, Finding
from pilotage.assess.roadmap import PHASES, Roadmap
from pilotage.kernel.markdown import in_markdown
from pilotage.scaffold.choosing import Chosen, Fate

__all__ = ["DID", "Found", "Migration", "Work", "as_markdown", "findings_of", "made_migration"]

_GATEWAY = "the gateway serves instead"
DID: dict[str, tuple[str, str]] = {
    "data.schema": ("a contract was drawn up from the data", "read each line of contract.odcs.yaml that says CONFIRM"),
    "data.validated": (f"{_GATEWAY}, and holds each row to the contract", ""),
    "infrastructure.pins": ("requirements.txt pins it", "install it, and run the pilot's own tests with it"),
    "infrastructure.python": (".python-version says it", ""),
    "infrastructure.tests": ("tests of the contract were written", "test what prepares the inputs"),
    "infrastructure.ci": ("a workflow runs tests, contract, pipeline and gate at each change", "commit it"),
    "infrastructure.container": ("a Dockerfile was written", ""),
    "infrastructure.server": (_GATEWAY, ""),
    "infrastructure.access": (f"{_GATEWAY}, and asks for a key", ""),
    "infrastructure.limits": (f"{_GATEWAY}, and limits bodies, rows and rates", ""),
    "infrastructure.observable": (f"{_GATEWAY}, with health addresses, metrics and the record", ""),
    "infrastructure.repository": ("artefacts and large files were left behind", ""),
    "infrastructure.environment": ("requirements.txt has the version that made the artefact, if it was not pinned", ""),
    "business.threshold": ("it is answer.threshold in pilotage.yaml", "let the business owner confirm it"),
    "governance.secrets": ("no secret came along", "revoke it: it was readable; then pass it by `secrets:` of a step"),
    "governance.artefact_safe": ("the artefact stays behind: the pipeline makes it", ""),
    "governance.personal_data": (
        "data with personal columns stay behind; the contract marks them",
        "confirm the marks; bring the data if you may",
    ),
    "governance.protected_inputs": (
        "the contract marks it protected, and no build takes it without a reason",
        "fit the model without it, or say in pilot.protected_inputs why the law and the risk owner allow it",
    ),
    "model.seeded": ("the pipeline seeds Python's and NumPy's generators before training", "pass random_state as well"),
    "team.handover": ("a README with commands was written", ""),
}
"""By criterion: what adopting does about a finding, and what is then left; where nothing is left, the rest is empty."""

_SERVER = ("infrastructure.server", "infrastructure.access", "infrastructure.limits", "infrastructure.observable")


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """A finding at its place in the pilot: what was done about it, and what the team must do; either may be empty."""

    file: str
    line: int
    message: str
    done: str
    left: str


class Work(msgspec.Struct, frozen=True, kw_only=True):
    """A criterion in the order of the roadmap, with its findings; `left` is what it still asks for."""

    criterion: str
    phase: str
    deliverable: str
    role: str
    state: str
    found: list[Found]
    left: str = ""


class Migration(msgspec.Struct, frozen=True, kw_only=True):
    """All of it. `pilot` is the folder's name, `subject` the digest of its files, `later` what later stages ask for."""

    pilot: str
    subject: str
    version: str
    files: list[Fate]
    work: list[Work]
    later: list[str]
    not_read: list[str]


def findings_of(found: Assessment) -> dict[str, list[Finding]]:
    """The findings of an assessment by criterion, each once."""
    by: dict[str, list[Finding]] = {}
    for dimension in found.dimensions:
        for rating in dimension.ratings:
            for each in (finding for evidence in rating.evidence for finding in evidence.findings):
                if each not in by.setdefault(rating.criterion.id, []):
                    by[rating.criterion.id].append(each)
    return by


def made_migration(
    name: str,
    found: Assessment,
    roadmap: Roadmap,
    criteria: Mapping[str, Criterion],
    chosen: Chosen,
    notes: Mapping[str, str],
    seeded: str,
) -> Migration:
    """The list for an assessed pilot.

    `notes` say by criterion what is left where adopting could not do its part; `seeded` is the file that the pipeline
    runs with its generators seeded, empty where it runs none.
    """
    by, fates = findings_of(found), {each.file: each for each in chosen.fates}
    planned = {item.id: item for item in roadmap.items}
    held = [name for name in dict.fromkeys([*by, *notes]) if name not in planned]
    work = []
    for id_ in [*(item.id for item in roadmap.items if item.stage == "pilot"), *held]:
        item, criterion = planned.get(id_), criteria[id_]
        undone = {*notes, *(["model.seeded"] if not seeded else [])}
        did = {name: told for name, told in DID.items() if name not in undone}
        places = [
            _found(id_, criterion, each, fates.get(each.file), {} if _elsewhere(id_, each, seeded) else did)
            for each in by.get(id_, [])
        ]
        left = notes.get(id_, "") or ("" if places else _left(id_, criterion, did))
        work.append(
            Work(
                criterion=id_,
                phase=PHASES[item.phase] if item else "",
                deliverable=item.deliverable if item else criterion.text,
                role=item.role if item else "",
                state=item.state if item else "holds",
                found=places,
                left=left,
            )
        )
    return Migration(
        pilot=name,
        subject=found.subject,
        version=found.version,
        files=chosen.fates,
        work=work,
        later=[item.id for item in roadmap.items if item.stage != "pilot"],
        not_read=[each for each in found.skipped if not each.startswith("not probed")],
    )


def _elsewhere(id_: str, finding: Finding, seeded: str) -> bool:
    """Whether a finding is of code that the pipeline does not run."""
    return id_ == "model.seeded" and finding.file != seeded


def _left(id_: str, criterion: Criterion, did: Mapping[str, tuple[str, str]]) -> str:
    if id_ in did:
        done, left = did[id_]
        return f"{done}; {left}" if left else f"{done}; a new assessment will say whether it holds"
    return criterion.mend


def _found(
    id_: str, criterion: Criterion, finding: Finding, fate: Fate | None, did: Mapping[str, tuple[str, str]]
) -> Found:
    mend = finding.mend or criterion.mend
    done, left = did.get(id_, ("", mend))
    if id_ in (*_SERVER, "data.validated") and (fate is None or fate.fate != "moved"):
        done, left = "", mend
    said = [done] if done else []
    if fate is not None and fate.fate == "left out":
        said.append("the file was left behind")
        left = left if id_ in did else ""
    elif fate is not None and fate.fate == "moved":
        said.append(f"the file was moved to {fate.to}")
        left = left if id_ in did else "keep it out of the new system"
    elif fate is not None and fate.fate == "converted":
        said.append(f"marked LOOK in {fate.to}" if fate.file.endswith(".ipynb") else fate.why)
    return Found(file=finding.file, line=finding.line, message=finding.message, done="; ".join(said), left=left)


def as_markdown(made: Migration, bring: Sequence[str], open_fields: Sequence[str]) -> str:
    """The list as a page, the next things first."""
    counts = {
        fate: sum(each.fate == fate for each in made.files) for fate in ("kept", "converted", "moved", "left out")
    }
    lines = [
        f"# Migration of {in_markdown(made.pilot)}",
        "",
        f"Written by `pilotage adopt` {made.version} for the pilot with the digest `{made.subject}`. The same is in",
        "`migration.json`. Nothing of the pilot was run. Tick off by `pilotage assess .`, which looks again.",
        "",
        f"Of {len(made.files)} files " + ", ".join(f"{count} {fate}" for fate, count in counts.items()) + ".",
        "",
        "## First",
        "",
    ]
    lines += [f"{number}. {step}" for number, step in enumerate(_first(bring, open_fields), 1)]
    lines += ["", "## Work, in the order to do it", ""]
    phase = None
    for each in made.work:
        if each.phase != phase:
            phase = each.phase
            lines += [f"### {phase or 'Holds, with a remark'}", ""]
        lines += _work(each)
    if made.later:
        lines += ["### Later stages", "", f"They ask for more, which needs live traffic: {', '.join(made.later)}.", ""]
    lines += ["## Files", "", "| file | what became of it | where | why |", "| --- | --- | --- | --- |"]
    lines += [f"| {in_markdown(e.file)} | {e.fate} | {in_markdown(e.to)} | {in_markdown(e.why)} |" for e in made.files]
    if made.not_read:
        lines += ["", "## Not read, so not brought", "", *(f"- {in_markdown(each)}" for each in made.not_read)]
    return "\n".join(lines) + "\n"


def _first(bring: Sequence[str], open_fields: Sequence[str]) -> list[str]:
    steps = [f"Bring what could not be copied, if you may: `{'; '.join(bring)}`."] if bring else []
    steps += [f"Fill in `pilotage.yaml`: {', '.join(open_fields)}."] if open_fields else []
    return [
        *steps,
        "Read every line that says CONFIRM in `pilotage.yaml` and the contract, and every LOOK in converted code.",
        "Run the tests, then `pilotage pipeline run .`; what stops it is the first thing to mend.",
    ]


def _work(each: Work) -> list[str]:
    who = f" ({each.role})" if each.role else ""
    lines = [f"#### {each.criterion}: {in_markdown(each.deliverable)}{who}", ""]
    if each.found:
        lines += ["| place | found | what adopt did | what is left |", "| --- | --- | --- | --- |"]
        for one in each.found:
            place = f"{one.file}:{one.line}" if one.line else one.file
            cells = (place, one.message, one.done or "nothing", one.left or "nothing")
            lines.append(f"| {' | '.join(map(in_markdown, cells))} |")
        lines.append("")
    if each.left:
        lines += [f"{'It fails' if each.state == 'fails' else 'Not shown yet'}: {in_markdown(each.left)}.", ""]
    return lines
