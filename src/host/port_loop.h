/* A port to a device in the same process (transport/loop.h): the manager's MMC, and everything in the simulator. */
#ifndef FERRY_HOST_PORT_LOOP_H
#define FERRY_HOST_PORT_LOOP_H

#include "host/port.h"
#include "transport/loop.h"

/* The loop is attached and stays the caller's; close frees only the port. `pump` polls the device once: called while the device
 * must let go of memory (dma_unmap). NULL: dma_unmap answers -EAGAIN instead. */
struct port *port_loop_new(struct devloop *, void (*pump)(void *ctx), void *ctx, struct err *);

#endif
