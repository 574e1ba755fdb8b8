/*
 * What an invitation says of the relay, for several certificates: one that signs itself, one that
 * an authority of the system vouches for, one of an authority that nobody knows. The "system's"
 * authorities are those of SSL_CERT_FILE, which OpenSSL reads.
 */
#include "relay/invite/endpoint.h"
#include "tests/invite/folder.h"

static struct invite_link invited;
static struct conf *conf;
static struct tls_server *tls;
static char note[ENDPOINT_WHY_LEN];

static void setup(void)
{
    folder_new();
    setenv("SSL_CERT_FILE", path_of("ca.pem"), 1);
    setenv("SSL_CERT_DIR", path_of("none"), 1);
    invited = (struct invite_link){0};
    conf = NULL;
    tls = NULL;
}

static void teardown(void)
{
    invite_link_deinit(&invited);
    conf_free(conf);
    tls_server_free(tls);
    folder_free();
}

static void shell(const char *format, const char *arg)
{
    char command[4096];
    int n = snprintf(command, sizeof(command), "cd '%s' && (", folder);

    n += snprintf(command + n, sizeof(command) - (size_t)n, format, arg);
    snprintf(command + n, sizeof(command) - (size_t)n, ") >log 2>&1");
    ck_assert_msg(run_shell(command) == 0, "%s: %s", command, read_text(path_of("log")));
}

/* `names` is a subjectAltName. */
static void make_vouched(const char *names)
{
    shell("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key "
          "-out ca.pem -subj /CN=authority -days 30 && "
          "openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout key.pem "
          "-out csr.pem -subj /CN=relay && echo subjectAltName=%s >ext && "
          "openssl x509 -req -in csr.pem -CA ca.pem -CAkey ca.key -extfile ext -days 30 "
          "-out cert.pem",
          names);
}

static void load_tls(const char *self_signed_for)
{
    char error[256];

    ck_assert_msg(tls_server_new(path_of("cert.pem"), path_of("key.pem"), self_signed_for, &tls,
                                 error, sizeof(error)) == 0,
                  "%s", error);
}

/* `lines` of [relay]. Return: the link as text, or "" on failure. */
static const char *find(const char *lines, const char *host)
{
    static char result[1024], text[1024];
    char *encoded;

    snprintf(text, sizeof(text), "[relay]\ncertificate = c\nprivate-key = k\nsecret = s\n%s\n",
             lines);
    conf_free(conf);
    conf = conf_load_text(text, "relay.conf", "relay");
    ck_assert_ptr_nonnull(conf);
    invite_link_deinit(&invited);
    if (endpoint_find(conf, tls, host, &invited, note) < 0)
        return "";
    invited.user = strdup("u");
    invited.password = strdup("p");
    encoded = invite_link_encode(&invited);
    snprintf(result, sizeof(result), "%s", encoded);
    free(encoded);
    return result;
}

static const char *with_pin(const char *text)
{
    static char result[1024];

    snprintf(result, sizeof(result), "%s&pin=%s", text, tls->pin);
    return result;
}

#define ALL       "listen = udp://0.0.0.0:3478, tcp://0.0.0.0:3478, tls://0.0.0.0:443, dtls://0.0.0.0:443"
#define ALL_PORTS "/?dtls=443&tls=443"

START_TEST(a_self_signed_certificate_is_pinned)
{
    load_tls("callveil");
    ck_assert_str_eq(find(ALL, "relay.example"),
                     with_pin("callveil://u:p@relay.example" ALL_PORTS));
    ck_assert_str_eq(note, "");
    ck_assert_str_eq(find(ALL "\npublic-address = 203.0.113.5", NULL),
                     with_pin("callveil://u:p@203.0.113.5" ALL_PORTS));
}
END_TEST

START_TEST(a_vouched_for_certificate_is_not_and_names_the_host)
{
    make_vouched("DNS:*.calls.example,DNS:relay.example,DNS:other.example,IP:203.0.113.5");
    load_tls("unused");
    ck_assert_str_eq(find(ALL, NULL), "callveil://u:p@relay.example" ALL_PORTS);
    ck_assert_str_eq(note, "");
    ck_assert_str_eq(find(ALL "\npublic-address = 203.0.113.9", NULL),
                     "callveil://u:p@relay.example" ALL_PORTS);
    ck_assert_str_eq(find(ALL, "other.example"), "callveil://u:p@other.example" ALL_PORTS);
    ck_assert_str_eq(find(ALL, "any.calls.example"), "callveil://u:p@any.calls.example" ALL_PORTS);
    ck_assert_str_eq(find(ALL, "203.0.113.5"), "callveil://u:p@203.0.113.5" ALL_PORTS);
}
END_TEST

