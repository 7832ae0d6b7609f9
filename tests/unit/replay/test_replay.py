"""Replay: bit-exact where nothing changed, and the right words where something did."""

from __future__ import annotations

import math
import shutil
import socket
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pilotage.contracts.compile import compile_contract
from pilotage.errors import NotFound
from pilotage.ledger.keyring import Keyring
from pilotage.ledger.queries import DecisionRow, RecordedDecision
from pilotage.ledger.record import Payload, Plain, Times
from pilotage.releases.load import LoadedRelease
from pilotage.releases.sealed_rows import rows_key
from pilotage.replay.reasons import explain_recorded
from pilotage.replay.service import replay, replay_many
from pilotage.runtimes.environment import environment_digest
from pilotage.runtimes.model import Remote
from pilotage.runtimes.open import open_runtime
from pilotage.storage.home import Home
from pilotage.testing.releases import COLUMNS, make_release, make_rows

HERE = environment_digest()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return Home(root=tmp_path_factory.mktemp("home")).create()


@pytest.fixture(scope="module")
def release(home: Home) -> LoadedRelease:
    return make_release(home)


def _row(values: tuple[Any, ...], **changed: Any) -> bytes:
    names = [column.name for column in COLUMNS if column.role == "feature"]
    return msgspec.json.encode({"customer": "c-1", **dict(zip(names, values, strict=True)), **changed})


def _recorded(loaded: LoadedRelease, payload: Payload | None, **changed: Any) -> RecordedDecision:
    facts: dict[str, Any] = {
        "id": "d-1",
        "request_id": "r-1",
        "system": "example",
        "release": loaded.digest,
        "environment": HERE,
        "contract": loaded.contract.digest(),
        "policy": "",
        "plan": "",
        "stage": "internal",
        "outcome": "answered",
        "times": Times(received=1),
        "commitment": "",
    }
    plain = Plain(**(facts | changed))
    blank = {name: 0 if kind == "int" else "" for name, kind in DecisionRow.__annotations__.items()}
    row = DecisionRow(**(blank | {"id": plain.id, "outcome": plain.outcome}))
    return RecordedDecision(
        row=row, plain=plain, entry=b"", payload=payload, unreadable="" if payload is not None else "erased"
    )


def _answered(release: LoadedRelease, values: tuple[Any, ...], *, nudge: float = 0.0) -> Payload:
    score = open_runtime(release.folder, release.serving).score(values) + nudge
    answer = {"score": score, "label": release.serving.label(score)}
    return Payload(request=_row(values), names=release.serving.names, features=list(values), answer=answer, score=score)


def test_many_decisions_replay_to_the_last_bit_in_one_process(home: Home, release: LoadedRelease) -> None:
    decisions = [_recorded(release, _answered(release, values)) for values in make_rows(COLUMNS, 50, seed=3)]
    verdicts = replay_many(decisions, home.releases)
    assert {verdict.verdict for verdict in verdicts} == {"bit_exact"}
    assert all(verdict.recorded == verdict.replayed for verdict in verdicts)


def test_each_kind_of_difference_has_its_verdict(home: Home, release: LoadedRelease) -> None:
    values = make_rows(COLUMNS, 1, seed=5)[0]
    plain = _answered(release, values)
    assert plain.score is not None
    other = msgspec.structs.replace(plain, request=_row(values, late_payments=(values[1] + 1) % 12))
    one_bit = math.nextafter(plain.score, 1.0)
    decisions = [
        _recorded(release, msgspec.structs.replace(plain, score=one_bit)),
        _recorded(release, msgspec.structs.replace(plain, score=plain.score + 1e-6)),
        _recorded(release, msgspec.structs.replace(plain, answer={**plain.answer, "label": "somebody else's"})),
        _recorded(release, other),
        _recorded(release, None),
        _recorded(release, plain, release="sha256:" + "0" * 64),
        _recorded(release, plain, environment="sha256:" + "1" * 64),
        _recorded(release, plain, contract="sha256:" + "2" * 64),
        _recorded(release, plain, outcome="review"),
        _recorded(release, msgspec.structs.replace(plain, features=[1.0])),
        _recorded(release, plain),
        _recorded(release, plain, outcome="fallback"),
    ]
    verdicts = replay_many(decisions, home.releases)
    assert [verdict.verdict for verdict in verdicts] == [
        "within_tolerance",
        "differs",
        "differs",
        "differs",
        *["unreplayable"] * 6,
        "bit_exact",
        "bit_exact",
    ]
    words = ["apart", "declared", "label", "features", "erased", "missing", "environment", "contract", "review"]
    for verdict, word in zip(verdicts, words, strict=False):
        assert word in verdict.reason, verdict
    assert HERE in verdicts[6].reason
    assert "1" * 64 in verdicts[6].reason


