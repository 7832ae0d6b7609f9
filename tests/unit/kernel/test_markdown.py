"""What is put into Markdown reads as it was, and does nothing there."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from pilotage.kernel.markdown import code_in_markdown, in_markdown

_PARSER = MarkdownIt("commonmark").enable("table")


@pytest.mark.parametrize(
    "text", ["<script>alert(1)</script>", "[x](javascript:y)", "![x](y)", "**a** _b_ `c`", "a\\|b", "x | y", "<!-- -->"]
)
def test_no_markup_comes_of_it(text: str) -> None:
    shown = _PARSER.render(f"It says {in_markdown(text)} here.")
    assert shown.count("<") == 2 and shown.startswith("<p>It says ") and shown.endswith(" here.</p>\n")


@given(st.text(max_size=60))
def test_it_reads_as_it_was_and_stays_in_its_cell(text: str) -> None:
    made = in_markdown(text)
    assert made.isprintable() and "\n" not in made
    lines = ["| a | b |", "| --- | --- |", f"| x{made}x | y |"]
    shown = _PARSER.render("\n".join(lines))
    assert shown.count("<td>") == 2 and shown.count("<tr>") == 2
    inside = [each for each in _PARSER.parseInline(f"x{made}x")[0].children or [] if each.type != "text"]
    assert {each.type for each in inside} <= {"text_special"}


@given(st.text(min_size=1, max_size=60))
def test_code_stays_code(text: str) -> None:
    made = code_in_markdown(text)
    if made.strip("` "):
        assert [each.type for each in _PARSER.parseInline(made)[0].children or []] == ["code_inline"]
