"""One key, one answer: bound to caller and body, for its window, sealed, bounded; whoever dies, nobody gets two."""

import asyncio
import os
import signal
import sqlite3
import stat
import subprocess
import sys
from uuid import uuid4

import pytest

from pilotage.gateway import idempotency as module
from pilotage.gateway.idempotency import Idempotency
from pilotage.gateway.reply import Denied, Reply

CALLER = "key:live\0/v1/systems/example/decide"


def fresh():
    return str(uuid4()).encode()


class Decisions:
    """What answers: each time another answer, and all that were made are kept, as a journal would."""

    def __init__(self, *, status=200, takes=0.0):
        self.made, self.status, self.takes = [], status, takes

    async def __call__(self):
        await asyncio.sleep(self.takes)
        self.made.append(f"answer {len(self.made)} ÿ".encode())
        return Reply(self.status, [(b"pilotage-receipt", b"r"), (b"content-length", b"10")], self.made[-1], "answered")


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "idempotency"


@pytest.fixture
def keys(folder):
    made = Idempotency(folder)
    yield made
    made.close()


def ask(keys, key, decisions, body=b"{}", caller=CALLER):
    return asyncio.run(keys.answer(key, caller, body, decisions))


def test_the_same_key_gets_the_same_answer_and_says_so(keys):
    key, decisions = fresh(), Decisions()
    first, second = ask(keys, key, decisions), ask(keys, key, decisions)
    assert len(decisions.made) == 1
    assert (first.status, first.body) == (second.status, second.body) == (200, decisions.made[0])
    assert (b"idempotency-replayed", b"true") not in first.headers
    assert second.headers == [*first.headers, (b"idempotency-replayed", b"true")]
    assert second.outcome == "replayed"


def test_another_key_another_caller_or_another_address_is_another_request(keys):
    key, decisions = fresh(), Decisions()
    for each, caller in ((key, CALLER), (fresh(), CALLER), (key, "key:b" + CALLER[8:]), (key, CALLER + "s")):
        ask(keys, each, decisions, caller=caller)
    assert len(decisions.made) == 4


def test_another_body_under_the_key_is_a_clear_error(keys):
    key, decisions = fresh(), Decisions()
    ask(keys, key, decisions)
    with pytest.raises(Denied) as refused:
        ask(keys, key, decisions, body=b"{} ")
    assert (refused.value.status, refused.value.code) == (422, "idempotency_key_reused")
    assert len(decisions.made) == 1


def test_it_outlives_the_process_and_is_shared_by_the_workers_of_a_node(folder):
    key, decisions = fresh(), Decisions()
    with_key = Idempotency(folder)
    ask(with_key, key, decisions)
    with_key.close()
    one, other = Idempotency(folder), Idempotency(folder)
    for keys in (one, other):
        assert ask(keys, key, decisions).body == decisions.made[0]
    one.close()
    other.close()
    assert len(decisions.made) == 1
    assert list(folder.glob("*.lock")) == []


def test_of_many_at_once_one_runs_and_the_others_get_its_answer(folder):
    key, decisions = fresh(), Decisions(takes=0.1)
    workers = [Idempotency(folder), Idempotency(folder)]

    async def all_at_once():
        return await asyncio.gather(*(workers[n % 2].answer(key, CALLER, b"{}", decisions) for n in range(20)))

    replies = asyncio.run(all_at_once())
    assert len(decisions.made) == 1
    assert {reply.body for reply in replies} == {decisions.made[0]}
    assert sum((b"idempotency-replayed", b"true") in reply.headers for reply in replies) == 19
    for worker in workers:
        worker.close()


