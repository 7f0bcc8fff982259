"""How often one may ask a provider, by what it allows everyone and by the settings."""

import hashlib
from dataclasses import dataclass
from datetime import timedelta

from market_data.etl.provider import Quota
from market_data.etl.registry import Client, settings_of

_DIGITS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """What a vendor lets one key ask."""

    provider: str
    account: str
    """Whom the vendor counts: the provider's name, and a digest of the key where there is one."""
    requests_per_minute: float
    quotas: tuple[Quota, ...] = ()

    def smallest(self) -> dict[timedelta, int]:
        """Return the quotas by period; of two for one period the smaller."""
        found: dict[timedelta, int] = {}
        for quota in self.quotas:
            found[quota.per] = min(quota.requests, found.get(quota.per, quota.requests))
        return found


def allowance_of(client: Client) -> Allowance | None:
    """Return what may be asked with the settings as they are; None: data on this computer, nobody counts.

    Raises:
        ConfigurationError: one of the settings is wrong.

    """
    settings = settings_of(client)
    if settings.transport() is not None:
        return None
    spec = client.spec
    return Allowance(
        provider=spec.name,
        account=account_of(spec.name, settings.secrets()),
        requests_per_minute=settings.requests_per_minute or spec.requests_per_minute,
        quotas=settings.quotas(spec),
    )


def account_of(provider: str, secrets: tuple[str, ...]) -> str:
    """Name an account so that two keys are two accounts, and nothing of a key can be read."""
    if not secrets:
        return provider
    digest = hashlib.sha256("\n".join(secrets).encode()).hexdigest()
    return f"{provider}:{digest[:_DIGITS]}"
