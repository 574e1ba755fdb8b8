/*
 * The syntax is inih's, with its reader replaced. inih as Debian builds it would
 *
 *   - cut lines at 199 bytes and take the rest for a new line,
 *   - take any indented line for more of the value above it (a key, even),
 *   - end a name at ':' as well as at '=',
 *   - cut a value at " ;", a password too,
 *   - report the first wrong line only, and not tell its handler the line's number,
 *
 * and other builds differ. So line_reader() hands it one line at a time, trimmed and never too long
 * for its buffer; inih says what is a comment, a section and a key; the value is taken from the
 * line as it stands in the file (conf/value.h has the rules). A non-empty line for which inih did
 * not call back by the time it asks for the next one was not understood.
 *
 * A relay's users file is read the same way after the main file, into the same configuration.
 *
 * One kind of value goes on for more lines: a list whose line ends in a comma, on indented lines.
 */
#include "conf/loader.h"

#include <ctype.h>
#include <errno.h>
#include <ini.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conf/loader_impl.h"
#include "conf/suggest.h"
#include "conf/value.h"

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static bool section_is_valid(const struct loader *l, int section)
{
    return l->in_users_file ? section == SECTION_users : (sections[section].roles & l->role) != 0;
}

/* One that exists, but not here: the person took one file for another. */
static void on_foreign_section(struct loader *l, const char *name)
{
    if (l->in_users_file)
        report_error(&l->report, l->line_no, "section [%s] does not belong in a users file", name);
    else
        report_error(&l->report, l->line_no,
                     "section [%s] does not belong in the configuration of \"callveil %s\"", name,
                     l->role == ROLE_relay ? "relay" : "local");
}

static void on_unknown_section(struct loader *l, const char *name)
{
    char quote[VALUE_QUOTE_LEN];
    const char *names[N_SECTIONS], *near;
    size_t n = 0;

    for (int i = 0; i < N_SECTIONS; i++)
        if (section_is_valid(l, i))
            names[n++] = sections[i].name;
    near = suggest(name, names, n);
    if (near)
        report_error(&l->report, l->line_no, "unknown section %s (did you mean [%s]?)",
                     value_quote(name, quote), near);
    else
        report_error(&l->report, l->line_no, "unknown section %s", value_quote(name, quote));
}

static void find_section(struct loader *l, const char *name)
{
    int section = 0;

    while (section < N_SECTIONS && strcmp(sections[section].name, name) != 0)
        section++;
    if (section == N_SECTIONS)
        on_unknown_section(l, name);
    else if (!section_is_valid(l, section))
        on_foreign_section(l, name);
    else
        l->section = section;
}

/* inih ignores what follows "]" and cuts long names. */
static void on_section(struct loader *l)
{
    char *name = l->text + 1, *end = strchr(name, ']'), *behind;

    l->section = IN_UNKNOWN_SECTION;
    if (!end) {
        report_error(&l->report, l->line_no, "a section is written [name]");
        return;
    }
    for (behind = end + 1; is_blank(*behind);)
        behind++;
    if (*behind && *behind != '#' && *behind != ';') {
        report_error(&l->report, l->line_no, "text behind the section's name");
        return;
    }
    *end = '\0';
    find_section(l, name);
    *end = ']';
}

static void close_list(struct loader *l)
{
    if (l->open_list < 0)
        return;
    report_error(&l->report, l->open_list_line,
                 "%s: the list ends in a comma (further lines of it must be indented)",
                 options[l->open_list].name);
    l->lines.bad[l->open_list] = true;
    l->open_list = -1;
}

static void close_line(struct loader *l)
{
    if (!l->waits)
        return;
    l->waits = false;
    if (l->section == IN_UNKNOWN_SECTION)
        return;
    /* The line is not repeated: it may be a password that lost its name. */
    if (strchr(l->text, '='))
        report_error(&l->report, l->line_no,
                     "the name before '=' is missing, too long or not understood");
    else
        report_error(&l->report, l->line_no, "not a line like: name = value");
    if (l->section == SECTION_users)
        l->lines.bad_user = true;
}

/* Decides what the line in l->line is before inih sees it. Return: whether inih should. */
static bool begin_line(struct loader *l)
{
    const bool indented = is_blank(l->line[0]);

    l->is_more = false;
    if (l->text[0] == '\0' || l->text[0] == '#' || l->text[0] == ';')
        return false;
    if (indented && l->open_list >= 0)
        l->is_more = true;
    else
        close_list(l);
    if (!l->is_more && l->text[0] == '[') {
        on_section(l);
        return false;
    }
    l->waits = true;
    return true;
}

