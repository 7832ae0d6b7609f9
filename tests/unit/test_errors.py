"""The error tree: what is printed, what an API answers, one class for each thing a caller may do."""

from __future__ import annotations

import inspect

import pytest

from pilotage import errors
from pilotage.errors import Forbidden, InputError, MissingExtra, NotFound, PilotageError

CLASSES = [each for each in vars(errors).values() if inspect.isclass(each) and issubclass(each, PilotageError)]


def test_every_class_has_a_code_of_its_own_and_a_status() -> None:
    codes = [each.code for each in CLASSES]
    assert len(set(codes)) == len(codes) == 11
    assert all(400 <= each.status < 600 for each in CLASSES)


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    drawn = errors.__doc__ or ""
    for each in CLASSES:
        assert each.__name__ in drawn
        if each is not PilotageError:
            assert f"({each.status})" in drawn or f"(HTTP {each.status})" in drawn


def test_the_text_says_what_happened_got_expected_every_fault_and_the_mend() -> None:
    error = InputError(
        "two columns are wrong",
        got="AGE, SEX",
        expected="AGE",
        mend="remove SEX",
        faults=[{"path": "columns[1]", "message": "is not known"}],
    )
    assert str(error).splitlines() == [
        "two columns are wrong",
        "  got: AGE, SEX",
        "  expected: AGE",
        "  - columns[1]: is not known",
        "  mend: remove SEX",
    ]


def test_an_api_answer_leaves_out_what_is_absent_and_keeps_zero() -> None:
    assert NotFound("no such thing", mend="check the name").as_dict() == {
        "code": "not_found",
        "message": "no such thing",
        "mend": "check the name",
    }
    body = InputError("too few", got=0, expected=1, mend="send one").as_dict()
    assert (body["got"], body["expected"]) == ("0", "1")


def test_a_narrower_code_keeps_the_status_of_its_class() -> None:
    error = Forbidden("not by the author", mend="ask somebody else", code="four_eyes")
    assert (error.code, error.status) == ("four_eyes", 403)
    assert Forbidden.code == "forbidden", "the class is not changed"


def test_a_missing_extra_prints_the_command_that_installs_it() -> None:
    with pytest.raises(MissingExtra, match=r"pip install 'pilotage\[onnx\]'"):
        raise MissingExtra("onnxruntime", "onnx")
