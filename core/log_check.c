/* Checking a log's directory without opening the log. */
#include "log_dir.h"
#include "log_scan.h"

#include <errno.h>
#include <unistd.h>

int ln_log_check(const char *dir, ln_log_finding_fn fn, void *arg, struct ln_detail *detail,
                 struct ln_log_report *report) {
    struct ln_log_scan scan = {.go_on = true, .fn = fn, .arg = arg, .window = {.fd = -1}};
    int rc = ln_log_dir_open(dir, false, &scan.dir_fd);
    if (rc != LN_OK)
        return ln_detail_set(detail, rc, "cannot check the log in %s: %s", dir, ln_status_text(rc));
    do { /* again where a writer has removed the first segment after it was listed */
        ln_log_scan_free(&scan);
        rc = ln_log_scan_run(&scan);
    } while (rc == -ENOENT && scan.report.segments == 0);
    *report = scan.report;
    if (rc == LN_ECORRUPT)
        (void)ln_detail_set(detail, rc, "the log in %s is damaged: %s", dir, scan.damage);
    else if (rc == LN_EVERSION)
        (void)ln_detail_set(detail, rc,
                            "the log in %s has a newer format than this lunode knows (%d); run a "
                            "newer lunode",
                            dir, LN_LOG_VERSION);
    else if (rc != LN_OK)
        (void)ln_detail_set(detail, rc, "cannot check the log in %s: %s", dir, ln_status_text(rc));
    ln_log_scan_free(&scan);
    close(scan.dir_fd);
    return rc;
}
