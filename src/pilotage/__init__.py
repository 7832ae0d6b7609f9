"""Pilotage takes an AI pilot to governed production."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pilotage.client.client import AsyncClient as AsyncClient
    from pilotage.client.client import Client as Client

__all__ = ["__version__"]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """`Client` and `AsyncClient`, loaded when they are first named: their HTTP library would slow every command."""
    if name in ("AsyncClient", "Client"):
        return getattr(import_module("pilotage.client.client"), name)
    raise AttributeError(f"module 'pilotage' has no attribute {name!r}")
