"""Forms that text may be demanded to have; each is checked in time linear in the text, which is bounded first."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date

__all__ = ["DATED", "FORMS", "LONGEST", "is_formatted"]

LONGEST = 320
"""The most characters of text that has a form."""
_SPACE = " \\t\\n\\r\\f\\v\x1c\x1d\x1e\x1f\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
_DAY = "[0-9]{4}-[0-9]{2}-[0-9]{2}"
_HOUR = "(?:[01][0-9]|2[0-3])"
_LABEL = "[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"

FORMS: Mapping[str, str] = {
    "date": _DAY,
    "datetime": f"{_DAY}T{_HOUR}:[0-5][0-9](?::[0-5][0-9](?:[.][0-9]{{1,6}})?)?(?:Z|[+-]{_HOUR}:[0-5][0-9])?",
    "email": f'[^{_SPACE}@"(),:;<>\\[\\]\\\\]{{1,64}}@{_LABEL}(?:[.]{_LABEL})+',
    "uuid": "[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}",
}
"""What the whole of a text matches that has the form, in words that Python's engine and RE2 read alike."""
DATED = ("date", "datetime")
"""The forms that begin with a day, which must be one of the calendar."""

_compiled = {form: re.compile(pattern) for form, pattern in FORMS.items()}


def is_formatted(form: str, text: str) -> bool:
    """Whether text has a form: `date` and `datetime` of ISO 8601, `email`, `uuid`."""
    if len(text) > LONGEST or _compiled[form].fullmatch(text) is None:
        return False
    if form not in DATED:
        return True
    try:
        return bool(date.fromisoformat(text[:10]))
    except ValueError:
        return False
