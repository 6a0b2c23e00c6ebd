/*
 * gateway_places_garbage.c - what test_gateway_places does with files that are no gateway, or not
 * whole.
 *
 * SQLite keeps no checksums: after a flipped byte an answer may be wrong, but it is an answer; no
 * crash, no hang, no status but those that damage has. Where it can be told (the header, the
 * length, the structure of a page) it must be, and the file stays as it was.
 */
#include "gateway_places.h"

#include <errno.h>
#include <sqlite3.h>
#include <sys/stat.h>

enum { ROUNDS = 12 };

static void want_open(const gateway_place *at, bool create, keep_status wanted)
{
	keep_gateway *gateway = NULL;
	keep_error err = KEEP_ERROR_INIT;

	WANT_STATUS(try_gateway(at->url, create, false, &gateway, &err), wanted);
	keep_gateway_close(&gateway);
}

/* A closed store with messages of all sizes. */
static void make_store(const gateway_place *at, ledger *book)
{
	keep_gateway *gateway = open_gateway(at->url, true);
	keep_error err = KEEP_ERROR_INIT;

	for (unsigned i = 0; i < ROUNDS; i++)
		WANT_OK(ledger_put_all(gateway, book, i % 5 == 4 ? 15000 : 700 + i, &err));
	WANT_OK(ledger_advance(gateway, book, 0, &err));
	WANT_OK(ledger_advance(gateway, book, 2, &err));
	keep_gateway_close(&gateway);
}

/* ---------------------------------------------------------------- no database at all */

static void open_garbage(void *ctx)
{
	const gateway_place *at = ctx;
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

void garbage_is_CORRUPT_and_left_alone(void **state)
{
	gateway_place at;

	(void)state;
	gateway_place_make(&at);
	in_child(open_garbage, &at);
	gateway_place_remove(&at);
}

/* ---------------------------------------------------------------- cut short */

static void open_cut(void *ctx)
{
	const gateway_place *at = ctx;
	keep_buffer whole = KEEP_BUFFER_INIT;
	static ledger book;
	unsigned refused = 0, noticed = 0, cuts = 0;

	make_store(at, &book);
	read_file(at->store, &whole);
	for (size_t size = 1; size < whole.len; size += size < 4096 ? 341 : 6144) {
		keep_gateway *gateway = NULL;
		keep_error err = KEEP_ERROR_INIT;
		keep_buffer cut = {.data = whole.data, .len = size};
		char when[60];

		snprintf(when, sizeof when, "cut at %zu of %zu", size, whole.len);
		remove_sidecars(at->store);
		write_file(at->store, kp_buffer_bytes(&cut));
		cuts++;
		if (try_gateway(at->url, true, false, &gateway, &err) == KEEP_OK) {
			noticed += ledger_expect(gateway, &book, MAY(KEEP_CORRUPT), when) > 0;
		} else {
			WANT(err.status == KEEP_CORRUPT, "%s: %s: %s", when,
			     keep_status_name(err.status), err.message);
			want_file(at->store, &cut, when);
			refused++;
		}
		keep_gateway_close(&gateway);
	}
	print_message("%u cuts: %u refused at open, %u CORRUPT when read\n", cuts, refused,
		      noticed);
	WANT(refused + noticed == cuts, "%u of %u cuts were noticed", refused + noticed, cuts);
	keep_buffer_release(&whole);
}

void a_file_cut_short_is_CORRUPT_and_left_alone(void **state)
{
	gateway_place at;

	(void)state;
	gateway_place_make(&at);
	in_child(open_cut, &at);
	gateway_place_remove(&at);
}

/* ---------------------------------------------------------------- a flipped byte */

#define OF_DAMAGE                                                                                  \
	(MAY(KEEP_OK) | MAY(KEEP_CORRUPT) | MAY(KEEP_DENIED) | MAY(KEEP_NOT_FOUND) |               \
	 MAY(KEEP_CONFLICT) | MAY(KEEP_TOO_NEW) | MAY(KEEP_UNAVAILABLE) | MAY(KEEP_FULL))

static void want_of_damage(keep_status status, const keep_error *err, size_t where)
{
	WANT(OF_DAMAGE & MAY(status), "byte %zu: %s: %s", where, keep_status_name(status),
	     status == KEEP_OK ? "" : err->message);
}

/* Only the kind of answer counts; see the head of the file. */
static bool use_flipped(keep_gateway *gateway, size_t where)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_message_list list;
	keep_error err = KEEP_ERROR_INIT;
	keep_message message = {.content = KEEP_BYTES("new")};
	char jid[40], id[40];
	bool noticed = false;
	keep_status status;

	snprintf(id, sizeof id, "new-%zu", where);
	message.id = keep_bytes_of(id);
	for (unsigned i = 0; i < LEDGER_CHATS; i++) {
		message.chat_jid = ledger_jid(i, jid);
		status = keep_gateway_messages_since(gateway, message.chat_jid, 0, 0, 0, &memory,
						     &list, &err);
		want_of_damage(status, &err, where);
		noticed |= status == KEEP_CORRUPT;
		status = keep_gateway_put_message(gateway, &message, NULL, NULL, &err);
		want_of_damage(status, &err, where);
		noticed |= status == KEEP_CORRUPT;
		status = keep_gateway_advance(gateway, LEDGER_CONSUMER, message.chat_jid, 2, NULL,
					      &err);
		WANT(status == KEEP_INVALID || OF_DAMAGE & MAY(status), "byte %zu: %s", where,
		     keep_status_name(status));
		noticed |= status == KEEP_CORRUPT;
	}
	status = keep_gateway_new_messages(gateway, LEDGER_CONSUMER, NULL, 0, 0, &memory, &list,
					   &err);
	want_of_damage(status, &err, where);
	keep_memory_release(&memory);
	return noticed || status == KEEP_CORRUPT;
}

