/*
 * test_home_check.c - contracts/service.md: `keep check`, integrity of everything, in words; on a
 * folder and on a server, one kind of damage after the other.
 */
#include "home_damage.h"
#include "keep/backups.h"
#include "keep/gateway.h"
#include "keep/operations.h"
#include "temp_folder.h"

#include <fcntl.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <unistd.h>

static temp_folder folder;
static bool is_server;
static int homes;

/* A filled home: a folder, or a database of its own. */
static const char *make_home(char url[HOME_URL_MAX], home_filled *filled)
{
	char name[32], path[128];

	if (is_server) {
		home_server(url);
	} else {
		snprintf(name, sizeof name, "home%d", homes++);
		snprintf(url, HOME_URL_MAX, "%s", temp_path(&folder, name, path));
	}
	home_fill(url, filled);
	return url;
}

static void flip_byte(const char *home, const char *file, long at)
{
	char path[HOME_URL_MAX + 100];
	unsigned char byte = 0;
	int fd;

	snprintf(path, sizeof path, "%s/%s", home, file);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (at < 0)
		at = lseek(fd, 0, SEEK_END) + at;
	CHECK(fd >= 0 && pread(fd, &byte, 1, at) == 1, "%s has no byte %ld", path, at);
	byte ^= 4;
	CHECK(pwrite(fd, &byte, 1, at) == 1, "%s", path);
	close(fd);
}

static void remove_file(const char *home, const char *file)
{
	char path[HOME_URL_MAX + 100];

	snprintf(path, sizeof path, "%s/%s", home, file);
	CHECK(unlink(path) == 0, "%s cannot be removed", path);
}

/* ---------------------------------------------------------------- tests */

static void a_filled_home_is_clean_and_has_numbers(void **state)
{
	char home[HOME_URL_MAX];
	home_filled filled;
	keep_stats_result stats;
	keep_error err = KEEP_ERROR_INIT;
	int64_t messages = -1, pending = -1, documents = -1, waiting = -1;

	(void)state;
	make_home(home, &filled);
	must_be_clean(home);
	OK(keep_home_stats(home, NULL, &stats, &err));
	for (size_t i = 0; i < stats.count; i++) {
		const keep_stat *stat = &stats.items[i];

		if (kp_bytes_equal(stat->store, KEEP_BYTES("gateway")) &&
		    kp_bytes_equal(stat->part, KEEP_BYTES("messages")))
			messages = stat->value;
		if (kp_bytes_equal(stat->store, KEEP_BYTES("gateway")) &&
		    kp_bytes_equal(stat->name, KEEP_BYTES("deliveries")))
			pending = stat->value;
		if (kp_bytes_equal(stat->name, KEEP_BYTES("documents")))
			documents = stat->value;
		if (kp_bytes_equal(stat->name, KEEP_BYTES("messages_in")) &&
		    kp_bytes_equal(stat->part, KEEP_BYTES("pending")))
			waiting = stat->value;
	}
	keep_stats_result_release(&stats);
	assert_int_equal(messages, 43);
	assert_int_equal(pending, 3);
	assert_int_equal(documents, 66);
	assert_true(waiting >= 8);
	assert_nothing_lives();
}

static void what_is_derived_in_the_gateway_is_found_and_mended(void **state)
{
	static const struct {
		const char *sql, *kind, *where;
	} harms[] = {
		{"UPDATE chats SET last_seq = 7", "stale_counter", HOME_CHAT},
		{"UPDATE chats SET last_seq = 700", "stale_counter", HOME_CHAT},
		{"UPDATE chats SET last_input_seq = 1", "stale_counter", HOME_CHAT},
		{"UPDATE chats SET last_message_at = NULL", "stale_counter", HOME_CHAT},
		{"DELETE FROM delivery_queues", "stale_queue", HOME_CHAT},
		{"UPDATE delivery_queues SET channel = 'other'", "stale_queue", HOME_CHAT},
		{"INSERT INTO delivery_queues SELECT 'web:nobody', channel, due_at FROM "
		 "delivery_queues",
		 "stale_queue", "web:nobody"},
		{"UPDATE cursors SET pending_since = NULL", "stale_cursor", "router"},
		{"UPDATE cursors SET seq = 1000", "stale_cursor", "router"},
		{"DELETE FROM cursors", "stale_cursor", "router"},
		{"DELETE FROM consumers", "stale_cursor", "router"},
		{"DELETE FROM route_versions WHERE jid = '*'", "stale_counter", "*"},
	};
	char home[HOME_URL_MAX];
	home_filled filled;

	(void)state;
	make_home(home, &filled);
	for (size_t i = 0; i < KP_COUNT(harms); i++) {
		damage(home, "gateway", "gateway/messages.db", harms[i].sql);
		must_be_mended(home, harms[i].kind, harms[i].where);
	}
	assert_nothing_lives();
}

