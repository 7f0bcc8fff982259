"""What is known of a subscription while it is looked after: its instrument, what is final, what is wanted."""

from dataclasses import dataclass
from datetime import datetime

from market_data.core import clock
from market_data.core.interval import Interval
from market_data.core.spans import Span
from market_data.core.trading import TradingCalendar
from market_data.etl.provider import ProviderSpec
from market_data.models import Instrument, Subscription
from market_data.services.planning import days_final_until, final_of, wanted_span


@dataclass(slots=True)
class SyncState:
    """What is known of a subscription while it is looked after."""

    subscription: Subscription
    spec: ProviderSpec
    interval: Interval
    series_id: int | None = None
    instrument: Instrument | None = None
    calendar: TradingCalendar | None = None

    @property
    def timezone(self) -> str:
        """Zone in which bars of a day and longer take their dates."""
        if self.spec.timezone is not None:
            return self.spec.timezone
        return self.instrument.timezone if self.instrument else "UTC"

    @property
    def settled(self) -> datetime:
        """What ended before this is final."""
        return clock.now() - self.spec.settling

    @property
    def final_days_until(self) -> datetime | None:
        """Start of the first day whose session is not over, where sessions are known."""
        return days_final_until(self.interval, self.settled, self.calendar)

    @property
    def final(self) -> datetime:
        """Start of the first bar that is not final."""
        return final_of(self.spec, self.interval, clock.now(), self.timezone, self.calendar)

    @property
    def wanted(self) -> Span:
        """What is to be known."""
        return wanted_span(self.spec, self.interval, self.subscription.since, self.final)
