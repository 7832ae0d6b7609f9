"""A file of rows, of any number, in constant memory: text formats as they are read, Parquet by a table on disk."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pilotage.ledger.columns import TEXT_FORMATS
from pilotage.ledger.parquet import parquet_table
from pilotage.storage.scratch import scratch_folder

__all__ = ["FORMATS", "Progress", "RowFile"]

FORMATS = ("json", "jsonl", "csv", "parquet")
"""How an export may be written; the first is what is taken when none is named."""

_READ_BYTES = 1 << 20
Progress = Callable[[int], None]


@dataclass(frozen=True, kw_only=True)
class RowFile:
    """What is to be written: `columns` with their SQL types, `format` one of FORMATS, and `pages`.

    These give the rows, their values in the order of the columns, and tell how many there were so far.
    """

    columns: Mapping[str, str]
    format: str
    pages: Callable[[Progress], Iterable[list[Sequence[Any]]]]

    def pieces(self, folder: Path | None = None, progress: Progress = lambda rows: None) -> Iterator[bytes]:
        """The file, piece by piece. Parquet is made in a temporary file in `folder` first."""
        if self.format != "parquet":
            yield from TEXT_FORMATS[self.format](list(self.columns), self.pages(progress))
            return
        with scratch_folder(folder) as made:
            yield from self._parquet(made, progress)

    def write(self, path: Path, progress: Progress = lambda rows: None) -> None:
        """Write the file whole or not at all (mode 0600): beside it first, then synced and renamed."""
        with scratch_folder(path.parent) as made:
            fresh = made / "rows"
            with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                for piece in self._parquet(made, progress) if self.format == "parquet" else self.pieces(None, progress):
                    file.write(piece)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(path)

    def _parquet(self, made: Path, progress: Progress) -> Iterator[bytes]:
        path = made / "rows.parquet"
        with parquet_table(self.columns, made) as table:
            for page in self.pages(progress):
                table.add(page)
            table.write(path)
        with path.open("rb") as file:
            while piece := file.read(_READ_BYTES):
                yield piece
