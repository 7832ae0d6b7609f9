"""A live installation for tests: a real home with people, a release and an API key, and `pilotage up` over it."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from pilotage.access.model import Person
from pilotage.access.service import issue_token
from pilotage.errors import NotFound
from pilotage.ledger import tiles
from pilotage.ledger.merkle import leaf_hash
from pilotage.ledger.notes import Signer, parse_checkpoint
from pilotage.ledger.record import Interrupted, Plain, decode_leaf
from pilotage.releases.model import Release
from pilotage.storage.home import Home
from pilotage.testing.governance import GovernedHome
from pilotage.wiring.installation import Installation, open_installation
from pilotage.wiring.settings import Settings

SYSTEM = "example"
ROW = {"customer": "c-1", "income": 50_000, "late_payments": 2, "home": "rent", "age": 40}
WORKERS = 2


@dataclass(kw_only=True)
class LiveHome:
    """A home in which a release of the system `example` is live at stage internal."""

    root: Path
    database_url: str | None = None
    installation: Installation = field(init=False)
    governed: GovernedHome = field(init=False)
    release: Release = field(init=False)
    key: str = field(init=False)
    key_id: str = field(init=False)

    def __post_init__(self) -> None:
        settings = Settings(home=Home(root=self.root), database_url=self.database_url, workers=WORKERS, node="n1")
        self.installation = open_installation(settings, create=True)
        self.governed = GovernedHome(self.root, self.installation.control)
        self.governed.rollout = self.installation.rollout
        self.release = self.governed.promoted()
        issued = self.installation.rollout.issue_key(self.people["operator"], name="client", scopes=["decide:*"])
        self.key, self.key_id = issued.text, issued.id

    @property
    def people(self) -> dict[str, Person]:
        return self.governed.people

    @property
    def vkey(self) -> str:
        return vkey_of(self.installation)

    def token(self, role: str) -> str:
        person = self.people[role]
        return issue_token(self.installation.control, person, by=person).text

    def command(self, *words: str) -> list[str]:
        database = ["--database-url", self.database_url] if self.database_url else []
        return [sys.executable, "-m", "pilotage", "--home", str(self.root), *database, *words]

    def call(self, *words: str, token: str = "", fine: tuple[int, ...] = (0,)) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        environ = {**os.environ, "PILOTAGE_TOKEN": token, "PILOTAGE_NODE": "n1"}
        done = subprocess.run(self.command(*words), capture_output=True, text=True, env=environ, timeout=60)
        assert done.returncode in fine, (words, done.returncode, done.stdout, done.stderr)
        return done

    def recorded(self) -> Counter[tuple[str, str]]:
        """(id, leaf hash) of every decision in the published tree, and how often it is there."""
        return recorded(self.installation)

    def close(self) -> None:
        self.installation.close()


def vkey_of(installation: Installation) -> str:
    """The ledger's public key."""
    return Signer(installation.keyring.origin, installation.keyring.signing).vkey()


def recorded(installation: Installation) -> Counter[tuple[str, str]]:
    """(id, leaf hash) of every decision in the published tree, and how often it is there."""
    folder, found = installation.home.ledger, Counter[tuple[str, str]]()
    try:
        text = tiles.read_checkpoint(folder)
    except NotFound:
        return found
    for entry in tiles.read_entries(folder, 0, parse_checkpoint(text, [vkey_of(installation)]).size):
        leaf = decode_leaf(entry)
        if isinstance(leaf, Plain | Interrupted):
            found[leaf.id, leaf_hash(entry).hex()] += 1
    return found


@dataclass(kw_only=True)
class Up:
    """A running `pilotage up`. `ready_s` is from its start to the line that says it is ready."""

    live: LiveHome
    process: subprocess.Popen[str]
    gateway: str
    console: str
    ready_s: float

    @property
    def decide_url(self) -> str:
        return f"{self.gateway}/v1/systems/{SYSTEM}/decide"

    def children(self) -> dict[str, int]:
        """Name (gateway-0, steward, console) to process id, of those that live now."""
        found = {}
        for pid in child_pids(self.process.pid):
            words = command_line(pid)
            name = next((word for word in ("gateway", "steward", "console") if word in words), "")
            if name:
                found[f"gateway-{words[words.index('--worker') + 1]}" if name == "gateway" else name] = pid
        return found

    def ask(self, inputs: Any = ROW, key: str = "") -> Reply:
        """One request on a connection of its own."""
        return post(self.decide_url, key or self.live.key, {"inputs": inputs})

    def wait_until_all_live(self, seconds: float = 20.0) -> None:
        """Every process is there, and every worker is ready."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            children = self.children()
            told = [self._told(worker) for worker in range(WORKERS)]
            if len(children) == WORKERS + 2 and all(
                state["state"] == "ready" and state["pid"] == children[f"gateway-{worker}"]
                for worker, state in enumerate(told)
            ):
                return
            time.sleep(0.05)
        raise AssertionError(f"not all live after {seconds} s: {self.children()}, {told}")

    def _told(self, worker: int) -> dict[str, Any]:
        with suppress(OSError, ValueError):
            return json.loads((self.live.root / "run" / f"gateway-{worker}.json").read_bytes())
        return {"state": "", "pid": 0}

    def end(self, number: int = signal.SIGTERM, seconds: float = 40.0) -> int:
        """Send a signal and return the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(seconds)
        if self.process.stdout is not None:
            self.process.stdout.close()
        return code

    def logs(self) -> str:
        run = self.live.root / "run"
        return "\n".join(f"--- {path.name}\n{path.read_text()[-3_000:]}" for path in sorted(run.glob("*.log")))


