"""One supervisor over gateway workers, steward and console: start, restart, drain.

The supervisor binds the sockets, so that a worker may die and come back without the port going away. Every child
holds the read end of a pipe: when the supervisor dies, however it dies, the pipe closes and the children drain.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pilotage.errors import Conflict
from pilotage.storage.objects import write_durably
from pilotage.wiring.endpoints import bind
from pilotage.wiring.lifeline import LIFELINE
from pilotage.wiring.settings import Settings
from pilotage.wiring.workers import workers_of

__all__ = ["Child", "Supervisor"]

_DRAIN_S = 15.0
_TURN_S = 60.0
_SOUND_S = 2.0
"""A process that lived this long did not fail at its start: when it dies it is started again at once."""


@dataclass(kw_only=True)
class Child:
    """One supervised process. `failures` in a row lengthen the pause before it is started again."""

    name: str
    arguments: Sequence[str]
    sockets: Sequence[int] = ()
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    failures: int = 0
    restart_at: float = 0.0
    restarts: int = 0
    log: Path = field(default=Path(os.devnull))


@dataclass(frozen=True)
class _Turning:
    """The worker that is being restarted, its process before, and since when."""

    child: Child
    pid: int
    since: float


class Supervisor:
    """Runs the processes of one home. `say` receives one line for each thing an operator wants to know."""

    def __init__(self, settings: Settings, say: Callable[[str], None]) -> None:
        self.settings = settings
        self.say = say
        self.stopping = False
        self.children: list[Child] = []
        self._rolling: list[Child] = []
        self._turning: _Turning | None = None
        self._lifeline = os.pipe()
        self._sockets: list[socket.socket] = []
        self._lock = self._take_lock()

    def _take_lock(self) -> int:
        run = self.settings.home.run
        run.mkdir(parents=True, exist_ok=True)
        lock = os.open(run / "up.lock", os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(lock)
            raise Conflict(
                f"pilotage up already runs in {self.settings.home.root}", mend="stop it first, or use another --home"
            ) from error
        return lock

    def start(self, *, gateway_only: bool = False) -> dict[str, str]:
        """Bind, start every process and return the endpoints once they are written (not yet ready).

        With `gateway_only`, this is a node of another machine's steward: gateways, and the journal offered to it.
        """
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)
        signal.signal(signal.SIGHUP, self._on_hangup)
        gateway = self._bound(self.settings.host, self.settings.gateway_port)
        found = {
            "gateway": f"{self.settings.scheme}://{self.settings.host}:{gateway.getsockname()[1]}",
            "pid": str(os.getpid()),
        }
        if gateway_only:
            journal = self._bound(self.settings.journal_host, self.settings.journal_port)
            found["journal"] = f"https://{self.settings.journal_host}:{journal.getsockname()[1]}"
            self._add("journal", ["node", "serve", "--fd", str(journal.fileno())], (journal.fileno(),))
        for worker in range(self.settings.workers):
            arguments = ["gateway", "--worker", str(worker), "--fd", str(gateway.fileno())]
            self._add(f"gateway-{worker}", arguments, (gateway.fileno(),))
        if not gateway_only:
            console = self._bound(self.settings.host, self.settings.console_port)
            found["console"] = f"{self.settings.scheme}://{self.settings.host}:{console.getsockname()[1]}"
            self._add("steward", ["steward"], ())
            self._add("console", ["console", "--fd", str(console.fileno())], (console.fileno(),))
        write_durably(self.settings.home.run / "endpoints.json", json.dumps(found).encode())
        return found

    def _bound(self, host: str, port: int) -> socket.socket:
        listener = bind(host, port)
        self._sockets.append(listener)
        return listener

    def _add(self, name: str, arguments: Sequence[str], sockets: Sequence[int]) -> None:
        child = Child(name=name, arguments=arguments, sockets=sockets, log=self.settings.home.run / f"{name}.log")
        self.children.append(child)
        self._spawn(child)

    def _spawn(self, child: Child) -> None:
        environ = {**os.environ, LIFELINE: str(self._lifeline[0]), "PILOTAGE_NODE": self.settings.node}
        # One thread a process for numeric libraries: replay needs it, and workers must not fight over cores.
        environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))
        if self.settings.database_url:
            environ["PILOTAGE_DATABASE_URL"] = self.settings.database_url
        with child.log.open("ab") as log:
            child.process = subprocess.Popen(
                [sys.executable, "-m", "pilotage", "--home", str(self.settings.home.root), *child.arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environ,
                pass_fds=(*child.sockets, self._lifeline[0]),
                start_new_session=True,
            )
        child.started = time.monotonic()

    def watch(self) -> None:
        """Restart what died, after a pause that grows from 0.1 s to 5 s while it dies as soon as it is started."""
        now = time.monotonic()
        for child in self.children:
            if child.process is None:
                if now >= child.restart_at and not self.stopping:
                    child.restarts += 1
                    self._spawn(child)
            elif (code := child.process.poll()) is not None:
                child.failures = 0 if now - child.started > _SOUND_S else child.failures + 1
                pause = min(5.0, 0.1 * 2 ** max(0, child.failures - 1))
                child.process, child.restart_at = None, now + pause
                self.say(f"{child.name} ended with {code}; starting it again in {pause:.1f} s (log: {child.log})")

    def run(self) -> None:
        """Watch until SIGINT or SIGTERM, then drain: gateways, then the steward, then the console."""
        while not self.stopping:
            self.watch()
            self.roll()
            time.sleep(0.05)
        self.drain()

    def _on_hangup(self, _number: int, _frame: object) -> None:
        self._rolling = [child for child in self.children if child.name.startswith("gateway")]

    def roll(self) -> None:
        """One step of restarting the workers one by one: the next is told to drain when the one before answers again.

        A worker that does not come back stops it there: the others go on as they are.
        """
        turning, now = self._turning, time.monotonic()
        if turning is None:
            if self._rolling and (process := (child := self._rolling.pop(0)).process) is not None:
                self._turning = _Turning(child, process.pid, now)
                process.terminate()
        elif self._answers(turning):
            self.say(f"{turning.child.name} was restarted")
            self._turning = None
        elif now - turning.since > _TURN_S:
            self.say(
                f"{turning.child.name} does not come back; the other workers are left alone (log: {turning.child.log})"
            )
            self._turning, self._rolling = None, []
        elif now - turning.since > _DRAIN_S and turning.child.process and turning.child.process.pid == turning.pid:
            turning.child.process.kill()

    def _answers(self, turning: _Turning) -> bool:
        process = turning.child.process
        ready = {each.pid for each in workers_of(self.settings.home) if each.state == "ready"}
        return process is not None and process.pid != turning.pid and process.pid in ready

    def _on_signal(self, _number: int, _frame: object) -> None:
        self.stopping = True

    def drain(self) -> None:
        """Stop everything, each after what depends on it; nothing accepted is lost."""
        self.stopping = True
        self.say("draining")
        for prefix in ("gateway", "journal", "steward", "console"):
            self._end([child for child in self.children if child.name.startswith(prefix)])
            if prefix == "steward":
                self._seal_the_rest()
        (self.settings.home.run / "endpoints.json").unlink(missing_ok=True)
        for listener in self._sockets:
            listener.close()
        for end in (*self._lifeline, self._lock):
            os.close(end)
        self.say("stopped")

    def _seal_the_rest(self) -> None:
        """A steward that was down, or was told to stop before it could listen, has not sealed what waits."""
        for child in self.children:
            if child.name == "steward" and (child.process is None or child.process.returncode != 0):
                child.arguments = ["steward", "--once"]
                self._spawn(child)
                self._wait(child, time.monotonic() + _DRAIN_S)

    def _end(self, children: list[Child]) -> None:
        alive = [child for child in children if child.process is not None]
        for child in alive:
            if child.process is not None:
                child.process.terminate()
        deadline = time.monotonic() + _DRAIN_S
        for child in alive:
            self._wait(child, deadline)

    def _wait(self, child: Child, deadline: float) -> None:
        if child.process is None:
            return
        try:
            code = child.process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            child.process.kill()
            code = child.process.wait()
        if code not in (0, -signal.SIGTERM):
            self.say(f"{child.name} ended with {code} while draining (log: {child.log})")
