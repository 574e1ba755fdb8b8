#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "conf/conf.h"
#include "tests/conf/capture.h"
#include "tests/support/suite.h"

#define PIN   "sha256/47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="
#define RELAY "[upstream]\nurl = turns:r.example\nuser = a\npassword = b\n"

static struct capture err;

static struct conf *load(const char *text, const char *messages)
{
    struct conf *conf;

    capture_begin(&err, stderr);
    conf = conf_load_text(text, "f", "local");
    capture_end(&err);
    ck_assert_str_eq(err.text, messages);
    return conf;
}

static struct conf *load_right(const char *text)
{
    struct conf *conf = load(text, "");

    ck_assert_ptr_nonnull(conf);
    return conf;
}

static const char *addr_text(const struct addr *addr)
{
    static char text[ADDR_STRLEN];

    return addr_format(addr, text, sizeof(text));
}

START_TEST(defaults_keep_to_loopback)
{
    struct conf *c = load_right(RELAY);

    ck_assert_str_eq(addr_text(&c->socks5), "127.0.0.1:1080");
    ck_assert_str_eq(addr_text(&c->turn), "127.0.0.1:3478");
    ck_assert_str_eq(addr_text(&c->stats_listen), "127.0.0.1:9642");
    ck_assert_int_eq(c->log_level, LOG_LEVEL_INFO);
    ck_assert(!c->log_addresses);
    ck_assert_uint_eq(c->n_pin, 0);
    ck_assert_ptr_null(c->ca_file);
    ck_assert_uint_eq(c->n_dns, 2);
    ck_assert_str_eq(addr_text(&c->dns[0]), "9.9.9.9:53");
    ck_assert_str_eq(addr_text(&c->dns[1]), "149.112.112.112:53");
    ck_assert_uint_eq(c->n_user, 0);
    conf_free(c);
}
END_TEST

/* turn/ and stats/ run on this configuration too. */
START_TEST(the_relay_s_options_have_their_defaults_but_no_listener)
{
    struct conf *c = load_right(RELAY);

    ck_assert_str_eq(c->realm, "callveil");
    ck_assert(c->hide_client_address);
    ck_assert_uint_ge(c->workers, 1);
    ck_assert_uint_eq(c->port_min, 49152);
    ck_assert_uint_eq(c->max_allocations, 10000);
    ck_assert_uint_eq(c->max_lifetime_s, 3600);
    ck_assert_uint_eq(c->n_listen, 1);
    ck_assert_str_eq(addr_text(&c->listen[0].addr), "127.0.0.1:3478");
    ck_assert_uint_eq(c->listen[0].protocols, LISTEN_UDP | LISTEN_TCP);
    conf_free(c);
    c = load_right("[local]\nturn = off\n" RELAY);
    ck_assert_uint_eq(c->n_listen, 0);
    conf_free(c);
}
END_TEST

START_TEST(every_option_reaches_its_field)
{
    struct conf *c = load_right("[local]\n"
                                "socks5 = [::1]:1081\n"
                                "turn = 127.0.0.2:3479\n"
                                "log-level = debug\n"
                                "log-addresses = yes\n"
                                "[upstream]\n"
                                "url = turns:r.example?transport=udp,\n"
                                "      turn:192.0.2.1:80?transport=tcp\n"
                                "user = 1700000000:caf\x65\xcc\x81\n"
                                "password = \"p # w\"\n"
                                "pin = " PIN "\n"
                                "ca-file = /ca.pem\n"
                                "dns = 192.0.2.53:5353, 2001:db8::53\n"
                                "[users]\n"
                                "bob = bb\n"
                                "[stats]\n"
                                "listen = off\n"
                                "token = t\n");

    ck_assert_str_eq(addr_text(&c->socks5), "[::1]:1081");
    ck_assert_str_eq(addr_text(&c->turn), "127.0.0.2:3479");
    ck_assert_int_eq(c->log_level, LOG_LEVEL_DEBUG);
    ck_assert(c->log_addresses);
    ck_assert_uint_eq(c->n_url, 2);
    ck_assert_str_eq(c->url[0].host, "r.example");
    ck_assert_uint_eq(c->url[0].port, 5349);
    ck_assert_uint_eq(c->url[0].protocol, LISTEN_DTLS);
    ck_assert_str_eq(c->url[1].host, "192.0.2.1");
    ck_assert_uint_eq(c->url[1].port, 80);
    ck_assert_uint_eq(c->url[1].protocol, LISTEN_TCP);
    ck_assert_str_eq(c->upstream_user, "1700000000:caf\xc3\xa9");
    ck_assert_str_eq(c->upstream_password, "p # w");
    ck_assert_uint_eq(c->n_pin, 1);
    ck_assert_uint_eq(c->pin[0][0], 0xe3);
    ck_assert_uint_eq(c->pin[0][31], 0x55);
    ck_assert_str_eq(c->ca_file, "/ca.pem");
    ck_assert_uint_eq(c->n_dns, 2);
    ck_assert_str_eq(addr_text(&c->dns[0]), "192.0.2.53:5353");
    ck_assert_str_eq(addr_text(&c->dns[1]), "[2001:db8::53]:53");
    ck_assert_uint_eq(c->n_user, 1);
    ck_assert_str_eq(c->user[0].name, "bob");
    ck_assert_uint_eq(c->stats_listen.family, ADDR_NONE);
    ck_assert_str_eq(c->stats_token, "t");
    conf_free(c);
}
END_TEST

