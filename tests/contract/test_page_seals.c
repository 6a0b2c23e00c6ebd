/*
 * test_page_seals.c - a flipped bit in a database file or its log is found, whichever it is; and
 * what others may rightly do to a file is not taken for damage.
 *
 * The databases are those of the stores, filled through their public calls, and for what concerns
 * the driver alone, of the driver.
 */
#include "assistant_rows.h"
#include "home_fixture.h"
#include "page_findings.h"

#include "keep/assistant.h"
#include "keep/backups.h"
#include "keep/engine.h"
#include "keep/gateway.h"
#include "keep/mailbox.h"
#include "keep/mailbox_registry.h"

#include <ftw.h>
#include <sys/wait.h>

static temp_folder folder;
static keep_error err = KEEP_ERROR_INIT;
static page_findings found;

static const char *path_of(const char *name)
{
	static char path[128];

	return temp_path(&folder, name, path);
}

static int begin(void **state)
{
	(void)state;
	temp_folder_make(&folder);
	return 0;
}

static int end(void **state)
{
	(void)state;
	temp_folder_remove(&folder);
	assert_nothing_lives();
	return 0;
}

/* ---------------------------------------------------------------- the stores' files */

enum { ROWS = 1000 };

static void fill_engine(const char *home)
{
	keep_engine_options options = KEEP_ENGINE_OPTIONS_INIT;
	keep_engine *engine = NULL;
	static keep_engine_change changes[ROWS];
	static char paths[ROWS][32], value[30000];
	char url[HOME_URL_MAX];

	memset(value, 'v', sizeof value);
	OK(keep_engine_open(home_store(home, "engine", url), &options, &engine, &err));
	for (int i = 0; i < ROWS; i++) {
		(void)snprintf(paths[i], sizeof paths[i], "chat/%d/message/%d", i % 9, i);
		changes[i] = (keep_engine_change){.kind = KEEP_ENGINE_SET,
						  .path = keep_bytes_of(paths[i]),
						  .value = {value, i % 50 ? 200 : sizeof value}};
	}
	OK(keep_engine_batch(engine, changes, ROWS, &err));
	for (int i = 0; i < ROWS; i++) /* every fifth goes, and leaves pages free */
		changes[i].kind = i % 5 ? KEEP_ENGINE_SET : KEEP_ENGINE_UNSET;
	OK(keep_engine_batch(engine, changes, ROWS, &err));
	keep_engine_close(&engine);
}

static void fill_gateway(const char *home)
{
	keep_gateway_options options = KEEP_GATEWAY_OPTIONS_INIT;
	keep_gateway *gateway = NULL;
	static keep_message messages[ROWS];
	static char ids[ROWS][16];
	char url[HOME_URL_MAX];

	OK(keep_gateway_open(home_store(home, "gateway", url), &options, &gateway, &err));
	for (int i = 0; i < ROWS; i++) {
		(void)snprintf(ids[i], sizeof ids[i], "id%d", i);
		messages[i] = (keep_message){.chat_jid = keep_bytes_of(i % 2 ? "web:1" : "web:2"),
					     .id = keep_bytes_of(ids[i]),
					     .sender = KEEP_BYTES("42"),
					     .timestamp = INT64_C(1775927901123) + i,
					     .content = KEEP_BYTES("what somebody said today")};
	}
	OK(keep_gateway_put_messages(gateway, messages, ROWS, NULL, &err));
	keep_gateway_close(&gateway);
}

