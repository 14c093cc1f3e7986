/* What QEMU does not carry of our function when it migrates: its PCI configuration and the MSI-X table, which QEMU keeps to itself.
 *
 * Pure data and lists of accesses; the adapter carries the lists out (qtest.c), tests do so on a pretend function. The packed form
 * comes from the other server and is hostile: sizes and layout are judged against the function that is here before anything is written.
 *
 * Configuration is reached by the ports CF8h/CFCh. The address latch at CF8h is state of the guest: every list ends by putting it back.
 */
#ifndef FERRY_VM_QEMU_PCI_IMAGE_H
#define FERRY_VM_QEMU_PCI_IMAGE_H

#include "base/err.h"
#include "vm/qemu/access.h"

enum { PCI_IMAGE_CFG = 256, PCI_IMAGE_TABLE_MAX = 2048 * 16 };

struct pci_image {
	uint8_t bus, devfn;
	uint32_t latch;				/* CF8h: QEMU moves it, and whoever reads configuration here has to put it back */
	bool running;				/* the guest ran before the move: it is to run after it */
	uint64_t known;				/* which dwords of cfg were read; the others say nothing */
	uint8_t cfg[PCI_IMAGE_CFG];
	uint32_t table_bytes;			/* 0: was not reachable, and nothing needs it */
	uint8_t table[PCI_IMAGE_TABLE_MAX];
};

/* Each dword read costs a round trip between QEMU and our server while the guest stands: only those that matter are. A bit per dword. */
uint64_t pci_image_usual(void);			/* those of a function as ours are laid out */
/* Those that matter of this one; all, if its capabilities lead to where nothing is known. */
uint64_t pci_image_needs(const uint8_t cfg[PCI_IMAGE_CFG], uint64_t known);

void pci_image_ask_config(struct access_list *, uint8_t bus, uint8_t devfn, uint32_t latch, uint64_t dwords);
void pci_image_take_config(const struct access_list *, uint64_t dwords, uint8_t cfg[PCI_IMAGE_CFG]);

/* Where the table is. 0 with address and size; -ENOENT: it cannot be reached and need not be (no MSI-X, or it is off and memory decoding
 * is off or the function asleep); -errno with a sentence: there is something that cannot be moved. */
int pci_image_table_at(const uint8_t cfg[PCI_IMAGE_CFG], uint64_t *at, uint32_t *bytes, struct err *);

/* May `want` be put into a function that reads `have` (its known dwords) now? Compares all that cannot be written. 0 or -errno with a
 * sentence. */
int pci_image_fits(const struct pci_image *want, const uint8_t have[PCI_IMAGE_CFG], struct err *);
/* Writes what differs, then reads everything back, the table into `table`. Only after pci_image_fits. */
void pci_image_replay(struct pci_image *want, const uint8_t have[PCI_IMAGE_CFG], uint8_t table[PCI_IMAGE_TABLE_MAX],
		      struct access_list *);
/* Takes the configuration that the replay read back and judges. 0 or -errno naming the register and both values. */
int pci_image_compare(const struct pci_image *want, const struct access_list *, const uint8_t table[PCI_IMAGE_TABLE_MAX], struct err *);

size_t pci_image_pack(const struct pci_image *, void *buf, size_t cap);	/* bytes; 0: does not fit */
int pci_image_unpack(struct pci_image *, const void *buf, size_t len, struct err *);

#endif
