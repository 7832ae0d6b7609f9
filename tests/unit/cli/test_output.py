"""Tables on a terminal: no word is broken, whatever its width; too narrow for that, rows flow as names and values."""

from __future__ import annotations

import re
import sys

import pytest

from pilotage.cli.output import fitting_widths, show_table

ID = "01a215ac-50b5-7f89-b57b-2ea13ef647fe"
COLUMNS = ("id", "system", "note")
ROWS = [[ID, "credit-default", "kept without end [bold] until somebody says otherwise"], [ID, "", ""]]


def shown(width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    show_table(COLUMNS, ROWS)
    return re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out).splitlines()


def test_widths_break_no_word() -> None:
    rows = [list(COLUMNS), *ROWS]
    assert fitting_widths(rows, 200) == [36, 14, 53]
    assert fitting_widths(rows, 80) == [36, 14, 26]
    assert fitting_widths(rows, 63) == [36, 14, 9] and fitting_widths(rows, 62) is None


@pytest.mark.parametrize("width", [40, 63, 80, 200])
def test_a_row_is_read_whole_at_any_width(
    width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = shown(width, capsys, monkeypatch)
    assert all(len(line) <= max(width, len("  note ") + len(str(ROWS[0][2]))) for line in lines)
    text = " ".join(lines)
    assert text.count(ID) == 2 and "credit-default" in text and "[bold]" in text
    assert ("  system credit-default" in lines) == (width == 40), "too narrow for a table: names and values"


def test_piped_it_is_tab_separated(capsys: pytest.CaptureFixture[str]) -> None:
    show_table(COLUMNS, ROWS)
    assert capsys.readouterr().out.splitlines() == ["\t".join(row) for row in (COLUMNS, *ROWS)]
