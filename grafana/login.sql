-- Makes or renews the login that Grafana reads with. Run it with psql, as the owner of the database or a superuser:
--   GRAFANA_DB_USER=grafana GRAFANA_DB_PASSWORD=... psql "$DATABASE_URL" -f grafana/login.sql
-- Grafana's data source has no field for a timeout of statements: the login carries it.
\set ON_ERROR_STOP on
\getenv name GRAFANA_DB_USER
\getenv password GRAFANA_DB_PASSWORD
SELECT format('CREATE ROLE %I LOGIN', :'name')
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'name') \gexec
-- Whatever the statement logs, the password is not in it.
SET log_statement = none;
SET log_min_duration_statement = -1;
ALTER ROLE :"name" LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS INHERIT CONNECTION LIMIT 20
    PASSWORD :'password';
GRANT market_data_reader TO :"name";
ALTER ROLE :"name" SET statement_timeout = '30s';
ALTER ROLE :"name" SET lock_timeout = '5s';
ALTER ROLE :"name" SET idle_in_transaction_session_timeout = '60s';
ALTER ROLE :"name" SET default_transaction_read_only = on;
ALTER ROLE :"name" SET temp_file_limit = '1GB';
