"""A private PostgreSQL cluster for tests marked `postgres`: its own folder, a Unix socket, no network port."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import create_engine
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool

_START_S = 30


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The URL of a running server's `postgres` database; skips where PostgreSQL is not installed."""
    with private_server() as url:
        if url is None:
            pytest.skip("PostgreSQL (initdb, postgres) is not installed")
        yield url


@contextlib.contextmanager
def private_server(folder: Path = Path("/tmp"), *, sync: bool = False) -> Iterator[str | None]:
    """The URL of a fresh server's `postgres` database; None where PostgreSQL is not installed.

    Without `sync` it is quick and loses its data with the machine: for tests, not for a measurement.
    """
    programs = _programs()
    if programs is None:
        yield None
        return
    user = _unprivileged()
    folder = Path(tempfile.mkdtemp(prefix="pilotage-pg-", dir=folder))
    if user is not None:
        os.chown(folder, pwd.getpwnam(user).pw_uid, -1)
    run = {"user": user, "cwd": folder} if user else {"cwd": folder}
    try:
        subprocess.run(
            [programs / "initdb", "-D", folder / "data", "-A", "trust", "-U", "pilotage", "-E", "UTF8", "--no-sync"],
            check=True,
            capture_output=True,
            **run,
        )
        durable = [] if sync else ["-c", "fsync=off"]
        settings = ["-c", "listen_addresses=", *durable, "-c", f"unix_socket_directories={folder}"]
        with (folder / "log").open("wb") as log:
            server = subprocess.Popen(
                [programs / "postgres", "-D", folder / "data", *settings], stdout=log, stderr=log, **run
            )
        try:
            url = f"postgresql+psycopg://pilotage@/postgres?host={folder}"
            _wait(url, server, folder / "log")
            yield url
        finally:
            server.send_signal(signal.SIGQUIT)  # at once, without a last checkpoint: its data go too
            with contextlib.suppress(subprocess.TimeoutExpired):
                server.wait(10)
            if server.poll() is None:
                server.kill()
                server.wait()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def stop_server(url: str) -> None:
    """Stop the private server of a URL, as an operator would who does not wait for its clients."""
    pid = int((_folder(url) / "data" / "postmaster.pid").read_text().split()[0])
    os.kill(pid, signal.SIGINT)
    deadline = time.monotonic() + _START_S
    while (_folder(url) / "data" / "postmaster.pid").exists():
        assert time.monotonic() < deadline, "PostgreSQL does not stop"
        time.sleep(0.05)


@contextlib.contextmanager
def started_again(url: str) -> Iterator[None]:
    """The private server of a URL, running again after `stop_server`, until the end of the block."""
    folder, programs, user = _folder(url), _programs(), _unprivileged()
    assert programs is not None
    settings = ["-c", "listen_addresses=", "-c", "fsync=off", "-c", f"unix_socket_directories={folder}"]
    with (folder / "log").open("ab") as log:
        command = [programs / "postgres", "-D", folder / "data", *settings]
        server = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, **({"user": user} if user else {}))
    try:
        _wait(url, server, folder / "log")
        yield
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(20)


def _folder(url: str) -> Path:
    return Path(url.rpartition("host=")[2])


@pytest.fixture
def fresh_postgres(postgres_server: str) -> Callable[[], str]:
    """Makes a fresh, empty database at each call; its URL."""
    return lambda: create_database(postgres_server)


@pytest.fixture
def postgres_url(postgres_server: str) -> str:
    """The URL of a fresh, empty database."""
    return create_database(postgres_server)


def create_database(server: str) -> str:
    name = f"t{uuid4().hex}"
    engine = create_engine(server, isolation_level="AUTOCOMMIT", poolclass=NullPool)
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    return server.replace("/postgres?", f"/{name}?")


def _programs() -> Path | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if found:
        return found[-1].parent
    elsewhere = shutil.which("initdb")
    return Path(elsewhere).parent if elsewhere else None


def _unprivileged() -> str | None:
    """Whom to run the server as: it refuses to run as root."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


def _wait(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    engine = create_engine(url, poolclass=NullPool)
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline and server.poll() is None:
        with contextlib.suppress(OperationalError), engine.connect():
            return
        time.sleep(0.05)
    raise RuntimeError(f"PostgreSQL did not start: {log.read_text()[-2_000:]}")
