"""Find an interpreter, make a virtual environment of it, and install exactly what a lock names, from wheels only."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from pilotage.errors import Unavailable

__all__ = ["find_python", "install", "make_venv"]

_INSTALL_S = 1_800.0
_VERSION = "import platform; print(platform.python_version())"
_SITE = "import sysconfig; print(sysconfig.get_path('purelib'))"


def find_python(version: str) -> str:
    """An interpreter of exactly this version. Raises Unavailable."""
    short = ".".join(version.split(".")[:2])
    candidates = [getattr(sys, "_base_executable", ""), sys.executable, shutil.which(f"python{short}") or ""]
    for each in candidates:
        if each and _said(each, _VERSION) == version:
            return each
    raise Unavailable(
        "there is no such interpreter here", got=f"Python {version}", mend=f"install Python {version} on the PATH"
    )


def _said(python: str, code: str) -> str:
    done = subprocess.run([python, "-I", "-c", code], capture_output=True, text=True, check=False, timeout=60)
    return done.stdout.strip()


def make_venv(python: str, folder: Path) -> Path:
    """An empty virtual environment in a folder, which is removed first; the folder that packages go to."""
    shutil.rmtree(folder, ignore_errors=True)
    done = subprocess.run(
        [python, "-I", "-m", "venv", "--without-pip", str(folder)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise Unavailable(
            "no virtual environment could be made", got=_last(done), mend="install Python's module venv on this machine"
        )
    return Path(_said(str(folder / "bin" / "python"), _SITE))


def install(venv: Path, pins: Sequence[str], requirements: Path) -> None:
    """Install `name==version` lines, without anything they depend on; nothing of a package runs meanwhile.

    By uv where it is installed, first from its cache alone; else by pip. Raises Unavailable with the command to try.
    """
    requirements.write_text("".join(f"{pin}\n" for pin in pins))
    python = str(venv / "bin" / "python")
    wanted = ["--no-deps", "--only-binary", ":all:", "-r", str(requirements)]
    uv = shutil.which("uv", path=str(Path(sys.executable).parent)) or shutil.which("uv")
    if uv:
        commands = [[uv, "pip", "install", "--python", python, *more, *wanted] for more in (["--offline"], [])]
    else:
        commands = [[sys.executable, "-m", "pip", "--python", python, "install", "--no-compile", *wanted]]
    for command in commands:
        done = _run(command)
        if not done.returncode:
            return
    raise Unavailable(
        "its packages cannot be installed",
        got=_last(done),
        mend=f"see that the package index can be reached: {shlex.join(commands[-1])}",
    )


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=_INSTALL_S)
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 1, "", f"still at work after {_INSTALL_S:.0f} s")


def _last(done: subprocess.CompletedProcess[str]) -> str:
    lines = (done.stderr or done.stdout).strip().splitlines()
    return lines[-1].strip() if lines else f"exit {done.returncode}"
