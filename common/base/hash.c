#include "common/base/hash.h"

#include <errno.h>
#include <openssl/rand.h>
#include <pthread.h>
#include <stdlib.h>
#include <xxhash.h>

static uint64_t hash_seed;
static pthread_once_t hash_once = PTHREAD_ONCE_INIT;

static void hash_draw_seed(void)
{
    /* Without randomness there is no safe way to go on; this runs at start, by the first table. */
    if (RAND_bytes((unsigned char *)&hash_seed, sizeof(hash_seed)) != 1)
        abort();
}

int hash_init(struct hash_table *table, size_t n_buckets)
{
    size_t n = 16;

    while (n < n_buckets)
        n *= 2;
    table->buckets = calloc(n, sizeof(*table->buckets));
    if (!table->buckets)
        return -ENOMEM;
    table->n_buckets = n;
    table->n_entries = 0;
    return 0;
}

void hash_deinit(struct hash_table *table)
{
    free(table->buckets);
    *table = (struct hash_table){0};
}

uint64_t hash_bytes(const void *data, size_t len)
{
    pthread_once(&hash_once, hash_draw_seed);
    return XXH3_64bits_withSeed(data, len, hash_seed);
}

static struct hash_node **hash_bucket(const struct hash_table *table, uint64_t hash)
{
    return &table->buckets[hash & (table->n_buckets - 1)];
}

static void hash_grow(struct hash_table *table)
{
    struct hash_table bigger = {.n_buckets = table->n_buckets * 2};

    bigger.buckets = calloc(bigger.n_buckets, sizeof(*bigger.buckets));
    if (!bigger.buckets)
        return; /* longer chains, same answers */
    for (size_t i = 0; i < table->n_buckets; i++) {
        struct hash_node *node = table->buckets[i];

        while (node) {
            struct hash_node *next = node->next;
            struct hash_node **bucket = hash_bucket(&bigger, node->hash);

            node->next = *bucket;
            *bucket = node;
            node = next;
        }
    }
    free(table->buckets);
    table->buckets = bigger.buckets;
    table->n_buckets = bigger.n_buckets;
}

void hash_insert(struct hash_table *table, struct hash_node *node, uint64_t hash)
{
    struct hash_node **bucket;

    if (table->n_entries >= table->n_buckets)
        hash_grow(table);
    bucket = hash_bucket(table, hash);
    node->hash = hash;
    node->next = *bucket;
    *bucket = node;
    table->n_entries++;
}

void hash_remove(struct hash_table *table, struct hash_node *node)
{
    struct hash_node **at = hash_bucket(table, node->hash);

    while (*at && *at != node)
        at = &(*at)->next;
    if (!*at)
        return;
    *at = node->next;
    node->next = NULL;
    table->n_entries--;
}

struct hash_node *hash_first(const struct hash_table *table, uint64_t hash)
{
    struct hash_node *node = *hash_bucket(table, hash);

    while (node && node->hash != hash)
        node = node->next;
    return node;
}

struct hash_node *hash_next(const struct hash_node *after, uint64_t hash)
{
    struct hash_node *node = after->next;

    while (node && node->hash != hash)
        node = node->next;
    return node;
}