def test_many_keys_at_once_are_kept_together_each_with_its_own_answer(folder):
    keys, asked = Idempotency(folder), [fresh() for _ in range(50)]
    lost, decisions = asked[7], Decisions()

    async def robbed():
        reply = await decisions()
        with sqlite3.connect(folder / "keys.db") as file:
            entry = module._derive(lost, CALLER, b"{}", keys._opened().salt).lookup
            file.execute("UPDATE entry SET owner='another' WHERE lookup=?", (entry,))
        return reply

    async def all_at_once():
        runs = [keys.answer(key, CALLER, b"{}", robbed if key == lost else decisions) for key in asked]
        return await asyncio.gather(*runs, return_exceptions=True)

    replies = asyncio.run(all_at_once())
    assert [place for place, reply in enumerate(replies) if isinstance(reply, Denied)] == [7]
    del asked[7], replies[7]
    assert [ask(keys, key, decisions).body for key in asked] == [reply.body for reply in replies]
    assert len(decisions.made) == 50
    keys.close()


def test_who_waits_too_long_is_told_to_come_back(keys, monkeypatch):
    monkeypatch.setattr(module, "_WAIT_S", 0.1)
    key = fresh()

    async def both():
        slow = asyncio.create_task(keys.answer(key, CALLER, b"{}", Decisions(takes=0.4)))
        await asyncio.sleep(0.05)
        with pytest.raises(Denied) as told:
            await keys.answer(key, CALLER, b"{}", Decisions())
        assert (told.value.status, told.value.code) == (409, "idempotency_in_progress")
        assert (b"retry-after", b"1") in told.value.headers
        return await slow

    assert asyncio.run(both()).status == 200


@pytest.mark.parametrize("status", [500, 503])
def test_a_refusal_is_not_kept_but_decided_when_it_comes_again(keys, status):
    key, decisions = fresh(), Decisions(status=status)
    assert ask(keys, key, decisions).status == status
    decisions.status = 200
    assert ask(keys, key, decisions).body == ask(keys, key, decisions).body == decisions.made[1]


@pytest.mark.parametrize("status", [202, 422])
def test_every_other_end_of_a_decision_is_kept(keys, status):
    key, decisions = fresh(), Decisions(status=status)
    assert ask(keys, key, decisions).status == ask(keys, key, decisions).status == status
    assert len(decisions.made) == 1


def test_a_request_that_is_turned_away_or_fails_leaves_the_key_free(keys):
    key, decisions = fresh(), Decisions()

    async def fails():
        raise Denied("no", status=429, code="rate_limited", mend="wait")

    with pytest.raises(Denied, match="no"):
        ask(keys, key, fails)

    async def cancelled():
        task = asyncio.create_task(keys.answer(key, CALLER, b"{}", Decisions(takes=30)))
        await asyncio.sleep(0.1)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(cancelled())
    assert ask(keys, key, decisions).body == decisions.made[0]


def test_after_the_window_the_key_is_new_and_what_was_kept_is_gone(folder):
    now = [1_000_000_000_000_000]
    keys = Idempotency(folder, kept_s=60, clock=lambda: now[0])
    key, decisions = fresh(), Decisions()
    for _ in range(5):
        ask(keys, fresh(), decisions)
    ask(keys, key, decisions)
    now[0] += 59_000_000
    assert ask(keys, key, decisions).body == decisions.made[5]
    now[0] += 2_000_000
    assert ask(keys, key, decisions).body == decisions.made[6]
    now[0] += 61_000_000
    ask(keys, fresh(), decisions)
    with sqlite3.connect(folder / "keys.db") as file:
        assert file.execute("SELECT count(*) FROM entry").fetchone() == (1,)
    keys.close()


def test_a_full_file_forgets_nothing_and_tells_to_come_back(folder):
    keys = Idempotency(folder, most_bytes=300_000)
    kept = []

    async def large():
        return Reply(200, [], os.urandom(20_000), "answered")

    with pytest.raises(Denied) as full:
        for _ in range(100):
            key = fresh()
            kept.append((key, ask(keys, key, large).body))
    assert (full.value.status, full.value.code) == (503, "idempotency_full")
    assert len(kept) > 8
    keys.close()
    again = Idempotency(folder)
    assert [ask(again, key, large).body for key, _ in kept] == [body for _, body in kept]
    again.close()


