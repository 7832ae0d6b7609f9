"""The `serving:` section of `pilotage.yaml`: how a system answers when all is well, and what happens when it is not."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal

import msgspec

__all__ = ["Breaker", "Bulkhead", "Retry", "ServingRules", "serving_faults"]

Fault = tuple[str, str, object, str]


class Retry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How often a call of an upstream is tried in all, within a budget, after pauses of full jitter.

    `budget` is the share of calls that may be tried again, on top of a reserve of ten; the pause before try n is a
    random time up to `base` * 2^(n-1) seconds, at most `most`.
    """

    attempts: int = 2
    budget: float = 0.1
    base: float = 0.02
    most: float = 0.5


class Breaker(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When an upstream is left alone: `failures` (a share) of at least `calls` calls within `window` seconds.

    After `open` seconds one call at a time tries it.
    """

    failures: float = 0.5
    calls: int = 10
    window: float = 10.0
    open: float = 5.0


class Bulkhead(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How many calls an upstream works on at once in one worker, and how many seconds another one waits for a place."""

    calls: int = 16
    wait: float = 0.1


class ServingRules(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a system answers.

    `deadline` in seconds caps what a caller asks for. `fallback` lists what answers when the live release cannot, in
    order: the `previous` release of the stage, then the `rules` of the file that `rules` names. `stopped` says what a
    stopped system does. An answer that is less probable than `floor` is not given: `below` says whether a person
    reviews it or nobody does. Up to `together` rows share a call of the model, where the build proved that this
    changes no answer and measured that it is faster; 1 never.
    """

    deadline: float = 5.0
    max_rows: int = 1_000
    fallback: list[Literal["previous", "rules"]] = []
    rules: str = ""
    stopped: Literal["refuse", "fallback"] = "refuse"
    floor: float = 0.0
    below: Literal["review", "abstain"] = "review"
    retry: Retry = Retry()
    breaker: Breaker = Breaker()
    bulkhead: Bulkhead = Bulkhead()
    together: int = 64


def serving_faults(serving: ServingRules) -> Iterator[Fault]:
    """What types cannot say: (path, message, got, mend) of each fault."""
    for path, value, low, high in (
        ("deadline", serving.deadline, 0.001, 300.0),
        ("max_rows", serving.max_rows, 1, 100_000),
        ("floor", serving.floor, 0.0, 1.0),
        ("retry.attempts", serving.retry.attempts, 1, 10),
        ("retry.budget", serving.retry.budget, 0.0, 1.0),
        ("retry.base", serving.retry.base, 0.0, 10.0),
        ("retry.most", serving.retry.most, 0.0, 60.0),
        ("breaker.failures", serving.breaker.failures, 0.01, 1.0),
        ("breaker.calls", serving.breaker.calls, 1, 10_000),
        ("breaker.window", serving.breaker.window, 0.1, 3_600.0),
        ("breaker.open", serving.breaker.open, 0.01, 3_600.0),
        ("bulkhead.calls", serving.bulkhead.calls, 1, 10_000),
        ("bulkhead.wait", serving.bulkhead.wait, 0.0, 60.0),
        ("together", serving.together, 1, 64),
    ):
        if not math.isfinite(value) or not low <= value <= high:
            yield f"serving.{path}", "is out of range", value, f"a number from {low:g} to {high:g}"
    if len(set(serving.fallback)) != len(serving.fallback):
        yield "serving.fallback", "names the same twice", ", ".join(serving.fallback), "name each once"
    if ("rules" in serving.fallback) != bool(serving.rules):
        mend = "name the file in `serving.rules` and list `rules` in `serving.fallback`, or neither"
        yield "serving.rules", "the file and the chain do not agree", serving.rules, mend
    if serving.stopped == "fallback" and not serving.fallback:
        yield "serving.stopped", "there is nothing to fall back to", serving.stopped, "list `serving.fallback`"
