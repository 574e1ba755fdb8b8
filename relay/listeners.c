#include "relay/listeners.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/log.h"
#include "common/net/batch.h"

const char *listeners_scheme(unsigned int protocols)
{
    static const char *const names[] = {
        [LISTEN_UDP] = "udp", [LISTEN_DTLS] = "dtls", [LISTEN_UDP | LISTEN_DTLS] = "udp+dtls",
        [LISTEN_TCP] = "tcp", [LISTEN_TLS] = "tls",   [LISTEN_TCP | LISTEN_TLS] = "tcp+tls",
    };

    return names[protocols];
}

void listeners_log_failure(const struct conf_listen *l, int error)
{
    char text[ADDR_STRLEN];

    log_error("cannot listen on %s://%s: %s", listeners_scheme(l->protocols),
              addr_format(&l->addr, text, sizeof(text)), strerror(-error));
}

/* Binds the address for a moment. Without SO_REUSEPORT, which the workers' sockets have: with it, a
 * second relay started by mistake would share the port with the first and get half of its clients.
 * Return: 0 with a port of 0 filled in, or -errno. */
static int listeners_probe(struct conf_listen *l)
{
    bool datagrams = l->protocols & (LISTEN_UDP | LISTEN_DTLS);
    int fd = datagrams ? sock_bind(&l->addr, SOCK_DGRAM, 0) : sock_listen(&l->addr, SOCK_REUSEADDR);
    int r = fd < 0 ? fd : sock_local_addr(fd, &l->addr);

    if (fd >= 0)
        close(fd);
    return r;
}

static void listeners_drop(struct conf *conf, size_t i)
{
    conf->n_listen--;
    memmove(&conf->listen[i], &conf->listen[i + 1], (conf->n_listen - i) * sizeof(conf->listen[0]));
}

int listeners_settle(struct conf *conf)
{
    for (size_t i = 0; i < conf->n_listen; i++) {
        struct conf_listen *l = &conf->listen[i];
        bool any_v6 = l->addr.family == ADDR_IPV6 && addr_is_any(&l->addr);
        int r = listeners_probe(l);

        if (any_v6 && (r == -EAFNOSUPPORT || r == -EADDRNOTAVAIL)) {
            log_warn("this machine has no IPv6: not listening on [::]:%u", l->addr.port);
            listeners_drop(conf, i--);
        } else if (r < 0) {
            listeners_log_failure(l, r);
            return 1;
        }
    }
    if (conf->n_listen > 0)
        return 0;
    log_error("nothing is left to listen on");
    return 1;
}

/* A port of 0 was settled at the start, and is no change when it is read again. */
static bool listeners_same(const struct conf_listen *written, const struct conf_listen *running)
{
    struct addr a = written->addr;

    if (a.port == 0)
        a.port = running->addr.port;
    return addr_equal(&a, &running->addr) && written->protocols == running->protocols;
}

int listeners_keep(struct conf *conf, const struct conf_listen *running, size_t n_running)
{
    struct conf_listen *copy = calloc(n_running + 1, sizeof(*copy));
    size_t n_same = 0;

    if (!copy) {
        log_error("out of memory");
        return -ENOMEM;
    }
    while (n_same < n_running && n_same < conf->n_listen &&
           listeners_same(&conf->listen[n_same], &running[n_same]))
        n_same++;
    if (n_same < n_running || n_same < conf->n_listen)
        log_warn("listen has changed: that takes effect at the next start");
    memcpy(copy, running, n_running * sizeof(*copy));
    free(conf->listen);
    conf->listen = copy;
    conf->n_listen = n_running;
    return 0;
}
