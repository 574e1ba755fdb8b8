#include "relay/local_stats.h"

#include <stdio.h>

#include "common/base/clock.h"
#include "relay/exit/upstream/upstream.h"

static const char *state_name(enum upstream_state state)
{
    static const char *const names[] = {
        [UPSTREAM_CONNECTING] = "connecting",
        [UPSTREAM_READY] = "ready",
        [UPSTREAM_DOWN] = "down",
        [UPSTREAM_OFF] = "off",
    };

    return names[state];
}

static const char *transport_name(enum link_kind kind)
{
    static const char *const names[N_LINK_KINDS] = {"udp", "dtls", "tcp", "tls"};

    return names[kind];
}

static void describe_certificate(const struct upstream_status *s, json_t *up)
{
    if (s->certificate_end_s == 0)
        return;
    json_object_set_new(up, "certificate_not_after",
                        json_integer((json_int_t)s->certificate_end_s));
    json_object_set_new(up, "certificate_pinned", json_boolean(s->is_pinned));
}

static json_t *describe_upstream(const struct upstream_status *s)
{
    uint64_t now_ns = clock_now_ns();
    json_t *up = json_object();

    json_object_set_new(up, "state", json_string(state_name(s->state)));
    json_object_set_new(up, "for_s", json_integer((json_int_t)((now_ns - s->since_ns) / NS_PER_S)));
    if (s->state == UPSTREAM_READY) {
        json_object_set_new(up, "transport", json_string(transport_name(s->kind)));
        json_object_set_new(up, "host", json_string(s->host));
        json_object_set_new(up, "rtt_ms", s->rtt_us ? json_real(s->rtt_us / 1000.0) : json_null());
        describe_certificate(s, up);
    } else if (s->why[0]) {
        json_object_set_new(up, "why", json_string(s->why));
    }
    if (s->without_ns > 0)
        json_object_set_new(up, "unreachable_for_s",
                            json_integer((json_int_t)((now_ns - s->without_ns) / NS_PER_S)));
    if (s->state == UPSTREAM_DOWN)
        json_object_set_new(
            up, "retry_in_s",
            json_integer(s->retry_at_ns > now_ns
                             ? (json_int_t)((s->retry_at_ns - now_ns) / NS_PER_S + 1)
                             : 0));
    return up;
}

static void add_address(json_t *list, const struct addr *addr)
{
    char text[ADDR_STRLEN];

    if (addr->family != ADDR_NONE)
        json_array_append_new(list, json_string(addr_format_ip(addr, text, sizeof(text))));
}

static void add_url(json_t *urls, const char *scheme, const struct addr *addr, const char *more)
{
    char at[ADDR_STRLEN], url[ADDR_STRLEN + 32];

    snprintf(url, sizeof(url), "%s:%s%s", scheme, addr_format(addr, at, sizeof(at)), more);
    json_array_append_new(urls, json_string(url));
}

/* In a seal the router's TURN server is there by TCP only: by UDP it would be a detour to where
 * every datagram goes anyway. */
static json_t *describe_turn(const struct local_view *view, const struct stats_reader *reader)
{
    json_t *turn = json_object(), *urls = json_array();

    if (!reader->is_inside)
        add_url(urls, "turn", &view->turn, "?transport=udp");
    add_url(urls, "turn", &view->turn, "?transport=tcp");
    json_object_set_new(turn, "urls", urls);
    if (reader->has_token) {
        json_object_set_new(turn, "username", json_string(view->turn_user));
        json_object_set_new(turn, "credential", json_string(view->turn_password));
    }
    return turn;
}

static json_t *describe_mirror(const struct mirror *mirror)
{
    static const enum addr_family families[] = {ADDR_IPV4, ADDR_IPV6};
    json_t *urls = json_array();

    for (size_t i = 0; i < 2; i++) {
        struct addr addr = mirror_addr(mirror, families[i]);

        if (addr.family != ADDR_NONE)
            add_url(urls, "stun", &addr, "");
    }
    return urls;
}

static void describe_machine(const struct local_view *view, json_t *root)
{
    struct addr addrs[MIRROR_ADDRS_MAX];
    size_t n = mirror_own_addresses(addrs, MIRROR_ADDRS_MAX);
    json_t *own = json_array();

    for (size_t i = 0; i < n; i++)
        add_address(own, &addrs[i]);
    json_object_set_new(root, "own_addresses", own);
    if (!view->mirror)
        return;
    mirror_look(view->mirror, addrs, n);
    json_object_set_new(root, "mirror", describe_mirror(view->mirror));
}

static void describe_inside(const struct local_view *view, json_t *root)
{
    json_t *urls = json_array();

    add_url(urls, "stun", &view->stun, "");
    json_object_set_new(root, "sealed", json_true());
    json_object_set_new(root, "stun", urls);
}

static void describe_outside(const struct local_view *view, const struct stats_reader *reader,
                             json_t *root)
{
    char at[ADDR_STRLEN];

    if (view->socks5.family != ADDR_NONE)
        json_object_set_new(root, "socks5",
                            json_string(addr_format(&view->socks5, at, sizeof(at))));
    if (reader->has_token)
        describe_machine(view, root);
}

void local_stats_describe(const struct local_view *view, const struct stats_reader *reader,
                          json_t *root)
{
    struct upstream_status datagrams, streams;
    json_t *seen = json_array();

    upstream_exit_status(view->exit, false, &datagrams);
    upstream_exit_status(view->exit, true, &streams);
    add_address(seen, &datagrams.relayed_v4);
    add_address(seen, &datagrams.relayed_v6);
    json_object_set_new(root, "role", json_string("local"));
    json_object_set_new(root, "upstream", describe_upstream(&datagrams));
    json_object_set_new(root, "streams", describe_upstream(&streams));
    json_object_set_new(root, "peers_see", seen);
    flows_describe(view->flows, clock_now_ns(), root);
    if (view->turn.family != ADDR_NONE)
        json_object_set_new(root, "turn", describe_turn(view, reader));
    if (reader->is_inside)
        describe_inside(view, root);
    else
        describe_outside(view, reader, root);
}

/* One that no date can end raises nobody's alarm. Of two, the one that ends first. */
static void note_certificate(const struct upstream_status *s, struct stats_state *ret)
{
    uint64_t end_s = s->is_pinned ? 0 : s->certificate_end_s;

    if (end_s != 0 && (ret->certificate_not_after_s == 0 || end_s < ret->certificate_not_after_s))
        ret->certificate_not_after_s = end_s;
}

void local_stats_state(struct exit *exit, struct stats_state *ret)
{
    struct upstream_status datagrams, streams;

    upstream_exit_status(exit, false, &datagrams);
    upstream_exit_status(exit, true, &streams);
    ret->datagrams = datagrams.state == UPSTREAM_READY ? STATS_LINK_UP : STATS_LINK_DOWN;
    if (streams.state != UPSTREAM_OFF)
        ret->streams = streams.state == UPSTREAM_READY ? STATS_LINK_UP : STATS_LINK_DOWN;
    note_certificate(&datagrams, ret);
    note_certificate(&streams, ret);
}
