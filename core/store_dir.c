#include "store_dir.h"

#include "engine.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FORMAT_PREFIX "lunode data "

#define ENGINE_PREFIX "engine "

enum { FORMAT_NUMBER = 2 };

struct dir {
    const char *path;
    int fd;
    int lock;                         /* LOCK's descriptor, or -1 */
    long format;                      /* what FORMAT says; 0: there is none */
    char engine[LN_STORE_DIR_ENGINE]; /* the same */
    struct ln_detail *detail;
};

/* REQUIRES: the name fits. */
static void set_name(char to[LN_STORE_DIR_ENGINE], const char *name) {
    (void)snprintf(to, LN_STORE_DIR_ENGINE, "%s", name);
}

static const char *remedy(int status) {
    switch (status) {
    case LN_ECORRUPT:
        return "restore it from a backup, or give another --data";
    case -EACCES:
    case -EPERM:
        return "give this user the right to read and write it, or give another --data";
    case -ENOSPC:
    case -EDQUOT:
        return "free some space, or give another --data";
    case -ENOENT:
        return "create it, or give another --data";
    case LN_ELOCKED:
        return "stop that process, or give another --data";
    case -ENOSYS:
        return "do that, or ask for another engine";
    case -EMFILE:
    case -ENFILE:
        return "raise the limit of open files (ulimit -n)";
    default:
        return "repair that, or give another --data";
    }
}

int ln_store_dir_fail(struct ln_detail *detail, const char *dir, const char *doing, int status,
                      const char *cause) {
    if (status == LN_ECORRUPT)
        return ln_detail_set(detail, status, "data directory %s is damaged (%s); %s", dir,
                             cause ? cause : "no details", remedy(status));
    return ln_detail_set(detail, status, "cannot %s data directory %s: %s%s%s%s; %s", doing, dir,
                         ln_status_text(status), cause ? " (" : "", cause ? cause : "",
                         cause ? ")" : "", remedy(status));
}

static int fail_errno(struct dir *d, const char *doing) {
    return ln_store_dir_fail(d->detail, d->path, doing, -errno, NULL);
}

/* ---- making and opening it */

/* Makes the entry of dir in its parent durable. Best effort: some parents may not be read. */
static void sync_parent(const char *path) {
    char parent[PATH_MAX];
    if (snprintf(parent, sizeof parent, "%s/..", path) >= (int)sizeof parent)
        return;
    int fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        (void)fsync(fd);
        close(fd);
    }
}

