"""The published tree: C2SP tlog-tiles under `<home>/ledger`.

    checkpoint                  the signed root
    tile/<L>/<N>[.p/<W>]        up to 256 hashes of 32 bytes; level 0 are leaf hashes
    tile/entries/<N>[.p/<W>]    up to 256 entries, each after its length as two bytes, big-endian
    kept/<N>                    what retention left of a bundle (`ledger.kept`)

`N` is written in groups of three digits, `x001/x234/067`; `W` is the width of a partial tile. Files are written whole
and synced, the checkpoint last, so that whoever reads a checkpoint finds everything it covers.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from pilotage.errors import Gone, InputError, IntegrityError, NotFound
from pilotage.ledger.kept import Stub, grouped, kept_path, read_kept
from pilotage.ledger.merkle import leaf_hash, subtree_root
from pilotage.ledger.notes import read_checkpoint_body
from pilotage.storage.objects import write_all_durably, write_durably

__all__ = [
    "ENTRY_BYTES",
    "TILE_WIDTH",
    "TileReader",
    "node_in_tiles",
    "pack_entries",
    "parse_tile_name",
    "partial_widths",
    "publish",
    "published_tile",
    "read_checkpoint",
    "read_entries",
    "read_entry",
    "read_leaves",
    "tile_path",
    "tile_root",
    "tile_span",
    "unpack_entries",
]

TILE_WIDTH = 256
ENTRY_BYTES = 65_535
"""The longest entry a bundle can hold."""

_HASH_BYTES = 32
_HEIGHT = 8
_TILE = re.compile(r"tile/(entries|0|[1-9][0-9]?)/((?!x000)(?:x[0-9]{3}/){0,5}[0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?")
_sha256 = hashlib.sha256


def tile_path(folder: Path, level: int | str, number: int, width: int = TILE_WIDTH) -> Path:
    """Where tile `number` of `level` (an integer, or `entries`) lies; `width` below 256 names a partial one."""
    suffix = "" if width == TILE_WIDTH else f".p/{width}"
    return folder / "tile" / str(level) / (grouped(number) + suffix)


def tile_span(folder: Path, path: Path) -> int | None:
    """The size of the smallest tree that has the tile or bundle at `path`; None for a path of no tile."""
    named = parse_tile_name(path.relative_to(folder).as_posix())
    if named is None:
        return None
    level, number, width = named
    height = 0 if isinstance(level, str) else _HEIGHT * level
    return (number * TILE_WIDTH + width) << height


def parse_tile_name(name: str) -> tuple[int | str, int, int] | None:
    """(level, number, width) of `tile/<L>/<N>[.p/<W>]`, the level an integer or `entries`; None for another text."""
    match = _TILE.fullmatch(name)
    if match is None:
        return None
    level, digits, width = match.groups()
    number = int(digits.replace("x", "").replace("/", ""))
    if width is not None and int(width) >= TILE_WIDTH:
        return None
    return level if level == "entries" else int(level), number, int(width or TILE_WIDTH)


def tile_root(hashes: Sequence[bytes]) -> bytes:
    """The root over 2^k hashes, k from 0 to 8."""
    if len(hashes).bit_count() != 1:
        raise ValueError(f"{len(hashes)} hashes are not those of a whole subtree")
    row = b"".join(hashes)
    while len(row) > _HASH_BYTES:
        row = b"".join([_sha256(b"\x01" + row[at : at + 64]).digest() for at in range(0, len(row), 64)])
    return row


def pack_entries(entries: Sequence[bytes]) -> bytes:
    """The bytes of an entry bundle."""
    return b"".join(len(entry).to_bytes(2, "big") + entry for entry in entries)


def unpack_entries(content: bytes, place: Path) -> list[bytes]:
    """The entries of a bundle's bytes. Raises IntegrityError naming `place` when a length runs past the end."""
    entries, at, end = [], 0, len(content)
    while at < end:
        start = at + 2
        at = start + (content[at] << 8 | content[at + 1]) if start <= end else end + 1
        if at > end:
            raise _changed(place, "an entry that runs past the end of the file", "whole entries")
        entries.append(content[start:at])
    return entries


def publish(
    folder: Path,
    old_size: int,
    new_entries: Sequence[bytes],
    new_size: int,
    checkpoint: str,
    new_hashes: Sequence[bytes] = (),
) -> None:
    """Write the tiles, entry bundles and checkpoint that take the published tree from `old_size` to `new_size`.

    `new_hashes` are the entries' leaf hashes, if they are known.

    Repeatable: the same call, or one from an older size with all entries since, writes the same bytes; a crash
    leaves the old checkpoint over an intact old tree. Raises IntegrityError, and leaves the old checkpoint, when the
    tiles do not have the root that the checkpoint signs.
    """
    _check_entries(old_size, new_entries, new_size)
    body = read_checkpoint_body(checkpoint)
    _check_partial(folder, old_size)
    hashes = new_hashes or [*map(leaf_hash, new_entries)]
    write_all_durably(_entry_bundles(folder, old_size, new_entries) | _hash_tiles(folder, old_size, hashes))
    root = subtree_root(0, new_size, TileReader(folder, new_size).read)
    if (body.size, body.root) != (new_size, root):
        raise IntegrityError(
            "the checkpoint does not sign the published tiles",
            got=f"size {new_size}, root {root.hex()}",
            expected=f"size {body.size}, root {body.root.hex()}",
            mend="verify the ledger: a tile on disk was changed, or entries are missing",
        )
    write_durably(folder / "checkpoint", checkpoint.encode())
    _drop_superseded(folder, old_size, new_size)


