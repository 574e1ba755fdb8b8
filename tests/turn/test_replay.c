#include <string.h>

#include "common/base/clock.h"
#include "relay/turn/replay.h"
#include "tests/support/turn_world.h"

#define NOW (100 * NS_PER_S)

static struct replay *replay;
static const uint8_t txid[STUN_TXID_LEN] = "transaction";

static void setup(void)
{
    replay = replay_new();
}

static void teardown(void)
{
    replay_free(replay);
}

static void keep(const char *client, const char *answer)
{
    struct addr addr = at(client);

    replay_keep(replay, &addr, txid, (const uint8_t *)answer, strlen(answer), NOW);
}

static bool finds(const char *client, const char *answer, uint64_t now_ns)
{
    struct addr addr = at(client);
    size_t len = 0;
    const uint8_t *found = replay_find(replay, &addr, txid, &len, now_ns);

    return found && len == strlen(answer) && memcmp(found, answer, len) == 0;
}

START_TEST(an_answer_is_kept_for_forty_seconds)
{
    keep(CLIENT, "answer");
    ck_assert(finds(CLIENT, "answer", NOW));
    ck_assert(finds(CLIENT, "answer", NOW + 40 * NS_PER_S - 1));
    ck_assert(!finds(CLIENT, "answer", NOW + 40 * NS_PER_S));
}
END_TEST

START_TEST(it_is_for_its_transaction_and_its_client_alone)
{
    uint8_t other[STUN_TXID_LEN] = "transactioN";
    struct addr addr = at(CLIENT);
    size_t len;

    keep(CLIENT, "answer");
    ck_assert_ptr_null(replay_find(replay, &addr, other, &len, NOW));
    ck_assert(!finds(CLIENT2, "answer", NOW));
    ck_assert(!finds("198.51.100.77:40001", "answer", NOW));
}
END_TEST

START_TEST(the_longest_answer_is_kept_and_a_longer_one_is_not)
{
    char longest[REPLAY_ANSWER_MAX + 1] = {0}, longer[REPLAY_ANSWER_MAX + 2] = {0};

    memset(longest, 'x', sizeof(longest) - 1);
    memset(longer, 'x', sizeof(longer) - 1);
    keep(CLIENT, longest);
    ck_assert(finds(CLIENT, longest, NOW));
    keep(CLIENT2, longer);
    ck_assert(!finds(CLIENT2, longer, NOW));
}
END_TEST

START_TEST(any_number_of_answers_only_makes_it_forget)
{
    struct addr addr = at(CLIENT);
    uint8_t id[STUN_TXID_LEN] = {0};
    unsigned int n_found = 0;
    size_t len;

    for (unsigned int i = 0; i < 10000; i++) {
        memcpy(id, &i, sizeof(i));
        replay_keep(replay, &addr, id, (const uint8_t *)&i, sizeof(i), NOW);
    }
    for (unsigned int i = 0; i < 10000; i++) {
        const uint8_t *found;

        memcpy(id, &i, sizeof(i));
        found = replay_find(replay, &addr, id, &len, NOW);
        n_found += found != NULL;
        ck_assert(!found || memcmp(found, &i, sizeof(i)) == 0);
    }
    ck_assert_uint_gt(n_found, 100);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("turn/replay");
    TCase *t = tcase_create("replay");

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, an_answer_is_kept_for_forty_seconds);
    tcase_add_test(t, it_is_for_its_transaction_and_its_client_alone);
    tcase_add_test(t, the_longest_answer_is_kept_and_a_longer_one_is_not);
    tcase_add_test(t, any_number_of_answers_only_makes_it_forget);
    suite_add_tcase(s, t);
    return suite_run(s);
}
