/*
 * cli_care.c - commands that look after a home: rekey, retain, migrate, import, optimize.
 *
 * Each is an operation of the assistant store (or of the gateway, for its own files) under a name
 * of its own; rekey also makes the new key, and tells which keys nothing in the store needs any
 * more. HOME goes on as --home, so that no other word is ever taken for it.
 *
 * Each ends at once when it is interrupted: what they do are transactions, and the next run does
 * the rest.
 *
 * Tests: tests/cli/test_cli_care.py.
 */
#include "cli/cli.h"
#include "keep/operations.h"
#include "sql/foreign.h"
#include "vault/vault.h"

#include <signal.h>
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

static void add_home(struct words *words, const char *home)
{
	add_word(words, "--home");
	add_word(words, home);
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
	const char *home;
	int exit_status = cli_options_read("retain", options, places, 1, argc, argv);

	if (exit_status != CLI_DONE)
		return exit_status;
	home = home_of("retain", places[0]);
	if (!home)
		return CLI_WRONG_USE;
	add_word(&words, "retain");
	add_home(&words, home);
	add_word(&words, dry_run ? "--dry-run" : NULL);
	add_word(&words, is_json ? "--json" : NULL);
	return run_store("assistant", &words);
}

int cli_optimize_main(int argc, char **argv)
{
	const char *places[1] = {NULL};
	const cli_option options[] = {{.name = NULL}};
	struct words words = {.count = 0};
	const char *home;
	int exit_status = cli_options_read("optimize", options, places, 1, argc, argv);

	if (exit_status != CLI_DONE)
		return exit_status;
	home = home_of("optimize", places[0]);
	if (!home)
		return CLI_WRONG_USE;
	add_word(&words, "optimize");
	add_home(&words, home);
	return run_store("assistant", &words);
}

static bool is_migrate_word(const char *word)
{
	return strcmp(word, "status") == 0 || strcmp(word, "plan") == 0 || strcmp(word, "up") == 0;
}

int cli_migrate_main(int argc, char **argv)
{
	const char *places[2] = {NULL, NULL}, *folder = NULL, *what, *home;
	bool is_json = false;
	const cli_option options[] = {{.name = "folder", .text = &folder},
				      {.name = "json", .flag = &is_json},
				      {.name = NULL}};
	struct words words = {.count = 0};
	int exit_status = cli_options_read("migrate", options, places, 2, argc, argv);

	if (exit_status != CLI_DONE)
		return exit_status;
	if (getenv("KEEP_HOME") && places[0] && !places[1] && is_migrate_word(places[0])) {
		places[1] = places[0];
		places[0] = NULL;
	}
	home = home_of("migrate", places[0]);
	if (!home)
		return CLI_WRONG_USE;
	what = places[1] ? places[1] : "status";
	if (!is_migrate_word(what))
		return cli_wrong_use("migrate", "migrate: '%s': status, plan or up is needed",
				     what);
	if (strcmp(what, "up") == 0 && !folder)
		return cli_wrong_use("migrate", "migrate: --folder: missing");
	add_word(&words, strcmp(what, "up") == 0 ? "migrate" : "migrations");
	add_home(&words, home);
	add_word(&words, strcmp(what, "plan") == 0 ? "--only-pending" : NULL);
	add_word(&words, is_json ? "--json" : NULL);
	add_word(&words, folder ? "--" : NULL);
	add_word(&words, folder);
	return run_store("assistant", &words);
}

/* ---------------------------------------------------------------- import */

