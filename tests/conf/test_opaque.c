#include <check.h>
#include <stdlib.h>

#include "conf/opaque.h"
#include "tests/support/suite.h"

static void expect(const char *in, const char *out)
{
    char *got = NULL;

    ck_assert_int_eq(opaque_string(in, &got), 0);
    ck_assert_str_eq(got, out);
    free(got);
}

static void refuse(const char *in, int answer)
{
    char untouched, *got = &untouched;

    ck_assert_int_eq(opaque_string(in, &got), answer);
    ck_assert_ptr_eq(got, &untouched);
}

/* RFC 8265, section 4.3, table 4. */
START_TEST(examples_of_rfc_8265_are_taken)
{
    expect("correct horse battery staple", "correct horse battery staple");
    expect("Correct Horse Battery Staple", "Correct Horse Battery Staple");
    expect("\xcf\x80\xc3\x9f\xc3\xa5", "\xcf\x80\xc3\x9f\xc3\xa5"); /* pi, sharp s, a ring */
    expect("Jack of \xe2\x99\xa6s", "Jack of \xe2\x99\xa6s");
    expect("foo\xe1\x9a\x80"
           "bar",
           "foo bar"); /* OGHAM SPACE MARK */
}
END_TEST

/* RFC 8265, section 4.3, table 5. */
START_TEST(examples_of_rfc_8265_are_refused)
{
    refuse("", OPAQUE_E_EMPTY);
    refuse("my cat is a \tby", OPAQUE_E_CONTROL);
}
END_TEST

START_TEST(composed_and_decomposed_accents_become_one)
{
    expect("caf\xc3\xa9", "caf\xc3\xa9");
    expect("cafe\xcc\x81", "caf\xc3\xa9");
}
END_TEST

/* NFC, not NFKC: compatibility characters are passwords in their own right. */
START_TEST(compatibility_characters_stay)
{
    expect("\xef\xbc\xa1", "\xef\xbc\xa1"); /* FULLWIDTH LATIN CAPITAL LETTER A */
    expect("\xe2\x85\xa3", "\xe2\x85\xa3"); /* ROMAN NUMERAL FOUR */
}
END_TEST

START_TEST(every_space_becomes_ascii_and_none_is_dropped)
{
    expect("a\xc2\xa0\xe3\x80\x80z", "a  z");
    expect(" a ", " a ");
}
END_TEST

START_TEST(case_is_kept)
{
    expect("ALICE", "ALICE");
}
END_TEST

START_TEST(what_is_not_utf8_is_refused)
{
    refuse("\xff", OPAQUE_E_UTF8);
    refuse("a\xc3", OPAQUE_E_UTF8);
    refuse("\xc0\x80", OPAQUE_E_UTF8);         /* overlong */
    refuse("\xed\xa0\x80", OPAQUE_E_UTF8);     /* a surrogate */
    refuse("\xf4\x90\x80\x80", OPAQUE_E_UTF8); /* beyond U+10FFFF */
}
END_TEST

START_TEST(controls_are_refused)
{
    refuse("a\nb", OPAQUE_E_CONTROL);
    refuse("a\x7f", OPAQUE_E_CONTROL);
    refuse("a\xc2\x85", OPAQUE_E_CONTROL); /* NEXT LINE, a C1 control */
}
END_TEST

START_TEST(invisible_private_and_unassigned_characters_are_refused)
{
    refuse("a\xe2\x80\x8b", OPAQUE_E_DISALLOWED);     /* ZERO WIDTH SPACE */
    refuse("a\xc2\xad", OPAQUE_E_DISALLOWED);         /* SOFT HYPHEN */
    refuse("a\xe2\x80\xa8", OPAQUE_E_DISALLOWED);     /* LINE SEPARATOR */
    refuse("a\xee\x80\x80", OPAQUE_E_DISALLOWED);     /* private use */
    refuse("a\xef\xbf\xbe", OPAQUE_E_DISALLOWED);     /* U+FFFE, a noncharacter */
    refuse("a\xcd\xb8", OPAQUE_E_DISALLOWED);         /* U+0378, unassigned */
    refuse("a\xe1\x84\x80", OPAQUE_E_DISALLOWED);     /* HANGUL CHOSEONG KIYEOK */
    refuse("a\xd9\x80", OPAQUE_E_DISALLOWED);         /* ARABIC TATWEEL, an exception */
    refuse("a\xf3\xa0\x80\xa0", OPAQUE_E_DISALLOWED); /* TAG SPACE */
}
END_TEST

