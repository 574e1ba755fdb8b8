#include "tests/support/fake_resolver.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/list.h"

#define NAMES_MAX 8

struct resolver {
    bool far;
};

struct lookup {
    struct list link;
    struct resolver *resolver;
    char name[256];
    exit_on_resolved *on_resolved;
    void *user;
};

struct known {
    const char *name;
    struct addr addrs[RESOLVE_ADDRS_MAX];
    size_t n;
    bool hangs;
};

static struct list lookups = {&lookups, &lookups};
static struct known names[NAMES_MAX];
static size_t n_names;
static unsigned int n_restarts;

static struct known *known_of(const char *name)
{
    for (size_t i = 0; i < n_names; i++)
        if (strcmp(names[i].name, name) == 0)
            return &names[i];
    return NULL;
}

static struct known *known_add(const char *name)
{
    struct known *k = known_of(name);

    if (!k) {
        assert(n_names < NAMES_MAX);
        k = &names[n_names++];
    }
    *k = (struct known){.name = name};
    return k;
}

void fake_resolver_know(const char *name, const char *const *ips, size_t n)
{
    struct known *k = known_add(name);

    for (size_t i = 0; i < n; i++) {
        bool ok = addr_parse_ip(ips[i], 0, &k->addrs[i]);

        assert(ok);
    }
    k->n = n;
}

void fake_resolver_hang(const char *name)
{
    known_add(name)->hangs = true;
}

void fake_resolver_reset(void)
{
    n_names = 0;
    n_restarts = 0;
}

static void lookup_free(struct lookup *l)
{
    list_remove(&l->link);
    free(l);
}

static void lookup_answer(struct lookup *l)
{
    const struct known *k = known_of(l->name);
    exit_on_resolved *on_resolved = l->on_resolved;
    struct addr literal;
    void *user = l->user;
    bool is_literal = addr_parse_ip(l->name, 0, &literal);

    lookup_free(l);
    if (is_literal)
        on_resolved(user, EXIT_OK, &literal, 1);
    else if (k)
        on_resolved(user, EXIT_OK, k->addrs, k->n);
    else
        on_resolved(user, EXIT_E_NAME, NULL, 0);
}

static struct lookup *lookup_next(void)
{
    for (struct list *it = lookups.next; it != &lookups; it = it->next) {
        struct lookup *l = list_entry(it, struct lookup, link);
        const struct known *k = known_of(l->name);

        if (!k || !k->hangs)
            return l;
    }
    return NULL;
}

bool fake_resolver_turn(void)
{
    struct lookup *l = lookup_next();

    if (l)
        lookup_answer(l);
    return l != NULL;
}

size_t fake_resolver_n_pending(void)
{
    size_t n = 0;

    for (struct list *it = lookups.next; it != &lookups; it = it->next)
        n++;
    return n;
}

unsigned int fake_resolver_n_restarts(void)
{
    return n_restarts;
}

/* ---- the symbols of relay/exit/resolve.h ---- */

int resolver_new(const struct resolver_params *params, struct resolver **ret)
{
    *ret = calloc(1, sizeof(**ret));
    if (!*ret)
        return -ENOMEM;
    (*ret)->far = params->exit != NULL;
    return 0;
}

void resolver_free(struct resolver *r)
{
    struct list *it, *tmp;

    list_for_each_safe (it, tmp, &lookups) {
        struct lookup *l = list_entry(it, struct lookup, link);

        if (l->resolver == r)
            lookup_free(l);
    }
    free(r);
}

int resolver_lookup(struct resolver *r, const char *name, exit_on_resolved *on_resolved, void *user,
                    struct lookup **ret)
{
    struct lookup *l = calloc(1, sizeof(*l));

    if (!l)
        return -ENOMEM;
    l->resolver = r;
    snprintf(l->name, sizeof(l->name), "%s", name);
    l->on_resolved = on_resolved;
    l->user = user;
    list_append(&lookups, &l->link);
    *ret = l;
    return 0;
}

void resolver_forget(struct lookup *l)
{
    lookup_free(l);
}

int resolver_set_servers(struct resolver *r, const struct addr *servers, size_t n)
{
    return 0;
}

void resolver_restart(struct resolver *r)
{
    n_restarts++;
}
