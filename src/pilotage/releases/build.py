"""Build a release: from `pilotage.yaml`, a fitted model and its data to an immutable folder, a row and evidence."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Engine

from pilotage import __version__
from pilotage.contracts.odcs import to_odcs
from pilotage.errors import InputError
from pilotage.evaluation.explainer import Explainer
from pilotage.evidence.store import record
from pilotage.kernel.canonical import canonical_json
from pilotage.kernel.clock import now_us
from pilotage.kernel.digests import digest, file_digest
from pilotage.kernel.rows import Value, evenly_spaced
from pilotage.ledger.keyring import Keyring
from pilotage.profiles.build import build_profile
from pilotage.profiles.model import ReferenceProfile
from pilotage.releases.answers import answers_bytes, answers_evidence, chosen_rows
from pilotage.releases.card import model_card
from pilotage.releases.conversion import Conversion, ProofRows, choose_conversion
from pilotage.releases.data_faults import data_faults
from pilotage.releases.declared import Declared, contract_of, opening, read_declared, rules_of, serving_of
from pilotage.releases.evaluating import evaluate, messy_block, thresholds_of
from pilotage.releases.explaining import Followed
from pilotage.releases.findings import findings
from pilotage.releases.folder import describe_files, write_folder
from pilotage.releases.hard_rows import boundary_rows, messy_rows
from pilotage.releases.model import Manifest, Origin, Release
from pilotage.releases.pilot_model import PilotModel
from pilotage.releases.reasoning import Reasons, follow, make_reasons
from pilotage.releases.refitting import measure_refits, stability_evidence
from pilotage.releases.remote_pilot import BACKGROUND, RemotePilot, not_converted
from pilotage.releases.sealed_rows import ROWS, rows_key
from pilotage.releases.signature import note_signature, sign_folder
from pilotage.releases.store import is_registered, register
from pilotage.releases.together import judge_together
from pilotage.runtimes.environment import locked_distributions, serving_environment
from pilotage.runtimes.model import ServingSpec
from pilotage.runtimes.rules import RULES
from pilotage.storage.database import writing
from pilotage.storage.home import Home
from pilotage.storage.objects import Objects
from pilotage.systems.parse import load_system
from pilotage.systems.store import declare_system

__all__ = ["Progress", "build_release"]

Floats = NDArray[np.float64]
Progress = Callable[[str, float], None]
"""Told of each step as it begins, with the share of the build that is done, 0 to 1."""


@dataclass(frozen=True, kw_only=True)
class _Tried:
    """What asking the pilot's model gave."""

    followed: Followed
    conversion: Conversion
    proof: ProofRows
    scores: Floats
    messy: list[dict[str, Any]]
    faults: dict[str, Any]
    reasons: Reasons
    facts: dict[str, Any]


def build_release(
    yaml_path: Path, *, home: Home, control: Engine, keyring: Keyring, author: str, progress: Progress | None = None
) -> Release:
    """Build, write and register a release of the system that `yaml_path` declares; the same inputs give the same one.

    `author` is who builds; the `keyring` signs the release, and encrypts its reference rows if it needs them. The
    artefact is opened only in a box. Declares the system, records evidence about the release. Raises InputError with
    every fault of the declaration, the data or the artefact.
    """
    tell = progress or (lambda _step, _share: None)
    tell("reading the declaration", 0.0)
    system = load_system(yaml_path)
    tell("reading the data contract", 0.02)
    contract = contract_of(yaml_path.parent, system)
    serving = serving_of(system, contract)
    rules = rules_of(yaml_path.parent, system, contract)
    artefact = yaml_path.parent / system.pilot.artefact
    tell("reading the data, and opening the artefact in a box", 0.06)
    with opening(artefact, serving, system.pilot) as opened:
        declared = read_declared(yaml_path.parent, system, contract, rules)
        pilot = opened()
        if isinstance(pilot, RemotePilot):
            serving = pilot.serving
        tried = _try(pilot, declared, serving, tell)
        tell("fitting it again, under other seeds", 0.73)
        refits = measure_refits(pilot, declared.rows, serving.threshold, seed=system.pilot.seed)
    serving = _served(serving, tried.conversion)
    tell("evaluating", 0.75)
    explainer = tried.reasons.explainer
    profile = _profile(declared, tried)
    evaluation = _evaluation(declared, serving, tried, profile)
    tell("writing the release", 0.9)
    files = _files(declared, serving, tried, explainer, evaluation, profile)
    manifest = Manifest(
        system=declared.system.id,
        runtime=serving.runtime,
        contract=declared.contract.digest(),
        policy=digest(files["serving.json"]),
        origin=Origin(
            artefact=_origin(declared, serving),
            data=file_digest(declared.data),
            environment=serving_environment(),
            builder=f"pilotage {__version__}",
        ),
        files=describe_files(files),
    )
    name, folder = write_folder(home.releases, manifest, files, rows_key(keyring))
    signature, fresh = sign_folder(home.releases, name, manifest, keyring)
    tell("proving whether rows may be answered together, and keeping answers", 0.93)
    held_out = declared.rows.part(held_out=True)[0]
    asked = chosen_rows(held_out, serving.runtime)
    together, answers = judge_together(folder, serving, tried.proof, system.pilot.seed, asked)
    kept = Objects(root=home.objects).put(answers_bytes(answers)) if answers else ""
    tell("registering", 0.97)
    with writing(control) as connection:
        declare_system(connection, declared.system, by=author)
        fresh = fresh or not is_registered(connection, name)
        release = register(connection, name, manifest, author=author)
        if fresh:
            note_signature(connection, release, signature)
        for finding in findings(name, declared.system, declared.contract, serving, explainer, evaluation, together):
            record(connection, finding)
        record(connection, stability_evidence(name, refits, now_us()))
        if answers:
            record(connection, answers_evidence(name, asked, answers, len(held_out), kept, now_us()))
    tell("done", 1.0)
    return release


