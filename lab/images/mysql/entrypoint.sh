#!/bin/bash
# Initialises a data folder that is empty, then becomes the server. Understands what the official
# image's entrypoint does: MYSQL_ROOT_PASSWORD, MYSQL_ALLOW_EMPTY_PASSWORD,
# MYSQL_RANDOM_ROOT_PASSWORD, MYSQL_ONETIME_PASSWORD, MYSQL_ROOT_HOST, MYSQL_DATABASE, MYSQL_USER,
# MYSQL_PASSWORD, MYSQL_INITDB_SKIP_TZINFO (the values also as NAME_FILE), and the files in
# /docker-entrypoint-initdb.d.
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

read_settings() {
    setting MYSQL_ROOT_PASSWORD
    setting MYSQL_ROOT_HOST %
    setting MYSQL_DATABASE
    setting MYSQL_USER
    setting MYSQL_PASSWORD
    : "${MYSQL_ALLOW_EMPTY_PASSWORD:=}" "${MYSQL_RANDOM_ROOT_PASSWORD:=}" "${MYSQL_ONETIME_PASSWORD:=}"
    : "${MYSQL_INITDB_SKIP_TZINFO:=}"
    if [ -z "$MYSQL_ROOT_PASSWORD$MYSQL_ALLOW_EMPTY_PASSWORD$MYSQL_RANDOM_ROOT_PASSWORD" ]; then
        die "root has no password: set one of MYSQL_ROOT_PASSWORD, MYSQL_ALLOW_EMPTY_PASSWORD, MYSQL_RANDOM_ROOT_PASSWORD"
    fi
    [ "$MYSQL_USER" != root ] || die "MYSQL_USER is for another account than root"
    if [ -n "$MYSQL_USER" ] && [ -z "$MYSQL_PASSWORD" ]; then
        die "MYSQL_USER is set without MYSQL_PASSWORD"
    fi
}

# option NAME FALLBACK ARGUMENT...: the value the server would use.
option() {
    local name=$1 fallback=$2 value
    shift 2
    value=$("$@" --verbose --help --log-bin-index="$(mktemp -u)" 2>/dev/null |
        awk -v name="$name" '$1 == name && /^[^ \t]/ { sub(/^[^ \t]+[ \t]+/, ""); print; exit }')
    printf '%s\n' "${value:-$fallback}"
}

client() {
    MYSQL_PWD='' mysql --defaults-file=<(printf '[client]\nuser=root\nsocket=%s\npassword="%s"\n' \
        "$socket" "${MYSQL_ROOT_PASSWORD//\"/\\\"}") --protocol=socket --comments "$@"
}

