#include "relay/invite/users.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#include "conf/conf.h"
#include "conf/opaque.h"
#include "conf/user.h"
#include "conf/value.h"
#include "relay/invite/file.h"

#define LOCK_STEP_MS 20

/* ---- names ---- */

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* Beyond what makes a user name, a line must not read as something else. */
int users_name(const char *name, char **ret, char *why)
{
    struct conf_user user;
    int r = user_parse(name, "x", false, &user, why);
    size_t len;

    if (r != 0)
        return r > 0 ? USERS_E_BAD : r;
    len = strlen(user.name);
    if (strchr(user.name, '='))
        r = value_bad(why, "a user name cannot contain '='");
    else if (strchr("#;[", user.name[0]))
        r = value_bad(why, "a user name cannot start with '%c'", user.name[0]);
    else if (is_blank(user.name[0]) || is_blank(user.name[len - 1]))
        r = value_bad(why, "a user name cannot start or end with a blank");
    if (r == 0) {
        *ret = user.name;
        user.name = NULL;
    }
    user_deinit(&user);
    return r > 0 ? USERS_E_BAD : r;
}

/* ---- the lock ---- */

int users_lock(const char *path)
{
    const struct timespec step = {.tv_nsec = LOCK_STEP_MS * 1000000L};
    char *folder = file_folder(path);
    int fd = folder ? open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1, r = 0;

    if (fd < 0)
        r = folder ? -errno : -ENOMEM;
    free(folder);
    if (r < 0)
        return r;
    for (int waited_ms = 0; flock(fd, LOCK_EX | LOCK_NB) < 0; waited_ms += LOCK_STEP_MS) {
        r = -errno; /* EWOULDBLOCK, which is EAGAIN, while another command has it */
        if (r != -EWOULDBLOCK || waited_ms >= USERS_LOCK_MS) {
            close(fd);
            return r;
        }
        nanosleep(&step, NULL);
    }
    return fd;
}

/* ---- lines ---- */

/* What conf/loader.c takes for the name of a line, in its normal form. *ret is NULL for lines that
 * are about no user. Return: 0 or -ENOMEM. */
static int line_name(const char *line, size_t len, char **ret)
{
    const char *end = line + len, *equals;
    char *name;
    int r;

    *ret = NULL;
    while (line < end && is_blank(*line))
        line++;
    equals = memchr(line, '=', (size_t)(end - line));
    if (line == end || strchr("#;[", *line) || !equals)
        return 0;
    while (equals > line && is_blank(equals[-1]))
        equals--;
    name = strndup(line, (size_t)(equals - line));
    if (!name)
        return -ENOMEM;
    r = opaque_string(name, ret);
    free(name);
    return r < 0 ? r : 0;
}

/* Return: the length of the line at `text`, with its end. */
static size_t line_len(const char *text)
{
    size_t len = strcspn(text, "\n");

    return text[len] ? len + 1 : len;
}

int users_each(const char *path, void (*on_name)(void *arg, const char *name), void *arg)
{
    size_t len;
    char *text, *name;
    int r = file_read(path, &text, &len);

    if (r < 0)
        return r == -ENOENT ? 0 : r;
    for (const char *at = text; r == 0 && *at; at += line_len(at)) {
        r = line_name(at, line_len(at), &name);
        if (r == 0 && name)
            on_name(arg, name);
        if (r == 0)
            free(name);
    }
    file_wipe(text, len);
    return r;
}

/* ---- changes ---- */

/* A link is followed: what it points at is replaced, not the link. */
static int replace(const char *path, const char *text, size_t len, const struct file_owner *fresh)
{
    char *target = realpath(path, NULL);
    struct file_owner owner = *fresh;
    struct stat st;
    int r;

    if (target && stat(target, &st) == 0)
        owner = (struct file_owner){st.st_uid, st.st_gid, st.st_mode & 07777};
    r = file_replace(target ? target : path, text, len, &owner);
    free(target);
    return r;
}

static bool has_section(const char *text)
{
    for (; *text; text += line_len(text))
        if (text[strspn(text, " \t")] == '[')
            return true;
    return false;
}

/* Whether the relay would read the text as that many users. */
static bool means(const char *text, const char *path, const char *name, const char *password)
{
    struct conf *conf = conf_load_text(text, path, "relay");
    const struct conf_user *last = conf && conf->n_user > 0 ? &conf->user[conf->n_user - 1] : NULL;
    bool ok = last && last->password && strcmp(last->name, name) == 0 &&
              strcmp(last->password, password) == 0;

    conf_free(conf);
    return ok;
}

static int add_to(const char *path, const char *old, size_t old_len, const char *name,
                  const char *password, const struct file_owner *fresh)
{
    const bool unfinished = old_len > 0 && old[old_len - 1] != '\n';
    size_t cap = old_len + strlen(name) + strlen(password) + 32;
    char *text = malloc(cap);
    int n, r;

    if (!text)
        return -ENOMEM;
    n = snprintf(text, cap, "%s%s%s%s = %s\n", old, unfinished ? "\n" : "",
                 has_section(old) ? "" : "[users]\n", name, password);
    r = means(text, path, name, password) ? replace(path, text, (size_t)n, fresh) : USERS_E_CHANGED;
    file_wipe(text, cap);
    return r;
}

int users_add(const char *path, const char *name, const char *password, const struct stat *model)
{
    const struct file_owner fresh = {model->st_uid, model->st_gid, 0640};
    char *old = NULL;
    size_t len = 0;
    int r = file_read(path, &old, &len);

    if (r < 0 && r != -ENOENT)
        return r;
    r = add_to(path, old ? old : "", len, name, password, &fresh);
    file_wipe(old, len);
    return r;
}

int users_remove(const char *path, const char *name)
{
    const struct file_owner unused = {0};
    char *text, *at, *found = NULL;
    size_t len;
    int r = file_read(path, &text, &len);

    if (r < 0)
        return r == -ENOENT ? USERS_E_ABSENT : r;
    for (at = text; r == 0 && *at; at += line_len(at)) {
        r = line_name(at, line_len(at), &found);
        if (r == 0 && found && strcmp(found, name) == 0)
            break;
        if (r == 0)
            free(found);
        found = NULL;
    }
    if (r == 0 && found) {
        size_t cut = line_len(at), rest = len - (size_t)(at - text) - cut;

        memmove(at, at + cut, rest);
        r = replace(path, text, len - cut, &unused);
    } else if (r == 0) {
        r = USERS_E_ABSENT;
    }
    free(found);
    file_wipe(text, len);
    return r;
}
