"""Words that stand where somebody has yet to say something: nobody's name, and no purpose."""

from __future__ import annotations

import re

__all__ = ["UNNAMED", "UNSTATED", "is_placeholder"]

UNNAMED = "TO-BE-NAMED"
UNSTATED = "TO-BE-STATED"
"""What a scaffold writes in the place of an owner, and of anything else that only a person can say."""

_OPEN = re.compile(
    r"(?i)\W*(to[-_ ]be[-_ ](named|stated|done|decided|determined)|todo|tbd|tba|fix[-_ ]?me|change[-_ ]?me|xx+|"
    r"place[-_ ]?holder|somebody|someone|nobody|none|n/a|unknown|your[-_ ]name|name[-_ ]here)?\W*"
)


def is_placeholder(text: str) -> bool:
    """Whether a text says nothing yet, in the words that people leave for later; signs alone say nothing either."""
    return _OPEN.fullmatch(text) is not None
