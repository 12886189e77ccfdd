#!/bin/bash
# Builds stand-ins for the official images out of distribution packages: no registry is needed,
# only a Debian mirror. See README.md beside this file.
#
# usage: build.sh [postgres] [mysql] [server] [vault]     (without arguments: the first three)
#
# An image that is there and was made from the same files is left alone: nothing is fetched then.
set -euo pipefail
# Programs are named from where this is called.
if [ -n "${VAULTLAB_PROGRAM:-}" ]; then VAULTLAB_PROGRAM=$(realpath "$VAULTLAB_PROGRAM"); fi
if [ -n "${VAULTLAB_VAULT_BIN:-}" ]; then VAULTLAB_VAULT_BIN=$(realpath "$VAULTLAB_VAULT_BIN"); fi
cd "$(dirname "$0")"

# PostgreSQL 15 is in Debian 12; MySQL itself (not MariaDB) is only in unstable.
postgres_suite=bookworm
mysql_suite=sid

docker=${DOCKER:-docker}

say() { printf '==> %s\n' "$*"; }
fail() { printf '%s\n' "$*" >&2; exit 1; }

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

# The mirror this machine's own packages come from, else Debian's public one.
# VAULTLAB_DEBIAN_MIRROR names another.
mirror() {
    local found=
    if command -v apt-get >/dev/null; then
        found=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' \
            2>/dev/null | grep -E '^https?://.*/debian/?$' | head -n 1) || true
    fi
    found=${VAULTLAB_DEBIAN_MIRROR:-${found:-http://deb.debian.org/debian}}
    printf '%s\n' "${found%/}"
}

need_debootstrap() {
    command -v debootstrap >/dev/null && return
    [ -x /usr/sbin/debootstrap ] && return
    command -v apt-get >/dev/null || fail "debootstrap is needed: install it with your package manager"
    say "installing debootstrap"
    as_root apt-get -q update
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-install-recommends install \
        debootstrap debian-archive-keyring
}

# base SUITE: makes the image vaultlab/debian:SUITE unless it is there.
base() {
    local suite=$1 tag="vaultlab/debian:$1" folder mirror
    if "$docker" image inspect "$tag" >/dev/null 2>&1; then return; fi
    need_debootstrap
    mirror=$(mirror)
    say "$tag from $mirror"
    folder=$(mktemp -d "${TMPDIR:-/tmp}/vaultlab-base.XXXXXX")
    # shellcheck disable=SC2064
    trap "as_root rm -rf '$folder'" EXIT
    as_root env PATH="$PATH:/usr/sbin:/sbin" debootstrap --variant=minbase "$suite" "$folder/root" "$mirror" \
        >"$folder/log" || { tail -n 20 "$folder/log" >&2; fail "debootstrap of $suite failed"; }
    # Unstable's Release file may be older than the date it claims to be valid until.
    printf 'Acquire::Check-Valid-Until "false";\nAcquire::Retries "5";\n' |
        as_root tee "$folder/root/etc/apt/apt.conf.d/10vaultlab" >/dev/null
    as_root rm -rf "$folder"/root/var/lib/apt/lists/* "$folder"/root/var/cache/apt/*.bin \
        "$folder"/root/var/cache/apt/archives/*.deb
    as_root tar -C "$folder/root" --numeric-owner -c . |
        "$docker" import --change 'CMD ["bash"]' - "$tag" >/dev/null
    as_root rm -rf "$folder"
    trap - EXIT
}

# build TAG FOLDER ARGUMENT...: an image labelled with the digest of what it is made from.
build() {
    local tag=$1 folder=$2 recipe log
    shift 2
    recipe=$({ (cd "$folder" && sha256sum -- *) && printf '%s\n' "$@"; } | sha256sum | cut -d ' ' -f 1)
    if [ "$("$docker" image inspect -f '{{index .Config.Labels "dev.vaultlab.recipe"}}' "$tag" 2>/dev/null)" = "$recipe" ]; then
        say "$tag is there"
        return
    fi
    say "$tag"
    if ! log=$("$docker" build --tag "$tag" --label "dev.vaultlab.recipe=$recipe" "$@" "$folder" 2>&1); then
        printf '%s\n' "$log" | tail -n 40 >&2
        fail "the image $tag could not be built"
    fi
}

# Packages are fetched over the host's own network: it is known to reach the mirror.
build_postgres() {
    base "$postgres_suite"
    build vaultlab/postgres:15 postgres --network host --build-arg "BASE=vaultlab/debian:$postgres_suite"
}

build_mysql() {
    base "$mysql_suite"
    build vaultlab/mysql:9 mysql --network host --build-arg "BASE=vaultlab/debian:$mysql_suite"
}

# This program, as an image that takes the place of hashicorp/vault and openbao/openbao.
build_server() {
    local program=${VAULTLAB_PROGRAM:-../../target/release/vaultlab}
    if [ -z "${VAULTLAB_PROGRAM:-}" ]; then
        say "cargo build --release"
        (cd ../.. && ${CARGO:-cargo} build --quiet --release --bin vaultlab)
    fi
    [ -x "$program" ] || fail "$program is not there: build it, or name one with VAULTLAB_PROGRAM"
    build_program vaultlab/server:latest server vaultlab "$program"
}

# A `vault` or `bao` of this machine, named by VAULTLAB_VAULT_BIN.
build_vault() {
    local program=${VAULTLAB_VAULT_BIN:?names the program to put into vaultlab/vault}
    case $("$program" version) in
        OpenBao*) build_program vaultlab/openbao:latest openbao bao "$program" ;;
        *) build_program vaultlab/vault:latest vault vault "$program" ;;
    esac
}

# build_program TAG IMAGE NAME PROGRAM
build_program() {
    local folder suite version
    version=$("$4" --version 2>/dev/null | grep -oE '[0-9]+\.[0-9]+\.[0-9]+[^ ]*' | head -n 1) || true
    suite=$(suite_for "$4")
    base "$suite"
    folder=$(mktemp -d "${TMPDIR:-/tmp}/vaultlab-server.XXXXXX")
    # shellcheck disable=SC2064
    trap "rm -rf '$folder'" EXIT
    cp server/Dockerfile server/entrypoint.sh "$folder"
    # Without what only a debugger reads: in a debug build, most of it.
    if ! strip -o "$folder/program" "$4" 2>/dev/null; then cp "$4" "$folder/program"; fi
    chmod 0755 "$folder/program"
    build "$1" "$folder" --build-arg "BASE=vaultlab/debian:$suite" --build-arg "IMAGE=$2" \
        --build-arg "PROGRAM=$3" --build-arg "VERSION=${version:-unknown}"
    rm -rf "$folder"
    trap - EXIT
}

# A program linked against a newer C library than Debian 12's needs a newer base.
suite_for() {
    local needs
    needs=$({ grep -ao 'GLIBC_2\.[0-9]*' "$1" || true; } | sort -Vu | tail -n 1 | sed 's/GLIBC_2\.//')
    if [ "${needs:-0}" -le 36 ]; then echo bookworm; else echo sid; fi
}

"$docker" version >/dev/null 2>&1 || fail "no Docker engine answers \`$docker version\`: start it, or set DOCKER_HOST"
[ $# -gt 0 ] || set -- postgres mysql server
for image in "$@"; do
    case $image in
        postgres | mysql | server | vault) "build_$image" ;;
        *) fail "there is no image $image here; there are postgres, mysql, server, vault" ;;
    esac
done
"$docker" image ls --filter label=dev.vaultlab.image --format '{{.Repository}}:{{.Tag}}	{{.Size}}'
