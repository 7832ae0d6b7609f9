"""What the box is told of a pilot that asks a language model: its settings, its documents, where it asks."""

from __future__ import annotations

from typing import Any

from pilotage.assess.folder import Folder
from pilotage.assess.probing.llm.settings import settings_of
from pilotage.assess.signals.llm.reading import read

__all__ = ["OF_LLM", "asks_model", "attack_request"]

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
    """What the probe needs besides how the service is started and called; all in `seconds`."""
    reading, settings = folder.once(read), settings_of(folder)
    places = [(flow.module.path, flow.module.place(ask.call)) for flow, ask in reading.asks]
    return {
        "settings": settings.env,
        "decoys": settings.decoys,
        "headers": settings.headers,
        "asked_at": places[0] if places else ("", 0),
        "retrieves": "rag" in reading.facts,
        "seconds": seconds,
        "silence_s": min(_SILENCE_S, seconds / 3),
    }
