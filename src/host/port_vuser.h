/* A port to a device behind a vfio-user socket, any server's. Calls that need an answer wait for it (transport/vuser_client.h). */
#ifndef FERRY_HOST_PORT_VUSER_H
#define FERRY_HOST_PORT_VUSER_H

#include "host/port.h"
#include "transport/vuser_client.h"

/* Connects to the socket. `idle` as in vuser_client_connect. NULL and a sentence on failure. */
struct port *port_vuser_new(const char *path, vuser_client_idle *idle, void *ctx, struct err *);
struct vuser_client *port_vuser_client(struct port *); /* for interrupts and for its descriptor */

#endif