static void fill_mailbox(const char *home, const home_filled *filled)
{
	keep_mailbox_options options = KEEP_MAILBOX_OPTIONS_INIT;
	keep_mailbox *mailbox = NULL;
	static keep_post posts[ROWS];
	static keep_post_result results[ROWS];
	char url[HOME_URL_MAX];

	options.relaxed = true;
	OK(keep_mailbox_open(home_store(home, "mailbox", url), &options, &mailbox, &err));
	for (int i = 0; i < ROWS; i++)
		posts[i] = (keep_post){.content = KEEP_BYTES("{\"text\":\"one of many\"}"),
				       .channel_type = KEEP_BYTES("telegram"),
				       .platform_id = KEEP_BYTES("42")};
	OK(keep_mailbox_post_many(mailbox, keep_bytes_of(filled->session), posts, ROWS, results,
				  &err));
	for (int i = 0; i < ROWS; i++) {
		char name[16];
		keep_messaging_group chat = {.channel_type = KEEP_BYTES("telegram")};

		(void)snprintf(name, sizeof name, "mg-%d", i + 100);
		chat.id = chat.platform_id = keep_bytes_of(name);
		OK(keep_mailbox_put_messaging_group(mailbox, &chat, NULL, &err));
	}
	keep_mailbox_close(&mailbox);
}

static void fill_assistant(const char *home)
{
	keep_assistant_options options = KEEP_ASSISTANT_OPTIONS_INIT;
	keep_assistant *assistant = NULL;
	static keep_conversation_message messages[ROWS];
	char url[HOME_URL_MAX];

	(void)snprintf(url, sizeof url, "%s/assistant", home);
	(void)mkdir(url, 0700);
	(void)snprintf(url, sizeof url, "sqlite:%s/assistant/assistant.db", home);
	options.create = true;
	OK(keep_assistant_open(url, &options, &assistant, &err));
	(void)assistant_conversation(assistant, "c");
	for (int i = 0; i < ROWS; i++)
		messages[i] =
			(keep_conversation_message){.conversation_id = KEEP_BYTES("c"),
						    .role = KEEP_BYTES("user"),
						    .content = KEEP_BYTES("some words of it")};
	OK(keep_assistant_append_many(assistant, messages, ROWS, NULL, &err));
	keep_assistant_close(&assistant);
}

static void make_home(const char *home)
{
	home_filled filled;

	home_fill(home, &filled);
	fill_engine(home);
	fill_gateway(home);
	fill_mailbox(home, &filled);
	fill_assistant(home);
}

/* Calls `look` with each database of a home; returns how many there were. */
static void (*look)(const char *path, bool is_sealed);
static int files;

static int visit(const char *path, const struct stat *st, int type, struct FTW *at)
{
	size_t len = strlen(path);

	(void)st, (void)at;
	if (type != FTW_F || len < 3 || strcmp(path + len - 3, ".db") != 0)
		return 0;
	files++;
	look(path, !strstr(path, "outbound.db"));
	return 0;
}

static int each_database(const char *home, void (*what)(const char *path, bool is_sealed))
{
	look = what;
	files = 0;
	CHECK(nftw(home, visit, 16, FTW_PHYS) == 0, "%s", home);
	return files;
}

/* ---------------------------------------------------------------- a bit flips */

static uint64_t seed;

/* The class of position that a page's turn is: its first bytes, anywhere, its end, its seal. */
static int64_t pick_byte(uint32_t page)
{
	int64_t begin = (int64_t)(page - 1) * 4096;

	switch (page % 4) {
	case 0: return begin + (int64_t)(next_random(&seed) % 12);
	case 1: return begin + (int64_t)(next_random(&seed) % 4096);
	case 2: return begin + 4088 - 1 - (int64_t)(next_random(&seed) % 40);
	default: return begin + 4088 + (int64_t)(next_random(&seed) % 8);
	}
}

static int pages_flipped;

