"""Servers of others that the gateway is measured beside, each in a virtual environment of its own under `.peers`."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["PEERS", "Peer", "install", "prepare", "start", "stop"]

HERE = Path(__file__).resolve().parent
PLACE = HERE.parents[1] / ".peers"


@dataclass(frozen=True, kw_only=True)
class Peer:
    """One server: what to install, how to start it on a port, where it answers, and how it wants a row.

    `version` is the package whose version is reported.
    """

    packages: tuple[str, ...]
    version: str
    command: Callable[[Path, Path, int], list[str]]
    path: str
    body: Callable[[dict[str, Any]], Any]


def _ceiling(bin_: Path, _home: Path, port: int) -> list[str]:
    options = ["--interface", "rsgi", "--loop", "uvloop", "--http", "1", "--no-access-log", "--log-level", "warning"]
    return [str(bin_ / "granian"), *options, "--host", "127.0.0.1", "--port", str(port), "ceiling:app"]


def _bentoml(bin_: Path, _home: Path, port: int) -> list[str]:
    return [str(bin_ / "bentoml"), "serve", "bento_service:Service", "--host", "127.0.0.1", "--port", str(port)]


def _mlflow(bin_: Path, home: Path, port: int) -> list[str]:
    options = ["--env-manager", "local", "-h", "127.0.0.1", "-p", str(port)]
    return [str(bin_ / "mlflow"), "models", "serve", "-m", str(home / "mlflow"), *options]


def _split(row: dict[str, Any]) -> Any:
    return {"dataframe_split": {"columns": list(row), "data": [list(row.values())]}}


PEERS = {
    "ceiling": Peer(
        packages=("granian", "msgspec", "numpy", "onnxruntime", "uvloop"),
        version="granian",
        command=_ceiling,
        path="/predict",
        body=lambda row: row,
    ),
    "bentoml": Peer(
        packages=("bentoml", "scikit-learn=={sklearn}", "joblib"),
        version="bentoml",
        command=_bentoml,
        path="/predict",
        body=lambda row: {"row": row},
    ),
    "mlflow": Peer(
        packages=("mlflow", "scikit-learn=={sklearn}", "joblib"),
        version="mlflow",
        command=_mlflow,
        path="/invocations",
        body=_split,
    ),
}


def install(name: str) -> str:
    """Make the peer's environment, once; the version it has. Raises CalledProcessError where it cannot be had."""
    import sklearn

    python = PLACE / name / "bin" / "python"
    uv = Path(sys.executable).parent / "uv"
    if not python.exists():
        packages = [package.format(sklearn=sklearn.__version__) for package in PEERS[name].packages]
        subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, PLACE / name], check=True)
        subprocess.run([uv, "pip", "install", "--quiet", "--python", python, *packages], check=True)
    code = f"import importlib.metadata as m; print(m.version({PEERS[name].version!r}))"
    return subprocess.run([python, "-c", code], check=True, capture_output=True, text=True).stdout.strip()


def prepare(home: Path, features: list[str], row: dict[str, Any]) -> None:
    """Put beside the gateway's release what the peers load: names, the row, the ONNX model."""
    folder = Path(json.loads((home / "bench.json").read_text())["folder"])
    (home / "model.onnx").write_bytes((folder / "model.onnx").read_bytes())
    (home / "columns.json").write_text(json.dumps(features))
    (home / "row.json").write_text(json.dumps({"inputs": row}))


def start(name: str, home: Path, core: int, log: Path) -> tuple[subprocess.Popen[bytes], str]:
    """(its process, the URL it will answer at); pinned to a core with all that it starts."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    bin_ = PLACE / name / "bin"
    environ = {
        **os.environ,
        "PATH": f"{bin_}:{os.environ['PATH']}",
        "PYTHONPATH": str(HERE),
        "BENCH_HOME": str(home),
        "BENCH_LOG": str(home / f"{name}.log"),
        "BENTOML_HOME": str(home / "bentoml"),
        "BENTOML_DO_NOT_TRACK": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }
    with log.open("wb") as file:
        if name == "mlflow":
            script = [str(bin_ / "python"), str(HERE / "mlflow_model.py"), str(home / "mlflow")]
            subprocess.run(script, check=True, env=environ, stdout=file, stderr=file)
        process = subprocess.Popen(
            PEERS[name].command(bin_, home, port),
            cwd=HERE,
            env=environ,
            stdout=file,
            stderr=file,
            start_new_session=True,
            preexec_fn=(lambda: os.sched_setaffinity(0, {core})) if core >= 0 else None,
        )
    return process, f"http://127.0.0.1:{port}{PEERS[name].path}"


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a peer and all of its session: some do not end their own workers."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            process.wait(5)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            continue
