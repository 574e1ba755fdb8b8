/*
 * common/base/list.h - a circular doubly linked list inside the things it lists
 *
 * A node that is in no list points at itself, so list_remove() may be called on
 * it any number of times. The list never owns its entries.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct list {
    struct list *next, *prev;
};

#define list_entry(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

/* Walks `head`; the current entry may be removed or freed, its neighbours may not. */
#define list_for_each_safe(it, tmp, head)                                                          \
    for ((it) = (head)->next, (tmp) = (it)->next; (it) != (head); (it) = (tmp), (tmp) = (it)->next)

static inline void list_init(struct list *l)
{
    l->next = l->prev = l;
}

static inline bool list_empty(const struct list *l)
{
    return l->next == l;
}

static inline void list_append(struct list *head, struct list *node)
{
    node->prev = head->prev;
    node->next = head;
    head->prev->next = node;
    head->prev = node;
}

/* Takes all entries of `from`, to walk them while others come and go there; `to` need not be
 * initialised. */
static inline void list_take_all(struct list *from, struct list *to)
{
    list_init(to);
    if (list_empty(from))
        return;
    *to = *from;
    to->next->prev = to->prev->next = to;
    list_init(from);
}

static inline void list_remove(struct list *node)
{
    node->prev->next = node->next;
    node->next->prev = node->prev;
    list_init(node);
}

/* The first entry of `taken` (list_take_all()) stands at the end of `to` again: whoever is told of
 * it may remove any. Return: it, or NULL: no more are there. */
static inline struct list *list_give_back(struct list *taken, struct list *to)
{
    struct list *first = taken->next;

    if (list_empty(taken))
        return NULL;
    list_remove(first);
    list_append(to, first);
    return first;
}
