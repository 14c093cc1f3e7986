/* vfio-user messages as bytes. The bytes are written by hand from the protocol's description, never produced by our code. */
#include <errno.h>

#include "t.h"
#include "transport/vuser_codec.h"

/* Puts golden bytes over a structure and compares the members; then the structure's bytes with the gold. */
#define OVERLAY(type, name, ...)                                        \
	static const uint8_t name##_gold[] = { __VA_ARGS__ };           \
	struct type name;                                               \
	EXPECT_EQ(sizeof(name##_gold), sizeof(name));                   \
	memcpy(&name, name##_gold, sizeof(name))

/* 2.1: header of 16 bytes: id, command, size, flags, error. */
TEST(header_golden_bytes)
{
	static const uint8_t gold[16] = { 0x34, 0x12, 9, 0, 0x20, 0, 0, 0, 0x10, 0, 0, 0, 0, 0, 0, 0 };
	struct vuser_hdr h = vuser_hdr_of(0x1234, VUSER_REGION_READ, 32, VUSER_NO_REPLY, 0);
	struct vuser_msg m;

	EXPECT_MEM(&h, gold, 16);
	EXPECT_EQ(vuser_hdr_judge(&h, 4096, &m), 0);
	EXPECT_EQ(m.id, 0x1234);
	EXPECT_EQ(m.cmd, 9);
	EXPECT_EQ(m.size, 32);
	EXPECT_EQ(m.flags, 0x10);
}

/* 2.1: an error reply is a header only: size 16, flags 0x21, errno. */
TEST(header_error_reply)
{
	static const uint8_t gold[16] = { 7, 0, 2, 0, 16, 0, 0, 0, 0x21, 0, 0, 0, 22, 0, 0, 0 };
	struct vuser_hdr h = vuser_hdr_of(7, VUSER_DMA_MAP, 16, VUSER_TYPE_REPLY | VUSER_ERROR, EINVAL);
	struct vuser_msg m;

	EXPECT_MEM(&h, gold, 16);
	EXPECT_EQ(vuser_hdr_judge(&h, 4096, &m), 0);
	EXPECT_EQ(vuser_error_of(&m), -EINVAL);
	m.error = 0; /* an error without a number is still an error, never success */
	EXPECT_EQ(vuser_error_of(&m), -EIO);
	m.error = 0x80000000u;
	EXPECT_EQ(vuser_error_of(&m), -EIO);
}

/* A size that cannot be, or a type that is neither command nor reply, loses the stream. */
TEST(header_lost_framing)
{
	static const struct { uint32_t size, flags; int rc; } rows[] = {
		{ 0, 0, -EPROTO }, { 15, 0, -EPROTO }, { 16, 0, 0 }, { 4096, 1, 0 }, { 4097, 0, -EPROTO },
		{ 0xffffffff, 0, -EPROTO }, { 16, 2, -EPROTO }, { 16, 0xf, -EPROTO }, { 16, 0x31, 0 },
	};

	for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
		struct vuser_hdr h = vuser_hdr_of(1, 1, rows[i].size, rows[i].flags, 0);
		struct vuser_msg m;

		EXPECT_EQ(vuser_hdr_judge(&h, 4096, &m), rows[i].rc);
	}
}

/* 2.2: the numbers of the commands. */
TEST(command_numbers)
{
	EXPECT_EQ(VUSER_COMMAND_COUNT, 19);
	EXPECT_EQ(VUSER_DMA_WRITE, 12);
	EXPECT_EQ(VUSER_DEVICE_RESET, 13);
	EXPECT_EQ(VUSER_REGION_WRITE_MULTI, 15);
	EXPECT_EQ(VUSER_MIG_DATA_WRITE, 18);
	EXPECT_STR(vuser_command_name(8), "DEVICE_SET_IRQS");
	EXPECT_STR(vuser_command_name(0), "?");
	EXPECT_STR(vuser_command_name(19), "?");
}

/* 2.4: DMA_MAP is argsz, flags, offset in the file, address, size. */
TEST(dma_map_golden_bytes)
{
	OVERLAY(vuser_dma_map, d, 32, 0, 0, 0, 3, 0, 0, 0, 0, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0xfc, 0xff, 0, 0, 0, 0, 0, 0, 4, 0, 1,
		0, 0, 0);
	EXPECT_EQ(le32_get(d.argsz), 32);
	EXPECT_EQ(le32_get(d.flags), VUSER_MAP_READ | VUSER_MAP_WRITE);
	EXPECT_EQ(le64_get(d.offset), 0x1000);
	EXPECT_EQ(le64_get(d.addr), 0xfffc0000);
	EXPECT_EQ(le64_get(d.size), 0x100040000ull);
}

/* 2.4: DMA_UNMAP is argsz, flags, address, size. */
TEST(dma_unmap_golden_bytes)
{
	OVERLAY(vuser_dma_unmap, u, 24, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0x10, 0, 0, 0, 0, 0, 0, 0, 0x20, 0, 0, 0, 0, 0);
	EXPECT_EQ(le32_get(u.flags), VUSER_UNMAP_ALL);
	EXPECT_EQ(le64_get(u.addr), 0x100000);
	EXPECT_EQ(le64_get(u.size), 0x200000);
}

/* 2.5: GET_INFO is argsz, flags, regions, irqs. */
TEST(device_info_golden_bytes)
{
	OVERLAY(vuser_device_info, i, 16, 0, 0, 0, 3, 0, 0, 0, 9, 0, 0, 0, 5, 0, 0, 0);
	EXPECT_EQ(le32_get(i.argsz), 16);
	EXPECT_EQ(le32_get(i.flags), VUSER_DEVICE_RESETS | VUSER_DEVICE_PCI);
	EXPECT_EQ(le32_get(i.num_regions), 9);
	EXPECT_EQ(le32_get(i.num_irqs), 5);
}

/* 2.5: GET_REGION_INFO is argsz, flags, index, cap_offset, size, offset; the sparse capability is id 1 version 1. */
TEST(region_info_golden_bytes)
{
	OVERLAY(vuser_region_info, i, 64, 0, 0, 0, 0xf, 0, 0, 0, 7, 0, 0, 0, 32, 0, 0, 0, 0, 0x40, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1,
		0, 0, 0);
	OVERLAY(vuser_cap_sparse, c, 1, 0, 1, 0, 0x40, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0);
	OVERLAY(vuser_sparse_area, a, 0, 0x10, 0, 0, 0, 0, 0, 0, 0, 0x20, 0, 0, 0, 0, 0, 0);
	EXPECT_EQ(le32_get(i.flags), VUSER_REGION_F_READ | VUSER_REGION_F_WRITE | VUSER_REGION_F_MMAP | VUSER_REGION_F_CAPS);
	EXPECT_EQ(le32_get(i.index), 7);
	EXPECT_EQ(le32_get(i.cap_offset), 32);
	EXPECT_EQ(le64_get(i.size), 0x4000);
	EXPECT_EQ(le64_get(i.offset), 1ull << 32);
	EXPECT_EQ(le16_get(c.id), VUSER_CAP_SPARSE_MMAP);
	EXPECT_EQ(le16_get(c.version), 1);
	EXPECT_EQ(le32_get(c.next), 64);
	EXPECT_EQ(le32_get(c.nr_areas), 2);
	EXPECT_EQ(le64_get(a.offset), 0x1000);
	EXPECT_EQ(le64_get(a.size), 0x2000);
}

/* 2.5 and 2.7: IRQ_INFO, SET_IRQS and REGION_IO_FDS. */
TEST(irq_golden_bytes)
{
	OVERLAY(vuser_irq_info, i, 16, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 0x41, 0, 0, 0);
	OVERLAY(vuser_irq_set, s, 20, 0, 0, 0, 0x24, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0);
	OVERLAY(vuser_region_io_fds, f, 16, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0);
	EXPECT_EQ(le32_get(i.index), 2);
	EXPECT_EQ(le32_get(i.count), 65);
	EXPECT_EQ(le32_get(s.flags), VUSER_SET_TRIGGER | VUSER_SET_EVENTFD);
	EXPECT_EQ(le32_get(s.index), 2);
	EXPECT_EQ(le32_get(s.start), 3);
	EXPECT_EQ(le32_get(s.count), 4);
	EXPECT_EQ(le32_get(f.index), 1);
	EXPECT_EQ(le32_get(f.count), 2);
}

/* 2.6: region access counts in 32 bits, DMA access in 64. */
TEST(access_golden_bytes)
{
	OVERLAY(vuser_region_access, r, 0x14, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 4, 0, 0, 0);
	OVERLAY(vuser_dma_access, d, 0, 0, 0, 0, 1, 0, 0, 0, 0, 2, 0, 0, 1, 0, 0, 0);
	OVERLAY(vuser_write_multi, w, 200, 0, 0, 0, 0, 0, 0, 0);
	OVERLAY(vuser_write_one, o, 0, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 1, 2, 3, 4, 0, 0, 0, 0);
	EXPECT_EQ(le64_get(r.offset), 0x14);
	EXPECT_EQ(le32_get(r.region), 7);
	EXPECT_EQ(le32_get(r.count), 4);
	EXPECT_EQ(le64_get(d.addr), 1ull << 32);
	EXPECT_EQ(le64_get(d.count), (1ull << 32) + 512);
	EXPECT_EQ(le64_get(w.count), 200);
	EXPECT_EQ(le64_get(o.offset), 0x1000);
	EXPECT_EQ(le32_get(o.count), 4);
	EXPECT_EQ(o.data[3], 4);
}

/* 2.8: DEVICE_FEATURE and MIG_DATA_* are known in size, so that they can be refused properly. */
TEST(migration_golden_bytes)
{
	OVERLAY(vuser_feature, f, 16, 0, 0, 0, 1, 0, 1, 0);
	OVERLAY(vuser_mig_data, m, 8, 0x10, 0, 0, 0, 0x10, 0, 0);
	EXPECT_EQ(le32_get(f.flags), 0x10001);
	EXPECT_EQ(le32_get(m.argsz), 4104);
	EXPECT_EQ(le32_get(m.size), 4096);
}

/* ---- VERSION ------------------------------------------------------------------------------------------------- */

static int parse(const char *json, size_t len, struct vuser_caps *c)
{
	uint8_t p[4096] = { 0 };
	struct err err;

	memcpy(p + 4, json, len);
	return vuser_version_parse(p, 4 + len, c, &err);
}
#define PARSE(json, c) parse(json, sizeof(json), c) /* with the NUL */

/* 2.3: the reply known to be safe for QEMU, byte by byte, under 200 bytes. */
TEST(version_emit_golden_bytes)
{
	static const char gold[] = "\0\0\0\0{\"capabilities\":{\"max_msg_fds\":8,\"max_data_xfer_size\":1048576,"
				   "\"write_multiple\":false}}";
	struct vuser_caps c = { .max_msg_fds = 8, .max_data_xfer = 1048576 };
	uint8_t out[200];

	EXPECT_EQ(vuser_version_emit(out, sizeof(out), &c), sizeof(gold));
	EXPECT_MEM(out, gold, sizeof(gold));
	EXPECT_EQ(vuser_version_emit(out, sizeof(gold) - 1, &c), 0);
}

/* 2.3: what QEMU 11.1 proposes. */
TEST(version_parse_qemu)
{
	struct vuser_caps c;

	EXPECT_EQ(PARSE("{\"capabilities\":{\"pgsizes\":4096,\"max_msg_fds\":16,\"max_dma_maps\":65535,"
			"\"max_data_xfer_size\":1048576,\"migration\":{\"max_bitmap_size\":268435456,\"pgsize\":4096},"
			"\"write_multiple\":true}}", &c), 0);
	EXPECT_EQ(c.max_msg_fds, 16);
	EXPECT_EQ(c.max_dma_maps, 65535);
	EXPECT_EQ(c.max_data_xfer, 1048576);
	EXPECT_EQ(c.pgsizes, 4096);
	EXPECT(c.write_multiple);
}

/* 2.3, 6: no JSON at all (SPDK), or an empty one, means the defaults. */
TEST(version_parse_silent)
{
	static const char *const texts[] = { "{}", "{\"capabilities\":{}}", "{\"other\":1}" };
	struct vuser_caps c;

	EXPECT_EQ(parse("", 0, &c), 0);
	EXPECT_EQ(c.max_msg_fds, 1);
	EXPECT_EQ(c.max_data_xfer, 1048576);
	EXPECT(!c.write_multiple);
	EXPECT_EQ(PARSE("", &c), 0); /* the NUL alone */
	for (unsigned i = 0; i < ARRAY_LEN(texts); i++) {
		EXPECT_EQ(parse(texts[i], strlen(texts[i]) + 1, &c), 0);
		EXPECT_EQ(c.max_msg_fds, 1);
	}
}

/* 2.3: unknown keys are ignored, whatever they hold. */
TEST(version_parse_unknown_keys)
{
	struct vuser_caps c;

	EXPECT_EQ(PARSE("{\"x\":[1,2],\"capabilities\":{\"twin_socket\":{\"supported\":true},\"y\":null,\"max_msg_fds\":4}}", &c), 0);
	EXPECT_EQ(c.max_msg_fds, 4);
}

/* A known key of the wrong kind is refused: guessing at limits would come out later, as lost messages. */
TEST(version_parse_refused)
{
	static const char *const texts[] = {
		"{\"capabilities\":{\"max_msg_fds\":-1}}", "{\"capabilities\":{\"max_msg_fds\":\"8\"}}",
		"{\"capabilities\":{\"max_data_xfer_size\":0}}", "{\"capabilities\":{\"max_data_xfer_size\":1.5}}",
		"{\"capabilities\":{\"write_multiple\":1}}", "{\"capabilities\":[]}", "[]", "1", "null", "{", "{\"capabilities\":", "nonsense",
		"{\"capabilities\":{\"a\":[[[[[[[[[[[[1]]]]]]]]]]]]}}",
	};
	struct vuser_caps c;

	for (unsigned i = 0; i < ARRAY_LEN(texts); i++)
		EXPECT_EQ(parse(texts[i], strlen(texts[i]) + 1, &c), -EINVAL);
}

/* 2.3: the text ends in its only NUL. */
TEST(version_parse_nul)
{
	struct vuser_caps c;

	EXPECT_EQ(parse("{}", 2, &c), -EINVAL);
	EXPECT_EQ(parse("{}\0{}", 6, &c), -EINVAL);
	EXPECT_EQ(parse("{}\0\0", 4, &c), -EINVAL);
}

/* 2.3: the major number must be 0; a larger minor is answered with ours. */
TEST(version_parse_numbers)
{
	static const uint8_t major[4] = { 1, 0, 0, 0 }, minor[4] = { 0, 0, 1, 0 };
	struct vuser_caps c;
	struct err err;

	EXPECT_EQ(vuser_version_parse(major, 4, &c, &err), -ENOTSUP);
	EXPECT_EQ(vuser_version_parse(minor, 4, &c, &err), 0);
	EXPECT_EQ(vuser_version_parse(major, 3, &c, &err), -EINVAL);
	EXPECT_EQ(vuser_version_parse(major, VUSER_VERSION_MAX_BYTES + 1, &c, &err), -EINVAL);
}
