"""A disk that firmware can boot: MBR and GRUB for a BIOS, \\EFI\\BOOT\\BOOTX64.EFI for UEFI, one FAT partition with our kernel and guest.

    bootdisk.make('disk.img', 96 << 20)       # a file that becomes a namespace with 512-byte blocks
"""
import os, struct, subprocess, tempfile

from vmrig import KERNEL_ARGS, Tools, need

SECTOR = 512
START = 2048         # sectors before the partition: boot sector, then GRUB
ESP = 0xef

CONFIG = """search --file /vmlinuz --set=root
linux /vmlinuz %s
initrd /initrd.img
boot
"""


def tool(program, *args):
    p = subprocess.run(Tools.argv(program) + list(args), stdin=subprocess.DEVNULL, capture_output=True, env=dict(os.environ, MTOOLS_SKIP_CHECK='1'))
    need(p.returncode == 0, program, args, p.stderr.decode(errors='replace'))


def grub(platform, modules, work):
    """GRUB's core for a platform, with our configuration inside. It is whole: nothing is looked for on the disk but the kernel."""
    cfg, out = os.path.join(work, 'grub.cfg'), os.path.join(work, platform)
    with open(cfg, 'w') as f:
        f.write(CONFIG % KERNEL_ARGS)
    tool('usr/bin/grub-mkimage', '-d', Tools.root('usr/lib/grub', platform), '-O', platform, '-o', out, '-p', '/grub', '-c', cfg,
         *modules, 'part_msdos', 'fat', 'search', 'search_fs_file', 'linux')
    return out


def mbr(image, size, core):
    """GRUB's boot sector looks for its core at sector 1 unless told otherwise, so nothing is to be patched but the partition table."""
    with open(Tools.root('usr/lib/grub/i386-pc/boot.img'), 'rb') as f:
        boot = bytearray(f.read(SECTOR))
    with open(core, 'rb') as f:
        core = f.read()
    need(len(core) <= (START - 1) * SECTOR, 'GRUB has', len(core), 'bytes: too many')
    boot[446:510] = struct.pack('<B3sB3sII', 0x80, b'\xfe\xff\xff', ESP, b'\xfe\xff\xff', START, size // SECTOR - START) + bytes(48)
    boot[510:512] = b'\x55\xaa'
    image.write(bytes(boot) + core)


def make(path, size, initrd='initrd-small.img'):
    with tempfile.TemporaryDirectory() as work:
        with open(path, 'wb') as image:
            image.truncate(size)
            mbr(image, size, grub('i386-pc', ['biosdisk'], work))
        part = '%s@@%d' % (path, START * SECTOR)
        tool('usr/bin/mformat', '-i', part, '-T', str(size // SECTOR - START), '-h', '16', '-s', '63', '-H', str(START), '-v', 'FERRY', '::')
        tool('usr/bin/mmd', '-i', part, '::/EFI', '::/EFI/BOOT')
        for src, dst in ((grub('x86_64-efi', [], work), 'EFI/BOOT/BOOTX64.EFI'), (Tools.guest('vmlinuz'), 'vmlinuz'), (Tools.guest(initrd), 'initrd.img')):
            tool('usr/bin/mcopy', '-i', part, src, '::/' + dst)
