#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "conf/conf.h"
#include "tests/conf/capture.h"
#include "tests/support/suite.h"

/* A user, so that somebody can use it. */
#define USER "[users]\nalice = a\n"

static struct capture err;

/* Loads what must be right. */
static struct conf *load(const char *text)
{
    struct conf *conf;

    capture_begin(&err, stderr);
    conf = conf_load_text(text, "f", "relay");
    capture_end(&err);
    ck_assert_str_eq(err.text, "");
    ck_assert_ptr_nonnull(conf);
    return conf;
}

/* Loads what must be wrong in exactly these ways. */
static void refuse(const char *text, const char *messages)
{
    struct conf *conf;

    capture_begin(&err, stderr);
    conf = conf_load_text(text, "f", "relay");
    capture_end(&err);
    ck_assert_str_eq(err.text, messages);
    ck_assert_ptr_null(conf);
}

static const char *addr_text(const struct addr *addr)
{
    static char text[ADDR_STRLEN];

    return addr_format(addr, text, sizeof(text));
}

START_TEST(defaults_are_safe)
{
    struct conf *c = load(USER);

    ck_assert_str_eq(c->file, "f");
    ck_assert_uint_eq(c->n_listen, 4);
    ck_assert_str_eq(addr_text(&c->listen[0].addr), "0.0.0.0:3478");
    ck_assert_uint_eq(c->listen[0].protocols, LISTEN_UDP);
    ck_assert_uint_eq(c->listen[1].protocols, LISTEN_TCP);
    ck_assert_str_eq(addr_text(&c->listen[2].addr), "[::]:3478");
    ck_assert_uint_eq(c->public_v4.family, ADDR_NONE);
    ck_assert_uint_eq(c->relay_v6.family, ADDR_NONE);
    ck_assert_uint_eq(c->port_min, 49152);
    ck_assert_uint_eq(c->port_max, 65535);
    ck_assert_str_eq(c->realm, "callveil");
    ck_assert_uint_ge(c->workers, 1);
    ck_assert_ptr_null(c->certificate);
    ck_assert_ptr_null(c->private_key);
    ck_assert_uint_eq(c->n_secret, 0);
    ck_assert(c->hide_client_address);
    ck_assert(!c->behavior_discovery);
    ck_assert_uint_eq(c->alternate_server.family, ADDR_NONE);
    ck_assert_int_eq(c->log_level, LOG_LEVEL_INFO);
    ck_assert(!c->log_addresses);
    ck_assert_uint_eq(c->n_allow + c->n_deny, 0);
    ck_assert_uint_eq(c->max_allocations, 10000);
    ck_assert_uint_eq(c->max_allocations_per_user, 100);
    ck_assert_uint_eq(c->max_bandwidth_per_allocation, 0);
    ck_assert_uint_eq(c->max_lifetime_s, 3600);
    ck_assert_uint_eq(c->nonce_lifetime_s, 3600);
    ck_assert_uint_eq(c->max_permissions, 256);
    ck_assert_uint_eq(c->max_channels, 128);
    ck_assert_uint_eq(c->max_connections, 10000);
    ck_assert_uint_eq(c->max_peer_connections, 256);
    ck_assert_uint_eq(c->unauthenticated_rate, 20);
    ck_assert_str_eq(addr_text(&c->stats_listen), "127.0.0.1:9641");
    ck_assert_ptr_null(c->stats_token);
    ck_assert(c->stats_tls && !conf_stats_is_https(c));
    conf_free(c);
}
END_TEST

