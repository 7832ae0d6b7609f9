"""Pull the journals of all nodes while this process is the active steward: a thread for each, so that one that is
away or slow keeps nobody waiting. What was pulled is on this disk, checked, before it is counted.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from pilotage.errors import IntegrityError, PilotageError
from pilotage.kernel.clock import Clock, now_us
from pilotage.ledger.collecting import read_positions
from pilotage.ledger.intake import Position
from pilotage.nodes.client import NodeClient, Reader
from pilotage.nodes.copies import Copy, CopyFolder
from pilotage.nodes.model import FileState, Listing, Node, Place
from pilotage.nodes.store import find_node, list_nodes, set_state
from pilotage.storage.database import reading, writing
from pilotage.storage.outbox import emit

__all__ = ["LAG_BYTES", "LAG_S", "NodePull", "PullLimits", "run_pulls"]

LAG_S, LAG_BYTES = 60.0, 256 << 20

_log = logging.getLogger(__name__)
_SEALED = frozenset({"deleted", "whole"})
_PAUSE_S, _AWAY_S, _TELL_S, _LOOK_S = 0.2, 2.0, 5.0, 2.0


@dataclass(frozen=True, kw_only=True)
class PullLimits:
    """`bytes_per_s` from one node; `held_bytes` of one node here, not yet sealed; lag above which to alert."""

    bytes_per_s: float = 64 << 20
    held_bytes: int = 2 << 30
    lag_s: float = LAG_S
    lag_bytes: int = LAG_BYTES


@dataclass(kw_only=True)
class NodePull:
    """The pull of one node. For one thread."""

    node: Node
    reader: Reader
    root: Path
    control: Engine
    ledger: Engine
    limits: PullLimits = field(default_factory=PullLimits)
    clock: Clock = now_us
    step: Callable[[str], None] = lambda name: None
    told: float = -1e9
    sealed: set[tuple[int, int]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.client = NodeClient(self.node, self.reader)
        self.copies = CopyFolder(root=self.root, node=self.node.name, step=self.step)
        self.held = self.copies.held()

    def round(self) -> bool:
        """Pull what the node has now; whether anything came. Tells how it stands in the nodes' table."""
        began, came, fault = self.clock(), 0, ""
        listing: Listing | None = None
        try:
            listing = self.client.listing()
            self._check_instance(listing)
            self.sealed.clear()
            positions = self._positions()
            faults = [self._pull_worker(files, positions) for files in _by_worker(listing)]
            came = sum(count for count, _ in faults)
            fault = "; ".join(text for _, text in faults if text)
        except PilotageError as error:
            fault = str(error)
        lag = self._lag(listing) if listing is not None else self.node.lag_bytes
        self._tell(fault=fault, lag_bytes=lag, caught_up=began if listing is not None and not lag else 0)
        return came > 0

    def _check_instance(self, listing: Listing) -> None:
        if not self.node.instance:
            with writing(self.control) as connection:
                set_state(connection, self.node.name, instance=listing.instance)
            self.node = _changed(self.node, instance=listing.instance)
        elif self.node.instance != listing.instance:
            raise IntegrityError(
                f"two homes say that they are node {self.node.name}: nothing is pulled from the second",
                code="node_twice",
                got=listing.instance,
                expected=self.node.instance,
                mend="stop one of them; a machine that was set up anew is invited again: pilotage node invite",
            )

    def _positions(self) -> Mapping[str, Position]:
        with reading(self.ledger) as connection:
            known = read_positions(connection)
        for (worker, n), copy in list(self.held.items()):
            if copy.ended and not self.copies.path(worker, n).exists():
                del self.held[worker, n]
                self.copies.forget(worker, n)
        return known

    def _pull_worker(self, files: list[FileState], known: Mapping[str, Position]) -> tuple[int, str]:
        """(bytes that came, what is wrong) of one worker's files, in order."""
        came = 0
        try:
            self._end_vanished(files)
            for file in files:
                place = known.get(f"{self.node.name}/{file.worker}-{file.n}")
                if (file.worker, file.n) not in self.held and place is not None and place.state in _SEALED:
                    self.sealed.add((file.worker, file.n))
                    if place.state == "deleted":
                        self._acknowledge(file, place)
                    continue
                came += self._pull(file)
                if not self.held[file.worker, file.n].ended:
                    break
        except IntegrityError as error:
            return came, error.what
        return came, ""

    def _pull(self, file: FileState) -> int:
        copy = self.held.setdefault((file.worker, file.n), Copy(worker=file.worker, n=file.n))
        came = 0
        if copy.offset > file.size or (copy.ended and copy.offset < file.size):
            raise IntegrityError(
                f"journal {self.node.name}/{file.worker}-{file.n} is "
                + ("shorter than before" if copy.offset > file.size else "longer than where it had ended"),
                code="journal_rewritten",
                got=f"{file.size} bytes",
                expected=f"the {copy.offset} that are here, and what follows them while it is written",
                mend="keep the node's disk for an inquiry: what was pulled before is safe here",
            )
        while copy.offset < file.size and not copy.ended and self._room():
            started = time.monotonic()
            content = self.client.read(file.worker, file.n, Place(offset=copy.offset, chain=copy.chain))
            if not content:
                raise IntegrityError(
                    f"journal {self.node.name}/{file.worker}-{file.n} does not continue what was pulled of it",
                    code="journal_rewritten",
                    got=f"{file.size} bytes there",
                    expected=f"frames after byte {copy.offset}, chain {copy.chain}",
                    mend="keep the node's disk for an inquiry: what was pulled before is safe here",
                )
            self.copies.append(copy, content)
            came += len(content)
            time.sleep(max(0.0, len(content) / self.limits.bytes_per_s - (time.monotonic() - started)))
        if file.finished and copy.offset >= file.size and copy.offset:
            self.copies.end(copy)
        return came

    def _room(self) -> bool:
        """Whether more may lie here unsealed: else the node keeps it a while."""
        return sum(copy.offset for copy in self.held.values()) < self.limits.held_bytes

    def _end_vanished(self, files: list[FileState]) -> None:
        """A file that was begun here and is no longer there: its copy ends, and the gap shows when the next follows."""
        there = {(file.worker, file.n) for file in files}
        newest = files[-1].n
        for (worker, n), copy in self.held.items():
            if worker == files[-1].worker and n < newest and not copy.ended and (worker, n) not in there:
                self.copies.end(copy)
                raise IntegrityError(
                    f"journal {self.node.name}/{worker}-{n} vanished before all of it was pulled",
                    code="journal_rewritten",
                    got=f"{copy.offset} bytes are here",
                    mend="restore the file on the node from a copy of its disk",
                )

    def _acknowledge(self, file: FileState, place: Position) -> None:
        self.client.sealed(file.worker, file.n, Place(offset=file.size, chain=place.chain))
        self.step("acknowledged")

    def _lag(self, listing: Listing) -> int:
        """Bytes on the node that are not here yet."""
        here = {key: copy.offset for key, copy in self.held.items()}
        waiting = [file for file in listing.files if (file.worker, file.n) not in self.sealed]
        return sum(max(0, file.size - here.get((file.worker, file.n), 0)) for file in waiting)

    def _tell(self, *, fault: str, lag_bytes: int, caught_up: int) -> None:
        """Write how it stands, at once when something changed, else every few seconds; alert at both edges."""
        now = self.clock()
        values: dict[str, object] = {"fault": fault[:500], "lag_bytes": lag_bytes}
        if caught_up:
            values["caught_up"] = caught_up
        if not fault:
            values["pulled"] = now
        new = _changed(self.node, **values)
        lagging = int(new.lag_s(now) > self.limits.lag_s or lag_bytes > self.limits.lag_bytes)
        if (lagging, new.fault) == (self.node.lagging, self.node.fault) and time.monotonic() - self.told < _TELL_S:
            self.node = new
            return
        with writing(self.control) as connection:
            # Another steward may have told meanwhile: an alert is sent once, whoever sends it.
            stored = find_node(connection, self.node.name)
            if stored.lagging != lagging:
                kind = "journal.lagging" if lagging else "journal.caught_up"
                facts = {"node": new.name, "lag_s": round(new.lag_s(now)), "lag_bytes": lag_bytes}
                emit(connection, kind, facts=facts)
                _log.warning("%s: %s", kind, facts)
            set_state(connection, new.name, **values, lagging=lagging)
        if new.fault and new.fault != self.node.fault:
            _log.error("pulling from %s: %s", new.name, new.fault)
        self.node, self.told = _changed(new, lagging=lagging), time.monotonic()


