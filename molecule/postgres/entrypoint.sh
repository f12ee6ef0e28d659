#!/bin/sh
# As the official image: POSTGRES_USER, POSTGRES_PASSWORD and POSTGRES_DB make the database on the
# first start; the arguments are the server's command line.
set -eu

PATH=$(echo /usr/lib/postgresql/*/bin):$PATH
export PGDATA=/var/lib/postgresql/data
user=${POSTGRES_USER:-postgres}

if [ ! -e "$PGDATA/PG_VERSION" ]; then
    secret=$(mktemp)
    printf '%s\n' "$POSTGRES_PASSWORD" > "$secret"
    initdb --username="$user" --pwfile="$secret" --auth-host=scram-sha-256 --encoding=UTF8 \
        --locale=C.UTF-8 --no-sync > /dev/null
    rm "$secret"
    echo 'host all all all scram-sha-256' >> "$PGDATA/pg_hba.conf"
    # Nobody may connect before everything is there.
    pg_ctl --wait --options="-c listen_addresses=''" start > /dev/null
    if [ "${POSTGRES_DB:-$user}" != postgres ]; then
        createdb --username="$user" --maintenance-db=postgres "${POSTGRES_DB:-$user}"
    fi
    pg_ctl --wait stop > /dev/null
fi
exec "$@" -c listen_addresses='*'