@contextmanager
def running(live: LiveHome, *options: str) -> Iterator[Up]:
    """`pilotage up` until the end of the block; whatever is left of it then is killed."""
    up = start(live, *options)
    try:
        yield up
    finally:
        left = [up.process.pid, *child_pids(up.process.pid)]
        if up.process.poll() is None:
            up.process.terminate()
            with suppress(subprocess.TimeoutExpired):
                up.process.wait(40)
        for pid in left:
            if "pilotage" in command_line(pid):
                os.kill(pid, signal.SIGKILL)
        up.process.wait(5)
        if up.process.stdout is not None:
            up.process.stdout.close()


def start(live: LiveHome, *options: str) -> Up:
    """Start `pilotage up` and wait for the line with its addresses."""
    ports = () if "--gateway-port" in options else ("--gateway-port", "0", "--console-port", "0")
    words = ("up", "--json", "--workers", str(WORKERS), *ports, *options)
    log = live.root / "up.log"
    started = time.monotonic()
    with log.open("w") as to:
        process = subprocess.Popen(
            live.command(*words),
            stdout=subprocess.PIPE,
            stderr=to,
            text=True,
            env={**os.environ, "PILOTAGE_NODE": "n1"},
        )
    line = process.stdout.readline() if process.stdout else ""
    ready_s = time.monotonic() - started
    assert line, f"up said nothing: {log.read_text()}"
    found = json.loads(line)
    return Up(live=live, process=process, gateway=found["gateway"], console=found["console"], ready_s=ready_s)


def child_pids(parent: int) -> list[int]:
    """The processes whose parent this is."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError, ValueError, IndexError):
            fields = stat.read_text().rpartition(")")[2].split()
            if int(fields[1]) == parent and fields[0] != "Z":
                found.append(int(stat.parent.name))
    return found


def command_line(pid: int) -> list[str]:
    """The words that a process was started with; nothing when it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return []


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What came back: status, JSON body, and the headers in lower case."""

    status: int
    body: Any
    headers: dict[str, str]


def post(url: str, key: str, body: object, seconds: float = 10.0) -> Reply:
    """One POST on a fresh connection."""
    request = urllib.request.Request(
        url,
        data=json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
        method="POST",
    )
    try:
        with urllib.request.urlopen(request, timeout=seconds) as response:
            return _reply(response.status, response.read(), response.headers)
    except urllib.error.HTTPError as error:
        with error:
            return _reply(error.code, error.read(), error.headers)


def _reply(status: int, content: bytes, headers: Any) -> Reply:
    return Reply(
        status=status, body=json.loads(content), headers={name.lower(): text for name, text in headers.items()}
    )


@dataclass
class Load:
    """Clients that ask without pause. `receipts` are those of every reply that came, 200 and 422 alike."""

    url: str
    key: str
    clients: int = 16
    pause_s: float = 0.0
    receipts: list[tuple[str, str]] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    broken: Counter[str] = field(default_factory=Counter)
    stopping: bool = False

    async def run(self) -> None:
        """Until `stopping`."""
        connector = aiohttp.TCPConnector(limit=0)
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
        timeout = aiohttp.ClientTimeout(total=15)
        async with aiohttp.ClientSession(connector=connector, headers=headers, timeout=timeout) as session:
            await asyncio.gather(*(self._client(session, number) for number in range(self.clients)))

    async def _client(self, session: aiohttp.ClientSession, number: int) -> None:
        chance = random.Random(number)
        n = 0
        while not self.stopping:
            n += 1
            try:
                async with session.post(
                    self.url, data=json.dumps({"inputs": _inputs(chance, f"{number}-{n}")})
                ) as reply:
                    # The receipt counts from the moment its header is here, whether the body comes or not.
                    if receipt := reply.headers.get("Pilotage-Receipt"):
                        self._keep(receipt)
                    self.statuses[reply.status] += 1
                    for each in (await reply.json()).get("decisions", ()):
                        self._keep(each["receipt"])
            except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
                self.broken[type(error).__name__] += 1
                await asyncio.sleep(0.02)
            await asyncio.sleep(self.pause_s)

    def _keep(self, receipt: str) -> None:
        id_, leaf = receipt.split()
        self.receipts.append((id_, leaf))


def _inputs(chance: random.Random, name: str) -> Any:
    row = ROW | {"customer": f"c-{name}", "income": chance.randrange(500_000), "late_payments": chance.randrange(13)}
    kind = chance.random()
    if kind < 0.15:
        return row | {"age": 7, "home": "castle"}
    if kind < 0.2:
        return [row, row | {"age": 200}, row | {"income": None}]
    return row
