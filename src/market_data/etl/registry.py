"""Which providers exist: every module in `etl/clients/`, and what other packages register.

Another package offers a provider through an entry point of the group `market_data.providers` whose object is
the `ProviderClient` subclass.
"""

import importlib
import pkgutil
import re
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from inspect import isabstract
from types import ModuleType
from typing import TypeGuard

import httpx2
from pydantic import ValidationError

from market_data.core import logging
from market_data.core.config import project_dir
from market_data.core.exceptions import ConfigurationError, ProviderAuthError, ProviderNotFound
from market_data.etl import clients
from market_data.etl.http import HttpClient
from market_data.etl.pace import Pace, ProcessPace, process_pace
from market_data.etl.provider import KeyedSettings, ProviderClient, ProviderSettings

ENTRY_POINTS = "market_data.providers"
_UNPACED = 1e6
"""Requests a minute of what is on this computer: nobody has to be spared."""

Client = type[ProviderClient]


def providers() -> dict[str, Client]:
    """Return all providers, sorted by name.

    Raises:
        ConfigurationError: a provider file without exactly one client, a clash of names, or one that cannot
            be imported.

    """
    return _named([*_in_package(clients), *_registered()])


def discover(package: ModuleType) -> dict[str, Client]:
    """Return the providers in one package: one `ProviderClient` in each module not starting with `_`.

    Raises:
        ConfigurationError: as `providers`.

    """
    return _named(_in_package(package))


def find_provider(name: str) -> Client:
    """Return a provider by name in any common spelling: `alphavantage`, `alpha-vantage`, `Alpha_Vantage`.

    Raises:
        ProviderNotFound: none has this name.

    """
    known = providers()
    found = known.get(re.sub(r"[-_\s]", "", name).lower())
    if found is None:
        raise ProviderNotFound(name[:40], tuple(known))
    return found


def settings_of(client: Client) -> ProviderSettings:
    """Read a provider's settings from the environment and the project's `.env`.

    Raises:
        ConfigurationError: a value breaks a rule; names the variable and never shows the value.

    """
    problem = ""
    try:
        return client.Settings(_env_file=project_dir() / ".env")
    except ValidationError as exc:
        first = exc.errors(include_url=False, include_context=False, include_input=False)[0]
        problem = f"{_variable(client, str(first['loc'][0]))}: {first['msg']}"
    raise ConfigurationError(problem)


def key_variable(client: Client) -> str | None:
    """Return the environment variable of a provider's key; None for a provider without keys."""
    return _variable(client, "api_key") if issubclass(client.Settings, KeyedSettings) else None


def key_is_set(client: Client) -> bool:
    """Whether a provider can be asked: its key is there, or it needs none."""
    settings = settings_of(client)
    return not client.spec.needs_key or (isinstance(settings, KeyedSettings) and bool(settings.key))


def require_key(client: Client) -> None:
    """Refuse a provider that cannot be asked.

    Raises:
        ProviderAuthError: it needs a key and none is set; names the variable.

    """
    if not key_is_set(client):
        raise ProviderAuthError(client.spec.name, f"needs an API key: set {key_variable(client)}")


@asynccontextmanager
async def open_client(
    provider: str | Client,
    transport: httpx2.AsyncBaseTransport | None = None,
    pace: Pace | None = None,
) -> AsyncIterator[ProviderClient]:
    """Give a provider's client, ready to ask, and close its connections afterwards.

    `transport` stands in for the network: a recorded server in tests, or a file shipped with a package.
    `pace` is whom to ask for turns; without one, this process paces itself, and a transport is alone.

    Raises:
        ProviderNotFound: no provider has this name.
        ProviderAuthError: it needs a key and none is set; names the variable.
        ConfigurationError: one of its settings is wrong.

    """
    client = find_provider(provider) if isinstance(provider, str) else provider
    settings = settings_of(client)
    require_key(client)
    secrets = settings.secrets()
    logging.hide(*secrets)
    own = settings.transport()
    http = HttpClient(
        client.spec.name,
        base_url=settings.base_url,
        pace=pace or _pace(client, settings, alone=transport is not None, unpaced=own is not None),
        secrets=secrets,
        transport=transport or own,
    )
    async with http:
        yield client(http, settings)


def _pace(client: Client, settings: ProviderSettings, *, alone: bool, unpaced: bool) -> ProcessPace:
    name = client.spec.name
    allowed = settings.requests_per_minute or (_UNPACED if unpaced else client.spec.requests_per_minute)
    return ProcessPace(name, allowed) if alone or unpaced else process_pace(name, allowed)


def _variable(client: Client, field: str) -> str:
    if field.upper() == field:  # the alias, where a setting has several names
        return field
    return f"{client.Settings.model_config.get('env_prefix', '')}{field}".upper()


def _in_package(package: ModuleType) -> Iterable[Client]:
    for found in pkgutil.iter_modules(package.__path__):
        if not found.name.startswith("_"):
            module = importlib.import_module(f"{package.__name__}.{found.name}")
            yield _only_client(module)


def _only_client(module: ModuleType) -> Client:
    found = [
        value for value in vars(module).values() if _is_client(value) and value.__module__ == module.__name__
    ]
    if len(found) != 1:
        names = ", ".join(client.__name__ for client in found) or "none"
        raise ConfigurationError(
            f"{module.__name__} must hold exactly one ProviderClient with a spec; it holds {names}"
        )
    return found[0]


def _is_client(value: object) -> TypeGuard[Client]:
    return isinstance(value, type) and issubclass(value, ProviderClient) and not isabstract(value)


@cache
def _installed(found_by: Callable[..., Iterable[EntryPoint]]) -> tuple[EntryPoint, ...]:
    """Read once what packages register: to look takes 4 ms, and every job names a provider."""
    return tuple(found_by(group=ENTRY_POINTS))


def _registered() -> Iterable[Client]:
    for entry in _installed(entry_points):
        problem = ""
        try:
            value = entry.load()
        except (ImportError, AttributeError) as exc:
            problem = f"cannot be loaded: {exc}"
        else:
            if _is_client(value):
                yield value
                continue
            problem = "is no ProviderClient"
        raise ConfigurationError(f"the provider {entry.name} ({entry.value}) {problem}")


def _named(found: Iterable[Client]) -> dict[str, Client]:
    named: dict[str, Client] = {}
    for client in found:
        name = client.spec.name
        if not re.fullmatch(r"[a-z][a-z0-9]*", name):
            raise ConfigurationError(
                f"{client.__module__}: {name!r} is no name of lower-case letters and digits"
            )
        if name in named:
            where = f"{named[name].__module__} and {client.__module__}"
            raise ConfigurationError(f"two providers are named {name}: {where}")
        named[name] = client
    return dict(sorted(named.items()))
