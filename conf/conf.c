#include "conf/conf.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conf/loader.h"
#include "conf/report.h"
#include "conf/user.h"

/* One role so far; its sections are the whole table. */
static bool role_exists(const char *role, const char *name)
{
    struct report report = {.name = name};

    if (strcmp(role, "relay") == 0)
        return true;
    report_error(&report, 0, "there is no role \"%s\"", role);
    return false;
}

struct conf *conf_load(const char *file, const char *role)
{
    struct report report = {.name = file};
    struct conf *conf;
    FILE *in;

    if (!role_exists(role, file))
        return NULL;
    in = fopen(file, "re");
    if (!in) {
        report_error(&report, 0, "cannot be opened: %s", strerror(errno));
        return NULL;
    }
    conf = loader_load(in, file);
    fclose(in);
    return conf;
}

struct conf *conf_load_text(const char *text, const char *name, const char *role)
{
    struct report report = {.name = name};
    struct conf *conf;
    FILE *in;

    if (!role_exists(role, name))
        return NULL;
    in = fmemopen((void *)(uintptr_t)text, strlen(text), "r");
    if (!in) {
        report_error(&report, 0, "cannot be read: %s", strerror(errno));
        return NULL;
    }
    conf = loader_load(in, name);
    fclose(in);
    return conf;
}

static void free_secret(char *text)
{
    if (text)
        explicit_bzero(text, strlen(text));
    free(text);
}

void conf_free(struct conf *conf)
{
    if (!conf)
        return;
    for (size_t i = 0; i < conf->n_user; i++)
        user_deinit(&conf->user[i]);
    for (size_t i = 0; i < conf->n_secret; i++)
        free_secret(conf->secret[i]);
    free_secret(conf->stats_token);
    free(conf->user);
    free(conf->secret);
    free(conf->listen);
    free(conf->allow);
    free(conf->deny);
    free(conf->realm);
    free(conf->certificate);
    free(conf->private_key);
    free(conf->file);
    free(conf);
}
