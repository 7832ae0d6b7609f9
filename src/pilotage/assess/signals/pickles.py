"""What a pickle would do, read from its opcodes and never by unpickling: the names it calls, the versions it states.

An abstract stack machine over `pickletools.genops`. joblib writes the raw bytes of arrays between opcodes: they are
skipped by the shape and type that their wrapper states. What cannot be followed to its end is reported as incomplete.
"""

from __future__ import annotations

import io
import math
import pickletools
import re
from dataclasses import dataclass, field
from typing import Any

__all__ = ["PickleFacts", "read_pickle", "suspicious"]

_MARK = object()
_WRAPPER = ("joblib.numpy_pickle", "NumpyArrayWrapper")
_MAX_STEPS = 3_000_000


@dataclass(kw_only=True)
class PickleFacts:
    """`names` are (module, name) of all that it imports, `versions` such as {"_sklearn_version": "1.9.1"}.

    `complete` is false, with `why`, when the stream could not be followed: the names are then a lower bound.
    """

    names: set[tuple[str, str]] = field(default_factory=set)
    versions: dict[str, str] = field(default_factory=dict)
    arrays: int = 0
    complete: bool = False
    why: str = ""


@dataclass(eq=False)
class _Made:
    """An object that the pickle would make: what is called, with what; its state."""

    what: Any
    given: Any = ()
    state: Any = None


class _Machine:
    def __init__(self, content: bytes) -> None:
        self.file = io.BytesIO(content)
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.facts = PickleFacts()
        self.outer: list[tuple[list[Any], dict[int, Any]]] = []

    def run(self) -> PickleFacts:
        """Follow the stream to its last STOP."""
        steps, more = 0, True
        while more:
            more = False
            for opcode, arg, _at in pickletools.genops(self.file):
                steps += 1
                if steps > _MAX_STEPS:
                    raise ValueError("too many steps")
                skipped = self.step(opcode, arg)
                if opcode.name == "STOP" and self.outer:
                    self.stack, self.memo = self.outer.pop()
                    skipped = True
                if skipped:
                    more = True
                    break
        self.facts.complete = True
        return self.facts

    def to_mark(self) -> list[Any]:
        """Pop down to the last mark."""
        at = max(i for i, item in enumerate(self.stack) if item is _MARK)
        taken = self.stack[at + 1 :]
        del self.stack[at:]
        return taken

    def named(self, module: Any, name: Any) -> tuple[str, str]:
        pair = (str(module), str(name))
        self.facts.names.add(pair)
        return pair

    def step(self, opcode: Any, arg: Any) -> bool:
        """One opcode. True when raw array bytes were skipped, after which reading must start anew."""
        name, stack = opcode.name, self.stack
        if name in ("PROTO", "FRAME", "STOP"):
            return False
        if name == "BUILD":
            return self.build()
        handler = getattr(self, f"do_{name.lower()}", None)
        if handler is not None:
            handler(arg)
        elif name in ("PUT", "BINPUT", "LONG_BINPUT"):
            self.memo[int(arg)] = stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(self.memo[int(arg)])
        else:
            self.generic(opcode, arg)
        return False

    def generic(self, opcode: Any, arg: Any) -> None:
        """Any other opcode, by the stack effect that pickletools documents."""
        constants = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
        if pickletools.markobject in opcode.stack_before:
            self.to_mark()
            taken = list(opcode.stack_before[: opcode.stack_before.index(pickletools.markobject)])
        else:
            taken = opcode.stack_before
        for _ in taken:
            self.stack.pop()
        for _ in opcode.stack_after:
            self.stack.append(constants.get(opcode.name, arg))

    def do_mark(self, _arg: Any) -> None:
        self.stack.append(_MARK)

    def do_memoize(self, _arg: Any) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    def do_dup(self, _arg: Any) -> None:
        self.stack.append(self.stack[-1])

    def do_empty_dict(self, _arg: Any) -> None:
        self.stack.append({})

    def do_empty_list(self, _arg: Any) -> None:
        self.stack.append([])

    def do_tuple(self, _arg: Any) -> None:
        self.stack.append(tuple(self.to_mark()))

    def do_tuple1(self, _arg: Any) -> None:
        self.take_tuple(1)

    def do_tuple2(self, _arg: Any) -> None:
        self.take_tuple(2)

    def do_tuple3(self, _arg: Any) -> None:
        self.take_tuple(3)

    def take_tuple(self, count: int) -> None:
        """Replace the top items by a tuple of them."""
        self.stack[-count:] = [tuple(self.stack[-count:])]

    def do_appends(self, _arg: Any) -> None:
        self.to_mark()

    def do_append(self, _arg: Any) -> None:
        self.stack.pop()

    def do_additems(self, _arg: Any) -> None:
        self.to_mark()

    def do_setitem(self, _arg: Any) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self.put([key, value])

    def do_setitems(self, _arg: Any) -> None:
        self.put(self.to_mark())

    def do_dict(self, _arg: Any) -> None:
        items = self.to_mark()
        self.stack.append({})
        self.put(items)

    def put(self, items: list[Any]) -> None:
        """Keep the entries of a dictionary whose keys are text; note the versions among them."""
        for key, value in zip(items[::2], items[1::2], strict=False):
            if isinstance(key, str):
                if isinstance(self.stack[-1], dict):
                    self.stack[-1][key] = value
                if key.endswith("_version") and isinstance(value, str):
                    self.facts.versions[key] = value

    def do_global(self, arg: Any) -> None:
        self.stack.append(self.named(*str(arg).split(" ", 1)))

    def do_stack_global(self, _arg: Any) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        self.stack.append(self.named(module, name))

    def do_inst(self, arg: Any) -> None:
        given = tuple(self.to_mark())
        self.stack.append(_Made(self.named(*str(arg).split(" ", 1)), given))

    def do_obj(self, _arg: Any) -> None:
        what, *given = self.to_mark()
        self.stack.append(_Made(what, tuple(given)))

    def do_reduce(self, _arg: Any) -> None:
        given, what = self.stack.pop(), self.stack.pop()
        self.stack.append(_Made(what, given))

    do_newobj = do_reduce

    def do_newobj_ex(self, _arg: Any) -> None:
        self.stack.pop()
        self.do_reduce(None)

    def build(self) -> bool:
        state, made = self.stack.pop(), self.stack[-1]
        if isinstance(made, _Made):
            made.state = state
            if made.what == _WRAPPER and isinstance(state, dict):
                self.skip_array(state)
                return True
        return False

    def skip_array(self, state: dict[str, Any]) -> None:
        """Go past an array's raw bytes; an array of objects is a pickle of its own, with an own memo: followed."""
        self.facts.arrays += 1
        kind = state["dtype"].given[0]
        if str(kind).startswith("O"):
            self.outer.append((self.stack, self.memo))
            self.stack, self.memo = [], {}
            return
        if state.get("numpy_array_alignment_bytes") is not None:
            self.file.seek(self.file.read(1)[0], io.SEEK_CUR)
        width = int(re.sub(r"\D", "", kind) or 1) * (4 if str(kind).startswith("U") else 1)
        self.file.seek(math.prod(int(side) for side in state["shape"]) * width, io.SEEK_CUR)


