"""Secrets in anything that travels with the pilot: code, notebooks' outputs, settings, data, and inside artefacts.

Each kind of secret has a piece that always stands in it; the pattern is tried only around those pieces, so that half a
gigabyte is read at the speed of a search for plain bytes.
"""

from __future__ import annotations

import ast
import math
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from pilotage.assess.folder import TABLES, Folder
from pilotage.assess.model import Finding
from pilotage.assess.reading import decoded, insides, lines_of
from pilotage.assess.signals.python import folded
from pilotage.assess.signals.seen import Seen
from pilotage.assess.source import Module, Text, script
from pilotage.kernel.digests import digest

__all__ = ["secrets", "without_secrets"]

_MEND = "revoke it and read it from the environment"
_TOKENS: dict[str, tuple[tuple[bytes, ...], re.Pattern[bytes]]] = {
    "a cloud access key": ((b"AKIA", b"ASIA"), re.compile(rb"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b")),
    "a private key": (
        (b"PRIVATE KEY-----",),
        re.compile(rb"-----BEGIN (?:RSA |EC |OPENSSH |DSA |ENCRYPTED )?PRIVATE KEY-----(?=\\?[\r\n\\])"),
    ),
    "a source-host token": (
        (b"ghp_", b"gho_", b"ghu_", b"ghs_", b"ghr_", b"github_pat_", b"glpat-"),
        re.compile(rb"\b(?:gh[pousr]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9_]{60,90}|glpat-[\w-]{20})\b"),
    ),
    "an API key": (
        (b"sk-", b"sk_live_", b"AIza", b"xoxa-", b"xoxb-", b"xoxp-", b"xoxr-", b"xoxs-"),
        re.compile(
            rb"\b(?:sk-[A-Za-z0-9_-]{32,200}|sk_live_[A-Za-z0-9]{24,99}|AIza[0-9A-Za-z_-]{35}|xox[abprs]-[\w-]{20,99})"
        ),
    ),
    "a model-host token": (
        (b"hf_", b"gsk_", b"r8_", b"pcsk_", b"pplx-", b"tvly-", b"lsv2_"),
        re.compile(
            rb"\b(?:hf_[A-Za-z0-9]{30,60}|gsk_[A-Za-z0-9]{40,60}|r8_[A-Za-z0-9]{30,50}|pcsk_[\w-]{40,90}"
            rb"|pplx-[A-Za-z0-9]{40,60}|tvly-[\w-]{28,60}|lsv2_[ps][tk]_[0-9a-f]{32}_[0-9a-f]{10})\b"
        ),
    ),
    "a bot's token": ((b":AA",), re.compile(rb"\b[0-9]{8,10}:AA[A-Za-z0-9_-]{32,34}\b")),
    "a password in an address": (
        (b"://",),
        re.compile(
            rb"://[^\s:/@'\"{}<>$]{1,64}:([^\s:/@'\"{}<>$]{3,64})@(?!localhost|127\.0\.0\.1|\[::1\]|host\b)[\w.-]+"
        ),
    ),
}
_RARE = ("a private key", "a cloud access key", "a source-host token")
_KEYS = (b"passw", b"pwd", b"secret", b"api_key", b"apikey", b"api-key", b"access_key", b"_token", b"-token")
_KEY = rb"(?:password|passwd|passwort|pwd|secret|secret_?key|api[_-]?key|access[_-]?key|(?:access|auth|api)[_-]?token)"
_QUOTED = re.compile(rb"(?i)" + _KEY + rb"\\?[\"']?\s*[:=]\s*\\?[\"']([A-Za-z0-9+/_.!@#$%^&*-]{8,80})\\?[\"']")
_PLAIN = re.compile(
    rb"(?im)^[\t ]*(?:export |ENV |ARG |- )?[\t ]*[\w.-]*"
    + _KEY
    + rb"[\t ]*[:= ][\t ]*([^\s\"'#$<{][^\s\"'#]{7,79})[\t ]*\r?$"
)
_SETTINGS = re.compile(
    r"(?i)(^|/)(\.env[^/]*|Dockerfile[^/]*|Containerfile[^/]*|[^/]*\.(env|ya?ml|ini|cfg|conf|toml|properties))$"
)
_PLACEHOLDER = re.compile(
    rb"(?i)(your|example|change_?me|dummy|fake|placeholder|sample|insert|secret|password|passwort|xxx|\*\*\*|\.\.\.|<|test"
    rb"|^/|^https?:|^postgres$)"
)
_TAKEN_OUT = b"your-secret-was-taken-out"
_BEFORE, _AFTER = 120, 320
_MAX_PLACES, _MAX_HITS = 50, 20_000


