/*
 * operations_engine_table.c - the engine's operations, described.
 *
 * Everything that a way in shows of the engine stands here: names, sentences, inputs, results,
 * statuses. The input `engine` stands last everywhere; a change within a batch does not take it.
 *
 * Tests: tests/unit/test_operations.c (the table is whole), tests/cli/ (the manual and the
 * completion are what these descriptions give).
 */
#include "operations/operations_engine.h"

#include <string.h>

static const char *const encodings[] = {"text", "base64", NULL};
static const char *const durabilities[] = {"synced", "relaxed", NULL};

#define ENGINE_INPUT                                                                               \
	{                                                                                          \
		.name = "engine", .kind = KP_KIND_TEXT,                                            \
		.sentence = "Which of a home's engines, one path segment; \"default\" when left "  \
			    "out. Refused for an engine's own URL.",                               \
	}
#define ENCODING_INPUT                                                                             \
	{                                                                                          \
		.name = "encoding", .kind = KP_KIND_TEXT, .fallback = "text", .words = encodings,  \
		.sentence = "How values go and come: \"text\", or \"base64\" for any bytes.",      \
	}
#define DOCUMENT_INPUT                                                                             \
	{                                                                                          \
		.name = "path", .kind = KP_KIND_PATH, .place = 1, .required = true,                \
		.sentence = "The document's path, such as chat/x/message/1.",                      \
	}
#define PARENT_INPUT                                                                               \
	{                                                                                          \
		.name = "path", .kind = KP_KIND_PATH, .place = 1, .place_default = "",             \
		.required = true, .sentence = "The path to look below; empty for the top level.",  \
	}

static const kp_input get_inputs[] = {DOCUMENT_INPUT, ENCODING_INPUT, ENGINE_INPUT};

static const kp_input set_inputs[] = {
	DOCUMENT_INPUT,
	{.name = "value",
	 .kind = KP_KIND_BYTES,
	 .place = 2,
	 .required = true,
	 .sentence = "The bytes to store; may be empty."},
	{.name = "score_ms",
	 .kind = KP_KIND_INTEGER,
	 .min = 0,
	 .max = KEEP_ENGINE_SCORE_MAX,
	 .sentence = "An explicit place in the order, milliseconds since 1970, instead of "
		     "newest."},
	ENCODING_INPUT,
	ENGINE_INPUT,
};

static const kp_input unset_inputs[] = {DOCUMENT_INPUT, ENGINE_INPUT};

static const kp_input list_inputs[] = {
	PARENT_INPUT,
	{.name = "offset",
	 .kind = KP_KIND_INTEGER,
	 .fallback = "0",
	 .max = INT64_MAX,
	 .sentence = "How many of the newest to pass over."},
	{.name = "limit",
	 .kind = KP_KIND_INTEGER,
	 .fallback = "50",
	 .max = KEEP_ENGINE_LIST_MAX,
	 .sentence = "How many to answer at most."},
	{.name = "names",
	 .kind = KP_KIND_BOOLEAN,
	 .fallback = "false",
	 .sentence = "Answer each child's name with its value."},
	ENCODING_INPUT,
	ENGINE_INPUT,
};

static const kp_input count_inputs[] = {PARENT_INPUT, ENGINE_INPUT};

static const kp_input clear_inputs[] = {ENGINE_INPUT};

static const kp_input scan_inputs[] = {
	PARENT_INPUT,
	{.name = "limit",
	 .kind = KP_KIND_INTEGER,
	 .max = INT64_MAX,
	 .sentence = "How many to answer at most; all when left out."},
	ENCODING_INPUT,
	ENGINE_INPUT,
};

static const kp_input compare_inputs[] = {
	DOCUMENT_INPUT,
	{.name = "expected",
	 .kind = KP_KIND_BYTES,
	 .required = true,
	 .nullable = true,
	 .sentence = "What the document must hold now; null: it must not exist."},
	{.name = "value",
	 .kind = KP_KIND_BYTES,
	 .required = true,
	 .nullable = true,
	 .sentence = "The bytes to store then; null: remove the document and all below it."},
	ENCODING_INPUT,
	ENGINE_INPUT,
};

static const kp_input batch_inputs[] = {
	{.name = "changes",
	 .kind = KP_KIND_ARRAY,
	 .required = true,
	 .sentence = "Objects {\"op\", …}: op is set, unset, clear or compare_and_set, the other "
		     "members are that operation's inputs. At most 10000."},
	ENGINE_INPUT,
};

static const kp_input watch_inputs[] = {
	PARENT_INPUT,
	{.name = "timeout_ms",
	 .kind = KP_KIND_INTEGER,
	 .fallback = "60000",
	 .max = 86400000,
	 .sentence = "How long to wait; 0 only looks."},
	ENGINE_INPUT,
};

static const kp_input describe_inputs[] = {ENGINE_INPUT};

