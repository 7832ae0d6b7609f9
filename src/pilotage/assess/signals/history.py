"""The pilot's own git history, read so that nothing of the repository's settings takes effect.

git runs its repository's configuration: monitors, pagers, signature programs, transports. So git is never pointed at
it: it is given an empty repository of ours that borrows the objects, and the commit to start from.
"""

from __future__ import annotations

import os
import re
import struct
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from pilotage.assess.folder import Folder
from pilotage.assess.model import Finding
from pilotage.assess.reading import read_bytes
from pilotage.assess.signals.seen import Seen

__all__ = ["history", "last_change", "readable", "repository"]

_MAX_COMMITS, _WAIT_S, _MAX_OUT = 5_000, 10, 8 << 20
_MAX_INDEX, _MAX_REFS = 32 << 20, 4 << 20
_LARGE = 10 << 20
_FARTHEST = 4_102_444_800  # 2100: a date that an installer can be given
_SHA = re.compile(rb"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_REF = re.compile(rb"ref: (refs/[\w./-]{1,200})\s*$")


def readable(folder: Folder) -> bool:
    """Whether the folder is a repository of its own with at least one commit, and whole."""
    return bool(_head(folder)) and not _shallow(folder)


def last_change(folder: Folder) -> int:
    """When its newest commit was written, in Unix seconds; 0 where there is no history, or a moment of no sense."""
    changes = _log(folder) if readable(folder) else []
    at = changes[0][3] if changes else 0
    return at if at < _FARTHEST else 0


def _git(folder: Folder) -> Path | None:
    git = folder.root / ".git"
    return git if git.is_dir() and not git.is_symlink() and not (git / "objects").is_symlink() else None


def _shallow(folder: Folder) -> bool:
    git = _git(folder)
    return git is not None and os.path.lexists(git / "shallow")


def _head(folder: Folder) -> str:
    """The commit that HEAD names, read without git; empty when there is none."""
    git = _git(folder)
    if git is None:
        return ""
    content = _read(git / "HEAD", 4096)
    if named := _REF.match(content):
        ref = named[1]
        if b".." in ref:
            return ""
        content = _read(git / ref.decode(), 4096) or _packed(_read(git / "packed-refs", _MAX_REFS), ref)
    found = _SHA.fullmatch(content.strip())
    return found[0].decode() if found else ""


def _packed(content: bytes, ref: bytes) -> bytes:
    ending = b" " + ref
    return next((line.split()[0] for line in content.splitlines() if line.endswith(ending)), b"")


def _read(path: Path, limit: int) -> bytes:
    try:
        return read_bytes(path, limit)
    except OSError:
        return b""


def _log(folder: Folder) -> list[tuple[str, str, int, int]]:
    """(author, committer, number of parents, author's time in seconds) of the newest commits; empty when git fails."""
    git, head = _git(folder), _head(folder)
    if git is None or not head:
        return []
    with tempfile.TemporaryDirectory(prefix="pilotage-history-") as ours:
        bare = Path(ours)
        for name in ("objects/info", "refs"):
            (bare / name).mkdir(parents=True)
        (bare / "HEAD").write_text("ref: refs/heads/none\n")
        extension = "[extensions]\n\tobjectformat = sha256\n" if len(head) == 64 else ""
        version = 1 if extension else 0
        (bare / "config").write_text(f"[core]\n\trepositoryformatversion = {version}\n\tbare = true\n{extension}")
        borrowed = os.fsencode(git / "objects")
        if any(byte in borrowed for byte in b'\n"\\'):
            return []
        (bare / "objects/info/alternates").write_bytes(borrowed + b"\n")
        command = ["git", f"--git-dir={bare}", "--no-replace-objects", "--no-pager", "-c", "log.showSignature=false"]
        command += ["log", "--no-mailmap", f"-n{_MAX_COMMITS}", "--format=%ae%x00%ce%x00%p%x00%at%x00", head, "--"]
        quiet = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": ours,
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_NO_LAZY_FETCH": "1",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_OPTIONAL_LOCKS": "0",
            "LC_ALL": "C",
        }
        try:
            done = subprocess.run(
                command, capture_output=True, stdin=subprocess.DEVNULL, timeout=_WAIT_S, check=True, env=quiet, cwd=ours
            )
        except (OSError, subprocess.SubprocessError):
            folder.skipped.append(".git: git could not read the history")
            return []
    rows = [line.split(b"\0") for line in done.stdout[:_MAX_OUT].split(b"\0\n")]
    return [
        (
            row[0].decode(errors="replace").lower(),
            row[1].decode(errors="replace").lower(),
            len(row[2].split()),
            int(row[3]) if row[3].isdigit() else 0,
        )
        for row in rows
        if len(row) >= 4
    ]


