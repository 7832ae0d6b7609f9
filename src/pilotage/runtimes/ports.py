"""The port behind which a release answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from pilotage.errors import Unavailable
from pilotage.kernel.rows import Value

__all__ = ["CannotAnswer", "Runtime", "not_together"]


class CannotAnswer(Unavailable):
    """The runtime works, and has no answer for this row: trying again would not help, and others are not concerned."""

    code = "cannot_answer"


def not_together() -> Unavailable:
    """What a runtime raises that answers no two rows in one call."""
    return Unavailable("this runtime answers one row a call", mend="ask row by row", code="not_together")


class Runtime(Protocol):
    """Answers one row at a time with the probability of the adverse class.

    Values are the contract's features in contract order. All methods are called from one event loop's thread.
    A runtime that cannot answer raises Unavailable; a caller may retry, because scoring changes nothing. One that
    has no answer for this very row raises CannotAnswer.
    `inline` says whether `score` may be called: it answers in microseconds and never waits. Every runtime has
    `score_async`. `name` is what a decision's attempt records as its target.

    `score_together` and `score_together_async` (the former only when `inline`) answer several rows in one call, as
    many as one of `together.SIZES`. A row may get another score than alone, in its last bits: whether it does is for
    a release to prove. When any row has no answer the call raises what `score_async` would. A runtime that answers
    rows one by one only raises Unavailable (`not_together`).
    """

    @property
    def inline(self) -> bool: ...

    @property
    def name(self) -> str: ...

    async def start(self) -> None:
        """Make ready to answer; raises Unavailable or MissingExtra."""

    def score(self, values: Sequence[Value]) -> float:
        """The score of one row at once; only when `inline`."""

    async def score_async(self, values: Sequence[Value]) -> float:
        """The score of one row."""

    def score_together(self, rows: Sequence[Sequence[Value]]) -> list[float]:
        """The scores of rows at once, in order; only when `inline`."""

    async def score_together_async(self, rows: Sequence[Sequence[Value]]) -> list[float]:
        """The scores of rows, in order."""

    async def close(self) -> None:
        """Stop; answers under way fail with Unavailable."""
