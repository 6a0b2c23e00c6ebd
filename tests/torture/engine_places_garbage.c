/*
 * engine_places_garbage.c - what test_engine_places does with damaged stores.
 *
 * The limit of SQLite: it keeps no checksums. A flipped bit in a value is another value, and one in
 * a key's hash, a folder's number or a counter hides a document; nobody can tell. So after a
 * flipped byte an answer may be wrong, but it is an answer: no crash, no hang, no status but
 * CORRUPT. Where the damage can be told (the header, the length, the structure of a page) it must
 * be.
 */
#include "engine_places.h"

#include <dirent.h>
#include <errno.h>
#include <sqlite3.h>
#include <sys/stat.h>

enum { DOCUMENTS = 40, SPREAD_LEN = 900 };

/* A closed store of DOCUMENTS documents: leaf pages, inner pages, overflow pages, indexes. */
static void make_store(const place *at, documents *docs)
{
	keep_engine *engine = open_store(at->url, true);
	keep_error err = KEEP_ERROR_INIT;

	for (unsigned i = 0; i < DOCUMENTS; i++)
		WANT_OK(documents_set(engine, docs, i, i % 10 == 9 ? 15000 : SPREAD_LEN + i, &err));
	WANT_OK(documents_unset(engine, docs, 7, &err));
	keep_engine_close(&engine);
}

/* ---------------------------------------------------------------- no database at all */

static void want_open(const place *at, bool create, keep_status wanted)
{
	keep_engine *engine = NULL;
	keep_error err = KEEP_ERROR_INIT;

	WANT_STATUS(try_open(at->url, create, false, &engine, &err), wanted);
	keep_engine_close(&engine);
}

static void open_garbage(void *ctx)
{
	const place *at = ctx;
	static const size_t sizes[] = {1, 15, 16, 99, 100, 511, 512, 4096, 50000};

	for (size_t i = 0; i < KP_COUNT(sizes); i++) {
		keep_buffer before = KEEP_BUFFER_INIT;

		write_random(at->store, sizes[i], test_seed() + i);
		read_file(at->store, &before);
		want_open(at, false, KEEP_CORRUPT);
		want_open(at, true, KEEP_CORRUPT);
		want_file(at->store, &before, "garbage");
		keep_buffer_release(&before);
	}
	write_file(at->store, KEEP_BYTES(""));
	want_open(at, false, KEEP_NOT_FOUND);
	want_open(at, true, KEEP_OK);
	want_open(at, false, KEEP_OK);
	WANT(unlink(at->store) == 0 && mkdir(at->store, 0700) == 0, "mkdir");
	want_open(at, false, KEEP_INVALID);
	want_open(at, true, KEEP_INVALID);
	WANT(rmdir(at->store) == 0, "the folder was used: %s", strerror(errno));
}

void garbage_instead_of_a_database_is_refused_and_left_alone(void **state)
{
	place at;

	(void)state;
	place_make(&at);
	in_child(open_garbage, &at);
	place_remove(&at);
}

/* ---------------------------------------------------------------- cut short */

static void open_cut(void *ctx)
{
	const place *at = ctx;
	keep_buffer whole = KEEP_BUFFER_INIT;
	documents docs = {0};
	unsigned refused = 0, cuts = 0;

	make_store(at, &docs);
	read_file(at->store, &whole);
	for (size_t size = 1; size < whole.len; size += size < 4096 ? 341 : 2048) {
		keep_engine *engine = NULL;
		keep_error err = KEEP_ERROR_INIT;
		char when[60];
		keep_status status;

		snprintf(when, sizeof when, "cut at %zu of %zu", size, whole.len);
		remove_sidecars(at->store);
		write_file(at->store, (keep_bytes){whole.data, size});
		status = try_open(at->url, true, false, &engine, &err);
		cuts++;
		if (status == KEEP_OK)
			refused += documents_expect(engine, &docs, MAY(KEEP_CORRUPT), when) > 0;
		else
			WANT_STATUS(status, KEEP_CORRUPT);
		refused += status != KEEP_OK;
		keep_engine_close(&engine);
	}
	WANT(refused == cuts, "%u of %u cuts were noticed", refused, cuts);
	keep_buffer_release(&whole);
}

void a_database_cut_short_never_answers_wrongly(void **state)
{
	place at;

	(void)state;
	place_make(&at);
	in_child(open_cut, &at);
	place_remove(&at);
}

/* ---------------------------------------------------------------- a flipped byte */

struct damage {
	unsigned refused, noticed, wrong, unharmed;
};

