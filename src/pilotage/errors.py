"""The error tree: one class for each thing a caller may do about it.

    PilotageError
    ├── InputError        the input is wrong: mend it and try again      (HTTP 422)
    ├── NotFound          no such thing: check the name                  (404)
    ├── Gone              it was here, and was deleted as the rules say  (410)
    ├── Conflict          it exists already, or changed meanwhile        (409)
    ├── Unauthenticated   nobody we know: bring a key or a token         (401)
    ├── Forbidden         known, but not allowed to do this              (403)
    ├── Refused           a rule of governance says no                   (409)
    ├── Unavailable       cannot work now: retry later                   (503)
    ├── IntegrityError    stored bytes are not what was signed           (500)
    └── MissingExtra      an optional dependency is not installed        (500)

Every error says what happened, what was got and expected, and the mend. Machine facts are attributes.
"""

from __future__ import annotations

__all__ = [
    "Conflict",
    "Forbidden",
    "Gone",
    "InputError",
    "IntegrityError",
    "MissingExtra",
    "NotFound",
    "PilotageError",
    "Refused",
    "Unauthenticated",
    "Unavailable",
]


class PilotageError(Exception):
    """The root. `code` is stable and has a heading in the documentation; `status` is its HTTP status.

    `faults` holds every fault of one input, each {path, code, message, got, expected, mend}, so that a
    caller mends all of them in one round; a fault without a code has the error's.
    """

    code = "error"
    status = 500

    def __init__(
        self,
        what: str,
        *,
        mend: str,
        got: object = None,
        expected: object = None,
        code: str | None = None,
        faults: list[dict[str, object]] | None = None,
    ) -> None:
        super().__init__(what)
        self.what = what
        self.mend = mend
        self.got = got
        self.expected = expected
        if code is not None:
            self.code = code
        self.faults = [{"code": self.code, **fault} for fault in faults or ()]

    def __str__(self) -> str:
        parts = [self.what]
        if self.got is not None:
            parts.append(f"got: {self.got}")
        if self.expected is not None:
            parts.append(f"expected: {self.expected}")
        parts += [f"- {_placed(fault)}{_expected(fault)}" for fault in self.faults]
        parts.append(f"mend: {self.mend}")
        return "\n  ".join(parts)

    def as_dict(self) -> dict[str, object]:
        """The error as an API answers it: {code, message, got, expected, mend, faults}; absent facts left out."""
        body: dict[str, object] = {"code": self.code, "message": self.what}
        if self.got is not None:
            body["got"] = str(self.got)
        if self.expected is not None:
            body["expected"] = str(self.expected)
        body["mend"] = self.mend
        if self.faults:
            body["faults"] = self.faults
        return body


def _placed(fault: dict[str, object]) -> str:
    """The place and the message, unless the message begins with the place."""
    path, message = str(fault.get("path")), str(fault.get("message"))
    return message if message.startswith(f"{path}: ") else f"{path}: {message}"


def _expected(fault: dict[str, object]) -> str:
    """What was expected, unless the message says it already."""
    expected = str(fault.get("expected") or "")
    return f"; expected {expected}" if expected and expected not in str(fault.get("message")) else ""


class InputError(PilotageError):
    """The input is wrong; mend it and try again."""

    code, status = "invalid_input", 422


class NotFound(PilotageError):
    """There is no such thing here."""

    code, status = "not_found", 404


class Gone(PilotageError):
    """It was here, and was deleted as the retention rules say: nobody can bring it back."""

    code, status = "past_retention", 410


class Conflict(PilotageError):
    """It exists already, or changed meanwhile."""

    code, status = "conflict", 409


class Unauthenticated(PilotageError):
    """Nobody we know: no key or token, or one that is unknown, expired or revoked."""

    code, status = "unauthenticated", 401


class Forbidden(PilotageError):
    """A known principal without the permission."""

    code, status = "forbidden", 403


class Refused(PilotageError):
    """A rule of governance says no: a gate, four eyes, a legal hold."""

    code, status = "refused", 409


class Unavailable(PilotageError):
    """It cannot work now; the same call may succeed later."""

    code, status = "unavailable", 503


class IntegrityError(PilotageError):
    """Stored bytes are not what was signed or named by digest."""

    code, status = "integrity", 500


class MissingExtra(PilotageError):
    """An optional dependency is not installed."""

    code, status = "missing_extra", 500

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(
            f"{package} is not installed",
            mend=f"run: pip install 'pilotage[{extra}]'",
        )
