"""Faults written before the scanner had been run on any of them: libraries and idioms that the others do not use."""

# ruff: noqa: E501 - a pilot in a line: the fault beside its twin

from __future__ import annotations

from tests.unit.assess.planted import Case, Files
from tests.unit.assess.planted_llm import (
    APART,
    CONFIRM,
    INDEX,
    LIMIT,
    LOGS,
    OUTPUT,
    RIGHTS,
    TIMEOUT,
    UNSAFE,
)


def swapped(file: str, text: str, old: str, new: str) -> tuple[Files, Files]:
    """The file as it is, and with one piece mended."""
    assert text.count(old) == 1, old
    return {file: text}, {file: text.replace(old, new)}


def case(name: str, files: tuple[Files, Files], *where: tuple[str, str, str]) -> Case:
    return Case(name=name, planted=files[0], clean=files[1], where=list(where))


LLAMA = """from fastapi import FastAPI
from llama_index.core import StorageContext, load_index_from_storage
from llama_index.core.vector_stores import MetadataFilters

index = load_index_from_storage(StorageContext.from_defaults(persist_dir="pages"))


def engine_for(groups: MetadataFilters):
    return index.as_query_engine(
        similarity_top_k=3,
    )


def answer(text, groups):
    found = engine_for(groups).query(text)
    return {"text": str(found), "from": [node.metadata for node in found.source_nodes]}
"""
CHAINLIT = '''import chainlit as cl
import litellm

MODEL = "azure/desk-2024"


@cl.on_message
async def main(message: cl.Message):
    persona = f"""You are the concierge.
    The guest said: {message.content}
    """
    reply = await litellm.acompletion(
        model=MODEL,
        timeout=20,
        max_tokens=200,
        messages=[{"role": "system", "content": persona}, {"role": "user", "content": "Please answer."}],
    )
    await cl.Message(content=reply.choices[0].message.content).send()
'''
BEDROCK = """import boto3
from botocore.config import Config

runtime = boto3.client("bedrock-runtime", config=Config(read_timeout=20))


class Writer:
    def __init__(self, region):
        self.region = region

    def write(self, text):
        out = runtime.converse(
            modelId="anthropic.claude-3-5-sonnet-20241022-v2:0",
            messages=[{"role": "user", "content": [{"text": text}]}],
        )
        return out["output"]["message"]["content"][0]["text"]
"""
CREW = """from crewai import LLM, Agent, Crew, Task
from crewai_tools import CodeInterpreterTool, SerperDevTool

analyst = Agent(
    role="analyst",
    goal="find the figure",
    backstory="You count.",
    tools=[SerperDevTool(), CodeInterpreterTool()],
)
crew = Crew(agents=[analyst], tasks=[Task(description="count", expected_output="a number", agent=analyst)])


def main(topic):
    return crew.kickoff(inputs={"topic": topic})
"""
PYDANTIC = '''import httpx
from pydantic_ai import Agent, RunContext

agent = Agent("anthropic:claude-3-5-sonnet-20241022", system_prompt="Help with bills.")


@agent.tool
async def pay(ctx: RunContext[str], iban: str, amount: float) -> str:
    """Pay a bill."""
    async with httpx.AsyncClient(timeout=9) as bank:
        done = await bank.post("https://pay.bank.com/transfers", json={"iban": iban, "amount": amount})
    return done.text
'''
OLLAMA = """import os

import requests

ADDRESS = "http://localhost:11434/api/generate"


def suggest(task):
    body = {"model": "llama3.1:8b", "prompt": task, "stream": False, "options": {"num_predict": 60}}
    return requests.post(ADDRESS, json=body, timeout=30).json()["response"]


def work(task):
    line = suggest(task).splitlines()[0]
    done = os.popen(line)
    return done.read()
"""
TELEGRAM = """from openai import OpenAI
from qdrant_client import QdrantClient, models
from telegram.ext import ApplicationBuilder, MessageHandler, filters

qdrant = QdrantClient(url="http://qdrant:6333")
client = OpenAI(timeout=20, max_retries=1)


def nearest(text, team):
    vector = client.embeddings.create(model="text-embedding-3-small", input=text).data[0].embedding
    hits = qdrant.query_points(
        collection_name="notes",
        query=vector,
        limit=5,
    )
    return [(hit.payload["text"], hit.payload["source"]) for hit in hits.points]
"""
DJANGO = """from django.shortcuts import render
from django.utils.safestring import mark_safe
from openai import OpenAI

client = OpenAI(timeout=20)


def explain(request):
    made = client.responses.create(model="gpt-4.1-2025-04-14", input=request.POST["text"], max_output_tokens=200)
    body = made.output_text.replace("\\n", "<br>")
    return render(request, "explain.html", {"body": mark_safe(body)})
"""
JOBLIB = """import joblib
import numpy as np
from rank_bm25 import BM25Okapi
from openai import OpenAI

client = OpenAI(timeout=20)
PASSAGES = "passages.joblib"
passages = joblib.load(PASSAGES)
bm25 = BM25Okapi([each.split() for each in passages])
"""
LOGURU = """from anthropic import Anthropic
from loguru import logger

assistant = Anthropic(timeout=20)


def summarise(letter):
    made = assistant.messages.create(
        model="claude-3-haiku-20240307",
        max_tokens=300,
        messages=[{"role": "user", "content": f"Summarise:\\n{letter}"}],
    )
    logger.debug(f"summary: {made.content[0].text}")
    return made.content[0].text
"""
AZURE = """import os

from openai import AzureOpenAI


class Desk:
    def __init__(self):
        self.client = AzureOpenAI(
            azure_endpoint=os.environ["AZURE_ENDPOINT"],
            api_version="2024-06-01",
        )

    def reply(self, text):
        done = self.client.chat.completions.create(
            model=os.environ["DEPLOYMENT"], max_tokens=200, messages=[{"role": "user", "content": text}]
        )
        return done.choices[0].message.content
"""
COHERE = """import cohere

co = cohere.ClientV2(timeout=20)
TONE = "Answer as a clerk would. "


def reply(customer_message, history):
    turns = [{"role": "system", "content": TONE + "The customer wrote: %s" % customer_message}]
    turns += history
    return co.chat(model="command-r-08-2024", messages=turns, max_tokens=200).message.content[0].text
"""
UNSEEN_CHAT = [
    case("concierge", swapped("guest.py", CHAINLIT, "    The guest said: {message.content}\n", "    Speak {MODEL}.\n"), (APART, "guest.py", "persona = f")),
    case("Bedrock", swapped("writer.py", BEDROCK, 'messages=[{"role": "user", "content": [{"text": text}]}],\n', 'messages=[{"role": "user", "content": [{"text": text}]}],\n            inferenceConfig={"maxTokens": 200},\n'), (LIMIT, "writer.py", "out = runtime.converse")),
    case("plain HTTP to a shell", swapped("work.py", OLLAMA, "done = os.popen(line)\n    return done.read()", "done = [line]\n    return done"), (OUTPUT, "work.py", "os.popen"), (UNSAFE, "work.py", "os.popen")),
    case("Django", swapped("views.py", DJANGO, '{"body": mark_safe(body)}', '{"body": body}'), (OUTPUT, "views.py", "mark_safe(body)")),
    case("loguru", swapped("letters.py", LOGURU, '{made.content[0].text}")', '{made.usage.output_tokens}")'), (LOGS, "letters.py", "logger.debug")),
    case("Azure in a class", swapped("desk.py", AZURE, 'api_version="2024-06-01",\n', 'api_version="2024-06-01",\n            timeout=20,\n'), (TIMEOUT, "desk.py", "self.client = AzureOpenAI")),
    case("percent sign", swapped("clerk.py", COHERE, '"The customer wrote: %s" % customer_message}]', '"Today is %s" % "Monday"}, {"role": "user", "content": customer_message}]'), (APART, "clerk.py", "TONE + ")),
]  # fmt: skip
UNSEEN_RAG = [
    case("LlamaIndex", swapped("engine.py", LLAMA, "similarity_top_k=3,\n", "similarity_top_k=3,\n        filters=groups,\n"), (RIGHTS, "engine.py", "return index.as_query_engine")),
    case("Qdrant for a bot", swapped("bot.py", TELEGRAM, "limit=5,\n", 'limit=5,\n        query_filter=models.Filter(must=[models.FieldCondition(key="team", match=models.MatchValue(value=team))]),\n'), (RIGHTS, "bot.py", "hits = qdrant")),
    case("passages in joblib", swapped("words.py", JOBLIB, "joblib.load(PASSAGES)", "np.load(PASSAGES, allow_pickle=False)"), (INDEX, "words.py", "passages = joblib")),
]  # fmt: skip
UNSEEN_AGENT = [
    case("crew", swapped("crew.py", CREW, "tools=[SerperDevTool(), CodeInterpreterTool()]", "tools=[SerperDevTool()]"), (CONFIRM, "crew.py", "CodeInterpreterTool()]")),
    case("payment", swapped("pay.py", PYDANTIC, 'bank.post("https://pay.bank.com/transfers", json={"iban": iban, "amount": amount})', 'bank.get("https://pay.bank.com/transfers", params={"iban": iban})'), (CONFIRM, "pay.py", "bank.post")),
]  # fmt: skip
UNSEEN = {"chat": UNSEEN_CHAT, "rag": UNSEEN_RAG, "agent": UNSEEN_AGENT}