START_TEST(every_option_reaches_its_field)
{
    struct conf *c = load("[relay]\n"
                          "listen = udp://192.0.2.1:1\n"
                          "public-address = 203.0.113.5, 2001:db8::5\n"
                          "relay-address = 2001:db8::6, 203.0.113.6\n"
                          "ports = 2000-3000\n"
                          "realm = example.org\n"
                          "workers = 3\n"
                          "certificate = /c\n"
                          "private-key = /k\n"
                          "secret = one\n"
                          "secret = two\n"
                          "hide-client-address = no\n"
                          "alternate-server = [2001:db8::7]:7\n"
                          "log-level = debug\n"
                          "log-addresses = yes\n"
                          "[peers]\n"
                          "allow = 10.0.0.0/8, fc00::/7\n"
                          "deny = 198.51.100.7\n"
                          "[limits]\n"
                          "max-allocations = 11\n"
                          "max-allocations-per-user = 12\n"
                          "max-bandwidth-per-allocation = 13k\n"
                          "max-lifetime = 14m\n"
                          "nonce-lifetime = 15\n"
                          "max-permissions = 16\n"
                          "max-channels = 17\n"
                          "max-connections = 18\n"
                          "max-peer-connections = 19\n"
                          "unauthenticated-rate = 0\n"
                          "[stats]\n"
                          "listen = 192.0.2.1:9\n"
                          "token = t0ken\n"
                          "tls = no\n");

    ck_assert_uint_eq(c->n_listen, 1);
    ck_assert_str_eq(addr_text(&c->public_v4), "203.0.113.5:0");
    ck_assert_str_eq(addr_text(&c->public_v6), "[2001:db8::5]:0");
    ck_assert_str_eq(addr_text(&c->relay_v4), "203.0.113.6:0");
    ck_assert_str_eq(addr_text(&c->relay_v6), "[2001:db8::6]:0");
    ck_assert_uint_eq(c->port_min, 2000);
    ck_assert_uint_eq(c->port_max, 3000);
    ck_assert_str_eq(c->realm, "example.org");
    ck_assert_uint_eq(c->workers, 3);
    ck_assert_str_eq(c->certificate, "/c");
    ck_assert_str_eq(c->private_key, "/k");
    ck_assert_uint_eq(c->n_secret, 2);
    ck_assert_str_eq(c->secret[0], "one");
    ck_assert_str_eq(c->secret[1], "two");
    ck_assert(!c->hide_client_address);
    ck_assert_str_eq(addr_text(&c->alternate_server), "[2001:db8::7]:7");
    ck_assert_int_eq(c->log_level, LOG_LEVEL_DEBUG);
    ck_assert(c->log_addresses);
    ck_assert_uint_eq(c->n_allow, 2);
    ck_assert_uint_eq(c->allow[1].bits, 7);
    ck_assert_uint_eq(c->n_deny, 1);
    ck_assert_uint_eq(c->deny[0].bits, 32);
    ck_assert_uint_eq(c->max_allocations, 11);
    ck_assert_uint_eq(c->max_allocations_per_user, 12);
    ck_assert_uint_eq(c->max_bandwidth_per_allocation, 13000);
    ck_assert_uint_eq(c->max_lifetime_s, 840);
    ck_assert_uint_eq(c->nonce_lifetime_s, 15);
    ck_assert_uint_eq(c->max_permissions, 16);
    ck_assert_uint_eq(c->max_channels, 17);
    ck_assert_uint_eq(c->max_connections, 18);
    ck_assert_uint_eq(c->max_peer_connections, 19);
    ck_assert_uint_eq(c->unauthenticated_rate, 0);
    ck_assert_str_eq(addr_text(&c->stats_listen), "192.0.2.1:9");
    ck_assert_str_eq(c->stats_token, "t0ken");
    ck_assert(!c->stats_tls && !conf_stats_is_https(c));
    conf_free(c);
}
END_TEST

START_TEST(statistics_beyond_loopback_are_https_unless_told_otherwise)
{
    struct conf *c = load("[relay]\ncertificate = /c\nprivate-key = /k\n[stats]\n"
                          "listen = 0.0.0.0:9641\ntoken = t\n" USER);

    ck_assert(conf_stats_is_https(c));
    conf_free(c);
    c = load("[stats]\nlisten = 0.0.0.0:9641\ntoken = t\ntls = no\n" USER);
    ck_assert(!conf_stats_is_https(c));
    conf_free(c);
    c = load("[stats]\nlisten = off\n" USER);
    ck_assert(!conf_stats_is_https(c));
    conf_free(c);
}
END_TEST

START_TEST(users_stay_in_file_order)
{
    struct conf *c = load("[users]\nzoe = z\nalice = p=a:s;s#\ncafe\xcc\x81 = key:0x"
                          "00112233445566778899aabbccddeeff\nx = \"a ; b # c\" # quoted\n");

    ck_assert_uint_eq(c->n_user, 4);
    ck_assert_str_eq(c->user[0].name, "zoe");
    ck_assert_str_eq(c->user[1].password, "p=a:s;s#");
    ck_assert_str_eq(c->user[2].name, "caf\xc3\xa9");
    ck_assert(c->user[2].has_md5);
    ck_assert_str_eq(c->user[3].password, "a ; b # c");
    conf_free(c);
}
END_TEST

