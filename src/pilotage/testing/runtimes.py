"""The contract suite of runtimes: what every implementation of the port must hold to. For plug-in authors too."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from pilotage.errors import Unavailable
from pilotage.kernel.rows import Value
from pilotage.runtimes.ports import Runtime
from pilotage.runtimes.together import filled

__all__ = ["check_runtime"]


async def check_runtime(
    make: Callable[[], Runtime], rows: Sequence[Sequence[Value]], scores: Sequence[float], unanswerable: Sequence[Value]
) -> None:
    """Hold a runtime to the port. Raises AssertionError.

    `make` opens a new one; `scores` are those of `rows`, to the last bit; `unanswerable` is a row without an answer.
    """
    runtime = make()
    assert runtime.name  # noqa: S101 - this is a test suite
    await runtime.start()
    try:
        await _answers(runtime, rows, scores)
        await _answers_together(runtime, rows, scores)
        await _fails_cleanly(runtime, unanswerable)
        assert await runtime.score_async(rows[0]) == scores[0], "an unanswerable row must not spoil the next"  # noqa: S101
    finally:
        await runtime.close()
    again = make()
    await again.start()
    try:
        assert await again.score_async(rows[0]) == scores[0], "a second one must answer alike"  # noqa: S101
    finally:
        await again.close()


async def _answers(runtime: Runtime, rows: Sequence[Sequence[Value]], scores: Sequence[float]) -> None:
    """One by one, all at once, and in another order: the same bits."""
    one_by_one = [await runtime.score_async(row) for row in rows]
    at_once = await asyncio.gather(*(runtime.score_async(row) for row in rows))
    backwards = [await runtime.score_async(row) for row in reversed(rows)]
    for found in (one_by_one, list(at_once), backwards[::-1]):
        assert [score.hex() for score in found] == [score.hex() for score in scores]  # noqa: S101
    if runtime.inline:
        assert [runtime.score(row) for row in rows] == list(scores)  # noqa: S101


async def _answers_together(runtime: Runtime, rows: Sequence[Sequence[Value]], scores: Sequence[float]) -> None:
    """In one call: nearly the same scores, in order. Or it says that it answers row by row."""
    given = filled(rows[:64])
    expected = [*scores[:64], *[scores[min(len(scores), 64) - 1]] * (len(given) - min(len(rows), 64))]
    try:
        found = await runtime.score_together_async(given)
    except Unavailable as error:
        assert error.code == "not_together"  # noqa: S101
        return
    near = [abs(one - other) <= 1e-9 for one, other in zip(found, expected, strict=True)]
    assert all(near)  # noqa: S101
    if runtime.inline:
        assert runtime.score_together(given) == found  # noqa: S101


async def _fails_cleanly(runtime: Runtime, unanswerable: Sequence[Value]) -> None:
    """What cannot be answered raises Unavailable, and so does `score` of a runtime that is not inline."""
    try:
        await runtime.score_async(unanswerable)
    except Unavailable:
        pass
    else:
        raise AssertionError("a row without an answer must raise Unavailable")
    if not runtime.inline:
        try:
            runtime.score(unanswerable)
        except Unavailable:
            return
        raise AssertionError("`score` of a runtime that is not inline must raise Unavailable")
