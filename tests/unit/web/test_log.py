"""The log over HTTP: what C2SP clients read, who may, what is cached, and the door for cosignatures."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from pilotage.access.model import PERMISSIONS, ROLES
from pilotage.ledger import tiles
from pilotage.ledger.cosignatures import WitnessKey
from pilotage.ledger.cosigned import COSIGNED
from pilotage.ledger.merkle import leaf_hash
from pilotage.ledger.notes import Signer, parse_checkpoint
from pilotage.ledger.outside import Outside, Receipt
from pilotage.ledger.proofs import require_cosignature
from pilotage.web.log import TABLE
from pilotage.wiring.audit import verify
from tests.console.client import TestClient
from tests.console.world import ConsoleWorld

KEY = WitnessKey("example.org/w", Ed25519PrivateKey.from_private_bytes(bytes(32)))
DOCS = Path(__file__).parents[3] / "docs" / "reference" / "api.md"


@pytest.fixture
def witness(world: ConsoleWorld, client: TestClient) -> Iterator[TestClient]:
    """A witness by token; what it leaves behind is removed."""
    client.headers["authorization"] = f"Bearer {world.token('witness')}"
    yield client
    for path in (world.installation.home.ledger / COSIGNED).glob("*"):
        path.unlink()


@pytest.fixture
def size(world: ConsoleWorld) -> int:
    return parse_checkpoint(world.installation.ledger().checkpoint(), [vkey(world)]).size


def vkey(world: ConsoleWorld) -> str:
    return Signer(world.installation.keyring.origin, world.installation.keyring.signing).vkey()


def cosigned(client: TestClient, at: int | None = None) -> str:
    text = client.get("/log/checkpoint").text
    bare = text.partition("\n\n")[0] + "\n\n" + text.partition("\n\n")[2].split("\n")[0] + "\n"
    return bare + KEY.cosign(bare, int(time.time()) if at is None else at)


def test_the_checkpoint_is_text_and_never_cached(world: ConsoleWorld, witness: TestClient) -> None:
    reply = witness.get("/log/checkpoint")
    assert (reply.status_code, reply.text) == (200, world.installation.ledger().checkpoint())
    assert reply.headers["content-type"] == "text/plain; charset=utf-8"
    assert reply.headers["cache-control"] == "no-store"


def test_a_partial_tile_is_bytes_of_its_width(world: ConsoleWorld, witness: TestClient, size: int) -> None:
    reply = witness.get(f"/log/tile/0/000.p/{size}")
    assert reply.status_code == 200 and len(reply.content) == 32 * size
    assert reply.headers["content-type"] == "application/octet-stream"
    assert reply.headers["cache-control"] == "private, max-age=60"
    assert witness.get("/log/tile/0/000.p/3").content == reply.content[:96], "narrower ones are cut from it"
    folder = world.installation.home.ledger
    assert reply.content == b"".join(leaf_hash(entry) for entry in tiles.read_entries(folder, 0, size))


def test_a_full_tile_is_kept_for_ever(
    world: ConsoleWorld, witness: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pilotage.web.log.published_tile", lambda *given: bytes(32 * given[3]))
    reply = witness.get("/log/tile/0/x001/000")
    assert len(reply.content) == 32 * 256
    assert reply.headers["cache-control"] == "private, max-age=31536000, immutable"


@pytest.mark.parametrize(
    "name",
    [
        "0/001",
        "0/000",
        "1/000.p/1",
        "0/000.p/0",
        "0/000.p/256",
        "0/000.p/999",
        "0/000.p/03",
        "0/0",
        "0/x000/000.p/1",
        "00/000.p/1",
        "64x/000",
        "0/000.p/",
        "0/٠٠٠.p/1",
        "entries/%2e%2e/%2e%2e/checkpoint",
        "..%2f..%2fkeyring.json",
        "0/..%2f..%2f..%2f..%2fkeyring.json",
        "%2fetc%2fpasswd",
        "0/" + "x001/" * 2_000 + "000",
        "0/000.p/1%00",
        "99/x999/x999/x999/x999/x999/999",
    ],
)
def test_whatever_is_no_tile_of_this_tree_is_not_there(witness: TestClient, name: str) -> None:
    reply = witness.get(f"/log/tile/{name}")
    assert reply.status_code == 404 and reply.json()["error"]["code"] == "not_found"


def test_who_may_read_what(world: ConsoleWorld, client: TestClient, size: int) -> None:
    bundle, tile = f"/log/tile/entries/000.p/{size}", f"/log/tile/0/000.p/{size}"
    for path in ("/log/checkpoint", tile, bundle):
        assert client.get(path).status_code == 401
    client.headers["authorization"] = f"Bearer {world.token('witness')}"
    assert [client.get(path).status_code for path in ("/log/checkpoint", tile, bundle)] == [200, 200, 403]
    assert client.get("/api/v1/decisions").status_code == 403
    client.headers["authorization"] = f"Bearer {world.token('auditor')}"
    folder = world.installation.home.ledger
    assert client.get(bundle).content == tiles.pack_entries(list(tiles.read_entries(folder, 0, size)))
    assert client.post("/log/cosignatures", json={"vkey": "v", "note": "n"}).status_code == 403


def test_a_witness_sees_hashes_and_nothing_else() -> None:
    assert PERMISSIONS["witness"] == {"log.read", "log.cosign"}
    assert [role for role in ROLES if "log.cosign" in PERMISSIONS[role]] == ["witness"]


def test_a_cosignature_is_kept_shown_verified_and_proves(world: ConsoleWorld, witness: TestClient) -> None:
    note, ledger = cosigned(witness), world.installation.ledger()
    sent = witness.post("/log/cosignatures", json={"vkey": KEY.vkey(), "note": note})
    assert sent.status_code == 201, sent.text
    assert witness.get("/log/checkpoint").text == note == ledger.checkpoint_with_cosignatures()
    report = verify(world.installation, outside=Outside(witnesses=[KEY.vkey()]))
    assert report.ok, report.faults
    assert [(each.witness, each.size, each.known) for each in report.witnessed] == [
        ("example.org/w", report.size, True)
    ]
    proof = ledger.prove(ledger.decisions(limit=1)[0].id)
    assert require_cosignature(proof, KEY.vkey()).witness == "example.org/w"


def test_a_cosignature_that_does_not_hold_is_not_kept(world: ConsoleWorld, witness: TestClient) -> None:
    note = cosigned(witness)
    bare = note[: note.rstrip("\n").rindex("\n") + 1]
    stranger = Signer(world.installation.keyring.origin, Ed25519PrivateKey.from_private_bytes(bytes(32)))
    other = stranger.sign_checkpoint(world.installation.keyring.origin, 1, bytes(32))
    own = Signer(world.installation.keyring.origin, world.installation.keyring.signing)
    foreign_tree = own.sign_checkpoint(world.installation.keyring.origin, 1, bytes(32))
    cases = {
        "no cosignature": (KEY.vkey(), bare, 422),
        "another log's": (KEY.vkey(), other + KEY.cosign(other, 1), 422),
        "no tree of this log": (KEY.vkey(), foreign_tree + KEY.cosign(foreign_tree, 1), 404),
        "from the future": (KEY.vkey(), cosigned(witness, int(time.time()) + 4_000), 422),
        "the log's own key": (vkey(world), note, 422),
        "one more line": (KEY.vkey(), note + KEY.cosign(bare, 5), 422),
        "carriage returns": (KEY.vkey(), note.replace("\n", "\r\n"), 422),
        "much too long": (KEY.vkey(), note + "x" * 9_000, 422),
    }
    for name, (key, text, status) in cases.items():
        reply = witness.post("/log/cosignatures", json={"vkey": key, "note": text})
        assert reply.status_code == status, (name, reply.text)
    assert witness.post("/log/cosignatures", json={"vkey": 1}).status_code == 422
    assert not list((world.installation.home.ledger / COSIGNED).glob("*.json"))


def test_a_witness_does_not_go_back(world: ConsoleWorld, witness: TestClient) -> None:
    now = int(time.time())
    assert (
        witness.post("/log/cosignatures", json={"vkey": KEY.vkey(), "note": cosigned(witness, now)}).status_code == 201
    )
    old = witness.post("/log/cosignatures", json={"vkey": KEY.vkey(), "note": cosigned(witness, now - 60)})
    assert (old.status_code, old.json()["error"]["code"]) == (409, "conflict")


def test_a_changed_cosignature_is_a_fault(world: ConsoleWorld, witness: TestClient) -> None:
    assert witness.post("/log/cosignatures", json={"vkey": KEY.vkey(), "note": cosigned(witness)}).status_code == 201
    (path,) = (world.installation.home.ledger / COSIGNED).glob("*.json")
    content = path.read_bytes()
    for at in range(0, len(content), 7):
        path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        report = verify(world.installation) if at % 70 == 0 else None
        assert report is None or any(str(path) in fault.place for fault in report.faults), at
        assert not world.installation.ledger().cosigned()
    for other in (content.replace(b'{"vkey"', b'{"vkey":"x","vkey"'), content + b"\n", content.replace(b",", b", ", 1)):
        path.write_bytes(other)
        assert not world.installation.ledger().cosigned()
    path.write_bytes(content)
    assert verify(world.installation).ok


def test_evidence_from_outside_is_compared(world: ConsoleWorld, witness: TestClient) -> None:
    ledger = world.installation.ledger()
    kept = ledger.decisions(limit=3)
    receipts = [Receipt(id=row.id, leaf=leaf_hash(ledger.entry(row.leaf)).hex()) for row in kept]
    assert verify(world.installation, outside=Outside(receipts=receipts, checkpoints=[ledger.checkpoint()])).ok
    wrong = [Receipt(id=kept[0].id, leaf="0" * 64), Receipt(id="0" * 36, leaf="1" * 64)]
    own = Signer(world.installation.keyring.origin, world.installation.keyring.signing)
    notes = [own.sign_checkpoint(own.name, size, bytes(32)) for size in (1, 10_000)]
    report = verify(world.installation, outside=Outside(receipts=wrong, checkpoints=notes, witnesses=[KEY.vkey()]))
    assert [fault.place for fault in report.faults] == [
        "held checkpoint of size 1",
        "held checkpoint of size 10000",
        "witness example.org/w",
        f"receipt {kept[0].id}",
        f"receipt {'0' * 36}",
    ]


def test_the_api_page_lists_the_log() -> None:
    written = re.findall(
        r"^\| `([A-Z]+) (/log/\S*)` \| ([^|]+) \|", DOCS.read_text(encoding="utf-8"), flags=re.MULTILINE
    )
    assert [(method, path, permission.strip()) for method, path, permission in written] == list(TABLE)
