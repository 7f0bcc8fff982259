"""One range of one symbol: asked for, judged, stored, and noted in the ledger."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import cast

import numpy as np

from market_data.core import clock, metrics
from market_data.core.exceptions import ProviderError
from market_data.core.interval import Stamps, aware
from market_data.core.spans import Span, empty_spans
from market_data.core.vocabulary import AssetClass
from market_data.etl.provider import BarRequest, Page, ProviderClient
from market_data.etl.raw import RawBars
from market_data.etl.transformers.normalise import Normalised, normalise
from market_data.etl.transformers.rejection import Rejections
from market_data.etl.transformers.rules import Rules
from market_data.repositories.market_price_writer import SeriesKey
from market_data.services.ahead import with_lulls
from market_data.services.listing import settle_listing
from market_data.services.planning import final_until, grid_of
from market_data.services.recorder import RunRecorder

BATCH_ROWS = 20_000
"""Rows of several pages that are stored as one transaction."""

LULL = 0.25
"""Seconds without a page after which those that wait are stored: who asks slowly shall not lose much."""

OnBars = Callable[[int], None]
"""Told how many bars a run has stored, or found stored, so far."""


@dataclass(slots=True)
class _Pages:
    """Pages that wait to be stored together: they differ in their rows only."""

    pages: list[Page] = field(default_factory=list)

    def fits(self, page: Page) -> bool:
        """Whether a page can be joined to those that wait."""
        return not self.pages or replace(page, rows=self.pages[0].rows, rejections=[]) == replace(
            self.pages[0], rejections=[]
        )

    @property
    def rows(self) -> int:
        """Rows that wait."""
        return sum(len(page.rows) for page in self.pages)


@dataclass(slots=True)
class _Seen:
    """What answers held, for the ledger."""

    stamps: list[Stamps] = field(default_factory=list)
    unfinished: list[datetime] = field(default_factory=list)
    timezone: str = "UTC"


class Fetcher:
    """Asks one client, and writes through one recorder; `exchange` as in `settle_listing`."""

    def __init__(
        self,
        client: ProviderClient,
        recorder: RunRecorder,
        exchange: str | None,
        on_bars: OnBars | None = None,
    ) -> None:
        self._client = client
        self._recorder = recorder
        self._exchange = exchange
        self._report = on_bars or (lambda _: None)

    async def fetch(self, wanted: BarRequest, final_days_until: datetime | None = None) -> int | None:
        """Store a range; return its series, or None where the provider did not even say what the symbol is.

        What was stored before a failure stays, and the ledger says nothing of it. `final_days_until` is for
        bars of a day and longer, see `Rules.final_until`.

        Raises:
            ProviderError: the provider failed, or refused.
            InvalidInput: what it lists contradicts the catalogue.

        """
        waiting, seen = _Pages(), _Seen()
        self._report(self._recorder.stored)
        pages = with_lulls(cast("AsyncGenerator[Page]", self._client.fetch_bars(wanted)), LULL)
        async with aclosing(pages):
            try:
                async for page in pages:
                    if page is None or not waiting.fits(page) or waiting.rows >= BATCH_ROWS:
                        await self._store(wanted, waiting, seen, final_days_until)
                        waiting = _Pages()
                    if page is not None:
                        waiting.pages.append(page)
            except ProviderError as error:
                metrics.provider_failed(self._client.spec.name, error.kind)
                await self._store(wanted, waiting, seen, final_days_until)
                raise
            return await self._store(wanted, waiting, seen, final_days_until, last=True)

    async def _store(
        self,
        wanted: BarRequest,
        waiting: _Pages,
        seen: _Seen,
        final_days_until: datetime | None,
        *,
        last: bool = False,
    ) -> int | None:
        if not waiting.pages:
            return None
        spec, page = self._client.spec, waiting.pages[0]
        rules = self._rules(wanted, page, final_days_until)
        rows = RawBars.concat([one.rows for one in waiting.pages])
        found = await asyncio.to_thread(normalise, rows, rules)
        broken = Rejections()
        for reason, text in (refused for one in waiting.pages for refused in one.rejections):
            broken.add(reason, "The provider sent a row that cannot be read.", text)
        _note(seen, found, page)
        async with self._recorder.transaction() as session:
            instrument = await settle_listing(session, spec.name, wanted.symbol, page.listing, self._exchange)
            key = SeriesKey(instrument.id, wanted.interval, spec.name, spec.bases[wanted.interval])
            batch = {key: found.bars} if len(found.bars) else {}
            refusals = [(wanted.symbol, found.rejections), (wanted.symbol, broken)]
            await self._recorder.store(batch, refusals, found.unfinished)
            series_id = await self._recorder.series_id(key)
            asked = self._answered(wanted, seen, final_days_until) if last else None
            if asked is not None:
                ts = np.unique(np.concatenate(seen.stamps))
                await self._recorder.note_answer(key, asked, empty_spans(ts, wanted.interval, asked))
        self._report(self._recorder.stored)
        return series_id

    def _rules(self, wanted: BarRequest, page: Page, final_days_until: datetime | None) -> Rules:
        return Rules(
            interval=wanted.interval,
            now=clock.now(),
            timezone=page.timezone,
            wall_clock=page.wall_clock,
            settling=self._client.spec.settling,
            final_until=final_days_until,
            alignment=self._client.spec.alignment,
            any_sign=AssetClass(page.listing.asset_class).any_sign,
            start=wanted.start,
            end=wanted.end,
        )

    def _answered(self, wanted: BarRequest, seen: _Seen, final_days_until: datetime | None) -> Span | None:
        """Return for which time the provider has said all there is to say; None where for none."""
        spec = self._client.spec
        first = min((aware(ts.min()) for ts in seen.stamps if len(ts)), default=None)
        start = wanted.start or first
        if start is None:
            return None
        if (depth := spec.history.get(wanted.interval)) is not None:
            start = max(start, clock.now() - depth)
        final = final_until(wanted.interval, clock.now() - spec.settling, seen.timezone, spec.alignment)
        if not wanted.interval.is_intraday and final_days_until is not None:
            final = max(final, final_days_until)
        end = min([final, *seen.unfinished, *([wanted.end] if wanted.end else [])])
        grid = grid_of(wanted.interval, spec.alignment)
        start, end = grid.ceil_instant(start), grid.ceil_instant(end)
        return Span(start, end) if start < end else None


def _note(seen: _Seen, found: Normalised, page: Page) -> None:
    """Keep what the ledger needs: which bars were there, refused ones included, and which were not over."""
    seen.stamps += [found.bars.ts, found.refused]
    seen.timezone = page.timezone
    if found.unfinished_from is not None:
        seen.unfinished.append(found.unfinished_from)