def test_a_rejected_row_is_rejected_again_for_the_same_faults(home: Home, release: LoadedRelease) -> None:
    values = make_rows(COLUMNS, 1, seed=6)[0]
    raw = _row(values, late_payments=99, home="boat")
    found = compile_contract(release.contract).check(b'{"inputs":[' + _row(values) + b"," + raw + b"]}").rows[1]
    payload = Payload(request=raw, faults=[msgspec.to_builtins(fault) for fault in found.faults])
    assert len(payload.faults) == 2
    same = _recorded(release, payload, outcome="rejected")
    fewer = _recorded(release, msgspec.structs.replace(payload, faults=payload.faults[:1]), outcome="rejected")
    fine = _recorded(release, msgspec.structs.replace(payload, request=_row(values)), outcome="rejected")
    verdicts = replay_many([same, fewer, fine], home.releases)
    assert [verdict.verdict for verdict in verdicts] == ["bit_exact", "differs", "differs"]


def test_a_damaged_release_is_named_and_not_used(tmp_path: Path, home: Home, release: LoadedRelease) -> None:
    damaged = tmp_path / "releases" / release.folder.name
    shutil.copytree(release.folder, damaged)
    damaged.chmod(0o700)
    model = damaged / "model.onnx"
    content = model.read_bytes()
    model.unlink()
    model.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    decision = _recorded(release, _answered(release, make_rows(COLUMNS, 1)[0]))
    verdict = replay(decision, tmp_path / "releases")
    assert verdict.verdict == "unreplayable"
    assert "model.onnx" in verdict.reason


def test_what_a_remote_model_answered_is_asked_of_nobody_again(home: Home, release: LoadedRelease) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.setblocking(False)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        remote = make_release(home, remote=Remote(url=url, model="late", output="score"))
        payload = _answered(release, make_rows(COLUMNS, 1)[0])
        verdict = replay(_recorded(remote, payload), home.releases)
        assert verdict.verdict == "unreplayable" and "remote model" in verdict.reason
        with pytest.raises(BlockingIOError):
            listener.accept()


def test_a_recorded_decision_is_explained_by_its_release(home: Home, release: LoadedRelease) -> None:
    rows = make_rows(COLUMNS, 50, seed=8)
    payloads = [_answered(release, values) for values in rows]
    adverse = next(each for each in payloads if each.answer["label"] == "refer")
    explanation = explain_recorded(_recorded(release, adverse), home.releases)
    assert explanation.label == "refer"
    assert explanation.score == pytest.approx(adverse.score, abs=1e-12)
    assert explanation.reasons


def test_where_nothing_can_be_followed_the_releases_own_runtime_is_asked(tmp_path: Path) -> None:
    home = Home(root=tmp_path).create()
    sampling = make_release(home, sampling=True)
    payloads = [_answered(sampling, values) for values in make_rows(COLUMNS, 50, seed=8)]
    adverse = next(each for each in payloads if each.answer["label"] == "refer")
    with pytest.raises(NotFound, match="encrypted"):
        explain_recorded(_recorded(sampling, adverse), home.releases)
    key = rows_key(Keyring.create_or_open(home.keyring))
    told = explain_recorded(_recorded(sampling, adverse), home.releases, key)
    assert (told.method, told.exact, told.unit) == ("sampling", False, "probability")
    assert told.base + sum(told.attributions.values()) == pytest.approx(told.score, abs=0.05)
    assert set(told.standard_errors) == set(told.attributions)
    assert told.reasons


def test_the_recorded_answer_says_whether_it_was_adverse(home: Home, release: LoadedRelease) -> None:
    payloads = [_answered(release, values) for values in make_rows(COLUMNS, 50, seed=8)]
    adverse = next(each for each in payloads if each.answer["label"] == "refer")
    other = msgspec.structs.replace(adverse, answer={**adverse.answer, "label": release.serving.favourable})
    told = explain_recorded(_recorded(release, other), home.releases)
    assert (told.label, told.reasons, told.counterfactual) == ("approve", [], "")
