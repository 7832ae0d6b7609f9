"""The documentation is current: generated pages, links, and every command that a page tells the reader to type."""

from __future__ import annotations

import importlib.util
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import click
import pytest

from pilotage.cli.main import COMMANDS, root

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *DOCS.rglob("*.md")])
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```", flags=re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"`(pilotage [^`]+)`")


def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_generated_pages_are_current() -> None:
    for name, make in generator().PAGES.items():
        written = (DOCS / "reference" / name).read_text(encoding="utf-8")
        assert written == make(), f"docs/reference/{name} is stale: run python docs/generate.py"


def test_the_command_page_names_every_command() -> None:
    page = (DOCS / "reference" / "commands.md").read_text(encoding="utf-8")
    for name in COMMANDS:
        assert f"## `pilotage {name}`" in page


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_relative_links_lead_to_files_and_headings(page: Path) -> None:
    broken = []
    for target in _LINK.findall(page.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            broken.append(target)
    assert broken == []


def typed(page: Path) -> Iterator[str]:
    """Every `pilotage ...` in a page: in its code blocks, line by line, and between backticks."""
    text = page.read_text(encoding="utf-8")
    for language, block in _FENCE.findall(text):
        if language in ("", "sh", "console"):
            for line in block.replace("\\\n", " ").splitlines():
                found = re.search(r"(?:^|[\s($])(?:\.venv/bin/)?(pilotage [^|;&><)#]*)", line)
                if found:
                    yield found[1].strip()
    yield from _SPAN.findall(_FENCE.sub("", text))


def wrong(words: list[str]) -> str:
    """What is wrong with a typed command: an unknown command or option; empty when nothing is."""
    command: click.Command = root
    context = click.Context(root)
    while words:
        word = words.pop(0)
        if word.startswith("--"):
            known = {name for each in command.params for name in each.opts} | {"--help", "--version"}
            if word.split("=")[0] not in known:
                return f"{command.name} has no option {word}"
            continue
        if isinstance(command, click.Group) and (found := command.get_command(context, word)) is not None:
            command = found
        elif isinstance(command, click.Group) and command is not root:
            return f"{command.name} has no command {word}"
        elif command is root and not _value(word):
            return f"no command {word}"
    return ""


def _value(word: str) -> bool:
    """Words of a sketch (`COMMAND`, `...`) and values of root options."""
    return not re.fullmatch(r"[a-z-]+", word)


@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if page.name != "commands.md" and "decisions" not in page.parts],
    ids=lambda page: str(page.relative_to(ROOT)),
)
def test_every_command_in_a_page_exists_with_its_options(page: Path) -> None:
    assert {line: fault for line in typed(page) if (fault := wrong(shlex.split(line.replace("'", ""))[1:]))} == {}


def test_the_check_of_commands_can_fail() -> None:
    assert wrong(["gate", "check", "--to", "internal"]) == ""
    assert wrong(["gate", "check", "--too", "internal"]) == "check has no option --too"
    assert wrong(["nosuch"]) == "no command nosuch"
    assert wrong(["decisions", "nosuch"]) == "decisions has no command nosuch"


def test_every_page_is_reached_from_the_index() -> None:
    index = (DOCS / "index.md").read_text(encoding="utf-8")
    linked = {(DOCS / target.partition("#")[0]).resolve() for target in _LINK.findall(index) if ":" not in target}
    tracked = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files", "docs/*.md"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    assert [name for name in tracked if (ROOT / name).resolve() not in linked and name != "docs/index.md"] == []


def test_the_api_page_lists_the_routes_and_their_permissions() -> None:
    folder = ROOT / "src" / "pilotage" / "web"
    source = "".join(each.read_text(encoding="utf-8") for each in sorted(folder.glob("*api.py")))
    page = (DOCS / "reference" / "api.md").read_text(encoding="utf-8")
    routes = re.findall(r'Operation\(\s*"(GET|POST|PUT|DELETE)",\s*"(/[^"]*)",\s*"([a-z_.]+)",', source)
    assert len(routes) > 10, "the table is seen"
    written = re.findall(r"^\| `([A-Z]+) /api/v1(/\S*)` \| ([a-z_.]+)", page, flags=re.MULTILINE)
    assert sorted(written) == sorted(routes)