/* Only the kind of answer counts; see the head of the file. Returns whether a call said CORRUPT. */
static bool read_everything(keep_engine *engine, const documents *docs, bool *wrong)
{
	keep_engine_list list = KEEP_ENGINE_LIST_INIT;
	keep_buffer value = KEEP_BUFFER_INIT, wanted = KEEP_BUFFER_INIT;
	keep_error err = KEEP_ERROR_INIT;
	bool noticed = false;
	int64_t count = 0;
	keep_status status;

	for (unsigned i = 0; i < docs->count; i++) {
		char room[40];

		status = keep_engine_get(engine, document_path(i, room), &value, &err);
		document_value(&wanted, i, docs->version[i], docs->len[i]);
		noticed |= status == KEEP_CORRUPT;
		if (status == KEEP_NOT_FOUND)
			*wrong |= docs->version[i] != 0;
		else if (status == KEEP_OK)
			*wrong |=
				!kp_bytes_equal(kp_buffer_bytes(&value), kp_buffer_bytes(&wanted));
		else
			WANT_STATUS(status, KEEP_CORRUPT);
	}
	status = keep_engine_list_names(engine, keep_bytes_of("room"), 0, 1000, &list, &err);
	if (status == KEEP_OK)
		*wrong |= list.count != DOCUMENTS - 1;
	else
		WANT_STATUS(status, KEEP_CORRUPT);
	noticed |= status == KEEP_CORRUPT;
	keep_engine_list_release(&list);
	status = keep_engine_count(engine, keep_bytes_of("room"), &count, &err);
	if (status == KEEP_OK)
		*wrong |= count != DOCUMENTS - 1;
	else
		WANT_STATUS(status, KEEP_CORRUPT);
	keep_buffer_release(&value);
	keep_buffer_release(&wanted);
	return noticed || status == KEEP_CORRUPT;
}

/* A change to a damaged store succeeds or is refused as damaged, or as what the damage says. */
static void change_it(keep_engine *engine, size_t where)
{
	const unsigned may = MAY(KEEP_OK) | MAY(KEEP_CORRUPT) | MAY(KEEP_DENIED);
	documents scratch = {0};
	keep_error err = KEEP_ERROR_INIT;
	keep_status status = documents_set(engine, &scratch, 3, 700, &err);

	WANT(may & MAY(status), "byte %zu: set: %s: %s", where, keep_status_name(status),
	     err.message);
	status = documents_unset(engine, &scratch, 5, &err);
	WANT(may & MAY(status), "byte %zu: unset: %s: %s", where, keep_status_name(status),
	     err.message);
}

static void flip(const place *at, const keep_buffer *whole, size_t where, const documents *docs,
		 struct damage *damage)
{
	keep_buffer bytes = KEEP_BUFFER_INIT;
	keep_engine *engine = NULL;
	keep_error err = KEEP_ERROR_INIT;
	bool wrong = false;
	keep_status status;

	if (kp_buffer_append(&bytes, kp_buffer_bytes(whole), NULL) != KEEP_OK)
		abort();
	bytes.data[where] ^= (char)(1 << where % 8);
	remove_sidecars(at->store);
	write_file(at->store, kp_buffer_bytes(&bytes));
	keep_buffer_release(&bytes);
	status = try_open(at->url, false, false, &engine, &err);
	if (status != KEEP_OK) {
		/* A header may also say "newer format", "in another encoding", "no version". */
		WANT(MAY(status) & (MAY(KEEP_CORRUPT) | MAY(KEEP_DENIED) | MAY(KEEP_TOO_NEW) |
				    MAY(KEEP_CONFLICT) | MAY(KEEP_UNAVAILABLE)),
		     "byte %zu: open: %s: %s", where, keep_status_name(status), err.message);
		damage->refused++;
		return;
	}
	if (read_everything(engine, docs, &wrong))
		damage->noticed++;
	else if (wrong)
		damage->wrong++;
	else
		damage->unharmed++;
	change_it(engine, where);
	keep_engine_close(&engine);
}

