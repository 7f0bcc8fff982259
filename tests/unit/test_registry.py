"""Finding providers, opening their clients, and adding one by adding one file and one payload."""

import importlib
import re
import sys
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace

import httpx2
import pytest

from market_data.core.exceptions import ConfigurationError, ProviderAuthError, ProviderNotFound
from market_data.core.interval import Interval
from market_data.etl import registry
from market_data.etl.provider import BarRequest, KeyedSettings, ProviderSpec
from market_data.etl.registry import discover, find_provider, key_is_set, key_variable, open_client, providers
from tests.support.provider_contract import ProviderContract, Subject, content

GUIDE = Path(__file__).parents[2] / "docs" / "adding-a-provider.md"
BUILT_IN = {
    "alpaca",
    "alphavantage",
    "binance",
    "binancearchive",
    "bitstamp",
    "coinbase",
    "ecb",
    "fred",
    "kraken",
    "lean",
    "polygon",
    "stooq",
    "tiingo",
    "twelvedata",
    "yahoo",
}


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Make a package of the given files and import it; it is gone afterwards."""
    name = "providers_of_a_test"

    def make(**files: str):
        folder = tmp_path / name
        folder.mkdir()
        for file, source in {"__init__": "", **files}.items():
            (folder / f"{file}.py").write_text(source, encoding="utf-8")
        monkeypatch.syspath_prepend(tmp_path)
        importlib.invalidate_caches()
        return importlib.import_module(name)

    yield make
    for module in [module for module in sys.modules if module.split(".")[0] == name]:
        del sys.modules[module]


class TestTheDocumentedExample(ProviderContract):
    """Adding a provider means adding one file and one payload: those of the guide, as they stand there."""

    @pytest.fixture
    def subject(self, package, tmp_path) -> Subject:
        (source,) = blocks("python")
        (payload,) = blocks("json")
        (tmp_path / "frankfurter.json").write_text(payload, encoding="utf-8")
        found = discover(package(frankfurter=source))
        assert list(found) == ["frankfurter"]
        return Subject.load(found["frankfurter"], tmp_path)

    def test_a_provider_without_a_payload_fails(self, subject, tmp_path):
        (tmp_path / "frankfurter.json").unlink()
        with pytest.raises(pytest.fail.Exception, match="has no payload: write"):
            Subject.load(subject.client, tmp_path)


def test_the_guide_names_every_field_of_the_spec():
    first_cells = re.findall(r"^\| (`[^|]+) \|", GUIDE.read_text(encoding="utf-8"), re.MULTILINE)
    named = set(re.findall(r"`(\w+)`", " ".join(first_cells)))
    assert {field.name for field in fields(ProviderSpec)} <= named


def test_all_are_found_in_order_of_name():
    assert list(providers()) == sorted(providers())
    assert set(providers()) >= BUILT_IN
    assert all(client.spec.name == name for name, client in providers().items())


@pytest.mark.parametrize(
    "name", ["alphavantage", "alpha_vantage", "alpha-vantage", "Alpha Vantage", "ALPHAVANTAGE"]
)
def test_names_are_found_however_they_are_written(name):
    assert find_provider(name).spec.name == "alphavantage"


def test_an_unknown_name_is_told_with_the_known_ones():
    with pytest.raises(ProviderNotFound, match=r"known are alpaca, alphavantage, binance, .*yahoo"):
        find_provider("bloomberg")


HEAD = """
from market_data.core.interval import Basis, Interval
from market_data.core.vocabulary import AssetClass
from market_data.etl.provider import KeyedSettings, ProviderClient, ProviderSettings, ProviderSpec
class Own(ProviderSettings):
    base_url: str = "https://vendor.test"
"""
CLIENT = """
class {cls}(ProviderClient):
    Settings = Own
    spec = ProviderSpec(name="{name}", title="T", covers="c", homepage="https://vendor.test",
        bases={{Interval.D1: Basis.RAW}}, asset_classes=(AssetClass.FX,), requests_per_minute=60)
    async def fetch_bars(self, request):
        yield
