"""A folder made to harm whoever reads it: nothing of it runs, nothing is read outside it, and reading ends in time."""

from __future__ import annotations

import gzip
import json
import os
import random
import resource
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from pilotage.assess import folder as folders
from pilotage.assess.criteria import load_criteria
from pilotage.assess.folder import Folder
from pilotage.assess.model import Observation
from pilotage.assess.reading import MAX_BYTES, insides, lines_of, read_bytes, shown, unpacked
from pilotage.assess.scan import scan
from pilotage.assess.service import assess
from pilotage.cli.assess import assess as command
from pilotage.cli.main import Chosen
from pilotage.kernel.digests import file_digest
from tests.unit.assess.planted import BASE, TOKEN, notebook

CRITERIA = load_criteria()
ESCAPE = "\x1b]0;owned\x07\x1b[2J\x9b31m"


@pytest.fixture
def pilot(tmp_path: Path) -> Path:
    root = tmp_path / "pilot"
    for name, content in BASE.items():
        assert isinstance(content, str)
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    return root


@pytest.fixture
def bounded() -> Iterator[Callable[[float, int], None]]:
    """Called at the end with CPU seconds and MiB: the test must have stayed below both."""
    cpu, memory = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    def check(seconds: float, mebibytes: int) -> None:
        assert time.process_time() - cpu < seconds
        assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory) / 1024 < mebibytes

    yield check


def read(root: Path) -> list[Observation]:
    return scan(Folder(root), CRITERIA, at=0)


def git(root: Path, *words: str) -> None:
    who = ["-c", "user.name=a", "-c", "user.email=a@x.org"]
    subprocess.run(["git", "-C", str(root), *who, *words], check=True, capture_output=True)


def test_links_pipes_and_devices_are_named_and_never_opened(
    pilot: Path, bounded: Callable[[float, int], None], tmp_path: Path
) -> None:
    outside = tmp_path / "outside.py"
    outside.write_text(f"token = '{TOKEN}'\n")
    (pilot / "away.py").symlink_to(outside)
    (pilot / "loop").symlink_to(pilot, target_is_directory=True)
    (pilot / "self").symlink_to("self")
    (pilot / "zero.csv").symlink_to("/dev/zero")
    (pilot / "readiness.yaml").symlink_to(outside)
    os.mkfifo(pilot / "pipe.py")
    os.mkfifo(pilot / "README.rst")
    found = assess(pilot, probes=False)
    for name in ("away.py", "loop", "self", "zero.csv", "pipe.py", "README.rst", "readiness.yaml"):
        assert any(line.startswith(f"{name}:") for line in found.skipped), name
    assert TOKEN not in json.dumps(found.as_dict())
    assert "governance.secrets" not in {each.criterion for each in found.blockers}
    bounded(10, 300)


@pytest.mark.slow
def test_a_ten_gigabyte_file_costs_its_hash_and_no_memory(pilot: Path, bounded: Callable[[float, int], None]) -> None:
    for name in ("huge.csv", "huge.pkl", "huge.ipynb", "huge.py", "huge.json", "huge.db", "pilotage.yaml"):
        with (pilot / name).open("wb") as file:
            file.truncate(10 << 30)
    found = assess(pilot, probes=False)
    assert any("huge.pkl: larger than" in line for line in found.skipped)
    bounded(120, 500)  # of which hashing 10 GB takes 10 to 30, by machine


