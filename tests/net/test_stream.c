#include <arpa/inet.h>
#include <errno.h>
#include <openssl/err.h>
#include <pthread.h>

#include "common/net/stream_impl.h"
#include "tests/net/support.h"

#define LIMIT (64 * 1024)

struct bench {
    struct event_base *base;
    struct stream_pool *pool;
    struct tls_server *tls;
    SSL_CTX *client_ctx;
    struct stream *s;
    int peer; /* the other end, non-blocking */
    SSL *client;

    bool in_call; /* the test is inside a call on the stream: no event may come */
    int n_opened, n_eof, n_drained, n_closed, reason;
    bool closed;
    uint8_t *got;
    size_t got_len, got_cap;
    int n_calls;                                /* of on_bytes */
    ptrdiff_t (*hook)(const uint8_t *, size_t); /* instead of taking everything */
    bool free_on_open, free_on_eof, free_on_drained, free_on_closed;
};

static struct bench b;

static void bench_got(const uint8_t *data, size_t len)
{
    if (b.got_len + len > b.got_cap) {
        b.got_cap = (b.got_len + len) * 2;
        b.got = realloc(b.got, b.got_cap);
    }
    memcpy(b.got + b.got_len, data, len);
    b.got_len += len;
}

static void bench_free_stream(void)
{
    stream_free(b.s);
    b.s = NULL;
}

static ptrdiff_t on_bytes(void *user, const uint8_t *data, size_t len)
{
    ck_assert_ptr_eq(user, &b);
    ck_assert(!b.in_call);
    b.n_calls++;
    if (b.hook)
        return b.hook(data, len);
    bench_got(data, len);
    return (ptrdiff_t)len;
}

static void on_open(void *user)
{
    ck_assert(!b.in_call);
    b.n_opened++;
    if (b.free_on_open)
        bench_free_stream();
}

static void on_eof(void *user)
{
    ck_assert(!b.in_call);
    b.n_eof++;
    if (b.free_on_eof)
        bench_free_stream();
}

static void on_drained(void *user)
{
    ck_assert(!b.in_call);
    b.n_drained++;
    if (b.free_on_drained)
        bench_free_stream();
}

static void on_closed(void *user, int reason)
{
    ck_assert(!b.in_call);
    b.n_closed++;
    b.closed = true;
    b.reason = reason;
    if (b.free_on_closed)
        bench_free_stream();
}

static const struct stream_events events = {
    .on_bytes = on_bytes,
    .on_open = on_open,
    .on_drained = on_drained,
    .on_closed = on_closed,
};

static const struct stream_events events_with_eof = {
    .on_bytes = on_bytes,
    .on_open = on_open,
    .on_eof = on_eof,
    .on_drained = on_drained,
    .on_closed = on_closed,
};

static void setup(void)
{
    memset(&b, 0, sizeof(b));
    b.base = event_base_new();
    b.pool = stream_pool_new(b.base);
    b.tls = test_tls_server();
    b.client_ctx = SSL_CTX_new(TLS_client_method());
    b.peer = -1;
}

static void teardown(void)
{
    stream_free(b.s);
    SSL_free(b.client);
    if (b.peer >= 0)
        close(b.peer);
    SSL_CTX_free(b.client_ctx);
    tls_server_free(b.tls);
    stream_pool_free(b.pool);
    event_base_free(b.base);
    free(b.got);
    ERR_clear_error();
}

static void use_stream(SSL_CTX *tls, bool sniff)
{
    int fds[2];

    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    b.peer = fds[1];
    b.s = stream_accept(b.pool, fds[0], tls, sniff, LIMIT);
    ck_assert_ptr_nonnull(b.s);
    stream_set_events(b.s, &events, &b);
}

static void turn(void)
{
    event_base_loop(b.base, EVLOOP_NONBLOCK);
}

static void turns(int n)
{
    while (n-- > 0)
        turn();
}

static int listen_on_loopback(struct sockaddr_in *ret)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    socklen_t len = sizeof(*ret);

    *ret = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    ck_assert_int_eq(bind(fd, (struct sockaddr *)ret, sizeof(*ret)), 0);
    ck_assert_int_eq(listen(fd, 5), 0);
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)ret, &len), 0);
    return fd;
}

/* As use_stream(), over TCP. */
static void use_tcp(void)
{
    struct sockaddr_in at;
    int listener = listen_on_loopback(&at);

    b.peer = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(connect(b.peer, (struct sockaddr *)&at, sizeof(at)), 0);
    b.s = stream_accept(b.pool, accept(listener, NULL, NULL), NULL, false, LIMIT);
    ck_assert_ptr_nonnull(b.s);
    stream_set_events(b.s, &events, &b);
    close(listener);
    fcntl(b.peer, F_SETFL, O_NONBLOCK);
}

static void peer_says(const void *data, size_t len)
{
    ck_assert_int_eq(send(b.peer, data, len, MSG_NOSIGNAL), (ssize_t)len);
}

