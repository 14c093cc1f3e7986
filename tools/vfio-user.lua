-- Lets Wireshark and tshark read what `ferry verify export --format pcapng` writes: one vfio-user message per packet, behind 16 bytes
-- that say whose it was and which record it is.
--   tshark -X lua_script:tools/vfio-user.lua -r run.pcapng -Y 'vfio_user.cmd == 11'
local p = Proto("vfio_user", "vfio-user")

local commands = {
	[1] = "VERSION", [2] = "DMA_MAP", [3] = "DMA_UNMAP", [4] = "DEVICE_GET_INFO", [5] = "DEVICE_GET_REGION_INFO",
	[6] = "DEVICE_GET_REGION_IO_FDS", [7] = "DEVICE_GET_IRQ_INFO", [8] = "DEVICE_SET_IRQS", [9] = "REGION_READ", [10] = "REGION_WRITE",
	[11] = "DMA_READ", [12] = "DMA_WRITE", [13] = "DEVICE_RESET", [14] = "DIRTY_PAGES", [15] = "REGION_WRITE_MULTI",
	[16] = "DEVICE_FEATURE", [17] = "MIG_DATA_READ", [18] = "MIG_DATA_WRITE",
}
local types = { [0] = "command", [1] = "reply" }
local f = {
	by = ProtoField.uint8("vfio_user.by", "Sent by", base.DEC, { [0] = "host", [1] = "device" }),
	ctrl = ProtoField.uint16("vfio_user.ctrl", "Controller"),
	fds = ProtoField.uint32("vfio_user.fds", "Descriptors"),
	uid = ProtoField.uint64("vfio_user.uid", "Record", base.HEX),
	id = ProtoField.uint16("vfio_user.id", "Message id"),
	cmd = ProtoField.uint16("vfio_user.cmd", "Command", base.DEC, commands),
	size = ProtoField.uint32("vfio_user.size", "Size"),
	type = ProtoField.uint32("vfio_user.type", "Type", base.DEC, types, 0x0f),
	no_reply = ProtoField.bool("vfio_user.no_reply", "No reply wanted", 32, nil, 0x10),
	is_error = ProtoField.bool("vfio_user.is_error", "Error", 32, nil, 0x20),
	error = ProtoField.uint32("vfio_user.error", "errno"),
	text = ProtoField.string("vfio_user.capabilities", "Capabilities"),
	data = ProtoField.bytes("vfio_user.data", "Data"),
}
-- fixed parts: { name, offset, length }
local parts = {
	[1] = { { "major", 0, 2 }, { "minor", 2, 2 } },
	[2] = { { "argsz", 0, 4 }, { "map_flags", 4, 4 }, { "fd_offset", 8, 8 }, { "addr", 16, 8 }, { "bytes", 24, 8 } },
	[3] = { { "argsz", 0, 4 }, { "map_flags", 4, 4 }, { "addr", 8, 8 }, { "bytes", 16, 8 } },
	[4] = { { "argsz", 0, 4 }, { "dev_flags", 4, 4 }, { "regions", 8, 4 }, { "irqs", 12, 4 } },
	[5] = { { "argsz", 0, 4 }, { "region_flags", 4, 4 }, { "index", 8, 4 }, { "cap_offset", 12, 4 }, { "bytes", 16, 8 }, { "fd_offset", 24, 8 } },
	[6] = { { "argsz", 0, 4 }, { "io_flags", 4, 4 }, { "index", 8, 4 }, { "count", 12, 4 } },
	[7] = { { "argsz", 0, 4 }, { "irq_flags", 4, 4 }, { "index", 8, 4 }, { "count", 12, 4 } },
	[8] = { { "argsz", 0, 4 }, { "set_flags", 4, 4 }, { "index", 8, 4 }, { "start", 12, 4 }, { "count", 16, 4 } },
	[9] = { { "offset", 0, 8 }, { "region", 8, 4 }, { "count", 12, 4 } },
	[10] = { { "offset", 0, 8 }, { "region", 8, 4 }, { "count", 12, 4 } },
	[11] = { { "addr", 0, 8 }, { "bytes", 8, 8 } },
	[12] = { { "addr", 0, 8 }, { "bytes", 8, 8 } },
	[15] = { { "writes", 0, 8 } },
	[16] = { { "argsz", 0, 4 }, { "feature_flags", 4, 4 } },
	[17] = { { "argsz", 0, 4 }, { "bytes", 4, 4 } },
	[18] = { { "argsz", 0, 4 }, { "bytes", 4, 4 } },
}
for _, list in pairs(parts) do
	for _, m in ipairs(list) do
		local name = m[1] .. (m[3] == 8 and "64" or "")
		if not f[name] then
			local make = m[3] == 8 and ProtoField.uint64 or m[3] == 4 and ProtoField.uint32 or ProtoField.uint16
			f[name] = make("vfio_user." .. name, m[1], base.HEX)
		end
	end
end
p.fields = f

local function payload(tree, cmd, tvb)
	local at = 0
	for _, m in ipairs(parts[cmd] or {}) do
		if m[2] + m[3] > tvb:len() then return end
		tree:add_le(f[m[1] .. (m[3] == 8 and "64" or "")], tvb(m[2], m[3]))
		at = m[2] + m[3]
	end
	if tvb:len() > at then
		if cmd == 1 then tree:add(f.text, tvb(at)) else tree:add(f.data, tvb(at)) end
	end
end

function p.dissector(tvb, pinfo, root)
	if tvb:len() < 32 or tvb(0, 1):uint() ~= 1 then return 0 end
	local tree = root:add(p, tvb())
	local cmd, flags = tvb(18, 2):le_uint(), tvb(24, 4):le_uint()
	pinfo.cols.protocol = "vfio-user"
	pinfo.cols.src = tvb(1, 1):uint() == 0 and "host" or "device"
	pinfo.cols.dst = tvb(1, 1):uint() == 0 and "device" or "host"
	pinfo.cols.info = (commands[cmd] or "?") .. (flags % 16 == 1 and " reply" or "")
	tree:add(f.by, tvb(1, 1))
	tree:add_le(f.ctrl, tvb(2, 2))
	tree:add_le(f.fds, tvb(4, 4))
	tree:add_le(f.uid, tvb(8, 8))
	tree:add_le(f.id, tvb(16, 2))
	tree:add_le(f.cmd, tvb(18, 2))
	tree:add_le(f.size, tvb(20, 4))
	tree:add_le(f.type, tvb(24, 4))
	tree:add_le(f.no_reply, tvb(24, 4))
	tree:add_le(f.is_error, tvb(24, 4))
	tree:add_le(f.error, tvb(28, 4))
	if tvb:len() > 32 then payload(tree, cmd, tvb(32):tvb()) end
	return tvb:len()
end
DissectorTable.get("wtap_encap"):add(wtap.USER0, p)
