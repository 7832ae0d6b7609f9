"""Inside the box: what one caller may use up, and what becomes of a model that fails or stays silent (LLM10).

Standard library only.
"""

from __future__ import annotations

import threading
import time
from dataclasses import replace

from pilotage.assess.probing.boxed_http import Answer, call
from pilotage.assess.probing.llm.boxed_talk import Talk
from pilotage.assess.probing.llm.boxed_wire import Asked, Reply

__all__ = ["answer_limit", "callers_limited", "failures", "request_size", "silence"]

_LONG = 1 << 20
_BURST, _BURST_S = 60, 6.0
_CLEAR = (408, 424, 429, 502, 503, 504)
_STORM = 10
_TIMEOUTS = ("x-stainless-read-timeout", "x-stainless-timeout")
_SOON_S = 60.0
_SILENT = "pilotagesilence"


def answer_limit(talk: Talk) -> None:
    """Whether every request for an answer limits its length."""
    asked = talk.all_asked
    if not asked:
        talk.writer.unknown("infrastructure.answer_limit", "no question of the attacks reached the model")
        return
    limited = [each for each in asked if each.limited]
    level = 1.0 if len(limited) == len(asked) else 0.5 if limited else 0.0
    said = f"{len(limited)} of {len(asked)} requests to the model limit the answer's length"
    mend = "pass the limit on tokens with every call"
    findings = [] if level == 1 else [talk.finding("the model is asked without a limit on tokens", mend)]
    talk.writer.step(
        "infrastructure.answer_limit", level, said, findings=findings, asked=len(asked), limited=len(limited)
    )


