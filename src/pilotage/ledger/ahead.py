"""Read the journals ahead while the steward commits: a process of its own, only while a backlog waits.

It decrypts, checks and decodes what the next batch will hold, and makes its decisions ready (`portions`); it writes
nothing and decides nothing. The steward asks for what follows the state that a batch leads to, and takes the answer
only if that batch led there. Whatever goes wrong with the process, the steward does the work itself. It ends with the
pipe, so with the steward, however that ends.
"""

from __future__ import annotations

import gc
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from socket import socket, socketpair
from typing import Any, cast

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from msgspec.structs import astuple
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from pilotage.errors import PilotageError
from pilotage.ledger.intake import JournalIntake, Position, StreamBox, Taken
from pilotage.ledger.items import Counted, Item
from pilotage.ledger.journal_reader import journal_files
from pilotage.ledger.keyring import Keyring
from pilotage.ledger.keys import CabinetSecrets, KeyCabinet, KeyRow
from pilotage.ledger.portions import prepare
from pilotage.ledger.rows import DecisionDraft
from pilotage.storage.database import open_engine
from pilotage.storage.processes import KEEPS_MEMORY

__all__ = ["Asked", "ReadAhead", "serve"]

_WAIT_S = 20.0
_OVER = frozenset({"whole", "deleted"})


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Where to read on from, and how much."""

    positions: dict[str, Position]
    streams: dict[str, str]
    limit: int

    def after(self, taken: Taken) -> Asked:
        """What to ask for next, once what was taken is sealed."""
        positions = self.positions | {place.name: place for place in taken.positions}
        return replace(self, positions=positions, streams=taken.streams)

    def answers(self, other: Asked) -> bool:
        """Whether what follows this state follows the other too: files that were consumed whole may be gone."""
        return self.streams == other.streams and all(
            _same(self.positions.get(name), other.positions.get(name))
            for name in self.positions.keys() | other.positions.keys()
        )


@dataclass(frozen=True, kw_only=True)
class _Start:
    """What the process needs, sent through its pipe: of the keyring nothing that signs."""

    journal: Path
    ledger: str = field(repr=False)
    stewards: list[bytes] = field(repr=False)
    box: tuple[bytes, ...] = field(repr=False)
    cabinet: CabinetSecrets = field(repr=False)


class ReadAhead:
    """The process that reads for one steward: the journals, and which keys the ledger has."""

    def __init__(self, journal: Path, ledger: Engine, keyring: Keyring) -> None:
        self._start = _Start(
            journal=journal,
            ledger=ledger.url.render_as_string(hide_password=False),
            stewards=[key.private_bytes_raw() for key in keyring.stewards],
            box=keyring.wrapping_secrets("held-frames"),
            cabinet=CabinetSecrets.of(keyring),
        )
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe: socket | None = None
        self._asked: Asked | None = None

    def ask(self, asked: Asked, now: int) -> None:
        """Let it read on from there while the caller does something else. `now` is when keys it makes are made."""
        try:
            if self._asked is not None:
                self.close()  # its answer was never taken, and would be read as the next one
            if self._pipe is None:
                self._pipe = self._begin()
            _send(self._pipe, pickle.dumps((asked, now), 5))
            self._asked = asked
        except OSError:
            self.close()

    def take(self, wanted: Asked) -> Taken | None:
        """What it read, if it was asked for this; None when the caller must read for itself."""
        asked, self._asked = self._asked, None
        if asked is None or self._pipe is None:
            return None
        try:
            taken = _unpacked(_receive(self._pipe))
        except (OSError, EOFError, pickle.UnpicklingError):
            taken = None
        if taken is None:
            self.close()
        return taken if taken is not None and not taken.gaps and asked.answers(wanted) else None

    def close(self) -> None:
        """End the process."""
        if self._pipe is not None:
            self._pipe.close()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._pipe = self._process = self._asked = None

    def _begin(self) -> socket:
        ours, theirs = socketpair()
        ours.settimeout(_WAIT_S)
        with theirs:
            number = theirs.fileno()
            command = [sys.executable, "-c", f"from pilotage.ledger.ahead import serve; serve({number})"]
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                pass_fds=[number],
                start_new_session=True,
                env=KEEPS_MEMORY | os.environ,
            )
        _send(ours, pickle.dumps(self._start, 5))
        return ours


def _same(one: Position | None, other: Position | None) -> bool:
    if one == other:
        return True
    if not {place.state for place in (one, other) if place is not None} <= _OVER:
        return False
    return one is None or other is None or replace(one, state=other.state) == other


# What goes through the pipe: rows of plain values, as thousands of our objects would take several times longer to read.


def _send(pipe: socket, content: bytes) -> None:
    pipe.sendall(len(content).to_bytes(8))
    pipe.sendall(content)


def _receive(pipe: socket) -> bytearray:
    return _exactly(pipe, int.from_bytes(_exactly(pipe, 8)))


def _exactly(pipe: socket, size: int) -> bytearray:
    """So many bytes, into one buffer: an answer is some ten megabytes. Raises EOFError when the other end is gone."""
    content = bytearray(size)
    rest = memoryview(content)
    while rest:
        got = pipe.recv_into(rest)
        if not got:
            raise EOFError
        rest = rest[got:]
    return content


def _packed(taken: Taken) -> bytes:
    return pickle.dumps(([*map(_row, taken.items)], replace(taken, items=[])), 5)


def _unpacked(content: bytearray) -> Taken:
    rows, taken = pickle.loads(content)  # noqa: S301 - written by the process that this one started
    return cast("Taken", replace(taken, items=[*map(_item, rows)]))


def _row(item: Item) -> tuple[Any, ...] | Item:
    if not isinstance(item.draft, DecisionDraft):
        return item
    counted = None if item.counted is None else astuple(item.counted)
    what = item.kind, item.id, item.at, item.system, item.entry, item.secret, item.origin, item.subject
    return *what, item.closed, item.sound, astuple(item.draft), counted


def _item(row: tuple[Any, ...] | Item) -> Item:
    if isinstance(row, Item):
        return row
    kind, id_, at, system, entry, secret, origin, subject, closed, sound, draft, counted = row
    return Item(
        kind=kind,
        id=id_,
        at=at,
        system=system,
        entry=entry,
        secret=secret,
        origin=origin,
        draft=DecisionDraft(*draft),
        subject=subject,
        counted=None if counted is None else Counted(*counted),
        closed=closed,
        sound=sound,
    )


def serve(number: int) -> None:
    """The process: answers on the pipe of this descriptor until it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.disable()  # what is decoded has no cycles, and goes with each answer
    with suppress(EOFError, OSError), socket(fileno=number) as pipe:
        start: _Start = pickle.loads(_receive(pipe))  # noqa: S301 - written by the process that started this one
        stewards = [*map(X25519PrivateKey.from_private_bytes, start.stewards)]
        box, cabinet, ledger = StreamBox(*start.box), KeyCabinet(start.cabinet), open_engine(start.ledger)
        made: dict[str, KeyRow] = {}

        def read(asked: Asked, now: int) -> Taken:
            taken = JournalIntake(stewards, box, asked.positions, asked.streams).take(
                journal_files(start.journal), asked.limit
            )
            with suppress(SQLAlchemyError, PilotageError):
                return _made_ready(taken, ledger, cabinet, now, made)
            return taken

        guess: Asked | None = None
        while True:
            asked, now = pickle.loads(_receive(pipe))  # noqa: S301 - as above
            # Read already, however much it is: to read it anew in another size would cost more than it saves.
            if guess is None or not guess.answers(asked):
                taken = read(asked, now)
            _send(pipe, _packed(taken))
            # The next question is all but known: no need to wait until the steward has looked at this answer.
            made, guess = taken.portion.made, asked.after(taken) if taken.more else None
            if guess is not None:
                taken = read(guess, now)


def _made_ready(taken: Taken, ledger: Engine, cabinet: KeyCabinet, now: int, made: Mapping[str, KeyRow]) -> Taken:
    """The sound decisions as a portion. `made` are the keys of the portion before: its batch is being committed."""
    items = sorted(taken.items, key=lambda item: item.at)
    ready = [item for item in items if item.kind == "decision" and item.sound]
    if taken.gaps or not ready or len({item.id for item in items}) < len(items):
        return taken
    portion = prepare(ready, ledger, cabinet, now, made)
    rest = [item for item in items if item.kind != "decision" or not item.sound]
    return replace(taken, items=rest, portion=portion)