/* Which store's file is it? By the columns that only one of them has. Nothing is made beside it. */
static keep_status find_store(const char *file, const char **store, keep_error *err)
{
	static const char sql[] =
		"SELECT (SELECT count(*) FROM pragma_table_info('messages') WHERE name = "
		"'chat_jid'), "
		"(SELECT count(*) FROM pragma_table_info('conversations') WHERE name = "
		"'conversation_id')";
	kp_foreign *source = NULL;
	kp_foreign_rows *rows = NULL;
	kp_foreign_value gateway = {.kind = KP_FOREIGN_NULL}, assistant = gateway;
	bool has_row = false, is_gateway = false, is_assistant = false;
	keep_status status = kp_foreign_open(file, &source, err);

	if (status == KEEP_OK)
		status = kp_foreign_select(source, sql, &rows, err);
	if (status == KEEP_OK)
		status = kp_foreign_step(rows, &has_row, err);
	if (status == KEEP_OK)
		status = kp_foreign_value_at(rows, 0, &gateway, err);
	if (status == KEEP_OK)
		status = kp_foreign_value_at(rows, 1, &assistant, err);
	is_gateway = gateway.kind == KP_FOREIGN_INTEGER && gateway.integer != 0;
	is_assistant = assistant.kind == KP_FOREIGN_INTEGER && assistant.integer != 0;
	kp_foreign_finish(&rows);
	kp_foreign_close(&source);
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
	const char *places[2] = {NULL, NULL}, *model = NULL, *store = NULL, *home;
	bool is_json = false;
	const cli_option options[] = {{.name = "model", .text = &model},
				      {.name = "json", .flag = &is_json},
				      {.name = NULL}};
	struct words words = {.count = 0};
	keep_error err = KEEP_ERROR_INIT;
	int exit_status = cli_options_read("import", options, places, 2, argc, argv);

	if (exit_status != CLI_DONE)
		return exit_status;
	if (places[0] && !places[1] && getenv("KEEP_HOME")) {
		places[1] = places[0];
		places[0] = NULL;
	}
	home = home_of("import", places[0]);
	if (!home)
		return CLI_WRONG_USE;
	if (!places[1])
		return cli_wrong_use("import", "import: FILE: missing");
	if (find_store(places[1], &store, &err) != KEEP_OK)
		return cli_fail(&err);
	if (model && strcmp(store, "assistant") != 0)
		return cli_wrong_use("import", "--model: this file has no vectors");
	add_word(&words, "adopt");
	add_home(&words, home);
	add_word(&words, model ? "--model" : NULL);
	add_word(&words, model);
	add_word(&words, is_json ? "--json" : NULL);
	add_word(&words, "--");
	add_word(&words, places[1]);
	return run_store(store, &words);
}

/* ---------------------------------------------------------------- rekey */

static bool has_key_in_environment(void)
{
	const char *ours = getenv("KEEP_ENCRYPTION_KEY"), *general = getenv("ENCRYPTION_KEY");

	return (ours && *ours) || (general && *general);
}

/* The home's key file; a server has none. */
static keep_status find_key_file(const char *home, keep_buffer *path, keep_error *err)
{
	char *real = NULL;
	keep_status status = kp_home_is_server(home) ? KEEP_OK : kp_home_check(home, &real, err);

	if (status == KEEP_OK && real)
		status = kp_buffer_append_format(path, err, "%s/" KP_HOME_KEY_FILE, real);
	kp_free(real);
	return status;
}

/* A new key in front of the home's file. Killed after that, --resume ends what was begun. */
static keep_status write_new_key(const char *path, keep_error *err)
{
	char key[KP_KEY_TEXT_SIZE];
	keep_status status = kp_key_make(key, err);

	if (status == KEEP_OK)
		status = kp_key_file_put(path, keep_bytes_of(key), err);
	/* A home without a key file gets one; nothing was encrypted by it. */
	if (status == KEEP_NOT_FOUND)
		status = kp_key_file_make(path, err);
	kp_wipe(key, sizeof key);
	return status;
}

/* Ctrl-C waits until the key file has its name: no second one is left beside it. */
static keep_status put_new_key(const char *path, keep_error *err)
{
	sigset_t held, before;
	keep_status status;

	sigemptyset(&held);
	sigaddset(&held, SIGINT);
	sigaddset(&held, SIGTERM);
	sigaddset(&held, SIGHUP);
	pthread_sigmask(SIG_BLOCK, &held, &before);
	status = write_new_key(path, err);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return status;
}

