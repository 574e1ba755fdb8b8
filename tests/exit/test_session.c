#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "tests/support/session_world.h"

static struct session_world *w;
static struct fake_relay *relay;
static struct fake_request req, req2;

static void opening(enum link_kind kind)
{
    w = session_world_new(kind, NULL);
    relay = &w->relay;
}

__attribute__((unused)) static void live(enum link_kind kind)
{
    w = session_world_live(kind, NULL);
    relay = &w->relay;
}

static void teardown(void)
{
    session_world_free(w);
    w = NULL;
}

__attribute__((unused)) static void assert_ended(enum session_end end, unsigned int code)
{
    ck_assert_uint_eq(w->n_ended, 1);
    ck_assert_int_eq(w->ended.end, end);
    ck_assert_uint_eq(w->ended.code, code);
    ck_assert_uint_gt(strlen(w->ended.why), 0);
}

/* ---- opening ---- */

START_TEST(a_session_asks_is_challenged_and_lives)
{
    struct addr relayed = at(RELAYED);

    opening(LINK_UDP);
    fake_relay_expect(relay, STUN_ALLOCATE, &req);
    ck_assert(!req.is_signed);
    fake_relay_challenge(relay, &req, 401);
    fake_relay_expect(relay, STUN_ALLOCATE, &req2);
    ck_assert(req2.is_signed);
    ck_assert_mem_ne(req.msg.txid, req2.msg.txid, STUN_TXID_LEN);
    fake_relay_allocated(relay, &req2);
    ck_assert_uint_eq(w->n_live, 1);
    ck_assert(addr_equal(&w->opened.relayed_v4, &relayed));
    ck_assert(session_is_live(w->session));
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("session");
    TCase *opens = tcase_create("opening");

    tcase_add_checked_fixture(opens, NULL, teardown);
    tcase_add_test(opens, a_session_asks_is_challenged_and_lives);
    suite_add_tcase(s, opens);
    return s;
}

int main(void)
{
    return run_session_suite(suite());
}
