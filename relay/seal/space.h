/*
 * relay/seal/space.h - user, network and mount namespaces
 *
 * Two levels of user namespaces. The outer one owns the network: the keeper is its only
 * inhabitant. The app lives in one nested in it, where its capabilities (and those of any
 * namespace that it makes in turn) count for nothing outside: not for the network, and not
 * for ptrace(2) of the keeper, nor of anything else of this user's. Both map the user to
 * themselves: files look as ever, and Chromium, which refuses to sandbox itself as uid 0,
 * does so.
 *
 * Flow:    keeper.c enters a new one; app.c joins it, and nests.
 * Threads: the process must have one only (unshare(2), setns(2)).
 */
#pragma once

#include "relay/seal/why.h"

enum { SPACE_USER, SPACE_NET, SPACE_MOUNT, SPACE_N };

/* This process, from now on in namespaces of its own, with all capabilities there. Return: 0, or -1
 * and why, with the remedy where one is known. */
int space_enter(char why[SEAL_WHY_LEN]);
/* For what fails in a new namespace although it has all capabilities there: with AppArmor's
 * restriction a namespace can be made, and is of no use. Return: -1. */
int space_explain(int error, char why[SEAL_WHY_LEN]);
/* Descriptors of the namespaces that this process is in. Return: 0 or -errno, and none open. */
int space_open(int ret_fds[SPACE_N]);
/* This process into those of another one, and from there into a nested user namespace, where it
 * has no say about the network. Return: 0, or -1 and why. */
int space_join(const int fds[SPACE_N], char why[SEAL_WHY_LEN]);
