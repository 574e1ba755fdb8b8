#include "conf/check.h"

static void check_certificate(const struct conf *conf, const struct conf_lines *lines,
                              struct report *report)
{
    const bool bad = lines->bad[OPT_certificate] || lines->bad[OPT_private_key];
    bool needed = false;

    if (bad)
        return;
    if (conf->certificate && !conf->private_key)
        report_error(report, lines->line[OPT_certificate],
                     "certificate: private-key must be set too");
    if (conf->private_key && !conf->certificate)
        report_error(report, lines->line[OPT_private_key],
                     "private-key: certificate must be set too");
    for (size_t i = 0; i < conf->n_listen; i++)
        needed |= (conf->listen[i].protocols & (LISTEN_TLS | LISTEN_DTLS)) != 0;
    if (needed && !conf->certificate && !conf->private_key)
        report_error(report, lines->line[OPT_listen],
                     "listen: tls and dtls need certificate and private-key");
}

static void check_stats(const struct conf *conf, const struct conf_lines *lines,
                        struct report *report)
{
    char text[ADDR_STRLEN];

    if (lines->bad[OPT_stats_listen] || lines->bad[OPT_stats_token])
        return;
    if (conf->stats_listen.family == ADDR_NONE || conf->stats_token ||
        addr_is_loopback(&conf->stats_listen))
        return;
    report_error(report, lines->line[OPT_stats_listen],
                 "listen: %s is not a loopback address, so token must be set",
                 addr_format(&conf->stats_listen, text, sizeof(text)));
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
        report_error(report, lines->line[OPT_behavior_discovery],
                     "behavior-discovery: tells clients their own address, so it needs "
                     "hide-client-address = no");
    if (lines->bad[OPT_listen])
        return;
    for (size_t i = 0; i < conf->n_listen; i++)
        for (size_t j = 0; j < conf->n_listen; j++)
            if (is_grid(conf, &conf->listen[i], &conf->listen[j]))
                return;
    report_error(report, lines->line[OPT_behavior_discovery],
                 "behavior-discovery: needs udp listeners on two addresses of one family (not "
                 "0.0.0.0 or [::]) with the same two ports each");
}

static void check_anybody(const struct conf *conf, const struct conf_lines *lines,
                          struct report *report)
{
    if (conf->n_user == 0 && conf->n_secret == 0 && !lines->bad_user && !lines->bad[OPT_secret])
        report_error(report, 0,
                     "nobody could use this relay: add a user to [users], or a secret to [relay]");
}

void conf_check(const struct conf *conf, const struct conf_lines *lines, struct report *report)
{
    check_certificate(conf, lines, report);
    check_behavior_discovery(conf, lines, report);
    check_stats(conf, lines, report);
    check_anybody(conf, lines, report);
}
