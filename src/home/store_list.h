#ifndef KP_STORE_LIST_H
#define KP_STORE_LIST_H
/*
 * store_list.h - which stores' files a home has had, so that one that is gone is missed.
 */
#include "core/core.h"

#define KP_HOME_STORES_FILE "stores.txt"

/* The file `file` (below the home, "gateway/messages.db") is there: remember it, once, durably.
   That it cannot be is no failure of who opens a store: it is logged. */
void kp_home_note_store(const char *home, const char *file);
/* Append the list to `out`: a file a line. None: nothing. `folder`: the home's descriptor. */
keep_status kp_home_noted_stores(int folder, keep_buffer *out, keep_error *err) KEEP_MUST_CHECK;

#endif
