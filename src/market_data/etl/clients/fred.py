"""FRED: economic series of the Federal Reserve Bank of St. Louis, one value a period; needs a free key.

https://fred.stlouisfed.org/docs/api/fred/series_observations.html
A value is open, high, low and close at once, in the series' own units: its currency is NONE. A series has
one frequency and is given at the interval of that name alone, never averaged; quarters and years have
none. A period without a value (`.`) has no bar. Months are labelled by their first day, weeks by the day they
end on; they count to the week from Monday on that holds that day. Values are the newest, and often revised.
Observations are recorded; the description of a series and the refusals follow the documentation.
"""

import re
from collections.abc import AsyncIterator
from datetime import date, datetime, timedelta
from itertools import pairwise
from typing import Annotated

import msgspec
from pydantic_settings import SettingsConfigDict

from market_data.core.exceptions import (
    MalformedAnswer,
    ProviderAuthError,
    ProviderError,
    ProviderRateLimited,
    SymbolNotFound,
    UnsupportedRequest,
)
from market_data.core.interval import Basis, Interval
from market_data.core.vocabulary import AssetClass
from market_data.etl.answer import Answer
from market_data.etl.columns import no_bars, numbers_from_text, raw_bars, wall_times
from market_data.etl.provider import BarRequest, KeyedSettings, Listing, Page, ProviderClient, ProviderSpec
from market_data.etl.raw import RawBars

_LIMIT = 100_000
_NONE = "NONE"
"""In place of a currency: the units are percent, dollars to a euro, thousands of people."""
_FREQUENCIES = {Interval.D1: "D", Interval.W1: "W", Interval.MO1: "M"}

_Day = Annotated[str, msgspec.Meta(pattern=r"^\d{4}-\d{2}-\d{2}$")]


class _Series(msgspec.Struct):
    id: str
    title: str
    frequency: str
    frequency_short: str


class _Description(msgspec.Struct):
    seriess: Annotated[list[_Series], msgspec.Meta(min_length=1, max_length=1)]


class _Observation(msgspec.Struct):
    date: _Day
    value: str


class _Observations(msgspec.Struct):
    observations: list[_Observation]
    units: str
    output_type: int
    count: int
    offset: int
    limit: int


class _Refusal(msgspec.Struct):
    error_message: str
    error_code: int = 0


class FredSettings(KeyedSettings):
    """Where to ask FRED, and with which key."""

    model_config = SettingsConfigDict(env_prefix="FRED_")

    base_url: str = "https://api.stlouisfed.org"


