#!/bin/sh
# Called by mmdebstrap when Debian is installed in ROOT: puts the wheels into an environment there, and everything onto a
# disk. disk.sh ROOT WHEELS DISK
set -eu
root=$1 wheels=$2 disk=$3

: >"$disk/debian" # that much can be had
cp -r "$wheels" "$root/wheels"
chroot "$root" python3 -m venv /opt/meetme
chroot "$root" sh -c '/opt/meetme/bin/pip install --quiet --no-index --no-deps /wheels/*.whl'
rm -rf "$root/wheels" "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/*.bin

mkdir "$root/project"
echo machine >"$root/etc/hostname"
cat >"$root/etc/systemd/system/meetme-tests.service" <<'UNIT'
[Unit]
Description=The tests, after which the machine is switched off
Requires=basic.target
After=basic.target dbus.service
Wants=dbus.service
SuccessAction=poweroff-force
FailureAction=poweroff-force

[Service]
Type=oneshot
# Not by /etc/fstab: a machine that is emulated on a busy one takes longer to find a disk than systemd waits for it.
ExecStart=/bin/sh -c 'mount /dev/vdb /project && exec sh /project/scripts/kernel/inside.sh'
StandardOutput=tty
StandardError=tty
TTYPath=/dev/ttyS0
UNIT

cp "$root"/boot/vmlinuz-* "$disk/kernel"
cp "$root"/boot/initrd.img-* "$disk/initrd"
rm "$root"/boot/*-*
# Seen from elsewhere, it is without what is mounted in it (/proc, /sys).
mkdir "$disk/root"
mount --bind "$root" "$disk/root"
status=0
truncate -s 3G "$disk/making"
mke2fs -q -F -t ext4 -O ^has_journal -d "$disk/root" "$disk/making" || status=$?
umount "$disk/root"
rmdir "$disk/root"
[ $status = 0 ] || exit $status
mv "$disk/making" "$disk/disk"
