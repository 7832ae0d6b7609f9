"""What a request does not bring: drawn from sources, all rows of a request in one look-up of each, within its deadline.

A source that does not answer is a fault of its columns, and the contract says what becomes of the row.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from time import perf_counter_ns
from typing import NamedTuple

import msgspec

from pilotage.contracts.compile import AskingRow, CheckedRow, EnrichingCheck
from pilotage.contracts.enriching import Key
from pilotage.contracts.enrichment import Drawn, Enrichment
from pilotage.contracts.model import DataContract
from pilotage.enrichment.cache import Cache
from pilotage.enrichment.model import UNFIT, Entry, FeatureSource
from pilotage.enrichment.open import kinds_of, open_source
from pilotage.gateway.exposition import AGES, BUCKETS, SourceState, UpstreamState
from pilotage.gateway.plan import Answering
from pilotage.gateway.upstream import Protected
from pilotage.kernel.clock import now_us

__all__ = ["Enricher", "enricher_of"]

_SHARE = 0.5
"""Of the time that is left look-ups may use this part, so that the model and the chain have some too."""
_MOST_CALLS = 16
_AHEAD_US = 300 * 1_000_000
"""A value's time may be so far in the future, by clocks that differ; further, nobody knows how old it is."""
_ROWS_ON_LOOP = 64


class _Looked(NamedTuple):
    """What one declaration gave for a request: entries by key, which of them were cached, and the calls it took."""

    entries: Mapping[Key, Entry]
    cached: frozenset[Key]
    status: str
    calls: tuple[tuple[str, float, str], ...]


class _Lookup:
    """One declaration of a release at work: its source, what protects it, what it keeps, what it counts."""

    def __init__(self, declared: Enrichment, source: FeatureSource, rules: Answering, clock: Callable[[], int]) -> None:
        self.declared, self.source, self._clock = declared, source, clock
        own = msgspec.structs.replace(rules, deadline_ms=max(1, round(declared.timeout * 1_000)))
        self.protected = Protected(f"source:{declared.source}", own)
        self._cache, self._most = Cache(declared.cache_s), declared.max_age_s
        self.results: dict[str, int] = {}
        self._seconds, self._seconds_sum = [0] * (len(BUCKETS) + 1), 0.0
        self._ages, self._ages_sum = [0] * (len(AGES) + 1), 0.0

    async def look_up(self, keys: Sequence[Key], deadline_ns: int) -> _Looked:
        """What is known of distinct keys. Raises nothing."""
        kept = {key: entry for key in keys if (entry := self._cache.get(key)) is not None and self._fresh(entry)}
        asked = [key for key in keys if key not in kept]
        if not asked:
            return _Looked(kept, frozenset(kept), "ok", ())
        now = perf_counter_ns()
        until = now + min(int(self.declared.timeout * 1e9), int((deadline_ns - now) * _SHARE))
        called = await self.protected.call(lambda _: self.source.look_up(asked), until)
        seconds = (perf_counter_ns() - now) / 1e9
        self._seconds[bisect_left(BUCKETS, seconds)] += 1
        self._seconds_sum += seconds
        found: Mapping[Key, Entry] = called.made or {}
        for key, entry in found.items():
            self._cache.put(key, entry)
        calls = tuple((each.target, each.ms, each.status) for each in called.attempts)
        return _Looked({**kept, **found}, frozenset(kept), "ok" if not called.reason else called.reason, calls)

    def drawn(self, key: Key | None, looked: _Looked) -> list[Drawn]:
        """What was drawn for a row, by column."""
        source, entry = self.declared.source, looked.entries.get(key) if key is not None else None
        if entry is None:
            status = "not_found" if key is None or looked.status == "ok" else looked.status
            return [Drawn(column=name, source=source, status=status) for name in self.declared.columns]
        cached, age = key in looked.cached, self._age_s(entry)
        if age is not None:
            self._ages[bisect_left(AGES, age)] += 1
            self._ages_sum += age
        told = []
        for name in self.declared.columns:
            value = entry.values.get(name, UNFIT)
            fit = value is None or isinstance(value, float | str | bool)
            status = "ok" if fit else "wrong_type" if name in entry.values else "not_found"
            told.append(
                Drawn(
                    column=name,
                    source=source,
                    value=value if value is None or isinstance(value, float | str | bool) else None,
                    at=entry.at,
                    age_s=age,
                    cached=cached,
                    status=status,
                )
            )
        return told

    def count(self, told: Drawn) -> None:
        """Count one value: by its fault, or as cached or ok."""
        result = told.fault or ("cached" if told.cached else "ok")
        self.results[result] = self.results.get(result, 0) + 1

    @property
    def now(self) -> SourceState:
        """How its look-ups stand."""
        seconds, ages = (list(self._seconds), self._seconds_sum), (list(self._ages), self._ages_sum)
        return SourceState(self.declared.source, dict(self.results), seconds, ages)

    def _age_s(self, entry: Entry) -> float | None:
        if entry.at is None or entry.at - self._clock() > _AHEAD_US:
            return None
        return max(0.0, (self._clock() - entry.at) / 1e6)

    def _fresh(self, entry: Entry) -> bool:
        age = self._age_s(entry)
        return self._most is None or (age is not None and age <= self._most)


