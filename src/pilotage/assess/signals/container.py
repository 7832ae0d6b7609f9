"""The container recipe: it starts something, on the port that the server uses, of a stated image, not as root."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from pilotage.assess.folder import Folder
from pilotage.assess.model import Finding
from pilotage.assess.signals.python import argument, is_server, literal, scripts
from pilotage.assess.signals.seen import Seen
from pilotage.assess.source import Text

__all__ = ["container", "steps_of"]

_ROOT = re.compile(r"(root|0)(:.*)?$")


def container(folder: Folder) -> Iterator[Seen]:
    """Every recipe can be used; without one, and with code, it cannot be packaged."""
    recipes = [path for path in folder.files if re.fullmatch(r"(Dockerfile|Containerfile)(\..+)?", Path(path).name)]
    findings: list[Finding] = []
    for path in recipes:
        text = folder.text(path)
        findings += _recipe(folder, text) if text else []
    if recipes:
        yield Seen.of("infrastructure.container", findings, findings[0].message if findings else "", "a usable recipe")
    elif folder.modules:
        yield Seen(criterion="infrastructure.container", level=0, summary="no container recipe")


def steps_of(text: Text) -> list[tuple[int, str, str]]:
    """(line, instruction, rest) of a recipe, comments left out and continued lines joined."""
    steps: list[tuple[int, str, str]] = []
    open_ = False
    for number, line in enumerate(text.lines, 1):
        plain = line.strip()
        if not plain or plain.startswith("#"):
            continue
        ends = plain.endswith("\\")
        plain = plain.rstrip("\\").strip()
        if open_ and steps:
            at, word, rest = steps[-1]
            steps[-1] = (at, word, f"{rest} {plain}")
        else:
            word, _, rest = plain.partition(" ")
            steps.append((number, word.upper(), rest.strip()))
        open_ = ends
    return steps


def _recipe(folder: Folder, text: Text) -> Iterator[Finding]:
    steps = steps_of(text)
    words = {word for _, word, _ in steps}
    if "FROM" not in words or not words & {"CMD", "ENTRYPOINT"}:
        empty = "the recipe is empty" if not words else "the recipe starts nothing"
        yield Finding(file=text.path, line=0, message=empty, mend="write FROM, COPY, CMD")
        return
    stages: set[str] = set()
    user: tuple[int, str] | None = None
    for line, word, rest in steps:
        if word == "FROM":
            image, *alias = [part for part in rest.split() if not part.startswith("--")] or [""]
            if image not in stages and (why := _loose(image)):
                yield _at(text, line, why, "name the version or the digest")
            stages |= {alias[1]} if len(alias) > 1 else set()
            user = None if image not in stages else user
        elif word == "USER":
            user = (line, rest)
    last = max(line for line, word, _ in steps if word in ("CMD", "ENTRYPOINT"))
    if user is None:
        yield _at(text, last, "it runs as root", "add USER with a number other than 0")
    elif _ROOT.match(user[1]):
        yield _at(text, user[0], "it runs as root", "name another user last")
    yield from _ports(folder, text, steps)


def _loose(image: str) -> str:
    name = image.rpartition("/")[2]
    if "@" in name or "$" in image or image == "scratch":
        return ""
    tag = name.partition(":")[2]
    return "" if tag not in ("", "latest") else f"{image} is another image tomorrow"


def _ports(folder: Folder, text: Text, steps: list[tuple[int, str, str]]) -> Iterator[Finding]:
    """Ports that the code or the start command uses and the recipe does not open."""
    exposed = [(line, {int(n) for n in re.findall(r"\d+", rest)}) for line, word, rest in steps if word == "EXPOSE"]
    opened = {port for _, ports in exposed for port in ports}
    if not opened:
        return
    for _, word, rest in steps:
        if word in ("CMD", "ENTRYPOINT") and (found := re.search(r"--(?:server[.-])?port\W+(\d+)", rest)):
            if int(found[1]) not in opened:
                yield _at(text, exposed[0][0], f"it opens {sorted(opened)} and starts on {found[1]}", "use one port")
            return
    for module in scripts(folder):
        if is_server(module):
            for call, name in module.calls:
                port = literal(argument(call, "port"))
                if name.endswith("run") and isinstance(port, int) and port not in opened:
                    line = module.place(call)
                    message = f"the server uses port {port}, {text.path} opens {sorted(opened)}"
                    yield _at(module.text, line, message, "use one port")


def _at(text: Text, line: int, message: str, mend: str) -> Finding:
    return Finding(file=text.path, line=line, message=message, mend=mend, digest=text.line_digest(line))
