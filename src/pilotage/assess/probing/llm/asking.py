"""What the box is told of a pilot that asks a language model, and how what the attacks saw stands beside reading."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from pilotage.assess.folder import Folder
from pilotage.assess.model import Observation
from pilotage.assess.probing.calling import places
from pilotage.assess.probing.llm.entries import entries
from pilotage.assess.probing.llm.settings import settings_of
from pilotage.assess.signals.llm.reading import read

__all__ = ["OF_LLM", "asks_model", "attack_request", "beside"]

OF_LLM = {
    *("infrastructure.instructions_apart", "infrastructure.output_handled", "infrastructure.answer_limit"),
    *("infrastructure.model_timeout", "infrastructure.model_failures", "infrastructure.callers_limited"),
    *("infrastructure.limits", "infrastructure.agent_steps", "governance.prompt_kept", "governance.prompt_secrets"),
    *("governance.input_guard", "governance.output_guard", "governance.conversation_logs", "data.masked"),
    *("governance.agent_confirmation", "model.sources_shown"),
}
"""The criteria that the probe may say something of."""

_SILENCE_S = 30.0


def asks_model(folder: Folder) -> bool:
    """Whether the pilot asks a language model."""
    return bool(folder.once(read).flows)


def attack_request(folder: Folder, seconds: float) -> dict[str, Any]:
    """What the probe needs besides how the service is started and called; all in `seconds`.

    Without a service, the functions that ask are what is called."""
    reading, settings = folder.once(read), settings_of(folder)
    asked = [(flow.module.path, flow.module.place(ask.call)) for flow, ask in reading.asks]
    routed = bool(places(folder))
    commands, calls = ([], []) if routed else entries(folder)
    started: dict[str, Any] = {
        "commands": [each.as_dict() for each in commands],
        "calls": [each.as_dict() for each in calls],
        "places": {each.path: (each.file, each.line) for each in calls},
    }
    return ({} if routed else started) | {
        "entry": not routed,
        "settings": settings.env,
        "decoys": settings.decoys,
        "headers": settings.headers,
        "asked_at": asked[0] if asked else ("", 0),
        "retrieves": "rag" in reading.facts,
        "acts": "agent" in reading.facts,
        "seconds": seconds,
        "silence_s": min(_SILENCE_S, seconds / 3),
    }


def beside(seen: Sequence[Observation], tested: Sequence[Observation]) -> list[Observation]:
    """What was tested, beside what reading has seen: an attack goes by one route, so places that it may not have
    reached keep a criterion from holding."""
    placed = {each.criterion for each in seen if each.grade == "E2" and each.level < 1 and each.findings}
    told = "; reading found places that this route may not reach"
    return [
        msgspec.structs.replace(each, level=0.5, summary=each.summary + told)
        if each.criterion in OF_LLM & placed and each.level == 1
        else each
        for each in tested
    ]