class Enricher:
    """The look-ups of one release. `clock` is in Unix microseconds."""

    def __init__(
        self,
        check: EnrichingCheck,
        sources: Sequence[tuple[Enrichment, FeatureSource]],
        rules: Answering,
        clock: Callable[[], int] = now_us,
    ) -> None:
        self._check = check
        self._lookups = [_Lookup(declared, source, rules, clock) for declared, source in sources]
        self._by_column = {name: each for each in self._lookups for name in each.declared.columns}

    @property
    def upstreams(self) -> list[UpstreamState]:
        """How the calls of each source stand."""
        return [each.protected.now for each in self._lookups]

    @property
    def sources(self) -> list[SourceState]:
        """How the look-ups of each source stand."""
        return [each.now for each in self._lookups]

    async def start(self) -> None:
        """Make the sources ready, as far as they are there."""
        await asyncio.gather(*(each.source.start() for each in self._lookups))

    async def close(self) -> None:
        """Close the sources."""
        await asyncio.gather(*(each.source.close() for each in self._lookups))

    async def complete(self, rows: Sequence[CheckedRow], deadline_ns: int) -> list[CheckedRow]:
        """The rows of one request with what sources bring; rows that nothing can save are as they were."""
        asking = [row for row in rows if isinstance(row, AskingRow)]
        if not asking:
            return list(rows)
        wanted = [
            list(dict.fromkeys(key for row in asking if (key := row.keys[place]) is not None))
            for place in range(len(self._lookups))
        ]
        looked = await asyncio.gather(
            *(each.look_up(keys, deadline_ns) for each, keys in zip(self._lookups, wanted, strict=True))
        )
        if len(rows) <= _ROWS_ON_LOOP:
            return self._all(rows, looked)
        return await asyncio.to_thread(self._all, rows, looked)

    def _all(self, rows: Sequence[CheckedRow], looked: Sequence[_Looked]) -> list[CheckedRow]:
        calls = tuple(call for each in looked for call in each.calls)
        return [self._one(row, looked, calls) if isinstance(row, AskingRow) else row for row in rows]

    def _one(self, row: AskingRow, looked: Sequence[_Looked], calls: tuple[tuple[str, float, str], ...]) -> CheckedRow:
        drawn: dict[str, Drawn] = {}
        for each, key, found in zip(self._lookups, row.keys, looked, strict=True):
            drawn |= {told.column: told for told in each.drawn(key, found)}
        whole = self._check.complete(row, drawn, calls)
        for told in whole.drawn:
            if told.source == self._by_column[told.column].declared.source:
                self._by_column[told.column].count(told)
        return whole


def enricher_of(contract: DataContract, check: EnrichingCheck, rules: Answering) -> Enricher:
    """The look-ups that a contract declares. Raises InputError when this node has no address of a source."""
    calls = min(_MOST_CALLS, rules.bulkhead.calls)
    sources = [(each, open_source(each, kinds_of(each, contract), calls=calls)) for each in contract.enrichment]
    return Enricher(check, sources, rules)
