"""The steward's side of one node: ask for its journal over mutual TLS, and trust nothing in the answers."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import ssl
import time
from dataclasses import dataclass, field
from urllib.parse import urlencode, urlsplit

import msgspec

from pilotage.errors import IntegrityError, Unavailable
from pilotage.ledger.frames import MAX_FRAME_BYTES
from pilotage.nodes.certificates import client_context, fingerprint
from pilotage.nodes.model import Listing, Node, Place

__all__ = ["NodeClient", "Reader"]

_CONNECT_S, _ANSWER_S = 5.0, 60.0
_LISTING_BYTES = 4 << 20
_MOST_FILES = 20_000
_CHUNK_BYTES = MAX_FRAME_BYTES + (9 << 20)
_PIECE_BYTES = 1 << 16
_listing = msgspec.json.Decoder(Listing).decode


@dataclass(frozen=True, kw_only=True)
class Reader:
    """The steward's own client certificate, its key, and the authority of nodes; all PEM."""

    key: str = field(repr=False)
    certificate: str
    authority: str


class NodeClient:
    """One connection, opened when needed. For one thread. Raises Unavailable when the node is away, IntegrityError
    when it is not the node that was invited or answers what no node may.
    """

    def __init__(self, node: Node, reader: Reader) -> None:
        self._node = node
        self._context = client_context(reader.key, reader.certificate, reader.authority)
        self._pin = fingerprint(node.certificate)
        self._connection: http.client.HTTPSConnection | None = None

    def listing(self) -> Listing:
        """What the node has."""
        content = self._ask("GET", "/v1/journal", _LISTING_BYTES)
        try:
            listing = _listing(content)
        except msgspec.MsgspecError as error:
            raise self._strange(f"its list of files cannot be read: {error}") from error
        places = [(file.worker, file.n) for file in listing.files]
        plain = all(0 <= f.worker <= 9_999 and 1 <= f.n < 10**12 and 0 <= f.size < 1 << 40 for f in listing.files)
        if listing.node != self._node.name or not plain or places != sorted(set(places)) or len(places) > _MOST_FILES:
            raise self._strange("its list of files is not one of this node's journal")
        return listing

    def read(self, worker: int, n: int, place: Place) -> bytes:
        """Bytes of a file from a place on."""
        query = "?" + urlencode({"from": place.offset, "chain": place.chain}) if place.offset else ""
        return self._ask("GET", f"/v1/journal/{worker}-{n}{query}", _CHUNK_BYTES)

    def sealed(self, worker: int, n: int, place: Place) -> None:
        """Tell the node that the ledger holds a file up to its end."""
        self._ask("POST", f"/v1/journal/{worker}-{n}/sealed", _LISTING_BYTES, msgspec.json.encode(place))

    def close(self) -> None:
        """Let go of the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _ask(self, method: str, path: str, limit: int, body: bytes | None = None) -> bytes:
        try:
            if self._connection is None:
                self._connection = self._connect()
            self._connection.request(method, path, body)
            answer = self._connection.getresponse()
            content = self._bounded(answer, limit)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise Unavailable(
                f"node {self._node.name} does not answer",
                code="node_away",
                got=f"{type(error).__name__}: {error}"[:300],
                expected=self._node.address,
                mend="start it, or look at the network between; nothing is lost, its journal waits on its disk",
            ) from error
        except IntegrityError:
            self.close()
            raise
        if answer.status != 200:
            raise self._strange(f"it answers {answer.status} to {method} {path.partition('?')[0]}", content[:300])
        return content

    def _connect(self) -> http.client.HTTPSConnection:
        parts = urlsplit(self._node.address)
        host, port = parts.hostname or "", parts.port or 8702
        connection = _NamedConnection(host, port, self._node.name, self._context)
        connection.connect()
        shown = connection.sock.getpeercert(binary_form=True) or b""
        if not hmac.compare_digest(hashlib.sha256(shown).digest(), self._pin):
            connection.close()
            raise self._strange("it shows a certificate that is not the one of its last invitation")
        return connection

    def _bounded(self, answer: http.client.HTTPResponse, limit: int) -> bytes:
        """The body, if it is as long as it said, within the limit, and comes in time."""
        length = answer.length
        if length is None or length > limit:
            raise self._strange(f"it sends a body of {length if length is not None else 'no said'} length")
        deadline, pieces = time.monotonic() + _ANSWER_S, []
        while piece := answer.read(_PIECE_BYTES):
            pieces.append(piece)
            if time.monotonic() > deadline:
                raise TimeoutError(f"{sum(map(len, pieces))} of {length} bytes in {_ANSWER_S:.0f} s")
        return b"".join(pieces)

    def _strange(self, what: str, got: object = None) -> IntegrityError:
        return IntegrityError(
            f"node {self._node.name}: {what}",
            code="node_strange",
            got=got,
            mend="look at that machine; when it was set up anew, invite it again: pilotage node invite",
        )


class _NamedConnection(http.client.HTTPSConnection):
    """Connects to an address, and asks there for a certificate of the node's name."""

    def __init__(self, host: str, port: int, name: str, context: ssl.SSLContext) -> None:
        super().__init__(host, port, timeout=_CONNECT_S, context=context)
        self._name, self._tls = name, context

    def connect(self) -> None:
        http.client.HTTPConnection.connect(self)
        self.sock = self._tls.wrap_socket(self.sock, server_hostname=self._name)
