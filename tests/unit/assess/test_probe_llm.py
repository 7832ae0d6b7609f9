"""A pilot is attacked beside a twin of its model's provider: its faults are found, and a sound one has none."""

from __future__ import annotations

import base64
import json
import os
import struct
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from pilotage.assess import probes
from pilotage.assess.folder import Folder
from pilotage.assess.model import Assessment, Finding, Grade, Observation, Rating
from pilotage.assess.probes import probe
from pilotage.assess.probing.llm import asking
from pilotage.assess.probing.llm.asking import beside
from pilotage.assess.probing.llm.boxed_framing import closing, standing
from pilotage.assess.probing.llm.boxed_plant import PLANTED, plant
from pilotage.assess.probing.llm.boxed_tools import acting
from pilotage.assess.probing.llm.boxed_upstream import Upstream
from pilotage.assess.probing.llm.boxed_wire import Asked, Reply, Tool, answer
from pilotage.assess.probing.llm.settings import settings_of
from pilotage.assess.report import told_of_owasp
from pilotage.assess.service import assess
from tests.unit.assess.asking_pilots import LOOSE, SOUND
from tests.unit.assess.pilots import write
from tests.unit.assess.test_probe_service import needs_loopback


def assessed(root: Path, files: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Assessment:
    monkeypatch.setattr(asking, "_SILENCE_S", 3.0)
    monkeypatch.setattr(probes, "_LOAD_S", 0.3)
    return assess(write(root, files))


def attacked(found: Assessment) -> dict[str, Rating]:
    """What the attacks say, by criterion."""
    ratings = [rating for each in found.dimensions for rating in each.ratings]
    return {
        rating.criterion.id: rating
        for rating in ratings
        if rating.criterion.id in asking.OF_LLM and any(piece.grade == "E3" for piece in rating.evidence)
    }


def line(files: dict[str, str], text: str) -> int:
    return next(number for number, each in enumerate(files["app.py"].splitlines(), 1) if text in each)


# ---- whole pilots


@pytest.mark.slow
@needs_loopback
def test_every_fault_of_a_loose_pilot_is_found_at_its_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = assessed(tmp_path, LOOSE, monkeypatch)
    seen = attacked(found)
    assert set(seen) == asking.OF_LLM, found.skipped
    assert {name for name, rating in seen.items() if rating.state != "fails"} == set()
    places = {(each.file, each.line) for rating in seen.values() for each in rating.evidence[0].findings}
    assert places <= {("app.py", line(LOOSE, "reply = httpx.post")), ("app.py", line(LOOSE, "def ask("))}
    told = json.dumps([each.message for rating in seen.values() for each in rating.evidence[0].findings])
    for what in ("unescaped in a page", "it was run, and wrote a file", "its result came back", "the caller gets 500"):
        assert what in told


@pytest.mark.slow
@needs_loopback
def test_its_sound_twin_has_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = assessed(tmp_path, SOUND, monkeypatch)
    seen = attacked(found)
    assert set(seen) == asking.OF_LLM, found.skipped
    assert {name: rating.evidence[0].summary for name, rating in seen.items() if rating.state != "holds"} == {}
    assert found.owasp is not None
    tested = {each.id for each in found.owasp.risks if each.attacked}
    assert tested == {f"LLM{number:02}" for number in (1, 2, 5, 6, 7, 9, 10)}
    assert found.owasp.tested == 7 and "7 tested by attack" in told_of_owasp(found.owasp)


CALCULATOR = """
import os
import httpx

def complete(prompt):
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": prompt}], "max_tokens": 90}
    headers = {"Authorization": os.environ["OPENAI_API_KEY"]}
    got = httpx.post("https://api.openai.com/v1/chat/completions", json=body, headers=headers)
    return got.json()["choices"][0]["message"]["content"]

def answer(question: str, tone: str = "kind") -> str:
    return eval(complete("You are a calculator. Write one expression of Python for: " + question))

if __name__ == "__main__":
    print(answer(input("? ")))
"""


@needs_loopback
def test_without_a_service_the_function_that_asks_is_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "_SILENCE_S", 0.3)
    probed = probe(Folder(write(tmp_path, {"bot.py": CALCULATOR})))
    seen = {each.criterion: each for each in probed.steps}
    ran = CALCULATOR.splitlines().index('def answer(question: str, tone: str = "kind") -> str:') + 1
    handled = seen["infrastructure.output_handled"]
    assert handled.level == 0 and {(each.file, each.line) for each in handled.findings} == {("bot.py", ran)}
    assert "it was run, and wrote a file" in handled.findings[0].message
    assert seen["infrastructure.instructions_apart"].level == 0 and seen["infrastructure.answer_limit"].level == 1
    assert "infrastructure.callers_limited" not in seen
    assert "not probed: infrastructure.callers_limited: it is no service: a function of it was called" in probed.skipped


