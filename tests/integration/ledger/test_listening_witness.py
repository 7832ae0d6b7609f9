"""A witness that listens, as a process of its own, and a real log that brings its checkpoints to it."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from pilotage.errors import Conflict, InputError, Unavailable
from pilotage.ledger import tiles
from pilotage.ledger.cosigned import Cosigned
from pilotage.ledger.merkle import Frontier, leaf_hash
from pilotage.ledger.notes import Signer
from pilotage.ledger.signing import key_periods
from pilotage.ledger.submitting import ListeningWitness, Submitter, parse_witnesses
from pilotage.storage.database import reading
from pilotage.wiring.witnessing import ask_witness
from tests.ledger_world import World, decision, make_world


@dataclass
class Listening:
    """A running witness."""

    process: subprocess.Popen[str]
    url: str
    vkey: str


@contextmanager
def listening(state: Path, world: World, *options: str) -> Iterator[Listening]:
    (state.parent / "log.vkey").write_text(world.vkey + "\n")
    words = ["audit", "follow", "--listen", "127.0.0.1:0", "--state", str(state), "--name", "audit.example/w1"]
    command = [sys.executable, "-m", "pilotage", *words, "--vkey", str(state.parent / "log.vkey"), *options]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        vkey = process.stderr.readline().split()[1]
        found = re.search(r"listening on (\S+),", process.stderr.readline())
        assert found is not None
        yield Listening(process, found[1], vkey)
    finally:
        process.kill()
        process.communicate()


def submitter(world: World, witness: Listening) -> Submitter:
    def keys() -> list[object]:
        with reading(world.ledger) as connection:
            return list(key_periods(connection, world.keyring))

    return Submitter(
        ListeningWitness(url=witness.url, vkey=witness.vkey),
        world.home.ledger,
        world.ledger,
        keys,  # type: ignore[arg-type]
    )


def grow(world: World, count: int) -> None:
    world.write([decision(f"p{n}") for n in range(count)])
    steward = world.steward()
    while steward.seal().more:
        pass


def test_each_checkpoint_is_brought_cosigned_and_kept(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    grow(world, 5)
    state = tmp_path / "elsewhere" / "witness"
    state.parent.mkdir()
    with listening(state, world) as witness:
        bring = submitter(world, witness)
        now = int(time.time())
        found = bring.submit(now)
        assert isinstance(found, Cosigned) and found.size == 6
        assert bring.submit(now) is None, "nothing is new"
        grow(world, 700)
        assert (found := bring.submit(now)) is not None and found.size > 700
        assert world.queries.cosigned() == [found]
        assert (state / "checkpoint").read_text() == found.note
        witness.process.kill()
        witness.process.wait()
        grow(world, 1)
        with pytest.raises(Unavailable):
            bring.submit(now)
    with listening(state, world) as witness:
        for path in (world.home.ledger / "cosigned").iterdir():
            path.unlink()  # the log has forgotten what was cosigned: the witness tells it the size
        found = submitter(world, witness).submit(now)
        assert found is not None and found.size == world.queries.next_leaf()
        refuse_another_history(world, witness)
    assert world.queries.cosigned()[0].size == found.size


def refuse_another_history(world: World, witness: Listening) -> None:
    """Whoever holds the log's key rewrites it: the witness does not take it, also not a shorter one."""
    entries = [*world.entries()]
    folder, bring = world.home.ledger, submitter(world, witness)
    signer = Signer(world.keyring.origin, world.keyring.signing)
    longer = [entries[0] + b" ", *entries[1:], b"{}"]
    for leaves, error in ((longer, InputError), (longer[:9], Conflict)):
        shown = signer.sign_checkpoint(
            world.keyring.origin, len(leaves), Frontier().append(map(leaf_hash, leaves)).root()
        )
        tiles.publish(folder, 0, leaves, len(leaves), shown)
        with pytest.raises(error):
            bring.submit(int(time.time()))


def test_the_stewards_thread_brings_what_is_new(tmp_path: Path) -> None:
    world, stop, active = make_world(tmp_path), threading.Event(), threading.Event()
    state = tmp_path / "witness"
    with listening(state, world) as witness:
        thread = threading.Thread(
            target=ask_witness, args=(submitter(world, witness), active.is_set, stop), kwargs={"every_s": 0.05}
        )
        thread.start()
        try:
            grow(world, 3)
            time.sleep(0.3)
            assert world.queries.cosigned() == [], "a steward on standby brings nothing"
            active.set()
            end = time.monotonic() + 10
            while not world.queries.cosigned():
                assert time.monotonic() < end, "not cosigned"
                time.sleep(0.05)
        finally:
            stop.set()
            thread.join()
    assert world.queries.cosigned()[0].size == 4


def test_declared_witnesses_are_read_with_their_keys(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    with pytest.raises(InputError, match="line 2"):
        parse_witnesses("# ours\nftp://w.example key\n", "witnesses.txt")
    with pytest.raises(InputError, match="verifier key"):
        parse_witnesses(f"https://w.example {world.vkey}\n", "witnesses.txt")