START_TEST(protocols_on_one_socket_become_one_listener)
{
    struct conf *c = load("[relay]\nlisten = tcp://0.0.0.0:443, udp://0.0.0.0:443, "
                          "tls://0.0.0.0:443, dtls://0.0.0.0:443, tls://[::]:443\n"
                          "certificate = c\nprivate-key = k\n" USER);

    ck_assert_uint_eq(c->n_listen, 3);
    ck_assert_uint_eq(c->listen[0].protocols, LISTEN_TCP | LISTEN_TLS);
    ck_assert_uint_eq(c->listen[1].protocols, LISTEN_UDP | LISTEN_DTLS);
    ck_assert_uint_eq(c->listen[2].protocols, LISTEN_TLS);
    conf_free(c);
}
END_TEST

START_TEST(indentation_comments_and_line_ends_mean_nothing)
{
    struct conf *c = load("\xef\xbb\xbf; a comment\r\n"
                          "  [relay]  # the relay\r\n"
                          "\trealm=x ; y\r\n"
                          "   ports   =   2000-2001\r\n"
                          "\r\n"
                          "  # a comment\r\n"
                          "[users]\r\n"
                          "  alice = a\r\n"
                          "  bob = b");

    ck_assert_str_eq(c->realm, "x");
    ck_assert_uint_eq(c->port_max, 2001);
    ck_assert_uint_eq(c->n_user, 2);
    ck_assert_str_eq(c->user[1].password, "b");
    conf_free(c);
}
END_TEST

START_TEST(a_list_goes_on_behind_a_comma)
{
    struct conf *c = load("[peers]\n"
                          "deny = 10.0.0.0/8, # inside\n"
                          "\n"
                          "    # more of them\n"
                          "    2001:db8::/32, 192.0.2.1,\n"
                          "\t192.0.2.2\n"
                          "allow = 10.1.0.0/16\n" USER);

    ck_assert_uint_eq(c->n_deny, 4);
    ck_assert_uint_eq(c->n_allow, 1);
    conf_free(c);
    refuse("[peers]\ndeny = 10.0.0.0/8,\nallow = 10.1.0.0/16\n" USER,
           "f:2: deny: the list ends in a comma (further lines of it must be indented)\n");
    refuse(USER "[peers]\ndeny = 10.0.0.0/8,",
           "f:4: deny: the list ends in a comma (further lines of it must be indented)\n");
}
END_TEST

/* inih takes these for indentation, and an indented line for more of the value above it. */
START_TEST(odd_blanks_do_not_join_lines)
{
    struct conf *c = load("[relay]\nrealm = x\n\fports = 2000-3000\n\v\rworkers = 2\n" USER);

    ck_assert_str_eq(c->realm, "x");
    ck_assert_uint_eq(c->port_max, 3000);
    ck_assert_uint_eq(c->workers, 2);
    conf_free(c);
    refuse("[relay]\nrealm = x\n\fnonsense\n" USER, "f:3: not a line like: name = value\n");
}
END_TEST

/* inih's buffer ends at 200 bytes; a line does not. */
START_TEST(long_lines_are_read_whole)
{
    char text[8192] = "[peers]\ndeny = 10.0.0.0/8", *end;
    struct conf *c;

    for (int i = 0; i < 200; i++)
        sprintf(text + strlen(text), ", 192.0.2.%d", i);
    strcat(text, "\n[users]\nalice = ");
    end = text + strlen(text);
    memset(end, 'x', 1000);
    strcpy(end + 1000, "=y\n");
    c = load(text);
    ck_assert_uint_eq(c->n_deny, 201);
    ck_assert_uint_eq(c->n_user, 1);
    ck_assert_uint_eq(strlen(c->user[0].password), 1002);
    conf_free(c);
}
END_TEST

START_TEST(a_name_longer_than_a_line_of_inih_is_refused)
{
    char text[1024] = "[users]\n", *end = text + strlen(text);

    memset(end, 'n', 300);
    strcpy(end + 300, " = x\n");
    refuse(text, "f:2: the name before '=' is missing, too long or not understood\n");
}
END_TEST

