import pytest

from pilotage.gateway.headers import read_headers


@pytest.mark.parametrize(
    ("headers", "key"),
    [
        ([(b"authorization", b"Bearer abc")], b"abc"),
        ([(b"host", b"x"), (b"authorization", b"bearer  abc ")], b"abc"),
        ([(b"x-api-key", b" abc")], b"abc"),
        ([(b"authorization", b"Basic abc"), (b"x-api-key", b"def")], b"def"),
        ([(b"x-api-key", b"def"), (b"authorization", b"Bearer abc")], b"abc"),
        ([(b"authorization", b"Basic abc")], b""),
        ([(b"authorization", b"Bearer ")], b""),
        ([], b""),
    ],
)
def test_the_key_is_read_from_either_header(headers, key):
    assert read_headers(headers).key == key


TRACE = "0af7651916cd43dd8448eb211c80319c"


@pytest.mark.parametrize(
    ("value", "trace"),
    [
        (f"00-{TRACE}-b7ad6b7169203331-01", TRACE),
        (f"00-{TRACE.upper()}-b7ad6b7169203331-01", ""),
        ("00-jane.doe@example.org-and-her-name-b7ad6b7169203331-x", ""),
        ("", ""),
    ],
)
def test_only_a_well_formed_trace_is_taken(value, trace):
    assert read_headers([(b"traceparent", value.encode())]).trace == trace
