/*
 * common/net/pass.h - descriptors from one process to another
 *
 * One message with descriptors over a unix SOCK_SEQPACKET (SCM_RIGHTS, unix(7)): of a
 * known length, and with a known number of them at most. What does not fit is closed.
 *
 * Owner:   a sent descriptor stays the sender's own; a received one is the caller's,
 *          close-on-exec.
 */
#pragma once

#include <stddef.h>

#define PASS_FDS_MAX 8

/* Return: 0 or -errno. */
int pass_send(int fd, const void *message, size_t len, const int *fds, size_t n_fds);

/* Waits unless the socket is non-blocking. `fds` has room for `max_fds`. Return: the number of
 * descriptors that came; -EPIPE at the end, -EBADMSG for a message of another length or with more
 * descriptors, or -errno: then none is kept. */
int pass_recv(int fd, void *message, size_t len, int *fds, size_t max_fds);
