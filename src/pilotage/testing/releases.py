"""Small real releases for tests: a linear model as ONNX, with contract, profile, explainer and all other files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from pilotage.contracts.enrichment import Enrichment
from pilotage.contracts.model import Column, DataContract
from pilotage.contracts.odcs import to_odcs
from pilotage.evaluation.explainer import (
    CategoryTerm,
    Explainer,
    LinearForm,
    NumberTerm,
    Range,
    contributions,
    score_linear,
)
from pilotage.kernel.canonical import canonical_json
from pilotage.kernel.digests import digest
from pilotage.kernel.rows import Rows, Value
from pilotage.ledger.keyring import Keyring
from pilotage.profiles.build import build_profile
from pilotage.releases.data import PilotRows
from pilotage.releases.data_faults import data_faults
from pilotage.releases.evaluating import evaluate, messy_block, thresholds_of
from pilotage.releases.folder import describe_files, write_folder
from pilotage.releases.linear_graph import linear_graph
from pilotage.releases.load import LoadedRelease, open_release
from pilotage.releases.model import Manifest, Origin
from pilotage.releases.sealed_rows import rows_key
from pilotage.runtimes.environment import locked_distributions, serving_environment
from pilotage.runtimes.model import Remote, ServingSpec
from pilotage.runtimes.rules import RULES
from pilotage.storage.home import Home
from pilotage.systems.model import AISystem, Answer, Owners, Pilot, Reason
from pilotage.systems.serving import ServingRules

__all__ = ["COLUMNS", "make_release", "make_rows"]

COLUMNS = (
    Column(name="customer", type="string", role="subject", personal=True),
    Column(name="income", type="number", minimum=0, maximum=500_000, nullable=True),
    Column(name="late_payments", type="integer", minimum=0, maximum=12),
    Column(name="home", type="string", categories=("rent", "own", "other")),
    Column(name="age", type="integer", minimum=18, maximum=120, protected=True, personal=True),
)
"""The columns of the release that `make_release` makes unless others are given."""

_REASONS = [
    Reason(code="LATE-PAYMENTS", text="Payments were late", features=["late_payments"]),
    Reason(code="INCOME", text="Income stated", features=["income"]),
    Reason(code="HOME", text="Kind of home", features=["home"], actionable=False),
]


def make_rows(columns: Sequence[Column], count: int, seed: int = 7) -> list[tuple[Value, ...]]:
    """Random rows of the feature columns that fit the contract; one in ten values of a nullable column is null."""
    generator = np.random.default_rng(seed)
    features = [column for column in columns if column.role == "feature"]
    return [tuple(_value(column, generator) for column in features) for _ in range(count)]


def _value(column: Column, generator: np.random.Generator) -> Value:
    if column.nullable and generator.random() < 0.1:
        return None
    if column.categories:
        return column.categories[int(generator.integers(len(column.categories)))]
    if column.type == "boolean":
        return bool(generator.integers(2))
    low, high = column.minimum or 0.0, column.maximum or 1.0
    value = float(generator.uniform(low, high))
    return float(round(value)) if column.type == "integer" else value


def _form(features: Sequence[Column]) -> LinearForm:
    """A made-up linear model: weights alternate in sign; each feature moves the log-odds by a few units."""
    terms: list[NumberTerm | CategoryTerm] = []
    for index, column in enumerate(features):
        sign = 1.0 if index % 2 else -1.0
        if column.categories:
            weights = [sign * 0.5 * place for place in range(len(column.categories))]
            terms.append(CategoryTerm(feature=column.name, categories=list(column.categories), weights=weights))
        else:
            low, high = column.minimum or 0.0, column.maximum or 1.0
            middle, spread = (low + high) / 2, (high - low) / 4 or 1.0
            terms.append(NumberTerm(feature=column.name, weight=sign, center=middle, scale=spread, fill=middle))
    return LinearForm(intercept=-0.25, terms=terms)


def make_release(
    home: Home,
    *,
    system: str = "example",
    columns: Sequence[Column] = COLUMNS,
    reasons: Sequence[Reason] | None = None,
    enrichment: Sequence[Enrichment] = (),
    threshold: float = 0.5,
    shift: float = 0.0,
    rows: int = 400,
    sampling: bool = False,
    answers: ServingRules | None = None,
    rules: bytes = b"",
    remote: Remote | None = None,
    evaluated: bool = False,
) -> LoadedRelease:
    """Make a release folder under the home and open it. `shift` moves the log-odds, so that releases differ.
    `enrichment` says which features sources bring.

    With `sampling` its reasons are sampled, as if nobody could follow the model, and its reference rows are encrypted
    under the home's keyring; else they lie there as in releases that were built before rows were encrypted.
    `answers` is its `serving:` section, `rules` its rules file. With `remote` that model answers,
    and it has no artefact. With `evaluated` it holds a whole evaluation, of outcomes drawn by its own scores.

    Nothing is registered in a database: see `releases.store.register`.
    """
    subject = next((column.name for column in columns if column.role == "subject"), "")
    contract = DataContract(
        name=system, version="1", columns=tuple(columns), subject=subject, enrichment=tuple(enrichment)
    )
    form = _form(contract.features)
    form = msgspec.structs.replace(form, intercept=form.intercept + shift)
    names = [column.name for column in contract.features]
    sample = make_rows(columns, rows)
    serving = _serving(contract, threshold)
    if remote is not None:
        serving = msgspec.structs.replace(serving, runtime="remote", artefact="", remote=remote)
    declared = _system(system, serving, list(_REASONS if reasons is None and columns is COLUMNS else reasons or ()))
    declared = msgspec.structs.replace(declared, serving=answers or ServingRules())
    background = [list(row) for row in sample[:100]]
    explainer = _explainer(form, contract, serving, declared, background)
    explainer = _sampled(explainer, background) if sampling else explainer
    policy = canonical_json(msgspec.to_builtins(serving))
    environment = serving_environment()
    scores = [float(score) for score in score_linear(form, names, sample)]
    files = {
        **({} if remote else {"model.onnx": linear_graph(form, names, serving.texts)}),
        "contract.odcs.yaml": to_odcs(contract).encode(),
        "profile.json": build_profile(contract.kinds, sample, scores).encode(),
        "evaluation.json": canonical_json(
            _evaluation(declared, contract, serving, form, sample, scores) if evaluated else {"made_for_tests": True}
        ),
        "explainer.json": canonical_json(msgspec.to_builtins(explainer)),
        "background.json": canonical_json(background),
        "serving.json": policy,
        "environment.lock": locked_distributions().encode(),
        "system.yaml": msgspec.yaml.encode(declared),
        "card.md": b"# A release made for tests\n",
        **({RULES: rules} if rules else {}),
    }
    manifest = Manifest(
        system=system,
        runtime=serving.runtime,
        contract=contract.digest(),
        policy=digest(policy),
        origin=Origin(artefact=digest(b""), data=digest(b""), environment=environment, builder="pilotage.testing"),
        files=describe_files(files),
    )
    key = rows_key(Keyring.create_or_open(home.keyring)) if sampling else None
    name, _ = write_folder(home.releases, manifest, files, key)
    return open_release(home.releases, name)


def _evaluation(
    declared: AISystem,
    contract: DataContract,
    serving: ServingSpec,
    form: LinearForm,
    sample: list[tuple[Value, ...]],
    scores: list[float],
) -> dict[str, Any]:
    """Half the rows held out, and what happened drawn by the score."""
    generator = np.random.default_rng(11)
    held_out = np.arange(len(sample)) % 2 == 0
    rows = PilotRows(
        rows=Rows.of(sample, len(serving.names)),
        labels=generator.random(len(sample)) < scores,
        held_out=held_out,
        sliced={},
        refused={},
    )
    own, profile = np.array(scores)[held_out], build_profile(contract.kinds, sample, scores)
    found = evaluate(declared, contract, serving, rows, own)
    found["degradation"] = thresholds_of(declared, found, profile, rows.labels[held_out], own)
    found |= {"messy": messy_block([], np.array([]), np.array([]), serving.threshold)}

    def score(given: Sequence[Sequence[Value]]) -> NDArray[np.float64]:
        return np.array(score_linear(form, serving.names, given), dtype=np.float64)

    return found | data_faults(declared, contract, rows, np.array(scores)[held_out], score)


def _serving(contract: DataContract, threshold: float) -> ServingSpec:
    texts = {
        column.name: [str(each) for each in column.categories or ()]
        for column in contract.features
        if column.type == "string"
    }
    return ServingSpec(
        runtime="onnx",
        artefact="model.onnx",
        names=[column.name for column in contract.features],
        kinds=[column.type for column in contract.features],
        texts=texts,
        numbers="float64",
        positive="1",
        threshold=threshold,
        adverse="refer",
        favourable="approve",
        tolerance=1e-9,
    )


def _explainer(
    form: LinearForm, contract: DataContract, serving: ServingSpec, declared: AISystem, background: list[list[Value]]
) -> Explainer:
    means = contributions(form, serving.names, background).mean(axis=0)
    return Explainer(
        method="linear",
        names=serving.names,
        ranges=[
            Range(
                kind=column.type,
                minimum=column.minimum,
                maximum=column.maximum,
                categories=None if column.categories is None else list(column.categories),
            )
            for column in contract.features
        ],
        groups=declared.reasons,
        background=digest(canonical_json(background)),
        threshold=serving.threshold,
        adverse=serving.adverse,
        favourable=serving.favourable,
        base=float(form.intercept + means.sum()),
        means=[float(mean) for mean in means],
        form=form,
    )


def _sampled(explainer: Explainer, background: list[list[Value]]) -> Explainer:
    assert explainer.form is not None  # noqa: S101 - it is made of one
    base = float(score_linear(explainer.form, explainer.names, background).mean())
    return msgspec.structs.replace(explainer, method="sampling", form=None, means=[], base=base)


def _system(system: str, serving: ServingSpec, reasons: list[Reason]) -> AISystem:
    address: dict[str, Any] = {role: f"{role}@example.org" for role in ("business", "model", "operations", "risk")}
    return AISystem(
        id=system,
        name="An example",
        purpose="To be tested.",
        risk_tier="medium",
        owners=Owners(**address),
        pilot=Pilot(artefact="model.joblib", data="data.csv", target="late", positive="1", subject="customer"),
        answer=Answer(threshold=serving.threshold, adverse=serving.adverse, favourable=serving.favourable),
        reasons=reasons,
    )