/* Fifty pages at a time, each with one bit flipped; page 1 has a test of its own. */
static void flip_in_each_page(const char *path, bool is_sealed)
{
	enum { BATCH = 50 };
	uint32_t pages = (uint32_t)(size_of_file(path) / 4096);

	page_findings_of(path, true, &found);
	CHECK(found.count == 0, "%s", found.items[0].message);
	if (!is_sealed)
		return;
	CHECK(count_seals(path, KP_SEAL_RIGHT) == (int)pages, "%s: not all pages are sealed", path);
	for (uint32_t first = 2; first <= pages; first += BATCH) {
		uint32_t last = first + BATCH - 1 < pages ? first + BATCH - 1 : pages;
		int64_t bytes[BATCH];
		unsigned bits[BATCH];

		for (uint32_t page = first; page <= last; page++) {
			bytes[page - first] = pick_byte(page);
			bits[page - first] = next_random(&seed) % 8;
			flip_bit(path, bytes[page - first], bits[page - first]);
		}
		page_findings_of(path, false, &found);
		for (uint32_t page = first; page <= last; page++) {
			CHECK(damage_is_told(&found, page, 0), "%s: page %u, byte %lld, bit %u",
			      path, page, (long long)bytes[page - first], bits[page - first]);
			flip_bit(path, bytes[page - first], bits[page - first]);
		}
		CHECK(found.count == (int)(last - first + 1), "%d findings", found.count);
		pages_flipped += found.count;
	}
	must_be_clean(path);
}

static void a_bit_that_flips_in_any_page_of_any_store_is_found(void **state)
{
	const char *home = path_of("home");

	(void)state;
	seed = test_seed();
	pages_flipped = 0;
	make_home(home);
	assert_true(each_database(home, flip_in_each_page) >= 4 + 2 * 4);
	print_message("%d pages, seed %llu\n", pages_flipped, (unsigned long long)test_seed());
	assert_true(pages_flipped > 500);
}

static void a_bit_that_flips_in_the_header_is_found(void **state)
{
	const char *path = path_of("a.db");
	kp_sql_conn *conn = open_sealed(path, false);

	(void)state;
	seed = test_seed();
	write_sealed(conn, SEALED_TABLE);
	write_sealed(conn, SEALED_ROWS);
	kp_sql_close(&conn);
	for (int byte = 0; byte < 100; byte++) {
		unsigned bit = next_random(&seed) % 8;

		flip_bit(path, byte, bit);
		page_findings_of(path, byte % 10 == 0, &found);
		CHECK(damage_is_told(&found, 1, 0), "byte %d, bit %u", byte, bit);
		flip_bit(path, byte, bit);
	}
	must_be_clean(path);
}

/* ---------------------------------------------------------------- the log */

/* A process that writes some transactions and is killed: they are in the log alone. */
static void make_log(const char *path, bool plain)
{
	kp_sql_conn *conn = open_sealed(path, plain);
	pid_t child;
	int status = 0;

	write_sealed(conn, SEALED_TABLE);
	write_sealed(conn, SEALED_ROWS);
	kp_sql_close(&conn);
	child = fork();
	CHECK(child >= 0, "fork");
	if (child == 0) {
		conn = open_sealed(path, plain);
		for (int i = 0; i < 12; i++)
			write_sealed(conn,
				     "UPDATE t SET n = n + 1 WHERE id % 40 = 1;"
				     "INSERT INTO t(n, text) SELECT 1, hex(randomblob(3000))");
		(void)raise(SIGKILL);
	}
	CHECK(waitpid(child, &status, 0) == child && WIFSIGNALED(status), "the child failed");
}

static void a_bit_that_flips_in_any_frame_of_a_log_is_found(void **state)
{
	const char *path = path_of("a.db");
	char log[140];
	uint32_t frames;

	(void)state;
	seed = test_seed();
	make_log(path, false);
	(void)snprintf(log, sizeof log, "%s-wal", path);
	frames = (uint32_t)((size_of_file(log) - 32) / 4120);
	assert_true(frames > 100);
	must_be_clean(path);
	for (int byte = 0; byte < 32; byte++) {
		flip_bit(log, byte, (unsigned)byte % 8);
		page_findings_of(path, false, &found);
		CHECK(damage_is_told(&found, 0, 0), "byte %d of the header", byte);
		flip_bit(log, byte, (unsigned)byte % 8);
	}
	for (uint32_t frame = 1; frame <= frames; frame++) {
		/* in turn: page number, size, salts, checksum, and the page */
		int64_t at = 32 + (int64_t)(frame - 1) * 4120 +
			     (frame % 3 ? 24 + (int64_t)(next_random(&seed) % 4096)
					: (int64_t)(next_random(&seed) % 24));
		unsigned bit = next_random(&seed) % 8;

		if (frame % 4 != 0 && frame + 8 < frames)
			continue;
		flip_bit(log, at, bit);
		page_findings_of(path, false, &found);
		CHECK(damage_is_told(&found, 0, frame), "frame %u, byte %lld, bit %u", frame,
		      (long long)at, bit);
		flip_bit(log, at, bit);
	}
	must_be_clean(path);
}

