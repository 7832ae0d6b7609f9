"""A node with a real journal, offered by a real process over mutual TLS, and a steward's home that pulls it."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from pilotage.access.model import Person
from pilotage.kernel.ids import uuid7
from pilotage.ledger.journal import JournalWriter
from pilotage.nodes.model import Identity, Node
from pilotage.nodes.pulling import NodePull, PullLimits
from pilotage.nodes.service import invite, join, reader_of
from pilotage.nodes.store import find_node
from pilotage.storage.database import reading
from pilotage.storage.home import Home
from tests.ledger_world import Frame, World, in_killed_process, make_world

ADMIN = Person(id=uuid7(), name="admin", roles=("admin",))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(kw_only=True)
class NodeHome:
    """One node. `world` is its steward's."""

    world: World
    home: Home
    name: str = "edge-1"
    port: int = field(default_factory=free_port)
    online: bool = True
    identity: Identity = field(init=False)
    process: subprocess.Popen[bytes] | None = None
    pulls: list[NodePull] = field(default_factory=list)

    def __post_init__(self) -> None:
        address = f"https://127.0.0.1:{self.port}" if self.online else ""
        given = invite(self.world.control, self.world.home, ADMIN, self.name, address, local="n1")
        self.identity = join(self.home, given)

    @property
    def node(self) -> Node:
        with reading(self.world.control) as connection:
            return find_node(connection, self.name)

    @property
    def folder(self) -> Path:
        return self.home.journal / self.name

    def write(self, frames: Sequence[Frame], *, worker: int = 0, close: bool = True) -> None:
        """Journal frames in a file of their own; not closed, it is as after a kill."""

        async def journal() -> None:
            key = self.world.keyring.steward_public
            writer = JournalWriter(self.folder, worker=worker, steward_key=key)
            await writer.open()
            await asyncio.gather(*[writer.submit(*frame) for frame in frames])
            if close:
                await writer.close()

        if close:
            asyncio.run(journal())
        else:
            in_killed_process(lambda: asyncio.run(journal()))

    def serve(self) -> None:
        words = [sys.executable, "-m", "pilotage", "--home", str(self.home.root), "node", "serve"]
        words += ["--journal-port", str(self.port)]
        self.process = subprocess.Popen(words, stdout=subprocess.DEVNULL, env={**os.environ})
        for _ in range(200):
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            time.sleep(0.05)
        raise AssertionError("the node does not listen")

    def end(self) -> None:
        for pull in self.pulls:
            pull.client.close()
        if self.process is not None:
            self.process.terminate()
            self.process.wait(10)
            self.process = None

    def pull(
        self, limits: PullLimits | None = None, clock: Callable[[], int] | None = None, **extra: object
    ) -> NodePull:
        reader = reader_of(self.world.home)
        assert reader is not None
        given = {"limits": limits, "clock": clock, **extra}
        made = NodePull(
            node=self.node,
            reader=reader,
            root=self.world.home.journal,
            control=self.world.control,
            ledger=self.world.ledger,
            **{name: value for name, value in given.items() if value is not None},  # type: ignore[arg-type]
        )
        self.pulls.append(made)
        return made


def make_node(tmp_path: Path, *, name: str = "edge-1", online: bool = True, world: World | None = None) -> NodeHome:
    world = world or make_world(tmp_path / "steward")
    return NodeHome(world=world, home=Home(root=tmp_path / name), name=name, online=online)
