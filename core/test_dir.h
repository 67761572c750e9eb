/* A temporary directory for tests that need files: made by test_dir_make, removed with all in it by
 * test_dir_remove. */
#ifndef LUNODE_TEST_DIR_H
#define LUNODE_TEST_DIR_H

#include "test.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static inline void test_dir_make(char path[64]) {
    strcpy(path, "/tmp/lunode_test_XXXXXX");
    assert_non_null(mkdtemp(path));
}

static int test_dir_remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw) {
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

static inline void test_dir_remove(const char *path) {
    assert_int_equal(nftw(path, test_dir_remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT), 0);
}

/* Puts text into the file dir/name. */
static inline void test_dir_write(const char *dir, const char *name, const char *text) {
    char path[256];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

#endif
