/* vfio-user protocol 0.0 as tables: commands, structures, flags, capability keys. No behaviour.
 *
 * Integers travel in host order; every machine we run on is little-endian, so the wire types say so.
 */
#ifndef FERRY_SPEC_VFIO_USER_H
#define FERRY_SPEC_VFIO_USER_H

#include "base/wire.h"

/* ---- commands: name, number, who asks (C client, S server) -------------------------------------------------- */

#define VUSER_COMMANDS(C)                    \
	C(VERSION, 1, 'C')                   \
	C(DMA_MAP, 2, 'C')                   \
	C(DMA_UNMAP, 3, 'C')                 \
	C(DEVICE_GET_INFO, 4, 'C')           \
	C(DEVICE_GET_REGION_INFO, 5, 'C')    \
	C(DEVICE_GET_REGION_IO_FDS, 6, 'C')  \
	C(DEVICE_GET_IRQ_INFO, 7, 'C')       \
	C(DEVICE_SET_IRQS, 8, 'C')           \
	C(REGION_READ, 9, 'C')               \
	C(REGION_WRITE, 10, 'C')             \
	C(DMA_READ, 11, 'S')                 \
	C(DMA_WRITE, 12, 'S')                \
	C(DEVICE_RESET, 13, 'C')             \
	C(DIRTY_PAGES, 14, 'C') /* retired */ \
	C(REGION_WRITE_MULTI, 15, 'C')       \
	C(DEVICE_FEATURE, 16, 'C')           \
	C(MIG_DATA_READ, 17, 'C')            \
	C(MIG_DATA_WRITE, 18, 'C')

#define VUSER_ENUM_(name, no, from) VUSER_##name = no,
enum { VUSER_COMMANDS(VUSER_ENUM_) VUSER_COMMAND_COUNT };
#undef VUSER_ENUM_

/* ---- header -------------------------------------------------------------------------------------------------- */

#define VUSER_HDR(X, A)       \
	X( 0, le16, id)       \
	X( 2, le16, cmd)      \
	X( 4, le32, size)  /* of the whole message */ \
	X( 8, le32, flags)    \
	X(12, le32, error)
WIRE_STRUCT(vuser_hdr, 16, VUSER_HDR);

enum {
	VUSER_TYPE_MASK = 0x0f,
	VUSER_TYPE_COMMAND = 0,
	VUSER_TYPE_REPLY = 1,
	VUSER_NO_REPLY = 0x10,
	VUSER_ERROR = 0x20,
};

/* ---- version and capabilities -------------------------------------------------------------------------------- */

#define VUSER_VERSION_HEAD(X, A) X(0, le16, major) X(2, le16, minor)
WIRE_STRUCT(vuser_version_head, 4, VUSER_VERSION_HEAD); /* JSON and a NUL may follow */

/* member of struct vuser_caps, key in the JSON object "capabilities", value if the peer says nothing, least legal value */
#define VUSER_CAPS_NUMBERS(K)                                  \
	K(max_msg_fds, "max_msg_fds", 1, 0)                    \
	K(max_data_xfer, "max_data_xfer_size", 1048576, 1)     \
	K(max_dma_maps, "max_dma_maps", 65535, 0)              \
	K(pgsizes, "pgsizes", 4096, 1)
#define VUSER_CAPS_BOOLS(K) K(write_multiple, "write_multiple")

/* ---- DMA ----------------------------------------------------------------------------------------------------- */

#define VUSER_DMA_MAP_MSG(X, A) \
	X( 0, le32, argsz)    \
	X( 4, le32, flags)    \
	X( 8, le64, offset)   \
	X(16, le64, addr)     \
	X(24, le64, size)
WIRE_STRUCT(vuser_dma_map, 32, VUSER_DMA_MAP_MSG);
enum { VUSER_MAP_READ = 1, VUSER_MAP_WRITE = 2, VUSER_MAP_MMAP = 4, VUSER_MAP_FILE_IO = 8 };

#define VUSER_DMA_UNMAP_MSG(X, A) \
	X( 0, le32, argsz)      \
	X( 4, le32, flags)      \
	X( 8, le64, addr)       \
	X(16, le64, size)
WIRE_STRUCT(vuser_dma_unmap, 24, VUSER_DMA_UNMAP_MSG);
enum { VUSER_UNMAP_DIRTY = 1 /* retired */, VUSER_UNMAP_ALL = 2 };

