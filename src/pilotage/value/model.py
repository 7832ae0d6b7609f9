"""The business case as people state it: each input a low, likely and high figure with where it comes from."""

from __future__ import annotations

from typing import Literal

import msgspec

__all__ = ["INPUTS", "Attribution", "Case", "Estimate", "Input", "figure"]

Attribution = Literal["a/b test", "before and after with a control", "not attributed"]
"""How a gain is known to come from the system and from nothing else."""


class Estimate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A figure and how far it may be off: `low` ≤ `likely` ≤ `high`.

    `source` is the document or the meter that it comes from, `by` the person who stated it, `date` when (ISO).
    """

    low: float
    likely: float
    high: float
    source: str = ""
    by: str = ""
    date: str = ""

    @property
    def supported(self) -> bool:
        """Whether it names its source and its date; the rest are assumptions, and are shown as such."""
        return bool(self.source.strip() and self.date.strip())


class Case(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The sheet. Money is in `currency`; a share is 0 to 1; `ramp` is the part of the adoption reached in each year.

    What a pilot has cost so far is spent whatever is decided, and is no input.
    """

    name: str
    currency: str
    years: int
    ramp: list[float] = msgspec.field(default_factory=lambda: [1.0])
    attribution: Attribution = "not attributed"
    inputs: dict[str, Estimate]


class Input(msgspec.Struct, frozen=True, kw_only=True):
    """One input of the sheet: what it is asked as, its unit, and what it may be. `default` None: it must be given."""

    name: str
    part: str
    ask: str
    unit: str
    default: float | None = None
    most: float = 1e15
    least: float = 0.0


def _input(name: str, part: str, ask: str, unit: str, default: float | None = None, most: float = 1e15) -> Input:
    return Input(name=name, part=part, ask=ask, unit=unit, default=default, most=most)


_SHARE = "share, 0 to 1"

INPUTS = {
    each.name: each
    for each in (
        _input("volume", "How much of it", "decisions a year that the system could take part in", "decisions a year"),
        _input(
            "adoption",
            "How much of it",
            "of these, how many its output is used for once all are at it",
            _SHARE,
            None,
            1,
        ),
        _input("minutes", "A decision today", "what one takes a person", "minutes"),
        _input("wage", "A decision today", "what an hour of that person costs, all included", "money an hour"),
        _input("rework_rate", "A decision today", "how many come back to be done again", _SHARE, 0.0, 1),
        _input("rework_cost", "A decision today", "what one that comes back costs", "money", 0.0),
        _input("error_rate", "A decision today", "how many are wrong", _SHARE, 0.0, 1),
        _input("error_cost", "A decision today", "what a wrong one costs on average", "money", 0.0),
        _input("tools", "A decision today", "licences, bureau data and the like", "money a decision", 0.0),
        _input("compute", "A decision with it", "servers and enrichment", "money a decision", 0.0),
        _input(
            "tokens",
            "A decision with it",
            "tokens of one task: retries, guards and cache misses included",
            "tokens",
            0.0,
        ),
        _input("token_price", "A decision with it", "what a million of them costs", "money", 0.0),
        _input("resolved", "A decision with it", "how many it settles; the rest are done as today", _SHARE, 1.0, 1),
        _input("review_rate", "A decision with it", "how many a person looks at all the same", _SHARE, 0.0, 1),
        _input("review_minutes", "A decision with it", "how long such a look takes", "minutes", 0.0),
        _input("false_positive_rate", "Its errors", "decisions that are wrongly adverse, of all", _SHARE, 0.0, 1),
        _input("false_positive_cost", "Its errors", "what such a one costs", "money", 0.0),
        _input("false_negative_rate", "Its errors", "decisions that are wrongly favourable, of all", _SHARE, 0.0, 1),
        _input("false_negative_cost", "Its errors", "what such a one costs", "money", 0.0),
        _input("uplift", "Each year", "what it brings beside saved cost", "money a year", 0.0),
        _input("platform", "Each year", "platform, licences, hosting that do not grow with use", "money a year", 0.0),
        _input("monitoring", "Each year", "watching it, answering its alerts, audits", "money a year", 0.0),
        _input("run", "Each year", "the people who keep it running", "money a year", 0.0),
        _input("retrain", "Each year", "renewing the model", "money a year", 0.0),
        _input(
            "investment",
            "Once",
            "what is still to be spent until it is live; what was spent so far is not counted",
            "money",
        ),
        _input(
            "lost_window",
            "Once",
            "what is lost for good with each month of delay, beside the month's gain",
            "money a month",
            0.0,
        ),
        _input("discount_rate", "Once", "what money costs the company", "share a year", 0.08, 1),
    )
}
"""Every input by its name, in the order of the sheet."""


def figure(value: float) -> str:
    """A figure of an input as people write it: whole from a thousand on, else four digits."""
    return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:.4g}"
