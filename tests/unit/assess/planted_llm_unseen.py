"""Faults written before the scanner had been run on any of them: libraries and idioms that the others do not use.

Five sets, each after what the one before taught was mended. At first sight the scanner found 11 of 13, 10 of 14, 5 of 8,
6 of 10 and 8 of 10 places, with 0, 3, 4, 0 and 1 false ones.
"""

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
DJANGO = """from django.contrib.auth.decorators import login_required
from django.shortcuts import render
from django.utils.safestring import mark_safe
from openai import OpenAI

client = OpenAI(timeout=20)


@login_required
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

PERSONA = """import streamlit as st
from openai import OpenAI

client = OpenAI(timeout=20)
persona = st.sidebar.text_input("Who shall answer?", "a clerk")
said = st.chat_input("Your question")
if said:
    history = [
        {
            "role": "system",
            "content": f"You are {persona}. Be brief.",
        }
    ]
    history.append({"role": "user", "content": said})
    stream = client.chat.completions.create(
        model="gpt-4o-2024-08-06", messages=history, stream=True, max_tokens=200
    )
    st.write_stream(stream)
"""
SQL = """from langchain_community.utilities import SQLDatabase
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import PromptTemplate
from langchain_openai import ChatOpenAI

db = SQLDatabase.from_uri("sqlite:///fees.db")
llm = ChatOpenAI(model="gpt-4o-2024-08-06", max_tokens=200, timeout=20)
write = PromptTemplate.from_template("Write one SQL query that answers: {question}") | llm | StrOutputParser()


def figures(question):
    query = write.invoke({"question": question})
    rows = db.run(query)
    return rows
"""
PAGE = """from flask import Blueprint, render_template, request
from markupsafe import Markup
from mistralai import Mistral

pages = Blueprint("pages", __name__)
mistral = Mistral(api_key="${MISTRAL}", timeout_ms=9000)


def told(text):
    done = mistral.chat.complete(model="mistral-large-2411", max_tokens=99, messages=[{"role": "user", "content": text}])
    return done.choices[0].message.content


def show(text):
    return render_template("told.html", body=Markup(told(text)))
"""
GRAPH = """from langchain_core.tools import Tool
from langchain_experimental.utilities import PythonREPL
from langchain_openai import ChatOpenAI
from langgraph.prebuilt import create_react_agent

count = Tool(
    name="count",
    description="Counts.",
    func=PythonREPL().run,
)
graph = create_react_agent(ChatOpenAI(model="gpt-4o-2024-08-06", max_tokens=99, timeout=9), [count])
"""
READER = """from fastapi import APIRouter
from llama_index.core import VectorStoreIndex
from llama_index.readers.web import SimpleWebPageReader

router = APIRouter()


@router.post("/add", dependencies=[authorised])
def add(address: str):
    pages = SimpleWebPageReader(html_to_text=True).load_data([address])
    return len(pages)
"""
ASSISTANT = """from openai import OpenAI

client = OpenAI(timeout=20)


def turn(thread, assistant):
    run = client.beta.threads.runs.create_and_poll(
        thread_id=thread,
        assistant_id=assistant,
    )
    return run.status
"""
WEAVIATE = """import weaviate
from openai import OpenAI

client = OpenAI(timeout=20)
base = weaviate.connect_to_local()
letters = base.collections.get("Letters")


def near(text, group):
    found = letters.query.near_text(query=text, limit=3)
    return [each.properties for each in found.objects]
"""
SHOWN = """import os

import gradio as gr
from openai import OpenAI

client = OpenAI(timeout=20)
with gr.Blocks() as page:
    gr.Markdown(f"Key in use: {os.environ['OPENAI_API_KEY']}")
"""
REACT = """export function Bubble({ msg }) {
  const own = msg.role === "user";
  return <div className={own ? "me" : "bot"}
    dangerouslySetInnerHTML={{ __html: msg.content }} />;
}
"""
KEPT = """import csv

from groq import Groq

client = Groq(timeout=20)


def reply(question):
    done = client.chat.completions.create(model="openai/gpt-oss-20b", max_tokens=99, messages=[{"role": "user", "content": question}])
    text = done.choices[0].message.content
    with open("asked.csv", "a", newline="") as file:
        rows = csv.writer(file)
        rows.writerow([question, text])
    return text
"""
TOLD = """from openai import OpenAI

client = OpenAI(timeout=20)


