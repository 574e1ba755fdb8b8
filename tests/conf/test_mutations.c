/*
 * A configuration with some of its bytes changed is either taken or refused with a reason: it never
 * crashes the loader. Worth most under ASan and UBSan. The changes are the same in every run.
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "conf/conf.h"
#include "tests/conf/capture.h"
#include "tests/support/suite.h"

#define N_ROUNDS 4000

static const char sample[] =
    "# comment\n"
    "[relay]\n"
    "listen = udp://0.0.0.0:3478, tcp://[::]:3478,\n"
    "   tls://192.0.2.1:5349 ; more\n"
    "public-address = 203.0.113.5, 2001:db8::5\n"
    "ports = 49152-65535\n"
    "realm = \"caf\xc3\xa9 \\\"\"\n"
    "workers = auto\n"
    "certificate = c\n"
    "private-key = k\n"
    "secret = one\n"
    "secret = \"two # and\" # a half\n"
    "log-level = info\r\n"
    "[users]\n"
    "alice = pass=word:#;\n"
    "\xd8\xa8\xe2\x80\x8c\xd8\xa8 = key:0x00112233445566778899aabbccddeeff\n"
    "[peers]\n"
    "allow = 10.0.0.0/8, fc00::/7\n"
    "[limits]\n"
    "max-lifetime = 1h\n"
    "max-bandwidth-per-allocation = 2M\n"
    "[stats]\n"
    "listen = [::1]:9641\n"
    "token = abc\n";

static const char local_sample[] =
    "[local]\n"
    "socks5 = [::1]:1080\n"
    "turn = 127.0.0.1:3478 # here\n"
    "[upstream]\n"
    "url = turns:relay.example:443?transport=udp, turn:[2001:db8::1]?transport=tcp,\n"
    "   turns:192.0.2.1\n"
    "user = 1700000000:caf\xc3\xa9\n"
    "password = \"two # and\"\n"
    "pin = sha256/47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n"
    "dns = 9.9.9.9, [2620:fe::fe]:53\n"
    "[users]\n"
    "bob = b\n"
    "[stats]\n"
    "listen = off\n";

static const struct {
    const char *role, *text;
} samples[] = {
    {"relay", sample},
    {"local", local_sample},
};

/* Bytes that mean something to the loader come up more often than by chance. */
static const char meaningful[] = "\n\n\r \t=:,;#\"\\[]-/0.x\xe2\x80\xcc\x81\x7f";

static struct capture err;
static uint64_t state;

/* xorshift64 */
static uint32_t draw(uint32_t below)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)(state >> 32) % below;
}

static char draw_byte(void)
{
    return draw(2) ? meaningful[draw(sizeof(meaningful) - 1)] : (char)draw(256);
}

/* Changes, inserts, deletes or repeats bytes at one place. Return: the new length. */
static size_t mutate(char *text, size_t len, size_t cap)
{
    size_t at = draw((uint32_t)len + 1), n = 1 + draw(8);

    switch (draw(4)) {
    case 0:
        if (at < len)
            text[at] = draw_byte();
        return len;
    case 1:
        if (n > len - at)
            n = len - at;
        memmove(text + at, text + at + n, len - at - n);
        return len - n;
    case 2:
        if (len + 1 > cap)
            return len;
        memmove(text + at + 1, text + at, len - at);
        text[at] = draw_byte();
        return len + 1;
    default:
        n *= 1 + draw(40);
        if (n > len - at || len + n > cap)
            return len;
        memmove(text + at + n, text + at, len - at);
        return len + n;
    }
}

static size_t draw_text(const char *from, char *text, size_t cap)
{
    size_t len = strlen(from);

    memcpy(text, from, len);
    for (uint32_t n = 1 + draw(6); n > 0; n--)
        len = mutate(text, len, cap);
    return len;
}

/* Whether a line that is no warning was written. */
static bool has_reason(void)
{
    for (const char *at = err.text; *at; at += strcspn(at, "\n") + 1) {
        const char *warning = strstr(at, ": warning: "), *end = strchr(at, '\n');

        if (!warning || warning > end)
            return true;
    }
    return false;
}

START_TEST(the_local_sample_is_valid)
{
    struct conf *conf;

    capture_begin(&err, stderr);
    conf = conf_load_text(local_sample, "f", "local");
    capture_end(&err);
    ck_assert_str_eq(err.text, "");
    conf_free(conf);
}
END_TEST

START_TEST(the_sample_itself_is_valid_but_for_its_realm)
{
    capture_begin(&err, stderr);
    ck_assert_ptr_null(conf_load_text(sample, "f", "relay"));
    capture_end(&err);
    ck_assert_str_eq(err.text, "f:7: realm: a realm cannot contain \" or \\\n");
}
END_TEST

START_TEST(changed_texts_load_or_are_refused_with_a_reason)
{
    state = 0x9e3779b97f4a7c15;
    for (int i = 0; i < N_ROUNDS; i++) {
        char work[4096], *text;
        size_t len = draw_text(samples[_i].text, work, sizeof(work) - 1);
        struct conf *conf;

        work[len] = '\0';
        text = strdup(work); /* its exact size, so that ASan sees a read past the end */
        capture_begin(&err, stderr);
        conf = conf_load_text(text, "f", samples[_i].role);
        capture_end(&err);
        ck_assert_msg((conf == NULL) == has_reason(), "round %d: %s", i, err.text);
        conf_free(conf);
        free(text);
    }
}
END_TEST

/* By file, where zero bytes are possible too. */
START_TEST(changed_files_load_or_are_refused_with_a_reason)
{
    char path[] = "/tmp/callveil-conf-XXXXXX";
    int fd = mkstemp(path);

    ck_assert_int_ge(fd, 0);
    state = 0xd1b54a32d192ed03;
    for (int i = 0; i < N_ROUNDS / 4; i++) {
        char work[4096];
        size_t len = draw_text(samples[_i].text, work, sizeof(work));
        struct conf *conf;

        ck_assert_int_eq(ftruncate(fd, 0), 0);
        ck_assert_int_eq(pwrite(fd, work, len, 0), (ssize_t)len);
        capture_begin(&err, stderr);
        conf = conf_load(path, samples[_i].role);
        capture_end(&err);
        ck_assert_msg((conf == NULL) == has_reason(), "round %d: %s", i, err.text);
        conf_free(conf);
    }
    close(fd);
    unlink(path);
}
END_TEST

START_TEST(a_zero_byte_is_reported)
{
    static const char text[] = "[users]\nalice = a\nbob = b\0c\n";
    char path[] = "/tmp/callveil-conf-XXXXXX", expected[128];
    int fd = mkstemp(path);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, text, sizeof(text) - 1), (ssize_t)sizeof(text) - 1);
    close(fd);
    capture_begin(&err, stderr);
    ck_assert_ptr_null(conf_load(path, "relay"));
    capture_end(&err);
    unlink(path);
    snprintf(expected, sizeof(expected), "%s:3: the line contains a zero byte\n", path);
    ck_assert_str_eq(err.text, expected);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("conf/mutations");
    TCase *tc = tcase_create("mutations");

    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, the_sample_itself_is_valid_but_for_its_realm);
    tcase_add_test(tc, the_local_sample_is_valid);
    tcase_add_loop_test(tc, changed_texts_load_or_are_refused_with_a_reason, 0, 2);
    tcase_add_loop_test(tc, changed_files_load_or_are_refused_with_a_reason, 0, 2);
    tcase_add_test(tc, a_zero_byte_is_reported);
    suite_add_tcase(s, tc);
    return suite_run(s);
}
