/* IPv6 for an association whose relay ignores ADDITIONAL-ADDRESS-FAMILY. */
#include <errno.h>
#include <string.h>

#include "tests/support/upstream_world.h"

static struct upstream_world *w;
static struct fake_server *a;

static const struct assoc_want both = {.v4 = true, .v6 = true};

static void setup(void)
{
    w = world_new(0);
    a = world_server(w, SERVER_A);
    a->v4_only = true;
    world_url(w, 0, HOST_A, LISTEN_TCP);
    world_go(w, 0);
}

static void teardown(void)
{
    world_free(w);
    w = NULL;
}

static struct front_assoc *open_both(void)
{
    struct front_assoc *f = front_open(w, &both);

    world_settle(w);
    ck_assert_int_eq(f->opened.result, EXIT_OK);
    ck_assert_int_eq(f->opened.result_v6, EXIT_E_FAMILY);
    return f;
}

static void send_to(struct front_assoc *f, const char *peer)
{
    struct addr addr = at(peer);

    w->exit->ops->send(f->assoc, &addr, (const uint8_t *)"hello", 5, false);
}

static struct world_link *link_of(const struct session *s)
{
    for (struct list *it = w->links.next; it != &w->links; it = it->next) {
        struct world_link *l = list_entry(it, struct world_link, link);

        if (l->wire->link && l->wire->link == session_link((struct session *)(uintptr_t)s))
            return l;
    }
    ck_abort_msg("no such link");
    return NULL;
}

static struct world_link *v6_link(const struct front_assoc *f)
{
    ck_assert_ptr_nonnull(f->assoc->v6.carrier.session);
    return link_of(f->assoc->v6.carrier.session);
}

/* How many "hello"s to the peer, as Send indications, went to the relay on this link. */
static unsigned int n_hellos(const struct world_link *l)
{
    unsigned int n = 0;
    struct stun_msg msg;
    size_t len;

    for (size_t i = 0; i < l->wire->n_sent; i++) {
        const struct fake_sent *sent = &l->wire->sent[i];

        n += stun_decode(&msg, sent->data, sent->len) == 0 && msg.method == STUN_SEND &&
             stun_get(&msg, STUN_DATA_ATTR, &len) && len == 5;
    }
    return n;
}

static unsigned int n_allocates(void)
{
    return a->n_asked[STUN_ALLOCATE];
}

START_TEST(nothing_is_allocated_before_a_datagram_wants_it)
{
    struct front_assoc *f;
    unsigned int n;

    f = open_both();
    ck_assert(f->opened.v6_may_follow);
    n = n_allocates();
    send_to(f, PEER);
    world_pass_ms(w, 30000);
    ck_assert_uint_eq(n_allocates(), n);
    send_to(f, PEER6);
    world_settle(w);
    ck_assert_uint_eq(n_allocates(), n + 1);
}
END_TEST

START_TEST(the_first_datagrams_wait_for_it_and_answers_are_delivered)
{
    struct front_assoc *f = open_both();

    a->rules[STUN_ALLOCATE].hold = true;
    send_to(f, PEER6);
    send_to(f, PEER6);
    world_settle(w);
    a->rules[STUN_ALLOCATE].hold = false;
    world_answer_held(w, STUN_ALLOCATE);
    world_settle(w);
    ck_assert_uint_eq(n_hellos(v6_link(f)), 2);
    ck_assert_uint_eq(n_hellos(link_of(f->assoc->carrier.session)), 0);
    fake_relay_data(&v6_link(f)->relay, PEER6, "answer", 6);
    ck_assert_uint_eq(f->n_datagrams, 1);
    send_to(f, PEER);
    world_settle(w);
    ck_assert_uint_eq(n_hellos(link_of(f->assoc->carrier.session)), 1);
}
END_TEST

START_TEST(what_waits_is_bounded)
{
    struct front_assoc *f = open_both();
    struct addr peer = at(PEER6);
    static const uint8_t big[2049];

    a->rules[STUN_ALLOCATE].hold = true;
    w->exit->ops->send(f->assoc, &peer, big, sizeof(big), false);
    ck_assert_uint_eq(w->counters.drop_send, 1);
    for (unsigned int i = 0; i < 10; i++)
        send_to(f, PEER6);
    ck_assert_uint_eq(w->counters.drop_send, 3);
    world_settle(w);
    a->rules[STUN_ALLOCATE].hold = false;
    world_answer_held(w, STUN_ALLOCATE);
    world_settle(w);
    ck_assert_uint_eq(n_hellos(v6_link(f)), 8);
}
END_TEST

