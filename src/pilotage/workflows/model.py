"""A run of a pipeline, its steps, and what each was made of."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from pilotage.kernel.canonical import canonical_json
from pilotage.kernel.digests import digest

__all__ = ["Made", "Plan", "Run", "RunState", "Schedule", "StepRun", "StepState"]

RunState = Literal["running", "succeeded", "failed", "given_up"]
StepState = Literal["waiting", "running", "reused", "succeeded", "failed"]


class Made(msgspec.Struct, frozen=True, kw_only=True):
    """All that can move the outputs of a step; equal ones are the same work.

    `inputs` are digests by path. `environment` is the digest of interpreter and installed packages, of our steps that
    of ours. `secrets` are names: values are neither kept nor compared.
    """

    do: str
    run: list[str]
    inputs: dict[str, str]
    outputs: list[str]
    env: dict[str, str]
    secrets: list[str]
    seed: int
    epoch: int
    network: bool
    environment: str

    @property
    def key(self) -> str:
        """The digest of all of it."""
        return digest(canonical_json(msgspec.to_builtins(self)))


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a run was given: nothing else moves it, also when it is resumed.

    `declaration` is the digest of `pilotage.yaml`, `sources` the digests of files by path, `folder` where they were
    read, `commit` and `dirty` what Git said of it (empty and false where it is none). `fresh` reuses nothing of earlier
    runs, `twice` runs each command two times and compares. `missed` counts due times before this one that passed.
    """

    declaration: str
    sources: dict[str, str]
    folder: str
    commit: str = ""
    dirty: bool = False
    fresh: bool = False
    twice: bool = False
    missed: int = 0


class StepRun(msgspec.Struct, frozen=True, kw_only=True):
    """One step of a run: `outputs` are digests by path, `log` names the object that holds what it printed.

    `facts` holds what was measured: wall_s, cpu_s, peak_mb, tries, isolation, undeclared files, reused (a run's id).
    """

    run: str
    at: int
    name: str
    state: StepState = "waiting"
    key: str = ""
    made: dict[str, Any] = {}
    outputs: dict[str, str] = {}
    facts: dict[str, Any] = {}
    log: str = ""
    started: int = 0
    ended: int = 0
    error: str = ""

    @property
    def done(self) -> bool:
        """Whether its outputs are there."""
        return self.state in ("succeeded", "reused")


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """A run. `digest` is that of all outputs of all steps, `release` the one that was built; empty before.

    `by` is a person's id; `due` the time of the schedule that started it, Unix microseconds, 0 when a person did.
    """

    id: str
    system: str
    by: str
    started: int
    plan: Plan
    state: RunState = "running"
    due: int = 0
    ended: int = 0
    digest: str = ""
    release: str = ""


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """When a system's pipeline runs by itself: five fields of cron in UTC, from the folder of `declaration`.

    `last` is the newest due time that was taken, `missed` how many passed while nothing ran.
    """

    system: str
    cron: str
    declaration: str
    by: str
    since: int
    last: int
    missed: int = 0