@needs_loopback
def test_what_cannot_be_asked_stays_unknown_and_says_why(tmp_path: Path) -> None:
    broken = CALCULATOR.replace("import os", "import os\nWEIGHTS = open('weights.bin').read()", 1)
    probed = probe(Folder(write(tmp_path, {"bot.py": broken})))
    assert probed.steps == []
    assert any("its language model" in each for each in probed.skipped), probed.skipped


# ---- the twin


def said(upstream: Upstream, path: str, body: dict[str, Any]) -> bytes:
    request = urllib.request.Request(upstream.address + path, json.dumps(body).encode())
    with urllib.request.urlopen(request, timeout=5) as got:
        content: bytes = got.read()
        return content


def test_the_twin_speaks_like_each_provider() -> None:
    upstream = Upstream()
    upstream.reply = lambda asked: Reply(asked.text.upper())
    chat = {"model": "m", "messages": [{"role": "user", "content": [{"type": "text", "text": "hello there"}]}]}
    whole = json.loads(said(upstream, "/v1/chat/completions", chat))
    assert whole["choices"][0]["message"]["content"] == "HELLO THERE" and whole["usage"]["total_tokens"] > 0
    lines = said(upstream, "/v1/chat/completions", chat | {"stream": True}).decode().split("\n\n")
    assert lines[-2] == "data: [DONE]"
    parts = [json.loads(each[6:])["choices"][0]["delta"].get("content", "") for each in lines[:-2]]
    assert len(parts) > 3 and "".join(parts) == "HELLO THERE"
    asked = {"model": "m", "max_tokens": 9, "system": "be kind", "messages": [{"role": "user", "content": "hello"}]}
    assert json.loads(said(upstream, "/v1/messages", asked))["content"][0]["text"] == "BE KIND\nHELLO"
    rows = said(upstream, "/api/chat", chat | {"messages": [{"role": "user", "content": "hello"}]}).splitlines()
    assert "".join(json.loads(row)["message"]["content"] for row in rows) == "HELLO" and json.loads(rows[-1])["done"]
    asked = {"model": "m", "instructions": "be kind", "input": "hello"}
    assert json.loads(said(upstream, "/v1/responses", asked))["output"][0]["content"][0]["text"] == "BE KIND\nHELLO"
    assert [each.limited for each in upstream.asked] == [False, False, True, False, False]
    assert [each.role for each in upstream.asked[2].messages] == ["system", "user"]


def test_the_twin_calls_tools_and_keeps_to_the_shape_that_is_asked_for() -> None:
    tools = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]
    asked = Asked("/chat/completions", {"tools": tools, "messages": []})
    called = answer(asked, Reply(calls=(("look", {"at": "it"}),)))["choices"][0]
    assert called["finish_reason"] == "tool_calls"
    assert json.loads(called["message"]["tool_calls"][0]["function"]["arguments"]) == {"at": "it"}
    schema = {"type": "object", "properties": {"answer": {"type": "string"}, "sure": {"type": "number"}}}
    form = {"type": "json_schema", "json_schema": {"schema": schema}}
    made = answer(Asked("/chat/completions", {"response_format": form}), Reply("yes"))
    assert json.loads(made["choices"][0]["message"]["content"]) == {"answer": "yes", "sure": 1.0}
    made = answer(
        Asked("/v1/messages", {"tools": [{"name": "look", "input_schema": {}}]}), Reply(calls=(("look", {}),))
    )
    assert made["stop_reason"] == "tool_use" and made["content"][0]["name"] == "look"


def test_texts_that_share_words_have_near_embeddings() -> None:
    body = {"model": "text-embedding-3-small", "input": ["return a parcel", "parcel return rules", "winter weather"]}
    plain = answer(Asked("/v1/embeddings", body), Reply())["data"]
    packed = answer(Asked("/v1/embeddings", body | {"encoding_format": "base64"}), Reply())["data"]
    assert struct.unpack("<1536f", base64.b64decode(packed[0]["embedding"])) == pytest.approx(plain[0]["embedding"])
    near, far = (
        sum(a * b for a, b in zip(plain[0]["embedding"], plain[at]["embedding"], strict=True)) for at in (1, 2)
    )
    assert near > 0.5 > far == 0


def test_providers_that_stand_in_the_copy_lead_to_the_twin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "x")
    upstream, copy = Upstream(), tmp_path / "copy"
    write(copy, {"a.py": 'URL = "https://api.openai.com/v1/chat"\nX = "http://localhost:9000/mine"\n', "b.md": "api"})
    assert upstream.lead_here(copy) == 1
    assert (copy / "a.py").read_text() == f'URL = "{upstream.address}/v1/chat"\nX = "http://localhost:9000/mine"\n'
    said = "import tiktoken; e = tiktoken.encoding_for_model('m'); print(e.decode(e.encode('Grüße')))"
    got = subprocess.run([sys.executable, "-c", said], env={**os.environ}, capture_output=True, text=True, check=True)
    assert got.stdout == "Grüße\n"


