/*
 * relay/seal/keeper_impl.h - what the rooms of the keeper share
 *
 *   keeper.c          its maker's side: start, take over what it passes, ask again, end
 *   keeper_inside.c   the process: what it sets up, whom it serves
 *   keeper_sockets.c  the sockets that only its capabilities can make
 */
#pragma once

#include "relay/seal/keeper.h"

#define KEEPER_N_PASSED (KEEPER_LINK + SPACE_N)

/* ---- keeper_inside.c ---- */

/* The child's: `control` leads to the maker, `link` to the gate. */
__attribute__((noreturn)) void keeper_main(int control, int link);

/* ---- keeper_sockets.c ---- */

/* All four catching sockets. Return: 0, or -1 and why, and none is left open. */
int keeper_catch_all(int ret[KEEPER_LINK], char why[SEAL_WHY_LEN]);
/* One that answers in the name of `peer`, bound to it; or a raw one of the family of `family`.
 * Return: the socket or -errno. */
int keeper_peer_socket(const struct addr *peer);
int keeper_raw_socket(const struct addr *family);
void keeper_close_all(const int *fds, size_t n);
