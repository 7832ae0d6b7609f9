"""What the gateway answers, as types."""

from __future__ import annotations

from typing import Any

import msgspec

__all__ = ["Answer", "Decision", "Description", "Told"]


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What was decided: the probability of the adverse class, and the label that follows from it."""

    score: float
    label: str


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """One decision on record. `answer` is None unless there is one: `outcome` says how it ended.

    `receipt` is what to keep: the id and the hash of the record's leaf. `answered_by` is the arm. In a request of many
    rows `faults` lists how a rejected one does not fit the contract, `error` why another has no answer. `replayed` says
    that this answer was given before to the same idempotency key.
    """

    id: str
    request_id: str
    system: str
    release: str
    outcome: str
    receipt: str = ""
    answered_by: str = ""
    answer: Answer | None = None
    faults: list[dict[str, Any]] = []
    error: dict[str, Any] | None = None
    replayed: bool = False

    @property
    def score(self) -> float | None:
        """The answer's score, None without an answer."""
        return self.answer.score if self.answer is not None else None

    @property
    def label(self) -> str | None:
        """The answer's label, None without an answer."""
        return self.answer.label if self.answer is not None else None


class Description(msgspec.Struct, frozen=True, kw_only=True):
    """A live system: its release, its data contract as JSON values, and a row that fits it.

    `contract` and `example` are None while the release cannot be loaded.
    """

    system: str
    release: str
    stage: str
    stopped: str
    max_rows: int
    contract: dict[str, Any] | None
    example: dict[str, Any] | None


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """An outcome on record: the decision it is of, its event, and its own receipt."""

    decision: str
    event: str
    receipt: str
