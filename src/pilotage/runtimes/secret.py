"""Secrets that a node has under the name that a release or a contract gives them, and never hands on."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

__all__ = ["Secret"]


class Secret:
    """One line that the node has under a variable's name: in it, or in the file that `{variable}_FILE` names.

    A file is read each time, so that it may be renewed.
    """

    def __init__(self, variable: str, environ: Mapping[str, str] = os.environ) -> None:
        self.variable = variable
        self._value = environ.get(variable, "") if variable else ""
        self._file = environ.get(f"{variable}_FILE", "") if variable else ""

    @property
    def named(self) -> bool:
        """Whether the node has either."""
        return bool(self._value or self._file)

    def read(self) -> str | None:
        """The line; None where there is none, or where it is not one line of printable ASCII without spaces."""
        value = self._value
        if self._file:
            try:
                value = Path(self._file).read_text(encoding="ascii").strip()
            except (OSError, UnicodeError):
                return None
        return value if value and value.isascii() and value.isprintable() and " " not in value else None

    def bearer(self) -> dict[str, str] | None:
        """The header of a call, none without a variable; None when the node has no such token."""
        if not self.variable:
            return {}
        value = self.read()
        return None if value is None else {"authorization": f"Bearer {value}"}
