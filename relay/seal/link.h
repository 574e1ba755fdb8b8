/*
 * relay/seal/link.h - interfaces, addresses and routes of a sealed namespace
 *
 * Loopback, a pair of veths whose both ends are inside (place.h), default routes, and the
 * way of marked packets: back to loopback, where rules.h hands them to the gate.
 *
 * Flow: the keeper calls it once, inside the new namespace.
 */
#pragma once

#include "relay/seal/why.h"

/* Return: 0, or -1 and why. */
int link_make(char why[SEAL_WHY_LEN]);
