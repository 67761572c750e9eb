#include "unix_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { LOCK_TRIES = 50, LOCK_PAUSE_MS = 2, BIND_TRIES = 3, PERMISSIONS = 07777 };

/* ---- the lock: without it, one server could take another's fresh file for a stale one */

/* The lock's descriptor; -1: it cannot be had. */
static int lock_directory(const char *path) {
    char directory[sizeof(((struct ln_unix_file *)0)->path)];
    const struct timespec pause = {.tv_nsec = LOCK_PAUSE_MS * 1000000L};
    const char *slash = strrchr(path, '/');
    size_t len = slash ? (size_t)(slash - path) + 1 : 0;
    (void)snprintf(directory, sizeof directory, "%.*s", (int)len, path);
    int fd = open(len > 0 ? directory : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (int i = 0; fd >= 0 && i < LOCK_TRIES; i++) {
        if (flock(fd, LOCK_EX | LOCK_NB) == 0)
            return fd;
        nanosleep(&pause, NULL);
    }
    if (fd >= 0)
        close(fd);
    return -1;
}

static void unlock_directory(int fd) {
    if (fd >= 0)
        close(fd);
}

/* ---- what stands in the way */

/* LN_OK: nobody listens. */
static int probe(const struct ln_addr *addr) {
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    int rc = connect(fd, (const struct sockaddr *)&addr->ss, addr->len) == 0 ? LN_OK : -errno;
    close(fd);
    switch (rc) {
    case -ECONNREFUSED:
    case -ENOENT: /* it went meanwhile */
        return LN_OK;
    case -EACCES:
    case -EPERM:
        return LN_EUNIX_UNKNOWN;
    default: /* connected; or a full backlog, a socket of another type */
        return LN_EUNIX_LIVE;
    }
}

static bool same_file(const struct stat *st, dev_t dev, ino_t ino) {
    return st->st_dev == dev && st->st_ino == ino;
}

/* Removes a stale socket file. LN_OK: the way is free. */
static int clear_way(const char *path, const struct ln_addr *addr) {
    struct stat found, now;
    if (lstat(path, &found) != 0)
        return errno == ENOENT ? LN_OK : -errno;
    if (!S_ISSOCK(found.st_mode))
        return LN_EUNIX_FILE;
    int rc = probe(addr);
    if (rc != LN_OK)
        return rc;
    /* By somebody who does not know our lock, it may have been replaced while we asked. */
    if (lstat(path, &now) != 0 || !same_file(&now, found.st_dev, found.st_ino))
        return LN_OK;
    return unlink(path) == 0 || errno == ENOENT ? LN_OK : -errno;
}

/* ---- bind, then listen */

static int bind_fresh(int fd, const char *path, const struct ln_addr *addr) {
    int rc = -EADDRINUSE;
    for (int i = 0; i < BIND_TRIES && rc == -EADDRINUSE; i++) {
        rc = bind(fd, (const struct sockaddr *)&addr->ss, addr->len) == 0 ? LN_OK : -errno;
        if (rc != -EADDRINUSE)
            break;
        int cleared = clear_way(path, addr);
        if (cleared != LN_OK)
            return cleared;
    }
    return rc;
}

/* A file gets its socket's mode less the umask; what that took away comes back before anybody can
 * connect. */
static int set_mode(const char *path, const struct stat *st, mode_t mode) {
    if (mode == 0 || (st->st_mode & PERMISSIONS) == mode)
        return LN_OK;
    return fchmodat(AT_FDCWD, path, mode, AT_SYMLINK_NOFOLLOW) == 0 ? LN_OK : -errno;
}

static int listen_on_file(int fd, const struct ln_addr *addr, int backlog, mode_t mode,
                          struct ln_unix_file *file) {
    struct stat st;
    if (mode != 0 && fchmod(fd, mode) != 0)
        return -errno;
    int rc = bind_fresh(fd, file->path, addr);
    if (rc != LN_OK)
        return rc;
    if (lstat(file->path, &st) != 0)
        return -errno;
    file->dev = st.st_dev;
    file->ino = st.st_ino;
    rc = set_mode(file->path, &st, mode);
    if (rc == LN_OK && listen(fd, backlog) != 0)
        rc = -errno;
    return rc;
}

static void remove_if_ours(const struct ln_unix_file *file) {
    struct stat st;
    if (file->ino != 0 && lstat(file->path, &st) == 0 && S_ISSOCK(st.st_mode) &&
        same_file(&st, file->dev, file->ino))
        (void)unlink(file->path);
}

int ln_unix_listen(int fd, const struct ln_addr *addr, int backlog, mode_t mode,
                   struct ln_unix_file *out) {
    struct sockaddr_un un;
    memcpy(&un, &addr->ss, sizeof un);
    if (un.sun_path[0] == '\0') { /* abstract: a name without a file */
        int rc = bind(fd, (const struct sockaddr *)&addr->ss, addr->len);
        return rc == 0 && listen(fd, backlog) == 0 ? LN_OK : -errno;
    }
    struct ln_unix_file file = {.ino = 0};
    (void)snprintf(file.path, sizeof file.path, "%.*s", (int)sizeof un.sun_path, un.sun_path);
    int lock = lock_directory(file.path);
    int rc = listen_on_file(fd, addr, backlog, mode, &file);
    if (rc == LN_OK)
        *out = file;
    else
        remove_if_ours(&file);
    unlock_directory(lock);
    return rc;
}

void ln_unix_file_remove(struct ln_unix_file *file) {
    if (file->ino == 0)
        return;
    int lock = lock_directory(file->path);
    remove_if_ours(file);
    unlock_directory(lock);
    file->ino = 0;
}
