/* Statements on what migration rests on: queues, Identify, features, events, PRPs, reads and writes. A controller that gets these wrong
 * cannot be moved, whatever its migration commands do. Keys B-*; sections of Base 2.1 and NVM Command Set 1.2.
 */
#include "verify/checklist.h"

#define CHECKLIST_BASE(I) \
	I("NVM21_3_1_4_01", "B-REG-1", SHALL, "Base 2.1 3.1.4", "CAP and VS can be read and name a supported version and command set", NULL) \
	I("NVM21_3_1_4_02", "B-REG-2", SHALL, "Base 2.1 3.1.4", "CC.EN 1 to 0 clears CSTS.RDY within CAP.TO, 0 to 1 sets it", NULL) \
	I("NVM21_3_1_4_03", "B-REG-3", SHALL, "Base 2.1 3.1.4", "A reset deletes all I/O queues and forgets commands without completing them", NULL) \
	I("NVM21_3_1_4_04", "B-REG-4", SHALL, "Base 2.1 3.1.4", "AQA, ASQ and ACQ read back as written", NULL) \
	I("NVM21_3_1_4_05", "B-REG-5", SHALL, "Base 2.1 3.1.4", "CC.SHN leads to CSTS.SHST 10b", NULL) \
	I("NVM21_3_3_01", "B-Q-1", SHALL, "Base 2.1 3.3", "Completions alternate the phase at each wrap and name SQID, SQHD and CID", NULL) \
	I("NVM21_3_3_02", "B-Q-2", SHALL, "Base 2.1 3.3", "Every command is completed exactly once", NULL) \
	I("NVM21_3_3_03", "B-Q-3", SHALL, "Base 2.1 3.3", "Several SQs may share one CQ", NULL) \
	I("NVM21_3_3_04", "B-Q-4", SHALL, "Base 2.1 3.3", "A full CQ stops completions, and none is lost", NULL) \
	I("NVM21_3_3_05", "B-Q-5", SHALL, "Base 2.1 3.3", "SQHD passes a slot only when its command has been fetched", NULL) \
	I("NVM21_3_1_4_06", "B-REG-6", SHALL, "Base 2.1 3.1.4", "NSSR resets the subsystem when written with 4E564D65h, and else does nothing", NULL) \
	I("NVM21_3_7_2_09", "B-REG-7", SHALL, "Base 2.1 3.7.2", "A function level reset returns configuration space to its defaults", NULL) \
	I("NVM21_3_3_3_01", "B-IRQ-1", SHALL, "Base 2.1 3.3.3", "Completions raise the vector of their CQ, and none with IEN=0", NULL) \
	I("NVM21_3_3_3_02", "B-IRQ-2", SHALL, "Base 2.1 3.3.3", "An interrupt on a masked vector is pending and is raised when the mask goes", NULL) \
	I("PCI6_7_7_2_01", "B-IRQ-3", SHALL, "PCIe 6.0 7.7.2", "The MSI-X table reads as it was written", NULL) \
	I("NVM21_5_1_2_01", "B-EVT-1", SHALL, "Base 2.1 5.1.2", "A doorbell value out of range is reported as error event 01h", NULL) \
	I("NVM21_5_1_2_02", "B-EVT-2", SHALL, "Base 2.1 5.1.2", "Error events are masked once reported, until the log page is read with RAE=0", NULL) \
	I("NVM21_5_2_1_01", "B-CQ-1", SHALL, "Base 2.1 5.2.1", "Create CQ with QID 0, one in use or one beyond the number granted => 1/01h", NULL) \
	I("NVM21_5_2_1_02", "B-CQ-2", SHALL, "Base 2.1 5.2.1", "Create CQ with QSIZE 0 or above CAP.MQES => 1/02h", NULL) \
	I("NVM21_5_2_1_03", "B-CQ-3", SHALL, "Base 2.1 5.2.1", "Create CQ with a vector that is not there => 1/08h", NULL) \
	I("NVM21_5_2_1_04", "B-CQ-4", SHALL, "Base 2.1 5.2.1", "Create CQ whose PRP1 has an offset => 0/13h", "PRP Offset Invalid or Invalid Field") \
	I("NVM21_5_2_1_05", "B-CQ-5", SHALL, "Base 2.1 5.2.1", "PC=0 where CAP.CQR=1 => 0/02h", NULL) \
	I("NVM21_5_2_2_01", "B-SQ-1", SHALL, "Base 2.1 5.2.2", "Create SQ on a CQ that is not there => 1/00h", "Completion Queue Invalid, or Invalid Queue Identifier for CQID 0 and beyond the number granted") \
	I("NVM21_5_2_2_02", "B-SQ-2", SHALL, "Base 2.1 5.2.2", "Create SQ with QID 0 or one in use => 1/01h", NULL) \
	I("NVM21_5_2_2_03", "B-SQ-3", SHALL, "Base 2.1 5.2.2", "Create SQ with QSIZE 0 or above CAP.MQES => 1/02h", NULL) \
	I("NVM21_5_2_3_01", "B-DQ-1", SHALL, "Base 2.1 5.2.3", "Delete CQ while an SQ uses it => 1/0Ch", NULL) \
	I("NVM21_5_2_3_02", "B-DQ-2", SHALL, "Base 2.1 5.2.4", "Delete of a queue that is not there => 1/01h", NULL) \
	I("NVM21_5_2_3_03", "B-DQ-3", SHALL, "Base 2.1 5.2.4", "A deleted queue can be made again", NULL) \
	I("NVM21_5_1_01", "B-ADM-1", SHALL, "Base 2.1 5.1", "An admin opcode that is not supported => 0/01h", NULL) \
	I("NVM21_5_1_02", "B-ADM-2", SHALL, "Base 2.1 5.1.13", "A reserved CNS => 0/02h", NULL) \
	I("NVM21_5_1_03", "B-ADM-3", SHALL, "Base 2.1 5.1.13", "The active namespace list ascends and ends with zeroes", NULL) \
	I("NVM21_5_1_04", "B-ADM-4", SHALL, "Base 2.1 5.1.13", "Identify of a namespace that is not there => 0/0Bh; of one that is not active: zeroes", NULL) \
	I("NVM21_5_1_05", "B-ADM-5", SHALL, "Base 2.1 5.1.1", "Abort of a command that is not out completes with DW0 bit 0 = 1", NULL) \
	I("NVM21_5_1_06", "B-ADM-6", SHALL, "Base 2.1 5.1.2", "More events requested than AERL+1 => 1/05h", NULL) \
	I("NVM21_5_1_07", "B-ADM-7", SHALL, "Base 2.1 5.1.2", "An Asynchronous Event Request is not completed without an event", NULL) \
	I("NVM21_5_1_08", "B-ADM-8", SHALL, "Base 2.1 5.1.12", "A log page that is not there => 1/09h", "Invalid Log Page or Invalid Field") \
	I("NVM21_4_1_1_01", "B-ADM-9", SHALL, "Base 2.1 4.1.1", "A fused command where FUSES=0, or PSDT other than 00b in an admin command over PCIe => 0/02h", NULL) \
	I("NVM21_5_1_09", "B-ADM-10", SHALL, "Base 2.1 1.4", "SN, MN and FR are ASCII, padded with spaces", NULL) \
	I("NVM21_5_1_10", "B-ADM-11", SHALL, "Base 2.1 5.1.12", "LPOL: a log page read from an offset is that part of it; an offset that is no whole dword => 0/02h", NULL) \
	I("NVM21_5_1_11", "B-ADM-12", SHALL, "Base 2.1 5.1.12", "The error log begins with the newest entry", NULL) \
	I("NVM21_5_1_12", "B-ADM-13", SHALL, "Base 2.1 5.1.10", "Format with SES 1h leaves nothing of the namespace's data", NULL) \
	I("NVM21_5_2_3_04", "B-DQ-4", SHALL, "Base 2.1 5.2.4", "Delete SQ completes once its commands are over", NULL) \
	I("NVM21_5_1_25_05", "B-FT-5", SHALL, "Base 2.1 5.1.11", "SEL 001b returns the default; a reserved SEL => 0/02h", NULL) \
	I("NVM21_5_1_25_06", "B-FT-6", SHALL, "Base 2.1 5.1.25", "SV=1 for a feature that cannot be saved => 1/0Dh", NULL) \
	I("NVM21_5_1_25_01", "B-FT-1", SHALL, "Base 2.1 5.1.25", "A feature reads back as it was set", NULL) \
	I("NVM21_5_1_25_02", "B-FT-2", SHALL, "Base 2.1 5.1.25", "Settings return to their default at a reset", NULL) \
	I("NVM21_5_1_25_03", "B-FT-3", SHALL, "Base 2.1 5.1.25", "A feature that is not supported => 0/02h", NULL) \
	I("NVM21_5_1_25_04", "B-FT-4", SHALL, "Base 2.1 5.1.25", "Number of Queues cannot be set once an I/O queue exists => 0/0Ch", NULL) \
	I("NVM21_4_3_1_01", "B-PRP-1", SHALL, "Base 2.1 4.3.1", "PRP1 may start inside a page, whatever follows is whole pages", NULL) \
	I("NVM21_4_3_1_02", "B-PRP-2", SHALL, "Base 2.1 4.3.1", "PRP2 or a list entry with an offset => 0/13h", "PRP Offset Invalid or Invalid Field") \
	I("NVM21_4_3_1_03", "B-PRP-3", SHALL, "Base 2.1 4.3.1", "Only the bytes asked for are written", NULL) \
	I("NVM21_4_3_1_04", "B-PRP-4", SHALL, "Base 2.1 4.3.1", "A PRP that points at nothing fails the command, not the controller", NULL) \
	I("NVM21_4_3_1_05", "B-PRP-5", SHALL, "Base 2.1 4.3.1", "Memory is accessed as the host's mapping allows: an access against its rights fails the command and changes nothing there", "the book knows no rights: any error that names a transfer, a pointer or a field; a queue there may be refused, or stay silent until a reset") \
	I("NVM21_4_3_2_01", "B-SGL-1", SHALL, "Base 2.1 4.3.2", "Where SGLS says so, one SGL data block descriptor moves a command's data", NULL) \
	I("NVM21_4_3_2_02", "B-SGL-2", SHALL, "Base 2.1 4.3.2", "Segments are followed in order, and only the bytes named are touched", NULL) \
	I("NVM21_4_3_2_03", "B-SGL-3", SHALL, "Base 2.1 4.3.2", "A bit bucket discards what is read and is ignored for what is written", NULL) \
	I("NVM21_4_3_2_04", "B-SGL-4", SHALL, "Base 2.1 4.3.2", "A descriptor type that is not supported or reserved => 0/11h", "SGL Descriptor Type Invalid or Invalid Field") \
	I("NVM21_4_3_2_05", "B-SGL-5", SHALL, "Base 2.1 4.3.2", "A segment descriptor of length 0, not of whole descriptors, or where none may be => 0/0Dh", "where the number is the trouble too: 0/0Eh") \
	I("NVM21_4_3_2_06", "B-SGL-6", SHALL, "Base 2.1 4.3.2", "Descriptors for fewer bytes than the data => 0/0Fh; for more too, unless SGLS bit 18 allows it", NULL) \
	I("NVM21_4_3_2_07", "B-SGL-7", SHALL, "Base 2.1 3.3.3.1", "PSDT 11b, and SGLs where SGLS says there are none => 0/02h", NULL) \
	I("NVM21_3_4_2_01", "B-FUSE-1", SHALL, "Base 2.1 3.4.2", "A fused operation FUSES does not name is not carried out and changes nothing", "Invalid Field, Missing or Failed Fused Command") \
	I("NVM21_3_4_2_02", "B-FUSE-2", SHALL, "Base 2.1 3.4.2", "Compare and Write fused: both succeed, in order, and the data is there", NULL) \
	I("NVM21_3_4_2_03", "B-FUSE-3", SHALL, "Base 2.1 3.4.2", "When the first of a fused pair fails the second => 0/09h and nothing is written", NULL) \
	I("NVM21_3_4_2_04", "B-FUSE-4", SHALL, "Base 2.1 3.4.2", "Half of a fused pair => 0/0Ah; FUSE 11b => 0/02h", "without fused operations a half may be an Invalid Field") \
	I("NVM21_5_2_5_01", "B-DB-1", SHALL, "Base 2.1 5.2.5", "With shadow doorbells, a host that rings only when EventIdx asks for it has every command done", NULL) \
	I("NVM21_5_2_5_02", "B-DB-2", SHALL, "Base 2.1 5.2.5", "The admin queue's doorbells have no shadows", NULL) \
	I("NVM21_5_2_5_03", "B-DB-3", SHALL, "Base 2.1 5.2.5", "Buffers that are no whole pages, or not there => refused, and doorbells go on as they were", "Invalid Field, PRP Offset Invalid, Data Transfer Error") \
	I("NVM21_5_2_5_04", "B-DB-4", SHALL, "Base 2.1 3.7.2", "A reset ends shadow doorbells", NULL) \
	I("NVM21_8_1_15_01", "B-NC-1", SHALL, "Base 2.1 8.1.15", "A namespace of another size says so in Identify, takes what it can hold, and refuses what it cannot", NULL) \
	I("NVM21_5_1_2_1_08", "B-NC-2", SHALL, "Base 2.1 5.1.2.1", "Attached Namespace Attribute Changed is told to whom it was switched on for and who has the namespace, and again only after the list was read", NULL) \
	I("NVMCS13_RL_01", "B-RL-1", SHALL, "NVM CS 1.3 FID 28h", "A limit reads back as it was set; one that cannot be => refused", "Invalid Field, or Invalid Controller Identifier for a target that is not there") \
	I("NVMCS13_RL_02", "B-RL-2", SHALL, "NVM CS 1.3 FID 28h", "Commands beyond a limit wait, and none fails", NULL) \
	I("NVMCS13_RL_03", "B-RL-3", SHALL, "NVM CS 1.3 FID 28h", "A write counts by the ratio that was set", NULL) \
	I("NVMCS13_RL_04", "B-RL-4", SHOULD, "NVM CS 1.3 FID 28h", "A limit does not hold up a Suspend, nor other controllers, and what waits goes when it is lifted", NULL) \
	I("NVMCS12_3_3_01", "B-IO-1", SHALL, "NVM CS 1.2 3.3", "What was written is read back", NULL) \
	I("NVMCS12_3_3_02", "B-IO-2", SHALL, "NVM CS 1.2 3.3", "A range beyond NSZE => 0/80h and nothing is changed", NULL) \
	I("NVMCS12_3_3_03", "B-IO-3", SHALL, "NVM CS 1.2 3.3", "A namespace that cannot exist => 0/0Bh; one that is not active, and FFFFFFFFh => 0/02h", NULL) \
	I("NVMCS12_3_3_04", "B-IO-4", SHALL, "NVM CS 1.2 3.3", "More blocks than MDTS => 0/02h", NULL) \
	I("NVMCS12_3_3_05", "B-IO-5", SHALL, "NVM CS 1.2 3.3", "Write Zeroes reads back as zeroes", NULL) \
	I("NVMCS12_3_3_06", "B-IO-6", SHALL, "NVM CS 1.2 3.3", "Deallocated blocks read the same every time, and as DLFEAT says", NULL) \
	I("NVMCS12_3_3_07", "B-IO-7", SHALL, "NVM CS 1.2 3.3", "Copy moves what it names, in order", NULL) \
	I("NVMCS12_3_3_08", "B-IO-8", SHALL, "NVM CS 1.2 3.3", "Compare fails on a difference => 2/85h", NULL) \
	I("NVMCS12_3_3_09", "B-IO-9", SHALL, "NVM CS 1.2 3.3", "An I/O opcode that is not supported => 0/01h", NULL) \
	I("NVMCS12_3_3_10", "B-IO-10", SHALL, "NVM CS 1.2 3.3", "Flush completes", NULL) \
	I("NVMCS12_3_3_11", "B-IO-11", SHALL, "NVM CS 1.2 3.3", "After Write Uncorrectable whatever reads the block => 2/81h, until it is written", NULL) \
	I("NVMCS12_3_3_12", "B-IO-12", SHALL, "NVM CS 1.2 3.3", "With DULBE=1 reads of deallocated blocks => 2/87h, with DULBE=0 never", NULL) \
	I("NVMCS12_5_3_01", "B-PI-1", SHALL, "NVM CS 1.2 5.3", "Format takes the types of protection information that DPC names, where there is metadata for it; others => 1/0Ah", "a reserved type: Invalid Format or Invalid Field") \
	I("NVMCS12_5_3_02", "B-PI-2", SHALL, "NVM CS 1.2 5.3", "PRACT=1 with 8 bytes of metadata: a write inserts guard, application tag and reference tag, a read checks and strips them", NULL) \
	I("NVMCS12_5_3_03", "B-PI-3", SHALL, "NVM CS 1.2 5.3", "PRACT=0: protection information passes between host and medium unchanged, by MPTR or behind each block", NULL) \
	I("NVMCS12_5_3_04", "B-PI-4", SHALL, "NVM CS 1.2 5.3", "PRCHK bit 2: a guard that is not the CRC of its block => 2/82h, and nothing of the block is written", NULL) \
	I("NVMCS12_5_3_05", "B-PI-5", SHALL, "NVM CS 1.2 5.3", "PRCHK bit 1: an application tag that differs in a bit of the mask => 2/83h", NULL) \
	I("NVMCS12_5_3_06", "B-PI-6", SHALL, "NVM CS 1.2 5.3", "PRCHK bit 0: types 1 and 2 count the reference tag up by block, a difference => 2/84h; type 3 does not check it", "type 1, not the SLBA: 2/84h or 1/81h; type 3 with bit 0: 1/81h or 0/02h") \
	I("NVMCS12_5_3_07", "B-PI-7", SHALL, "NVM CS 1.2 5.3", "Application tag FFFFh (type 3: and reference tag FFFFFFFFh) ends all checks of its block", NULL) \
	I("NVMCS12_5_3_08", "B-PI-8", SHALL, "NVM CS 1.2 5.3", "Deallocated blocks have tags that end all checks; their guard is as DLFEAT bit 4 says", NULL) \
	I("NVMCS12_5_3_09", "B-PI-9", SHALL, "NVM CS 1.2 5.3", "Write Zeroes with PRACT=1 leaves protection information made of its tags", "with PRACT=0: all ones or zeroes") \
	I("NVMCS12_5_3_10", "B-PI-10", SHALL, "NVM CS 1.2 5.3", "Compare checks as a read does, then compares", NULL) \
	I("NVMCS12_5_3_11", "B-PI-11", SHALL, "NVM CS 1.2 5.3", "Copy with PRACT=0 moves protection information as it is, with PRACT=1 it checks the source's and makes the destination's", NULL) \
	I("NVM21_4_2_3_01", "B-ME-1", SHALL, "Base 2.1 4.2.3", "Data that cannot be read => 2/81h, for commands that touch it and for no other", "a Copy may fail on its own side") \
	I("NVM21_4_2_3_02", "B-ME-2", SHALL, "Base 2.1 4.2.3", "Data that cannot be written => 2/80h; blocks that the command does not name stay as they are", NULL) \
	I("NVM21_4_2_3_03", "B-ME-3", SHALL, "Base 2.1 4.2.3", "A Flush that the medium refuses does not succeed", "Write Fault or Internal Error") \
	I("NVM21_5_1_12_1_02", "B-ME-4", SHALL, "Base 2.1 5.1.12.1", "The error log names the command that failed: SQID, CID, status, NSID, LBA", "the first LBA of the command, or the one that failed") \
	I("NVM21_5_1_12_1_03", "B-ME-5", SHALL, "Base 2.1 5.1.12.1", "The SMART log counts unrecovered data integrity errors and entries of the error log", NULL)

#define ITEM_(id, key, class, section, text, accept) { id, key, VC_##class, section, text, accept, NULL },
const struct vitem checklist_base[] = { CHECKLIST_BASE(ITEM_) { .key = NULL } };
