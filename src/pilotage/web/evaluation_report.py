"""An evaluation as one HTML file that needs nothing else: to send to whoever decides."""

from __future__ import annotations

from importlib import resources
from typing import Any

from markupsafe import Markup

from pilotage.web.console.evaluation_view import evaluation_view
from pilotage.web.console.templating import make_templates

__all__ = ["evaluation_report"]

_STATIC = "pilotage.web.console"


def evaluation_report(found: dict[str, Any]) -> str:
    """The page of an evaluation document, with its styles inside and no script."""
    template = make_templates().get_template("evaluation_report.html")
    return template.render(found=found, seen=evaluation_view(found), style=_style())


def _style() -> Markup:
    """The console's styles as one sheet, so that a report looks like its pages."""
    static = resources.files(_STATIC).joinpath("static")
    own = static.joinpath("console.css").read_text(encoding="utf-8")
    layer = '@import url("vendor/pico.min.css") layer(pico);'
    pico = static.joinpath("vendor", "pico.min.css").read_text(encoding="utf-8").removeprefix('@charset "UTF-8";')
    # Both are files of this package: nothing of a document is among them.
    return Markup(own.replace(layer, f"@layer pico {{{pico}}}"))  # noqa: S704
