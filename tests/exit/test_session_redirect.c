/* 300 (Try Alternate): whose word it must be before a call goes to another server. */
#include "tests/support/session_world.h"

static struct session_world *w;
static struct fake_request req;

static void opening(enum link_kind kind, bool challenged)
{
    w = session_world_new(kind, NULL);
    fake_relay_expect(&w->relay, STUN_ALLOCATE, &req);
    ck_assert(!req.is_signed);
    if (!challenged)
        return;
    fake_relay_challenge(&w->relay, &req, 401);
    fake_relay_expect(&w->relay, STUN_ALLOCATE, &req);
    ck_assert(req.is_signed);
}

static void teardown(void)
{
    session_world_free(w);
    w = NULL;
}

static void redirect(bool is_unsigned)
{
    struct addr alternate = at(ALTERNATE);

    w->relay.unsigned_answers = is_unsigned;
    fake_relay_begin(&w->relay, &req, STUN_ERROR);
    stun_put_error(&w->relay.b, 300);
    stun_put_addr(&w->relay.b, STUN_ALTERNATE_SERVER, &alternate);
    fake_relay_end(&w->relay);
    session_world_pass_ms(w, 2000);
    ck_assert_uint_eq(w->n_ended, 1);
    ck_assert_uint_eq(w->ended.code, 300);
}

static const struct {
    enum link_kind kind;
    bool challenged, is_unsigned;
} theirs[] = {
    {LINK_UDP, true, false}, {LINK_TCP, true, false},  {LINK_DTLS, true, false},
    {LINK_DTLS, true, true}, {LINK_DTLS, false, true}, {LINK_TLS, false, true},
};

START_TEST(a_redirection_is_the_relays_when_signed_or_sealed)
{
    struct addr alternate = at(ALTERNATE);

    opening(theirs[_i].kind, theirs[_i].challenged);
    redirect(theirs[_i].is_unsigned);
    ck_assert_int_eq(w->ended.end, SESSION_E_REDIRECTED);
    ck_assert(addr_equal(&w->ended.alternate, &alternate));
}
END_TEST

/* To signed requests, and to the first of all, which nobody can sign. */
START_TEST(a_redirection_in_the_clear_without_proof_is_not_followed)
{
    opening(_i % 2 ? LINK_TCP : LINK_UDP, _i < 2);
    redirect(true);
    ck_assert_int_eq(w->ended.end, SESSION_E_REFUSED);
    ck_assert_uint_eq(w->ended.alternate.family, ADDR_NONE);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("session: redirections");
    TCase *c = tcase_create("300");

    tcase_add_checked_fixture(c, NULL, teardown);
    tcase_add_loop_test(c, a_redirection_is_the_relays_when_signed_or_sealed, 0,
                        (int)(sizeof(theirs) / sizeof(theirs[0])));
    tcase_add_loop_test(c, a_redirection_in_the_clear_without_proof_is_not_followed, 0, 4);
    suite_add_tcase(suite, c);
    return suite_run(suite);
}
