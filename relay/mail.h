/*
 * relay/mail.h - letters from thread to thread: an eventfd, and a list under a mutex
 *
 * Each thread that takes letters has a mailbox on its event_base. Letters arrive in
 * the order in which one sender posted them.
 *
 * Owner:   a letter that was posted is its receiver's: deliver() frees it, at once or
 *          later. Those that a mailbox still holds when it is freed are freed by
 *          letter->free().
 * Threads: mailbox_post() from any; all else from the thread of the base.
 */
#pragma once

#include <event2/event.h>
#include <stdbool.h>
#include <stddef.h>

#include "common/base/list.h"

struct mailbox;

struct letter {
    struct list link;
    void (*deliver)(struct letter *letter);
    void (*free)(struct letter *letter);
};

/* `on_read` is called each time after letters were delivered. Return: NULL when memory or
 * descriptors are short. */
struct mailbox *mailbox_new(struct event_base *base, void (*on_read)(void *arg), void *arg);
/* NULL is fine. */
void mailbox_free(struct mailbox *m);

void mailbox_post(struct mailbox *m, struct letter *letter);
/* Return: false when `max` letters wait there already; the letter is still the caller's. */
bool mailbox_post_at_most(struct mailbox *m, struct letter *letter, size_t max);
