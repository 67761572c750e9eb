/* The data directory around an engine: whose it is (FORMAT), and who has it (LOCK). store.h has the
 * layout; only the store uses this. */
#ifndef LUNODE_STORE_DIR_H
#define LUNODE_STORE_DIR_H

#include "status.h"

#include <stdbool.h>

/* Makes (with create), locks and checks the data directory, and brings a new one to the current
 * format. LN_OK, and the caller owns *lock_fd: closing it gives the directory back. Else a status
 * and a detail as ln_store_open says. */
int ln_store_dir_open(const char *dir, bool create, struct ln_detail *detail, int *lock_fd);

/* A detail for people about status, which befell the directory in `doing` it ("open", "write to"),
 * with what to do about it. cause: the words of whoever failed; may be NULL. Returns status. */
int ln_store_dir_fail(struct ln_detail *detail, const char *dir, const char *doing, int status,
                      const char *cause);

#endif
