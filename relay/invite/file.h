/*
 * relay/invite/file.h - files that are read whole and replaced whole
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct file_owner {
    uid_t uid;
    gid_t gid;
    mode_t mode;
};

#define FILE_MAX_LEN ((size_t)64 << 20)

/* *ret_text ends in a zero byte, and is for file_wipe(). Return: 0 or -errno. */
int file_read(const char *path, char **ret_text, size_t *ret_len);

/* Whoever opens `path` sees the old file or the new one, whole and on disk. The new one belongs to
 * `owner` before it is there; an owner that may not be set is an error.
 * Return: 0 or -errno. */
int file_replace(const char *path, const char *text, size_t len, const struct file_owner *owner);

/* Wipes and frees. NULL is fine. */
void file_wipe(char *text, size_t len);

/* The directory that `path` is in. Return: the caller's to free, or NULL when memory is short. */
char *file_folder(const char *path);