static void client_new(int version)
{
    b.client = SSL_new(b.client_ctx);
    SSL_set_fd(b.client, b.peer);
    SSL_set_connect_state(b.client);
    SSL_set_mode(b.client, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    ck_assert_int_eq(SSL_set_min_proto_version(b.client, version), 1);
    ck_assert_int_eq(SSL_set_max_proto_version(b.client, version), 1);
}

static bool client_handshake(void)
{
    for (int i = 0; i < 50; i++) {
        int r = SSL_do_handshake(b.client);

        turns(2);
        if (r == 1 && b.n_opened > 0)
            return true;
    }
    ERR_clear_error();
    return false;
}

static void use_tls(int version)
{
    use_stream(b.tls->tls, false);
    client_new(version);
    ck_assert(client_handshake());
}

/* What the far side can read now, by SSL or not. Return: bytes, 0 at the end, -1 nothing. */
static ssize_t peer_reads(void *buf, size_t cap)
{
    int n;

    if (!b.client)
        return recv(b.peer, buf, cap, 0);
    ERR_clear_error();
    n = SSL_read(b.client, buf, (int)cap);
    if (n <= 0)
        return SSL_get_error(b.client, n) == SSL_ERROR_ZERO_RETURN ? 0 : -1;
    return n;
}

static void peer_reads_text(const char *expected)
{
    char buf[256] = "";
    size_t len = 0;

    for (int i = 0; i < 20 && len < strlen(expected); i++) {
        ssize_t n = peer_reads(buf + len, sizeof(buf) - 1 - len);

        if (n > 0)
            len += (size_t)n;
        turn();
    }
    ck_assert_str_eq(buf, expected);
}

static int send_text(const char *text)
{
    struct iovec iov = {(void *)(uintptr_t)text, strlen(text)};
    int r;

    b.in_call = true;
    r = stream_send(b.s, &iov, 1);
    b.in_call = false;
    return r;
}

/* Frames: two bytes of length, then as many bytes of the frame's number. */
static ptrdiff_t take_frames(const uint8_t *data, size_t len)
{
    size_t used = 0;

    while (len - used >= 2) {
        size_t frame = 2 + ((size_t)data[used] << 8 | data[used + 1]);

        if (len - used < frame)
            break;
        bench_got(data + used, frame);
        used += frame;
    }
    return (ptrdiff_t)used;
}

static size_t make_frame(uint8_t *frame, size_t body, int number)
{
    frame[0] = (uint8_t)(body >> 8);
    frame[1] = (uint8_t)body;
    memset(frame + 2, number, body);
    return 2 + body;
}

static int send_frame(size_t body, int number)
{
    static uint8_t frame[70000];
    size_t len = make_frame(frame, body, number);
    struct iovec iov[3] = {{frame, 2}, {frame + 2, (len - 2) / 2}, {0}};
    int r;

    iov[2].iov_base = frame + 2 + iov[1].iov_len;
    iov[2].iov_len = len - 2 - iov[1].iov_len;
    b.in_call = true;
    r = stream_send(b.s, iov, 3);
    b.in_call = false;
    return r;
}

/* Reads all there is on the far side into b.got, turning the loop meanwhile. */
static void peer_reads_all(int patience)
{
    static uint8_t buf[65536];
    int quiet = 0;

    while (quiet < patience) {
        ssize_t n = peer_reads(buf, sizeof(buf));

        if (n == 0)
            return;
        if (n > 0)
            bench_got(buf, (size_t)n);
        quiet = n > 0 ? 0 : quiet + 1;
        turn();
    }
}

/* Return: the number of whole frames in b.got, numbered from 0; anything else fails. */
static int count_frames(void)
{
    size_t at = 0;
    int n = 0;

    while (at < b.got_len) {
        size_t body = (size_t)b.got[at] << 8 | b.got[at + 1];

        ck_assert_uint_le(at + 2 + body, b.got_len);
        for (size_t i = 0; i < body; i++)
            if (b.got[at + 2 + i] != (n & 0xff))
                ck_abort_msg("byte %zu of frame %d is not its own", i, n);
        at += 2 + body;
        n++;
    }
    return n;
}

/* ---- input ---- */

START_TEST(frames_arrive_whole_however_they_are_cut)
{
    uint8_t frames[64];
    size_t len = 0;

    use_stream(NULL, false);
    b.hook = take_frames;
    for (int i = 0; i < 5; i++)
        len += make_frame(frames + len, (size_t)i * 2, i);
    for (size_t i = 0; i < len; i++) {
        peer_says(frames + i, 1);
        turn();
    }
    ck_assert_int_eq(count_frames(), 5);
    peer_says(frames, len);
    turn();
    ck_assert_uint_eq(b.got_len, 2 * len);
    ck_assert_int_eq(b.n_opened, 0); /* it was open from the start */
}
END_TEST

START_TEST(idle_stream_holds_no_buffers)
{
    use_stream(NULL, false);
    b.hook = take_frames;
    peer_says("\0", 1);
    turn();
    ck_assert_ptr_nonnull(b.s->kept.data);
    peer_says("\1x", 2);
    turn();
    ck_assert_ptr_null(b.s->kept.data);
    while (send_frame(1000, 0) == 0)
        ;
    ck_assert_ptr_nonnull(b.s->pending.data);
    peer_reads_all(3);
    ck_assert_ptr_null(b.s->pending.data);
}
END_TEST

START_TEST(largest_frame_passes)
{
    static uint8_t big[2 + 65535];

    use_stream(NULL, false);
    b.hook = take_frames;
    make_frame(big, 65535, 0);
    peer_says(big, sizeof(big));
    turns(3);
    ck_assert_int_eq(count_frames(), 1);
    b.hook = NULL;
}
END_TEST

static ptrdiff_t take_nothing(const uint8_t *data, size_t len)
{
    return 0;
}

START_TEST(owner_that_never_finds_a_message_is_cut_off)
{
    static uint8_t noise[32768];

    use_stream(NULL, false);
    b.hook = take_nothing;
    for (int i = 0; i < 6 && !b.closed; i++) {
        send(b.peer, noise, sizeof(noise), MSG_NOSIGNAL);
        turns(2);
    }
    shutdown(b.peer, SHUT_WR);
    ck_assert(run_until(b.base, &b.closed, 500));
    ck_assert_int_eq(b.reason, -EMSGSIZE);
}
END_TEST

static ptrdiff_t answer_error(const uint8_t *data, size_t len)
{
    return -EBADMSG;
}

START_TEST(error_from_on_bytes_is_the_reason_of_the_close)
{
    use_stream(NULL, false);
    b.hook = answer_error;
    peer_says("x", 1);
    turns(3);
    shutdown(b.peer, SHUT_WR);
    ck_assert(run_until(b.base, &b.closed, 500));
    ck_assert_int_eq(b.reason, -EBADMSG);
    ck_assert_int_eq(b.n_calls, 1);
}
END_TEST

START_TEST(paused_stream_reads_nothing_and_resumes_where_it_was)
{
    use_stream(NULL, false);
    stream_pause(b.s);
    peer_says("abc", 3);
    turns(3);
    ck_assert_int_eq(b.n_calls, 0);
    stream_resume(b.s);
    turns(2);
    ck_assert_uint_eq(b.got_len, 3);
}
END_TEST

static ptrdiff_t take_one_and_pause(const uint8_t *data, size_t len)
{
    bench_got(data, 1);
    stream_pause(b.s);
    return 1;
}

START_TEST(bytes_left_by_a_pausing_owner_come_again_on_resume)
{
    use_stream(NULL, false);
    b.hook = take_one_and_pause;
    peer_says("abc", 3);
    turns(3);
    for (int i = 0; i < 2; i++) {
        b.in_call = true;
        stream_resume(b.s);
        b.in_call = false;
        turns(3);
    }
    ck_assert_uint_eq(b.got_len, 3);
    ck_assert_int_eq(memcmp(b.got, "abc", 3), 0);
    ck_assert_int_eq(b.n_calls, 3);
}
END_TEST

START_TEST(half_a_message_comes_again_on_resume_and_then_only_with_more)
{
    use_stream(NULL, false);
    b.hook = take_frames;
    peer_says("\0", 1);
    turns(3);
    ck_assert_int_eq(b.n_calls, 1);
    stream_pause(b.s);
    stream_resume(b.s);
    turns(3);
    ck_assert_int_eq(b.n_calls, 2);
    peer_says("\2", 1);
    turns(3);
    ck_assert_int_eq(b.n_calls, 3);
    peer_says("xx", 2);
    turns(3);
    ck_assert_int_eq(b.n_calls, 4);
    ck_assert_uint_eq(b.got_len, 4);
}
END_TEST

/* ---- output ---- */

START_TEST(pieces_of_a_message_arrive_in_order)
{
    char text[] = "one two three";
    struct iovec iov[3] = {{text, 4}, {text + 4, 4}, {text + 8, 5}};

    use_stream(NULL, false);
    ck_assert_int_eq(stream_send(b.s, iov, 3), 0);
    ck_assert_uint_eq(stream_pending(b.s), 0);
    peer_reads_text("one two three");
}
END_TEST

static void fill_until_refused(size_t body)
{
    int n = 0, r;

    while ((r = send_frame(body, n)) == 0)
        n++;
    ck_assert_int_eq(r, -ENOBUFS);
    ck_assert_uint_le(stream_pending(b.s), LIMIT);
    ck_assert_uint_gt(stream_pending(b.s), LIMIT - body - 2);
    ck_assert_int_eq(send_frame(body, n), -ENOBUFS);
    peer_reads_all(20);
    ck_assert_int_eq(count_frames(), n);
    ck_assert_int_eq(b.n_drained, 1);
    ck_assert_uint_eq(stream_pending(b.s), 0);
    ck_assert_int_eq(send_frame(body, n), 0); /* and it goes on */
    peer_reads_all(5);
    ck_assert_int_eq(count_frames(), n + 1);
}

START_TEST(reader_that_does_not_read_costs_messages_but_never_framing)
{
    static const size_t bodies[] = {10, 1200, 20000};

    use_stream(NULL, false);
    fill_until_refused(bodies[_i]);
}
END_TEST

START_TEST(tls_reader_that_does_not_read_costs_messages_but_never_framing)
{
    static const size_t bodies[] = {10, 1200, 20000};

    use_tls(TLS1_3_VERSION);
    fill_until_refused(bodies[_i]);
}
END_TEST

START_TEST(message_over_the_limit_is_taken_when_nothing_is_pending)
{
    use_stream(NULL, false);
    b.s->max_pending = 100;
    ck_assert_int_eq(send_frame(60000, 0), 0);
    while (stream_pending(b.s) == 0)
        send_frame(60000, 1);
    ck_assert_int_eq(send_frame(1, 2), -ENOBUFS);
}
END_TEST

START_TEST(raw_bytes_are_taken_past_the_limit_and_counted)
{
    static uint8_t chunk[50000];
    ptrdiff_t pending = 0;
    size_t total = 0;

    use_stream(NULL, false);
    while (pending <= 2 * LIMIT) {
        b.in_call = true;
        pending = stream_write(b.s, chunk, sizeof(chunk));
        b.in_call = false;
        ck_assert_int_ge(pending, 0);
        ck_assert_uint_eq(stream_pending(b.s), (size_t)pending);
        total += sizeof(chunk);
    }
    ck_assert_int_eq(b.n_drained, 0);
    peer_reads_all(20);
    ck_assert_uint_eq(b.got_len, total);
    ck_assert_int_eq(b.n_drained, 1);
}
END_TEST

/* ---- ends ---- */

START_TEST(end_of_file_closes_an_owner_without_on_eof)
{
    use_stream(NULL, false);
    peer_says("x", 1);
    shutdown(b.peer, SHUT_WR);
    ck_assert(run_until(b.base, &b.closed, 500));
    ck_assert_int_eq(b.reason, 0);
    ck_assert_uint_eq(b.got_len, 1);
    ck_assert_int_eq(b.n_closed, 1);
}
END_TEST

START_TEST(half_closed_stream_still_sends_and_can_end_too)
{
    char byte;

    use_stream(NULL, false);
    stream_set_events(b.s, &events_with_eof, &b);
    shutdown(b.peer, SHUT_WR);
    turns(5);
    ck_assert_int_eq(b.n_eof, 1);
    ck_assert_int_eq(b.n_closed, 0);
    ck_assert_int_eq(send_text("still here"), 0);
    peer_reads_text("still here");
    stream_shutdown(b.s);
    ck_assert_int_eq(send_text("no more"), -EPIPE);
    turns(3);
    ck_assert_int_eq(recv(b.peer, &byte, 1, 0), 0);
    ck_assert_int_eq(b.n_closed, 0);
    stream_close(b.s, 0);
    turns(3);
    ck_assert_int_eq(b.n_closed, 1);
}
END_TEST

START_TEST(shutdown_waits_for_what_is_pending)
{
    use_stream(NULL, false);
    while (send_frame(5000, 0) == 0)
        ;
    stream_shutdown(b.s);
    peer_reads_all(1000);
    ck_assert_uint_gt(b.got_len, LIMIT - 5002);
    ck_assert_uint_eq(b.got_len % 5002, 0);
    b.got_len = 0;
    peer_says("reply", 5);
    turns(2);
    ck_assert_uint_eq(b.got_len, 5);
}
END_TEST

static void close_now(int reason)
{
    b.in_call = true;
    stream_close(b.s, reason);
    b.in_call = false;
    ck_assert_int_eq(b.n_closed, 0);
}

START_TEST(close_flushes_first_and_tells_from_the_loop)
{
    int n = 0;

    use_stream(NULL, false);
    while (send_frame(5000, n) == 0)
        n++;
    close_now(-EIO);
    ck_assert_int_eq(send_text("late"), -EPIPE);
    peer_reads_all(1000);
    ck_assert_int_eq(count_frames(), n);
    close(b.peer);
    b.peer = -1;
    ck_assert(run_until(b.base, &b.closed, 500));
    ck_assert_int_eq(b.reason, -EIO);
    ck_assert_int_eq(b.n_drained, 0);
}
END_TEST

START_TEST(close_does_not_wait_for_ever)
{
    uint64_t start_ns = clock_now_ns();

    use_stream(NULL, false);
    while (send_frame(5000, 0) == 0)
        ;
    close_now(-EIO);
    ck_assert(run_until(b.base, &b.closed, 4000));
    ck_assert_int_eq(b.reason, -EIO);
    ck_assert_uint_ge(clock_now_ns() - start_ns, 1900 * NS_PER_MS);
}
END_TEST

START_TEST(slow_reader_gets_all_that_was_pending_at_the_close)
{
    uint64_t start_ns = clock_now_ns();
    int n = 0;

    use_stream(NULL, false);
    while (send_frame(5000, n) == 0)
        n++;
    close_now(0);
    /* Slow enough that two seconds, even twice, are not enough for everything. */
    while (!b.closed && clock_now_ns() - start_ns < 10000 * NS_PER_MS) {
        uint8_t buf[20000];
        ssize_t len = recv(b.peer, buf, sizeof(buf), 0);

        if (len > 0)
            bench_got(buf, (size_t)len);
        if (len == 0)
            break;
        run_until(b.base, &b.closed, 350);
    }
    ck_assert_int_eq(count_frames(), n);
    ck_assert_uint_ge(clock_now_ns() - start_ns, 3000 * NS_PER_MS);
}
END_TEST

static ptrdiff_t refuse_and_close(const uint8_t *data, size_t len)
{
    char text[] = "refused";
    struct iovec iov = {text, 7};

    if (b.s->closing)
        return 0;
    ck_assert_int_eq(stream_send(b.s, &iov, 1), 0);
    stream_close(b.s, 0);
    return 0;
}

START_TEST(last_words_are_read_by_a_client_that_keeps_talking)
{
    char buf[16] = "";

    use_tcp();
    b.hook = refuse_and_close;
    peer_says("request", 7);
    turns(2);
    /* Input that nobody reads: a bare close(2) would answer it with a reset. */
    for (int i = 0; i < 10; i++) {
        peer_says("more and more", 13);
        turns(2);
    }
    ck_assert_int_eq(recv(b.peer, buf, sizeof(buf), 0), 7);
    ck_assert_str_eq(buf, "refused");
    ck_assert_int_eq(recv(b.peer, buf, sizeof(buf), 0), 0);
    ck_assert_int_eq(b.n_closed, 0);
    close(b.peer);
    b.peer = -1;
    ck_assert(run_until(b.base, &b.closed, 500));
    ck_assert_int_eq(b.n_calls, 1);
}
END_TEST

START_TEST(reset_peer_is_told_from_the_loop_and_sends_fail_at_once)
{
    struct linger hard = {1, 0};

    use_tcp();
    stream_pause(b.s); /* so that only sending can find out */
    setsockopt(b.peer, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
    close(b.peer);
    b.peer = -1;
    ck_assert_int_eq(send_text("anybody?"), -EPIPE);
    ck_assert_int_eq(send_text("hello?"), -EPIPE);
    ck_assert_int_eq(b.n_closed, 0);
    turns(2);
    ck_assert_int_eq(b.n_closed, 1);
    ck_assert_int_lt(b.reason, 0);
    ck_assert_int_eq(send_text("hello?"), -EPIPE);
}
END_TEST

START_TEST(reset_is_noticed_while_reading)
{
    struct linger hard = {1, 0};

    use_tcp();
    setsockopt(b.peer, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
    close(b.peer);
    b.peer = -1;
    turns(2);
    ck_assert_int_eq(b.reason, -ECONNRESET);
}
END_TEST

START_TEST(abort_sends_what_is_pending_and_then_a_reset)
{
    char buf[8];

    use_tcp();
    ck_assert_int_eq(send_text("cut sho"), 0);
    b.in_call = true;
    stream_abort(b.s, -ECONNRESET);
    b.in_call = false;
    turns(2);
    ck_assert_int_eq(b.n_closed, 1);
    ck_assert_int_eq(b.reason, -ECONNRESET);
    peer_reads_text("cut sho");
    ck_assert_int_eq(recv(b.peer, buf, sizeof(buf), 0), -1);
    ck_assert_int_eq(errno, ECONNRESET);
}
END_TEST

/* ---- freeing ---- */

static ptrdiff_t free_stream(const uint8_t *data, size_t len)
{
    bench_free_stream();
    return (ptrdiff_t)len;
}

START_TEST(stream_may_be_freed_within_on_bytes)
{
    if (_i == 0)
        use_stream(NULL, false);
    else
        use_tls(TLS1_3_VERSION);
    b.hook = free_stream;
    if (b.client)
        ck_assert_int_eq(SSL_write(b.client, "x", 1), 1);
    else
        peer_says("x", 1);
    turns(3);
    ck_assert_ptr_null(b.s);
    ck_assert_int_eq(b.n_closed, 0);
}
END_TEST

START_TEST(stream_may_be_freed_within_any_other_event)
{
    use_stream(NULL, false);
    stream_set_events(b.s, &events_with_eof, &b);
    b.free_on_eof = _i == 0;
    b.free_on_drained = _i == 1;
    b.free_on_closed = _i == 2;
    if (_i == 0)
        shutdown(b.peer, SHUT_WR);
    else
        while (send_frame(5000, 0) == 0)
            ;
    if (_i == 2)
        stream_close(b.s, 0);
    peer_reads_all(50);
    if (b.peer >= 0)
        close(b.peer);
    b.peer = -1;
    turns(5);
    ck_assert_ptr_null(b.s);
}
END_TEST

START_TEST(stream_may_be_freed_within_on_open)
{
    use_stream(b.tls->tls, _i == 1);
    b.free_on_open = true;
    client_new(TLS1_3_VERSION);
    client_handshake();
    ck_assert_int_eq(b.n_opened, 1);
    ck_assert_ptr_null(b.s);
}
END_TEST

START_TEST(freeing_in_any_state_leaves_nothing_behind)
{
    use_stream(b.tls->tls, _i == 0);
    if (_i == 2)
        stream_close(b.s, 0);
    bench_free_stream();
    turns(3);
    ck_assert_int_eq(b.n_closed, 0);
    stream_free(NULL);
}
END_TEST

/* ---- connecting ---- */

static void connect_to(struct sockaddr_in *at)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), r;

    r = connect(fd, (struct sockaddr *)at, sizeof(*at));
    ck_assert(r == 0 || errno == EINPROGRESS || errno == ECONNREFUSED);
    b.s = stream_connecting(b.pool, fd, LIMIT);
    stream_set_events(b.s, &events, &b);
}

START_TEST(connect_opens_and_sends_what_was_queued_before)
{
    struct sockaddr_in at;
    struct addr remote;
    int listener = listen_on_loopback(&at);

    connect_to(&at);
    ck_assert_int_eq(send_text("early"), 0);
    b.peer = accept(listener, NULL, NULL);
    turns(3);
    ck_assert_int_eq(b.n_opened, 1);
    peer_reads_text("early");
    remote = stream_remote(b.s);
    ck_assert_uint_eq(remote.port, ntohs(at.sin_port));
    ck_assert(addr_is_loopback(&remote));
    remote = stream_local(b.s);
    ck_assert(addr_is_loopback(&remote));
    close(listener);
}
END_TEST

START_TEST(refused_connect_closes_with_the_reason)
{
    struct sockaddr_in at;

    close(listen_on_loopback(&at));
    connect_to(&at);
    ck_assert(run_until(b.base, &b.closed, 500));
    ck_assert_int_eq(b.reason, -ECONNREFUSED);
    ck_assert_int_eq(b.n_opened, 0);
}
END_TEST

/* ---- TLS ---- */

static const int tls_versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};

