"""What is given out of a limit: never more than it allows, in any order of asks. Windows are those of the calendar."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilotage.access.limits import Limit
from pilotage.gateway.leases import Ask, grant_of, window_end, window_of
from pilotage.kernel.clock import parse_time

DAY = Limit(scope="installation", unit="rows", per="day", amount=1_000)
SECOND = 1_000_000


@pytest.mark.parametrize(
    ("per", "at", "start", "end"),
    [
        ("hour", "2026-03-01T10:59:59Z", "2026-03-01T10:00Z", "2026-03-01T11:00Z"),
        ("day", "2026-03-01T10:59:59Z", "2026-03-01T00:00Z", "2026-03-02T00:00Z"),
        ("month", "2026-02-28T23:59Z", "2026-02-01T00:00Z", "2026-03-01T00:00Z"),
        ("month", "2026-12-31T23:59Z", "2026-12-01T00:00Z", "2027-01-01T00:00Z"),
        ("month", "2024-02-29T00:00Z", "2024-02-01T00:00Z", "2024-03-01T00:00Z"),
    ],
)
def test_windows(per, at, start, end):
    limit = Limit(scope="installation", unit="rows", per=per, amount=1)
    moment = parse_time(at)
    assert window_of(limit, moment) == parse_time(start)
    assert window_end(limit, moment) == parse_time(end)


asks = st.tuples(st.integers(0, 400), st.booleans(), st.integers(1, 5))


@given(st.lists(asks, max_size=60))
def test_a_quota_is_never_exceeded_and_all_of_it_can_be_had(wanted):
    given_out = state = 0
    for want, more, holders in wanted:
        grant, state = grant_of(Ask(DAY, 1, want, more or want > 0), state, 0, holders)
        given_out += grant.units
        assert grant.units >= min(want, DAY.amount - (given_out - grant.units)), "what is there is given"
        assert given_out <= DAY.amount and grant.left == DAY.amount - given_out
    grant, state = grant_of(Ask(DAY, 1, DAY.amount, True), state, 0, 1)
    assert given_out + grant.units == DAY.amount == state


def test_what_is_returned_can_be_given_again_and_what_was_used_away_counts():
    grant, state = grant_of(Ask(DAY, 1, 900, True), 0, 0, 1)
    assert (grant.units, state) == (900, 900)
    _, state = grant_of(Ask(DAY, 1, back=300), state, 0, 1)
    assert state == 600
    grant, state = grant_of(Ask(DAY, 1, away=500), state, 0, 1)
    assert (grant.left, state) == (0, 1_100)
    assert grant_of(Ask(DAY, 1, 1, True), state, 0, 1)[0].units == 0


@given(
    st.integers(1, 5_000),
    st.integers(1, 500),
    st.lists(st.tuples(st.integers(0, 300_000), st.integers(1, 50), st.integers(1, 4)), max_size=80),
)
def test_a_rate_gives_its_burst_and_then_what_was_earned(amount, burst, steps):
    limit = Limit(scope="installation", unit="rows", per="second", amount=amount, burst=burst)
    at, state, given_out = parse_time("2026-03-01T00:00Z"), 0, 0
    begun = at
    for pause, want, holders in steps:
        at += pause
        grant, state = grant_of(Ask(limit, 0, want, True), state, at, holders)
        given_out += grant.units
        assert given_out <= burst + amount * (at - begun) / SECOND
        if grant.units < want <= burst:
            after, _ = grant_of(Ask(limit, 0, want, True), state, at + grant.wait + 1_000, holders)
            assert after.units + grant.units >= want, "the wait that was told is long enough"
