#!/bin/sh
# Runs tests in a Debian of its own: in a virtual machine with Debian's kernel, which has 802.1Q, VRF, netem and whatever
# else this machine's kernel may lack, and with systemd as its first process, which can start the services from their
# units. The disk is made once and kept beside the environment; what the tests write to it is thrown away. Arguments go
# to pytest; without any, the tests of 802.1Q at switches are run.
set -eu
cd "$(dirname "$0")/.."
PATH="$PATH:/usr/sbin:/sbin"
venv=${VENV:-.venv}
suite=bookworm python=3.11 # what the disk's Debian is, and the interpreter that it has
packages=systemd-sysv,dbus,linux-image-cloud-amd64,initramfs-tools,kmod,procps,python3-venv
packages=$packages,nftables,iproute2,conntrack,iptables,iputils-ping

skip() {
    echo "SKIPPED: make test-kernel cannot run here: $1" >&2
    exit 0
}

[ "$(uname -m)" = x86_64 ] || skip "the virtual machine is an x86-64 one"
for program in qemu-system-x86_64:qemu-system-x86 mmdebstrap:mmdebstrap mke2fs:e2fsprogs; do
    command -v "${program%:*}" >/dev/null || missing="${missing:-} ${program#*:}"
done
if [ -n "${missing:-}" ]; then
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || skip "please install (Debian's names):$missing"
    echo "Installing system packages:$missing" >&2
    apt-get update -qq >/dev/null 2>&1 || true
    # shellcheck disable=SC2086  # the list is meant to split
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null ||
        skip "these packages cannot be had:$missing"
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

# --- The disk: Debian, and what the tests and the services need in /opt/meetme -----------------------------------------

made_from=$({ echo "$suite $python $packages"; cat scripts/kernel/disk.sh requirements/dev.lock; } | sha256sum | cut -c1-16)
disk=$venv/kernel/$made_from
if [ ! -e "$disk/disk" ]; then
    [ "$(id -u)" = 0 ] || skip "the first run makes a disk, for which it has to be root"
    echo "Making the virtual machine's disk (some minutes, once) ..." >&2
    rm -rf "$venv/kernel"
    mkdir -p "$disk" "$work/wheels"
    "$venv/bin/pip" download --quiet --quiet --disable-pip-version-check --no-deps --require-hashes --only-binary :all: \
        --python-version "$python" --platform manylinux2014_x86_64 --platform manylinux_2_28_x86_64 \
        --dest "$work/wheels" --requirement requirements/dev.lock || skip "Python packages cannot be had"
    mmdebstrap --quiet --variant=apt --include="$packages" \
        --customize-hook="scripts/kernel/disk.sh \"\$1\" '$work/wheels' '$disk'" "$suite" - >/dev/null ||
        { [ ! -e "$disk/debian" ] && skip "Debian's packages cannot be had"; exit 1; }
fi

# --- The project: what is tested, as the wheel that people install ------------------------------------------------------

mkdir "$work/project"
"$venv/bin/pip" wheel --quiet --quiet --disable-pip-version-check --no-deps --wheel-dir "$work/project" .
cp -r tests packaging scripts examples pyproject.toml "$work/project"
find "$work/project" -name __pycache__ -prune -exec rm -rf {} +
for word in "$@"; do printf '%s\n' "$word"; done >"$work/project/arguments"
if [ -t 1 ]; then echo yes; else echo no; fi >"$work/project/colour"
truncate -s 200M "$work/project.ext4"
mke2fs -q -F -t ext4 -L project -d "$work/project" "$work/project.ext4"

# --- The machine ---------------------------------------------------------------------------------------------------------

# Not every machine that has /dev/kvm can really use it: one without a processor's help for it hangs.
if [ -w /dev/kvm ] && grep -q -w -E 'vmx|svm' /proc/cpuinfo; then how="kvm -cpu host"; else how="tcg,thread=multi -cpu max"; fi
# shellcheck disable=SC2086  # the accelerator and its option
timeout --foreground "${KERNEL_TEST_SECONDS:-1800}" qemu-system-x86_64 -accel $how -m 2G -smp 2 -nic none -display none \
    -no-reboot -monitor none -serial stdio -kernel "$disk/kernel" -initrd "$disk/initrd" \
    -drive "file=$disk/disk,if=virtio,format=raw,snapshot=on" \
    -drive "file=$work/project.ext4,if=virtio,format=raw,snapshot=on" \
    -append "console=ttyS0 root=/dev/vda rw quiet loglevel=3 panic=-1 systemd.show_status=0 net.ifnames=0 systemd.default_timeout_start_sec=1800 systemd.unit=meetme-tests.service" \
    </dev/null 2>&1 | sed -u 's/\r//g' | tee "$work/log"
grep -q "^tests in Linux .* ended with 0$" "$work/log"
