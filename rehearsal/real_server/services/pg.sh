#!/bin/bash
# As the official image: the environment acts on an empty data directory only.
set -euo pipefail
[[ $1 == postgres ]] || exec "$@"
if [[ $(id -u) == 0 ]]; then
  mkdir -p "$PGDATA" /run/postgresql
  chown postgres "$PGDATA" /run/postgresql
  chmod 700 "$PGDATA"
  exec gosu postgres bash "$0" "$@"
fi
if [[ ! -s $PGDATA/PG_VERSION ]]; then
  : "${POSTGRES_PASSWORD:?Database is uninitialized and superuser password is not specified}"
  initdb --username="$POSTGRES_USER" --pwfile=<(printf '%s\n' "$POSTGRES_PASSWORD") >/dev/null
  echo 'host all all all scram-sha-256' >>"$PGDATA/pg_hba.conf"
  # On the socket only: nobody gets in before it is initialised.
  pg_ctl -o "-c listen_addresses=''" -w start
  psql --username "$POSTGRES_USER" -d postgres -c "CREATE DATABASE \"$POSTGRES_DB\""
  pg_ctl -m fast -w stop
fi
exec postgres -c listen_addresses='*'
