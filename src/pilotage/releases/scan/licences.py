"""The licence of a package as an SPDX expression, how it is known, and what a policy says of it. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from typing import Literal

import msgspec
from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

from pilotage.releases.scan.packages import Distribution

__all__ = ["Licence", "Ruling", "is_copyleft", "licence_of", "rule_on", "spdx"]

Ruling = Literal["allowed", "review", "denied", "unknown"]
_ORDER: tuple[Ruling, ...] = ("allowed", "review", "denied")

_COPYLEFT = ("GPL-", "AGPL-", "LGPL-", "MPL-", "EPL-", "EUPL-", "CDDL-", "OSL-", "SSPL-", "CC-BY-SA-", "CECILL-")

_SPOKEN = {
    "mit license": "MIT",
    "the mit license": "MIT",
    "apache": "Apache-2.0",
    "apache 2": "Apache-2.0",
    "apache 2.0": "Apache-2.0",
    "apache license 2.0": "Apache-2.0",
    "apache license, version 2.0": "Apache-2.0",
    "apache license version 2.0": "Apache-2.0",
    "apache license v2.0": "Apache-2.0",
    "apache software license": "Apache-2.0",
    "bsd 2-clause license": "BSD-2-Clause",
    "2-clause bsd license": "BSD-2-Clause",
    "bsd 3-clause": "BSD-3-Clause",
    "bsd 3-clause license": "BSD-3-Clause",
    "3-clause bsd license": "BSD-3-Clause",
    "new bsd": "BSD-3-Clause",
    "modified bsd": "BSD-3-Clause",
    "isc license (iscl)": "ISC",
    "isc license": "ISC",
    "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0",
    "python software foundation license": "PSF-2.0",
    "the unlicense (unlicense)": "Unlicense",
    "zlib/libpng license": "Zlib",
    "gnu general public license v2 (gplv2)": "GPL-2.0-only",
    "gnu general public license v2 or later (gplv2+)": "GPL-2.0-or-later",
    "gnu general public license v3 (gplv3)": "GPL-3.0-only",
    "gnu general public license v3 or later (gplv3+)": "GPL-3.0-or-later",
    "gnu affero general public license v3": "AGPL-3.0-only",
    "gnu affero general public license v3 or later (agplv3+)": "AGPL-3.0-or-later",
    "gnu lesser general public license v3 (lgplv3)": "LGPL-3.0-only",
    "gnu lesser general public license v3 or later (lgplv3+)": "LGPL-3.0-or-later",
    "gnu lesser general public license v2 or later (lgplv2+)": "LGPL-2.0-or-later",
}
"""What free text and trove classifiers mean, where they mean one licence. "BSD License" means two, and is not here."""


def _is_bsd(text: str) -> bool:
    return "redistribution and use in source and binary forms" in text


_TEXTS: tuple[tuple[str, Callable[[str], bool]], ...] = (
    ("Apache-2.0", lambda text: "apache license" in text and "version 2.0, january 2004" in text),
    ("MPL-2.0", lambda text: "mozilla public license version 2.0" in text),
    ("AGPL-3.0-only", lambda text: "gnu affero general public license version 3" in text),
    ("LGPL-3.0-only", lambda text: "gnu lesser general public license version 3" in text),
    ("GPL-3.0-only", lambda text: "gnu general public license version 3" in text),
    ("GPL-2.0-only", lambda text: "gnu general public license version 2" in text),
    ("MIT", lambda text: "permission is hereby granted, free of charge, to any person obtaining a copy" in text),
    ("BSD-3-Clause", lambda text: _is_bsd(text) and "neither the name" in text),
    ("BSD-2-Clause", _is_bsd),
    ("ISC", lambda text: "permission to use, copy, modify, and/or distribute this software for any purpose" in text),
)


class Licence(msgspec.Struct, frozen=True, kw_only=True):
    """An SPDX expression and where it was read; `said` is what stood there. Empty: nothing that can be read says it."""

    expression: str = ""
    source: Literal["expression", "metadata", "classifier", "file", "none"] = "none"
    said: str = ""


def spdx(text: str) -> str:
    """An SPDX expression in its canonical form, from an expression or a usual name; empty when it is neither."""
    said = " ".join(text.split())
    if known := _SPOKEN.get(said.casefold()):
        return known
    try:
        return str(canonicalize_license_expression(said)) if said else ""
    except InvalidLicenseExpression:
        return ""


def licence_of(found: Distribution | None) -> Licence:
    """What a distribution's metadata says: the expression, then the field, one clear classifier, a licence file."""
    if found is None:
        return Licence()
    if made := spdx(found.expression):
        return Licence(expression=made, source="expression", said=found.expression)
    if made := spdx(found.licence):
        return Licence(expression=made, source="metadata", said=found.licence)
    clear = {made for name in found.classifiers if (made := spdx(name))}
    if len(clear) == 1:
        return Licence(expression=clear.pop(), source="classifier", said="; ".join(found.classifiers))
    for text in found.files:
        flat = " ".join(text.split()).casefold()
        for name, told in _TEXTS:
            if told(flat):
                return Licence(expression=name, source="file", said=name)
    return Licence(said="; ".join(found.classifiers) or found.licence[:80])


def is_copyleft(name: str) -> bool:
    """Whether one SPDX identifier asks that what is made with it be shared alike, wholly or by file."""
    return name.startswith(_COPYLEFT)


def rule_on(expression: str, *, allowed: Collection[str] = (), denied: Collection[str] = ()) -> Ruling:
    """What a policy says of an expression: of `A OR B` the better, of `A AND B` the worse.

    Denied is denied; where some are allowed, another is denied; copyleft that nobody allowed is for review.
    """
    if not expression:
        return "unknown"
    tokens = re.findall(r"\(|\)|[^\s()]+", expression)
    ruling, _ = _either(tokens, 0, lambda name: _rule_one(name, allowed, denied))
    return ruling


def _rule_one(name: str, allowed: Collection[str], denied: Collection[str]) -> Ruling:
    if name in denied:
        return "denied"
    if name in allowed:
        return "allowed"
    if allowed:
        return "denied"
    return "review" if is_copyleft(name) else "allowed"


def _either(tokens: list[str], at: int, rule: Callable[[str], Ruling]) -> tuple[Ruling, int]:
    ruling, at = _all(tokens, at, rule)
    while at < len(tokens) and tokens[at] == "OR":
        other, at = _all(tokens, at + 1, rule)
        ruling = min(ruling, other, key=_ORDER.index)
    return ruling, at


def _all(tokens: list[str], at: int, rule: Callable[[str], Ruling]) -> tuple[Ruling, int]:
    ruling, at = _one(tokens, at, rule)
    while at < len(tokens) and tokens[at] == "AND":
        other, at = _one(tokens, at + 1, rule)
        ruling = max(ruling, other, key=_ORDER.index)
    return ruling, at


def _one(tokens: list[str], at: int, rule: Callable[[str], Ruling]) -> tuple[Ruling, int]:
    if tokens[at] == "(":
        ruling, at = _either(tokens, at + 1, rule)
        return ruling, at + 1
    # An exception only gives leave: it is read with its licence.
    after = at + 3 if tokens[at + 1 : at + 2] == ["WITH"] else at + 1
    return rule(tokens[at]), after
