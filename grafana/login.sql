-- Makes or renews the login that Grafana reads with. Run it with psql, as a superuser or the role that migrated:
--   GRAFANA_DB_USER=grafana GRAFANA_DB_PASSWORD=... psql "$DATABASE_URL" -f grafana/login.sql
-- Grafana's data source has no field for a timeout of statements, so that the login carries it.
\set ON_ERROR_STOP on
\getenv name GRAFANA_DB_USER
\getenv password GRAFANA_DB_PASSWORD
SELECT format('CREATE ROLE %I', :'name')
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'name') \gexec
ALTER ROLE :"name" LOGIN CONNECTION LIMIT 20 PASSWORD :'password';
GRANT market_data_reader TO :"name";
ALTER ROLE :"name" SET statement_timeout = '30s';
ALTER ROLE :"name" SET lock_timeout = '5s';
ALTER ROLE :"name" SET idle_in_transaction_session_timeout = '60s';
ALTER ROLE :"name" SET default_transaction_read_only = on;
