"""A small language of conditions over the columns of one row, such as `paid <= owed * 1.1 and home in ["own", "rent"]`.

Parsed once into closures; nothing is ever evaluated as Python. Names are columns (`` `with spaces` `` in backticks),
literals are numbers, text in quotes, `true` and `false`. Operators, weakest first: `or`, `and`, `not`, comparisons
(`== != < <= > >=`, `in [...]`, `not in [...]`, `is null`, `is not null`), `+ -`, `* /`, unary `-`, parentheses.

A null makes what it touches unknown, and so does a division by zero or a number that is not finite. `and`, `or` and
`not` follow Kleene's logic: `false and unknown` is false. Time and depth are bounded by the bounds on the text.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from pilotage.errors import InputError

__all__ = ["DEEPEST", "LONGEST", "Expression", "Type", "parse_expression"]

Type = Literal["number", "text", "truth"]
Row = Sequence[float | str | bool | None]
_Eval = Callable[[Row], Any]

LONGEST = 1_000
"""Characters of an expression."""
DEEPEST = 32
"""Parentheses, `not` and unary minus within each other."""

_TOKEN = re.compile(
    r"\s*(?:(?P<number>\d+(?:\.\d+)?(?:[eE][+-]?\d{1,3})?)|(?P<word>[^\W\d]\w*)|`(?P<quoted>[^`]+)`"
    r"|\"(?P<double>[^\"]*)\"|'(?P<single>[^']*)'|(?P<sign>==|!=|<=|>=|[<>+\-*/()\[\],]))"
)
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_IN_SQL = {"==": "=", "!=": "<>"}
_WORDS = frozenset({"and", "or", "not", "in", "is", "null", "true", "false"})
_TRUTH: Type = "truth"
_LONGEST_SQL = 20_000
_PLACE = re.compile("\x01(\\d+)\x01")
"""Where the SQL of a condition names a column, by its place in `names`."""


class Expression:
    """A parsed condition. `names` are the columns it reads, in order of first use."""

    __slots__ = ("_evaluate", "_sql", "names", "text")

    def __init__(self, text: str, names: tuple[str, ...], evaluate: _Eval, sql: str) -> None:
        self.text, self.names, self._evaluate, self._sql = text, names, evaluate, sql

    def as_sql(self, values: Mapping[str, str]) -> str:
        """The same condition for DuckDB, over expressions of the columns' finite values; empty where it has none.

        It is true, false or NULL exactly where `truth` is True, False or None.
        """
        return _PLACE.sub(lambda found: f"({values[self.names[int(found[1])]]})", self._sql)

    def truth(self, row: Row) -> bool | None:
        """Whether it holds for a row (values in the order of the columns it was parsed with); None when unknown."""
        found: bool | None = self._evaluate(row)
        return found


class _Token(NamedTuple):
    kind: str
    text: str
    at: int


class _Part(NamedTuple):
    """A part of an expression: the type of its value, how it is computed, and the same in SQL (empty: it has none).

    In SQL a sum may be infinite or NaN where it is unknown here: `known` says that it cannot be.
    """

    type: Type
    evaluate: _Eval
    sql: str
    known: bool = True

    @property
    def finite(self) -> str:
        """The SQL of a value that is NULL where it is unknown."""
        return self.sql if self.known else _sized("CASE WHEN isfinite({}) THEN {} END", self.sql, self.sql)


def _sized(form: str, *parts: str) -> str:
    """SQL made of parts; none where one is missing, or where it would be too long: a part named twice doubles it."""
    if not all(parts) or sum(map(len, parts)) > _LONGEST_SQL:
        return ""
    return form.format(*parts)


class _Fault(Exception):
    """What is wrong with an expression, where, and what was expected."""

    def __init__(self, what: str, at: int, expected: str) -> None:
        super().__init__(what)
        self.what, self.at, self.expected = what, at, expected


def parse_expression(text: str, columns: Mapping[str, Type], order: Sequence[str]) -> Expression:
    """The condition in a text over columns of these types; rows hold the values of `order`.

    Raises InputError (`invalid_expression`) that says what is wrong and where.
    """
    try:
        parser = _Parser(text, columns, {name: at for at, name in enumerate(order)})
        whole = parser.whole()
    except _Fault as fault:
        raise InputError(
            f"the condition cannot be read: {fault.what}",
            got=f"{text[:120]!r}, at character {fault.at + 1}",
            expected=fault.expected,
            mend="mend the condition; docs/how-to/resilience.md has the language",
            code="invalid_expression",
        ) from None
    return Expression(text, tuple(parser.names), whole.evaluate, whole.finite)


def _tokens(text: str) -> list[_Token]:
    if len(text) > LONGEST:
        raise _Fault("it is too long", LONGEST, f"at most {LONGEST} characters")
    found, at = [], 0
    while text[at:].strip():
        match = _TOKEN.match(text, at)
        if match is None:
            start = at + len(text[at:]) - len(text[at:].lstrip())
            raise _Fault(f"{text[start : start + 10]!r} is no part of the language", start, "a column, value or sign")
        kind = str(match.lastgroup)
        found.append(_Token(kind, match.group(kind), match.start(kind)))
        at = match.end()
    return [*found, _Token("end", "the end", len(text))]


class _Parser:
    def __init__(self, text: str, columns: Mapping[str, Type], places: Mapping[str, int]) -> None:
        self._tokens, self._next, self._depth = _tokens(text), 0, 0
        self._columns, self._places = columns, places
        self.names: dict[str, None] = {}

    def whole(self) -> _Part:
        part = self._or()
        if self._now.kind != "end":
            raise _Fault(f"{self._now.text!r} is not expected here", self._now.at, "and, or, or the end")
        return self._demand(part, _TRUTH, 0)

    @property
    def _now(self) -> _Token:
        return self._tokens[self._next]

    def _take(self, *texts: str) -> str:
        """The next token when it is one of these words or signs; empty otherwise."""
        now = self._now
        if now.kind in ("word", "sign") and now.text in texts:
            self._next += 1
            return now.text
        return ""

    def _must(self, text: str) -> None:
        if not self._take(text):
            raise _Fault(f"{self._now.text!r} stands where {text!r} should", self._now.at, text)

    def _demand(self, part: _Part, type_: Type, at: int) -> _Part:
        if part.type != type_:
            kinds = {"number": "a number", "text": "text", "truth": "a condition"}
            raise _Fault(f"{kinds[part.type]} stands where {kinds[type_]} should", at, kinds[type_])
        return part

    def _deeper(self, parse: Callable[[], _Part]) -> _Part:
        self._depth += 1
        if self._depth > DEEPEST:
            raise _Fault("it is nested too deeply", self._now.at, f"at most {DEEPEST} levels")
        part = parse()
        self._depth -= 1
        return part

    def _or(self) -> _Part:
        return self._chained(self._and, "or")

    def _and(self) -> _Part:
        return self._chained(self._not, "and")

    def _chained(self, parse: Callable[[], _Part], word: str) -> _Part:
        at = self._now.at
        parts = [parse()]
        while self._take(word):
            parts.append(parse())
        if len(parts) == 1:
            return parts[0]
        evaluates = [self._demand(part, _TRUTH, at).evaluate for part in parts]
        sql = _sized("(" + f" {word.upper()} ".join("{}" for _ in parts) + ")", *(part.sql for part in parts))
        return _Part(_TRUTH, _any(evaluates) if word == "or" else _all(evaluates), sql)

    def _not(self) -> _Part:
        at = self._now.at
        if not self._take("not"):
            return self._comparison()
        part = self._demand(self._deeper(self._not), _TRUTH, at)
        inner = part.evaluate
        sql = _sized("(NOT {})", part.sql)
        return _Part(_TRUTH, lambda row: None if (found := inner(row)) is None else not found, sql)

    def _comparison(self) -> _Part:
        at = self._now.at
        left = self._sum()
        if sign := self._take(*_COMPARE):
            right = self._demand(self._sum(), left.type, self._now.at)
            if left.type == _TRUTH and sign not in ("==", "!="):
                raise _Fault("true and false have no order", at, "== or !=")
            sql = _sized(f"({{}} {_IN_SQL.get(sign, sign)} {{}})", left.finite, right.finite)
            return _Part(_TRUTH, _lifted(_COMPARE[sign], left.evaluate, right.evaluate), sql)
        if self._take("is"):
            negated = bool(self._take("not"))
            self._must("null")
            inner = left.evaluate
            sql = _sized(f"({{}} IS {'NOT ' * negated}NULL)", left.finite)
            return _Part(_TRUTH, lambda row: (inner(row) is None) is not negated, sql)
        negated = bool(self._take("not"))
        if negated or self._now.text == "in":
            self._must("in")
            members, inner = self._members(left.type), left.evaluate
            listed = [_literal_sql(member) for member in sorted(members)]
            sql = _sized(f"({{}} {'NOT ' * negated}IN (" + ", ".join("{}" for _ in listed) + "))", left.finite, *listed)
            return _Part(
                _TRUTH, lambda row: None if (value := inner(row)) is None else (value in members) is not negated, sql
            )
        return left

    def _members(self, type_: Type) -> frozenset[Any]:
        self._must("[")
        found: set[Any] = set()
        while True:
            at = self._now.at
            sign = -1.0 if self._take("-") else 1.0
            part = self._demand(self._literal(), type_, at)
            value = part.evaluate(())
            found.add(sign * value if type_ == "number" else value)
            if not self._take(","):
                break
        self._must("]")
        return frozenset(found)

    def _sum(self) -> _Part:
        return self._arithmetic(self._product, {"+": operator.add, "-": operator.sub})

    def _product(self) -> _Part:
        return self._arithmetic(self._factor, {"*": operator.mul, "/": operator.truediv})

    def _arithmetic(self, parse: Callable[[], _Part], signs: Mapping[str, Callable[[Any, Any], Any]]) -> _Part:
        at = self._now.at
        left = parse()
        while sign := self._take(*signs):
            one = self._demand(left, "number", at)
            two = self._demand(parse(), "number", self._now.at)
            # What is not finite stays so in IEEE arithmetic, save below a fraction's line.
            sql = _sized(f"({{}} {sign} {{}})", one.sql, two.finite if sign == "/" else two.sql)
            left = _Part("number", _finite(_lifted(signs[sign], one.evaluate, two.evaluate)), sql, known=False)
        return left

    def _factor(self) -> _Part:
        at = self._now.at
        if self._take("-"):
            part = self._demand(self._deeper(self._factor), "number", at)
            inner = part.evaluate
            sql = _sized("(- {})", part.sql)
            return _Part("number", lambda row: None if (value := inner(row)) is None else -value, sql, part.known)
        if self._take("("):
            part = self._deeper(self._or)
            self._must(")")
            return part
        if self._now.kind == "quoted" or (self._now.kind == "word" and self._now.text not in _WORDS):
            return self._column()
        return self._literal()

    def _column(self) -> _Part:
        name, at = self._now.text, self._now.at
        if name not in self._columns or name not in self._places:
            known = ", ".join(list(self._columns)[:12])
            raise _Fault(f"{name!r} is no column of the contract", at, f"one of {known}")
        self._next += 1
        self.names[name] = None
        place = self._places[name]
        sql = f"\x01{list(self.names).index(name)}\x01"
        return _Part(self._columns[name], lambda row: row[place], sql)

    def _literal(self) -> _Part:
        token = self._now
        value: float | str | bool
        type_: Type
        if token.kind == "number":
            value, type_ = float(token.text), "number"
            if not math.isfinite(value):
                raise _Fault("the number is too large", token.at, "a float64")
        elif token.kind in ("double", "single"):
            value, type_ = token.text, "text"
        elif token.kind == "word" and token.text in ("true", "false"):
            value, type_ = token.text == "true", _TRUTH
        else:
            raise _Fault(f"{token.text!r} is not expected here", token.at, "a column or a value")
        self._next += 1
        return _Part(type_, lambda row: value, _literal_sql(value))


def _literal_sql(value: float | str | bool) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"'{value!r}'::DOUBLE"
    return "'" + value.replace("'", "''") + "'" if value.isprintable() else ""


def _lifted(function: Callable[[Any, Any], Any], left: _Eval, right: _Eval) -> _Eval:
    """The function of two values, unknown when one of them is, or when it has no value for them."""

    def evaluate(row: Row) -> Any:
        one, two = left(row), right(row)
        if one is None or two is None:
            return None
        try:
            return function(one, two)
        except (ZeroDivisionError, OverflowError):
            return None

    return evaluate


def _finite(inner: _Eval) -> _Eval:
    return lambda row: value if (value := inner(row)) is not None and math.isfinite(value) else None


def _any(parts: Sequence[_Eval]) -> _Eval:
    def evaluate(row: Row) -> bool | None:
        unknown = False
        for part in parts:
            found = part(row)
            if found:
                return True
            unknown = unknown or found is None
        return None if unknown else False

    return evaluate


def _all(parts: Sequence[_Eval]) -> _Eval:
    def evaluate(row: Row) -> bool | None:
        unknown = False
        for part in parts:
            found = part(row)
            if found is False:
                return False
            unknown = unknown or found is None
        return None if unknown else True

    return evaluate
