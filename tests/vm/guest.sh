#!/bin/sh
# Makes the guest of the VM tests: guest.sh ROOT OUT -> OUT/vmlinuz, OUT/initrd.img and OUT/initrd-small.img. Called by root.sh.
#
# The initramfs is everything the guest has: busybox, kernel modules unpacked, the heartbeat, and `init`, which takes commands from
# the test; the larger one also nvme-cli, fio and e2fsprogs with their libraries. It is not compressed: under an emulated processor, unpacking costs more
# than reading.
set -e
here=$(cd "$(dirname "$0")" && pwd)
root=$1 out=$2
tree=$out/tree
kernel=$(echo "$root"/kernel/usr/lib/modules/* "$root"/kernel/lib/modules/* | tr ' ' '\n' | grep -v '\*' | tail -1)
libs=$root/lib/x86_64-linux-gnu:$root/usr/lib/x86_64-linux-gnu:$root/usr/lib/x86_64-linux-gnu/ceph

die() { echo "vm guest: $*" >&2; exit 1; }

program() { # PATH-IN-ROOT: the program and what it is linked with
	[ -e "$root/$1" ] || die "$root/$1 is missing"
	cp -L "$root/$1" "$tree/bin/"
	"$root/lib64/ld-linux-x86-64.so.2" --library-path "$libs" --list "$root/$1" >"$out/libs" || die "$1: $(grep 'not found' "$out/libs")"
	sed -n 's/.*=> \(\/[^ ]*\).*/\1/p' "$out/libs" | while read -r l; do
		cp -nL "$l" "$tree/lib/" # all libraries in one folder: fewer places to look
	done
}

module() { # NAME...: with what they depend on, in order, those that this kernel has as files
	for m in "$@"; do
		f=$(find "$kernel/kernel" -name "$m.ko*" | head -1)
		[ -n "$f" ] || continue
		case $f in
		*.xz) xz -dc "$f" ;;
		*.zst) zstd -qdc "$f" ;;
		*) cat "$f" ;;
		esac >"$tree/modules/$m.ko"
		# A shell of its own keeps our variables ours.
		(for d in $(depends "$tree/modules/$m.ko"); do module "$d"; done)
		grep -qx "$m.ko" "$tree/modules.load" || echo "$m.ko" >>"$tree/modules.load"
	done
}

depends() { # FILE.ko
	tr '\0' '\n' <"$1" | LC_ALL=C sed -n 's/^depends=//p' | tr ',' '\n' | tr - _ | while read -r d; do
		[ -z "$d" ] || find "$kernel/kernel" -name '*.ko*' | sed 's,.*/,,; s/\.ko.*//' | while read -r n; do
			[ "$(echo "$n" | tr - _)" != "$d" ] || echo "$n"
		done
	done
}

pack() { # NAME
	(cd "$tree" && find . | LC_ALL=C sort |
		"$root/lib64/ld-linux-x86-64.so.2" --library-path "$libs" "$root/usr/bin/cpio" -o -H newc -R 0:0 --quiet) >"$out/$1"
}

image=$kernel/vmlinuz # or, in older suites, in /boot
[ -e "$image" ] || image=$(echo "$root"/kernel/boot/vmlinuz-*)
cp "$image" "$out/vmlinuz"
rm -rf "$tree"
mkdir -p "$tree/bin" "$tree/lib" "$tree/modules" "$tree/dev"
ln -s lib "$tree/lib64"
cp -L "$root/lib64/ld-linux-x86-64.so.2" "$tree/lib/"
cp "$root/bin/busybox" "$tree/bin/"
program usr/bin/flock
: >"$tree/modules.load"
module virtio_pci virtio_console 8250 nvme-core nvme ext4 vfat nls_ascii nls_cp437 nls_iso8859-1
for c in beat cdq; do
	${CC:-gcc} -std=gnu17 -O2 -Wall -Wextra -Werror -static -s -o "$tree/bin/$c" "$here/$c.c"
done
cp "$here/init" "$tree/init"
chmod +x "$tree/init"
# The kernel opens its console before init mounts a /dev; this needs root, as root.sh does.
mknod "$tree/dev/console" c 5 1
pack initrd-small.img
for p in usr/sbin/nvme usr/bin/fio usr/sbin/mke2fs usr/sbin/e2fsck usr/sbin/resize2fs usr/sbin/blkdiscard usr/sbin/blockdev usr/bin/lsblk; do
	program "$p"
done
ln -s mke2fs "$tree/bin/mkfs.ext4"
ln -s e2fsck "$tree/bin/fsck.ext4"
pack initrd.img
rm -rf "$tree" "$out/libs"