START_TEST(sections_may_be_opened_again)
{
    struct conf *c = load("[relay]\nrealm = x\n" USER "[relay]\nports = 2000-3000\n");

    ck_assert_str_eq(c->realm, "x");
    ck_assert_uint_eq(c->port_min, 2000);
    conf_free(c);
}
END_TEST

START_TEST(statistics_can_be_off)
{
    struct conf *c = load(USER "[stats]\nlisten = off\n");

    ck_assert_uint_eq(c->stats_listen.family, ADDR_NONE);
    conf_free(c);
}
END_TEST

START_TEST(a_configuration_nobody_could_use_is_refused)
{
    refuse("", "f: nobody could use this relay: add a user to [users], or a secret to [relay]\n");
    conf_free(load("[relay]\nsecret = x\n"));
}
END_TEST

START_TEST(a_file_that_cannot_be_read_says_why)
{
    static const char *const files[] = {"/nonexistent/relay.conf", "/"};
    static const char *const why[] = {
        "/nonexistent/relay.conf: cannot be opened: No such file or directory\n",
        "/: cannot be read: Is a directory\n"};

    for (size_t i = 0; i < 2; i++) {
        capture_begin(&err, stderr);
        ck_assert_ptr_null(conf_load(files[i], "relay"));
        capture_end(&err);
        ck_assert_str_eq(err.text, why[i]);
    }
}
END_TEST

START_TEST(an_unknown_role_is_refused)
{
    capture_begin(&err, stderr);
    ck_assert_ptr_null(conf_load_text(USER, "f", "peer"));
    capture_end(&err);
    ck_assert_str_eq(err.text, "f: there is no role \"peer\"\n");
}
END_TEST

