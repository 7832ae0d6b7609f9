"""Leaks planted in honest data, each with a twin that looks alike and is none.

`LATER` was written before any tuning; `LAST` when the finder was done, and run once before anything was changed for it.
A twin is as near to its fault as an honest table can be: informative gaps, a strong feature, natural duplicates, a
planned date. Whoever finds faults by their looks finds the twins too.
"""

from __future__ import annotations

import numpy as np

from tests.unit.evaluation.planting import (
    Planted,
    amounts,
    both,
    classes,
    coarse,
    copies,
    copies_behind_an_id,
    dates,
    encoded,
    flipped,
    half_filled,
    history,
    ids_by_order,
    in_order,
    in_thousands,
    jittered,
    moments_of_day,
    next_without_subject,
    notes,
    of_subjects,
    one,
    oversampled,
    pairs,
    redrawn,
    rolling,
    rounded,
    same,
    shouted,
    sites,
    split_by_label,
    subjects,
    timed,
    totals,
    two_dates,
    worded,
)

TARGET = ("target_copy", "target_proxy")

PLANTED: list[Planted] = [
    Planted(
        name="copy", kinds=TARGET, columns=("x",), make=one(lambda y, r, c: y, lambda y, r, c: flipped(y, r, 0.3), 101)
    ),
    Planted(
        name="recoded as words",
        kinds=TARGET,
        columns=("x",),
        make=one(
            lambda y, r, c: np.where(y, "bad", "good"),
            lambda y, r, c: np.where(flipped(y, r, 0.25), "bad", "good"),
            102,
        ),
    ),
    Planted(
        name="inverted",
        kinds=TARGET,
        columns=("x",),
        make=one(lambda y, r, c: ~y, lambda y, r, c: ~flipped(y, r, 0.3), 103),
    ),
    Planted(
        name="affine copy",
        kinds=TARGET,
        columns=("x",),
        make=one(lambda y, r, c: 100.0 * y + 5, lambda y, r, c: 100.0 * flipped(y, r, 0.2) + 5, 104),
    ),
    Planted(
        name="monotone transform",
        kinds=TARGET,
        columns=("x",),
        make=one(
            lambda y, r, c: np.exp(y + r.normal(0, 0.1, len(y))),
            lambda y, r, c: np.exp(y + r.normal(0, 1.0, len(y))),
            105,
        ),
    ),
    Planted(
        name="copy with flips",
        kinds=TARGET,
        columns=("x",),
        make=one(lambda y, r, c: flipped(y, r, 0.03), lambda y, r, c: flipped(y, r, 0.15), 106),
    ),
    Planted(
        name="noisy copy",
        kinds=TARGET,
        columns=("x",),
        make=one(lambda y, r, c: y + r.normal(0, 0.3, len(y)), lambda y, r, c: y + r.normal(0, 0.7, len(y)), 107),
    ),
    Planted(
        name="states of the outcome",
        kinds=TARGET,
        columns=("x",),
        make=one(
            lambda y, r, c: worded(y, (["paid", "settled", "open"], ["charged off", "collection"]), r),
            lambda y, r, c: worded(flipped(y, r, 0.2), (["paid", "settled", "open"], ["charged off", "collection"]), r),
            108,
        ),
    ),
    Planted(
        name="band in the middle",
        kinds=TARGET,
        columns=("x",),
        make=one(
            lambda y, r, c: np.where(y, r.uniform(-1, 1, len(y)), r.choice([-1, 1], len(y)) * r.uniform(1, 3, len(y))),
            lambda y, r, c: np.where(y, r.normal(0, 1, len(y)), r.normal(0, 2, len(y))),
            109,
        ),
    ),
    Planted(
        name="parity of a number",
        kinds=("encoded", *TARGET),
        columns=("x",),
        make=one(
            lambda y, r, c: 2 * r.integers(0, 40_000, len(y)) + y, lambda y, r, c: r.integers(0, 80_000, len(y)), 110
        ),
    ),
    Planted(
        name="more decimals",
        kinds=("encoded", *TARGET),
        columns=("x",),
        make=one(
            lambda y, r, c: [round(v, 4 if t else 2) for v, t in zip(r.normal(50, 9, len(y)), y, strict=True)],
            lambda y, r, c: np.round(r.normal(50, 9, len(y)), 2),
            111,
        ),
    ),
    Planted(
        name="gap says no",
        kinds=("missingness",),
        columns=("x",),
        make=one(
            lambda y, r, c: [float(v) if t else None for v, t in zip(r.normal(0, 1, len(y)), y, strict=True)],
            lambda y, r, c: [
                float(v) if t else None for v, t in zip(r.normal(0, 1, len(y)), flipped(y, r, 0.3), strict=True)
            ],
            112,
        ),
    ),
    Planted(
        name="filled for some positives only",
        kinds=("missingness", "one_sided"),
        columns=("x",),
        make=one(
            lambda y, r, c: [
                float(v) if t and u < 0.4 else None
                for v, t, u in zip(r.normal(0, 1, len(y)), y, r.random(len(y)), strict=True)
            ],
            lambda y, r, c: [
                float(v) if u < (0.4 if t else 0.2) else None
                for v, t, u in zip(r.normal(0, 1, len(y)), y, r.random(len(y)), strict=True)
            ],
            113,
        ),
    ),
    Planted(
        name="id in order of the label",
        kinds=("encoded", *TARGET),
        columns=("x",),
        make=one(ids_by_order(True), ids_by_order(False), 114),
    ),
    Planted(
        name="id with an end",
        kinds=("encoded",),
        columns=("x",),
        make=one(
            lambda y, r, c: [f"C-{i:06d}-{'PN'[int(t)]}" for i, t in zip(r.permutation(len(y)), y, strict=True)],
            lambda y, r, c: [
                f"C-{i:06d}-{'PN'[int(t)]}" for i, t in zip(r.permutation(len(y)), r.random(len(y)) < 0.5, strict=True)
            ],
            115,
        ),
    ),
    Planted(
        name="id with a beginning",
        kinds=("encoded",),
        columns=("x",),
        make=one(
            lambda y, r, c: [f"{'A' if t else 'B'}{r.integers(10**7):07d}" for t in y],
            lambda y, r, c: [f"{r.choice(['A', 'B'])}{r.integers(10**7):07d}" for t in y],
            116,
        ),
    ),
    Planted(name="difference of two", kinds=("pair",), columns=("a", "b"), make=pairs("difference", 117)),
    Planted(name="equality of two", kinds=("pair",), columns=("a", "b"), make=pairs("equal", 118)),
    Planted(name="exclusive or", kinds=("pair",), columns=("a", "b"), make=pairs("xor", 119)),
    Planted(
        name="copies over the split",
        kinds=("duplicates",),
        columns=(),
        make=copies(120, same),
        options={"split": "part"},
    ),
    Planted(
        name="copies behind an id",
        kinds=("duplicates",),
        columns=(),
        make=copies_behind_an_id,
        options={"split": "part"},
    ),
    Planted(
        name="copies against coarse rows", kinds=("duplicates",), columns=(), make=coarse, options={"split": "part"}
    ),
    Planted(
        name="drawn again before the split",
        kinds=("duplicates",),
        columns=(),
        make=oversampled,
        options={"split": "part"},
    ),
    Planted(
        name="copies with a little noise",
        kinds=("near_duplicates", "duplicates"),
        columns=(),
        make=copies(125, jittered(1e-4)),
        options={"split": "part"},
    ),
    Planted(
        name="copies with two columns redrawn",
        kinds=("near_duplicates", "duplicates"),
        columns=(),
        make=copies(126, redrawn),
        options={"split": "part"},
    ),
    Planted(
        name="copies in capitals",
        kinds=("near_duplicates", "duplicates"),
        columns=(),
        make=copies(127, shouted),
        options={"split": "part"},
    ),
    Planted(
        name="one person on both sides",
        kinds=("subject_overlap",),
        columns=("person",),
        make=both(subjects, True, False),
        options={"split": "part", "subject": "person"},
    ),
    Planted(
        name="held out is older",
        kinds=("older_held_out",),
        columns=("when",),
        make=both(timed, "older", "past", 128),
        options={"split": "part", "time": "when"},
    ),
    Planted(
        name="past and future mixed",
        kinds=("mixed_times",),
        columns=("when",),
        make=both(timed, "mixed", "still", 129),
        options={"split": "part", "time": "when"},
    ),
    Planted(
        name="a date of the end",
        kinds=("after_decision",),
        columns=("other",),
        make=both(dates, "closed", "due", 130),
        options={"time": "when"},
    ),
    Planted(
        name="count of all rows",
        kinds=("future_aggregate",),
        columns=("x",),
        make=both(history, "count", "count so far", 131),
        options={"time": "when", "subject": "person"},
    ),
    Planted(
        name="mean of all rows",
        kinds=("future_aggregate",),
        columns=("x",),
        make=both(history, "mean", "mean so far", 132),
        options={"time": "when", "subject": "person"},
    ),
    Planted(
        name="the next row's value",
        kinds=("next_row",),
        columns=("x",),
        make=both(history, "next", "last", 133),
        options={"time": "when", "subject": "person"},
    ),
    Planted(
        name="target encoding of all",
        kinds=("target_encoding",),
        columns=("x",),
        make=both(encoded, "all", "training", 134),
        options={"split": "part"},
    ),
    Planted(
        name="target encoding, one out",
        kinds=("target_encoding",),
        columns=("x",),
        make=both(encoded, "one out", "training", 135),
        options={"split": "part"},
    ),
    Planted(
        name="running total with its own",
        kinds=("running_total", *TARGET),
        columns=("x",),
        make=both(totals, True, False),
    ),
    Planted(name="sorted by label", kinds=("row_order",), columns=(), make=both(in_order, True, False)),
    Planted(name="site decides", kinds=("group_decides", *TARGET), columns=("site",), make=both(sites, True, False)),
    Planted(
        name="split by label",
        kinds=("split_by_target",),
        columns=(),
        make=both(split_by_label, True, False),
        options={"split": "part"},
    ),
    Planted(
        name="note ends with the outcome",
        kinds=("encoded",),
        columns=("x",),
        make=one(
            lambda y, r, c: notes(y, r, ("kept", "left")),
            lambda y, r, c: notes(r.random(len(y)) < 0.5, r, ("kept", "left")),
            140,
        ),
    ),
]

