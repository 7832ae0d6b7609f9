"""The `pipeline:` section of `pilotage.yaml`: the steps from data to a release, each with all that it may see."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Literal

import msgspec

from pilotage.errors import InputError
from pilotage.kernel.clock import parse_duration

__all__ = ["Pipeline", "Step", "pipeline_faults"]

Fault = tuple[str, str, object, str]

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_OURS = ("PYTHONPATH", "PYTHONHASHSEED", "PILOTAGE_SEED", "SOURCE_DATE_EPOCH", "PILOTAGE_TOKEN")
_MOST_STEPS, _MOST_PATHS, _MOST_WORDS, _MOST_TEXT = 32, 200, 100, 16_384
_MOST_RETRIES, _MOST_TIMEOUT_US, _MOST_SEED, _MOST_MEMORY = 5, 24 * 3_600_000_000, 2**32 - 1, 262_144


class Step(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One step: `run`, a command of the pilot's as a list of words (never a shell line), or one of ours by `do`.

    `inputs` are all the files and folders that it sees, `outputs` the files that are kept of it, relative to
    `pilotage.yaml`. `env` are variables with their values; `secrets` names variables of the caller's that are passed
    on and never recorded. `seed` (that of the pipeline when left out) becomes PYTHONHASHSEED and PILOTAGE_SEED.
    `timeout` is a length of time such as 10m, `retries` how often it is tried again. A step with `network` may reach
    others, and is therefore never reused. `faulty` is the share of rows that may break the contract in `do: validate`.
    """

    name: str
    do: Literal["", "validate", "evaluate", "build"] = ""
    run: list[str] = []
    inputs: list[str] = []
    outputs: list[str] = []
    env: dict[str, str] = {}
    secrets: list[str] = []
    seed: int | None = None
    timeout: str = "1h"
    retries: int = 0
    network: bool = False
    memory_mb: int = 4096
    faulty: float = 0.0


class Pipeline(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The steps, in their order. `python` is the interpreter of commands that begin with `python`: a path, absolute or
    relative to `pilotage.yaml`; left out, the one that Pilotage runs in. `lock` is a requirements file that pins what
    must be installed there. `epoch` is SOURCE_DATE_EPOCH, seconds.
    """

    steps: list[Step] = []
    python: str = ""
    lock: str = ""
    seed: int = 2026
    epoch: int = 315_532_800


def pipeline_faults(rules: Pipeline) -> Iterator[Fault]:
    """(path, what, got, mend) of everything that types cannot say."""
    if len(rules.steps) > _MOST_STEPS:
        yield "pipeline.steps", "are too many", len(rules.steps), f"at most {_MOST_STEPS}"
    if not 0 <= rules.seed <= _MOST_SEED:
        yield "pipeline.seed", "is out of range", rules.seed, f"a whole number from 0 to {_MOST_SEED}"
    if not 0 <= rules.epoch <= _MOST_SEED:
        yield "pipeline.epoch", "is out of range", rules.epoch, "seconds since 1970"
    if rules.lock and not _inside(rules.lock):
        yield "pipeline.lock", "leaves the folder of pilotage.yaml", rules.lock, "move the file into the folder"
    names = [step.name for step in rules.steps]
    for at, step in enumerate(rules.steps):
        for field, what, got, mend in _step_faults(step, names):
            yield f"pipeline.steps[{at}].{field}", what, got, mend


def _step_faults(step: Step, names: list[str]) -> Iterator[Fault]:
    if not _NAME.fullmatch(step.name):
        yield "name", "is not usable", step.name[:80], "lower-case letters, digits, hyphens; at most 32"
    if names.count(step.name) > 1:
        yield "name", "is there twice", step.name, "give each step a name of its own"
    if bool(step.run) == bool(step.do):
        yield (
            "run",
            "is needed" if not step.do else "is not for a step of ours",
            step.run or None,
            "write either `run:`, a list of words, or `do: validate`, `do: evaluate` or `do: build`",
        )
    if step.do:
        extra = [field for field in ("outputs", "env", "secrets", "network") if getattr(step, field)]
        if extra:
            yield "do", f"needs no {', '.join(extra)}", step.do, "leave them out: they are for commands"
    yield from _sizes(step)
    if not 0 <= step.faulty < 1:
        yield "faulty", "is out of range", step.faulty, "a number from 0 up to 1"
    for field in ("inputs", "outputs"):
        paths = getattr(step, field)
        for path in paths:
            if not _inside(path):
                yield field, f"{path} leaves the folder of pilotage.yaml", path, "a relative path without .."
            if paths.count(path) > 1:
                yield field, f"{path} is there twice", path, "name each once"
    if "release" in step.outputs:
        yield "outputs", "release is what `do: build` makes", "release", "another name for the file"
    for name in [*step.env, *step.secrets]:
        if not _VARIABLE.fullmatch(name) or name in _OURS:
            yield "env", f"{name[:80]} cannot be set here", name[:80], "another name: letters, digits, _"
    try:
        if not 0 < parse_duration(step.timeout) <= _MOST_TIMEOUT_US:
            yield "timeout", "is out of range", step.timeout, "more than 0s, at most 24h"
    except InputError as error:
        yield "timeout", "is no length of time", step.timeout, str(error.expected)


def _sizes(step: Step) -> Iterator[Fault]:
    if step.run and (len(step.run) > _MOST_WORDS or sum(map(len, step.run)) > _MOST_TEXT or not step.run[0]):
        yield "run", "is too long, or names no command", None, f"at most {_MOST_WORDS} words of {_MOST_TEXT} letters"
    if len(step.inputs) + len(step.outputs) > _MOST_PATHS:
        yield "inputs", "are too many", len(step.inputs), f"at most {_MOST_PATHS} paths; name a folder"
    for field, value, most in (
        ("retries", step.retries, _MOST_RETRIES),
        ("seed", step.seed or 0, _MOST_SEED),
        ("memory_mb", step.memory_mb - 64, _MOST_MEMORY),
    ):
        if not 0 <= value <= most:
            yield field, "is out of range", getattr(step, field), f"a whole number, at most {most}"


def _inside(value: str) -> bool:
    path = PurePosixPath(value)
    return (
        bool(value) and not path.is_absolute() and ".." not in path.parts and str(path) == value and "\x00" not in value
    )
