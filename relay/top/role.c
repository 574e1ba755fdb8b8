#include "relay/top/role.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "conf/path.h"
#include "relay/usage.h"

static int read_arguments(const char *command, int argc, char **argv, const char **ret_file,
                          const char **ret_role)
{
    static const struct option options[] = {
        {"config", required_argument, NULL, 'c'},
        {"role", required_argument, NULL, 'r'},
        {0},
    };
    int o;

    optind = 1;
    opterr = 0;
    while ((o = getopt_long(argc, argv, ":c:", options, NULL)) != -1) {
        if (o == 'c')
            *ret_file = optarg;
        else if (o == 'r')
            *ret_role = optarg;
        else
            return usage_bad_option(command, options, argv, o);
    }
    if (optind < argc)
        return usage_error(command, "unexpected argument '%s'", argv[optind]);
    if (*ret_role && strcmp(*ret_role, "relay") != 0 && strcmp(*ret_role, "local") != 0)
        return usage_error(command, "--role is relay or local, not '%s'", *ret_role);
    return 0;
}

int top_role_read(const char *command, int argc, char **argv, struct top_role *ret)
{
    char *local = conf_local_file();
    const char *file = NULL, *role = NULL;
    int status;

    *ret = (struct top_role){0};
    status = read_arguments(command, argc, argv, &file, &role);
    if (status == 0) {
        if (!role && file)
            role = conf_file_role(file);
        else if (!role)
            role = local && access(local, F_OK) == 0 ? "local" : "relay";
        if (!file)
            file = strcmp(role, "local") == 0 ? local : CONF_RELAY_FILE;
        if (!file)
            status = usage_error(command, "there is no home directory: name the configuration "
                                          "with -c");
    }
    if (status == 0) {
        ret->name = role;
        ret->conf = conf_load(file, role);
        status = ret->conf ? 0 : EXIT_USAGE;
    }
    free(local);
    return status;
}

void top_role_deinit(struct top_role *role)
{
    conf_free(role->conf);
    role->conf = NULL;
}
