"""Requests are skimmed over exactly as the parser frames them, or not at all."""

from __future__ import annotations

import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilotage.gateway.skim import NONE, skim

CURL = b"POST /v1/systems/a/decide HTTP/1.1\r\nHost: x\r\nAccept: */*\r\nContent-Length: 5\r\n\r\nabcde"
HTTPX = (
    b"POST /v1/systems/a/decide HTTP/1.1\r\nhost: x\r\naccept-encoding: gzip, deflate\r\nconnection: keep-alive\r\n"
    b"user-agent: python-httpx/0.28.1\r\nauthorization: Bearer pk_live_abc\r\ncontent-length: 3\r\n\r\n{}\n"
)
EMPTY = b"POST /v2/models/a/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"


class Framed:
    """What the parser made of bytes: how many requests were whole, and whether one is under way."""

    def __init__(self, data: bytes) -> None:
        self.whole, self.under_way, self.urls = 0, False, [b""]
        self.parser = httptools.HttpRequestParser(self)
        self.parser.feed_data(data)

    def on_message_begin(self) -> None:
        self.under_way = True

    def on_url(self, url: bytes) -> None:
        self.urls[-1] += url

    def on_message_complete(self) -> None:
        assert self.parser.get_method() == b"POST" and self.parser.should_keep_alive()
        self.whole, self.under_way = self.whole + 1, False
        self.urls.append(b"")


def run(data: bytes, most: int = 1_000) -> tuple[int, list[bytes]]:
    """(where the skimmed requests end, the path of each)."""
    end, paths, last = 0, [], NONE
    while True:
        number, end, last = skim(data, end, last, most=most)
        if not number:
            return end, paths
        paths += [last.path] * number


@pytest.mark.parametrize("request_", [CURL, HTTPX, EMPTY])
def test_what_clients_send_is_usual_whole_or_not_at_all(request_):
    assert skim(request_)[:2] == (1, len(request_))
    assert run(request_ * 3 + request_[:-1])[0] == (len(request_) * 3 if request_ != EMPTY else 3 * len(EMPTY))
    assert skim(request_ * 3, most=2)[:2] == (2, 2 * len(request_))
    head = request_[: request_.index(b"\r\n\r\n") + 4]
    assert skim(request_, head_bytes=len(head))[0] == 1
    assert skim(request_, head_bytes=len(head) - 1)[0] == 0
    assert not any(skim(request_[:size])[0] for size in range(len(request_)))


def test_heads_may_differ_and_the_last_is_known_again():
    end, paths = run(CURL + HTTPX + EMPTY + HTTPX)
    assert end == len(CURL + HTTPX + EMPTY + HTTPX)
    assert paths == [b"/v1/systems/a/decide", b"/v1/systems/a/decide", b"/v2/models/a/infer", b"/v1/systems/a/decide"]
    _, _, last = skim(CURL)
    assert skim(CURL[:-5], 0, last)[0] == 0, "its body has not come"


@pytest.mark.parametrize(
    "line",
    [
        b"Content-Length: 5",
        b"Content-Length: 6",
        b"content-length : 5",
        b"Content-Length: +5",
        b"Content-Length: 5, 5",
        b"Content-Length: 123456",
        b"Transfer-Encoding: chunked",
        b"Connection: close",
        b"Connection: keep-alive, upgrade",
        b"Upgrade: websocket",
        b"Expect: 100-continue",
        b"folded:\r\n more",
        b"no colon",
        b"bad\x00: 1",
        b"X: \x7f",
        b"X: bare\rreturn",
        b"X: bare\nfeed",
    ],
)
def test_what_could_be_framed_otherwise_is_left_to_the_parser(line):
    assert skim(CURL.replace(b"Accept: */*", line))[0] == 0


@pytest.mark.parametrize("start", [b"GET / HTTP/1.1", b"POST / HTTP/1.0", b"POST /\xff HTTP/1.1", b"POST x HTTP/1.1"])
def test_other_requests_are_left_to_the_parser(start):
    assert skim(CURL.replace(CURL[: CURL.index(b"\r")], start))[0] == 0


LINES = st.sampled_from(
    [
        b"Host: x",
        b"Content-Length: 5",
        b"content-length: 12",
        b"Content-Length:0007",
        b"Content-Length: +5",
        b"Content-Length: 5, 5",
        b"Content-Length: 123456",
        b"Connection: Keep-Alive",
        b"Connection: close",
        b"Proxy-Connection: close",
        b"Transfer-Encoding: chunked",
        b"Expect: 100-continue",
        b"X-Content-Length: 3",
        b"X: content-length: 9",
        b"X:",
        b"",
        b" folded",
    ]
)
REQUESTS = st.builds(
    lambda method, lines, end, body: b"\r\n".join([method + b" /v1/x HTTP/1.1", *lines]) + end + body,
    st.sampled_from([b"POST", b"POST", b"POST", b"GET", b"post"]),
    st.lists(LINES, max_size=4),
    st.sampled_from([b"\r\n\r\n", b"\r\n\r\n", b"\n\n", b"\r\n"]),
    st.sampled_from([b"", b"abcde", b"5\r\nabcde\r\n0\r\n\r\n", b"POST / HTTP/", b"0123456"]),
)


@given(st.lists(REQUESTS | st.sampled_from([CURL, HTTPX, EMPTY]), max_size=5))
def test_whatever_comes_it_is_framed_as_the_parser_frames_it(requests):
    data = b"".join(requests)
    end, paths = run(data)
    framed = Framed(data[:end])
    assert (framed.whole, framed.under_way) == (len(paths), False)
    assert framed.urls[:-1] == paths
