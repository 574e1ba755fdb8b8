/*
 * relay/guard/quota.h - who holds how many allocations, across all workers
 *
 * A grant is a charge object inside what it pays for; giving it back is part of
 * that thing's deinit, so grants cannot leak. Taken once per Allocate, never per
 * packet; a mutex guards the table.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct quota;
struct quota_user;

struct quota_charge {
    struct quota *quota;
    struct quota_user *user; /* NULL: nothing is charged */
};

/* Documented answers. */
enum {
    QUOTA_E_USER = 1,  /* the user has max_per_user allocations (-> 486) */
    QUOTA_E_TOTAL = 2, /* the relay has max_total (-> 508) */
};

struct quota *quota_new(void);
void quota_free(struct quota *quota);

/* `user` is the quota identity (for ephemeral credentials the part behind the expiry), at most
 * 512 bytes. Limits are passed in, so that a reload applies at once.
 * Return: 0 and `charge` filled; -ENOMEM; QUOTA_E_USER; QUOTA_E_TOTAL. */
int quota_take(struct quota *quota, const char *user, size_t user_len, unsigned int max_per_user,
               unsigned int max_total, struct quota_charge *charge);
/* Gives the charge back; safe on an empty one. */
void quota_give(struct quota_charge *charge);

unsigned int quota_total(struct quota *quota);
/* Calls `fn` for each user that holds allocations, under the lock: be short. */
void quota_each(struct quota *quota,
                void (*fn)(void *arg, const char *user, size_t user_len, unsigned int n),
                void *arg);
