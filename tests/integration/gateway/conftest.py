"""A gateway worker as its own process on 127.0.0.1, with a real plan, release and journal."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import msgspec
import pytest

from pilotage.gateway.plan import Key, Route, ServingPlan
from pilotage.gateway.plan_file import write_plan_file
from pilotage.gateway.store import add_plan
from pilotage.kernel.clock import now_us
from pilotage.ledger.frames import FrameKind
from pilotage.ledger.journal_reader import journal_files, read_frames
from pilotage.ledger.keyring import Keyring
from pilotage.ledger.record import Event, Payload, Plain, decode_leaf
from pilotage.releases.load import LoadedRelease
from pilotage.releases.model import folder_name
from pilotage.storage.database import control, open_engine, url_of, writing
from pilotage.storage.home import Home
from pilotage.testing.releases import make_release

SYSTEM = "example"
KEY = "pk_live_" + "a" * 43
OTHER = "pk_other_" + "b" * 43
HERE, AWAY = "pk_here_" + "d" * 43, "pk_away_" + "e" * 43
ROW = {"customer": "c-1", "income": 50_000, "late_payments": 2, "home": "rent", "age": 40}

_RUN = """
import json, resource, socket, sys
from pathlib import Path
from pilotage.gateway.limit import Limits
from pilotage.gateway.protocol import BoundedHttp
from pilotage.gateway.tls import Tls, TlsFiles
from pilotage.gateway.tracing import Tracing
from pilotage.gateway.worker import serve
from pilotage.storage.home import Home
root, descriptor, worker, options = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), json.loads(sys.argv[4])
if "file_bytes" in options:
    resource.setrlimit(resource.RLIMIT_FSIZE, (options["file_bytes"],) * 2)
BoundedHttp.request_s = options.get("request_s", 10.0)
limits, listener = Limits(**options.get("limits", {})), socket.socket(fileno=descriptor)
tracing = Tracing(options["otlp"], node="n1", worker=worker) if "otlp" in options else None
files = TlsFiles(**{name: Path(path) for name, path in options["tls"].items()}) if "tls" in options else None
beside = {"tracing": tracing, "tls": Tls(files) if files else None}
sys.exit(serve(home=Home(root=root), node="n1", worker=worker, sockets=[listener], limits=limits, **beside))
"""


@dataclass
class Worker:
    """A worker process. `log` is where its standard error goes."""

    process: subprocess.Popen[bytes]
    url: str
    home: Home
    number: int
    log: Path

    @property
    def decide(self) -> str:
        return f"{self.url}/v1/systems/{SYSTEM}/decide"

    def client(self, key: str = KEY) -> httpx.Client:
        # Without `verify=False` each client loads the certificates of the machine, for nothing.
        return httpx.Client(base_url=self.url, headers={"authorization": f"Bearer {key}"}, timeout=20, verify=False)

    def ask(self, inputs: object, key: str = KEY, system: str = SYSTEM) -> httpx.Response:
        with self.client(key) as client:
            return client.post(f"/v1/systems/{system}/decide", json={"inputs": inputs})

    def told(self) -> dict[str, object]:
        return json.loads((self.home.run / f"gateway-{self.number}.json").read_bytes())

    def wait_for(self, plan: int, seconds: float = 60.0) -> None:
        """Wait until the worker answers from a plan, or a later one."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            assert self.process.poll() is None, self.log.read_text()
            try:
                reply = httpx.get(f"{self.url}/ready", timeout=5, verify=False)
                if reply.status_code == 200 and reply.json()["plan"] >= plan:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.03)
        raise AssertionError(f"not ready: {self.log.read_text()}")

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and return the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(20)


