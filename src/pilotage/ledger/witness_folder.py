"""What a witness keeps on its own machine, in a folder that the log's people cannot reach.

witness.key        its private key, 0600, made on the first run
witness.vkey       its verifier key, to be given to auditors
state.json         the head it has verified; written before anything is cosigned
checkpoint         the newest checkpoint with its cosignature
evidence/<time>-<code>/    what contradicted, when something did
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from pilotage.errors import Conflict, InputError, IntegrityError
from pilotage.ledger.cosignatures import WitnessKey, find_cosignature
from pilotage.ledger.notes import split_note
from pilotage.ledger.signing import KeyPeriod, verify_checkpoint
from pilotage.ledger.witness import Held, HistoryAlarm
from pilotage.storage.objects import write_durably

__all__ = ["WitnessFolder"]


class WitnessFolder:
    """The folder of one witness of one log, held by one process. Raises Conflict when another one holds it.

    `keys` are the log's verifier keys, each with the sizes it signs. Raises InputError for a folder that is of another
    log or whose state is gone.
    """

    def __init__(self, folder: Path, name: str, keys: Sequence[KeyPeriod]) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.folder, self._keys = folder, keys
        self._lock: int | None = _lock(folder / ".lock")
        try:
            self.key = WitnessKey.create_or_open(folder / "witness.key", name)
            write_durably(folder / "witness.vkey", (self.key.vkey() + "\n").encode(), mode=0o644)
            self.held = self._read_state()
        except BaseException:
            self.close()
            raise

    @property
    def cosigned(self) -> str:
        """The newest cosigned checkpoint; empty before the first."""
        path = self.folder / "checkpoint"
        return path.read_text(encoding="utf-8") if path.exists() else ""

    def cosigned_at(self) -> int:
        """When the held head was cosigned, Unix seconds; 0 when that has not been done."""
        note = self.cosigned
        if self.held is None or not note or split_note(note)[0] != split_note(self.held.checkpoint)[0]:
            return 0
        found = find_cosignature(note, self.key.vkey())
        return found.at if found else 0

    def keep(self, held: Held) -> None:
        """Make a verified head the one that all later ones are compared with; durable when it returns."""
        write_durably(self.folder / "state.json", msgspec.json.encode(held))
        self.held = held

    def cosign(self, at_s: int) -> str:
        """The kept head's checkpoint with the log's line and the witness's, which is stored too."""
        if self.held is None:
            raise Conflict("nothing was verified yet", mend="follow the log first")
        body, _ = split_note(self.held.checkpoint)
        own = [line for line in self.held.checkpoint.rpartition("\n\n")[2].split("\n") if line]
        log_line = next(line for line in own if _signs(f"{body}\n{line}\n", self._keys))
        bare = f"{body}\n{log_line}\n"
        note = bare + self.key.cosign(bare, at_s)
        write_durably(self.folder / "checkpoint", note.encode(), mode=0o644)
        return note

    def keep_evidence(self, alarm: HistoryAlarm, at_s: int) -> Path:
        """Store what contradicts; the folder's path."""
        moment = datetime.fromtimestamp(at_s, UTC).strftime("%Y%m%dT%H%M%SZ")
        folder = self.folder / "evidence" / f"{moment}-{alarm.code}"
        finding = {"at": at_s, "log": [key.line() for key in self._keys], "witness": self.key.vkey(), **alarm.as_dict()}
        for name, text in {**alarm.evidence, "cosigned-checkpoint.txt": self.cosigned}.items():
            if text:
                write_durably(folder / name, text.encode())
        write_durably(folder / "finding.json", msgspec.json.format(msgspec.json.encode(finding)))
        return folder

    def close(self) -> None:
        """Let go of the folder; once is enough."""
        if self._lock is not None:
            os.close(self._lock)
        self._lock = None

    def _read_state(self) -> Held | None:
        path = self.folder / "state.json"
        if not path.exists():
            if self.cosigned:
                mend = "restore state.json from a backup: without it a rewritten history would be cosigned"
                raise InputError(f"{path} is gone, though something was cosigned", mend=mend)
            return None
        try:
            held = msgspec.json.decode(path.read_bytes(), type=Held)
            head = verify_checkpoint(held.checkpoint, self._keys)
        except (msgspec.MsgspecError, IntegrityError, UnicodeDecodeError):
            head = None
        if head is None or (head.origin, head.size, head.root) != (held.origin, held.size, held.root):
            raise InputError(
                f"{path} is not a state of this log",
                expected=f"a head that {self._keys[0].vkey.partition('+')[0]} signed",
                mend="name another --state folder for another log, or restore it from a backup",
            )
        return held


def _signs(note: str, keys: Sequence[KeyPeriod]) -> bool:
    try:
        verify_checkpoint(note, keys)
    except IntegrityError:
        return False
    return True


def _lock(path: Path) -> int:
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise Conflict(f"another process follows with {path.parent}", mend="end it, or name another folder") from None
    return handle