START_TEST(tls_carries_messages_both_ways)
{
    use_tls(tls_versions[_i]);
    ck_assert(stream_is_tls(b.s));
    ck_assert_int_eq(b.n_opened, 1);
    ck_assert_int_eq(SSL_write(b.client, "ping", 4), 4);
    turns(2);
    ck_assert_uint_eq(b.got_len, 4);
    ck_assert_int_eq(send_text("pong"), 0);
    peer_reads_text("pong");
}
END_TEST

START_TEST(tls_frames_arrive_whole_however_they_are_cut)
{
    uint8_t frames[64];
    size_t len = 0;

    use_tls(tls_versions[_i]);
    b.hook = take_frames;
    for (int i = 0; i < 5; i++)
        len += make_frame(frames + len, (size_t)i * 2, i);
    for (size_t i = 0; i < len; i++) {
        ck_assert_int_eq(SSL_write(b.client, frames + i, 1), 1);
        if (i % 2)
            turn();
    }
    turns(2);
    ck_assert_int_eq(count_frames(), 5);
}
END_TEST

START_TEST(tls_input_that_only_openssl_holds_is_not_forgotten)
{
    /* More records in one go than one read takes: the socket is soon empty. */
    int n = STREAM_TLS_RECORDS_MAX * 4 + 8; /* a UNIX socket queues few more */

    use_tls(tls_versions[_i]);
    for (int i = 0; i < n; i++)
        ck_assert_int_eq(SSL_write(b.client, "x", 1), 1);
    turns(20);
    ck_assert_uint_eq(b.got_len, (size_t)n);
}
END_TEST

