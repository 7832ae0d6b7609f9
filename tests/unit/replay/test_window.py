"""A window of recorded decisions is answered again: chosen, summed up, put on record."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pilotage.cli.main import main
from pilotage.errors import InputError
from pilotage.ledger.about import open_outbox_item
from pilotage.ledger.erasure import erase
from pilotage.ledger.items import read_private
from pilotage.ledger.queries import DecisionFilter
from pilotage.replay.model import ReplayVerdict
from pilotage.replay.service import Replayer
from pilotage.replay.summary import Summary
from pilotage.replay.window import Window, parse_window, rows_of
from pilotage.replay.windowed import record_replay, replay_window, runtimes_of
from pilotage.storage.database import reading
from pilotage.storage.outbox import waiting
from tests.console.world import SYSTEM, ConsoleWorld, make_console_world

ANSWERED = 420


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConsoleWorld]:
    made = make_console_world(tmp_path_factory.mktemp("replay"))
    made.seal(made.answered(ANSWERED, at=1_780_000_000_000_000))
    made.seal([*made.answered(1, seed=3), *made.interrupted()])
    erase("c-3-0", "asked", "tests", steward=made.steward)
    yield made
    made.close()


def _replayed(world: ConsoleWorld, window: Window) -> Summary:
    told: list[tuple[int, int]] = []
    with Replayer(world.installation.releases) as replayer:
        runtime_of = runtimes_of(world.installation.control)
        found = replay_window(
            world.installation.ledger(), window, replayer, runtime_of, lambda *done: told.append(done)
        )
    assert told[-1][0] == told[-1][1] == found.decisions
    return found


def test_a_whole_window_is_replayed_and_what_cannot_be_is_named(world: ConsoleWorld) -> None:
    found = _replayed(world, Window(wanted=DecisionFilter(system=SYSTEM)))
    (of_release,) = found.releases.values()
    assert of_release.runtime == "onnx"
    assert of_release.counts == {"bit_exact": ANSWERED, "unreplayable": 2}
    reasons = {reason: count for (_, reason), count in of_release.reasons.items()}
    assert reasons["erased"] == 1
    assert sum(count for reason, count in reasons.items() if "stream is not regenerated" in reason) == 1
    assert found.seconds > 0


def test_the_newest_and_a_repeatable_sample(world: ConsoleWorld) -> None:
    ledger = world.installation.ledger()
    every = [row.leaf for row in rows_of(ledger, Window(wanted=DecisionFilter()))[1]]
    newest = rows_of(ledger, Window(wanted=DecisionFilter(), last=5))
    assert (newest[0], [row.leaf for row in newest[1]]) == (5, every[:5])
    sample = Window(wanted=DecisionFilter(outcome="answered"), sample=40)
    first, second = ([row.id for row in rows_of(ledger, sample)[1]] for _ in range(2))
    assert first == second and len(set(first)) == 40
    assert first != [row.id for row in rows_of(ledger, Window(wanted=DecisionFilter(outcome="answered"), last=40))[1]]
    assert rows_of(ledger, Window(wanted=DecisionFilter(until=1_000)))[0] == 0


def test_windows_that_cannot_be_read_are_refused() -> None:
    assert parse_window("2026-03-01T00:00Z..") == (1_772_323_200_000_000, None)
    assert parse_window("..2026-03-01") == (None, 1_772_323_200_000_000)
    for text in ("2026-03-01", "..", "2026-03-02..2026-03-01", "a..b"):
        with pytest.raises(InputError):
            parse_window(text)


def test_verdicts_add_up_by_release_and_group_their_reasons() -> None:
    summary = Summary()
    for n in range(30):
        why = f"scores are {n}e-3 apart, more than the 1e-06 declared"
        summary.add("a", "onnx", ReplayVerdict(decision=f"d{n}", verdict="differs", reason=why, apart=n * 1e-3))
    summary.add("b", "process", ReplayVerdict(decision="e", verdict="bit_exact"))
    first, second = summary.as_dict()["releases"]
    assert (first["differs"], second["bit_exact"], summary.decisions) == (30, 1, 31)
    assert [each["decisions"] for each in first["reasons"]] == [30]
    assert (first["worst"], first["worst_decision"]) == (29e-3, "d29")
    assert first["examples"] == [f"d{n}" for n in range(20)]


def test_a_replay_is_put_on_record_without_personal_data(world: ConsoleWorld) -> None:
    window = Window(wanted=DecisionFilter(system=SYSTEM), last=3)
    summary = _replayed(world, window)
    record_replay(world.installation.control, window, summary, "p-1")
    with reading(world.installation.control) as connection:
        event = waiting(connection)[-1]
    assert event.kind == "decisions.replayed"
    assert event.facts["window"] == {"system": SYSTEM, "last": 3}
    assert event.facts["decisions"] == 3
    assert read_private(open_outbox_item(event, [world.installation.keyring.steward]).secret) == {"person": "p-1"}
    assert "c-7-" not in json.dumps(event.facts)


def _call(world: ConsoleWorld, monkeypatch: Any, capsys: Any, *words: str) -> tuple[int, str, str]:
    monkeypatch.setenv("PILOTAGE_TOKEN", world.token("auditor"))
    home = str(world.installation.home.root)
    monkeypatch.setattr(sys, "argv", ["pilotage", "--home", home, "decisions", "replay", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    out, err = capsys.readouterr()
    code = ended.value.code
    return (code if isinstance(code, int) else 0), out, err


@pytest.mark.slow
def test_the_command_says_what_differs_and_exits_with_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    world = make_console_world(tmp_path)
    world.seal(world.answered(5))
    code, out, err = _call(world, monkeypatch, capsys, "--last", "5", "--json")
    assert (code, json.loads(out)["bit_exact"]) == (0, 5), err
    # The world's rejected rows name faults that the contract does not find in their requests.
    (wrong,) = world.seal(world.rejected())
    code, out, _ = _call(world, monkeypatch, capsys, "--system", SYSTEM, "--last", "10")
    assert code == 1
    assert "1 differs: the contract finds other faults" in out and f"differs: {wrong}" in out
    assert "\x1b" not in out
    for words in ((), ("--last", "3", wrong), ("--window", "nonsense")):
        code, _, err = _call(world, monkeypatch, capsys, *words)
        assert code == 1 and "mend:" in err
    world.close()


@pytest.mark.slow
def test_one_damaged_record_is_named_and_the_others_are_replayed(tmp_path: Path) -> None:
    world = make_console_world(tmp_path)
    ids = world.seal(world.answered(3))
    (segment,) = (world.installation.home.ledger / "segments" / SYSTEM).glob("*/*.seg")
    content = bytearray(segment.read_bytes())
    content[-5] ^= 1
    segment.chmod(0o600)
    segment.write_bytes(content)
    found = _replayed(world, Window(wanted=DecisionFilter()))
    assert (found.count("bit_exact"), found.count("unreplayable")) == (2, 1)
    for bundle in (world.installation.home.ledger / "tile" / "entries").glob("*.p/*"):
        bundle.chmod(0o600)
        bundle.write_bytes(bundle.read_bytes().replace(ids[1].encode(), b"0" * 36))
    (of_release,) = _replayed(world, Window(wanted=DecisionFilter())).releases.values()
    assert of_release.counts == {"bit_exact": 1, "unreplayable": 2}
    assert sum("damaged: " in reason for _, reason in of_release.reasons) == 2
    world.close()
