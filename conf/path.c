#include "conf/path.h"

#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const char *home_directory(void)
{
    const char *home = getenv("HOME");
    const struct passwd *entry;

    if (home && home[0] == '/')
        return home;
    entry = getpwuid(getuid());
    return entry && entry->pw_dir && entry->pw_dir[0] == '/' ? entry->pw_dir : NULL;
}

char *conf_local_file(void)
{
    const char *base = getenv("XDG_CONFIG_HOME"), *below = "", *name = "/callveil/local.conf";
    char *path;

    if (!base || base[0] != '/') {
        base = home_directory();
        below = "/.config";
    }
    if (!base || asprintf(&path, "%s%s%s", base, below, name) < 0)
        return NULL;
    return path;
}
