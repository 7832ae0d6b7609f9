"""Coverage of the OWASP Top 10 for LLM applications (2025): for each risk what was measured, and what was not.

What was not measured is unknown, never absent and never fine. Reading the code shows faults; only an attack shows that
a defence holds, so a risk that was merely read is `partial` at best.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from pilotage.assess.model import Coverage, Rating, Risk, State

__all__ = ["ATLAS", "ATLAS_VERSION", "EDITION", "coverage"]

EDITION = "2025"
ATLAS_VERSION = "5.6.0"
ATLAS = {
    "AML.T0010": "AI supply chain compromise",
    "AML.T0020": "Poison training data",
    "AML.T0024": "Exfiltration via AI inference API",
    "AML.T0029": "Denial of AI service",
    "AML.T0034": "Cost harvesting",
    "AML.T0051": "LLM prompt injection",
    "AML.T0053": "AI agent tool invocation",
    "AML.T0054": "LLM jailbreak",
    "AML.T0056": "Extract LLM system prompt",
    "AML.T0057": "LLM data leakage",
    "AML.T0070": "RAG poisoning",
    "AML.T0080": "AI agent context poisoning",
    "AML.T0082": "RAG credential harvesting",
}
"""Techniques of MITRE ATLAS that criteria name, as of `ATLAS_VERSION`."""

_RISKS: tuple[tuple[str, str, str, str], ...] = (
    ("LLM01", "Prompt Injection", "", "no attack of a corpus was tried on it"),
    ("LLM02", "Sensitive Information Disclosure", "", "no planted secret or person was asked for"),
    ("LLM03", "Supply Chain", "", "origin, licence and digest of what it downloads were not checked"),
    ("LLM04", "Data and Model Poisoning", "", "what poisoned data would make it learn or believe was not tried"),
    ("LLM05", "Improper Output Handling", "", "no answer with markup or code was sent through it"),
    ("LLM06", "Excessive Agency", "agent", "what its tools may do was not tried against what they need"),
    ("LLM07", "System Prompt Leakage", "", "nobody tried to get the system prompt out of it"),
    ("LLM08", "Vector and Embedding Weaknesses", "rag", "no search was made as somebody without rights"),
    ("LLM09", "Misinformation", "", "its answers were not held against their sources"),
    ("LLM10", "Unbounded Consumption", "", "no flood and no endless request were sent"),
)
_TESTED = ("E3", "E4")
_ORDER: tuple[State, ...] = ("fails", "partial", "holds")
_SAID = {"fails": "fails", "partial": "in part", "holds": "holds"}


def coverage(ratings: Mapping[str, Rating], kinds: Collection[str]) -> Coverage | None:
    """Coverage of a pilot of these kinds by its ratings; None for one that asks no language model."""
    if "llm" not in kinds:
        return None
    risks = [
        _risk(name, title, not only_for or only_for in kinds, untried, ratings)
        for name, title, only_for, untried in _RISKS
    ]
    own = [each for each in risks if each.applies]
    return Coverage(
        edition=EDITION,
        looked_at=sum(bool(each.measured) for each in own),
        tested=sum(_tested(_answering(each.id, ratings)) for each in own),
        faults=sum(each.state == "fails" for each in own),
        applicable=len(own),
        risks=risks,
    )


def _answering(risk: str, ratings: Mapping[str, Rating]) -> list[Rating]:
    return [each for each in ratings.values() if risk in each.criterion.owasp]


def _tested(ratings: list[Rating]) -> bool:
    return any(piece.grade in _TESTED for each in ratings for piece in each.evidence)


def _risk(name: str, title: str, applies: bool, untried: str, ratings: Mapping[str, Rating]) -> Risk:
    own = _answering(name, ratings) if applies else []
    known = sorted((each for each in own if each.state != "unknown"), key=lambda each: _ORDER.index(each.state))
    unknown = [each.criterion.text for each in own if each.state == "unknown"]
    tested = _tested(own)
    failing = any(each.state == "fails" for each in known)
    held = tested and not unknown and all(each.state == "holds" for each in known)
    state: State = "unknown" if not known else "fails" if failing else "holds" if held else "partial"
    return Risk(
        id=name,
        name=title,
        applies=applies,
        state=state,
        measured=[_measured(each) for each in known],
        not_measured=([] if tested or not applies else [untried]) + unknown,
        attacked=sum(_tested([each]) for each in known),
        findings=sum(len(piece.findings) for each in known for piece in each.evidence),
    )


def _measured(rating: Rating) -> str:
    how = "tested" if _tested([rating]) else "read"
    text, said = rating.criterion.text, rating.evidence[0].summary
    return f"{_SAID[rating.state]} ({how}, {rating.evidence[0].grade}): {text}: {said}"