# text 'it''s': a string literal that holds whatever it is given.
literal() {
    local text=${1//\\/\\\\}
    printf "'%s'" "${text//\'/\'\'}"
}

# Reachable through the socket only: nobody can take it for the real one.
start_temporary() {
    "$@" --daemonize --skip-networking --mysqlx=OFF --default-time-zone=SYSTEM --socket="$socket" ||
        die "the temporary server did not start"
}

stop_temporary() {
    mysqladmin --defaults-file=<(printf '[client]\nuser=root\nsocket=%s\npassword="%s"\n' \
        "$socket" "${MYSQL_ROOT_PASSWORD//\"/\\\"}") --protocol=socket shutdown
}

set_up() {
    local password
    if [ -n "$MYSQL_RANDOM_ROOT_PASSWORD" ]; then
        MYSQL_ROOT_PASSWORD=$(head -c 24 /dev/urandom | base64 | tr '+/' 'ab')
        note "GENERATED ROOT PASSWORD: $MYSQL_ROOT_PASSWORD"
    fi
    password=$MYSQL_ROOT_PASSWORD
    # Root has none until this ran.
    MYSQL_ROOT_PASSWORD='' client mysql <<SQL
SET @@SESSION.SQL_LOG_BIN=0;
$(if [ "$MYSQL_ROOT_HOST" != localhost ]; then
        printf 'CREATE USER %s@%s IDENTIFIED BY %s;\n' "'root'" "$(literal "$MYSQL_ROOT_HOST")" "$(literal "$password")"
        printf 'GRANT ALL ON *.* TO %s@%s WITH GRANT OPTION;\n' "'root'" "$(literal "$MYSQL_ROOT_HOST")"
    fi)
ALTER USER 'root'@'localhost' IDENTIFIED BY $(literal "$password");
GRANT ALL ON *.* TO 'root'@'localhost' WITH GRANT OPTION;
FLUSH PRIVILEGES;
DROP DATABASE IF EXISTS test;
SQL
    if [ -z "$MYSQL_INITDB_SKIP_TZINFO" ]; then
        mysql_tzinfo_to_sql /usr/share/zoneinfo 2>/dev/null | client mysql
    fi
    if [ -n "$MYSQL_DATABASE" ]; then
        client <<<"CREATE DATABASE IF NOT EXISTS \`${MYSQL_DATABASE//\`/\`\`}\`;"
    fi
    if [ -n "$MYSQL_USER" ]; then
        client <<<"CREATE USER $(literal "$MYSQL_USER")@'%' IDENTIFIED BY $(literal "$MYSQL_PASSWORD");"
        if [ -n "$MYSQL_DATABASE" ]; then
            local pattern=${MYSQL_DATABASE//\`/\`\`}
            client <<<"GRANT ALL ON \`${pattern//_/\\_}\`.* TO $(literal "$MYSQL_USER")@'%';"
        fi
    fi
}

run_init_files() {
    local file
    local -a database=()
    [ -z "$MYSQL_DATABASE" ] || database=("--database=$MYSQL_DATABASE")
    for file in /docker-entrypoint-initdb.d/*; do
        case $file in
            *.sh)
                note "running $file"
                # shellcheck disable=SC1090
                if [ -x "$file" ]; then "$file"; else . "$file"; fi
                ;;
            *.sql) note "running $file"; client "${database[@]}" <"$file" ;;
            *.sql.gz) note "running $file"; gunzip -c "$file" | client "${database[@]}" ;;
            *.sql.xz) note "running $file"; xz -dc "$file" | client "${database[@]}" ;;
            *.sql.zst) note "running $file"; zstd -dc "$file" | client "${database[@]}" ;;
            '/docker-entrypoint-initdb.d/*') ;;
            *) note "not running $file: what it is is not known" ;;
        esac
    done
}

only_asks() {
    local argument
    for argument; do
        case $argument in
            -'?' | --help | --print-defaults | -V | --version) return 0 ;;
        esac
    done
    return 1
}

case ${1:-} in
    -*) set -- mysqld "$@" ;;
esac
if [ "${1:-}" = mysqld ] && ! only_asks "$@"; then
    data=$(option datadir /var/lib/mysql/ "$@")
    socket=$(option socket /var/run/mysqld/mysqld.sock "$@")
    if [ "$(id -u)" = 0 ]; then
        mkdir -p "$data" "$(dirname "$socket")"
        find "$data" "$(dirname "$socket")" \! -user mysql -exec chown mysql '{}' +
        exec setpriv --reuid=mysql --regid=mysql --init-groups --inh-caps=-all -- "$0" "$@"
    fi
    if [ ! -d "$data/mysql" ]; then
        read_settings
        note "initialising $data"
        "$@" --initialize-insecure --default-time-zone=SYSTEM
        start_temporary "$@"
        set_up
        run_init_files
        if [ -n "$MYSQL_ONETIME_PASSWORD" ]; then
            client <<<"ALTER USER 'root'@$(literal "$MYSQL_ROOT_HOST") PASSWORD EXPIRE;"
        fi
        stop_temporary
        unset MYSQL_ROOT_PASSWORD MYSQL_PASSWORD
        note "the database is initialised"
    fi
fi
exec "$@"
