/*
 * home_fixture.c - see home_fixture.h.
 */
#include "home_fixture.h"
#include "keep/engine.h"
#include "keep/gateway.h"
#include "keep/operations.h"
#include "keep/schedule.h"
#include "server_control.h"
#include "sql/sql.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <unistd.h>

static int server_count;

/* ---------------------------------------------------------------- servers */

static void on_server(const char *format, int number)
{
	keep_error err = KEEP_ERROR_INIT;
	kp_sql_options options = {.location = server_environment("KEEP_TEST_POSTGRES"),
				  .timeout_ms = 20000};
	kp_sql_conn *conn = NULL;
	char sql[200], name[64];

	snprintf(name, sizeof name, "keep_home_%d_%d", (int)getpid(), number);
	snprintf(sql, sizeof sql, "%s %s", format, name);
	OK(kp_sql_open(&kp_sql_postgres, &options, &conn, &err));
	OK(kp_sql_script(conn, sql, &err));
	kp_sql_close(&conn);
}

void home_server(char url[HOME_URL_MAX])
{
	const char *conninfo = server_environment("KEEP_TEST_POSTGRES");
	const char *host = strstr(conninfo, "host=");
	int len = host ? (int)strcspn(host + 5, " ") : 0;

	CHECK(host, "KEEP_TEST_POSTGRES has no host");
	on_server("CREATE DATABASE", ++server_count);
	snprintf(url, HOME_URL_MAX, "postgres:///keep_home_%d_%d?host=%.*s&user=keep",
		 (int)getpid(), server_count, len, host + 5);
}

void home_servers_drop(void)
{
	for (; server_count > 0; server_count--)
		on_server("DROP DATABASE IF EXISTS", server_count);
}

const char *home_store(const char *home, const char *store, char url[HOME_URL_MAX])
{
	bool is_server = strncmp(home, "postgres://", 11) == 0;
	const char *file = strcmp(store, "gateway") == 0  ? "/gateway/messages.db"
			   : strcmp(store, "engine") == 0 ? "/engine/default.db"
							  : "/mailbox";

	if (is_server)
		snprintf(url, HOME_URL_MAX, "%s&schema=%s%s", home, store,
			 strcmp(store, "engine") == 0 ? "&namespace=default" : "");
	else
		snprintf(url, HOME_URL_MAX, "sqlite:%s%s", home, file);
	return url;
}

/* ---------------------------------------------------------------- behind the library's back */

static sqlite3 *open_file(const char *home, const char *file)
{
	char path[HOME_URL_MAX];
	sqlite3 *db = NULL;

	snprintf(path, sizeof path, "%s/%s", home, file);
	CHECK(sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, NULL) == SQLITE_OK, "%s", path);
	return db;
}

static int64_t ask(sqlite3 *db, const char *sql)
{
	sqlite3_stmt *stmt = NULL;
	int64_t number;

	CHECK(sqlite3_prepare_v2(db, sql, -1, &stmt, NULL) == SQLITE_OK, "%s: %s", sql,
	      sqlite3_errmsg(db));
	CHECK(sqlite3_step(stmt) == SQLITE_ROW, "%s: no row", sql);
	number = sqlite3_column_int64(stmt, 0);
	sqlite3_finalize(stmt);
	return number;
}

int64_t home_count(const char *home, const char *file, const char *table)
{
	sqlite3 *db = open_file(home, file);
	char sql[200];
	int64_t count;

	snprintf(sql, sizeof sql, "SELECT count(*) FROM \"%s\"", table);
	count = ask(db, sql);
	sqlite3_close(db);
	return count;
}

void home_script(const char *home, const char *file, const char *sql)
{
	sqlite3 *db = open_file(home, file);
	char *why = NULL;

	CHECK(sqlite3_exec(db, sql, NULL, NULL, &why) == SQLITE_OK, "%s", why);
	sqlite3_close(db);
}

/* ---------------------------------------------------------------- filling */

static void make_folder(const char *home, const char *name)
{
	char path[HOME_URL_MAX];

	snprintf(path, sizeof path, "%s/%s", home, name);
	CHECK(kp_folder_make(AT_FDCWD, path, 0700, NULL) == KEEP_OK, "%s", path);
}

static void fill_chat(keep_gateway *gateway, home_filled *filled)
{
	static const char *const contents[] = {"hello", "", "h\xc3\xa9llo \xf0\x9f\x99\x82",
					       "line\nline\ttab \\ ' \"", "\x01\x7f"};
	keep_error err = KEEP_ERROR_INIT;
	keep_put_result result;

	for (int i = 0; i < 40; i++) {
		char id[16];
		keep_message message = {.chat_jid = KEEP_BYTES(HOME_CHAT),
					.sender = KEEP_BYTES("42"),
					.content = keep_bytes_of(contents[i % 5]),
					.timestamp = INT64_C(1775927901123) + i};

		snprintf(id, sizeof id, "m%d", 100 - i);
		message.id = keep_bytes_of(id);
		if (i % 7 == 0)
			message.attachments = KEEP_BYTES(" [ {\"a\" : 1.50, \"b\":\"\\u0000\"} ] ");
		OK(keep_gateway_put_message(gateway, &message, NULL, &result, &err));
		filled->last_seq = result.seq;
	}
	for (int i = 0; i < 3; i++) {
		keep_message message = {.chat_jid = KEEP_BYTES(HOME_CHAT),
					.content = KEEP_BYTES("to be delivered"),
					.group_folder = KEEP_BYTES("main")};

		OK(keep_gateway_put_outbound(gateway, &message, &result, NULL, &err));
		filled->last_seq = result.seq;
	}
}

