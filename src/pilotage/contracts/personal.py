"""Whether a column looks like personal data, by its name or by its values. A hint to a person, not a verdict."""

from __future__ import annotations

import re
from collections.abc import Sequence

__all__ = ["looks_personal", "looks_protected"]

_names: tuple[tuple[str, str], ...] = (
    (
        "a name",
        r"(first|last|middle|full|sur|family|given|maiden|customer|client|person)_?name|name|nom|vorname|nachname",
    ),
    ("an e-mail address", r"e_?mail(_?address)?"),
    ("a telephone number", r"(tele|cell)?_?(phone|fax|mobile)(_?(no|number))?"),
    ("an address", r"(street|home|postal|mailing|ip)?_?address|street|zip(_?code)?|post_?(al_?)?code"),
    ("a date of birth", r"(date_?of_?birth|birth_?(date|day|year)|dob)"),
    ("an identity number", r"(ssn|social_?security(_?number)?|passport(_?no|_?number)?|national_?id|tax_?id|iban|nin)"),
    ("an age", r"age(_?(years|group|band))?"),
    ("sex or gender", r"sex|gender"),
    ("a family status", r"marriage|marital(_?status)?|civil_?status"),
    ("origin, belief or health", r"race|ethnicity|nationality|religion|disability|citizenship|country_?of_?birth"),
    ("an education", r"education(_?level)?"),
)
_values: tuple[tuple[str, str], ...] = (
    ("e-mail addresses", r"[^@\s]+@[^@\s]+\.[a-z]{2,}"),
    ("telephone numbers", r"(\+|00)[1-9][\d \-()]{7,17}\d"),
    ("bank account numbers", r"[A-Z]{2}\d{2}[A-Z0-9]{11,30}"),
    ("social security numbers", r"\d{3}-\d{2}-\d{4}"),
    ("network addresses", r"(\d{1,3}\.){3}\d{1,3}"),
)
_protected = ("a date of birth", "an age", "sex or gender", "a family status", "origin, belief or health")
SHARE = 0.5

_name_patterns = [(words, re.compile(pattern)) for words, pattern in _names]
_value_patterns = [(words, re.compile(pattern, re.IGNORECASE)) for words, pattern in _values]


def looks_personal(name: str, sample: Sequence[str]) -> str:
    """Why the column looks personal, or empty text. `sample` are some of its values, as text."""
    if words := _named(name):
        return f"its name looks like {words}"
    for words, pattern in _value_patterns:
        if sample and sum(pattern.fullmatch(value.strip()) is not None for value in sample) > SHARE * len(sample):
            return f"its values look like {words}"
    return ""


def looks_protected(name: str) -> str:
    """Why the column looks like a characteristic that decisions must not turn on, by its name; or empty text."""
    words = _named(name)
    return f"its name looks like {words}" if words in _protected else ""


def _named(name: str) -> str:
    plain = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|[\s.\-]+", "_", name).lower()
    return next((words for words, pattern in _name_patterns if pattern.fullmatch(plain)), "")
