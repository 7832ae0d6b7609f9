"""The ML Test Score (Breck et al., IEEE Big Data 2017) of a pilot with a model of its own, from the evidence there is.

Half a point for a test that is done by hand and written down, one for a test that runs by itself and recurs; a section
is the sum of its seven; the score is the lowest section. A probe of ours is a test done by hand: it counts half until
live evidence (E4) or CI repeats it. A test whose result is a fault counts nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import msgspec

from pilotage.assess.model import Done, MLTest, MLTestScore, Rating, Section

__all__ = ["SECTIONS", "ml_test_score"]

SECTIONS: tuple[Section, ...] = ("data", "model", "infrastructure", "monitoring")
_SPEED = ("infrastructure.load", "infrastructure.latency")
_RUN = "infrastructure.tests_pass"
_POINTS: dict[Done, float] = {"automatic": 1.0, "by hand": 0.5, "no": 0.0, "unknown": 0.0}
_BANDS = (
    (0.0, "a research project rather than a system in production"),
    (1.0, "not untested, but serious holes must be expected"),
    (2.0, "a first pass at production, more to do"),
    (3.0, "reasonably tested, more of it could be automatic"),
    (5.0, "strong tests and monitoring"),
    (7.0, "exceptional tests and monitoring"),
)


class Rule(msgspec.Struct, frozen=True):
    """One test: its id and text; the criteria and the practice that show it; what lifts it to a full point.

    `in_ci`: a practice that counts in full where CI runs the tests, and for nothing where the criterion `veto` fails.
    `otherwise` says what is not known without them.
    """

    id: str
    text: str
    criteria: tuple[str, ...] = ()
    practice: str = ""
    lifted_by: str = ""
    in_ci: bool = False
    veto: str = ""
    otherwise: str = "nobody has shown it"


_RULES: dict[Section, tuple[Rule, ...]] = {
    "data": (
        Rule("D1", "What a feature may look like is written as a schema", ("data.schema",), lifted_by="data.validated"),
        Rule("D2", "Every feature earns its place", practice="features judged"),
        Rule("D3", "No feature costs more than it brings", otherwise="a person has to say what each feature costs"),
        Rule("D4", "Features obey rules about their use", ("governance.protected_inputs",)),
        Rule("D5", "Privacy is controlled through the whole pipeline", ("governance.personal_data",)),
        Rule("D6", "A new feature can be added fast", otherwise="a person has to say how long the last one took"),
        Rule("D7", "The code that makes features is tested", practice="features tested", in_ci=True, veto=_RUN),
    ),
    "model": (
        Rule("M1", "Changes of the model are reviewed", ("team.review",), lifted_by="governance.four_eyes"),
        Rule("M2", "The offline metric follows the business metric", otherwise="only live releases show it"),
        Rule("M3", "Hyperparameters were tuned", practice="tuned"),
        Rule("M4", "What an old model costs is known", otherwise="no test over time was made"),
        Rule("M5", "A simpler model is not as good", ("model.simpler", "model.beats_baseline")),
        Rule("M6", "Quality holds on every important slice", ("model.slices",)),
        Rule("M7", "It was tested for bias", ("governance.bias",), practice="groups compared"),
    ),
    "infrastructure": (
        Rule("I1", "Training can be reproduced", ("model.reproduced",)),
        Rule("I2", "The code of the model is tested", practice="model code tested", in_ci=True, veto=_RUN),
        Rule("I3", "The whole pipeline is tested", practice="pipeline tested", in_ci=True, veto=_RUN),
        Rule("I4", "Quality is checked before serving", practice="quality gate", in_ci=True),
        Rule("I5", "One example can be followed step by step", ("governance.recorded",), otherwise="no record yet"),
        Rule("I6", "New models begin with few requests", otherwise="no rollout was made"),
        Rule("I7", "A model can be rolled back fast", ("infrastructure.rollback",), otherwise="no drill was made"),
    ),
    "monitoring": (
        Rule("Mo1", "Changes of what it depends on are noticed", practice="dependencies watched", in_ci=True),
        Rule("Mo2", "Data keeps its rules", ("data.live_quality",), otherwise="no live data yet"),
        Rule("Mo3", "Training and serving compute the same", ("model.preprocessing",)),
        Rule("Mo4", "The model is not too old", ("model.drift_watched",), otherwise="only a live release has an age"),
        Rule("Mo5", "Its numbers are stable", ("model.messy_input",), practice="numbers tested", in_ci=True),
        Rule("Mo6", "Speed and memory do not get worse", _SPEED, practice="speed measured"),
        Rule("Mo7", "Quality on served data does not get worse", otherwise="only outcomes of live decisions show it"),
    ),
}  # fmt: skip


def ml_test_score(
    ratings: Mapping[str, Rating], practices: Mapping[str, str] | None, kinds: Collection[str]
) -> MLTestScore | None:
    """The score by ratings and practices (`signals.practices`); None for a pilot without a model of its own.

    Without practices, where no folder was read, what only they show is unknown.
    """
    if "classic" not in kinds:
        return None
    ci = "infrastructure.ci" in ratings and ratings["infrastructure.ci"].state in ("holds", "partial")
    tests = [_judged(section, rule, ratings, practices, ci) for section in SECTIONS for rule in _RULES[section]]
    sections: dict[str, float] = {name: sum(each.points for each in tests if each.section == name) for name in SECTIONS}
    lowest = min(sections.values())
    band = next(word for upto, word in _BANDS if lowest <= upto)
    return MLTestScore(score=lowest, band=band, sections=sections, tests=tests)


def _judged(
    section: Section, rule: Rule, ratings: Mapping[str, Rating], practices: Mapping[str, str] | None, ci: bool
) -> MLTest:
    done, why = _shown(rule, ratings, practices, ci)
    return MLTest(id=rule.id, section=section, text=rule.text, done=done, points=_POINTS[done], why=why)


def _shown(
    rule: Rule, ratings: Mapping[str, Rating], practices: Mapping[str, str] | None, ci: bool
) -> tuple[Done, str]:
    if rule.veto in ratings and ratings[rule.veto].state == "fails":
        return "no", f"{rule.veto}: {ratings[rule.veto].evidence[0].summary}"
    known = [ratings[name] for name in rule.criteria if name in ratings and ratings[name].state != "unknown"]
    for each in known:
        if each.state == "fails":
            return "no", f"{each.criterion.id}: {each.evidence[0].summary}"
    place = (practices or {}).get(rule.practice, "")
    if place and rule.in_ci and ci:
        return "automatic", f"{place}, and CI runs it"
    for each in known:
        best = each.evidence[0]
        said = f"{best.grade} {each.criterion.id}: {best.summary}"
        lifted = rule.lifted_by in ratings and ratings[rule.lifted_by].state == "holds"
        if best.grade == "E4" or lifted:
            return "automatic", said + (f"; {rule.lifted_by} holds" if lifted else "")
        if best.grade != "E0":
            return "by hand", said
    if place:
        return "by hand", f"{place}; nothing repeats it"
    if practices is not None and rule.practice and not rule.criteria:
        return "no", f"looked for and not found: {rule.practice}"
    return "unknown", f"only said, not shown: {known[0].evidence[0].summary}" if known else rule.otherwise
