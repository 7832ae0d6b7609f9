"""Verifier keys as options: the key itself, or a file that holds it."""

from __future__ import annotations

from pathlib import Path

import click

__all__ = ["VerifierKey"]


class VerifierKey(click.ParamType[str, object]):
    """`name+id+base64`, or the path of a file with such lines; an empty text stays empty."""

    name = "key/file"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        text = str(value).strip()
        if not text or "+" in text:
            return text
        try:
            return Path(text).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError):
            self.fail(f"{text!r} is neither a verifier key nor a file that holds one", param, ctx)
