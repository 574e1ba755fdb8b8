/*
 * relay/seal/keeper.h - the process that makes a sealed namespace and stays in it
 *
 * It sets up what is inside (space, link, rules, names), makes the four catching sockets,
 * passes them and the namespaces out, and then serves the gate (relay/keeper.h): a
 * transparent socket for each peer that has something to say to the app.
 *
 * Without a gate the app is dark, and is told so by each thing that it tries; `callveil run` may
 * ask for sockets for another one (reattach.h). The keeper ends with `callveil run`, and the way
 * out for good with it.
 *
 * Limits: KEEPER_RATE sockets a second, KEEPER_BURST at once.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "relay/keeper.h"
#include "relay/seal/space.h"

#define KEEPER_RATE  500
#define KEEPER_BURST 1000

/* From the keeper to its maker, with the descriptors: the catching sockets in the order of enum
 * keeper_fd; then the namespaces the first time, and after a struct keeper_again the gate's end of
 * its connection. */
struct keeper_ready {
    int32_t status; /* 0, or -1 and why, without descriptors */
    int32_t zero;
    struct keeper_attach attach;
    char why[SEAL_WHY_LEN];
};

/* From its maker: the gate is gone, another one is there. */
struct keeper_again {
    uint32_t version; /* KEEPER_VERSION */
};

struct keeper {
    pid_t pid;
    int control; /* its end is the keeper's end */
    struct keeper_attach attach;
    int passed[KEEPER_N_FDS]; /* to be handed on, with `attach`; -1: they were */
    int spaces[SPACE_N];
};

/* Forks it. Call it while this process has one thread. Return: 0, or -1 and why. */
int keeper_start(struct keeper *ret, char why[SEAL_WHY_LEN]);
/* Waits until the namespace is there. Return: 0, or -1 and why. */
int keeper_wait(struct keeper *k, char why[SEAL_WHY_LEN]);
/* Closes what has been handed on: the sockets and the gate's connection. */
void keeper_close_passed(struct keeper *k);
/* Asks for what was handed on again, for another gate. Return: 0; or -1 and why, and nothing is
 * there to be handed on. */
int keeper_renew(struct keeper *k, char why[SEAL_WHY_LEN]);
/* Whether it still runs. */
bool keeper_is_there(const struct keeper *k);
/* Ends it. */
void keeper_stop(struct keeper *k);

/* What its loop answers with, for tests: tokens are counted in thousandths. */
struct keeper_bucket {
    uint64_t at_ns;
    uint64_t tokens;
};

/* Whether one more socket may be made at `now_ns`. */
bool keeper_may_make(struct keeper_bucket *bucket, uint64_t now_ns);
/* Judges a request. Return: 0 or -errno. */
int keeper_judge(const struct keeper_want *want);
