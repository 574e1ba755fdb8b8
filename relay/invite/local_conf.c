#include "relay/invite/local_conf.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "relay/invite/file.h"

/* As conf/value.h unwraps it: any text is safe in quotes. */
static void put_quoted(FILE *out, const char *name, const char *text)
{
    fprintf(out, "%s = \"", name);
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            fputc('\\', out);
        fputc(*text, out);
    }
    fputs("\"\n", out);
}

char *local_conf_text(const struct invite_link *link)
{
    char *text = NULL, url[URL_TEXT_LEN], pin[URL_PIN_TEXT_LEN];
    size_t len;
    FILE *out = open_memstream(&text, &len);

    if (!out)
        return NULL;
    fputs("# Made by \"callveil join\"; local.conf(5) tells what else may stand here.\n"
          "\n"
          "[upstream]\n",
          out);
    for (size_t i = 0; i < link->n_at; i++)
        fprintf(out, "%s%s%s\n", i == 0 ? "url = " : "      ", invite_link_url(link, i, url),
                i + 1 < link->n_at ? "," : "");
    put_quoted(out, "user", link->user);
    put_quoted(out, "password", link->password);
    for (size_t i = 0; i < link->n_pin; i++)
        fprintf(out, "%s%s%s\n", i == 0 ? "pin = " : "      ", url_pin_format(link->pin[i], pin),
                i + 1 < link->n_pin ? "," : "");
    if (fclose(out) == 0)
        return text;
    free(text);
    return NULL;
}

int local_conf_make_folders(const char *path)
{
    char *copy = strdup(path);
    int r = 0;

    if (!copy)
        return -ENOMEM;
    for (char *at = strchr(copy + 1, '/'); at && r == 0; at = strchr(at + 1, '/')) {
        *at = '\0';
        if (mkdir(copy, 0700) < 0 && errno != EEXIST)
            r = -errno;
        *at = '/';
    }
    free(copy);
    return r;
}

static int keep_old(const char *path)
{
    char old[PATH_MAX];

    if (snprintf(old, sizeof(old), "%s.old", path) >= (int)sizeof(old))
        return -ENAMETOOLONG;
    return rename(path, old) < 0 && errno != ENOENT ? -errno : 0;
}

int local_conf_write(const char *path, const char *text, bool force)
{
    const struct file_owner owner = {geteuid(), getegid(), 0600};
    int r = force ? keep_old(path) : 0, fd;

    if (r < 0)
        return r;
    /* The empty file is a claim to the name: of two of us, one finds it taken. (A hard link would
     * do without it, but Android allows none.) */
    fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return errno == EEXIST ? LOCAL_CONF_E_EXISTS : -errno;
    close(fd);
    r = file_replace(path, text, strlen(text), &owner);
    if (r < 0)
        unlink(path);
    return r;
}
