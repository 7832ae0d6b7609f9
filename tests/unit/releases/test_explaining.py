"""What may be a reason, what is explained against, and what a linear form must prove."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from pilotage.contracts.model import DataContract
from pilotage.errors import InputError
from pilotage.evaluation.explainer import score_linear
from pilotage.kernel.rows import Rows
from pilotage.releases.code_map import check_code_map
from pilotage.releases.explaining import Followed, attributions, choose_backgrounds, verify_form
from pilotage.releases.stability import judge_reasons
from pilotage.storage.home import Home
from pilotage.systems.model import Reason
from pilotage.testing.releases import COLUMNS, make_release, make_rows

CONTRACT = DataContract(name="t", version="1", columns=COLUMNS, subject="customer")


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return make_release(Home(root=tmp_path_factory.mktemp("home")))


def test_what_the_contract_tags_as_protected_can_never_be_a_reason(release: Any) -> None:
    groups = [
        Reason(code="A", text="a", features=["income", "age"]),
        Reason(code="B", text="b", features=["income", "shoe_size"]),
        Reason(code="C", text="c", features=["customer"]),
    ]
    with pytest.raises(InputError) as caught:
        check_code_map(msgspec.structs.replace(release.system(), reasons=groups), CONTRACT)
    messages = [str(fault["message"]) for fault in caught.value.faults]
    assert len(messages) == 4
    for words in ("age is protected", "income is in A", "shoe_size is no feature", "customer is no feature"):
        assert any(words in message for message in messages)
    check_code_map(release.system(), CONTRACT)


def test_the_background_is_the_same_whatever_the_order_of_rows() -> None:
    rows = make_rows(COLUMNS, 400)
    given = Rows.of(rows, len(COLUMNS))
    shuffled = given[np.random.default_rng(1).permutation(400)]
    [first] = choose_backgrounds(given, 1)
    assert [first] == choose_backgrounds(shuffled, 1)
    assert len(first) == 100
    assert [first] != choose_backgrounds(given, 2)
    parts = choose_backgrounds(given, 1, most=9)
    assert parts[0] == first and len(parts) == 4
    every = [row for part in parts for row in part]
    assert sorted(map(str, every)) == sorted(str(list(row)) for row in rows), "each row is in one of them"


def test_a_form_that_is_off_by_a_hair_is_not_exact(release: Any) -> None:
    form, names = release.explainer().form, release.serving.names
    rows = make_rows(COLUMNS, 300, seed=2)
    own = score_linear(form, names, rows)
    assert verify_form(form, names, rows, own)["exact"]
    shifted = msgspec.structs.replace(form, intercept=form.intercept + 1e-7)
    assert not verify_form(shifted, names, rows, own)["exact"]
    own[7] += 2e-9
    assert not verify_form(form, names, rows, own)["exact"]


def test_stability_is_whole_for_the_same_background_and_less_for_a_strange_one(release: Any) -> None:
    rows = make_rows(COLUMNS, 300, seed=3)
    explainer = release.explainer()
    scores = score_linear(explainer.form, explainer.names, rows)
    adverse = [row for row, score in zip(rows, scores, strict=True) if score >= explainer.threshold]
    followed = Followed(form=explainer.form, facts={})
    attribute = attributions(followed, lambda _: scores, explainer.names, 1)
    same = judge_reasons(explainer, attribute, [release.background(), release.background()], adverse)
    assert same is not None
    assert same["same_reasons"] == same["same_order"] == same["same_first"] == 1.0
    assert same["rows"] == len(adverse)
    assert same["complete"] < 1.0
    assert set(same["withheld"]) == {"age"}
    strange = [[400_000.0, 0.0, "rent", 20.0]]
    judged = judge_reasons(explainer, attribute, [release.background(), release.background(), strange], adverse)
    assert judged is not None
    assert judged["same_reasons"] < 1.0
    assert judged["same_first"] >= judged["same_order"]
    assert judge_reasons(explainer, attribute, [release.background()], adverse) is None
    assert judge_reasons(explainer, attribute, [release.background(), strange], []) is None
