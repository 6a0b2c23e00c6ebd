/* mailbox_fixture.c - see mailbox_fixture.h. */
#include "mailbox_fixture.h"

#include "sql/sql.h"

#include "temp_folder.h"

static const char *program;
static temp_folder folder;
static bool is_file;
static int stores; /* so many were made; the last one is the present one */

static const char *find_word(const char *conninfo, const char *name, char out[200])
{
	const char *at = strstr(conninfo, name);

	snprintf(out, 200, "%.*s", at ? (int)strcspn(at + strlen(name), " ") : 0,
		 at ? at + strlen(name) : "");
	return out;
}

/* PostgreSQL schemas of this program are mailbox_<pid>_<number>. */
static void format_schema(int number, char out[64])
{
	snprintf(out, 64, "mailbox_%ld_%d", (long)getpid(), number);
}

static void format_url(int number, char url[MAILBOX_URL_MAX])
{
	const char *server = getenv("KEEP_TEST_POSTGRES");
	char host[200], user[200], database[200], schema[64];

	format_schema(number, schema);
	if (is_file)
		snprintf(url, MAILBOX_URL_MAX, "sqlite:%s/mailbox-%d", folder.path, number);
	else
		snprintf(url, MAILBOX_URL_MAX, "postgres:///%s?host=%s&user=%s&schema=%s",
			 find_word(server, "dbname=", database), find_word(server, "host=", host),
			 find_word(server, "user=", user), schema);
}

const char *mailbox_program(void)
{
	return program;
}

void mailbox_begin(int argc, char **argv)
{
	program = argv[0];
	is_file = argc > 1 && strcmp(argv[1], "sqlite") == 0;
	if (!is_file && (argc < 2 || strcmp(argv[1], "postgres") != 0)) {
		fprintf(stderr, "wrong use: the argument is sqlite or postgres\n");
		exit(2);
	}
	if (!is_file && !getenv("KEEP_TEST_POSTGRES")) {
		fprintf(stderr, "KEEP_TEST_POSTGRES is not set: run this under "
				"tests/support/with_servers.sh\n");
		exit(1);
	}
	(void)snprintf(folder.path, sizeof folder.path, "%s/keep-mailbox-XXXXXX",
		       getenv("KEEP_TEST_FOLDER") ? getenv("KEEP_TEST_FOLDER") : "/tmp");
	if (!mkdtemp(folder.path))
		exit(1);
}

const char *mailbox_kind(void)
{
	return is_file ? "sqlite" : "postgres";
}

bool mailbox_is_file(void)
{
	return is_file;
}

const char *mailbox_url(void)
{
	static _Thread_local char url[MAILBOX_URL_MAX];

	format_url(stores, url);
	return url;
}

void mailbox_next_url(char url[MAILBOX_URL_MAX])
{
	format_url(++stores, url);
}

keep_status mailbox_open_with(const keep_mailbox_options *options, keep_mailbox **out,
			      keep_error *err)
{
	return keep_mailbox_open(mailbox_url(), options, out, err);
}

keep_mailbox *mailbox_again(void)
{
	keep_mailbox_options options = KEEP_MAILBOX_OPTIONS_INIT;
	keep_mailbox *mailbox = NULL;
	keep_error err = KEEP_ERROR_INIT;

	options.create = true;
	options.timeout_ms = 10000;
	OK(mailbox_open_with(&options, &mailbox, &err));
	return mailbox;
}

keep_mailbox *mailbox_fresh(void)
{
	stores++;
	return mailbox_again();
}

kp_sql_conn *mailbox_connect_behind(const char *session, const char *file)
{
	keep_error err = KEEP_ERROR_INIT;
	kp_sql_conn *conn = NULL;
	char schema[64], path[700];
	kp_sql_options options = {.timeout_ms = 10000, .journal = KP_JOURNAL_AS_IS};

	format_schema(stores, schema);
	if (session)
		snprintf(path, sizeof path, "%s/%s", mailbox_folder(session), file);
	else
		snprintf(path, sizeof path, "%s/mailbox-%d/registry.db", folder.path, stores);
	options.location = is_file ? path : getenv("KEEP_TEST_POSTGRES");
	options.schema = is_file ? NULL : schema;
	OK(kp_sql_open(is_file ? &kp_sql_sqlite : &kp_sql_postgres, &options, &conn, &err));
	return conn;
}

const char *mailbox_folder(const char *session)
{
	static char path[600];

	snprintf(path, sizeof path, "%s/mailbox-%d/sessions/" MAILBOX_AGENT "/%s", folder.path,
		 stores, session);
	return path;
}

