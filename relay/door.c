#include "relay/door.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/base/list.h"
#include "common/net/splice.h"
#include "common/net/stream.h"

#define DOOR_PENDING_MAX 65536

struct door_pass {
    struct door *door;
    struct list link; /* door->passes, the oldest first */
    struct splice pair;
};

struct door {
    struct stream_pool *pool;
    int listener; /* -1: taken */
    struct sockaddr_un name;
    socklen_t name_len;
    struct list passes;
    unsigned int n_passes;
};

/* ---- one app's stream ---- */

static void pass_free(struct door_pass *pass)
{
    splice_deinit(&pass->pair);
    list_remove(&pass->link);
    pass->door->n_passes--;
    free(pass);
}

static bool pass_on_crossed(void *user, struct splice_end *from, size_t len)
{
    return true;
}

static void pass_on_ended(void *user)
{
    pass_free(user);
}

/* An app that never closes its end holds its place no longer than until others want it. */
static struct door_pass *pass_new(struct door *d)
{
    static const struct splice_events events = {
        .on_crossed = pass_on_crossed,
        .on_ended = pass_on_ended,
    };
    struct door_pass *pass;

    if (d->n_passes == DOOR_MAX)
        pass_free(list_entry(d->passes.next, struct door_pass, link));
    pass = calloc(1, sizeof(*pass));
    if (!pass)
        return NULL;
    pass->door = d;
    list_append(&d->passes, &pass->link);
    d->n_passes++;
    splice_init(&pass->pair, &events, pass);
    return pass;
}

/* A unix connect(2) is done at once or not at all (EAGAIN: the queue is full). */
static struct stream *door_connect(struct door *d)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return NULL;
    if (connect(fd, (const struct sockaddr *)&d->name, d->name_len) < 0) {
        close(fd);
        return NULL;
    }
    return stream_accept(d->pool, fd, NULL, false, DOOR_PENDING_MAX);
}

bool door_enter(struct door *d, struct stream *app)
{
    struct stream *page = door_connect(d);
    struct door_pass *pass = page ? pass_new(d) : NULL;

    if (!pass) {
        stream_free(page);
        return false;
    }
    splice_add(&pass->pair, 0, app, false);
    splice_add(&pass->pair, 1, page, false);
    return true;
}

/* ---- the door ---- */

/* Autobind (unix(7)): the kernel chooses a name, which is in no folder. */
static int door_listen(struct door *d)
{
    const struct sockaddr_un none = {.sun_family = AF_UNIX};

    d->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    d->name_len = sizeof(d->name);
    if (d->listener < 0 ||
        bind(d->listener, (const struct sockaddr *)&none, sizeof(none.sun_family)) < 0 ||
        getsockname(d->listener, (struct sockaddr *)&d->name, &d->name_len) < 0 ||
        listen(d->listener, DOOR_MAX) < 0)
        return -errno;
    return 0;
}

struct door *door_new(struct stream_pool *pool)
{
    struct door *d = calloc(1, sizeof(*d));

    if (!d)
        return NULL;
    d->pool = pool;
    list_init(&d->passes);
    if (door_listen(d) < 0) {
        door_free(d);
        return NULL;
    }
    return d;
}

void door_free(struct door *d)
{
    struct list *it, *tmp;

    if (!d)
        return;
    list_for_each_safe (it, tmp, &d->passes)
        pass_free(list_entry(it, struct door_pass, link));
    if (d->listener >= 0)
        close(d->listener);
    free(d);
}

int door_take_listener(struct door *d)
{
    int fd = d->listener;

    d->listener = -1;
    return fd;
}
