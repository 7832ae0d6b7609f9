"""How likely chance is: tails of the chi-square and binomial distributions, Benjamini-Hochberg, and rows needed.

Formulas: incomplete gamma by series and continued fraction (Numerical Recipes, 3rd edition, 6.2); power by Patnaik's
approximation of the noncentral chi-square (Biometrika 36, 1949). Tested against scipy.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache

__all__ = ["binomial_tail", "chi2_tail", "discoveries", "noncentrality"]

PRECISION = 1e-15
TINY = 1e-300


def chi2_tail(x: float, df: float) -> float:
    """P(X >= x) for a chi-square variable of `df` > 0 degrees of freedom (not only whole ones)."""
    a, half = df / 2, x / 2
    if half <= 0:
        return 1.0
    front = a * math.log(half) - half - math.lgamma(a)
    if half < a + 1:
        return max(0.0, 1.0 - math.exp(front) * _series(a, half))
    return math.exp(front) * _fraction(a, half)


def _series(a: float, x: float) -> float:
    term = total = 1 / a
    n = a
    while abs(term) > abs(total) * PRECISION:
        n += 1
        term *= x / n
        total += term
    return total


def _fraction(a: float, x: float) -> float:
    """Lentz's evaluation of the continued fraction of the upper incomplete gamma function."""
    b = x + 1 - a
    c = 1 / TINY
    d = h = 1 / b
    i = 0
    while True:
        i += 1
        step = -i * (i - a)
        b += 2
        d = step * d + b
        d = 1 / (d if abs(d) > TINY else TINY)
        c = b + step / c
        c = c if abs(c) > TINY else TINY
        h *= d * c
        if abs(d * c - 1) < PRECISION or i > 10_000:
            return h


def binomial_tail(count: int, trials: int, p: float) -> float:
    """P(X >= count) for `trials` of probability `p`, summed term by term: meant for a few thousand trials at most."""
    if count <= 0:
        return 1.0
    if p <= 0 or count > trials:
        return 0.0
    if p >= 1:
        return 1.0
    top = math.lgamma(trials + 1)
    terms = (
        math.exp(
            top - math.lgamma(k + 1) - math.lgamma(trials - k + 1) + k * math.log(p) + (trials - k) * math.log1p(-p)
        )
        for k in range(count, trials + 1)
    )
    return min(1.0, math.fsum(terms))


def discoveries(p_values: Sequence[float], rate: float) -> list[bool]:
    """Which findings Benjamini-Hochberg keeps at a false discovery rate, in the order given."""
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    kept = 0
    for rank, index in enumerate(order, start=1):
        if p_values[index] <= rate * rank / len(order):
            kept = rank
    found = set(order[:kept])
    return [index in found for index in range(len(p_values))]


@lru_cache(maxsize=512)
def noncentrality(df: int, level: float, power: float) -> float:
    """The noncentrality at which a chi-square test of `df` at `level` has `power`.

    An effect of PSI e seen in n rows against m has a noncentrality of about e * n * m / (n + m).
    """
    critical = _bisect(lambda x: chi2_tail(x, df) - level, 0.0, 10.0 * df + 400.0)
    return _bisect(lambda size: power - _power(critical, df, size), 0.0, 10.0 * critical + 400.0)


def _power(critical: float, df: int, size: float) -> float:
    scale = (df + 2 * size) / (df + size)
    return chi2_tail(critical / scale, (df + size) ** 2 / (df + 2 * size))


def _bisect(falling: Callable[[float], float], low: float, high: float) -> float:
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if falling(middle) > 0 else (low, middle)
    return (low + high) / 2
