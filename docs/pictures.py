"""Draws what the dashboards show of the bundled sample, for docs/images: `make pictures`.

The queries are those of the dashboards, asked of a database of its own; matplotlib draws the answers where
the panels have their places. What comes out is no screenshot of Grafana, and says so.
"""  # noqa: INP001 # a script beside the pages it illustrates, no package

import asyncio
import json
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
from docs.panels import GROUND, INK, QUIET, draw
from matplotlib.figure import Figure
from PIL import Image
from tests.support.api import post_rows
from tests.support.dashboards import api, as_owner, choose, login
from tests.support.grafana import Dashboard, Window

from market_data.db import migrations
from market_data.db.embedded import EmbeddedServer
from market_data.db.session import Database
from market_data.services.sample import ingest_sample
from market_data.services.sealing import SealingService

ROOT = Path(__file__).parents[1]
NOTE = (
    "Drawn with matplotlib from the dashboard's own queries over the bundled sample (ECB rates; "
    "Quandl WIKI stocks). Not a screenshot of Grafana."
)
DATED_NOTE = "Runs of the source desk repeat a year of rates each; their days are made up."
DAYS = 18
RATES = """
    SELECT exchange || ':' || symbol AS symbol, to_char(ts, 'YYYY-MM-DD') AS ts, open, high, low, close
    FROM v_price
    WHERE source = 'ecb' AND interval = '1d' AND date_part('year', ts) = $1
      AND instrument_id IN (SELECT id FROM instrument WHERE active) ORDER BY symbol, ts
"""
ENDED = "SELECT instrument_id FROM v_series WHERE last_ts < now() - interval '300 days'"
# Runs take place within seconds here: for the picture each gets a day.
DATED = """
    UPDATE ingestion_run SET created_at = created_at + age, started_at = started_at + age,
                             finished_at = finished_at + age
    FROM (SELECT id AS run, (greatest(id - 2, 0) - $1::int) * interval '1 day' AS age FROM ingestion_run) a
    WHERE id = run
"""
INCHES, DPI = (15, 0.36), 75


def window(uid: str) -> Window:
    """Choose the time range of a picture: one with stocks and rates, or the days of the runs."""
    if uid in {"market-data-overview", "market-data-instrument"}:
        return Window(datetime(2012, 3, 1, tzinfo=UTC), datetime(2013, 3, 2, tzinfo=UTC), "12h")
    now = datetime.now(UTC)
    return Window(now - timedelta(days=DAYS + 2), now + timedelta(hours=12), "1d")


async def replay(database: Database) -> None:
    """Store a year of the sample's rates each day, as if another source had them; some days with slips."""
    async with api(database) as client, as_owner(database) as owner:
        for one in await owner.fetch(ENDED):
            await client.patch(f"/api/v1/instruments/{one['instrument_id']}", json={"active": False})
        for place in range(DAYS):
            rates = await owner.fetch(RATES, 2027 - DAYS + place)
            bars = [dict(one) | {"volume": None} for one in rates]
            for slip in bars[: 97 * place : 400] if place % 3 == 2 else ():
                slip.update({"high": slip["close"] / 10} if place % 2 else {"open": -slip["open"]})
            await post_rows(client, bars, interval="1d", source="desk")
        await owner.execute(DATED, DAYS)
    await SealingService(database).seal()


async def asked(reader: asyncpg.Connection, found: Dashboard, panel: dict[str, Any]) -> list[dict[str, Any]]:
    """Ask a panel's query."""
    return [dict(one) for one in await reader.fetch(found.expand(panel["targets"][0]["rawSql"]))]


async def picture(reader: asyncpg.Connection, dashboard: dict[str, Any]) -> None:
    """Draw one dashboard."""
    uid = dashboard["uid"]
    aapl = await reader.fetchval("SELECT instrument_id::text FROM v_instrument WHERE symbol = 'AAPL'")
    wanted = {"instrument": aapl} if uid.endswith("instrument") else {}
    chosen = Dashboard(window(uid), (await choose(reader, uid, **wanted)).choices)
    rows = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in dashboard["panels"])
    height = INCHES[1] * rows + 0.8
    figure = Figure(figsize=(INCHES[0], height), dpi=DPI, facecolor=GROUND)
    span = f"{chosen.window.start:%Y-%m-%d} to {chosen.window.end:%Y-%m-%d}"
    figure.text(0.012, 1 - 0.25 / height, dashboard["title"], color=INK, fontsize=14, va="center")
    figure.text(0.988, 1 - 0.25 / height, span, color=QUIET, fontsize=9, va="center", ha="right")
    dated = "" if uid.endswith(("overview", "instrument")) else DATED_NOTE
    figure.text(0.012, 0.16 / height, f"{NOTE} {dated}", color=QUIET, fontsize=8, va="center")
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        left, width = place["x"] / 24, place["w"] / 24
        bottom = (0.32 + INCHES[1] * (rows - place["y"] - place["h"])) / height
        top = INCHES[1] * place["h"] / height
        numbered = panel["type"] in {"timeseries", "candlestick"}
        margin = 0.035 if numbered else 0.115 if panel["type"] == "bargauge" else 0.012
        below, above = (0.26 if numbered else 0.06) / height, (0.26 if panel["title"] else 0.05) / height
        right = 0.035 if panel["type"] == "candlestick" else 0.012
        box = (left + margin, bottom + below, width - margin - right, top - below - above)
        draw(figure.add_axes(box), panel, await asked(reader, chosen, panel), chosen.window)
    file = ROOT / f"docs/images/{uid.removeprefix('market-data-')}.png"
    figure.savefig(file, facecolor=GROUND)
    Image.open(file).quantize(96).save(file, optimize=True)


def _described(name: str) -> dict[str, Any]:
    path = ROOT / f"grafana/dashboards/market-data-{name}.json"
    described: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return described


async def main(address: str) -> None:
    """Make the database, and the pictures: prices of the sample alone, runs after the replay."""
    database = Database(address)
    await migrations.upgrade(database)
    await ingest_sample(database, lambda _: None)
    for names in (("overview", "instrument"), ("quality", "storage")):
        async with as_owner(database) as owner, login(database) as reader:
            await owner.execute("VACUUM (ANALYZE)")
            for name in names:
                await picture(reader, _described(name))
        if "overview" in names:
            await replay(database)
    await database.close()


if __name__ == "__main__":
    (ROOT / "docs/images").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        server = EmbeddedServer(Path(folder) / "embedded")
        try:
            asyncio.run(main(server.start()))
        finally:
            server.stop()
