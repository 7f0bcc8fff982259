"""What the providers offer, as data for people and clients."""

from collections.abc import Mapping
from dataclasses import dataclass

from market_data.core.interval import Basis, Interval
from market_data.core.vocabulary import AssetClass
from market_data.etl.provider import DAY, HOUR, ProviderClient
from market_data.etl.registry import key_is_set, key_variable, providers, settings_of


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderDescription:
    """A provider's declared abilities as the settings have them, and whether it is ready to be asked."""

    name: str
    title: str
    covers: str
    homepage: str
    intervals: list[Interval]
    basis: Mapping[Interval, Basis]
    asset_classes: tuple[AssetClass, ...]
    requests_per_minute: float
    requests_per_hour: int | None
    requests_per_day: int | None
    page_bars: int | None
    history_seconds: Mapping[Interval, int]
    settling_seconds: int
    overlap_bars: int
    timezone: str | None
    needs_key: bool
    key_set: bool
    key_variable: str | None


def describe_providers() -> list[ProviderDescription]:
    """Describe every provider, by name.

    Raises:
        ConfigurationError: a setting of one is wrong.

    """
    return [_describe(client) for client in providers().values()]


def _describe(client: type[ProviderClient]) -> ProviderDescription:
    spec, settings = client.spec, settings_of(client)
    quotas = {quota.per: quota.requests for quota in settings.quotas(spec)}
    return ProviderDescription(
        name=spec.name,
        title=spec.title,
        covers=spec.covers,
        homepage=spec.homepage,
        intervals=[interval for interval in Interval if interval in spec.bases],
        basis=spec.bases,
        asset_classes=spec.asset_classes,
        requests_per_minute=settings.requests_per_minute or spec.requests_per_minute,
        requests_per_hour=quotas.get(HOUR),
        requests_per_day=quotas.get(DAY),
        page_bars=spec.page_bars,
        history_seconds={interval: round(reach.total_seconds()) for interval, reach in spec.history.items()},
        settling_seconds=round(spec.settling.total_seconds()),
        overlap_bars=spec.overlap,
        timezone=spec.timezone,
        needs_key=spec.needs_key,
        key_set=key_is_set(client),
        key_variable=key_variable(client),
    )