static void open_flipped(void *ctx)
{
	const place *at = ctx;
	keep_buffer whole = KEEP_BUFFER_INIT;
	documents docs = {0};
	struct damage damage = {0};
	uint64_t seed = test_seed();
	/* Of each page its type, its first cells' pointers, and somewhere; of the first, all of the
	   header that SQLite reads. */
	static const size_t fixed[] = {0, 1, 3, 5, 8, 9, 13};

	make_store(at, &docs);
	read_file(at->store, &whole);
	for (size_t i = 0; i < 100; i++)
		flip(at, &whole, i, &docs, &damage);
	for (size_t page = 0; page < whole.len; page += 4096) {
		size_t head = page == 0 ? 100 : 0;

		for (size_t i = 0; i < KP_COUNT(fixed); i++)
			flip(at, &whole, page + head + fixed[i], &docs, &damage);
		for (int i = 0; i < 5; i++)
			flip(at, &whole, page + next_random(&seed) % 4096, &docs, &damage);
	}
	print_message("flipped bytes: %u refused at open, %u CORRUPT when read, %u not noticed "
		      "and wrong, %u without effect\n",
		      damage.refused, damage.noticed, damage.wrong, damage.unharmed);
	WANT(damage.refused > 0 && damage.noticed > 0, "no damage was noticed");
	keep_buffer_release(&whole);
}

void a_flipped_byte_is_survived(void **state)
{
	place at;

	(void)state;
	place_make(&at);
	in_child(open_flipped, &at);
	place_remove(&at);
}

/* ---------------------------------------------------------------- other databases */

static void run_sql(const place *at, const char *sql)
{
	sqlite3 *db = NULL;
	char *message = NULL;

	WANT(sqlite3_open(at->store, &db) == SQLITE_OK, "open");
	WANT(sqlite3_exec(db, sql, NULL, NULL, &message) == SQLITE_OK, "%s", message);
	WANT(sqlite3_close(db) == SQLITE_OK, "close");
}

static int want_one(void *ctx, int count, char **values, char **names)
{
	int *rows = ctx;

	(void)names;
	WANT(count == 1 && values[0] && strcmp(values[0], "alice") == 0, "another row");
	(*rows)++;
	return 0;
}

static void want_alice(const place *at, const char *table)
{
	sqlite3 *db = NULL;
	char sql[80];
	int rows = 0;

	snprintf(sql, sizeof sql, "SELECT name FROM %s", table);
	WANT(sqlite3_open(at->store, &db) == SQLITE_OK, "open");
	WANT(sqlite3_exec(db, sql, want_one, &rows, NULL) == SQLITE_OK, "%s", sqlite3_errmsg(db));
	WANT(rows == 1, "%d rows", rows);
	WANT(sqlite3_close(db) == SQLITE_OK, "close");
}

/* Its own tables stay as they are. Where a name is the same, the store cannot be made, and
   nothing of it is. */
static void meet_another_program(void *ctx)
{
	const place *at = ctx;
	keep_buffer before = KEEP_BUFFER_INIT;
	keep_engine *engine = NULL;
	keep_error err = KEEP_ERROR_INIT;
	documents docs = {0};
	keep_status status;

	run_sql(at, "CREATE TABLE users(name); INSERT INTO users VALUES ('alice')");
	want_alice(at, "users");
	status = try_open(at->url, true, false, &engine, &err);
	if (status == KEEP_OK) {
		WANT_OK(documents_set(engine, &docs, 1, 100, &err));
		documents_expect(engine, &docs, 0, "beside another program");
	}
	keep_engine_close(&engine);
	want_alice(at, "users");

	WANT(unlink(at->store) == 0, "unlink");
	remove_sidecars(at->store);
	run_sql(at, "PRAGMA journal_mode=wal; CREATE TABLE documents(name);"
		    "INSERT INTO documents VALUES ('alice')");
	read_file(at->store, &before);
	status = try_open(at->url, true, false, &engine, &err);
	WANT(status == KEEP_CONFLICT, "%s: %s", keep_status_name(status), err.message);
	WANT(strstr(err.message, "engine migration 0001_") &&
		     strstr(err.message, "table documents already exists"),
	     "%s", err.message);
	want_file(at->store, &before, "after the refusal");
	want_alice(at, "documents");
	keep_buffer_release(&before);
}

void another_programs_database_is_kept_whole(void **state)
{
	place at;

	(void)state;
	place_make(&at);
	in_child(meet_another_program, &at);
	place_remove(&at);
}

static void open_a_newer_schema(void *ctx)
{
	const place *at = ctx;
	keep_buffer before = KEEP_BUFFER_INIT;
	keep_engine *engine = NULL;
	keep_error err = KEEP_ERROR_INIT;
	documents docs = {0};

	make_store(at, &docs);
	run_sql(at, "INSERT INTO migrations (service, version, name, checksum, applied_at) "
		    "SELECT service, version + 1000, '1001_of_the_future', checksum, applied_at "
		    "FROM migrations WHERE service = 'engine' ORDER BY version DESC LIMIT 1");
	read_file(at->store, &before);
	WANT_STATUS(try_open(at->url, false, false, &engine, &err), KEEP_TOO_NEW);
	want_file(at->store, &before, "opened");
	WANT_STATUS(try_open(at->url, true, false, &engine, &err), KEEP_TOO_NEW);
	want_file(at->store, &before, "opened to create");
	WANT_STATUS(try_open(at->url, false, true, &engine, &err), KEEP_TOO_NEW);
	want_file(at->store, &before, "opened to read");
	keep_buffer_release(&before);
}