START_TEST(both_fronts_can_be_off)
{
    struct conf *c = load_right("[local]\nsocks5 = off\nturn = off\n" RELAY);

    ck_assert_uint_eq(c->socks5.family, ADDR_NONE);
    ck_assert_uint_eq(c->turn.family, ADDR_NONE);
    conf_free(c);
}
END_TEST

START_TEST(beyond_loopback_the_proxy_needs_users)
{
    ck_assert_ptr_null(load("[local]\nsocks5 = 192.0.2.1:1080\n" RELAY,
                            "f:2: socks5: 192.0.2.1:1080 is not a loopback address, so [users] "
                            "must name somebody\n"));
    ck_assert_ptr_null(load("[local]\nsocks5 = [::]:1080\n" RELAY,
                            "f:2: socks5: [::]:1080 is not a loopback address, so [users] must "
                            "name somebody\n"));
    conf_free(load_right("[local]\nsocks5 = 0.0.0.0:1080\n" RELAY "[users]\nbob = b\n"));
    conf_free(load_right("[local]\nsocks5 = 127.9.9.9:1080\n" RELAY));
}
END_TEST

START_TEST(streams_without_a_tcp_url_are_warned_about)
{
    struct conf *c;

    c = load("[upstream]\nurl = turn:r.example, turns:r.example?transport=udp\nuser = a\n"
             "password = b\n",
             "f:2: warning: url: none goes over TCP or TLS, so SOCKS CONNECT and BIND cannot "
             "work\n");
    ck_assert_ptr_nonnull(c);
    conf_free(c);
    conf_free(load_right("[local]\nsocks5 = off\n[upstream]\nurl = turn:r.example\nuser = a\n"
                         "password = b\n"));
}
END_TEST

START_TEST(a_pin_among_urls_with_one_turns_is_fine)
{
    conf_free(load_right(RELAY "pin = " PIN "\n"));
    conf_free(load_right("[upstream]\nurl = turn:r.example?transport=tcp, turns:r.example\n"
                         "user = a\npassword = b\npin = " PIN "\n"));
}
END_TEST

#define REST "user = a\npassword = b\n"
#define TCP  "turn:r.example?transport=tcp"