static void fill_gateway(const char *home, home_filled *filled)
{
	keep_gateway_options options = KEEP_GATEWAY_OPTIONS_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_gateway *gateway = NULL;
	char url[HOME_URL_MAX];
	keep_route route = {.jid = KEEP_BYTES("*"),
			    .type = KEEP_BYTES("default"),
			    .target = KEEP_BYTES("main")};
	keep_scheduled_task task = {.id = KEEP_BYTES("t1"),
				    .owner = KEEP_BYTES("main"),
				    .chat_jid = KEEP_BYTES(HOME_CHAT),
				    .prompt = KEEP_BYTES("water the plants"),
				    .cron = KEEP_BYTES("0 9 * * *")};
	keep_registered_group group = {.jid = KEEP_BYTES(HOME_CHAT),
				       .folder = KEEP_BYTES("main"),
				       .slink_token = KEEP_BYTES("a token that is a secret"),
				       .container_config = KEEP_BYTES("{\"mounts\": []}")};
	int64_t id = 0;

	options.create = true;
	OK(keep_gateway_open(home_store(home, "gateway", url), &options, &gateway, &err));
	fill_chat(gateway, filled);
	for (int i = 0; i < 3; i++) {
		OK(keep_gateway_add_route(gateway, &route, &filled->last_route, &err));
		route.jid = i ? KEEP_BYTES("web:") : KEEP_BYTES("telegram:");
	}
	OK(keep_gateway_put_group(gateway, &group, &err));
	OK(keep_gateway_create_task(gateway, &task, NULL, NULL, &err));
	OK(keep_gateway_set_session(gateway, KEEP_BYTES("main"), KEEP_BYTES(""), KEEP_BYTES("s-1"),
				    &err));
	OK(keep_gateway_session_started(gateway, KEEP_BYTES("main"), KEEP_BYTES(""),
					KEEP_BYTES("s-1"), 0, &id, &err));
	OK(keep_gateway_set_state(gateway, KEEP_BYTES("k"), KEEP_BYTES("v"), &err));
	OK(keep_gateway_advance(gateway, KEEP_BYTES("router"), KEEP_BYTES(HOME_CHAT), 5, NULL,
				&err));
	keep_gateway_close(&gateway);
}

static void fill_engine(const char *home)
{
	keep_engine_options options = KEEP_ENGINE_OPTIONS_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_engine *engine = NULL;
	char url[HOME_URL_MAX];
	keep_buffer large = KEEP_BUFFER_INIT;

	options.create = true;
	OK(keep_engine_open(home_store(home, "engine", url), &options, &engine, &err));
	for (int i = 0; i < 60; i++) {
		char path[64];

		snprintf(path, sizeof path, i % 3 ? "notes/n%d" : "notes/deep/er/n%d", 90 - i);
		OK(keep_engine_set(engine, keep_bytes_of(path), (keep_bytes){"\0\xff v", 4}, &err));
	}
	OK(keep_engine_set(engine, KEEP_BYTES("top"), KEEP_BYTES(""), &err));
	OK(keep_engine_set(engine, KEEP_BYTES("notes"), KEEP_BYTES("a folder too"), &err));
	OK(keep_engine_set(engine, KEEP_BYTES("notes-2/a"), KEEP_BYTES("- is before /"), &err));
	OK(keep_engine_set_scored(engine, KEEP_BYTES("notes/old"), KEEP_BYTES("x"), 7, &err));
	OK(keep_engine_set_scored(engine, KEEP_BYTES("notes/older"), KEEP_BYTES("y"), 7, &err));
	OK(kp_buffer_reserve(&large, 300000, &err));
	memset(large.data, 'x', 300000);
	large.len = 300000;
	OK(keep_engine_set(engine, KEEP_BYTES("notes/large"), kp_buffer_bytes(&large), &err));
	keep_buffer_release(&large);
	keep_engine_close(&engine);
}

void home_fill(const char *home, home_filled *filled)
{
	keep_error err = KEEP_ERROR_INIT;

	OK(keep_home_init(home, &err));
	if (strncmp(home, "postgres://", 11) != 0) {
		make_folder(home, "gateway");
		make_folder(home, "engine");
	}
	fill_gateway(home, filled);
	fill_engine(home);
	home_fill_mailbox(home, filled);
	keep_zone_forget();
}

