#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "conf/loader_impl.h"
#include "conf/user.h"
#include "conf/value.h"

static int add_user(struct loader *l, const struct conf_user *user)
{
    struct conf *conf = l->conf;
    struct conf_user *users;
    struct user_line *lines;

    lines = reallocarray(l->user_line, conf->n_user + 1, sizeof(*lines));
    if (!lines)
        return -ENOMEM;
    l->user_line = lines;
    users = reallocarray(conf->user, conf->n_user + 1, sizeof(*users));
    if (!users)
        return -ENOMEM;
    conf->user = users;
    lines[conf->n_user] = (struct user_line){l->report.name, l->line_no};
    users[conf->n_user++] = *user;
    return 0;
}

/* RFC 1929 has the password itself sent, in at most 255 bytes: nobody could log in otherwise. */
static int check_socks_user(struct conf_user *user, char *why)
{
    int r = 0;

    if (!user->password)
        r = value_bad(why, "SOCKS needs the password itself, not a stored key");
    else if (strlen(user->password) > 255)
        r = value_bad(why, "a SOCKS password has at most 255 bytes");
    if (r != 0)
        user_deinit(user);
    return r;
}

void loader_on_user(struct loader *l, const char *name, char *value)
{
    char why[VALUE_WHY_LEN], quote[VALUE_QUOTE_LEN];
    struct conf_user user;
    bool quoted = false;
    int r = value_unwrap(value, true, &quoted, why);

    if (r == 0)
        r = user_parse(name, value, quoted, &user, why);
    if (r == 0 && l->role == ROLE_local)
        r = check_socks_user(&user, why);
    if (r > 0) {
        report_error(&l->report, l->line_no, "user %s: %s", value_quote(name, quote), why);
        l->lines.bad_user = true;
    } else if (r == 0) {
        r = add_user(l, &user);
        if (r < 0)
            user_deinit(&user);
    }
    if (r < 0)
        l->failed = r;
}

struct named_line {
    const char *name;
    const struct user_line *at;
};

/* `at` is an element of one array, in the order of reading. */
static int compare_named_lines(const void *a, const void *b)
{
    const struct named_line *x = a, *y = b;
    int r = strcmp(x->name, y->name);

    return r ? r : (x->at > y->at) - (x->at < y->at);
}

static void report_same_name(struct loader *l, const struct named_line *first,
                             const struct named_line *second)
{
    struct report report = {.name = second->at->file};
    char quote[VALUE_QUOTE_LEN];

    value_quote(second->name, quote);
    if (first->at->file == second->at->file)
        report_error(&report, second->at->line, "user %s: already on line %u", quote,
                     first->at->line);
    else
        report_error(&report, second->at->line, "user %s: already on line %u of %s", quote,
                     first->at->line, first->at->file);
    l->report.n_errors++;
}

/* On a sorted copy: a file may hold very many users. */
void loader_check_user_names(struct loader *l)
{
    const struct conf *conf = l->conf;
    struct named_line *sorted = calloc(conf->n_user + 1, sizeof(*sorted));

    if (!sorted) {
        l->failed = -ENOMEM;
        return;
    }
    for (size_t i = 0; i < conf->n_user; i++)
        sorted[i] = (struct named_line){conf->user[i].name, &l->user_line[i]};
    qsort(sorted, conf->n_user, sizeof(*sorted), compare_named_lines);
    for (size_t i = 1; i < conf->n_user; i++)
        if (strcmp(sorted[i - 1].name, sorted[i].name) == 0)
            report_same_name(l, &sorted[i - 1], &sorted[i]);
    free(sorted);
}
