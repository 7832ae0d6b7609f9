"""Whether the sources that a contract names are there and agree with it, before anybody depends on them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping

from pilotage.contracts.enrichment import Enrichment
from pilotage.contracts.model import DataContract
from pilotage.enrichment.address import is_set
from pilotage.enrichment.model import Told
from pilotage.enrichment.open import kinds_of, open_source
from pilotage.errors import InputError, PilotageError

__all__ = ["inspect_sources", "require_sources"]


def inspect_sources(contract: DataContract, environ: Mapping[str, str] = os.environ) -> list[Told]:
    """What there is to say of each source of a contract, from this process's settings. Asks for nobody."""
    return [told for each in contract.enrichment for told in _told(each, contract, environ)]


def require_sources(contract: DataContract, environ: Mapping[str, str] = os.environ) -> None:
    """Raises InputError with all that does not agree, of the sources whose address is set here.

    Where a release is built nobody may be able to reach them; the gateway's own check needs them all.
    """
    set_here = [each for each in contract.enrichment if is_set(each.source, environ)]
    found = [(each, told) for each in set_here for told in _told(each, contract, environ) if not told.fine]
    if found:
        raise InputError(
            "the feature sources do not agree with the data contract",
            mend="mend every fault listed; or unset their addresses, to build without a look at them",
            code="invalid_contract",
            faults=[
                {
                    "path": f"enrichment.{each.source}",
                    "code": "invalid_contract",
                    "message": told.what,
                    "mend": told.mend,
                }
                for each, told in found
            ],
        )


def _told(declared: Enrichment, contract: DataContract, environ: Mapping[str, str]) -> list[Told]:
    try:
        return asyncio.run(_inspected(declared, contract, environ))
    except PilotageError as error:
        return [Told(False, error.what, error.mend)]


async def _inspected(declared: Enrichment, contract: DataContract, environ: Mapping[str, str]) -> list[Told]:
    source = open_source(declared, kinds_of(declared, contract), calls=1, environ=environ)
    try:
        return await source.inspect()
    finally:
        await source.close()