void home_fill_little(const char *home, home_filled *filled)
{
	keep_gateway_options options = KEEP_GATEWAY_OPTIONS_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_gateway *gateway = NULL;
	char url[HOME_URL_MAX];

	OK(keep_home_init(home, &err));
	make_folder(home, "gateway");
	make_folder(home, "engine");
	options.create = true;
	OK(keep_gateway_open(home_store(home, "gateway", url), &options, &gateway, &err));
	fill_chat(gateway, filled);
	keep_gateway_close(&gateway);
	fill_engine(home);
	home_fill_mailbox(home, filled);
}

/* ---------------------------------------------------------------- comparing */

static void attach(sqlite3 *db, const char *home, const char *file)
{
	char *sql = sqlite3_mprintf("ATTACH '%q/%q' AS b", home, file);

	CHECK(sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK, "%s: %s", sql,
	      sqlite3_errmsg(db));
	sqlite3_free(sql);
}

/* Neither has a row that the other has not, and there are as many. */
static void compare_rows(sqlite3 *db, const char *file, const char *what, const char *a,
			 const char *b)
{
	char *sql = sqlite3_mprintf(
		"SELECT (SELECT count(*) FROM (%s EXCEPT %s)) + (SELECT count(*) FROM (%s EXCEPT "
		"%s)) + abs((SELECT count(*) FROM (%s)) - (SELECT count(*) FROM (%s)))",
		a, b, b, a, a, b);

	CHECK(ask(db, sql) == 0, "%s, %s: not the same", file, what);
	sqlite3_free(sql);
}

void home_file_must_be_equal(const char *a, const char *b, const char *file)
{
	sqlite3 *db = open_file(a, file);
	sqlite3_stmt *tables = NULL;

	attach(db, b, file);
	CHECK(sqlite3_prepare_v2(
		      db,
		      "SELECT name FROM main.sqlite_schema WHERE type = 'table' AND name "
		      "NOT IN ('migrations', 'schema_migrations', 'properties', 'documents', "
		      "'folders') AND name NOT LIKE '%!_words%' ESCAPE '!'",
		      -1, &tables, NULL) == SQLITE_OK,
	      "%s", sqlite3_errmsg(db));
	while (sqlite3_step(tables) == SQLITE_ROW) {
		const char *name = (const char *)sqlite3_column_text(tables, 0);
		char one[160], other[160];

		snprintf(one, sizeof one, "SELECT * FROM main.\"%s\"", name);
		snprintf(other, sizeof other, "SELECT * FROM b.\"%s\"", name);
		compare_rows(db, file, name, one, other);
	}
	sqlite3_finalize(tables);
	sqlite3_close(db);
}

static void compare_engines(const char *a, const char *b)
{
	static const char *const pairs[][2] = {
		{"SELECT f.path, d.path, score, tie, value FROM main.documents d "
		 "JOIN main.folders f ON f.id = d.folder",
		 "SELECT f.path, d.path, score, tie, value FROM b.documents d "
		 "JOIN b.folders f ON f.id = d.folder"},
		{"SELECT f.path, p.path, f.documents, f.folders FROM main.folders f "
		 "LEFT JOIN main.folders p ON p.id = f.parent",
		 "SELECT f.path, p.path, f.documents, f.folders FROM b.folders f "
		 "LEFT JOIN b.folders p ON p.id = f.parent"},
	};
	sqlite3 *db = open_file(a, "engine/default.db");

	attach(db, b, "engine/default.db");
	for (size_t i = 0; i < KP_COUNT(pairs); i++)
		compare_rows(db, "engine", i ? "folders" : "documents", pairs[i][0], pairs[i][1]);
	CHECK(ask(db, "SELECT count(*) FROM main.documents") ==
		      ask(db, "SELECT count(*) FROM b.documents"),
	      "documents without a folder");
	sqlite3_close(db);
}

void homes_must_be_equal(const char *a, const char *b, const home_filled *filled)
{
	char file[HOME_URL_MAX];

	home_file_must_be_equal(a, b, "gateway/messages.db");
	home_file_must_be_equal(a, b, "mailbox/registry.db");
	for (int i = 0; i < 2; i++) {
		snprintf(file, sizeof file, "mailbox/sessions/ada/%s/%s.db", filled->session,
			 i ? "outbound" : "inbound");
		home_file_must_be_equal(a, b, file);
	}
	compare_engines(a, b);
}

void results_must_be_equal(const keep_transfer_result *a, const keep_transfer_result *b)
{
	assert_int_equal(a->count, b->count);
	assert_int_equal(a->rows, b->rows);
	for (size_t i = 0; i < a->count; i++) {
		assert_bytes_equal(a->tables[i].store, b->tables[i].store);
		assert_bytes_equal(a->tables[i].table, b->tables[i].table);
		assert_int_equal(a->tables[i].rows, b->tables[i].rows);
		assert_bytes_equal(a->tables[i].sha256, b->tables[i].sha256);
	}
}
