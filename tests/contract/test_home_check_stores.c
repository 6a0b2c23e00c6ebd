/*
 * test_home_check_stores.c - `keep check` on what is special to a store: leases that nobody has any
 * more, the mailbox's sessions, the assistant's secrets, audit chain, full text and vectors.
 */
#include "home_damage.h"
#include "keep/agent.h"
#include "keep/assistant.h"
#include "keep/assistant_admin.h"
#include "keep/assistant_search.h"
#include "keep/assistant_work.h"
#include "keep/gateway.h"
#include "keep/mailbox.h"
#include "keep/mailbox_registry.h"
#include "keep/operations.h"
#include "keep/schedule.h"
#include "temp_folder.h"

#include <fcntl.h>
#include <glob.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define ASSISTANT_KEY "cw_0x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e4="
enum { DIMENSIONS = 4, VECTORS_FIRST = 8192 }; /* behind the file's headers */

static temp_folder folder;
static bool is_server;
static int homes;

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

static keep_assistant *open_assistant(const char *home)
{
	keep_assistant_options options = KEEP_ASSISTANT_OPTIONS_INIT;
	char url[2 * HOME_URL_MAX], path[HOME_URL_MAX + 40];
	keep_error err = KEEP_ERROR_INIT;
	keep_assistant *assistant = NULL;

	options.create = true;
	options.lasting_leases = true;
	options.keys = ASSISTANT_KEY;
	if (is_server) {
		snprintf(url, sizeof url, "%s&schema=assistant", home);
	} else {
		snprintf(path, sizeof path, "%s/assistant", home);
		(void)!mkdir(path, 0700);
		snprintf(url, sizeof url, "sqlite:%s/assistant.db", path);
	}
	OK(keep_assistant_open(url, &options, &assistant, &err));
	return assistant;
}

static void fill_assistant(const char *home)
{
	keep_assistant *assistant = open_assistant(home);
	keep_error err = KEEP_ERROR_INIT;

	OK(keep_assistant_put_credential(assistant, KEEP_BYTES("mail"), KEEP_BYTES("api_key"),
					 KEEP_BYTES("sk-not-told"), 0, NULL, &err));
	for (int i = 0; i < 12; i++) {
		const float vector[DIMENSIONS] = {1, (float)i, 2, 3};
		const char id[] = {'d', (char)('a' + i), '\0'};
		keep_document document = {
			.source = KEEP_BYTES("notes"),
			.source_id = keep_bytes_of(id),
			.title = KEEP_BYTES("A title"),
			.content = KEEP_BYTES("Some Words = with =signs, \xc3\x84pfel and 42"),
			.embedding = {(const char *)vector, sizeof vector},
			.model = KEEP_BYTES("m")};

		OK(keep_assistant_index(assistant, &document, KEEP_NOW, NULL, &err));
	}
	keep_assistant_close(&assistant);
}

/* A child claims, and is killed with what it has. */
static void let_a_child(void (*claim)(const char *home, const char *session), const char *home,
			const char *session)
{
	int status = 0;
	pid_t child = fork();

	CHECK(child >= 0, "no child");
	if (child == 0) {
		claim(home, session);
		_exit(0);
	}
	CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0,
	      "the child failed");
}

static void claim_delivery(const char *home, const char *session)
{
	keep_gateway_options options = KEEP_GATEWAY_OPTIONS_INIT;
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_gateway *gateway = NULL;
	keep_message_list list;
	char url[HOME_URL_MAX];

	(void)session;
	if (keep_gateway_open(home_store(home, "gateway", url), &options, &gateway, NULL) !=
		    KEEP_OK ||
	    keep_gateway_claim_deliveries(gateway, (keep_bytes){NULL, 0}, 1, 600000, KEEP_NOW,
					  &memory, &list, NULL) != KEEP_OK ||
	    list.count != 1)
		_exit(1);
}