static void open_flipped(void *ctx)
{
	const gateway_place *at = ctx;
	keep_buffer whole = KEEP_BUFFER_INIT;
	static ledger book;
	unsigned refused = 0, noticed = 0, others = 0;
	uint64_t seed = test_seed();

	make_store(at, &book);
	read_file(at->store, &whole);
	for (int i = 0; i < 160; i++) {
		size_t where = i < 40 ? 16 + (size_t)i
				      : (next_random(&seed) % (whole.len / 4096)) * 4096 +
						next_random(&seed) % (i % 3 ? 60 : 4096);
		keep_gateway *gateway = NULL;
		keep_error err = KEEP_ERROR_INIT;
		keep_status status;

		whole.data[where] ^= (char)(1 << i % 8);
		remove_sidecars(at->store);
		write_file(at->store, kp_buffer_bytes(&whole));
		whole.data[where] ^= (char)(1 << i % 8);
		status = try_gateway(at->url, false, false, &gateway, &err);
		want_of_damage(status, &err, where);
		if (status != KEEP_OK)
			refused++;
		else if (use_flipped(gateway, where))
			noticed++;
		else
			others++;
		keep_gateway_close(&gateway);
	}
	print_message("flipped bytes: %u refused at open, %u CORRUPT when used, %u not noticed\n",
		      refused, noticed, others);
	WANT(refused > 0 && noticed > 0, "no damage was noticed");
	keep_buffer_release(&whole);
}

void a_flipped_byte_gets_an_answer(void **state)
{
	gateway_place at;

	(void)state;
	gateway_place_make(&at);
	in_child(open_flipped, &at);
	gateway_place_remove(&at);
}

/* ---------------------------------------------------------------- other databases */

