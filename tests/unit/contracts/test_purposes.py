"""A column is not used against its purpose, and nothing is built that does."""

from __future__ import annotations

import pytest

from pilotage.contracts.model import Column, DataContract
from pilotage.contracts.purposes import against_purpose, require_purpose
from pilotage.errors import InputError, Refused


def contract(role: str = "feature") -> DataContract:
    free = Column(name="free", type="number")
    return DataContract(
        name="c",
        version="1",
        columns=(free, Column(name="bound", type="number", role=role, purposes=("credit-risk", "fraud"))),  # type: ignore[arg-type]
    )


@pytest.mark.parametrize(
    ("declared", "refused"),
    [(["credit-risk"], False), (["fraud", "credit-risk"], False), (["marketing"], True), ([], True)],
)
def test_every_declared_purpose_must_be_allowed(declared: list[str], refused: bool) -> None:
    assert bool(against_purpose(contract(), declared)) is refused
    assert against_purpose(contract("ignored"), declared) == []


def test_the_error_names_column_purpose_and_mend() -> None:
    with pytest.raises(Refused) as caught:
        require_purpose(contract("target"), ["credit-risk", "marketing"])
    assert caught.value.code == "against_purpose"
    assert "bound (target) may not be used for marketing" in str(caught.value) and "data_use" in caught.value.mend


def test_purposes_are_plain_names() -> None:
    with pytest.raises(InputError, match="not valid"):
        DataContract(name="c", version="1", columns=(Column(name="a", type="number", purposes=("Any Thing",)),))
