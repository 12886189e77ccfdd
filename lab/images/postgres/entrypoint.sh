#!/bin/bash
# Initialises a data folder that is empty, then becomes the server. Understands what the official
# image's entrypoint does: POSTGRES_PASSWORD, POSTGRES_USER, POSTGRES_DB, POSTGRES_INITDB_ARGS,
# POSTGRES_INITDB_WALDIR, POSTGRES_HOST_AUTH_METHOD (each also as NAME_FILE), PGDATA,
# and the files in /docker-entrypoint-initdb.d.
set -euo pipefail

note() { printf '%s [entrypoint] %s\n' "$(date -u +%FT%TZ)" "$*"; }
die() { note "ERROR: $*" >&2; exit 1; }

# setting NAME [DEFAULT]: the variable NAME, or the content of the file that NAME_FILE names.
setting() {
    local name=$1 file="$1_FILE" value=${2:-}
    if [ -n "${!name:-}" ] && [ -n "${!file:-}" ]; then
        die "both $name and $file are set; only one of them can be meant"
    fi
    if [ -n "${!name:-}" ]; then
        value=${!name}
    elif [ -n "${!file:-}" ]; then
        value=$(<"${!file}")
    fi
    export "$name=$value"
    unset "$file"
}

own_folders() {
    mkdir -p "$PGDATA" /var/run/postgresql
    chmod 0700 "$PGDATA"
    chmod 3777 /var/run/postgresql
    find "$PGDATA" /var/run/postgresql \! -user postgres -exec chown postgres '{}' +
    if [ -n "${POSTGRES_INITDB_WALDIR:-}" ]; then
        mkdir -p "$POSTGRES_INITDB_WALDIR"
        find "$POSTGRES_INITDB_WALDIR" \! -user postgres -exec chown postgres '{}' +
    fi
}

read_settings() {
    setting POSTGRES_PASSWORD
    setting POSTGRES_USER postgres
    setting POSTGRES_DB "$POSTGRES_USER"
    setting POSTGRES_INITDB_ARGS
    : "${POSTGRES_HOST_AUTH_METHOD:=}"
}

make_cluster() {
    if [ -z "$POSTGRES_PASSWORD" ] && [ "$POSTGRES_HOST_AUTH_METHOD" != trust ]; then
        die "the superuser has no password: set POSTGRES_PASSWORD (or POSTGRES_HOST_AUTH_METHOD=trust, with which everybody may do everything)"
    fi
    local -a waldir=()
    [ -z "${POSTGRES_INITDB_WALDIR:-}" ] || waldir=(--waldir "$POSTGRES_INITDB_WALDIR")
    # Its arguments are words of a shell, as in the official image.
    eval 'initdb --username="$POSTGRES_USER" --pwfile=<(printf "%s\n" "$POSTGRES_PASSWORD") "${waldir[@]}" '"$POSTGRES_INITDB_ARGS"
    local method=$POSTGRES_HOST_AUTH_METHOD
    [ -n "$method" ] || method=$(postgres -C password_encryption -D "$PGDATA")
    printf '\nhost all all all %s\n' "$method" >>"$PGDATA/pg_hba.conf"
}

# Reachable through the socket only: nobody can take it for the real one.
temporary_server() {
    local verb=$1
    shift
    if [ "$verb" = stop ]; then
        pg_ctl -D "$PGDATA" -m fast -w stop
        return
    fi
    [ "${1:-}" != postgres ] || shift
    set -- "$@" -c listen_addresses='' -p "${PGPORT:-5432}"
    NOTIFY_SOCKET='' pg_ctl -D "$PGDATA" -o "$(printf '%q ' "$@")" -w start
}

sql() {
    local -a database=(--dbname "$POSTGRES_DB")
    [ "${1:-}" != --maintenance ] || { database=(--dbname postgres); shift; }
    PGHOST='' PGHOSTADDR='' PGPASSWORD="$POSTGRES_PASSWORD" \
        psql -v ON_ERROR_STOP=1 --no-psqlrc --no-password --username "$POSTGRES_USER" "${database[@]}" "$@"
}

make_database() {
    local there
    there=$(sql --maintenance --set db="$POSTGRES_DB" --tuples-only <<<"SELECT 1 FROM pg_database WHERE datname = :'db'")
    [ -n "$there" ] || sql --maintenance --set db="$POSTGRES_DB" <<<'CREATE DATABASE :"db"'
}

run_init_files() {
    local file
    for file in /docker-entrypoint-initdb.d/*; do
        case $file in
            *.sh)
                note "running $file"
                # shellcheck disable=SC1090
                if [ -x "$file" ]; then "$file"; else . "$file"; fi
                ;;
            *.sql) note "running $file"; sql -f "$file" ;;
            *.sql.gz) note "running $file"; gunzip -c "$file" | sql ;;
            *.sql.xz) note "running $file"; xz -dc "$file" | sql ;;
            *.sql.zst) note "running $file"; zstd -dc "$file" | sql ;;
            '/docker-entrypoint-initdb.d/*') ;;
            *) note "not running $file: what it is is not known" ;;
        esac
    done
}

only_asks() {
    local argument
    for argument; do
        case $argument in
            -'?' | --help | --describe-config | -V | --version) return 0 ;;
        esac
    done
    return 1
}

case ${1:-} in
    -*) set -- postgres "$@" ;;
esac
if [ "${1:-}" = postgres ] && ! only_asks "$@"; then
    if [ "$(id -u)" = 0 ]; then
        own_folders
        exec setpriv --reuid=postgres --regid=postgres --init-groups --inh-caps=-all -- "$0" "$@"
    fi
    if [ ! -s "$PGDATA/PG_VERSION" ]; then
        mkdir -p "$PGDATA"
        chmod 0700 "$PGDATA" || true
        read_settings
        make_cluster
        temporary_server start "$@"
        make_database
        run_init_files
        temporary_server stop
        unset POSTGRES_PASSWORD
        note "the database is initialised"
    fi
fi
exec "$@"
