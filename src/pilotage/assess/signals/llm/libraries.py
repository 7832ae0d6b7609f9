"""What libraries of language models call their parts: clients, models, stores, loaders, tools, and how they are asked.

Names only: nothing of these libraries is imported. A part is told by the last word of its dotted name, and by the root
of the import where a word alone would say too little.
"""

from __future__ import annotations

import re

__all__ = [
    "ACTING_TOOLS",
    "ASKS",
    "ASK_ENDS",
    "EVALUATORS",
    "FETCHERS",
    "LIBRARIES",
    "LOCAL",
    "NEAR",
    "SDK_CLIENTS",
    "UIS",
    "is_agent",
    "is_engine",
    "is_model",
    "is_retriever",
    "is_store",
    "library_of",
    "store_of",
]

LIBRARIES = frozenset({
    "openai", "anthropic", "litellm", "ollama", "cohere", "mistralai", "groq", "together", "replicate", "llama_cpp",
    "ctransformers", "gpt4all", "vllm", "dspy", "guidance", "instructor", "autogen", "autogen_agentchat", "crewai",
    "pydantic_ai", "smolagents", "langgraph", "llama_index", "semantic_kernel", "agents", "swarm", "chainlit",
    "google.generativeai", "google.genai", "vertexai.generative_models", "azure.ai.inference", "phi.agent", "agno",
})  # fmt: skip
"""Roots of imports that are about a language model. `langchain*`, `llama_index*`, `haystack*` are matched as well."""

FAMILIES = ("langchain", "llama_index", "haystack")
LOCAL = frozenset({"ollama", "llama_cpp", "ctransformers", "gpt4all", "vllm", "transformers"})
"""Libraries whose models run on the own machine, as a rule."""

NEAR = frozenset({
    "chromadb", "pinecone", "qdrant_client", "weaviate", "faiss", "pymilvus", "lancedb", "sentence_transformers",
    "streamlit", "gradio", "chainlit", "ragas", "deepeval", "guardrails", "presidio_analyzer",
})  # fmt: skip
"""Libraries of indexes, pages and evaluations: modules that import them belong to a pilot that asks a model."""

UIS = frozenset({"streamlit", "gradio", "chainlit", "panel", "nicegui", "telegram", "telebot", "discord", "slack_bolt"})

SDK_CLIENTS = re.compile(
    r"^(openai\.(Async)?(Azure)?OpenAI|openai\.(AsyncAzureOpenAI)|anthropic\.(Async)?Anthropic(Bedrock|Vertex)?"
    r"|cohere\.(Async)?Client(V2)?|mistralai\.(\w+\.)*Mistral(Client)?|groq\.(Async)?Groq|together\.(Async)?Together"
    r"|google\.genai\.Client|huggingface_hub\.(Async)?InferenceClient|ollama\.(Async)?Client"
    r"|azure\.ai\.inference\.(\w+\.)*ChatCompletionsClient|replicate\.Client)$"
)
_MODELS = frozenset({
    "ChatOpenAI", "AzureChatOpenAI", "ChatAnthropic", "ChatOllama", "OllamaLLM", "Ollama", "ChatGroq", "ChatMistralAI",
    "ChatCohere", "ChatGoogleGenerativeAI", "GoogleGenerativeAI", "ChatVertexAI", "VertexAI", "ChatBedrock", "Bedrock",
    "BedrockChat", "ChatBedrockConverse", "BedrockConverse", "BedrockLLM", "HuggingFaceHub", "HuggingFaceEndpoint",
    "HuggingFacePipeline", "HuggingFaceLLM", "ChatHuggingFace", "HuggingFaceInferenceAPI", "LlamaCpp", "LlamaCPP",
    "CTransformers", "GPT4All", "ChatLiteLLM", "ChatTogether", "Together", "ChatFireworks", "Fireworks", "Replicate",
    "Anthropic", "OpenAI", "AzureOpenAI", "OpenAILike", "MistralAI", "Groq", "Gemini", "Cohere", "ChatDeepSeek",
    "ChatNVIDIA", "ChatXAI", "ChatPerplexity", "OpenAIGenerator", "OpenAIChatGenerator", "AzureOpenAIChatGenerator",
    "OpenAIChat", "OpenAIChatCompletionClient", "OpenAIModel", "OpenAIChatModel", "AnthropicModel",
})  # fmt: skip
_MODEL_NAMES = re.compile(
    r"(^|\.)(init_chat_model|GenerativeModel|dspy\.LM|llama_cpp\.Llama|vllm\.LLM|crewai\.LLM|InferenceClientModel"
    r"|HfApiModel|LiteLLMModel|OpenAIServerModel|TransformersModel|(AutoModelForCausalLM|AutoModelForSeq2SeqLM)"
    r"\.from_pretrained)$"
)
_GENERATES = ("text-generation", "text2text-generation", "conversational", "summarization", "image-text-to-text")