"""


def source(*clients: tuple[str, str]) -> str:
    return HEAD + "".join(CLIENT.format(cls=cls, name=name) for cls, name in clients)


def test_files_with_an_underscore_are_helpers(package):
    found = discover(package(one=source(("One", "one")), _shared="raise RuntimeError"))
    assert list(found) == ["one"]


def test_a_client_of_another_file_does_not_count(package):
    made = package(one=source(("One", "one")), two="from .one import One\n" + source(("Two", "two")))
    assert list(discover(made)) == ["one", "two"]


@pytest.mark.parametrize("clients", [(), (("One", "one"), ("Two", "two"))])
def test_a_file_holds_exactly_one_client(package, clients):
    with pytest.raises(ConfigurationError, match="exactly one ProviderClient"):
        discover(package(many=source(*clients)))


def test_a_name_is_given_once(package):
    with pytest.raises(ConfigurationError, match="two providers are named one"):
        discover(package(a=source(("A", "one")), b=source(("B", "one"))))


@pytest.mark.parametrize("name", ["Upper", "with-dash", "1st", ""])
def test_a_name_is_letters_and_digits(package, name):
    with pytest.raises(ConfigurationError, match="is no name"):
        discover(package(a=source(("A", name))))


def entry(value, name="extra"):
    def load():
        if isinstance(value, Exception):
            raise value
        return value

    return SimpleNamespace(name=name, value="elsewhere:Client", load=load)


def test_other_packages_may_register_one(package, monkeypatch):
    made = discover(package(one=source(("One", "one"))))["one"]
    monkeypatch.setattr(registry, "entry_points", lambda group: [entry(made)] if "providers" in group else [])
    assert set(providers()) >= BUILT_IN | {"one"}
    assert find_provider("One") is made


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (ImportError("no module x"), "cannot be loaded: no module x"),
        (AttributeError("y"), "y"),
        (dict, "is no ProviderClient"),
    ],
)
def test_a_broken_registration_is_named(monkeypatch, value, words):
    monkeypatch.setattr(registry, "entry_points", lambda **_: [entry(value)])
    with pytest.raises(ConfigurationError, match=f"extra .*{words}"):
        providers()


def test_keys_are_known_by_their_variable(monkeypatch):
    monkeypatch.delenv("ALPHA_VANTAGE_API_KEY", raising=False)
    alphavantage, ecb = find_provider("alphavantage"), find_provider("ecb")
    assert (key_variable(alphavantage), key_variable(ecb)) == ("ALPHA_VANTAGE_API_KEY", None)
    assert (key_is_set(alphavantage), key_is_set(ecb)) == (False, True)
    monkeypatch.setenv("ALPHA_VANTAGE_API_KEY", "   ")
    assert not key_is_set(alphavantage)
    monkeypatch.setenv("ALPHA_VANTAGE_API_KEY", "ABCDEFGH")
    assert key_is_set(alphavantage)


@pytest.fixture(autouse=True)
def no_env_file(monkeypatch, tmp_path):
    monkeypatch.setattr(registry, "project_dir", lambda: tmp_path)


def test_every_setting_is_described():
    for client in providers().values():
        assert all(field.description for field in client.Settings.model_fields.values())


async def test_a_missing_key_names_its_variable(monkeypatch):
    monkeypatch.setenv("ALPHA_VANTAGE_API_KEY", "")
    with pytest.raises(ProviderAuthError, match="set ALPHA_VANTAGE_API_KEY"):
        async with open_client("alphavantage"):
            pass


@pytest.mark.parametrize(
    ("variable", "value", "provider"),
    [
        ("ECB_BASE_URL", "ecb.europa.eu/SECRETPATH", "ecb"),
        ("ALPHA_VANTAGE_BASE_URL", "file:///SECRETPATH", "alphavantage"),
        ("BINANCE_REQUESTS_PER_MINUTE", "SECRETPATH", "binance"),
        ("BINANCE_REQUESTS_PER_MINUTE", "0", "binance"),
    ],
)
async def test_a_wrong_setting_is_named_and_its_value_is_not_shown(monkeypatch, variable, value, provider):
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigurationError) as caught:
        async with open_client(provider):
            pass
    assert str(caught.value).startswith(f"{variable}: ")
    assert "SECRETPATH" not in f"{caught.value!r}{caught.value.__context__!r}{caught.value.__cause__!r}"
    assert "\n" not in str(caught.value)


async def test_a_client_is_ready_to_ask_where_its_settings_say(monkeypatch, tmp_path):
    (tmp_path / ".env").write_text("ALPHA_VANTAGE_API_KEY=FROMTHEFILE\n", encoding="utf-8")
    monkeypatch.delenv("ALPHA_VANTAGE_API_KEY", raising=False)
    monkeypatch.setenv("ALPHAVANTAGE_BASE_URL", "http://127.0.0.1:9/recorded")
    monkeypatch.setenv("ALPHA_VANTAGE_REQUESTS_PER_MINUTE", "600")
    case = Subject.load(find_provider("alphavantage")).payload["cases"][1]
    asked = []

    def answer(request):
        asked.append(request.url)
        return httpx2.Response(200, content=content(case["answers"][0]))

    async with open_client("alpha-vantage", httpx2.MockTransport(answer)) as client:
        assert isinstance(client.settings, KeyedSettings)
        pages = [page async for page in client.fetch_bars(BarRequest(symbol="IBM", interval=Interval.D1))]
        assert client.http.pace.step == 0.1
    assert [len(page.rows) for page in pages] == [2]
    assert (asked[0].host, asked[0].path, asked[0].params["apikey"]) == (
        "127.0.0.1",
        "/recorded/query",
        "FROMTHEFILE",
    )
    assert client.http._client.is_closed


async def test_a_class_can_be_opened_as_well():
    async with open_client(
        find_provider("ecb"), httpx2.MockTransport(lambda _: httpx2.Response(500))
    ) as client:
        assert client.spec.name == "ecb"
