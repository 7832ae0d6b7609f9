"""A run as OpenLineage events, and when a schedule is due."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from pilotage.errors import InputError
from pilotage.workflows.lineage import lineage_file
from pilotage.workflows.model import Schedule
from pilotage.workflows.schedule import check_cron, due, next_due
from tests.unit.workflows.small import declare, make_pipelines, tiny_steps


def events_of(tmp_path: Path, steps: list[dict[str, Any]]) -> list[dict[str, Any]]:
    pipelines = make_pipelines(tmp_path / "home")
    run = pipelines.run(declare(tmp_path / "pilot", steps), "x")
    lines = lineage_file(pipelines.home.pipelines, run.id).read_text().splitlines()
    return [json.loads(line) for line in lines]


def facets(value: Any) -> list[dict[str, Any]]:
    """Every facet of an event, wherever it is."""
    if isinstance(value, list):
        return [each for item in value for each in facets(item)]
    if not isinstance(value, dict):
        return []
    here = list(value.get("facets", {}).values())
    return here + [each for item in value.values() for each in facets(item)]


def test_each_run_has_one_start_and_one_end_with_versions(tmp_path: Path) -> None:
    events = events_of(tmp_path, tiny_steps())
    assert [each["eventType"] for each in events] == ["START", *["START", "COMPLETE"] * 3, "COMPLETE"]
    for event in events:
        assert {"eventTime", "producer", "schemaURL", "run", "job"} <= event.keys()
        uuid.UUID(event["run"]["runId"])
        datetime.fromisoformat(event["eventTime"])
        assert facets(event) and all({"_producer", "_schemaURL"} <= each.keys() for each in facets(event))
    ingested = events[2]
    (clean,) = ingested["outputs"]
    assert (clean["namespace"], clean["name"]) == ("pilotage://tiny", "clean.csv")
    fields = clean["facets"]["schema"]["fields"]
    assert fields == [{"name": "id", "type": "VARCHAR"}, {"name": "amount", "type": "BIGINT"}]
    trained = events[3]
    assert {each["name"]: each["facets"]["version"] for each in trained["inputs"]}["clean.csv"] == clean["facets"][
        "version"
    ]
    assert trained["run"]["facets"]["parent"]["run"]["runId"] == events[0]["run"]["runId"]


def test_a_failure_is_told_with_its_message(tmp_path: Path) -> None:
    events = events_of(tmp_path, [{"name": "only", "run": ["python", "-c", "raise SystemExit(4)"]}])
    assert [each["eventType"] for each in events] == ["START", "START", "FAIL", "FAIL"]
    assert "status 4" in events[-1]["run"]["facets"]["errorMessage"]["message"]


def us(text: str) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1e6)


def planned(cron: str, since: str, last: str = "") -> Schedule:
    return Schedule(system="s", cron=cron, declaration="x", by="y", since=us(since), last=us(last) if last else 0)


@pytest.mark.parametrize(
    ("cron", "since", "last", "now", "expected"),
    [
        ("0 3 * * 1", "2026-03-01T00:00", "", "2026-03-02T02:59", None),
        ("0 3 * * 1", "2026-03-01T00:00", "", "2026-03-02T03:00", ("2026-03-02T03:00", 0)),
        ("0 3 * * 1", "2026-03-01T00:00", "2026-03-02T03:00", "2026-03-02T03:01", None),
        ("0 3 * * 1", "2026-03-01T00:00", "2026-03-02T03:00", "2026-03-24T00:00", ("2026-03-23T03:00", 2)),
        ("* * * * *", "2025-03-01T00:00", "", "2026-03-01T10:00:30", ("2026-03-01T10:00", 999)),
    ],
)
def test_the_newest_due_time_counts_and_what_was_missed_is_told(
    cron: str, since: str, last: str, now: str, expected: tuple[str, int] | None
) -> None:
    wanted = None if expected is None else (us(expected[0]), expected[1])
    assert due(planned(cron, since, last), us(now)) == wanted


def test_the_next_time_is_known_and_nonsense_refused() -> None:
    assert next_due(planned("30 4 1 * *", "2026-01-01"), us("2026-01-15")) == us("2026-02-01T04:30")
    for wrong in ("", "often", "61 * * * *", "0 0 31 2 *", "* * * *"):
        with pytest.raises(InputError) as refused:
            check_cron(wrong, us("2026-01-01"))
        assert refused.value.code == "pipeline_cron"
