/*
 * A data connection: ConnectionBind on a stream of its own (RFC 6062, section 4.4).
 *
 * States: OPENING (the link opens) -> ASKED (ConnectionBind is on its way, again after a
 * challenge) -> done: on_done() is called, and the data_bind freed, in the same breath.
 *
 * Only a success that proves the password hands the stream over: the app's bytes follow.
 * What else does not prove itself ends the connection, as RFC 8489, section 9.2.5 has it for
 * streams.
 */
#include <openssl/crypto.h>
#include <stdlib.h>

#include "relay/exit/upstream/session.h"
#include "relay/exit/upstream/txn.h"

#define BIND_NS        (30 * NS_PER_S) /* a relay forgets the connection then (section 5.2) */
#define BIND_MESSAGE   3072
#define CHALLENGES_MAX 3

struct data_bind {
    struct link *link;
    struct cred *cred;
    struct cred_proof proof;
    struct txn_set txns;
    data_bind_on_done *on_done;
    void *user;
    uint32_t connection_id;
    uint64_t end_ns;
    unsigned int n_challenges;
    bool challenged; /* the nonce was given to this connection */
    bool is_signed;  /* the request under way carries credentials */
};

void data_bind_free(struct data_bind *b)
{
    if (!b)
        return;
    txn_set_deinit(&b->txns);
    link_free(b->link);
    OPENSSL_cleanse(&b->proof, sizeof(b->proof));
    free(b);
}

/* `b` is gone afterwards. */
static void data_bind_finish(struct data_bind *b, enum exit_result result)
{
    struct stream *stream = result == EXIT_OK ? link_take_stream(b->link) : NULL;
    data_bind_on_done *on_done = b->on_done;
    void *user = b->user;

    if (result == EXIT_OK && !stream)
        result = EXIT_E_DOWN;
    data_bind_free(b);
    on_done(user, result, stream);
}

/* Return: false when the request could not be made. */
static bool data_bind_ask(struct data_bind *b, uint64_t now_ns)
{
    uint8_t buf[BIND_MESSAGE], txid[STUN_TXID_LEN];
    struct stun_builder builder;
    size_t len;

    if (txn_id(txid) < 0)
        return false;
    stun_begin(&builder, buf, sizeof(buf), STUN_REQUEST, STUN_CONNECTION_BIND, txid);
    stun_put_u32(&builder, STUN_CONNECTION_ID, b->connection_id);
    cred_put(b->cred, &b->proof, &builder);
    len = stun_finish(&builder);
    b->is_signed = b->proof.key_len > 0;
    /* One patience for the whole of it, end_ns, whatever the transaction's own. */
    return len > 0 && txn_start(&b->txns, buf, len, BIND_NS, now_ns);
}

static void data_bind_on_open(void *user)
{
    struct data_bind *b = user;

    if (b->txns.n == 0 && !data_bind_ask(b, clock_now_ns()))
        data_bind_finish(b, EXIT_E_DOWN);
}

static void data_bind_on_challenge(struct data_bind *b, unsigned int code,
                                   const struct stun_msg *msg, uint64_t now_ns)
{
    bool refused = code == 401 && b->is_signed && b->challenged;

    b->challenged = true;
    if (refused || ++b->n_challenges > CHALLENGES_MAX ||
        cred_take_challenge(b->cred, &b->proof, msg) != 0)
        data_bind_finish(b, EXIT_E_REFUSED);
    else if (!data_bind_ask(b, now_ns))
        data_bind_finish(b, EXIT_E_DOWN);
}

static void data_bind_on_answer(struct data_bind *b, const struct stun_msg *msg, uint64_t now_ns)
{
    struct txn *t = txn_match(&b->txns, msg);
    unsigned int code = 0;
    bool proven;

    if (!t || (msg->class == STUN_ERROR && !stun_get_error(msg, &code)))
        return;
    txn_end(&b->txns, t);
    proven = b->is_signed && cred_verify(&b->proof, msg) && msg->n_unknown == 0;
    if (code == 401 || code == 438)
        data_bind_on_challenge(b, code, msg, now_ns);
    else
        data_bind_finish(b, code == 0 && proven ? EXIT_OK : EXIT_E_REFUSED);
}

static void data_bind_on_message(void *user, const uint8_t *data, size_t len, uint64_t now_ns)
{
    struct stun_msg msg;

    if (stun_decode(&msg, data, len) == 0)
        data_bind_on_answer(user, &msg, now_ns);
}

static void data_bind_on_closed(void *user, int reason, const char *why)
{
    data_bind_finish(user, EXIT_E_DOWN);
}

static const struct link_events data_bind_events = {
    .on_open = data_bind_on_open,
    .on_message = data_bind_on_message,
    .on_closed = data_bind_on_closed,
};

struct data_bind *data_bind_new(struct link *link, struct cred *cred, const struct session *control,
                                uint32_t connection_id, const struct session_waker *waker,
                                data_bind_on_done *on_done, void *user, uint64_t now_ns)
{
    struct data_bind *b = calloc(1, sizeof(*b));

    if (!b) {
        link_free(link);
        return NULL;
    }
    b->link = link;
    b->cred = cred;
    b->proof = control ? *session_proof(control) : cred->proof;
    b->on_done = on_done;
    b->user = user;
    b->connection_id = connection_id;
    b->end_ns = now_ns + BIND_NS;
    txn_set_init(&b->txns, link);
    link_set_events(link, &data_bind_events, b);
    if (link_is_open(link) && !data_bind_ask(b, now_ns)) {
        data_bind_free(b);
        return NULL;
    }
    return b;
}

uint64_t data_bind_tick(struct data_bind *b, uint64_t now_ns)
{
    if (now_ns < b->end_ns)
        return b->end_ns;
    data_bind_finish(b, EXIT_E_TIMEOUT);
    return UINT64_MAX;
}

struct link *data_bind_link(struct data_bind *b)
{
    return b->link;
}

uint64_t data_bind_due_ns(const struct data_bind *b)
{
    return b->end_ns;
}
