"""Tensors become rows by name, exactly as written; everything that is wrong with them is told at once."""

import pytest

from pilotage.contracts.faults import TooManyRows
from pilotage.contracts.model import Column, DataContract
from pilotage.gateway.tensors import DATATYPES, Tensor, TensorsInvalid, datatype_of, read_rows

MIXED = DataContract(
    name="mixed",
    version="1",
    subject="who",
    columns=(
        Column(name="who", type="string", role="subject"),
        Column(name="income", type="number"),
        Column(name="late", type="integer"),
        Column(name="home", type="string"),
        Column(name="member", type="boolean"),
    ),
)
NUMBERS = DataContract(
    name="numbers",
    version="1",
    subject="who",
    columns=(
        Column(name="who", type="string", role="subject"),
        *(Column(name=name, type="number") for name in ("b", "a", "c")),
    ),
)


def tensor(name, data, datatype="FP64", shape=None):
    return Tensor(name=name, datatype=datatype, shape=shape or [len(data)], data=data)


def rows(*tensors, contract=MIXED, most=100):
    return read_rows(tensors, contract, most)


def faults(*tensors, contract=MIXED):
    with pytest.raises(TensorsInvalid) as caught:
        rows(*tensors, contract=contract)
    assert caught.value.status == 400
    return {(fault["path"], fault["message"]) for fault in caught.value.faults}


def test_a_tensor_a_column_becomes_rows_by_name():
    made = rows(
        tensor("home", ["rent", "own"], "BYTES"),
        tensor("income", [[0.1], [None]], "FP32", [2, 1]),
        tensor("late", [3, -1], "INT8"),
        tensor("member", [True, False], "BOOL", [2, 1]),
        tensor("who", [7, 8], "UINT64"),
    )
    assert made == [
        {"home": "rent", "income": 0.1, "late": 3, "member": True, "who": 7},
        {"home": "own", "income": None, "late": -1, "member": False, "who": 8},
    ]


@pytest.mark.parametrize("data", [[1, 2.5, 3, 4, 5, None], [[1, 2.5, 3], [4, 5, None]]])
def test_one_tensor_holds_all_features_in_the_order_of_the_contract(data):
    made = rows(tensor("input-0", data, "FP64", [2, 3]), tensor("who", ["x", "y"], "BYTES"), contract=NUMBERS)
    assert made == [{"b": 1, "a": 2.5, "c": 3, "who": "x"}, {"b": 4, "a": 5, "c": None, "who": "y"}]


def test_a_name_that_is_no_column_stays_for_the_contract_to_fault():
    assert rows(tensor("nosuch", [1.0])) == [{"nosuch": 1.0}]


@pytest.mark.parametrize(
    ("wrong", "path"),
    [
        (tensor("income", [1.0], "FLOAT"), "inputs[0].datatype"),
        (tensor("income", [1.0], shape=[0]), "inputs[0].shape"),
        (tensor("income", [1.0], shape=[-1]), "inputs[0].shape"),
        (tensor("income", [1.0], shape=[1, 1, 1]), "inputs[0].shape"),
        (Tensor(name="income", datatype="FP64", shape=[], data=[1.0]), "inputs[0].shape"),
        (tensor("income", [1.0, 2.0], shape=[1, 2]), "inputs[0].shape"),
        (tensor("all", [1.0] * 4, shape=[1, 4]), "inputs[0].shape"),
        (tensor("income", [1.0], shape=[2]), "inputs[0].data"),
        (tensor("income", [[1.0]], shape=[1]), "inputs[0].data"),
        (tensor("income", [[1.0], 2.0], shape=[2, 1]), "inputs[0].data"),
        (tensor("income", [[1.0, 2.0], [3.0]], shape=[2, 1]), "inputs[0].data"),
        (tensor("income", [[[1.0]], [2.0]], shape=[2, 1]), "inputs[0].data"),
        (tensor("income", [1.0, "2"]), "inputs[0].data[1]"),
        (tensor("income", [True]), "inputs[0].data[0]"),
        (tensor("income", [{}]), "inputs[0].data[0]"),
        (tensor("late", [1, 1.5], "INT64"), "inputs[0].data[1]"),
        (tensor("late", [128], "INT8"), "inputs[0].data[0]"),
        (tensor("late", [-1], "UINT8"), "inputs[0].data[0]"),
        (tensor("late", [True], "INT8"), "inputs[0].data[0]"),
        (tensor("member", [1], "BOOL"), "inputs[0].data[0]"),
        (tensor("home", [1], "BYTES"), "inputs[0].data[0]"),
    ],
)
def test_what_is_wrong_with_a_tensor_is_told_by_its_place(wrong, path):
    assert {place for place, _ in faults(wrong)} == {path}


def test_a_matrix_must_have_the_features_and_only_numbers():
    assert {place for place, _ in faults(tensor("all", [1, 2], shape=[1, 2]), contract=NUMBERS)} == {"inputs[0].shape"}
    text = tensor("all", ["1", "2", "3"], "BYTES", [1, 3])
    assert {place for place, _ in faults(text, contract=NUMBERS)} == {"inputs[0].datatype"}


def test_all_faults_are_told_at_once_with_those_of_the_tensors_together():
    told = faults(tensor("late", [1], "INT9"), tensor("income", ["x"]), tensor("income", [1.0, 2.0]))
    assert {place for place, _ in told} == {"inputs[0].datatype", "inputs[1].data[0]", "inputs"}
    assert {"two tensors share a name", "the tensors differ in rows"} <= {message for _, message in told}
    assert faults() == {("inputs", "there is no tensor")}
    both = faults(tensor("all", [1, 2, 3], shape=[1, 3]), tensor("a", [1]), contract=NUMBERS)
    assert both == {("inputs", "features are in a tensor of their own and in one of all")}


def test_too_many_rows_are_refused_before_any_is_made():
    with pytest.raises(TooManyRows):
        rows(tensor("income", [1.0, 2.0, 3.0]), most=2)


def test_every_column_can_be_sent_as_the_datatype_that_the_metadata_names():
    assert [datatype_of(column) for column in MIXED.columns] == ["BYTES", "FP64", "INT64", "BYTES", "BOOL"]
    assert {datatype_of(column) for column in MIXED.columns} <= set(DATATYPES)
