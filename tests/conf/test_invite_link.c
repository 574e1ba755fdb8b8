#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "conf/conf.h"
#include "conf/invite_link.h"
#include "conf/value.h"
#include "tests/support/suite.h"

#define PIN  "sha256/47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="
#define LINK "callveil://alice:pw@r.example/?"

static char why[VALUE_WHY_LEN];

START_TEST(a_link_holds_all_that_local_conf_needs)
{
    struct invite_link link;
    char url[URL_TEXT_LEN];

    ck_assert_int_eq(invite_link_decode("callveil://alice:s3cret@relay.example/?dtls=5349&tls=443&"
                                        "udp=3478&tcp=80&pin=" PIN,
                                        &link, why),
                     0);
    ck_assert_str_eq(link.user, "alice");
    ck_assert_str_eq(link.password, "s3cret");
    ck_assert_str_eq(link.host, "relay.example");
    ck_assert_uint_eq(link.n_at, 4);
    ck_assert_str_eq(invite_link_url(&link, 0, url), "turns:relay.example:5349?transport=udp");
    ck_assert_str_eq(invite_link_url(&link, 1, url), "turns:relay.example:443?transport=tcp");
    ck_assert_str_eq(invite_link_url(&link, 2, url), "turn:relay.example:3478?transport=udp");
    ck_assert_str_eq(invite_link_url(&link, 3, url), "turn:relay.example:80?transport=tcp");
    ck_assert_uint_eq(link.n_pin, 1);
    ck_assert_uint_eq(link.pin[0][0], 0xe3);
    invite_link_deinit(&link);
    ck_assert_ptr_null(link.password);
}
END_TEST

/* Each encodes to itself. */
static const char *const canonical[] = {
    LINK "udp=3478",
    LINK "tcp=1&tcp=2&udp=65535",
    LINK "dtls=5349&pin=" PIN,
    "callveil://alice:pw@192.0.2.1/?udp=3478",
    "callveil://alice:pw@[2001:db8::1]/?tls=443&pin=" PIN "&pin=" PIN,
    "callveil://1700000000%3Aalice:a%2Fb%3Fc%40d%3A%25%26%3D%2B%23%20%22@r.example/?udp=1",
    "callveil://caf%C3%A9:%E2%9C%93@r.example/?udp=1",
    "callveil://a-._~:p-._~@r.example/?udp=1",
};

START_TEST(a_link_encodes_to_what_it_was)
{
    struct invite_link link;
    char *text;

    ck_assert_int_eq(invite_link_decode(canonical[_i], &link, why), 0);
    text = invite_link_encode(&link);
    ck_assert_str_eq(text, canonical[_i]);
    free(text);
    invite_link_deinit(&link);
}
END_TEST

/* Programs that pass links on write them differently. */
static const char *const variants[][2] = {
    {"CallVeil://alice:pw@R.example/?udp=3478", "callveil://alice:pw@R.example/?udp=3478"},
    {"callveil://%61lice:p!$&'()*+,;=w@r.example/?udp=1",
     "callveil://alice:p%21%24%26%27%28%29%2A%2B%2C%3B%3Dw@r.example/?udp=1"},
    {LINK "tls=1&pin=sha256%2f47DEQpj8HBSa%2b%2FTImW%2B5JCeuQeRkm5NMpJWZG3hSuFU%3D",
     LINK "tls=1&pin=" PIN},
    {"callveil://alice:pw@[::ffff:192.0.2.1]/?udp=1", "callveil://alice:pw@192.0.2.1/?udp=1"},
    {"callveil://cafe%CC%81:pw@r.example/?udp=1", "callveil://caf%C3%A9:pw@r.example/?udp=1"},
    {LINK "udp=%33478", LINK "udp=3478"},
};

START_TEST(other_spellings_are_the_same_link)
{
    struct invite_link link;
    char *text;

    ck_assert_int_eq(invite_link_decode(variants[_i][0], &link, why), 0);
    text = invite_link_encode(&link);
    ck_assert_str_eq(text, variants[_i][1]);
    free(text);
    invite_link_deinit(&link);
}
END_TEST

#define CHANGED "that no link can: it was changed on the way"

