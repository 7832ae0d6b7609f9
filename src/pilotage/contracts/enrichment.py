"""What of a row comes from a feature source by an entity's key: the declaration, and one value as it was drawn.

The contract names a source; its address and its secrets are the node's. A value that is not there, or older than it may
be, is a fault of its column like any other: `on_fault` says what is done about it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import msgspec

from pilotage.errors import InputError
from pilotage.kernel.clock import parse_duration

__all__ = ["CODES", "REQUEST", "Drawn", "Enrichment", "SourceCode", "enrichment_faults"]

SourceCode = Literal["not_found", "stale", "source_failed"]
CODES: tuple[SourceCode, ...] = ("not_found", "stale", "source_failed")
"""The faults that only a column has which a source brings: no row of the key; too old; no answer of the source."""

REQUEST = "request"
"""Stands for the source of a value that the request brought itself."""

_MOST_CACHE_US = 3_600 * 1_000_000
_MOST_TIMEOUT_S = 60.0
_MOST_SOURCES = 16
_MOST_COLUMNS = 200
_LONGEST_NAME = 128
Said = tuple[str, str, object, str, str]


class Enrichment(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Columns that a source brings. `key` and `columns` map the contract's names to the source's.

    `table` is that of a SQL source, with its schema before a point; empty for an HTTP source. `time` is the source's
    column of a value's own time, `max_age` how old a value may be, such as `24h`. `timeout` bounds a lookup, in
    seconds. `cache` is how long a worker may use a value again, at most an hour. `override` says whether a request may
    bring a value itself.
    """

    source: str
    key: dict[str, str]
    columns: dict[str, str]
    table: str = ""
    time: str = ""
    max_age: str = ""
    timeout: float = 1.0
    cache: str = ""
    override: Literal["refuse", "request"] = "refuse"

    @property
    def max_age_s(self) -> float | None:
        """How old a value may be, in seconds; None where nothing bounds it."""
        return parse_duration(self.max_age) / 1e6 if self.max_age else None

    @property
    def cache_s(self) -> float:
        """How long a value may be used again, in seconds."""
        return parse_duration(self.cache) / 1e6 if self.cache else 0.0


class Drawn(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One value as it was drawn from a source, as the record keeps it: enough to judge it again without the source.

    `at` is the value's own time in Unix microseconds, `age_s` its age when it was used. `cached`: the worker had it.
    `status` is `ok`, `not_found`, or why the source gave none; `fault` the code of what the contract found.
    """

    column: str
    source: str
    value: float | str | bool | None = None
    at: int | None = None
    age_s: float | None = None
    cached: bool = False
    status: str = "ok"
    fault: str = ""


def enrichment_faults(
    declared: Sequence[Enrichment], inputs: Mapping[str, str], features: set[str], subject: str
) -> Iterator[Said]:
    """(path, message, got, expected, mend) of each fault. `inputs` are the types of features and the subject."""
    if len(declared) > _MOST_SOURCES:
        yield "enrichment", "too many entries", len(declared), f"at most {_MOST_SOURCES}", "put columns together"
    taken: set[str] = set()
    for place, each in enumerate(declared):
        path = f"enrichment[{place}]"
        brought = {name for other in declared for name in other.columns}
        yield from _names(path, each)
        for name in each.columns:
            if name not in features:
                yield f"{path}.columns", "is no feature of the contract", name, "a feature", "correct the name"
            elif name in taken:
                yield f"{path}.columns", "two entries bring one column", name, "one source", "remove one"
        taken |= set(each.columns)
        for name in each.key:
            if name not in inputs or (name != subject and inputs[name] not in ("integer", "string")):
                yield f"{path}.key", "is no key", name, "the subject, or a feature of integers or text", "correct it"
            elif name in brought:
                yield f"{path}.key", "is brought by a source itself", name, "an input of the request", "correct it"
        yield from _times(path, each)


def _names(path: str, each: Enrichment) -> Iterator[Said]:
    plain = each.source.replace("_", "").isalnum() and each.source.isascii() and each.source == each.source.lower()
    reserved = each.source == REQUEST or each.source.endswith(("_file", "_token"))
    if not plain or not each.source[:1].isalpha() or len(each.source) > 40 or reserved:
        expected = "small letters, digits, `_`, at most 40; not `request`, nor ending in `_file` or `_token`"
        yield f"{path}.source", "is not usable as a name", each.source, expected, "rename it"
    for field, names in (("key", each.key), ("columns", each.columns)):
        if not names or len(names) > _MOST_COLUMNS:
            yield f"{path}.{field}", "is empty, or too long", len(names), f"1 to {_MOST_COLUMNS} names", "name them"
    theirs = [*each.key.values(), *each.columns.values(), *([each.time] if each.time else [])]
    parts = each.table.split(".") if each.table else []
    for name in [*theirs, *parts]:
        if not name or len(name) > _LONGEST_NAME or not name.isprintable() or '"' in name:
            yield path, "is not a name at a source", name, "printable text without quotes", "correct it"
    if len(parts) > 2:
        yield f"{path}.table", "is not a table", each.table, "table, or schema.table", "correct it"
    if len(set(theirs)) != len(theirs):
        yield path, "one column of the source is named twice", ", ".join(theirs), "distinct names", "name each once"


def _times(path: str, each: Enrichment) -> Iterator[Said]:
    if bool(each.time) != bool(each.max_age):
        expected = "both or neither"
        yield f"{path}.max_age", "a limit of age needs the time of a value", each.max_age, expected, "name `time`"
    for field, text in (("max_age", each.max_age), ("cache", each.cache)):
        try:
            length = parse_duration(text) if text else 1
        except InputError as error:
            yield f"{path}.{field}", error.what, text, str(error.expected), "write it so"
            return
        if length <= 0:
            yield f"{path}.{field}", "is no length", text, "more than nothing", "correct it, or leave it out"
    if each.cache and parse_duration(each.cache) > _MOST_CACHE_US:
        yield f"{path}.cache", "is too long: erasure cannot reach into it", each.cache, "at most 1h", "shorten it"
    if each.cache and each.max_age and parse_duration(each.cache) > parse_duration(each.max_age):
        yield f"{path}.cache", "is longer than a value may be old", each.cache, each.max_age, "shorten it"
    if not 0.001 <= each.timeout <= _MOST_TIMEOUT_S:
        expected = f"0.001 to {_MOST_TIMEOUT_S:g} seconds"
        yield f"{path}.timeout", "is out of range", each.timeout, expected, "correct it"
