"""Puts one table into the place of another of the same shape: its name, views, triggers, owner, rights."""

from market_data.core.exceptions import StorageError
from market_data.db.session import Raw

_VIEWS = """
    SELECT DISTINCT c.oid::regclass::text AS name, pg_get_viewdef(c.oid) AS query,
        coalesce('WITH (' || array_to_string(c.reloptions, ', ') || ')', '') AS options
    FROM pg_depend d JOIN pg_rewrite r ON r.oid = d.objid JOIN pg_class c ON c.oid = r.ev_class
    WHERE d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass
        AND d.refobjid = $1::text::regclass AND c.relkind = 'v'
    ORDER BY name
    """
_TRIGGERS = """
    SELECT quote_ident(tgname), pg_get_triggerdef(oid), quote_nullable(obj_description(oid, 'pg_trigger'))
    FROM pg_trigger
    WHERE tgrelid = $1::text::regclass AND NOT tgisinternal
        AND tgfoid NOT IN (SELECT oid FROM pg_proc WHERE pronamespace = to_regnamespace('market_data_move'))
    """
_RIGHTS = """
    SELECT format('GRANT %s ON %s TO %s', a.privilege_type, $1::text,
        CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END)
    FROM pg_class c CROSS JOIN aclexplode(c.relacl) a
    WHERE c.oid = $1::text::regclass AND a.grantee <> c.relowner
    """
_TABLE = """
    SELECT quote_ident(pg_get_userbyid(relowner)), quote_nullable(obj_description(oid, 'pg_class')),
        quote_ident(relnamespace::regnamespace::text)
    FROM pg_class WHERE oid = $1::text::regclass
    """
_KEY = """
    SELECT quote_ident(conname), quote_nullable(obj_description(conindid, 'pg_class')) FROM pg_constraint
    WHERE conrelid = $1::text::regclass AND contype = 'p'
    """
_HELD_BY = """
    SELECT DISTINCT pg_describe_object(held.class, held.id, 0)
    FROM pg_depend d LEFT JOIN pg_rewrite r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid
    LEFT JOIN pg_class c ON c.oid = r.ev_class
    CROSS JOIN LATERAL (SELECT CASE WHEN r.oid IS NULL THEN d.classid ELSE 'pg_class'::regclass END,
        coalesce(r.ev_class, d.objid)) AS held (class, id)
    WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = $1::text::regclass
        AND (c.relkind = 'm' OR d.classid = 'pg_proc'::regclass)
    ORDER BY 1
    """


async def require_replaceable(raw: Raw, table: str) -> None:
    """Refuse when something would have to be dropped together with the table.

    Raises:
        StorageError: there is a materialized view of it, or a function bound to it.

    """
    found = [row[0] for row in await raw.fetch(_HELD_BY, table)]
    if found:
        raise StorageError(
            f"{', '.join(found)} would have to be dropped with {table}: do so, and make it again afterwards"
        )


async def change_places(raw: Raw, table: str, other: str) -> None:
    """Let `other`, of another schema, take the place of `table`, which is dropped; needs a transaction.

    Views keep their identity and their rights, and read the new table from then on.
    """
    views = await raw.fetch(_VIEWS, table)
    triggers = await raw.fetch(_TRIGGERS, table)
    rights = await raw.fetch(_RIGHTS, table)
    owner, about, schema = await raw.fetchrow(_TABLE, table)
    key, about_key = await raw.fetchrow(_KEY, table)
    (other_key, _) = await raw.fetchrow(_KEY, other)
    await raw.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
    await raw.execute(f"ALTER TABLE {table} RENAME CONSTRAINT {key} TO replaced_key")
    await raw.execute(f"ALTER TABLE {table} RENAME TO replaced_{table}")
    await raw.execute(f"ALTER TABLE {other} SET SCHEMA {schema}")
    await raw.execute(f"ALTER TABLE {table} RENAME CONSTRAINT {other_key} TO {key}")
    await raw.execute(f"COMMENT ON TABLE {table} IS {about}")
    await raw.execute(f"COMMENT ON INDEX {key} IS {about_key}")
    for name, query, options in views:
        await raw.execute(f"CREATE OR REPLACE VIEW {name} {options} AS {query}")
    for name, definition, about_trigger in triggers:
        await raw.execute(definition)
        await raw.execute(f"COMMENT ON TRIGGER {name} ON {table} IS {about_trigger}")
    for (statement,) in rights:
        await raw.execute(statement)
    await raw.execute(f"ALTER TABLE {table} OWNER TO {owner}")
    await raw.execute(f"DROP TABLE replaced_{table}")
