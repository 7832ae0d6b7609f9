"""What `pilotage.yaml` declares: purpose, owners, risk tier, the pilot's files, and how its score becomes an answer."""

from __future__ import annotations

from typing import Literal

import msgspec

__all__ = ["STAGES", "AISystem", "Answer", "Owners", "Pilot", "Reason", "Stage"]

Stage = Literal["pilot", "internal", "limited", "general", "retired"]
STAGES: tuple[Stage, ...] = ("pilot", "internal", "limited", "general", "retired")


class Owners(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who is accountable, by role or address: for the business outcome, the model, its operation, its risk."""

    business: str
    model: str
    operations: str
    risk: str


class Pilot(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The pilot's files, relative to `pilotage.yaml`, and what its data means.

    `target` is the label column and `positive` its value that the score is the probability of. `subject` names the
    column that identifies a person. `ignore` are columns that are neither subject, target nor feature.
    """

    artefact: str
    data: str
    target: str
    positive: str
    subject: str = ""
    ignore: list[str] = []
    personal: list[str] = []
    protected: list[str] = []
    slices: list[str] = []
    categorical: list[str] = []
    holdout: float = 0.25
    seed: int = 2026


class Answer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a score becomes an answer: at or above `threshold` it is the `adverse` label, below it the `favourable`.

    `tolerance` is the largest score difference that replay still calls `within_tolerance`.
    """

    threshold: float = 0.5
    adverse: str = "adverse"
    favourable: str = "favourable"
    tolerance: float = 1e-6


class Reason(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One entry of the code map: a group of features that are explained together, and the text a person reads."""

    code: str
    text: str
    features: list[str]
    actionable: bool = True


class AISystem(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One AI system. `id` is used in addresses: lower-case letters, digits and hyphens."""

    id: str
    name: str
    purpose: str
    risk_tier: Literal["low", "medium", "high"]
    owners: Owners
    pilot: Pilot
    answer: Answer = Answer()
    reasons: list[Reason] = []
    contract: str = ""
    author: str = ""
