/*
 * relay/seal/app.h - the app itself: its process, and what it may not do
 *
 * It runs in a user namespace nested in the one that owns the network (space.h), with no
 * capability that counts there, no_new_privs, and no descriptor but 0, 1 and 2. Its
 * environment is the caller's without the proxies, which are not reachable from inside.
 * It stays in its caller's process group and session, so that the terminal is its own.
 *
 * Sockets: AF_UNIX, AF_INET, AF_INET6 and AF_NETLINK can be made, others cannot. Some kinds
 * know nothing of network namespaces (AF_VSOCK leads to the machine that hosts this one),
 * and a kind that Linux gets next year is not one that we have judged.
 */
#pragma once

#include <signal.h>
#include <sys/types.h>

#include "relay/seal/space.h"

#define APP_NOT_FOUND 127
#define APP_NOT_RUN   126

/* Whether a descriptor that the app inherits is a way out. Return: 0, or -1 and why. */
int app_judge_standard_descriptors(char why[SEAL_WHY_LEN]);
/* Takes proxies out of this process's environment. */
void app_clean_environment(void);
/* Starts it; `mask`: its signal mask. When it cannot, a line on stderr says why and the child's
 * exit status is 2, or one of those above. Return: its pid, or -1 and why. */
pid_t app_start(char **argv, const int spaces[SPACE_N], const sigset_t *mask,
                char why[SEAL_WHY_LEN]);
