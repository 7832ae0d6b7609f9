"""Whether remote models still say that they are those of their releases; where not, evidence about them is stale."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator

import msgspec
from sqlalchemy import Engine

from pilotage.errors import PilotageError, Unavailable
from pilotage.evidence.stale import make_stale
from pilotage.evidence.store import for_subject
from pilotage.kernel.clock import Clock, now_us
from pilotage.releases.load import LoadedRelease, open_release
from pilotage.rollout.model import live_after
from pilotage.rollout.store import deployed_systems, history
from pilotage.runtimes.remote import RemoteRuntime
from pilotage.storage.database import reading, writing
from pilotage.storage.home import Home
from pilotage.storage.outbox import emit

__all__ = ["REASON", "RemoteState", "look_at_remote", "look_at_remotes"]

REASON = "the remote model says that it is another"
_MEASURED = ("backtest.", "conversion.", "evaluation.", "explanation.", "reasons.", "remote.")
_PATIENCE_S = 5.0
_log = logging.getLogger(__name__)


class RemoteState(msgspec.Struct, frozen=True, kw_only=True):
    """What a remote model said of itself: `as_built`, `changed`, `silent` (it says nothing), or `unreachable`.

    `stale` are the checks whose evidence this made stale.
    """

    release: str
    state: str
    pinned: str
    found: str = ""
    stale: list[str] = []


def look_at_remotes(control: Engine, home: Home, clock: Clock = now_us) -> list[RemoteState]:
    """Every live release that a remote model answers for. One that cannot be opened is logged and left out."""
    found = []
    for digest in _live(control):
        try:
            release = open_release(home.releases, digest)
            if release.serving.runtime == "remote":
                found.append(look_at_remote(control, release, clock))
        except PilotageError as error:
            _log.warning("the remote model of release %s cannot be looked at: %s", digest, error)
    return found


def look_at_remote(control: Engine, release: LoadedRelease, clock: Clock = now_us) -> RemoteState:
    """Ask the remote model of a release what it is. A change is put on record and makes its evidence stale, once.

    Raises InputError when this machine may not ask it.
    """
    runtime = RemoteRuntime(release.serving, patience_s=_PATIENCE_S)
    pinned = runtime.remote.metadata
    try:
        said = asyncio.run(_said(runtime))
    except Unavailable:
        return RemoteState(release=release.digest, state="unreachable", pinned=pinned)
    state = "silent" if not said else "as_built" if said == pinned else "changed"
    # Once silent it can change unseen: what it said at the build is then worth no more than what it does not say now.
    stale = _made_stale(control, release, said, clock()) if pinned and state in ("changed", "silent") else []
    return RemoteState(release=release.digest, state=state, pinned=pinned, found=said, stale=stale)


async def _said(runtime: RemoteRuntime) -> str:
    try:
        return await runtime.metadata()
    finally:
        await runtime.close()


def _made_stale(control: Engine, release: LoadedRelease, said: str, at: int) -> list[str]:
    figures = {"pinned": release.serving.remote.metadata if release.serving.remote else "", "found": said}
    with writing(control) as connection:
        marks = [each for each in for_subject(connection, release.digest) if each.figures.get("reason") == REASON]
        if marks and marks[0].figures.get("found") == said:
            return []
        stale = make_stale(connection, release.digest, prefixes=_MEASURED, reason=REASON, figures=figures, at=at)
        if stale:
            facts = {**figures, "stale": stale}
            emit(
                connection, "remote.changed", system=release.manifest.system, release=release.digest, facts=facts, at=at
            )
    return stale


def _live(control: Engine) -> Iterator[str]:
    with reading(control) as connection:
        lives = [live_after(history(connection, system)) for system in deployed_systems(connection)]
    yield from dict.fromkeys(live.release for live in lives if live is not None)
