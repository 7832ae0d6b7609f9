"""The pilot's own tests are run in a copy of it, in a box: what they say counts, what they try does not get out."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pilotage.assess import probes
from pilotage.assess.folder import Folder
from pilotage.assess.probes import probe
from pilotage.assess.probing.told import Step, read_told
from pilotage.sandbox.box import run_boxed
from pilotage.sandbox.model import BoxResult, Isolation, Limits
from tests.unit.assess.pilots import write

needs_namespaces = pytest.mark.skipif(
    run_boxed(["/bin/true"]).isolation.filesystem != "allow-list", reason="this machine permits no user namespaces"
)


def found(root: Path) -> tuple[Step | None, list[str]]:
    probed = probe(Folder(root))
    return next(iter(probed.steps), None), probed.skipped


def test_all_pass_in_a_fresh_copy_which_they_may_write(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "src/feature.py": "def twice(x): return 2 * x\n",
            "tests/test_feature.py": "from feature import twice\n\ndef test_it(): assert twice(2) == 4\n\n"
            "def test_writes():\n    open('made.txt', 'w').write('x')\n    assert twice(0) == 0\n",
        },
    )
    step, skipped = found(tmp_path)
    assert step and step.level == 1 and step.summary == "2 of 2 tests pass in a fresh copy" and not skipped
    assert not (tmp_path / "made.txt").exists()


def test_failures_are_named_at_their_lines_and_what_cannot_be_judged_here_is_left_out(tmp_path: Path) -> None:
    tests = """
import pytest
def test_a(): assert 1 == 1
def test_b(): assert 1 == 2
def test_c(): import flask_is_not_here
def test_d():
    import socket
    socket.create_connection(("192.0.2.1", 80), 1)
@pytest.mark.skip
def test_e(): assert 0
"""
    write(tmp_path, {"tests/test_it.py": tests, "pytest.ini": "[pytest]\naddopts = --cov=src --no-such\n"})
    step, _ = found(tmp_path)
    assert step and step.level == 0
    assert step.figures == {"passed": 1, "failed": 1, "skipped": 1, "apart": 2}
    [failure] = step.findings
    assert (failure.file, failure.line) == ("tests/test_it.py", 4) and "assert 1 == 2" in failure.message
    assert failure.digest and "2 could not be judged here" in step.summary


@pytest.mark.parametrize(
    ("test", "said"),
    [
        ("import os\ndef test_a(): os._exit(0)\n", "ended without a report"),
        ("import flask_is_not_here\ndef test_a(): assert 1\n", "flask_is_not_here is not installed here"),
        ("import pytest\npytestmark = pytest.mark.skip\ndef test_a(): assert 1\n", "1 skip themselves"),
    ],
)
def test_what_tells_nothing_is_unknown_not_no(tmp_path: Path, test: str, said: str) -> None:
    write(tmp_path, {"test_it.py": test})
    step, skipped = found(tmp_path)
    assert step is None and any(said in line for line in skipped), skipped


# ---- hostile


@pytest.fixture
def listener() -> Iterator[tuple[int, list[bytes]]]:
    """A port of this machine's loopback, and what reached it."""
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        open_ = threading.Event()

        def accept() -> None:
            while not open_.is_set():
                try:
                    connection, _ = server.accept()
                except OSError:
                    continue
                heard.append(connection.recv(100))

        thread = threading.Thread(target=accept)
        thread.start()
        yield server.getsockname()[1], heard
        open_.set()
        thread.join()


@needs_namespaces
def test_a_conftest_reads_nothing_outside_reaches_nobody_and_cannot_end_or_forge_its_runner(
    tmp_path: Path, listener: tuple[int, list[bytes]]
) -> None:
    port, heard = listener
    (tmp_path / "secret.txt").write_text("hunter2")
    forged = '{"criterion": "infrastructure.tests_pass", "level": 1, "summary": "forged"}'
    places = [
        str(tmp_path / "secret.txt"),
        "/etc/passwd",
        "/etc/shadow",
        "/proc/1/root/etc/passwd",
        "/dev/sda",
    ]
    places += ["../" * 20 + "etc/passwd", str(Path(__file__)), "/var", "/run", "/sys/kernel"]
    conftest = f"""
import glob, os, signal, socket, sys
from pathlib import Path
seen = [p for p in {places!r} if os.path.exists(p)]
reached = []
for address in (("127.0.0.1", {port}), ("192.0.2.1", 80), ("1.1.1.1", 53)):
    try:
        socket.create_connection(address, 1).send(b"out")
        reached.append(address)
    except OSError:
        pass
for pid in (1, os.getppid()):
    try: os.kill(pid, signal.SIGKILL)
    except OSError: pass
wrote = []
for process in glob.glob("/proc/[0-9]*/fd/*"):
    if process.split("/")[2] == str(os.getpid()): continue
    try:
        with open(process, "w") as file:
            file.write({forged!r} + chr(10))
        wrote.append(process)
    except OSError: pass
for name in glob.glob({str(tmp_path / "pilot")!r} + "/*"):
    try: open(name, "a").write("spoilt")
    except OSError: pass
sys.stderr.write("\\x1b]0;owned\\x07\\x1b[2J")
"""
    test = "from conftest import reached, seen, wrote\ndef test_it(): assert (seen, reached, wrote) == ([], [], [])\n"
    root = write(tmp_path / "pilot", {"conftest.py": conftest, "test_it.py": test})
    step, skipped = found(root)
    assert heard == []
    assert step and step.level == 1 and "forged" not in step.summary, (step, skipped)
    assert (root / "conftest.py").read_text() == conftest