void a_newer_schema_is_refused_and_left_alone(void **state)
{
	place at;

	(void)state;
	place_make(&at);
	in_child(open_a_newer_schema, &at);
	place_remove(&at);
}

/* ---------------------------------------------------------------- sidecars */

/* Their names as a store leaves them, and some it leaves only when it is killed. */
static size_t list_sidecars(const place *at, char names[][160])
{
	static const char *const sqlite_names[] = {"-guard", "-notify", "-wal", "-shm"};
	static const char *const file_names[] = {".keep/control", ".keep/journal"};
	size_t count = 0;

	if (places_is_sqlite())
		for (; count < KP_COUNT(sqlite_names); count++)
			snprintf(names[count], 160, "%s%s", at->store, sqlite_names[count]);
	else
		for (; count < KP_COUNT(file_names); count++)
			snprintf(names[count], 160, "%s/%s", at->store, file_names[count]);
	return count;
}

static void harm_sidecars(void *ctx)
{
	const place *at = ctx;
	documents docs = {0};
	char names[8][160];
	size_t count = list_sidecars(at, names);
	uint64_t seed = test_seed();

	make_store(at, &docs);
	for (size_t i = 0; i < count; i++) {
		for (int how = 0; how < HARMS; how++) {
			keep_engine *engine;
			keep_error err = KEEP_ERROR_INIT;
			char when[180];

			snprintf(when, sizeof when, "%.150s, harm %d", names[i], how);
			if (access(names[i], F_OK) != 0 && how != HARM_GONE)
				write_random(names[i], 4096, next_random(&seed));
			else
				harm_file(names[i], (enum harm)how, next_random(&seed));
			WANT(try_open(at->url, false, false, &engine, &err) == KEEP_OK, "%s: %s",
			     when, err.message);
			documents_expect(engine, &docs, 0, when);
			WANT_OK(documents_set(engine, &docs, (unsigned)how, 300, &err));
			WANT_OK(documents_batch(engine, &docs, 9, 4, 40, &err));
			WANT_OK(documents_set(engine, &docs, 0, 10, &err));
			documents_expect(engine, &docs, 0, when);
			keep_engine_close(&engine);
		}
	}
}

void garbage_in_a_sidecar_is_repaired(void **state)
{
	place at;

	(void)state;
	place_make(&at);
	in_child(harm_sidecars, &at);
	place_remove(&at);
}

/* ---------------------------------------------------------------- file: values */

static void change_a_value_by_hand(void *ctx)
{
	const place *at = ctx;
	keep_buffer wanted = KEEP_BUFFER_INIT, value = KEEP_BUFFER_INIT;
	keep_engine *engine = open_store(at->url, true);
	keep_engine_list list = KEEP_ENGINE_LIST_INIT;
	keep_error err = KEEP_ERROR_INIT;
	documents docs = {0};
	char path[180], room[40];
	int64_t count;

	for (unsigned i = 0; i < 5; i++)
		WANT_OK(documents_set(engine, &docs, i, 100, &err));
	snprintf(path, sizeof path, "%s/room/2/index.json", at->store);
	for (size_t size = 0; size < 70000; size = size * 7 + 1) {
		write_random(path, size, size + 1);
		read_file(path, &wanted);
		WANT_OK(keep_engine_get(engine, document_path(2, room), &value, &err));
		WANT(kp_bytes_equal(kp_buffer_bytes(&value), kp_buffer_bytes(&wanted)),
		     "%zu bytes written by hand are not the value", size);
		WANT_OK(keep_engine_count(engine, keep_bytes_of("room"), &count, &err));
		WANT_OK(keep_engine_list_values(engine, keep_bytes_of("room"), 0, 10, &list, &err));
		WANT(count == 5 && list.count == 5, "%lld counted, %zu listed", (long long)count,
		     list.count);
		keep_engine_list_release(&list);
	}
	keep_buffer_release(&wanted);
	keep_buffer_release(&value);
	keep_engine_close(&engine);
}

void any_bytes_of_a_document_file_are_its_value(void **state)
{
	place at;

	(void)state;
	place_make(&at);
	in_child(change_a_value_by_hand, &at);
	place_remove(&at);
}
