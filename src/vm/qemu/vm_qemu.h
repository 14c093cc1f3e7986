/* Adapter for a QEMU process (>= 11.1, unmodified) whose vfio-user-pci device is our controller. vm.h says what each operation does.
 *
 * QEMU is reached by two unix sockets: QMP (path) and the qtest protocol (path + ".qtest", for PCI configuration and MSI-X table, which no
 * QMP command reads or writes). The device is the one vfio-user-pci whose socket property is `device_socket`.
 * Memory stream: a socketpair whose other end QEMU gets over QMP (getfd; migrate / migrate-incoming fd:).
 * The target is started with -incoming defer. Manager's thread; never blocks.
 *
 * stream_settle(0): QEMU 11.1 stops the processors as soon as nothing is left to send, whatever downtime it is allowed; an idle guest is
 * there after one pass. So until a time is allowed for the first time, stream_read holds back: it leaves the last of the first pass (up to
 * 230 MiB) unread, and `left` stays above 0. A guest with less memory than that may not be held: settle says 0 early. What is allowed once
 * is not reliably taken back by a later 0. QEMU does not mind being held, but frees no device's memory meanwhile: begin the stream when the
 * disks are nearly done, not hours before.
 *
 * stream_finish: from migrate-continue to the end QEMU writes with its big lock held, and its monitor answers nobody: read on, or resume.
 */
#ifndef FERRY_VM_QEMU_VM_QEMU_H
#define FERRY_VM_QEMU_VM_QEMU_H

#include "vm/vm.h"

struct vm *vm_qemu_new(const char *path, const char *device_socket, struct err *); /* NULL: no memory, or a path that is too long */

/* How long any one answer of QEMU is waited for; 10 s unless said otherwise, before open. For tests. */
void vm_qemu_patience(struct vm *, uint64_t ns);

#endif
