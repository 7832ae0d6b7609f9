"""Messages keep their bounds over a stream, and a torn one is an error, not a short message."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilotage.errors import InputError
from pilotage.sandbox.messages import MAX_MESSAGE, pack, read_message, write_message


@given(st.lists(st.binary(max_size=300), max_size=5))
def test_what_is_written_is_read(messages: list[bytes]) -> None:
    stream = io.BytesIO()
    for message in messages:
        write_message(stream, message)
    stream.seek(0)
    assert [read_message(stream) for _ in messages] == messages
    assert read_message(stream) is None


@given(st.binary(min_size=1, max_size=50), st.data())
def test_a_torn_message_is_an_error(message: bytes, data: st.DataObject) -> None:
    whole = pack(message)
    cut = data.draw(st.integers(1, len(whole) - 1))
    with pytest.raises(InputError):
        read_message(io.BytesIO(whole[:cut]))


def test_an_absurd_length_is_refused_without_reading_it() -> None:
    with pytest.raises(InputError):
        read_message(io.BytesIO((MAX_MESSAGE + 1).to_bytes(4, "big")))
    with pytest.raises(InputError):
        pack(bytes(MAX_MESSAGE + 1))