static void a_log_that_was_cut_short_is_no_damage(void **state)
{
	const char *path = path_of("a.db");
	char log[140];
	int64_t size;

	(void)state;
	make_log(path, false);
	(void)snprintf(log, sizeof log, "%s-wal", path);
	size = size_of_file(log);
	/* in the last page, in its frame's header, and with the last transaction's commit gone */
	for (int cut = 0; cut < 3; cut++) {
		CHECK(truncate(log, size - (int64_t[]){100, 4100, 4120 + 500}[cut]) == 0, "%s",
		      log);
		must_be_clean(path);
	}
	/* and what was never written reads as zeros */
	CHECK(truncate(log, size) == 0, "%s", log);
	must_be_clean(path);
}

static void a_torn_last_transaction_is_told_as_a_note(void **state)
{
	static const char zeros[2048];
	const char *path = path_of("a.db");
	char log[140];
	int fd;

	(void)state;
	make_log(path, false);
	(void)snprintf(log, sizeof log, "%s-wal", path);
	fd = open(log, O_RDWR | O_CLOEXEC);
	CHECK(fd >= 0 && pwrite(fd, zeros, sizeof zeros, size_of_file(log) - 3000) == 2048, "%s",
	      log);
	(void)close(fd);
	page_findings_of(path, true, &found);
	assert_int_equal(found.damage, 0);
	assert_int_equal(found.notes, 1);
	assert_non_null(strstr(found.items[0].message, "last transaction"));
}