START_TEST(tls_paused_input_comes_on_resume)
{
    use_tls(tls_versions[_i]);
    b.hook = take_one_and_pause;
    ck_assert_int_eq(SSL_write(b.client, "ab", 2), 2);
    ck_assert_int_eq(SSL_write(b.client, "cd", 2), 2);
    turns(5);
    ck_assert_uint_eq(b.got_len, 1);
    b.hook = NULL;
    stream_resume(b.s);
    turns(5);
    ck_assert_uint_eq(b.got_len, 4);
}
END_TEST

static ptrdiff_t take_all_and_pause(const uint8_t *data, size_t len)
{
    bench_got(data, len);
    stream_pause(b.s);
    return (ptrdiff_t)len;
}

START_TEST(tls_input_that_only_openssl_holds_comes_on_resume)
{
    int n = STREAM_TLS_RECORDS_MAX * 2;

    use_tls(tls_versions[_i]);
    b.hook = take_all_and_pause;
    for (int i = 0; i < n; i++)
        ck_assert_int_eq(SSL_write(b.client, "x", 1), 1);
    turns(5);
    ck_assert_uint_lt(b.got_len, (size_t)n);
    b.hook = NULL;
    stream_resume(b.s);
    turns(5);
    ck_assert_uint_eq(b.got_len, (size_t)n);
}
END_TEST

