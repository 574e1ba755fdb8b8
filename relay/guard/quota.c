#include "relay/guard/quota.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/hash.h"

/* A user is in the table exactly while somebody holds a charge on it: the table is as large as the
 * number of allocations allows, whatever names the network sends. */

#define QUOTA_USER_MAX 512

struct quota_user {
    struct hash_node node;
    unsigned int n;
    size_t len;
    char name[];
};

struct quota {
    pthread_mutex_t lock;
    struct hash_table users;
    unsigned int total;
};

struct quota *quota_new(void)
{
    struct quota *quota = calloc(1, sizeof(*quota));

    if (!quota)
        return NULL;
    if (hash_init(&quota->users, 64) < 0) {
        free(quota);
        return NULL;
    }
    pthread_mutex_init(&quota->lock, NULL);
    return quota;
}

void quota_free(struct quota *quota)
{
    if (!quota)
        return;
    for (size_t i = 0; i < quota->users.n_buckets; i++) {
        struct hash_node *node = quota->users.buckets[i];

        while (node) {
            struct hash_node *next = node->next;

            free(hash_entry(node, struct quota_user, node));
            node = next;
        }
    }
    hash_deinit(&quota->users);
    pthread_mutex_destroy(&quota->lock);
    free(quota);
}

static struct quota_user *quota_find(struct quota *quota, uint64_t hash, const char *user,
                                     size_t user_len)
{
    struct hash_node *node = hash_first(&quota->users, hash);

    for (; node; node = hash_next(node, hash)) {
        struct quota_user *found = hash_entry(node, struct quota_user, node);

        if (found->len == user_len && memcmp(found->name, user, user_len) == 0)
            return found;
    }
    return NULL;
}

static struct quota_user *quota_add_user(struct quota *quota, uint64_t hash, const char *user,
                                         size_t user_len)
{
    struct quota_user *added = malloc(sizeof(*added) + user_len);

    if (!added)
        return NULL;
    added->n = 0;
    added->len = user_len;
    memcpy(added->name, user, user_len);
    hash_insert(&quota->users, &added->node, hash);
    return added;
}

/* The user's own limit is asked first: one who has used it up hears 486 whether or not the relay
 * is full as well, and does not come back elsewhere with the same request. */
static int quota_take_locked(struct quota *quota, const char *user, size_t user_len,
                             unsigned int max_per_user, unsigned int max_total,
                             struct quota_user **ret_user)
{
    uint64_t hash = hash_bytes(user, user_len);
    struct quota_user *holder = quota_find(quota, hash, user, user_len);

    if ((holder ? holder->n : 0) >= max_per_user)
        return QUOTA_E_USER;
    if (quota->total >= max_total)
        return QUOTA_E_TOTAL;
    if (!holder)
        holder = quota_add_user(quota, hash, user, user_len);
    if (!holder)
        return -ENOMEM;
    holder->n++;
    quota->total++;
    *ret_user = holder;
    return 0;
}

int quota_take(struct quota *quota, const char *user, size_t user_len, unsigned int max_per_user,
               unsigned int max_total, struct quota_charge *charge)
{
    struct quota_user *holder;
    int r;

    /* No name this long authenticates (RFC 8489: 508 bytes). Cutting it would join two users. */
    if (user_len > QUOTA_USER_MAX)
        return QUOTA_E_USER;
    pthread_mutex_lock(&quota->lock);
    r = quota_take_locked(quota, user, user_len, max_per_user, max_total, &holder);
    pthread_mutex_unlock(&quota->lock);
    if (r == 0)
        *charge = (struct quota_charge){quota, holder};
    return r;
}

void quota_give(struct quota_charge *charge)
{
    struct quota *quota = charge->quota;
    struct quota_user *user = charge->user;

    *charge = (struct quota_charge){0};
    if (!user)
        return;
    pthread_mutex_lock(&quota->lock);
    quota->total--;
    if (--user->n == 0)
        hash_remove(&quota->users, &user->node);
    else
        user = NULL;
    pthread_mutex_unlock(&quota->lock);
    free(user);
}

unsigned int quota_total(struct quota *quota)
{
    unsigned int total;

    pthread_mutex_lock(&quota->lock);
    total = quota->total;
    pthread_mutex_unlock(&quota->lock);
    return total;
}

void quota_each(struct quota *quota,
                void (*fn)(void *arg, const char *user, size_t user_len, unsigned int n), void *arg)
{
    pthread_mutex_lock(&quota->lock);
    for (size_t i = 0; i < quota->users.n_buckets; i++) {
        for (struct hash_node *node = quota->users.buckets[i]; node; node = node->next) {
            struct quota_user *user = hash_entry(node, struct quota_user, node);

            fn(arg, user->name, user->len, user->n);
        }
    }
    pthread_mutex_unlock(&quota->lock);
}
