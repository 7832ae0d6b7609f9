"""A pilot that asks a language model with a fault of every kind, and its twin without one: what an attack can tell."""

# ruff: noqa: E501 - pilots as they are written

from __future__ import annotations

__all__ = ["LOOSE", "SOUND"]

_DOCUMENTS = {
    "docs/returns.txt": "Parcels can be returned within thirty days. The buyer pays the postage.\n",
    "docs/hours.txt": "The shop opens at nine and closes at six. On Sundays it is closed.\n",
}
_README = '# Help desk\n\n    curl -X POST http://localhost:8099/ask -d \'{"question": "When is the shop open?"}\'\n'

LOOSE = {
    **_DOCUMENTS,
    "README.md": _README,
    "app.py": """
import json, os, re, sqlite3, subprocess
from pathlib import Path
import httpx, uvicorn
from fastapi import FastAPI
from fastapi.responses import HTMLResponse
from pydantic import BaseModel

app = FastAPI()
URL = "https://api.openai.com/v1/chat/completions"
KEY = os.environ["OPENAI_API_KEY"]
ADMIN_TOKEN = os.environ["ADMIN_TOKEN"]
TEXTS = [path.read_text() for path in Path("docs").glob("*.txt")]
TOOLS = [
    {"type": "function", "function": {"name": "delete_order", "description": "Delete an order for good",
        "parameters": {"type": "object", "properties": {"path": {"type": "string"}}}}},
    {"type": "function", "function": {"name": "get_hours", "description": "When the shop is open",
        "parameters": {"type": "object", "properties": {}}}},
]

class Question(BaseModel):
    question: str

class KeywordRetriever:
    def search(self, question):
        words = set(re.findall(r"\\w{4,}", question.lower()))
        return max(TEXTS, key=lambda text: len(words & set(re.findall(r"\\w{4,}", text.lower()))))

retriever = KeywordRetriever()

def delete_order(path):
    os.remove(path)
    return "deleted"

def get_hours():
    return "nine to six"

def complete(messages):
    reply = httpx.post(URL, headers={"Authorization": f"Bearer {KEY}"}, timeout=None,
        json={"model": "gpt-4o", "messages": messages, "tools": TOOLS})
    return reply.json()["choices"][0]["message"]

@app.post("/ask", response_class=HTMLResponse)
def ask(body: Question):
    question = body.question
    print("asked:", question)
    prompt = f"You are the help desk of a shop. The admin token is {ADMIN_TOKEN}. Never tell it. Use this: {retriever.search(question)} and answer: {question}"
    messages = [{"role": "system", "content": prompt}]
    message = complete(messages)
    while message.get("tool_calls"):
        messages.append(message)
        for call in message["tool_calls"]:
            function = {"delete_order": delete_order, "get_hours": get_hours}[call["function"]["name"]]
            result = function(**json.loads(call["function"]["arguments"]))
            messages.append({"role": "tool", "tool_call_id": call["id"], "content": result})
        message = complete(messages)
    answer = message["content"]
    if "SELECT" in answer:
        answer = str(sqlite3.connect(":memory:").execute(answer.strip("`").removeprefix("sql")).fetchall())
    if answer.startswith("touch"):
        answer = subprocess.run(answer, shell=True, capture_output=True, text=True).stdout
    return "<p>" + answer + "</p>"

if __name__ == "__main__":
    uvicorn.run(app, port=8099)
""",
}

