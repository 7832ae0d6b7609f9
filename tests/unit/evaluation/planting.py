"""Honest data of a lender, what is planted in it, and the twins that look alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

import numpy as np

Columns = dict[str, list[Any]]
Pair = tuple[Columns, Columns]

ROWS = 3000


@dataclass(frozen=True, kw_only=True)
class Planted:
    """`make` gives the fault and its twin; `kinds` are the findings that count, `columns` where."""

    name: str
    kinds: tuple[str, ...]
    columns: tuple[str, ...]
    make: Callable[[], Pair]
    options: dict[str, Any] = field(default_factory=dict)


def honest(seed: int, rows: int = ROWS) -> tuple[Columns, Any, Any]:
    """Columns of a lender with an honest model of AUC about .75, its labels, and the generator."""
    r = np.random.default_rng(seed)
    age, late = r.integers(18, 80, rows), r.poisson(0.6, rows)
    income, balance = np.round(r.lognormal(10, 0.5, rows), 2), np.round(r.normal(0, 1000, rows), 2)
    rating, region = r.integers(0, 5, rows), r.integers(0, 6, rows)
    z = 0.8 * late - 0.7 * (np.log(income) - 10) - 0.02 * (age - 45) + 0.35 * rating - 1.6
    y = r.random(rows) < 1 / (1 + np.exp(-z))
    columns: Columns = {
        "age": age.tolist(),
        "late": late.tolist(),
        "income": income.tolist(),
        "balance": [None if gap else value for value, gap in zip(balance.tolist(), r.random(rows) < 0.05, strict=True)],
        "rating": ["ABCDE"[at] for at in rating],
        "region": [f"region {at}" for at in region],
        "y": y.astype(int).tolist(),
    }
    return columns, y, r


def _with(columns: Columns, **more: Any) -> Columns:
    """With more columns before the target; arrays become lists."""
    made = {name: list(column.tolist() if hasattr(column, "tolist") else column) for name, column in more.items()}
    return {**{k: v for k, v in columns.items() if k != "y"}, **made, "y": made.get("y", columns["y"])}


def _take(columns: Columns, places: Any) -> Columns:
    return {name: [column[at] for at in places] for name, column in columns.items()}


def _join(*parts: Columns) -> Columns:
    return {name: [value for part in parts for value in part[name]] for name in parts[0]}


def _split(columns: Columns, r: Any, share: float = 0.25) -> Columns:
    held = r.random(len(columns["y"])) < share
    return _with(columns, part=["test" if each else "train" for each in held])


def _day(at: int) -> str:
    return (date(2023, 1, 1) + timedelta(days=int(at))).isoformat()


def one(make_fault: Any, make_twin: Any, seed: int) -> Callable[[], Pair]:
    """One column `x` more: of the fault and of the twin, each from (labels, generator, columns)."""

    def made() -> Pair:
        columns, y, r = honest(seed)
        return _with(columns, x=make_fault(y, r, columns)), _with(columns, x=make_twin(y, r, columns))

    return made


def flipped(y: Any, r: Any, share: float) -> Any:
    return np.where(r.random(len(y)) < share, ~y, y)


def ids_by_order(sort: bool) -> Any:
    def make(y: Any, r: Any, _columns: Columns) -> list[int]:
        order = np.argsort(y + 0.3 * r.random(len(y))) if sort else r.permutation(len(y))
        ids = np.empty(len(y), dtype=int)
        ids[order] = np.arange(100_000, 100_000 + len(y))
        return ids.tolist()

    return make


def _pair(fault: bool, how: str, seed: int) -> Columns:
    columns, y, r = honest(seed)
    n, truth = len(y), y if fault else flipped(y, r, 0.35)
    if how == "difference":
        a = r.normal(100, 30, n)
        b = a + np.where(truth, -1, 1) * r.uniform(0.5, 20, n)
        return _with(columns, a=np.round(a, 2), b=np.round(b, 2))
    if how == "ratio":
        a = r.lognormal(4, 1, n)
        return _with(
            columns, a=np.round(a, 3), b=np.round(a * np.where(truth, r.uniform(0.3, 0.9, n), r.uniform(1.1, 3, n)), 3)
        )
    if how == "equal":
        a = r.integers(0, 8, n)
        b = np.where(truth, a, (a + r.integers(1, 8, n)) % 8)
        return _with(columns, a=[f"k{v}" for v in a], b=[f"k{v}" for v in b])
    if how == "sum":
        a = r.integers(0, 50, n)
        return _with(columns, a=a, b=np.where(truth, 100 - a, 100 - a + r.integers(1, 40, n)))
    a = r.integers(0, 2, n).astype(bool)
    return _with(columns, a=a.astype(int), b=(a ^ truth).astype(int))


def pairs(how: str, seed: int) -> Callable[[], Pair]:
    return lambda: (_pair(True, how, seed), _pair(False, how, seed))


def copies(seed: int, change: Any, share: float = 0.06) -> Callable[[], Pair]:
    """Held-out rows that are copies of training rows, after `change`; the twin has fresh rows of its own instead."""

    def made() -> Pair:
        columns, _, r = honest(seed)
        more, _, _ = honest(seed + 5000)
        start = _split(columns, r)
        train = [at for at, part in enumerate(start["part"]) if part == "train"]
        places = r.choice(train, int(share * ROWS), replace=False)
        copied = change(_take(columns, places), r)
        fresh = _take(more, range(len(places)))
        held = {"part": ["test"] * len(places)}
        both = []
        for extra in (copied, change(fresh, r)):
            both.append(_join(start, {**{k: extra[k] for k in start if k not in ("part",)}, **held}))
        for each in both:
            order = r.permutation(len(each["y"]))
            each.update(_take(each, order))
        return both[0], both[1]

    return made


def same(part: Columns, _r: Any) -> Columns:
    return part


def jittered(scale: float) -> Any:
    def change(part: Columns, r: Any) -> Columns:
        noise = {
            name: [None if v is None else v + spread * scale * r.normal() for v in part[name]]
            for name, spread in (("income", 10_000), ("balance", 1000))
        }
        return part | noise

    return change


def redrawn(part: Columns, r: Any) -> Columns:
    return part | {
        "region": [f"region {r.integers(0, 6)}" for _ in part["y"]],
        "age": [int(r.integers(18, 80)) for _ in part["y"]],
    }


def shouted(part: Columns, _r: Any) -> Columns:
    return part | {name: [f" {value.upper()}" for value in part[name]] for name in ("rating", "region")}


def rounded(part: Columns, _r: Any) -> Columns:
    return part | {name: [None if v is None else round(v) for v in part[name]] for name in ("income", "balance")}


def copies_behind_an_id() -> Pair:
    fault, twin = copies(121, same)()
    r = np.random.default_rng(1)
    return tuple(_with(each, id=r.permutation(10**6)[: len(each["y"])]) for each in (fault, twin))  # type: ignore[return-value]


def coarse() -> Pair:
    """Few coarse columns collide by themselves: the twin. The fault adds a rich column, and copies."""
    _, y, r = honest(122)
    base: Columns = {name: r.integers(0, 3, ROWS).tolist() for name in ("a", "b", "c", "d")} | {
        "y": y.astype(int).tolist()
    }
    twin = _split(base, r)
    rich = _split(_with(base, e=np.round(r.normal(0, 1, ROWS), 6)), r)
    train = [at for at, part in enumerate(rich["part"]) if part == "train"]
    copies = _take(rich, r.choice(train, 200, replace=False)) | {"part": ["test"] * 200}
    return _join(rich, copies), twin


def oversampled() -> Pair:
    """The rarer class drawn again and again before the split; the twin is split first and drawn in training only."""
    columns, y, r = honest(123)
    rare = r.choice(np.flatnonzero(y), 1500)
    fault = _split(_join(columns, _take(columns, rare)), r)
    split = _split(columns, r)
    train = [at for at in np.flatnonzero(y) if split["part"][at] == "train"]
    return fault, _join(split, _take(split, r.choice(train, 1500)))


def subjects(across: bool, seed: int = 124, shown: bool = False) -> Columns:
    columns, y, r = honest(seed)
    people = r.integers(0, 900, len(y))
    held_people = set(np.flatnonzero(r.random(900) < 0.25).tolist())
    held = r.random(len(y)) < 0.25 if across else np.array([int(p) in held_people for p in people])
    names = [f"{'  P' if shown and r.random() < 0.5 else 'p'}-{p:04d}" for p in people]
    return _with(columns, person=names, part=np.where(held, "test", "train"))


def timed(kind: str, seed: int, epoch: bool = False) -> Columns:
    """Rows over two years. Kinds: past (a split by time), older, mixed (over drift), still (mixed, without drift)."""
    columns, y, r = honest(seed)
    n, at = len(y), np.sort(r.integers(0, 730, len(y)))
    if kind != "still":
        y = r.random(n) < np.clip(0.1 + 0.7 * at / 730, 0, 1)
    held = {"past": at > 550, "older": at < 180}.get(kind, r.random(n) < 0.25)
    when = (1_672_531_200 + at * 86_400).tolist() if epoch else [_day(d) for d in at]
    order = r.permutation(n)
    made = _with(columns, when=when, part=np.where(held, "test", "train"), y=y.astype(int))
    return _take(made, order)


def dates(kind: str, seed: int) -> Columns:
    """A second date beside the decision's: closed (long after for the positive), due (planned), earlier."""
    columns, y, r = honest(seed)
    n, at = len(y), r.integers(0, 700, len(y))
    gap = {
        "closed": np.where(y, r.integers(60, 200, n), r.integers(5, 100, n)),
        "due": r.choice([30, 60, 90], n),
        "earlier": -r.integers(1, 900, n),
    }[kind]
    return _with(columns, when=[_day(d) for d in at], other=[_day(d) for d in at + gap])


