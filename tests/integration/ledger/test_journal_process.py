"""A real process that writes a journal: killed, out of disk, and watched system call by system call."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from pilotage.ledger.journal_reader import journal_files, read_frames

STEWARD = X25519PrivateKey.generate()
SERVER = Path(__file__).with_name("echo_server.py")


@contextmanager
def server(root: Path, *prefix: str, **options: object) -> Iterator[tuple[subprocess.Popen[bytes], int, bool]]:
    """(the process, its port, whether the file before was closed cleanly); killed with signal 9 at the end."""
    settings = json.dumps({"first_bytes": 1 << 17, "segment_bytes": 1 << 17, **options})
    public = STEWARD.public_key().public_bytes_raw().hex()
    command = [*prefix, sys.executable, str(SERVER), str(root / "n"), public, settings]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True)
    try:
        assert process.stdout is not None
        hello = json.loads(process.stdout.readline())
        yield process, hello["port"], hello["clean"]
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


async def ask(port: int, name: str, lines: int, answers: list[str]) -> None:
    """One client: a line, its answer, the next line, until the server is gone."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for i in range(lines):
            writer.write(f"{name}.{i}\n".encode())
            answer = await reader.readline()
            if not answer.endswith(b"\n"):
                break
            answers.append(answer.decode().strip())
        writer.close()
    except OSError:
        return


def answered(answers: list[str]) -> list[bytes]:
    return [answer.removeprefix("answered ").encode() for answer in answers if answer.startswith("answered ")]


def recorded(root: Path) -> list[bytes]:
    frames = [frame for file in journal_files(root) for frame in read_frames(file, STEWARD)]
    return [frame.plain for frame in frames if frame.plain[:1] != b"{"]


def test_killed_again_and_again_no_answer_is_missing_and_none_is_twice(tmp_path: Path) -> None:
    answers: list[str] = []

    async def load(process: subprocess.Popen[bytes], port: int, life: int) -> None:
        clients = asyncio.gather(*(ask(port, f"{life}.{client}", 10_000, answers) for client in range(8)))
        before = len(answers)
        while len(answers) < before + 40 + 7 * life:
            await asyncio.sleep(0.001)
        process.kill()
        await clients

    for life in range(5):
        with server(tmp_path) as (process, port, clean):
            assert clean is (life == 0)
            asyncio.run(load(process, port, life))
    kept = recorded(tmp_path)
    assert len(answered(answers)) > 100
    assert len(kept) == len(set(kept))
    assert set(answered(answers)) <= set(kept)
    assert len(kept) <= len(answered(answers)) + 5 * 8, "one record at most for each client that waited"
    assert all(file.finished for file in journal_files(tmp_path))


def test_a_file_size_limit_stops_the_answers(tmp_path: Path) -> None:
    """The second file is larger than the limit: filling it ahead fails, and the rotation to it says so."""
    limit = "import os,resource,sys; resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000)); "
    limit += "os.execv(sys.argv[1], sys.argv[1:])"
    root = tmp_path / "home"
    answers: list[str] = []
    with server(root, sys.executable, "-c", limit, first_bytes=100_000, segment_bytes=300_000) as (_, port, _clean):
        asyncio.run(ask(port, "a", 2000, answers))
    assert 50 < len(answered(answers)) < 2000
    assert answers[-1].startswith("journal_failed")
    assert recorded(root) == answered(answers)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of one megabyte, where the system lets us mount one."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small disk needs privileges")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_stops_the_answers_and_loses_none(small_disk: Path) -> None:
    answers: list[str] = []
    late: list[str] = []
    with server(small_disk) as (_, port, _clean):
        asyncio.run(ask(port, "a", 4000, answers))
        asyncio.run(ask(port, "b", 3, late))
    assert 500 < len(answered(answers)) < 4000
    assert answers[len(answered(answers)) :] == [f"journal_failed a.{i}" for i in range(len(answered(answers)), 4000)]
    assert late == [f"journal_failed b.{i}" for i in range(3)]
    assert recorded(small_disk) == answered(answers)


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
def test_the_sync_is_seen_before_the_answer_is_sent(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    calls = "trace=fdatasync,fsync,pwrite64,sendto,write,writev,recvfrom,read"
    answers: list[str] = []
    with server(tmp_path / "home", "strace", "-f", "-qq", "-s", "32", "-o", str(trace), "-e", calls) as (_, port, _c):
        asyncio.run(ask(port, "x", 25, answers))
    assert len(answered(answers)) == 25
    order = list(events(trace.read_text()))
    for i in range(25):
        asked, sent = order.index(f"ask {i}"), order.index(f"send {i}")
        between = order[asked + 1 : sent]
        assert "write" in between
        assert "synced" in between[between.index("write") :], f"answer {i} left before a sync: {between}"


def events(trace: str) -> Iterator[str]:
    """The calls that matter, in the order in which they ended: ask, write, synced, send."""
    for line in trace.splitlines():
        call = line.split(None, 1)[1]
        if asked := re.search(r'(?:read|recvfrom).*"x\.(\d+)\\n"', call):
            yield f"ask {asked[1]}"
        elif sent := re.search(r'"answered x\.(\d+)\\n"', call):
            yield f"send {sent[1]}"
        elif call.startswith("pwrite64") and "GRP" in call:
            yield "write"
        elif re.search(r"(fdatasync(\(| resumed)).*= 0$", call):
            yield "synced"
