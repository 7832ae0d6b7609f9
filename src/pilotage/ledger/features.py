"""The features of sealed decisions, decrypted: for counting by slices, which no index holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from sqlalchemy import Engine

from pilotage.ledger.items import SALT, Counted
from pilotage.ledger.keys import KeyCabinet
from pilotage.ledger.opening import PayloadOpener
from pilotage.ledger.outcome_counts import Features, FeaturesOf

__all__ = ["counted_features", "feature_reader"]


class _Features(msgspec.Struct, frozen=True):
    """What of a payload is wanted; the rest is not decoded."""

    names: list[str] = []
    features: list[float | str | bool | None] = []


_decode = msgspec.msgpack.Decoder(_Features).decode


def feature_reader(folder: Path, engine: Engine, cabinet: KeyCabinet) -> FeaturesOf:
    """Reads features by the index rows of decisions; what was erased or is damaged is left out."""

    def read(rows: Sequence[Any]) -> Mapping[str, Features]:
        opener = PayloadOpener(folder, engine, cabinet, rows)
        found: dict[str, Features] = {}
        for row in rows:
            secret = opener.authentic(row)
            if secret is None:
                continue
            try:
                payload = _decode(memoryview(secret)[SALT:])
            except msgspec.MsgspecError:
                continue
            found[row.id] = dict(zip(payload.names, payload.features, strict=False))
        return found

    return read


def counted_features(counted: Counted | None) -> Features | None:
    """The features that profiles count of a decision, by name."""
    if counted is None:
        return None
    values = np.frombuffer(counted.values).tolist() if isinstance(counted.values, bytes) else counted.values
    return dict(zip(counted.names, values, strict=False))
