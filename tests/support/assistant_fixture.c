/* assistant_fixture.c - see assistant_fixture.h. */
#include "assistant_fixture.h"

#include "sql/sql.h"

#include "temp_folder.h"

static const char *program;
static temp_folder folder;
static bool is_file;
static int stores; /* so many were made; the last one is the present one */

/* What encrypts in tests, unless a test says otherwise. */
static const char test_key[] = "cw_0x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e4=";

static const char *find_word(const char *conninfo, const char *name, char out[200])
{
	const char *at = strstr(conninfo, name);

	snprintf(out, 200, "%.*s", at ? (int)strcspn(at + strlen(name), " ") : 0,
		 at ? at + strlen(name) : "");
	return out;
}

/* PostgreSQL schemas of this program are assistant_<pid>_<number>. */
static void format_schema(int number, char out[64])
{
	snprintf(out, 64, "assistant_%ld_%d", (long)getpid(), number);
}

static void format_url(int number, char url[ASSISTANT_URL_MAX])
{
	const char *server = getenv("KEEP_TEST_POSTGRES");
	char host[200], user[200], database[200], schema[64];

	format_schema(number, schema);
	if (is_file)
		snprintf(url, ASSISTANT_URL_MAX, "sqlite:%s/assistant-%d.db", folder.path, number);
	else
		snprintf(url, ASSISTANT_URL_MAX, "postgres:///%s?host=%s&user=%s&schema=%s",
			 find_word(server, "dbname=", database), find_word(server, "host=", host),
			 find_word(server, "user=", user), schema);
}

const char *assistant_program(void)
{
	return program;
}

void assistant_begin(int argc, char **argv)
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
	(void)snprintf(folder.path, sizeof folder.path, "%s/keep-assistant-XXXXXX",
		       getenv("KEEP_TEST_FOLDER") ? getenv("KEEP_TEST_FOLDER") : "/tmp");
	if (!mkdtemp(folder.path))
		exit(1);
}

const char *assistant_kind(void)
{
	return is_file ? "sqlite" : "postgres";
}

bool assistant_is_file(void)
{
	return is_file;
}

const char *assistant_url(void)
{
	static char url[ASSISTANT_URL_MAX];

	format_url(stores, url);
	return url;
}

void assistant_next_url(char url[ASSISTANT_URL_MAX])
{
	format_url(++stores, url);
}

keep_status assistant_open_with(const keep_assistant_options *options, keep_assistant **out,
				keep_error *err)
{
	return keep_assistant_open(assistant_url(), options, out, err);
}

keep_assistant *assistant_again(const char *service)
{
	keep_assistant_options options = KEEP_ASSISTANT_OPTIONS_INIT;
	keep_assistant *assistant = NULL;
	keep_error err = KEEP_ERROR_INIT;

	options.service = service;
	options.create = true;
	options.timeout_ms = 10000;
	options.keys = test_key;
	OK(assistant_open_with(&options, &assistant, &err));
	return assistant;
}

keep_assistant *assistant_fresh(void)
{
	stores++;
	return assistant_again(NULL);
}

kp_sql_conn *assistant_connect_behind(void)
{
	keep_error err = KEEP_ERROR_INIT;
	kp_sql_conn *conn = NULL;
	char schema[64], file[200];
	kp_sql_options options = {.timeout_ms = 10000};

	format_schema(stores, schema);
	snprintf(file, sizeof file, "%s/assistant-%d.db", folder.path, stores);
	options.location = is_file ? file : getenv("KEEP_TEST_POSTGRES");
	options.schema = is_file ? NULL : schema;
	OK(kp_sql_open(is_file ? &kp_sql_sqlite : &kp_sql_postgres, &options, &conn, &err));
	return conn;
}

const char *assistant_sql(const char *sql)
{
	static char text[200];
	keep_error err = KEEP_ERROR_INIT;
	kp_sql_conn *conn = assistant_connect_behind();
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

void assistant_end(void)
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

const char *assistant_file(void)
{
	static char file[200];

	snprintf(file, sizeof file, "%s/assistant-%d.db", folder.path, stores);
	return file;
}

const char *assistant_folder(void)
{
	return folder.path;
}

int64_t assistant_count(const char *table)
{
	char sql[200];

	snprintf(sql, sizeof sql, "SELECT CAST(count(*) AS text) FROM %s", table);
	return strtoll(assistant_sql(sql), NULL, 10);
}
