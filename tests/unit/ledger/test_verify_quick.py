"""The quick check of verification says yes to what is sound, and makes the very row that sealing makes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from pilotage.ledger import verify_part
from pilotage.ledger.record import Payload, Plain, Times
from pilotage.ledger.rows import Place, decision_draft, decision_values
from pilotage.ledger.verify import verify_ledger
from pilotage.ledger.verify_payloads import Key, Record
from pilotage.ledger.verify_quick import expected_values, is_usual
from tests.ledger_world import decision, make_world, rejected

TEXT = st.text(max_size=8)
NUMBER = st.integers(0, 2**40)
PLAIN = st.builds(
    Plain,
    id=TEXT,
    request_id=TEXT,
    parent=TEXT,
    trace=TEXT,
    turn=NUMBER,
    kind=st.sampled_from(["model", "human"]),
    mode=st.sampled_from(["live", "shadow"]),
    system=TEXT,
    release=TEXT,
    environment=TEXT,
    contract=TEXT,
    policy=TEXT,
    plan=TEXT,
    stage=TEXT,
    arm=TEXT,
    outcome=st.sampled_from(["answered", "review"]),
    times=st.builds(Times, received=NUMBER, contract=NUMBER, guard=NUMBER, answer=NUMBER),
    commitment=TEXT,
)
PAYLOAD = st.builds(
    Payload,
    subject=TEXT,
    score=st.none() | st.floats(),
    answer=st.dictionaries(st.sampled_from(["label", "score"]), st.none() | TEXT | st.floats() | st.booleans()),
)


@given(PLAIN, PAYLOAD, st.sampled_from(["", "ab12"]), st.sampled_from(["n1/0-7", "outbox", "a/b/1-2"]))
def test_the_row_is_the_one_that_sealing_makes(leaf: Plain, payload: Payload, pseudonym: str, origin: str) -> None:
    where: dict[str, Any] = {"offset": 8, "length": 90, "key_id": "0f" * 16}
    record = Record(id=leaf.id, origin=origin, nonce=b"", ciphertext=b"", path="segments/s", **where)
    key = Key(key_id="0f" * 16, lookup="", aead=AESGCM(bytes(32)), personal=bool(pseudonym), pseudonym=pseudonym)
    place = Place(leaf=5, segment="segments/s", origin=origin, **where)
    made = expected_values(5, leaf, payload, record, key) if is_usual(msgspec.json.encode(leaf), leaf) else None
    assert made is None or made == decision_values(decision_draft(leaf, payload), pseudonym, place)


@given(PLAIN, st.sampled_from(["request_id", "system", "release", "stage", "arm", "trace", "parent"]))
def test_a_text_that_the_index_writes_otherwise_is_left_to_the_close_look(leaf: Plain, name: str) -> None:
    changed = Plain(**{field: getattr(leaf, field) for field in Plain.__struct_fields__} | {name: "a\0b"})
    assert not is_usual(msgspec.json.encode(changed), changed)
    texts = [value for value in map(leaf.__getattribute__, Plain.__struct_fields__) if isinstance(value, str)]
    assert is_usual(msgspec.json.encode(leaf), leaf) == (not any("\0" in t or "\\u0000" in t for t in texts))


def test_a_label_that_the_index_writes_otherwise_is_left_to_the_close_look() -> None:
    leaf = Plain(
        id="a", request_id="", system="s", release="", environment="", contract="", policy="", plan="", stage="",
        outcome="answered", times=Times(received=1), commitment="",
    )  # fmt: skip
    record = Record(id="a", origin="n/0-1", nonce=b"", ciphertext=b"", path="s", offset=0, length=1, key_id="0f" * 16)
    key = Key(key_id="0f" * 16, lookup="", aead=AESGCM(bytes(32)), personal=False, pseudonym="")
    assert expected_values(5, leaf, Payload(answer={"label": "a\0b"}), record, key) is None


def test_what_is_sound_needs_no_close_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[int] = []
    closely = verify_part._PartAudit._check_leaf

    def looking(self: Any, sealed: Any, *rest: Any, **more: Any) -> None:
        looked.append(sealed.index)
        closely(self, sealed, *rest, **more)

    monkeypatch.setattr(verify_part._PartAudit, "_check_leaf", looking)
    world = make_world(tmp_path)
    world.write([*(decision(f"p{n}") for n in range(20)), *(decision() for _ in range(20)), rejected("p1")])
    world.steward().seal()
    report = verify_ledger(world.home, world.ledger, world.keyring)
    assert report.ok and report.readable == report.decisions == 41
    assert len(looked) == 1, "only the one with a finding"
