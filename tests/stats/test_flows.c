#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "relay/stats/flows.h"
#include "tests/support/suite.h"

static struct flow_list list, other;
static json_t *root;

static void setup(void)
{
    log_init(LOG_LEVEL_ERROR, false);
    list = other = (struct flow_list){0};
    root = json_object();
}

static void teardown(void)
{
    json_decref(root);
}

static struct flow_view *add(struct flow_list *to, uint64_t id, const char *user)
{
    struct flow_view *flow = flows_add(to);

    ck_assert_ptr_nonnull(flow);
    flow->id = id;
    flow->front = "turn";
    flow->transport = "udp";
    flow->user_len = strlen(user);
    memcpy(flow->user, user, flow->user_len);
    ck_assert(addr_parse("192.0.2.1:4000", &flow->client));
    ck_assert(addr_parse("198.51.100.1:50000", &flow->relayed_v4));
    return flow;
}

static json_t *described(size_t i)
{
    flows_describe(&list, 100 * NS_PER_S, root);
    return json_array_get(json_object_get(root, "flows"), i);
}

static json_int_t number(const json_t *object, const char *name)
{
    return json_integer_value(json_object_get(object, name));
}

START_TEST(a_flow_says_what_it_carried_and_for_how_long)
{
    struct flow_view *flow = add(&list, 7, "alice");
    json_t *object;

    flow->made_ns = 40 * NS_PER_S;
    flow->count = (struct flow_count){1, 2, 3, 4};
    object = described(0);
    ck_assert_int_eq(number(object, "id"), 7);
    ck_assert_int_eq(number(object, "up_packets"), 1);
    ck_assert_int_eq(number(object, "up_bytes"), 2);
    ck_assert_int_eq(number(object, "down_packets"), 3);
    ck_assert_int_eq(number(object, "down_bytes"), 4);
    ck_assert_double_eq(json_real_value(json_object_get(object, "age_s")), 60);
    ck_assert_str_eq(json_string_value(json_object_get(object, "user")), "alice");
    ck_assert_str_eq(json_string_value(json_object_get(object, "transport")), "udp");
}
END_TEST

START_TEST(addresses_are_shown_only_with_log_addresses)
{
    char *text;

    add(&list, 1, "alice");
    described(0);
    text = json_dumps(root, 0);
    ck_assert_ptr_null(strstr(text, "192.0.2."));
    ck_assert_ptr_null(strstr(text, "198.51.100."));
    free(text);
    log_init(LOG_LEVEL_ERROR, true);
    ck_assert_str_eq(json_string_value(json_object_get(described(0), "client")), "192.0.2.1:4000");
}
END_TEST

START_TEST(a_list_is_bounded_and_says_how_many_there_are)
{
    for (unsigned int i = 0; i < FLOWS_MAX; i++)
        add(&list, i, "alice");
    ck_assert_ptr_null(flows_add(&list));
    described(0);
    ck_assert_uint_eq(json_array_size(json_object_get(root, "flows")), FLOWS_MAX);
    ck_assert_int_eq(number(root, "n_flows"), FLOWS_MAX + 1);
}
END_TEST

START_TEST(lists_of_several_workers_add_up)
{
    for (unsigned int i = 0; i < FLOWS_MAX - 1; i++)
        add(&list, i, "alice");
    add(&other, 1000, "bob");
    add(&other, 1001, "bob");
    flows_append(&list, &other);
    ck_assert_uint_eq(list.n, FLOWS_MAX);
    ck_assert_uint_eq(list.n_all, FLOWS_MAX + 1);
    ck_assert_uint_eq(list.flow[FLOWS_MAX - 1].id, 1000);
}
END_TEST

START_TEST(a_name_that_is_no_text_is_null)
{
    add(&list, 1, "\xff\xfe");
    add(&list, 2, "");
    ck_assert(json_is_null(json_object_get(described(0), "user")));
    ck_assert(json_is_null(json_object_get(described(1), "user")));
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("stats/flows");
    TCase *tc = tcase_create("flows");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, a_flow_says_what_it_carried_and_for_how_long);
    tcase_add_test(tc, addresses_are_shown_only_with_log_addresses);
    tcase_add_test(tc, a_list_is_bounded_and_says_how_many_there_are);
    tcase_add_test(tc, lists_of_several_workers_add_up);
    tcase_add_test(tc, a_name_that_is_no_text_is_null);
    suite_add_tcase(s, tc);
    return s;
}

int main(void)
{
    return suite_run(suite());
}
