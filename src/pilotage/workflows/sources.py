"""What a run begins with: the files that its steps name, kept by digest, and what Git says of the folder."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from pilotage.errors import InputError, NotFound
from pilotage.kernel.documents import Fault, fault, refuse
from pilotage.sandbox.box import run_boxed
from pilotage.sandbox.model import Limits
from pilotage.storage.objects import Objects
from pilotage.systems.model import AISystem
from pilotage.systems.pipeline import Step

__all__ = [
    "DECLARATION",
    "RELEASE",
    "choose_inputs",
    "commit_of",
    "keep_sources",
    "outputs_of",
    "read_declaration",
    "wanted_by",
]

DECLARATION = "pilotage.yaml"
RELEASE = "release"
"""The name of what a step `build` makes: the digest of a release."""

_MOST_FILES, _MOST_BYTES = 5_000, 32 << 30
_SKIPPED = {"__pycache__", ".git", ".venv", ".pilotage", ".ipynb_checkpoints"}


def outputs_of(step: Step) -> list[str]:
    """What a step makes, by path: its declared files; of `validate` and `evaluate` a report, of `build` a release."""
    if step.do == "build":
        return [RELEASE]
    return [f"{step.name}.json"] if step.do else list(step.outputs)


def wanted_by(system: AISystem, step: Step) -> list[str]:
    """The paths that a step reads: those it declares, and of steps of ours what the system declares."""
    pilot = system.pilot
    ours = {
        "": [],
        "validate": [DECLARATION, pilot.data, system.contract],
        "evaluate": [DECLARATION, pilot.data, system.contract, pilot.artefact, system.serving.rules],
        "build": [DECLARATION, pilot.data, system.contract, pilot.artefact, system.serving.rules],
    }[step.do]
    return list(dict.fromkeys(path for path in [*ours, *step.inputs] if path))


def choose_inputs(system: AISystem, step: Step, available: dict[str, str]) -> dict[str, str]:
    """The digests by path of what a step reads; a folder stands for all that is available below it."""
    wanted = wanted_by(system, step)
    return {
        path: digest
        for path, digest in sorted(available.items())
        if any(path == each or path.startswith(f"{each}/") for each in wanted)
    }


def keep_sources(system: AISystem, folder: Path, declaration: Path, objects: Objects) -> dict[str, str]:
    """Keep every file that a step reads and no earlier step makes; their digests by path.

    Raises InputError that names all paths that are not there, are links, or are too many.
    """
    made: set[str] = set()
    wanted: dict[str, str] = {}
    for at, step in enumerate(system.pipeline.steps):
        for path in wanted_by(system, step):
            if path not in made and path != DECLARATION:
                wanted.setdefault(path, f"pipeline.steps[{at}].inputs")
        made.update(outputs_of(step))
    if system.pipeline.lock:
        wanted.setdefault(system.pipeline.lock, "pipeline.lock")
    faults: list[Fault] = []
    files: dict[str, Path] = {DECLARATION: declaration}
    for path, where in wanted.items():
        below = any(each.startswith(f"{path}/") for each in made)
        files |= {str(each.relative_to(folder)): each for each in _files(folder, path, where, below, faults)}
    if len(files) > _MOST_FILES or (size := sum(each.stat().st_size for each in files.values())) > _MOST_BYTES:
        raise InputError(
            "a pipeline begins with too much",
            got=f"{len(files)} files" if len(files) > _MOST_FILES else f"{size} bytes",
            expected=f"at most {_MOST_FILES} files and {_MOST_BYTES >> 30} GiB",
            mend="name files instead of folders",
        )
    refuse(str(declaration), faults)
    return {path: objects.put_file(each) for path, each in sorted(files.items())}


def _files(folder: Path, path: str, where: str, made_below: bool, faults: list[Fault]) -> Iterator[Path]:
    """The regular files of a path. A link would lead out of what was declared."""
    root = folder / path
    links = [
        each for each in [root, *root.parents] if each.is_relative_to(folder) and each != folder and each.is_symlink()
    ]
    if links:
        faults.append(fault(where, f"{path} is a link", got=path, mend="put the file itself there"))
    elif root.is_file():
        yield root
    elif root.is_dir():
        yield from _below(root)
    elif not made_below:
        mend = "make it an output of an earlier step, or correct the path, relative to pilotage.yaml"
        faults.append(fault(where, f"there is no {path}", got=path, mend=mend))


def _below(root: Path) -> Iterator[Path]:
    for at, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if name not in _SKIPPED)
        for name in sorted(names):
            found = Path(at) / name
            if found.is_file() and not found.is_symlink():
                yield found


def commit_of(folder: Path, used: Iterable[str]) -> tuple[str, bool]:
    """The Git commit of a folder, and whether one of the files used differs from it; ("", False) without Git.

    Git runs in a box: a repository's own configuration can name programs that it starts.
    """
    root = next((each for each in [folder, *folder.parents] if (each / ".git").exists()), None)
    if root is None:
        return "", False
    # A worktree's own folder is elsewhere.
    readable = [root]
    if (root / ".git").is_file():
        pointed = Path((root / ".git").read_text(encoding="utf-8", errors="replace").partition(":")[2].strip())
        readable += [pointed, pointed.parent.parent]
    git = ["git", "-c", "safe.directory=*", "--no-optional-locks", "-C", str(folder)]
    limits = Limits(wall_s=30.0)
    head = run_boxed([*git, "rev-parse", "HEAD"], readable=readable, limits=limits)
    if not head.ok:
        return "", False
    state = run_boxed([*git, "status", "--porcelain", "--", *used], readable=readable, limits=limits)
    return head.stdout.decode("ascii", "replace").strip()[:64], bool(state.stdout.strip()) or not state.ok


def read_declaration(path: Path) -> bytes:
    """The bytes of a `pilotage.yaml`. Raises NotFound."""
    try:
        return path.read_bytes()
    except (FileNotFoundError, IsADirectoryError):
        raise NotFound("no such file", got=path, expected="a pilotage.yaml", mend="name the file itself") from None
