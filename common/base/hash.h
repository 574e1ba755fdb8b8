/*
 * common/base/hash.h - a chained hash table inside the things it holds
 *
 * Entries embed a hash_node and are found by a caller-supplied equality test;
 * the table stores the full hash, so most misses never touch the entry. Keys
 * come from the network: every table is seeded from the system's random source
 * at start, so that nobody outside can choose keys that collide.
 *
 * Growth doubles the bucket array on insert; lookups never allocate.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct hash_node {
    struct hash_node *next;
    uint64_t hash;
};

struct hash_table {
    struct hash_node **buckets;
    size_t n_buckets; /* a power of two */
    size_t n_entries;
};

#define hash_entry(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

/* Return: 0, or -ENOMEM. `n_buckets` is rounded up to a power of two. */
int hash_init(struct hash_table *table, size_t n_buckets);

/* Frees the buckets; the entries stay the caller's. */
void hash_deinit(struct hash_table *table);

/* The process's seeded hash of `len` bytes (XXH3, seed drawn once at start). */
uint64_t hash_bytes(const void *data, size_t len);

void hash_insert(struct hash_table *table, struct hash_node *node, uint64_t hash);
void hash_remove(struct hash_table *table, struct hash_node *node);

/* First node whose stored hash is `hash`, or the next one after `after`; NULL when there is none.
 */
struct hash_node *hash_first(const struct hash_table *table, uint64_t hash);
struct hash_node *hash_next(const struct hash_node *after, uint64_t hash);
