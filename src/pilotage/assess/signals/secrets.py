"""Secrets in anything that travels with the pilot: code, notebooks' outputs, data, and inside compressed artefacts."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator

from pilotage.assess.folder import TABLES, Folder, unpacked
from pilotage.assess.model import Finding
from pilotage.assess.signals.seen import Seen
from pilotage.kernel.digests import digest

__all__ = ["secrets"]

_PATTERNS = {
    "a cloud access key": rb"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
    "a private key": rb"-----BEGIN (?:RSA |EC |OPENSSH |DSA |ENCRYPTED )?PRIVATE KEY-----",
    "a source-host token": rb"\b(?:gh[pousr]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9_]{60,}|glpat-[\w-]{20})\b",
    "an API key": rb"\b(?:sk-[A-Za-z0-9_-]{32,}|sk_live_[A-Za-z0-9]{24,}|AIza[0-9A-Za-z_-]{35}|xox[abprs]-[\w-]{20,})",
    "a model-host token": rb"\bhf_[A-Za-z0-9]{30,}\b",
    "a password in an address": rb"://[^\s:/@'\"{}<>$]{1,64}:[^\s:/@'\"{}<>$]{3,64}@(?!localhost|127\.0\.0\.1|\[::1\])[\w.-]+",
    "a secret in an assignment": (
        rb"(?i)\b\w*(?:password|passwd|secret|api_?key|access_?token|auth_?token)\\?[\"']?\s*[:=]\s*\\?[\"']"
        rb"([A-Za-z0-9+/_.!@#$%^&*-]{8,80})\\?[\"']"
    ),
}
_compiled = {words: re.compile(pattern) for words, pattern in _PATTERNS.items()}
_PLACEHOLDER = re.compile(rb"(?i)(your|example|change|dummy|placeholder|secret|password|xxx|\*\*\*|<|test)")


def secrets(folder: Folder) -> Iterator[Seen]:
    """No secret lies in any file or inside the artefact. A finding names the place and kind, never the secret."""
    findings, looked = [], 0
    for path in folder.files:
        content = unpacked(folder.content(path))
        if not content:
            continue
        looked += 1
        patterns = _compiled if not path.lower().endswith(tuple(TABLES)) else _rare()
        for words, pattern in patterns.items():
            for found in pattern.finditer(content):
                if not found.groups() or _random_looking(found[1]):
                    line = content.count(b"\n", 0, found.start()) + 1
                    findings.append(
                        Finding(
                            file=path,
                            line=line,
                            message=words,
                            mend="revoke it and read it from the environment",
                            digest=digest(found[0]),
                        )
                    )
    if looked:
        summary = f"{len(findings)} secrets lie in it" if findings else f"no known kind of secret in {looked} files"
        yield Seen(criterion="governance.secrets", level=0 if findings else 1, summary=summary, findings=findings)


def _rare() -> dict[str, re.Pattern[bytes]]:
    """The patterns that do not fit ordinary rows of a table."""
    return {words: _compiled[words] for words in ("a private key", "a cloud access key", "a source-host token")}


def _random_looking(value: bytes) -> bool:
    """Whether a value looks made by a generator or chosen as a password: mixed, not a placeholder, no plain word."""
    if _PLACEHOLDER.search(value) or value.isalpha():
        return False
    counts = Counter(value)
    entropy = -sum(n / len(value) * math.log2(n / len(value)) for n in counts.values())
    return entropy >= 2.8
