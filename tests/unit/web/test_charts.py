"""Chart geometry: whatever the figures, every coordinate is finite and inside its box."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from pilotage.web.console.charts import bars, radar, sparkline

number = st.floats(allow_nan=False, allow_infinity=False, width=32)
share = st.floats(-0.5, 1.5)
dimensions = st.lists(st.tuples(st.text(max_size=24), share, share, share, st.integers(0, 5)), min_size=0, max_size=9)


def points(text: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in (pair.split(",") for pair in text.split())]


def inside(x: float, y: float, width: float, height: float) -> bool:
    return math.isfinite(x) and math.isfinite(y) and -0.06 <= x <= width + 0.06 and -0.06 <= y <= height + 0.06


@given(dimensions)
def test_a_radar_stays_in_its_box(given_dimensions: list[tuple[str, float, float, float, int]]) -> None:
    chart = radar(given_dimensions)
    for shape in (*chart.rings, chart.score, chart.low, chart.high):
        assert all(inside(x, y, chart.width, chart.height) for x, y in points(shape))
    for spoke in chart.spokes:
        assert inside(spoke.x, spoke.y + 14, chart.width, chart.height)
        assert inside(spoke.axis_x, spoke.axis_y, chart.width, chart.height)


@given(dimensions.filter(lambda given_dimensions: len(given_dimensions) > 2))
def test_no_label_of_a_radar_is_cut_off(given_dimensions: list[tuple[str, float, float, float, int]]) -> None:
    chart = radar(given_dimensions)
    for spoke in chart.spokes:
        text = 6.9 * len(spoke.label)
        left = {"start": spoke.x, "middle": spoke.x - text / 2, "end": spoke.x - text}[spoke.anchor]
        assert left >= 0 and left + text <= chart.width


def test_a_full_radar_is_its_outer_ring_and_an_empty_one_its_middle() -> None:
    full = radar([(str(n), 1.0, 1.0, 1.0, 5) for n in range(6)])
    assert full.score == full.rings[-1]
    none = radar([(str(n), 0.0, 0.0, 0.0, 0) for n in range(6)])
    assert set(points(none.score)) == {(round(none.width / 2, 1), round(none.height / 2, 1))}


@given(st.lists(st.tuples(st.text(max_size=9), number), max_size=12), st.floats(1, 1_000))
def test_bars_stay_in_their_box_and_share_one_scale(values: list[tuple[str, float]], width: float) -> None:
    made = bars(values, width)
    for bar in made:
        assert all(map(math.isfinite, (bar.x, bar.width, bar.zero)))
        assert bar.width >= 0 and bar.x >= -1e-6 * width and bar.x + bar.width <= width * (1 + 1e-6)
        starts, ends = (
            math.isclose(bar.x, bar.zero, abs_tol=1e-6),
            math.isclose(bar.x + bar.width, bar.zero, abs_tol=1e-3),
        )
        assert starts if bar.value > 0 else ends
    sizes = [(abs(bar.value), bar.width) for bar in made]
    assert sorted(width for _, width in sorted(sizes)) == [width for _, width in sorted(sizes)]


def test_a_whisker_spans_one_error_each_way_and_stays_in_the_box() -> None:
    near, far = bars([("near", 1.0), ("far", -2.0)], 300.0, {"near": 1.0, "far": 1.0})
    assert (near.zero, near.low, near.high) == (180.0, 180.0, 300.0)
    assert (far.low, far.x, far.high) == (0.0, 60.0, 120.0)
    plain = bars([("near", 1.0)], 300.0)[0]
    assert plain.low == plain.high == 300.0


@given(st.lists(st.floats(0, 1e9), max_size=300))
def test_a_sparkline_stays_in_its_box(values: list[float]) -> None:
    found = points(sparkline(values))
    assert len(found) == len(values)
    assert all(inside(x, y, 240, 48) for x, y in found)
    if values and max(values) > 0:
        highest = values.index(max(values))
        assert found[highest][1] == min(y for _, y in found)
