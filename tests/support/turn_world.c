#include "tests/support/turn_world.h"

#include <openssl/rand.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/log.h"

static const char default_conf[] = "[relay]\n"
                                   "listen = udp://192.0.2.1:3478, tcp://192.0.2.1:3478\n"
                                   "realm = callveil\n"
                                   "secret = north\n"
                                   "secret = south\n"
                                   "[users]\n"
                                   "alice = wonderland\n"
                                   "bob = builder\n"
                                   "[limits]\n"
                                   "unauthenticated-rate = 0\n";

static void world_hand_over(void *arg, unsigned int to, const struct turn_bind *bind)
{
    struct world *w = arg;

    w->handed = *bind;
    w->handed_to = to;
    w->n_handed++;
}

static bool world_visit(void *arg, unsigned int to, struct client *client, const uint8_t *data,
                        size_t len)
{
    struct world *w = arg;

    if (w->visit_fails)
        return false;
    ck_assert_uint_le(len, sizeof(w->visit_data));
    memcpy(w->visit_data, data, len);
    w->visit_len = len;
    w->visit_to = to;
    w->n_visits++;
    return true;
}

struct turn *world_turn(struct world *w, unsigned int worker, unsigned int n_workers)
{
    struct turn_params params = {.worker = worker,
                                 .n_workers = n_workers,
                                 .exit = &w->exit.exit,
                                 .quota = w->quota,
                                 .rate = w->rate,
                                 .counters = &w->counters,
                                 .hand_over = world_hand_over,
                                 .visit = world_visit,
                                 .arg = w};
    struct turn *turn = turn_new(&params);

    turn_set_settings(turn, w->conf, w->auth);
    return turn;
}

struct world *world_new_with(const char *conf_text)
{
    struct world *w = calloc(1, sizeof(*w));

    log_init(LOG_LEVEL_ERROR, false);
    w->conf = conf_load_text(conf_text, "test", "relay");
    ck_assert_ptr_nonnull(w->conf);
    ck_assert_int_eq(RAND_bytes(w->nonce_secret, sizeof(w->nonce_secret)), 1);
    w->auth = auth_new(w->conf, w->nonce_secret);
    w->quota = quota_new();
    w->rate = rate_new();
    fake_exit_init(&w->exit);
    w->turn = world_turn(w, 0, 1);
    return w;
}

struct world *world_new(void)
{
    return world_new_with(default_conf);
}

void world_free(struct world *w)
{
    turn_free(w->turn);
    ck_assert_uint_eq(w->counters.allocations, 0);
    ck_assert_uint_eq(w->counters.peer_connections, 0);
    ck_assert_uint_eq(quota_total(w->quota), 0);
    fake_streams_turn();
    for (size_t i = 0; i < w->n_clients; i++) {
        ck_assert_uint_eq(w->clients[i]->n_kept, w->clients[i]->n_released);
        fake_client_free(w->clients[i]);
    }
    fake_exit_deinit(&w->exit);
    ck_assert_uint_eq(fake_streams_count(), 0);
    far_free_all();
    auth_free(w->auth);
    quota_free(w->quota);
    rate_free(w->rate);
    conf_free(w->conf);
    free(w);
}

void world_reload(struct world *w, const char *conf_text)
{
    struct conf *conf = conf_load_text(conf_text, "test", "relay");
    struct auth *auth = auth_new(conf, w->nonce_secret);

    turn_set_settings(w->turn, conf, auth);
    auth_free(w->auth);
    conf_free(w->conf);
    w->conf = conf;
    w->auth = auth;
    turn_end_revoked(w->turn);
}

struct fake_client *world_client(struct world *w, enum transport transport, const char *remote)
{
    const char *local = remote[0] == '[' ? RELAY6 : RELAY;

    ck_assert_uint_lt(w->n_clients, WORLD_CLIENTS);
    w->clients[w->n_clients] = fake_client_new(w->turn, transport, remote, local);
    w->clients[w->n_clients]->hidden = w->conf->hide_client_address;
    return w->clients[w->n_clients++];
}

void world_pass(uint64_t seconds)
{
    fake_now_ns += seconds * NS_PER_S;
}