static const struct {
    const char *text, *messages;
} wrong[] = {
    {"[relay]\nrealm = x\n" RELAY,
     "f:1: section [relay] does not belong in the configuration of \"callveil local\"\n"},
    {"[upstrem]\n" RELAY, "f:1: unknown section \"upstrem\" (did you mean [upstream]?)\n"},
    {"[local]\nsocks = off\n" RELAY,
     "f:2: unknown option \"socks\" in [local] (did you mean \"socks5\"?)\n"},
    {"[local]\npin = x\n" RELAY, "f:2: \"pin\" belongs in section [upstream], not [local]\n"},
    {"[local]\nrealm = x\n" RELAY, "f:2: unknown option \"realm\" in [local]\n"},
    {"[local]\nsocks5 = 127.0.0.1\n" RELAY,
     "f:2: socks5: \"127.0.0.1\" is not an IP address with a port (192.0.2.1:80 or "
     "[2001:db8::1]:80)\n"},
    {"[local]\nturn = 0.0.0.0:3478\n" RELAY,
     "f:2: turn: \"0.0.0.0:3478\" is not a loopback address\n"},
    {"[local]\nturn = [::ffff:192.0.2.1]:3478\n" RELAY,
     "f:2: turn: \"[::ffff:192.0.2.1]:3478\" is not a loopback address\n"},
    {"", "f: url must be set in [upstream]\nf: user must be set in [upstream]\n"
         "f: password must be set in [upstream]\n"},
    {"[upstream]\nurl = " TCP "\nuser =\npassword = b\n", "f:3: user: the value is missing\n"},
    {"[upstream]\nurl = " TCP "\nuser = a\npassword = \"\"\n",
     "f:4: password: the value is missing\n"},
    {"[upstream]\nurl = " TCP "\nuser = a\npassword = b c # d\n",
     "f:4: password: is '#' or ';' part of it, or a comment? Put the value in double quotes, or "
     "the comment on a line of its own\n"},
    {"[upstream]\nurl = " TCP ", " TCP "\n" REST, "f:2: url: \"" TCP "\" is listed twice\n"},
    {"[upstream]\nurl = " TCP ", turn:R.example:3478?transport=TCP\n" REST,
     "f:2: url: \"turn:R.example:3478?transport=TCP\" is listed twice\n"},
    {"[upstream]\nurl = " TCP ", \n" REST,
     "f:2: url: the list ends in a comma (further lines of it must be indented)\n"},
    {"[upstream]\nurl = " TCP "\npin = " PIN "\n" REST,
     "f:3: pin: no url is a turns: one, so that no key would ever be checked\n"},
    {"[upstream]\nurl = " TCP "\nca-file = x\n" REST,
     "f:3: ca-file: no url is a turns: one, so that no certificate would be checked\n"},
    {RELAY "pin = sha1/x\n", "f:5: pin: \"sha1/x\" does not start with sha256/\n"},
    {RELAY "dns = dns.example\n",
     "f:5: dns: \"dns.example\" is not an IP address, nor one with a port\n"},
    {RELAY "dns = 0.0.0.0\n", "f:5: dns: \"0.0.0.0\" cannot be asked\n"},
    {RELAY "dns = 9.9.9.9:0\n", "f:5: dns: \"9.9.9.9:0\" cannot be asked\n"},
    {RELAY "dns = ,\n", "f:5: dns: an item of the list is empty\n"},
    {RELAY "[users]\nbob = key:0x00112233445566778899aabbccddeeff\n",
     "f:6: user \"bob\": SOCKS needs the password itself, not a stored key\n"},
    {RELAY "[stats]\nlisten = 0.0.0.0:9642\ntls = no\n",
     "f:6: listen: 0.0.0.0:9642 is not a loopback address, so token must be set\n"},
    {RELAY "[stats]\nlisten = 0.0.0.0:9642\ntoken = t\n",
     "f:6: listen: 0.0.0.0:9642 is not a loopback address, and there is no certificate for HTTPS: "
     "only tls = no would serve the statistics there, readable on the way\n"},
};

START_TEST(each_mistake_has_its_message)
{
    ck_assert_ptr_null(load(wrong[_i].text, wrong[_i].messages));
}
END_TEST

START_TEST(a_socks_password_has_at_most_255_bytes)
{
    static char text[1024];
    char password[257];

    memset(password, 'p', sizeof(password));
    password[255] = '\0';
    snprintf(text, sizeof(text), RELAY "[users]\nbob = %s\n", password);
    conf_free(load_right(text));
    password[255] = 'p';
    password[256] = '\0';
    snprintf(text, sizeof(text), RELAY "[users]\nbob = %s\n", password);
    ck_assert_ptr_null(load(text, "f:6: user \"bob\": a SOCKS password has at most 255 bytes\n"));
}
END_TEST

START_TEST(no_message_repeats_the_password)
{
    static const char *const texts[] = {
        "[upstream]\npassword = hush \"\n[upstream]\npassword = hush\n",
        "[upstream]\npassword = hush # hush\n",
        "[upstream]\npassword = \"hush\n",
        "[upstream]\npassword hush\n",
        "[upstream]\npassword = hush\x01\n",
        "[upstream]\npassword = hush\xff\n",
        "[upstream]\npasword = hush\n",
        "[local]\npassword = hush\n",
    };

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        capture_begin(&err, stderr);
        ck_assert_ptr_null(conf_load_text(texts[i], "f", "local"));
        capture_end(&err);
        ck_assert_msg(strstr(err.text, "hush") == NULL, "%s: %s", texts[i], err.text);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("conf/local");
    TCase *tc = tcase_create("local");

    tcase_add_test(tc, defaults_keep_to_loopback);
    tcase_add_test(tc, the_relay_s_options_have_their_defaults_but_no_listener);
    tcase_add_test(tc, every_option_reaches_its_field);
    tcase_add_test(tc, both_fronts_can_be_off);
    tcase_add_test(tc, beyond_loopback_the_proxy_needs_users);
    tcase_add_test(tc, streams_without_a_tcp_url_are_warned_about);
    tcase_add_test(tc, a_pin_among_urls_with_one_turns_is_fine);
    tcase_add_loop_test(tc, each_mistake_has_its_message, 0, sizeof(wrong) / sizeof(wrong[0]));
    tcase_add_test(tc, a_socks_password_has_at_most_255_bytes);
    tcase_add_test(tc, no_message_repeats_the_password);
    suite_add_tcase(s, tc);
    return suite_run(s);
}
