/*
 * relay/turn/admission.c - CreatePermission and ChannelBind: who may talk through
 *
 * One question on both paths, and on Connect (tcp.c): admission_check(). Nothing is
 * installed before everything in a request was found good (RFC 8656, section 10.2).
 *
 * The exit may have to ask somebody else (an upstream relay). Then the request waits as a
 * struct admission, and is answered with the last of its peers, or with the first that is
 * refused: a client that is told "success" may count on its peer's next packet.
 */
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/wire/channel.h"
#include "relay/turn/alloc.h"

#define ADMISSIONS_MAX 32
#define ADMISSION_WAIT_NS                                                                          \
    (45 * NS_PER_S) /* the client has given up by then (RFC 8489, section 6.2.1) */

/* What CreatePermission (number 0) or ChannelBind asks for. */
struct admission {
    struct list link; /* alloc->admissions */
    struct alloc *alloc;
    struct answer answer;
    uint16_t number;
    struct addr peers[STUN_MAX_PEERS];
    bool waits[STUN_MAX_PEERS];
    unsigned int n_peers;
    uint64_t since_ns;
};

static unsigned int admission_code(enum exit_result result)
{
    switch (result) {
    case EXIT_OK:
        return 0;
    case EXIT_PENDING:
        return ADMISSION_PENDING;
    case EXIT_E_FORBIDDEN:
        return 403;
    case EXIT_E_FAMILY:
        return 443;
    default:
        return 508;
    }
}

unsigned int admission_check(struct alloc *alloc, const struct addr *peer)
{
    struct turn *turn = alloc->turn;
    unsigned int code;

    if (!alloc_has_family(alloc, peer->family))
        return 443;
    code = admission_code(turn->params.exit->ops->permit(alloc->assoc, peer));
    if (code == 403)
        log_limited(LOG_LEVEL_INFO, "allocation %llu was refused a peer that the rules deny (403)",
                    (unsigned long long)alloc->id);
    return code;
}

/* ---- when every peer is found good ---- */

static unsigned int admission_install_permissions(const struct admission *ad, uint64_t now_ns)
{
    struct alloc *alloc = ad->alloc;
    unsigned int max = alloc->turn->conf->max_permissions;

    if (perm_reserve(&alloc->perms, ad->peers, ad->n_peers, max, now_ns) != 0)
        return 508;
    for (unsigned int i = 0; i < ad->n_peers; i++)
        (void)perm_add(&alloc->perms, &ad->peers[i], max, now_ns);
    return 0;
}

static unsigned int admission_install_channel(const struct admission *ad, uint64_t now_ns)
{
    struct alloc *alloc = ad->alloc;
    const struct conf *conf = alloc->turn->conf;
    const struct addr *peer = &ad->peers[0];
    int r = chan_may_bind(&alloc->chans, ad->number, peer, conf->max_channels, now_ns);

    if (r == 0 && perm_add(&alloc->perms, peer, conf->max_permissions, now_ns) == 0)
        r = chan_bind(&alloc->chans, ad->number, peer, conf->max_channels, now_ns);
    else if (r == 0)
        r = CHAN_E_FULL;
    if (r == 0)
        return 0;
    return r == CHAN_E_CONFLICT ? 400 : 508;
}

static void admission_answer(const struct admission *ad, unsigned int code)
{
    struct turn *turn = ad->alloc->turn;
    struct client *client = ad->alloc->client;
    uint8_t buf[TURN_ANSWER_MAX];
    struct stun_builder b;

    if (code != 0) {
        answer_error(turn, client, &ad->answer, code);
        return;
    }
    answer_begin(&ad->answer, &b, buf);
    answer_send(turn, client, &ad->answer, &b, false, 0);
}

static void admission_finish(const struct admission *ad, unsigned int code, uint64_t now_ns)
{
    if (code == 0)
        code = ad->number ? admission_install_channel(ad, now_ns)
                          : admission_install_permissions(ad, now_ns);
    admission_answer(ad, code);
}

/* ---- waiting ---- */

static void admission_free(struct admission *ad)
{
    list_remove(&ad->link);
    ad->alloc->n_admissions--;
    OPENSSL_clear_free(ad, sizeof(*ad));
}

static bool admission_waits(const struct admission *ad)
{
    for (unsigned int i = 0; i < ad->n_peers; i++)
        if (ad->waits[i])
            return true;
    return false;
}

