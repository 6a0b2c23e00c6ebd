#ifndef ENGINE_PLACES_H
#define ENGINE_PLACES_H
/*
 * engine_places.h - what the files of test_engine_places share.
 *
 * Each test runs in a child process: bad_places.h.
 */
#include "bad_places.h"
#include "engine_urls.h"

/* The place of a test: a folder of its own, and in it a store of the kind under test. */
typedef struct place {
	temp_folder folder;
	char store[128]; /* the file of sqlite:, the folder of file: */
	char url[ENGINE_URL_MAX];
} place;

extern engine_kind places_kind;
bool places_is_sqlite(void);

void place_make(place *at);
void place_remove(const place *at);

/* ---------------------------------------------------------------- documents
 *
 * What a store has to hold: "room/0", "room/1" …, each with a value that says which one it is.
 * Used by one thread, in a child.
 */
enum { DOCUMENTS_MAX = 700 };

typedef struct documents {
	unsigned count;                  /* numbers below this one were tried */
	uint32_t version[DOCUMENTS_MAX]; /* of the value; 0: no document */
	size_t len[DOCUMENTS_MAX];
	uint64_t order[DOCUMENTS_MAX]; /* of the sets */
	uint64_t clock;
} documents;

keep_engine *open_store(const char *url, bool create);
keep_status try_open(const char *url, bool create, bool read_only, keep_engine **out,
		     keep_error *err);
/* Each changes `docs` when, and only when, the engine said OK. */
keep_status documents_set(keep_engine *engine, documents *docs, unsigned i, size_t len,
			  keep_error *err);
keep_status documents_unset(keep_engine *engine, documents *docs, unsigned i, keep_error *err);
/* `count` sets from `first` on, as one batch; the last also unsets document 0. */
keep_status documents_batch(keep_engine *engine, documents *docs, unsigned first, unsigned count,
			    size_t len, keep_error *err);
/* Every get, both lists, the count and a scan; `may` are the failures that are allowed besides the
   truth, as bits made with MAY. Returns how many calls failed. */
unsigned documents_expect(keep_engine *engine, const documents *docs, unsigned may,
			  const char *when);
/* The path of document `i`, and the value it has at a version. */
keep_bytes document_path(unsigned i, char room[40]);
void document_value(keep_buffer *out, unsigned i, uint32_t version, size_t len);

/* ---------------------------------------------------------------- the other files' tests */

void garbage_instead_of_a_database_is_refused_and_left_alone(void **state);
void a_database_cut_short_never_answers_wrongly(void **state);
void a_flipped_byte_is_survived(void **state);
void another_programs_database_is_kept_whole(void **state);
void a_newer_schema_is_refused_and_left_alone(void **state);
void garbage_in_a_sidecar_is_repaired(void **state);
void any_bytes_of_a_document_file_are_its_value(void **state);

void a_killed_server_loses_nothing_acknowledged(void **state);
void a_server_killed_while_idle_is_found_again(void **state);
void a_stopped_server_does_not_hold_a_call_beyond_its_time_limit(void **state);
void a_server_that_refuses_is_denied_or_unavailable(void **state);

#endif
