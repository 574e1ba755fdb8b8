#include "relay/listen/listen.h"

#include <errno.h>
#include <stdlib.h>

struct listen_set {
    struct listen_env env;
    struct udp_listener **udp;
    struct tcp_listener **tcp;
    size_t n_udp, n_tcp;
};

const struct listen_env *listen_set_env(const struct listen_set *set)
{
    return &set->env;
}

struct udp_listener *listen_set_find_udp(struct listen_set *set, const struct addr *addr)
{
    for (size_t i = 0; i < set->n_udp; i++) {
        struct addr bound = udp_listener_addr(set->udp[i]);

        if (addr_equal(&bound, addr))
            return set->udp[i];
    }
    return NULL;
}

static int listen_set_add(struct listen_set *set, struct conf_listen *listen)
{
    int r;

    if (listen->protocols & (LISTEN_UDP | LISTEN_DTLS)) {
        r = udp_listener_new(set, listen, &set->udp[set->n_udp]);
        if (r < 0)
            return r;
        listen->addr = udp_listener_addr(set->udp[set->n_udp++]);
    } else {
        r = tcp_listener_new(set, listen, &set->tcp[set->n_tcp]);
        if (r < 0)
            return r;
        listen->addr = tcp_listener_addr(set->tcp[set->n_tcp++]);
    }
    return 0;
}

int listen_set_new(const struct listen_env *env, struct conf_listen *listen, size_t n,
                   struct listen_set **ret, size_t *ret_failed)
{
    struct listen_set *set = calloc(1, sizeof(*set));
    int r = -ENOMEM;

    *ret_failed = 0;
    if (!set)
        return r;
    set->env = *env;
    set->udp = calloc(n + 1, sizeof(struct udp_listener *));
    set->tcp = calloc(n + 1, sizeof(struct tcp_listener *));
    if (!set->udp || !set->tcp) {
        free(set->udp);
        free(set->tcp);
        free(set);
        return r;
    }
    for (size_t i = 0; i < n; i++) {
        *ret_failed = i;
        r = listen_set_add(set, &listen[i]);
        if (r < 0)
            goto out;
    }
    *ret = set;
    return 0;
out:
    listen_set_free(set);
    return r;
}

void listen_set_free(struct listen_set *set)
{
    if (!set)
        return;
    for (size_t i = 0; i < set->n_udp; i++)
        udp_listener_free(set->udp[i]);
    for (size_t i = 0; i < set->n_tcp; i++)
        tcp_listener_free(set->tcp[i]);
    free(set->udp);
    free(set->tcp);
    free(set);
}

bool listen_set_adopt(struct listen_set *set, struct stream *stream, const struct addr *remote,
                      const struct addr *local)
{
    for (size_t i = 0; i < set->n_tcp; i++) {
        struct addr bound = tcp_listener_addr(set->tcp[i]);

        if (addr_equal(&bound, local))
            return tcp_listener_adopt(set->tcp[i], stream, remote);
    }
    return false;
}

void listen_set_reloaded(struct listen_set *set)
{
    for (size_t i = 0; i < set->n_udp; i++)
        udp_listener_reloaded(set->udp[i]);
}

void listen_set_sweep(struct listen_set *set, uint64_t now_ns)
{
    for (size_t i = 0; i < set->n_tcp; i++)
        tcp_listener_sweep(set->tcp[i], now_ns);
}