static void claim_message(const char *home, const char *session)
{
	keep_mailbox_options options = KEEP_MAILBOX_OPTIONS_INIT;
	keep_agent_options agent_options = KEEP_AGENT_OPTIONS_INIT;
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_mailbox *mailbox = NULL;
	keep_agent *agent = NULL;
	keep_claim_list claims;
	keep_bytes place;
	char url[HOME_URL_MAX], text[HOME_URL_MAX];

	if (keep_mailbox_open(home_store(home, "mailbox", url), &options, &mailbox, NULL) !=
		    KEEP_OK ||
	    keep_mailbox_session_place(mailbox, keep_bytes_of(session), &memory, &place, NULL) !=
		    KEEP_OK)
		_exit(1);
	snprintf(text, sizeof text, "%.*s", (int)place.len, place.data);
	if (keep_agent_open(text, &agent_options, &agent, NULL) != KEEP_OK ||
	    keep_agent_claim(agent, NULL, KEEP_NOW, &memory, &claims, NULL) != KEEP_OK ||
	    claims.count != 1)
		_exit(2);
}

/* ---------------------------------------------------------------- tests */

static void what_a_dead_process_was_delivering_is_found_and_given_back(void **state)
{
	char home[HOME_URL_MAX];
	home_filled filled;

	(void)state;
	make_home(home, &filled);
	let_a_child(claim_delivery, home, NULL);
	must_be_mended(home, "orphaned_lease", HOME_CHAT);
	let_a_child(claim_delivery, home, NULL); /* it can be claimed again */
}

static void a_message_that_a_dead_agent_had_is_found_and_given_back(void **state)
{
	char home[HOME_URL_MAX];
	home_filled filled;

	(void)state;
	make_home(home, &filled);
	let_a_child(claim_message, home, filled.session);
	must_be_mended(home, "orphaned_lease", NULL);
}

static void leases_that_are_over_are_found_in_every_table(void **state)
{
	char home[HOME_URL_MAX];
	home_filled filled;

	(void)state;
	make_home(home, &filled);
	damage(home, "gateway", "gateway/messages.db",
	       "UPDATE scheduled_tasks SET status = 'firing', lease_owner = 'x', lease_until = "
	       "'2026-01-01T00:00:00.000Z'");
	must_be_mended(home, "orphaned_lease", "t1");
	damage(home, "gateway", "gateway/messages.db",
	       "INSERT INTO system_messages (group_id, origin, event, created_at, turn_id, "
	       "lease_owner, lease_until) VALUES ('main', 'o', 'e', '2026-01-01T00:00:00.000Z', "
	       "'turn', 'x', '2026-01-01T00:00:00.000Z')");
	must_be_mended(home, "orphaned_lease", NULL);
	fill_assistant(home);
	setenv("KEEP_ENCRYPTION_KEY", ASSISTANT_KEY, 1);
	damage(home, "assistant", "assistant/assistant.db",
	       "INSERT INTO agent_tasks (task_id, agent_name, action, status, attempt, "
	       "lease_owner, lease_until) VALUES ('task-1', 'a', 'x', 'running', 1, 'x', "
	       "'2026-01-01T00:00:00.000Z')");
	must_be_mended(home, "orphaned_lease", "task-1");
	damage(home, "assistant", "assistant/assistant.db",
	       "INSERT INTO future_tasks (task_id, name, scheduled_time, job_type, prompt, status, "
	       "attempt, due_at, lease_owner, lease_until) VALUES ('once', 'n', "
	       "'2026-01-01T00:00:00.000Z', 'prompt', 'p', 'running', 1, "
	       "'2026-01-01T00:00:00.000Z', 'x', '2026-01-01T00:00:00.000Z')");
	must_be_mended(home, "orphaned_lease", "once");
	unsetenv("KEEP_ENCRYPTION_KEY");
}

static void a_living_process_keeps_what_it_has(void **state)
{
	keep_gateway_options options = KEEP_GATEWAY_OPTIONS_INIT;
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_gateway *gateway = NULL;
	keep_message_list list;
	keep_check_result result;
	char home[HOME_URL_MAX], url[HOME_URL_MAX];
	home_filled filled;

	(void)state;
	make_home(home, &filled);
	OK(keep_gateway_open(home_store(home, "gateway", url), &options, &gateway, &err));
	OK(keep_gateway_claim_deliveries(gateway, (keep_bytes){NULL, 0}, 1, 600000, KEEP_NOW,
					 &memory, &list, &err));
	check(home, true, &result);
	assert_int_equal(result.wrong, 0);
	assert_int_equal(result.repaired, 0);
	keep_check_result_release(&result);
	keep_memory_release(&memory);
	keep_gateway_close(&gateway);
	assert_nothing_lives();
}