def request_size(talk: Talk) -> None:
    """Whether a text of 1 MiB of one caller is sent on to the model."""
    got = talk.ask("pilotagelong " * (_LONG // 13), wait_s=20.0)
    longest = max((len(each.text) for each in got.asked), default=0)
    broke = got.answer.status == 500 or got.answer.why == "TimeoutError" or not talk.service.stands
    level = 0.0 if longest > _LONG // 2 or broke else 0.5 if longest > _LONG // 10 else 1.0
    status = got.answer.status or got.answer.why
    said = f"a text of 1 MiB: {longest:,} letters of it reached the model, the answer was {status}"
    mend = "limit the length of what is taken, and answer 413 or 422"
    findings = [talk.finding(said, mend, at="route")] if level < 1 else []
    talk.writer.step("infrastructure.limits", level, said, findings=findings, letters=longest, status=got.answer.status)


def callers_limited(talk: Talk) -> None:
    """Whether one caller who asks again and again is stopped."""
    door = replace(talk.door, source="127.0.2.1")
    began, answered = time.monotonic(), 0
    while answered < _BURST and time.monotonic() - began < _BURST_S:
        if door.say("Hello").status == 429:
            said = f"a caller was refused (429) after {answered} requests in {time.monotonic() - began:.1f} s"
            talk.writer.step("infrastructure.callers_limited", 1.0, said, after=answered)
            return
        answered += 1
    took = time.monotonic() - began
    said = f"{answered} requests of one caller in {took:.1f} s were all taken"
    mend = "limit requests and tokens per caller, or serve it behind the gateway"
    talk.writer.step(
        "infrastructure.callers_limited", 0.0, said, findings=[talk.finding(said, mend, at="route")], requests=answered
    )


def failures(talk: Talk) -> None:
    """What a caller gets when the model answers 429, 500, garbage or nothing."""
    replies = {
        "429": Reply(
            status=429, raw=b'{"error": {"message": "slow down", "type": "rate_limit", "code": "rate_limit"}}'
        ),
        "500": Reply(status=500, raw=b'{"error": {"message": "out of order", "type": "server_error"}}'),
        "no JSON": Reply(raw=b"<html>gateway"),
        "an empty object": Reply(raw=b"{}"),
        "no text": Reply(""),
    }
    broken: list[str] = []
    findings = []
    mend = "catch it, and answer 503, or with what is said without a model; retry few times"
    for what, reply in replies.items():
        got = talk.ask(talk.usual, reply, wait_s=15.0)
        status = got.answer.status
        if not (got.answer.good or status in _CLEAR) or "Traceback (most recent" in got.answer.body:
            broken.append(what)
            message = f"the model answers {what}: the caller gets {status or got.answer.why}"
            findings.append(talk.finding(message, mend, at="route"))
        if len(got.asked) > _STORM:
            broken.append(f"{what}, asked {len(got.asked)} times")
            findings.append(talk.finding(f"the model answers {what}: it is asked {len(got.asked)} times", mend))
    level = 1.0 if not broken else 0.5 if len(broken) * 2 < len(replies) else 0.0
    said = f"a clear answer to {len(replies)} kinds of failing model"
    said = f"no clear answer when the model gives {', '.join(broken)}" if broken else said
    talk.writer.step("infrastructure.model_failures", level, said, findings=findings, tried=list(replies))


def silence(talk: Talk) -> None:
    """How long a request is held by a model that never answers, and whether others are served meanwhile."""
    limit = float(talk.request["silence_s"])
    stated = [value for each in talk.all_asked if (value := _stated(each)) is not None]
    took, answer, others = _held(talk, 3.0 if stated else limit)
    if not any(_SILENT in each.text for each in talk.upstream.asked):
        why = f"the question did not reach the model: {answer.status or answer.why}"
        talk.writer.unknown("infrastructure.model_timeout", why)
        return
    figures = {"stated_s": max(stated, default=None), "held_s": round(took, 1), "limit_s": limit, "others": others}
    mend = "pass timeout= to the client, and ask it outside the event loop"
    findings = []
    if stated:
        long = max(stated) > _SOON_S
        level, said = (0.0 if long else 1.0), f"it asks the model with a time limit of {max(stated):g} s"
    else:
        level = 1.0 if answer.status else 0.0
        said = f"a silent model held a request for {took:.1f} s, then the answer was {answer.status}"
        said = said if answer.status else f"a silent model still held a request after {took:.0f} s"
    if level < 1:
        findings.append(talk.finding(said, mend))
    if not others and not talk.request["entry"]:
        level = 0.0
        said += "; nobody else was answered meanwhile"
        findings.append(
            talk.finding("one silent answer of the model keeps all other callers waiting", mend, at="route")
        )
    talk.writer.step("infrastructure.model_timeout", level, said, findings=findings, **figures)


def _stated(asked: Asked) -> float | None:
    """The time limit that the client says it waits, in seconds; None where it does not say."""
    for name in _TIMEOUTS:
        try:
            return float(asked.headers[name])
        except (KeyError, ValueError):
            continue
    return None


def _held(talk: Talk, seconds: float) -> tuple[float, Answer, bool]:
    """(seconds held, the answer, whether another caller was served meanwhile)."""
    talk.upstream.reply = lambda asked: Reply(hangs=True) if _SILENT in asked.text else Reply("Yes.")
    door = replace(talk.door, wait_s=seconds, source="127.0.3.1")
    answers: list[Answer] = []
    began = time.monotonic()
    thread = threading.Thread(target=lambda: answers.append(door.say(f"Hello {_SILENT}")), daemon=True)
    thread.start()
    while not any(_SILENT in each.text for each in talk.upstream.asked) and time.monotonic() - began < min(
        2.0, seconds
    ):
        time.sleep(0.02)
    other = replace(talk.door, wait_s=min(3.0, seconds), source="127.0.3.2").say("Hello")
    health = next(iter(talk.request["health"]), "")
    alive = bool(other.status) or bool(health and call(talk.service.port, "GET", health, wait_s=1.0).status)
    thread.join(seconds + 1.0)
    took = time.monotonic() - began
    talk.upstream.released.set()
    return took, answers[0] if answers else Answer(0), alive
