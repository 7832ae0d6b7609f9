"""What replaying a decision found."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

__all__ = ["ReplayVerdict", "Verdict"]

Verdict = Literal["bit_exact", "within_tolerance", "differs", "unreplayable"]


class ReplayVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """The verdict on one decision.

    `bit_exact`: the same score to the last bit, and the same label, in the same serving environment (or the same
    contract faults). `within_tolerance`: the score is off by no more than the release declares, the label is the same.
    `recorded` and `replayed` hold score and label, or the faults; `reason` says why it is not bit-exact; `apart` is
    the absolute difference of the scores. `environment` is the digest of the environment that answered again.
    """

    decision: str
    verdict: Verdict
    reason: str = ""
    recorded: dict[str, Any] = {}
    replayed: dict[str, Any] = {}
    environment: str = ""
    apart: float = 0.0