START_TEST(a_relay_that_has_no_ipv6_is_believed_for_a_minute)
{
    struct front_assoc *f = open_both();
    unsigned int n;

    a->no_v6 = true;
    send_to(f, PEER6);
    world_settle(w);
    n = n_allocates();
    ck_assert_uint_eq(f->n_lost, 0);
    world_pass_ms(w, 58000);
    send_to(f, PEER6);
    ck_assert(!open_both()->opened.v6_may_follow);
    ck_assert_uint_eq(n_allocates(), n + 1); /* the other association's */
    ck_assert_uint_eq(w->counters.drop_send, 1);
    a->no_v6 = false;
    world_pass_ms(w, 3000);
    send_to(f, PEER6);
    world_settle(w);
    ck_assert_uint_eq(n_hellos(v6_link(f)), 1);
}
END_TEST

START_TEST(another_refusal_is_tried_again_after_five_seconds)
{
    struct front_assoc *f = open_both();
    unsigned int n;

    a->rules[STUN_ALLOCATE].code = 486;
    send_to(f, PEER6);
    world_settle(w);
    n = n_allocates();
    send_to(f, PEER6);
    world_pass_ms(w, 4000);
    send_to(f, PEER6);
    world_settle(w);
    ck_assert_uint_eq(n_allocates(), n);
    a->rules[STUN_ALLOCATE].code = 0;
    world_pass_ms(w, 2000);
    send_to(f, PEER6);
    world_settle(w);
    ck_assert_uint_eq(n_hellos(v6_link(f)), 1);
}
END_TEST

START_TEST(one_that_is_lost_is_made_again_and_the_front_hears_nothing)
{
    struct front_assoc *f = open_both();
    struct world_link *l;

    send_to(f, PEER6);
    world_settle(w);
    l = v6_link(f);
    l->closed = true;
    fake_wire_close(l->wire, -ECONNRESET, "reset");
    ck_assert_uint_eq(f->n_lost, 0);
    ck_assert_int_eq(world_status(w, false).state, UPSTREAM_READY);
    send_to(f, PEER6);
    world_settle(w);
    ck_assert_ptr_ne(v6_link(f), l);
    ck_assert_uint_eq(n_hellos(v6_link(f)), 1);
}
END_TEST

START_TEST(it_ends_with_its_association)
{
    struct front_assoc *f = open_both(), *g = open_both();
    unsigned int n = a->n_deleted;

    send_to(f, PEER6);
    world_settle(w);
    a->rules[STUN_ALLOCATE].hold = _i == 1;
    send_to(g, PEER6);
    world_settle(w);
    front_close(f);
    front_close(g);
    world_settle(w);
    ck_assert_uint_eq(a->n_deleted, n + (_i == 1 ? 3 : 4));
}
END_TEST

START_TEST(the_association_may_be_closed_when_a_datagram_comes)
{
    struct front_assoc *f = open_both();

    send_to(f, PEER6);
    world_settle(w);
    f->closes = true;
    fake_relay_data(&v6_link(f)->relay, PEER6, "answer", 6);
    ck_assert_ptr_null(f->assoc);
}
END_TEST

START_TEST(who_asked_for_one_family_gets_no_other)
{
    struct front_assoc *f = front_open_v4(w);
    unsigned int n;

    world_settle(w);
    ck_assert(!f->opened.v6_may_follow);
    n = n_allocates();
    send_to(f, PEER6);
    world_settle(w);
    ck_assert_uint_eq(n_allocates(), n);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("exit/upstream/assoc_v6");
    TCase *t = tcase_create("assoc_v6");

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, nothing_is_allocated_before_a_datagram_wants_it);
    tcase_add_test(t, the_first_datagrams_wait_for_it_and_answers_are_delivered);
    tcase_add_test(t, what_waits_is_bounded);
    tcase_add_test(t, a_relay_that_has_no_ipv6_is_believed_for_a_minute);
    tcase_add_test(t, another_refusal_is_tried_again_after_five_seconds);
    tcase_add_test(t, one_that_is_lost_is_made_again_and_the_front_hears_nothing);
    tcase_add_loop_test(t, it_ends_with_its_association, 0, 2);
    tcase_add_test(t, the_association_may_be_closed_when_a_datagram_comes);
    tcase_add_test(t, who_asked_for_one_family_gets_no_other);
    suite_add_tcase(s, t);
    return s;
}

int main(void)
{
    return suite_run(suite());
}
