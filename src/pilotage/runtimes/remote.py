"""Answers from a model at another address: the Open Inference Protocol v2, HTTP and JSON, one row a call.

Nothing that the other side does is trusted: time, size and form of a reply are bounded, and what it says is never
repeated in an error or a log, because it may hold the row.
"""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
from collections.abc import Mapping, Sequence
from typing import Any

import httpx
import msgspec

from pilotage.errors import InputError, Unavailable
from pilotage.kernel.canonical import canonical_json
from pilotage.kernel.digests import digest
from pilotage.kernel.rows import Value
from pilotage.runtimes.model import Kind, Remote, ServingSpec
from pilotage.runtimes.outward import bounded, client, tls_of
from pilotage.runtimes.ports import CannotAnswer, not_together
from pilotage.runtimes.remote_address import checked_remote, path_of
from pilotage.runtimes.secret import Secret

__all__ = ["MOST_BYTES", "TOKEN", "RemoteRuntime"]

_log = logging.getLogger(__name__)

ANSWER_S = 10.0
READY_S = 2.0
MOST_BYTES = 65_536
"""The longest reply that is read: one score needs a few hundred bytes."""
TOKEN = "PILOTAGE_REMOTE_TOKEN_"  # noqa: S105 - the beginning of a variable's name
"""`{TOKEN}{NAME}` holds the bearer token that a release names, `{TOKEN}{NAME}_FILE` the file that does."""
_ROW_FAULTS = (400, 413, 422)
_DATATYPES: dict[Kind, str] = {"number": "FP64", "integer": "INT64", "boolean": "BOOL", "string": "BYTES"}


class _Tensor(msgspec.Struct, frozen=True):
    name: str
    shape: list[int]
    datatype: str
    data: list[Any]


class _Reply(msgspec.Struct, frozen=True):
    model_name: str
    outputs: list[_Tensor]
    id: str | None = None


_decoder = msgspec.json.Decoder(_Reply)


