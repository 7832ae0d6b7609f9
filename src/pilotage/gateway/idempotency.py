"""One answer for one `Idempotency-Key`: a request that is sent again gets the answer that is already on record.

The order is what makes it safe: the key is claimed, the decision is made and recorded, its answer is stored, and only
then does it leave. Whoever dies before the store answered nobody, so that its claim can be taken over; who finds the
claim taken over must not answer. docs/explanation/idempotency.md goes through every moment of a crash.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import hmac
import logging
import os
import sqlite3
from collections import deque
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from pilotage.gateway.idempotency_store import Entry, IdempotencyStore
from pilotage.gateway.reply import Denied, Reply
from pilotage.kernel.clock import Clock, now_us

__all__ = ["KEPT_S", "MOST_BYTES", "REPLAYED", "Idempotency"]

KEPT_S = 24 * 3_600
"""How long a key's answer is kept, unless set otherwise."""

MOST_BYTES = 1 << 30
"""How large the file may grow, unless set otherwise."""

REPLAYED = "replayed"
"""The outcome of a reply that was given before."""

_SHORTEST, _LONGEST = 16, 255
_INFO = b"pilotage idempotency 1\0"
_NONCE = 12
_WAIT_S, _POLL_S = 5.0, 0.02
_PRUNE_US = 30_000_000
_AGAIN = (b"idempotency-replayed", b"true")
_log = logging.getLogger(__name__)


class _Names(NamedTuple):
    """What is derived from a key, for one caller and address: where its entry is, and what seals its answer."""

    lookup: bytes
    body: bytes
    seal: AESGCM


