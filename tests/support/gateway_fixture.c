/* gateway_fixture.c - see gateway_fixture.h. */
#include "gateway_fixture.h"

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

/* PostgreSQL schemas of this program are gateway_<pid>_<number>. */
static void format_schema(int number, char out[64])
{
	snprintf(out, 64, "gateway_%ld_%d", (long)getpid(), number);
}

static void format_url(int number, char url[GATEWAY_URL_MAX])
{
	const char *server = getenv("KEEP_TEST_POSTGRES");
	char host[200], user[200], database[200], schema[64];

	format_schema(number, schema);
	if (is_file)
		snprintf(url, GATEWAY_URL_MAX, "sqlite:%s/messages-%d.db", folder.path, number);
	else
		snprintf(url, GATEWAY_URL_MAX, "postgres:///%s?host=%s&user=%s&schema=%s",
			 find_word(server, "dbname=", database), find_word(server, "host=", host),
			 find_word(server, "user=", user), schema);
}

const char *gateway_program(void)
{
	return program;
}

void gateway_begin(int argc, char **argv)
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
	(void)snprintf(folder.path, sizeof folder.path, "%s/keep-gateway-XXXXXX",
		       getenv("KEEP_TEST_FOLDER") ? getenv("KEEP_TEST_FOLDER") : "/tmp");
	if (!mkdtemp(folder.path))
		exit(1);
}

const char *gateway_kind(void)
{
	return is_file ? "sqlite" : "postgres";
}

bool gateway_is_file(void)
{
	return is_file;
}

const char *gateway_url(void)
{
	static char url[GATEWAY_URL_MAX];

	format_url(stores, url);
	return url;
}

void gateway_next_url(char url[GATEWAY_URL_MAX])
{
	format_url(++stores, url);
}

keep_status gateway_open_with(const keep_gateway_options *options, keep_gateway **out,
			      keep_error *err)
{
	return keep_gateway_open(gateway_url(), options, out, err);
}

keep_gateway *gateway_again(const char *service)
{
	keep_gateway_options options = KEEP_GATEWAY_OPTIONS_INIT;
	keep_gateway *gateway = NULL;
	keep_error err = KEEP_ERROR_INIT;

	options.service = service;
	options.create = true;
	options.timeout_ms = 10000;
	OK(gateway_open_with(&options, &gateway, &err));
	return gateway;
}

keep_gateway *gateway_fresh(void)
{
	stores++;
	return gateway_again(NULL);
}

kp_sql_conn *gateway_connect_behind(void)
{
	keep_error err = KEEP_ERROR_INIT;
	kp_sql_conn *conn = NULL;
	char schema[64], file[200];
	kp_sql_options options = {.timeout_ms = 10000};

	format_schema(stores, schema);
	snprintf(file, sizeof file, "%s/messages-%d.db", folder.path, stores);
	options.location = is_file ? file : getenv("KEEP_TEST_POSTGRES");
	options.schema = is_file ? NULL : schema;
	OK(kp_sql_open(is_file ? &kp_sql_sqlite : &kp_sql_postgres, &options, &conn, &err));
	return conn;
}

const char *gateway_sql(const char *sql)
{
	static char text[200];
	keep_error err = KEEP_ERROR_INIT;
	kp_sql_conn *conn = gateway_connect_behind();
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

void gateway_end(void)
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

int64_t gateway_put(keep_gateway *gateway, const char *jid, const char *id, const char *content)
{
	keep_message message = {.chat_jid = keep_bytes_of(jid),
				.id = keep_bytes_of(id),
				.sender = KEEP_BYTES("ada"),
				.content = keep_bytes_of(content)};
	keep_put_result result = {0};
	keep_error err = KEEP_ERROR_INIT;

	OK(keep_gateway_put_message(gateway, &message, NULL, &result, &err));
	assert_int_equal(result.put, KEEP_PUT_INSERTED);
	return result.seq;
}
