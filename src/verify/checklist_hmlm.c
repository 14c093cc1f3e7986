/* Statements on Host Managed Live Migration: commands, queues, events, state, and the flows they add up to. Numbers are those of Base 2.1
 * (chapters of Base 2.3 are one higher in 5.x and 8.1.x). "=> x/yy" is status code type and status code. */
#include "verify/checklist.h"

/* id, key, class, section, text, accepted where the book leaves a choice, other names */
#define CHECKLIST_HMLM(I) \
	I("NVM21_5_1_13_01", "ID-01", SHALL, "Base 2.1 5.1.13", \
	  "Must report OACS bit 11 = 1 on an MMC and 0 on every secondary controller", \
	  NULL, "V-ID-1 V-ID-2") \
	I("NVM21_5_1_13_02", "ID-02", SHALL, "Base 2.1 5.1.13", \
	  "Must report HMPRE = 0 on every controller of a subsystem containing an MMC", \
	  NULL, "V-ID-3") \
	I("NVM21_5_1_13_03", "ID-03", SHALL, "Base 2.1 5.1.13", \
	  "Must clear MCUDMQ and MNSUDMQ when TRATTR.TUDCS=0", \
	  NULL, "V-ID-8") \
	I("NVM21_5_1_13_04", "ID-04", SHALL, "Base 2.1 5.1.13", \
	  "Must clear CMMRTD, NMMRTD, MINMRTG, MAXMRTG when TRATTR.THMCS=0", \
	  NULL, "V-ID-9") \
	I("NVM21_5_1_13_05", "ID-05", SHALL, "Base 2.1 5.1.13", \
	  "Must keep NMCMR >= MCMR", \
	  NULL, "V-ID-10") \
	I("NVM21_5_1_13_06", "ID-06", SHALL, "Base 2.1 5.1.13", \
	  "Must clear TRATTR bits 7:3 and Identify bytes 577, 767:588", \
	  NULL, NULL) \
	I("NVM21_5_1_13_2_21_01", "ID-07", SHALL, "Base 2.1 5.1.13.2.21", \
	  "Must return CNS 20h data on an MMC with NV, NUUID and lists at 2+2*i / 2+2*NV+16*i", \
	  NULL, "V-ID-11") \
	I("NVM21_5_1_13_2_21_02", "ID-08", SHALL, "Base 2.1 5.1.13.2.21", \
	  "Must have at least one list entry usable by Get/Set State (NV+NUUID >= 1)", \
	  NULL, NULL) \
	I("NVM21_5_1_13_2_21_03", "ID-09", SHALL, "Base 2.1 5.1.13.2.21", \
	  "MC must not support CNS 20h => 0/02h", \
	  NULL, "V-ID-5") \
	I("NVM21_5_1_13_2_21_04", "ID-10", SHOULD, "Base 2.1 5.1.13.2.21", \
	  "Should answer CNS 21h => 0/02h (reserved; the \"21h\" in 8.1.12 is an erratum)", \
	  "X3: 20h is the number; 21h may be refused or an alias", NULL) \
	I("NVMCS12_4_1_5_4_01", "ID-11", SHALL, "NVM CS 1.2 4.1.5.4", \
	  "Must report LBAMQF=0 in CNS 06h/CSI 0 byte 24 when type 0 entries are used", \
	  NULL, NULL) \
	I("NVMCS12_4_1_5_4_02", "ID-12", SHALL, "NVM CS 1.2 4.1.5.4", \
	  "Must set AOCS.RALBAS iff ATYPE 02h is supported", \
	  NULL, NULL) \
	I("NVMCS12_4_1_5_3_01", "ID-13", SHALL, "NVM CS 1.2 4.1.5.3", \
	  "Must report TLBAAG at CNS 05h bytes 295:292 (0 = not reported)", \
	  NULL, NULL) \
	I("NVM21_5_1_12_1_6_01", "ID-14", SHALL, "Base 2.1 5.1.12.1.6", \
	  "Must set CSUPP for 3Dh,3Eh,41h,42h,45h in LID 05h exactly for supported opcodes", \
	  NULL, "V-ID-14") \
	I("NVM21_5_1_12_1_18_01", "ID-15", SHOULD, "Base 2.1 5.1.12.1.18", \
	  "Should report scope bit CDQSCP (dword bit 26) for FID 21h in LID 12h", \
	  NULL, NULL) \
	I("NVM21_8_1_12_01", "ID-16", SHALL, "Base 2.1 8.1.12", \
	  "MMC must support Migration Send SEL 0/1/2 and Migration Receive SEL 0", \
	  NULL, "V-ID-7") \
	I("NVM21_8_1_12_02", "ID-17", SHALL, "Base 2.1 8.1.12", \
	  "MC must not support opcodes 41h and 42h => 0/01h", \
	  NULL, "V-ID-4") \
	I("NVM21_8_1_12_03", "ID-18", SHALL, "Base 2.1 8.1.12", \
	  "MC must not support CDQ Create QT=0", \
	  NULL, "V-ID-6") \
	I("NVM21_5_1_4_01", "CDQ-01", SHALL, "Base 2.1 5.1.4", \
	  "Must return the new CDQID in CQE DW0 15:0 with 31:16 = 0", \
	  NULL, "V-CQ-1") \
	I("NVM21_5_1_4_02", "CDQ-02", SHALL, "Base 2.1 5.1.4", \
	  "Must return a CDQID not equal to any existing CDQID of this controller; reuse after delete allowed", \
	  NULL, "V-CQ-17") \
	I("NVM21_5_1_4_03", "CDQ-03", SHALL, "Base 2.1 5.1.4", \
	  "Must treat CDQIDs as per-controller: the same value on another MMC is unrelated", \
	  NULL, "V-CQ-23") \
	I("NVM21_5_1_4_04", "CDQ-04", SHALL, "Base 2.1 5.1.4", \
	  "Must reject CDQSIZE not a multiple of the slot size => 0/02h", \
	  NULL, "V-CQ-11") \
	I("NVM21_5_1_4_05", "CDQ-05", SHOULD, "Base 2.1 5.1.4", \
	  "Should reject CDQSIZE = 0 => 0/02h", \
	  "the text is silent: Invalid Field or Not Enough Resources", "V-CQ-12") \
	I("NVM21_5_1_4_06", "CDQ-06", SHALL, "Base 2.1 5.1.4", \
	  "Must treat CDQSIZE as a plain dword count (400h = 4096 bytes = 128 slots)", \
	  NULL, NULL) \
	I("NVM21_5_1_4_07", "CDQ-07", SHALL, "Base 2.1 5.1.4", \
	  "Must reject non-zero page offset in PRP1 or any list entry => 0/13h", \
	  NULL, "V-CQ-3 V-CQ-4") \
	I("NVM21_5_1_4_08", "CDQ-08", SHALL, "Base 2.1 5.1.4", \
	  "Must reject CMB/PMR memory => 0/02h", \
	  NULL, "V-CQ-5") \
	I("NVM21_5_1_4_09", "CDQ-09", SHALL, "Base 2.1 5.1.4", \
	  "Must reject a second UDMQ for the same MC => 0/02h", \
	  NULL, "V-CQ-10") \
	I("NVM21_5_1_4_10", "CDQ-10", SHALL, "Base 2.1 5.1.4", \
	  "Must reject when MCUDMQ queues exist => 1/38h (0/02h also printed)", \
	  "X1: Not Enough Resources (38h) or Invalid Field", "V-CQ-8") \
	I("NVM21_5_1_4_11", "CDQ-11", SHALL, "Base 2.1 5.1.4", \
	  "Must reject when MNSUDMQ queues exist in the subsystem => 1/38h (0/02h also printed)", \
	  "X1: Not Enough Resources (38h) or Invalid Field", "V-CQ-9") \
	I("NVM21_5_1_4_12", "CDQ-12", SHALL, "Base 2.1 5.1.4", \
	  "Must reject more than MCMR ranges (MCMR != 0) => 0/02h", \
	  "X11: Invalid Field or Not Enough Resources", "V-CQ-6") \
	I("NVM21_5_1_4_13", "CDQ-13", SHALL, "Base 2.1 5.1.4", \
	  "Must reject exceeding NMCMR over the subsystem => 0/02h", \
	  NULL, "V-CQ-7") \
	I("NVM21_5_1_4_14", "CDQ-14", SHOULD, "Base 2.1 5.1.4", \
	  "Should reject PRP lists longer than MCDQPC => 0/02h", \
	  "X11: Invalid Field or Not Enough Resources", "V-CQ-18") \
	I("NVM21_5_1_4_15", "CDQ-15", SHALL, "Base 2.1 5.1.4", \
	  "Must reject reserved QT 1h-BFh and reserved SEL 2h-BFh => 0/02h", \
	  NULL, "V-CQ-13 V-CQ-14") \
	I("NVM21_5_1_4_16", "CDQ-16", SHALL, "Base 2.1 5.1.4", \
	  "Must reject a CNTLID that is no controller => 1/1Fh", \
	  NULL, "V-CQ-15") \
	I("NVM21_5_1_4_17", "CDQ-17", SHOULD, "Base 2.1 5.1.4", \
	  "Should reject CNTLID of the MMC itself => 1/1Fh", \
	  "the text is silent: Invalid Controller Identifier or Invalid Field", "V-CQ-16") \
	I("NVM21_5_1_4_18", "CDQ-18", SHALL, "Base 2.1 5.1.4", \
	  "Must work with PC=0 and a PRP list spanning several pages, slots contiguous across pages", \
	  NULL, "V-CQ-2") \
	I("NVM21_5_1_4_19", "CDQ-19", SHALL, "Base 2.1 5.1.4", \
	  "Delete of unknown CDQID must => 1/37h", \
	  NULL, "V-CQ-22") \
	I("NVM21_5_1_4_20", "CDQ-20", SHALL, "Base 2.1 5.1.4", \
	  "Delete must stop any further write to the queue memory once its CQE is posted", \
	  NULL, "V-CQ-21") \
	I("NVM21_5_1_4_21", "CDQ-21", SHALL, "Base 2.1 5.1.4", \
	  "CLR of the MMC must delete all its CDQs; a later FID 21h on them => 1/37h", \
	  NULL, "V-CQ-26 V-RE-1") \
	I("NVM21_5_1_4_22", "CDQ-22", SHALL, "Base 2.1 5.1.4", \
	  "CLR of the MC must not delete the UDMQ", \
	  NULL, NULL) \
	I("NVM21_5_1_4_23", "CDQ-23", SHALL, "Base 2.1 5.1.4", \
	  "After delete, a new UDMQ for the same MC must be accepted and start with phase 1 at slot 0", \
	  NULL, NULL) \
	I("NVM21_5_1_4_24", "CDQ-24", SHALL, "Base 2.1 5.1.4", \
	  "Create alone must not post anything (logging starts with Track Send)", \
	  NULL, NULL) \
	I("NVM21_8_1_6_01", "RING-01", SHALL, "Base 2.1 8.1.6", \
	  "First pass entries must have CDQP=1, second 0, flipping on each wrap", \
	  NULL, "V-CQ-20") \
	I("NVM21_8_1_6_02", "RING-02", SHALL, "Base 2.1 8.1.6", \
	  "Must never post when TAIL+1 == HEAD (mod slots)", \
	  NULL, NULL) \
	I("NVM21_8_1_6_03", "RING-03", SHALL, "Base 2.1 8.1.6", \
	  "Exactly slots-1 unconsumed entries must fit", \
	  NULL, NULL) \
	I("NVM21_8_1_6_04", "RING-04", SHALL, "Base 2.1 8.1.6", \
	  "Byte 31 (phase) must become visible last", \
	  NULL, "V-FT-13") \
	I("NVMCS12_5_6_01", "RING-05", SHALL, "NVM CS 1.2 5.6", \
	  "Slot size must be 32 bytes for LBAMQF=0", \
	  NULL, NULL) \
	I("NVMCS12_5_6_02", "RING-06", SHALL, "NVM CS 1.2 5.6", \
	  "First entry after Track Send start must have ESA=001b", \
	  NULL, "V-TS-1") \
	I("NVMCS12_5_6_03", "RING-07", SHALL, "NVM CS 1.2 5.6", \
	  "Entry caused by stop must have ESA=010b and be the last until restart", \
	  NULL, "V-TS-2") \
	I("NVMCS12_5_6_04", "RING-08", SHALL, "NVM CS 1.2 5.6", \
	  "Entry caused by suspend must have ESA=011b", \
	  "when logging is off: with or without an entry", "V-TS-16") \
	I("NVMCS12_5_6_05", "RING-09", SHALL, "NVM CS 1.2 5.6", \
	  "First entry after resume (queue kept, logging on) must have ESA=001b", \
	  NULL, "V-TS-17") \
	I("NVMCS12_5_6_06", "RING-10", SHALL, "NVM CS 1.2 5.6", \
	  "The entry making the queue full must have ESA=111b and nothing may follow until restart", \
	  NULL, "V-TS-15") \
	I("NVMCS12_5_6_07", "RING-11", SHALL, "NVM CS 1.2 5.6", \
	  "LBACIR=10b entries must have NSID=NLB=SLBA=0", \
	  NULL, NULL) \
	I("NVMCS12_5_6_08", "RING-12", SHALL, "NVM CS 1.2 5.6", \
	  "LBACIR=01b entries must have SLBA=0 and a valid NSID", \
	  NULL, NULL) \
	I("NVMCS12_5_6_09", "RING-13", SHALL, "NVM CS 1.2 5.6", \
	  "ESA=000b entries must have LBACIR=00b", \
	  NULL, "V-TS-13") \
	I("NVMCS12_5_6_10", "RING-14", SHALL, "NVM CS 1.2 5.6", \
	  "NLB must be 0's based (1 block => 0)", \
	  NULL, NULL) \
	I("NVMCS12_5_6_11", "RING-15", SHALL, "NVM CS 1.2 5.6", \
	  "A Write of n blocks at s on NSID x through the MC must be covered by entries (possibly merged) for x, s..s+n-1", \
	  NULL, NULL) \
	I("NVMCS12_5_6_12", "RING-16", SHALL, "NVM CS 1.2 5.6", \
	  "Covered ranges must be readable with the new data once the entry is visible", \
	  "X10: the entry may come before the completion of the write", "V-TS-10") \
	I("NVMCS12_5_6_13", "RING-17", SHALL, "NVM CS 1.2 5.6", \
	  "DSM deallocate must be logged; DLBA=1 only if all reported blocks are deallocated", \
	  NULL, "V-TS-14") \
	I("NVMCS12_5_6_14", "RING-18", SHALL, "NVM CS 1.2 5.6", \
	  "Write Zeroes (with and without DEAC) must be logged unless it changed nothing", \
	  NULL, NULL) \
	I("NVMCS12_5_6_15", "RING-19", SHALL, "NVM CS 1.2 5.6", \
	  "Copy destination must be logged; sources must not need logging", \
	  NULL, NULL) \
	I("NVMCS12_5_6_16", "RING-20", SHALL, "NVM CS 1.2 5.6", \
	  "Writes issued through the MMC or another controller must not appear", \
	  NULL, "V-TS-18") \
	I("NVMCS12_5_6_17", "RING-21", SHOULD, "NVM CS 1.2 5.6", \
	  "Failed writes that changed nothing should NOT be logged; partially applied ones should", \
	  NULL, NULL) \
	I("NVMCS12_5_6_18", "RING-22", SHALL, "NVM CS 1.2 5.6", \
	  "Reads must not be logged", \
	  NULL, NULL) \
	I("NVMCS12_5_6_19", "RING-23", SHALL, "NVM CS 1.2 5.6", \
	  "Reserved bytes 30:16 and bit 4 of byte 31 must be 0", \
	  NULL, NULL) \
	I("NVMCS12_5_6_20", "RING-24", SHOULD, "NVM CS 1.2 5.6", \
	  "A merged entry over write-then-deallocate of one range should report the last result", \
	  NULL, NULL) \
	I("NVM21_5_1_25_1_23_01", "FEAT-01", SHALL, "Base 2.1 5.1.25.1.23", \
	  "Set with HP inside (HEAD..TAIL] must free slots", \
	  NULL, "V-FT-1") \
	I("NVM21_5_1_25_1_23_02", "FEAT-02", SHALL, "Base 2.1 5.1.25.1.23", \
	  "Set with HP == TAIL must be accepted (empties queue)", \
	  NULL, NULL) \
	I("NVM21_5_1_25_1_23_03", "FEAT-03", SHALL, "Base 2.1 5.1.25.1.23", \
	  "Set on an empty queue with HP != HEAD must => 0/02h", \
	  NULL, "V-FT-2") \
	I("NVM21_5_1_25_1_23_04", "FEAT-04", SHALL, "Base 2.1 5.1.25.1.23", \
	  "Set with HP on a slot holding no posted entry must => 0/02h, head unchanged", \
	  NULL, "V-FT-3") \
	I("NVM21_5_1_25_1_23_05", "FEAT-05", SHALL, "Base 2.1 5.1.25.1.23", \
	  "Set with HP >= slots must => 0/02h", \
	  NULL, NULL) \
	I("NVM21_5_1_25_1_23_06", "FEAT-06", SHALL, "Base 2.1 5.1.25.1.23", \
	  "Set with unknown CDQID must => 1/37h", \
	  NULL, "V-FT-5") \
	I("NVM21_5_1_25_1_23_07", "FEAT-07", SHALL, "Base 2.1 5.1.25.1.23", \
	  "Get with unknown CDQID must => 1/37h", \
	  NULL, NULL) \
	I("NVM21_5_1_25_1_23_08", "FEAT-08", SHALL, "Base 2.1 5.1.25.1.23", \
	  "ETPT=1 with TPT >= slots must => 0/02h", \
	  NULL, "V-FT-4") \
	I("NVM21_5_1_25_1_23_09", "FEAT-09", SHALL, "Base 2.1 5.1.25.1.23", \
	  "ETPT=0 must ignore CDW13 (any value, e.g. FFFFFFFFh)", \
	  NULL, NULL) \
	I("NVM21_5_1_25_1_23_10", "FEAT-10", SHALL, "Base 2.1 5.1.25.1.23", \
	  "Get must return ETPT+CDQID in DW0 and HP/TPT in the buffer; TPT=0 when ETPT=0", \
	  NULL, "V-FT-9") \
	I("NVM21_5_1_25_1_23_11", "FEAT-11", SHALL, "Base 2.1 5.1.25.1.23", \
	  "Get must ignore CDW11 bit 31", \
	  NULL, NULL) \
	I("NVM21_5_1_25_1_23_12", "FEAT-12", SHALL, "Base 2.1 5.1.25.1.23", \
	  "After the event fires, Get must show ETPT=0", \
	  NULL, "V-FT-6") \
	I("NVM21_5_1_25_1_23_13", "FEAT-13", SHALL, "Base 2.1 5.1.25.1.23", \
	  "A successful Set must discard a pending Tail Pointer event of that CDQ", \
	  NULL, "V-FT-7") \
	I("NVM21_5_1_25_1_23_14", "FEAT-14", SHALL, "Base 2.1 5.1.25.1.23", \
	  "A failed Set must leave HP, TPT, ETPT unchanged", \
	  NULL, NULL) \
	I("NVM21_5_1_25_1_23_15", "FEAT-15", SHALL, "Base 2.1 5.1.25.1.23", \
	  "Settings must not persist over reset (queue is gone)", \
	  NULL, NULL) \
	I("NVM21_5_1_25_1_23_16", "FEAT-16", SHOULD, "Base 2.1 5.1.25.1.23", \
	  "SV=1 should => 1/0Dh", \
	  "Feature Identifier Not Saveable or Invalid Field", NULL) \
	I("NVM21_5_1_25_1_23_17", "FEAT-17", SHALL, "Base 2.1 5.1.25.1.23", \
	  "Wrapped head updates (HP < old HEAD across slot 0) must work", \
	  NULL, NULL) \
	I("NVM21_5_1_2_1_01", "EVT-01", SHALL, "Base 2.1 5.1.2.1", \
	  "Tail event must be AET=100b, AEI=00h, DW1=CDQID, on the MMC", \
	  NULL, "V-FT-10") \
	I("NVM21_5_1_2_1_02", "EVT-02", SHALL, "Base 2.1 5.1.2.1", \
	  "Full event must be AET=100b, AEI=01h, DW1=CDQID", \
	  NULL, "V-FT-11") \
	I("NVM21_5_1_2_1_03", "EVT-03", SHALL, "Base 2.1 5.1.2.1", \
	  "One tail event per arming", \
	  NULL, "V-FT-12") \
	I("NVM21_5_1_2_1_04", "EVT-04", SHALL, "Base 2.1 5.1.2.1", \
	  "No log page read must be needed to re-enable one-shot events", \
	  NULL, NULL) \
	I("NVM21_5_1_2_1_05", "EVT-05", SHOULD, "Base 2.1 5.1.2.1", \
	  "Event with no outstanding AER should be delivered on the next AER unless discarded", \
	  NULL, NULL) \
	I("NVMCS12_4_1_8_01", "EVT-06", SHALL, "NVM CS 1.2 4.1.8", \
	  "Successful Track Send on the CDQ must discard a pending Full event", \
	  NULL, NULL) \
	I("NVM21_5_1_2_1_06", "EVT-07", SHALL, "Base 2.1 5.1.2.1", \
	  "MMC CLR must drop pending events and outstanding AERs without CQE", \
	  NULL, NULL) \
	I("NVM21_8_1_6_05", "EVT-08", SHALL, "Base 2.1 8.1.6", \
	  "TPT trigger timing: accept either \"slot TPT posted\" or \"tail == TPT\"", \
	  "slot TPT was posted, or the new tail equals TPT", NULL) \
	I("NVM21_5_1_2_1_07", "EVT-09", SHALL, "Base 2.1 5.1.2.1", \
	  "Events must not depend on FID 0Bh configuration", \
	  NULL, NULL) \
	I("NVM21_5_1_27_01", "TS-01", SHALL, "Base 2.1 5.1.27", \
	  "Start on valid idle UDMQ must succeed and log all later changes", \
	  NULL, NULL) \
	I("NVM21_5_1_27_02", "TS-02", SHALL, "Base 2.1 5.1.27", \
	  "Start while any controller logs that MC must => 1/37h", \
	  NULL, "V-TS-3") \
	I("NVM21_5_1_27_03", "TS-03", SHALL, "Base 2.1 5.1.27", \
	  "Unknown CDQID must => 1/37h", \
	  NULL, "V-TS-4") \
	I("NVM21_5_1_27_04", "TS-04", SHALL, "Base 2.1 5.1.27", \
	  "Start or stop while the MC is suspended must => 1/39h", \
	  NULL, "V-TS-5") \
	I("NVM21_5_1_27_05", "TS-05", SHALL, "Base 2.1 5.1.27", \
	  "Reserved LACT 2h-Fh must => 0/02h", \
	  NULL, "V-TS-6") \
	I("NVMCS12_4_1_8_02", "TS-06", MAY, "NVM CS 1.2 4.1.8", \
	  "Start on a full queue may => 1/3Bh, else success with no room until HP moves", \
	  "Controller Data Queue Full, or success", NULL) \
	I("NVM21_5_1_27_06", "TS-07", SHOULD, "Base 2.1 5.1.27", \
	  "Stop when not logging should succeed", \
	  "the text is silent: success expected", NULL) \
	I("NVMCS12_4_1_8_03", "TS-08", MAY, "NVM CS 1.2 4.1.8", \
	  "Start/stop markers may appear after the CQE; test must poll", \
	  NULL, NULL) \
	I("NVM21_5_1_27_07", "TS-09", SHALL, "Base 2.1 5.1.27", \
	  "Restart after stop must post ESA=001b again, same queue, continuing tail/phase", \
	  NULL, NULL) \
	I("NVMCS12_4_1_8_04", "TS-10", SHALL, "NVM CS 1.2 4.1.8", \
	  "Restart after full (host freed slots) must work", \
	  NULL, NULL) \
	I("NVMCS12_4_1_8_05", "TS-11", SHALL, "NVM CS 1.2 4.1.8", \
	  "With RALBAS=1, a write racing with start must be visible in ATYPE 02h or in the queue", \
	  NULL, NULL) \
	I("NVM21_5_1_27_08", "TS-12", SHALL, "Base 2.1 5.1.27", \
	  "Reserved SEL 2h-FFh must => 0/02h", \
	  NULL, "V-TS-8") \
	I("NVM21_5_1_27_09", "TS-13", SHOULD, "Base 2.1 5.1.27", \
	  "SEL=0 with TUDCS=0, SEL=1 with THMCS=0 should => 0/02h", \
	  NULL, "V-TS-7") \
	I("NVM21_5_1_27_1_2_01", "TS-20", SHALL, "Base 2.1 5.1.27.1.2", \
	  "TACT=1 with CNTLID == self must => 1/1Fh", \
	  NULL, "V-TM-9") \
	I("NVM21_5_1_27_10", "TS-21", SHALL, "Base 2.1 5.1.27", \
	  "TACT=1 when already tracked by any controller must => 1/1Fh", \
	  NULL, "V-TM-7") \
	I("NVM21_5_1_27_11", "TS-22", SHALL, "Base 2.1 5.1.27", \
	  "TACT=1 for suspended MC must => 1/39h", \
	  NULL, "V-TM-10") \
	I("NVM21_5_1_27_12", "TS-23", SHALL, "Base 2.1 5.1.27", \
	  "RMRTG outside must => 0/02h", \
	  NULL, "V-TM-3 V-TM-4") \
	I("NVM21_5_1_27_13", "TS-24", SHALL, "Base 2.1 5.1.27", \
	  "VER != 0 must => 0/02h", \
	  NULL, "V-TM-11") \
	I("NVM21_5_1_27_14", "TS-25", SHALL, "Base 2.1 5.1.27", \
	  "Misaligned SADDR must => 0/02h", \
	  NULL, "V-TM-12") \
	I("NVM21_5_1_27_15", "TS-26", SHALL, "Base 2.1 5.1.27", \
	  "Sum of descriptors > CMMRTD must => 0/02h; > NMMRTD must => 0/02h", \
	  NULL, "V-TM-5 V-TM-6") \
	I("NVM21_5_1_27_16", "TS-27", SHALL, "Base 2.1 5.1.27", \
	  "MRTLL=1 and LEN not a power of two must => 0/02h", \
	  NULL, "V-TM-8") \
	I("NVM21_5_1_27_17", "TS-28", SHALL, "Base 2.1 5.1.27", \
	  "Range outside MC host memory must => 0/02h", \
	  NULL, "V-TM-13") \
	I("NVM21_5_1_27_18", "TS-29", SHALL, "Base 2.1 5.1.27", \
	  "Not Enough Resources must carry MRTG in DW0 and NMRTD in DW1", \
	  NULL, "V-TM-14") \
	I("NVM21_5_1_27_19", "TS-30", SHALL, "Base 2.1 5.1.27", \
	  "TACT=0 must ignore the data buffer and stop tracking", \
	  NULL, "V-TM-2") \
	I("NVM21_5_1_27_20", "TS-31", SHALL, "Base 2.1 5.1.27", \
	  "Buffer length must be derived from RNMRTD (8+12*n)", \
	  NULL, NULL) \
	I("NVM21_5_1_26_01", "TR-01", SHALL, "Base 2.1 5.1.26", \
	  "Must report every page written by the MC (data, CQEs, admin data) in tracked ranges since start / last report", \
	  NULL, "V-TR-1") \
	I("NVM21_5_1_26_02", "TR-02", SHALL, "Base 2.1 5.1.26", \
	  "Must not repeat unchanged ranges in the next report", \
	  NULL, "V-TR-2") \
	I("NVM21_5_1_26_03", "TR-03", SHALL, "Base 2.1 5.1.26", \
	  "Must set MTR=1 when the buffer could not hold all, and deliver the rest next time", \
	  NULL, "V-TR-4") \
	I("NVM21_5_1_26_04", "TR-04", SHALL, "Base 2.1 5.1.26", \
	  "NTMCD=0 must imply MTR=0", \
	  NULL, NULL) \
	I("NVM21_5_1_26_05", "TR-05", SHALL, "Base 2.1 5.1.26", \
	  "SUSP must reflect suspension during processing", \
	  NULL, NULL) \
	I("NVM21_5_1_26_06", "TR-06", SHALL, "Base 2.1 5.1.26", \
	  "After suspend, once MTR=0 & SUSP=1, further reports must be empty until resume", \
	  NULL, "V-TR-5") \
	I("NVM21_5_1_26_07", "TR-07", SHALL, "Base 2.1 5.1.26", \
	  "SADDR must be aligned to 2^RPMPG*4KiB, LEN in those units", \
	  NULL, "V-TR-6") \
	I("NVM21_5_1_26_08", "TR-08", SHALL, "Base 2.1 5.1.26", \
	  "NUMDL must be 0's based; oversize is not an error", \
	  NULL, "V-TR-7") \
	I("NVM21_5_1_26_09", "TR-09", SHALL, "Base 2.1 5.1.26", \
	  "A failed Track Receive must not consume changes", \
	  NULL, "V-TR-3") \
	I("NVM21_5_1_26_10", "TR-10", SHOULD, "Base 2.1 5.1.26", \
	  "CNTLID not tracked by this controller should => 1/1Fh", \
	  "X9: Invalid Controller Identifier or Invalid Field", "V-TR-8") \
	I("NVM21_5_1_26_11", "TR-11", SHALL, "Base 2.1 5.1.26", \
	  "MMC CLR must stop all memory tracking", \
	  NULL, NULL) \
	I("NVM21_5_1_26_12", "TR-12", SHALL, "Base 2.1 5.1.26", \
	  "Changes outside tracked ranges must not be reported beyond granularity rounding", \
	  NULL, NULL) \
	I("NVM21_5_1_17_1_1_01", "SUS-01", SHALL, "Base 2.1 5.1.17.1.1", \
	  "STYPE=1 must stop fetching on admin and all I/O SQs of the MC", \
	  NULL, "V-SU-2") \
	I("NVM21_5_1_17_1_1_02", "SUS-02", SHALL, "Base 2.1 5.1.17.1.1", \
	  "All fetched commands except AERs must complete (CQEs visible) before the Suspend CQE", \
	  NULL, "V-SU-3") \
	I("NVM21_5_1_17_1_1_03", "SUS-03", SHALL, "Base 2.1 5.1.17.1.1", \
	  "No DMA, CQE or interrupt from the MC after the Suspend CQE", \
	  NULL, NULL) \
	I("NVM21_5_1_17_1_1_04", "SUS-04", SHALL, "Base 2.1 5.1.17.1.1", \
	  "Outstanding AERs must stay outstanding (no CQE)", \
	  NULL, "V-SU-14") \
	I("NVM21_5_1_17_1_1_05", "SUS-05", SHALL, "Base 2.1 5.1.17.1.1", \
	  "Doorbell writes while suspended must be accepted and not cause fetches", \
	  NULL, NULL) \
	I("NVM21_5_1_17_1_1_06", "SUS-06", SHALL, "Base 2.1 5.1.17.1.1", \
	  "Commands queued during suspension must execute after Resume in order of the SQ", \
	  NULL, "V-SU-4") \
	I("NVM21_5_1_17_1_1_07", "SUS-07", SHALL, "Base 2.1 5.1.17.1.1", \
	  "Repeated Suspend with same STYPE must succeed", \
	  NULL, "V-SU-5") \
	I("NVM21_5_1_17_1_1_08", "SUS-08", SHALL, "Base 2.1 5.1.17.1.1", \
	  "STYPE=0 must succeed and must not stop the MC", \
	  NULL, "V-SU-1") \
	I("NVM21_5_1_17_1_1_09", "SUS-09", SHALL, "Base 2.1 5.1.17.1.1", \
	  "Reserved STYPE must => 0/02h", \
	  NULL, "V-SU-6") \
	I("NVM21_5_1_17_1_1_10", "SUS-10", SHALL, "Base 2.1 5.1.17.1.1", \
	  "DUDMQ=1 must delete the MC's UDMQ before the CQE; CDQID then => 1/37h", \
	  "X5: with or without the suspended entry; nothing is written after the completion", "V-CQ-25 V-SU-7") \
	I("NVM21_5_1_17_1_1_11", "SUS-11", SHALL, "Base 2.1 5.1.17.1.1", \
	  "DUDMQ=1 without a UDMQ must succeed (\"if any\")", \
	  NULL, NULL) \
	I("NVM21_5_1_17_1_1_12", "SUS-12", SHALL, "Base 2.1 5.1.17.1.1", \
	  "DUDMQ=0 must keep the UDMQ and its unread entries", \
	  NULL, "V-SU-8") \
	I("NVM21_5_1_17_1_1_13", "SUS-13", SHALL, "Base 2.1 5.1.17.1.1", \
	  "ESA=011b must come after every data entry of drained commands; with DUDMQ=1 before the CQE", \
	  "X6: the entry may come after the completion of Suspend, within the command time-out", NULL) \
	I("NVM21_5_1_17_1_1_14", "SUS-14", SHOULD, "Base 2.1 5.1.17.1.1", \
	  "Unknown CNTLID or self should => 1/1Fh", \
	  "the text is silent: Invalid Controller Identifier or Invalid Field", "V-SU-11") \
	I("NVM21_5_1_17_1_1_15", "SUS-15", SHALL, "Base 2.1 5.1.17.1.1", \
	  "Register reads and CMB/PMR access on a suspended MC must work", \
	  NULL, "V-SU-9 V-SU-10") \
	I("NVM21_5_1_17_1_1_16", "SUS-16", SHALL, "Base 2.1 5.1.17.1.1", \
	  "CLR of the MC must end suspension", \
	  NULL, "V-SU-13 V-RE-2") \
	I("NVM21_5_1_17_1_1_17", "SUS-17", SHALL, "Base 2.1 5.1.17.1.1", \
	  "CLR of the MMC must end suspension it caused", \
	  "X2: a reset of the MMC releases what it suspended, or does not; recorded", "V-RE-3") \
	I("NVM21_5_1_17_1_1_18", "SUS-18", SHALL, "Base 2.1 5.1.17.1.1", \
	  "Other controllers must be unaffected", \
	  NULL, NULL) \
	I("NVM21_5_1_17_1_1_19", "SUS-19", SHALL, "Base 2.1 5.1.17.1.1", \
	  "Sanitize on any controller while one is suspended must => 1/39h", \
	  NULL, "V-SU-12") \
	I("NVM21_5_1_17_1_1_20", "SUS-20", SHALL, "Base 2.1 5.1.17.1.1", \
	  "MOS bits must be ignored or rejected as reserved, not interpreted", \
	  "ignored or refused, never interpreted", NULL) \
	I("NVM21_5_1_17_1_1_21", "SUS-21", SHALL, "Base 2.1 5.1.17.1.1", \
	  "Migration Send reserved SEL 3h-FFh must => 0/02h", \
	  NULL, NULL) \
	I("NVM21_5_1_17_1_2_01", "RES-01", SHALL, "Base 2.1 5.1.17.1.2", \
	  "Resume of a running MC must => 1/3Ah", \
	  NULL, "V-RS-2") \
	I("NVM21_5_1_17_1_2_02", "RES-02", SHALL, "Base 2.1 5.1.17.1.2", \
	  "Resume with received, uncommitted state must => 0/0Ch and stay suspended", \
	  NULL, "V-RS-3") \
	I("NVM21_5_1_17_1_2_03", "RES-03", SHALL, "Base 2.1 5.1.17.1.2", \
	  "After success the MC must fetch from restored heads", \
	  NULL, "V-RS-1") \
	I("NVM21_5_1_17_1_2_04", "RES-04", SHALL, "Base 2.1 5.1.17.1.2", \
	  "With UDMQ kept and logging on, ESA=001b must be the next entry", \
	  NULL, "V-RS-6") \
	I("NVM21_5_1_17_1_2_05", "RES-05", SHALL, "Base 2.1 5.1.17.1.2", \
	  "Memory tracking started before suspension must continue after Resume", \
	  NULL, NULL) \
	I("NVM21_5_1_17_1_2_06", "RES-06", SHOULD, "Base 2.1 5.1.17.1.2", \
	  "Unknown CNTLID should => 1/1Fh", \
	  "the text is silent: Invalid Controller Identifier or Invalid Field", "V-RS-5") \
	I("NVM21_5_1_17_1_2_07", "RES-07", SHALL, "Base 2.1 5.1.17.1.2", \
	  "Second Resume must => 1/3Ah", \
	  NULL, NULL) \
	I("NVM21_5_1_16_01", "GCS-01", SHALL, "Base 2.1 5.1.16", \
	  "Header must be 48 bytes, VER=0, NVMECSS 128-bit at 31:16, VSS at 47:32", \
	  NULL, NULL) \
	I("NVM21_5_1_16_02", "GCS-02", SHALL, "Base 2.1 5.1.16", \
	  "CSVI=0 must give NVMECSS=0; CSUUIDI=0 must give VSS=0", \
	  NULL, "V-MR-6") \
	I("NVM21_5_1_16_03", "GCS-03", SHALL, "Base 2.1 5.1.16", \
	  "Unknown CSVI/CSUUIDI must => 0/02h", \
	  NULL, "V-MR-5") \
	I("NVM21_5_1_16_04", "GCS-04", SHALL, "Base 2.1 5.1.16", \
	  "CSUP (DW0 bit 0) and CSATTR.CP must be 1 only if suspended during the entire command", \
	  NULL, "V-MR-1") \
	I("NVM21_5_1_16_05", "GCS-05", SHALL, "Base 2.1 5.1.16", \
	  "Running MC must be readable with CSUP=0", \
	  NULL, "V-MR-2") \
	I("NVM21_5_1_16_06", "GCS-06", SHALL, "Base 2.1 5.1.16", \
	  "SQ and CQ lists must be ascending by QID, SQs first, 24 bytes each", \
	  NULL, "V-MR-9") \
	I("NVM21_5_1_16_07", "GCS-07", SHALL, "Base 2.1 5.1.16", \
	  "IOSQQSIZE/IOCQQSIZE must equal the 0's based QSIZE of Create", \
	  NULL, "V-MR-10") \
	I("NVM21_5_1_16_08", "GCS-08", SHALL, "Base 2.1 5.1.16", \
	  "IOSQHP must equal the SQHD of the last posted completion state; IOSQTP the last doorbell", \
	  NULL, NULL) \
	I("NVM21_5_1_16_09", "GCS-09", SHALL, "Base 2.1 5.1.16", \
	  "S0PT must equal the phase tag in slot 0 of the CQ", \
	  NULL, NULL) \
	I("NVM21_5_1_16_10", "GCS-10", SHALL, "Base 2.1 5.1.16", \
	  "Offset not dword aligned must => 0/02h", \
	  NULL, "V-MR-3") \
	I("NVM21_5_1_16_11", "GCS-11", SHALL, "Base 2.1 5.1.16", \
	  "Offset beyond the data must => 0/02h", \
	  NULL, "V-MR-4") \
	I("NVM21_5_1_16_12", "GCS-12", SHALL, "Base 2.1 5.1.16", \
	  "Reading in pieces by offset must equal one big read while suspended", \
	  NULL, "V-MR-8") \
	I("NVM21_5_1_16_13", "GCS-13", SHALL, "Base 2.1 5.1.16", \
	  "NUMDL larger than the data must not fail", \
	  NULL, "V-MR-7") \
	I("NVM21_5_1_16_14", "GCS-14", SHALL, "Base 2.1 5.1.16", \
	  "Invalid CNTLID must => 1/1Fh", \
	  NULL, "V-MR-11") \
	I("NVM21_5_1_16_15", "GCS-15", SHALL, "Base 2.1 5.1.16", \
	  "CSUIDXP must be ignored when CSUUIDI=0", \
	  NULL, NULL) \
	I("NVM21_5_1_16_16", "GCS-16", SHALL, "Base 2.1 5.1.16", \
	  "Reserved SEL 1h-FFh must => 0/02h", \
	  NULL, "V-MR-13") \
	I("NVM21_5_1_16_17", "GCS-17", SHALL, "Base 2.1 5.1.16", \
	  "MC with no I/O queues must give NIOSQ=NIOCQ=0, NVMECSS=2", \
	  NULL, NULL) \
	I("NVM21_5_1_17_1_3_01", "SCS-01", SHALL, "Base 2.1 5.1.17.1.3", \
	  "SEQIND=11b with a full valid image must create queues and set pointers/phase", \
	  "X7: 11b commits as 10b does", "V-ST-1 V-ST-11") \
	I("NVM21_5_1_17_1_3_02", "SCS-02", SHALL, "Base 2.1 5.1.17.1.3", \
	  "01b,00b*,10b with increasing offsets must equal one 11b", \
	  NULL, "V-ST-2") \
	I("NVM21_5_1_17_1_3_03", "SCS-03", SHALL, "Base 2.1 5.1.17.1.3", \
	  "10b with NUMD=0 must be accepted as commit", \
	  NULL, NULL) \
	I("NVM21_5_1_17_1_3_04", "SCS-04", SHOULD, "Base 2.1 5.1.17.1.3", \
	  "NUMD=0 with other SEQIND should => 0/02h", \
	  NULL, "V-ST-5") \
	I("NVM21_5_1_17_1_3_05", "SCS-05", SHALL, "Base 2.1 5.1.17.1.3", \
	  "00b or 10b without open sequence must => 0/0Ch", \
	  NULL, "V-ST-3") \
	I("NVM21_5_1_17_1_3_06", "SCS-06", SHALL, "Base 2.1 5.1.17.1.3", \
	  "01b during an open sequence must discard it and restart", \
	  NULL, "V-ST-4") \
	I("NVM21_5_1_17_1_3_07", "SCS-07", SHALL, "Base 2.1 5.1.17.1.3", \
	  "CSVI=0 & CSUUIDI=0 must => 0/02h", \
	  NULL, "V-ST-7") \
	I("NVM21_5_1_17_1_3_08", "SCS-08", SHALL, "Base 2.1 5.1.17.1.3", \
	  "CSVI=0 with NVMECSS != 0 must => 0/02h; CSUUIDI=0 with VSS != 0 must => 0/02h", \
	  NULL, "V-ST-8") \
	I("NVM21_5_1_17_1_3_09", "SCS-09", SHALL, "Base 2.1 5.1.17.1.3", \
	  "Unknown CSVI/CSUUIDI must => 0/02h", \
	  NULL, NULL) \
	I("NVM21_5_1_17_1_3_10", "SCS-10", SHALL, "Base 2.1 5.1.17.1.3", \
	  "NVMECSS != 0 while the MC has any I/O queue must => 0/02h", \
	  NULL, "V-ST-9") \
	I("NVM21_5_1_17_1_3_11", "SCS-11", SHALL, "Base 2.1 5.1.17.1.3", \
	  "MC not suspended, not enabled, not offline-secondary must => 1/1Fh", \
	  NULL, "V-ST-10") \
	I("NVM21_5_1_17_1_3_12", "SCS-12", SHALL, "Base 2.1 5.1.17.1.3", \
	  "Offset misaligned or beyond the image must => 0/02h", \
	  NULL, "V-ST-6") \
	I("NVM21_5_1_17_1_3_13", "SCS-13", SHOULD, "Base 2.1 5.1.17.1.3", \
	  "Outer VER != 0 or inner VER != selected version should => 0/02h", \
	  NULL, NULL) \
	I("NVM21_5_1_17_1_3_14", "SCS-14", SHOULD, "Base 2.1 5.1.17.1.3", \
	  "Inconsistent image (CQID missing, duplicate QID, QID 0, head/tail > QSIZE, NVMECSS mismatch) should => 0/02h with no queue created", \
	  NULL, "V-ST-14") \
	I("NVM21_5_1_17_1_3_15", "SCS-15", SHALL, "Base 2.1 5.1.17.1.3", \
	  "A failed piece must leave the MC able to accept a full re-transfer", \
	  NULL, "V-ST-12") \
	I("NVM21_5_1_17_1_3_16", "SCS-16", SHALL, "Base 2.1 5.1.17.1.3", \
	  "Committed persistent state must survive an MC CLR", \
	  NULL, "V-ST-13") \
	I("NVM21_5_1_17_1_3_17", "SCS-17", SHALL, "Base 2.1 5.1.17.1.3", \
	  "CSUUIDI is CDW11 31:24 and CSVI 23:16 here, unlike Get", \
	  NULL, NULL) \
	I("NVM21_5_1_17_1_3_18", "SCS-18", SHOULD, "Base 2.1 5.1.17.1.3", \
	  "Too many queues should => 1/38h", \
	  NULL, NULL) \
	I("NVM21_5_1_17_1_3_19", "SCS-19", SHALL, "Base 2.1 5.1.17.1.3", \
	  "Round trip Get -> Set -> Get on an equal MC must reproduce the NVMe part byte for byte", \
	  NULL, NULL) \
	I("NVM21_5_1_17_1_3_20", "SCS-20", SHALL, "Base 2.1 5.1.17.1.3", \
	  "After Set + Resume the first CQE must carry the phase given by 6.2 conversion", \
	  NULL, NULL) \
	I("NVMCS12_4_2_1_01", "LBA-01", SHOULD, "NVM CS 1.2 4.2.1", \
	  "ATYPE 02h without RALBAS, 10h/11h without GLSS should => 0/02h", \
	  NULL, NULL) \
	I("NVMCS12_4_2_1_02", "LBA-02", SHALL, "NVM CS 1.2 4.2.1", \
	  "Fully deallocated units must not be reported; fully or partly allocated ones must", \
	  NULL, NULL) \
	I("NVMCS12_4_2_1_03", "LBA-03", SHALL, "NVM CS 1.2 4.2.1", \
	  "LBARS must be 010b for ATYPE 02h", \
	  NULL, NULL) \
	I("NVMCS12_4_2_1_04", "LBA-04", SHALL, "NVM CS 1.2 4.2.1", \
	  "NLB 0's based, descriptors ascending, non-overlapping, inside the range", \
	  NULL, NULL) \
	I("NVMCS12_4_2_1_05", "LBA-05", SHALL, "NVM CS 1.2 4.2.1", \
	  "RL=0 must mean up to NSZE-1", \
	  NULL, NULL) \
	I("NVMCS12_4_2_1_06", "LBA-06", SHALL, "NVM CS 1.2 4.2.1", \
	  "CMPC=1 when descriptors remain, 2 when complete", \
	  NULL, NULL) \
	I("NVMCS12_4_2_1_07", "LBA-07", SHALL, "NVM CS 1.2 4.2.1", \
	  "Transfer must not exceed (MNDW+1) dwords; NLSD counts returned descriptors", \
	  NULL, NULL) \
	I("NVMCS12_4_2_1_08", "LBA-08", SHALL, "NVM CS 1.2 4.2.1", \
	  "A never written namespace must return NLSD=0, CMPC=2", \
	  NULL, NULL) \
	I("NVMCS12_4_2_1_09", "LBA-09", SHALL, "NVM CS 1.2 4.2.1", \
	  "Write then full-unit deallocate must remove the unit from the report", \
	  NULL, NULL) \
	I("NVM21_8_1_12_04", "X-01", SHALL, "Base 2.1 8.1.12", \
	  "NVM Subsystem Reset must clear CDQs, tracking and suspension everywhere", \
	  NULL, NULL) \
	I("NVM21_8_1_12_05", "X-02", SHALL, "Base 2.1 8.1.12", \
	  "Commands of this family must not depend on NSID", \
	  "ignored, or a non-zero NSID refused", NULL) \
	I("NVM21_8_1_12_06", "X-03", SHALL, "Base 2.1 8.1.12", \
	  "Two MMCs: logging of one MC by both must be refused (create 0/02h or start 1/37h)", \
	  "refused at create (Invalid Field) or at start (37h)", NULL) \
	I("NVM21_8_1_12_07", "X-04", SHALL, "Base 2.1 8.1.12", \
	  "Two MCs with separate UDMQs must log independently", \
	  NULL, NULL) \
	I("NVM21_8_1_12_08", "X-05", SHALL, "Base 2.1 8.1.12", \
	  "Shared namespace: only the writing MC's queue gets the entry", \
	  NULL, NULL) \
	I("NVM21_8_1_12_09", "X-06", SHALL, "Base 2.1 8.1.12", \
	  "End-to-end: copy via 02h + drained UDMQ up to ESA=011b must make destination identical", \
	  NULL, NULL) \
	I("NVM21_8_1_12_10", "X-07", SHALL, "Base 2.1 8.1.12", \
	  "Abort path: Suspend(DUDMQ=0) -> Resume -> continue logging must lose no change", \
	  NULL, "V-RS-4") \
	I("NVM21_8_1_12_11", "X-08", SHALL, "Base 2.1 8.1.12", \
	  "Full path: after ESA=111b, recopy + restart must converge", \
	  NULL, NULL) \
	I("NVM21_8_1_12_12", "X-09", SHALL, "Base 2.1 8.1.12", \
	  "Large state (64 queue pairs: 48+8+24*128 = 3128 bytes) must transfer in one and in many pieces", \
	  NULL, NULL) \
	I("NVM21_8_1_12_13", "X-10", SHOULD, "Base 2.1 8.1.12", \
	  "Nvme-cli and libvfn `migrate` should run unmodified", \
	  NULL, NULL) \
	I("NVM21_8_1_12_14", "X-11", SHALL, "Base 2.1 8.1.12", \
	  "During an NVM subsystem sanitize the five commands must => 0/1Dh", \
	  NULL, NULL) \
	I("NVM21_8_1_12_15", "X-12", SHALL, "Base 2.1 8.1.12", \
	  "(2.3) Migration Send/Receive for an MC with a namespace under namespace sanitize must => 0/2Ch", \
	  NULL, NULL) \
	I("NVM21_8_1_12_16", "X-13", SHALL, "Base 2.1 8.1.12", \
	  "(2.3) Cross-Controller Reset of an MC or MMC must act as its CLR", \
	  NULL, NULL) \
	I("NVM21_8_1_12_17", "X-14", SHALL, "Base 2.1 8.1.12", \
	  "Discovery controllers must not support any of the five commands nor FID 21h", \
	  NULL, "V-ID-12") \
	I("NVM21_3_1_3_4_01", "V-ID-13", SHALL, "Base 2.1 3.1.3.4", \
	  "Bits 1:0 of the five opcodes tell the direction of the data as tabled", \
	  NULL, NULL) \
	I("NVM21_5_1_4_25", "V-CQ-19", UNDEFINED, "Base 2.1 5.1.4", \
	  "A PRP list that changes while its queue lives: undefined, but the controller must go on working", \
	  "anything but a controller that is lost", NULL) \
	I("NVM21_5_1_4_26", "V-CQ-24", UNDEFINED, "Base 2.1 5.1.4", \
	  "Deleting a queue while its controller is logged", \
	  "success; the memory is left alone afterwards", NULL) \
	I("NVM21_5_1_25_1_23_18", "V-FT-8", MAY, "Base 2.1 5.1.25.1.23", \
	  "The old trigger may fire before a new Set Features completes; afterwards only the new one", \
	  "one stale event before the completion", NULL) \
	I("NVMCS12_5_6_21", "V-TS-9", SHALL, "NVM CS 1.2 5.6", \
	  "Every command that changes user data is covered by entries: Write, Write Zeroes, Write Uncorrectable, Deallocate, Copy, Compare and Write, Format", \
	  NULL, NULL) \
	I("NVMCS12_5_6_22", "V-TS-11", MAY, "NVM CS 1.2 5.6", \
	  "Entries may be merged: what counts is which blocks they cover", \
	  NULL, NULL) \
	I("NVMCS12_5_6_23", "V-TS-12", MAY, "NVM CS 1.2 5.6", \
	  "More blocks than were changed may be reported", \
	  NULL, NULL) \
	I("NVM21_5_1_27_21", "V-TM-1", SHALL, "Base 2.1 5.1.27", \
	  "Tracking of host memory starts with TACT=1", \
	  NULL, NULL) \
	I("NVM21_5_1_27_22", "V-TM-15", UNDEFINED, "Base 2.1 5.1.27", \
	  "RNMRTD=0 with TACT=1", \
	  "Invalid Field, or success with nothing tracked", NULL) \
	I("NVM21_5_1_27_23", "V-TM-16", UNDEFINED, "Base 2.1 5.1.27", \
	  "Ranges that overlap", \
	  "Invalid Field, or success", NULL) \
	I("NVM21_5_1_27_24", "V-TM-17", MAY, "Base 2.1 5.1.27", \
	  "Writes to interrupt addresses inside a tracked range may be reported", \
	  NULL, NULL) \
	I("NVM21_5_1_26_13", "V-TR-9", SHALL, "Base 2.1 5.1.26", \
	  "Reserved SEL 1h-FFh of Track Receive => 0/02h", \
	  NULL, NULL) \
	I("NVM21_5_1_16_18", "V-MR-12", UNDEFINED, "Base 2.1 5.1.16", \
	  "State of the MMC itself", \
	  "Invalid Controller Identifier, or success", NULL) \
	I("NVM21_5_1_16_19", "V-MR-14", UNDEFINED, "Base 2.1 5.1.16", \
	  "UIDX that names no UUID", \
	  "ignored, or Invalid Field", NULL) \
	I("NVM21_5_1_17_1_3_21", "V-ST-15", SHALL, "Base 2.1 5.1.17.1.3", \
	  "Sequences for two controllers do not disturb each other", \
	  NULL, NULL) \
	I("NVM21_5_1_17_1_3_22", "V-ST-16", SHALL, "Base 2.1 5.1.17.1.3", \
	  "State of a vendor format that is not listed is refused", \
	  NULL, NULL) \
	I("NVM21_3_7_2_01", "V-RE-4", SHALL, "Base 2.1 3.7.2", \
	  "Every way to cause a Controller Level Reset (CC.EN, function reset, subsystem reset) has the same effect on migration", \
	  NULL, NULL) \
	I("NVM21_5_1_17_1_3_23", "V-RE-5", SHALL, "Base 2.1 5.1.17.1.3", \
	  "A reset of the MMC inside a sequence ends the sequence: the next middle or last piece => 0/0Ch", \
	  NULL, NULL) \
	I("NVM21_5_1_16_20", "V-RE-6", SHALL, "Base 2.1 5.1.16", \
	  "A reset of the MC ends its suspension for Get Controller State too: CSUP is 0", \
	  NULL, NULL) \
	I("NVM21_8_1_12_18", "F-ID-1", SHALL, "Base 2.1 8.1.12", \
	  "A migratable controller does not accept Track Send and Track Receive unless it reports them", \
	  "Invalid Command Opcode or Invalid Field", NULL) \
	I("NVM21_5_1_13_07", "F-ID-2", SHALL, "Base 2.1 5.1.13", \
	  "Controllers of a subsystem have different CNTLIDs", \
	  NULL, NULL) \
	I("NVM21_5_1_13_08", "F-ID-3", SHALL, "Base 2.1 5.1.13", \
	  "The controller list ascends and has every controller", \
	  NULL, NULL) \
	I("NVM21_1_4_01", "F-CQ-1", MAY, "Base 2.1 1.4", \
	  "Reserved bits need not be checked", \
	  "success or Invalid Field", NULL) \
	I("NVM21_8_1_12_19", "E2E-01", SHALL, "Base 2.1 8.1.12", \
	  "The whole flow with an idle controller", \
	  NULL, NULL) \
	I("NVM21_8_1_12_20", "E2E-02", SHALL, "Base 2.1 8.1.12", \
	  "The whole flow with reads under way", \
	  NULL, NULL) \
	I("NVM21_8_1_12_21", "E2E-03", SHALL, "Base 2.1 8.1.12", \
	  "The whole flow with writes under way", \
	  NULL, NULL) \
	I("NVM21_8_1_12_22", "E2E-04", SHALL, "Base 2.1 8.1.12", \
	  "The whole flow with a hot set that is overwritten", \
	  NULL, NULL) \
	I("NVM21_8_1_12_23", "E2E-05", SHALL, "Base 2.1 8.1.12", \
	  "The whole flow with deallocation mixed with writes", \
	  NULL, NULL) \
	I("NVM21_8_1_12_24", "E2E-06", SHALL, "Base 2.1 8.1.12", \
	  "The whole flow with queue pointers and phase at every position of the ring", \
	  NULL, NULL) \
	I("NVM21_8_1_12_25", "E2E-07", SHALL, "Base 2.1 8.1.12", \
	  "The whole flow with commands queued at the moment of suspension", \
	  NULL, NULL) \
	I("NVM21_8_1_12_26", "E2E-08", SHALL, "Base 2.1 8.1.12", \
	  "The whole flow with queues that share a completion queue", \
	  NULL, NULL) \
	I("NVM21_8_1_12_27", "E2E-09", SHALL, "Base 2.1 8.1.12", \
	  "The whole flow with Asynchronous Event Requests outstanding", \
	  NULL, NULL) \
	I("NVM21_8_1_12_28", "E2E-10", SHALL, "Base 2.1 8.1.12", \
	  "The whole flow with 64 queue pairs", \
	  NULL, NULL) \
	I("NVM21_8_1_12_29", "E2E-11", SHALL, "Base 2.1 8.1.12", \
	  "The whole flow with there and back again", \
	  NULL, NULL) \
	I("NVM21_8_1_12_30", "E2E-12", SHALL, "Base 2.1 8.1.12", \
	  "The whole flow with the identity a guest sees", \
	  NULL, NULL) \
	I("NVM21_8_1_12_31", "E2E-13", SHALL, "Base 2.1 8.1.12", \
	  "The whole flow with a sparse namespace copied by Get LBA Status", \
	  NULL, NULL) \
	I("NVM21_8_1_12_32", "E2E-14", SHALL, "Base 2.1 8.1.12", \
	  "The whole flow with changes faster than they are copied: the log fills and everything is copied again", \
	  NULL, NULL) \
	I("NVM21_8_1_12_33", "E2E-15", SHALL, "Base 2.1 8.1.12", \
	  "The whole flow with a destination with fewer queues refuses the state", \
	  NULL, NULL)

#define ITEM_(id, key, class, section, text, accept, also) { id, key, VC_##class, section, text, accept, also },
const struct vitem checklist_hmlm[] = { CHECKLIST_HMLM(ITEM_) { .key = NULL } };