class RemoteRuntime:
    """One client with its connections; any number of rows at once, as many as the caller lets through.

    A call ends within `patience_s`, and sooner when its caller gives up: its connection is closed then. Raises
    InputError when the release names an address that may not be asked, or a token that this node does not have.
    """

    inline = False
    name = "remote"

    def __init__(self, spec: ServingSpec, *, patience_s: float = 0.0, environ: Mapping[str, str] = os.environ) -> None:
        self.remote = checked_remote(spec.remote)
        self._names, self._kinds = spec.names, spec.kinds
        self._patience_s = patience_s or ANSWER_S
        self._token = Secret(f"{TOKEN}{self.remote.token.upper()}" if self.remote.token else "", environ)
        if self._token.bearer() is None:
            variable = self._token.variable
            raise InputError(
                "this node has no token for the remote model",
                expected=f"one line of ASCII in {variable}, or in a file that {variable}_FILE names",
                mend="set one of the two where the gateway starts",
            )
        self._path = path_of(self.remote)
        # Loading the authorities takes tens of milliseconds: here, where no event loop waits.
        self._tls = tls_of(self.remote.url)
        self._client: httpx.AsyncClient | None = None
        self._closed = False
        self._asked = 0

    async def start(self) -> None:
        """Open the client, and look whether the model is ready and the one of the release.

        If not that is logged, and rows are tried anyway.
        """
        client = self._opened()
        try:
            async with asyncio.timeout(min(READY_S, self._patience_s)):
                status, _ = await self._exchange(client, "GET", f"{self._path}/ready", b"")
        except (TimeoutError, Unavailable) as error:
            _log.warning("the remote model is not ready: %s", type(error).__name__)
        else:
            if status != httpx.codes.OK:
                _log.warning("the remote model is not ready: status %d", status)
            await self._look_whether_the_same()

    async def _look_whether_the_same(self) -> None:
        if not self.remote.metadata:
            return
        try:
            async with asyncio.timeout(READY_S):
                found = await self.metadata()
        except (TimeoutError, Unavailable) as error:
            _log.warning("the remote model does not say what it is: %s", type(error).__name__)
        else:
            if found != self.remote.metadata:
                _log.warning("the remote model says that it is another than the release was built with")

    async def metadata(self) -> str:
        """The digest of what the server says that the model is; empty when it says nothing. Raises Unavailable.

        Of the protocol's metadata name, platform, inputs, outputs and parameters count; the versions that there are
        only where the release pins none.
        """
        client = self._opened()
        try:
            async with asyncio.timeout(self._patience_s):
                status, reply = await self._exchange(client, "GET", self._path, b"")
        except TimeoutError:
            raise _failed("the remote model gave no answer in time") from None
        if status != httpx.codes.OK:
            return ""
        try:
            document = msgspec.json.decode(reply, type=dict[str, Any])
            told = {name: document.get(name) for name in ("name", "platform", "inputs", "outputs", "parameters")}
            if not self.remote.version:
                told["versions"] = document.get("versions")
            return digest(canonical_json(told))
        except (msgspec.DecodeError, UnicodeError, RecursionError, ValueError):
            raise _failed("the remote model's metadata is none of the protocol") from None

    def score(self, values: Sequence[Value]) -> float:
        """Not possible: another machine answers."""
        raise Unavailable("this runtime does not answer inline", mend="await score_async", code="not_inline")

    async def score_async(self, values: Sequence[Value]) -> float:
        """The score of one row. Raises CannotAnswer when the model refuses the row, Unavailable for all else."""
        client = self._opened()
        self._asked += 1
        asked = str(self._asked)
        if len(values) != len(self._names):
            raise CannotAnswer("the row does not fit the model", got=len(values), mend="give every feature")
        body = self._body(asked, values)
        try:
            async with asyncio.timeout(self._patience_s):
                status, reply = await self._exchange(client, "POST", f"{self._path}/infer", body)
        except TimeoutError:
            raise _failed("the remote model gave no answer in time") from None
        if status in _ROW_FAULTS:
            raise CannotAnswer("the remote model refused this row", got=status, mend="look at the row's features")
        if status != httpx.codes.OK:
            raise _failed("the remote model answered with a failure", status)
        return _score(reply, self.remote, asked)

    def score_together(self, rows: Sequence[Sequence[Value]]) -> list[float]:
        """Not possible: see `score_together_async`."""
        raise not_together()

    async def score_together_async(self, rows: Sequence[Sequence[Value]]) -> list[float]:
        """Not possible: that a batch changes no answer of another machine's cannot be proven."""
        raise not_together()

    def _opened(self) -> httpx.AsyncClient:
        if self._closed:
            raise Unavailable("the runtime was closed", mend="open it again", code="runtime_closed")
        if self._client is None:
            self._client = client(self.remote.url, self._tls, self._patience_s)
        return self._client

    async def _exchange(self, client: httpx.AsyncClient, method: str, path: str, body: bytes) -> tuple[int, bytes]:
        """Status and body of a reply; the body of a failure is not read. Raises Unavailable, which says no detail."""
        headers = self._token.bearer()
        if headers is None:
            raise _failed("this node's token for the remote model is gone")
        try:
            async with client.stream(method, path, content=body, headers=headers) as response:
                if response.status_code != httpx.codes.OK:
                    return response.status_code, b""
                return response.status_code, await _bounded(response)
        except (httpx.HTTPError, httpx.InvalidURL, ssl.SSLError, OSError) as error:
            # `from None`: an error of the library may quote what the other side sent.
            raise _failed("the remote model cannot be reached", type(error).__name__) from None

    def _body(self, asked: str, values: Sequence[Value]) -> bytes:
        tensors = [
            {"name": name, "shape": [1], "datatype": _DATATYPES[kind], "data": [_sent(kind, value)]}
            for name, kind, value in zip(self._names, self._kinds, values, strict=True)
        ]
        return msgspec.json.encode({"id": asked, "inputs": tensors, "outputs": [{"name": self.remote.output}]})

    async def close(self) -> None:
        """Close every connection; rows under way fail with Unavailable."""
        self._closed = True
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()


async def _bounded(response: httpx.Response) -> bytes:
    """The body as it came, at most MOST_BYTES. Raises Unavailable."""
    content = await bounded(response, MOST_BYTES)
    if content is None:
        raise _failed("the remote model's reply is too long")
    return content


def _sent(kind: Kind, value: Value) -> Value | int:
    """A value as its datatype has it: whole numbers without a point. None stays null."""
    if kind == "integer" and isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def _score(reply: bytes, remote: Remote, asked: str) -> float:
    """The one probability in a reply. Raises Unavailable for anything else."""
    try:
        content = _decoder.decode(reply)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise _failed("the remote model's reply is none of the protocol") from None
    if content.model_name != remote.model or content.id not in (None, "", asked):
        raise _failed("the remote model's reply is to something else")
    match [each for each in content.outputs if each.name == remote.output]:
        case [_Tensor(datatype="FP32" | "FP64", shape=[1] | [1, 1], data=[float() | int() as score])] if (
            # Neither a boolean, nor NaN, nor an infinity, all of which a comparison might let pass.
            not isinstance(score, bool) and 0.0 <= score <= 1.0
        ):
            return float(score)
    raise _failed("the remote model's reply holds no probability")


def _failed(what: str, got: object = None) -> Unavailable:
    return Unavailable(what, got=got, mend="look at the remote model", code="runtime_failed")
