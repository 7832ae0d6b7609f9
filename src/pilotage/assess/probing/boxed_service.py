"""Runs inside the box: start the pilot's service, call it, send it garbage, and load it. Standard library only.

The box has a network that holds nothing but its own 127.0.0.1. Each result is told as soon as it is known.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from pilotage.assess.probing.boxed_copy import begin, copied
from pilotage.assess.probing.boxed_garbage import spoilt
from pilotage.assess.probing.boxed_http import Answer, call, sustained
from pilotage.assess.probing.boxed_schema import example_of, optional_of
from pilotage.assess.probing.boxed_start import Started
from pilotage.assess.probing.llm.boxed_upstream import Upstream

__all__ = ["main"]

_DEBUGGER = re.compile(r"Werkzeug Debugger|EVALEX|__debugger__|Interactive Console")
_TRACEBACK = re.compile(r"Traceback \(most recent call last\)")
_PREDICTS = re.compile(r"(?i)predict|score|infer|classif|answer|invoke")
_WANTS_KEY = (401, 403)
_REFUSAL = re.compile(r"(?i)error|invalid|missing|required|must be|could not|cannot|bad request|not valid")


class _Service(Started):
    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.example: dict[str, Any] = {}
        self.good = ""
        self.optional: set[str] = set()
        self.schema: dict[str, Any] = {}
        self.healthy = ""
        self.answers: list[Answer] = []

    # ---- call

    def health(self) -> None:
        for path in self.request["health"]:
            answer = self._call("GET", path)
            if answer.good:
                self.writer.tell(note=f"GET {path} answers {answer.status}")
                self.healthy = path
                return

    def _call(self, method: str, path: str, kind: str = "", body: Any = None, raw: bytes | None = None) -> Answer:
        answer = call(self.port, method, path, kind, body, raw)
        self.answers = [*self.answers[-50:], answer]
        return answer

    def answer(self) -> None:
        """The first example that it takes: its schema's, the pilot's own words, then what was put together."""
        tried: list[tuple[dict[str, Any], Answer]] = []
        own, made = ([each for each in self.request["calls"] if each["stated"] is stated] for stated in (True, False))
        for example in [*own, *self._from_schema(), *made]:
            got = self._call(example["method"], example["path"], example["kind"], example["body"])
            if got.good:
                self.example = {key: example[key] for key in ("method", "path", "kind", "body")}
                self.good, self.optional = got.body, optional_of(self.schema, example["path"])
                self._answered(example, got, tried)
                return
            tried.append((example, got))
        page = self._call("GET", "/")
        if not tried and page.good:
            said = f"its page answers in {page.ms:.0f} ms"
            self.example = {"method": "GET", "path": "/", "kind": "", "body": None}
            self.writer.step("infrastructure.answers", 1, said, path="/", ms=round(page.ms, 1), health=self.healthy)
            return
        self._not_answered(tried)

    def _answered(self, example: dict[str, Any], got: Answer, tried: list[tuple[dict[str, Any], Answer]]) -> None:
        whose = "its own example" if example["stated"] else "an example made of its code and data"
        said = f"{example['method']} {example['path']} answers {whose} in {got.ms:.0f} ms"
        broken = [(each, answer) for each, answer in tried if each["stated"]]
        figures = {"path": example["path"], "ms": round(got.ms, 1), "health": self.healthy, "stated": example["stated"]}
        self.writer.step(
            "infrastructure.answers",
            0.5 if broken else 1,
            f"{said}; {len(broken)} of its own examples fail" if broken else said,
            findings=[self._failed(*each) for each in broken],
            **figures,
        )

    def _failed(self, example: dict[str, Any], answer: Answer) -> dict[str, Any]:
        got = answer.status or answer.why
        message = f"this example of {example['method']} {example['path']} answers {got}"
        return {
            "message": message,
            "file": example["file"],
            "line": example["line"],
            "mend": "write an example that works, or mend the handler",
        }

    def _not_answered(self, tried: list[tuple[dict[str, Any], Answer]]) -> None:
        broken = [(each, answer) for each, answer in tried if each["stated"] and answer.status not in _WANTS_KEY]
        if broken:
            said = f"its own example of {broken[0][0]['path']} answers {broken[0][1].status or broken[0][1].why}"
            self.writer.step("infrastructure.answers", 0, said, findings=[self._failed(*each) for each in broken])
            return
        got = sorted({str(answer.status or answer.why) for _, answer in tried})
        why = f"no example that it takes could be made: {len(tried)} tried, answers {', '.join(got)}" if tried else ""
        self.writer.unknown("infrastructure.answers", why or "it says nowhere how it is called")

    def _from_schema(self) -> list[dict[str, Any]]:
        """Requests that the service's own OpenAPI document describes."""
        answer = self._call("GET", "/openapi.json")
        try:
            document = self.schema = json.loads(answer.body) if answer.good else {}
            paths = document.get("paths", {})
            posts = [(path, each["post"]) for path, each in paths.items() if "post" in each and "{" not in path]
        except (ValueError, AttributeError, TypeError):
            return []
        posts.sort(key=lambda each: not _PREDICTS.search(each[0]))
        made = []
        for path, operation in posts[:4]:
            try:
                content = operation["requestBody"]["content"]
                kind = "json" if "application/json" in content else "form"
                media = content.get("application/json") or content["application/x-www-form-urlencoded"]
                own = media.get("example") or next((e.get("value") for e in media.get("examples", {}).values()), None)
                body = own or example_of(media["schema"], document, self.request["row"], 0)
            except (KeyError, TypeError, AttributeError, StopIteration):
                continue
            file, line = self.request["places"].get(path, ["", 0])
            made.append(
                {
                    "method": "POST",
                    "path": path,
                    "kind": kind,
                    "body": body,
                    "stated": bool(own),
                    "file": file,
                    "line": line,
                }
            )
        return made

    # ---- break it

    def garbage(self) -> None:
        if not self.example.get("body") or self.example["kind"] not in ("json", "form", "query"):
            return
        taken, broken, refused = [], [], 0
        for what, must_refuse, change in spoilt(self.example, self.optional):
            answer = self._call(**{**self.example, **change})
            if answer.status >= 500 or not answer.status:
                broken.append(f"{what}: {answer.status or answer.why}")
            elif must_refuse and answer.good and not self._refused_in_words(answer):
                taken.append(what)
            else:
                refused += 1
            if not self.stands:
                broken.append(f"{what}: the service ended")
                break
        tried = len(taken) + len(broken) + refused
        file, line = self.request["places"].get(self.example["path"], ["", 0])
        told = [f"answered as if it were good: {each}" for each in taken] + [f"broke: {each}" for each in broken]
        findings = [
            {"message": each, "file": file, "line": line, "mend": "check the input against a schema, answer 422"}
            for each in told
        ]
        crashed = any(each.endswith("ended") for each in broken)
        level = 1.0 if not told else 0.0 if taken or crashed else 0.5
        said = f"of {tried} bad requests {len(taken)} were answered as if good, {len(broken)} broke it"
        good = f"it refused or stood {tried} bad requests"
        figures = {"tried": tried, "taken": taken, "broken": broken}
        self.writer.step("data.validated", level, said if told else good, findings=findings[:20], **figures)

    def _refused_in_words(self, answer: Answer) -> bool:
        """A page or object that says what is wrong is a refusal, whatever its status."""
        return bool(_REFUSAL.search(answer.body)) and not _REFUSAL.search(self.good)

    def debug(self) -> None:
        """Whether it shows its inside to callers: a debugger, or tracebacks in what it answers."""
        self._call("GET", "/console")
        self._call("POST", self.example.get("path", "/"), "json", None, b"{")
        shown = [answer for answer in self.answers if _DEBUGGER.search(answer.body)]
        traced = [answer for answer in self.answers if _TRACEBACK.search(answer.body)]
        file, line = self.request["debug_at"]
        if shown or traced:
            message = "debug mode is on: a caller is given a debugger" if shown else "callers are shown tracebacks"
            found = {"message": message, "file": file, "line": line, "mend": "run it without debug mode"}
            self.writer.step("infrastructure.server", 0, message, findings=[found])

    # ---- load it

    def load(self) -> None:
        if not self.example or self.child is None or self.child.ended:
            return
        if not self._call(**self.example).good:
            return
        rate, seconds, limit = self.request["rate"], self.request["load_s"], self.request["limit_ms"]
        got, again = sustained(self.port, self.example, rate, seconds), False
        if got.p95 > limit or got.failed:  # once more: this machine may have been busy with something else
            second, again = sustained(self.port, self.example, rate, seconds), True
            got = min(got, second, key=lambda each: (each.failed, each.p95))
        kept = got.p95 <= limit and not got.failed
        stated = "stated" if self.request["rate_stated"] else "a default of ours"
        said = f"p50 {got.p50:.0f} ms, p95 {got.p95:.0f} ms at {rate:g} requests a second ({stated}), "
        said += f"limit {limit:.0f} ms"
        said += f"; {got.failed} of {got.calls} failed" if got.failed else ""
        said += "; the better of two runs" if again else ""
        said += "; the time of its language model is not in it" if self.request["settings"] is not None else ""
        figures = {"rate": rate, "p50_ms": round(got.p50, 1), "p95_ms": round(got.p95, 1), "limit_ms": limit}
        figures |= {"calls": got.calls, "failed": got.failed, "reached": round(got.reached, 1)}
        figures |= {"rate_stated": self.request["rate_stated"]}
        self.writer.step("infrastructure.latency", 1 if kept else 0, said, **figures)


def main() -> None:
    """Read the request, start the service, run the steps in order; one that fails leaves its criteria unknown."""
    request, writer = begin()
    copy = copied(Path(request["root"]), request["files"])
    if copy is None:
        writer.unknown("infrastructure.starts", "the folder is too large to be copied")
        return
    env, ours = {}, set()
    if request["settings"] is not None:  # it asks a language model: one that answers is put beside it
        upstream = Upstream()
        upstream.lead_here(copy)
        env, ours = upstream.settings(request["settings"]), upstream.ports
    service = _Service(request, writer, copy, env=env, ours=ours)
    try:
        steps = [service.health, service.answer, service.garbage, service.debug, service.load]
        if service.start():
            writer.tell(done="start")
            for step in steps:
                try:
                    step()
                except Exception as error:  # noqa: BLE001 - one step that fails leaves its criteria unknown
                    writer.unknown(step.__name__, f"{type(error).__name__}: {error}")
                writer.tell(done=step.__name__)
    finally:
        if service.child is not None:
            service.child.end()


if __name__ == "__main__":
    main()