ASK_ENDS = (
    "chat.completions.create", "chat.completions.parse", "chat.completions.stream", "completions.create",
    "responses.create", "responses.parse", "responses.stream", "ChatCompletion.create", "ChatCompletion.acreate",
    "Completion.create", "Completion.acreate", "messages.create", "messages.stream", "chat.complete",
    "chat.complete_async", "chat.stream", "models.generate_content", "models.generate_content_stream",
    "litellm.completion", "litellm.acompletion", "litellm.text_completion", "ollama.chat", "ollama.generate",
    "chat_completion", "text_generation", "invoke_model", "invoke_model_with_response_stream", "converse",
    "converse_stream", "replicate.run", "create_chat_completion", "create_completion", "generate_content",
    "generate_content_async", "threads.runs.create", "threads.runs.create_and_poll", "threads.runs.stream",
    "threads.create_and_run", "threads.create_and_run_poll", "Runner.run", "Runner.run_sync", "Runner.run_streamed",
)  # fmt: skip
"""How an SDK is asked: ends of dotted names."""

ASKS = frozenset({
    "invoke", "ainvoke", "stream", "astream", "batch", "abatch", "predict", "apredict", "predict_messages", "run",
    "arun", "generate", "agenerate", "generate_content", "query", "aquery", "chat", "achat", "complete", "acomplete",
    "stream_chat", "stream_complete", "astream_chat", "kickoff", "kickoff_async", "run_sync", "run_stream",
    "initiate_chat", "send_message", "send_message_async", "create_chat_completion", "create_completion", "call",
    "astream_events", "text_generation", "forward", "chat_stream", "print_response",
})  # fmt: skip
"""Methods by which a model, chain, engine or agent is asked."""

_STORES = frozenset({
    "Chroma", "FAISS", "Pinecone", "PineconeVectorStore", "Qdrant", "QdrantVectorStore", "Weaviate",
    "WeaviateVectorStore", "Milvus", "MilvusVectorStore", "PGVector", "PGVectorStore", "Redis", "RedisVectorStore",
    "ElasticsearchStore", "OpenSearchVectorSearch", "AzureSearch", "LanceDB", "DeepLake", "Annoy",
    "DocArrayInMemorySearch",
    "InMemoryVectorStore", "VectorStoreIndex", "VectorstoreIndexCreator", "ChromaVectorStore", "FaissVectorStore",
    "MongoDBAtlasVectorSearch", "SupabaseVectorStore", "SKLearnVectorStore", "Typesense", "Vectara", "Marqo",
    "GPTVectorStoreIndex", "GPTSimpleVectorIndex", "DocumentSummaryIndex", "SimpleVectorStore", "Clickhouse",
    "QdrantClient", "AsyncQdrantClient", "PersistentClient", "EphemeralClient", "SearchClient", "InMemoryDocumentStore",
})  # fmt: skip
_STORE_MAKERS = re.compile(
    r"(^|\.)(from_texts|from_documents|from_existing_index|from_embeddings|load_local|from_vector_store"
    r"|get_or_create_collection|create_collection|get_collection|load_index_from_storage|read_index|IndexFlat(L2|IP)"
    r"|IndexHNSWFlat|IndexIVFFlat|chromadb\.\w*Client|weaviate\.connect_to_\w+|weaviate\.Client|MilvusClient|lancedb\.connect)$"
)
_RETRIEVERS = re.compile(r"Retriever$|\.as_retriever$|^as_retriever$|from_retriever$")
_ENGINES = re.compile(
    r"^(haystack\.(Async)?Pipeline|haystack\.core\.pipeline\.\w+|semantic_kernel\.Kernel"
    r"|dspy\.(Predict|ChainOfThought|ReAct|ProgramOfThought|TypedPredictor|MultiChainComparison))$"
)
_AGENTS = re.compile(
    r"(^|\.)(initialize_agent|create_\w*agent\w*|AgentExecutor|Agent|CodeAgent|ToolCallingAgent|ReActAgent|OpenAIAgent"
    r"|FunctionCallingAgent|FunctionAgent|AgentWorkflow|AssistantAgent|UserProxyAgent|ConversableAgent|GroupChatManager"
    r"|AgentRunner|FunctionCallingAgentWorker|Crew|ToolNode|create_swarm|create_supervisor|MagenticOneGroupChat"
    r"|RoundRobinGroupChat)(\.from_\w+|\.as_agent)?$"
)