static const kp_member list_members[] = {
	{"name", KP_KIND_TEXT, "The child's name; only with `names`."},
	{"value", KP_KIND_BYTES, "Its value."},
};
static const kp_member scan_members[] = {
	{"path", KP_KIND_PATH, "The document's path."},
	{"value", KP_KIND_BYTES, "Its value."},
};
static const kp_member describe_members[] = {
	{"backend", KP_KIND_TEXT, "memory, file, sqlite, postgres or redis."},
	{"durability", KP_KIND_TEXT,
	 "What an answer promises: synced, relaxed, process (memory), or the server's own words."},
	{"can_extend", KP_KIND_BOOLEAN, "Whether more than the six basic operations work."},
};

static const kp_outcome get_outcomes[] = {
	{KEEP_NOT_FOUND, true, "Nothing was ever set at this path, or it was unset."},
	{KEEP_INVALID, false, "The value is not UTF-8 and base64 was not asked for."},
};
static const kp_outcome set_outcomes[] = {
	{KEEP_FULL, false, "No space, or the value is over the limit; the old value is unharmed."},
};
static const kp_outcome list_outcomes[] = {
	{KEEP_INVALID, false, "A value is not UTF-8 and base64 was not asked for."},
};
static const kp_outcome compare_outcomes[] = {
	{KEEP_CONFLICT, true, "The document does not hold what was expected; nothing changed."},
	{KEEP_FULL, false, "No space, or the value is over the limit."},
};
static const kp_outcome batch_outcomes[] = {
	{KEEP_CONFLICT, true, "A compare_and_set found something else; nothing changed."},
	{KEEP_FULL, false, "No space, a value over the limit, or more than 10000 changes."},
};
static const kp_outcome store_outcomes[] = {
	{KEEP_NOT_FOUND, false, "There is no store behind this URL; a change would make it."},
	{KEEP_INVALID, false, "An input is unknown, missing, of the wrong type or out of range."},
	{KEEP_CONFLICT, false, "This process has the store open already, and not shared."},
	{KEEP_DENIED, false, "No permission, or a change to a store opened read-only."},
	{KEEP_BUSY, false, "Another process holds a lock for longer than the time limit."},
	{KEEP_UNAVAILABLE, false, "The server or the disk does not answer."},
	{KEEP_UNCERTAIN, false, "The server went away during a commit; read again."},
	{KEEP_CORRUPT, false, "Stored data is damaged."},
	{KEEP_TOO_NEW, false, "A newer Keep wrote this store; nothing was touched."},
	{KEEP_NO_MEMORY, false, "Out of memory; nothing changed."},
};

static const kp_input settings[KP_SETTINGS] = {
	[KP_SETTING_DURABILITY] = {.name = "durability",
				   .kind = KP_KIND_TEXT,
				   .fallback = "synced",
				   .words = durabilities,
				   .sentence = "\"synced\", or \"relaxed\": answer before the "
					       "disk has it."},
	[KP_SETTING_TIMEOUT_MS] = {.name = "timeout_ms",
				   .kind = KP_KIND_INTEGER,
				   .fallback = "5000",
				   .min = 1,
				   .max = 3600000,
				   .sentence = "How long to wait for a lock or a server."},
	[KP_SETTING_SHARED] = {.name = "shared",
			       .kind = KP_KIND_BOOLEAN,
			       .fallback = "false",
			       .sentence = "Allow the store to be open twice in one process."},
	[KP_SETTING_READ_ONLY] = {.name = "read_only",
				  .kind = KP_KIND_BOOLEAN,
				  .fallback = "false",
				  .sentence = "Refuse every change; create and repair nothing."},
	[KP_SETTING_VALUE_BYTES_MAX] = {.name = "value_bytes_max",
					.kind = KP_KIND_INTEGER,
					.fallback = "67108864",
					.min = 1,
					.max = INT64_C(1) << 30,
					.sentence = "The largest value allowed, in bytes."},
};