/* RFC 5892, appendix A. */
START_TEST(joiners_stand_only_where_they_are_seen)
{
    refuse("a\xe2\x80\x8d", OPAQUE_E_DISALLOWED);
    refuse("\xe2\x80\x8c", OPAQUE_E_DISALLOWED);
    expect("\xe0\xa4\x95\xe0\xa5\x8d\xe2\x80\x8d", "\xe0\xa4\x95\xe0\xa5\x8d\xe2\x80\x8d");
    /* BEH, ZWNJ, BEH: dual joining letters on both sides. */
    expect("\xd8\xa8\xe2\x80\x8c\xd8\xa8", "\xd8\xa8\xe2\x80\x8c\xd8\xa8");
    refuse("\xd8\xa8\xe2\x80\x8c", OPAQUE_E_DISALLOWED);
}
END_TEST

START_TEST(lookalike_punctuation_needs_its_script)
{
    expect("l\xc2\xb7l", "l\xc2\xb7l");
    refuse("a\xc2\xb7l", OPAQUE_E_DISALLOWED);
    refuse("l\xc2\xb7", OPAQUE_E_DISALLOWED);
    expect("\xcd\xb5\xce\xb1", "\xcd\xb5\xce\xb1");
    refuse("\xcd\xb5x", OPAQUE_E_DISALLOWED);
    expect("\xd7\x90\xd7\xb3", "\xd7\x90\xd7\xb3");
    refuse("x\xd7\xb4", OPAQUE_E_DISALLOWED);
    expect("x\xe3\x83\xbb\xe3\x81\x82", "x\xe3\x83\xbb\xe3\x81\x82");
    refuse("x\xe3\x83\xbb", OPAQUE_E_DISALLOWED);
}
END_TEST

START_TEST(two_sets_of_arabic_digits_do_not_mix)
{
    expect("\xd9\xa1\xd9\xa2", "\xd9\xa1\xd9\xa2");
    expect("\xdb\xb1\xdb\xb2", "\xdb\xb1\xdb\xb2");
    refuse("\xd9\xa1\xdb\xb2", OPAQUE_E_DISALLOWED);
}
END_TEST

/* The output is what both sides hash: passing it through again must not change it. */
START_TEST(the_result_is_stable)
{
    static const char *const texts[] = {"cafe\xcc\x81", "a\xc2\xa0z", "\xe1\x84\x80",
                                        "\xe2\x84\xab", "\xe0\xa5\x98"};

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        char *once = NULL;

        if (opaque_string(texts[i], &once) == 0)
            expect(once, once);
        free(once);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("conf/opaque");
    TCase *tc = tcase_create("opaque");

    tcase_add_test(tc, examples_of_rfc_8265_are_taken);
    tcase_add_test(tc, examples_of_rfc_8265_are_refused);
    tcase_add_test(tc, composed_and_decomposed_accents_become_one);
    tcase_add_test(tc, compatibility_characters_stay);
    tcase_add_test(tc, every_space_becomes_ascii_and_none_is_dropped);
    tcase_add_test(tc, case_is_kept);
    tcase_add_test(tc, what_is_not_utf8_is_refused);
    tcase_add_test(tc, controls_are_refused);
    tcase_add_test(tc, invisible_private_and_unassigned_characters_are_refused);
    tcase_add_test(tc, joiners_stand_only_where_they_are_seen);
    tcase_add_test(tc, lookalike_punctuation_needs_its_script);
    tcase_add_test(tc, two_sets_of_arabic_digits_do_not_mix);
    tcase_add_test(tc, the_result_is_stable);
    suite_add_tcase(s, tc);
    return suite_run(s);
}