static void a_filled_assistant_is_clean_when_its_key_is_given(void **state)
{
	keep_check_result result;
	char home[HOME_URL_MAX];
	home_filled filled;

	(void)state;
	make_home(home, &filled);
	fill_assistant(home);
	check(home, false, &result); /* vault.key, or none, is another key */
	assert_int_equal(must_find(&result, is_server ? "missing_file" : "unreadable_secret", NULL)
				 ->severity,
			 KEEP_SEVERITY_DAMAGE);
	keep_check_result_release(&result);
	setenv("KEEP_ENCRYPTION_KEY", ASSISTANT_KEY, 1);
	must_be_clean(home);
	damage(home, "assistant", "assistant/assistant.db",
	       "UPDATE service_credentials SET credential_data = 'gAAAAAB'");
	must_stay(home, "unreadable_secret", "mail", KEEP_SEVERITY_DAMAGE);
	unsetenv("KEEP_ENCRYPTION_KEY");
	assert_nothing_lives();
}

static void a_broken_audit_chain_is_found_and_stays(void **state)
{
	char home[HOME_URL_MAX];
	home_filled filled;

	(void)state;
	make_home(home, &filled);
	fill_assistant(home);
	setenv("KEEP_ENCRYPTION_KEY", ASSISTANT_KEY, 1);
	must_be_clean(home);
	damage(home, "assistant", "assistant/assistant.db",
	       "UPDATE audit_log SET action = 'nothing' WHERE seq = 1");
	must_stay(home, "broken_audit", "1", KEEP_SEVERITY_DAMAGE);
	unsetenv("KEEP_ENCRYPTION_KEY");
	assert_nothing_lives();
}

static void a_stale_full_text_index_and_counts_of_vectors_are_made_anew(void **state)
{
	char home[HOME_URL_MAX];
	home_filled filled;

	(void)state;
	make_home(home, &filled);
	fill_assistant(home);
	setenv("KEEP_ENCRYPTION_KEY", ASSISTANT_KEY, 1);
	must_be_clean(home);
	damage(home, "assistant", "assistant/assistant.db",
	       "UPDATE search_index SET content = 'entirely other' WHERE source_id = 'dd'");
	must_be_mended(home, "stale_index", NULL);
	damage(home, "assistant", "assistant/assistant.db",
	       is_server ? "DELETE FROM document_words WHERE id = 1"
			 : "INSERT INTO document_words (document_words) VALUES ('delete-all')");
	must_be_mended(home, "stale_index", NULL);
	damage(home, "assistant", "assistant/assistant.db", "UPDATE vector_models SET count = 99");
	must_be_mended(home, "stale_vectors", NULL);
	unsetenv("KEEP_ENCRYPTION_KEY");
	assert_nothing_lives();
}

static void a_session_that_the_registry_lets_sleep_is_woken(void **state)
{
	char home[HOME_URL_MAX];
	home_filled filled;

	(void)state;
	make_home(home, &filled);
	damage(home, "mailbox", "mailbox/registry.db", "UPDATE sessions SET due_at = NULL");
	must_be_mended(home, "stale_counter", filled.session);
	assert_nothing_lives();
}

static void a_run_of_a_job_that_a_dead_scheduler_had_is_ended(void **state)
{
	const keep_cron_job job = {.job_id = KEEP_BYTES("water"),
				   .name = KEEP_BYTES("water the plants"),
				   .cron_expression = KEEP_BYTES("0 9 * * *"),
				   .job_type = KEEP_BYTES("prompt"),
				   .prompt = KEEP_BYTES("Water the plants."),
				   .enabled = true};
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_claimed_runs runs = {NULL, 0};
	keep_assistant *assistant;
	char home[HOME_URL_MAX];
	home_filled filled;
	int64_t next_ms = 0;

	(void)state;
	make_home(home, &filled);
	assistant = open_assistant(home);
	OK(keep_assistant_put_cron_job(assistant, &job, KEEP_NOW, NULL, NULL, &err));
	OK(keep_assistant_run_now(assistant, job.job_id, KEEP_NOW, NULL, NULL, &err));
	OK(keep_assistant_claim_due(assistant, 1, 600000, KEEP_NOW, &memory, &runs, &next_ms,
				    &err));
	assert_int_equal(runs.count, 1);
	keep_memory_release(&memory);
	keep_assistant_close(&assistant);
	setenv("KEEP_ENCRYPTION_KEY", ASSISTANT_KEY, 1);
	must_be_clean(home); /* its lease lasts */
	damage(home, "assistant", "assistant/assistant.db",
	       "UPDATE job_runs SET lease_until = '2026-01-01T00:00:00.000Z', "
	       "due_at = '2026-01-01T00:00:00.000Z'");
	must_be_mended(home, "orphaned_lease", "water");
	unsetenv("KEEP_ENCRYPTION_KEY");
	keep_zone_forget();
	assert_nothing_lives();
}

