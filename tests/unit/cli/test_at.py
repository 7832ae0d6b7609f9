"""What `pilotage audit at` says of evidence: figures in words, however deep they lie."""

from __future__ import annotations

from pilotage.cli.at import _figures


def test_figures_within_figures_are_named_by_their_path() -> None:
    told = _figures({"auc": 0.81234567, "by_group": {"sex": {"gap": 0.02}, "age": {"gap": 0.1}}, "passed": True})
    assert told == "auc 0.8123, by_group.sex.gap 0.02, by_group.age.gap 0.1, passed yes"


def test_lists_are_shown_while_they_are_short_and_counted_when_they_hold_more() -> None:
    assert _figures({"checks": ["leakage", "drift"], "rows": [{"a": 1}, {"a": 2}], "none": [], "empty": {}}) == (
        "checks leakage drift, rows (2 entries), none none, empty none"
    )


def test_what_is_left_out_is_said() -> None:
    told = _figures({f"n{at}": {"value": at, "text": "x" * 90} for at in range(4)})
    assert told.endswith(", 4 more by --json") and "{" not in told
    assert max(map(len, told.split(", "))) < 60
