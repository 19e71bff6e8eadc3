#!/bin/sh
# Makes sure that the few system programs are there: installs them when run as root on Debian or Ubuntu, else says
# exactly what to type. With --tests also what only the tests use. PYTHON: the interpreter that the Makefile will use.
set -eu
# An ordinary user's PATH on Debian has no sbin, where nft and conntrack are.
PATH="$PATH:/usr/sbin:/sbin"
python=${PYTHON:-python3}

missing=""
need() { # need PACKAGE TEST...
    package=$1
    shift
    "$@" >/dev/null 2>&1 || missing="$missing $package"
}
has() { command -v "$1"; }

need nftables has nft
need iproute2 has ip
need conntrack has conntrack
# Debian's python3 has the module venv, but not what puts pip into a new environment. The package that has it brings the
# interpreter too, and is called as that is: python3-venv, python3.12-venv.
need "${python##*/}-venv" "$python" -c 'import ensurepip, venv'
if [ "${1:-}" = --tests ]; then
    need chromium has chromium
    need iputils-ping has ping
    need iptables has iptables
    need nodejs has node
    need npm has npm
    need util-linux has unshare
    need frr test -x /usr/lib/frr/zebra
    need postgresql sh -c 'ls /usr/lib/postgresql/*/bin/initdb'
fi
[ -z "$missing" ] && exit 0

if ! has apt-get >/dev/null; then
    echo "These programs are missing; install them with what your system has for it (the names are Debian's):$missing" >&2
    exit 1
fi
if [ "$(id -u)" != 0 ]; then
    echo "These system packages are missing. Please run, then try again:" >&2
    if has sudo >/dev/null; then
        echo "  sudo sh -c 'apt-get update && apt-get install -y$missing'" >&2
    else
        echo "  su -c 'apt-get update && apt-get install -y$missing'" >&2
    fi
    exit 1
fi
echo "Installing system packages:$missing" >&2
export DEBIAN_FRONTEND=noninteractive
# The lists may never have been fetched, or name versions that are gone. Without a network the old ones may still do.
apt-get update -qq >/dev/null || true
# shellcheck disable=SC2086  # the list is meant to split
apt-get install -y -qq --no-install-recommends $missing >/dev/null
