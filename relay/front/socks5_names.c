/*
 * Names in datagrams (ATYP 3)
 *
 * Few apps send to names, so an association gets this when its first one comes.
 * A name is resolved once by the exit and then stays what it is for a few
 * minutes: a flow that changed its peer between two datagrams would be two. What
 * arrives in the meantime waits in a few slots of the association, shared by its
 * names; more than that is dropped, as a network does.
 */
#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/net/batch.h"
#include "relay/front/socks5_impl.h"

#define NAMES_MAX       16
#define NAMES_WAITING   8
#define NAMES_DATA_MAX  1500
#define NAMES_KNOWN_S   300
#define NAMES_UNKNOWN_S 5

enum name_state {
    NAME_FREE,
    NAME_ASKED,
    NAME_KNOWN,
    NAME_UNKNOWN, /* the answer was none; not asked again for some seconds */
};

struct name {
    struct socks5_names *names;
    enum name_state state;
    uint64_t since_ns; /* of the answer */
    struct lookup *lookup;
    struct addr addr; /* without a port */
    char text[SOCKS5_NAME_MAX + 1];
};

struct name_waiting {
    struct name *name; /* NULL: the slot is free */
    uint16_t port;
    size_t len;
    uint8_t data[NAMES_DATA_MAX];
};

struct socks5_names {
    struct socks5_udp *udp;
    struct name names[NAMES_MAX];
    struct name_waiting waiting[NAMES_WAITING];
};

static struct socks5_params *names_params(const struct socks5_names *names)
{
    return &socks5_udp_socks(names->udp)->params;
}

static void names_drop(const struct socks5_names *names)
{
    counter_add(&names_params(names)->counters->drop_send, 1);
}

struct socks5_names *socks5_names_new(struct socks5_udp *udp)
{
    struct socks5_names *names = calloc(1, sizeof(*names));

    if (!names)
        return NULL;
    names->udp = udp;
    for (int i = 0; i < NAMES_MAX; i++)
        names->names[i].names = names;
    return names;
}

void socks5_names_free(struct socks5_names *names)
{
    if (!names)
        return;
    for (int i = 0; i < NAMES_MAX; i++)
        if (names->names[i].lookup)
            names_params(names)->exit->ops->forget(names->names[i].lookup);
    free(names);
}

/* ---- the answer ---- */

static void name_settle(struct name *name, const struct addr *addrs, size_t n)
{
    name->state = NAME_UNKNOWN;
    name->since_ns = clock_now_ns();
    for (size_t i = 0; i < n && name->state != NAME_KNOWN; i++) {
        if (!socks5_udp_has(name->names->udp, addrs[i].family))
            continue;
        name->state = NAME_KNOWN;
        name->addr = addrs[i];
    }
}

static void name_send(const struct name *name, uint16_t port, const uint8_t *data, size_t len)
{
    struct addr peer = name->addr;

    peer.port = port;
    socks5_udp_send(name->names->udp, &peer, data, len);
}

static void name_on_resolved(void *user, enum exit_result result, const struct addr *addrs,
                             size_t n)
{
    struct name *name = user;
    struct socks5_names *names = name->names;

    name->lookup = NULL;
    name_settle(name, addrs, n);
    for (int i = 0; i < NAMES_WAITING; i++) {
        struct name_waiting *w = &names->waiting[i];

        if (w->name != name)
            continue;
        w->name = NULL;
        if (name->state == NAME_KNOWN)
            name_send(name, w->port, w->data, w->len);
        else
            names_drop(names);
    }
    /* What was sent refers to the slots. */
    tx_flush(names_params(names)->tx);
}

/* ---- the question ---- */

static bool name_is_over(const struct name *name, uint64_t now_ns)
{
    uint64_t age_ns = now_ns - name->since_ns;

    return (name->state == NAME_KNOWN && age_ns >= NAMES_KNOWN_S * NS_PER_S) ||
           (name->state == NAME_UNKNOWN && age_ns >= NAMES_UNKNOWN_S * NS_PER_S);
}

/* The slot of `text`, or one for it: free, or the one whose answer is oldest. */
static struct name *names_slot(struct socks5_names *names, const char *text, uint64_t now_ns)
{
    struct name *slot = NULL;

    for (int i = 0; i < NAMES_MAX; i++) {
        struct name *name = &names->names[i];

        if (name_is_over(name, now_ns))
            name->state = NAME_FREE;
        if (name->state != NAME_FREE && strcmp(name->text, text) == 0)
            return name;
        if (name->state == NAME_ASKED)
            continue;
        if (!slot || (slot->state != NAME_FREE &&
                      (name->state == NAME_FREE || name->since_ns < slot->since_ns)))
            slot = name;
    }
    if (slot) {
        slot->state = NAME_FREE;
        memcpy(slot->text, text, strlen(text) + 1);
    }
    return slot;
}

static bool name_wait(struct name *name, const struct socks5_datagram *d)
{
    if (d->payload_len > NAMES_DATA_MAX)
        return false;
    for (int i = 0; i < NAMES_WAITING; i++) {
        struct name_waiting *w = &name->names->waiting[i];

        if (w->name)
            continue;
        w->name = name;
        w->port = d->target.addr.port;
        w->len = d->payload_len;
        memcpy(w->data, d->payload, d->payload_len);
        return true;
    }
    return false;
}

static bool name_ask(struct name *name)
{
    struct exit *exit = names_params(name->names)->exit;

    if (!exit->ops->resolve ||
        exit->ops->resolve(exit, name->text, name_on_resolved, name, &name->lookup) < 0)
        return false;
    name->state = NAME_ASKED;
    return true;
}

void socks5_names_send(struct socks5_names *names, const struct socks5_datagram *d, uint64_t now_ns)
{
    struct name *name = names_slot(names, d->target.name, now_ns);

    if (name && name->state == NAME_KNOWN)
        name_send(name, d->target.addr.port, d->payload, d->payload_len);
    else if (!name || (name->state == NAME_FREE && !name_ask(name)) || name->state != NAME_ASKED ||
             !name_wait(name, d))
        names_drop(names);
}