def test_a_large_artefact_is_hashed_whole_and_once_and_told(pilot: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read, told = [], []

    def reading(path: Path, limit: int = MAX_BYTES, *, start: int = 0) -> bytes:
        content = read_bytes(path, limit, start=start)
        read.append(len(content) if path.name == "huge.pkl" else 0)
        return content

    monkeypatch.setattr(folders, "read_bytes", reading)
    with (pilot / "huge.pkl").open("wb") as file:
        file.truncate(130 << 20)
    found = assess(pilot, probes=False, progress=lambda what, _share: told.append(what))
    assert found.model == file_digest(pilot / "huge.pkl") and sum(read) == 130 << 20
    assert [each for each in told if "hashing" in each] == [
        f"hashing huge.pkl: {done} of 0.1 GB" for done in ("0.0", "0.1", "0.1")
    ]


@pytest.mark.slow
def test_bombs_are_cut_at_64_mebibytes(tmp_path: Path, bounded: Callable[[float, int], None]) -> None:
    layer = gzip.compress(b"\0" * (80 << 20), 1)
    assert len(unpacked(layer)) == MAX_BYTES
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(8):
            archive.writestr(f"{number}", b"\0" * (20 << 20))
    assert sum(map(len, insides((tmp_path / "bomb.npz").read_bytes()))) == MAX_BYTES
    (tmp_path / "rows.csv.gz").write_bytes(layer)
    assert [each.level for each in read(tmp_path) if each.criterion == "governance.secrets"] == [1]
    bounded(20, 500)


def test_deep_and_wide_folders_end(tmp_path: Path, bounded: Callable[[float, int], None]) -> None:
    deep = tmp_path / "deep"
    deep.mkdir()
    at = os.open(deep, os.O_RDONLY)
    for _ in range(200):
        os.mkdir("d", dir_fd=at)
        below = os.open("d", os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = below
    os.close(at)
    wide = tmp_path / "wide"
    wide.mkdir()
    for number in range(21_000):
        (wide / f"{number}").touch()
    folder = Folder(tmp_path)
    assert len(folder.files) == 20_000
    assert any("folders deep" in line for line in folder.skipped)
    assert any("more than 20000 files" in line for line in folder.skipped)
    bounded(20, 200)


@pytest.mark.parametrize(
    "source",
    ["(" * 5_000, "-" * 200_000 + "1", "a" + ".b" * 20_000, "[" * 90 + "]" * 90 + "\0", "x = " + "1+" * 50_000 + "1"],
    ids=["open", "minus", "dots", "nul", "sum"],
)
def test_source_made_to_exhaust_the_parser_is_survived(tmp_path: Path, source: str) -> None:
    (tmp_path / "deep.py").write_text(source)
    (tmp_path / "ok.py").write_text("eval(x)\n")
    places = {(item.file, item.line) for each in read(tmp_path) for item in each.findings if "unsafe" in each.criterion}
    assert ("ok.py", 1) in places or any("unsafe" in line for line in Folder(tmp_path).skipped)


def test_a_notebook_of_twenty_mebibytes_and_one_nested_too_deep(
    tmp_path: Path, bounded: Callable[[float, int], None]
) -> None:
    picture = [{"output_type": "display_data", "data": {"image/png": "A" * (20 << 20)}}]
    (tmp_path / "big.ipynb").write_text(notebook((1, "import os"), (2, "eval(gone)", picture)))
    (tmp_path / "deep.ipynb").write_text('{"cells": ' + "[" * 200_000)
    folder = Folder(tmp_path)
    assert [module.path for module in folder.modules] == ["big.ipynb"]
    [cell] = folder.modules[0].cells[1:]
    assert "eval(gone)" in folder.modules[0].text.lines[cell.line - 1]
    assert any(line.startswith("deep.ipynb") for line in folder.skipped)
    bounded(10, 600)


def test_a_yaml_bomb_is_refused(pilot: Path, bounded: Callable[[float, int], None]) -> None:
    rows = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    rows += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    for name in ("pilotage.yaml", "conf.yaml"):
        (pilot / name).write_text("\n".join(rows))
    assert any("pilotage.yaml" in line for line in assess(pilot, probes=False).skipped)
    bounded(10, 200)


def test_nothing_of_a_hostile_repository_runs(pilot: Path, tmp_path: Path) -> None:
    git(pilot, "init", "-q")
    git(pilot, "add", ".")
    git(pilot, "commit", "-q", "-m", "m")
    mark = tmp_path / "ran"
    script = tmp_path / "evil"
    script.write_text(f"#!/bin/sh\ntouch {mark}\n")
    script.chmod(0o755)
    for hook in ("post-index-change", "reference-transaction", "post-checkout"):
        (pilot / ".git/hooks" / hook).write_text(script.read_text())
        (pilot / ".git/hooks" / hook).chmod(0o755)
    with (pilot / ".git/config").open("a") as file:
        file.write(
            f"[core]\n\tfsmonitor = {script}\n\tpager = {script}\n\tsshCommand = {script}\n"
            f"\talternateRefsCommand = {script}\n"
            f"[log]\n\tshowSignature = true\n[gpg]\n\tprogram = {script}\n[alias]\n\tlog = !{script}\n"
            f"[diff]\n\texternal = {script}\n[extensions]\n\tpartialClone = origin\n"
            f'[remote "origin"]\n\turl = ext::{script}\n\tpromisor = true\n[include]\n\tpath = /dev/zero\n'
        )
    (pilot / ".gitattributes").write_text("* diff=evil filter=evil\n")
    [found] = [each for each in read(pilot) if each.criterion == "team.bus_factor"]
    assert found.figures["people"] == 1 and found.figures["changes"] == 1
    assert not mark.exists()


def test_a_history_that_is_cut_torn_or_elsewhere_is_unknown(pilot: Path, tmp_path: Path) -> None:
    def told() -> set[str]:
        return {each.criterion for each in read(pilot)} & {"team.bus_factor", "team.review"}

    assert told() == set()
    git(pilot, "init", "-q")
    assert told() == set()
    git(pilot, "add", ".")
    git(pilot, "commit", "-q", "-m", "m")
    assert told() == {"team.bus_factor", "team.review"}
    git(pilot, "pack-refs", "--all")
    assert told() == {"team.bus_factor", "team.review"}
    (pilot / ".git/shallow").write_text("0" * 40)
    assert told() == set()
    (pilot / ".git/shallow").unlink()
    (pilot / ".git/HEAD").write_text("ref: refs/../../../etc/passwd\n")
    assert told() == set()
    (pilot / ".git/HEAD").write_text("f" * 40)
    assert told() == set()
    (pilot / ".git").rename(tmp_path / "elsewhere")
    (pilot / ".git").write_text(f"gitdir: {tmp_path / 'elsewhere'}\n")
    assert told() == set()


def test_large_files_in_version_control_are_named(pilot: Path) -> None:
    git(pilot, "init", "-q")
    (pilot / "kept.bin").write_bytes(b"\1" * (11 << 20))
    (pilot / "left.bin").write_bytes(b"\1" * (11 << 20))
    (pilot / ".gitignore").write_text("left.bin\n")
    git(pilot, "add", ".")
    git(pilot, "commit", "-q", "-m", "m")
    [found] = [each for each in read(pilot) if each.criterion == "infrastructure.repository"]
    assert [item.file for item in found.findings] == ["kept.bin"]


def test_escape_codes_and_broken_names_are_never_printed_raw(pilot: Path) -> None:
    (pilot / f"a{ESCAPE}[red].py").write_text(f"password = 'k3v9Qw7LmZ'\nimport os; os.system('{ESCAPE}' + x)\n")
    (pilot / "README.md").write_text(f"Production-ready {ESCAPE} [bold]yes[/nonsense] \u202e\n")
    (pilot / "requirements.txt").write_text(f"pandas>=1 {ESCAPE}\n")
    (pilot / os.fsdecode(b"\xff\xfe.py")).write_text("eval(x)\n")
    for words in (["--evidence"], ["--json"]):
        done = CliRunner().invoke(command, [str(pilot), "--no-probes", *words], obj=Chosen(), catch_exceptions=False)
        assert done.exit_code == 0
        assert not set(done.output) & set("\x1b\x07\x9b\u202e"), words
        assert "\\xff" in done.output or "\\udcff" in done.output
        if words == ["--evidence"]:
            assert "[bold]yes[/nonsense]" in done.output


def test_shown_is_printable_and_lines_are_those_of_the_grammar() -> None:
    assert shown("a b") == "a b"
    assert shown("\x1b[2J\n\udcff\u202e").isprintable()
    assert lines_of("a\x0cb\u2028c\r\nd\re\n") == ["a\x0cb\u2028c", "d", "e"]


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"\xef\xbb\xbfa = 1\r\neval(x)\r\n", 2),
        ("# -*- coding: latin-1 -*-\nn = 'é'\neval(x)\n".encode("latin-1"), 3),
        (b"a = 1\n\x0c\neval(x)\n", 3),
        (b"a = '\xe2\x80\xa8'\rb = 2\reval(x)", 3),
    ],
    ids=["mark and CRLF", "Latin-1", "form feed", "old line ends"],
)
def test_the_line_is_right_in_odd_encodings(tmp_path: Path, content: bytes, line: int) -> None:
    (tmp_path / "m.py").write_bytes(content)
    found = [item.line for each in read(tmp_path) for item in each.findings if "unsafe" in each.criterion]
    assert found == [line]


