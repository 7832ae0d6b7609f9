"""UUID version 7: the standard's form, in the order of time."""

from __future__ import annotations

import uuid

from hypothesis import given
from hypothesis import strategies as st

from pilotage.kernel.ids import uuid7, uuid7_unix_ms

MS = st.integers(min_value=0, max_value=2**48 - 1)
RANDOM = st.binary(min_size=10, max_size=10)


@given(ms=MS, random=RANDOM)
def test_it_is_a_version_7_uuid_of_its_time(ms: int, random: bytes) -> None:
    made = uuid7(ms, random)
    parsed = uuid.UUID(made)
    assert str(parsed) == made
    assert (parsed.version, parsed.variant) == (7, uuid.RFC_4122)
    assert uuid7_unix_ms(made) == ms


@given(ms=MS, random=RANDOM)
def test_all_74_random_bits_are_kept(ms: int, random: bytes) -> None:
    parsed = uuid.UUID(uuid7(ms, random)).int
    given_bits = int.from_bytes(random, "big")
    mask = (2**80 - 1) & ~(0xF << 76 | 0x3 << 62)
    assert parsed & mask == given_bits & mask


@given(st.lists(st.tuples(MS, RANDOM), min_size=2, max_size=20))
def test_text_order_is_the_order_of_time(made: list[tuple[int, bytes]]) -> None:
    by_text = sorted(uuid7(ms, random) for ms, random in made)
    assert [uuid7_unix_ms(each) for each in by_text] == sorted(ms for ms, _ in made)


def test_the_example_of_the_standard() -> None:
    """RFC 9562, appendix A.6."""
    wanted = "017f22e2-79b0-7cc3-98c4-dc0c0c07398f"
    random = (0x0CC3 << 64 | 0x18C4DC0C0C07398F).to_bytes(10, "big")
    assert uuid7(0x017F22E279B0, random) == wanted


def test_fresh_ones_differ() -> None:
    assert len({uuid7() for _ in range(5_000)}) == 5_000