/* Return: 0, or the code to answer. */
static unsigned int admission_keep(const struct admission *ad)
{
    struct admission *kept;

    if (ad->alloc->n_admissions >= ADMISSIONS_MAX)
        return 508;
    kept = malloc(sizeof(*kept));
    if (!kept)
        return 508;
    *kept = *ad;
    list_append(&ad->alloc->admissions, &kept->link);
    ad->alloc->n_admissions++;
    return 0;
}

void admission_on_permitted(void *user, const struct addr *peer, enum exit_result result)
{
    struct alloc *alloc = user;
    unsigned int code = admission_code(result);
    uint64_t now_ns = clock_now_ns();
    struct list *it, *tmp;

    list_for_each_safe (it, tmp, &alloc->admissions) {
        struct admission *ad = list_entry(it, struct admission, link);
        bool is_about = false;

        for (unsigned int i = 0; i < ad->n_peers; i++) {
            if (!ad->waits[i] || !addr_ip_equal(&ad->peers[i], peer))
                continue;
            ad->waits[i] = false;
            is_about = true;
        }
        if (!is_about || (code == 0 && admission_waits(ad)))
            continue;
        admission_finish(ad, code, now_ns);
        admission_free(ad);
    }
}

void admission_sweep(struct alloc *alloc, uint64_t now_ns)
{
    struct list *it, *tmp;

    list_for_each_safe (it, tmp, &alloc->admissions) {
        struct admission *ad = list_entry(it, struct admission, link);

        if (now_ns - ad->since_ns > ADMISSION_WAIT_NS)
            admission_free(ad);
    }
}

void admission_deinit(struct alloc *alloc)
{
    struct list *it, *tmp;

    list_for_each_safe (it, tmp, &alloc->admissions)
        admission_free(list_entry(it, struct admission, link));
}

/* ---- requests ---- */

/* A retransmission of a request that waits: its answer is on the way. */
static bool admission_is_known(const struct alloc *alloc, const struct request *req)
{
    for (struct list *it = alloc->admissions.next; it != &alloc->admissions; it = it->next)
        if (memcmp(list_entry(it, struct admission, link)->answer.txid, req->msg->txid,
                   STUN_TXID_LEN) == 0)
            return true;
    return false;
}

/* All or nothing: everything is checked before anything is installed. */
static void admission_begin(struct admission *ad, struct request *req)
{
    unsigned int code = 0, r;

    ad->since_ns = req->now_ns;
    ad->answer = req->answer;
    for (unsigned int i = 0; i < ad->n_peers && code == 0; i++) {
        r = admission_check(ad->alloc, &ad->peers[i]);
        ad->waits[i] = r == ADMISSION_PENDING;
        code = ad->waits[i] ? 0 : r;
    }
    if (code != 0 || !admission_waits(ad)) {
        admission_finish(ad, code, req->now_ns);
    } else {
        code = admission_keep(ad);
        if (code != 0)
            admission_answer(ad, code);
    }
    OPENSSL_cleanse(&ad->answer, sizeof(ad->answer));
}

void admission_on_create_permission(struct request *req)
{
    struct alloc *alloc = request_alloc(req);
    struct admission ad = {.alloc = alloc};
    unsigned int code = 0;

    if (!alloc || admission_is_known(alloc, req))
        return;
    if (req->msg->n_peers == 0)
        code = 400;
    else if (req->msg->too_many_peers)
        code = 508;
    for (; ad.n_peers < req->msg->n_peers && code == 0; ad.n_peers++) {
        if (!stun_get_peer(req->msg, ad.n_peers, &ad.peers[ad.n_peers]))
            code = 400;
        ad.peers[ad.n_peers].port = 0;
    }
    if (code != 0)
        request_fail(req, code);
    else
        admission_begin(&ad, req);
}

void admission_on_channel_bind(struct request *req)
{
    struct alloc *alloc = request_alloc(req);
    struct admission ad = {.alloc = alloc, .n_peers = 1};

    if (!alloc || admission_is_known(alloc, req))
        return;
    if (alloc->tcp) {
        /* Channels carry datagrams; RFC 6062 has no code for it, and clients know this one. */
        request_fail(req, 403);
        return;
    }
    if (req->msg->n_peers == 0 || !stun_get_u16(req->msg, STUN_CHANNEL_NUMBER, &ad.number) ||
        ad.number < CHANNEL_MIN || ad.number > CHANNEL_MAX ||
        !stun_get_peer(req->msg, 0, &ad.peers[0])) {
        request_fail(req, 400);
        return;
    }
    admission_begin(&ad, req);
}