const char *mailbox_sql(const char *session, const char *file, const char *sql)
{
	static char text[200];
	keep_error err = KEEP_ERROR_INIT;
	kp_sql_conn *conn = mailbox_connect_behind(session, file);
	kp_sql_stmt *stmt = NULL;
	bool is_read = strncmp(sql, "SELECT", 6) == 0, has_row = false;
	kp_value value = {.is_null = true};

	OK(kp_sql_begin(conn, is_read ? KP_SQL_READ : KP_SQL_WRITE, &err));
	OK(kp_sql_prepare(conn, sql, &stmt, &err));
	OK(kp_sql_step(stmt, &has_row, &err));
	if (has_row)
		OK(kp_sql_column(stmt, 0, KP_TEXT, &value, &err));
	snprintf(text, sizeof text, "%.*s", value.is_null ? 0 : (int)value.bytes.len,
		 value.is_null ? "" : value.bytes.data);
	kp_sql_finish(&stmt);
	if (is_read)
		kp_sql_rollback(conn);
	else
		OK(kp_sql_commit(conn, &err));
	kp_sql_close(&conn);
	return text;
}

void mailbox_end(void)
{
	for (int number = 1; number <= stores && !is_file; number++) {
		kp_sql_options options = {.location = getenv("KEEP_TEST_POSTGRES")};
		kp_sql_conn *conn = NULL;
		char sql[120], schema[64];

		format_schema(number, schema);
		snprintf(sql, sizeof sql, "DROP SCHEMA IF EXISTS %s CASCADE", schema);
		if (kp_sql_open(&kp_sql_postgres, &options, &conn, NULL) != KEEP_OK ||
		    kp_sql_script(conn, sql, NULL) != KEEP_OK)
			fprintf(stderr, "schema %s stays\n", schema);
		kp_sql_close(&conn);
	}
	(void)nftw(folder.path, temp_folder_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

void mailbox_session(keep_mailbox *mailbox, const char *thread, char id[KEEP_SEGMENT_MAX + 1])
{
	keep_session_place place = {
		.agent_group_id = KEEP_BYTES(MAILBOX_AGENT),
		.messaging_group_id = KEEP_BYTES(MAILBOX_CHAT),
		.thread_id = thread ? keep_bytes_of(thread) : (keep_bytes){.data = NULL},
		.session_mode = thread ? KEEP_BYTES("per-thread") : KEEP_BYTES("shared")};
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_session session;

	(void)mailbox_sql(NULL, NULL,
			  "INSERT INTO agent_groups (id, name, folder, created_at) VALUES "
			  "('" MAILBOX_AGENT "', 'Ada', 'ada', '2026-01-01T00:00:00.000Z') "
			  "ON CONFLICT DO NOTHING");
	(void)mailbox_sql(
		NULL, NULL,
		"INSERT INTO messaging_groups (id, channel_type, platform_id, created_at) "
		"VALUES ('" MAILBOX_CHAT "', 'telegram', '42', "
		"'2026-01-01T00:00:00.000Z') ON CONFLICT DO NOTHING");
	OK(keep_mailbox_resolve_session(mailbox, &place, KEEP_NOW, &memory, &session, NULL, &err));
	snprintf(id, KEEP_SEGMENT_MAX + 1, "%.*s", (int)session.id.len, session.id.data);
	keep_memory_release(&memory);
}

keep_agent *mailbox_agent(keep_mailbox *mailbox, const char *session)
{
	keep_agent_options options = KEEP_AGENT_OPTIONS_INIT;
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_agent *agent = NULL;
	char place[MAILBOX_URL_MAX + 200];
	keep_bytes text;

	options.timeout_ms = 10000;
	OK(keep_mailbox_session_place(mailbox, keep_bytes_of(session), &memory, &text, &err));
	snprintf(place, sizeof place, "%.*s", (int)text.len, text.data);
	keep_memory_release(&memory);
	OK(keep_agent_open(place, &options, &agent, &err));
	return agent;
}

int64_t mailbox_post(keep_mailbox *mailbox, const char *session, const char *content)
{
	keep_post post = {.content = keep_bytes_of(content),
			  .channel_type = KEEP_BYTES("telegram"),
			  .platform_id = KEEP_BYTES("42")};
	keep_post_result result;
	keep_error err = KEEP_ERROR_INIT;

	OK(keep_mailbox_post(mailbox, keep_bytes_of(session), &post, &result, &err));
	assert_int_equal(result.posted, KEEP_POSTED_INSERTED);
	return result.seq;
}
