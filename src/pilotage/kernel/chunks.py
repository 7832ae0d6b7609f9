"""Cut a sequence of any length into pieces that fit memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

__all__ = ["weighed"]

T = TypeVar("T")


def weighed(
    items: Iterable[T], weight: Callable[[T], int], *, most: int, heaviest: int = 32_000_000
) -> Iterator[list[T]]:
    """Pieces of at most `most` items that together weigh at most `heaviest`; a heavier item is a piece of its own."""
    piece: list[T] = []
    total = 0
    for item in items:
        own = weight(item)
        if piece and (len(piece) >= most or total + own > heaviest):
            yield piece
            piece, total = [], 0
        piece.append(item)
        total += own
    if piece:
        yield piece