static void an_engines_counts_are_found_and_mended_and_an_unfound_path_stays(void **state)
{
	char home[HOME_URL_MAX];
	home_filled filled;

	(void)state;
	make_home(home, &filled);
	damage(home, "engine", "engine/default.db",
	       "UPDATE folders SET documents = documents + 1 WHERE path = 'notes'");
	must_be_mended(home, "stale_counter", "notes");
	damage(home, "engine", "engine/default.db",
	       "UPDATE folders SET folders = 9 WHERE path = 'notes/deep'");
	must_be_mended(home, "stale_counter", "notes/deep");
	damage(home, "engine", "engine/default.db",
	       is_server ? "UPDATE documents SET id = 'x'::bytea WHERE path = 'top'"
			 : "UPDATE documents SET hash = 5 WHERE path = 'top'");
	must_stay(home, "unfound_path", "top", KEEP_SEVERITY_DAMAGE);
	assert_nothing_lives();
}

static void a_row_that_cannot_be_read_is_named_and_stays_and_the_rest_is_read(void **state)
{
	keep_check_result result;
	char home[HOME_URL_MAX];
	home_filled filled;

	(void)state;
	make_home(home, &filled);
	if (is_server)
		damage(home, "gateway", NULL,
		       "ALTER TABLE messages DROP CONSTRAINT messages_status_check;"
		       "UPDATE messages SET status = 'odd' WHERE id = 'm90'");
	else
		damage(home, NULL, "gateway/messages.db",
		       "UPDATE messages SET status = 'odd', attachments = '{' WHERE id = 'm90'");
	must_stay(home, "damaged_row", "m90", KEEP_SEVERITY_DAMAGE);
	check(home, false, &result);
	assert_true(result.rows > 100);
	assert_null(memmem(must_find(&result, "damaged_row", "m90")->sentence.data,
			   must_find(&result, "damaged_row", "m90")->sentence.len, "hello", 5));
	keep_check_result_release(&result);
	assert_nothing_lives();
}

static void writers_beside_it_are_no_false_alarm(void **state);

/* ---------------------------------------------------------------- of a folder alone */

static void a_flipped_bit_in_each_stores_file_is_found(void **state)
{
	char home[HOME_URL_MAX], file[HOME_URL_MAX];
	home_filled filled;

	(void)state;
	make_home(home, &filled);
	for (int i = 0; i < 5; i++) {
		static const char *const names[] = {"gateway/messages.db", "mailbox/registry.db",
						    "engine/default.db"};

		if (i < 3)
			snprintf(file, sizeof file, "%s", names[i]);
		else
			snprintf(file, sizeof file, "mailbox/sessions/ada/%s/%s", filled.session,
				 i == 3 ? "inbound.db" : "outbound.db");
		damage(home, NULL, file, "PRAGMA wal_checkpoint(TRUNCATE)");
		/* What agents write has no seals: there it is a page's kind. */
		flip_byte(home, file, i == 4 ? 4096 : -100);
		must_stay(home, "damaged_file", file, KEEP_SEVERITY_DAMAGE);
		flip_byte(home, file, i == 4 ? 4096 : -100);
		must_be_clean(home);
	}
	assert_nothing_lives();
}