/* ---------------------------------------------------------------- of a folder alone */

static void make_folders(const char *home, const char *below)
{
	char command[5 * HOME_URL_MAX];

	snprintf(command, sizeof command, "mkdir -p '%s/%s'", home, below);
	assert_int_equal(system(command), 0);
}

static void a_folder_that_the_registry_does_not_know_is_a_note_and_stays(void **state)
{
	static const char *const names[] = {"mailbox/sessions/ada/stranger",
					    "mailbox/sessions/nobody/other", NULL};
	keep_check_result result;
	char home[HOME_URL_MAX], path[2 * HOME_URL_MAX];
	home_filled filled;
	struct stat st;

	(void)state;
	make_home(home, &filled);
	for (size_t i = 0; names[i]; i++)
		make_folders(home, names[i]);
	make_folders(home, "mailbox/sessions/ada/\033[2J");
	check(home, true, &result);
	assert_int_equal(result.wrong, 0);
	for (size_t i = 0; names[i]; i++) {
		const keep_finding *found = must_find(&result, "unknown_folder", names[i]);

		assert_int_equal(found->severity, KEEP_SEVERITY_NOTE);
		assert_false(found->can_repair);
		snprintf(path, sizeof path, "%s/%s", home, names[i]);
		assert_int_equal(stat(path, &st), 0);
	}
	must_find(&result, "unknown_folder", "mailbox/sessions/ada/?[2J");
	assert_int_equal(result.count, 3); /* no session of the registry is a stranger */
	keep_check_result_release(&result);
	assert_nothing_lives();
}

static void write_file(const char *home, const char *name, const char *text)
{
	char path[5 * HOME_URL_MAX];
	FILE *file;

	snprintf(path, sizeof path, "%s/%s", home, name);
	file = fopen(path, "w");
	CHECK(file && fputs(text, file) >= 0 && fclose(file) == 0, "%s", path);
}

static void a_file_that_a_message_names_is_missed(void **state)
{
	char home[HOME_URL_MAX], folder_of[HOME_URL_MAX], file[2 * HOME_URL_MAX], box[16];
	home_filled filled;

	(void)state;
	make_home(home, &filled);
	snprintf(folder_of, sizeof folder_of, "mailbox/sessions/ada/%s", filled.session);
	snprintf(file, sizeof file, "%s/inbound.db", folder_of);
	damage(home, NULL, file,
	       "UPDATE messages_in SET content = '{\"text\":\"see\",\"attachments\":[{\"name\":"
	       "\"a.txt\",\"type\":\"text\",\"localPath\":\"inbox/x/a.txt\"}]}', id = 'in-1' "
	       "WHERE seq = (SELECT max(seq) FROM messages_in)");
	snprintf(file, sizeof file, "%s/outbound.db", folder_of);
	damage(home, NULL, file,
	       "UPDATE messages_out SET content = '{\"files\":[\"b.txt\"]}' WHERE seq = "
	       "(SELECT max(seq) FROM messages_out)");
	for (int i = 0; i < 2; i++) {
		snprintf(box, sizeof box, "%s", i ? "b.txt" : "in-1/a.txt");
		must_stay(home, "missing_file", box, KEEP_SEVERITY_DAMAGE);
	}
	snprintf(file, sizeof file, "%s/inbox/in-1", folder_of);
	make_folders(home, file);
	snprintf(file, sizeof file, "%s/inbox/in-1/a.txt", folder_of);
	write_file(home, file, "here");
	{
		keep_check_result result;

		check(home, false, &result);
		assert_null(find(&result, "missing_file", "a.txt"));
		must_find(&result, "missing_file", "b.txt");
		keep_check_result_release(&result);
	}
	assert_nothing_lives();
}

