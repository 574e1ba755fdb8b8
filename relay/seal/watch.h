/*
 * relay/seal/watch.h - from the app's start to its end: signals, the terminal, the status
 *
 * The app is in our process group: what the terminal sends (Ctrl-C, Ctrl-Z, a new size)
 * reaches it without us, and we do no more than outlive it. What somebody sends to us
 * alone is passed on. When the app stops, so do we, and it goes on when we do: a shell's
 * job control works as with the app itself.
 */
#pragma once

#include <signal.h>
#include <sys/types.h>

struct reattach;

struct watch {
    int signals; /* signalfd(2) */
    sigset_t old;
};

/* Blocks the signals: before anything is forked. Return: 0 or -errno. */
int watch_init(struct watch *w);
void watch_deinit(struct watch *w);
/* Until the app has ended, with what becomes of its way out meanwhile. Return: the app's exit
 * status, 128 + n after a signal. */
int watch_app(struct watch *w, pid_t app, struct reattach *reattach);
