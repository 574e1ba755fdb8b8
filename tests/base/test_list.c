#include <check.h>
#include <stdlib.h>

#include "common/base/list.h"
#include "tests/support/suite.h"

struct item {
    int value;
    struct list link;
};

static struct list head;
static struct item items[5];

static void setup(void)
{
    list_init(&head);
    for (int i = 0; i < 5; i++) {
        items[i].value = i;
        list_init(&items[i].link);
    }
}

static void append_all(void)
{
    for (int i = 0; i < 5; i++)
        list_append(&head, &items[i].link);
}

/* Checks both directions against `n` values. */
static void assert_values(const int *values, size_t n)
{
    struct list *it = &head;

    for (size_t i = 0; i < n; i++) {
        it = it->next;
        ck_assert_int_eq(list_entry(it, struct item, link)->value, values[i]);
        ck_assert_ptr_eq(it->prev->next, it);
    }
    ck_assert_ptr_eq(it->next, &head);
    ck_assert_ptr_eq(head.prev, it);
}

START_TEST(new_list_is_empty)
{
    ck_assert(list_empty(&head));
    list_append(&head, &items[0].link);
    ck_assert(!list_empty(&head));
    list_remove(&items[0].link);
    ck_assert(list_empty(&head));
}
END_TEST

START_TEST(entries_stand_in_the_order_they_came)
{
    append_all();
    assert_values((const int[]){0, 1, 2, 3, 4}, 5);
}
END_TEST

START_TEST(entries_leave_from_everywhere)
{
    append_all();
    list_remove(&items[2].link);
    assert_values((const int[]){0, 1, 3, 4}, 4);
    list_remove(&items[0].link);
    assert_values((const int[]){1, 3, 4}, 3);
    list_remove(&items[4].link);
    assert_values((const int[]){1, 3}, 2);
}
END_TEST

START_TEST(removing_twice_is_harmless)
{
    append_all();
    list_remove(&items[1].link);
    list_remove(&items[1].link);
    ck_assert(list_empty(&items[1].link));
    assert_values((const int[]){0, 2, 3, 4}, 4);
    list_append(&head, &items[1].link);
    assert_values((const int[]){0, 2, 3, 4, 1}, 5);
}
END_TEST

START_TEST(the_current_entry_may_go_while_walking)
{
    struct list *it, *tmp;
    int n = 0;

    append_all();
    list_for_each_safe (it, tmp, &head) {
        if (n++ % 2 == 0)
            list_remove(it);
    }
    ck_assert_int_eq(n, 5);
    assert_values((const int[]){1, 3}, 2);
}
END_TEST

START_TEST(walking_an_empty_list_visits_nothing)
{
    struct list *it, *tmp;

    list_for_each_safe (it, tmp, &head) {
        ck_abort_msg("visited an entry of an empty list");
    }
}
END_TEST

START_TEST(what_was_taken_is_given_back_one_by_one)
{
    static const int given[] = {0, 1, 2, 4};
    struct list taken, *it;
    size_t n = 0;

    append_all();
    list_take_all(&head, &taken);
    while ((it = list_give_back(&taken, &head))) {
        ck_assert_uint_lt(n, 4);
        ck_assert_int_eq(list_entry(it, struct item, link)->value, given[n]);
        ck_assert_ptr_eq(head.prev, it);
        if (given[n] == 1)
            list_remove(&items[3].link); /* one that waits */
        if (given[n] == 2)
            list_remove(it);
        n++;
    }
    ck_assert_uint_eq(n, 4);
    assert_values((const int[]){0, 1, 4}, 3);
    ck_assert(list_empty(&taken));
}
END_TEST

START_TEST(all_entries_are_taken_at_once_and_in_order)
{
    struct list taken, none;

    list_take_all(&head, &taken);
    ck_assert(list_empty(&taken) && list_empty(&head));
    append_all();
    list_take_all(&head, &taken);
    ck_assert(list_empty(&head));
    list_take_all(&head, &none);
    ck_assert(list_empty(&none));
    for (int i = 0; i < 5; i++) {
        ck_assert(!list_empty(&taken));
        ck_assert_int_eq(list_entry(taken.next, struct item, link)->value, i);
        list_remove(taken.next);
    }
    ck_assert(list_empty(&taken));
}
END_TEST

static Suite *list_suite(void)
{
    Suite *s = suite_create("base/list");
    TCase *t = tcase_create("list");

    tcase_add_checked_fixture(t, setup, NULL);
    tcase_add_test(t, new_list_is_empty);
    tcase_add_test(t, entries_stand_in_the_order_they_came);
    tcase_add_test(t, entries_leave_from_everywhere);
    tcase_add_test(t, removing_twice_is_harmless);
    tcase_add_test(t, the_current_entry_may_go_while_walking);
    tcase_add_test(t, walking_an_empty_list_visits_nothing);
    tcase_add_test(t, what_was_taken_is_given_back_one_by_one);
    tcase_add_test(t, all_entries_are_taken_at_once_and_in_order);
    suite_add_tcase(s, t);
    return s;
}

int main(void)
{
    return suite_run(list_suite());
}