class Idempotency:
    """The keys of one node, as one of its workers sees them. `folder` is for the database and the locks of processes.

    Nothing is opened before the first key comes. All that touches the file runs in one thread: never on the event loop.
    """

    def __init__(
        self, folder: Path, *, kept_s: float = KEPT_S, most_bytes: int = MOST_BYTES, clock: Clock = now_us
    ) -> None:
        self._folder, self._kept_us, self._most = folder, int(kept_s * 1e6), most_bytes
        self._clock = clock
        self._thread = ThreadPoolExecutor(1, "idempotency")
        self._store: IdempotencyStore | None = None
        self._owner = os.urandom(16).hex()
        self._lock = -1
        self._running: set[bytes] = set()
        self._unkept: deque[tuple[_Names, Reply, asyncio.Future[bool]]] = deque()
        self._pruned = 0

    async def answer(self, key: bytes, caller: str, body: bytes, run: Callable[[], Awaitable[Reply]]) -> Reply:
        """The reply that `run` gives, or gave to the same key of the same caller and body before.

        `caller` is who asks and what address. A reply of 500 or more is not kept: nothing was answered, so the request
        may be sent again. Raises Denied: 400 for a key that is none, 422 for a key that had another body, 409 while
        another request with it runs, 503 when the file cannot be used; and whatever `run` raises.
        """
        _must_be_a_key(key)
        names = await self._claimed(key, caller, body)
        if isinstance(names, Reply):
            return names
        try:
            reply = await run()
            if reply.status >= 500:
                await self._beside(self._release, names)
            elif not await self._settled(names, reply):
                raise _unavailable("the claim was lost")
        except BaseException:
            # Also when this request is cancelled: nothing left, and the next one must not wait for it.
            await asyncio.shield(self._beside(self._release, names))
            raise
        return reply

    async def _claimed(self, key: bytes, caller: str, body: bytes) -> _Names | Reply:
        """The names of a key that is now ours to answer, or its answer, waiting a while for who is at it."""
        end = asyncio.get_running_loop().time() + _WAIT_S
        while True:
            found: _Names | Reply | None = await self._beside(self._claim, key, caller, body)
            if found is not None:
                return found
            if asyncio.get_running_loop().time() >= end:
                raise _in_progress()
            await asyncio.sleep(_POLL_S)

    async def _beside(self, work: Callable[..., Any], *arguments: object) -> Any:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)
        except (sqlite3.Error, OSError) as error:
            _log.error("the file of idempotency keys cannot be used: %s", error)
            raise _unavailable(type(error).__name__) from error

    def _claim(self, key: bytes, caller: str, body: bytes) -> _Names | Reply | None:
        """In the thread: claimed, the kept answer, or None while somebody is at it. Raises Denied."""
        store, at = self._opened(), self._clock()
        since = at - self._kept_us
        names = _derive(key, caller, body, store.salt)
        self._keep_small(store, at, since)
        entry = store.claim(names.lookup, names.body, self._owner, at, since)
        if entry is not None:
            if not hmac.compare_digest(entry.body, names.body):
                raise _reused()
            if entry.answer is not None:
                return _opened_answer(names, entry.answer)
            if not self._is_left(names.lookup, entry) or not store.take_over(names.lookup, entry.owner, self._owner):
                return None
        self._running.add(names.lookup)
        return names

    async def _settled(self, names: _Names, reply: Reply) -> bool:
        """Keep a reply; whether it is kept, on disk. Those that wait at once are synced together."""
        loop = asyncio.get_running_loop()
        kept: asyncio.Future[bool] = loop.create_future()
        self._unkept.append((names, reply, kept))
        # One for each: the first that runs takes all that wait, the others find nothing to do.
        self._thread.submit(self._settle_all, loop)
        return await kept

    def _settle_all(self, loop: asyncio.AbstractEventLoop) -> None:
        waiting = []
        while self._unkept:
            waiting.append(self._unkept.popleft())
        if not waiting:
            return
        told: list[bool] | Denied
        try:
            sealed = [(names.lookup, _sealed(names, reply)) for names, reply, _ in waiting]
            told = self._opened().settle(self._owner, sealed)
        except (sqlite3.Error, OSError) as error:
            _log.error("the file of idempotency keys cannot be used: %s", error)
            told = _unavailable(type(error).__name__)
        for names, _, _ in waiting:
            self._running.discard(names.lookup)
        loop.call_soon_threadsafe(_tell, [kept for _, _, kept in waiting], told)

    def _release(self, names: _Names) -> None:
        self._running.discard(names.lookup)
        self._opened().release(names.lookup, self._owner)

    def _is_left(self, lookup: bytes, entry: Entry) -> bool:
        """Whether nobody works on a claim any more: its process holds its lock as long as it lives."""
        if entry.owner == self._owner:
            return lookup not in self._running
        return _is_free(self._lock_of(entry.owner))

    def _keep_small(self, store: IdempotencyStore, at: int, since: int) -> None:
        if at - self._pruned >= _PRUNE_US:
            # Where there was much to delete, the next request goes on.
            self._pruned = at if store.prune(since) == 0 else 0
        if store.used() > self._most:
            raise _full(self._most)

    def _opened(self) -> IdempotencyStore:
        if self._store is None:
            folder = self._folder
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            one_by_one = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
            try:
                fcntl.flock(one_by_one, fcntl.LOCK_EX)
                _sweep(folder)
                self._lock = os.open(self._lock_of(self._owner), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
                fcntl.flock(self._lock, fcntl.LOCK_EX)
                self._store = IdempotencyStore(folder / "keys.db")
            finally:
                os.close(one_by_one)
        return self._store

    def _lock_of(self, owner: str) -> Path:
        return self._folder / f"{owner}.lock"

    def close(self) -> None:
        """Let go of the file, after what waits for it."""
        self._thread.shutdown(wait=True)
        if self._store is not None:
            self._store.close()
            self._lock_of(self._owner).unlink(missing_ok=True)
            os.close(self._lock)


def _is_free(path: Path) -> bool:
    """Whether no process holds a lock; also when its file is gone, which only happens after its process."""
    try:
        lock = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(lock)
    return True


def _sweep(folder: Path) -> None:
    """Remove the locks of processes that are gone: what they claimed is free without it too."""
    for path in folder.glob("*.lock"):
        if _is_free(path):
            path.unlink(missing_ok=True)


def _derive(key: bytes, caller: str, body: bytes, salt: bytes) -> _Names:
    """All from the key by HKDF: who has the file cannot tell keys, bodies or answers without it."""
    made = HKDF(algorithm=SHA256(), length=96, salt=salt, info=_INFO + caller.encode()).derive(key)
    digest = hashlib.blake2b(body, key=made[32:64], digest_size=32).digest()
    return _Names(made[:32], digest, AESGCM(made[64:]))


def _tell(waiting: list[asyncio.Future[bool]], told: list[bool] | Denied) -> None:
    for place, kept in enumerate(waiting):
        if kept.done():
            continue
        if isinstance(told, Denied):
            kept.set_exception(told)
        else:
            kept.set_result(told[place])


def _sealed(names: _Names, reply: Reply) -> bytes:
    nonce = os.urandom(_NONCE)
    kept = msgspec.msgpack.encode((reply.status, reply.headers, reply.body, reply.system))
    return nonce + names.seal.encrypt(nonce, kept, names.lookup + names.body)


def _opened_answer(names: _Names, answer: bytes) -> Reply:
    plain = names.seal.decrypt(answer[:_NONCE], answer[_NONCE:], names.lookup + names.body)
    status, headers, body, system = msgspec.msgpack.decode(
        plain, type=tuple[int, list[tuple[bytes, bytes]], bytes, str]
    )
    return Reply(status, [*headers, _AGAIN], body, REPLAYED, system)


def _must_be_a_key(key: bytes) -> None:
    if not _SHORTEST <= len(key) <= _LONGEST or not key.isascii() or not key.decode("ascii").isprintable():
        raise Denied(
            "the Idempotency-Key cannot be used",
            status=400,
            code="idempotency_key_invalid",
            got=f"{len(key)} bytes",
            expected=f"{_SHORTEST} to {_LONGEST} printable ASCII characters that nobody can guess",
            mend="send a new random UUID for each thing that is to be decided once",
        )


def _reused() -> Denied:
    return Denied(
        "the Idempotency-Key was used with another body",
        status=422,
        code="idempotency_key_reused",
        mend="send the body that it was first sent with, or a new key for a new request",
    )


def _in_progress() -> Denied:
    return Denied(
        "a request with this Idempotency-Key is being worked on",
        status=409,
        code="idempotency_in_progress",
        mend="send it again in a second: it then gets the same answer",
        headers=[(b"retry-after", b"1")],
    )


def _full(most: int) -> Denied:
    return Denied(
        "this node keeps as many answers for idempotency keys as it may",
        status=503,
        code="idempotency_full",
        expected=f"at most {most} bytes",
        mend="try again later or without the header; the operator may raise idempotency_mib",
        headers=[(b"retry-after", b"60")],
    )


def _unavailable(why: str) -> Denied:
    return Denied(
        "the answer cannot be kept for its Idempotency-Key, so it does not leave",
        status=503,
        code="idempotency_unavailable",
        got=why,
        mend="send it again with the same key, or without the header; the operator looks at the disk",
        headers=[(b"retry-after", b"1")],
    )