START_TEST(tls_bulk_passes_both_ways_at_once)
{
    static uint8_t out[1000000], buf[30000];
    size_t sent = 0, back = 0, written = 0;

    use_tls(tls_versions[_i]);
    for (size_t i = 0; i < sizeof(out); i++)
        out[i] = (uint8_t)(i * 7 + i / 256);
    for (int i = 0; i < 5000 && (b.got_len < sizeof(out) || back < sizeof(out)); i++) {
        ssize_t n;

        ERR_clear_error();
        n = SSL_write(b.client, out + sent, (int)(sizeof(out) - sent));
        sent += n > 0 ? (size_t)n : 0;
        if (written < sizeof(out) && stream_pending(b.s) < LIMIT) {
            ck_assert_int_ge(stream_write(b.s, out + written, 50000), 0);
            written += 50000;
        }
        turn();
        n = peer_reads(buf, sizeof(buf));
        ck_assert(n <= 0 || memcmp(buf, out + back, (size_t)n) == 0);
        back += n > 0 ? (size_t)n : 0;
        if (sent == sizeof(out) && back == sizeof(out))
            turn();
    }
    ck_assert_uint_eq(b.got_len, sizeof(out));
    ck_assert_int_eq(memcmp(b.got, out, sizeof(out)), 0);
    ck_assert_uint_eq(back, sizeof(out));
}
END_TEST