LATER: list[Planted] = [
    Planted(
        name="space behind a word",
        kinds=TARGET,
        columns=("x",),
        make=one(
            lambda y, r, c: [f"branch {v}{' ' if t else ''}" for v, t in zip(r.integers(0, 9, len(y)), y, strict=True)],
            lambda y, r, c: [
                f"branch {v}{' ' if u else ''}"
                for v, u in zip(r.integers(0, 9, len(y)), r.random(len(y)) < 0.5, strict=True)
            ],
            201,
        ),
    ),
    Planted(
        name="price ends in nine",
        kinds=("encoded",),
        columns=("x",),
        make=one(
            lambda y, r, c: np.where(
                y, 10 * r.integers(1, 9000, len(y)) + 9, 10 * r.integers(1, 9000, len(y)) + r.integers(0, 9, len(y))
            ),
            lambda y, r, c: r.integers(10, 90_000, len(y)),
            202,
        ),
    ),
    Planted(
        name="ranked copy",
        kinds=TARGET,
        columns=("x",),
        make=one(
            lambda y, r, c: np.argsort(np.argsort(flipped(y, r, 0.02) + 0.5 * r.random(len(y)))),
            lambda y, r, c: np.argsort(np.argsort(flipped(y, r, 0.25) + 0.5 * r.random(len(y)))),
            203,
        ),
    ),
    Planted(name="ratio of two", kinds=("pair",), columns=("a", "b"), make=pairs("ratio", 204)),
    Planted(name="sum of two", kinds=("pair",), columns=("a", "b"), make=pairs("sum", 205)),
    Planted(
        name="day of the month",
        kinds=("encoded",),
        columns=("x",),
        make=one(
            lambda y, r, c: [f"2024-{r.integers(1, 13):02d}-{(1 if t else r.integers(2, 29)):02d}" for t in y],
            lambda y, r, c: [f"2024-{r.integers(1, 13):02d}-{r.integers(1, 29):02d}" for t in y],
            206,
        ),
    ),
    Planted(
        name="copies with rounded amounts",
        kinds=("near_duplicates", "duplicates"),
        columns=(),
        make=copies(207, rounded),
        options={"split": "part"},
    ),
    Planted(
        name="one person, written otherwise",
        kinds=("subject_overlap",),
        columns=("person",),
        make=lambda: (subjects(True, 208, True), subjects(False, 208, True)),
        options={"split": "part", "subject": "person"},
    ),
    Planted(
        name="least of all rows",
        kinds=("future_aggregate",),
        columns=("x",),
        make=both(history, "min", "min so far", 209),
        options={"time": "when", "subject": "person"},
    ),
    Planted(
        name="most of all rows",
        kinds=("future_aggregate",),
        columns=("x",),
        make=both(history, "max", "max so far", 210),
        options={"time": "when", "subject": "person"},
    ),
    Planted(
        name="the next row's label",
        kinds=("next_row",),
        columns=("x",),
        make=both(history, "next label", "last label", 211),
        options={"time": "when", "subject": "person"},
    ),
    Planted(
        name="smoothed target encoding",
        kinds=("target_encoding",),
        columns=("x",),
        make=both(encoded, "smoothed", "training smoothed", 212),
        options={"split": "part"},
    ),
    Planted(
        name="length of a remark",
        kinds=("encoded",),
        columns=("x",),
        make=one(
            lambda y, r, c: ["".join(r.choice(list("abcdefgh "), 30 if t else 12 + r.integers(0, 9))) for t in y],
            lambda y, r, c: ["".join(r.choice(list("abcdefgh "), 12 + r.integers(0, 20))) for t in y],
            213,
        ),
    ),
    Planted(
        name="seconds since 1970, older",
        kinds=("older_held_out",),
        columns=("when",),
        make=both(timed, "older", "past", 214, True),
        options={"split": "part", "time": "when"},
    ),
    Planted(name="one of many classes", kinds=TARGET, columns=("x",), make=lambda: classes(215)),
    Planted(name="an amount to predict", kinds=TARGET, columns=("x",), make=lambda: amounts(216)),
]


