"""Papers about a release as files, the same by API, console and command: Markdown, a page that loads nothing, JSON."""

from __future__ import annotations

from pilotage.errors import NotFound
from pilotage.papers.model import KINDS, Paper
from pilotage.papers.service import Made, make_paper
from pilotage.web.console.templating import make_templates
from pilotage.wiring.installation import Installation

__all__ = ["FILES", "contents", "paper_file", "paper_page"]

_ENDINGS = ("md", "html", "json")
FILES = tuple(f"{kind}.{ending}" for kind in KINDS for ending in _ENDINGS)
"""The names under which papers are asked for."""


def paper_page(paper: Paper) -> str:
    """The paper as one HTML document that loads nothing and prints well."""
    return make_templates().get_template("paper_file.html").render(paper=paper)


def contents(made: Made) -> dict[str, bytes]:
    """The content of each form of a paper, by the ending of its file."""
    return {"md": made.markdown.encode(), "html": paper_page(made.paper).encode(), "json": made.json}


def paper_file(installation: Installation, ref: str, name: str, against: str = "") -> bytes:
    """The bytes of one of FILES about a release. Raises NotFound, IntegrityError, InputError."""
    kind, _, ending = name.rpartition(".")
    for each in KINDS:
        if each == kind and ending in _ENDINGS:
            made = make_paper(
                installation.control, installation.objects, installation.releases, ref, each, against=against
            )
            return contents(made)[ending]
    raise NotFound("there is no such paper", got=name[:80], expected=", ".join(FILES), mend="name one of them")
