"""Forms by regular expression, matched in time linear in the text whatever the expression: by RE2, never by Python's.

A pattern means what it means in JSON Schema and ODCS: it is found anywhere in the text unless `^` and `$` bind it, as
ECMA-262 writes them. What RE2 and ECMA-262 do not both have, or read otherwise, is refused: lookaround and references
to groups (no engine matches them in linear time), inline flags, named groups, other anchors than `^`, `$`, `\\b`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

import re2

from pilotage.errors import InputError

__all__ = ["MOST_PATTERN", "compile_pattern"]

MOST_PATTERN = 500
_MOST_BYTES = 1 << 20
"""Memory that one compiled expression may take: it bounds what repetitions of repetitions unfold to."""
_TOKENS = re.compile(r"\\(?P<escape>.)|(?P<group>\(\?.?)|(?P<class>\[\[:)", re.DOTALL)
_ESCAPES = frozenset("bBdDwWsStnrfv\\/^$.|?*+()[]{}-")
_EXPECTED = "a regular expression that RE2 and ECMA-262 both have: no lookaround, references, flags or named groups"


@lru_cache(maxsize=1_024)
def compile_pattern(pattern: str) -> Callable[[str], object]:
    """A function that is true of text in which the pattern is found. Raises InputError (`invalid_pattern`)."""
    if not pattern or len(pattern) > MOST_PATTERN:
        raise _invalid(f"{len(pattern)} characters", f"1 to {MOST_PATTERN} characters")
    for token in _TOKENS.finditer(pattern):
        escape, group = token["escape"], token["group"]
        if (escape and escape not in _ESCAPES) or (group and group != "(?:") or token["class"]:
            raise _invalid(f"{token.group()} at {token.start()}", _EXPECTED)
    options = re2.Options()
    options.log_errors, options.max_mem = False, _MOST_BYTES
    try:
        found: Callable[[str], object] = re2.compile(pattern, options).search
    except re2.error as error:
        told = error.args[0] if error.args else ""
        raise _invalid(told.decode(errors="replace") if isinstance(told, bytes) else told, _EXPECTED) from None
    return found


def _invalid(got: object, expected: str) -> InputError:
    return InputError(
        "the pattern cannot be used", got=got, expected=expected, mend="write it so", code="invalid_pattern"
    )
