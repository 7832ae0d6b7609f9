"""The way from a pilot to production: work items in phases, what each is accepted by, and how long it may take."""

from __future__ import annotations

import csv
import heapq
import io
from collections.abc import Mapping, Sequence
from importlib import resources

import msgspec
import numpy as np
import yaml
from numpy.typing import NDArray

from pilotage.assess.model import Assessment, Criterion, Dimension, DimensionScore, Rating
from pilotage.assess.score import proved
from pilotage.errors import InputError
from pilotage.kernel import pert
from pilotage.kernel.markdown import in_markdown

__all__ = [
    "PHASES",
    "Effort",
    "Phase",
    "Progress",
    "Roadmap",
    "WorkItem",
    "as_csv",
    "as_markdown",
    "load_work",
    "make_roadmap",
    "progressed",
]

PHASES = (
    "Foundation",
    "Data and monitoring",
    "Deployment",
    "Organisation and governance",
    "Staged exposure",
)
"""The phases, in order: a phase begins when what it needs of those before is there."""

DRAWS = 2_000
_DAYS_A_WEEK = 5.0
_ENGINEERS = 2.0
"""Who works on it where nobody said: a guess of ours."""

Floats = NDArray[np.float64]


class Work(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a criterion becomes work, as `plan.yaml` says."""

    phase: int
    role: str
    deliverable: str
    after: list[str] = []


class Effort(msgspec.Struct, frozen=True, kw_only=True):
    """A range: what is exceeded in nine of ten draws, in half, in one of ten."""

    p10: float
    p50: float
    p80: float
    p90: float


class WorkItem(msgspec.Struct, frozen=True, kw_only=True):
    """One piece of work. It is accepted when a new assessment finds that it holds, at `accepted_at` or above.

    `days` are optimistic, likely and pessimistic engineer-days; `after` the items that must be done before.
    """

    id: str
    dimension: Dimension
    phase: int
    deliverable: str
    role: str
    why: str
    mend: str
    accepted_at: float
    score: float
    state: str
    days: tuple[float, float, float]
    after: list[str]
    knock_out: bool = False
    stage: str = "pilot"

    @property
    def expected(self) -> float:
        """Engineer-days by the PERT mean (O + 4M + P) / 6."""
        return pert.expected(*self.days)


class Phase(msgspec.Struct, frozen=True, kw_only=True):
    """One phase: its items in the order to do them, the effort of them all, and what must hold to leave it."""

    number: int
    name: str
    items: list[WorkItem]
    effort: Effort
    exits: list[str]


class Roadmap(msgspec.Struct, frozen=True, kw_only=True):
    """The plan. `effort` in engineer-days of all items; `weeks` with so many `engineers`, in the order of the plan.

    `guessed` tells that nobody said how many engineers there are.
    """

    subject: str
    at: int
    verdict: int
    required: int
    phases: list[Phase]
    effort: Effort
    weeks: Effort
    engineers: float
    guessed: bool
    done: list[str]

    @property
    def items(self) -> list[WorkItem]:
        """All items, phase by phase."""
        return [item for phase in self.phases for item in phase.items]


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a plan has come at a time: expected days done and planned, items done, and which phases may be left."""

    at: int
    days_done: float
    days_planned: float
    done: list[str]
    open: list[str]
    regressed: list[str]
    phases: list[tuple[str, bool]]
    verdict: int


def load_work(criteria: Mapping[str, Criterion]) -> dict[str, Work]:
    """The work of every criterion. Raises InputError where one has none, or where the order goes round in a circle."""
    document = yaml.safe_load(resources.files("pilotage.assess").joinpath("plan.yaml").read_text())
    work = msgspec.convert(document["items"], dict[str, Work])
    wrong = sorted({*work} ^ {*criteria}) + sorted({name for each in work.values() for name in each.after} - {*work})
    wrong += [name for name, each in work.items() if not 0 <= each.phase < len(PHASES)]
    wrong += [
        name for name, each in work.items() for other in each.after if other in work and work[other].phase > each.phase
    ]
    if wrong:
        raise InputError("the plan does not fit the criteria", got=", ".join(wrong), mend="correct plan.yaml")
    _ordered({name: each.after for name, each in work.items()})
    return work


def make_roadmap(
    dimensions: Sequence[DimensionScore],
    criteria: Mapping[str, Criterion],
    *,
    subject: str,
    at: int,
    verdict: int,
    required: int,
    engineers: float | None = None,
    seed: int = 2026,
) -> Roadmap:
    """The plan of all that does not hold yet, with what later stages will ask. Deterministic by its arguments."""
    work = load_work(criteria)
    ratings = {rating.criterion.id: rating for each in dimensions for rating in each.ratings}
    later = {
        criterion.id: Rating(criterion=criterion, score=0.0, state="unknown")
        for each in dimensions
        for criterion in each.later
    }
    items: dict[str, WorkItem] = {}
    for name, rating in {**ratings, **later}.items():
        target = proved(rating, at).score
        if rating.state != "holds" or (rating.score < target - 1e-9 and rating.criterion.kind == "attestable"):
            items[name] = _item(rating, work[name], target)
    after = {name: [other for other in _reachable(work, name) if other in items] for name in items}
    ordered = sorted(_ordered(after), key=lambda name: items[name].phase)
    plan = [msgspec.structs.replace(items[name], after=after[name]) for name in ordered]
    drawn = _drawn(plan, seed)
    people = engineers or _ENGINEERS
    weeks = _weeks(plan, drawn, people) if plan else np.zeros(1)
    return Roadmap(
        subject=subject,
        at=at,
        verdict=verdict,
        required=required,
        phases=[_phase(number, plan, drawn) for number in range(len(PHASES))],
        effort=_effort(drawn.sum(axis=0)),
        weeks=_effort(weeks),
        engineers=people,
        guessed=engineers is None,
        done=sorted(name for name, rating in ratings.items() if name not in items and rating.state == "holds"),
    )


def _item(rating: Rating, work: Work, target: float) -> WorkItem:
    criterion = rating.criterion
    return WorkItem(
        id=criterion.id,
        dimension=criterion.dimension,
        phase=work.phase,
        deliverable=work.deliverable,
        role=work.role,
        why=rating.evidence[0].summary if rating.evidence else f"nothing shows it; otherwise {criterion.risk}",
        mend=criterion.mend,
        accepted_at=round(target, 4),
        score=round(rating.score, 4),
        state=rating.state,
        days=criterion.days,
        after=[],
        knock_out=criterion.knock_out,
        stage=criterion.from_stage,
    )


def _reachable(work: Mapping[str, Work], name: str) -> list[str]:
    """All that must be done before, over items that hold already too."""
    found: list[str] = []
    waiting = list(work[name].after)
    while waiting:
        other = waiting.pop(0)
        if other not in found:
            found.append(other)
            waiting += work[other].after
    return found


def _ordered(after: Mapping[str, Sequence[str]]) -> list[str]:
    """A topological order, the first names first (Kahn 1962). Raises InputError for a circle."""
    waits = {name: sum(other in after for other in others) for name, others in after.items()}
    place = {name: at for at, name in enumerate(after)}
    ready = [place[name] for name, count in waits.items() if not count]
    heapq.heapify(ready)
    names, found = list(after), []
    while ready:
        name = names[heapq.heappop(ready)]
        found.append(name)
        for other, others in after.items():
            if name in others:
                waits[other] -= 1
                if not waits[other]:
                    heapq.heappush(ready, place[other])
    if len(found) < len(after):
        raise InputError("the plan goes round in a circle", got=sorted({*after} - {*found}), mend="correct plan.yaml")
    return found


def _drawn(items: Sequence[WorkItem], seed: int) -> Floats:
    """Draws of each item's days from its PERT distribution, [items, draws]."""
    generator = np.random.default_rng(seed)
    rows = [pert.drawn(generator, *item.days, DRAWS) for item in items]
    return np.array(rows) if rows else np.zeros((0, DRAWS))


def _weeks(items: Sequence[WorkItem], drawn: Floats, engineers: float) -> Floats:
    """Weeks until the last item is done, by whole engineers who take the items in the order of the plan, [draws].

    A share of an engineer works at that share of the pace. Phases are not waited for, only what an item needs.
    """
    people, draws = max(1, int(engineers)), drawn.shape[1]
    place = {item.id: at for at, item in enumerate(items)}
    free, ends, every = np.zeros((people, draws)), np.zeros((len(items), draws)), np.arange(draws)
    for at, item in enumerate(items):
        who = free.argmin(axis=0)
        needs = ends[[place[name] for name in item.after if name in place]]
        start = np.maximum(free[who, every], needs.max(axis=0, initial=0.0))
        ends[at] = free[who, every] = start + drawn[at] * people / engineers
    weeks: Floats = ends.max(axis=0) / _DAYS_A_WEEK
    return weeks


def _effort(values: Floats) -> Effort:
    p10, p50, p80, p90 = (round(float(each), 2) for each in np.percentile(values, (10, 50, 80, 90)))
    return Effort(p10=p10, p50=p50, p80=p80, p90=p90)


def _phase(number: int, plan: Sequence[WorkItem], drawn: Floats) -> Phase:
    own = [item.phase == number for item in plan]
    items = [item for item, chosen in zip(plan, own, strict=True) if chosen]
    exits = [
        f"{item.id} at {item.accepted_at:.2f} or above" for item in items if item.knock_out or item.stage != "pilot"
    ]
    exits.append("every item of the phase accepted, or waived by name")
    return Phase(number=number, name=PHASES[number], items=items, effort=_effort(drawn[own].sum(axis=0)), exits=exits)


def progressed(plan: Roadmap, found: Assessment) -> Progress:
    """How far the plan has come by a new assessment; `regressed` held when the plan was made and no longer does."""
    ratings = {rating.criterion.id: rating for each in found.dimensions for rating in each.ratings}

    def accepted(item: WorkItem) -> bool:
        rating = ratings.get(item.id)
        return rating is not None and rating.state == "holds" and rating.score >= item.accepted_at - 1e-6

    done = [item for item in plan.items if accepted(item)]
    names = {item.id for item in done}
    return Progress(
        at=found.at,
        days_done=round(sum(item.expected for item in done), 2),
        days_planned=round(sum(item.expected for item in plan.items), 2),
        done=[item.id for item in done],
        open=[item.id for item in plan.items if item.id not in names],
        regressed=[name for name in plan.done if name in ratings and ratings[name].state in ("fails", "partial")],
        phases=[(phase.name, all(item.id in names for item in phase.items)) for phase in plan.phases],
        verdict=found.verdict,
    )


def as_markdown(plan: Roadmap) -> str:
    """The plan as a page that can be mailed."""
    guess = " (nobody said how many: a guess)" if plan.guessed else ""
    lines = [
        "# Roadmap to production",
        "",
        f"Level {plan.verdict} now; the next stage asks for {plan.required}. {len(plan.items)} items, "
        f"{plan.effort.p10:.0f} to {plan.effort.p90:.0f} engineer-days (P10 to P90), "
        f"{plan.weeks.p10:.0f} to {plan.weeks.p90:.0f} weeks with {plan.engineers:g} engineers{guess}.",
        "",
        "Days are first-use defaults of ours until your own records replace them.",
    ]
    for phase in plan.phases:
        lines += ["", f"## {phase.number} {phase.name}", ""]
        if not phase.items:
            lines.append("Nothing to do.")
            continue
        lines += [
            f"{phase.effort.p10:.0f} to {phase.effort.p90:.0f} engineer-days.",
            "",
            "| item | deliverable | owner | days (O/M/P) | accepted when | after | why |",
            "|---|---|---|---|---|---|---|",
        ]
        for item in phase.items:
            cells = (
                f"`{item.id}`" + (" **knock-out**" if item.knock_out else ""),
                in_markdown(item.deliverable),
                in_markdown(item.role),
                " / ".join(f"{each:g}" for each in item.days),
                f"it holds at {item.accepted_at:.2f} or above (now {item.state}, {item.score:.2f})",
                ", ".join(f"`{name}`" for name in item.after),
                in_markdown(item.why),
            )
            lines.append("| " + " | ".join(cells) + " |")
        lines += ["", "Go or no-go: " + "; ".join(phase.exits) + "."]
    return "\n".join(lines) + "\n"


def as_csv(plan: Roadmap) -> str:
    """The items as CSV, one a line; a cell never starts a formula."""
    written = io.StringIO()
    writer = csv.writer(written)
    head = ["id", "phase", "dimension", "deliverable", "owner", "optimistic_days", "likely_days", "pessimistic_days"]
    writer.writerow([*head, "accepted_at", "score", "state", "after", "knock_out", "mend", "why"])
    for item in plan.items:
        row = [
            item.id,
            item.phase,
            item.dimension,
            item.deliverable,
            item.role,
            *item.days,
            item.accepted_at,
            item.score,
        ]
        row += [item.state, " ".join(item.after), item.knock_out, item.mend, item.why]
        writer.writerow([f"'{each}" if isinstance(each, str) and each[:1] in "=+-@\t\r" else each for each in row])
    return written.getvalue()