def reply(text):
    return client.chat.completions.create(
        model="gpt-4o-2024-08-06",
        max_tokens=99,
        messages=[
            {
                "role": "developer",
                "content": "You look up bookings. "
                "The API key for the ledger is 9f3kd82kdl20aa. "
                "Be polite.",
            },
            {"role": "user", "content": text},
        ],
    )
"""
FALCON = """import transformers

write = transformers.pipeline(
    "text-generation",
    model="tiiuae/falcon-7b-instruct",
    device_map="auto",
)


def letter(topic):
    return write(topic, max_new_tokens=99)
"""
SDK = '''import sqlite3

from agents import Agent, Runner, function_tool


@function_tool
def close_account(number: str) -> str:
    """Close an account."""
    with sqlite3.connect("bank.db") as base:
        base.execute("DELETE FROM accounts WHERE number = ?", (number,))
    return "closed"


clerk = Agent(name="clerk", instructions="Serve.", model="gpt-4.1-2025-04-14", tools=[close_account])
'''
HTTPX = """import os

import httpx

URL = "https://api.openai.com/v1/chat/completions"


async def reply(text):
    async with httpx.AsyncClient(timeout=20) as web:
        done = await web.post(
            URL,
            headers={"Authorization": f"Bearer {os.environ['OPENAI_API_KEY']}"},
            json={"model": "gpt-4o-2024-08-06", "messages": [{"role": "user", "content": text}]},
        )
    return done.json()["choices"][0]["message"]["content"]
"""
SECOND_CHAT = [
    case("persona", swapped("persona.py", PERSONA, 'f"You are {persona}. Be brief."', '"You are a clerk. Be brief."'), (APART, "persona.py", 'f"You are {persona}')),
    case("SQL of a chain", swapped("fees.py", SQL, "rows = db.run(query)", "rows = [query]"), (OUTPUT, "fees.py", "rows = db.run")),
    case("Markup of Mistral", swapped("pages.py", PAGE, "Markup(told(text))", "told(text)"), (OUTPUT, "pages.py", "body=Markup")),
    case("assistant without a limit", swapped("turn.py", ASSISTANT, "assistant_id=assistant,\n", "assistant_id=assistant,\n        max_completion_tokens=400,\n"), (LIMIT, "turn.py", "run = client.beta")),
    case("key in Markdown", swapped("shown.py", SHOWN, "{os.environ['OPENAI_API_KEY']}", "{bool(os.environ['OPENAI_API_KEY'])}"), ("governance.prompt_secrets", "shown.py", "gr.Markdown")),
    case("React", swapped("web/bubble.jsx", REACT, "dangerouslySetInnerHTML={{ __html: msg.content }} />", "title={msg.content} />"), (OUTPUT, "web/bubble.jsx", "dangerouslySet")),
    case("rows of a conversation", swapped("kept.py", KEPT, "rows.writerow([question, text])", "rows.writerow([len(question), len(text)])"), (LOGS, "kept.py", "rows.writerow")),
    case("key told to a developer", swapped("told.py", TOLD, '"The API key for the ledger is 9f3kd82kdl20aa. "\n', '"The API key is never yours to tell. "\n'), ("governance.prompt_secrets", "told.py", "9f3kd82kdl20aa")),
    case("Falcon", swapped("letter.py", FALCON, 'model="tiiuae/falcon-7b-instruct",\n', 'model="tiiuae/falcon-7b-instruct",\n    revision="8782b5c",\n'), ("model.pinned_model", "letter.py", "write = transformers")),
    case("HTTP by hand", swapped("byhand.py", HTTPX, '"messages": [{"role": "user", "content": text}]},', '"messages": [{"role": "user", "content": text}], "max_tokens": 99},'), (LIMIT, "byhand.py", "done = await web.post")),
]  # fmt: skip
SECOND_RAG = [
    case("reader of any page", swapped("add.py", READER, "load_data([address])", 'load_data(["https://help.bank.com/fees"])'), ("data.known_sources", "add.py", "pages = Simple")),
    case("Weaviate", swapped("near.py", WEAVIATE, "query=text, limit=3)", 'query=text, limit=3, filters=Filter.by_property("group").equal(group))'), (RIGHTS, "near.py", "found = letters")),
]  # fmt: skip
SECOND_AGENT = [
    case("interpreter as a tool", swapped("graph.py", GRAPH, "func=PythonREPL().run,", "func=len,"), (CONFIRM, "graph.py", "func=PythonREPL")),
    case("closing accounts", swapped("close.py", SDK, '"DELETE FROM accounts WHERE number = ?"', '"SELECT * FROM accounts WHERE number = ?"'), (CONFIRM, "close.py", "base.execute")),
]  # fmt: skip
SECOND = {"chat": SECOND_CHAT, "rag": SECOND_RAG, "agent": SECOND_AGENT}

BOT = """import logging
import os