def secrets(folder: Folder) -> Iterator[Seen]:
    """No secret lies in any file or inside the artefact. A finding names the place and kind, never the secret."""
    findings, looked = [], 0
    for path in folder.files:
        content = folder.content(path)
        if content:
            looked += 1
            findings += _in_file(path, content)
    known = {(each.file, each.line) for each in findings}
    findings += [each for module in folder.modules for each in _joined(module) if (each.file, each.line) not in known]
    if looked:
        summary = f"{len(findings)} secrets lie in it" if findings else f"no known kind of secret in {looked} files"
        yield Seen(criterion="governance.secrets", level=0 if findings else 1, summary=summary, findings=findings)


def without_secrets(path: str, content: bytes) -> bytes | None:
    """A script with a placeholder for every known secret; None where one may be left, as after a private key's head."""
    found = list(_hits(path, content, False))
    made = content
    for _, kind, _, value in found:
        if kind == "a private key":
            return None
        made = made.replace(value, _TAKEN_OUT)
    text = decoded(made, python=True)
    if text is None or any(True for _ in _hits(path, made, False)):
        return None
    try:
        joined = list(_joined(script(Text(path=path, lines=lines_of(text)))))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    return None if joined else made


def _in_file(path: str, content: bytes) -> list[Finding]:
    """One finding for each line and kind; what lies inside an archive has no line."""
    places: dict[tuple[int, str], Finding] = {}
    table = path.lower().endswith(tuple(TABLES))
    for inside in insides(content):
        line, upto = 1, 0
        for start, kind, secret, _ in sorted(_hits(path, inside, table)):
            line, upto = line + inside.count(b"\n", upto, start), start
            at = line if inside is content else 0
            places.setdefault((at, kind), Finding(file=path, line=at, message=kind, mend=_MEND, digest=digest(secret)))
            if len(places) == _MAX_PLACES:
                return list(places.values())
    return list(places.values())


def _hits(path: str, content: bytes, table: bool) -> Iterator[tuple[int, str, bytes, bytes]]:
    """(where, kind, the match, the secret in it) of each."""
    for kind, (pieces, pattern) in _TOKENS.items():
        if table and kind not in _RARE:
            continue  # they fit ordinary rows
        for found in _around(content, content, pieces, pattern):
            if _real(found[found.lastindex or 0], kind):
                yield found.start(), kind, found[0], found[0]
    if table:
        return
    lower = content.lower()
    tested = _is_test(path)
    for pattern in (_QUOTED, _PLAIN) if _SETTINGS.search(path) else (_QUOTED,):
        for found in _around(content, lower, _KEYS, pattern):
            if not tested and _random_looking(found[1]):
                yield found.start(1), "a secret in an assignment", found[0], found[1]


def _around(
    content: bytes, searched: bytes, pieces: tuple[bytes, ...], pattern: re.Pattern[bytes]
) -> Iterator[re.Match[bytes]]:
    """Matches that overlap a piece, each once."""
    seen: set[int] = set()
    for piece in pieces:
        at, hits = searched.find(piece), 0
        while at >= 0 and hits < _MAX_HITS:
            hits += 1
            for found in pattern.finditer(content, _line_start(content, at), at + _AFTER):
                if found.start() <= at < found.end() and found.start() not in seen:
                    seen.add(found.start())
                    yield found
            at = searched.find(piece, at + len(piece))


def _line_start(content: bytes, at: int) -> int:
    return max(content.rfind(b"\n", max(0, at - _BEFORE), at) + 1, at - _BEFORE, 0)


def _is_test(path: str) -> bool:
    name, folders = Path(path).name, Path(path).parts[:-1]
    return name.startswith(("test_", "conftest")) or "tests" in folders or "fixtures" in folders


def _joined(module: Module) -> Iterator[Finding]:
    """Strings that are put together of pieces, in which the bytes of the file show nothing."""
    for node in module.nodes:
        apart = isinstance(node, ast.BinOp) or (
            isinstance(node, ast.Constant) and node.end_lineno != getattr(node, "lineno", None)
        )
        value = folded(node) if apart else None
        if value is None:
            continue
        content = value.encode(errors="replace")
        for kind, (_, pattern) in _TOKENS.items():
            found = pattern.search(content)
            if found and _real(found[found.lastindex or 0], kind):
                line = module.place(node)
                yield Finding(file=module.path, line=line, message=kind, mend=_MEND, digest=digest(found[0]))
                break


def _real(value: bytes, kind: str) -> bool:
    """Whether a token is more than an example of one."""
    if kind == "a private key":
        return True
    if kind == "a password in an address":
        return not _PLACEHOLDER.search(value)
    body = value[4:]
    return not re.search(rb"(?i)example|xxxx|your|dummy|fake|placeholder", body) and len(set(body)) > 3


def _random_looking(value: bytes) -> bool:
    """Whether a value looks made by a generator or chosen as a password: mixed, not a placeholder, no plain word."""
    if _PLACEHOLDER.search(value) or value.isalpha() or re.fullmatch(rb"[a-z]+(?:[_.-][a-z]+)+", value):
        return False
    counts = Counter(value)
    entropy = -sum(n / len(value) * math.log2(n / len(value)) for n in counts.values())
    return entropy >= 2.8
