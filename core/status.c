#include "status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const char *ln_status_name(int status) {
    if (status == LN_OK)
        return "OK";
    switch (status) {
#define LN_STATUS_NAME(id, name, value, text)                                                      \
    case LN_##id:                                                                                  \
        return name;
        LN_STATUS_MAP(LN_STATUS_NAME)
#undef LN_STATUS_NAME
    default:
        break;
    }
    const char *name = status < 0 ? strerrorname_np(-status) : NULL;
    return name ? name : "EUNKNOWN";
}

const char *ln_status_text(int status) {
    switch (status) {
#define LN_STATUS_TEXT(id, name, value, text)                                                      \
    case LN_##id:                                                                                  \
        return text;
        LN_STATUS_MAP(LN_STATUS_TEXT)
#undef LN_STATUS_TEXT
    default:
        break;
    }
    const char *text = status <= 0 ? strerrordesc_np(-status) : NULL;
    return text ? text : "unknown status";
}

int ln_detail_set(struct ln_detail *detail, int status, const char *format, ...) {
    if (detail) {
        va_list args;
        va_start(args, format);
        (void)vsnprintf(detail->text, sizeof detail->text, format, args);
        va_end(args);
    }
    return status;
}
