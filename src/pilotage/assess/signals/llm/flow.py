"""Where texts of a module come from: a person, a model's answer, found documents, a secret; and which names are models.

A small abstract interpretation of the syntax tree. Statements are followed in their order; branches are joined, loops
walked twice, functions of the module entered with what their callers give them. What was compared with known values
(`if x in ALLOWED`), and what was escaped or counted, loses its origin; what a check by its name let through
(`if is_safe(x)`) is no longer wild; what was masked is no longer plain.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from pilotage.assess.signals.llm.asking import Ask, asks
from pilotage.assess.signals.llm.checks import checked, compared, confirmed
from pilotage.assess.signals.llm.names import is_chain, merge, place
from pilotage.assess.signals.llm.origins import (
    ALL,
    ANSWERED,
    ENDS,
    ENGINE,
    FOUND,
    MASKS,
    MODEL,
    NEUTRAL,
    NONE,
    PARTS,
    PLAIN,
    PUTS_IN,
    REQUEST,
    RETRIEVER,
    SAFE,
    SAID,
    SEARCHES,
    SECRET,
    SPEAKS,
    STORE,
    TEXTS,
    WIDGETS,
    WILD,
    WRITTEN,
    Function,
    Labels,
    Names,
    secret_environment,
    secret_name,
    secret_setting,
)
from pilotage.assess.signals.llm.parts import made_by
from pilotage.assess.signals.llm.people import parameters, ui_functions
from pilotage.assess.signals.llm.pilot import Pilot, Target, arguments, bases, home, imported
from pilotage.assess.signals.llm.written import Written
from pilotage.assess.source import dotted

__all__ = ["Flow"]

_MOST_PASSES = 5
_MOST_LOOPS = 2
_FETCH = frozenset({"requests", "httpx", "urllib"})


@dataclass(kw_only=True)
class Flow(Written):
    """The origins in one module. `pilot` is what the modules beside it know of each other, and learn from this one."""

    pilot: Pilot
    at: dict[int, Labels] = field(default_factory=dict)
    asks: dict[int, Ask] = field(default_factory=dict)
    finds: dict[int, ast.Call] = field(default_factory=dict)
    names: Names = field(default_factory=dict)
    entered: dict[int, list[Target]] = field(default_factory=dict)
    returned: dict[str, Labels] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.functions = {
            n.name: n for n in self.module.nodes if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef))
        }
        self._made_of: dict[str, set[str]] = {}
        self.home = home(self.module)
        self.imports = dict(imported(self.module))
        self._near = {stem for stem, _ in self.imports.values()} | {name for _, name in self.imports.values()}
        self._from_ui = ui_functions(self.module)
        self._entered: list[str] = []
        self._decorators: set[int] = set()
        self._classes: list[str] = []
        self._loops = 0
        for _ in range(_MOST_PASSES):
            before = self._size()
            self._made_of = {}
            names = dict(self._imported())
            self._run(self.module.tree.body, names)
            for name, labels in names.items():
                self.names[name] = self.names.get(name, NONE) | labels
            if self._size() == before:
                break

    def _size(self) -> tuple[int, ...]:
        counts = (self.at, self.names, self.returned)
        return (*(sum(map(len, each.values())) + len(each) for each in counts), self.pilot.size())

    def labels(self, node: ast.AST | None) -> Labels:
        """The origins of an expression."""
        return self.at.get(id(node), NONE)

    @property
    def parts(self) -> Labels:
        """What kinds of parts any name or expression of the module is."""
        return frozenset().union(*self.at.values(), *self.names.values()) & PARTS

    # ---- what is known before

    def _imported(self) -> Iterable[tuple[str, Labels]]:
        for name, (stem, last) in self.imports.items():
            if last and (labels := self.pilot.known.get((stem, last))):
                yield name, labels
        made_from = bases(self.module)
        for (stem, name), labels in self.pilot.known.items():
            inherited = name.startswith("self.") and any(
                self.imports.get(each, ("", ""))[0] == stem for each in made_from
            )
            if stem != self.home and (inherited or "session_state." in name):
                yield name, labels

    def given_to(self, function: str) -> Names:
        """What callers in any module hand to a function of this one."""
        return self.pilot.given.get((self.home, function), {})

    # ---- statements

    def _run(self, body: Sequence[ast.stmt], names: Names) -> bool:
        """Follow statements; true when what stands after them is not reached."""
        return any(self._step(each, names) for each in body)

    def _step(self, node: ast.stmt, names: Names) -> bool:
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                self._decorators |= {id(each) for each in node.decorator_list}
                self._function(node, names)
            case ast.ClassDef():
                self._classes.append(node.name)
                self._run(node.body, names)
                self._classes.pop()
            case ast.Assign():
                labels = self._of(node.value, names)
                for target in node.targets:
                    self._set(target, labels, names, node.value)
            case ast.AnnAssign() if node.value is not None:
                self._set(node.target, self._of(node.value, names), names, node.value)
            case ast.AugAssign():
                self._add(dotted(node.target), self._of(node.value, names), names)
            case ast.Return():
                labels = self._of(node.value, names) if node.value else NONE
                if self._entered:
                    name = self._entered[-1]
                    self.returned[name] = self.returned.get(name, NONE) | labels
                return True
            case ast.Raise():
                self._of(node.exc, names)
                return True
            case ast.Break() | ast.Continue():
                return True
            case ast.If():
                return self._branch(node, names)
            case ast.For() | ast.AsyncFor():
                for _ in self._twice():
                    self._set(node.target, self._of(node.iter, names), names, node.iter)
                    self._joined([node.body], names)
                self._run(node.orelse, names)
            case ast.While():
                for _ in self._twice():
                    self._of(node.test, names)
                    self._joined([node.body], names)
            case ast.With() | ast.AsyncWith():
                for item in node.items:
                    labels = self._of(item.context_expr, names)
                    if item.optional_vars is not None:
                        self._set(item.optional_vars, labels, names, item.context_expr)
                return self._run(node.body, names)
            case ast.Try():
                self._joined([node.body, *(handler.body for handler in node.handlers)], names)
                self._run(node.orelse, names)
                return self._run(node.finalbody, names)
            case ast.Match():
                self._of(node.subject, names)
                self._joined([case.body for case in node.cases], names)
            case _:
                for child in ast.iter_child_nodes(node):
                    if isinstance(child, ast.expr):
                        self._of(child, names)
        return False

    def _twice(self) -> Iterable[int]:
        """The rounds of a loop: two, so that what its end makes reaches its beginning; one in the depth of others."""
        self._loops += 1
        yield from range(2 if self._loops <= _MOST_LOOPS else 1)
        self._loops -= 1

    def _joined(self, bodies: Sequence[Sequence[ast.stmt]], names: Names) -> None:
        """After any of the bodies, or none."""
        ends = [dict(names)]
        for body in bodies:
            inside = dict(names)
            self._run(body, inside)
            ends.append(inside)
        merge(names, ends)

    def _branch(self, node: ast.If, names: Names) -> bool:
        self._of(node.test, names)
        yes, no = dict(names), dict(names)
        if answered := confirmed(node.test, self.typed(node.test)):
            for names_then in (yes,) if answered == "yes" else (no,):
                names_then |= {name: labels - {WILD} for name, labels in names_then.items()}
        for names_then, known, passed in zip((yes, no), compared(node.test), checked(node.test), strict=True):
            self._clear(known, PARTS, names_then)
            self._clear(passed, ALL - {WILD}, names_then)
        ended = self._run(node.body, yes), self._run(node.orelse, no)
        merge(names, [each for each, over in zip((yes, no), ended, strict=True) if not over] or [yes, no])
        return all(ended)

    def _clear(self, vetted: set[str], kept: Labels, names: Names) -> None:
        """What was checked keeps these labels only, and so does what it was made of: a host stands for its address."""
        todo = set(vetted)
        for name in vetted:
            todo |= self._made_of.get(name, set())
        for name in todo:
            held = names.get(name, self.names.get(name))
            if held is not None:
                names[name] = held & kept
            elif "." in name and name.partition(".")[0] in names:
                names[name] = names[name.partition(".")[0]] & kept

    def _set(self, target: ast.expr, labels: Labels, names: Names, value: ast.expr | None = None) -> None:
        match target:
            case ast.Tuple() | ast.List():
                values = value.elts if isinstance(value, (ast.Tuple, ast.List)) else []
                for at, each in enumerate(target.elts):
                    same = len(values) == len(target.elts)
                    self._set(each, self._of(values[at], names) if same else labels, names)
            case ast.Starred():
                self._set(target.value, labels, names)
            case ast.Subscript() | ast.Attribute():
                self._add(place(target), labels, names)
            case ast.Name():
                names[target.id] = labels
                if value is not None:
                    used = {each.id for each in ast.walk(value) if isinstance(each, ast.Name)}
                    self._made_of[target.id] = used

    def _add(self, name: str, labels: Labels, names: Names) -> None:
        """Put labels to a name. What belongs to an object (`self.chain`, `state.chain`) holds for the whole module."""
        if name:
            names[name] = names.get(name, NONE) | labels
            if "." in name:
                self.names[name] = self.names.get(name, NONE) | labels

    def _function(self, node: Function, names: Names) -> None:
        inside = {**self.names, **names}
        given = dict(self.given_to(node.name))
        if node.name == "__init__" and self._classes:
            given |= self.given_to(self._classes[-1])
        inside |= parameters(self.module, node, given, node.name in self._from_ui)
        for each in node.decorator_list:
            self._of(each, names)
        if node.name not in self._entered:
            self._entered.append(node.name)
            self._run(node.body, inside)
            self._entered.pop()
        names[node.name] = frozenset()

    # ---- expressions

    def _of(self, node: ast.AST | None, names: Names) -> Labels:
        if node is None:
            return NONE
        labels = self._labels(node, names)
        if labels:
            self.at[id(node)] = self.at.get(id(node), NONE) | labels
        return labels

    def _all(self, nodes: Iterable[ast.AST | None], names: Names) -> Labels:
        found = NONE
        for each in nodes:
            found |= self._of(each, names)
        return found

    def _labels(self, node: ast.AST, names: Names) -> Labels:
        match node:
            case ast.Constant():
                return NONE
            case ast.Name():
                return names.get(node.id, NONE) | (NONE if node.id in self.functions else secret_name(node.id))
            case ast.Attribute():
                inner = self._of(node.value, names)
                if node.attr in NEUTRAL or node.attr in self.pilot.closed:
                    return NONE
                held = self._held(dotted(node), names) if is_chain(node) else None
                origin = self.module.name_of(node)
                if ".request." in f".{origin}" and node.attr in REQUEST:
                    return SAID
                if held is None and not inner and WRITTEN.search(dotted(node)):
                    return SAID
                return (inner if held is None else held) | secret_name(node.attr)
            case ast.Subscript():
                self._of(node.slice, names)
                if isinstance(node.slice, ast.Constant) and node.slice.value in NEUTRAL:
                    self._of(node.value, names)
                    return NONE
                where = place(node)
                kept = self._held(where, names) if "." in where else None
                if kept is not None:
                    return kept
                part = self._of(node.value, names) - ({SECRET} if isinstance(node.slice, ast.Slice) else NONE)
                return part | secret_setting(self.module.name_of(node.value), node.slice)
            case ast.Call():
                return self._call(node, names)
            case ast.Yield() | ast.YieldFrom():
                labels = self._of(node.value, names)
                if self._entered:
                    self.returned[self._entered[-1]] = self.returned.get(self._entered[-1], NONE) | labels
                return NONE
            case ast.Compare():
                self._all([node.left, *node.comparators], names)
                return NONE
            case ast.IfExp():
                self._of(node.test, names)
                return self._all([node.body, node.orelse], names)
            case ast.NamedExpr():
                labels = self._of(node.value, names)
                self._set(node.target, labels, names, node.value)
                return labels
            case ast.Lambda():
                return self._of(node.body, {**names, **{arg.arg: NONE for arg in node.args.args}}) & TEXTS
            case ast.ListComp() | ast.SetComp() | ast.GeneratorExp() | ast.DictComp():
                inside = dict(names)
                for each in node.generators:
                    self._set(each.target, self._of(each.iter, inside), inside, each.iter)
                    self._all(each.ifs, inside)
                parts = [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]
                return self._all(parts, inside)
            case ast.BinOp() if isinstance(node.op, ast.BitOr):
                found = self._of(node.left, names) | self._of(node.right, names)
                return (found - {MODEL, RETRIEVER}) | {ENGINE} if found & {MODEL, ENGINE} else found
            case _:
                return self._all((each for each in ast.iter_child_nodes(node) if isinstance(each, ast.expr)), names)

    def _address(self, node: ast.Call) -> str:
        """The text of what a call may be posted to."""
        url = [word.value for word in node.keywords if word.arg in ("url", "full_url")]
        return " ".join(self.text(each) for each in [*node.args[:2], *url])

    def _held(self, name: str, names: Names) -> Labels | None:
        held = names.get(name)
        return self.names.get(name) if held is None and "." in name else held

    def _call(self, node: ast.Call, names: Names) -> Labels:
        name = self.module.name_of(node.func)
        last = name.rpartition(".")[2]
        receiver = self._of(node.func.value, names) if isinstance(node.func, ast.Attribute) else NONE
        own = self._of(node.func, names) if not isinstance(node.func, ast.Attribute) else NONE
        if isinstance(node.func, ast.Attribute):
            own = (self._held(dotted(node.func), names) or NONE) & PARTS
        given = self._all([*node.args, *(word.value for word in node.keywords)], names)
        if isinstance(node.func, ast.Attribute) and last in PUTS_IN:
            into = dotted(node.func.value)
            imported = into.partition(".")[0] in self.module.roots | set(self.module.origins)
            if not imported or "session_state" in into:
                self._add(into, given & TEXTS, names)
            return given if last == "setdefault" else NONE
        literals = tuple(
            each.value for each in [*node.args, *(w.value for w in node.keywords)] if isinstance(each, ast.Constant)
        )
        if last == "partial" and node.args and f".{self.module.name_of(node.args[0])}".endswith(ENDS):
            return frozenset({MODEL})
        if made := made_by(name, last, receiver, given, literals):
            return made
        if id(node) not in self._decorators and asks(node, name, receiver, own, self._address(node)):
            self.asks[id(node)] = Ask(call=node, name=name, kinds=receiver | own)
            return ANSWERED
        if receiver & {STORE, RETRIEVER} and SEARCHES.search(last) and (receiver & {STORE} or last not in ("search",)):
            self.finds[id(node)] = node
            return frozenset({FOUND})
        if WIDGETS.search(name):
            return SAID
        if secret := secret_environment(name, node):
            return secret
        local = self._entering(node, name, given)
        if local is not None:
            return local - {PLAIN} if MASKS.search(name) else local
        if SAFE.search(name) or last in NEUTRAL:
            return NONE
        if last == "get" and isinstance(node.func, ast.Attribute) and name.split(".")[0] not in _FETCH:
            given = self._all(node.args[1:], names)
        passed = (receiver | given) & (TEXTS - {PLAIN} if MASKS.search(name) else TEXTS)
        return (passed if SPEAKS.search(name) else passed - {SECRET}) | (own & PARTS)

    def targets(self, func: ast.expr) -> list[Target]:
        """The functions of the pilot that a callee may be: of this module, imported, or methods of what is imported."""
        if isinstance(func, ast.Name):
            found = [(self.home, func.id), self.imports.get(func.id, ("", ""))]
        elif isinstance(func, ast.Attribute):
            stem, own = self.imports.get(dotted(func.value), ("", ""))
            found = [(own or stem, func.attr)]
            if stem in ("", *self.pilot.homes) or own in self.pilot.homes:
                own_methods = [each for each in self.pilot.methods.get(func.attr, []) if each[0] == self.home]
                found += own_methods or [(self.home, func.attr)] * (dotted(func.value) in ("self", "cls"))
            if not any(each in self.pilot.parameters for each in found):
                found = [each for each in self.pilot.methods.get(func.attr, []) if each[0] in self._near]
        else:
            found = []
        return list(dict.fromkeys(each for each in found if each in self.pilot.parameters))

    def _entering(self, node: ast.Call, name: str, given: Labels) -> Labels | None:
        """Enter functions of the pilot: their parameters get what is given, the call what they return."""
        targets = self.targets(node.func)
        if not targets:
            return None
        self.entered[id(node)] = targets
        returned = NONE
        for target in targets:
            for parameter, value in arguments(node, self.pilot.parameters[target]):
                self.pilot.give(target, parameter, self.labels(value))
            own = self.returned if target[0] == self.home else {}
            returned |= own.get(target[1], NONE) | self.pilot.known.get(target, NONE)
            if target[1][:1].isupper():
                returned |= given & TEXTS
        return NONE if SAFE.search(name) else returned
