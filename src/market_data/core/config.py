"""Settings from the environment and `.env`; a wrong one stops the start with one line that names it."""

from datetime import timedelta
from functools import cache
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from market_data.core.exceptions import ConfigurationError
from market_data.core.interval import Interval

_CHECKOUT = Path(__file__).parents[3]


def project_dir() -> Path:
    """Return the checkout this program runs from, or the working directory when installed as a wheel."""
    return _CHECKOUT if (_CHECKOUT / "pyproject.toml").is_file() else Path.cwd()


class Settings(BaseSettings):
    """What can be set. Field order is the order of `.env.example` and docs/configuration.md."""

    model_config = SettingsConfigDict(env_file=".env", extra="ignore", env_ignore_empty=True)

    database_url: SecretStr | None = Field(
        None, description="PostgreSQL to use. Unset: an embedded server is started under DATA_DIR."
    )
    data_dir: Path = Field(
        Path(".data"), description="Where the embedded server lives. Relative to the project folder."
    )
    host: str = Field("127.0.0.1", description="Address to listen on. Other than loopback: ALLOW_INSECURE.")
    port: int = Field(8000, ge=1, le=65535, description="Port to listen on.")
    workers: int = Field(1, ge=1, le=64, description="API processes.")
    jobs_at_once: int = Field(
        8,
        ge=0,
        le=256,
        description="Jobs a process does at the same time. 0: `serve` leaves them to workers.",
    )
    worker_timeout_seconds: int = Field(
        30, ge=2, le=3600, description="A worker silent for so long is taken for dead; others do its jobs."
    )
    metrics_port: int = Field(
        0,
        ge=0,
        le=65535,
        description="Port on which `market-data worker` tells its metrics. 0: none; `serve` has /metrics.",
    )
    allow_insecure: bool = Field(
        default=False, description="Listen beyond loopback although anyone there may read and write."
    )
    api_prefix: str = Field(
        "/api/v1", pattern=r"^(/[A-Za-z0-9._~-]+)+$", description="Path before every call."
    )
    debug: bool = Field(default=False, description="Log SQL and tracebacks.")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="Least level logged.")
    log_format: Literal["console", "json"] = Field("console", description="For people, or one JSON a line.")
    seal_after_seconds: int = Field(
        60,
        ge=0,
        le=86_400,
        description="Bars that rest for so long get the column index that speeds reads up. 0: never.",
    )
    columnstore_after_days_intraday: int = Field(
        7,
        ge=0,
        le=36_500,
        description="Age at which the full TimescaleDB turns chunks of intraday bars into columns. 0: never.",
    )
    columnstore_after_days_daily: int = Field(
        365, ge=0, le=36_500, description="The same for bars of a day and longer."
    )
    retention_days: Annotated[dict[Interval, int], NoDecode] = Field(
        {},
        description="Days after which `market-data db retention` removes bars, by interval: 1m=90,5m=365. "
        "Intervals that are not named are kept.",
    )
    frame_cache_bytes: int = Field(
        128 * 1024**2, ge=0, description="Memory of a process for what it answered with before. 0: none."
    )
    max_body_bytes: int = Field(512 * 1024**2, ge=1024, description="Largest HTTP body, in bytes.")
    source_preference: Annotated[tuple[str, ...], NoDecode] = Field(
        ("ecb", "binance", "alphavantage", "yahoo"),
        description="Which source answers when none is asked: the first with bars. Others follow by name.",
    )

    @field_validator("source_preference", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(s.strip() for s in value.split(",") if s.strip()) if isinstance(value, str) else value

    @field_validator("retention_days", mode="before")
    @classmethod
    def _by_interval(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        found = {}
        for part in filter(None, (one.strip() for one in value.split(","))):
            interval, _, days = part.partition("=")
            if not days.strip().isdecimal() or not int(days):
                raise ValueError(f"{part!r} is not an interval and its days, such as 1m=90")
            found[Interval.parse(interval)] = int(days)
        return found

    @field_validator("log_level", mode="before")
    @classmethod
    def _upper(cls, value: object) -> object:
        return value.upper() if isinstance(value, str) else value

    @field_validator("database_url")
    @classmethod
    def _postgresql(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not _is_database_address(value.get_secret_value()):
            raise ValueError(
                "must look like postgresql://user:password@host:5432/name (in user and password, write "
                "characters such as @ / : # as %40 %2F %3A %23)"
            )
        return value

    @field_validator("data_dir")
    @classmethod
    def _in_project(cls, value: Path) -> Path:
        return project_dir() / value.expanduser()

    @property
    def retention(self) -> dict[Interval, timedelta]:
        """RETENTION_DAYS as spans of time."""
        return {interval: timedelta(days=days) for interval, days in self.retention_days.items()}

    def require_guard(self) -> None:
        """Refuse to listen where anybody may come.

        Raises:
            ConfigurationError: HOST is reachable from other machines, and nobody said that this is meant.

        """
        if self.exposed and not self.allow_insecure:
            raise ConfigurationError(
                f"HOST={self.host} is reachable from other machines, and anyone there could read and write. "
                "Keep HOST=127.0.0.1, or set ALLOW_INSECURE=true if something else guards it"
            )

    @property
    def exposed(self) -> bool:
        """Whether HOST is reachable from other machines."""
        try:
            return not ip_address(self.host).is_loopback
        except ValueError:
            return self.host != "localhost"


def _is_database_address(text: str) -> bool:
    parts = urlsplit(text)
    try:
        port = parts.port
    except ValueError:
        return False
    return parts.scheme in {"postgresql", "postgres", "postgresql+asyncpg"} and port != 0


def explain(error: ValidationError, prefix: str = "") -> str:
    """Put what is wrong with the settings on one line, never with the value of a secret."""
    return "; ".join(
        f"{prefix}{'_'.join(str(part) for part in problem['loc'])}".upper()
        + f": {problem['msg'].removeprefix('Value error, ')}"
        for problem in error.errors(include_url=False, include_input=False)
    )


@cache
def get_settings() -> Settings:
    """Read the settings once per process.

    Raises:
        ConfigurationError: one line naming each wrong setting.

    """
    env_file = project_dir() / ".env"
    try:
        return Settings(_env_file=env_file)
    except ValidationError as error:
        raise ConfigurationError(f"wrong setting. {explain(error)}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{env_file} cannot be read: {error}") from None
