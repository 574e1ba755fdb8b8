#include "conf/check.h"

static bool has_bad_certificate(const struct conf_lines *lines)
{
    return lines->bad[OPT_relay_certificate] || lines->bad[OPT_relay_private_key];
}

static void check_certificate(const struct conf *conf, const struct conf_lines *lines,
                              struct report *report)
{
    bool needed = false;

    if (has_bad_certificate(lines))
        return;
    if (conf->certificate && !conf->private_key)
        report_error(report, lines->line[OPT_relay_certificate],
                     "certificate: private-key must be set too");
    if (conf->private_key && !conf->certificate)
        report_error(report, lines->line[OPT_relay_private_key],
                     "private-key: certificate must be set too");
    for (size_t i = 0; i < conf->n_listen; i++)
        needed |= (conf->listen[i].protocols & (LISTEN_TLS | LISTEN_DTLS)) != 0;
    if (needed && !conf->certificate && !conf->private_key)
        report_error(report, lines->line[OPT_relay_listen],
                     "listen: tls and dtls need certificate and private-key");
}

static void check_stats(const struct conf *conf, const struct conf_lines *lines,
                        struct report *report)
{
    const bool is_relay = lines->role == ROLE_relay;
    const enum option_id listen = is_relay ? OPT_relay_stats_listen : OPT_local_stats_listen;
    const enum option_id tls = is_relay ? OPT_relay_stats_tls : OPT_local_stats_tls;
    char text[ADDR_STRLEN];

    if (lines->bad[listen] || lines->bad[tls] || lines->bad[OPT_both_stats_token])
        return;
    if (conf->stats_listen.family == ADDR_NONE || addr_is_loopback(&conf->stats_listen))
        return;
    addr_format(&conf->stats_listen, text, sizeof(text));
    if (!conf->stats_token)
        report_error(report, lines->line[listen],
                     "listen: %s is not a loopback address, so token must be set", text);
    if (!conf_stats_is_https(conf))
        return;
    if (!is_relay)
        report_error(report, lines->line[listen],
                     "listen: %s is not a loopback address, and there is no certificate for HTTPS: "
                     "only tls = no would serve the statistics there, readable on the way",
                     text);
    else if (!conf->certificate && !conf->private_key && !has_bad_certificate(lines))
        report_error(report, lines->line[listen],
                     "listen: %s is not a loopback address, so certificate and private-key must be "
                     "set in [relay], or tls = no",
                     text);
}

static bool has_udp(const struct conf *conf, const struct addr *ip, uint16_t port)
{
    struct addr wanted = *ip;

    wanted.port = port;
    for (size_t i = 0; i < conf->n_listen; i++)
        if (conf->listen[i].protocols & LISTEN_UDP && addr_equal(&conf->listen[i].addr, &wanted))
            return true;
    return false;
}

/* Whether `a` is one corner of a grid and `b` the opposite one. A wildcard has no other address to
 * answer from that the client could be told of. */
static bool is_grid(const struct conf *conf, const struct conf_listen *a,
                    const struct conf_listen *b)
{
    if (!(a->protocols & LISTEN_UDP) || !(b->protocols & LISTEN_UDP))
        return false;
    if (a->addr.family != b->addr.family || addr_is_any(&a->addr) || addr_is_any(&b->addr))
        return false;
    return !addr_ip_equal(&a->addr, &b->addr) && a->addr.port != b->addr.port &&
           has_udp(conf, &a->addr, b->addr.port) && has_udp(conf, &b->addr, a->addr.port);
}

/* RFC 5780, section 6: OTHER-ADDRESS promises answers from all four. */
static void check_behavior_discovery(const struct conf *conf, const struct conf_lines *lines,
                                     struct report *report)
{
    if (!conf->behavior_discovery)
        return;
    if (conf->hide_client_address)
        report_error(report, lines->line[OPT_relay_behavior_discovery],
                     "behavior-discovery: tells clients their own address, so it needs "
                     "hide-client-address = no");
    if (lines->bad[OPT_relay_listen])
        return;
    for (size_t i = 0; i < conf->n_listen; i++)
        for (size_t j = 0; j < conf->n_listen; j++)
            if (is_grid(conf, &conf->listen[i], &conf->listen[j]))
                return;
    report_error(report, lines->line[OPT_relay_behavior_discovery],
                 "behavior-discovery: needs udp listeners on two addresses of one family (not "
                 "0.0.0.0 or [::]) with the same two ports each");
}

/* With a users file they may come later. */
static void check_anybody(const struct conf *conf, const struct conf_lines *lines,
                          struct report *report)
{
    if (conf->n_user > 0 || conf->n_secret > 0 || conf->users_file || lines->bad_user ||
        lines->bad[OPT_relay_secret] || lines->bad[OPT_relay_users_file])
        return;
    report_error(report, 0,
                 "nobody could use this relay: add a user to [users], or a secret to [relay]");
}

static void check_needed(const struct conf_lines *lines, struct report *report)
{
    static const enum option_id needed[] = {OPT_local_url, OPT_local_upstream_user,
                                            OPT_local_upstream_password};

    for (size_t i = 0; i < sizeof(needed) / sizeof(needed[0]); i++)
        if (lines->line[needed[i]] == 0)
            report_error(report, 0, "%s must be set in [upstream]", options[needed[i]].name);
}

static unsigned int url_protocols(const struct conf *conf)
{
    unsigned int protocols = 0;

    for (size_t i = 0; i < conf->n_url; i++)
        protocols |= conf->url[i].protocol;
    return protocols;
}

static void check_urls(const struct conf *conf, const struct conf_lines *lines,
                       struct report *report)
{
    const unsigned int protocols = url_protocols(conf);

    if (conf->n_url == 0 || lines->bad[OPT_local_url])
        return;
    /* Whoever pins a key counts on it being checked: plain turn: has none. */
    if (conf->n_pin > 0 && !(protocols & (LISTEN_TLS | LISTEN_DTLS)))
        report_error(report, lines->line[OPT_local_pin],
                     "pin: no url is a turns: one, so that no key would ever be checked");
    if (conf->ca_file && !(protocols & (LISTEN_TLS | LISTEN_DTLS)))
        report_error(report, lines->line[OPT_local_ca_file],
                     "ca-file: no url is a turns: one, so that no certificate would be checked");
    if (!(protocols & (LISTEN_TCP | LISTEN_TLS)) && conf->socks5.family != ADDR_NONE)
        report_warning(report, lines->line[OPT_local_url],
                       "url: none goes over TCP or TLS, so SOCKS CONNECT and BIND cannot work");
}

static void check_socks5(const struct conf *conf, const struct conf_lines *lines,
                         struct report *report)
{
    char text[ADDR_STRLEN];

    if (lines->bad[OPT_local_socks5] || lines->bad_user || conf->n_user > 0 ||
        conf->socks5.family == ADDR_NONE || addr_is_loopback(&conf->socks5))
        return;
    report_error(report, lines->line[OPT_local_socks5],
                 "socks5: %s is not a loopback address, so [users] must name somebody",
                 addr_format(&conf->socks5, text, sizeof(text)));
}

void conf_check(const struct conf *conf, const struct conf_lines *lines, struct report *report)
{
    if (lines->role == ROLE_relay) {
        check_certificate(conf, lines, report);
        check_behavior_discovery(conf, lines, report);
        check_anybody(conf, lines, report);
    } else {
        check_needed(lines, report);
        check_urls(conf, lines, report);
        check_socks5(conf, lines, report);
    }
    check_stats(conf, lines, report);
}
