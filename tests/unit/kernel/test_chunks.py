"""Pieces of bounded number and weight, nothing lost, the order kept."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from pilotage.kernel.chunks import weighed


@given(st.lists(st.integers(0, 12)), st.integers(1, 5))
def test_pieces_are_bounded_and_give_all_of_it_in_order(weights: list[int], most: int) -> None:
    pieces = list(weighed(weights, lambda item: item, most=most, heaviest=10))
    assert [item for piece in pieces for item in piece] == weights
    assert all(len(piece) <= most and (sum(piece) <= 10 or len(piece) == 1) for piece in pieces)
    for piece, following in pairwise(pieces):
        assert len(piece) == most or sum(piece) + following[0] > 10, "no smaller than they must be"


def test_nothing_gives_no_piece_and_nothing_is_read_ahead() -> None:
    assert list(weighed([], len, most=3)) == []
    source = iter("abcdef")
    assert next(weighed(source, len, most=2)) == ["a", "b"]
    assert next(source) == "d", "one item is read to know that the piece is full"
