"""What one turn of the loop may admit: by the processor's time alone, room for a burst, held while a queue stands."""

from __future__ import annotations

from dataclasses import dataclass, field

from pilotage.gateway.shedding import Shedding

COST_S, SHED_S, DELAY_S = 50e-6, 2e-6, 0.015


@dataclass
class Loop:
    """A loop whose requests cost so much of the processor; `wall` times that passes on the clock."""

    room: int = 100_000
    delay_s: float = DELAY_S
    wall: float = 1.0
    cpu: float = 0.0
    at: float = 0.0
    shedding: Shedding = field(init=False)

    def __post_init__(self) -> None:
        self.shedding = Shedding(self.delay_s, lambda: self.room, lambda *_: None, lambda: self.cpu)

    def turn(self, came: int, pause_s: float = 0.0) -> tuple[int, float]:
        """(how many were shed of those that came at once, how long the turn worked)."""
        self.at += pause_s
        self.shedding.begin(self.at)
        shed = 0
        for _ in range(came):
            if self.shedding.left > 0:
                self.shedding.left -= 1
            else:
                self.shedding.count("", 1)
                shed += 1
        work = (came - shed) * COST_S + shed * SHED_S + 20e-6
        self.cpu += work
        self.at += work * self.wall
        return shed, work


def flood(loop: Loop, times: float, seconds: float) -> tuple[float, float, float]:
    """(answered in a share of what could be, the longest turn, the longest of the last half) under a steady rate."""
    came, answered, longest, last, start = 1.0, 0.0, 0.0, 0.0, loop.at
    while loop.at - start < seconds:
        shed, work = loop.turn(int(came))
        answered += int(came) - shed
        longest = max(longest, work)
        last = max(last, work) if loop.at - start > seconds / 2 else 0.0
        came = max(1.0, times / COST_S * work * loop.wall)
    return answered * COST_S / (loop.at - start), longest, last


def test_a_flood_is_held_to_the_delay_and_costs_little_of_what_is_answered():
    share, longest, last = flood(Loop(), times=5, seconds=3)
    assert share > 0.75
    assert longest < 6 * DELAY_S
    assert last < 1.5 * DELAY_S


def test_nothing_is_shed_below_capacity():
    loop = Loop()
    assert sum(loop.turn(12, pause_s=0.0005)[0] for _ in range(10_000)) == 0


def test_a_burst_is_answered_and_a_second_at_once_also():
    loop = Loop()
    for _ in range(500):
        assert loop.turn(5, pause_s=0.001)[0] == 0
    assert loop.turn(700)[0] == 0
    assert loop.turn(700)[0] == 0
    assert loop.turn(5)[0] == 0


def test_waiting_is_no_work():
    loop = Loop(wall=20.0)
    assert sum(loop.turn(100)[0] for _ in range(300)) == 0, "another process had the processor"


def test_after_a_flood_all_is_answered_at_once():
    loop = Loop()
    flood(loop, times=5, seconds=1)
    loop.turn(5)
    assert loop.turn(300)[0] == 0


def test_a_gap_in_a_flood_lets_no_burst_in_but_calm_does():
    loop = Loop()
    flood(loop, times=5, seconds=1)
    assert loop.turn(5)[0] == 0
    assert loop.turn(3_000)[1] < 1.5 * DELAY_S
    for _ in range(150):
        loop.turn(5, pause_s=0.001)
    assert loop.turn(700)[0] == 0


def test_when_requests_become_cheap_again_it_is_known_at_once():
    loop = Loop()
    for _ in range(400):
        loop.turn(20)
        loop.cpu, loop.at = loop.cpu + 20 * 0.001, loop.at + 20 * 0.001
    assert sum(loop.turn(64)[0] for _ in range(50)) <= 2 * 64


def test_what_starting_took_is_no_request():
    loop = Loop()
    loop.cpu += 2.0
    loop.turn(1)
    assert loop.turn(400)[0] == 0


def test_what_waits_for_the_journal_is_bounded_and_a_delay_of_zero_bounds_nothing_else():
    loop = Loop(delay_s=0.0, room=50)
    assert loop.turn(60)[0] == 10
    loop.room = 0
    assert loop.turn(5)[0] == 5
    loop.room = 5_000
    assert sum(loop.turn(4_000)[0] for _ in range(10)) == 0


def test_slow_requests_are_known_as_slow_and_one_is_always_admitted():
    loop = Loop()
    for _ in range(400):
        shed, _ = loop.turn(8)
        loop.cpu += 8 * 0.02
        loop.at += 8 * 0.02
    assert shed == 7


def test_what_was_shed_is_told_once_a_turn_for_each_address():
    told = []
    shedding = Shedding(DELAY_S, lambda: 0, lambda origin, number: told.append((origin, number)))
    shedding.begin(0.0)
    for origin, number in (("a", 2), ("b", 1), ("a", 3)):
        shedding.count(origin, number)
    assert not told and not shedding.over
    shedding.end()
    assert shedding.over and sorted(told) == [("a", 5), ("b", 1)]
    shedding.end()
    assert len(told) == 2
