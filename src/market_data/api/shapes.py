"""What services return, in the shapes of the wire."""

from market_data.core.interval import Basis, Interval
from market_data.core.vocabulary import CoverageState
from market_data.schemas.coverage import CoverageCounts, CoverageRead, GapRead, StretchRead
from market_data.schemas.job import BudgetRead, JobProgress
from market_data.services.coverage import SeriesCoverage
from market_data.services.gaps import Gap
from market_data.services.watching import JobPicture


def coverage_read(found: SeriesCoverage) -> CoverageRead:
    """Return what is known of a series."""
    series, instrument = found.series, found.instrument
    return CoverageRead(
        series_id=series.id,
        instrument_id=instrument.id,
        symbol=instrument.symbol,
        exchange=instrument.exchange,
        interval=Interval(series.interval),
        source=series.source,
        basis=Basis(series.basis),
        calendar=found.calendar.name,
        calendar_version=found.calendar.version,
        watermark=found.watermark,
        counts=CoverageCounts(**{str(state): found.count(state) for state in CoverageState}),
        stretches=[StretchRead.model_validate(one) for one in found.stretches],
    )


def gap_read(gap: Gap) -> GapRead:
    """Return a gap, and whose it is."""
    series, instrument = gap.of.series, gap.of.instrument
    return GapRead(
        series_id=series.id,
        instrument_id=instrument.id,
        symbol=instrument.symbol,
        exchange=instrument.exchange,
        interval=Interval(series.interval),
        source=series.source,
        basis=Basis(series.basis),
        state=gap.stretch.state,
        start=gap.stretch.start,
        end=gap.stretch.end,
        bars=gap.stretch.bars,
    )


def progress_read(picture: JobPicture) -> JobProgress:
    """Return how far a job is."""
    job, budget = picture.job, picture.budget
    return JobProgress(
        status=job.job.status,
        attempts=job.job.attempts,
        run_id=None if job.run is None else job.run.id,
        done=picture.done,
        expected=picture.expected,
        rate=round(picture.rate, 1),
        eta_seconds=None if picture.eta_seconds is None else round(picture.eta_seconds, 1),
        budget=None if budget is None else BudgetRead.model_validate(budget),
    )