static const struct {
    const char *text, *why;
} wrong[] = {
    {"", "the link does not start with callveil://"},
    {"callveil:/", "the link does not start with callveil://"},
    {"https://alice:pw@r.example/?udp=1", "the link does not start with callveil://"},
    {"callveil://", "the link has no user and password"},
    {"callveil://r.example/?udp=1", "the link has no user and password"},
    {"callveil://r.example/?udp=1@x", "the link has no user and password"},
    {"callveil://alice@r.example/?udp=1", "the link has no password"},
    {"callveil://:pw@r.example/?udp=1", "the user: it is empty"},
    {"callveil://alice:@r.example/?udp=1", "the password: it is empty"},
    {"callveil://a:l:pw@r.example/?udp=1", "a ':' in the user or password must be written %3A"},
    {"callveil://a:p@w@r.example/?udp=1", "an '@' in the user or password must be written %40"},
    {"callveil://a%:pw@r.example/?udp=1", "the user: '%' is not followed by two hex digits"},
    {"callveil://a:pw%4@r.example/?udp=1", "the password: '%' is not followed by two hex digits"},
    {"callveil://a:pw%g0@r.example/?udp=1", "the password: '%' is not followed by two hex digits"},
    {"callveil://a:p%00w@r.example/?udp=1", "the password contains a zero byte"},
    {"callveil://a%0A:pw@r.example/?udp=1", "the user: it contains a control character"},
    {"callveil://a:%FF@r.example/?udp=1", "the password: it is not UTF-8"},
    {"callveil://a b:pw@r.example/?udp=1", "the link contains a character (0x20) " CHANGED},
    {LINK "udp=1\n", "the link contains a character (0x0a) " CHANGED},
    {LINK "udp=1#x", "the link contains a character (0x23) " CHANGED},
    {"callveil://caf\xc3\xa9:pw@r.example/?udp=1", "the link contains a character (0xc3) " CHANGED},
    {"callveil://alice:pw@/?udp=1", "the link has no host"},
    {"callveil://alice:pw@r.example:3478/?udp=1",
     "a port stands behind the host; ports belong behind '?'"},
    {"callveil://alice:pw@[2001:db8::1]:3478/?udp=1",
     "a port stands behind the host; ports belong behind '?'"},
    {"callveil://alice:pw@2001:db8::1/?udp=1", "an IPv6 address is written [2001:db8::1]"},
    {"callveil://alice:pw@[2001:db8::1/?udp=1", "an IPv6 address is written [2001:db8::1]"},
    {"callveil://alice:pw@r_x/?udp=1", "\"r_x\" is neither a host name nor an IP address"},
    {"callveil://alice:pw@0.0.0.0/?udp=1", "\"0.0.0.0\" stands for any address; name one"},
    {"callveil://alice:pw@r.example", "behind the host stands /? and the transports"},
    {"callveil://alice:pw@r.example/", "behind the host stands /? and the transports"},
    {"callveil://alice:pw@r.example?udp=1", "behind the host stands /? and the transports"},
    {"callveil://alice:pw@r.example/x?udp=1", "behind the host stands /? and the transports"},
    {LINK, "\"\" is not a part like udp=3478"},
    {LINK "udp", "\"udp\" is not a part like udp=3478"},
    {LINK "=1", "\"=1\" is not a part like udp=3478"},
    {LINK "udp=1&", "\"\" is not a part like udp=3478"},
    {LINK "udp=", "\"\" is not a port (1 to 65535)"},
    {LINK "udp=0", "\"0\" is not a port (1 to 65535)"},
    {LINK "udp=65536", "\"65536\" is not a port (1 to 65535)"},
    {LINK "udp=+1", "\"+1\" is not a port (1 to 65535)"},
    {LINK "udp=3478&udp=3478", "the link has a transport twice"},
    {LINK "udp=1&udp=2&udp=3&udp=4&udp=5&udp=6&udp=7&udp=8&udp=9",
     "the link has more than 8 transports"},
    {LINK "quic=1", "\"quic\" is nothing this version understands"},
    {LINK "UDP=1", "\"UDP\" is nothing this version understands"},
    {LINK "pin=" PIN, "the link has no transport"},
    {LINK "udp=1&pin=" PIN, "the link has a pin, but neither tls nor dtls"},
    {LINK "tls=1&pin=sha1/x", "\"sha1/x\" does not start with sha256/"},
    {LINK "tls=1&pin=" PIN "&pin=" PIN "&pin=" PIN "&pin=" PIN "&pin=" PIN,
     "the link has more than 4 pins"},
    {LINK "tls=1&pin=%", "the part behind '?': '%' is not followed by two hex digits"},
};

