"""What `pilotage.yaml` declares: purpose, owners, risk tier, the pilot's files, and how its score becomes an answer."""

from __future__ import annotations

from typing import Literal

import msgspec

from pilotage.ledger.retention import Floor
from pilotage.systems.evaluating import EvaluationRules
from pilotage.systems.papers import PackageRules, PaperWords
from pilotage.systems.pipeline import Pipeline
from pilotage.systems.serving import ServingRules

__all__ = [
    "STAGES",
    "AISystem",
    "Answer",
    "ExplanationRules",
    "FairnessLimits",
    "MessyLimits",
    "Owners",
    "Pilot",
    "Reason",
    "RemoteModel",
    "Retention",
    "Stage",
]

Stage = Literal["pilot", "internal", "limited", "general", "retired"]
STAGES: tuple[Stage, ...] = ("pilot", "internal", "limited", "general", "retired")


class Owners(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who is accountable, by role or address: for the business outcome, the model, its operation, its risk."""

    business: str
    model: str
    operations: str
    risk: str


class RemoteModel(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A model that answers at another address, in the place of an artefact; declared by its `url`.

    It speaks the Open Inference Protocol v2 over HTTP; `output` names the tensor that holds the probability, `version`
    may pin the model's, `token` names a bearer token that each node has. A build asks it at most `calls` times, and
    reasons for one answer at most `explain` times; 0: no reasons are made of its answers.
    """

    url: str = ""
    model: str = ""
    output: str = ""
    version: str = ""
    token: str = ""
    calls: int = 5_000
    explain: int = 0


class Pilot(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The pilot's files, relative to `pilotage.yaml`, and what its data means. Its model is an `artefact` or `remote`.

    `target` is the label column and `positive` its value that the score is the probability of. `subject` names the
    column that identifies a person. `ignore` are columns that are neither subject, target nor feature. `protected`
    are characteristics that decisions must not turn on, `prohibited` those that a model may never take. A protected
    column that the model takes all the same needs an entry in `protected_inputs`, which says why it may.
    """

    data: str
    artefact: str = ""
    remote: RemoteModel = RemoteModel()
    target: str
    positive: str
    subject: str = ""
    ignore: list[str] = []
    personal: list[str] = []
    protected: list[str] = []
    prohibited: list[str] = []
    protected_inputs: dict[str, str] = {}
    slices: list[str] = []
    categorical: list[str] = []
    holdout: float = 0.25
    seed: int = 2026


class Answer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a score becomes an answer: at or above `threshold` it is the `adverse` label, below it the `favourable`.

    `tolerance` is the largest score difference that replay still calls `within_tolerance`.
    """

    threshold: float = 0.5
    adverse: str = "adverse"
    favourable: str = "favourable"
    tolerance: float = 1e-6


class Reason(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One entry of the code map: a group of features that are explained together, and the text a person reads.

    `direction` says which values of the features the text means: `higher` or `lower` ones push toward adverse, or
    `either` may. A build measures whether the model agrees.
    """

    code: str
    text: str
    features: list[str]
    direction: Literal["higher", "lower", "either"] = "either"
    actionable: bool = True


class ExplanationRules(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How reasons are made and what may stand behind them.

    From an association of `correlated` on, 0 to 1, features outside the code map are judged as one factor. From `proxy`
    on, an input is a proxy of a protected column; `proxies` says whether that fails the build or is reported.
    `background` is the number of reference rows to explain against; 0 lets the build choose.
    """

    correlated: float = 0.8
    proxy: float = 0.5
    proxies: Literal["fail", "report"] = "report"
    background: int = 0


class FairnessLimits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How far favourable answers may differ between groups of a protected column; what is left out is not judged.

    Differences are at most, the ratio is at least, the number given; 0 to 1. The evaluation page says what each is.
    """

    demographic_parity_difference: float | None = None
    disparate_impact_ratio: float | None = None
    equal_opportunity_difference: float | None = None
    equalized_odds_difference: float | None = None
    predictive_parity_difference: float | None = None


class MessyLimits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What may become of spoilt rows. A score that moves by more than `tolerance` is another answer.

    `silent` is the largest share of cases, 0 to 1, in which a wrong row is answered otherwise without a word; left
    out, it is not judged.
    """

    tolerance: float = 0.05
    silent: float | None = None


class Retention(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long the record of decisions is kept. `regimes` are laws whose floors bind (`pilotage retention show`).

    `payloads` is after how long payloads are deleted, such as `{months: 24}`; left out, they are kept without end.
    `entries` is the same for the plain part that the tree holds; entries go with or after their payloads, never
    before. A floor wins over both.
    """

    regimes: list[str] = []
    payloads: Floor = Floor()
    entries: Floor = Floor()


class AISystem(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One AI system. `id` is used in addresses: lower-case letters, digits and hyphens.

    `data_use` are the purposes that it uses data for; the data contract says which of them a column allows.
    """

    id: str
    name: str
    purpose: str
    risk_tier: Literal["low", "medium", "high"]
    owners: Owners
    pilot: Pilot
    answer: Answer = Answer()
    reasons: list[Reason] = []
    explanation: ExplanationRules = ExplanationRules()
    contract: str = ""
    data_use: list[str] = []
    author: str = ""
    fairness: FairnessLimits = FairnessLimits()
    messy: MessyLimits = MessyLimits()
    evaluation: EvaluationRules = EvaluationRules()
    retention: Retention = Retention()
    serving: ServingRules = ServingRules()
    pipeline: Pipeline = Pipeline()
    paper: PaperWords = PaperWords()
    packages: PackageRules = PackageRules()