/* The path of the one file of vectors, which a search has made. */
static void find_by_vector(const char *home, char path[2 * HOME_URL_MAX])
{
	const float wanted[DIMENSIONS] = {1, 2, 3, 4};
	keep_search_query query = {.vector = {(const char *)wanted, sizeof wanted},
				   .model = KEEP_BYTES("m"),
				   .limit = 3};
	keep_assistant *assistant = open_assistant(home);
	keep_search_matches matches = {.count = 0};
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;
	glob_t names;

	OK(keep_assistant_find(assistant, &query, &memory, &matches, &err));
	assert_int_equal(matches.count, 3);
	keep_memory_release(&memory);
	keep_assistant_close(&assistant);
	snprintf(path, 2 * HOME_URL_MAX, "%s/assistant/assistant.db-*.vectors", home);
	assert_int_equal(glob(path, 0, NULL, &names), 0);
	assert_int_equal(names.gl_pathc, 1);
	snprintf(path, 2 * HOME_URL_MAX, "%s", names.gl_pathv[0]);
	globfree(&names);
}

static void a_damaged_file_of_vectors_is_removed_and_made_anew(void **state)
{
	char home[HOME_URL_MAX], path[2 * HOME_URL_MAX], again[2 * HOME_URL_MAX];
	home_filled filled;
	struct stat st;

	(void)state;
	make_home(home, &filled);
	fill_assistant(home);
	setenv("KEEP_ENCRYPTION_KEY", ASSISTANT_KEY, 1);
	find_by_vector(home, path);
	must_be_clean(home);
	for (int i = 0; i < 3; i++) {
		static unsigned char bytes[4 << 20];
		int fd = open(path, O_RDWR | O_CLOEXEC);
		ssize_t len = fd < 0 ? -1 : pread(fd, bytes, sizeof bytes, 0);
		ssize_t at = i ? len - 1 : VECTORS_FIRST;

		CHECK(len > VECTORS_FIRST && len < (ssize_t)sizeof bytes, "%s", path);
		while (bytes[at] == 0) /* what counts nothing may be anything */
			at += i ? -1 : 1;
		bytes[at] ^= 16;
		assert_int_equal(pwrite(fd, &bytes[at], 1, at), 1);
		assert_int_equal(i == 2 ? ftruncate(fd, len / 2) : 0, 0);
		close(fd);
		must_be_mended(home, "stale_vectors", ".vectors");
		assert_int_equal(stat(path, &st), -1);
		find_by_vector(home, again);
		assert_string_equal(path, again);
		must_be_clean(home);
	}
	unsetenv("KEEP_ENCRYPTION_KEY");
	assert_nothing_lives();
}

int main(int argc, char **argv)
{
	/* First those whose children must not inherit what others opened. */
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_a_dead_process_was_delivering_is_found_and_given_back),
		cmocka_unit_test(a_message_that_a_dead_agent_had_is_found_and_given_back),
		cmocka_unit_test(leases_that_are_over_are_found_in_every_table),
		cmocka_unit_test(a_living_process_keeps_what_it_has),
		cmocka_unit_test(a_filled_assistant_is_clean_when_its_key_is_given),
		cmocka_unit_test(a_broken_audit_chain_is_found_and_stays),
		cmocka_unit_test(a_stale_full_text_index_and_counts_of_vectors_are_made_anew),
		cmocka_unit_test(a_run_of_a_job_that_a_dead_scheduler_had_is_ended),
	};
	const struct CMUnitTest folders[] = {
		cmocka_unit_test(a_session_that_the_registry_lets_sleep_is_woken),
		cmocka_unit_test(a_folder_that_the_registry_does_not_know_is_a_note_and_stays),
		cmocka_unit_test(a_file_that_a_message_names_is_missed),
		cmocka_unit_test(a_damaged_file_of_vectors_is_removed_and_made_anew),
	};
	int failed;

	is_server = argc > 1 && strcmp(argv[1], "postgres") == 0;
	temp_folder_make(&folder);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	if (!is_server)
		failed += cmocka_run_group_tests(folders, NULL, NULL);
	home_servers_drop();
	temp_folder_remove(&folder);
	return failed;
}
