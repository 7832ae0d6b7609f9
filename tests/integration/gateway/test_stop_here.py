"""A stop on this node acts at once, without the database, over plans and restarts, and is on record."""

import time

from pilotage.gateway.stops import ALL, stop_here
from pilotage.kernel.clock import now_us

ROW = {"customer": "c-1", "income": 50_000, "late_payments": 2, "home": "rent", "age": 40}


def seconds_until(worker, status):
    begun = time.monotonic()
    with worker.client() as client:
        while client.post(worker.decide, json={"inputs": ROW}).status_code != status:
            assert time.monotonic() - begun < 5
        return time.monotonic() - begun


def test_it_acts_at_once_without_the_database_and_outlives_plans_and_restarts(stand):
    stand.publish()
    worker = stand.start()
    away = stand.home.root / "away.db"
    stand.home.control_database.rename(away)
    assert worker.ask(ROW).status_code == 200
    stop_here(stand.home.stops, "example", "a complaint", now_us())
    assert seconds_until(worker, 503) < 1.0
    reply = worker.ask(ROW)
    assert reply.json()["error"]["code"] == "system_stopped"
    assert worker.told()["stopped"] == ["example"]
    away.rename(stand.home.control_database)
    worker.wait_for(stand.publish(stand.releases[1]))
    assert worker.ask(ROW).status_code == 503, "a new plan does not end it"
    assert worker.end() == 0
    again = stand.start()
    assert again.ask(ROW).status_code == 503
    stop_here(stand.home.stops, "example", None, now_us())
    assert seconds_until(again, 200) < 1.0
    stop_here(stand.home.stops, ALL, "fire", now_us())
    assert seconds_until(again, 503) < 1.0
    stop_here(stand.home.stops, ALL, None, now_us())
    seconds_until(again, 200)
    assert again.end() == 0

    plain, _, _, _ = stand.decisions()[reply.json()["id"]]
    assert (plain.outcome, plain.findings[0].verdict) == ("refused", "system_stopped")
    stops = stand.events("system.stopped_here")
    assert [event.facts["system"] for event, _ in stops] == ["example", "example", ALL], "also after the restart"
    assert stops[0][1]["reason"] == "a complaint" and "complaint" not in str(stops[0][0].facts)
    assert [event.facts["system"] for event, _ in stand.events("system.started_here")] == ["example", ALL]


def test_a_stop_file_that_cannot_be_read_stops_everything(stand):
    stand.publish()
    stand.home.stops.write_bytes(b"{broken")
    worker = stand.start()
    assert worker.ask(ROW).status_code == 503
    stand.home.stops.unlink()
    assert seconds_until(worker, 200) < 1.0
