/* Between the overlay's two files: the list (overlay.c) and the ranges (overlay_range.c). */
#ifndef LUNODE_OVERLAY_IMPL_H
#define LUNODE_OVERLAY_IMPL_H

#include "overlay.h"

/* Memory that lives until a rollback to a mark before it, or until clear. NULL: none. */
void *ln_overlay_alloc(struct ln_overlay *o, size_t n);

/* Makes the ranges those of the mark. */
void ln_overlay_ranges_restore(struct ln_overlay *o);

#endif
