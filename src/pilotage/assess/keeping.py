"""The plan as it was made, and how far it has come: a file beside the pilot, so that it is versioned with it."""

from __future__ import annotations

import os
from pathlib import Path
from shlex import quote

import msgspec

from pilotage.assess.roadmap import Progress, Roadmap
from pilotage.errors import InputError, NotFound

__all__ = ["PLAN", "Kept", "keep_plan", "read_plan", "write_whole"]

PLAN = "roadmap.json"
MOST_BYTES = 8 << 20


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """A plan and every look at how far it had come, the oldest first."""

    plan: Roadmap
    history: list[Progress] = []


def read_plan(folder: Path) -> Kept:
    """The plan beside a pilot. Raises NotFound when none was made, InputError when the file is no plan."""
    path = folder / PLAN
    if not path.is_file():
        raise NotFound(
            "no roadmap was made yet", got=path, mend=f"make it with `pilotage roadmap make {quote(str(folder))}`"
        )
    if path.stat().st_size > MOST_BYTES:
        raise InputError(f"{PLAN} is too large", got=path.stat().st_size, expected=MOST_BYTES, mend="make it anew")
    try:
        return msgspec.json.decode(path.read_bytes(), type=Kept)
    except msgspec.MsgspecError as error:
        raise InputError(
            f"{PLAN} is no roadmap", got=error, mend="take it from the history, or make it anew"
        ) from error


def keep_plan(folder: Path, kept: Kept) -> None:
    """Write it whole or not at all."""
    write_whole(folder / PLAN, msgspec.json.format(msgspec.json.encode(kept), indent=1) + b"\n")


def write_whole(path: Path, content: bytes) -> None:
    """Write a file beside a pilot whole or not at all: beside its place, synced, then renamed into it."""
    draft = path.with_name(f".{path.name}.new")
    with draft.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