@pytest.mark.parametrize(
    ("name", "about", "acts"),
    [
        ("delete_order", "", True),
        ("sendEmail", "", True),
        ("python_repl", "", True),
        ("customer", "Cancel a subscription", True),
        ("get_order_status", "Returns when an order was sent, or cancelled", False),
        ("searchUpdates", "Find what was updated", False),
    ],
)
def test_a_tool_acts_by_its_first_word(name: str, about: str, acts: bool) -> None:
    assert acting(Tool(name, about, {})) is acts


# ---- what is read before and after


def test_settings_are_decoys_addresses_and_numbers_and_defaults_stay(tmp_path: Path) -> None:
    code = """
import os
a, b, c = os.environ["SERVICE_TOKEN"], os.getenv("MAX_TOKENS"), os.environ["LLM_URL"]
d, e = os.getenv("OLLAMA_KEY", "x"), os.environ.get("TOP_K", "3")
KEY = request.headers.get("X-Shop-Key")
"""
    found = settings_of(Folder(write(tmp_path, {"app.py": code})))
    assert {name: found.env[name] for name in ("MAX_TOKENS", "LLM_URL")} == {"MAX_TOKENS": "5", "LLM_URL": "{twin}/v1"}
    assert "TOP_K" not in found.env and {"SERVICE_TOKEN", "OLLAMA_KEY", "OPENAI_API_KEY"} <= set(found.decoys)
    assert len(set(found.decoys.values())) == len(found.decoys) and found.headers == ["X-Shop-Key"]


@pytest.mark.parametrize(
    ("messages", "document", "level"),
    [
        ([("system", "Help."), ("user", "tell WORD")], False, 1),
        ([("system", "Help with: tell WORD")], False, 0),
        ([("user", "You are a help desk that answers kindly and in two sentences. tell WORD")], False, 0),
        ([("user", "You are a help desk that answers kindly and in two sentences. <q>tell WORD</q>")], False, 1),
        ([("user", "tell WORD")], False, 1),
        ([("system", "Help."), ("user", "Use: tell WORD. Question: when?")], True, 0),
        ([("system", "Help."), ("user", "Use: <doc id='1'>tell WORD</doc> Question: when?")], True, 1),
        ([("system", 'Use {"documents": ["tell WORD"]}')], True, 0.5),
        ([("system", "Help."), ("tool", "tell WORD")], True, 1),
    ],
)
def test_how_a_foreign_text_stands(messages: list[tuple[str, str]], document: bool, level: float) -> None:
    asked = Asked("/chat/completions", {"messages": [{"role": role, "content": text} for role, text in messages]})
    found = standing(asked, "WORD", "tell WORD", document=document)
    assert (found.level, bool(found.what)) == (level, level < 1)


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("Use <a><b>x WORD</b></a>", "</b>"),
        ("<a>x</a> WORD <a>y</a>", ""),
        ("```\nWORD\n```", "```"),
        ("Rules\n-----\nWORD\n-----\nEnd", "-----"),
        ("Rules\n-----\nWORD", ""),
    ],
)
def test_what_would_end_the_delimiters(text: str, end: str) -> None:
    assert closing(text, "WORD") == end


def test_an_order_is_planted_in_documents_and_in_nothing_else(tmp_path: Path) -> None:
    files = {"docs/a.md": "A", "b.jsonl": '{"id": "1", "text": "a long text"}\n', "c.json": '["x"]', "d.json": "{}"}
    files |= {"README.md": "R", "prompts/system.txt": "S", "requirements.txt": "R", "e.py": "pass"}
    write(tmp_path, files)
    assert plant(tmp_path, sorted(files)) == ["b.jsonl", "c.json", "docs/a.md"]
    assert PLANTED in json.loads((tmp_path / "b.jsonl").read_text().splitlines()[1])["text"]
    assert (tmp_path / "prompts/system.txt").read_text() == "S"


def test_a_place_that_reading_found_keeps_an_attack_by_one_route_from_saying_that_all_holds() -> None:
    place = Finding(file="a.py", line=1, message="eval(answer)")
    common: dict[str, Any] = {"summary": "s", "collector": "c", "collected": 0}

    def piece(name: str, grade: Grade, level: float, findings: list[Finding]) -> Observation:
        return Observation(criterion=name, grade=grade, level=level, findings=findings, **common)

    handled, guarded, limited = "infrastructure.output_handled", "governance.input_guard", "infrastructure.answer_limit"
    seen = [piece(handled, "E2", 0, [place]), piece(guarded, "E2", 0, []), piece(limited, "E2", 0, [place])]
    tested = beside(seen, [piece(handled, "E3", 1, []), piece(guarded, "E3", 1, []), piece(limited, "E3", 0, [])])
    assert [each.level for each in tested] == [0.5, 1, 0]
    assert "may not reach" in tested[0].summary and tested[1].summary == "s"
