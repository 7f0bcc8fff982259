"""Logins that may read the views and nothing else: for Grafana, or an analyst."""

import base64
import hashlib
import hmac
import re
import secrets

import asyncpg
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from market_data.core.exceptions import ConfigurationError, InvalidInput
from market_data.db.migrations import MIGRATION_LOCK
from market_data.db.session import Database

READER = "market_data_reader"
"""The role the migrations grant the views to."""
_CARRIED = {
    "statement_timeout": "30s",
    "lock_timeout": "5s",
    "idle_in_transaction_session_timeout": "60s",
    "default_transaction_read_only": "on",
}
"""Settings of its sessions; Grafana's data source has no fields for them."""
_LOGIN = re.compile(r"(?!pg_)[a-z_][a-z0-9_]{0,62}")
_ITERATIONS = 4096

_KNOWN = text(
    "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = :reader) AS reader, "
    "EXISTS (SELECT FROM pg_roles WHERE rolname = :login) AS login, "
    "EXISTS (SELECT FROM pg_auth_members "
    "JOIN pg_roles granted ON granted.oid = roleid JOIN pg_roles holder ON holder.oid = member "
    "WHERE granted.rolname = :reader AND holder.rolname = :login "
    "AND NOT holder.rolsuper AND holder.rolname <> current_user) AS member"
)
# Such statements take no parameters: the server itself writes them out, quoted as it wants them.
_CREATE = text("SELECT format('CREATE ROLE %I IN ROLE %I', CAST(:login AS text), CAST(:reader AS text))")
_ALTER = text(
    "SELECT format('ALTER ROLE %I LOGIN PASSWORD %L', CAST(:login AS text), CAST(:verifier AS text))"
)
_SET = text(
    "SELECT format('ALTER ROLE %I SET %I = %L', CAST(:login AS text), CAST(:setting AS text), "
    "CAST(:value AS text))"
)


async def grant_reader(database: Database, login: str, password: str) -> bool:
    """Create a login that may only read the views, or give it this password anew; tell whether it is new.

    The server is sent what it would store, never the password: no log of statements can hold it.

    Raises:
        InvalidInput: the name or the password will not do.
        ConfigurationError: the name is taken by a role that is no reader, or this database's role may not
            create logins.
        DatabaseUnavailable: the server does not answer.

    """
    if not _LOGIN.fullmatch(login):
        raise InvalidInput("login", f"{login!r} is no plain name of a role, such as grafana")
    verifier = scram_verifier(password)
    try:
        async with database.session() as session:
            connection = await session.connection()
            return await connection.run_sync(lambda c: _grant(c, login, verifier))
    except DBAPIError as error:
        if isinstance(error.orig and error.orig.__cause__, asyncpg.InsufficientPrivilegeError):
            raise ConfigurationError(
                f"the role of DATABASE_URL may not make {login} a reader: have an administrator do it, or "
                "grant that role CREATEROLE"
            ) from None
        raise


def _grant(connection: Connection, login: str, verifier: str) -> bool:
    # One at a time: two that create the same role would fail on each other.
    connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": MIGRATION_LOCK})
    found = connection.execute(_KNOWN, {"reader": READER, "login": login}).one()
    if not found.reader:
        raise ConfigurationError(f"there is no role {READER}. Run: market-data db upgrade")
    if found.login and not found.member:
        raise ConfigurationError(f"the role {login} exists and is no reader: choose another name")
    values = {"login": login, "verifier": verifier, "reader": READER}
    work = [
        (_ALTER, values),
        *((_SET, {"login": login, "setting": s, "value": v}) for s, v in _CARRIED.items()),
    ]
    for statement, given in work if found.login else [(_CREATE, values), *work]:
        connection.exec_driver_sql(connection.execute(statement, given).scalar_one())
    return not found.login


def scram_verifier(password: str) -> str:
    """Compute what PostgreSQL stores for a password (RFC 5803, SCRAM-SHA-256).

    Raises:
        InvalidInput: it is empty, or holds other than printable ASCII, which would need RFC 4013.

    """
    if not password or not (password.isascii() and password.isprintable()):
        raise InvalidInput("password", "must be one or more printable ASCII characters")
    salt = secrets.token_bytes(16)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, _ITERATIONS)
    client = hmac.digest(salted, b"Client Key", "sha256")
    server = hmac.digest(salted, b"Server Key", "sha256")
    stored, salt64, server64 = (
        base64.b64encode(one).decode() for one in (hashlib.sha256(client).digest(), salt, server)
    )
    return f"SCRAM-SHA-256${_ITERATIONS}:{salt64}${stored}:{server64}"
