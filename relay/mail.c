#include "relay/mail.h"

#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

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

static void mailbox_on_readable(evutil_socket_t fd, short what, void *arg)
{
    struct mailbox *m = arg;
    struct letter *letter;
    uint64_t n;

    if (read(fd, &n, sizeof(n)) < 0)
        return;
    while ((letter = mailbox_take(m)))
        letter->deliver(letter);
    m->on_read(m->arg);
}

bool mailbox_post_at_most(struct mailbox *m, struct letter *letter, size_t max)
{
    uint64_t one = 1;
    bool has_room;

    pthread_mutex_lock(&m->lock);
    has_room = m->n_letters < max;
    if (has_room) {
        list_append(&m->letters, &letter->link);
        m->n_letters++;
    }
    pthread_mutex_unlock(&m->lock);
    /* Can only fail when the counter is full, and then the reader is being woken already. */
    if (has_room && write(m->fd, &one, sizeof(one)) < 0)
        return true;
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
