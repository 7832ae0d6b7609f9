"""Stops on one node, of systems and of people who come by tokens, by a file in the home.

They act at once, without the database, and outlive a restart.

Whoever may write the home may stop what it answers. Each worker looks at the file many times a second and puts a change
on record. A file that cannot be read stops everything: nobody can say what it meant to stop.
"""

from __future__ import annotations

import fcntl
import getpass
from dataclasses import replace
from pathlib import Path

import msgspec

from pilotage.errors import Conflict
from pilotage.gateway.state import LiveSystem, Serving, rebuilt
from pilotage.kernel.clock import now_us
from pilotage.storage.objects import write_durably

__all__ = ["ALL", "PERSON", "StopFile", "StopHere", "people_stopped", "read_stops", "stop_here", "stopped_here"]

ALL = "*"
"""Stands for every system."""

PERSON = "person:"
"""Before an issuer's name, a blank and the digest of `issuer|sub`: stands for a person whose tokens are refused."""

_HERE = "stopped on this node: "


class StopHere(msgspec.Struct, frozen=True, kw_only=True):
    """Why a system, a person, or `*` for all systems, is stopped on this node.

    `by` is a user of the machine or a person's id, `at` Unix microseconds.
    """

    reason: str
    by: str
    at: int


class StopFile:
    """The file, read again only when it changed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int, int] | None = None
        self.stops: dict[str, StopHere] = {}

    def changed(self) -> bool:
        """Look whether there is something new; then `stops` is it."""
        seen = self._look()
        if seen == self._seen:
            return False
        self._seen, before = seen, self.stops
        self.stops = self._read()
        return self.stops != before

    def _look(self) -> tuple[int, int, int] | None:
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return None
        except OSError:
            return (0, 0, 0)
        return found.st_ino, found.st_mtime_ns, found.st_size

    def _read(self) -> dict[str, StopHere]:
        return read_stops(self._path)


def stop_here(path: Path, system: str, reason: str | None, at: int, *, by: str = "") -> None:
    """Write that a system (or `*`) is stopped on this node and why; None ends it. `by` is who, or this process's user.

    Raises Conflict when it is so already.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        stops = read_stops(path)
        if (system in stops) == (reason is not None):
            word = "stopped" if reason is not None else "not stopped"
            name = {ALL: "everything"}.get(system, "the person" if system.startswith(PERSON) else system)
            raise Conflict(
                f"{name} is {word} on this node already", got=", ".join(stops) or None, mend="nothing is left to do"
            )
        if reason is None:
            del stops[system]
        else:
            stops[system] = StopHere(reason=reason, by=by or getpass.getuser(), at=at)
        write_durably(path, msgspec.json.encode(stops))


def stopped_here(serving: Serving, stops: dict[str, StopHere]) -> Serving:
    """What is served with this node's stops put over it; a stop of the plan keeps its reason."""
    if not stops:
        return serving
    systems = {name: _stopped(live, stops.get(name) or stops.get(ALL)) for name, live in serving.systems.items()}
    return rebuilt(serving, systems)


def people_stopped(stops: dict[str, StopHere]) -> frozenset[str]:
    """The identities whose tokens are refused on this node."""
    return frozenset(name.rpartition(" ")[2] for name in stops if name.startswith(PERSON))


def _stopped(live: LiveSystem, stop: StopHere | None) -> LiveSystem:
    if stop is None or live.route.stopped:
        return live
    return replace(live, route=msgspec.structs.replace(live.route, stopped=_HERE + stop.reason))


def read_stops(path: Path) -> dict[str, StopHere]:
    """What a stop file says: everything is stopped when it cannot be read."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, StopHere])
    except FileNotFoundError:
        return {}
    except (OSError, msgspec.DecodeError) as error:
        return {ALL: StopHere(reason=f"{path.name} cannot be read: {error}"[:200], by="", at=now_us())}