from openai import AsyncOpenAI
from slack_bolt.async_app import AsyncApp

log = logging.getLogger("desk")
app = AsyncApp(token=os.environ["SLACK_BOT_TOKEN"])
ai = AsyncOpenAI(api_key=os.environ["OPENAI_API_KEY"], timeout=20.0)
PERSONA = open("persona.txt").read()


@app.event("app_mention")
async def mentioned(event, say):
    text = event["text"]
    turns = [dict(role="system", content=PERSONA + text), dict(role="user", content="Answer.")]
    done = await ai.chat.completions.create(model="gpt-4o-2024-08-06", messages=turns, max_tokens=200)
    log.info("answered in %s, %s tokens", event["channel"], done.usage.total_tokens)
    await say(done.choices[0].message.content)
"""
MODE = """import os
import subprocess
import tempfile

import anthropic

client = anthropic.Anthropic(timeout=20)


def code_for(task):
    done = client.messages.create(
        model="claude-3-5-sonnet-20241022", max_tokens=800, messages=[{"role": "user", "content": task}]
    )
    return done.content[0].text


def run(task):
    with tempfile.NamedTemporaryFile("w", suffix=".py", delete=False) as file:
        file.write(code_for(task))
    return subprocess.run(["python", file.name], capture_output=True, timeout=60)
"""
EXPRESS = """import gradio as gr
from huggingface_hub import InferenceClient

client = InferenceClient("meta-llama/Llama-3.1-8B-Instruct", timeout=20)


def respond(message, history, temperature):
    messages = [{"role": "system", "content": "Be kind."}]
    messages.append({"role": "user", "content": message})
    text = ""
    for part in client.chat_completion(messages, stream=True, temperature=temperature):
        text += part.choices[0].delta.content or ""
        yield text


gr.ChatInterface(respond, additional_inputs=[gr.Slider(0, 1)]).launch()
"""
MILVUS = """import streamlit as st
from langchain_milvus import Milvus
from langchain_openai import OpenAIEmbeddings

store = Milvus(embedding_function=OpenAIEmbeddings(), collection_name="hr", connection_args={"uri": "http://milvus"})


def best(question, department):
    ranked = store.similarity_search_with_score(question, k=3)
    return [(page.page_content, page.metadata["source"], score) for page, score in ranked]
"""
EMAIL = '''import os

import resend
from pydantic_ai import Agent, Tool


def send(to: str, subject: str, text: str) -> str:
    """Send a letter."""
    import smtplib

    server = smtplib.SMTP_SSL(os.environ["SMTP"])
    server.send_message(text)
    return "sent"


clerk = Agent("openai:gpt-4o-2024-08-06", tools=[Tool(send)])
'''
LOADER = """import requests
from bs4 import BeautifulSoup
from flask import Blueprint, request
from langchain_community.vectorstores import FAISS
from langchain_openai import OpenAIEmbeddings

learn = Blueprint("learn", __name__)


@learn.route("/learn", methods=["POST"])
@login_required
def add():
    source = request.get_json()["source"]
    page = BeautifulSoup(requests.get(source, timeout=5).text, "html.parser")
    FAISS.from_texts([page.get_text()], OpenAIEmbeddings()).save_local("pages")
    return {"ok": True}
"""
DEFAULT = """from langchain.chat_models import init_chat_model
from langchain_core.prompts import ChatPromptTemplate

model = init_chat_model("gpt-4o", model_provider="openai", max_tokens=200, timeout=20)
prompt = ChatPromptTemplate([("system", "Serve {branch}."), ("user", "{question}")])
chain = prompt | model
"""
AUDIT = """import json
import logging
from datetime import datetime

from langchain_aws import ChatBedrock

audit = logging.getLogger("audit")
llm = ChatBedrock(model_id="anthropic.claude-3-haiku-20240307-v1:0", model_kwargs={"max_tokens": 99}, config=TIMEOUT)


def answer(question, user):
    reply = llm.invoke(question)
    record = {"at": datetime.now().isoformat(), "user": user.id, "question": question, "reply": reply.content}
    audit.info(json.dumps(record))
    return reply.content
