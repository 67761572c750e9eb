/* Stands in for libFuzzer where there is none: gives each file of the folders named to the target,
 * once. So the seeds, and what fuzzing found, run with the C tests. */
#include "fuzz.h"

#include <dirent.h>
#include <sys/stat.h>

static int replay(const char *path) {
    FILE *f = fopen(path, "rb");
    struct stat st;
    if (!f || fstat(fileno(f), &st) != 0 || !S_ISREG(st.st_mode)) {
        if (f)
            (void)fclose(f);
        return 0;
    }
    uint8_t *bytes = malloc((size_t)st.st_size + 1);
    FUZZ_CHECK(bytes);
    size_t n = fread(bytes, 1, (size_t)st.st_size, f);
    (void)fclose(f);
    FUZZ_CHECK(n == (size_t)st.st_size);
    (void)LLVMFuzzerTestOneInput(bytes, n);
    free(bytes);
    return 1;
}

int main(int argc, char **argv) {
    int count = 0;
    for (int i = 1; i < argc; i++) {
        DIR *dir = opendir(argv[i]);
        FUZZ_CHECK(dir);
        for (struct dirent *e; (e = readdir(dir)) != NULL;) {
            char path[1024];
            (void)snprintf(path, sizeof path, "%s/%s", argv[i], e->d_name);
            count += replay(path);
        }
        closedir(dir);
    }
    (void)printf("%s 1 - %d inputs\n", count > 0 ? "ok" : "not ok", count);
    return count > 0 ? 0 : 1;
}