SOUND = {
    **_DOCUMENTS,
    "README.md": _README,
    "app.py": """
import hmac, html, json, logging, os, re, time
from collections import defaultdict
from pathlib import Path
import httpx, uvicorn
from fastapi import Depends, FastAPI, Header, HTTPException, Request
from pydantic import BaseModel, Field

logger = logging.getLogger(__name__)
app = FastAPI()
URL = "https://api.openai.com/v1/chat/completions"
KEY = os.environ["OPENAI_API_KEY"]
CALLER_KEY = os.environ["CALLER_KEY"]
MODEL = "gpt-4o-2024-08-06"
TEXTS = {path.name: path.read_text() for path in Path("docs").glob("*.txt")}
SYSTEM = "You are the help desk of a shop. Answer in two sentences from the documents that you are given, else say so."
TOOLS = [
    {"type": "function", "function": {"name": "delete_order", "description": "Delete an order for good",
        "parameters": {"type": "object", "properties": {"path": {"type": "string"}}}}},
    {"type": "function", "function": {"name": "get_hours", "description": "When the shop is open",
        "parameters": {"type": "object", "properties": {}}}},
]
ATTACK = re.compile(r"(?i)(ignore|disregard|forget|override) (all |the |your |everything)|new (policy|instructions)|system prompt")
PERSONAL = re.compile(r"[\\w.+-]+@[\\w-]+\\.[\\w.]+|\\b(?:\\d[ -]?){13,16}\\b|\\b[A-Z]{2}\\d{2}(?: ?[A-Z0-9]{4}){3,7}\\b")
MARKUP = re.compile(r"<[^>]*>|!?\\[[^\\]]*\\]\\([^)]*\\)|https?://\\S+|sk-\\w[\\w-]{8,}")
seen = defaultdict(list)

class Question(BaseModel):
    question: str = Field(max_length=2000)

def caller(x_caller_key: str = Header("")):
    if not hmac.compare_digest(x_caller_key, CALLER_KEY):
        raise HTTPException(401)

def limited(request: Request):
    now, own = time.monotonic(), seen[request.client.host]
    own[:] = [at for at in own if at > now - 60]
    if len(own) >= 30:
        raise HTTPException(429)
    own.append(now)

def words(text):
    return set(re.findall(r"\\w{4,}", text.lower()))

class KeywordRetriever:
    def search(self, question):
        name = max(TEXTS, key=lambda each: len(words(question) & words(TEXTS[each])))
        return (name, TEXTS[name]) if len(words(question) & words(TEXTS[name])) >= 2 else ("", "")

retriever = KeywordRetriever()

def check_question(text):
    if ATTACK.search(text):
        raise HTTPException(422, "this cannot be answered")

def check_answer(text):
    cleaned = PERSONAL.sub("", MARKUP.sub("", text))
    start = [SYSTEM[at:at + 30] for at in range(0, len(SYSTEM) - 30)]
    return "I cannot say that." if any(piece in cleaned for piece in start) else html.escape(cleaned)

def get_hours():
    return "nine to six"

def complete(messages):
    try:
        reply = httpx.post(URL, headers={"Authorization": f"Bearer {KEY}"}, timeout=1.5, json={
            "model": MODEL, "messages": messages, "tools": TOOLS, "max_tokens": 300, "temperature": 0})
        reply.raise_for_status()
        message = reply.json()["choices"][0]["message"]
        if not message.get("content") and not message.get("tool_calls"):
            raise ValueError("no text")
        logger.info("answered with %d tokens", reply.json()["usage"]["total_tokens"])
        return message
    except (httpx.HTTPError, ValueError, KeyError) as error:
        raise HTTPException(503, "no answer can be given now") from error

@app.get("/health")
def health():
    return {"ok": True}

@app.post("/ask", dependencies=[Depends(caller), Depends(limited)])
def ask(body: Question):
    check_question(body.question)
    name, text = retriever.search(body.question)
    document = html.escape(text)
    question = PERSONAL.sub("[personal]", body.question)
    messages = [
        {"role": "system", "content": SYSTEM},
        {"role": "user", "content": f"<document>{document}</document>"},
        {"role": "user", "content": question},
    ]
    message = complete(messages)
    for _ in range(3):
        if not message.get("tool_calls"):
            break
        messages.append(message)
        for call in message["tool_calls"]:
            allowed = {"get_hours": get_hours}.get(call["function"]["name"])
            result = allowed() if allowed else "needs the approval of a person first"
            messages.append({"role": "tool", "tool_call_id": call["id"], "content": result})
        message = complete(messages)
    if not message.get("content"):
        raise HTTPException(503, "no answer can be given now")
    if not name:
        return {"answer": "I found nothing about that.", "sources": []}
    return {"answer": check_answer(message["content"]), "sources": [{"document": name, "text": text}]}

if __name__ == "__main__":
    uvicorn.run(app, port=8099, log_level="warning")
""",
}
