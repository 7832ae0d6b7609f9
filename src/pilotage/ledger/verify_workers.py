"""Check parts in processes of their own, on one view of the database, so that verification takes all cores.

A worker gets its secrets through a pipe, and only those that open data keys; it reads, and writes nothing. All views
are of one moment: PostgreSQL hands the first one on; on SQLite nobody can write while they are taken. Where that is not
to be had, or a worker ends, the parts are checked in this process: what is found is the same.
"""

from __future__ import annotations

import gc
import os
import pickle
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection as PipeEnd
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DatabaseError

from pilotage.errors import PilotageError
from pilotage.ledger.faults import Faults
from pilotage.ledger.keys import CabinetSecrets, KeyCabinet
from pilotage.ledger.verify_batches import Checker, InProcess
from pilotage.ledger.verify_found import Findings, Part
from pilotage.ledger.verify_part import PartTools, check_part
from pilotage.ledger.verify_rows import Snapshot, snapshot
from pilotage.storage.database import open_engine, writing
from pilotage.storage.processes import KEEPS_MEMORY

__all__ = ["View", "one_view", "serve"]

_WORTH = 20_000
"""Leaves for each process: fewer are checked before it has begun."""

_PATIENCE_S = 2.0
_READY_S = 60.0
_STORAGE = "storage"


@dataclass(frozen=True, kw_only=True)
class _Begin:
    url: str
    folder: str
    secrets: CabinetSecrets


@dataclass(frozen=True, kw_only=True)
class _Tools:
    """What a worker is told before the first part."""

    retired: dict[str, str]
    after: int
    keep_events: bool


class _Worker:
    """One process and this end of its pipe."""

    def __init__(self, begin: _Begin) -> None:
        self.pipe, theirs = Pipe()
        with theirs:
            number = theirs.fileno()
            command = [sys.executable, "-c", f"from pilotage.ledger.verify_workers import serve; serve({number})"]
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                pass_fds=[number],
                start_new_session=True,
                env=KEEPS_MEMORY
                | {name: value for name, value in os.environ.items() if not name.startswith("PILOTAGE_")},
            )
        self.pipe.send(begin)

    def ask(self, question: object) -> Any:
        """What the worker answers; None when it cannot: it has ended. Raises DatabaseError."""
        try:
            self.pipe.send(question)
            return self.answer()
        except (OSError, EOFError, pickle.PickleError):
            return None

    def answer(self, patience_s: float | None = None) -> Any:
        """The next answer. Raises EOFError when none comes."""
        if not self.pipe.poll(patience_s):
            raise EOFError
        word, content = self.pipe.recv()
        if word == "database":
            raise DatabaseError("", {}, Exception(content))
        return content if word == "found" else None

    def end(self) -> None:
        """End the process; whoever waits for its answer hears of it."""
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """End the process and give the pipe back."""
        self.end()
        self.pipe.close()


class View:
    """One view of the database, and who checks parts on it."""

    def __init__(self, rows: Snapshot, workers: Sequence[_Worker]) -> None:
        self.rows, self._workers = rows, workers
        self._free: SimpleQueue[_Worker] = SimpleQueue()
        for worker in workers:
            self._free.put(worker)
        self._threads = ThreadPoolExecutor(len(workers)) if workers else None

    def check_storage(self) -> Callable[[], Faults]:
        """Begin to check the database's own storage; what is returned waits for its faults. Raises DatabaseError."""
        if self._threads is None:
            done: Future[Faults] = Future()
            try:
                done.set_result(self._storage())
            except DatabaseError as error:
                done.set_exception(error)
            return done.result
        asked = self._threads.submit(self._ask, _STORAGE)
        return lambda: asked.result() or self._storage()

    def checker(self, tools: PartTools) -> Checker:
        """Who checks parts with these tools."""
        here, threads = InProcess(tools), self._threads
        if threads is None:
            return here
        told = _Tools(retired=dict(tools.retired), after=tools.after, keep_events=tools.keep_events)
        return _Abroad(here, lambda part: threads.submit(self._ask, (told, part)), 2 * len(self._workers))

    def close(self) -> None:
        """End the workers; a part under way is of no use any more."""
        for worker in self._workers:
            worker.end()
        if self._threads is not None:
            self._threads.shutdown(cancel_futures=True)

    def _ask(self, question: object) -> Any:
        worker = self._free.get()
        try:
            return worker.ask(question)
        finally:
            self._free.put(worker)

    def _storage(self) -> Faults:
        faults = Faults()
        self.rows.reporting(faults).check_storage()
        return faults


