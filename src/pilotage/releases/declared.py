"""What a build is given: the declaration, its files, the contract, the rows that fit it; and its model in a box."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pilotage.contracts.infer import infer_contract
from pilotage.contracts.model import DataContract
from pilotage.contracts.odcs import from_odcs
from pilotage.contracts.purposes import require_purpose
from pilotage.enrichment.checking import require_sources
from pilotage.errors import InputError
from pilotage.releases.code_map import check_code_map, check_inputs
from pilotage.releases.data import PilotRows, read_rows
from pilotage.releases.evaluating import read_slices
from pilotage.releases.pilot_model import PilotModel
from pilotage.releases.remote_pilot import RemotePilot, declared_remote
from pilotage.runtimes.model import ServingSpec
from pilotage.runtimes.rules import read_rules
from pilotage.systems.model import AISystem, Pilot

__all__ = ["Declared", "contract_of", "given_contract", "opening", "read_declared", "rules_of", "serving_of"]


@dataclass(frozen=True, kw_only=True)
class Declared:
    """What the build is given: the declaration, its files, the contract, the rows that fit it, the rules file."""

    system: AISystem
    artefact: Path
    data: Path
    contract: DataContract
    rows: PilotRows
    rules: bytes


def given_contract(folder: Path, system: AISystem) -> DataContract:
    """The contract that is declared, or else inferred from the data. Raises InputError."""
    pilot = system.pilot
    if system.contract:
        return from_odcs((folder / system.contract).read_text(encoding="utf-8"))
    return infer_contract(
        folder / pilot.data,
        name=system.id,
        target=pilot.target,
        subject=pilot.subject,
        ignore=list(dict.fromkeys([*pilot.ignore, *pilot.prohibited])),
        personal=pilot.personal,
        protected=list(dict.fromkeys([*pilot.protected, *pilot.prohibited])),
        categorical=pilot.categorical,
    )


def contract_of(folder: Path, system: AISystem) -> DataContract:
    """The contract that is given, or else inferred from the data; fit for a release. Raises InputError."""
    contract = given_contract(folder, system)
    check_code_map(system, contract)
    check_inputs(system, contract, ())
    _check_subject(contract)
    require_purpose(contract, system.data_use)
    require_sources(contract)
    return contract


def serving_of(system: AISystem, contract: DataContract) -> ServingSpec:
    """How the release answers, as far as it is declared; what serves is chosen later."""
    return ServingSpec(
        runtime="onnx",
        artefact="model.onnx",
        names=[column.name for column in contract.features],
        kinds=[column.type for column in contract.features],
        texts={
            column.name: [str(value) for value in column.categories or ()]
            for column in contract.features
            if column.type == "string"
        },
        positive=system.pilot.positive,
        threshold=system.answer.threshold,
        adverse=system.answer.adverse,
        favourable=system.answer.favourable,
        tolerance=system.answer.tolerance,
    )


@contextmanager
def opening(artefact: Path, serving: ServingSpec, declared: Pilot) -> Iterator[Callable[[], PilotModel | RemotePilot]]:
    """Open the artefact in its box meanwhile: what is yielded waits for it. The box ends with the context.

    A remote model is not opened but asked.
    """
    if declared.remote.url:
        remote = RemotePilot(declared_remote(serving, declared.remote), declared.remote.calls)
        try:
            yield lambda: remote
        finally:
            remote.close()
        return
    with ThreadPoolExecutor(1) as pool:
        model = pool.submit(
            PilotModel,
            artefact,
            names=serving.names,
            kinds=serving.kinds,
            positive=serving.positive,
            prohibited=declared.prohibited,
        )
        try:
            yield model.result
        finally:
            if model.exception() is None:
                model.result().close()


def rules_of(folder: Path, system: AISystem, contract: DataContract) -> bytes:
    """The rules file, read and checked against the contract; nothing when none is declared. Raises InputError."""
    if not system.serving.rules:
        return b""
    content = (folder / system.serving.rules).read_bytes()
    read_rules(content, contract, (system.answer.adverse, system.answer.favourable), system.serving.rules)
    return content


def read_declared(folder: Path, system: AISystem, contract: DataContract, rules: bytes) -> Declared:
    """All of it, with the rows read and split. Raises InputError."""
    pilot = system.pilot
    rows = read_rows(
        folder / pilot.data,
        contract,
        target=pilot.target,
        positive=pilot.positive,
        slices=read_slices(system),
        share=pilot.holdout,
        seed=pilot.seed,
    )
    return Declared(
        system=system,
        artefact=folder / pilot.artefact,
        data=folder / pilot.data,
        contract=contract,
        rows=rows,
        rules=rules,
    )


def _check_subject(contract: DataContract) -> None:
    """A person's data without a name for the person could never be erased. Raises InputError."""
    personal = [column.name for column in contract.features if column.personal]
    if personal and not contract.subject:
        raise InputError(
            "the data contract has personal data and names no subject",
            got="personal: " + ", ".join(personal),
            expected="a column that identifies the person",
            mend="name it as `pilot.subject` in pilotage.yaml",
            code="no_subject",
        )
