"""Canonical JSON (RFC 8785) for manifests and policies; never for decisions, whose written bytes are the leaf."""

from __future__ import annotations

from typing import Any

import rfc8785

__all__ = ["canonical_json"]


def canonical_json(value: Any) -> bytes:
    """RFC 8785 bytes of a JSON value (str, int, float, bool, None, list, dict with str keys)."""
    return rfc8785.dumps(value)
