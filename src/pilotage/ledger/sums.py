"""Sums of decisions by minute, hour and day: made once when they are sealed, added up for any window. Pure.

A window of a month is 30 days, some hours and some minutes, not its decisions. Times are counted in buckets, 16 for
each doubling: a quantile read from them is at most 1/32 (3.1 %) off, and exact below 32 µs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

__all__ = [
    "ERROR",
    "SPANS",
    "SUMMED",
    "MinuteSum",
    "SumKey",
    "Summed",
    "add_sum",
    "bucket",
    "bucket_us",
    "minutes_of",
    "newest_seconds",
    "quantile_us",
    "sum_rows",
    "sums_of",
    "sums_of_minutes",
]

SPANS = (60, 3_600, 86_400)
"""The lengths that are summed, in seconds."""

ERROR = 1 / 32
"""The greatest relative error of a quantile."""

SumKey = tuple[int, int, str, str, str, str, str]
"""Span and start in seconds, system, release, arm, mode, outcome: the columns of `decision_sums` that name a row."""

MinuteSum = tuple[int, str, str, str, str, str, int, int, dict[str, int], dict[str, int]]
"""Start of the minute in seconds, then the rest of the row: system, release, arm, mode, outcome, n, faults, times,
seconds."""

Summed = tuple[int, str, str, str, str, str, int, int]
SUMMED = ("at", "system", "release", "arm", "mode", "outcome", "faults", "answer_us")
"""The columns of `decisions` that are summed."""

_EXACT = 32
_MINUTE_US = 60_000_000
_PER_OCTAVE = 16


def bucket(us: int) -> int:
    """The bucket of a time in microseconds; negative ones count as 0."""
    if us < _EXACT:
        return max(us, 0)
    shift = us.bit_length() - 5
    return _PER_OCTAVE * shift + (us >> shift)


def bucket_us(number: int) -> int:
    """The microseconds in the middle of a bucket."""
    if number < _EXACT:
        return number
    shift = number // _PER_OCTAVE - 1
    return ((number - _PER_OCTAVE * shift) << shift) + (1 << shift >> 1)


def quantile_us(times: Mapping[str, int], per_cent: int) -> int:
    """The time that `per_cent` of all are not above, within ERROR; 0 without any."""
    rank = sum(times.values()) * per_cent // 100
    for number, count in sorted((int(name), count) for name, count in times.items()):
        rank -= count
        if rank < 0:
            return bucket_us(number)
    return bucket_us(max(map(int, times), default=0))


def sums_of(rows: Iterable[Summed]) -> dict[SumKey, dict[str, Any]]:
    """{key: {n, faults, times, seconds}} of decisions. `times` counts buckets of `answer_us`, `seconds` the
    decisions of each second of a minute; their names are text, as JSON has them.
    """
    groups: dict[tuple[int, str, str, str, str, str], list[tuple[int, int, int]]] = {}
    for at, system, release, arm, mode, outcome, faults, answer_us in rows:
        group = groups.setdefault((at // _MINUTE_US, system, release, arm, mode, outcome), [])
        group.append((at, faults, answer_us))
    return _with_longer({(SPANS[0], 60 * key[0], *key[1:]): _sum_of(group) for key, group in groups.items()})


def _sum_of(group: Sequence[tuple[int, int, int]]) -> dict[str, Any]:
    """The sum of some decisions: of each the time, its faults, and the time its answer took."""
    times: dict[str, int] = {}
    for us, count in Counter([answer_us for _, _, answer_us in group]).items():
        name = str(bucket(us))
        times[name] = times.get(name, 0) + count
    seconds = Counter([at // 1_000_000 % 60 for at, _, _ in group])
    return {
        "n": len(group),
        "faults": sum([faults for _, faults, _ in group]),
        "times": times,
        "seconds": {str(second): count for second, count in seconds.items()},
    }


def minutes_of(rows: Iterable[Summed]) -> list[MinuteSum]:
    """The same of minutes only, as flat values, to be kept when the decisions go."""
    return sorted(
        (*key[1:], one["n"], one["faults"], one["times"], one["seconds"])
        for key, one in sums_of(rows).items()
        if key[0] == SPANS[0]
    )


def sums_of_minutes(minutes: Iterable[MinuteSum]) -> dict[SumKey, dict[str, Any]]:
    """What `sums_of` gave for the decisions of which these minutes were kept."""
    found: dict[SumKey, dict[str, Any]] = {}
    for at, system, release, arm, mode, outcome, n, faults, times, seconds in minutes:
        one = {"n": n, "faults": faults, "times": times, "seconds": seconds}
        found[SPANS[0], at, system, release, arm, mode, outcome] = one
    return _with_longer(found)


def _with_longer(found: dict[SumKey, dict[str, Any]]) -> dict[SumKey, dict[str, Any]]:
    """Minutes, with the hours and days that they add up to."""
    for key, one in list(found.items()):
        for span in SPANS[1:]:
            whole = (span, key[1] // span * span, *key[2:])
            add_sum(found.setdefault(whole, {"n": 0, "faults": 0, "times": {}, "seconds": {}}), {**one, "seconds": {}})
    return found


def add_sum(total: dict[str, Any], more: Mapping[str, Any]) -> None:
    """Add one sum to another, in place."""
    total["n"] += more["n"]
    total["faults"] += more["faults"]
    for name in ("times", "seconds"):
        counts = total[name]
        for each, count in more[name].items():
            counts[each] = counts.get(each, 0) + count


def sum_rows(sums: Mapping[SumKey, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The rows of `decision_sums`."""
    names = ("span", "at", "system", "release", "arm", "mode", "outcome")
    return [{**dict(zip(names, key, strict=True)), **values} for key, values in sums.items()]


def newest_seconds(
    minutes: Iterable[tuple[int, Mapping[str, int]]], since_s: int | None, most: int
) -> list[tuple[int, int]]:
    """(Unix second, decisions) of the newest `most` seconds that had any, the oldest first; `minutes` are (start,
    seconds), the newest first, and are read only as far as needed.
    """
    counts: dict[int, int] = {}
    last = None
    for at, seconds in minutes:
        if last is not None and at != last and len(counts) >= most:
            break
        last = at
        for name, count in seconds.items():
            second = at + int(name)
            if since_s is None or second >= since_s:
                counts[second] = counts.get(second, 0) + count
    return sorted(counts.items())[-most:] if most else []
