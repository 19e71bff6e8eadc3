#!/bin/sh
# Runs the live tests of the fabric driver in another kernel than the machine's: Debian's user-mode Linux, an ordinary
# process that has 802.1Q and whatever else this machine's kernel may lack. The root file system is the machine's own,
# read-only. Arguments go to pytest; without any, all tests of the fabric are run.
set -eu
cd "$(dirname "$0")/.."
PATH="$PATH:/usr/sbin:/sbin"

if [ "${1:-}" = --inside ]; then # as the first process of that kernel
    shift
    mount -t proc proc /proc
    mount -t sysfs sysfs /sys
    mount -t tmpfs tmpfs /run
    mount -t tmpfs tmpfs /dev/shm 2>/dev/null || true
    # The kernel loads its modules by itself, from where Debian has them.
    mkdir -p /run/kernel/lib /run/home
    ln -s /usr/lib/uml/modules /run/kernel/lib/modules
    printf '#!/bin/sh\nexec %s -d /run/kernel "$@"\n' "$(command -v modprobe)" >/run/kernel/modprobe
    chmod +x /run/kernel/modprobe
    echo /run/kernel/modprobe >/proc/sys/kernel/modprobe
    for module in af_packet unix veth bridge 8021q vxlan sch_tbf; do /run/kernel/modprobe -q "$module" || true; done
    ip link set lo up
    export HOME=/run/home TMPDIR=/run PYTHONDONTWRITEBYTECODE=1
    status=0
    .venv/bin/python -m pytest -p no:cacheprovider "$@" || status=$?
    echo "tests in Linux $(uname -r) ended with $status"
    echo o >/proc/sysrq-trigger
    sleep 10
fi

if ! command -v linux.uml >/dev/null || ! command -v modprobe >/dev/null; then
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        echo "Please install Debian's packages user-mode-linux and kmod, then try again." >&2
        exit 1
    fi
    apt-get update -qq >/dev/null || true
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends user-mode-linux kmod >/dev/null
fi

[ $# -gt 0 ] || set -- tests/live/test_fabric.py tests/live/test_fabric_vlan.py tests/live/test_fabric_life.py
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
printf '#!/bin/sh\nPATH="%s"\nexport PATH\nexec "%s/scripts/test-kernel.sh" --inside' "$PATH" "$PWD" >"$work/init"
for word in "$@"; do printf " '%s'" "$word" >>"$work/init"; done
chmod +x "$work/init"
linux.uml mem=1G rootfstype=hostfs hostfs=/ ro quiet con=null con0=null,fd:1 "init=$work/init" \
    </dev/null >"$work/log" 2>&1 &
tail --pid=$! -n +1 -f "$work/log"
grep -q "ended with 0" "$work/log"
