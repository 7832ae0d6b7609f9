"""A file of rows, of any number, in constant memory: text formats as they are read, Parquet by a table on disk."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pilotage.ledger.columns import TEXT_FORMATS
from pilotage.ledger.parquet import parquet_table

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
        with tempfile.TemporaryDirectory(dir=folder, prefix=".export-") as made:
            path = Path(made) / "rows.parquet"
            with parquet_table(self.columns, path.parent) as table:
                for page in self.pages(progress):
                    table.add(page)
                table.write(path)
            with path.open("rb") as file:
                while piece := file.read(_READ_BYTES):
                    yield piece

    def write(self, path: Path, progress: Progress = lambda rows: None) -> None:
        """Write the file whole or not at all (mode 0600): beside it first, then synced and renamed."""
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".new-")
        try:
            with os.fdopen(handle, "wb") as file:
                for piece in self.pieces(path.parent, progress):
                    file.write(piece)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