LAST: list[Planted] = [
    Planted(
        name="copy that is half filled",
        kinds=("one_sided", *TARGET),
        columns=("x",),
        make=one(lambda y, r, c: half_filled(y, r, True), lambda y, r, c: half_filled(y, r, False), 301),
    ),
    Planted(
        name="hour of the night run",
        kinds=("encoded",),
        columns=("x",),
        make=one(lambda y, r, c: moments_of_day(y, r, True), lambda y, r, c: moments_of_day(y, r, False), 302),
    ),
    Planted(
        name="share of a person",
        kinds=("target_encoding",),
        columns=("x",),
        make=both(of_subjects, True, False, 303),
        options={"subject": "person", "time": "when"},
    ),
    Planted(
        name="mean of the rows around",
        kinds=("running_total", "target_encoding", "next_row"),
        columns=("x",),
        make=both(rolling, True, False, 304),
        options={"time": "when"},
    ),
    Planted(
        name="the next row's label, no subject",
        kinds=("next_row",),
        columns=("x",),
        make=both(next_without_subject, True, False, 305),
    ),
    Planted(
        name="copies in other units",
        kinds=("near_duplicates", "duplicates"),
        columns=(),
        make=copies(306, in_thousands),
        options={"split": "part"},
    ),
    Planted(
        name="a number for no",
        kinds=("one_sided", *TARGET),
        columns=("x",),
        make=one(
            lambda y, r, c: np.where(~y & (r.random(len(y)) < 0.5), -999, np.round(r.normal(5, 1, len(y)), 3)),
            lambda y, r, c: np.where(r.random(len(y)) < 0.4, -999, np.round(r.normal(5, 1, len(y)), 3)),
            307,
        ),
    ),
    Planted(name="two dates that are one", kinds=("pair",), columns=("a", "b"), make=both(two_dates, True, False, 308)),
    Planted(
        name="capital letter",
        kinds=("encoded", *TARGET),
        columns=("x",),
        make=one(
            lambda y, r, c: [
                ("Agent {}" if t else "agent {}").format(v) for v, t in zip(r.integers(0, 20, len(y)), y, strict=True)
            ],
            lambda y, r, c: [f"{r.choice(['Agent', 'agent'])} {r.integers(0, 20)}" for _ in y],
            309,
        ),
    ),
    Planted(
        name="even hexadecimal id",
        kinds=("encoded",),
        columns=("x",),
        make=one(
            lambda y, r, c: [f"{2 * r.integers(10**8) + int(t):08x}" for t in y],
            lambda y, r, c: [f"{r.integers(2 * 10**8):08x}" for t in y],
            310,
        ),
    ),
]