def test_the_file_shows_nothing_without_the_key(keys, folder):
    key = fresh()

    async def secret():
        return Reply(200, [(b"pilotage-receipt", b"SECRETRECEIPT")], b"SECRETANSWER", "answered")

    ask(keys, key, secret, body=b"SECRETBODY")
    files = [path for path in folder.iterdir() if path.is_file()]
    content = b"".join(path.read_bytes() for path in files)
    assert content and not [text for text in (key, b"SECRET", b"live") if text in content]
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE((folder / name).stat().st_mode) for name in ("keys.db",)} == {0o600}


@pytest.mark.parametrize("key", [b"x" * 15, b"x" * 256, b"0123456789abcde\xff", b"0123456789abcdef\x01"])
def test_a_key_that_cannot_be_one_is_refused(keys, key):
    decisions = Decisions()
    with pytest.raises(Denied) as refused:
        ask(keys, key, decisions)
    assert (refused.value.status, refused.value.code, decisions.made) == (400, "idempotency_key_invalid", [])


def test_a_file_that_cannot_be_used_lets_no_answer_out(folder):
    keys, key, decisions = Idempotency(folder), fresh(), Decisions()
    ask(keys, fresh(), decisions)

    async def broken():
        with sqlite3.connect(folder / "keys.db") as file:
            file.execute("DROP TABLE entry")
        return await decisions()

    for run in (broken, decisions):
        with pytest.raises(Denied) as told:
            ask(keys, key, run)
        assert (told.value.status, told.value.code) == (503, "idempotency_unavailable")
    keys.close()


def test_who_lost_the_claim_does_not_answer(folder):
    keys, key = Idempotency(folder), fresh()

    async def taken_meanwhile():
        with sqlite3.connect(folder / "keys.db") as file:
            file.execute("UPDATE entry SET owner='another'")
        return Reply(200, [], b"mine", "answered")

    with pytest.raises(Denied) as told:
        ask(keys, key, taken_meanwhile)
    assert (told.value.status, told.value.code) == (503, "idempotency_unavailable")
    keys.close()


_DIE = """
import asyncio, os, signal, sys
from pathlib import Path
from pilotage.gateway import idempotency_store
from pilotage.gateway.idempotency import Idempotency
from pilotage.gateway.reply import Reply

folder, key, moment, log = Path(sys.argv[1]), sys.argv[2].encode(), sys.argv[3], Path(sys.argv[4])

def die():
    os.kill(os.getpid(), signal.SIGKILL)

async def decide():
    if moment == "claimed":
        die()
    with log.open("a") as file:
        file.write(f"{os.getpid()}\\n")
    if moment == "recorded":
        die()
    return Reply(200, [], str(os.getpid()).encode(), "answered")

async def run():
    keys = Idempotency(folder)
    if moment == "stored":
        settle = idempotency_store.IdempotencyStore.settle
        def settled(*arguments):
            if settle(*arguments) == [True]:
                die()
        idempotency_store.IdempotencyStore.settle = settled
    reply = await keys.answer(key, "caller", b"{}", decide)
    sys.stdout.write(reply.body.decode())
    keys.close()

asyncio.run(run())
"""


def start(folder, key, moment, log):
    words = [sys.executable, "-c", _DIE, str(folder), key, moment, str(log)]
    return subprocess.run(words, capture_output=True, text=True, timeout=30)


@pytest.mark.parametrize(("moment", "decided"), [("claimed", 1), ("recorded", 2), ("stored", 1)])
def test_killed_at_any_moment_the_next_gets_one_answer_that_stays(folder, tmp_path, moment, decided):
    key, log = str(uuid4()), tmp_path / "record"
    killed = start(folder, key, moment, log)
    assert (killed.returncode, killed.stdout) == (-signal.SIGKILL, "")
    answers = [start(folder, key, "never", log) for _ in range(2)]
    assert [each.returncode for each in answers] == [0, 0], answers[0].stderr
    record = log.read_text().split()
    assert len(record) == decided
    assert {each.stdout for each in answers} == {record[-1]}
