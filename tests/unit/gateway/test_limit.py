import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilotage.gateway.limit import LargeBodies, Limits, Rates, TokenBucket, read_body
from pilotage.gateway.reply import Denied


def receiving(*pieces, end=True):
    messages = [
        {"type": "http.request", "body": piece, "more_body": index < len(pieces) - 1 or not end}
        for index, piece in enumerate(pieces)
    ]
    messages.append({"type": "http.disconnect"})
    waiting = iter(messages)

    async def receive():
        return next(waiting)

    return receive


def body_of(*pieces, end=True):
    return asyncio.run(read_body(receiving(*pieces, end=end), b"", 10))


@given(st.lists(st.binary(max_size=6), min_size=1, max_size=5))
def test_a_body_within_the_limit_is_whole_and_one_beyond_it_is_denied(pieces):
    whole = b"".join(pieces)
    if len(whole) <= 10:
        assert body_of(*pieces) == whole
        return
    with pytest.raises(Denied) as caught:
        body_of(*pieces)
    assert (caught.value.status, caught.value.code) == (413, "body_too_large")


@pytest.mark.parametrize("declared", [b"11", b"9" * 40])
def test_a_declared_length_is_denied_before_a_byte_is_read(declared):
    async def receive():
        raise AssertionError("read the body")

    with pytest.raises(Denied) as caught:
        asyncio.run(read_body(receive, declared, 10))
    assert caught.value.status == 413


def test_a_client_that_goes_away_has_no_body():
    with pytest.raises(Denied) as caught:
        body_of(b"abc", end=False)
    assert caught.value.code == "disconnected"


def test_a_bucket_gives_its_burst_then_its_rate():
    now = [0.0]
    bucket = TokenBucket(2.0, 4.0, clock=lambda: now[0])
    assert [bucket.take() for _ in range(4)] == [0.0] * 4
    assert bucket.take() == 0.5
    now[0] = 0.5
    assert bucket.take() == 0.0
    now[0] = 1_000.0
    assert bucket.take(4) == 0.0
    assert bucket.take() == 0.5


def test_a_refused_take_costs_nothing():
    now = [0.0]
    bucket = TokenBucket(1.0, 4.0, clock=lambda: now[0])
    assert bucket.take(5) == 1.0
    assert bucket.take(4) == 0.0


def test_each_key_has_its_own_bucket():
    rates = Rates(Limits(rate=0.001, burst=2))
    rates.take("one", 2)
    rates.take("two", 2)
    with pytest.raises(Denied) as caught:
        rates.take("one")
    assert caught.value.status == 429
    assert dict(caught.value.headers)[b"retry-after"] == b"1000"
    rates.keep(["two"])
    rates.take("one")


def test_large_bodies_have_room_for_a_few_at_once_and_must_say_their_length():
    rooms = LargeBodies(Limits(body_bytes=1_000, large_bodies=2))

    def most(length):
        with rooms.room(length, 10) as found:
            return found

    assert [most(each) for each in (b"", b"10", b"11", b"1000", b"1001", b"9" * 40)] == [
        10,
        10,
        1_000,
        1_000,
        1_000,
        10,
    ]
    with rooms.room(b"500", 10), rooms.room(b"600", 10):
        with pytest.raises(Denied) as caught, rooms.room(b"11", 10):
            raise AssertionError("there was room")
        assert (caught.value.status, caught.value.code) == (503, "overloaded")
        assert most(b"9") == 10, "usual ones always have room"
    assert most(b"500") == 1_000
    with pytest.raises(ValueError), rooms.room(b"500", 10), rooms.room(b"500", 10):
        raise ValueError
    assert most(b"500") == 1_000, "also after a failure"
    plain = LargeBodies(Limits())
    with plain.room(b"11", 10) as found:
        assert found == 10