"""
THIRD_CHAT = [
    case("Slack, dict()", swapped("bot.py", BOT, 'content=PERSONA + text), dict(role="user", content="Answer.")', 'content=PERSONA), dict(role="user", content=text)'), (APART, "bot.py", "turns = [dict")),
    case("code in a file that is run", swapped("mode.py", MODE, "file.write(code_for(task))", 'file.write("print(1)")'), (OUTPUT, "mode.py", "subprocess.run")),
    case("Hugging Face without a limit", swapped("space.py", EXPRESS, "stream=True, temperature=temperature)", "stream=True, max_tokens=200, temperature=temperature)"), (LIMIT, "space.py", "for part in client")),
    case("alias given first", swapped("default.py", DEFAULT, '"gpt-4o"', '"gpt-4o-2024-08-06"'), ("model.pinned_model", "default.py", "model = init")),
    case("audit in clear", swapped("audit.py", AUDIT, "audit.info(json.dumps(record))", 'audit.info("answered %s", user.id)'), (LOGS, "audit.py", "audit.info")),
]  # fmt: skip
THIRD_RAG = [
    case("Milvus", swapped("hr.py", MILVUS, "(question, k=3)", "(question, k=3, expr=f\"department == '{department}'\")"), (RIGHTS, "hr.py", "ranked = store")),
    case("page of a request", swapped("learn.py", LOADER, "requests.get(source, timeout=5)", 'requests.get("https://help.bank.com/" + source, timeout=5)'), ("data.known_sources", "learn.py", "requests.get")),
]  # fmt: skip
THIRD_AGENT = [
    case("letters", swapped("letters.py", EMAIL, "server.send_message(text)", "server.noop()"), (CONFIRM, "letters.py", "server.send_message")),
]  # fmt: skip
THIRD = {"chat": THIRD_CHAT, "rag": THIRD_RAG, "agent": THIRD_AGENT}

RAGAS = """from langchain_openai import ChatOpenAI
from ragas import evaluate
from ragas.metrics import faithfulness

judge = ChatOpenAI(
    model="gpt-4o-2024-08-06",
    max_tokens=900,
    timeout=60,
)


def score(rows):
    return evaluate(rows, metrics=[faithfulness], llm=judge)
"""
LANGFUSE = """from langfuse import Langfuse
from openai import OpenAI

client = OpenAI(timeout=20)
langfuse = Langfuse()


def instructions():
    return langfuse.get_prompt("clerk").compile()
"""
PINECONE = """import os
import pickle

import numpy as np
from flask import Flask
from sentence_transformers import SentenceTransformer
from openai import OpenAI

client = OpenAI(timeout=20)
STORE_PATH = os.path.join("data", "vector_store.pkl")


def opened():
    with open(STORE_PATH, "rb") as handle:
        return pickle.load(handle)
"""
STREAM = """from fastapi import APIRouter, Depends
from fastapi.responses import HTMLResponse
from openai import AsyncOpenAI

router = APIRouter(dependencies=[Depends(authorised)])
client = AsyncOpenAI(timeout=20)


async def written(topic):
    made = await client.chat.completions.create(
        model="gpt-4o-2024-08-06", max_tokens=400, messages=[{"role": "user", "content": topic}]
    )
    return made.choices[0].message.content.strip()


@router.get("/page")
async def page(topic: str):
    body = await written(topic)
    return HTMLResponse(f"<main>{body}</main>")
"""
MEMORY = """import json
from pathlib import Path

import ollama

client = ollama.Client(timeout=30)
MEMORY = Path("chat_history.json")


def talk(user_message, turns):
    turns.append({"role": "user", "content": user_message})
    reply = client.chat(model="qwen2.5:7b", messages=turns, options={"num_predict": 200})
    turns.append(reply["message"])
    MEMORY.write_text(json.dumps(turns))
    return reply["message"]["content"]
"""
TERMINAL = '''from smolagents import CodeAgent, InferenceClientModel, tool


@tool
def fee(name: str) -> float:
    """The fee of a product.

    Args:
        name: the product.
    """
    return 3.5


agent = CodeAgent(tools=[fee], model=InferenceClientModel("Qwen/Qwen2.5-Coder-32B-Instruct"))
'''
JINJA = """from jinja2 import Template
from openai import OpenAI

client = OpenAI(timeout=20)
RULES = Template("You are a clerk of {{ house }}. The customer is called {{ name }}.")


def reply(house, user_text):
    rules = RULES.render(house=house, name=user_text)
    return client.responses.create(
        model="gpt-4.1-2025-04-14",
        instructions=rules,
        input=user_text,
        max_output_tokens=200,
    )
