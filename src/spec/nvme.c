#include "spec/nvme.h"

#define STATUS_CASE_(name, value, text) case value: return text;
#define OP_CASE_(name, value, dir, text) case value: return text;

const char *nvme_status_name(unsigned status)
{
	switch (status & 0x7ff) {
	NVME_STATUSES(STATUS_CASE_)
	}
	return "unknown status";
}

const char *nvme_admin_op_name(unsigned opc)
{
	switch (opc) {
	NVME_ADMIN_OPS(OP_CASE_)
	}
	return opc >= 0xc0 ? "vendor specific admin command" : "unknown admin command";
}

const char *nvme_nvm_op_name(unsigned opc)
{
	switch (opc) {
	NVME_NVM_OPS(OP_CASE_)
	}
	return opc >= 0x80 ? "vendor specific I/O command" : "unknown I/O command";
}
