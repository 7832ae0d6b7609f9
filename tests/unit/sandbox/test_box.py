"""A box runs the target, shows and lets write only what was named, and ends it for every limit."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pilotage.errors import Unavailable
from pilotage.sandbox.box import run_boxed, start_boxed
from pilotage.sandbox.model import BoxResult, Limits


def boxed(code: str, **options: object) -> BoxResult:
    """Run a few lines of Python in a box."""
    return run_boxed([sys.executable, "-S", "-c", code], **options)  # type: ignore[arg-type]


def namespaces_permitted() -> bool:
    return boxed("pass").isolation.filesystem == "allow-list"


needs_namespaces = pytest.mark.skipif(not namespaces_permitted(), reason="this machine permits no user namespaces")


def test_input_goes_in_and_output_status_and_figures_come_out() -> None:
    result = boxed(
        "import sys; sys.stdout.write(sys.stdin.read()[::-1]); print('e', file=sys.stderr); sys.exit(3)", input=b"abc"
    )
    assert (result.stdout, result.stderr, result.returncode, result.ok) == (b"cba", b"e\n", 3, False)
    assert result.cpu_s > 0 and result.peak_mb > 1 and result.wall_s > 0


def test_a_module_of_this_package_runs_by_name_and_the_working_folder_shadows_nothing(tmp_path: Path) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit('shadowed')")
    result = run_boxed("json.tool", work=tmp_path, input=b'{"a":1}')
    assert json.loads(result.stdout) == {"a": 1}


def test_the_environment_holds_nothing_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PILOTAGE_SECRET", "hunter2")
    inside = json.loads(boxed("import os, json; print(json.dumps(dict(os.environ)))").stdout)
    assert "PILOTAGE_SECRET" not in inside
    assert inside["OMP_NUM_THREADS"] == inside["ORT_NUM_THREADS"] == "1"


@needs_namespaces
def test_only_named_paths_are_seen_and_only_the_work_folder_is_written(tmp_path: Path) -> None:
    for name in ("shown", "hidden", "work"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    code = f"""
import json, os
from pathlib import Path
root = Path({str(tmp_path)!r})
def writable(name):
    try:
        (root / name / 'new').write_text('x')
        return True
    except OSError:
        return False
print(json.dumps({{n: [(root / n / 'file').exists(), writable(n)] for n in ('shown', 'hidden', 'work')}}))
"""
    result = boxed(code, readable=[tmp_path / "shown"], work=tmp_path / "work")
    assert json.loads(result.stdout) == {"shown": [True, False], "hidden": [False, False], "work": [True, True]}
    assert (tmp_path / "work" / "new").read_text() == "x"
    assert (tmp_path / "work" / "new").stat().st_mode & 0o077 == 0


@needs_namespaces
def test_it_sees_no_process_but_its_own() -> None:
    code = "import os; print([p for p in os.listdir('/proc') if p.isdigit()], os.getpid())"
    assert boxed(code).stdout == b"['1'] 1\n"


def test_no_network_and_the_report_says_so() -> None:
    code = (
        "import socket\ntry: socket.create_connection(('127.0.0.1', 9))\nexcept OSError as e: print(type(e).__name__)"
    )
    result = boxed(code)
    assert result.stdout == b"PermissionError\n"
    assert result.isolation.network in ("none", "blocked")
    assert result.isolation.seccomp


def test_forbidden_calls_are_refused() -> None:
    code = "import ctypes; l = ctypes.CDLL(None, use_errno=True); print(l.unshare(0x10000000), ctypes.get_errno())"
    assert boxed(code).stdout == b"-1 1\n"


@pytest.mark.parametrize(
    ("code", "limits", "reason"),
    [
        ("while True: pass", Limits(cpu_s=1), "cpu"),
        ("import time; time.sleep(60)", Limits(wall_s=0.5), "wall"),
        ("bytearray(1 << 30)", Limits(memory_mb=256), "memory"),
        ("import os\nwhile True: os.write(1, b'x' * 65536)", Limits(output_mb=1), "output"),
        ("import ctypes; ctypes.string_at(0)", Limits(), "signal 11"),
    ],
)
def test_every_limit_ends_it_and_is_named(code: str, limits: Limits, reason: str) -> None:
    result = boxed(code, limits=limits)
    assert result.killed_reason == reason
    assert result.timed_out is (reason == "wall")
    assert not result.ok
    assert len(result.stdout) <= 1 << 20


def test_too_large_a_file_and_too_many_open_files_are_refused() -> None:
    code = """
import os, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
try:
    open('big', 'wb').write(bytes(2 << 20))
except OSError as e: print(e.errno)
try:
    [os.dup(0) for _ in range(100)]
except OSError as e: print(e.errno)
"""
    assert boxed(code, limits=Limits(file_mb=1, files=50)).stdout.split() == [b"27", b"24"]


@needs_namespaces
def test_many_processes_together_hold_no_more_than_their_total() -> None:
    code = (
        "import os, time\nfor n in range(12):\n    if not os.fork(): b = bytearray(b'x') * (32 << 20); time.sleep(60)\n"
    )
    code += "time.sleep(60)"
    started = time.monotonic()
    result = boxed(code, limits=Limits(memory_mb=64, total_mb=128))
    assert (result.killed_reason, result.timed_out) == ("memory", False)
    assert time.monotonic() - started < 30
    assert boxed("b = bytearray(b'x') * (32 << 20)", limits=Limits(memory_mb=64, total_mb=128)).ok


@needs_namespaces
def test_a_folder_of_its_own_is_in_memory_and_bounded() -> None:
    code = """
