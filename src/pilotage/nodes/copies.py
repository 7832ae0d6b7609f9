"""Copies of other nodes' journal files under the steward's `journal/<node>/`: every byte checked before it counts.

A copy is always a beginning of the file on its node, in whole frames, and is on the disk before `append` returns.
`<worker>-<n>.end` says that nothing will be added; the folder's `.copied` that it holds copies.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from pilotage.errors import IntegrityError
from pilotage.ledger.disk import Disk, OsDisk
from pilotage.ledger.frames import (
    END_BYTES,
    GROUP_BYTES,
    MARK_LENGTH,
    frame_length,
    parse_end,
    parse_frame,
    parse_group,
    parse_header,
)
from pilotage.ledger.journal_reader import COPIED, node_files
from pilotage.storage.objects import write_durably

__all__ = ["Copy", "CopyFolder", "mend_copies", "walk"]

_COPY_NAME = re.compile(r"(\d+)-(\d+)\.end")


@dataclass(kw_only=True)
class Copy:
    """One file here: `offset` and `chain` (hex) of its end; `ended` when nothing will be added."""

    worker: int
    n: int
    offset: int = 0
    chain: str = ""
    ended: bool = False


@dataclass(kw_only=True)
class CopyFolder:
    """The copies of one node. For one thread. `step` is called at each write point."""

    root: Path
    node: str
    disk: Disk = field(default_factory=OsDisk)
    step: Callable[[str], None] = lambda name: None

    @property
    def folder(self) -> Path:
        return self.root / self.node

    def path(self, worker: int, n: int) -> Path:
        """Where the copy lies."""
        return self.folder / f"{worker}-{n}.log"

    def held(self) -> dict[tuple[int, int], Copy]:
        """The copies that are here. A crash may have left bytes behind the good end of one: they are cut."""
        if not (self.folder / COPIED).exists():
            return {}
        found = {}
        for file in node_files(self.folder):
            copy = Copy(worker=file.worker, n=file.n, ended=self._end(file.worker, file.n).exists())
            size = copy.offset = file.path.stat().st_size
            if not copy.ended:
                copy.offset = 0
                self._walk(copy, file.path.read_bytes(), b"")
            if copy.offset < size:
                self.disk.truncate(file.path, copy.offset)
            found[file.worker, file.n] = copy
        self._tidy(found)
        return found

    def append(self, copy: Copy, content: bytes) -> None:
        """Add bytes of the node's file from `copy.offset` on. Raises IntegrityError when they do not continue it."""
        grown = Copy(worker=copy.worker, n=copy.n, offset=copy.offset, chain=copy.chain)
        if self._walk(grown, content, bytes.fromhex(copy.chain)) != len(content):
            raise self._foreign(copy, grown.offset, "what was sent does not continue the chain of what is here")
        if copy.offset:
            self._write_more(copy, content)
        else:
            self._write_first(copy, content)
        copy.offset, copy.chain = grown.offset, grown.chain

    def compare(self, copy: Copy, offset: int, content: bytes) -> bytes:
        """What of `content`, which starts at `offset` of the file, is new. Raises IntegrityError at a difference."""
        if offset > copy.offset:
            raise self._foreign(copy, offset, f"bytes are missing: the copy here ends at {copy.offset}")
        with self.path(copy.worker, copy.n).open("rb") as file:
            file.seek(offset)
            here = file.read(min(len(content), copy.offset - offset))
        if here != content[: len(here)]:
            place = offset + next(i for i, (a, b) in enumerate(zip(here, content, strict=False)) if a != b)
            raise self._foreign(copy, place, "it is not what was sent before")
        return content[len(here) :]

    def end(self, copy: Copy) -> None:
        """Nothing will be added to this copy."""
        if copy.offset and not copy.ended:
            write_durably(self._end(copy.worker, copy.n), b"")
            self.step("copy_ended")
        copy.ended = True

    def forget(self, worker: int, n: int) -> None:
        """The copy was sealed and deleted: its end mark goes too."""
        self._end(worker, n).unlink(missing_ok=True)

    def _write_first(self, copy: Copy, content: bytes) -> None:
        if not (self.folder / COPIED).exists():
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_durably(self.folder / COPIED, b"")
            self.disk.sync_folder(self.root)
            self.step("copies_begun")
        fresh = self.folder / f".{copy.worker}-{copy.n}.new"
        descriptor = self.disk.create(fresh)
        try:
            self.disk.write(descriptor, content, 0)
            self.disk.sync(descriptor)
        finally:
            self.disk.close(descriptor)
        self.step("copy_written")
        self.disk.rename(fresh, self.path(copy.worker, copy.n))
        self.disk.sync_folder(self.folder)
        self.step("copy_begun")

    def _write_more(self, copy: Copy, content: bytes) -> None:
        descriptor = self.disk.reopen(self.path(copy.worker, copy.n))
        try:
            self.disk.write(descriptor, content, copy.offset)
            self.step("copy_written")
            self.disk.sync(descriptor)
        finally:
            self.disk.close(descriptor)
        self.step("copy_grown")

    def _walk(self, copy: Copy, content: bytes, chain: bytes) -> int:
        """Move a copy to the end of the good frames in `content`; how many bytes of it those are."""
        start = 0
        if not copy.offset:
            try:
                header, start, chain = parse_header(content)
            except (ValueError, msgspec.MsgspecError) as error:
                raise self._foreign(copy, 0, str(error)) from error
            if (header.node, header.worker, header.n) != (self.node, copy.worker, copy.n):
                raise self._foreign(copy, 0, f"it says that it is {header.node}/{header.worker}-{header.n}")
        base = copy.offset
        good, chain = walk(content, start, base, chain)
        copy.offset, copy.chain = base + good, chain.hex()
        return good

    def _end(self, worker: int, n: int) -> Path:
        return self.folder / f"{worker}-{n}.end"

    def _tidy(self, found: dict[tuple[int, int], Copy]) -> None:
        """Drop the end marks of copies that were sealed and deleted."""
        for path in self.folder.glob("*.end"):
            match = _COPY_NAME.fullmatch(path.name)
            if match and (int(match[1]), int(match[2])) not in found:
                with suppress(FileNotFoundError):
                    path.unlink()

    def _foreign(self, copy: Copy, offset: int, what: str) -> IntegrityError:
        return IntegrityError(
            f"journal {self.node}/{copy.worker}-{copy.n} at byte {offset}: {what}",
            code="journal_rewritten",
            mend="keep the node's disk for an inquiry: what was pulled before is safe here",
        )


def mend_copies(root: Path) -> None:
    """Before anything is sealed: cut what a crash left behind the good end of a copy."""
    for mark in root.glob(f"*/{COPIED}"):
        CopyFolder(root=root, node=mark.parent.name).held()


def walk(content: bytes, at: int, base: int, chain: bytes) -> tuple[int, bytes]:
    """(where the good frames from `at` on end, the chain value there); `content` starts at `base` of the file."""
    end = at
    while True:
        length = frame_length(content, at)
        if length == MARK_LENGTH:
            if parse_group(content, at, base + at) is not None:
                at += GROUP_BYTES
                continue
            return (at + END_BYTES if parse_end(content, at, base + at) == chain else end), chain
        frame = parse_frame(content, at) if length else None
        if frame is None or frame.chain_after(chain) != frame.chain:
            return end, chain
        at, chain = at + frame.length, frame.chain
        end = at