static void run_sql(const gateway_place *at, const char *sql)
{
	sqlite3 *db = NULL;
	char *message = NULL;

	WANT(sqlite3_open(at->store, &db) == SQLITE_OK, "open");
	WANT(sqlite3_exec(db, sql, NULL, NULL, &message) == SQLITE_OK, "%s: %s", sql, message);
	WANT(sqlite3_close(db) == SQLITE_OK, "close");
}

static void meet_another_program(void *ctx)
{
	const gateway_place *at = ctx;
	static const char *const tables[] = {
		"CREATE TABLE messages (id TEXT PRIMARY KEY, body TEXT);"
		"INSERT INTO messages VALUES ('1', 'alice')",
		"PRAGMA journal_mode=wal; CREATE TABLE chats (name TEXT);"
		"INSERT INTO chats VALUES ('alice')",
		"CREATE TABLE router_state (key TEXT PRIMARY KEY, value TEXT)",
		"CREATE VIEW cursors AS SELECT 1 AS one",
		"CREATE TABLE users (name TEXT); PRAGMA user_version = 7",
	};

	for (size_t i = 0; i < KP_COUNT(tables); i++) {
		keep_buffer before = KEEP_BUFFER_INIT;
		keep_gateway *gateway = NULL;
		keep_error err = KEEP_ERROR_INIT;

		run_sql(at, tables[i]);
		read_file(at->store, &before);
		for (int how = 0; how < 3; how++) {
			keep_status status =
				try_gateway(at->url, how == 1, how == 2, &gateway, &err);

			WANT(status == KEEP_CONFLICT || (how != 1 && status == KEEP_NOT_FOUND) ||
				     (i == 4 && status == KEEP_TOO_NEW),
			     "%s, %d: %s: %s", tables[i], how, keep_status_name(status),
			     status == KEEP_OK ? "" : err.message);
			want_file(at->store, &before, tables[i]);
		}
		keep_buffer_release(&before);
		WANT(unlink(at->store) == 0, "unlink");
		remove_sidecars(at->store);
	}
}

void another_programs_tables_are_a_CONFLICT_and_stay(void **state)
{
	gateway_place at;

	(void)state;
	gateway_place_make(&at);
	in_child(meet_another_program, &at);
	gateway_place_remove(&at);
}

/* ---------------------------------------------------------------- sidecars */

static void harm_sidecars(void *ctx)
{
	const gateway_place *at = ctx;
	static const char *const names[] = {"-guard", "-notify", "-wal", "-shm"};
	static ledger book;
	uint64_t seed = test_seed();

	make_store(at, &book);
	for (size_t i = 0; i < KP_COUNT(names); i++) {
		for (int how = 0; how < HARMS; how++) {
			keep_gateway *gateway = NULL;
			keep_error err = KEEP_ERROR_INIT;
			bool pending = false;
			char when[60], path[160];

			snprintf(path, sizeof path, "%s%s", at->store, names[i]);
			snprintf(when, sizeof when, "%s, harm %d", names[i], how);
			if (access(path, F_OK) != 0 && how != HARM_GONE)
				write_random(path, 4096, next_random(&seed));
			else
				harm_file(path, (enum harm)how, next_random(&seed));
			WANT(try_gateway(at->url, false, false, &gateway, &err) == KEEP_OK,
			     "%s: %s", when, err.message);
			ledger_expect(gateway, &book, 0, when);
			WANT_OK(ledger_put_all(gateway, &book, 50, &err));
			WANT_OK(ledger_advance(gateway, &book, 1, &err));
			WANT_OK(keep_gateway_wait(gateway, LEDGER_CONSUMER, 0, &pending, &err));
			WANT(pending, "%s: nothing is pending", when);
			ledger_expect(gateway, &book, 0, when);
			keep_gateway_close(&gateway);
		}
	}
}

void harmed_sidecars_are_repaired(void **state)
{
	gateway_place at;

	(void)state;
	gateway_place_make(&at);
	in_child(harm_sidecars, &at);
	gateway_place_remove(&at);
}
