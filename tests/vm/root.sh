#!/bin/sh
# Prepares what the VM tests need, once, in a directory that git ignores ($FERRY_CACHE, else .cache): a newer Debian
# with QEMU >= 11.1, OVMF and nvme-cli (vm/root), and a guest made from it (vm/guest-*: vmlinuz, initrd.img; guest.sh makes them).
# Prints the two directories on one line.
# Needs root, debootstrap and the machine's own apt: the archive's address and any proxy come from its configuration.
#
# Two at once wait for each other; one that was cut off starts again from nothing (root/ready is written last).
set -e
here=$(cd "$(dirname "$0")" && pwd)
vm=${FERRY_CACHE:-$(cd "$here/../.." && pwd)/.cache}/vm
suite=trixie
recipe=$(cat "$here"/guest.sh "$here"/init "$here"/beat.c "$here"/cdq.c | sha256sum | cut -c1-16)

say() { echo "vm root: $*" >&2; }
die() { say "$*"; exit 1; }

site() { # of the archive that this machine's main suite comes from
	# shellcheck disable=SC2016 # apt's variables
	apt-get indextargets --format '$(SITE) $(COMPONENT)' | sed -n 's/ main$//p' | sort | uniq -c | sort -rn |
		sed -n '1s/^ *[0-9]* //p'
}

bootstrap() {
	command -v debootstrap >/dev/null || { apt-get update -qq; apt-get install -y -qq --no-install-recommends debootstrap >/dev/null; }
	from=$(site)
	[ -n "$from" ] || die "apt knows no archive (apt-get indextargets is empty): run apt-get update first"
	rm -rf "$vm/root.new"
	debootstrap --variant=minbase --include=ca-certificates "$suite" "$vm/root.new" "$from" >"$vm/debootstrap.log" 2>&1 ||
		die "debootstrap $suite failed: see $vm/debootstrap.log ($(tail -1 "$vm/debootstrap.log"))"
	for f in /etc/apt/apt.conf.d/*; do
		grep -qiE 'proxy|registry|Acquire::' "$f" && cp "$f" "$vm/root.new/etc/apt/apt.conf.d/"
	done
	printf 'deb %s %s main\ndeb %s %s-backports main\n' "$from" "$suite" "$from" "$suite" >"$vm/root.new/etc/apt/sources.list"
	# No manuals, no fsync: this root is thrown away and made again, never repaired.
	printf 'path-exclude=/usr/share/doc/*\npath-exclude=/usr/share/man/*\npath-exclude=/usr/share/locale/*\nforce-unsafe-io\n' \
		>"$vm/root.new/etc/dpkg/dpkg.cfg.d/lean"
	printf '#!/bin/sh\nexit 101\n' >"$vm/root.new/usr/sbin/policy-rc.d"
	chmod +x "$vm/root.new/usr/sbin/policy-rc.d"
	# The kernel is unpacked, not installed: nothing boots from this root, and an initrd of its own would only take time.
	DEBIAN_FRONTEND=noninteractive chroot "$vm/root.new" sh -e -c "
		apt-get update -qq
		apt-get install -y -qq --no-install-recommends -t $suite-backports qemu-system-x86 qemu-utils ovmf nvme-cli fio
		apt-get install -y -qq --no-install-recommends busybox-static e2fsprogs util-linux kmod cpio gzip
		v=\$(apt-cache -t $suite-backports depends linux-image-cloud-amd64 | sed -n 's/.*Depends: linux-image-\([0-9].*\)/\1/p' | head -1)
		cd /tmp
		for p in image binary modules; do # older suites have it all in the first
			apt-cache show linux-\$p-\$v >/dev/null 2>&1 && apt-get download -qq -t $suite-backports linux-\$p-\$v
		done
		for d in *.deb; do dpkg -x \$d /kernel; done
		rm -f *.deb; apt-get clean
	" >"$vm/install.log" 2>&1 </dev/null || die "installing into $vm/root.new failed: see $vm/install.log ($(tail -1 "$vm/install.log"))"
	rm -rf "$vm/root"
	mv "$vm/root.new" "$vm/root"
}

# What came later to the list: a root that exists already gets it too.
add() { # STAMP PACKAGE...
	stamp=$vm/root/ready-$1
	shift
	[ -e "$stamp" ] && return
	say "adding $*"
	DEBIAN_FRONTEND=noninteractive chroot "$vm/root" sh -e -c '
		apt-get update -qq
		apt-get install -y -qq --no-install-recommends "$@"
		apt-get clean
	' sh "$@" >"$vm/add.log" 2>&1 </dev/null || die "installing into $vm/root failed: see $vm/add.log ($(tail -1 "$vm/add.log"))"
	touch "$stamp"
}

mkdir -p "$vm"
exec 9>"$vm/lock"
flock 9
if [ ! -e "$vm/root/ready" ]; then
	say "making $vm/root (some minutes, once)"
	bootstrap
	touch "$vm/root/ready"
fi
add boot grub-common grub-pc-bin grub-efi-amd64-bin mtools # the tests boot from our disk
guest=$vm/guest-$recipe
if [ ! -e "$guest/ready" ]; then
	rm -rf "$guest"
	mkdir "$guest"
	"$here/guest.sh" "$vm/root" "$guest"
	touch "$guest/ready"
fi
touch "$guest"
find "$vm" -maxdepth 1 -name 'guest-*' -mtime +3 -exec rm -rf {} + # of recipes that nobody uses any more
echo "$vm/root $guest"
