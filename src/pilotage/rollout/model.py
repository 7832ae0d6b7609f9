"""What happened to a system's releases, and what is live because of it. Times are Unix microseconds."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec

__all__ = ["Action", "Deployment", "Live", "Published", "RolledBack", "live_after", "live_since", "previous_release"]

Action = Literal["promote", "rollback", "stop", "start"]


class Deployment(msgspec.Struct, frozen=True, kw_only=True):
    """One act of rollout, in force from plan version `plan`. `release` is the one that is live after it.

    `passage` is the id of the gate passage it stands on; `contract` and `policy` are digests from the release's
    manifest; `by` is the id of the person who acted.
    """

    id: str
    system: str
    stage: str
    release: str
    action: Action
    contract: str
    policy: str
    passage: str
    by: str
    reason: str
    at: int
    plan: int


class Live(msgspec.Struct, frozen=True, kw_only=True):
    """What answers for a system: the newest act that set a release, and why it is stopped (empty: it is not)."""

    deployment: Deployment
    stopped: str

    @property
    def system(self) -> str:
        """The system's id."""
        return self.deployment.system

    @property
    def release(self) -> str:
        """The digest of the live release."""
        return self.deployment.release

    @property
    def stage(self) -> str:
        """The stage the system is at."""
        return self.deployment.stage

    @property
    def answering(self) -> str:
        """The deployment under whose id it is kept how the release answers."""
        return self.deployment.id


class Published(msgspec.Struct, frozen=True, kw_only=True):
    """A change that is committed: the act, the plan that carries it, and the moment after the commit.

    `fallback` is what answers, in order, when the release cannot: the release before by its digest, or `rules`.
    """

    deployment: Deployment
    plan_version: int
    plan_digest: str
    committed: int
    fallback: list[str] = []


class RolledBack(msgspec.Struct, frozen=True, kw_only=True):
    """A rollback that is committed: from which release to which, and the moment after the commit."""

    system: str
    stage: str
    from_release: str
    to_release: str
    plan_version: int
    plan_digest: str
    committed: int


def live_after(history: Iterable[Deployment]) -> Live | None:
    """What is live after a system's acts, oldest first. A stop outlives promotions until somebody starts again."""
    placed: Deployment | None = None
    stopped = ""
    for act in history:
        match act.action:
            case "stop":
                stopped = act.reason or "stopped"
            case "start":
                stopped = ""
            case _:
                placed = act
    return None if placed is None else Live(deployment=placed, stopped=stopped)


def live_since(history: Iterable[Deployment]) -> int:
    """When what is live was first live at its stage, Unix microseconds; 0: nothing is. A drill changes nothing here."""
    acts = list(history)
    now = live_after(acts)
    if now is None:
        return 0
    placed = [act for act in acts if act.action in ("promote", "rollback")]
    return next(act.at for act in placed if (act.release, act.stage) == (now.release, now.stage))


def previous_release(history: Iterable[Deployment]) -> str:
    """The release to roll back to: the one that was live before at the same stage, or nothing.

    A rollback takes the release it left out of the line, so that a second one goes further back, never forth.
    """
    line: list[Deployment] = []
    for act in history:
        if act.action == "promote":
            line.append(act)
        elif act.action == "rollback" and line:
            line.pop()
    before = [act.release for act in line[:-1] if act.stage == line[-1].stage and act.release != line[-1].release]
    return before[-1] if before else ""