def _served(serving: ServingSpec, conversion: Conversion) -> ServingSpec:
    """How the release answers: by the conversion, the pilot's own model, or the remote one that it was built with."""
    if serving.runtime == "remote":
        return serving
    native = conversion.model is None
    return msgspec.structs.replace(
        serving,
        runtime="process" if native else "onnx",
        artefact="model.joblib" if native else "model.onnx",
        numbers=conversion.numbers,
    )


def _origin(declared: Declared, serving: ServingSpec) -> str:
    """The digest of the artefact; of a remote model that of where it answers and what it says of itself."""
    if serving.runtime == "remote":
        return digest(canonical_json(msgspec.to_builtins(serving.remote)))
    return file_digest(declared.artefact)


def _try(pilot: PilotModel | RemotePilot, declared: Declared, serving: ServingSpec, tell: Progress) -> _Tried:
    """Score, follow and convert the pilot's model, and prove what is served."""
    tell("scoring the held-out rows", 0.4)
    columns = declared.contract.features
    held_out, _ = declared.rows.part(held_out=True)
    if isinstance(pilot, RemotePilot):
        return _try_remote(pilot, declared, serving, held_out, tell)
    own = pilot.score(held_out)
    messy = messy_rows(columns, held_out)
    messy_own = _score_messy(pilot, [row.values for row in messy])
    tell("searching the decision boundary", 0.5)
    boundary = boundary_rows(columns, held_out, pilot.score, serving.threshold)
    proof = ProofRows(
        kinds={"held_out": held_out, "messy": [row.values for row in messy], "boundary": boundary},
        scores={"held_out": own, "messy": messy_own, "boundary": pilot.score(boundary)},
    )
    tell("following the model, for exact reasons", 0.55)
    followed = follow(pilot, serving.names, columns, proof)
    tell("converting, and proving the conversion equal", 0.6)
    conversion, scores = choose_conversion(pilot, followed.form, serving, proof)
    tell("spoiling rows, and looking for leaks", 0.67)
    faults = data_faults(declared.system, declared.contract, declared.rows, own, pilot.score)
    tell("judging reasons", 0.7)
    reasons = make_reasons(
        declared.system, declared.contract, serving, declared.rows, followed, pilot.score, scores["held_out"]
    )
    return _Tried(
        followed=followed,
        conversion=conversion,
        proof=proof,
        scores=scores["held_out"],
        messy=messy_block(messy, scores["messy"], scores["held_out"], serving.threshold),
        faults=faults,
        reasons=reasons,
        facts={**pilot.facts, "isolation": pilot.isolation.as_dict()},
    )


