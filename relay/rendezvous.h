/*
 * relay/rendezvous.h - where `callveil run` finds this user's `callveil local`
 *
 * A unix SOCK_SEQPACKET in a folder that only the user can enter: callveil/local.sock
 * below $XDG_RUNTIME_DIR, or /tmp/callveil-UID/local.sock where that is not set. /tmp is
 * everybody's, so the folder is looked at before it is used, and each side makes sure that
 * the other one is the same user (SO_PEERCRED): a stranger's proxy would be a stranger's
 * way out.
 *
 * Threads: any.
 */
#pragma once

#include <stdbool.h>

/* The listening side. Return: a non-blocking listening socket; -EADDRINUSE when another `local` of
 * this user is there; -EPERM when the folder is not this user's alone; or -errno. */
int rendezvous_listen(void);
/* Takes the name away. */
void rendezvous_unlink(void);
/* Return: a connected socket; -ENOENT or -ECONNREFUSED when nobody is there; -EPERM when whoever is
 * there, or the folder, is not this user's; or -errno. */
int rendezvous_connect(void);
/* Whether the other end of a connection is a process of this user. */
bool rendezvous_is_ours(int fd);
