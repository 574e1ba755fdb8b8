#include "relay/mail.h"

#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define MAILBOX_PER_TURN 256 /* then sockets and timers get theirs */

struct mailbox {
    int fd;
    struct event *event;
    void (*on_read)(void *arg);
    void *arg;
    pthread_mutex_t lock;
    struct list letters; /* under lock, as the next */
    size_t n_letters;
};

static struct letter *mailbox_take(struct mailbox *m)
{
    struct letter *letter = NULL;

    pthread_mutex_lock(&m->lock);
    if (!list_empty(&m->letters)) {
        letter = list_entry(m->letters.next, struct letter, link);
        list_remove(&letter->link);
        m->n_letters--;
    }
    pthread_mutex_unlock(&m->lock);
    return letter;
}

/* Can only fail when the counter is full, and then the reader is being woken already. */
static void mailbox_wake(const struct mailbox *m)
{
    uint64_t one = 1;
    ssize_t n = write(m->fd, &one, sizeof(one));

    (void)n;
}

static void mailbox_on_readable(evutil_socket_t fd, short what, void *arg)
{
    struct mailbox *m = arg;
    struct letter *letter;
    unsigned int i;
    uint64_t n;

    if (read(fd, &n, sizeof(n)) < 0)
        return;
    for (i = 0; i < MAILBOX_PER_TURN && (letter = mailbox_take(m)); i++)
        letter->deliver(letter);
    if (i == MAILBOX_PER_TURN)
        mailbox_wake(m); /* there may be more */
    m->on_read(m->arg);
}

bool mailbox_post_at_most(struct mailbox *m, struct letter *letter, size_t max)
{
    bool has_room;

    pthread_mutex_lock(&m->lock);
    has_room = m->n_letters < max;
    if (has_room) {
        list_append(&m->letters, &letter->link);
        m->n_letters++;
    }
    pthread_mutex_unlock(&m->lock);
    if (has_room)
        mailbox_wake(m);
    return has_room;
}

void mailbox_post(struct mailbox *m, struct letter *letter)
{
    (void)mailbox_post_at_most(m, letter, SIZE_MAX);
}

struct mailbox *mailbox_new(struct event_base *base, void (*on_read)(void *arg), void *arg)
{
    struct mailbox *m = calloc(1, sizeof(*m));

    if (!m)
        return NULL;
    m->on_read = on_read;
    m->arg = arg;
    list_init(&m->letters);
    pthread_mutex_init(&m->lock, NULL);
    m->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (m->fd >= 0)
        m->event = event_new(base, m->fd, EV_READ | EV_PERSIST, mailbox_on_readable, m);
    if (!m->event || event_add(m->event, NULL) < 0) {
        mailbox_free(m);
        return NULL;
    }
    return m;
}

void mailbox_free(struct mailbox *m)
{
    struct letter *letter;

    if (!m)
        return;
    while ((letter = mailbox_take(m)))
        letter->free(letter);
    if (m->event)
        event_free(m->event);
    if (m->fd >= 0)
        close(m->fd);
    pthread_mutex_destroy(&m->lock);
    free(m);
}