def test_two_runs_give_the_same_bytes_whatever_the_order_directory_locale_and_hashes(
    pilot: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (pilot / "prep.ipynb").write_text(notebook((3, "import os\nx = gone + lost"), (1, "y = later")))
    (pilot / ".env").write_text("DB_PASSWORD=k3v9Qw7LmZ\nAPI_KEY=q8Zr2LmX0vTn5\n")
    (pilot / "z").mkdir()
    (pilot / "z" / "Ä.py").write_text("eval(x)\n")
    program = (
        "import sys, msgspec\nfrom pathlib import Path\nfrom pilotage.assess.service import assess\n"
        "found = assess(Path(sys.argv[1]), probes=False, clock=lambda: 1)\n"
        "sys.stdout.buffer.write(msgspec.json.encode(msgspec.structs.replace(found, seconds=0)))"
    )

    def run(seed: str, locale: str, where: str) -> bytes:
        settings = {**os.environ, "PYTHONHASHSEED": seed, "LC_ALL": locale, "LANG": locale}
        command = [sys.executable, "-c", program, str(pilot)]
        return subprocess.run(command, env=settings, cwd=where, capture_output=True, check=True).stdout

    first = run("1", "C", "/")
    assert run("2", "C.UTF-8", str(pilot)) == first
    listed = os.scandir

    class Shuffled:
        def __init__(self, path: object) -> None:
            self.entries = list(listed(path))  # type: ignore[call-overload]
            random.Random(3).shuffle(self.entries)

        def __enter__(self) -> list[os.DirEntry[str]]:
            return self.entries

        def __exit__(self, *_: object) -> None:
            return None

    plain = read(pilot)
    monkeypatch.setattr(os, "scandir", Shuffled)
    assert read(pilot) == plain


def test_a_typical_pilot_takes_less_than_five_seconds(pilot: Path) -> None:
    for number in range(40):
        (pilot / f"part{number}.py").write_text(str(BASE["train.py"]) * 6)
    cpu = time.process_time()
    assess(pilot, probes=False)
    assert time.process_time() - cpu < 5


@pytest.mark.slow
def test_half_a_gigabyte_takes_less_than_a_minute(tmp_path: Path) -> None:
    rng = random.Random(1)
    rows = "".join(f"{rng.random()},{rng.random()},{n}\n" for n in range(50_000))
    for number in range(100):
        (tmp_path / f"rows{number}.csv").write_text("a,b,c\n" + rows)  # 250 MB of tables
    for number in range(150):
        (tmp_path / f"w{number}.bin").write_bytes(rng.randbytes(1 << 20))
    for number in range(4_000):
        (tmp_path / f"m{number}.py").write_text(str(BASE["train.py"]) * 5)
    (tmp_path / "text.json").write_text(json.dumps(["password token secret key"] * 2_000_000))
    size = sum(Folder(tmp_path).files.values())
    cpu = time.process_time()
    assess(tmp_path, probes=False)
    used = time.process_time() - cpu
    print(f"\n{size / 1e6:.0f} MB: {used:.1f} CPU seconds")
    assert size > 450e6
    assert used < 60
