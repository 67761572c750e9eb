#include "log_dir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { DIGITS = 16, ZEROS = 64 * 1024 };

void ln_log_segment_name(uint64_t number, char out[LN_LOG_NAME]) {
    (void)snprintf(out, LN_LOG_NAME, "%016" PRIx64 ".log", number);
}

/* ---- the directory */

static int sync_parent(const char *path) {
    char parent[PATH_MAX];
    if (snprintf(parent, sizeof parent, "%s/..", path) >= (int)sizeof parent)
        return -ENAMETOOLONG;
    int fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) /* a parent that may be passed but not read cannot be synced */
        return errno == EACCES ? LN_OK : -errno;
    int rc = fsync(fd) == 0 ? LN_OK : -errno;
    close(fd);
    return rc;
}

int ln_log_dir_open(const char *path, bool create, int *fd) {
    if (create && mkdir(path, 0777) != 0 && errno != EEXIST)
        return -errno;
    int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0)
        return -errno;
    /* Also where it was there: it may be what an open that was cut short has made. */
    int rc = create ? sync_parent(path) : LN_OK;
    if (rc == LN_OK)
        *fd = dir;
    else
        close(dir);
    return rc;
}

int ln_log_dir_lock(int dir_fd, int *lock_fd) {
    int fd = openat(dir_fd, "LOCK", O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (fd < 0)
        return -errno;
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        int rc = errno == EWOULDBLOCK ? LN_ELOCKED : -errno;
        close(fd);
        return rc;
    }
    *lock_fd = fd;
    return LN_OK;
}

/* 0: the name is not a segment's. */
static uint64_t number_of(const char *name) {
    static const char digits[] = "0123456789abcdef";
    uint64_t number = 0;
    for (int i = 0; i < DIGITS; i++) {
        const char *digit = name[i] ? strchr(digits, name[i]) : NULL;
        if (!digit)
            return 0;
        number = number << 4 | (uint64_t)(digit - digits);
    }
    return strcmp(name + DIGITS, ".log") == 0 && number <= UINT32_MAX ? number : 0;
}

static int compare_numbers(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static int list_add(uint64_t **list, size_t *count, size_t *cap, uint64_t number) {
    if (*count == *cap) {
        size_t more = *cap ? *cap * 2 : 16;
        uint64_t *grown = reallocarray(*list, more, sizeof *grown);
        if (!grown)
            return -ENOMEM;
        *list = grown;
        *cap = more;
    }
    (*list)[(*count)++] = number;
    return LN_OK;
}

int ln_log_dir_list(int dir_fd, uint64_t **numbers, size_t *count) {
    uint64_t *list = NULL;
    size_t n = 0, cap = 0;
    int rc = LN_OK;
    int copy = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = copy < 0 ? NULL : fdopendir(copy);
    if (!dir) {
        rc = -errno;
        if (copy >= 0)
            close(copy);
        return rc;
    }
    struct dirent *entry = NULL;
    while (rc == LN_OK && (errno = 0, entry = readdir(dir)) != NULL) {
        uint64_t number = number_of(entry->d_name);
        if (number > 0)
            rc = list_add(&list, &n, &cap, number);
    }
    if (rc == LN_OK && errno != 0) /* a list with holes would look like a log with holes */
        rc = -errno;
    closedir(dir);
    if (rc != LN_OK) {
        free(list);
        return rc;
    }
    if (n > 0)
        qsort(list, n, sizeof *list, compare_numbers);
    *numbers = list;
    *count = n;
    return LN_OK;
}

/* ---- segments */

/* Where a file system cannot preallocate: what is written is allocated, too. */
static int write_zeros(int fd, uint64_t from, uint64_t to) {
    static const char zeros[ZEROS];
    int rc = LN_OK;
    for (uint64_t at = from; rc == LN_OK && at < to; at += ZEROS)
        rc = ln_log_write(fd, zeros, to - at < ZEROS ? (size_t)(to - at) : ZEROS, at);
    return rc;
}

int ln_log_allocate(int fd, uint64_t size) {
    struct stat st;
    int rc;
    do
        rc = fallocate(fd, 0, 0, (off_t)size) == 0 ? LN_OK : -errno;
    while (rc == -EINTR);
    if (rc != -EOPNOTSUPP)
        return rc;
    if (fstat(fd, &st) != 0)
        return -errno;
    return write_zeros(fd, (uint64_t)st.st_size, size);
}

int ln_log_segment_make(int dir_fd, uint64_t number, uint64_t size, bool *fatal, int *fd) {
    char name[LN_LOG_NAME];
    *fatal = false;
    ln_log_segment_name(number, name);
    int rc = ln_log_segment_remove(dir_fd, number); /* what an attempt that failed has left */
    if (rc != LN_OK)
        return rc;
    int made = openat(dir_fd, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (made < 0)
        return -errno;
    rc = ln_log_allocate(made, size);
    if (rc == LN_OK && (fsync(made) != 0 || fsync(dir_fd) != 0)) {
        *fatal = true;
        rc = -errno;
    }
    if (rc == LN_OK) {
        *fd = made;
        return LN_OK;
    }
    close(made);
    (void)unlinkat(dir_fd, name, 0);
    return rc;
}

int ln_log_segment_remove(int dir_fd, uint64_t number) {
    char name[LN_LOG_NAME];
    ln_log_segment_name(number, name);
    return unlinkat(dir_fd, name, 0) == 0 || errno == ENOENT ? LN_OK : -errno;
}

/* ---- bytes */

int ln_log_write(int fd, const char *data, size_t len, uint64_t offset) {
    while (len > 0) {
        ssize_t n = pwrite(fd, data, len, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : -EIO;
        data += n;
        len -= (size_t)n;
        offset += (uint64_t)n;
    }
    return LN_OK;
}

int ln_log_pread(int fd, char *data, size_t len, uint64_t offset, size_t *got) {
    size_t have = 0;
    while (have < len) {
        ssize_t n = pread(fd, data + have, len - have, (off_t)(offset + have));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            break;
        have += (size_t)n;
    }
    *got = have;
    return LN_OK;
}

int ln_log_datasync(int fd) {
    return fdatasync(fd) == 0 ? LN_OK : -errno;
}