static void what_the_log_holds_is_a_note_in_the_file_and_the_rest_is_damage(void **state)
{
	const char *path = path_of("a.db");
	sqlite3 *db = NULL;
	sqlite3_stmt *stmt = NULL;
	uint32_t last;

	(void)state;
	make_log(path, false);
	/* the row that every transaction of the log changed, and a page that none did */
	CHECK(sqlite3_open(path, &db) == SQLITE_OK, "%s", path);
	CHECK(sqlite3_prepare_v2(db,
				 "SELECT max(pageno) FROM dbstat WHERE name = 't' AND "
				 "pagetype = 'overflow'",
				 -1, &stmt, NULL) == SQLITE_OK &&
		      sqlite3_step(stmt) == SQLITE_ROW,
	      "%s", sqlite3_errmsg(db));
	last = (uint32_t)sqlite3_column_int(stmt, 0);
	(void)sqlite3_finalize(stmt);
	(void)sqlite3_db_config(db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
	(void)sqlite3_close(db);
	assert_true(last > 2);
	flip_bit(path, 50, 1); /* page 1 grows with every transaction */
	page_findings_of(path, true, &found);
	assert_int_equal(found.damage, 0);
	assert_int_equal(found.notes, 1);
	assert_int_equal(found.items[0].page, 1);
	flip_bit(path, (int64_t)2 * 4096 + 50, 1);
	page_findings_of(path, false, &found);
	assert_int_equal(found.damage + found.notes, 2);
}

static void a_file_that_lost_its_end_is_found(void **state)
{
	const char *path = path_of("a.db");
	kp_sql_conn *conn = open_sealed(path, false);
	int64_t size;

	(void)state;
	write_sealed(conn, SEALED_TABLE);
	write_sealed(conn, SEALED_ROWS);
	kp_sql_close(&conn);
	size = size_of_file(path);
	for (int cut = 0; cut < 3; cut++) {
		CHECK(truncate(path, size - (int64_t[]){1, 4096, 50000}[cut]) == 0, "%s", path);
		page_findings_of(path, cut % 2, &found);
		assert_true(found.damage > 0);
		assert_non_null(strstr(found.items[0].message, "ends"));
	}
	CHECK(truncate(path, 0) == 0, "%s", path);
	page_findings_of(path, true, &found);
	assert_int_equal(found.damage, 1);
	CHECK(unlink(path) == 0, "%s", path);
	assert_int_equal(kp_sqlite_check_file(path, page_findings_add, &found, &err),
			 KEEP_NOT_FOUND);
}

/* ---------------------------------------------------------------- other programs */

static void a_file_that_stock_sqlite_made_has_no_seals_and_no_damage(void **state)
{
	const char *path = path_of("a.db");
	bool is_sealed = true;

	(void)state;
	run_stock(path, SEALED_TABLE ";" SEALED_ROWS);
	must_be_clean(path);
	run_stock(path, "PRAGMA journal_mode = WAL; UPDATE t SET n = 1");
	must_be_clean(path);
	OK(kp_sqlite_is_sealed(path, &is_sealed, &err));
	assert_false(is_sealed);
	assert_int_equal(count_seals(path, KP_SEAL_RIGHT), 0);
	make_log(path_of("plain.db"), true); /* Keep's, without the option */
	must_be_clean(path_of("plain.db"));
}

/* Keep writes, is killed, and a person looks at the file with SQLite's shell, which copies the log
   into it when it closes. */
static void what_keep_wrote_and_stock_sqlite_copied_is_not_sealed_and_not_damaged(void **state)
{
	const char *path = path_of("a.db");
	kp_sql_conn *conn;

	(void)state;
	make_log(path, false);
	run_stock(path, "SELECT count(*) FROM t");
	assert_int_equal(count_seals(path, KP_SEAL_WRONG), 0);
	assert_true(count_seals(path, KP_SEAL_NONE) > 10);
	page_findings_of(path, true, &found);
	assert_int_equal(found.damage, 0);
	assert_int_equal(found.notes, 1);
	assert_true(found.items[0].may_reseal);
	/* What Keep writes next is sealed again, and the rest on demand. */
	conn = open_sealed(path, false);
	write_sealed(conn, "UPDATE t SET n = n + 1");
	kp_sql_close(&conn);
	OK(kp_sqlite_reseal(path, &err));
	assert_int_equal(count_seals(path, KP_SEAL_NONE), 0);
	must_be_clean(path);
}

static void what_stock_sqlite_wrote_itself_is_told_and_can_be_sealed(void **state)
{
	const char *path = path_of("a.db");
	kp_sql_conn *conn = open_sealed(path, false);

	(void)state;
	write_sealed(conn, SEALED_TABLE);
	write_sealed(conn, SEALED_ROWS);
	kp_sql_close(&conn);
	run_stock(path, "UPDATE t SET n = n + 1 WHERE id < 100");
	page_findings_of(path, true, &found);
	assert_true(found.damage > 0);
	for (int i = 0; i < found.count; i++) {
		assert_true(found.items[i].may_reseal);
		assert_non_null(strstr(found.items[i].message, "another program"));
	}
	OK(kp_sqlite_reseal(path, &err));
	must_be_clean(path);
	/* While Keep has it open, its own checkpoints seal whatever is in the log. */
	conn = open_sealed(path, false);
	run_stock(path, "UPDATE t SET n = n + 1 WHERE id < 100");
	kp_sql_tend(conn);
	kp_sql_close(&conn);
	must_be_clean(path);
}

static void what_is_damaged_is_not_sealed(void **state)
{
	const char *path = path_of("a.db");
	kp_sql_conn *conn = open_sealed(path, false);

	(void)state;
	write_sealed(conn, SEALED_TABLE);
	write_sealed(conn, SEALED_ROWS);
	kp_sql_close(&conn);
	flip_bit(path, 3 * 4096, 5); /* the page's kind, which SQLite itself looks at */
	assert_int_equal(kp_sqlite_reseal(path, &err), KEEP_CORRUPT);
	page_findings_of(path, true, &found);
	assert_true(damage_is_told(&found, 4, 0));
	assert_true(found.damage > 1); /* and what integrity_check says */
}

static void a_file_that_was_made_without_seals_gets_them_on_demand(void **state)
{
	const char *path = path_of("a.db");
	kp_sql_conn *conn;
	bool is_sealed = false;

	(void)state;
	make_log(path, true);
	OK(kp_sqlite_reseal(path, &err));
	OK(kp_sqlite_is_sealed(path, &is_sealed, &err));
	assert_true(is_sealed);
	must_be_clean(path);
	assert_true(count_seals(path, KP_SEAL_RIGHT) > 100);
	conn = open_sealed(path, true); /* and keeps them */
	write_sealed(conn, "UPDATE t SET n = n + 1");
	kp_sql_close(&conn);
	must_be_clean(path);
	assert_int_equal(count_seals(path, KP_SEAL_NONE), 0);
}

/* ---------------------------------------------------------------- copies */

static void must_be_sealed(const char *path, bool is_sealed)
{
	bool is = false;

	must_be_clean(path);
	OK(kp_sqlite_is_sealed(path, &is, &err));
	CHECK(is == is_sealed, "%s: %d", path, is);
	if (is)
		assert_int_equal(count_seals(path, KP_SEAL_NONE), 0);
}

static void a_backup_and_what_is_restored_from_it_keep_the_seals(void **state)
{
	char home[128], back[300], restored[128];
	keep_backup_options options = KEEP_BACKUP_OPTIONS_INIT;
	keep_backup_result result;
	keep_restore_options restore = KEEP_RESTORE_OPTIONS_INIT;
	keep_restore_result done;
	keep_gateway_options gateway_options = KEEP_GATEWAY_OPTIONS_INIT;
	keep_gateway *gateway = NULL;
	home_filled filled;
	char url[HOME_URL_MAX];
	keep_message message = {.chat_jid = KEEP_BYTES("web:9"),
				.id = KEEP_BYTES("1"),
				.sender = KEEP_BYTES("42"),
				.timestamp = INT64_C(1775927901123),
				.content = KEEP_BYTES("x")};
	keep_put_result put;

	(void)state;
	(void)temp_path(&folder, "home", home);
	(void)temp_path(&folder, "restored", restored);
	home_fill(home, &filled);
	OK(keep_gateway_open(home_store(home, "gateway", url), &gateway_options, &gateway, &err));
	OK(keep_gateway_put_message(gateway, &message, NULL, &put, &err)); /* in its log */
	OK(keep_backup_make(home, &options, &result, &err));
	keep_gateway_close(&gateway);
	(void)snprintf(back, sizeof back, "%s/backups/%s", home, result.name);
	assert_true(each_database(back, must_be_sealed) >= 3 + 2 * 4);
	OK(keep_restore(back, restored, &restore, &done, &err));
	assert_true(each_database(restored, must_be_sealed) >= 3 + 2 * 4);
}

static void copies_and_vacuum_keep_the_seals(void **state)
{
	char path[128], copy[160], exported[128], into[128], sql[300];
	kp_sql_conn *conn = open_sealed(temp_path(&folder, "a.db", path), false);

	(void)state;
	(void)temp_path(&folder, "exported.db", exported);
	(void)temp_path(&folder, "into.db", into);
	write_sealed(conn, SEALED_TABLE);
	for (int i = 0; i < 12; i++) /* more than a cache of SQLite's holds */
		write_sealed(conn, SEALED_ROWS);
	OK(kp_sql_begin(conn, KP_SQL_WRITE, &err));
	OK(kp_sql_copy(conn, "before", &err));
	OK(kp_sql_commit(conn, &err));
	OK(kp_sqlite_export(conn, "main", exported, &err));
	kp_sql_close(&conn);
	(void)snprintf(copy, sizeof copy, "%s.before", path);
	must_be_sealed(copy, true);
	must_be_sealed(exported, true);
	run_stock(path, "DELETE FROM t WHERE id % 3 = 0");
	OK(kp_sqlite_reseal(path, &err));
	conn = open_sealed(path, false);
	OK(kp_sql_script(conn, "VACUUM", &err));
	kp_sql_close(&conn);
	must_be_sealed(path, true);
	/* A VACUUM INTO by stock SQLite keeps the room, without seals. */
	(void)snprintf(sql, sizeof sql, "VACUUM INTO '%s'", into);
	run_stock(path, sql);
	page_findings_of(into, true, &found);
	assert_int_equal(found.damage, 0);
}

/* ---------------------------------------------------------------- the seal itself */

static void seals_are_those_of_the_reference_library(void **state)
{
	static const struct {
		size_t size;
		uint32_t page;
		uint64_t seal; /* XXH64 of libxxhash 0.8.1 */
	} known[] = {
		{512, 1, UINT64_C(0x7f1ff21d961a89d2)},
		{4096, 7, UINT64_C(0xe809a9e39c40f973)},
		{65536, 4000000000, UINT64_C(0x6235bc03b9935227)},
	};
	static unsigned char page[65536];

	(void)state;
	for (size_t i = 0; i < KP_COUNT(known); i++) {
		uint64_t seal = 0;

		for (size_t at = 0; at < sizeof page; at++)
			page[at] = (unsigned char)(at * 7 + 3);
		kp_seal_put(page, known[i].size, known[i].page);
		for (unsigned at = 8; at-- > 0;)
			seal = seal << 8 | page[known[i].size - 8 + at];
		assert_true(seal == known[i].seal);
		assert_int_equal(kp_seal_look(page, known[i].size, known[i].page), KP_SEAL_RIGHT);
		assert_int_equal(kp_seal_look(page, known[i].size, known[i].page + 1),
				 KP_SEAL_WRONG);
	}
	memset(page, 0, sizeof page);
	assert_int_equal(kp_seal_look(page, 4096, 1), KP_SEAL_EMPTY);
	page[100] = 1;
	assert_int_equal(kp_seal_look(page, 4096, 1), KP_SEAL_NONE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_bit_that_flips_in_any_page_of_any_store_is_found,
						begin, end),
		cmocka_unit_test_setup_teardown(a_bit_that_flips_in_the_header_is_found, begin,
						end),
		cmocka_unit_test_setup_teardown(a_bit_that_flips_in_any_frame_of_a_log_is_found,
						begin, end),
		cmocka_unit_test_setup_teardown(a_log_that_was_cut_short_is_no_damage, begin, end),
		cmocka_unit_test_setup_teardown(a_torn_last_transaction_is_told_as_a_note, begin,
						end),
		cmocka_unit_test_setup_teardown(
			what_the_log_holds_is_a_note_in_the_file_and_the_rest_is_damage, begin,
			end),
		cmocka_unit_test_setup_teardown(a_file_that_lost_its_end_is_found, begin, end),
		cmocka_unit_test_setup_teardown(
			a_file_that_stock_sqlite_made_has_no_seals_and_no_damage, begin, end),
		cmocka_unit_test_setup_teardown(
			what_keep_wrote_and_stock_sqlite_copied_is_not_sealed_and_not_damaged,
			begin, end),
		cmocka_unit_test_setup_teardown(
			what_stock_sqlite_wrote_itself_is_told_and_can_be_sealed, begin, end),
		cmocka_unit_test_setup_teardown(what_is_damaged_is_not_sealed, begin, end),
		cmocka_unit_test_setup_teardown(
			a_file_that_was_made_without_seals_gets_them_on_demand, begin, end),
		cmocka_unit_test_setup_teardown(
			a_backup_and_what_is_restored_from_it_keep_the_seals, begin, end),
		cmocka_unit_test_setup_teardown(copies_and_vacuum_keep_the_seals, begin, end),
		cmocka_unit_test(seals_are_those_of_the_reference_library),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
