#!/usr/bin/env bash
# The tour of docker/docker-compose.yml, where a Docker engine answers: build, start, migrate, import, ask the API and
# Grafana, look at what is published and who runs, restart, the same through PgBouncer, take everything away again.
# A project, ports and secrets of its own: what `make up` started is not touched. Says what it does; ends at the first
# thing that is wrong.
set -euo pipefail
cd "$(dirname "$0")/../.."
export API_PORT="${API_PORT:-18000}" GRAFANA_PORT="${GRAFANA_PORT:-13000}" PGBOUNCER_PORT="${PGBOUNCER_PORT:-16432}"
export COMPOSE_PROJECT_NAME="market-data-tour-$$" COMPOSE_PROFILES=""
PYTHON="${PYTHON:-python3}"
scratch="$(mktemp -d)"
umask 077
for name in POSTGRES_PASSWORD MARKET_DATA_PASSWORD GRAFANA_DB_PASSWORD GRAFANA_ADMIN_PASSWORD; do
    echo "$name=$(od -An -N24 -tx1 /dev/urandom | tr -d ' \n')"
done > "$scratch/env"
echo "SERVE_OPTIONS=--sample" >> "$scratch/env"

compose() { docker compose --env-file "$scratch/env" --file docker/docker-compose.yml "$@"; }
say() { printf '== %s\n' "$*"; }
fail() { echo "wrong: $*" >&2; exit 1; }
secret() { sed -n "s/^$1=//p" "$scratch/env"; }
api() { curl --silent --show-error --fail "http://127.0.0.1:$API_PORT$1"; }
# The password goes in by stdin: an argument could be seen by others.
grafana() {
    printf 'user = "admin:%s"\n' "$(secret GRAFANA_ADMIN_PASSWORD)" |
        curl --silent --show-error --fail --config - "http://127.0.0.1:$GRAFANA_PORT$1"
}
# Reads JSON on stdin, as `answer`; prints an expression's value.
value() { "$PYTHON" -c "import json, sys; answer = json.load(sys.stdin); print($1)"; }
sql() { compose exec -T db psql --username=market_data --dbname=market_data --no-psqlrc -At --command "$1"; }

finish() {
    local result=$?
    if ((result)); then
        compose ps --all || true
        compose logs --tail=60 || true
    fi
    compose --profile '*' down --volumes --remove-orphans > /dev/null 2>&1 || true
    rm -rf "$scratch"
    exit "$result"
}
trap finish EXIT

say "no start without secrets"
if docker compose --env-file /dev/null --file docker/docker-compose.yml config --quiet 2> "$scratch/refused"; then
    fail "it takes missing secrets"
fi
grep -q "make up" "$scratch/refused" || fail "$(cat "$scratch/refused")"

say "build and start"
compose build --quiet
compose up --detach --wait --wait-timeout 600

say "migrated, by a role that is no superuser, on TimescaleDB"
[ "$(docker inspect --format '{{.State.ExitCode}}' "$(compose ps --all --quiet migrate)")" = 0 ] || fail "migrate"
[ "$(sql "SELECT rolsuper FROM pg_roles WHERE rolname = current_user")" = f ] || fail "superuser"
[ -n "$(sql "SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'")" ] || fail "no TimescaleDB"
[ "$(sql "SHOW timescaledb.telemetry_level")" = off ] || fail "telemetry"

say "the sample, and a file"
[ "$(api '/api/v1/prices?symbols=EURUSD&interval=1d&start=2024-01-02&end=2024-01-03' |
    value 'answer["data"][0]["close"]')" = 1.0956 ] || fail "sample"
printf 'Date,Open,High,Low,Close,Volume\n2024-01-02,10,10.5,9.9,10.4,1200\n' |
    compose exec -T api market-data import - --symbol ACME --interval 1d --exchange XNYS --asset-class equity \
        --currency USD
acme() { api '/api/v1/prices?symbols=ACME&interval=1d' | value 'answer["data"][0]["close"]'; }
[ "$(acme)" = 10.4 ] || fail "import"
compose exec -T api market-data db info

say "Grafana: its health, its data source, its dashboards"
[ "$(grafana /api/health | value 'answer["database"]')" = ok ] || fail "Grafana"
for uid in $(grafana /api/datasources | value '" ".join(one["uid"] for one in answer)'); do
    [ "$(grafana "/api/datasources/uid/$uid/health" | value 'answer["status"]')" = OK ] || fail "data source $uid"
    echo "data source $uid: OK"
done
files="$(find grafana/dashboards -name '*.json' | wc -l)"
shown="$(grafana '/api/search?type=dash-db&limit=1000' | value 'len(answer)')"
[ "$shown" -eq "$files" ] || fail "$shown dashboards of $files"
echo "$shown dashboards"

say "published on 127.0.0.1 only; confined"
for id in $(compose ps --all --quiet); do
    bindings="$(docker inspect --format '{{json .HostConfig.PortBindings}}' "$id")"
    [ "$(value '{b["HostIp"] for bs in (answer or {}).values() for b in bs} - {"127.0.0.1"}' <<< "$bindings")" = "set()" ] ||
        fail "published: $bindings"
done
[ "$(compose exec -T api id -u)" = 10001 ] || fail "the API runs as $(compose exec -T api id -u)"
if compose exec -T api touch /opt/market-data/x 2> /dev/null; then fail "the API may write to its image"; fi
if compose logs --no-color 2>&1 | grep -qF -e "$(secret POSTGRES_PASSWORD)" -e "$(secret MARKET_DATA_PASSWORD)" \
    -e "$(secret GRAFANA_DB_PASSWORD)" -e "$(secret GRAFANA_ADMIN_PASSWORD)"; then fail "a secret is in the logs"; fi

say "data outlives the containers"
compose down
compose up --detach --wait --wait-timeout 600
[ "$(acme)" = 10.4 ] || fail "lost data"

say "through PgBouncer"
COMPOSE_PROFILES=pgbouncer API_DATABASE_HOST=pgbouncer compose up --detach --wait --wait-timeout 600
[ "$(acme)" = 10.4 ] || fail "PgBouncer"

say "done"