static void a_missing_file_is_found(void **state)
{
	static const char *const names[] = {"gateway/messages.db", "mailbox/registry.db",
					    "engine/default.db", "home.json"};
	char home[HOME_URL_MAX], file[HOME_URL_MAX];
	home_filled filled;

	(void)state;
	for (size_t i = 0; i < KP_COUNT(names); i++) {
		make_home(home, &filled);
		remove_file(home, names[i]);
		must_stay(home, "missing_file", names[i], KEEP_SEVERITY_DAMAGE);
	}
	make_home(home, &filled);
	snprintf(file, sizeof file, "mailbox/sessions/ada/%s/outbound.db", filled.session);
	remove_file(home, file);
	must_stay(home, "missing_file", file, KEEP_SEVERITY_DAMAGE);
	assert_nothing_lives();
}

static void a_store_that_a_session_opened_is_missed_without_a_trace(void **state)
{
	keep_error err = KEEP_ERROR_INIT;
	keep_buffer answer = KEEP_BUFFER_INIT;
	keep_session *session = NULL;
	char home[128], command[HOME_URL_MAX];
	keep_check_result result;

	(void)state;
	OK(keep_home_init(temp_path(&folder, "untraced", home), &err));
	OK(keep_session_open(home, &session, &err));
	OK(keep_session_call(session, KEEP_BYTES("gateway.set_state"),
			     KEEP_BYTES("{\"key\":\"k\",\"value\":\"v\"}"), &answer, &err));
	keep_session_close(&session);
	keep_buffer_release(&answer);
	check(home, false, &result);
	assert_int_equal(result.wrong, 0);
	keep_check_result_release(&result);
	snprintf(command, sizeof command, "rm -r %s/gateway", home);
	assert_int_equal(system(command), 0);
	must_stay(home, "missing_file", "gateway/messages.db", KEEP_SEVERITY_DAMAGE);
	assert_nothing_lives();
}

static void a_backup_that_lost_a_file_or_a_bit_is_found(void **state)
{
	char home[HOME_URL_MAX], file[HOME_URL_MAX];
	keep_error err = KEEP_ERROR_INIT;
	keep_backup_result made;
	home_filled filled;

	(void)state;
	make_home(home, &filled);
	OK(keep_backup_make(home, NULL, &made, &err));
	must_be_clean(home);
	snprintf(file, sizeof file, "backups/%s/data/gateway/messages.db", made.name);
	flip_byte(home, file, 5000);
	must_stay(home, "damaged_backup", made.name, KEEP_SEVERITY_DAMAGE);
	flip_byte(home, file, 5000);
	must_be_clean(home);
	remove_file(home, file);
	must_stay(home, "damaged_backup", made.name, KEEP_SEVERITY_DAMAGE);
	assert_nothing_lives();
}

/* Without seals, so that another program may write it, and its pages are still whole. */
static void make_unsealed(const char *home, const char *file)
{
	char path[HOME_URL_MAX + 100];
	sqlite3 *db = NULL;
	int none = 0;

	snprintf(path, sizeof path, "%s/%s", home, file);
	CHECK(sqlite3_open(path, &db) == SQLITE_OK, "%s", path);
	(void)sqlite3_file_control(db, "main", SQLITE_FCNTL_RESERVE_BYTES, &none);
	CHECK(sqlite3_exec(db, "PRAGMA journal_mode = DELETE; VACUUM; PRAGMA journal_mode = WAL",
			   NULL, NULL, NULL) == SQLITE_OK,
	      "%s", sqlite3_errmsg(db));
	sqlite3_close(db);
}

static void an_index_that_lost_an_entry_is_made_anew(void **state)
{
	char home[HOME_URL_MAX];
	home_filled filled;

	(void)state;
	make_home(home, &filled);
	make_unsealed(home, "engine/default.db");
	/* Nobody knows the index while rows go. */
	home_script(home, "engine/default.db",
		    "PRAGMA writable_schema = ON;"
		    "CREATE TABLE kept AS SELECT * FROM sqlite_schema WHERE name = "
		    "'documents_by_hash';"
		    "DELETE FROM sqlite_schema WHERE name = 'documents_by_hash'");
	home_script(home, "engine/default.db",
		    "DELETE FROM documents WHERE path = 'notes/old';"
		    "UPDATE folders SET documents = documents - 1 WHERE path = 'notes';"
		    "PRAGMA writable_schema = ON;"
		    "INSERT INTO sqlite_schema SELECT * FROM kept; DROP TABLE kept");
	must_be_mended(home, "stale_index", "engine/default.db");
	assert_nothing_lives();
}

