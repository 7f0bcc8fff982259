"""The reader role reads the views, calls their functions, and may do nothing else: that is tried."""

import asyncpg
import pytest

from tests.support.dashboards import as_owner, login
from tests.support.views import VIEWS

READABLE = {
    "bar_end",
    "bar_length",
    "drawdown",
    "periods_per_year",
    "price_candle",
    "price_change",
    "price_return",
    "rolling_volatility",
    "storage",
}
# What an extension brings is its own affair.
NOT_OF_AN_EXTENSION = "NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = o.oid AND d.deptype = 'e')"
KEY = "1, '1d', 'ecb', 'raw', '2020-01-01', '2020-02-01'"


async def test_what_it_may_read_are_the_views(home, grafana):
    views = set(VIEWS) | ({"v_price_aggregate"} if home.name == "timescale-full" else set())
    rights = await grafana.fetch(
        f"""
        SELECT o.relname, right_to
        FROM pg_class o, unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'TRIGGER']) right_to
        WHERE o.relnamespace = 'public'::regnamespace AND o.relkind IN ('r', 'v', 'm', 'p', 'f')
          AND {NOT_OF_AN_EXTENSION} AND has_table_privilege(o.oid, right_to)
        """
    )
    assert {tuple(one) for one in rights} == {(view, "SELECT") for view in views}
    columns = await grafana.fetchval(
        f"""
        SELECT count(*) FROM pg_class o
        WHERE o.relnamespace = 'public'::regnamespace AND o.relkind IN ('r', 'p') AND {NOT_OF_AN_EXTENSION}
          AND has_any_column_privilege(o.oid, 'SELECT, INSERT, UPDATE, REFERENCES')
        """
    )
    assert columns == 0


async def test_what_it_may_call_are_their_functions(grafana):
    callable_ = await grafana.fetch(
        f"""
        SELECT o.proname, o.prosecdef, o.proconfig FROM pg_proc o
        WHERE o.pronamespace = 'public'::regnamespace AND {NOT_OF_AN_EXTENSION}
          AND has_function_privilege(o.oid, 'EXECUTE')
        """
    )
    assert {one["proname"] for one in callable_} == READABLE
    for one in callable_:
        pinned = one["proconfig"] == ["search_path=pg_catalog, public, pg_temp"]
        assert one["prosecdef"] == pinned, one["proname"]


async def test_nobody_else_may_call_them(sampled):
    async with as_owner(sampled) as owner:
        rights = await owner.fetchval(
            f"""
            SELECT count(*) FROM pg_proc o, aclexplode(coalesce(o.proacl, acldefault('f', o.proowner))) a
            WHERE o.pronamespace = 'public'::regnamespace AND {NOT_OF_AN_EXTENSION} AND a.grantee = 0
            """
        )
    assert rights == 0


@pytest.mark.parametrize("view", sorted(VIEWS))
async def test_it_reads_each_view(grafana, view):
    assert await grafana.fetch(f"SELECT * FROM {view} LIMIT 1")


@pytest.mark.parametrize(
    "call",
    [
        f"price_candle({KEY})",
        f"price_return({KEY}, '7 days')",
        f"rolling_volatility({KEY}, 5)",
        f"drawdown({KEY})",
        "price_change('1d', '2020-01-01', '2020-02-01')",
        "storage()",
        "periods_per_year('1d', 'fx')",
        "bar_end(now(), '1d')",
    ],
)
async def test_it_calls_each_function(grafana, call):
    assert await grafana.fetch(f"SELECT * FROM {call}")


FORBIDDEN = [
    *(f"SELECT * FROM {table}" for table in ("instrument", "series", "market_price_daily", "price_block")),
    *(f"{verb} {view}" for view in sorted(VIEWS) for verb in ("DELETE FROM", "TRUNCATE")),
    "UPDATE v_instrument SET name = 'x'",
    "UPDATE instrument SET name = 'x'",
    "INSERT INTO v_run (source) VALUES ('x')",
    "SELECT * FROM bars_in_range(1, '1d', 'ecb', 'raw', '2020-01-01', '2020-02-01', 0)",
    "SELECT step_start(now(), '1 day', '1m')",
    "SELECT next_second(now())",
    "SELECT bars_have_series()",
    "SELECT nextval('instrument_id_seq')",
    "SELECT setval('instrument_id_seq', 1)",
    "CREATE TABLE mine (id int)",
    "CREATE FUNCTION mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "CREATE SCHEMA mine",
    "CREATE ROLE mine",
    "CREATE EXTENSION file_fdw",
    "ALTER VIEW v_price RENAME TO v_mine",
    "ALTER FUNCTION storage() OWNER TO CURRENT_USER",
    "ALTER ROLE market_data_reader SUPERUSER",
    "SET ROLE pg_read_all_data",
    "SET SESSION AUTHORIZATION postgres",
    "DROP VIEW v_price",
    "DROP FUNCTION storage()",
    "BEGIN; LOCK TABLE instrument",
    "SELECT pg_read_file('/etc/passwd')",
    "SELECT lo_import('/etc/passwd')",
    "SELECT * FROM pg_authid",
    "COPY v_price TO '/tmp/prices'",
    "COPY (SELECT 1) TO PROGRAM 'true'",
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename <> current_user",
]


@pytest.mark.parametrize("statement", FORBIDDEN)
async def test_everything_else_is_refused(grafana, statement):
    refused = (
        asyncpg.InsufficientPrivilegeError,
        asyncpg.WrongObjectTypeError,  # a view is no table
        asyncpg.ObjectNotInPrerequisiteStateError,  # a view of several tables takes no rows, from anyone
        asyncpg.InvalidParameterValueError,  # there is no such role to become
        asyncpg.UndefinedObjectError,
        asyncpg.UndefinedFileError,  # nor such an extension here
        asyncpg.FeatureNotSupportedError,
    )
    with pytest.raises(refused):
        await grafana.execute(statement)


async def test_no_object_of_its_own_stands_in_for_ours(grafana):
    """Everyone may make temporary tables; a function that ran with its owner's rights must not read them."""
    honest = await grafana.fetch("SELECT * FROM price_change('1d', '2020-01-01', '2020-02-01')")
    async with grafana.transaction():
        await grafana.execute("CREATE TEMP TABLE series AS SELECT 1 AS id, 'x' AS interval")
        await grafana.execute("CREATE TEMP TABLE instrument AS SELECT 1 AS id, 'x' AS symbol")
        await grafana.execute("SET LOCAL search_path = pg_temp, public")
        assert await grafana.fetch("SELECT * FROM price_change('1d', '2020-01-01', '2020-02-01')") == honest
        await grafana.execute("DROP TABLE pg_temp.series, pg_temp.instrument")


async def test_a_login_is_no_more_than_the_role(sampled):
    async with login(sampled) as reader:
        roles = await reader.fetch(
            "SELECT rolname FROM pg_roles "
            "WHERE pg_has_role(current_user, oid, 'MEMBER') AND rolname <> current_user"
        )
    assert [one[0] for one in roles] == ["market_data_reader"]
