/* The data directory around an engine: whose it is (FORMAT), and who has it (LOCK). store.h has the
 * layout; only the store uses this. */
#ifndef LUNODE_STORE_DIR_H
#define LUNODE_STORE_DIR_H

#include "status.h"

#include <stdbool.h>

enum { LN_STORE_DIR_ENGINE = 32 }; /* room for an engine's name */

/* Makes (with create), locks and checks the data directory, and brings a new one to the current
 * format. engine: what the caller wants; NULL: what is there, or leveldb. LN_OK, the name of its
 * engine is in name, and the caller owns *lock_fd: closing it gives the directory back; *upgrade:
 * it has the former format, and is for ln_store_dir_upgrade. Else a status and a detail as
 * ln_store_open says. */
int ln_store_dir_open(const char *dir, bool create, const char *engine, struct ln_detail *detail,
                      char name[LN_STORE_DIR_ENGINE], bool *upgrade, int *lock_fd);

/* Gives a directory that is locked the current format. */
int ln_store_dir_upgrade(const char *dir, const char *engine, struct ln_detail *detail);

/* A detail for people about status, which befell the directory in `doing` it ("open", "write to"),
 * with what to do about it. cause: the words of whoever failed; may be NULL. Returns status. */
int ln_store_dir_fail(struct ln_detail *detail, const char *dir, const char *doing, int status,
                      const char *cause);

/* What can be told without opening it. */
struct ln_store_info {
    long format;
    char engine[LN_STORE_DIR_ENGINE];
    bool locked; /* a process has it open */
    long pid;    /* which one, as far as LOCK tells; else 0 */
};

/* Looks at a data directory, and neither changes nor locks anything. LN_OK; -ENOENT: there is none,
 * or nothing in it; LN_EFOREIGN, LN_EVERSION, -EACCES, … as ln_store_open. */
int ln_store_inspect(const char *path, struct ln_detail *detail, struct ln_store_info *out);

/* Deletes what a store and its log have put there, and the stores of a member of a cluster (data-0
 * and data-1), and the directory unless keep. LN_OK;
 * LN_ELOCKED: somebody has it open; LN_EFOREIGN: it is not lunode's, and nothing was deleted;
 * -ENOTEMPTY: there is something else in it, which stays; -ENOENT, -EACCES, … */
int ln_store_remove(const char *path, bool keep, struct ln_detail *detail);

#endif
