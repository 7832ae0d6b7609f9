"""The steward pulls a node's journal over mutual TLS: everything once, nothing that was changed, the others go on."""

from __future__ import annotations

import http.server
import json
import shutil
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from pilotage.errors import Conflict, InputError, Unavailable
from pilotage.ledger.journal_reader import journal_files
from pilotage.ledger.record import Event
from pilotage.ledger.verify import verify_ledger
from pilotage.nodes.certificates import client_context, key_to_pem, make_reader_certificate, server_context
from pilotage.nodes.client import NodeClient, Reader
from pilotage.nodes.model import Identity
from pilotage.nodes.pulling import PullLimits
from pilotage.nodes.service import invite, join, register
from pilotage.storage import outbox
from pilotage.storage.database import reading
from pilotage.storage.home import Home
from tests.integration.nodes.node_world import ADMIN, NodeHome, make_node
from tests.ledger_world import START, World, decision


@pytest.fixture
def served(tmp_path: Path) -> Iterator[NodeHome]:
    node = make_node(tmp_path)
    node.serve()
    yield node
    node.end()


def kinds_waiting(world: World) -> list[str]:
    with reading(world.control) as connection:
        return [event.kind for event in outbox.waiting(connection)]


def sealed_events(world: World) -> list[str]:
    return [leaf.id for leaf in world.leaves() if isinstance(leaf, Event)]


def log_names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.log"))


def test_what_a_node_journalled_is_sealed_once_and_deleted_there(served: NodeHome) -> None:
    first, second, third = ([decision(f"{n}-{i}") for i in range(5)] for n in range(3))
    served.write(first)
    served.write(second, close=False)
    pull, steward = served.pull(), served.world.steward()
    assert pull.round() and not pull.round()
    assert steward.seal_all().decisions == 10
    served.write(third)
    pull.round()
    steward.seal_all()
    pull.round()
    assert log_names(served.folder) == ["0-3.log"], "what is sealed, and not the newest, is deleted on the node"
    assert log_names(served.world.home.journal / "edge-1") == ["0-3.log"]
    assert not list((served.world.home.journal / "edge-1").glob("0-1.end"))
    served.world.check([*first, *second, *third], sealed_events(served.world))
    verdict = verify_ledger(served.world.home, served.world.ledger, served.world.keyring)
    assert verdict.ok, verdict.faults
    assert served.node.lag_bytes == 0 and not served.node.fault


def test_only_the_stewards_certificate_may_read(served: NodeHome) -> None:
    served.write([decision("ann")])
    stranger = Ed25519PrivateKey.generate()
    pull = served.pull()
    for key, certificate in (
        (key_to_pem(stranger), make_reader_certificate(stranger)),
        (served.identity.key, served.identity.certificate),
    ):
        authority = pull.reader.authority
        client = NodeClient(served.node, Reader(key=key, certificate=certificate, authority=authority))
        with pytest.raises(Unavailable) as refused:
            client.listing()
        assert refused.value.code == "node_away"
    old = client_context(pull.reader.key, pull.reader.certificate, pull.reader.authority)
    old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_2
    with socket.create_connection(("127.0.0.1", served.port)) as plain, pytest.raises(ssl.SSLError):
        old.wrap_socket(plain, server_hostname="edge-1")
    assert pull.client.listing().files, "with the right one it answers"


def test_a_node_that_rewrites_what_was_pulled_is_named(served: NodeHome) -> None:
    first = [decision(f"a{i}") for i in range(3)]
    served.write(first, close=False)
    pull, steward = served.pull(), served.world.steward()
    pull.round()
    steward.seal_all()
    path = served.folder / "0-1.log"
    path.write_bytes(path.read_bytes()[: pull.held[0, 1].offset - 100])
    served.end()
    served.serve()
    pull.round()
    assert "shorter than before" in served.node.fault or "0-1" in served.node.fault
    # The same name with other content: another journal of the same worker, begun anew.
    shutil.rmtree(served.folder)
    served.write([decision(f"b{i}") for i in range(9)])
    served.end()
    served.serve()
    pull = served.pull()
    pull.round()
    assert "edge-1/0-1" in served.node.fault
    served.world.check(first, sealed_events(served.world))


def test_a_node_that_is_away_is_reported_and_alerts_once(served: NodeHome) -> None:
    now = [START]
    pull = served.pull(limits=PullLimits(lag_s=60), clock=lambda: now[0])
    now[0] = served.node.invited + 1
    pull.round()
    served.end()
    for _ in range(3):
        now[0] += 40_000_000
        pull.told = -1e9
        pull.round()
    assert served.node.lagging and "does not answer" in served.node.fault
    served.serve()
    pull.round()
    pull.round()
    assert not served.node.lagging and not served.node.fault
    kinds = kinds_waiting(served.world)
    assert kinds.count("journal.lagging") == 1 and kinds.count("journal.caught_up") == 1