def run_pulls(
    stop: threading.Event,
    active: Callable[[], bool],
    make: Callable[[Node], NodePull],
    control: Engine,
) -> None:
    """Until told to stop, keep a thread for each node with an address, while this process is `active`."""
    threads: dict[tuple[str, str], threading.Thread] = {}
    while not stop.is_set():
        try:
            with reading(control) as connection:
                nodes = [node for node in list_nodes(connection) if node.address and not node.retired]
        except SQLAlchemyError as error:
            _log.warning("the list of nodes cannot be read: %s", type(error).__name__)
            nodes = []
        threads = {key: thread for key, thread in threads.items() if thread.is_alive()}
        for node in nodes if active() else []:
            key = (node.name, node.certificate)
            if key not in threads:
                work = (stop, active, make, node, control)
                threads[key] = threading.Thread(target=_keep_pulling, args=work, daemon=True, name=f"pull-{node.name}")
                threads[key].start()
        stop.wait(_LOOK_S)
    for thread in threads.values():
        thread.join(_AWAY_S)


def _keep_pulling(
    stop: threading.Event, active: Callable[[], bool], make: Callable[[Node], NodePull], node: Node, control: Engine
) -> None:
    """Pull from one node until it is another's turn, or the node was retired or invited anew."""
    try:
        pull = make(node)
        while not stop.is_set() and active():
            came = pull.round()
            if not came:
                stop.wait(_AWAY_S if pull.node.fault else _PAUSE_S)
            with reading(control) as connection:
                now = find_node(connection, node.name)
            if now.retired or now.certificate != node.certificate or now.address != node.address:
                break
        pull.client.close()
    except (PilotageError, SQLAlchemyError, OSError) as error:
        _log.error("pulling from %s stopped for now: %s", node.name, error)
        stop.wait(_AWAY_S)


def _by_worker(listing: Listing) -> list[list[FileState]]:
    found: dict[int, list[FileState]] = {}
    for file in listing.files:
        found.setdefault(file.worker, []).append(file)
    return list(found.values())


def _changed(node: Node, **values: object) -> Node:
    return Node(**{**node.__dict__, **values})
