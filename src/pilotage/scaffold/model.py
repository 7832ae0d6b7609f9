"""What a new system is started with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from pilotage.systems.placeholders import UNNAMED, UNSTATED

__all__ = ["ROLES", "Files", "NewSystem"]

Files = dict[str, bytes]
"""What is written, by path inside the new folder; forward slashes."""

ROLES = ("business", "model", "operations", "risk")
"""The owners that a declaration names."""


@dataclass(frozen=True, kw_only=True)
class NewSystem:
    """What is known of a system before it has a model. What nobody said is a placeholder, which no build accepts."""

    id: str
    name: str
    purpose: str = UNSTATED
    risk_tier: Literal["low", "medium", "high"] = "high"
    owners: Mapping[str, str] = field(default_factory=lambda: dict.fromkeys(ROLES, UNNAMED))
    target: str = "defaulted"
    positive: str = "1"
    subject: str = ""
    ignore: tuple[str, ...] = ()
    personal: tuple[str, ...] = ()
    protected: tuple[str, ...] = ()
    slices: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()
    adverse: str = "refer"
    favourable: str = "approve"
    threshold: float = 0.5

    @property
    def open_fields(self) -> list[str]:
        """The fields of the declaration that somebody has to fill in."""
        said = {"purpose": self.purpose} | {f"owners.{role}": who for role, who in self.owners.items()}
        return [name for name, text in said.items() if text in (UNNAMED, UNSTATED)]
