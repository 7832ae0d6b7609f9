"""Words of people, files and models inside Markdown that is ours."""

from __future__ import annotations

import re

__all__ = ["code_in_markdown", "in_markdown"]

# An underscore inside a word, as in names of columns, is no emphasis in CommonMark and stays readable.
_ACTED_ON = re.compile(r"[\\`*\[\]<>|]|(?<![^\W_])_|_(?![^\W_])")
_ENTITIES = {"<": "&lt;", ">": "&gt;"}


def in_markdown(text: str) -> str:
    """Text on one line without what Markdown, HTML or a terminal would act on; it reads as it was."""
    return _ACTED_ON.sub(lambda found: _ENTITIES.get(found[0], f"\\{found[0]}"), _on_one_line(text))


def code_in_markdown(text: str) -> str:
    """Text on one line as a span of code, outside of tables: backticks in it become quotes."""
    return f"`{_on_one_line(text).replace('`', chr(39))}`"


def _on_one_line(text: str) -> str:
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