static bool next_line(struct loader *l)
{
    ssize_t n = getline(&l->line, &l->line_cap, l->in);
    size_t len;

    if (n < 0) {
        if (ferror(l->in) || !feof(l->in))
            l->failed = -errno;
        return false;
    }
    l->line_no++;
    if (strlen(l->line) != (size_t)n)
        report_error(&l->report, l->line_no, "the line contains a zero byte");
    len = strlen(l->line);
    while (len > 0 && isspace((unsigned char)l->line[len - 1]))
        l->line[--len] = '\0';
    l->text = l->line;
    if (l->line_no == 1 && strncmp(l->text, "\xef\xbb\xbf", 3) == 0)
        l->text += 3;
    /* All that inih takes for a blank: behind one, it would see more of the value above. */
    while (isspace((unsigned char)*l->text))
        l->text++;
    return true;
}

/* Called by inih, like fgets(). Sections never reach inih: it reports nothing about them. */
static char *line_reader(char *to, int cap, void *arg)
{
    struct loader *l = arg;

    close_line(l);
    if (l->failed != 0 || !next_line(l)) {
        close_list(l);
        return NULL;
    }
    if (begin_line(l))
        /* A line of a list is no "name = value": any name will do, on_line() does not look. */
        snprintf(to, (size_t)cap, "%.*s\n", cap - 2, l->is_more ? "more=" : l->text);
    else
        snprintf(to, (size_t)cap, "\n");
    return to;
}

static void on_unknown_option(struct loader *l, const char *name)
{
    const char *names[N_OPTIONS], *near;
    char quote[VALUE_QUOTE_LEN];
    size_t n = 0;

    value_quote(name, quote);
    for (int i = 0; i < N_OPTIONS; i++) {
        if (!(options[i].roles & l->role))
            continue;
        if ((int)options[i].section == l->section) {
            names[n++] = options[i].name;
        } else if (strcmp(options[i].name, name) == 0) {
            report_error(&l->report, l->line_no, "%s belongs in section [%s], not [%s]", quote,
                         sections[options[i].section].name, sections[l->section].name);
            return;
        }
    }
    near = suggest(name, names, n);
    if (near)
        report_error(&l->report, l->line_no, "unknown option %s in [%s] (did you mean \"%s\"?)",
                     quote, sections[l->section].name, near);
    else
        report_error(&l->report, l->line_no, "unknown option %s in [%s]", quote,
                     sections[l->section].name);
}

static void on_answer(struct loader *l, int r, int option, const char *why)
{
    if (r < 0)
        l->failed = r;
    if (r <= 0)
        return;
    report_error(&l->report, l->line_no, "%s: %s", options[option].name, why);
    l->lines.bad[option] = true;
}

static void store_item(struct loader *l, int option, const char *text)
{
    char why[VALUE_WHY_LEN];

    on_answer(l, option_store(&options[option], text, l->conf, why), option, why);
}

/* Return: whether the list ended in a comma, so that more must follow. */
static bool store_list(struct loader *l, int option, char *list)
{
    char *rest = list, *item;

    if (!*list)
        store_item(l, option, list);
    while (*list && (item = value_next_item(&rest))) {
        if (*item)
            store_item(l, option, item);
        else if (!rest && item != list)
            return true;
        else
            on_answer(l, VALUE_E_BAD, option, "an item of the list is empty");
    }
    return false;
}

static void store(struct loader *l, int option, char *value)
{
    const struct conf_option *o = &options[option];
    char why[VALUE_WHY_LEN];
    bool quoted;
    int r = value_unwrap(value, option_is_secret(o), &quoted, why);

    l->open_list = -1;
    if (r != 0) {
        on_answer(l, r, option, why);
    } else if (!option_is_list(o)) {
        store_item(l, option, value);
    } else if (store_list(l, option, value)) {
        l->open_list = option;
        l->open_list_line = l->line_no;
    }
}

static void on_option(struct loader *l, const char *name, char *value)
{
    int option = option_find(l->role, (enum section_id)l->section, name);

    if (option < 0) {
        on_unknown_option(l, name);
        return;
    }
    if (l->lines.line[option] > 0 && !option_repeats(&options[option])) {
        report_error(&l->report, l->line_no, "%s: already set on line %u", name,
                     l->lines.line[option]);
        return;
    }
    if (l->lines.line[option] == 0)
        l->lines.line[option] = l->line_no;
    store(l, option, value);
}

/* inih ended the name at ':', or there was none. */
static void on_colon(struct loader *l)
{
    if (l->section == SECTION_users) {
        report_error(&l->report, l->line_no,
                     "a user name cannot contain ':', and '=' stands "
                     "between it and the password");
        l->lines.bad_user = true;
    } else {
        report_error(&l->report, l->line_no, "write name = value, not name: value");
    }
}

