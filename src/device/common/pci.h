/* PCI configuration space of one function: type 0 header, PM, PCIe (with FLR) and MSI-X capabilities, BAR sizing.
 *
 * The whole of it is saved state (state.c). QEMU answers guest reads of the BARs itself but sends us every write.
 */
#ifndef FERRY_DEVICE_COMMON_PCI_H
#define FERRY_DEVICE_COMMON_PCI_H

#include "base/bytes.h"

enum { PCI_CFG_BYTES = 4096, PCI_MSIX_MAX = 128 };

struct pci_msix_entry { uint32_t addr_lo, addr_hi, data, ctrl; };

struct pci {
	uint8_t cfg[PCI_CFG_BYTES];
	uint8_t wmask[PCI_CFG_BYTES];		/* derived: bits the guest may change */
	uint64_t bar_size[6];			/* derived; 0 absent */
	uint16_t msix_count;			/* derived */
	uint16_t pm_cap, pcie_cap, msix_cap;	/* derived: offsets */
	struct pci_msix_entry msix[PCI_MSIX_MAX];
	uint32_t pba[PCI_MSIX_MAX / 32];
};

struct pci_cfg {
	uint16_t vendor, device, subvendor, subdevice;
	uint32_t class_code;			/* 0x010802 for NVMe */
	uint8_t revision;
	uint64_t bar_size[6];			/* power of two; a BAR > 0 is 64 bit and takes two slots */
	uint16_t msix_count;
	uint8_t msix_table_bar, msix_pba_bar;
	uint32_t msix_table_off, msix_pba_off;
};

void pci_init(struct pci *, const struct pci_cfg *);
int pci_cfg_read(struct pci *, uint64_t off, void *buf, uint32_t len);	/* 0, -EINVAL outside */
/* 0, -EINVAL outside. *flr is set when the write asked for a function level reset (the caller does it). */
int pci_cfg_write(struct pci *, uint64_t off, const void *buf, uint32_t len, bool *flr);
void pci_reset(struct pci *);			/* what an FLR does to config space: command, MSI-X enable, table masked, PBA */
bool pci_bus_master(const struct pci *);
bool pci_msix_enabled(const struct pci *);	/* enabled and function mask clear */
bool pci_msix_masked(const struct pci *, unsigned vector); /* by its table entry, if the client lets us see the table */
int pci_msix_table_read(struct pci *, uint64_t off, void *buf, uint32_t len);
int pci_msix_table_write(struct pci *, uint64_t off, const void *buf, uint32_t len);
int pci_msix_pba_read(struct pci *, uint64_t off, void *buf, uint32_t len);

#endif
