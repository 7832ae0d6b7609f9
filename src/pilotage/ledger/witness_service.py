"""What a witness answers when a log brings its checkpoint itself: C2SP tlog-witness, `POST add-checkpoint`.

    old <size>                    the size that the witness has cosigned last, by what the log knows
    <base64 hash>                 the consistency proof from there, one hash a line, at most 63
    (blank line)
    <the signed checkpoint>

200 with the cosignature's line. 400: malformed; 403: the log's key did not sign it; 404: another log; 409: the old size
is not the witness's, which is in the answer, or another tree of the same size; 422: the proof does not hold.
"""

from __future__ import annotations

import base64
import binascii
import re
import threading
from collections.abc import Callable, Sequence

import msgspec

from pilotage.errors import IntegrityError
from pilotage.ledger.merkle import EMPTY_ROOT
from pilotage.ledger.notes import Checkpoint, read_checkpoint_body
from pilotage.ledger.signing import KeyPeriod
from pilotage.ledger.witness import HistoryAlarm, check_proof
from pilotage.ledger.witness_folder import WitnessFolder

__all__ = ["MOST_BYTES", "Reply", "Submission", "WitnessService", "parse_submission"]

MOST_BYTES = 16_384
"""No request is longer: 63 hashes and a checkpoint with 64 signatures fit."""

_MOST_HASHES = 63
_OLD = re.compile("old (0|[1-9][0-9]{0,18})")


class Reply(msgspec.Struct, frozen=True):
    """A status, the body, its media type."""

    status: int
    body: str
    kind: str = "text/plain; charset=utf-8"


class Submission(msgspec.Struct, frozen=True, kw_only=True):
    """What a log sends, unchecked: the size to start from, the proof's hashes (32 bytes each), the signed note."""

    old: int
    proof: tuple[bytes, ...]
    note: str


def parse_submission(content: bytes) -> Submission:
    """The parts of a request's body. Raises ValueError."""
    head, blank, note = content.decode().partition("\n\n")
    first, *lines = head.split("\n")
    match = _OLD.fullmatch(first)
    if not blank or match is None or len(lines) > _MOST_HASHES:
        raise ValueError("not an old size, at most 63 hashes, a blank line and a checkpoint")
    return Submission(old=int(match[1]), proof=tuple(map(_hash, lines)), note=note)


class WitnessService:
    """Answers for one log out of one folder, one request at a time; safe to call from several threads.

    What is cosigned was made durable before, so that no kill in between leads to cosignatures of two histories.
    `shout` hears of a fork, once for each, after its evidence was stored.
    """

    def __init__(
        self,
        folder: WitnessFolder,
        keys: Sequence[KeyPeriod],
        clock_s: Callable[[], int],
        shout: Callable[[HistoryAlarm], None] = lambda alarm: None,
    ) -> None:
        self._folder, self._keys, self._clock_s, self._shout = folder, keys, clock_s, shout
        self._origin = keys[0].vkey.partition("+")[0]
        self._turn = threading.Lock()
        self._told: set[str] = set()

    def add_checkpoint(self, content: bytes) -> Reply:
        """The answer to a request's body."""
        try:
            sent = parse_submission(content)
            head = read_checkpoint_body(sent.note)
        except (IntegrityError, ValueError) as error:
            return Reply(400, f"not a submission: {error}\n")
        if head.origin != self._origin:
            return Reply(404, "this witness does not know the log\n")
        if sent.old > head.size:
            return Reply(400, "the old size is above the checkpoint's\n")
        with self._turn:
            return self._answer(sent, head)

    def _answer(self, sent: Submission, head: Checkpoint) -> Reply:
        held = self._folder.held
        try:
            if held is not None and sent.old != held.size and _signed(sent.note, self._keys):
                return _conflict(held.size)
            if held is None and sent.old and _signed(sent.note, self._keys):
                return _conflict(0)
            if not head.size and head.root != EMPTY_ROOT:
                return Reply(422, "a tree without entries has another root\n")
            verified = check_proof(held, sent.note, self._keys, sent.proof)
        except HistoryAlarm as alarm:
            return self._refused(alarm)
        except IntegrityError as error:
            return Reply(422, f"{error.what}\n")
        self._folder.keep(verified.held)
        note = self._folder.cosign(self._clock_s())
        return Reply(200, note.rpartition("\n\n")[2].split("\n")[-2] + "\n")

    def _refused(self, alarm: HistoryAlarm) -> Reply:
        """Anyone may send a wrong proof, so it tells nothing; two signed trees of one size prove a fork."""
        if alarm.code == "log_unsigned":
            return Reply(403, "no key of the log has signed this\n")
        if alarm.code != "log_forked":
            return Reply(422, "the consistency proof does not hold\n")
        shown = alarm.evidence["shown-checkpoint.txt"]
        if shown not in self._told:
            self._told.add(shown)
            self._shout(alarm)
        held = self._folder.held
        return _conflict(held.size if held else 0)


def _signed(note: str, keys: Sequence[KeyPeriod]) -> bool:
    """True. Raises HistoryAlarm when the log did not sign it: nobody else is told what the witness holds."""
    check_proof(None, note, keys, ())
    return True


def _conflict(size: int) -> Reply:
    return Reply(409, f"{size}\n", "text/x.tlog.size")


def _hash(line: str) -> bytes:
    try:
        value = base64.b64decode(line, validate=True)
    except binascii.Error as error:
        raise ValueError("a line that is no hash") from error
    if len(value) != 32 or base64.b64encode(value).decode() != line:
        raise ValueError("a line that is no hash of 32 bytes")
    return value
