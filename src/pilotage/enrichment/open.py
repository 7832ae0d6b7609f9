"""Open the source that a declaration names."""

from __future__ import annotations

import os
from collections.abc import Mapping

from pilotage.contracts.enrichment import Enrichment
from pilotage.contracts.model import ColumnType, DataContract
from pilotage.enrichment.address import address_of
from pilotage.enrichment.model import FeatureSource
from pilotage.enrichment.sql import SqlSource
from pilotage.errors import InputError

__all__ = ["kinds_of", "open_source"]


def open_source(
    declared: Enrichment,
    kinds: Mapping[str, ColumnType],
    *,
    calls: int = 4,
    environ: Mapping[str, str] = os.environ,
) -> FeatureSource:
    """The source; `await start()` before the first key. `kinds` are the types of its columns, `calls` how many at once.

    Raises InputError when this node has no usable address of it, MissingExtra without a database's driver.
    """
    address = address_of(declared.source, environ)
    if bool(declared.table) != (address.database is not None):
        got, expected = ("an HTTP address", "a database") if declared.table else ("a database", "an HTTP address")
        raise InputError(
            f"the feature source {declared.source} is of another kind than its declaration",
            got=got,
            expected=expected,
            mend="name its `table` in the contract, or correct the address",
            code="source_address",
        )
    if address.database is not None:
        return SqlSource(declared, kinds, address.database, calls=calls)
    # Its client costs 0.1 s of every start, and few releases need it.
    from pilotage.enrichment.http import HttpSource

    return HttpSource(declared, kinds, address.http, address.token)


def kinds_of(declared: Enrichment, contract: DataContract) -> dict[str, ColumnType]:
    """The types of the columns that a source brings."""
    return {column.name: column.type for column in contract.features if column.name in declared.columns}