static void put_ids(kp_json_writer *writer, const kp_keyring *ring, bool is_json)
{
	for (size_t i = 1; i < kp_keyring_count(ring); i++) {
		char id[KP_KEY_ID_SIZE];

		kp_keyring_id(ring, i, id);
		if (is_json)
			kp_json_put_text(writer, keep_bytes_of(id));
		else
			printf("no longer needed: %s\n", id);
	}
}

/* What the operation gave, and the ids of all keys but the newest. */
static keep_status print_rekeyed(keep_bytes result, const kp_keyring *ring, bool is_json,
				 keep_error *err)
{
	kp_arena arena = {.head = NULL};
	const kp_json *json = NULL;
	keep_buffer line = KEEP_BUFFER_INIT;
	kp_json_writer writer;
	keep_status status = kp_json_parse(result, &arena, &json, err);

	kp_json_begin(&writer, &line);
	kp_json_open_object(&writer);
	for (size_t i = 0; status == KEEP_OK && i < json->list.count; i++) {
		const kp_json *member = &json->list.items[i];

		if (!is_json)
			printf("%" KP_PRI ": %" KP_PRI "\n", KP_ARG(member->name),
			       KP_ARG(member->raw));
		kp_json_name_bytes(&writer, member->name);
		kp_json_put_integer(&writer, member->integer);
	}
	kp_json_name(&writer, "unneeded_keys");
	kp_json_open_array(&writer);
	if (status == KEEP_OK)
		put_ids(&writer, ring, is_json);
	kp_json_close_array(&writer);
	kp_json_close_object(&writer);
	if (status == KEEP_OK)
		status = kp_json_finish(&writer, err);
	if (status == KEEP_OK && is_json)
		printf("%s\n", line.data);
	keep_buffer_release(&line);
	kp_arena_release(&arena);
	return status;
}

static keep_status rekey(const char *home, const char *key_file, bool is_json, keep_error *err)
{
	keep_session *session = NULL;
	keep_buffer result = KEEP_BUFFER_INIT, keys = KEEP_BUFFER_INIT;
	kp_keyring *ring = NULL;
	keep_status status = keep_session_open(home, &session, err);

	if (status == KEEP_OK)
		status = keep_session_call(session, KEEP_BYTES("assistant.rekey"), KEEP_BYTES(""),
					   &result, err);
	if (status == KEEP_OK)
		status = kp_keys_find(key_file, &keys, NULL, err);
	if (status == KEEP_OK)
		status = kp_keyring_open(kp_buffer_bytes(&keys), &ring, err);
	if (status == KEEP_OK)
		status = print_rekeyed(kp_buffer_bytes(&result), ring, is_json, err);
	kp_keyring_close(&ring);
	kp_secret_release(&keys);
	keep_buffer_release(&result);
	keep_session_close(&session);
	return status;
}

int cli_rekey_main(int argc, char **argv)
{
	const char *places[1] = {NULL}, *home;
	bool is_json = false, resumes = false;
	const cli_option options[] = {{.name = "json", .flag = &is_json},
				      {.name = "resume", .flag = &resumes},
				      {.name = NULL}};
	keep_buffer key_file = KEEP_BUFFER_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_status status;
	int exit_status = cli_options_read("rekey", options, places, 1, argc, argv);

	if (exit_status != CLI_DONE)
		return exit_status;
	home = home_of("rekey", places[0]);
	if (!home)
		return CLI_WRONG_USE;
	if (!has_key_in_environment() && kp_home_is_server(home))
		return cli_wrong_use("rekey", "rekey: a home on a server has no key file: give the "
					      "keys in KEEP_ENCRYPTION_KEY, the new one first");
	status = find_key_file(home, &key_file, &err);
	if (status == KEEP_OK && !resumes && !has_key_in_environment())
		status = put_new_key(key_file.data, &err);
	if (status == KEEP_OK)
		status = rekey(home, key_file.data, is_json, &err);
	keep_buffer_release(&key_file);
	return status == KEEP_OK ? cli_finish_output(CLI_DONE) : cli_fail(&err);
}
