#!/bin/sh
# Makes sure that the few system programs are there: installs them when run as root on Debian or Ubuntu, else says
# exactly what to type. With --tests also what only the tests use.
set -eu

missing=""
need() { # need PACKAGE TEST...
    package=$1
    shift
    "$@" >/dev/null 2>&1 || missing="$missing $package"
}
has() { PATH="$PATH:/usr/sbin:/sbin" command -v "$1"; }

need nftables has nft
need iproute2 has ip
need conntrack has conntrack
need python3-venv python3 -c 'import ensurepip'
if [ "${1:-}" = --tests ]; then
    need iputils-ping has ping
    need iptables has iptables
    need nodejs has node
    need npm has npm
    need util-linux has unshare
    need postgresql sh -c 'ls /usr/lib/postgresql/*/bin/initdb'
fi
[ -z "$missing" ] && exit 0

if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "Installing system packages:$missing" >&2
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq >/dev/null 2>&1 || true
    # shellcheck disable=SC2086  # the list is meant to split
    apt-get install -y -qq --no-install-recommends $missing >/dev/null
else
    echo "These system packages are missing. Please run, then try again:" >&2
    echo "  sudo apt-get install -y$missing" >&2
    exit 1
fi
