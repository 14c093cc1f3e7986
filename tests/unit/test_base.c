/* base and spec: the helpers that every hostile length passes through. */
#include "t.h"

#include "base/buf.h"
#include "spec/nvme.h"

/* A peer's offset near 2^64 must not wrap back into the buffer. */
TEST(range_inside_never_wraps)
{
	EXPECT(range_inside(0, 0, 0));
	EXPECT(range_inside(4, 4, 8));
	EXPECT(!range_inside(4, 5, 8));
	EXPECT(!range_inside(UINT64_MAX, 2, 8));
	EXPECT(!range_inside(2, UINT64_MAX, 8));
}

TEST(ranges_overlap_at_the_edges)
{
	EXPECT(ranges_overlap(0, 4, 3, 1));
	EXPECT(!ranges_overlap(0, 4, 4, 1));
	EXPECT(!ranges_overlap(4, 1, 0, 4));
	EXPECT(ranges_overlap(2, 1, 0, 4));
	EXPECT(!ranges_overlap(2, 0, 0, 4));
	EXPECT(ranges_overlap(UINT64_MAX - 1, 1, UINT64_MAX - 3, 4));
}

/* Golden encodings of nvme-hmlm 12, through the same putters that the manager uses. */
TEST(sqe_fields_land_where_the_book_says)
{
	struct nvme_sqe s = { 0 };

	nvme_migration_send_sel_put(&s, NVME_MIG_SUSPEND);
	nvme_migration_send_cntlid_put(&s, 2);
	nvme_migration_send_stype_put(&s, NVME_STYPE_SUSPEND);
	nvme_migration_send_dudmq_put(&s, 1);
	EXPECT_EQ(le32_get(s.cdw10), 0);
	EXPECT_EQ(le32_get(s.cdw11), 0x80010002);
	nvme_migration_send_dudmq_put(&s, 0);
	EXPECT_EQ(le32_get(s.cdw11), 0x00010002);
}

TEST(status_names)
{
	EXPECT_STR(nvme_status_name(NVME_INVALID_CDQ | NVME_DNR), "Invalid Controller Data Queue");
	EXPECT_STR(nvme_admin_op_name(0x41), "Migration Send");
}

TEST(buf_grows_and_drops)
{
	struct buf b = { 0 };

	buf_printf(&b, "%s-%d", "x", 7);
	EXPECT_EQ(b.len, 3);
	buf_drop_front(&b, 2);
	EXPECT_EQ(b.len, 1);
	EXPECT_EQ(b.data[0], '7');
	buf_fini(&b);
}
