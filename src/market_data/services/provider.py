"""What the providers offer, as data for people and clients."""

from collections.abc import Mapping
from dataclasses import dataclass

from market_data.core.interval import Basis, Interval
from market_data.core.vocabulary import AssetClass
from market_data.etl.registry import key_is_set, key_variable, providers


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderDescription:
    """A provider's declared abilities, and whether it is ready to be asked."""

    name: str
    title: str
    covers: str
    homepage: str
    intervals: list[Interval]
    basis: Mapping[Interval, Basis]
    asset_classes: tuple[AssetClass, ...]
    requests_per_minute: float
    needs_key: bool
    key_set: bool
    key_variable: str | None


def describe_providers() -> list[ProviderDescription]:
    """Describe every provider, by name."""
    return [
        ProviderDescription(
            name=name,
            title=client.spec.title,
            covers=client.spec.covers,
            homepage=client.spec.homepage,
            intervals=[interval for interval in Interval if interval in client.spec.bases],
            basis=client.spec.bases,
            asset_classes=client.spec.asset_classes,
            requests_per_minute=client.spec.requests_per_minute,
            needs_key=client.spec.needs_key,
            key_set=key_is_set(client),
            key_variable=key_variable(client),
        )
        for name, client in providers().items()
    ]