def history(folder: Folder) -> Iterator[Seen]:
    """How many people changed it, how much was merged by another than its author, and for how long it was worked on.

    Unknown when the folder is no repository of its own, or was cloned without its history. No address is kept.
    """
    if _shallow(folder):
        folder.skipped.append(".git: cloned without its history; who worked on it is unknown")
        return
    commits = _log(folder)
    if not commits:
        return
    own = [author for author, _, parents, _ in commits if parents < 2]
    people = Counter(own or [author for author, *_ in commits])
    first = max(people.values()) / sum(people.values())
    times = sorted(time for *_, time in commits if time)
    figures = {
        "people": len(people),
        "changes": len(commits),
        "share_of_first": round(first, 3),
        "days": (times[-1] - times[0]) // 86_400 if times else 0,
        "last_change": times[-1] if times else 0,
    }
    level = 1.0 if len(people) > 1 and first <= 0.8 else 0.5 if len(people) > 1 else 0.0
    said = f"{len(people)} people made {len(commits)} changes in {figures['days']} days, one of them {first:.0%}"
    yield Seen(criterion="team.bus_factor", level=level, summary=said, figures=figures)
    looked = [(author, by) for author, by, parents, _ in commits if parents > 1 or by != author]
    share = len(looked) / len(commits)
    level = 0.0 if len(people) == 1 or not looked else 1.0 if share >= 0.5 else 0.5
    said = f"{len(looked)} of {len(commits)} changes are merges or came in by another than their author ({share:.0%})"
    yield Seen(criterion="team.review", level=level, summary=said, figures={"share": round(share, 3)})


def repository(folder: Folder) -> Iterator[Seen]:
    """No file over 10 MiB is tracked, by git's index, which is read as bytes."""
    if not readable(folder):
        return
    git = _git(folder)
    tracked = _index(_read(git / "index", _MAX_INDEX)) if git else None
    if tracked is None:
        return
    findings = [
        Finding(
            file=path,
            line=0,
            message=f"{size / (1 << 20):.0f} MiB in version control",
            mend="move it to a release or a data version store",
        )
        for path, size in tracked
        if size > _LARGE
    ]
    yield Seen.of(
        "infrastructure.repository", findings, f"{len(findings)} large files tracked", "no large file tracked"
    )


def _index(content: bytes) -> list[tuple[str, int]] | None:
    """(path, size) of each entry of an index of version 2 or 3; None for others, or a torn one."""
    if content[:4] != b"DIRC" or len(content) < 12:
        return None
    version, count = struct.unpack(">II", content[4:12])
    if version not in (2, 3):
        return None
    found, at = [], 12
    for _ in range(count):
        if at + 62 > len(content):
            return None
        (size,) = struct.unpack(">I", content[at + 36 : at + 40])
        (flags,) = struct.unpack(">H", content[at + 60 : at + 62])
        start = at + (64 if flags & 0x4000 else 62)
        end = content.find(b"\0", start)
        if end < 0:
            return None
        found.append((os.fsdecode(content[start:end]), size))
        at += (end - at + 8) // 8 * 8
    return found