START_TEST(each_malformed_link_says_why)
{
    struct invite_link link;

    why[0] = '\0';
    ck_assert_int_eq(invite_link_decode(wrong[_i].text, &link, why), VALUE_E_BAD);
    ck_assert_str_eq(why, wrong[_i].why);
}
END_TEST

/* A link that was cut is never taken for a whole one with other contents. */
START_TEST(a_cut_link_is_refused_or_has_what_came_before)
{
    static const char whole[] = "callveil://al%69ce:s%C3%A9cret@[2001:db8::1]/?dtls=5349&tls=443&"
                                "pin=" PIN;
    char text[sizeof(whole)];
    struct invite_link link;
    size_t n_right = 0;

    for (size_t n = 0; n < sizeof(whole); n++) {
        memcpy(text, whole, n);
        text[n] = '\0';
        if (invite_link_decode(text, &link, why) != 0)
            continue;
        n_right++;
        ck_assert_str_eq(link.user, "alice");
        ck_assert_str_eq(link.password, "s\xc3\xa9"
                                        "cret");
        ck_assert_str_eq(link.host, "2001:db8::1");
        invite_link_deinit(&link);
    }
    /* Behind any digit of a port, and at the end. */
    ck_assert_uint_eq(n_right, 4 + 3 + 1);
}
END_TEST

START_TEST(a_long_link_is_refused_unread)
{
    static char text[INVITE_LINK_MAX + 2];
    struct invite_link link;

    memset(text, 'a', sizeof(text) - 1);
    memcpy(text, "callveil://", 11);
    ck_assert_int_eq(invite_link_decode(text, &link, why), VALUE_E_BAD);
    ck_assert_str_eq(why, "the link has more than 4096 bytes");
    text[INVITE_LINK_MAX] = '\0';
    ck_assert_int_eq(invite_link_decode(text, &link, why), VALUE_E_BAD);
    ck_assert_str_eq(why, "the link has no user and password");
}
END_TEST

START_TEST(no_reason_repeats_user_or_password)
{
    static const char *const texts[] = {
        "callveil://hush@r.example/?udp=1",        "callveil://hush:hush%@r.example/?udp=1",
        "callveil://hush%:x@r.example/?udp=1",     "callveil://x:hush%FF@r.example/?udp=1",
        "callveil://x:hush:hush@r.example/?udp=1", "callveil://x:hush/hush@r.example/?udp=1",
        "callveil://x:hush?hush@r.example/?udp=1", "callveil://x:hush@hush@r.example/?udp=1",
        "callveil://x:hush#hush@r.example/?udp=1", "callveil://x:hush%01@r.example/?udp=1",
    };
    struct invite_link link;

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        ck_assert_int_eq(invite_link_decode(texts[i], &link, why), VALUE_E_BAD);
        ck_assert_msg(strstr(why, "hush") == NULL, "%s: %s", texts[i], why);
    }
}
END_TEST

#define N(array) (sizeof(array) / sizeof((array)[0]))

int main(void)
{
    Suite *s = suite_create("conf/invite_link");
    TCase *tc = tcase_create("invite_link");

    tcase_add_test(tc, a_link_holds_all_that_local_conf_needs);
    tcase_add_loop_test(tc, a_link_encodes_to_what_it_was, 0, N(canonical));
    tcase_add_loop_test(tc, other_spellings_are_the_same_link, 0, N(variants));
    tcase_add_loop_test(tc, each_malformed_link_says_why, 0, N(wrong));
    tcase_add_test(tc, a_cut_link_is_refused_or_has_what_came_before);
    tcase_add_test(tc, a_long_link_is_refused_unread);
    tcase_add_test(tc, no_reason_repeats_user_or_password);
    suite_add_tcase(s, tc);
    return suite_run(s);
}
