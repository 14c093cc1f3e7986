/* Adapter for a QEMU process (>= 11.1, unmodified) whose vfio-user-pci device is our controller. vm.h says what each operation does.
 *
 * QEMU is reached by two unix sockets: QMP (path) and the qtest protocol (path + ".qtest", for PCI configuration and MSI-X table, which no
 * QMP command reads or writes). The device is the one vfio-user-pci whose socket property is `device_socket`.
 * Memory stream: a socketpair whose other end QEMU gets over QMP (getfd; migrate / migrate-incoming fd:).
 * Both ends need pause-before-switchover, at the target -S and -incoming defer. Manager's thread; never blocks.
 */
#ifndef FERRY_VM_QEMU_VM_QEMU_H
#define FERRY_VM_QEMU_VM_QEMU_H

#include "vm/vm.h"

struct vm *vm_qemu_new(const char *path, const char *device_socket, struct err *); /* NULL: no memory */

#endif