def history(kind: str, seed: int) -> Columns:
    """Five rows a person in order of time, with an amount; `x` looks forward or back."""
    columns, y, r = honest(seed)
    n = len(y)
    people, step = np.repeat(np.arange(n // 5), 5), np.tile(np.arange(5), n // 5)
    keep = r.random(n) < 0.8
    amount = np.round(r.lognormal(4, 1, n), 2)
    made = _with(
        columns,
        person=[f"p{p}" for p in people],
        when=[_day(100 * s + p % 90) for p, s in zip(people, step, strict=True)],
        amount=amount,
    )
    made = _take(made, np.flatnonzero(keep))
    who, own = people[keep], amount[keep]
    truth = np.array(made["y"])
    x = np.zeros(len(who))
    for person in np.unique(who):
        at = np.flatnonzero(who == person)
        for k, place in enumerate(at):
            before, until = own[at[:k]], own[at[: k + 1]]
            x[place] = {
                "count": len(at),
                "count so far": k + 1,
                "mean": own[at].mean(),
                "mean so far": until.mean(),
                "max": own[at].max(),
                "max so far": until.max(),
                "min": own[at].min(),
                "min so far": until.min(),
                "next": own[at[k + 1]] if k + 1 < len(at) else -1,
                "last": before[-1] if len(before) else -1,
                "next label": truth[at[k + 1]] if k + 1 < len(at) else -1,
                "last label": truth[at[k - 1]] if k else -1,
            }[kind]
    order = r.permutation(len(who))
    return _take(_with(made, x=x), order)


def encoded(kind: str, seed: int) -> Columns:
    """A column that stands for the share of positives of a town: over all rows, leave-one-out, or of training only."""
    columns, y, r = honest(seed)
    n = len(y)
    town = r.integers(0, 200, n)
    held = r.random(n) < 0.25
    p = y.mean()

    def mean(rows: Any, prior: float = 0.0) -> Any:
        s = np.bincount(town[rows], weights=y[rows], minlength=200)
        c = np.bincount(town[rows], minlength=200)
        return (s + prior * p) / np.maximum(c + prior, 1)

    every = np.ones(n, dtype=bool)
    s, c = np.bincount(town, weights=y, minlength=200)[town], np.bincount(town, minlength=200)[town]
    x = {
        "all": lambda: mean(every)[town],
        "smoothed": lambda: mean(every, 10.0)[town],
        "one out": lambda: (s - y) / np.maximum(c - 1, 1),
        "training": lambda: mean(~held)[town],
        "training smoothed": lambda: mean(~held, 10.0)[town],
    }[kind]()
    return _with(columns, town=[f"town {t}" for t in town], x=x, part=np.where(held, "test", "train"))


def totals(with_own: bool) -> Columns:
    columns, y, _ = honest(136)
    total = np.cumsum(y) - (0 if with_own else y)
    return _with(columns, x=total)


def in_order(sort: bool) -> Columns:
    columns, y, r = honest(137)
    return _take(columns, np.argsort(y, kind="stable") if sort else r.permutation(len(y)))


def sites(decides: bool) -> Columns:
    """Sixty sites. In the fault each site has one outcome only, as where cases and controls come from elsewhere."""
    columns, y, r = honest(138)
    kind = r.random(60) < 0.4
    yes, no = np.flatnonzero(kind), np.flatnonzero(~kind)
    site = np.where(y, r.choice(yes, len(y)), r.choice(no, len(y))) if decides else r.integers(0, 60, len(y))
    return _with(columns, site=[f"S{s:03d}" for s in site])


def split_by_label(bad: bool) -> Columns:
    columns, y, r = honest(139)
    held = r.random(len(y)) < np.where(y & bad, 0.6, 0.2)
    return _with(columns, part=np.where(held, "test", "train"))


def both(make: Any, fault: Any, twin: Any, *more: Any) -> Callable[[], Pair]:
    return lambda: (make(fault, *more), make(twin, *more))


def worded(y: Any, words: tuple[list[str], list[str]], r: Any) -> list[str]:
    return [str(r.choice(words[int(v)])) for v in y]


def notes(y: Any, r: Any, ends: tuple[str, str]) -> list[str]:
    return [f"call {r.integers(10**6)} {ends[int(v)]}" for v in y]


def classes(seed: int) -> Pair:
    columns, y, r = honest(seed)
    kind = r.integers(0, 4, len(y))
    fault = _with(columns, x=[f"code {v + 7}" for v in kind], y=[f"class {v}" for v in kind])
    mixed = np.where(r.random(len(y)) < 0.4, r.integers(0, 4, len(y)), kind)
    return fault, _with(columns, x=[f"code {v + 7}" for v in mixed], y=[f"class {v}" for v in kind])


def amounts(seed: int) -> Pair:
    columns, y, r = honest(seed)
    amount = 0.3 * np.log(columns["income"]) + r.normal(0, 1, len(y))
    fault = _with(columns, x=np.exp(amount + r.normal(0, 0.02, len(y))), y=amount)
    return fault, _with(columns, x=amount + r.normal(0, 1.0, len(y)), y=amount)


def half_filled(y: Any, r: Any, fault: bool) -> list[str]:
    truth = y if fault else flipped(y, r, 0.3)
    return [("unknown" if gap else "AB"[int(t)]) for t, gap in zip(truth, r.random(len(y)) < 0.5, strict=True)]


def moments_of_day(y: Any, r: Any, fault: bool) -> list[str]:
    hours = np.where(y, 3, r.integers(8, 18, len(y))) if fault else r.integers(0, 24, len(y))
    return [
        f"{_day(d)}T{h:02d}:{m:02d}:00"
        for d, h, m in zip(r.integers(0, 700, len(y)), hours, r.integers(0, 60, len(y)), strict=True)
    ]


def of_subjects(fault: bool, seed: int) -> Columns:
    """The share of positives of a person's rows, over all of them or over earlier ones."""
    columns, y, r = honest(seed)
    people = np.repeat(np.arange(len(y) // 5), 5)
    share = np.array([y[people == p].mean() for p in range(len(y) // 5)])[people]
    before = np.array([y[at // 5 * 5 : at].mean() if at % 5 else 0.25 for at in range(len(y))])
    order = r.permutation(len(y))
    days = np.tile(np.arange(5), len(y) // 5)
    made = _with(
        columns, person=[f"p{p}" for p in people], when=[_day(50 * d) for d in days], x=share if fault else before
    )
    return _take(made, order)


def rolling(fault: bool, seed: int) -> Columns:
    """The target's mean over the rows around, or over the three before."""
    columns, y, _ = honest(seed)
    label = y.astype(float)
    around = np.convolve(label, np.ones(3) / 3, mode="same")
    before = np.concatenate([[0.2] * 3, np.convolve(label, np.ones(3) / 3, mode="valid")[:-1]])
    return _with(columns, x=around if fault else before, when=[_day(d) for d in range(len(y))])


def next_without_subject(fault: bool, seed: int) -> Columns:
    columns, y, _ = honest(seed)
    label = y.astype(int)
    x = np.concatenate([label[1:], [0]]) if fault else np.concatenate([[0], label[:-1]])
    return _with(columns, x=x)


def in_thousands(part: Columns, _r: Any) -> Columns:
    return part | {"income": [v / 1000 for v in part["income"]]}


def _dated(y: Any, r: Any, fault: bool) -> tuple[list[str], list[str]]:
    truth = y if fault else r.random(len(y)) < 0.5
    opened = r.integers(0, 700, len(y))
    other = np.where(truth, opened, opened - r.integers(1, 90, len(y)))
    return [_day(d) for d in opened], [_day(d) for d in other]


def two_dates(fault: bool, seed: int) -> Columns:
    columns, y, r = honest(seed)
    a, b = _dated(y, r, fault)
    return _with(columns, a=a, b=b)
