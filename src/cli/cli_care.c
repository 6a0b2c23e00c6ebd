/*
 * cli_care.c - commands that look after a home: rekey, retain, migrate, import, optimize.
 *
 * Each is an operation of the assistant store (or of the gateway, for its own files) under a name
 * of its own; rekey also makes the new key.
 *
 * Tests: tests/cli/test_cli_care.py.
 */
#include "cli/cli.h"
#include "sql/sql.h"
#include "vault/vault.h"

#include <stdlib.h>
#include <string.h>

enum { WORDS_MAX = 12 };

/* The words of `keep assistant …`, as if they had been typed. */
struct words {
	char *list[WORDS_MAX];
	int count;
};

static void add_word(struct words *words, const char *word)
{
	if (word)
		words->list[words->count++] = (char *)(uintptr_t)word;
}

static int run_store(const char *store, const struct words *words)
{
	struct words copy = *words;

	return cli_store_main(kp_store_find(keep_bytes_of(store)), copy.count, copy.list);
}

/* HOME, or KEEP_HOME; NULL with the reason printed. */
static const char *home_of(const char *topic, const char *given)
{
	const char *home = given ? given : getenv("KEEP_HOME");

	if (home && *home)
		return home;
	(void)cli_wrong_use(topic, "%s: HOME: missing, and KEEP_HOME is not set", topic);
	return NULL;
}

/* ---------------------------------------------------------------- retain, optimize, migrate */

int cli_retain_main(int argc, char **argv)
{
	const char *places[1] = {NULL};
	bool dry_run = false, is_json = false;
	const cli_option options[] = {{.name = "dry-run", .flag = &dry_run},
				      {.name = "json", .flag = &is_json},
				      {.name = NULL}};
	struct words words = {.count = 0};
	int exit_status = cli_options_read("retain", options, places, 1, argc, argv);

	if (exit_status != CLI_DONE)
		return exit_status;
	if (!home_of("retain", places[0]))
		return CLI_WRONG_USE;
	add_word(&words, "retain");
	add_word(&words, home_of("retain", places[0]));
	add_word(&words, dry_run ? "--dry-run" : NULL);
	add_word(&words, is_json ? "--json" : NULL);
	return run_store("assistant", &words);
}

int cli_optimize_main(int argc, char **argv)
{
	const char *places[1] = {NULL};
	const cli_option options[] = {{.name = NULL}};
	struct words words = {.count = 0};
	int exit_status = cli_options_read("optimize", options, places, 1, argc, argv);

	if (exit_status != CLI_DONE)
		return exit_status;
	if (!home_of("optimize", places[0]))
		return CLI_WRONG_USE;
	add_word(&words, "optimize");
	add_word(&words, home_of("optimize", places[0]));
	return run_store("assistant", &words);
}

int cli_migrate_main(int argc, char **argv)
{
	const char *places[2] = {NULL, NULL}, *folder = NULL, *what;
	bool is_json = false;
	const cli_option options[] = {{.name = "folder", .text = &folder},
				      {.name = "json", .flag = &is_json},
				      {.name = NULL}};
	struct words words = {.count = 0};
	int exit_status = cli_options_read("migrate", options, places, 2, argc, argv);

	if (exit_status != CLI_DONE)
		return exit_status;
	if (!home_of("migrate", places[0]))
		return CLI_WRONG_USE;
	what = places[1] ? places[1] : "status";
	if (strcmp(what, "status") != 0 && strcmp(what, "plan") != 0 && strcmp(what, "up") != 0)
		return cli_wrong_use("migrate", "migrate: '%s': status, plan or up is needed",
				     what);
	if (strcmp(what, "up") == 0 && !folder)
		return cli_wrong_use("migrate", "migrate: --folder: missing");
	add_word(&words, strcmp(what, "up") == 0 ? "migrate" : "migrations");
	add_word(&words, home_of("migrate", places[0]));
	add_word(&words, folder);
	add_word(&words, strcmp(what, "plan") == 0 ? "--only-pending" : NULL);
	add_word(&words, is_json ? "--json" : NULL);
	return run_store("assistant", &words);
}

/* ---------------------------------------------------------------- import */

