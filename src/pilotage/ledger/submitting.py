"""Bring the log's checkpoint to a witness that listens (C2SP tlog-witness), and keep its cosignature beside it."""

from __future__ import annotations

import base64
import http.client
import re
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from sqlalchemy import Engine

from pilotage.errors import Conflict, InputError, IntegrityError, Unavailable
from pilotage.ledger.cosignatures import KIND
from pilotage.ledger.cosigned import Cosigned, accept_cosignature, read_cosigned
from pilotage.ledger.log_client import direct_opener
from pilotage.ledger.merkle import consistency_proof
from pilotage.ledger.notes import parse_vkey, read_checkpoint_body, split_note
from pilotage.ledger.signing import KeyPeriod
from pilotage.ledger.tiles import TileReader, read_checkpoint

__all__ = ["ListeningWitness", "Submitter", "parse_witnesses"]

_AGAIN_S = 600
"""An unchanged checkpoint is brought again after this time, so that its cosignature says how fresh the log is."""

_TIMEOUT_S = 15
_MOST_BYTES = 8_192
_SIZE = re.compile(rb"(0|[1-9][0-9]{0,18})\n?")


@dataclass(frozen=True, kw_only=True)
class ListeningWitness:
    """Where a witness listens (the prefix before `/add-checkpoint`), and its verifier key."""

    url: str
    vkey: str


def parse_witnesses(text: str, where: str) -> tuple[ListeningWitness, ...]:
    """The witnesses in a text, one `URL VERIFIER-KEY` a line; `#` begins a line that is none. Raises InputError."""
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        parts = urlsplit(words[0])
        if len(words) != 2 or parts.scheme not in ("http", "https") or not parts.hostname or parts.query:
            raise InputError(
                f"line {number} of {where} names no witness",
                got=line[:120],
                expected="http(s)://HOST:PORT VERIFIER-KEY (the witness's file witness.vkey)",
                mend="mend the line",
            )
        parse_vkey(words[1], KIND)
        found.append(ListeningWitness(url=words[0].rstrip("/"), vkey=words[1]))
    return tuple(found)


class Submitter:
    """Brings checkpoints of one log to one witness. For one thread.

    `keys` gives the log's verifier keys. Raises Unavailable when the witness cannot answer now, InputError and Conflict
    when it refuses, IntegrityError when its answer is no cosignature of it.
    """

    def __init__(
        self, witness: ListeningWitness, folder: Path, ledger: Engine, keys: Callable[[], Sequence[KeyPeriod]]
    ) -> None:
        self.witness, self._folder, self._ledger, self._keys = witness, folder, ledger, keys

    def submit(self, now_s: int) -> Cosigned | None:
        """Have the published checkpoint cosigned; None when it is, and not long ago. Raises NotFound before any."""
        note = read_checkpoint(self._folder)
        held = self._held()
        if held is not None and _body(held.note) == _body(note) and now_s - held.at < _AGAIN_S:
            return None
        head = read_checkpoint_body(note)
        status, content = self._ask(note, held.size if held is not None and held.size <= head.size else 0)
        if status == 409:
            known = _SIZE.fullmatch(content)
            if known is None or int(known[1]) > head.size:
                raise Conflict(
                    "the witness has cosigned more entries than this log has",
                    got=f"{head.size} entries",
                    expected=f"at least {content[:20].decode(errors='replace').strip()}",
                    mend="was an old backup restored? what clients hold receipts for tells what is missing",
                )
            status, content = self._ask(note, int(known[1]))
        if status != 200:
            raise InputError(
                f"the witness at {self.witness.url} refuses the checkpoint",
                got=f"{status} {content[:120].decode(errors='replace').strip()}",
                expected="200 and its cosignature",
                mend="409, 422: it knows another history of this log; 403, 404: does it have this log's key?",
            )
        return self._accept(note, content, now_s)

    def _accept(self, note: str, content: bytes, now_s: int) -> Cosigned:
        """Keep the line of the witness's key; lines of other keys are passed over."""
        (name, key_id), _ = parse_vkey(self.witness.vkey, KIND)
        lines = content.decode(errors="replace").split("\n")
        ours = [line for line in lines if line.startswith(f"— {name} ") and _key_id(line) == key_id]
        if len(ours) != 1:
            raise IntegrityError(
                f"the witness at {self.witness.url} answers without a cosignature of its key",
                got=content[:120].decode(errors="replace"),
                expected=name,
                mend="compare its witness.vkey with the one it was declared with",
            )
        signed = f"{note}{ours[0]}\n"
        vkey, keys = self.witness.vkey, self._keys()
        return accept_cosignature(self._folder, self._ledger, keys, vkey=vkey, note=signed, now_s=now_s)

    def _held(self) -> Cosigned | None:
        found = (each for _, each in read_cosigned(self._folder, self._keys()) if isinstance(each, Cosigned))
        return next((each for each in found if each.vkey == self.witness.vkey), None)

    def _ask(self, note: str, old: int) -> tuple[int, bytes]:
        size = read_checkpoint_body(note).size
        proof = consistency_proof(old, size, TileReader(self._folder, size).read) if 0 < old < size else []
        lines = [f"old {old}", *(base64.b64encode(value).decode() for value in proof)]
        body = ("\n".join(lines) + "\n\n" + note).encode()
        request = urllib.request.Request(f"{self.witness.url}/add-checkpoint", data=body)  # noqa: S310 - checked
        request.add_header("Content-Type", "text/plain; charset=utf-8")
        try:
            with direct_opener().open(request, timeout=_TIMEOUT_S) as response:
                return response.status, response.read(_MOST_BYTES)
        except urllib.error.HTTPError as error:
            with error:
                if error.code >= 500 or error.code in (408, 429):
                    raise self._away(f"{error.code} {error.reason}") from None
                return error.code, error.read(_MOST_BYTES)
        except (OSError, http.client.HTTPException) as error:
            raise self._away(str(getattr(error, "reason", error))) from None

    def _away(self, got: str) -> Unavailable:
        return Unavailable(
            "the witness cannot be reached", got=got, expected=self.witness.url, mend="it is tried again"
        )


def _body(note: str) -> str:
    return split_note(note)[0]


def _key_id(line: str) -> bytes:
    try:
        return base64.b64decode(line.rpartition(" ")[2], validate=True)[:4]
    except ValueError:
        return b""
