#include "engine.h"

#include "engine_impl.h"

#include <dirent.h>
#include <errno.h>
#include <string.h>

const struct ln_engine_ops *ln_engine_find(const char *name) {
    static const struct ln_engine_ops *const all[] = {&ln_engine_leveldb, &ln_engine_rocksdb,
                                                      &ln_engine_memory};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (strcmp(all[i]->name, name) == 0)
            return all[i];
    return NULL;
}

int ln_engine_status_of(const char *text) {
    static const int known[] = {ENOSPC, EDQUOT, EFBIG,  EACCES, EPERM,   EROFS, EMFILE,
                                ENFILE, ENOMEM, ENOENT, EISDIR, ENOTDIR, EIO,   ENAMETOOLONG};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strstr(text, strerrordesc_np(known[i])))
            return -known[i];
    return strncmp(text, "Invalid argument", 16) == 0 ? -EINVAL : -EIO;
}

static bool ends_with(const char *text, const char *end) {
    size_t n = strlen(text), m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

/* A folder with tables has a log, too, except where somebody has removed it; they would not miss
 * it. */
int ln_engine_check_current(const char *path, struct ln_detail *detail) {
    DIR *dir = opendir(path);
    if (!dir)
        return errno == ENOENT ? LN_OK : ln_detail_set(detail, -errno, "%s: %m", path);
    bool current = false, tables = false, log = false;
    for (struct dirent *e; (errno = 0, e = readdir(dir)) != NULL;) {
        current |= strcmp(e->d_name, "CURRENT") == 0;
        tables |= ends_with(e->d_name, ".ldb") || ends_with(e->d_name, ".sst");
        log |= ends_with(e->d_name, ".log");
    }
    int rc = errno == 0 ? LN_OK : ln_detail_set(detail, -errno, "%s: %m", path);
    closedir(dir);
    if (rc != LN_OK)
        return rc;
    if ((tables || log) && !current)
        return ln_detail_set(detail, LN_ECORRUPT, "%s/CURRENT is missing", path);
    if (tables && !log)
        return ln_detail_set(detail, LN_ECORRUPT, "the .log file in %s is missing", path);
    return LN_OK;
}
