/* The file of a listening Unix socket: made with its mode, a stale one replaced, removed when it is
 * ours. Knows nothing of loops and streams. */
#ifndef LUNODE_UNIX_FILE_H
#define LUNODE_UNIX_FILE_H

#include "addr.h"

#include <sys/types.h>
#include <sys/un.h>

struct ln_unix_file { /* all fields private; zeroed: none */
    char path[sizeof(((struct sockaddr_un *)0)->sun_path) + 1];
    dev_t dev;
    ino_t ino;
};

/* Binds fd, a Unix socket, to the address and listens. Whoever may connect at all finds the file
 * with the permissions of `mode` (0: what the umask leaves). A socket file that nobody listens on
 * is replaced; nothing else is ever deleted. Servers of this kind that start in one directory at
 * the same time take turns, through a lock on the directory (waited for up to a tenth of a second,
 * then done without).
 *
 * LN_OK; LN_EUNIX_LIVE (somebody listens there), LN_EUNIX_FILE (there is a file that is no socket),
 * LN_EUNIX_UNKNOWN (a socket that we have no right to ask), -EADDRINUSE (an abstract name),
 * -EACCES, -ENOENT, … */
int ln_unix_listen(int fd, const struct ln_addr *addr, int backlog, mode_t mode,
                   struct ln_unix_file *out);

/* Removes the file if it is still the one that was made. REQUIRES: its socket is still open, so
 * that no other file can have its number. Idempotent. */
void ln_unix_file_remove(struct ln_unix_file *file);

#endif
