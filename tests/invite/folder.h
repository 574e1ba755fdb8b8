/*
 * tests/invite/folder.h - a folder of a test's own, with files in it
 */
#pragma once

#include <check.h>
#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/suite.h"

static char folder[PATH_MAX];

static inline void folder_new(void)
{
    strcpy(folder, "/tmp/callveil-invite-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
}

/* Return: the exit status. */
static inline int run_shell(const char *command)
{
    int status;
    pid_t pid;

    fflush(NULL);
    pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        execl("/bin/sh", "sh", "-c", command, (char *)NULL);
        _exit(127);
    }
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static inline void folder_free(void)
{
    char command[PATH_MAX + 16];

    snprintf(command, sizeof(command), "rm -rf '%s'", folder);
    ck_assert_int_eq(run_shell(command), 0);
}

/* Return: the path of a file in the folder, good until the next but three. */
static inline const char *path_of(const char *name)
{
    static char paths[4][PATH_MAX + 64];
    static unsigned int n;
    char *path = paths[n++ % 4];

    snprintf(path, sizeof(paths[0]), "%s/%s", folder, name);
    return path;
}

static inline void write_text(const char *path, const char *text)
{
    FILE *out = fopen(path, "we");

    ck_assert_msg(out != NULL, "%s", path);
    ck_assert_int_ge(fputs(text, out), 0);
    ck_assert_int_eq(fclose(out), 0);
}

static inline const char *read_text(const char *path)
{
    static char text[65536];
    FILE *in = fopen(path, "re");
    size_t n;

    ck_assert_msg(in != NULL, "%s", path);
    n = fread(text, 1, sizeof(text) - 1, in);
    fclose(in);
    text[n] = '\0';
    return text;
}

static inline mode_t mode_of(const char *path)
{
    struct stat st;

    ck_assert_int_eq(lstat(path, &st), 0);
    return st.st_mode & 07777;
}

/* Files in the folder: of what was begun and not finished, nothing may be left. */
static inline int n_files(void)
{
    DIR *dir = opendir(folder);
    int n = -2; /* "." and ".." */

    ck_assert_ptr_nonnull(dir);
    while (readdir(dir))
        n++;
    closedir(dir);
    return n;
}