static const struct {
    const char *text, *messages;
} wrong[] = {
    {"realm = x\n" USER, "f:1: \"realm\" stands before the first [section]\n"},
    {"[relay\n" USER, "f:1: a section is written [name]\n"},
    {"[relay] realm = x\n" USER, "f:1: text behind the section's name\n"},
    {"[rely]\nanything = x\nat all\n" USER,
     "f:1: unknown section \"rely\" (did you mean [relay]?)\n"},
    {"[certificates]\n" USER, "f:1: unknown section \"certificates\"\n"},
    {"[relay]\nlisen = x\n" USER, "f:2: unknown option \"lisen\" in [relay] (did you mean "
                                  "\"listen\"?)\n"},
    {"[relay]\nbanana = x\n" USER, "f:2: unknown option \"banana\" in [relay]\n"},
    {"[relay]\nmax-channels = 1\n" USER,
     "f:2: \"max-channels\" belongs in section [limits], not [relay]\n"},
    {"[relay]\nrealm = x\nports = 2000-3000\nrealm = y\n" USER,
     "f:4: realm: already set on line 2\n"},
    {"[relay]\nrealm: x\n" USER, "f:2: write name = value, not name: value\n"},
    {"[relay]\nrealm\n" USER, "f:2: not a line like: name = value\n"},
    {"[relay]\nrealm =\n" USER, "f:2: realm: the value is missing\n"},
    {"[relay]\nrealm = # x\n" USER, "f:2: realm: the value is missing\n"},
    {"[relay]\n= x\n" USER, "f:2: unknown option \"\" in [relay]\n"},
    {"[relay]\nlisten = udp://1.2.3.4:1,, udp://1.2.3.4:2\n" USER,
     "f:2: listen: an item of the list is empty\n"},
    {"[relay]\nlisten = , udp://1.2.3.4:2\n" USER, "f:2: listen: an item of the list is empty\n"},
    {"[relay]\nlisten =\n" USER, "f:2: listen: the value is missing\n"},
    {"[relay]\nlisten = udp://1.2.3.4:1, udp://1.2.3.4:1\n" USER,
     "f:2: listen: \"udp://1.2.3.4:1\" is listed twice\n"},
    {"[relay]\nlisten = udp://1.2.3.4:65536\n" USER,
     "f:2: listen: \"udp://1.2.3.4:65536\" needs an IP address and a port behind udp://\n"},
    {"[relay]\nlisten = quic://1.2.3.4:1\n" USER,
     "f:2: listen: \"quic://1.2.3.4:1\" starts with none of udp://, dtls://, tcp://, tls://\n"},
    {"[relay]\nports = 3000-2000\n" USER, "f:2: ports: \"3000-2000\" is the wrong way round\n"},
    {"[relay]\nports = 2000-65536\n" USER,
     "f:2: ports: \"65536\" is out of range (1024 to 65535)\n"},
    {"[relay]\nports = all\n" USER, "f:2: ports: \"all\" is not a range of ports (49152-65535)\n"},
    {"[relay]\nworkers = 0\n" USER, "f:2: workers: \"0\" is out of range (1 to 256)\n"},
    {"[relay]\nworkers = 100000\n" USER, "f:2: workers: \"100000\" is out of range (1 to 256)\n"},
    {"[relay]\nworkers = many\n" USER, "f:2: workers: \"many\" is not a number\n"},
    {"[relay]\npublic-address = 0.0.0.0\n" USER,
     "f:2: public-address: \"0.0.0.0\" stands for any address; name one\n"},
    {"[relay]\nrelay-address = ::\n" USER,
     "f:2: relay-address: \"::\" stands for any address; name one\n"},
    {"[relay]\npublic-address = 192.0.2.1, 192.0.2.2\n" USER,
     "f:2: public-address: a second IPv4 address; one is allowed\n"},
    /* The mapped form is the IPv4 address. */
    {"[relay]\npublic-address = 192.0.2.1, ::ffff:192.0.2.2\n" USER,
     "f:2: public-address: a second IPv4 address; one is allowed\n"},
    {"[relay]\npublic-address = relay.example\n" USER,
     "f:2: public-address: \"relay.example\" is not an IP address (192.0.2.1 or 2001:db8::1)\n"},
    {"[relay]\nalternate-server = 0.0.0.0:3478\n" USER,
     "f:2: alternate-server: \"0.0.0.0:3478\" cannot be reached; name an address and a port\n"},
    {"[relay]\nlog-level = loud\n" USER,
     "f:2: log-level: \"loud\" is none of error, warning, info, debug\n"},
    {"[relay]\nlog-addresses = perhaps\n" USER,
     "f:2: log-addresses: \"perhaps\" is neither yes nor no\n"},
    {"[peers]\nallow = 10.0.0.1/8\n" USER,
     "f:2: allow: \"10.0.0.1/8\" has bits set behind its prefix\n"},
    {"[peers]\nallow = 10.0.0.0/33\n" USER,
     "f:2: allow: \"10.0.0.0/33\": the prefix is longer than the address\n"},
    {"[peers]\nallow = ::ffff:10.0.0.0/24\n" USER,
     "f:2: allow: \"::ffff:10.0.0.0/24\": write the IPv4 prefix itself\n"},
    {"[peers]\nallow = everybody\n" USER, "f:2: allow: \"everybody\" is not an address or prefix "
                                          "(192.0.2.0/24 or 2001:db8::/32)\n"},
    {"[limits]\nmax-allocations = -1\n" USER,
     "f:2: max-allocations: \"-1\" is out of range (1 to 1000000)\n"},
    {"[limits]\nmax-allocations = abc\n" USER, "f:2: max-allocations: \"abc\" is not a number\n"},
    {"[limits]\nmax-bandwidth-per-allocation = 2Mbit\n" USER,
     "f:2: max-bandwidth-per-allocation: \"2Mbit\" is not a number of bytes (500000, 500k, 2M, "
     "1G)\n"},
    {"[limits]\nmax-lifetime = 1\n" USER,
     "f:2: max-lifetime: \"1\" is out of range (600 to 86400 seconds)\n"},
    {"[limits]\nmax-lifetime = long\n" USER,
     "f:2: max-lifetime: \"long\" is not a duration (90, 90s, 10m, 1h)\n"},
    {"[stats]\nlisten = 127.0.0.1\n" USER, "f:2: listen: \"127.0.0.1\" is not an IP address with a "
                                           "port (192.0.2.1:80 or [2001:db8::1]:80)\n"},
    {"[users]\nalice = a\nbob = b\nalice = c\n", "f:4: user \"alice\": already on line 2\n"},
    {"[users]\ncaf\xc3\xa9 = a\ncafe\xcc\x81 = c\n",
     "f:3: user \"caf\\xc3\\xa9\": already on line 2\n"},
    {"[users]\na:b = c\n", "f:2: a user name cannot contain ':', and '=' stands between it and the "
                           "password\n"},
    {"[users]\n= c\n", "f:2: user \"\": a bad user name: it is empty\n"},
    {"[users]\n\"a=b\" = c\n", "f:2: user \"\"a\": a user name is not put in quotes (and cannot "
                               "contain '=')\n"},
    {"[users]\nalice =\n", "f:2: user \"alice\": a bad password: it is empty\n"},
};

