"""Pauses grow, are random, never shorter than the gateway asks, and never longer than the call has."""

import pytest

from pilotage.client.errors import BadRequest, Busy
from pilotage.client.retry import Retry


def busy(code="overloaded", retry_after=0.0):
    error = Busy("busy", mend="m", code=code)
    error.retry_after = retry_after
    return error


def test_pauses_double_up_to_a_bound_and_take_a_random_part():
    longest = Retry(times=9, first_s=0.1, longest_s=1.0, random=lambda: 1.0)
    assert [longest.pause(n, busy(), 60) for n in range(6)] == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.0, 1.0])
    assert Retry(random=lambda: 0.5).pause(2, busy(), 60) == pytest.approx(0.2)


def test_it_gives_up_after_so_many_times_or_when_there_is_no_time():
    retry = Retry(times=2, random=lambda: 1.0)
    assert [retry.pause(n, busy(), 60) is None for n in range(4)] == [False, False, True, True]
    assert retry.pause(0, busy(), 0.05) is None
    assert retry.pause(0, busy(retry_after=10), 5) is None


def test_the_gateway_is_waited_for_as_long_as_it_asks():
    for part in (0.0, 1.0):
        assert 3.0 <= Retry(random=lambda part=part: part).pause(0, busy(retry_after=3), 60) <= 3.5


@pytest.mark.parametrize("code", ["system_stopped", "release_unavailable", "runtime_error", "not_finite"])
def test_what_a_moment_does_not_mend_is_not_asked_again(code):
    assert Retry(random=lambda: 0.5).pause(0, busy(code), 60) is None
    assert Retry(random=lambda: 0.5).pause(0, BadRequest("no", mend="m"), 60) is None
