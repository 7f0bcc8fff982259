"""Settings: defaults, where they come from, and how a wrong one is named."""

from pathlib import Path

import pytest
from pydantic import BaseModel, Field, ValidationError

from market_data.core import config
from market_data.core.config import Settings, explain, get_settings
from market_data.core.exceptions import ConfigurationError
from tests.support.fixtures import bare

__all__ = ["bare"]


@pytest.fixture
def project(bare, tmp_path, monkeypatch) -> Path:
    """An empty project folder, with another working directory."""
    (tmp_path / "project").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "project/pyproject.toml").touch()
    monkeypatch.setattr(config, "_CHECKOUT", tmp_path / "project")
    monkeypatch.chdir(tmp_path / "elsewhere")
    return tmp_path / "project"


def test_defaults(project):
    settings = get_settings()
    assert settings.database_url is None
    assert settings.data_dir == project / ".data"
    assert (settings.host, settings.port, settings.workers) == ("127.0.0.1", 8000, 1)
    assert (settings.api_prefix, settings.debug, settings.allow_insecure) == ("/api/v1", False, False)
    assert (settings.log_level, settings.log_format) == ("INFO", "console")
    assert settings.max_body_bytes == 512 * 1024 * 1024
    assert settings.source_preference == ("ecb", "binance", "alphavantage", "yahoo")


def test_the_environment_wins_over_the_file(project, bare):
    (project / ".env").write_text("PORT=9001\nLOG_LEVEL=debug\nHOST=\nOTHER=ignored\n")
    (Path.cwd() / ".env").write_text("PORT=9003\n")  # of the working directory: not ours
    bare.setenv("PORT", "9002")
    settings = get_settings()
    assert (settings.port, settings.log_level, settings.host) == (9002, "DEBUG", "127.0.0.1")
    assert get_settings() is settings


def test_data_dir_is_relative_to_the_project(project, bare):
    bare.setenv("DATA_DIR", "some where/else")
    assert get_settings().data_dir == project / "some where/else"
    bare.setenv("DATA_DIR", "/var/lib/market data")
    assert Settings().data_dir == Path("/var/lib/market data")
    bare.setenv("DATA_DIR", "~/prices")
    assert Settings().data_dir == Path.home() / "prices"


def test_without_a_checkout_the_working_directory_is_the_project(project):
    (project / "pyproject.toml").unlink()
    assert config.project_dir() == Path.cwd()


def test_source_preference_is_a_list_of_names(bare):
    bare.setenv("SOURCE_PREFERENCE", " yahoo, ecb ,,file")
    assert Settings().source_preference == ("yahoo", "ecb", "file")


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://user:pa%40ss@host:5432/name",
        "postgres://host/name?sslmode=require",
        "postgresql+asyncpg://u@[::1]:5432/name",
    ],
)
def test_addresses_of_databases(url, bare):
    bare.setenv("DATABASE_URL", url)
    settings = Settings()
    assert settings.database_url is not None
    assert settings.database_url.get_secret_value() == url
    assert url not in repr(settings)


@pytest.mark.parametrize(
    "url",
    ["mysql://u:p4ssword@h/d", "host/d", "postgresql://u:p4ssword@h:port/d", "postgresql://u:p4ss/word@h/d"],
)
def test_what_is_no_address_is_not_repeated(url, project, bare):
    bare.setenv("DATABASE_URL", url)
    with pytest.raises(ConfigurationError, match=r"^wrong setting\. DATABASE_URL: must look like") as caught:
        get_settings()
    assert url not in str(caught.value)
    assert caught.value.__cause__ is None


def test_every_wrong_setting_is_named_on_one_line(project, bare):
    bare.setenv("PORT", "0")
    bare.setenv("LOG_FORMAT", "xml")
    with pytest.raises(ConfigurationError, match=r"PORT: .*; LOG_FORMAT: ") as caught:
        get_settings()
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_text(project):
    (project / ".env").write_bytes(b"PORT=\xff\xfe9")
    with pytest.raises(ConfigurationError, match=r"\.env cannot be read"):
        get_settings()


@pytest.mark.parametrize(
    ("host", "exposed"),
    [
        ("127.0.0.1", False),
        ("127.8.9.1", False),
        ("::1", False),
        ("localhost", False),
        ("0.0.0.0", True),  # noqa: S104 # what is refused
        ("::", True),
        ("192.168.1.4", True),
        ("prices.example", True),
    ],
)
def test_what_others_can_reach(host, exposed, bare):
    bare.setenv("HOST", host)
    assert Settings().exposed is exposed


def test_explain_names_nested_fields_with_a_prefix():
    class Some(BaseModel):
        sizes: list[int] = Field(default=[])

    with pytest.raises(ValidationError) as caught:
        Some(sizes=["x"])  # type: ignore[list-item]
    assert explain(caught.value, "BINANCE_").startswith("BINANCE_SIZES_0: ")