START_TEST(what_is_sent_during_the_handshake_arrives_after_it)
{
    use_stream(b.tls->tls, _i == 1);
    ck_assert_int_eq(send_text("welcome"), 0);
    client_new(TLS1_3_VERSION);
    ck_assert(client_handshake());
    peer_reads_text("welcome");
}
END_TEST

START_TEST(tls_close_notify_of_the_client_is_the_end)
{
    use_tls(tls_versions[_i]);
    SSL_shutdown(b.client);
    shutdown(b.peer, SHUT_WR);
    ck_assert(run_until(b.base, &b.closed, 500));
    ck_assert_int_eq(b.reason, 0);
}
END_TEST

START_TEST(tls_client_that_hangs_up_without_a_word_is_an_orderly_end)
{
    use_tls(tls_versions[_i]);
    shutdown(b.peer, SHUT_WR);
    ck_assert(run_until(b.base, &b.closed, 500));
    ck_assert_int_eq(b.reason, 0);
}
END_TEST

START_TEST(tls_close_flushes_and_says_close_notify)
{
    int n = 0;

    use_tls(tls_versions[_i]);
    while (send_frame(5000, n) == 0)
        n++;
    close_now(0);
    peer_reads_all(1000); /* ends at close_notify only */
    ck_assert_int_eq(count_frames(), n);
    ck_assert_int_eq(SSL_get_shutdown(b.client), SSL_RECEIVED_SHUTDOWN);
    close(b.peer);
    b.peer = -1;
    ck_assert(run_until(b.base, &b.closed, 500));
    ck_assert_int_eq(b.reason, 0);
}
END_TEST

START_TEST(tls_half_close_leaves_the_other_direction_open)
{
    char byte;

    use_tls(tls_versions[_i]);
    stream_shutdown(b.s);
    turns(3);
    ck_assert_int_eq(peer_reads(&byte, 1), 0);
    ck_assert_int_eq(SSL_write(b.client, "more", 4), 4);
    turns(2);
    ck_assert_uint_eq(b.got_len, 4);
    ck_assert_int_eq(b.n_closed, 0);
}
END_TEST

START_TEST(garbage_instead_of_tls_closes_with_eproto)
{
    use_stream(b.tls->tls, false);
    peer_says("GET / HTTP/1.1\r\n\r\n", 18);
    turns(2);
    shutdown(b.peer, SHUT_WR);
    ck_assert(run_until(b.base, &b.closed, 500));
    ck_assert_int_eq(b.reason, -EPROTO);
    ck_assert_int_eq(b.n_opened, 0);
}
END_TEST

START_TEST(damaged_record_closes_with_eproto_after_the_good_ones)
{
    use_tls(TLS1_3_VERSION);
    ck_assert_int_eq(SSL_write(b.client, "good", 4), 4);
    peer_says("\x17\x03\x03\x00\x20 this was never encrypted, no way.", 37);
    turns(3);
    shutdown(b.peer, SHUT_WR);
    ck_assert(run_until(b.base, &b.closed, 500));
    ck_assert_uint_eq(b.got_len, 4);
    ck_assert_int_eq(b.reason, -EPROTO);
}
END_TEST

START_TEST(alpn_without_overlap_gets_its_alert)
{
    use_stream(b.tls->tls, false);
    client_new(TLS1_3_VERSION);
    ck_assert_int_eq(SSL_set_alpn_protos(b.client, (const unsigned char *)"\x02h2", 3), 0);
    SSL_do_handshake(b.client);
    turns(3);
    ERR_clear_error();
    ck_assert_int_le(SSL_do_handshake(b.client), 0);
    ck_assert_int_eq(ERR_GET_REASON(ERR_peek_error()), SSL_R_TLSV1_ALERT_NO_APPLICATION_PROTOCOL);
}
END_TEST

/* ---- sniffing and time limits ---- */

START_TEST(sniffing_takes_plain_for_plain)
{
    use_stream(b.tls->tls, true);
    turns(2);
    ck_assert_int_eq(b.n_opened, 0);
    peer_says("\0\1stun", 6);
    turns(3);
    ck_assert_int_eq(b.n_opened, 1);
    ck_assert(!stream_is_tls(b.s));
    ck_assert_uint_eq(b.got_len, 6); /* the sniffed byte included */
    ck_assert(!event_pending(&b.s->on_timer, EV_TIMEOUT, NULL));
}
END_TEST

START_TEST(sniffing_takes_tls_for_tls)
{
    use_stream(b.tls->tls, true);
    client_new(TLS1_3_VERSION);
    ck_assert(client_handshake());
    ck_assert(stream_is_tls(b.s));
    ck_assert_int_eq(b.n_opened, 1);
    ck_assert(!event_pending(&b.s->on_timer, EV_TIMEOUT, NULL));
}
END_TEST

START_TEST(silence_is_closed_in_time)
{
    static const int seconds[] = {30, 10};
    struct timeval at, now;

    /* Not waited for: the timer is looked at, then let go off. */
    use_stream(b.tls->tls, _i == 0);
    ck_assert(event_pending(&b.s->on_timer, EV_TIMEOUT, &at));
    gettimeofday(&now, NULL);
    ck_assert_int_ge(at.tv_sec - now.tv_sec, seconds[_i] - 1);
    ck_assert_int_le(at.tv_sec - now.tv_sec, seconds[_i] + 1);
    event_active(&b.s->on_timer, EV_TIMEOUT, 0);
    turn();
    ck_assert_int_eq(b.n_closed, 1);
    ck_assert_int_eq(b.reason, -ETIMEDOUT);
}
END_TEST