def _try_remote(
    pilot: RemotePilot, declared: Declared, serving: ServingSpec, held_out: Sequence[Sequence[Value]], tell: Progress
) -> _Tried:
    """The same of a remote model, within its calls: nothing is converted or followed, and no boundary is searched."""
    rules = declared.system.explanation
    pilot.must_suffice(len(held_out), len(serving.names), rules.background or BACKGROUND)
    own = pilot.score(held_out)
    repeated = pilot.repeated(held_out, own)
    tell("asking about messy rows", 0.5)
    # A third of what is left, so that most of it goes to judging reasons.
    messy = evenly_spaced(messy_rows(declared.contract.features, held_out), pilot.left // 3)
    messy_own = _score_messy(pilot, [row.values for row in messy])
    proof = ProofRows(
        kinds={"held_out": held_out, "messy": [row.values for row in messy]},
        scores={"held_out": own, "messy": messy_own},
    )
    followed = Followed(facts={"exact": False, "reason": "a model at another address cannot be looked into"})
    tell("judging reasons", 0.7)
    reasons = make_reasons(
        declared.system, declared.contract, serving, declared.rows, followed, pilot.score, own, pilot
    )
    remote = declared.system.pilot.remote
    return _Tried(
        followed=followed,
        conversion=not_converted(proof, serving.tolerance),
        proof=proof,
        scores=own,
        messy=messy_block(messy, messy_own, own, serving.threshold),
        faults=data_faults(declared.system, declared.contract, declared.rows, own, None),
        reasons=reasons,
        facts={
            **pilot.facts,
            "remote": {
                "model": remote.model,
                "version": remote.version,
                "metadata": pilot.metadata,
                "repeated": repeated,
                "calls": remote.calls - pilot.left,
                "calls_declared": remote.calls,
                "explain_declared": remote.explain,
            },
        },
    )


def _score_messy(pilot: PilotModel | RemotePilot, rows: Sequence[Sequence[Value]]) -> Floats:
    """The scores of rows at the contract's edge. Raises InputError when the model cannot answer what it must."""
    try:
        scores = pilot.score(rows)
    except InputError as error:
        raise InputError(
            "the model fails on rows that its data contract allows",
            got=error.what,
            expected="an answer for every null, range and category of the contract",
            mend="let the pipeline handle them (an imputer, handle_unknown), or write a stricter contract",
            code="model_fails_in_contract",
        ) from error
    if not np.isfinite(scores).all():
        raise InputError(
            "the model answers rows that its data contract allows with no finite number",
            got=f"{int((~np.isfinite(scores)).sum())} of {len(scores)} rows",
            mend="write a stricter contract, or mend the model",
            code="model_fails_in_contract",
        )
    return scores


def _evaluation(declared: Declared, serving: ServingSpec, tried: _Tried, profile: ReferenceProfile) -> dict[str, Any]:
    evaluation = evaluate(declared.system, declared.contract, serving, declared.rows, tried.scores)
    labels = declared.rows.part(held_out=True)[1]
    evaluation["degradation"] = thresholds_of(declared.system, evaluation, profile, labels, tried.scores)
    evaluation["messy"] = tried.messy
    evaluation |= tried.faults
    evaluation["conversion"] = tried.conversion.as_facts()
    evaluation["explanation"] = tried.reasons.facts
    evaluation["pilot"] = {name: tried.facts[name] for name in ("kind", "steps")}
    if "remote" in tried.facts:
        evaluation["remote"] = tried.facts["remote"]
    return evaluation


def _profile(declared: Declared, tried: _Tried) -> ReferenceProfile:
    """Features of all rows; scores of the held-out ones, because a model scores what it was fitted on otherwise."""
    return build_profile(declared.contract.kinds, declared.rows.rows, tried.scores.tolist())


def _files(
    declared: Declared,
    serving: ServingSpec,
    tried: _Tried,
    explainer: Explainer,
    evaluation: dict[str, Any],
    profile: ReferenceProfile,
) -> dict[str, bytes]:
    """Every file of the release but the manifest."""
    answers: dict[str, bytes] = {}
    if serving.runtime != "remote":
        native = tried.conversion.model is None
        answers[serving.artefact] = declared.artefact.read_bytes() if native else tried.conversion.model or b""
    card = model_card(declared.system, declared.contract, serving, explainer, evaluation)
    trees = tried.followed.trees
    # A linear explainer holds the means of its background: the rows of people stay where they are.
    rows = {} if tried.followed.form is not None else {ROWS: canonical_json(tried.reasons.background)}
    return {
        **rows,
        **({} if trees is None else {"trees.json": msgspec.json.encode(trees)}),
        **({RULES: declared.rules} if declared.rules else {}),
        **answers,
        "contract.odcs.yaml": to_odcs(declared.contract).encode(),
        "profile.json": profile.encode(),
        "evaluation.json": canonical_json(evaluation),
        "explainer.json": canonical_json(msgspec.to_builtins(explainer)),
        "serving.json": canonical_json(msgspec.to_builtins(serving)),
        "environment.lock": locked_distributions().encode(),
        "system.yaml": msgspec.yaml.encode(declared.system),
        "card.md": card.encode(),
    }