def read_pickle(content: bytes) -> PickleFacts:
    """The facts of a pickle's bytes (already decompressed). Never raises, never runs anything of it."""
    machine = _Machine(content)
    try:
        return machine.run()
    except Exception as error:  # noqa: BLE001 - hostile bytes may break the machine in any way: that is a fact too
        machine.facts.why = f"{type(error).__name__}: {error}"
        return machine.facts


_TRUSTED = ("sklearn.", "lightgbm.", "xgboost.", "catboost.", "imblearn.")
_BUILTINS = {
    "object", "set", "frozenset", "slice", "range", "complex", "bytearray", "dict", "list", "tuple", "int", "float",
    "str", "bool",
}  # fmt: skip
_PLAIN = {
    "builtins": _BUILTINS,
    "__builtin__": _BUILTINS,
    "collections": {"OrderedDict", "defaultdict"},
    "copyreg": {"_reconstructor"},
    "copy_reg": {"_reconstructor"},
    "_codecs": {"encode"},
    "functools": {"partial"},
    "numpy": {"dtype", "ndarray", "float64", "float32", "int64", "int32", "bool_"},
    "scipy.sparse._csr": {"csr_matrix"},
    "joblib.numpy_pickle": {"NumpyArrayWrapper"},
}  # fmt: skip
_NUMPY_PARTS = {
    "_reconstruct",
    "scalar",
    "_frombuffer",
    "__randomstate_ctor",
    "__generator_ctor",
    "__bit_generator_ctor",
}


def suspicious(names: set[tuple[str, str]]) -> list[str]:
    """The names that a model has no need of, denied unless listed: a class of a modelling library, or a plain part."""
    return sorted(f"{module}.{name}" for module, name in names if not _known(module, name))


def _known(module: str, name: str) -> bool:
    if name in _PLAIN.get(module, set()):
        return True
    if module.startswith(("numpy.", "numpy._core")):
        return name in _NUMPY_PARTS or (module.startswith("numpy.random") and name[:1].isupper())
    if module.startswith("pandas."):
        return name in {"DataFrame", "Series", "Index", "RangeIndex", "BlockManager", "_new_Index", "_unpickle_block"}
    return module.startswith(_TRUSTED) and "." not in name and name.lstrip("_")[:1].isupper()