/* Which store's file is it? By the columns that only one of them has. */
static keep_status find_store(const char *file, const char **store, keep_error *err)
{
	static const char sql[] =
		"SELECT (SELECT count(*) FROM pragma_table_info('messages') WHERE name = "
		"'chat_jid'), "
		"(SELECT count(*) FROM pragma_table_info('conversations') WHERE name = "
		"'conversation_id')";
	const kp_sql_options options = {
		.location = file, .read_only = true, .journal = KP_JOURNAL_AS_IS};
	kp_sql_conn *conn = NULL;
	kp_sql_stmt *stmt = NULL;
	int64_t is_gateway = 0, is_assistant = 0;
	bool has_row = false;
	keep_status status = kp_sql_open(&kp_sql_sqlite, &options, &conn, err);

	if (status == KEEP_OK)
		status = kp_sql_prepare(conn, sql, &stmt, err);
	if (status == KEEP_OK)
		status = kp_sql_step(stmt, &has_row, err);
	if (status == KEEP_OK)
		status = kp_sql_column_int(stmt, 0, &is_gateway, err);
	if (status == KEEP_OK)
		status = kp_sql_column_int(stmt, 1, &is_assistant, err);
	kp_sql_finish(&stmt);
	kp_sql_close(&conn);
	*store = is_gateway ? "gateway" : "assistant";
	if (status == KEEP_OK && !is_gateway && !is_assistant)
		status = kp_fail(err, KEEP_CONFLICT,
				 "%s: no layout that Keep knows: neither conversations nor "
				 "messages of chats",
				 file);
	return status;
}

int cli_import_main(int argc, char **argv)
{
	const char *places[2] = {NULL, NULL}, *model = NULL, *store = NULL;
	bool is_json = false;
	const cli_option options[] = {{.name = "model", .text = &model},
				      {.name = "json", .flag = &is_json},
				      {.name = NULL}};
	struct words words = {.count = 0};
	keep_error err = KEEP_ERROR_INIT;
	int exit_status = cli_options_read("import", options, places, 2, argc, argv);

	if (exit_status != CLI_DONE)
		return exit_status;
	if (!places[1])
		return cli_wrong_use("import", "import: %s: missing", places[0] ? "FILE" : "HOME");
	if (find_store(places[1], &store, &err) != KEEP_OK)
		return cli_fail(&err);
	add_word(&words, "adopt");
	add_word(&words, places[0]);
	add_word(&words, places[1]);
	if (model && strcmp(store, "assistant") == 0) {
		add_word(&words, "--model");
		add_word(&words, model);
	}
	add_word(&words, is_json ? "--json" : NULL);
	return run_store(store, &words);
}

/* ---------------------------------------------------------------- rekey */

static bool has_key_in_environment(void)
{
	const char *ours = getenv("KEEP_ENCRYPTION_KEY"), *general = getenv("ENCRYPTION_KEY");

	return (ours && *ours) || (general && *general);
}

/* A new key in front of the home's file. Killed after that, --resume ends what was begun. */
static keep_status put_new_key(const char *home, keep_error *err)
{
	char key[KP_KEY_TEXT_SIZE];
	char *real = NULL;
	keep_buffer path = KEEP_BUFFER_INIT;
	keep_status status = kp_home_check(home, &real, err);

	if (status == KEEP_OK)
		status = kp_buffer_append_format(&path, err, "%s/" KP_HOME_KEY_FILE, real);
	if (status == KEEP_OK)
		status = kp_key_make(key, err);
	if (status == KEEP_OK)
		status = kp_key_file_put(path.data, keep_bytes_of(key), err);
	/* A home without a key file gets one; nothing was encrypted by it. */
	if (status == KEEP_NOT_FOUND)
		status = kp_key_file_make(path.data, err);
	kp_wipe(key, sizeof key);
	kp_free(real);
	keep_buffer_release(&path);
	return status;
}

int cli_rekey_main(int argc, char **argv)
{
	const char *places[1] = {NULL}, *home;
	bool is_json = false, resumes = false;
	const cli_option options[] = {{.name = "json", .flag = &is_json},
				      {.name = "resume", .flag = &resumes},
				      {.name = NULL}};
	struct words words = {.count = 0};
	keep_error err = KEEP_ERROR_INIT;
	int exit_status = cli_options_read("rekey", options, places, 1, argc, argv);

	if (exit_status != CLI_DONE)
		return exit_status;
	home = home_of("rekey", places[0]);
	if (!home)
		return CLI_WRONG_USE;
	if (!resumes && !has_key_in_environment()) {
		if (kp_home_is_server(home))
			return cli_wrong_use("rekey",
					     "rekey: a home on a server has no key file: give the "
					     "keys in KEEP_ENCRYPTION_KEY, the new one first");
		if (put_new_key(home, &err) != KEEP_OK)
			return cli_fail(&err);
	}
	add_word(&words, "rekey");
	add_word(&words, home);
	add_word(&words, is_json ? "--json" : NULL);
	return run_store("assistant", &words);
}