/* ---------------------------------------------------------------- beside writers */

struct writing {
	const char *home;
	atomic_bool stop;
	int64_t count;
};

static void *write_on(void *ctx)
{
	struct writing *writing = ctx;
	keep_gateway_options options = KEEP_GATEWAY_OPTIONS_INIT;
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_gateway *gateway = NULL;
	char url[HOME_URL_MAX], id[32];
	keep_put_result result;
	keep_message_list claimed;

	if (keep_gateway_open(home_store(writing->home, "gateway", url), &options, &gateway,
			      &err) != KEEP_OK)
		return NULL;
	while (!atomic_load(&writing->stop)) {
		keep_message message = {.chat_jid = KEEP_BYTES(HOME_CHAT),
					.content = KEEP_BYTES("x"),
					.id = keep_bytes_of(id)};

		snprintf(id, sizeof id, "w%lld", (long long)writing->count);
		if (keep_gateway_put_message(gateway, &message, NULL, &result, &err) == KEEP_OK)
			writing->count++;
		(void)!keep_gateway_claim_deliveries(gateway, (keep_bytes){NULL, 0}, 1, 600000,
						     KEEP_NOW, &memory, &claimed, &err);
		keep_memory_release(&memory);
	}
	keep_gateway_close(&gateway);
	return NULL;
}

static void writers_beside_it_are_no_false_alarm(void **state)
{
	struct writing writing;
	char home[HOME_URL_MAX];
	home_filled filled;
	pthread_t thread;

	(void)state;
	make_home(home, &filled);
	writing = (struct writing){.home = home};
	assert_int_equal(pthread_create(&thread, NULL, write_on, &writing), 0);
	for (int i = 0; i < 5; i++)
		must_be_clean(home);
	atomic_store(&writing.stop, true);
	pthread_join(thread, NULL);
	assert_true(writing.count > 0);
	assert_nothing_lives();
}

/* ---------------------------------------------------------------- more than can be listed */

static void what_is_only_counted_is_mended_with_the_rest(void **state)
{
	keep_check_options options = KEEP_CHECK_OPTIONS_INIT;
	keep_check_result result;
	keep_error err = KEEP_ERROR_INIT;
	char home[HOME_URL_MAX];
	home_filled filled;
	int64_t wrong;

	(void)state;
	make_home(home, &filled);
	damage(home, "engine", "engine/default.db", "UPDATE folders SET documents = documents + 1");
	options.findings_max = 1;
	OK(keep_home_check(home, &options, &result, &err));
	assert_true(result.unlisted > 3 && result.wrong > 3);
	wrong = result.wrong;
	keep_check_result_release(&result);
	options.repair = true;
	OK(keep_home_check(home, &options, &result, &err));
	assert_int_equal(result.repaired, wrong);
	assert_int_equal(result.wrong, 0);
	keep_check_result_release(&result);
	must_be_clean(home);
	assert_nothing_lives();
}

static void leases_beyond_one_transaction_are_given_back_by_one_repair(void **state)
{
	keep_check_result result;
	char home[HOME_URL_MAX];
	home_filled filled;

	(void)state;
	make_home(home, &filled);
	damage(home, "gateway", "gateway/messages.db",
	       "INSERT INTO system_messages (group_id, origin, event, created_at, turn_id, "
	       "lease_owner, lease_until) "
	       "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2300) "
	       "SELECT 'main', 'o' || i, 'e', '2026-01-01T00:00:00.000Z', 'turn', 'x', "
	       "'2026-01-01T00:00:00.000Z' FROM n");
	check(home, true, &result);
	must_find(&result, "orphaned_lease", NULL);
	assert_int_equal(result.wrong, 0);
	assert_int_equal(result.repaired, 2300);
	keep_check_result_release(&result);
	must_be_clean(home);
	assert_nothing_lives();
}

