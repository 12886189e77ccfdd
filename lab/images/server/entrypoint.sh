#!/bin/bash
# Runs the server as the user `vault` on /vault/config, with VAULT_LOCAL_CONFIG (JSON) as
# one more file in it. Unlike the official image there is no dev mode: `server` needs a configuration.
set -euo pipefail

case ${1:-} in
    -*) set -- server "$@" ;;
esac
if [ "${1:-}" = server ]; then
    shift
    if [ -n "${VAULT_LOCAL_CONFIG:-}" ]; then
        printf '%s\n' "$VAULT_LOCAL_CONFIG" >/vault/config/local.json
    fi
    set -- "$SERVER_PROGRAM" server -config=/vault/config "$@"
    export VAULT_ADDR=${VAULT_ADDR:-http://127.0.0.1:8200} HOME=/vault
    if [ "$(id -u)" = 0 ]; then
        [ -n "${SKIP_CHOWN:-}" ] || chown -R vault:vault /vault/config /vault/file /vault/logs 2>/dev/null || true
        set -- setpriv --reuid=vault --regid=vault --init-groups --inh-caps=-all -- "$@"
    fi
fi
exec "$@"
