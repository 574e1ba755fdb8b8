/*
 * common/base/log.h - one line per event, to stderr
 *
 * Lines carry a level, client and allocation ids, and addresses only when the
 * operator asked for them (`log-addresses`). What the network can cause goes
 * through log_limited(), so that no sender decides how much we write. Text that
 * came from outside is escaped with log_text() first.
 *
 * Threads: any; a line is written with one write(2).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum log_level {
    LOG_LEVEL_ERROR,
    LOG_LEVEL_WARNING,
    LOG_LEVEL_INFO,
    LOG_LEVEL_DEBUG,
};

/* Whether a line of this kind may go out now: at most `LOG_LIMIT_BURST` a minute, then one line
 * that says how many were withheld. One static object per call site. */
struct log_limit {
    uint64_t window;    /* minute number of the current window; written atomically */
    uint32_t n_lines;   /* lines asked for in it */
    uint32_t n_dropped; /* of these, withheld */
};

#define LOG_LIMIT_BURST 5

/* Until log_init(), the level is info and addresses are hidden. A timestamp is printed unless
 * stderr is the journal (JOURNAL_STREAM, systemd.exec(5)). May be called again at reload. */
void log_init(enum log_level level, bool show_addresses);

bool log_enabled(enum log_level level);

__attribute__((format(printf, 2, 3))) void log_line(enum log_level level, const char *format, ...);

bool log_limit_allows(struct log_limit *limit);

#define log_error(...) log_line(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warn(...)  log_line(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_info(...)  log_line(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...)                                                                             \
    do {                                                                                           \
        if (log_enabled(LOG_LEVEL_DEBUG))                                                          \
            log_line(LOG_LEVEL_DEBUG, __VA_ARGS__);                                                \
    } while (0)

/* For lines that somebody on the network can cause. */
#define log_limited(level, ...)                                                                    \
    do {                                                                                           \
        static struct log_limit limit_;                                                            \
        if (log_enabled(level) && log_limit_allows(&limit_))                                       \
            log_line(level, __VA_ARGS__);                                                          \
    } while (0)

#define LOG_TEXT_LEN 128

/* Whether lines may hold addresses (log-addresses); addr_logged() asks. */
bool log_shows_addresses(void);

/* Untrusted bytes made printable (\xNN), cut to fit. Return: `buf`, of LOG_TEXT_LEN. */
const char *log_text(const void *text, size_t len, char *buf);
