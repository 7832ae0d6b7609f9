"""Release notes for those who live with the decisions: what changes, for whom, against the release that serves now.

What people would be answered otherwise comes from a recorded backtest; without one the notes say so.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from pilotage.contracts.comparing import Change, compare_contracts
from pilotage.kernel.digests import short
from pilotage.papers.gather import Dossier
from pilotage.papers.model import NOT_MEASURED, Bullets, Line, Paper, Section, Source, Sources, Table, Words, words
from pilotage.replay.backtest import Backtest

__all__ = ["release_notes"]

_METRICS = {
    "auc": ("AUC", "larger is better"),
    "log_loss": ("log loss", "smaller is better"),
    "brier": ("Brier score", "smaller is better"),
}
_MOST = 12


def release_notes(dossier: Dossier, before: Dossier | None, recorded: tuple[Source, Backtest] | None) -> Paper:
    """The notes. `before` is what serves now, None where nothing does; `recorded` the newest backtest."""
    sources = dossier.sources
    name = dossier.release.name
    if before is not None:
        for each, (source, document) in before.sources.known.items():
            title = f"{source.title}, of {before.release.name}"
            sources.add(msgspec.structs.replace(source, name=f"before:{each}", title=title), document)
    if recorded is not None:
        sources.add(recorded[0], msgspec.to_builtins(recorded[1]))
    against = "nothing that serves now" if before is None else before.release.name
    sections = (
        Section(title="In short", blocks=tuple(_short(dossier, before, recorded))),
        Section(title="Whose answer changes", blocks=tuple(_changes(dossier, recorded))),
        Section(title="For whom", blocks=tuple(_segments(sources, recorded))),
        Section(title="How much better or worse it is", blocks=tuple(_metrics(dossier, before))),
        Section(title="What callers must send", blocks=tuple(_contract(dossier, before))),
    )
    sources.cite("release")
    return Paper(
        kind="notes",
        title=f"{dossier.system.name}: what changes with {name}",
        lead=(f"Release {name} ({short(dossier.release.digest)}) against {against}.",),
        release=dossier.release.digest,
        sections=sections,
        sources=sources.cited(),
    )


def _short(dossier: Dossier, before: Dossier | None, recorded: tuple[Source, Backtest] | None) -> Iterator[Words]:
    if before is None:
        yield words("Nothing serves now, so there is nothing to compare with: this is the first release.")
        return
    if before.release.digest == dossier.release.digest:
        yield words("This is the release that serves now: nothing changes.")
        return
    if recorded is None:
        yield words(
            "Nobody let this release answer the decisions of the past, so nobody can say whose answer changes. Run: "
            f"pilotage decisions replay --release {dossier.release.name}"
        )
        return
    found, sources = recorded[1], dossier.sources
    yield words(
        "Of ",
        sources.figure("backtest", "flips", "of", form=",d"),
        " decisions that both answered, ",
        sources.figure("backtest", "flips", "rate", form=".2%"),
        " would be answered otherwise (95 % interval ",
        sources.figure("backtest", "flips", "low", form=".2%"),
        " to ",
        sources.figure("backtest", "flips", "high", form=".2%"),
        "). ",
        "That is within the limits set for it." if found.passed else "That is beyond the limits set for it: ",
        *([] if found.passed else ["; ".join(found.missing) + "."]),
    )
    if before.release.digest not in found.champions:
        yield words("These decisions were answered by other releases than the one that serves now: read with care.")


def _changes(dossier: Dossier, recorded: tuple[Source, Backtest] | None) -> Iterator[Words | Table]:
    if recorded is None:
        yield words(NOT_MEASURED)
        return
    found, sources = recorded[1], dossier.sources
    if found.changes:
        rows = tuple(
            ((each.old,), (each.new,), (sources.figure("backtest", "changes", at, "decisions", form=",d"),))
            for at, each in enumerate(found.changes)
        )
        yield Table(head=("was answered", "would be answered", "decisions"), rows=rows)
    else:
        yield words("No answer changes.")
    if found.shift is not None:
        yield words(
            "The score moves by ",
            sources.figure("backtest", "shift", "mean", form="+.4f"),
            " on average (95 % interval ",
            sources.figure("backtest", "shift", "mean_low", form="+.4f"),
            " to ",
            sources.figure("backtest", "shift", "mean_high", form="+.4f"),
            ").",
        )
    yield words(
        "Requests that were answered and would now be rejected: ",
        sources.figure("backtest", "newly_faulty", "count", form=",d"),
        " of ",
        sources.figure("backtest", "newly_faulty", "of", form=",d"),
        "; that were rejected and would now be answered: ",
        sources.figure("backtest", "newly_answered", "count", form=",d"),
        ".",
    )
    if found.cost is not None:
        yield words("The changes cost, by the declared costs: ", sources.figure("backtest", "cost", form=",.2f"), ".")


def _segments(sources: Sources, recorded: tuple[Source, Backtest] | None) -> Iterator[Words | Table]:
    if recorded is None or not recorded[1].segments:
        yield words(NOT_MEASURED)
        return
    order = sorted(enumerate(recorded[1].segments), key=lambda each: (-each[1].flips.rate, each[1].dimension))
    rows: list[tuple[Line, ...]] = []
    for at, each in order[:_MOST]:
        figures = [sources.figure("backtest", "segments", at, "flips", n, form=".2%") for n in ("rate", "low", "high")]
        rows.append(
            (
                (f"{each.dimension}: {each.value}",),
                (sources.figure("backtest", "segments", at, "decisions", form=",d"),),
                (figures[0], " (", figures[1], " to ", figures[2], ")"),
                (sources.figure("backtest", "segments", at, "shift", form="+.4f"),),
            )
        )
    yield words(
        "The groups whose answers change most often; small ones are left out, since they might tell of persons."
    )
    yield Table(head=("group", "decisions", "answered otherwise", "score moves by"), rows=tuple(rows))


def _metrics(dossier: Dossier, before: Dossier | None) -> Iterator[Words | Table]:
    sources = dossier.sources
    if not sources.value("evaluation", "metrics"):
        yield words(NOT_MEASURED)
        return
    rows: list[tuple[Line, ...]] = []
    for name in sources.value("evaluation", "metrics"):
        title, better = _METRICS.get(name, (name, ""))
        old: Line = (NOT_MEASURED,) if before is None else _with_interval(sources, "before:evaluation", name)
        rows.append(((title + (f" ({better})" if better else ""),), old, _with_interval(sources, "evaluation", name)))
    yield Table(head=("figure", "serves now", "this release"), rows=tuple(rows))
    same = before is None or before.loaded.manifest.origin.data == dossier.loaded.manifest.origin.data
    if not same:
        yield words("The two were evaluated on different data: a difference of figures is not one of models alone.")


def _with_interval(sources: Sources, source: str, name: str) -> Line:
    value = sources.figure(source, "metrics", name, form=".4f")
    if not sources.value(source, "intervals_95", name):
        return (value,)
    low, high = (sources.figure(source, "intervals_95", name, end, form=".4f") for end in (0, 1))
    return (value, " (", low, " to ", high, ")")


def _contract(dossier: Dossier, before: Dossier | None) -> Iterator[Words | Bullets]:
    if before is None:
        yield words("As the data contract of the release says.")
        return
    changes = compare_contracts(before.loaded.contract, dossier.loaded.contract)
    if not changes:
        yield words("Nothing else than now: the data contract is the same.")
        return
    dossier.sources.cite("contract", "before:contract")
    yield Bullets(lines=tuple((_told(each),) for each in changes))


def _told(change: Change) -> str:
    was = f"from {change.old or 'nothing'} to {change.new or 'nothing'}"
    return ("breaks callers: " if change.breaking else "") + f"{change.path}, {change.what}: {was}; {change.why}"