import os
n = 0
try:
    while n < 100:
        open(f"f{n}", "wb").write(bytes(16 << 20))
        n += 1
except OSError as error: print(error.errno, n)
"""
    assert boxed(code).stdout.split()[0] == b"28"
    assert int(boxed(code).stdout.split()[1]) < 33


@needs_namespaces
def test_a_loopback_of_its_own_reaches_nobody_else() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        code = f"""
import socket
for address in (("127.0.0.1", {port}), ("192.0.2.1", 80)):
    try: socket.create_connection(address, 2); print("reached", address)
    except OSError: pass
for family in (socket.AF_NETLINK, socket.AF_PACKET, socket.AF_VSOCK):
    try: socket.socket(family, socket.SOCK_RAW); print("made", family)
    except OSError: pass
own = socket.create_server(("127.0.0.1", {port}))
socket.create_connection(own.getsockname()).send(b"x")
print(own.accept()[0].recv(1))
"""
        result = boxed(code, loopback=True)
        assert result.stdout == b"b'x'\n", result
        assert result.isolation.network == "loopback" and result.isolation.seccomp


@needs_namespaces
def test_nothing_survives_the_box_not_even_a_new_session(tmp_path: Path) -> None:
    mark = tmp_path / "alive"
    loop = f"import time\nfor n in range(200): open({str(mark)!r}, 'w').write(str(n)); time.sleep(.02)"
    leave = f"subprocess.Popen([sys.executable, '-S', '-c', {loop!r}], start_new_session=True)"
    wait = f"while not os.path.exists({str(mark)!r}): time.sleep(.01)"
    code = f"import os, subprocess, sys, time; {leave}\n{wait}\ntime.sleep(.1)"
    assert boxed(code, work=tmp_path).returncode == 0
    before = mark.read_text()
    time.sleep(0.3)
    assert mark.read_text() == before


def test_a_command_that_does_not_exist_is_a_result_not_an_exception() -> None:
    result = run_boxed(["/no/such/command"])
    assert result.returncode == 127
    assert b"No such file" in result.stderr


ECHO = """
import os, sys, time
from pilotage.sandbox.messages import read_message, take_pipes, write_message
reader, writer = take_pipes()
print('noise of a library')
while (message := read_message(reader)) is not None:
    if message == b'hang': time.sleep(60)
    if message == b'die': os._exit(1)
    write_message(writer, message[::-1])
"""


def test_a_box_that_stays_answers_messages_while_its_prints_go_to_standard_error() -> None:
    with start_boxed([sys.executable, "-u", "-c", ECHO]) as box:
        assert box.isolation.limits
        assert box.ask(b"abc", 60) == b"cba"
        assert box.ask(b"x" * 200_000, 60) == b"x" * 200_000
        assert b"noise of a library" in box.stderr_tail


@pytest.mark.parametrize(("message", "code"), [(b"hang", "box_timeout"), (b"die", "box_ended")])
def test_a_late_or_dead_box_is_unavailable_and_gone(message: bytes, code: str) -> None:
    with start_boxed([sys.executable, "-c", ECHO]) as box:
        assert box.ask(b"abc", 60) == b"cba"
        with pytest.raises(Unavailable) as caught:
            box.ask(message, 0.5 if message == b"hang" else 60)
        box.wait(60)
        assert caught.value.code == code
        assert not box.alive


def test_a_box_ends_when_its_owner_is_killed() -> None:
    owner = (
        "import os, sys; from pilotage.sandbox.box import start_boxed\n"
        "box = start_boxed(['sleep', '60']); print(box.pid, box._folder, flush=True); os.kill(os.getpid(), 9)"
    )
    pid, folder = subprocess.run([sys.executable, "-c", owner], capture_output=True, check=False).stdout.split()
    until = time.monotonic() + 60
    while Path(f"/proc/{int(pid)}").exists() and time.monotonic() < until:
        time.sleep(0.02)
    shutil.rmtree(folder)
    assert not Path(f"/proc/{int(pid)}").exists()


@needs_namespaces
def test_where_namespaces_are_refused_the_rest_holds_and_the_report_names_what_does_not() -> None:
    code = """
import json
from pilotage.sandbox.box import run_boxed
from pilotage.sandbox.model import Limits
inner = "import socket\\ntry: socket.socket()\\nexcept OSError as e: print(type(e).__name__)"
run = lambda code, wall: run_boxed(["/usr/bin/env", "python3", "-S", "-c", code], limits=Limits(wall_s=wall))
result, late = run(inner, 60), run("import time; time.sleep(60)", .5)
print(json.dumps([result.isolation.as_dict(), result.stdout.decode(), late.killed_reason]))
"""
    outer = run_boxed([sys.executable, "-c", code], env={"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"})
    isolation, printed, late = json.loads(outer.stdout)
    assert isolation["notes"][0].startswith("no namespaces")
    assert (isolation["user"], isolation["filesystem"], isolation["network"]) == (False, "open", "blocked")
    assert isolation["seccomp"] and "processes" not in isolation["limits"]
    assert printed == "PermissionError\n"
    assert late == "wall"
