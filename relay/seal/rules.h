/*
 * relay/seal/rules.h - what the kernel does with each packet of a sealed namespace
 *
 * TCP and UDP to anywhere but the namespace itself: to the gate. All else that would go
 * outside: refused at once, so that an app is told and does not wait. DNS to a loopback
 * address goes to the gate as well: a resolv.conf that the system has replaced meanwhile
 * (a laptop changes networks) may name a stub resolver there, which is not inside.
 *
 * Flow: the keeper loads them inside the new namespace; at the gate's end it takes back what leads
 * there, so that the app is refused everything at once and does not wait for nobody, and for
 * another gate it loads them again.
 */
#pragma once

#include "relay/seal/why.h"

/* Return: 0, or -1 and why. */
int rules_load(char why[SEAL_WHY_LEN]);
/* Nothing is caught any more, and so all of it refused. Return: 0, or -1 and why. */
int rules_refuse_all(char why[SEAL_WHY_LEN]);
