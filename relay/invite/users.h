/*
 * relay/invite/users.h - the relay's users file, changed line by line
 *
 * What the operator wrote into it by hand (comments, order, stored keys) stays as it
 * is: adding appends a line, removing takes one out. conf/ reads the same file; it has
 * accepted it before anything is changed here.
 *
 * Owner: whoever changes it holds the lock, which is on its folder: the file itself
 *        is another one after each change.
 */
#pragma once

#include <stddef.h>
#include <sys/stat.h>

#define USERS_E_ABSENT  1 /* no line is about that name */
#define USERS_E_BAD     2 /* the name cannot stand in a users file */
#define USERS_E_CHANGED 3 /* the text would not mean what was meant: nothing was written */

#define USERS_LOCK_MS 10000

/* The name in its normal form, if it is one that a line can hold.
 * Return: 0 and *ret, the caller's to free; -ENOMEM; USERS_E_BAD with the reason in `why`
 * (VALUE_WHY_LEN). */
int users_name(const char *name, char **ret, char *why);

/* Waits for other commands, at most USERS_LOCK_MS. Return: the lock, to be closed; or -errno
 * (-EAGAIN when another command holds it all that time). */
int users_lock(const char *path);

/* `name` is from users_name(). A new file gets owner and group of `model`, and mode 0640; an
 * existing one keeps what it has. Return: 0, -errno or USERS_E_CHANGED. */
int users_add(const char *path, const char *name, const char *password, const struct stat *model);

/* Return: 0, -errno or USERS_E_ABSENT. */
int users_remove(const char *path, const char *name);

/* Calls for each name, in the file's order; a file that does not exist has none.
 * Return: 0 or -errno. */
int users_each(const char *path, void (*on_name)(void *arg, const char *name), void *arg);
