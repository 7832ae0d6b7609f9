"""The templates of pages and of reports: Jinja with escaping on, and an error for any name that is not there."""

from __future__ import annotations

from pathlib import Path

import jinja2

from pilotage import __version__
from pilotage.access.model import may
from pilotage.kernel.clock import day, rfc3339
from pilotage.kernel.digests import short

__all__ = ["make_templates"]


def make_templates() -> jinja2.Environment:
    """The environment in which every template is rendered."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["when"] = lambda us: rfc3339(us)[:19].replace("T", " ")
    environment.filters["day"] = day
    environment.filters["clock"] = lambda us: rfc3339(us)[11:19]
    environment.filters["exactly"] = lambda us: rfc3339(us)
    environment.filters["short"] = short
    environment.filters["value"] = _value
    environment.filters["sentence"] = _sentence
    environment.globals["version"] = __version__
    environment.globals["may"] = may
    return environment


def _value(value: float | str | bool | None) -> str:
    """A feature's value as people write it: whole numbers without a point, nothing as a word."""
    if value is None:
        return "none"
    return repr(value).removesuffix(".0") if isinstance(value, float) else str(value)


def _sentence(text: str) -> str:
    """A sentence from its words: only the first letter changes, and that of a command does not."""
    return text if text.startswith("pilotage ") else text[:1].upper() + text[1:]