def read_checkpoint(folder: Path) -> str:
    """The published checkpoint's text. Raises NotFound before the first batch was published."""
    try:
        return (folder / "checkpoint").read_bytes().decode()
    except FileNotFoundError:
        raise NotFound("nothing was published yet", got=folder, mend="wait for the first sealed batch") from None
    except UnicodeDecodeError:
        raise _changed(folder / "checkpoint", "bytes that are not UTF-8", "a signed note") from None


def read_entry(folder: Path, index: int, size: int) -> bytes:
    """The entry at `index` of the published tree of `size` entries.

    Raises InputError, IntegrityError, Gone when retention deleted it.
    """
    if not 0 <= index < size:
        raise InputError("no such entry", got=index, expected=f"0 to {size - 1}", mend="use an index of the ledger")
    number, offset = divmod(index, TILE_WIDTH)
    [entry] = _read_leaves(folder, number, min(TILE_WIDTH, size - number * TILE_WIDTH))[offset : offset + 1]
    if isinstance(entry, Stub):
        raise _gone(f"the entry of leaf {index}")
    return entry


def read_leaves(folder: Path, start: int, end: int) -> Iterator[bytes | Stub]:
    """The entries [start, end) in order, a stub where retention deleted one; `end` is at most the published size.

    Raises IntegrityError.
    """
    for number in range(start // TILE_WIDTH, -(-end // TILE_WIDTH)):
        first = number * TILE_WIDTH
        bundle = _read_leaves(folder, number, min(TILE_WIDTH, end - first))
        yield from bundle[max(0, start - first) : end - first]


def read_entries(folder: Path, start: int, end: int) -> Iterator[bytes]:
    """The entries [start, end) in order; `end` is at most the published size. Raises IntegrityError, Gone."""
    for index, entry in enumerate(read_leaves(folder, start, end), start):
        if isinstance(entry, Stub):
            raise _gone(f"the entry of leaf {index}")
        yield entry


class TileReader:
    """Reads node hashes of the published tree of `size` leaves, each tile file at most once."""

    def __init__(self, folder: Path, size: int) -> None:
        self.folder = folder
        self.size = size
        self._tiles: dict[tuple[int, int], list[bytes]] = {}

    def read(self, level: int, index: int) -> bytes:
        """The hash of node (level, index), a `merkle.HashReader`. Raises IntegrityError."""
        return node_in_tiles(self.tile, level, index)

    def tile(self, level: int, number: int) -> list[bytes]:
        """The hashes of one tile, as many as a tree of this size has."""
        key = level, number
        if key not in self._tiles:
            width = min(TILE_WIDTH, (self.size >> (_HEIGHT * level)) - number * TILE_WIDTH)
            self._tiles[key] = _read_tile(self.folder, level, number, width)
        return self._tiles[key]


def node_in_tiles(tile: Callable[[int, int], Sequence[bytes]], level: int, index: int) -> bytes:
    """The hash of node (level, index), of `tile(tile level, number)`'s hashes."""
    tile_level, height = divmod(level, _HEIGHT)
    number, offset = divmod(index << height, TILE_WIDTH)
    return tile_root(tile(tile_level, number)[offset : offset + (1 << height)])


def published_tile(folder: Path, level: int | str, number: int, width: int, size: int) -> bytes:
    """The bytes of one tile or bundle of the published tree of `size` leaves, cut from a wider file if need be.

    Raises NotFound when that tree has no such tile, or its file is gone; Gone when retention deleted the bundle;
    IntegrityError when the file is cut.
    """
    height = 0 if isinstance(level, str) else _HEIGHT * level
    path = tile_path(folder, level, number, width)
    if not (1 <= width <= TILE_WIDTH and number >= 0 and (number * TILE_WIDTH + width) << height <= size):
        raise NotFound("the tree has no such tile", got=path.name, mend="read the checkpoint for the tree's size")
    full = tile_path(folder, level, number)
    if not (path.is_file() or full.is_file() or partial_widths(full)):
        if isinstance(level, str) and kept_path(folder, number).is_file():
            raise _gone(f"entry bundle {number}")
        raise NotFound("this tile is not here any more", got=path.name, mend="restore it, or ask for a later one")
    if isinstance(level, str):
        return pack_entries(_read_bundle(folder, number, width))
    return b"".join(_read_tile(folder, level, number, width))


def partial_widths(full: Path) -> list[int]:
    """The widths of the partial files that lie beside (or instead of) the full tile of this path, ascending."""
    try:
        with os.scandir(f"{full}.p") as beside:
            return sorted(int(file.name) for file in beside if file.name.isdecimal())
    except FileNotFoundError:
        return []


def _check_entries(old_size: int, new_entries: Sequence[bytes], new_size: int) -> None:
    if old_size < 0 or old_size + len(new_entries) != new_size:
        raise InputError(
            "the entries do not lead from the old size to the new one",
            got=f"{old_size} + {len(new_entries)} entries",
            expected=new_size,
            mend="publish every pending entry from the old size on",
        )
    for index, entry in enumerate(new_entries, old_size):
        if len(entry) > ENTRY_BYTES:
            raise InputError(
                f"entry {index} is too long",
                got=f"{len(entry)} bytes",
                expected=f"at most {ENTRY_BYTES}",
                mend="put what is large into the payload: entries commit to it",
            )


def _check_partial(folder: Path, size: int) -> None:
    """The bundle that will be continued must hold what was hashed, or a changed entry would be copied onward."""
    number, width = divmod(size, TILE_WIDTH)
    if width and [leaf_hash(e) for e in _read_bundle(folder, number, width)] != _read_tile(folder, 0, number, width):
        place = tile_path(folder, "entries", number, width)
        raise _changed(place, "entries that do not hash to the tile", "the entries as published")


def _entry_bundles(folder: Path, old_size: int, new_entries: Sequence[bytes]) -> dict[Path, bytes]:
    number, width = divmod(old_size, TILE_WIDTH)
    held = _read_bundle(folder, number, width) if width else []
    return {
        tile_path(folder, "entries", number + n, len(entries)): pack_entries(entries)
        for n, entries in enumerate(_in_tiles([*held, *new_entries]))
    }


def _hash_tiles(folder: Path, old_size: int, new_hashes: Sequence[bytes]) -> dict[Path, bytes]:
    files: dict[Path, bytes] = {}
    level, size = 0, old_size
    while new_hashes:
        number, width = divmod(size, TILE_WIDTH)
        held = _read_tile(folder, level, number, width) if width else []
        above: list[bytes] = []
        for n, hashes in enumerate(_in_tiles([*held, *new_hashes])):
            files[tile_path(folder, level, number + n, len(hashes))] = b"".join(hashes)
            if len(hashes) == TILE_WIDTH:
                above.append(tile_root(hashes))
        level, size, new_hashes = level + 1, number, above
    return files


def _in_tiles(values: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    for start in range(0, len(values), TILE_WIDTH):
        yield values[start : start + TILE_WIDTH]


def _read_tile(folder: Path, level: int, number: int, width: int) -> list[bytes]:
    path = _find(folder, level, number, width)
    content = path.read_bytes()
    if len(content) % _HASH_BYTES or len(content) < width * _HASH_BYTES:
        raise _changed(path, f"{len(content)} bytes", f"{width} hashes of 32 bytes")
    return [content[start : start + _HASH_BYTES] for start in range(0, width * _HASH_BYTES, _HASH_BYTES)]


def _read_bundle(folder: Path, number: int, width: int) -> list[bytes]:
    path = _find(folder, "entries", number, width)
    entries = unpack_entries(path.read_bytes(), path)
    if len(entries) < width:
        raise _changed(path, f"{len(entries)} entries", f"at least {width}")
    return entries[:width]


def _read_leaves(folder: Path, number: int, width: int) -> Sequence[bytes | Stub]:
    """The bundle, or what retention left of it; only full bundles are ever deleted."""
    if not tile_path(folder, "entries", number).is_file() and (left := read_kept(folder, number)) is not None:
        return left.entries[:width]
    return _read_bundle(folder, number, width)


def _gone(what: str) -> Gone:
    mend = "pilotage retention show says what is kept how long; its hash is still in the tree"
    return Gone(f"{what} is past retention: it was deleted", mend=mend)


def _find(folder: Path, level: int | str, number: int, width: int) -> Path:
    """The file of that width, else the full tile, else the narrowest wider one: their beginnings are equal."""
    exact = tile_path(folder, level, number, width)
    if exact.is_file():
        return exact
    full = tile_path(folder, level, number)
    if full.is_file():
        return full
    for wider in partial_widths(full):
        if wider > width:
            return tile_path(folder, level, number, wider)
    raise _changed(exact, "no such file", f"a tile of {width}")


def _drop_superseded(folder: Path, old_size: int, new_size: int) -> None:
    """Partial files of tiles that have become full: the full tile serves every older size."""
    level, old, new = 0, old_size, new_size
    while new:
        names: tuple[int | str, ...] = (level,) if level else (level, "entries")
        for number in range(old // TILE_WIDTH, new // TILE_WIDTH):
            for name in names:
                shutil.rmtree(tile_path(folder, name, number, 1).parent, ignore_errors=True)
        level, old, new = level + 1, old // TILE_WIDTH, new // TILE_WIDTH


def _changed(place: Path, got: str, expected: str) -> IntegrityError:
    return IntegrityError(
        f"{place} is not what was published", got=got, expected=expected, mend="restore the file from a backup"
    )
