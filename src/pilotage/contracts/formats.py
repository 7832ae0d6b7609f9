"""Forms that text may be demanded to have; each is checked in time linear in the text, which is bounded first."""

from __future__ import annotations

import re
from datetime import date, datetime

__all__ = ["is_formatted"]

_LONGEST = 320
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_MOMENT = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}(:\d{2}(\.\d{1,6})?)?(Z|[+-]\d{2}:\d{2})?", re.ASCII)
_UUID = re.compile(r"[0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}")
_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
_LOCAL = re.compile(r"[^\s@\"(),:;<>\[\]\\]{1,64}")


def is_formatted(form: str, text: str) -> bool:
    """Whether text has a form: `date` and `datetime` of ISO 8601, `email`, `uuid`."""
    if len(text) > _LONGEST:
        return False
    if form == "uuid":
        return _UUID.fullmatch(text) is not None
    if form == "email":
        local, _, domain = text.rpartition("@")
        labels = domain.split(".")
        return _LOCAL.fullmatch(local) is not None and len(labels) > 1 and all(map(_LABEL.fullmatch, labels))
    try:
        if form == "date":
            return _DATE.fullmatch(text) is not None and bool(date.fromisoformat(text))
        return _MOMENT.fullmatch(text) is not None and bool(datetime.fromisoformat(text))
    except ValueError:
        return False