class FredClient(ProviderClient):
    """Symbols are the ids of series: `DGS10`, `DEXUSEU`, `ICSA`, `UNRATE`. Two requests for each."""

    spec = ProviderSpec(
        name="fred",
        title="FRED",
        covers="daily, weekly and monthly economic series: interest and exchange rates, prices, employment",
        homepage="https://fred.stlouisfed.org",
        bases=dict.fromkeys(_FREQUENCIES, Basis.RAW),
        asset_classes=(AssetClass.RATE,),
        requests_per_minute=120,
        page_bars=_LIMIT,
        settling=timedelta(days=1),  # interest rates of a day are published on the next
        overlap=30,  # exchange rates come by the week, and months are revised for years
        needs_key=True,
    )
    Settings = FredSettings

    async def fetch_bars(self, request: BarRequest) -> AsyncIterator[Page]:
        """Yield pages of 100000 values, oldest first, or one without; see `ProviderClient.fetch_bars`."""
        self.require_interval(request)
        series = await self._describe(request)
        listing = Listing(
            symbol=series.id,
            asset_class=AssetClass.RATE,
            currency=_NONE,
            exchange="FRED",
            name=series.title,
        )
        if request.start and request.start >= (request.end or self.now() + timedelta(days=1)):
            yield Page(rows=no_bars(), listing=listing, wall_clock=True)
            return
        params = self._params(request)
        offset, last, told = 0, "", False
        while True:
            found = await self._observations(params, offset, last)
            there = [one for one in found.observations if one.value != "."]
            offset += len(found.observations)
            if there or (offset >= found.count and not told):
                told = True
                yield Page(rows=_rows(there), listing=listing, wall_clock=True)
            if offset >= found.count:
                return
            last = found.observations[-1].date

    async def _describe(self, request: BarRequest) -> _Series:
        answer = await self._get("/fred/series", {"series_id": request.symbol})
        try:
            (series,) = msgspec.json.decode(answer.body, type=_Description).seriess
        except (msgspec.DecodeError, UnicodeDecodeError) as exc:
            raise self._explain(answer) or self.error(MalformedAnswer, f"sent no series: {exc}") from exc
        if series.id.upper() != request.symbol.upper():
            raise self.error(MalformedAnswer, f"{series.id[:40]!r} came for {request.symbol[:40]!r}")
        if series.frequency_short != _FREQUENCIES[request.interval]:
            known = (interval for interval, name in _FREQUENCIES.items() if name == series.frequency_short)
            text = f"{series.id[:40]} is published {series.frequency[:60]!r}, not as {request.interval}"
            hint = "".join(f": ask for {interval}" for interval in known)
            raise self.error(UnsupportedRequest, text + hint)
        return series

    def _params(self, request: BarRequest) -> dict[str, str | int]:
        """Ask for whole periods, the last day included: a week has its label on any of its days."""
        params: dict[str, str | int] = {
            "series_id": request.symbol,
            "units": "lin",
            "output_type": 1,
            "sort_order": "asc",
            "limit": _LIMIT,
        }
        if request.start:
            params["observation_start"] = _day(request.interval.floor_instant(request.start))
        if request.end:
            end = request.interval.ceil_instant(request.end) - timedelta(days=1)
            params["observation_end"] = _day(end)
        return params

    async def _observations(self, params: dict[str, str | int], offset: int, last: str) -> _Observations:
        answer = await self._get("/fred/series/observations", params | {"offset": offset})
        try:
            found = msgspec.json.decode(answer.body, type=_Observations)
        except (msgspec.DecodeError, UnicodeDecodeError) as exc:
            raise self._explain(answer) or self.error(MalformedAnswer, f"sent no values: {exc}") from exc
        days = [last, *(one.date for one in found.observations)]
        whole = min(found.limit, found.count - offset)
        if (found.units, found.output_type) != ("lin", 1):
            text = "sent values that are changed, or of another time"
        elif found.offset != offset or found.limit < 1 or len(found.observations) != whole:
            text = f"sent {len(found.observations)} of {found.count} values from {found.offset} on"
        elif any(later <= earlier for earlier, later in pairwise(days)):
            text = "sent days that repeat or go backwards"
        else:
            return found
        raise self.error(MalformedAnswer, text)

    async def _get(self, path: str, params: dict[str, str | int]) -> Answer:
        key = self.settings.key if isinstance(self.settings, KeyedSettings) else ""
        asked = params | {"file_type": "json", "api_key": key}
        return await self.http.get(path, asked, explain=self._explain)

    def _explain(self, answer: Answer) -> ProviderError | None:
        """Read a refusal as JSON, or as the XML that comes where JSON could not be asked for."""
        try:
            text = msgspec.json.decode(answer.body, type=_Refusal).error_message[:300]
        except (msgspec.DecodeError, UnicodeDecodeError):
            match = re.search(r'<error [^>]*message="([^"]{1,300})', answer.text)
            text = match[1] if match else ""
        words = text.lower()
        if answer.status == 429 or "too many requests" in words or "rate limit" in words:
            return ProviderRateLimited(self.spec.name, self.http.redact(text), answer.retry_after)
        if "api_key" in words:
            return self.error(ProviderAuthError, text)
        if "does not exist" in words or "series_id" in words:
            return self.error(SymbolNotFound, text)
        return None


def _day(instant: datetime) -> str:
    # Its own calendar begins in 1776.
    return max(instant.date(), date(1776, 7, 4)).isoformat()


def _rows(found: list[_Observation]) -> RawBars:
    value = numbers_from_text([one.value for one in found])

    def text(row: int) -> str:
        return msgspec.json.encode(found[row]).decode()

    return raw_bars(wall_times([one.date for one in found]), [value] * 4, None, text)
