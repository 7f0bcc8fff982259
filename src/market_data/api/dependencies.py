"""What routes are given: services of the app's one database, and checked query parameters.

All are coroutines: FastAPI sends plain functions through a thread, which costs more than they do.
"""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Query, Request

from market_data.core.exceptions import InvalidInput
from market_data.core.interval import Basis
from market_data.db.session import Database
from market_data.schemas.fields import ID_MAX, Instant, IntervalText, Source
from market_data.schemas.price_query import PageToken, Symbols
from market_data.services.calendars import CalendarService
from market_data.services.gaps import GapService
from market_data.services.ingestion import IngestionService
from market_data.services.instrument import InstrumentService
from market_data.services.jobs import JobService
from market_data.services.market_price import MarketPriceService
from market_data.services.metric import MetricService
from market_data.services.run import RunService
from market_data.services.schedule import ScheduleService
from market_data.services.series import SeriesService
from market_data.services.subscription import SubscriptionService
from market_data.services.upload import UploadService

LIST_DEFAULT, LIST_MAX = 100, 1000
SYMBOLS_MAX = 1000


async def _database(request: Request) -> Database:
    database: Database = request.app.state.database
    return database


DatabaseDep = Annotated[Database, Depends(_database)]


async def _instruments(database: DatabaseDep) -> InstrumentService:
    return InstrumentService(database)


async def _series(database: DatabaseDep) -> SeriesService:
    return SeriesService(database)


async def _prices(request: Request) -> MarketPriceService:
    service: MarketPriceService = request.app.state.prices
    return service


async def _runs(database: DatabaseDep) -> RunService:
    return RunService(database)


async def _ingestions(request: Request) -> IngestionService:
    service: IngestionService = request.app.state.ingestions
    return service


async def _metrics(request: Request) -> MetricService:
    service: MetricService = request.app.state.metrics
    return service


async def _uploads(request: Request) -> UploadService:
    service: UploadService = request.app.state.uploads
    return service


async def _subscriptions(database: DatabaseDep) -> SubscriptionService:
    return SubscriptionService(database)


async def _schedules(database: DatabaseDep) -> ScheduleService:
    return ScheduleService(database)


async def _jobs(database: DatabaseDep) -> JobService:
    return JobService(database)


async def _gaps(request: Request) -> GapService:
    service: GapService = request.app.state.gaps
    return service


async def _calendars(database: DatabaseDep) -> CalendarService:
    return CalendarService(database)


Instruments = Annotated[InstrumentService, Depends(_instruments)]
SeriesDep = Annotated[SeriesService, Depends(_series)]
Prices = Annotated[MarketPriceService, Depends(_prices)]
Runs = Annotated[RunService, Depends(_runs)]
Ingestions = Annotated[IngestionService, Depends(_ingestions)]
Uploads = Annotated[UploadService, Depends(_uploads)]
Subscriptions = Annotated[SubscriptionService, Depends(_subscriptions)]
Schedules = Annotated[ScheduleService, Depends(_schedules)]
Jobs = Annotated[JobService, Depends(_jobs)]
Gaps = Annotated[GapService, Depends(_gaps)]
Calendars = Annotated[CalendarService, Depends(_calendars)]
MetricsDep = Annotated[MetricService, Depends(_metrics)]

ListLimit = Annotated[int, Query(ge=1, le=LIST_MAX, description="Items on a page.")]
PageTokenQuery = Annotated[PageToken, Query()]
SymbolsQuery = Annotated[Symbols, Query()]
StartQuery = Annotated[Instant | None, Query(description="First bar start, inclusive.")]
EndQuery = Annotated[Instant | None, Query(description="End of the range, exclusive.")]
IntervalQuery = Annotated[IntervalText, Query()]
SourceQuery = Annotated[Source | None, Query(description="Only this source; else SOURCE_PREFERENCE decides.")]
BasisQuery = Annotated[Basis | None, Query(description="Only this basis.")]


def split_list(field: str, text: str) -> tuple[str, ...]:
    """Read a comma-separated list without repetitions.

    Raises:
        InvalidInput: empty, too long, or something stands in it twice.

    """
    items = tuple(item.strip() for item in text.split(","))
    if not all(items):
        raise InvalidInput(field, "has an empty item: write A,B")
    if len(items) > SYMBOLS_MAX:
        raise InvalidInput(field, f"has {len(items)} items; at most {SYMBOLS_MAX} can be asked at once")
    repeated = (
        sorted({item for item in items if items.count(item) > 1}) if len(set(items)) < len(items) else []
    )
    if repeated:
        raise InvalidInput(field, f"names {', '.join(repeated[:10])} more than once")
    return items


def split_ids(field: str, text: str) -> tuple[int, ...]:
    """Read a comma-separated list of instrument ids.

    Raises:
        InvalidInput: not ids, or see `split_list`.

    """
    items = split_list(field, text)
    if not all(item.isascii() and item.isdigit() and 1 <= int(item) <= ID_MAX for item in items):
        raise InvalidInput(field, "must be instrument ids such as 1,2")
    ids = tuple(int(item) for item in items)
    if len(set(ids)) < len(ids):
        raise InvalidInput(field, "names an id more than once")
    return ids


@dataclass(frozen=True, slots=True)
class Wanted:
    """The instruments a request asks for: by symbol or by id, one of the two."""

    symbols: tuple[str, ...]
    ids: tuple[int, ...]


def wanted_of(symbols: str | None, instrument_ids: str | None) -> Wanted:
    """Read what a request names its instruments with.

    Raises:
        InvalidInput: both or neither is given, or what is given cannot be read.

    """
    if symbols is not None and instrument_ids is None:
        return Wanted(split_list("symbols", symbols), ())
    if instrument_ids is not None and symbols is None:
        return Wanted((), split_ids("instrument_ids", instrument_ids))
    raise InvalidInput("symbols", "give symbols=A,B or instrument_ids=1,2, one of the two")
