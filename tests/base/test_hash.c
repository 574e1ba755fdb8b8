#include <check.h>
#include <stdbool.h>
#include <stdlib.h>

#include "common/base/hash.h"
#include "tests/support/suite.h"

struct entry {
    int value;
    struct hash_node node;
};

#define N_ENTRIES 1000

static struct hash_table table;
static struct entry entries[N_ENTRIES];

static void setup(void)
{
    ck_assert_int_eq(hash_init(&table, 4), 0);
    for (int i = 0; i < N_ENTRIES; i++)
        entries[i] = (struct entry){.value = i};
}

static void teardown(void)
{
    hash_deinit(&table);
}

static uint64_t hash_of(int value)
{
    return hash_bytes(&value, sizeof(value));
}

static struct entry *find(int value)
{
    uint64_t hash = hash_of(value);

    for (struct hash_node *n = hash_first(&table, hash); n; n = hash_next(n, hash)) {
        struct entry *e = hash_entry(n, struct entry, node);

        if (e->value == value)
            return e;
    }
    return NULL;
}

static void insert_all(void)
{
    for (int i = 0; i < N_ENTRIES; i++)
        hash_insert(&table, &entries[i].node, hash_of(i));
}

START_TEST(every_entry_is_found_through_all_growth)
{
    for (int i = 0; i < N_ENTRIES; i++) {
        ck_assert_ptr_null(find(i));
        hash_insert(&table, &entries[i].node, hash_of(i));
        ck_assert_ptr_eq(find(i), &entries[i]);
        ck_assert_uint_eq(table.n_entries, (size_t)i + 1);
    }
    for (int i = 0; i < N_ENTRIES; i++)
        ck_assert_ptr_eq(find(i), &entries[i]);
    ck_assert_ptr_null(find(N_ENTRIES));
    ck_assert_uint_ge(table.n_buckets, N_ENTRIES); /* it grew */
}
END_TEST

START_TEST(bucket_count_stays_a_power_of_two)
{
    struct hash_table odd;

    ck_assert_int_eq(hash_init(&odd, 1000), 0);
    ck_assert_uint_eq(odd.n_buckets, 1024);
    hash_deinit(&odd);
    insert_all();
    ck_assert_uint_eq(table.n_buckets & (table.n_buckets - 1), 0);
}
END_TEST

START_TEST(removed_entries_are_gone_and_the_others_are_not)
{
    insert_all();
    for (int i = 0; i < N_ENTRIES; i += 2)
        hash_remove(&table, &entries[i].node);
    ck_assert_uint_eq(table.n_entries, N_ENTRIES / 2);
    for (int i = 0; i < N_ENTRIES; i++)
        ck_assert_ptr_eq(find(i), i % 2 == 0 ? NULL : &entries[i]);
}
END_TEST

START_TEST(removing_what_is_not_there_changes_nothing)
{
    hash_insert(&table, &entries[0].node, hash_of(0));
    hash_remove(&table, &entries[1].node);
    ck_assert_uint_eq(table.n_entries, 1);
    hash_remove(&table, &entries[0].node);
    hash_remove(&table, &entries[0].node);
    ck_assert_uint_eq(table.n_entries, 0);
    ck_assert_ptr_null(find(0));
}
END_TEST

START_TEST(entries_of_one_hash_are_all_visited)
{
    bool seen[5] = {false};
    int n = 0;

    for (int i = 0; i < 5; i++)
        hash_insert(&table, &entries[i].node, 42);
    hash_insert(&table, &entries[5].node, 42 + 16); /* the same bucket, another hash */
    for (struct hash_node *node = hash_first(&table, 42); node; node = hash_next(node, 42)) {
        int value = hash_entry(node, struct entry, node)->value;

        ck_assert_int_lt(value, 5);
        ck_assert(!seen[value]);
        seen[value] = true;
        n++;
    }
    ck_assert_int_eq(n, 5);
}
END_TEST

START_TEST(an_entry_can_come_back_after_removal)
{
    insert_all();
    hash_remove(&table, &entries[7].node);
    hash_insert(&table, &entries[7].node, hash_of(7));
    ck_assert_ptr_eq(find(7), &entries[7]);
    ck_assert_uint_eq(table.n_entries, N_ENTRIES);
}
END_TEST

START_TEST(hash_depends_on_every_byte)
{
    uint8_t key[24] = {0};
    uint64_t base = hash_bytes(key, sizeof(key));

    ck_assert_uint_eq(hash_bytes(key, sizeof(key)), base);
    ck_assert_uint_ne(hash_bytes(key, sizeof(key) - 1), base);
    for (size_t i = 0; i < sizeof(key); i++) {
        key[i] = 1;
        ck_assert_uint_ne(hash_bytes(key, sizeof(key)), base);
        key[i] = 0;
    }
}
END_TEST

static Suite *hash_suite(void)
{
    Suite *s = suite_create("base/hash");
    TCase *t = tcase_create("hash");

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, every_entry_is_found_through_all_growth);
    tcase_add_test(t, bucket_count_stays_a_power_of_two);
    tcase_add_test(t, removed_entries_are_gone_and_the_others_are_not);
    tcase_add_test(t, removing_what_is_not_there_changes_nothing);
    tcase_add_test(t, entries_of_one_hash_are_all_visited);
    tcase_add_test(t, an_entry_can_come_back_after_removal);
    tcase_add_test(t, hash_depends_on_every_byte);
    suite_add_tcase(s, t);
    return s;
}

int main(void)
{
    return suite_run(hash_suite());
}
