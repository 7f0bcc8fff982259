#!/bin/sh
# Writes docker/.env with a random password for every secret that docker-compose.yml asks for and the file lacks.
# What the file has is left as it is: the database keeps the passwords it was made with.
set -eu
cd "$(dirname "$0")"
umask 077

random() {
    od -An -N24 -tx1 /dev/urandom | tr -d ' \n'  # hexadecimal: safe inside an address
}

if [ ! -e .env ]; then
    {
        echo "# Secrets of this machine, made by docker/env.sh; never to be committed. docker/.env.example lists what else"
        echo "# can be set. The database keeps the passwords it was made with: keep this file with its volume."
        echo "SERVE_OPTIONS=--sample"
    } > .env
    echo "wrote docker/.env with new passwords"
fi
for name in POSTGRES_PASSWORD MARKET_DATA_PASSWORD GRAFANA_DB_PASSWORD GRAFANA_ADMIN_PASSWORD; do
    grep -q "^$name=" .env || echo "$name=$(random)" >> .env
done