/* ---------------------------------------------------------------- of a server alone */

static void an_index_of_a_server_that_lost_an_entry_is_made_anew(void **state)
{
	keep_check_result result;
	char home[HOME_URL_MAX];
	home_filled filled;

	(void)state;
	make_home(home, &filled);
	check(home, false, &result);
	assert_int_equal(must_find(&result, "file_note", "server")->severity, KEEP_SEVERITY_NOTE);
	keep_check_result_release(&result);
	/* Somewhere that the stores' search path does not name. */
	damage(home, "gateway", NULL,
	       "CREATE SCHEMA \"Odd one\"; CREATE EXTENSION amcheck SCHEMA "
	       "\"Odd one\"");
	must_be_clean(home);
	/* Nobody knows the index while a row comes. */
	damage(home, "gateway", NULL,
	       "UPDATE pg_index SET indisready = FALSE, indisvalid = FALSE WHERE indexrelid = "
	       "CAST('messages_by_chat_jid_timestamp' AS regclass)");
	damage(home, "gateway", NULL,
	       "UPDATE messages SET \"timestamp\" = \"timestamp\" - interval '1 millisecond' "
	       "WHERE id = 'm90'");
	damage(home, "gateway", NULL,
	       "UPDATE pg_index SET indisready = TRUE, indisvalid = TRUE WHERE indexrelid = "
	       "CAST('messages_by_chat_jid_timestamp' AS regclass)");
	must_be_mended(home, "stale_index", "messages_by_chat_jid_timestamp");
	assert_nothing_lives();
}

static void a_home_that_is_none_is_not_found(void **state)
{
	keep_check_result result;
	keep_error err = KEEP_ERROR_INIT;
	char path[128];

	(void)state;
	assert_int_equal(keep_home_check(temp_path(&folder, "none", path), NULL, &result, &err),
			 KEEP_NOT_FOUND);
	assert_int_equal(keep_home_check(folder.path, NULL, &result, &err), KEEP_NOT_FOUND);
	assert_int_equal(keep_home_check("sqlite:/tmp/x", NULL, &result, &err), KEEP_INVALID);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest both[] = {
		cmocka_unit_test(a_filled_home_is_clean_and_has_numbers),
		cmocka_unit_test(what_is_derived_in_the_gateway_is_found_and_mended),
		cmocka_unit_test(an_engines_counts_are_found_and_mended_and_an_unfound_path_stays),
		cmocka_unit_test(a_row_that_cannot_be_read_is_named_and_stays_and_the_rest_is_read),
		cmocka_unit_test(writers_beside_it_are_no_false_alarm),
		cmocka_unit_test(what_is_only_counted_is_mended_with_the_rest),
		cmocka_unit_test(leases_beyond_one_transaction_are_given_back_by_one_repair),
	};
	const struct CMUnitTest servers[] = {
		cmocka_unit_test(an_index_of_a_server_that_lost_an_entry_is_made_anew),
	};
	const struct CMUnitTest folders[] = {
		cmocka_unit_test(a_flipped_bit_in_each_stores_file_is_found),
		cmocka_unit_test(a_missing_file_is_found),
		cmocka_unit_test(a_store_that_a_session_opened_is_missed_without_a_trace),
		cmocka_unit_test(a_backup_that_lost_a_file_or_a_bit_is_found),
		cmocka_unit_test(an_index_that_lost_an_entry_is_made_anew),
		cmocka_unit_test(a_home_that_is_none_is_not_found),
	};
	int failed;

	is_server = argc > 1 && strcmp(argv[1], "postgres") == 0;
	temp_folder_make(&folder);
	failed = cmocka_run_group_tests(both, NULL, NULL);
	failed += is_server ? cmocka_run_group_tests(servers, NULL, NULL)
			    : cmocka_run_group_tests(folders, NULL, NULL);
	home_servers_drop();
	temp_folder_remove(&folder);
	return failed;
}
