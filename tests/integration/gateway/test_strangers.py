"""Every bound on what somebody without a key may send: over it the answer is a clear error, and others are answered."""

import json
import socket
import time

import pytest

from tests.integration.gateway.conftest import KEY, ROW, SYSTEM, make_stand

PATH = f"/v1/systems/{SYSTEM}/decide"


@pytest.fixture(scope="module")
def worker(tmp_path_factory):
    made = make_stand(tmp_path_factory.mktemp("strangers") / "home")
    made.publish(max_rows=50)
    yield made.start(request_s=0.7)
    made.stop()


def head(*lines, length=2, path=PATH, key=KEY):
    """A request up to its body. The key is good where what is sent must get as far as the bound."""
    told = [
        f"POST {path} HTTP/1.1",
        "Host: x",
        f"Content-Length: {length}",
        *([f"X-API-Key: {key}"] * bool(key)),
        *lines,
    ]
    return "\r\n".join([*told, "", ""]).encode()


def rows(count):
    return json.dumps({"inputs": [ROW] * count}).encode()


def row(**changes):
    return json.dumps({"inputs": ROW | changes}).encode()


def sent(body, *lines):
    return head(*lines, length=len(body)) + body


CHUNKS = (
    head("Transfer-Encoding: chunked").replace(b"Content-Length: 2\r\n", b"") + b"186a0\r\n" + b" " * 100_000 + b"\r\n"
)
CHUNK = b"186a0\r\n" + b" " * 100_000 + b"\r\n"
DEEP = b'{"inputs": ' + b"[" * 20_000 + b"]" * 20_000 + b"}"

BOUNDS = {
    "a body over the bound, before it is sent": ([head(length=200_001)], 413, "body_too_large"),
    "a length of more digits than a number has": ([head(length=10**40)], 400, "malformed_request"),
    "a body that grows without a length": ([CHUNKS, CHUNK, CHUNK], 413, "body_too_large"),
    "one long header": ([head("X-Long: " + "x" * 40_000)], 431, "headers_too_large"),
    "many short headers": ([head(*["a: b"] * 8_000)], 431, "headers_too_large"),
    "a long address": ([head(path="/" + "x" * 40_000)], 431, "headers_too_large"),
    "a long key": ([head(key="x" * 40_000)], 431, "headers_too_large"),
    "rows over the bound": ([sent(rows(51))], 413, "too_many_rows"),
    "arrays in arrays": ([sent(DEEP)], 400, "malformed_body"),
    "objects in a feature": ([sent(row(income={"a": [{"b": 1}]}))], 422, "contract"),
    "a number of many digits": ([sent(b'{"inputs": {"income": ' + b"9" * 5_000 + b"}}")], 422, "contract"),
    "no HTTP": ([b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"], 400, "malformed_request"),
    "a long head after a piece of it": ([head()[:20], head("X: " + "x" * 40_000)[20:]], 431, "headers_too_large"),
    "half a head, and silence": ([head()[:40]], 408, "request_timeout"),
    "a head that drips": ([bytes([each]) for each in head()[:200]], 408, "request_timeout"),
    "half a body, and silence": ([head(length=50) + b'{"inp'], 408, "request_timeout"),
    "a body that drips": ([head(length=500), *[b" "] * 200], 408, "request_timeout"),
}


@pytest.mark.parametrize("name", BOUNDS)
def test_over_a_bound_the_answer_is_a_clear_error_and_others_are_answered(worker, name):
    pieces, status, code = BOUNDS[name]
    host, port = worker.url.removeprefix("http://").split(":")
    began = time.monotonic()
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        for piece in pieces:
            try:
                connection.sendall(piece)
            except OSError:
                break
            if "drips" in name:
                time.sleep(0.02)
                if time.monotonic() - began > 2:
                    break
        assert worker.ask(ROW).status_code == 200
        answer = read(connection)
    assert answer.startswith(b"HTTP/1.1 %d " % status), answer[:300]
    error = json.loads(answer.partition(b"\r\n\r\n")[2])["error"]
    assert error["code"] == code
    assert error["mend"]
    assert time.monotonic() - began < 4


def read(connection):
    """The answer with its body."""
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += receive(connection)
    top, _, body = answer.partition(b"\r\n\r\n")
    length = next(int(line[15:]) for line in top.split(b"\r\n") if line.lower().startswith(b"content-length:"))
    while len(body) < length:
        body += receive(connection)
    return top + b"\r\n\r\n" + body


def receive(connection):
    piece = connection.recv(65_536)
    assert piece, "it closed without an answer"
    return piece


@pytest.mark.parametrize("count", [50, 300])
def test_connections_that_send_nothing_hold_nobody_up(worker, count):
    host, port = worker.url.removeprefix("http://").split(":")
    idle = [socket.create_connection((host, int(port)), timeout=10) for _ in range(count)]
    try:
        for each in idle:
            each.sendall(b"POST ")
        began = time.monotonic()
        assert worker.ask(ROW).status_code == 200
        assert time.monotonic() - began < 2
        for each in idle:
            assert read(each).startswith(b"HTTP/1.1 408 ")
    finally:
        for each in idle:
            each.close()
