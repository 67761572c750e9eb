/* The directory of a log: its files by number, made, listed, removed, and who has it. For the log's
 * own files. All names are relative to a descriptor of the directory. */
#ifndef LUNODE_LOG_DIR_H
#define LUNODE_LOG_DIR_H

#include "status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { LN_LOG_NAME = 24 };

/* "00000000000000a1.log" */
void ln_log_segment_name(uint64_t number, char out[LN_LOG_NAME]);

/* Opens the directory; with create, makes it where it is missing, durably. */
int ln_log_dir_open(const char *path, bool create, int *fd);

/* Takes the lock: LN_OK, LN_ELOCKED, -errno. Closing *lock_fd gives it back. */
int ln_log_dir_lock(int dir_fd, int *lock_fd);

/* The numbers of the segments that are there, in order; the caller frees the list. */
int ln_log_dir_list(int dir_fd, uint64_t **numbers, size_t *count);

/* Gives the file at least `size` bytes that read as zeros, with room on disk for all of them. */
int ln_log_allocate(int fd, uint64_t size);

/* Makes a segment of zeros, its room and its name durable. What is half made when it fails is
 * removed. *fatal: the failure was a sync's, after which nothing about the file is known. */
int ln_log_segment_make(int dir_fd, uint64_t number, uint64_t size, bool *fatal, int *fd);

/* LN_OK where it is gone, also when it was not there. */
int ln_log_segment_remove(int dir_fd, uint64_t number);

/* The whole of it, whatever the system does in one go. */
int ln_log_write(int fd, const char *data, size_t len, uint64_t offset);

/* Up to len bytes; *got is less only at the end of the file. */
int ln_log_pread(int fd, char *data, size_t len, uint64_t offset, size_t *got);

/* fdatasync, which nobody tries twice: after a failure the system may have dropped what it could
 * not write and call the next attempt a success. */
int ln_log_datasync(int fd);

#endif
