/* What the engines on disk share. */
#ifndef LUNODE_ENGINE_IMPL_H
#define LUNODE_ENGINE_IMPL_H

#include "status.h"

/* LevelDB and its descendants would take a folder without CURRENT for a new one, and remove the
 * data that is there. LN_OK, LN_ECORRUPT, or why path cannot be listed. */
int ln_engine_check_current(const char *path, struct ln_detail *detail);

/* They tell what failed in words only, the system's among them: "No space left on device". */
int ln_engine_status_of(const char *text);

#endif
