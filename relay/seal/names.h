/*
 * relay/seal/names.h - who answers for names inside: the gate, and nobody else
 *
 * In the namespace's own view of the file system:
 *
 *   /etc/resolv.conf     names an address that the gate answers for
 *   /etc/nsswitch.conf   its "hosts:" line is "files myhostname dns": nss-resolve, nss-mdns
 *                        and the like hand a name to a service outside, over a unix
 *                        socket, and that service asks the network without the relay
 *   nscd, systemd-resolved, Avahi: their folders below /run are empty here. A program may
 *                        speak to them without libc's help; and a file that is mounted
 *                        upon shows again when the system replaces it
 *
 * Everything else is as outside, and new mounts of the system's appear here as well.
 *
 * Flow: the keeper calls it once, in a mount namespace of its own.
 */
#pragma once

#include <stddef.h>

#include "relay/seal/why.h"

/* Return: 0, or -1 and why. */
int names_hide(char why[SEAL_WHY_LEN]);

/* `text` (of an nsswitch.conf) with its hosts line replaced, or added. Return: NULL when memory is
 * short, else the caller's to free. */
char *names_rewrite(const char *text);
