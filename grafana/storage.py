"""Storage: what the data costs, and how it grows."""

from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.models import common, units

from grafana import parts
from grafana.query import Query

BARS = "table_name LIKE 'market_price_%'"


def storage() -> builders.Dashboard:
    """Return the dashboard."""
    about = (
        "Size of tables, bytes a bar, chunks and compression where TimescaleDB is there, and growth by day."
    )
    made = parts.dashboard("storage", "Storage", about, "now-30d", "15m")
    for panel in (*_figures(), _tables(), _growth(), _daily()):
        made.with_panel(panel)
    return made


def _figures() -> list[parts.AnyPanel]:
    figures = (
        ("Bars", "Bars stored.", f"sum(bars)::bigint AS value FROM v_storage WHERE {BARS}", units.Short),
        (
            "Size",
            "All tables, with indexes.",
            "sum(total_bytes)::bigint AS value FROM v_storage",
            units.BytesIEC,
        ),
        (
            "Bytes a bar",
            "Rows and keys of both bar tables for each bar stored.",
            f"sum(total_bytes)::double precision / nullif(sum(bars), 0) AS value FROM v_storage WHERE {BARS}",
            units.BytesIEC,
        ),
        (
            "Column index a bar",
            "What the index of columns adds for each bar stored.",
            """
            sum(total_bytes) FILTER (WHERE table_name = 'price_block')::double precision /
            nullif(sum(bars), 0) AS value
            FROM v_storage
            """,
            units.BytesIEC,
        ),
        (
            "Chunks",
            "Chunks of the bar tables; 0 where they are plain tables.",
            f"sum(chunks)::bigint AS value FROM v_storage WHERE {BARS}",
            units.Short,
        ),
        (
            "Compression",
            "Size of compressed chunks before, divided by now; empty where none is compressed.",
            f"""
            sum(uncompressed_bytes)::double precision / nullif(sum(compressed_bytes), 0) AS value
            FROM v_storage WHERE {BARS}
            """,
            "suffix: x",
        ),
    )
    return [
        parts.number(title, about, Query(f"SELECT {select}", {"value": "number"}), unit, 4)
        for title, about, select, unit in figures
    ]


def _tables() -> parts.AnyPanel:
    sizes = ("heap_bytes", "index_bytes", "toast_bytes", "total_bytes")
    numbers = ("bars", *sizes, "bytes_per_bar", "chunks", "compressed_chunks", "compression_ratio")
    query = Query(
        f"SELECT table_name, kind, {', '.join(numbers)} FROM v_storage ORDER BY total_bytes DESC",
        {"table_name": "string", "kind": "string", **dict.fromkeys(numbers, "number")},
    )
    table = parts.rows("Tables", "Sizes as they are now, whatever the time range.", query, (24, 9))
    for size in sizes:
        parts.column(table, size, unit=units.BytesIEC)
    parts.column(table, "bars", unit=units.Short)
    parts.column(table, "bytes_per_bar", unit=units.BytesIEC, decimals=1)
    return parts.column(table, "compression_ratio", unit="suffix: x", decimals=1)


def _growth() -> parts.AnyPanel:
    query = Query(
        "SELECT day AS time, bars FROM v_growth WHERE $__timeFilter(day) ORDER BY day",
        {"time": "time", "bars": "number"},
    )
    about = "Bars that runs have inserted until the end of each day; deleted ones are not taken off."
    return (
        parts.lines("Bars inserted so far", about, query, units.Short, (12, 8))
        .show_points(common.VisibilityMode.AUTO)
        .line_interpolation(common.LineInterpolation.STEP_AFTER)
        .color_scheme(parts.fixed(parts.CALM))
        .fill_opacity(15)
        .min(0)
    )


def _daily() -> parts.AnyPanel:
    query = Query(
        "SELECT day AS time, inserted, updated FROM v_growth WHERE $__timeFilter(day) ORDER BY day",
        {"time": "time", "inserted": "number", "updated": "number"},
    )
    return parts.bars("Bars a day", "Inserted and replaced, by the day.", query, units.Short, (12, 8))