ACTING_TOOLS: dict[str, str] = {
    "ShellTool": "a shell",
    "BashProcess": "a shell",
    "BashTool": "a shell",
    "PythonREPLTool": "a Python interpreter",
    "PythonAstREPLTool": "a Python interpreter",
    "PythonREPL": "a Python interpreter",
    "PythonTools": "a Python interpreter",
    "PythonInterpreterTool": "a Python interpreter",
    "ShellTools": "a shell",
    "CodeInterpreterTool": "a Python interpreter",
    "CodeInterpreterToolSpec": "a Python interpreter",
    "LocalCommandLineCodeExecutor": "a shell",
    "create_python_agent": "a Python interpreter",
    "create_pandas_dataframe_agent": "a Python interpreter",
    "create_csv_agent": "a Python interpreter",
    "create_spark_dataframe_agent": "a Python interpreter",
    "PandasQueryEngine": "a Python interpreter",
    "create_sql_agent": "a database",
    "SQLDatabaseToolkit": "a database",
    "QuerySQLDataBaseTool": "a database",
    "QuerySQLDatabaseTool": "a database",
    "SQLDatabaseChain": "a database",
    "FileManagementToolkit": "files",
    "WriteFileTool": "files",
    "DeleteFileTool": "files",
    "MoveFileTool": "files",
    "FileWriterTool": "files",
    "FileTools": "files",
    "RequestsToolkit": "any address",
    "GmailToolkit": "a mailbox",
    "GmailSendMessage": "a mailbox",
    "SlackToolkit": "a workplace chat",
    "GitHubToolkit": "a code host",
    "PlayWrightBrowserToolkit": "a browser",
}
"""Ready-made tools that act, and on what. Names given to `load_tools` are in `agents.py`."""

FETCHERS = re.compile(
    r"(^|\.)(WebBaseLoader|AsyncHtmlLoader|AsyncChromiumLoader|UnstructuredURLLoader|SeleniumURLLoader"
    r"|PlaywrightURLLoader|RecursiveUrlLoader|SitemapLoader|FireCrawlLoader|OnlinePDFLoader|SimpleWebPageReader"
    r"|BeautifulSoupWebReader|TrafilaturaWebReader|AsyncWebPageReader|WebPageReader|fetch_url|Article|urlopen"
    r"|urlretrieve|page\.goto|feedparser\.parse|requests\.(get|post|head|request)|httpx\.(get|post|request|stream)|LinkContentFetcher)$"
)
"""What fetches an address."""

EVALUATORS = frozenset({
    "ragas", "deepeval", "trulens", "trulens_eval", "promptfoo", "inspect_ai", "giskard", "uptrain", "evals",
    "langchain.evaluation", "llama_index.core.evaluation", "llama_index.evaluation", "phoenix.evals", "autoevals",
    "openevals", "pydantic_evals", "continuous_eval", "lm_eval", "langsmith.evaluation", "azure.ai.evaluation",
})  # fmt: skip
"""Libraries that evaluate answers."""


def _known(name: str) -> bool:
    return name.startswith(FAMILIES) or name.split(".")[0] in LIBRARIES


def is_model(name: str, given: tuple[object, ...] = ()) -> bool:
    """Whether a call of this dotted name makes a model. `given` are its literal arguments."""
    last = name.rpartition(".")[2]
    if last in ("OpenAI", "AzureOpenAI", "Anthropic", "Groq", "Cohere", "Together", "Replicate", "Bedrock"):
        return name.startswith(FAMILIES)
    if name.endswith("pipeline"):
        return name.endswith(("transformers.pipeline", "pipelines.pipeline")) and any(
            each in _GENERATES for each in given
        )
    return last in _MODELS or bool(_MODEL_NAMES.search(name))


def is_engine(name: str) -> bool:
    """Whether it makes something that asks a model in turn, by its library alone."""
    return bool(_ENGINES.search(name))


def is_store(name: str) -> bool:
    """Whether it makes, or opens, an index of texts."""
    parts = name.split(".")
    return bool({parts[-1], parts[-2] if len(parts) > 1 else ""} & _STORES) or bool(_STORE_MAKERS.search(name))


def store_of(name: str) -> str:
    """The index that a call names, such as Chroma; empty for none."""
    return next((part for part in reversed(name.split(".")[-2:]) if part in _STORES), "")


def is_retriever(name: str) -> bool:
    """Whether it makes something that finds texts."""
    return bool(_RETRIEVERS.search(name))


def is_agent(name: str) -> bool:
    """Whether it makes something that calls tools. `Agent` alone counts where its library is known."""
    found = _AGENTS.search(name)
    if found is None:
        return False
    return found[2] not in ("Agent", "Crew") or _known(name) or name.startswith("agents.")


def library_of(imported: str) -> str:
    """The library of language models that an import belongs to; empty for others."""
    for family in FAMILIES:
        if imported.startswith(family):
            return family
    parts = imported.split(".")
    return next((".".join(parts[:n]) for n in (1, 2) if ".".join(parts[:n]) in LIBRARIES), "")
