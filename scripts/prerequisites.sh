#!/bin/sh
# Installs the database servers a lab without containers needs, where they are missing; with
# VAULTLAB_REQUIRE_DOCKER=1 also what the tests with containers need, and with
# VAULTLAB_REQUIRE_FAKETIME=1 what those of a clock that is set do.
# Debian and its kin, as root or through sudo; elsewhere it says what to install.
set -eu

have() {
    for program in "$@"; do
        command -v "$program" >/dev/null 2>&1 && return 0
        for folder in /usr/sbin /usr/local/sbin /usr/lib/postgresql/*/bin /usr/pgsql-*/bin \
            /opt/homebrew/opt/*/bin /usr/local/opt/*/bin; do
            [ -x "$folder/$program" ] && return 0
        done
    done
    return 1
}

missing=""
have postgres || missing="$missing postgresql"
have mariadbd mysqld || missing="$missing mariadb-server"
# For the tests that CI requires: a registry to pull from, an engine behind ssh, and another engine.
if [ -n "${VAULTLAB_REQUIRE_DOCKER:-}" ]; then
    have docker-registry || missing="$missing docker-registry"
    have sshd || missing="$missing openssh-server"
    have podman || missing="$missing podman netavark aardvark-dns"
fi
# A clock that can be set, for the tests of that.
[ -z "${VAULTLAB_REQUIRE_FAKETIME:-}" ] || ls /usr/lib/*/faketime/libfaketimeMT.so.1 >/dev/null 2>&1 ||
    missing="$missing libfaketime"
# Crates that build C need a compiler.
command -v cc >/dev/null 2>&1 || missing="$missing gcc libc6-dev"
[ -n "$missing" ] || exit 0

if ! command -v apt-get >/dev/null 2>&1; then
    echo "missing:$missing" >&2
    echo "Install them with your package manager (Homebrew: brew install postgresql@17 mariadb)." >&2
    exit 1
fi
if [ "$(id -u)" = 0 ]; then sudo=""; else sudo="sudo"; fi
echo "installing:$missing"
# The servers are run by vaultlab, each lab its own: the distribution must not start its own one.
policy=/usr/sbin/policy-rc.d
made_policy=""
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' | $sudo tee "$policy" >/dev/null
    $sudo chmod 0755 "$policy"
    made_policy=1
fi
trap '[ -z "$made_policy" ] || $sudo rm -f "$policy"' EXIT
$sudo env DEBIAN_FRONTEND=noninteractive apt-get -q update
# shellcheck disable=SC2086
$sudo env DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-install-recommends install $missing