START_TEST(sniffed_tls_has_ten_seconds_from_its_first_byte)
{
    struct timeval at, now;

    use_stream(b.tls->tls, true);
    peer_says("\x16", 1);
    turn();
    ck_assert(event_pending(&b.s->on_timer, EV_TIMEOUT, &at));
    gettimeofday(&now, NULL);
    ck_assert_int_le(at.tv_sec - now.tv_sec, 11);
}
END_TEST

/* ---- changing hands ---- */

static ptrdiff_t hand_over_after_one(const uint8_t *data, size_t len)
{
    bench_got(data, 1);
    b.hook = NULL;
    stream_set_events(b.s, &events, &b);
    return 1;
}

START_TEST(new_owner_set_within_on_bytes_gets_the_rest)
{
    use_stream(NULL, false);
    b.hook = hand_over_after_one;
    peer_says("abc", 3);
    turns(3);
    ck_assert_int_eq(b.n_calls, 2);
    ck_assert_uint_eq(b.got_len, 3);
    ck_assert_int_eq(memcmp(b.got, "abc", 3), 0);
}
END_TEST

struct far_thread {
    struct stream *s;
    bool echo_done, closed;
    size_t got_len;
    char got[64];
};

static ptrdiff_t far_on_bytes(void *user, const uint8_t *data, size_t len)
{
    struct far_thread *far = user;
    struct iovec iov = {(void *)(uintptr_t)data, len};

    ck_assert_uint_le(far->got_len + len, sizeof(far->got));
    memcpy(far->got + far->got_len, data, len);
    far->got_len += len;
    ck_assert_int_eq(stream_send(far->s, &iov, 1), 0);
    return (ptrdiff_t)len;
}

static void far_on_closed(void *user, int reason)
{
    ((struct far_thread *)user)->closed = true;
}

static void *far_thread_run(void *arg)
{
    static const struct stream_events far_events = {.on_bytes = far_on_bytes,
                                                    .on_closed = far_on_closed};
    struct far_thread *far = arg;
    struct event_base *base = event_base_new();
    struct stream_pool *pool = stream_pool_new(base);

    stream_set_events(far->s, &far_events, far);
    ck_assert_int_eq(stream_attach(far->s, pool), 0);
    run_until(base, &far->closed, 5000);
    stream_free(far->s);
    stream_pool_free(pool);
    event_base_free(base);
    return NULL;
}

static bool handed_over;

static void on_detached(void *arg, struct stream *s)
{
    ck_assert_ptr_eq(s, b.s);
    handed_over = true;
}

static ptrdiff_t take_one_and_detach(const uint8_t *data, size_t len)
{
    stream_detach_then(b.s, on_detached, NULL);
    ck_assert(!handed_over); /* what we use is not known yet */
    return 1;
}

/* Unused input, and output that the far side has not read, go to another thread with the stream. */
static void bytes_travel(void)
{
    struct far_thread far = {0};
    pthread_t thread;
    int n = 0;

    while (send_frame(5000, n) == 0)
        n++;
    handed_over = false;
    b.hook = take_one_and_detach;
    if (b.client)
        ck_assert_int_eq(SSL_write(b.client, "_abc", 4), 4);
    else
        peer_says("_abc", 4);
    turns(3);
    ck_assert(handed_over);
    far.s = b.s;
    b.s = NULL;
    ck_assert_int_eq(pthread_create(&thread, NULL, far_thread_run, &far), 0);
    while (b.got_len < (size_t)n * 5002 + 3) {
        uint8_t buf[8192];
        ssize_t got = peer_reads(buf, sizeof(buf));

        if (got > 0)
            bench_got(buf, (size_t)got);
        else
            usleep(500);
    }
    shutdown(b.peer, SHUT_RDWR);
    pthread_join(thread, NULL);
    ck_assert(far.closed);
    ck_assert_uint_eq(far.got_len, 3);
    ck_assert_int_eq(memcmp(far.got, "abc", 3), 0);
    ck_assert_int_eq(memcmp(b.got + b.got_len - 3, "abc", 3), 0);
    b.got_len -= 3;
    ck_assert_int_eq(count_frames(), n);
}

START_TEST(stream_moves_to_another_thread_with_its_bytes)
{
    use_stream(NULL, false);
    bytes_travel();
}
END_TEST

START_TEST(tls_stream_moves_to_another_thread_with_its_bytes)
{
    use_tls(tls_versions[_i]);
    bytes_travel();
}
END_TEST

START_TEST(detached_stream_keeps_what_is_sent_and_its_closing)
{
    use_stream(NULL, false);
    stream_detach(b.s);
    ck_assert_int_eq(send_text("kept"), 0);
    ck_assert_uint_eq(stream_pending(b.s), 4);
    peer_says("x", 1);
    turns(3);
    ck_assert_int_eq(b.n_calls, 0);
    ck_assert_int_eq(stream_attach(b.s, b.pool), 0);
    turns(3);
    ck_assert_int_eq(b.n_calls, 1);
    peer_reads_text("kept");
    stream_detach(b.s);
    close_now(-EIO);
    turns(3);
    ck_assert_int_eq(b.n_closed, 0);
    ck_assert_int_eq(stream_attach(b.s, b.pool), 0);
    shutdown(b.peer, SHUT_WR);
    ck_assert(run_until(b.base, &b.closed, 500));
    ck_assert_int_eq(b.reason, -EIO);
}
END_TEST

START_TEST(bytes_kept_before_detaching_come_again_after_attaching)
{
    use_stream(NULL, false);
    b.hook = take_nothing;
    peer_says("abc", 3);
    turns(3);
    ck_assert_int_eq(b.n_calls, 1);
    stream_detach(b.s);
    b.hook = NULL;
    ck_assert_int_eq(stream_attach(b.s, b.pool), 0);
    ck_assert_uint_eq(b.got_len, 0);
    turns(3);
    ck_assert_uint_eq(b.got_len, 3);
}
END_TEST