#define VUSER_DMA_ACCESS(X, A) X(0, le64, addr) X(8, le64, count)
WIRE_STRUCT(vuser_dma_access, 16, VUSER_DMA_ACCESS); /* data follows */

/* ---- device, regions, interrupts ----------------------------------------------------------------------------- */

#define VUSER_DEVICE_INFO(X, A) X(0, le32, argsz) X(4, le32, flags) X(8, le32, num_regions) X(12, le32, num_irqs)
WIRE_STRUCT(vuser_device_info, 16, VUSER_DEVICE_INFO);
enum { VUSER_DEVICE_RESETS = 1, VUSER_DEVICE_PCI = 2 };

#define VUSER_REGION_INFO(X, A)  \
	X( 0, le32, argsz)       \
	X( 4, le32, flags)       \
	X( 8, le32, index)       \
	X(12, le32, cap_offset)  \
	X(16, le64, size)        \
	X(24, le64, offset)
WIRE_STRUCT(vuser_region_info, 32, VUSER_REGION_INFO);
enum { VUSER_REGION_F_READ = 1, VUSER_REGION_F_WRITE = 2, VUSER_REGION_F_MMAP = 4, VUSER_REGION_F_CAPS = 8 };

#define VUSER_CAP_SPARSE(X, A)   \
	X( 0, le16, id)          \
	X( 2, le16, version)     \
	X( 4, le32, next)        \
	X( 8, le32, nr_areas)    \
	X(12, le32, reserved)
WIRE_STRUCT(vuser_cap_sparse, 16, VUSER_CAP_SPARSE);
#define VUSER_SPARSE_AREA(X, A) X(0, le64, offset) X(8, le64, size)
WIRE_STRUCT(vuser_sparse_area, 16, VUSER_SPARSE_AREA);
enum { VUSER_CAP_SPARSE_MMAP = 1, VUSER_CAP_TYPE = 2, VUSER_CAP_MSIX_MAPPABLE = 3 };

#define VUSER_REGION_IO_FDS(X, A) X(0, le32, argsz) X(4, le32, flags) X(8, le32, index) X(12, le32, count)
WIRE_STRUCT(vuser_region_io_fds, 16, VUSER_REGION_IO_FDS);

#define VUSER_IRQ_INFO(X, A) X(0, le32, argsz) X(4, le32, flags) X(8, le32, index) X(12, le32, count)
WIRE_STRUCT(vuser_irq_info, 16, VUSER_IRQ_INFO);
enum { VUSER_IRQ_EVENTFD = 1, VUSER_IRQ_MASKABLE = 2, VUSER_IRQ_AUTOMASKED = 4, VUSER_IRQ_NORESIZE = 8 };

#define VUSER_IRQ_SET(X, A) X(0, le32, argsz) X(4, le32, flags) X(8, le32, index) X(12, le32, start) X(16, le32, count)
WIRE_STRUCT(vuser_irq_set, 20, VUSER_IRQ_SET); /* one byte for each vector follows BOOL */
enum {
	VUSER_SET_NONE = 1, VUSER_SET_BOOL = 2, VUSER_SET_EVENTFD = 4,
	VUSER_SET_MASK = 8, VUSER_SET_UNMASK = 16, VUSER_SET_TRIGGER = 32,
};

/* ---- region data --------------------------------------------------------------------------------------------- */

#define VUSER_REGION_ACCESS(X, A) X(0, le64, offset) X(8, le32, region) X(12, le32, count)
WIRE_STRUCT(vuser_region_access, 16, VUSER_REGION_ACCESS); /* data follows */

#define VUSER_WRITE_MULTI(X, A) X(0, le64, count)
WIRE_STRUCT(vuser_write_multi, 8, VUSER_WRITE_MULTI);
#define VUSER_WRITE_ONE(X, A) X(0, le64, offset) X(8, le32, region) X(12, le32, count) A(16, 8, data)
WIRE_STRUCT(vuser_write_one, 24, VUSER_WRITE_ONE);

/* ---- migration ----------------------------------------------------------------------------------------------- */

#define VUSER_FEATURE(X, A) X(0, le32, argsz) X(4, le32, flags)
WIRE_STRUCT(vuser_feature, 8, VUSER_FEATURE);
#define VUSER_MIG_DATA(X, A) X(0, le32, argsz) X(4, le32, size)
WIRE_STRUCT(vuser_mig_data, 8, VUSER_MIG_DATA);

#endif