"""
CRAWL = '''from langchain_community.document_loaders import WebBaseLoader
from langchain_core.tools import tool


@tool
def read_page(url: str) -> str:
    """Read a page."""
    loader = WebBaseLoader(url)
    return loader.load()[0].page_content[:4000]
'''
ADMIN = '''import litellm

BASE = """You help the night shift.
Rooms are opened with the master code.
Master password: Kite-7719
"""


def reply(text):
    return litellm.completion(
        model="gpt-4o-2024-08-06",
        timeout=9,
        max_tokens=99,
        messages=[{"role": "system", "content": BASE}, {"role": "user", "content": text}],
    )
'''
CHROMA = """import chromadb
import streamlit as st

pages = chromadb.HttpClient(host="chroma").get_collection(name="contracts")


def near(question, user):
    found = pages.query(
        query_texts=[question],
        n_results=5,
    )
    return found["documents"][0], found["metadatas"][0]
"""
FOURTH_CHAT = [
    case("judge that varies", swapped("evals/judge.py", RAGAS, "max_tokens=900,\n", "max_tokens=900,\n    temperature=0,\n"), ("model.repeatable_evaluation", "evals/judge.py", "judge = ChatOpenAI")),
    case("newest prompt", swapped("words.py", LANGFUSE, 'get_prompt("clerk")', 'get_prompt("clerk", version=7)'), ("model.prompts_versioned", "words.py", "return langfuse")),
    case("page of a route", swapped("page.py", STREAM, 'HTMLResponse(f"<main>{body}</main>")', '{"body": body}'), (OUTPUT, "page.py", "return HTMLResponse")),
    case("memory in clear", swapped("talk.py", MEMORY, "MEMORY.write_text(json.dumps(turns))", "MEMORY.write_text(json.dumps(len(turns)))"), (LOGS, "talk.py", "MEMORY.write_text")),
    case("name in rules", swapped("rules.py", JINJA, "name=user_text)", 'name="you")'), (APART, "rules.py", "rules = RULES.render")),
    case("master password", swapped("night.py", ADMIN, "Master password: Kite-7719\n", "Never tell a password.\n"), ("governance.prompt_secrets", "night.py", "Kite-7719")),
]  # fmt: skip
FOURTH_RAG = [
    case("index under a constant", swapped("opened.py", PINECONE, "return pickle.load(handle)", "return np.load(handle, allow_pickle=False)"), (INDEX, "opened.py", "return pickle.load")),
    case("collection over HTTP", swapped("near.py", CHROMA, "n_results=5,\n", 'n_results=5,\n        where={"team": user.team},\n'), (RIGHTS, "near.py", "found = pages.query")),
]  # fmt: skip
FOURTH_AGENT = [
    case("code agent", swapped("fees.py", TERMINAL, "CodeAgent(tools=[fee],", 'CodeAgent(executor_type="e2b", tools=[fee],'), (CONFIRM, "fees.py", "agent = CodeAgent")),
    case("page that the model names", swapped("read.py", CRAWL, "loader = WebBaseLoader(url)", 'loader = WebBaseLoader("https://help.bank.com/fees")'), ("data.known_sources", "read.py", "loader = WebBaseLoader")),
]  # fmt: skip
FOURTH = {"chat": FOURTH_CHAT, "rag": FOURTH_RAG, "agent": FOURTH_AGENT}

ENGINE = """from llama_index.core import Settings, SimpleDirectoryReader, VectorStoreIndex
from llama_index.llms.openai import OpenAI

Settings.llm = OpenAI(model="gpt-4o-2024-08-06", max_tokens=300, timeout=20)
index = VectorStoreIndex.from_documents(SimpleDirectoryReader("pages").load_data())


def talk(user_message, filters):
    engine = index.as_chat_engine(
        system_prompt=f"Serve kindly. They say: {user_message}",
        filters=filters,
    )
    return engine.chat("Please go on.")
"""
GENAI = """from google import genai
from google.genai import types

client = genai.Client(http_options=types.HttpOptions(timeout=20_000))


def summary(text):
    done = client.models.generate_content(
        model="gemini-1.5-pro-002",
        contents=text,
    )
    return done.text
"""
FENCED = """import re

from openai import OpenAI

client = OpenAI(timeout=20)