START_TEST(each_mistake_has_its_message)
{
    refuse(wrong[_i].text, wrong[_i].messages);
}
END_TEST

static const struct {
    const char *text, *messages;
} together[] = {
    {"[relay]\nlisten = tls://1.2.3.4:5349\n" USER,
     "f:2: listen: tls and dtls need certificate and private-key\n"},
    {"[relay]\nlisten = dtls://1.2.3.4:5349\n" USER,
     "f:2: listen: tls and dtls need certificate and private-key\n"},
    {"[relay]\ncertificate = x\n" USER, "f:2: certificate: private-key must be set too\n"},
    {"[relay]\nprivate-key = x\n" USER, "f:2: private-key: certificate must be set too\n"},
    {"[stats]\nlisten = 0.0.0.0:9641\n" USER,
     "f:2: listen: 0.0.0.0:9641 is not a loopback address, so token must be set\n"
     "f:2: listen: 0.0.0.0:9641 is not a loopback address, so certificate and private-key must be "
     "set in [relay], or tls = no\n"},
    {"[stats]\nlisten = [2001:db8::1]:9641\ntls = no\n" USER,
     "f:2: listen: [2001:db8::1]:9641 is not a loopback address, so token must be set\n"},
    {"[stats]\nlisten = 192.0.2.1:9641\ntoken = t\n" USER,
     "f:2: listen: 192.0.2.1:9641 is not a loopback address, so certificate and private-key must "
     "be "
     "set in [relay], or tls = no\n"},
    {"[stats]\ntls = yes\n" USER, "f:2: tls: \"yes\" is neither auto nor no\n"},
    {"[relay]\nbehavior-discovery = yes\nlisten = udp://192.0.2.1:1, udp://192.0.2.1:2, "
     "udp://192.0.2.2:1, udp://192.0.2.2:2\n" USER,
     "f:2: behavior-discovery: tells clients their own address, so it needs hide-client-address = "
     "no\n"},
    {"[relay]\nbehavior-discovery = yes\nhide-client-address = no\n" USER,
     "f:2: behavior-discovery: needs udp listeners on two addresses of one family (not 0.0.0.0 or "
     "[::]) with the same two ports each\n"},
    {"[relay]\nbehavior-discovery = yes\nhide-client-address = no\n"
     "listen = udp://192.0.2.1:1, udp://192.0.2.1:2, udp://192.0.2.2:1, tcp://192.0.2.2:2\n" USER,
     "f:2: behavior-discovery: needs udp listeners on two addresses of one family (not 0.0.0.0 or "
     "[::]) with the same two ports each\n"},
};

START_TEST(what_must_hold_together_is_checked_at_the_end)
{
    refuse(together[_i].text, together[_i].messages);
}
END_TEST

START_TEST(a_grid_of_udp_listeners_allows_behavior_discovery)
{
    struct conf *c = load("[relay]\nbehavior-discovery = yes\nhide-client-address = no\n"
                          "listen = tcp://192.0.2.1:1, "
                          "udp://192.0.2.1:1, udp://192.0.2.2:2, udp://192.0.2.2:1, "
                          "udp://192.0.2.1:2\n" USER);

    ck_assert(c->behavior_discovery);
    conf_free(c);
}
END_TEST

START_TEST(all_errors_of_a_file_come_in_one_go)
{
    refuse(
        "[relay]\n"
        "relm = x\n"
        "ports = 2-1\n"
        "listen = tls://1.2.3.4:5349, udp://nowhere\n"
        "[limits]\n"
        "max-channels = 4097\n"
        "nothing here\n"
        "[users]\n"
        "a:b = c\n"
        "[stats]\n"
        "listen = 1.2.3.4:80\n",
        "f:2: unknown option \"relm\" in [relay] (did you mean \"realm\"?)\n"
        "f:3: ports: \"2\" is out of range (1024 to 65535)\n"
        "f:4: listen: \"udp://nowhere\" needs an IP address and a port behind udp://\n"
        "f:6: max-channels: \"4097\" is out of range (1 to 4096)\n"
        "f:7: not a line like: name = value\n"
        "f:9: a user name cannot contain ':', and '=' stands between it and the password\n"
        "f:4: listen: tls and dtls need certificate and private-key\n"
        "f:11: listen: 1.2.3.4:80 is not a loopback address, so token must be set\n"
        "f:11: listen: 1.2.3.4:80 is not a loopback address, so certificate and private-key must "
        "be set in [relay], or tls = no\n");
}
END_TEST