START_TEST(owner_set_after_the_end_still_hears_of_it)
{
    use_stream(NULL, false);
    stream_set_events(b.s, NULL, NULL);
    stream_close(b.s, -EIO);
    shutdown(b.peer, SHUT_WR);
    run_for(b.base, 20);
    ck_assert_int_eq(b.n_closed, 0);
    stream_set_events(b.s, &events, &b);
    turns(2);
    ck_assert_int_eq(b.n_closed, 1);
    ck_assert_int_eq(b.reason, -EIO);
}
END_TEST

static TCase *case_new(const char *name)
{
    TCase *tc = tcase_create(name);

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 30);
    return tc;
}

static TCase *case_plain(void)
{
    TCase *tc = case_new("plain");

    tcase_add_test(tc, frames_arrive_whole_however_they_are_cut);
    tcase_add_test(tc, idle_stream_holds_no_buffers);
    tcase_add_test(tc, largest_frame_passes);
    tcase_add_test(tc, owner_that_never_finds_a_message_is_cut_off);
    tcase_add_test(tc, error_from_on_bytes_is_the_reason_of_the_close);
    tcase_add_test(tc, paused_stream_reads_nothing_and_resumes_where_it_was);
    tcase_add_test(tc, bytes_left_by_a_pausing_owner_come_again_on_resume);
    tcase_add_test(tc, half_a_message_comes_again_on_resume_and_then_only_with_more);
    tcase_add_test(tc, pieces_of_a_message_arrive_in_order);
    tcase_add_loop_test(tc, reader_that_does_not_read_costs_messages_but_never_framing, 0, 3);
    tcase_add_test(tc, message_over_the_limit_is_taken_when_nothing_is_pending);
    tcase_add_test(tc, raw_bytes_are_taken_past_the_limit_and_counted);
    tcase_add_test(tc, connect_opens_and_sends_what_was_queued_before);
    tcase_add_test(tc, refused_connect_closes_with_the_reason);
    return tc;
}

static TCase *case_ends(void)
{
    TCase *tc = case_new("ends");

    tcase_add_test(tc, end_of_file_closes_an_owner_without_on_eof);
    tcase_add_test(tc, half_closed_stream_still_sends_and_can_end_too);
    tcase_add_test(tc, shutdown_waits_for_what_is_pending);
    tcase_add_test(tc, close_flushes_first_and_tells_from_the_loop);
    tcase_add_test(tc, close_does_not_wait_for_ever);
    tcase_add_test(tc, slow_reader_gets_all_that_was_pending_at_the_close);
    tcase_add_test(tc, last_words_are_read_by_a_client_that_keeps_talking);
    tcase_add_test(tc, reset_peer_is_told_from_the_loop_and_sends_fail_at_once);
    tcase_add_test(tc, reset_is_noticed_while_reading);
    tcase_add_test(tc, abort_sends_what_is_pending_and_then_a_reset);
    tcase_add_loop_test(tc, stream_may_be_freed_within_on_bytes, 0, 2);
    tcase_add_loop_test(tc, stream_may_be_freed_within_any_other_event, 0, 3);
    tcase_add_loop_test(tc, stream_may_be_freed_within_on_open, 0, 2);
    tcase_add_loop_test(tc, freeing_in_any_state_leaves_nothing_behind, 0, 3);
    return tc;
}

static TCase *case_tls(void)
{
    TCase *tc = case_new("tls");

    tcase_add_loop_test(tc, tls_reader_that_does_not_read_costs_messages_but_never_framing, 0, 3);
    tcase_add_loop_test(tc, tls_carries_messages_both_ways, 0, 2);
    tcase_add_loop_test(tc, tls_frames_arrive_whole_however_they_are_cut, 0, 2);
    tcase_add_loop_test(tc, tls_input_that_only_openssl_holds_is_not_forgotten, 0, 2);
    tcase_add_loop_test(tc, tls_paused_input_comes_on_resume, 0, 2);
    tcase_add_loop_test(tc, tls_input_that_only_openssl_holds_comes_on_resume, 0, 2);
    tcase_add_loop_test(tc, tls_bulk_passes_both_ways_at_once, 0, 2);
    tcase_add_loop_test(tc, what_is_sent_during_the_handshake_arrives_after_it, 0, 2);
    tcase_add_loop_test(tc, tls_close_notify_of_the_client_is_the_end, 0, 2);
    tcase_add_loop_test(tc, tls_client_that_hangs_up_without_a_word_is_an_orderly_end, 0, 2);
    tcase_add_loop_test(tc, tls_close_flushes_and_says_close_notify, 0, 2);
    tcase_add_loop_test(tc, tls_half_close_leaves_the_other_direction_open, 0, 2);
    tcase_add_test(tc, garbage_instead_of_tls_closes_with_eproto);
    tcase_add_test(tc, damaged_record_closes_with_eproto_after_the_good_ones);
    tcase_add_test(tc, alpn_without_overlap_gets_its_alert);
    tcase_add_test(tc, sniffing_takes_plain_for_plain);
    tcase_add_test(tc, sniffing_takes_tls_for_tls);
    tcase_add_loop_test(tc, silence_is_closed_in_time, 0, 2);
    tcase_add_test(tc, sniffed_tls_has_ten_seconds_from_its_first_byte);
    return tc;
}

static TCase *case_hands(void)
{
    TCase *tc = case_new("changing hands");

    tcase_add_test(tc, new_owner_set_within_on_bytes_gets_the_rest);
    tcase_add_test(tc, stream_moves_to_another_thread_with_its_bytes);
    tcase_add_loop_test(tc, tls_stream_moves_to_another_thread_with_its_bytes, 0, 2);
    tcase_add_test(tc, detached_stream_keeps_what_is_sent_and_its_closing);
    tcase_add_test(tc, bytes_kept_before_detaching_come_again_after_attaching);
    tcase_add_test(tc, owner_set_after_the_end_still_hears_of_it);
    return tc;
}

int main(void)
{
    Suite *suite = suite_create("net/stream");

    suite_add_tcase(suite, case_plain());
    suite_add_tcase(suite, case_ends());
    suite_add_tcase(suite, case_tls());
    suite_add_tcase(suite, case_hands());
    return run_suite(suite);
}