static int make_and_open(struct dir *d, bool create) {
    if (create && mkdir(d->path, 0777) == 0)
        sync_parent(d->path);
    else if (create && errno != EEXIST)
        return errno == ENOENT
                   ? ln_detail_set(d->detail, -ENOENT,
                                   "cannot create data directory %s: its parent does not exist; "
                                   "create that, or give another --data",
                                   d->path)
                   : fail_errno(d, "create");
    d->fd = open(d->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return d->fd < 0 ? fail_errno(d, "open") : LN_OK;
}

/* ---- whose it is */

/* Reads on after an interruption or a short count, up to the end of the file. */
static ssize_t read_whole(int fd, char *out, size_t size) {
    size_t len = 0;
    ssize_t n = 0;
    while (len < size && ((n = read(fd, out + len, size - len)) > 0 || (n < 0 && errno == EINTR)))
        len += n > 0 ? (size_t)n : 0;
    return n < 0 ? -1 : (ssize_t)len;
}

static int fail_foreign(struct dir *d) {
    return ln_detail_set(d->detail, LN_EFOREIGN,
                         "data directory %s is not lunode's (its FORMAT says something else); "
                         "give another --data",
                         d->path);
}

/* "lunode data 2\nengine leveldb\n"; format 1 had the first line only. */
static int parse_format(struct dir *d, char *text) {
    size_t prefix = strlen(FORMAT_PREFIX);
    char *end = text;
    d->format = strncmp(text, FORMAT_PREFIX, prefix) ? 0 : strtol(text + prefix, &end, 10);
    if (d->format < 1 || *end != '\n')
        return fail_foreign(d);
    if (d->format > FORMAT_NUMBER)
        return ln_detail_set(d->detail, LN_EVERSION,
                             "data directory %s has format %ld, and this lunode knows up to %d; "
                             "run a newer lunode, or give another --data",
                             d->path, d->format, FORMAT_NUMBER);
    char *line = end + 1;
    set_name(d->engine, "leveldb");
    if (d->format == 1)
        return *line ? fail_foreign(d) : LN_OK;
    size_t len = strcspn(line, "\n");
    if (strncmp(line, ENGINE_PREFIX, strlen(ENGINE_PREFIX)) != 0 || strcmp(line + len, "\n") != 0 ||
        len - strlen(ENGINE_PREFIX) >= sizeof d->engine)
        return fail_foreign(d);
    line[len] = 0;
    set_name(d->engine, line + strlen(ENGINE_PREFIX));
    if (!ln_engine_find(d->engine))
        return ln_detail_set(d->detail, LN_EVERSION,
                             "data directory %s holds data of the engine %s, which this lunode "
                             "does not know; run a newer lunode, or give another --data",
                             d->path, d->engine);
    return LN_OK;
}

/* LN_OK: there is FORMAT, and it is ours. -ENOENT: there is none. */
static int read_format(struct dir *d) {
    char text[96] = {0};
    int fd = openat(d->fd, "FORMAT", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? -ENOENT : fail_errno(d, "read FORMAT in");
    ssize_t n = read_whole(fd, text, sizeof text - 1);
    int saved = errno;
    close(fd);
    errno = saved;
    return n < 0 ? fail_errno(d, "read FORMAT in") : parse_format(d, text);
}

static int check_engine(struct dir *d, const char *wanted) {
    if (!wanted || strcmp(wanted, d->engine) == 0)
        return LN_OK;
    return ln_detail_set(
        d->detail, LN_EENGINE,
        "data directory %s holds data of the engine %s, not %s; ask for %s, or give "
        "another --data",
        d->path, d->engine, wanted, d->engine);
}

/* LN_OK: nothing is there but what an unfinished open leaves. */
static int check_unfinished(struct dir *d) {
    int copy = openat(d->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *list = copy < 0 ? NULL : fdopendir(copy);
    if (!list) {
        int rc = fail_errno(d, "list");
        if (copy >= 0)
            close(copy);
        return rc;
    }
    static const char *const known[] = {".", "..", "LOCK", "FORMAT.tmp", "lost+found"};
    int rc = LN_OK;
    struct dirent *e = NULL;
    while (rc == LN_OK && (errno = 0, e = readdir(list)) != NULL) {
        size_t i = 0;
        while (i < sizeof known / sizeof *known && strcmp(known[i], e->d_name) != 0)
            i++;
        if (i == sizeof known / sizeof *known)
            rc =
                ln_detail_set(d->detail, LN_EFOREIGN,
                              "directory %s is not empty (it holds %s) and not a data directory of "
                              "lunode; give an empty or a new one with --data",
                              d->path, e->d_name);
    }
    if (rc == LN_OK && errno != 0) /* what was not listed may be somebody's */
        rc = fail_errno(d, "list");
    closedir(list);
    return rc;
}

static int check_owner(struct dir *d, bool *finished) {
    int rc = read_format(d);
    *finished = rc == LN_OK;
    return rc == -ENOENT ? check_unfinished(d) : rc;
}

static int write_format(struct dir *d) {
    char line[96];
    int len = snprintf(line, sizeof line, FORMAT_PREFIX "%d\n" ENGINE_PREFIX "%s\n", FORMAT_NUMBER,
                       d->engine);
    int fd = openat(d->fd, "FORMAT.tmp", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0)
        return fail_errno(d, "write to");
    errno = ENOSPC; /* what a short write means */
    int rc = LN_OK;
    if (write(fd, line, (size_t)len) != len || fsync(fd) != 0)
        rc = fail_errno(d, "write to");
    if (close(fd) != 0 && rc == LN_OK)
        rc = fail_errno(d, "write to");
    if (rc == LN_OK && (renameat(d->fd, "FORMAT.tmp", d->fd, "FORMAT") != 0 || fsync(d->fd) != 0))
        rc = fail_errno(d, "write to");
    return rc;
}

/* ---- who has it */

static long read_holder(int lock) {
    char text[24] = {0};
    char *end = text;
    ssize_t n = pread(lock, text, sizeof text - 1, 0);
    long pid = n > 0 ? strtol(text, &end, 10) : 0;
    return pid > 0 && *end == '\n' ? pid : 0;
}

static int fail_locked(struct dir *d) {
    long pid = read_holder(d->lock);
    if (pid > 0)
        return ln_detail_set(d->detail, LN_ELOCKED,
                             "data directory %s is in use by process %ld; stop it, or give another "
                             "--data",
                             d->path, pid);
    return ln_detail_set(d->detail, LN_ELOCKED,
                         "data directory %s is in use by another process; stop it, or give another "
                         "--data",
                         d->path);
}

/* Opens LOCK. Only a directory that is ours, or may become ours, gets one; where there is a LOCK,
 * whoever holds it may be at work on FORMAT, so that is judged later, under the lock. */
static int open_lock(struct dir *d) {
    d->lock = openat(d->fd, "LOCK", O_RDWR | O_CLOEXEC);
    if (d->lock < 0 && errno == ENOENT) {
        bool finished;
        int rc = check_owner(d, &finished);
        if (rc != LN_OK)
            return rc;
        d->lock = openat(d->fd, "LOCK", O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    }
    return d->lock < 0 ? fail_errno(d, "lock") : LN_OK;
}

/* An open file description lock: it is free again however this process ends, and a second open in
 * the same process conflicts as well. */
static int take_lock(struct dir *d) {
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    int rc = open_lock(d);
    if (rc != LN_OK)
        return rc;
    if (fcntl(d->lock, F_OFD_SETLK, &whole) != 0)
        return errno == EAGAIN || errno == EACCES ? fail_locked(d) : fail_errno(d, "lock");
    return LN_OK;
}

/* For the message above only, so a disk too full for it is no reason to fail. */
static void name_holder(struct dir *d) {
    char text[24];
    int len = snprintf(text, sizeof text, "%ld\n", (long)getpid());
    if (ftruncate(d->lock, 0) != 0 || pwrite(d->lock, text, (size_t)len, 0) != len)
        (void)!ftruncate(d->lock, 0);
}

int ln_store_dir_open(const char *dir, bool create, const char *engine, struct ln_detail *detail,
                      char name[LN_STORE_DIR_ENGINE], bool *upgrade, int *lock_fd) {
    struct dir d = {.path = dir, .fd = -1, .lock = -1, .detail = detail};
    bool finished = false;
    int rc = make_and_open(&d, create);
    if (rc == LN_OK)
        rc = take_lock(&d);
    if (rc == LN_OK)
        rc = check_owner(&d, &finished);
    if (rc == LN_OK && finished)
        rc = check_engine(&d, engine);
    if (rc == LN_OK)
        name_holder(&d);
    if (rc == LN_OK && !finished) {
        set_name(d.engine, engine ? engine : "leveldb");
        d.format = FORMAT_NUMBER;
        rc = write_format(&d);
    }
    if (d.fd >= 0)
        close(d.fd);
    if (rc == LN_OK) {
        *lock_fd = d.lock;
        *upgrade = d.format < FORMAT_NUMBER;
        set_name(name, d.engine);
    } else if (d.lock >= 0) {
        close(d.lock);
    }
    return rc;
}

int ln_store_dir_upgrade(const char *dir, const char *engine, struct ln_detail *detail) {
    struct dir d = {.path = dir, .fd = -1, .lock = -1, .detail = detail};
    set_name(d.engine, engine);
    int rc = make_and_open(&d, false);
    if (rc == LN_OK)
        rc = write_format(&d);
    if (d.fd >= 0)
        close(d.fd);
    return rc;
}

/* ---- from outside */

int ln_store_inspect(const char *path, struct ln_detail *detail, struct ln_store_info *out) {
    struct dir d = {.path = path, .fd = -1, .lock = -1, .detail = detail};
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    struct ln_store_info info = {0};
    bool finished = false;
    int rc = make_and_open(&d, false);
    if (rc == LN_OK)
        rc = check_owner(&d, &finished);
    if (rc == LN_OK && !finished)
        rc = ln_detail_set(detail, -ENOENT, "directory %s is empty: there is no data in it", path);
    if (rc == LN_OK) {
        d.lock = openat(d.fd, "LOCK", O_RDONLY | O_CLOEXEC);
        if (d.lock >= 0 && fcntl(d.lock, F_OFD_GETLK, &whole) == 0)
            info.locked = whole.l_type != F_UNLCK;
        info.pid = info.locked ? read_holder(d.lock) : 0;
        info.format = d.format;
        set_name(info.engine, d.engine);
        *out = info;
    }
    if (d.lock >= 0)
        close(d.lock);
    if (d.fd >= 0)
        close(d.fd);
    return rc;
}

enum { REMOVE_DEPTH = 3 }; /* engines keep directories in theirs */

/* Deletes a directory below fd with all that is in it; what is not there is no failure. Follows no
 * links. Returns 0 or -1 with errno. */
static int remove_tree(int fd, const char *name, int depth) {
    int below = openat(fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *list = below < 0 ? NULL : fdopendir(below);
    if (!list) {
        if (below >= 0)
            close(below);
        return errno == ENOENT ? 0 : -1;
    }
    int rc = 0;
    struct dirent *e = NULL;
    while (rc == 0 && (errno = 0, e = readdir(list)) != NULL) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        rc = unlinkat(below, e->d_name, 0);
        if (rc != 0 && errno == EISDIR && depth > 0)
            rc = remove_tree(below, e->d_name, depth - 1);
    }
    if (rc == 0 && errno != 0)
        rc = -1;
    int saved = errno;
    closedir(list);
    errno = saved;
    return rc == 0 ? unlinkat(fd, name, AT_REMOVEDIR) : -1;
}

/* FORMAT late: what an interruption leaves is still known as ours. */
static int remove_contents(struct dir *d) {
    static const char *const trees[] = {"db", "log", "data-0", "data-1"};
    static const char *const files[] = {"FORMAT.tmp", "FORMAT", "LOCK"};
    for (size_t i = 0; i < sizeof trees / sizeof *trees; i++)
        if (remove_tree(d->fd, trees[i], REMOVE_DEPTH) != 0)
            return fail_errno(d, "remove");
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        if (unlinkat(d->fd, files[i], 0) != 0 && errno != ENOENT)
            return fail_errno(d, "remove");
    return LN_OK;
}

int ln_store_remove(const char *path, bool keep, struct ln_detail *detail) {
    struct dir d = {.path = path, .fd = -1, .lock = -1, .detail = detail};
    bool finished = false;
    int rc = make_and_open(&d, false);
    if (rc == LN_OK)
        rc = take_lock(&d);
    if (rc == LN_OK)
        rc = check_owner(&d, &finished);
    if (rc == LN_OK)
        rc = remove_contents(&d);
    if (rc == LN_OK && !keep && rmdir(path) != 0)
        rc = fail_errno(&d, "remove");
    if (d.lock >= 0)
        close(d.lock);
    if (d.fd >= 0)
        close(d.fd);
    return rc;
}