/* A secret must not get into a journal because of a slip beside it. */
START_TEST(no_message_repeats_a_secret)
{
    static const char *const texts[] = {
        "[users]\nalice = hunter2 #x\n",
        "[users]\nalice = \"hunter2\n",
        "[users]\nalice hunter2\n",
        "[users]\nalice: hunter2\n",
        "[users]\nalice = hunter2\x01\n",
        "[users]\nalice = hunter2\xff\n",
        "[users]\nalice = key:0xhunter2\n",
        "[users]\nalice = hunter2\nalice = hunter2\n",
        "[user]\nalice = hunter2\n",
        "[relay]\nsecret = hunter2 ;x\n",
        "[relay]\nsecret = hunter2\x01\n",
        "[relay]\nsecret hunter2\n",
        "[relay]\nsercet = hunter2\n",
        "[relay]\ntoken = hunter2\n",
        "[stats]\ntoken = hunter2 \xc3\xa9\n",
        "[stats]\ntoken = hunter2\ntoken = hunter2\n",
        "secret = hunter2\n",
        "hunter2\n",
    };

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        capture_begin(&err, stderr);
        ck_assert_ptr_null(conf_load_text(texts[i], "f", "relay"));
        capture_end(&err);
        ck_assert_str_ne(err.text, "");
        ck_assert_msg(!strstr(err.text, "hunter2"), "%s -> %s", texts[i], err.text);
    }
}
END_TEST

START_TEST(messages_carry_no_raw_control_characters)
{
    refuse("[relay]\nrea\x1b[2Jlm = x\nports = \x1b[2J\n" USER,
           "f:2: unknown option \"rea\\x1b[2Jlm\" in [relay]\n"
           "f:3: ports: \"\\x1b[2J\" is not a range of ports (49152-65535)\n");
}
END_TEST

int main(void)
{
    Suite *s = suite_create("conf/loader");
    TCase *tc = tcase_create("loader");

    tcase_add_test(tc, defaults_are_safe);
    tcase_add_test(tc, every_option_reaches_its_field);
    tcase_add_test(tc, statistics_beyond_loopback_are_https_unless_told_otherwise);
    tcase_add_test(tc, users_stay_in_file_order);
    tcase_add_test(tc, protocols_on_one_socket_become_one_listener);
    tcase_add_test(tc, indentation_comments_and_line_ends_mean_nothing);
    tcase_add_test(tc, a_list_goes_on_behind_a_comma);
    tcase_add_test(tc, odd_blanks_do_not_join_lines);
    tcase_add_test(tc, long_lines_are_read_whole);
    tcase_add_test(tc, a_name_longer_than_a_line_of_inih_is_refused);
    tcase_add_test(tc, sections_may_be_opened_again);
    tcase_add_test(tc, statistics_can_be_off);
    tcase_add_test(tc, a_configuration_nobody_could_use_is_refused);
    tcase_add_test(tc, a_file_that_cannot_be_read_says_why);
    tcase_add_test(tc, an_unknown_role_is_refused);
    tcase_add_loop_test(tc, each_mistake_has_its_message, 0, sizeof(wrong) / sizeof(wrong[0]));
    tcase_add_loop_test(tc, what_must_hold_together_is_checked_at_the_end, 0,
                        sizeof(together) / sizeof(together[0]));
    tcase_add_test(tc, a_grid_of_udp_listeners_allows_behavior_discovery);
    tcase_add_test(tc, all_errors_of_a_file_come_in_one_go);
    tcase_add_test(tc, no_message_repeats_a_secret);
    tcase_add_test(tc, messages_carry_no_raw_control_characters);
    suite_add_tcase(s, tc);
    return suite_run(s);
}
