#ifndef KP_OPERATIONS_AGENT_H
#define KP_OPERATIONS_AGENT_H
/*
 * operations_agent.h - what the files of the agent's operations share.
 */
#include "operations/operations_mailbox.h"

/* The three inputs that say which claims are meant, at two places of the command line. */
#define KP_CLAIM(id_place_, attempt_place_)                                                        \
	KP_OTHER_AT(id_place_, "id", "The message's id."),                                         \
		{                                                                                  \
			.name = "attempt",                                                         \
			.kind = KP_KIND_INTEGER,                                                   \
			.place = (attempt_place_),                                                 \
			.nullable = true,                                                          \
			.fallback = "0",                                                           \
			.max = INT64_MAX,                                                          \
			.sentence = "The claim's number; 0: the only one that it can be.",         \
		},                                                                                 \
		KP_OTHER(ARRAY, "claims",                                                          \
			 "Instead of id and attempt: objects {\"id\":…,\"attempt\":…}, or ids.")

/* What they say, in the call's arena. */
keep_status kp_agent_claims(const kp_call *call, keep_claim_ref **out, size_t *count,
			    keep_error *err) KEEP_MUST_CHECK;

#endif