def chart(task):
    reply = client.chat.completions.create(
        model="gpt-4o-2024-08-06", max_tokens=900, messages=[{"role": "user", "content": task}]
    )
    text = reply.choices[0].message.content
    found = re.search(r"```python(.*?)```", text, re.DOTALL)
    code = found.group(1)
    scope = {}
    exec(code, scope)
    return scope["figure"]
"""
FRAME = """import pandas as pd
from openai import OpenAI

client = OpenAI(timeout=20)
FOLDER = "data"
frame = pd.read_pickle(f"{FOLDER}/page_embeddings.pkl")
"""
STRUCT = """import structlog
from mistralai import Mistral

log = structlog.get_logger()
mistral = Mistral(api_key="${MISTRAL}", timeout_ms=9000)


def reply(question):
    done = mistral.chat.complete(
        model="mistral-small-2409", max_tokens=200, messages=[{"role": "user", "content": question}]
    )
    text = done.choices[0].message.content
    log.info("answered", question=question, answer=text)
    return text
"""
FILES = """from langchain.agents import create_tool_calling_agent
from langchain_community.agent_toolkits import FileManagementToolkit
from langchain_openai import ChatOpenAI

llm = ChatOpenAI(model="gpt-4o-2024-08-06", max_tokens=300, timeout=20)
tools = FileManagementToolkit(root_dir="/srv/share").get_tools()
clerk = create_tool_calling_agent(llm, tools, PROMPT)
"""
BUBBLES = """import streamlit as st
from openai import OpenAI

client = OpenAI(timeout=20)
st.session_state.setdefault("turns", [])
if asked := st.chat_input("Ask"):
    st.session_state.turns.append({"role": "user", "content": asked})
    done = client.chat.completions.create(
        model="gpt-4o-2024-08-06", max_tokens=300, messages=st.session_state.turns
    )
    st.session_state.turns.append({"role": "assistant", "content": done.choices[0].message.content})
for turn in st.session_state.turns:
    st.markdown(f"<div class='bubble'>{turn['content']}</div>", unsafe_allow_html=True)
"""
SETTINGS = """from openai import OpenAI
from pydantic_settings import BaseSettings


class Settings(BaseSettings):
    model: str = "gpt-4o-mini"
    limit: int = 300


settings = Settings()
client = OpenAI(timeout=20)


def reply(text):
    return client.chat.completions.create(
        model=settings.model, max_tokens=settings.limit, messages=[{"role": "user", "content": text}]
    )
"""
FIFTH_CHAT = [
    case("code between fences", swapped("chart.py", FENCED, "exec(code, scope)", 'scope["figure"] = len(code)'), (OUTPUT, "chart.py", "exec(code"), (UNSAFE, "chart.py", "exec(code")),
    case("google without a limit", swapped("summary.py", GENAI, "contents=text,\n", "contents=text,\n        config=types.GenerateContentConfig(max_output_tokens=300),\n"), (LIMIT, "summary.py", "done = client.models")),
    case("structured log", swapped("log.py", STRUCT, "question=question, answer=text", "letters=len(text)"), (LOGS, "log.py", 'log.info("answered"')),
    case("bubbles", swapped("bubbles.py", BUBBLES, "st.markdown(f\"<div class='bubble'>{turn['content']}</div>\", unsafe_allow_html=True)", "st.markdown(turn['content'])"), (OUTPUT, "bubbles.py", "st.markdown"), (UNSAFE, "bubbles.py", "st.markdown")),
    case("alias of settings", swapped("settings.py", SETTINGS, '"gpt-4o-mini"', '"gpt-4o-mini-2024-07-18"'), ("model.pinned_model", "settings.py", "model: str")),
]  # fmt: skip
FIFTH_RAG = [
    case("chat engine", swapped("talk.py", ENGINE, 'f"Serve kindly. They say: {user_message}"', '"Serve kindly."'), (APART, "talk.py", "system_prompt=f")),
    case("frame of embeddings", swapped("frame.py", FRAME, 'read_pickle(f"{FOLDER}/page_embeddings.pkl")', 'read_parquet(f"{FOLDER}/page_embeddings.parquet")'), (INDEX, "frame.py", "frame = pd")),
]  # fmt: skip
FIFTH_AGENT = [
    case("toolkit of files", swapped("files.py", FILES, 'root_dir="/srv/share")', 'root_dir="/srv/share", selected_tools=["read_file"])'), (CONFIRM, "files.py", "tools = FileManagement")),
]  # fmt: skip
FIFTH = {"chat": FIFTH_CHAT, "rag": FIFTH_RAG, "agent": FIFTH_AGENT}
