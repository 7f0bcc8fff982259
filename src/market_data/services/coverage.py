"""What is known of each stretch of a series: from its bars, the ledger of answers, and the calendar."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from market_data.core import clock
from market_data.core.exceptions import ProviderNotFound
from market_data.core.interval import Alignment, Interval, aware, stamp
from market_data.core.spans import Span, intersect, runs_of, subtract, union
from market_data.core.trading import TradingCalendar
from market_data.core.vocabulary import CoverageState
from market_data.db.session import Database, Session
from market_data.etl.registry import find_provider
from market_data.models import Instrument, Series, Subscription
from market_data.repositories.coverage import Answer, CoverageRepository
from market_data.repositories.instrument import InstrumentRepository
from market_data.repositories.series import SeriesRepository
from market_data.repositories.subscription import SubscriptionRepository
from market_data.services.calendars import CalendarService
from market_data.services.planning import final_of, wanted_span

_EVER = Span(datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC))


@dataclass(frozen=True, slots=True)
class Stretch:
    """A stretch of a series of which one thing is known, and how many bars it has or should have."""

    state: CoverageState
    start: datetime
    end: datetime
    bars: int


@dataclass(frozen=True, slots=True)
class SeriesCoverage:
    """A series and its stretches, ascending; time in which nothing is traded belongs to none."""

    series: Series
    instrument: Instrument
    calendar: TradingCalendar
    watermark: datetime | None
    """Start of the first bar that its source has not been asked for, or had not final."""
    stretches: tuple[Stretch, ...]
    asked: tuple[Span, ...] | None
    """What its source has been asked for, where a subscription sees to the rest; None: nobody does."""

    @property
    def gaps(self) -> list[Stretch]:
        """What should be there and is not."""
        return [one for one in self.stretches if one.state in {CoverageState.MISSING, CoverageState.FAILED}]

    def count(self, state: CoverageState) -> int:
        """Return how many bars are in a state."""
        return sum(one.bars for one in self.stretches if one.state is state)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What is known of a window of a series; all spans ascending and disjoint."""

    window: Span
    breaks: Sequence[Span]
    """Where it has no bars."""
    answered: Sequence[Span]
    no_trade: Sequence[Span]
    failed: Sequence[Span]


def classify(
    known: Evidence, interval: Interval, calendar: TradingCalendar, alignment: Alignment
) -> list[Stretch]:
    """Tell what each stretch of a window is.

    Where the source has answered its word counts: a bar that is neither stored nor said to be absent is
    missing. Where nobody asked, the calendar says what to expect.
    """
    empty = intersect(known.breaks, known.no_trade)
    rest = subtract(known.breaks, empty)
    failed = intersect(rest, known.failed)
    rest = subtract(rest, failed)
    lost = intersect(rest, known.answered)
    expected = {
        CoverageState.NO_TRADE: empty,
        CoverageState.FAILED: failed,
        CoverageState.MISSING: subtract(rest, known.answered),
    }
    found = [Stretch(CoverageState.MISSING, *one, _bars(one, interval)) for one in lost]
    for state, spans in expected.items():
        for span in spans:
            starts = calendar.expected(interval, *span, alignment)
            if runs := runs_of(starts, interval):  # time in which nothing is traded does not divide them
                found.append(Stretch(state, runs[0].start, runs[-1].end, len(starts)))
    found += _present(known, interval, [Span(one.start, one.end) for one in found])
    return sorted(found, key=lambda one: one.start)


def _present(known: Evidence, interval: Interval, others: Sequence[Span]) -> list[Stretch]:
    """Return the stretches with bars; time in which nothing is traded does not divide them."""
    runs = subtract([known.window], known.breaks)
    starts = [run.start for run in runs]
    found = []
    for piece in subtract([known.window], others):
        inside = runs[bisect_left(starts, piece.start) : bisect_left(starts, piece.end)]
        if inside:
            bars = sum(_bars(run, interval) for run in inside)
            found.append(Stretch(CoverageState.PRESENT, inside[0].start, inside[-1].end, bars))
    return found


def _bars(span: Span, interval: Interval) -> int:
    """Return how many bars without a break a span has room for."""
    if interval is Interval.MO1:
        start, end = span
        return (end.year - start.year) * 12 + end.month - start.month
    return -((span.start - span.end) // interval.duration)


class CoverageService:
    """Reads what is known; each method is one unit of work."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._calendars = CalendarService(database)

    async def of(
        self, series_id: int, start: datetime | None = None, end: datetime | None = None
    ) -> SeriesCoverage:
        """Return what is known of a series between start (inclusive) and end (exclusive).

        Raises:
            SeriesNotFound: no such id.

        """
        async with self._database.session() as session:
            series = await SeriesRepository(session).get(series_id)
            instrument = await InstrumentRepository(session).get(series.instrument_id)
            subscription = await SubscriptionRepository(session).find_by_series(series_id)
        calendar = await self._calendars.of(instrument, Interval(series.interval))
        final = _final(series, instrument, calendar) if subscription is not None else None
        async with self._database.session() as session:
            answered = await CoverageRepository(session).spans(series_id, Answer.ANSWERED, *_EVER)
            whole = _window(series, answered, subscription, final)
            window = Span(max(whole.start, start or whole.start), min(whole.end, end or whole.end))
            known = await _evidence(session, series, window, answered) if window.start < window.end else None
        alignment = _alignment(series.source)
        stretches = classify(known, Interval(series.interval), calendar, alignment) if known else []
        if final is not None:
            now = clock.now()
            ahead = Span(max(final, start or final), min(now, end or now))
            room = calendar.count(Interval(series.interval), *ahead, alignment)
            stretches += [Stretch(CoverageState.NOT_YET, *ahead, room)] if room else []
        watermark = answered[-1].end if answered else None
        asked = None if subscription is None else tuple(union(answered, known.failed if known else ()))
        return SeriesCoverage(series, instrument, calendar, watermark, tuple(stretches), asked)


def _alignment(source: str) -> Alignment:
    try:
        return find_provider(source).spec.alignment
    except ProviderNotFound:
        return Alignment.UTC


def _final(series: Series, instrument: Instrument, calendar: TradingCalendar) -> datetime:
    """Return up to where a subscription expects bars."""
    spec = find_provider(series.source).spec
    timezone = spec.timezone or instrument.timezone
    return final_of(spec, Interval(series.interval), clock.now(), timezone, calendar)


def _window(
    series: Series, answered: Sequence[Span], subscription: Subscription | None, final: datetime | None
) -> Span:
    """Return what there is something to say of; what nobody keeps up to date goes as far as its bars."""
    starts, ends = [one.start for one in answered[:1]], [one.end for one in answered[-1:]]
    if series.first_ts is not None and series.last_ts is not None:
        starts.append(series.first_ts)
        ends.append(aware(Interval(series.interval).end(np.array([stamp(series.last_ts)]))[0]))
    if subscription is not None and final is not None:
        spec = find_provider(series.source).spec
        wanted = wanted_span(spec, Interval(series.interval), subscription.since, final)
        starts.append(wanted.start)
        ends.append(wanted.end)
    return Span(min(starts, default=_EVER.start), max(ends, default=_EVER.start))


async def _evidence(session: Session, series: Series, window: Span, answered: Sequence[Span]) -> Evidence:
    coverage = CoverageRepository(session)
    return Evidence(
        window=window,
        breaks=union(await coverage.breaks(series.id, Interval(series.interval), window)),
        answered=answered,
        no_trade=await coverage.spans(series.id, Answer.NO_TRADE, *window),
        failed=await coverage.spans(series.id, Answer.FAILED, *window),
    )
