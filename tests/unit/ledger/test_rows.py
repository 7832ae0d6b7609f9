"""Where a row says that its record came from."""

from __future__ import annotations

import pytest

from pilotage.ledger.rows import origin_of, split_origin


def test_a_journal_file_is_taken_apart_and_put_together() -> None:
    assert split_origin("eu-1/3-17") == ("eu-1", 3, 17)
    assert origin_of(*split_origin("eu-1/3-17")) == "eu-1/3-17"


@pytest.mark.parametrize("text", ["", "outbox", "alpha/0/2", "n1/x-2", "n1/3-", "n1/-1-2", "n1/3-٢٢x"])
def test_what_names_no_journal_file_is_kept_as_it_is(text: str) -> None:
    """Also what a change made of one: verification must name the record, not fail on it."""
    assert split_origin(text) == (text, -1, -1)
