#include "relay/invite/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Grows `*text` by hand: realloc() could leave a copy with passwords behind. */
static int grow(char **text, size_t len, size_t *cap)
{
    size_t larger = *cap ? *cap * 2 : 4096;
    char *copy = larger <= FILE_MAX_LEN ? malloc(larger) : NULL;

    if (!copy)
        return larger <= FILE_MAX_LEN ? -ENOMEM : -EFBIG;
    if (*text)
        memcpy(copy, *text, len);
    file_wipe(*text, len);
    *text = copy;
    *cap = larger;
    return 0;
}

static int read_all(int fd, char **ret_text, size_t *ret_len)
{
    char *text = NULL;
    size_t len = 0, cap = 0;
    ssize_t n = 0;
    int r;

    do {
        len += (size_t)n;
        r = len + 1 < cap ? 0 : grow(&text, len, &cap);
        if (r < 0)
            break;
        n = read(fd, text + len, cap - len - 1);
    } while (n > 0 || (n < 0 && errno == EINTR && (n = 0, true)));
    if (r == 0 && n < 0)
        r = -errno;
    if (r < 0) {
        file_wipe(text, len);
        return r;
    }
    text[len] = '\0';
    *ret_text = text;
    *ret_len = len;
    return 0;
}

int file_read(const char *path, char **ret_text, size_t *ret_len)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC), r;

    if (fd < 0)
        return -errno;
    r = read_all(fd, ret_text, ret_len);
    close(fd);
    return r;
}

void file_wipe(char *text, size_t len)
{
    if (text)
        explicit_bzero(text, len);
    free(text);
}

char *file_folder(const char *path)
{
    const char *slash = strrchr(path, '/');

    if (!slash)
        return strdup(".");
    return slash == path ? strdup("/") : strndup(path, (size_t)(slash - path));
}

static int write_all(int fd, const char *text, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, text, len);

        if (n < 0 && errno != EINTR)
            return -errno;
        if (n > 0) {
            text += n;
            len -= (size_t)n;
        }
    }
    return 0;
}

static int set_owner(int fd, const struct file_owner *owner)
{
    struct stat st;

    if (fstat(fd, &st) < 0)
        return -errno;
    if ((st.st_uid != owner->uid || st.st_gid != owner->gid) &&
        fchown(fd, owner->uid, owner->gid) < 0)
        return -errno;
    return fchmod(fd, owner->mode) < 0 ? -errno : 0;
}

/* The new name itself has to reach the disk, too. */
static void sync_folder(const char *path)
{
    char *folder = file_folder(path);
    int fd = folder ? open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;

    if (fd >= 0) {
        (void)fsync(fd);
        close(fd);
    }
    free(folder);
}

int file_replace(const char *path, const char *text, size_t len, const struct file_owner *owner)
{
    char temp[PATH_MAX];
    int fd, r;

    if (snprintf(temp, sizeof(temp), "%s.XXXXXX", path) >= (int)sizeof(temp))
        return -ENAMETOOLONG;
    fd = mkostemp(temp, O_CLOEXEC); /* 0600 until it is the owner's */
    if (fd < 0)
        return -errno;
    r = set_owner(fd, owner);
    if (r == 0)
        r = write_all(fd, text, len);
    if (r == 0 && fsync(fd) < 0)
        r = -errno;
    if (r == 0 && rename(temp, path) < 0)
        r = -errno;
    close(fd);
    if (r < 0)
        unlink(temp);
    else
        sync_folder(path);
    return r;
}
