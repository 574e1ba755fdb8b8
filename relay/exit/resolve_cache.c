#include "relay/exit/resolve_cache.h"

#include <stdlib.h>
#include <string.h>

#include "relay/exit/resolve_name.h"

struct cached {
    struct hash_node node;
    struct list link; /* resolve_cache.used */
    uint64_t expires_ns;
    struct resolve_answer answer;
    char name[RESOLVE_NAME_MAX + 1];
};

int resolve_cache_init(struct resolve_cache *cache, size_t max)
{
    *cache = (struct resolve_cache){.max = max};
    list_init(&cache->used);
    return hash_init(&cache->table, 64);
}

static void cached_free(struct resolve_cache *cache, struct cached *c)
{
    hash_remove(&cache->table, &c->node);
    list_remove(&c->link);
    cache->n--;
    free(c);
}

void resolve_cache_deinit(struct resolve_cache *cache)
{
    struct list *it, *tmp;

    if (!cache->table.buckets)
        return;
    list_for_each_safe (it, tmp, &cache->used)
        cached_free(cache, list_entry(it, struct cached, link));
    hash_deinit(&cache->table);
}

static struct cached *cached_find(struct resolve_cache *cache, const char *name)
{
    uint64_t hash = hash_bytes(name, strlen(name));
    struct hash_node *node = hash_first(&cache->table, hash);

    while (node && strcmp(hash_entry(node, struct cached, node)->name, name) != 0)
        node = hash_next(node, hash);
    return node ? hash_entry(node, struct cached, node) : NULL;
}

const struct resolve_answer *resolve_cache_get(struct resolve_cache *cache, const char *name,
                                               uint64_t now_ns)
{
    struct cached *c = cached_find(cache, name);

    if (!c)
        return NULL;
    if (c->expires_ns <= now_ns) {
        cached_free(cache, c);
        return NULL;
    }
    list_remove(&c->link);
    list_append(&cache->used, &c->link);
    return &c->answer;
}

void resolve_cache_put(struct resolve_cache *cache, const char *name,
                       const struct resolve_answer *answer, uint64_t expires_ns)
{
    struct cached *c = cached_find(cache, name);

    if (c)
        cached_free(cache, c);
    else if (cache->n == cache->max)
        cached_free(cache, list_entry(cache->used.next, struct cached, link));
    c = calloc(1, sizeof(*c));
    if (!c)
        return;
    c->answer = *answer;
    c->expires_ns = expires_ns;
    memcpy(c->name, name, strlen(name) + 1);
    hash_insert(&cache->table, &c->node, hash_bytes(name, strlen(name)));
    list_append(&cache->used, &c->link);
    cache->n++;
}

void resolve_cache_forget_failures(struct resolve_cache *cache)
{
    struct list *it, *tmp;

    list_for_each_safe (it, tmp, &cache->used) {
        struct cached *c = list_entry(it, struct cached, link);

        if (c->answer.result != EXIT_OK)
            cached_free(cache, c);
    }
}
