#ifndef KP_CHECK_SEARCH_H
#define KP_CHECK_SEARCH_H
/*
 * check_search.h - what a check asks of the assistant's store itself (check_words.c,
 * check_vectors.c), which is opened for that.
 */
#include "assistant/assistant_private.h"
#include "home/check_private.h"

/* Open the home's assistant, without keys. */
keep_status kp_check_open_assistant(const kp_home_check *check, bool writes, keep_assistant **out,
				    keep_error *err) KEEP_MUST_CHECK;
/* Are the words of messages and documents those of the texts? */
keep_status kp_check_words(kp_check_unit *unit, keep_assistant *assistant,
			   keep_error *err) KEEP_MUST_CHECK;
/* Are the files of vectors whole, and not ahead of the table? */
keep_status kp_check_vectors(kp_check_unit *unit, keep_assistant *assistant,
			     keep_error *err) KEEP_MUST_CHECK;

#endif