@dataclass
class Stand:
    """A home with releases, and the workers started on it."""

    home: Home
    keyring: Keyring
    releases: list[LoadedRelease]
    version: int = 0
    workers: list[Worker] = field(default_factory=list)

    def publish(
        self, release: LoadedRelease | None = None, keys: tuple[Key, ...] | None = None, limits=(), issuers=(), **route
    ) -> int:
        """Publish the next plan: a release (the first), its route's settings, the live keys, and limits."""
        release = release or self.releases[0]
        self.version += 1
        facts = {"stage": "internal", "contract": release.contract.digest(), "policy": release.policy} | route
        plan = ServingPlan(
            version=self.version,
            created=now_us(),
            steward_key=self.keyring.steward_public.hex(),
            routes=[Route(system=SYSTEM, release=release.digest, folder=folder_name(release.digest), **facts)],
            keys=list(self.keys() if keys is None else keys),
            max_body_bytes=200_000,
            limits=list(limits),
            issuers=list(issuers),
        )
        engine = open_engine(url_of(self.home, "control"))
        control.create_all(engine)
        with writing(engine) as connection:
            stored = add_plan(connection, plan)
        engine.dispose()
        write_plan_file(self.home.plan_file, stored)
        return self.version

    def keys(self) -> list[Key]:
        """The keys of a plan unless others are given: one for the system, one for another; one from here, one not."""
        bound = [("here", HERE, ["127.0.0.0/8", "::1"]), ("away", AWAY, ["192.0.2.0/24"])]
        return [
            *(
                Key(id=id_, sha256=hashlib.sha256(key.encode()).hexdigest(), scopes=["decide:*"], networks=networks)
                for id_, key, networks in bound
            ),
            Key(id="live", sha256=hashlib.sha256(KEY.encode()).hexdigest(), scopes=[f"decide:{SYSTEM}"]),
            Key(id="other", sha256=hashlib.sha256(OTHER.encode()).hexdigest(), scopes=["decide:elsewhere"]),
        ]

    def start(
        self, *, wait: bool = True, prefix: tuple[str, ...] = (), number: int = 0, port: int = 0, **options
    ) -> Worker:
        """Start a worker; `options` are `limits`, `request_s`, `file_bytes` and `otlp`."""
        with socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("127.0.0.1", port))
            listener.listen(256)
            log = self.home.root / f"worker-{len(self.workers)}.log"
            arguments = [str(self.home.root), str(listener.fileno()), str(number), json.dumps(options)]
            with log.open("wb") as file:
                process = subprocess.Popen(
                    [*prefix, sys.executable, "-c", _RUN, *arguments],
                    pass_fds=[listener.fileno()],
                    stdout=file,
                    stderr=file,
                    env={**os.environ, "OMP_NUM_THREADS": "1"},
                )
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        worker = Worker(process, url, self.home, number, log)
        self.workers.append(worker)
        if wait:
            worker.wait_for(self.version)
        return worker

    def frames(self):
        """(decoded plain part, exact plain bytes, secret) of every frame in every journal file."""
        for file in journal_files(self.home.journal):
            for frame in read_frames(file, self.keyring.steward):
                assert frame.kind in (FrameKind.decision, FrameKind.event)
                yield decode_leaf(frame.plain), frame.plain, frame.secret

    def decisions(self) -> dict[str, tuple[Plain, bytes, Payload, bytes]]:
        """(plain part, its bytes, payload, secret) of every decision in the journals by id; none may be there twice."""
        found = {}
        for leaf, plain, secret in self.frames():
            if isinstance(leaf, Plain):
                assert leaf.id not in found
                found[leaf.id] = (leaf, plain, msgspec.msgpack.decode(secret[32:], type=Payload), secret)
        return found

    def events(self, kind: str) -> list[tuple[Event, dict]]:
        """(event, private part) of every event of a kind in the journals."""
        found = [(leaf, msgspec.msgpack.decode(secret[32:])) for leaf, _, secret in self.frames()]
        return [(leaf, private) for leaf, private in found if isinstance(leaf, Event) and leaf.kind == kind]

    def receipts(self) -> set[str]:
        """The receipt of every decision in the journals, computed from its bytes."""
        return {
            f"{id_} {hashlib.sha256(bytes(1) + plain).hexdigest()}"
            for id_, (_, plain, _, _) in self.decisions().items()
        }

    def stop(self) -> None:
        """End every worker that is left."""
        for worker in self.workers:
            if worker.process.poll() is None:
                worker.process.kill()
                worker.process.wait()


def make_stand(root: Path, releases: int = 1) -> Stand:
    home = Home(root=root).create()
    keyring = Keyring.create_or_open(home.keyring)
    return Stand(home, keyring, [make_release(home, system=SYSTEM, shift=0.25 * n) for n in range(releases)])


@pytest.fixture
def stand(tmp_path):
    made = make_stand(tmp_path / "home", releases=2)
    yield made
    made.stop()


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A stand with a ready worker that the tests of one file share."""
    made = make_stand(tmp_path_factory.mktemp("gateway") / "home")
    made.publish(max_rows=50)
    made.start()
    yield made
    made.stop()
