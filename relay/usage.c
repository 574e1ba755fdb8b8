#include "relay/usage.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "common/base/log.h"
#include "conf/suggest.h"

#define USAGE_MAX_OPTIONS 16

int usage_error(const char *command, const char *format, ...)
{
    va_list args;

    fprintf(stderr, "callveil%s%s: ", command ? " " : "", command ? command : "");
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    if (command)
        fprintf(stderr, "; see \"callveil help %s\"\n", command);
    else
        fprintf(stderr, "; see \"callveil --help\"\n");
    return EXIT_USAGE;
}

int usage_unknown(const char *command, const char *dashes, const char *word,
                  const char *const *candidates, size_t n_candidates)
{
    const char *what = *dashes ? "option" : "command";
    const char *near = suggest(word, candidates, n_candidates);
    char text[LOG_TEXT_LEN];

    log_text(word, strlen(word), text);
    if (near)
        return usage_error(command, "unknown %s \"%s%s\" (did you mean \"%s%s\"?)", what, dashes,
                           text, dashes, near);
    return usage_error(command, "unknown %s \"%s%s\"", what, dashes, text);
}

/* A word that starts with "--" and fits no option, or several. */
static int usage_bad_long(const char *command, const struct option *options, const char *name)
{
    const char *names[USAGE_MAX_OPTIONS];
    size_t n = 0, n_fit = 0;

    for (; options[n].name && n < USAGE_MAX_OPTIONS; n++) {
        names[n] = options[n].name;
        n_fit += strncmp(options[n].name, name, strlen(name)) == 0;
    }
    if (n_fit > 1)
        return usage_error(command, "option \"--%s\" is ambiguous", name);
    return usage_unknown(command, "--", name, names, n);
}

int usage_bad_option(const char *command, const struct option *options, char *const *argv,
                     int answer)
{
    const char *word = argv[optind - 1];
    char letter = (char)optopt, name[LOG_TEXT_LEN], text[LOG_TEXT_LEN];
    bool is_long = strncmp(word, "--", 2) == 0 && word[2];

    if (is_long)
        snprintf(name, sizeof(name), "%.*s", (int)strcspn(word + 2, "="), word + 2);
    else
        snprintf(name, sizeof(name), "%c", letter);
    log_text(name, strlen(name), text);
    /* glibc leaves 0 in optopt for a long option that it does not know, and an option's `val` for
     * one whose value is missing or unwanted. */
    if (is_long && optopt == 0)
        return usage_bad_long(command, options, name);
    if (answer == ':')
        return usage_error(command, "%s%s needs a value", is_long ? "--" : "-", text);
    if (is_long)
        return usage_error(command, "--%s takes no value", text);
    return usage_error(command, "unknown option \"-%s\"", text);
}
