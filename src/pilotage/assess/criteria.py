"""The criteria, read from the packaged `criteria.yaml`: data, so that they can be argued about without reading code."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import Any

import msgspec
import yaml

from pilotage.assess.model import DIMENSIONS, Criterion
from pilotage.errors import InputError

__all__ = ["load_criteria", "parse_criteria"]


@cache
def load_criteria() -> Mapping[str, Criterion]:
    """All criteria by id, in the order of the file, which is read once."""
    text = resources.files("pilotage.assess").joinpath("criteria.yaml").read_text()
    return MappingProxyType(parse_criteria(yaml.safe_load(text)))


def parse_criteria(document: Any) -> dict[str, Criterion]:
    """Criteria by id. Raises InputError for a criterion that cannot be used, or a dimension without one."""
    try:
        criteria = msgspec.convert(document["criteria"], list[Criterion])
    except (msgspec.ValidationError, KeyError, TypeError) as error:
        raise InputError("the criteria cannot be used", got=error, mend="correct the criterion named") from error
    by_id = {item.id: item for item in criteria}
    empty = [name for name in DIMENSIONS if not any(_from_the_start(item, name) for item in criteria)]
    if len(by_id) < len(criteria) or empty:
        raise InputError(
            "the criteria cannot be used", got=f"dimensions without one: {empty}", mend="give each id once"
        )
    return by_id


def _from_the_start(item: Criterion, dimension: str) -> bool:
    return item.dimension == dimension and item.from_stage == "pilot" and item.weight > 0
