#include <check.h>
#include <stdlib.h>

#include "common/base/cursor.h"
#include "tests/support/suite.h"

static const uint8_t bytes[] = {0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07};

START_TEST(reader_reads_network_order)
{
    struct reader r = reader_make(bytes, sizeof(bytes));

    ck_assert_uint_eq(reader_u8(&r), 0x01);
    ck_assert_uint_eq(reader_u16(&r), 0x0203);
    ck_assert_uint_eq(reader_u32(&r), 0x04050607);
    ck_assert_uint_eq(reader_left(&r), 0);
    ck_assert(!r.failed);
}
END_TEST

START_TEST(reader_reads_the_highest_values_unsigned)
{
    static const uint8_t ones[] = {0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF};
    struct reader r = reader_make(ones, sizeof(ones));

    ck_assert_uint_eq(reader_u32(&r), UINT32_MAX);
    ck_assert_uint_eq(reader_u16(&r), UINT16_MAX);
}
END_TEST

START_TEST(short_read_fails_and_stays_failed)
{
    struct reader r = reader_make(bytes, 3);

    ck_assert_uint_eq(reader_u32(&r), 0);
    ck_assert(r.failed);
    ck_assert_uint_eq(reader_u8(&r), 0); /* one byte is there, but the reader has failed */
    ck_assert_uint_eq(reader_left(&r), 0);
    ck_assert_ptr_null(reader_bytes(&r, 0));
    ck_assert(r.failed);
}
END_TEST

START_TEST(reader_borrows_without_copying)
{
    struct reader r = reader_make(bytes, sizeof(bytes));

    ck_assert_ptr_eq(reader_bytes(&r, 3), bytes);
    ck_assert_ptr_eq(reader_bytes(&r, 0), bytes + 3);
    ck_assert_uint_eq(reader_left(&r), sizeof(bytes) - 3);
    ck_assert_ptr_eq(reader_bytes(&r, sizeof(bytes) - 3), bytes + 3);
    ck_assert(!r.failed);
}
END_TEST

START_TEST(lengths_near_the_maximum_do_not_wrap)
{
    struct reader r = reader_make(bytes, sizeof(bytes));
    uint8_t buf[4];
    struct writer w = writer_make(buf, sizeof(buf));

    reader_u8(&r);
    ck_assert_ptr_null(reader_bytes(&r, SIZE_MAX));
    ck_assert(r.failed);
    writer_u8(&w, 1);
    ck_assert_ptr_null(writer_reserve(&w, SIZE_MAX));
    ck_assert(w.failed);
}
END_TEST

START_TEST(empty_reader_has_nothing)
{
    struct reader r = reader_make(NULL, 0);

    ck_assert_uint_eq(reader_left(&r), 0);
    ck_assert_uint_eq(reader_u8(&r), 0);
    ck_assert(r.failed);
}
END_TEST

START_TEST(writer_writes_network_order)
{
    uint8_t buf[9];
    struct writer w = writer_make(buf, sizeof(buf));

    memset(buf, 0xA5, sizeof(buf));
    writer_u8(&w, 0x01);
    writer_u16(&w, 0x0203);
    writer_u32(&w, 0x04050607);
    writer_zeros(&w, 2);
    ck_assert_uint_eq(w.len, sizeof(buf));
    ck_assert(!w.failed);
    ck_assert_mem_eq(buf, bytes, sizeof(bytes));
    ck_assert_uint_eq(buf[7] | buf[8], 0);
}
END_TEST

START_TEST(write_that_does_not_fit_writes_nothing_at_all)
{
    uint8_t buf[8];
    struct writer w = writer_make(buf, 3);

    memset(buf, 0xA5, sizeof(buf));
    writer_u16(&w, 0);
    writer_u16(&w, 0);
    ck_assert(w.failed);
    ck_assert_uint_eq(w.len, 2);
    writer_u8(&w, 0); /* would fit, but the writer has failed */
    writer_bytes(&w, bytes, 0);
    ck_assert_uint_eq(w.len, 2);
    for (size_t i = 2; i < sizeof(buf); i++)
        ck_assert_uint_eq(buf[i], 0xA5);
}
END_TEST

START_TEST(empty_write_needs_no_source)
{
    uint8_t buf[1];
    struct writer w = writer_make(buf, 0);

    writer_bytes(&w, NULL, 0);
    writer_zeros(&w, 0);
    ck_assert(!w.failed);
    ck_assert_uint_eq(w.len, 0);
}
END_TEST

static Suite *cursor_suite(void)
{
    Suite *s = suite_create("base/cursor");
    TCase *t = tcase_create("cursor");

    tcase_add_test(t, reader_reads_network_order);
    tcase_add_test(t, reader_reads_the_highest_values_unsigned);
    tcase_add_test(t, short_read_fails_and_stays_failed);
    tcase_add_test(t, reader_borrows_without_copying);
    tcase_add_test(t, lengths_near_the_maximum_do_not_wrap);
    tcase_add_test(t, empty_reader_has_nothing);
    tcase_add_test(t, writer_writes_network_order);
    tcase_add_test(t, write_that_does_not_fit_writes_nothing_at_all);
    tcase_add_test(t, empty_write_needs_no_source);
    suite_add_tcase(s, t);
    return s;
}

int main(void)
{
    return suite_run(cursor_suite());
}