def test_two_homes_of_one_name_are_refused(served: NodeHome, tmp_path: Path) -> None:
    served.pull().round()
    register(served.world.control, served.identity)
    twin = Identity(**{name: getattr(served.identity, name) for name in Identity.__struct_fields__} | {"instance": "x"})
    with pytest.raises(Conflict) as refused:
        register(served.world.control, twin)
    assert refused.value.code == "node_twice"
    shutil.copytree(served.home.root, tmp_path / "copied")
    (tmp_path / "copied" / "node.json").write_bytes(
        served.home.node.read_bytes().replace(served.identity.instance.encode(), b"0" * 36)
    )
    served.end()
    served.home = Home(root=tmp_path / "copied")
    served.write([decision("ann")])
    served.serve()
    served.pull().round()
    assert "two homes" in served.node.fault and not journal_files(served.world.home.journal)


def test_names_and_invitations_are_checked(served: NodeHome, tmp_path: Path) -> None:
    world = served.world
    for name in ("", "..", "a/b", "A", "-a", "a" * 64, "nöde"):
        with pytest.raises(InputError):
            invite(world.control, world.home, ADMIN, name, "", local="n1")
    with pytest.raises(Conflict):
        invite(world.control, world.home, ADMIN, "n1", "", local="n1")
    with pytest.raises(InputError):
        join(Home(root=tmp_path / "x"), b"{}")
    other = invite(world.control, world.home, ADMIN, "other", "", local="n1")
    with pytest.raises(Conflict):
        join(served.home, other)
    assert served.home.node.stat().st_mode & 0o777 == 0o600 and world.home.nodes.stat().st_mode & 0o777 == 0o600
    # A new invitation ends the certificate of the one before.
    invite(world.control, world.home, ADMIN, "edge-1", f"https://127.0.0.1:{served.port}", local="n1")
    served.pull().round()
    assert "not the one of its last invitation" in served.node.fault


class Hostile:
    """Answers whatever it likes, with the node's own certificate."""

    def __init__(self, served: NodeHome) -> None:
        self.answers: dict[str, bytes] = {}
        identity = served.identity
        context = server_context(identity.key, identity.certificate, identity.reader)
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.wfile.write(outer.answers.get(self.path, b"HTTP/1.1 404 no\r\ncontent-length: 0\r\n\r\n"))
                self.close_connection = True

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", served.port), Handler)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def lists(self, *files: dict[str, object], node: str = "edge-1") -> None:
        self.says("/v1/journal", json.dumps({"node": node, "instance": "i", "files": files}).encode())

    def says(self, path: str, body: bytes, length: int | None = None) -> None:
        head = (
            f"HTTP/1.1 200 ok\r\nconnection: close\r\ncontent-length: {len(body) if length is None else length}\r\n\r\n"
        )
        self.answers[path] = head.encode() + body

    def end(self) -> None:
        self.server.shutdown()
        self.server.server_close()


def test_hostile_answers_are_refused_and_leave_nothing(tmp_path: Path) -> None:
    node = make_node(tmp_path)
    hostile = Hostile(node)
    file = {"worker": 0, "n": 1, "size": 5_000, "finished": False}

    def faults() -> str:
        node.pull().round()
        assert not list(node.world.home.journal.rglob("*.log")), "nothing that was not checked is kept"
        return node.node.fault

    try:
        hostile.lists(file | {"worker": "../../x"})
        assert "cannot be read" in faults()
        for wrong in ({"worker": -1}, {"n": 0}, {"size": -5}, {"size": 1 << 50}):
            hostile.lists(file | wrong)
            assert "not one of this node's journal" in faults()
        hostile.lists(file, file)
        assert "not one of this node's journal" in faults()
        hostile.lists(file, node="n1")
        assert "not one of this node's journal" in faults()
        hostile.says("/v1/journal", b"{}", length=1 << 40)
        assert "length" in faults()
        hostile.answers["/v1/journal"] = b"HTTP/1.1 200 ok\r\ntransfer-encoding: chunked\r\n\r\n"
        assert "length" in faults()
        hostile.says("/v1/journal", b"{", length=100)
        assert "does not answer" in faults() or "cannot be read" in faults()
        hostile.lists(file)
        hostile.says("/v1/journal/0-1", b"\0" * 5_000)
        assert "does not start as a journal file" in faults()
        # A journal of another node, as it is: its header says so.
        other = make_node(tmp_path, name="edge-2", world=node.world)
        other.write([decision("ann")])
        hostile.says("/v1/journal/0-1", (other.folder / "0-1.log").read_bytes())
        assert "it says that it is edge-2/0-1" in faults()
        # One byte changed.
        node.write([decision("ann"), decision("bob")])
        content = bytearray((node.folder / "0-1.log").read_bytes())
        content[-200] ^= 1
        hostile.says("/v1/journal/0-1", bytes(content))
        assert "does not continue the chain" in faults()
    finally:
        hostile.end()
        node.end()