class _Abroad:
    """Checks parts in workers, and in this process what a worker did not answer."""

    def __init__(self, here: InProcess, submit: Callable[[Part], Future[Any]], ahead: int) -> None:
        self._here, self._submit, self.ahead = here, submit, ahead

    def begin(self, part: Part) -> Callable[[], Findings]:
        """Give it to the next worker that is free."""
        asked = self._submit(part)
        return lambda: asked.result() or self._here.begin(part)()


@contextmanager
def one_view(
    ledger: Engine,
    faults: Faults,
    folder: Path,
    secrets: Callable[[], CabinetSecrets],
    *,
    processes: int,
    since: int = 0,
) -> Iterator[View]:
    """A view of all tables at one moment; checked by up to `processes` workers where what came after `since` leaves is
    worth it.
    """
    count = min(processes, (_size(ledger) - since) // _WORTH) if processes > 1 else 0
    with ExitStack() as opened:
        workers: list[_Worker] = []
        if count > 1:
            url = ledger.url.render_as_string(hide_password=False)
            begin = _Begin(url=url, folder=str(folder), secrets=secrets())
            workers = [_Worker(begin) for _ in range(count)]
            for worker in workers:
                opened.callback(worker.close)
            workers = workers if _all_answer(workers) else []
        with _shared(ledger, faults, workers) as rows:
            view = View(rows, workers)
            try:
                yield view
            finally:
                view.close()


@contextmanager
def _shared(ledger: Engine, faults: Faults, workers: list[_Worker]) -> Iterator[Snapshot]:
    """This process's view; that of every worker is the same, or there are no workers any more."""
    with ExitStack() as opened:
        if not workers:
            yield opened.enter_context(snapshot(ledger, faults))
        elif ledger.dialect.name == "postgresql":
            rows = opened.enter_context(snapshot(ledger, faults))
            if not _view(workers, rows.exported()):
                workers.clear()
            yield rows
        else:
            lock = ExitStack()
            try:
                lock.enter_context(writing(ledger, patience_s=_PATIENCE_S))
            except (PilotageError, DatabaseError):
                workers.clear()
            with lock:
                rows = opened.enter_context(snapshot(ledger, faults))
                rows.begin()
                if workers and not _view(workers, ""):
                    workers.clear()
            yield rows


def _all_answer(workers: Sequence[_Worker]) -> bool:
    try:
        return all(worker.answer(_READY_S) for worker in workers)
    except (OSError, EOFError, DatabaseError):
        return False


def _view(workers: Sequence[_Worker], exported: str) -> bool:
    """Whether all workers have their view."""
    try:
        for worker in workers:
            worker.pipe.send(exported)
    except OSError:
        return False
    return _all_answer(workers)


def _size(ledger: Engine) -> int:
    """About how many leaves there are; 0 when that cannot be read, which verification will say."""
    faults = Faults()
    try:
        with snapshot(ledger, faults) as rows:
            return rows.last_size()
    except (DatabaseError, ValueError, TypeError):
        return 0


def serve(number: int) -> None:
    """The process: answers on the pipe of this descriptor until it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.disable()  # what is read has no cycles, and goes with each answer
    with suppress(EOFError, OSError), PipeEnd(number) as pipe:
        begin: _Begin = pipe.recv()
        engine, cabinet, folder = open_engine(begin.url), KeyCabinet(begin.secrets), Path(begin.folder)
        with engine.connect() as connection:
            _read_only(connection)
            pipe.send(("found", True))
            exported: str = pipe.recv()
            if connection.dialect.name == "postgresql":
                connection = connection.execution_options(isolation_level="REPEATABLE READ")
            with connection.begin():
                rows = Snapshot(connection, Faults())
                rows.begin(exported)
                pipe.send(("found", True))
                while True:
                    pipe.send(_answered(pipe.recv(), rows, folder, cabinet))


def _answered(question: Any, rows: Snapshot, folder: Path, cabinet: KeyCabinet) -> tuple[str, object]:
    try:
        if question == _STORAGE:
            faults = Faults()
            rows.reporting(faults).check_storage(mapped=True)
            return "found", faults
        told, part = question
        tools = PartTools(
            folder=folder,
            cabinet=cabinet,
            rows=rows,
            retired=told.retired,
            after=told.after,
            keep_events=told.keep_events,
        )
        return "found", check_part(part, tools)
    except DatabaseError as error:
        return "database", str(error.orig)
    except Exception:  # noqa: BLE001 - the same will happen to the process that asked, which knows what to do
        return "failed", traceback.format_exc()


def _read_only(connection: Connection) -> None:
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("PRAGMA query_only = ON")
    else:
        connection.exec_driver_sql("SET default_transaction_read_only = on")
    connection.commit()
