"""Retention floors: until when a regime obliges to keep a class of records. The table ships with the package."""

from __future__ import annotations

import calendar
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import yaml

from pilotage.errors import InputError

__all__ = ["Floor", "RetentionFloor", "after", "floors_on", "in_words", "kept_until", "retention_floors"]

_TABLE = Path(__file__).with_name("retention_floors.yaml")


class Floor(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A span of calendar months and days."""

    months: int = 0
    days: int = 0


class RetentionFloor(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long one regime obliges to keep some `classes` of records, and how sure the reading of the law is."""

    id: str
    law: str
    records: str
    classes: tuple[str, ...]
    floor: Floor
    status: str


def retention_floors() -> dict[str, RetentionFloor]:
    """The shipped floors by regime id."""
    listed = msgspec.convert(yaml.safe_load(_TABLE.read_text(encoding="utf-8")), list[RetentionFloor])
    return {floor.id: floor for floor in listed}


def kept_until(at: int, regimes: Iterable[str], of: str = "payloads") -> int:
    """Until when (Unix microseconds) a record of `at` and of a class must be kept under these regimes; 0 without any.

    Raises InputError naming every unknown regime.
    """
    floors = retention_floors()
    wanted = list(regimes)
    unknown = [regime for regime in wanted if regime not in floors]
    if unknown:
        raise InputError(
            "unknown retention regimes", got=", ".join(unknown), expected=", ".join(floors), mend="use a listed one"
        )
    return max((after(at, floor.floor) for floor in floors_on(of, wanted)), default=0)


def floors_on(of: str, regimes: Iterable[str]) -> list[RetentionFloor]:
    """The floors that bind a class of data under these regimes, the longest first."""
    floors = retention_floors()
    binding = [floors[regime] for regime in regimes if of in floors[regime].classes]
    return sorted(binding, key=lambda each: after(0, each.floor), reverse=True)


def in_words(span: Floor) -> str:
    """A span as people write it; an empty one is no end at all."""
    parts = ((span.months, "month"), (span.days, "day"))
    return " ".join(f"{number} {unit}{'' if number == 1 else 's'}" for number, unit in parts if number) or "without end"


def after(at: int, span: Floor) -> int:
    """The moment a span of calendar months and days after another, in Unix microseconds."""
    start = datetime.fromtimestamp(at // 1_000_000, UTC)
    months = start.month - 1 + span.months
    year, month = start.year + months // 12, months % 12 + 1
    moved = start.replace(year=year, month=month, day=min(start.day, calendar.monthrange(year, month)[1]))
    return int((moved + timedelta(days=span.days)).timestamp()) * 1_000_000 + at % 1_000_000