const kp_operation kp_engine_table[KP_ENGINE_OPERATIONS] = {
	[KP_ENGINE_GET] = {.verb = "get",
			   .sentence = "Give the exact bytes last set at a path.",
			   KP_INPUTS(get_inputs),
			   .result = KP_RESULT_BYTES,
			   .result_sentence = "The value.",
			   KP_OUTCOMES(get_outcomes),
			   .run = kp_engine_run_get},
	[KP_ENGINE_SET] = {.verb = "set",
			   .sentence = "Store a value and make its path the newest of its "
				       "siblings.",
			   .more = "Whole or not at all: after a crash or a full disk the old "
				   "value or the new one is there, never a mix.",
			   KP_INPUTS(set_inputs),
			   .result = KP_RESULT_NULL,
			   .result_sentence = "Nothing.",
			   KP_OUTCOMES(set_outcomes),
			   .changes = true,
			   .run = kp_engine_run_change},
	[KP_ENGINE_UNSET] = {.verb = "unset",
			     .sentence = "Remove a value and everything below its path.",
			     .more = "Done also when there was nothing. The empty path removes "
				     "everything, as clear does.",
			     KP_INPUTS(unset_inputs),
			     .result = KP_RESULT_TRUE,
			     .result_sentence = "true, also when nothing was there.",
			     .changes = true,
			     .run = kp_engine_run_change},
	[KP_ENGINE_LIST] = {.verb = "list",
			    .sentence = "Give the values of a path's direct children, newest "
					"first.",
			    KP_INPUTS(list_inputs),
			    .result = KP_RESULT_ROWS,
			    .result_sentence = "The values; with `names` objects of name and "
					       "value.",
			    KP_MEMBERS(list_members),
			    KP_OUTCOMES(list_outcomes),
			    .run = kp_engine_run_list},
	[KP_ENGINE_COUNT] = {.verb = "count",
			     .sentence = "Count a path's direct children that have a value.",
			     KP_INPUTS(count_inputs),
			     .result = KP_RESULT_INTEGER,
			     .result_sentence = "The number.",
			     .run = kp_engine_run_count},
	[KP_ENGINE_CLEAR] = {.verb = "clear",
			     .sentence = "Remove everything in this engine, and nothing of "
					 "another's.",
			     KP_INPUTS(clear_inputs),
			     .result = KP_RESULT_NULL,
			     .result_sentence = "Nothing.",
			     .changes = true,
			     .run = kp_engine_run_change},
	[KP_ENGINE_SCAN] = {.verb = "scan",
			    .sentence = "Walk every document below a path, in no promised order.",
			    KP_INPUTS(scan_inputs),
			    .result = KP_RESULT_ROWS,
			    .result_sentence = "Objects of path and value.",
			    KP_MEMBERS(scan_members),
			    KP_OUTCOMES(list_outcomes),
			    .run = kp_engine_run_scan},
	[KP_ENGINE_COMPARE] = {.verb = "compare_and_set",
			       .sentence = "Store or remove a value only if the document holds "
					   "what is expected.",
			       .more = "For what two processes refresh: the one that comes second "
				       "is told. On the command line an option left out is null.",
			       KP_INPUTS(compare_inputs),
			       .result = KP_RESULT_NULL,
			       .result_sentence = "Nothing.",
			       KP_OUTCOMES(compare_outcomes),
			       .changes = true,
			       .run = kp_engine_run_change},
	[KP_ENGINE_BATCH] = {.verb = "batch",
			     .sentence = "Apply several changes, all of them or none.",
			     .more = "On the command line, without `--changes`, this verb serves "
				     "JSON lines instead; see there.",
			     KP_INPUTS(batch_inputs),
			     .result = KP_RESULT_NULL,
			     .result_sentence = "Nothing.",
			     KP_OUTCOMES(batch_outcomes),
			     .changes = true,
			     .run = kp_engine_run_batch},
	[KP_ENGINE_WATCH] = {.verb = "watch",
			     .sentence = "Wait until something changes at or below a path.",
			     .more = "Tells that something changed, not what. To miss nothing, "
				     "begin to watch first, then read, then await the answer. Now "
				     "and then the answer is yes although nothing changed there.",
			     KP_INPUTS(watch_inputs),
			     .result = KP_RESULT_BOOLEAN,
			     .result_sentence = "true: something changed; false: the time is up.",
			     .yes = "changed",
			     .waits = true,
			     .run = kp_engine_run_watch},
	[KP_ENGINE_DESCRIBE] = {.verb = "describe",
				.alias = "info",
				.sentence = "Tell which backend this is and what its answers "
					    "promise.",
				KP_INPUTS(describe_inputs),
				.result = KP_RESULT_RECORD,
				.result_sentence = "One object.",
				KP_MEMBERS(describe_members),
				.run = kp_engine_run_describe},
};

/* A postgres:// URL is a home, unless it names a place for one engine itself. */
static bool is_engine_url(const char *url)
{
	static const char *const schemes[] = {"memory:", "file:", "sqlite:", "redis://",
					      "redis+unix://"};
	static const char *const parameters[] = {
		"?namespace=", "&namespace=", "?schema=", "&schema="};

	for (size_t i = 0; i < KP_COUNT(schemes); i++)
		if (strncmp(url, schemes[i], strlen(schemes[i])) == 0)
			return true;
	for (size_t i = 0; i < KP_COUNT(parameters); i++)
		if (kp_home_is_server(url) && strstr(url, parameters[i]))
			return true;
	return false;
}

static const kp_operation_group all_operations = {
	.operations = kp_engine_table,
	.count = KP_ENGINE_OPERATIONS,
};
static const kp_operation_group *const groups[] = {&all_operations};

const kp_operation_store kp_engine_operations = {
	.name = "engine",
	.sentence = "A channel's own state: values under slash paths, newest first.",
	.groups = groups,
	.group_count = KP_COUNT(groups),
	.settings = settings,
	.setting_count = KP_SETTINGS,
	KP_OUTCOMES(store_outcomes),
	.is_place = is_engine_url,
	.open = kp_engine_state_open,
	.make = kp_engine_state_make,
	.cancel = kp_engine_state_cancel,
	.close = kp_engine_state_close,
};
