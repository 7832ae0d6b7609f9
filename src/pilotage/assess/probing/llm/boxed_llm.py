"""Runs inside the box: start the pilot beside a twin of its model's provider, attack it, and tell what it did.

Standard library only: it runs in the pilot's own environment, on a network that holds nothing but its own 127.0.0.1.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pilotage.assess.probing.boxed_copy import Writer, begin, copied
from pilotage.assess.probing.boxed_start import Started
from pilotage.assess.probing.llm import boxed_loads, boxed_secrets, boxed_sources, boxed_tools, boxed_trials
from pilotage.assess.probing.llm.boxed_door import find_door
from pilotage.assess.probing.llm.boxed_plant import TOPIC, plant
from pilotage.assess.probing.llm.boxed_talk import LimitedError, Talk, unescaped
from pilotage.assess.probing.llm.boxed_upstream import PLAIN, Upstream

__all__ = ["main"]

_TRIALS: tuple[tuple[str, Callable[[Talk], None]], ...] = (
    ("infrastructure.instructions_apart", boxed_trials.framing),
    ("infrastructure.output_handled", boxed_trials.handles_answers),
    ("governance.prompt_kept", boxed_trials.keeps_prompt),
    ("governance.agent_confirmation", boxed_tools.asks_first),
    ("data.masked", boxed_secrets.masks),
    ("governance.conversation_logs", boxed_secrets.logs_nothing),
    ("model.sources_shown", boxed_sources.shows_sources),
    ("infrastructure.model_failures", boxed_loads.failures),
    ("governance.input_guard", boxed_trials.checks_questions),
    ("governance.output_guard", boxed_trials.checks_answers),
    ("infrastructure.agent_steps", boxed_tools.ends),
    ("governance.prompt_secrets", boxed_secrets.keeps_secrets),
    ("infrastructure.answer_limit", boxed_loads.answer_limit),
    ("infrastructure.limits", boxed_loads.request_size),
    ("infrastructure.callers_limited", boxed_loads.callers_limited),
    ("infrastructure.model_timeout", boxed_loads.silence),
)
_OF_A_SERVICE = ("infrastructure.model_failures", "infrastructure.limits", "infrastructure.callers_limited")
_DOOR_S = 25.0


def _try(talk: Talk, until: float) -> None:
    """Every trial in turn; one that fails leaves its criterion unknown, the others go on."""
    for criterion, trial in _TRIALS:
        if talk.request["entry"] and criterion in _OF_A_SERVICE:
            talk.writer.unknown(criterion, "it is no service: a function of it was called")
        elif time.monotonic() > until:
            talk.writer.unknown(criterion, "the time for it was used up")
        elif not talk.service.stands:
            talk.writer.unknown(criterion, "the service had ended by then")
        else:
            try:
                trial(talk)
            except LimitedError as error:
                talk.writer.unknown(criterion, str(error))
            except Exception as error:  # noqa: BLE001 - whatever the pilot does must not end the other trials
                talk.writer.unknown(criterion, f"{type(error).__name__}: {error}")
        talk.writer.tell(done=trial.__name__)


def _attack(request: dict[str, Any], writer: Writer, service: Started, upstream: Upstream, planted: list[str]) -> None:
    until, began = time.monotonic() + request["seconds"], time.time()
    if not service.start():
        writer.unknown("its language model", "its service does not start beside a twin of the provider")
        return
    writer.tell(done="start")
    door, why = find_door(service.port, request, upstream, _DOOR_S)
    if door is None:
        writer.unknown("its language model", why)
        return
    talk = Talk(request, writer, service, upstream, door, planted=planted, began=began)
    talk.usual = _usual(talk)
    _try(talk, until)


def _usual(talk: Talk) -> str:
    """A question to which what the model says comes back: its own example, what the planted document is about, any."""
    questions = [each for each in (talk.door.example, TOPIC if talk.planted else "", talk.usual) if each]
    for each in questions:
        try:
            if PLAIN in unescaped(talk.ask(each).answer):
                return each
        except LimitedError:
            break
    return questions[0]


def main() -> None:
    """Read the request, start twin and pilot, run the trials."""
    request, writer = begin()
    copy = copied(Path(request["root"]), request["files"])
    if copy is None:
        writer.unknown("its language model", "the folder is too large to be copied")
        return
    upstream = Upstream()
    upstream.lead_here(copy)
    planted = plant(copy, request["files"])
    service = Started(request, writer, copy, env=upstream.settings(request["settings"]), ours=upstream.ports)
    try:
        _attack(request, writer, service, upstream, planted)
    finally:
        if service.child is not None:
            service.child.end()


if __name__ == "__main__":
    main()
