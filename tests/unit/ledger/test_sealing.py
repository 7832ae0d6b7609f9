"""Sealing: what is journalled becomes leaves once, readable, provable, in the state that queries see."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import select

from pilotage.errors import Conflict, IntegrityError, NotFound, Unavailable
from pilotage.kernel.ids import uuid7
from pilotage.ledger import store
from pilotage.ledger.erasure import erase
from pilotage.ledger.frames import FrameKind
from pilotage.ledger.items import InterruptedPayload
from pilotage.ledger.journal_reader import journal_files, read_frames
from pilotage.ledger.merkle import leaf_hash
from pilotage.ledger.proofs import verify_proof
from pilotage.ledger.queries import DecisionFilter
from pilotage.ledger.record import Batch, Event, Interrupted, Plain
from pilotage.ledger.rows import counts_digest
from pilotage.ledger.sealing import Steward
from pilotage.ledger.tables import consumed, heads
from pilotage.profiles.build import build_profile
from pilotage.storage import outbox
from pilotage.storage.database import reading, writing
from tests.ledger_world import (
    RELEASE,
    START,
    World,
    chunk,
    decision,
    event,
    frame_id,
    in_killed_process,
    make_world,
    opened,
    rejected,
)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make_world(tmp_path)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def either(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """On both databases."""
    made = make_world(tmp_path, request.getfixturevalue("postgres_url") if request.param == "postgresql" else "")
    yield made
    made.control.dispose()
    made.ledger.dispose()


def test_one_of_each_frame_kind_is_written_and_sealed(either: World) -> None:
    world = either
    done, broken = uuid7(), uuid7()
    frames = [
        decision("ann"),
        rejected("bob"),
        opened(done, "cleo"),
        chunk(done, 0, "because"),
        opened(broken, "dan"),
        chunk(broken, 0, "you see, "),
        chunk(broken, 1, "it all"),
        decision("cleo", kind=FrameKind.closed, id_=done),
        event(code="no_key", times=3),
    ]
    world.write(frames)
    with writing(world.control) as connection:
        emitted = outbox.emit(
            connection, "approval.granted", system="credit", facts={"stage": "internal"}, private={"by": "x"}
        )

    report = world.steward().seal()

    assert (report.decisions, report.events, report.interrupted, report.more) == (4, 2, 1, False)
    leaves = {leaf.id: leaf for leaf in world.leaves()}
    assert isinstance(leaves[frame_id(frames[0])], Plain)
    assert isinstance(leaves[emitted.id], Event) and isinstance(leaves[frame_id(frames[8])], Event)
    assert leaves[done].outcome == "answered"
    assert [type(leaf) for leaf in world.leaves()].count(Batch) == 1 and isinstance(world.leaves()[-1], Batch)
    assert isinstance(leaves[broken], Interrupted) and leaves[broken].chunks == 2
    assert bytes(leaves[broken].opened) == frames[4][1]
    # What was written is the leaf, byte for byte.
    assert {frames[0][1], frames[1][1], frames[7][1], frames[8][1]} <= set(world.entries())

    said = world.queries.decision(broken)
    assert isinstance(said.payload, InterruptedPayload)
    assert said.row.outcome == "interrupted" and said.payload.messages[-1]["content"] == "you see, it all"
    assert said.payload.opened == frames[4][2] and said.payload.subject == "dan"
    assert world.queries.event(emitted.id).private == {"by": "x"}
    assert world.queries.event(frame_id(frames[8])).event.facts == {"code": "no_key", "times": 3}
    with reading(world.control) as connection:
        assert outbox.waiting(connection) == []


def test_a_stream_is_held_over_batches_until_it_ends(either: World) -> None:
    world = either
    stream = uuid7()
    frames = [
        opened(stream, "ann"),
        decision("bob"),
        chunk(stream, 0, "text"),
        decision("ann", kind=FrameKind.closed, id_=stream),
    ]
    world.write(frames)
    steward = world.steward()
    for _ in frames:
        steward.seal(limit=1)
    assert [leaf.id for leaf in world.leaves() if isinstance(leaf, Plain)] == [frame_id(frames[1]), stream]
    with reading(world.ledger) as connection:
        assert store.open_streams(connection) == {}


def test_a_stream_whose_worker_was_killed_is_interrupted_when_the_worker_begins_again(either: World) -> None:
    world = either
    stream = uuid7()
    world.write([opened(stream, "ann"), chunk(stream, 0, "half of")], close=False)
    world.write([decision("bob")], close=False)
    report = world.steward().seal_all()
    assert (report.decisions, report.interrupted) == (2, 1)
    assert world.queries.decision(stream).row.outcome == "interrupted"
    assert [row.kind for row in world.queries.events()] == ["journal.recovered"]


def test_sealing_again_adds_nothing(world: World) -> None:
    frames = [decision("ann"), decision("bob")]
    world.write(frames)
    steward = world.steward()
    first = steward.seal()
    again = steward.seal()
    assert (again.decisions, again.events, again.size, again.batch) == (0, 0, first.size, "")
    world.check(frames)


def test_a_record_seen_again_is_skipped(world: World) -> None:
    frame, other = decision("ann"), decision("bob")
    world.write([frame, frame])
    steward = world.steward()
    assert (steward.seal().duplicates, len(world.leaves())) == (1, 2)
    world.write([frame, other], worker=1)
    report = steward.seal()
    assert (report.decisions, report.duplicates) == (1, 1)
    world.check([frame, other])


def test_an_event_that_was_sealed_before_a_crash_is_dropped_from_the_outbox(world: World) -> None:
    with writing(world.control) as connection:
        emitted = outbox.emit(connection, "key.issued", facts={"key": "k1"})
    steward = world.steward()
    steward.seal()
    row = {"kind": "key.issued", "at": emitted.at, "system": "", "release": "", "facts": {}, "private": b"\x80"}
    with writing(world.control) as connection:
        store.add_rows(connection, outbox.outbox, [{"id": emitted.id, **row}])
    assert steward.seal().duplicates == 1
    with reading(world.control) as connection:
        assert outbox.waiting(connection) == []
    world.check([], [emitted.id])


def test_consumed_files_go_but_the_newest_of_a_worker_stays(world: World) -> None:
    frames = [decision("ann"), decision("bob"), decision("cleo")]
    for frame in frames:
        world.write([frame])
    world.write([frames[0]], worker=1)
    world.steward().seal_all()
    assert sorted(path.name for path in (world.home.journal / "n1").glob("*.log")) == ["0-3.log", "1-1.log"]
    world.write([late := decision("dan")])
    report = world.steward("b").seal_all()
    assert not report.gaps
    world.check([*frames, late])


def test_a_file_that_vanished_is_a_gap_and_the_rest_is_sealed(world: World) -> None:
    frames = [decision(str(n)) for n in range(4)]
    world.write(frames[:3])
    world.write(frames[3:], worker=1)
    steward = world.steward()
    steward.seal(limit=2)
    (world.home.journal / "n1" / "0-1.log").unlink()
    report = steward.seal()
    assert [(gap.file, gap.reason) for gap in report.gaps] == [
        ("n1/0-1", "it vanished before it was consumed to its end")
    ]
    assert world.queries.events("journal.gap")[0].facts["file"] == "n1/0-1"
    assert steward.seal().gaps == ()
    world.check([frames[0], frames[3]], [world.queries.events("journal.gap")[0].id])


def test_a_file_removed_before_it_was_seen_is_a_gap(world: World) -> None:
    frames = [decision("ann"), decision("bob"), decision("cleo")]
    world.write(frames[:1])
    steward = world.steward()
    steward.seal()
    world.write(frames[1:2])
    world.write(frames[2:])
    (world.home.journal / "n1" / "0-2.log").unlink()
    report = steward.seal_all()
    assert [gap.file for gap in report.gaps] == ["n1/0-3"]
    assert report.decisions == 1
    assert steward.seal_all().gaps == ()


def test_a_file_that_does_not_continue_what_was_consumed_is_a_gap(world: World) -> None:
    frames = [decision("ann"), decision("bob"), decision("cleo")]
    world.write(frames[:2], close=False)
    steward = world.steward()
    steward.seal()
    path = world.home.journal / "n1" / "0-1.log"
    # The disk forgot a record that was consumed: the worker begins again behind it.
    cut = list(read_frames(journal_files(world.home.journal)[0], world.keyring.stewards))[1].offset
    content = path.read_bytes()
    path.write_bytes(content[:cut] + bytes(len(content) - cut))
    world.write(frames[2:])
    report = steward.seal_all()
    assert {gap.file for gap in report.gaps} == {"n1/0-2"} and report.decisions == 1
    assert {frame_id(frame) for frame in frames} <= {leaf.id for leaf in world.leaves()}


def test_the_end_of_a_stream_that_was_sealed_as_broken_off_is_kept(world: World) -> None:
    stream = uuid7()
    world.write([opened(stream, "ann")])
    steward = world.steward()
    assert steward.seal().interrupted == 1
    late = decision("ann", kind=FrameKind.closed, id_=stream)
    world.write([late])
    report = steward.seal()
    assert (report.decisions, report.duplicates, report.events) == (0, 1, 1)
    [row] = world.queries.events("stream.closed_late")
    kept = world.queries.event(row.id)
    assert kept.event.facts["id"] == stream and kept.private == {"plain": late[1], "secret": late[2]}
    erase("ann", "request", "privacy officer", steward=steward)
    assert world.queries.event(row.id).private is None


def test_a_record_this_version_cannot_read_is_left_in_its_file(world: World) -> None:
    first, last = decision("ann"), decision("bob")
    newer = first[0], first[1].replace(b'"answered"', b'"delegated"'), first[2]
    world.write([first, newer, last])
    world.write([other := decision("cleo")], worker=1)
    steward = world.steward()
    report = steward.seal_all()
    assert [gap.file for gap in report.gaps] == ["n1/0-1"] and "delegated" in report.gaps[0].reason
    assert {leaf.id for leaf in world.leaves() if isinstance(leaf, Plain)} == {frame_id(first), frame_id(other)}
    world.write([decision("dan")])
    steward.seal_all()
    assert (world.home.journal / "n1" / "0-1.log").exists()


def test_a_group_with_a_record_that_cannot_be_read_is_left_whole(world: World) -> None:
    """There is no place to read on from within a group; nothing of it is sealed twice once it can be read."""
    first, last = decision("ann"), decision("bob")
    newer = first[0], first[1].replace(b'"answered"', b'"delegated"'), first[2]
    world.write([before := decision("eve"), other := decision("cleo"), first, newer, last], group=2)
    report = world.steward().seal_all()
    assert [gap.file for gap in report.gaps] == ["n1/0-1"]
    assert {leaf.id for leaf in world.leaves() if isinstance(leaf, Plain)} == {frame_id(before), frame_id(other)}


def test_a_batch_ends_behind_a_group(world: World) -> None:
    world.write(frames := [decision(str(n)) for n in range(9)], group=3)
    steward = world.steward()
    assert [steward.seal(limit=4).decisions for _ in range(3)] == [6, 3, 0]
    world.check(frames)


def test_a_changed_byte_stops_that_file_only_and_a_restored_file_is_read_on(world: World) -> None:
    frames = [decision(str(n)) for n in range(12)]
    world.write(frames[:10])
    world.write(frames[10:], worker=1)
    path = world.home.journal / "n1" / "0-1.log"
    good = path.read_bytes()
    at = list(read_frames(journal_files(world.home.journal)[0], world.keyring.stewards))[5].offset + 100
    path.write_bytes(good[:at] + bytes((good[at] ^ 1,)) + good[at + 1 :])
    steward = world.steward()
    report = steward.seal_all()
    assert [gap.file for gap in report.gaps] == ["n1/0-1"]
    assert report.decisions == 7 and steward.seal_all().gaps == ()
    path.write_bytes(good)
    report = world.steward("b").seal_all()
    assert (report.decisions, report.gaps) == (5, ())
    assert {frame_id(frame) for frame in frames} <= {leaf.id for leaf in world.leaves()}


def test_a_replaced_file_is_reported_and_read(world: World) -> None:
    world.write([first := decision("ann")])
    steward = world.steward()
    steward.seal()
    (world.home.journal / "n1" / "0-1.log").unlink()
    world.write([second := decision("bob")])
    report = steward.seal()
    assert [gap.reason for gap in report.gaps] == ["it is not the file of this name that was read before"]
    world.check([first, second], [world.queries.events("journal.gap")[0].id])


def test_profile_counts_are_made_once_and_committed_to(either: World) -> None:
    world = either
    world.profile = build_profile(
        {"age": "numeric", "income": "numeric"}, [[n, n * 100.0] for n in range(20, 60)], [n / 40 for n in range(40)]
    )
    world.write(
        [decision("ann", score=0.1), decision("bob", score=0.9), rejected("cleo"), decision("d", mode="shadow")]
    )
    world.steward().seal()
    [live] = world.queries.profile_counts("credit", RELEASE)
    assert live.rows == 2 and all(sum(cells) == 2 for cells in live.counts.values())
    assert set(live.counts) == {"age", "income", "__score__"}
    [shadow] = world.queries.profile_counts("credit", RELEASE, mode="shadow")
    assert shadow.rows == 1
    assert world.queries.profile_counts("credit", RELEASE, since=START + 1) == []
    batch = world.leaves()[-1]
    assert isinstance(batch, Batch) and batch.counts == counts_digest([asdict(shadow), asdict(live)])
    assert batch.counts != counts_digest([asdict(shadow), asdict(replace(live, rows=3))])


def test_without_a_profile_nothing_is_counted_and_sealing_goes_on(world: World) -> None:
    def unknown(release: str) -> None:
        raise NotFound("no such release", got=release, mend="register it")

    world.write([decision("ann")])
    steward = world.steward()
    steward._profile_of = unknown
    assert (steward.seal().decisions, world.queries.events()[0].kind) == (1, "profile.uncounted")


def test_a_payload_that_its_leaf_does_not_commit_to_is_sealed_and_named(world: World) -> None:
    kind, plain, secret = decision("ann")
    frame = kind, plain, secret[:-1] + bytes([secret[-1] ^ 1])
    world.write([frame])
    world.steward().seal()
    assert world.queries.events("record.unsound")[0].facts["id"] == frame_id(frame)
    assert world.queries.decision(frame_id(frame)).payload is None


def test_a_proof_of_a_decision_holds(world: World) -> None:
    frames = [decision(str(n)) for n in range(300)]
    world.write(frames)
    world.steward().seal()
    proof = world.queries.prove(frame_id(frames[123]))
    assert verify_proof(proof, frames[123][1], world.vkey).size == 301
    with pytest.raises(IntegrityError):
        verify_proof(proof, frames[124][1], world.vkey)


def test_only_the_lease_holder_seals(either: World) -> None:
    world = either
    frames = [decision("ann"), decision("bob")]
    world.write(frames[:1])
    first = world.steward("a")
    other = world.steward("b")
    with pytest.raises(Conflict) as lost:
        first.seal()
    assert lost.value.code == "lease_lost"
    assert other.seal().decisions == 1
    other.release()
    with pytest.raises(Unavailable):
        other.seal()
    world.check(frames[:1])


def test_a_standby_takes_over_when_the_row_stood_still_for_a_term(world: World) -> None:
    ticks, wall = [0], [START]
    facts = {"ticks": lambda: ticks[0], "clock": lambda: wall[0]}
    active = world.steward("a", **facts)
    standby = world.steward("b", steal=False, **facts)
    assert not standby.acquire()
    for hours in (3, -5, 1, 0, 0, 0):
        # Beats of a holder whose clock jumps, or stands: neither is the lease stolen, nor does anything stall.
        wall[0] += hours * 3_600_000_000
        ticks[0] += 4_000_000_000
        active.seal()
        assert not standby.acquire()
    ticks[0] += 5_900_000_000
    assert not standby.acquire()
    ticks[0] += 100_000_000
    assert standby.acquire()
    with pytest.raises(Conflict) as lost:
        active.seal_all()
    assert lost.value.code == "lease_lost"


def test_a_lease_given_back_or_of_a_dead_process_is_free_at_once(world: World) -> None:
    active, standby = world.steward("a"), world.steward("b", steal=False)
    assert not standby.acquire()
    active.release()
    assert standby.acquire()
    standby.release()
    assert in_killed_process(lambda: world.steward("killed")) == 0
    assert standby.acquire()


def test_a_fenced_steward_deletes_no_journal(world: World) -> None:
    world.write([decision("ann")])
    world.write([decision("bob")])
    other: list[Steward] = []

    def taken_over(step: str) -> None:
        if step == "outbox_dropped":
            other.append(world.steward("b"))

    with writing(world.control) as connection:
        outbox.emit(connection, "approval.granted")
    with pytest.raises(Conflict) as lost:
        world.steward("a", step=taken_over).seal()
    assert lost.value.code == "lease_lost"
    assert len(list((world.home.journal / "n1").glob("*.log"))) == 2
    other[0].seal_all()
    assert len(list((world.home.journal / "n1").glob("*.log"))) == 1


def test_the_loop_seals_what_comes_hands_over_and_ends(world: World) -> None:
    stop, first, second = threading.Event(), world.steward("a"), world.steward("b")
    loops = [threading.Thread(target=steward.run, args=(stop,)) for steward in (first, second)]
    for loop in loops:
        loop.start()
    frames = [decision(str(n)) for n in range(30)]
    for n in range(0, 30, 10):
        world.write(frames[n : n + 10])
    deadline = time.monotonic() + 20
    while world.queries.stats("credit").decisions < 20 and time.monotonic() < deadline:
        time.sleep(0.02)
    second.release()
    while world.queries.stats("credit").decisions < 30 and time.monotonic() < deadline:
        time.sleep(0.02)
    stop.set()
    for loop in loops:
        loop.join()
    world.steward("c").seal_all()
    world.check(frames)


def test_the_loop_survives_trouble_and_says_so(world: World) -> None:
    world.write([decision("ann")])
    steward = world.steward()
    steward.seal()
    folder = world.home.journal / "n1"
    stop = threading.Event()
    loop = threading.Thread(target=steward.run, args=(stop,))
    with writing(world.ledger) as connection:
        [good] = connection.execute(select(heads.c.root)).scalars()
        connection.execute(heads.update().values(root="00" * 32))
    world.write([late := decision("bob")])
    loop.start()
    deadline = time.monotonic() + 20
    while "last head" not in steward.trouble and time.monotonic() < deadline:
        time.sleep(0.02)
    assert "last head" in steward.trouble and len(list(folder.glob("*.log"))) == 2
    with writing(world.ledger) as connection:
        connection.execute(heads.update().values(root=good))
    while steward.trouble and time.monotonic() < deadline:
        time.sleep(0.02)
    stop.set()
    loop.join()
    assert world.queries.decision(frame_id(late)).payload is not None


def test_a_changed_head_is_never_continued(world: World) -> None:
    world.write([decision("ann")])
    steward = world.steward()
    steward.seal()
    with writing(world.ledger) as connection:
        connection.execute(heads.update().values(root="00" * 32))
    world.write([decision("bob")])
    with pytest.raises(IntegrityError) as changed:
        steward.seal()
    assert changed.value.code == "head_changed"


def test_a_database_older_than_the_published_log_does_not_fork_it(world: World) -> None:
    steward = world.steward()
    world.write([decision("ann")])
    steward.seal()
    with writing(world.ledger) as connection:
        connection.execute(heads.delete())
        connection.execute(consumed.delete())
    with pytest.raises(IntegrityError) as behind:
        world.steward("b")
    assert behind.value.code == "ledger_behind"


def test_text_that_postgresql_cannot_store_is_cleaned(either: World) -> None:
    world = either
    frame = decision("ann", arm="a\x00b")
    world.write([frame])
    world.steward().seal()
    assert world.queries.decision(frame_id(frame)).row.arm == "a\\0b"


def test_decisions_are_filtered_and_paged(either: World) -> None:
    world = either
    frames = [decision(f"s{n % 3}", score=n / 20, at=START + n) for n in range(20)] + [rejected("s0", system="other")]
    world.write(frames)
    world.steward().seal()
    ask = world.queries.decisions
    pages, before = [], None
    while page := ask(DecisionFilter(system="credit"), limit=7, before=before):
        pages.append([row.id for row in page])
        before = page[-1].leaf
    assert [len(page) for page in pages] == [7, 7, 6]
    assert [id_ for page in pages for id_ in page] == [frame_id(frame) for frame in reversed(frames[:20])]
    assert {row.id for row in ask(DecisionFilter(subject="s1"))} == {frame_id(frames[n]) for n in range(1, 20, 3)}
    assert ask(DecisionFilter(subject="nobody")) == []
    assert [row.score for row in ask(DecisionFilter(score_min=0.9))] == [0.95, 0.9]
    assert len(ask(DecisionFilter(since=START + 5, until=START + 10, system="credit"))) == 5
    assert [row.fault_text for row in ask(DecisionFilter(fault="above_max"))] == ["above_maximum@age"]
    assert ask(DecisionFilter(fault="above%max")) == [] and ask(DecisionFilter(outcome="refused")) == []
    stats = world.queries.stats("credit")
    assert (stats.decisions, stats.outcomes, stats.p50_us, sum(n for _, n in stats.per_second)) == (
        20,
        {"answered": 20},
        55,
        20,
    )
    assert world.queries.stats().faults == 1
    pseudonyms = {row.subject for row in ask(DecisionFilter(system="credit"))}
    assert len(pseudonyms) == 3 and not pseudonyms & {"s0", "s1", "s2"}


def test_no_personal_data_is_on_disk_in_clear(world: World) -> None:
    frames = [decision("person-4711"), rejected("person-4711")]
    world.write(frames)
    world.steward().seal_all()
    for path in world.home.root.rglob("*"):
        if path.is_file():
            assert b"person-4711" not in path.read_bytes(), path
            assert b'"age": 41' not in path.read_bytes(), path


def test_the_receipt_is_the_leaf(world: World) -> None:
    frame = decision("ann")
    world.write([frame])
    world.steward().seal()
    assert leaf_hash(world.queries.decision(frame_id(frame)).entry) == leaf_hash(frame[1])
    assert msgspec.json.decode(world.queries.decision(frame_id(frame)).entry)["t"] == "decision"
