"""What a killed process was writing is removed by the next; what a living one writes stays."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pilotage.ledger.row_file import RowFile
from pilotage.storage.scratch import PREFIX, remove_left_over, scratch_folder

_WRITER = """
import sys, time
from pathlib import Path
from pilotage.ledger.row_file import RowFile

def pages(progress):
    yield [("secret of ann",)] * 5000
    print("writing", flush=True)
    time.sleep(60)

RowFile(columns={"name": "VARCHAR"}, format=sys.argv[2], pages=pages).write(Path(sys.argv[1]))
"""


@contextmanager
def writing_export(target: Path, format_: str) -> Iterator[subprocess.Popen[str]]:
    """A process in the middle of an export, which anybody's umask would let all read."""
    command = [sys.executable, "-c", _WRITER, str(target), format_]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, umask=0)
    with process:
        try:
            assert process.stdout is not None and process.stdout.readline() == "writing\n"
            yield process
        finally:
            process.kill()


def small(format_: str) -> RowFile:
    return RowFile(columns={"name": "VARCHAR"}, format=format_, pages=lambda progress: [[("bob",)]])


def left(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"{PREFIX}*"))


@pytest.mark.parametrize("format_", ["parquet", "csv"])
def test_a_killed_export_leaves_nothing_once_the_next_begins(tmp_path: Path, format_: str) -> None:
    with writing_export(tmp_path / "out", format_) as process:
        [made] = left(tmp_path)
        assert made.stat().st_mode & 0o777 == 0o700
        small(format_).write(tmp_path / "other")
        assert left(tmp_path) == [made], "it is being written"
        process.kill()
        process.wait()
        assert list(made.iterdir()), "the kill left something"
    small(format_).write(tmp_path / "another")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["another", "other"]
    assert (tmp_path / "other").stat().st_mode & 0o777 == 0o600


def test_only_what_nobody_holds_is_removed(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / f"{PREFIX}link").symlink_to(tmp_path / "mine")
    (tmp_path / f"{PREFIX}dead").mkdir()
    with scratch_folder(tmp_path) as held:
        os.close(os.open(held / "rows", os.O_CREAT | os.O_WRONLY))
        assert not (tmp_path / f"{PREFIX}dead").exists(), "gone before the next began"
        assert remove_left_over(tmp_path) == 0 and (held / "rows").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{PREFIX}link", "mine"]