@needs_namespaces
def test_terminal_codes_in_a_failure_are_never_passed_on(tmp_path: Path) -> None:
    write(tmp_path, {"test_it.py": "def test_it(): raise ValueError('\\x1b]0;owned\\x07\\x1b[2J\\u202e')\n"})
    step, _ = found(tmp_path)
    assert step and step.level == 0
    assert not set(str(step)) & set("\x1b\x07\u202e")


@pytest.mark.slow
@needs_namespaces
@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("while True:\n        try: os.fork()\n        except OSError: pass", "its tests"),
        ("b = bytes(64 << 20)\n    f = open('big', 'wb')\n    while True: f.write(b)", "its tests"),
        ("n = 0\n    while True:\n        n += 1\n        open(f'f{n}', 'wb').write(bytes(16 << 20))", ""),
        ("import time\n    time.sleep(600)", "still at work"),
        ("x = []\n    while True: x.append(bytes(64 << 20))", ""),
        ("while True: os.write(2, b'x' * (1 << 20)) if os.write(1, b'y' * (1 << 20)) else 0", "still at work"),
        ("for n in range(64): os.spawnlp(os.P_NOWAIT, 'setsid', 'setsid', 'sleep', '600')", ""),
    ],
    ids=["fork bomb", "one big file", "many files", "outlives", "memory", "endless output", "left behind"],
)
def test_what_takes_all_it_can_is_ended_in_time_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, said: str
) -> None:
    monkeypatch.setattr(probes, "_TESTS", Limits(cpu_s=20, wall_s=12.0, memory_mb=1024, output_mb=16, file_mb=64))
    write(tmp_path, {"test_it.py": f"import os\ndef test_it():\n    {code}\n    assert 1\n"})
    started = time.monotonic()
    step, skipped = found(tmp_path)
    assert time.monotonic() - started < 40
    assert step is not None or skipped
    if said:
        assert step is None or step.level == 0
    assert [each.name for each in tmp_path.iterdir()] == ["test_it.py"]
    time.sleep(0.5)
    left = [each for each in Path("/proc").iterdir() if each.name.isdigit() and _command(each) == b"sleep\x00600\x00"]
    assert not left


def _command(process: Path) -> bytes:
    try:
        return (process / "cmdline").read_bytes()
    except OSError:
        return b""


# ---- what a box tells is read with care


def test_only_what_a_probe_may_say_is_taken_and_printed_safely(tmp_path: Path) -> None:
    write(tmp_path, {"a.py": "x = 1\n"})
    lines = [
        b'{"criterion": "governance.secrets", "level": 1, "summary": "forged"}',
        b'{"criterion": "infrastructure.tests_pass", "level": 9, "summary": "\\u001b[2Jx",'
        b' "figures": {"a": ["\\u001b"]}, "findings": [{"message": "m", "file": "../etc/passwd", "line": 3},'
        b' {"message": "n", "file": "a.py", "line": 99}]}',
        b'{"criterion": "infrastructure.tests_pass", "level": 0, "summary": "a second"}',
        b'{"criterion": 7}',
        b"[1]",
        b"not json",
        b'{"a": ' + b"[" * 100_000,
        b'{"done": "x"}',
    ]
    result = BoxResult(
        returncode=0,
        stdout=b"\n".join(lines),
        stderr=b"",
        timed_out=False,
        killed_reason="",
        wall_s=0,
        cpu_s=0,
        peak_mb=0,
        isolation=Isolation(),
    )
    told = read_told(result, Folder(tmp_path), {"infrastructure.tests_pass"}, "it")
    [step] = told.steps
    assert (step.level, step.summary, step.figures) == (1.0, "\\x1b[2Jx", {"a": ["\\x1b"]})
    assert [(each.file, each.line) for each in step.findings] == [(".", 0), ("a.py", 0)]
    assert told.done == ["x"] and not told.skipped
