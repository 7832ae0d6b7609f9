"""A run as OpenLineage RunEvents: made from its rows, so that they are the same whenever they are asked for."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import duckdb
import msgspec

from pilotage import __version__
from pilotage.contracts.engine import open_engine
from pilotage.kernel.clock import rfc3339
from pilotage.storage.objects import Objects, write_durably
from pilotage.workflows.model import Run, StepRun
from pilotage.workflows.sources import RELEASE

__all__ = ["columns_of", "keep_lineage", "lineage_events", "lineage_file"]

Columns = Callable[[str, str], list[tuple[str, str]]]
"""The columns (name, type) of a dataset, by its path and digest; empty when it is no table."""

_PRODUCER = f"urn:pilotage:{__version__}"
_EVENT = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent"
_FACETS = {
    "version": "1-0-1/DatasetVersionDatasetFacet",
    "schema": "1-2-0/SchemaDatasetFacet",
    "parent": "1-2-0/ParentRunFacet",
    "nominalTime": "1-0-1/NominalTimeRunFacet",
    "errorMessage": "1-0-1/ErrorMessageRunFacet",
    "processing_engine": "1-1-1/ProcessingEngineRunFacet",
    "jobType": "2-0-4/JobTypeJobFacet",
}
_TABLES = {".csv": "read_csv(?)", ".csv.gz": "read_csv(?, compression='gzip')", ".parquet": "read_parquet(?)"}
_MOST_COLUMNS = 1_000


def lineage_events(run: Run, steps: Sequence[StepRun], columns: Columns) -> list[dict[str, Any]]:
    """START and, once it ended, COMPLETE, FAIL or ABORT of the run and of each step, by time.

    Jobs are `<system>` and `<system>.<step>` in namespace `pilotage`; datasets are the paths of the pilot's folder in
    namespace `pilotage://<system>`, each with its digest as version.
    """
    plan = run.plan
    facts = {"commit": plan.commit, "dirty": plan.dirty, "declaration": plan.declaration, "state": run.state}
    facets = {"pilotage": _facet("pilotage", **facts, digest=run.digest, release=run.release)}
    facets["processing_engine"] = _facet("processing_engine", version=__version__, name="Pilotage")
    if run.due:
        facets["nominalTime"] = _facet("nominalTime", nominalStartTime=rfc3339(run.due))
    error = next((step.error for step in steps if step.error), "")
    sources = _datasets(run, plan.sources, columns)
    made = {path: name for step in steps if step.done for path, name in step.outputs.items()}
    ended = {"succeeded": "COMPLETE", "failed": "FAIL", "given_up": "ABORT"}.get(run.state, "")
    job = _job(run.system, "PIPELINE")
    events = [_event("START", run.started, run.id, job, facets, sources, [])]
    for step in steps:
        events += _step(run, step, columns)
    if ended:
        facets = facets | _failure(error if ended == "FAIL" else "")
        events.append(_event(ended, run.ended, run.id, job, facets, sources, _datasets(run, made, columns)))
    return events


def _step(run: Run, step: StepRun, columns: Columns) -> list[dict[str, Any]]:
    if not step.started:
        return []
    id_ = str(uuid.uuid5(uuid.UUID(run.id), str(step.at)))
    job = _job(f"{run.system}.{step.name}", "STEP")
    parent = {"run": {"runId": run.id}, "job": {"namespace": "pilotage", "name": run.system}}
    facts = {name: step.made.get(name) for name in ("run", "do", "seed", "environment", "network")}
    facets = {"parent": _facet("parent", **parent)}
    facets["pilotage"] = _facet("pilotage", **facts, key=step.key, reused=step.facts.get("reused", ""))
    inputs = _datasets(run, step.made.get("inputs", {}), columns)
    events = [_event("START", step.started, id_, job, facets, inputs, [])]
    if step.ended:
        kind = "COMPLETE" if step.done else "FAIL"
        outputs = _datasets(run, step.outputs, columns)
        events.append(_event(kind, step.ended, id_, job, facets | _failure(step.error), inputs, outputs))
    return events


def _event(
    kind: str,
    at: int,
    id_: str,
    job: dict[str, Any],
    facets: dict[str, Any],
    inputs: list[dict[str, Any]],
    outputs: list[dict[str, Any]],
) -> dict[str, Any]:
    return {
        "eventType": kind,
        "eventTime": rfc3339(at),
        "producer": _PRODUCER,
        "schemaURL": _EVENT,
        "run": {"runId": id_, "facets": facets},
        "job": job,
        "inputs": inputs,
        "outputs": outputs,
    }


def _job(name: str, kind: str) -> dict[str, Any]:
    facet = _facet("jobType", processingType="BATCH", integration="PILOTAGE", jobType=kind)
    return {"namespace": "pilotage", "name": name, "facets": {"jobType": facet}}


def _failure(error: str) -> dict[str, Any]:
    return {"errorMessage": _facet("errorMessage", message=error, programmingLanguage="en")} if error else {}


def _datasets(run: Run, named: dict[str, str], columns: Columns) -> list[dict[str, Any]]:
    found = []
    for path, name in sorted(named.items()):
        facets = {"version": _facet("version", datasetVersion=name)}
        if path != RELEASE and (fields := columns(path, name)):
            facets["schema"] = _facet("schema", fields=[{"name": field, "type": kind} for field, kind in fields])
        found.append({"namespace": f"pilotage://{run.system}", "name": path, "facets": facets})
    return found


def _facet(name: str, /, **values: Any) -> dict[str, Any]:
    if name not in _FACETS:
        return {"_producer": _PRODUCER, "_schemaURL": f"{_PRODUCER}:{name}", **values}
    place = _FACETS[name]
    url = f"https://openlineage.io/spec/facets/{place}.json#/$defs/{place.partition('/')[2]}"
    return {"_producer": _PRODUCER, "_schemaURL": url, **values}


def columns_of(objects: Objects) -> Columns:
    """Reads the columns of tables (CSV, also .gz, and Parquet) among the objects, each once."""
    known: dict[str, list[tuple[str, str]]] = {}

    def columns(path: str, name: str) -> list[tuple[str, str]]:
        source = next((read for end, read in _TABLES.items() if path.endswith(end)), "")
        if source and name not in known:
            known[name] = _described(objects.path(name), source)
        return known.get(name, [])

    return columns


def _described(path: Path, source: str) -> list[tuple[str, str]]:
    with open_engine() as connection:
        try:
            rows = connection.execute(f"DESCRIBE SELECT * FROM {source}", [str(path)]).fetchall()  # noqa: S608
        except duckdb.Error:
            return []
    return [(str(row[0]), str(row[1])) for row in rows[:_MOST_COLUMNS]]


def lineage_file(folder: Path, run: str) -> Path:
    """Where the events of a run are kept, one JSON value a line."""
    return folder / "lineage" / f"{run}.jsonl"


def keep_lineage(folder: Path, run: Run, steps: Sequence[StepRun], columns: Columns) -> None:
    """Write the events so far, whole or not at all."""
    lines = [msgspec.json.encode(event) for event in lineage_events(run, steps, columns)]
    write_durably(lineage_file(folder, run.id), b"\n".join([*lines, b""]))
