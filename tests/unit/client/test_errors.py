"""Each answer that is no decision becomes the error that says what its caller may do."""

import json

import httpx
import pytest

from pilotage.client.errors import BadRequest, Busy, Failed, GatewayError, NotAllowed, Rejected, error_of, unreachable

FAULT = {"path": "inputs.age", "code": "missing", "message": "age is missing", "got": "nothing", "mend": "send it"}


def body(code, **more):
    told = {"code": code, "message": "what", "got": "g", "expected": "e", "mend": "m"} | more
    return json.dumps({"error": told, "request_id": "r", "id": "d"}).encode()


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "malformed_body", BadRequest),
        (404, "unknown_system", BadRequest),
        (409, "conflict", BadRequest),
        (413, "too_many_rows", BadRequest),
        (422, "idempotency_key_reused", BadRequest),
        (422, "contract", Rejected),
        (401, "unauthenticated", NotAllowed),
        (403, "forbidden", NotAllowed),
        (409, "idempotency_in_progress", Busy),
        (429, "rate_limited", Busy),
        (503, "overloaded", Busy),
        (504, "deadline", Busy),
        (500, "internal", Failed),
    ],
)
def test_the_class_says_what_to_do_and_the_facts_are_the_gateways(status, code, kind):
    error = error_of(status, body(code, faults=[FAULT]), receipt="d h", retry_after="7")
    assert type(error) is kind
    assert isinstance(error, GatewayError)
    assert (error.status, error.code, error.what) == (status, code, "what")
    assert (error.got, error.expected, error.mend, error.faults) == ("g", "e", "m", [FAULT])
    assert (error.request_id, error.decision, error.receipt, error.retry_after) == ("r", "d", "d h", 7.0)
    assert "age is missing" in str(error)


@pytest.mark.parametrize(
    "content", [b"", b"<html>", b"[]", b"{}", b'{"error": "text"}', b"\xff", b"[" * 5000, b'{"error": {"faults": 3}}']
)
def test_an_answer_of_something_else_is_told_as_it_is(content):
    error = error_of(502, content, retry_after="Wed, 21 Oct 2026 07:28:00 GMT")
    assert (type(error), error.code, error.retry_after) == (Busy, "unexpected_answer", 0.0)
    assert "502" in error.what


def test_no_answer_says_where_it_looked():
    error = unreachable("http://gateway:1", httpx.ConnectError("refused"))
    assert (type(error), error.status, error.code) == (Busy, 0, "unreachable")
    assert "http://gateway:1" in error.mend
    assert "refused" in str(error)