START_TEST(under_another_name_it_is_pinned_and_a_note_says_so)
{
    make_vouched("DNS:relay.example");
    load_tls("unused");
    ck_assert_str_eq(find(ALL, "203.0.113.5"), with_pin("callveil://u:p@203.0.113.5" ALL_PORTS));
    ck_assert_str_eq(note, "note: the certificate does not pass for 203.0.113.5 (IP address "
                           "mismatch), so the link pins its key: when the key changes, invite "
                           "again");
}
END_TEST

START_TEST(an_authority_that_nobody_knows_vouches_for_nothing)
{
    make_vouched("DNS:relay.example");
    shell("rm ca.pem%s", "");
    load_tls("unused");
    ck_assert_str_eq(find(ALL "\npublic-address = 203.0.113.5", NULL),
                     with_pin("callveil://u:p@203.0.113.5" ALL_PORTS));
    ck_assert_ptr_nonnull(strstr(note, "the link pins its key"));
}
END_TEST

START_TEST(without_encryption_there_is_no_pin_but_a_warning)
{
    ck_assert_str_eq(find("listen = udp://0.0.0.0:3478", "relay.example"),
                     "callveil://u:p@relay.example/?udp=3478");
    ck_assert_ptr_nonnull(strstr(note, "warning: without a tls or dtls listener"));
}
END_TEST

START_TEST(an_address_goes_to_listeners_of_its_family_that_it_can_reach)
{
    static const char lines[] = "listen = udp://0.0.0.0:1, udp://[::]:2, tcp://127.0.0.1:3, "
                                "tcp://192.0.2.1:4, udp://192.0.2.1:1";

    ck_assert_str_eq(find(lines, "203.0.113.5"), "callveil://u:p@203.0.113.5/?udp=1&tcp=4");
    ck_assert_str_eq(find(lines, "2001:db8::5"), "callveil://u:p@[2001:db8::5]/?udp=2");
    ck_assert_str_eq(find(lines, "127.0.0.1"), "callveil://u:p@127.0.0.1/?udp=1&tcp=3");
    ck_assert_str_eq(find(lines, "relay.example"),
                     "callveil://u:p@relay.example/?udp=1&udp=2&tcp=4");
}
END_TEST

START_TEST(the_host_is_the_first_that_is_known)
{
    static const char *const cases[][2] = {
        {"listen = udp://0.0.0.0:1\npublic-address = 2001:db8::5, 203.0.113.5\n"
         "relay-address = 192.0.2.7",
         "callveil://u:p@203.0.113.5/?udp=1"},
        {"listen = udp://[::]:1\npublic-address = 2001:db8::5",
         "callveil://u:p@[2001:db8::5]/?udp=1"},
        {"listen = udp://127.0.0.1:1, udp://8.8.4.4:2", "callveil://u:p@8.8.4.4/?udp=2"},
        {"listen = udp://127.0.0.1:1", "callveil://u:p@127.0.0.1/?udp=1"},
        {"listen = udp://0.0.0.0:1\nrelay-address = 192.0.2.7", "callveil://u:p@192.0.2.7/?udp=1"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        ck_assert_str_eq(find(cases[i][0], NULL), cases[i][1]);
}
END_TEST

START_TEST(what_cannot_be_reached_is_no_invitation)
{
    ck_assert_str_eq(find("listen = udp://127.0.0.1:1", "relay.example"), "");
    ck_assert_str_eq(note,
                     "no listener of relay.conf can be reached at relay.example (nor at port 0)");
    ck_assert_str_eq(find("listen = udp://0.0.0.0:0", "relay.example"), "");
    ck_assert_str_eq(find("listen = udp://0.0.0.0:1", "r_x"), "");
    ck_assert_str_eq(note, "--host: \"r_x\" is neither a host name nor an IP address");
}
END_TEST

int main(void)
{
    Suite *s = suite_create("invite/endpoint");
    TCase *tc = tcase_create("endpoint");

    tcase_set_timeout(tc, 30);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, a_self_signed_certificate_is_pinned);
    tcase_add_test(tc, a_vouched_for_certificate_is_not_and_names_the_host);
    tcase_add_test(tc, under_another_name_it_is_pinned_and_a_note_says_so);
    tcase_add_test(tc, an_authority_that_nobody_knows_vouches_for_nothing);
    tcase_add_test(tc, without_encryption_there_is_no_pin_but_a_warning);
    tcase_add_test(tc, an_address_goes_to_listeners_of_its_family_that_it_can_reach);
    tcase_add_test(tc, the_host_is_the_first_that_is_known);
    tcase_add_test(tc, what_cannot_be_reached_is_no_invitation);
    suite_add_tcase(s, tc);
    return suite_run(s);
}
