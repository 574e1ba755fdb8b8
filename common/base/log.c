#include "common/base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/base/clock.h"

#define LOG_LINE_MAX 1024

static atomic_int log_level_now = LOG_LEVEL_INFO;
static atomic_bool log_show_addresses;
static atomic_bool log_to_journal;

static const char *const log_level_names[] = {"error", "warning", "info", "debug"};
/* The journal reads the syslog priority from the start of the line, sd-daemon(3). */
static const char *const log_journal_prefix[] = {"<3>", "<4>", "<6>", "<7>"};

static bool log_stderr_is_journal(void)
{
    const char *stream = getenv("JOURNAL_STREAM");
    struct stat st;
    char expected[64];

    if (!stream || fstat(STDERR_FILENO, &st) < 0)
        return false;
    snprintf(expected, sizeof(expected), "%llu:%llu", (unsigned long long)st.st_dev,
             (unsigned long long)st.st_ino);
    return strcmp(stream, expected) == 0;
}

void log_init(enum log_level level, bool show_addresses)
{
    atomic_store(&log_level_now, (int)level);
    atomic_store(&log_show_addresses, show_addresses);
    atomic_store(&log_to_journal, log_stderr_is_journal());
}

bool log_enabled(enum log_level level)
{
    return (int)level <= atomic_load_explicit(&log_level_now, memory_order_relaxed);
}

static size_t log_prefix(char *line, size_t cap, enum log_level level)
{
    struct timespec ts;
    struct tm tm;
    size_t n;

    if (atomic_load(&log_to_journal))
        return (size_t)snprintf(line, cap, "%s", log_journal_prefix[level]);
    clock_gettime(CLOCK_REALTIME, &ts);
    gmtime_r(&ts.tv_sec, &tm);
    n = strftime(line, cap, "%Y-%m-%dT%H:%M:%S", &tm);
    return n + (size_t)snprintf(line + n, cap - n, ".%03ldZ %s: ", ts.tv_nsec / 1000000,
                                log_level_names[level]);
}

/* Whatever a caller forgot to escape, an event stays one line and no terminal obeys it. */
static void log_strip_controls(char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
            text[i] = '?';
}

void log_line(enum log_level level, const char *format, ...)
{
    int saved_errno = errno; /* callers log, then return -errno */
    char line[LOG_LINE_MAX];
    size_t n, room;
    int len;
    va_list args;

    if (!log_enabled(level))
        return;
    n = log_prefix(line, sizeof(line), level);
    room = sizeof(line) - n - 1;
    va_start(args, format);
    len = vsnprintf(line + n, room, format, args);
    va_end(args);
    if (len >= 0) {
        size_t written = (size_t)len < room ? (size_t)len : room - 1;

        log_strip_controls(line + n, written);
        n += written;
        line[n++] = '\n';
        /* A log that cannot be written is nobody's to report to. */
        if (write(STDERR_FILENO, line, n) < 0)
            errno = saved_errno;
    }
    errno = saved_errno;
}

bool log_limit_allows(struct log_limit *limit)
{
    uint64_t minute = clock_now_ns() / (60 * NS_PER_S);
    uint64_t window = __atomic_load_n(&limit->window, __ATOMIC_RELAXED);
    uint32_t n_dropped;

    /* One thread opens a window, and none goes back to an older one: two that disagree about the
     * minute would otherwise open a new one with every line. */
    if (minute > window && __atomic_compare_exchange_n(&limit->window, &window, minute, false,
                                                       __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
        __atomic_store_n(&limit->n_lines, 0, __ATOMIC_RELAXED);
        n_dropped = __atomic_exchange_n(&limit->n_dropped, 0, __ATOMIC_RELAXED);
        if (n_dropped > 0)
            log_warn("%u further lines like the next one were withheld", n_dropped);
    }
    if (__atomic_fetch_add(&limit->n_lines, 1, __ATOMIC_RELAXED) < LOG_LIMIT_BURST)
        return true;
    __atomic_fetch_add(&limit->n_dropped, 1, __ATOMIC_RELAXED);
    return false;
}

bool log_shows_addresses(void)
{
    return atomic_load_explicit(&log_show_addresses, memory_order_relaxed);
}

const char *log_text(const void *text, size_t len, char *buf)
{
    const unsigned char *in = text;
    size_t n = 0;

    for (size_t i = 0; i < len; i++) {
        bool plain = in[i] > 0x20 && in[i] < 0x7f && in[i] != '\\' && in[i] != '"';

        if (n + (plain ? 1 : 4) + 1 > LOG_TEXT_LEN)
            break;
        if (plain)
            buf[n++] = (char)in[i];
        else
            n += (size_t)snprintf(buf + n, LOG_TEXT_LEN - n, "\\x%02x", in[i]);
    }
    buf[n] = '\0';
    return buf;
}
