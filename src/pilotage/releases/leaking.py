"""The pilot's rows as the table that is looked through for leaks."""

from __future__ import annotations

import numpy as np

from pilotage.contracts.model import DataContract
from pilotage.evaluation.leakage.table import Table, Target, field_of
from pilotage.releases.data import PilotRows
from pilotage.systems.model import AISystem

__all__ = ["leakage_table"]


def leakage_table(system: AISystem, contract: DataContract, rows: PilotRows) -> Table:
    """The features, in the order of the file, with the split of the build: what the model may take, and no more.

    With the moment of each row where `evaluation.time` names its column.
    """
    fields = {
        feature.name: field_of(feature.name, column)
        for feature, column in zip(contract.features, rows.rows.columns, strict=True)
    }
    name = system.evaluation.time
    return Table(
        fields=tuple(fields.values()),
        time=fields.get(name) or (field_of(name, rows.sliced[name]) if name in rows.sliced else None),
        target=Target(
            name=system.pilot.target,
            questions={system.pilot.positive: rows.labels},
            values=rows.labels.astype(np.float64),
        ),
        held_out=rows.held_out,
    )