/* inih's handler, once per line that it understands; its own idea of the value is not used. */
static int on_line(void *arg, const char *section, const char *name, const char *value)
{
    struct loader *l = arg;
    char *separator = strpbrk(l->text, "=:"), quote[VALUE_QUOTE_LEN];

    /* Not understood after all: close_line() says so. */
    if (!separator && !l->is_more)
        return 1;
    l->waits = false;
    if (l->is_more)
        store(l, l->open_list, l->text);
    else if (l->section == IN_NO_SECTION)
        report_error(&l->report, l->line_no, "%s stands before the first [section]",
                     value_quote(name, quote));
    else if (l->section == IN_UNKNOWN_SECTION)
        ;
    else if (*separator == ':')
        on_colon(l);
    else if (l->section == SECTION_users)
        loader_on_user(l, name, separator + 1);
    else
        on_option(l, name, separator + 1);
    return 1;
}

static void store_default(struct loader *l, int option)
{
    char *text = strdup(options[option].def);

    if (!text) {
        l->failed = -ENOMEM;
        return;
    }
    store(l, option, text);
    free(text);
}

/* Whether this role has a row of its own for the other role's field. */
static bool has_own_row(const struct loader *l, int option)
{
    for (int i = 0; i < N_OPTIONS; i++)
        if (options[i].roles & l->role && option_same_field(&options[i], &options[option]))
            return true;
    return false;
}

static void store_defaults(struct loader *l)
{
    for (int i = 0; i < N_OPTIONS && l->failed == 0; i++) {
        if (l->lines.line[i] > 0 || !*options[i].def || i == OPT_relay_listen)
            continue;
        if (options[i].roles & l->role || !has_own_row(l, i))
            store_default(l, i);
    }
}

/* The listeners of the relay's turn/: those of its own file, or of "local" the one on loopback. */
static void store_listeners(struct loader *l)
{
    struct conf *conf = l->conf;

    if (l->role == ROLE_relay && l->lines.line[OPT_relay_listen] == 0)
        store_default(l, OPT_relay_listen);
    if (l->role == ROLE_relay || conf->turn.family == ADDR_NONE)
        return;
    conf->listen = calloc(1, sizeof(*conf->listen));
    if (!conf->listen) {
        l->failed = -ENOMEM;
        return;
    }
    conf->listen[0] = (struct conf_listen){conf->turn, LISTEN_UDP | LISTEN_TCP};
    conf->n_listen = 1;
}

static void parse(struct loader *l)
{
    l->section = IN_NO_SECTION;
    l->open_list = -1;
    l->line_no = 0;
    if (ini_parse_stream(line_reader, l, on_line, l) == -2)
        l->failed = -ENOMEM;
}

/* One that does not exist is empty: nobody has been invited yet. */
static void parse_users_file(struct loader *l)
{
    const char *main_name = l->report.name;
    FILE *main_in = l->in;

    l->report.name = l->conf->users_file;
    l->in = fopen(l->conf->users_file, "re");
    if (l->in) {
        l->in_users_file = true;
        parse(l);
        l->in_users_file = false;
        fclose(l->in);
    } else if (errno != ENOENT) {
        report_error(&l->report, 0, "cannot be opened: %s", strerror(errno));
    }
    l->in = main_in;
    if (l->failed == 0)
        l->report.name = main_name;
}

static void load(struct loader *l)
{
    parse(l);
    if (l->failed == 0 && l->conf->users_file)
        parse_users_file(l);
    if (l->failed == 0)
        store_defaults(l);
    if (l->failed == 0)
        store_listeners(l);
    if (l->failed == 0)
        loader_check_user_names(l);
    if (l->failed == 0)
        conf_check(l->conf, &l->lines, &l->report);
    if (l->failed != 0)
        report_error(&l->report, 0, "cannot be read: %s", strerror(-l->failed));
}

struct conf *loader_load(FILE *in, const char *name, unsigned int role)
{
    struct loader l = {
        .in = in,
        .role = role,
        .report = {.name = name},
        .conf = calloc(1, sizeof(*l.conf)),
        .lines = {.role = role},
    };

    if (l.conf)
        l.conf->file = strdup(name);
    if (l.conf && l.conf->file)
        load(&l);
    else
        report_error(&l.report, 0, "cannot be read: %s", strerror(ENOMEM));
    if (l.report.n_errors > 0) {
        conf_free(l.conf);
        l.conf = NULL;
    }
    if (l.line)
        explicit_bzero(l.line, l.line_cap);
    free(l.line);
    free(l.user_line);
    return l.conf;
}
