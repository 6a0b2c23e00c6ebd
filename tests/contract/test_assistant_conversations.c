/*
 * test_assistant_conversations.c - conversations are found or begun in one step, kept and deleted.
 *
 *     test_assistant_conversations sqlite|postgres
 *     test_assistant_conversations <url> find|pin|title    a process that does that often
 */
#include "assistant_rows.h"

#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#define HOUR_MS INT64_C(3600000)
#define T0 INT64_C(1790000000000)

enum { FINDS = 20, EDITS = 50, FINDERS = 4 };

static const keep_bytes none = {NULL, 0};
static keep_memory memory = KEEP_MEMORY_INIT;
static keep_error err = KEEP_ERROR_INIT;

static keep_conversation find(keep_assistant *assistant, const char *contact, int64_t idle_ms,
			      int64_t now_ms, bool *created)
{
	keep_conversation found;

	OK(keep_assistant_find_or_create(assistant, KEEP_BYTES("slack"), keep_bytes_of(contact),
					 idle_ms, now_ms, &memory, &found, created, &err));
	return found;
}

static keep_conversation get(keep_assistant *assistant, keep_bytes id)
{
	keep_conversation found;

	OK(keep_assistant_get_conversation(assistant, id, &memory, &found, &err));
	return found;
}

static void end(keep_assistant **assistant)
{
	keep_memory_release(&memory);
	keep_assistant_close(assistant);
	assert_nothing_lives();
}

static void append_at(keep_assistant *assistant, keep_bytes id, int64_t timestamp, bool internal)
{
	keep_conversation_message message = {.conversation_id = id,
					     .role = KEEP_BYTES("user"),
					     .content = KEEP_BYTES("hello"),
					     .timestamp = timestamp,
					     .is_internal = internal};

	OK(keep_assistant_append(assistant, &message, NULL, &err));
}

/* ---------------------------------------------------------------- found or begun */

static void a_contact_finds_its_conversation_again(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	keep_conversation first, again, other;
	bool created = false;

	(void)state;
	first = find(assistant, "ada", 0, T0, &created);
	assert_true(created);
	assert_int_equal(first.created_at, T0);
	assert_int_equal(first.updated_at, T0);
	assert_int_equal(first.last_accessed, T0);
	assert_int_equal(first.context_version, 1);
	assert_int_equal(first.last_seq, 0);
	assert_int_equal(first.conversation_id.len, 36);
	again = find(assistant, "ada", 0, T0 + HOUR_MS, &created);
	assert_false(created);
	assert_bytes_equal(again.conversation_id, first.conversation_id);
	assert_int_equal(again.last_accessed, T0 + HOUR_MS);
	assert_int_equal(again.updated_at, T0);
	assert_int_equal(get(assistant, first.conversation_id).last_accessed, T0 + HOUR_MS);
	other = find(assistant, "bob", 0, T0, &created);
	assert_true(created);
	assert_int_not_equal(other.id, first.id);
	OK(keep_assistant_find_or_create(assistant, KEEP_BYTES("webui"), KEEP_BYTES("ada"), 0, T0,
					 &memory, &other, &created, &err));
	assert_true(created);
	assert_int_equal(assistant_count("conversations"), 3);
	end(&assistant);
}

static void nobody_in_particular_has_a_conversation_too(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	keep_conversation first, again;
	bool created = false;

	(void)state;
	OK(keep_assistant_find_or_create(assistant, KEEP_BYTES("system"), none, 0, T0, &memory,
					 &first, &created, &err));
	assert_true(created);
	assert_null(first.contact_identifier.data);
	OK(keep_assistant_find_or_create(assistant, KEEP_BYTES("system"), none, 0, T0, &memory,
					 &again, NULL, &err));
	assert_int_equal(again.id, first.id);
	end(&assistant);
}

static void one_that_was_silent_for_too_long_gets_a_successor(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	keep_conversation first, next;
	bool created = false;

	(void)state;
	first = find(assistant, "ada", HOUR_MS, T0, &created);
	append_at(assistant, first.conversation_id, T0, false);
	next = find(assistant, "ada", HOUR_MS, T0 + HOUR_MS, &created);
	assert_false(created);
	/* Internal messages are not speaking; finding is not either. */
	append_at(assistant, first.conversation_id, T0 + HOUR_MS, true);
	next = find(assistant, "ada", HOUR_MS, T0 + HOUR_MS + 1, &created);
	assert_true(created);
	assert_int_not_equal(next.id, first.id);
	first = find(assistant, "ada", 0, T0 + HOUR_MS + 2, &created);
	assert_int_equal(first.id, next.id);
	end(&assistant);
}

static void an_empty_one_is_used_again_until_it_is_idle(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	keep_conversation first, next;
	bool created = false;

	(void)state;
	first = find(assistant, "ada", HOUR_MS, T0, &created);
	next = find(assistant, "ada", HOUR_MS, T0 + HOUR_MS, &created);
	assert_int_equal(next.id, first.id);
	next = find(assistant, "ada", HOUR_MS, T0 + HOUR_MS + 1, &created);
	assert_true(created);
	assert_int_not_equal(next.id, first.id);
	end(&assistant);
}

static void the_newest_one_goes_on_also_when_a_clock_went_back(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	keep_conversation old = find(assistant, "ada", 0, T0, NULL), added, found;
	keep_conversation given = {.conversation_id = KEEP_BYTES("mine"),
				   .channel = KEEP_BYTES("slack"),
				   .contact_identifier = KEEP_BYTES("ada"),
				   .metadata = KEEP_BYTES("{\"title\":\"x\"}")};
	bool inserted = false;

	(void)state;
	OK(keep_assistant_add_conversation(assistant, &given, T0 - HOUR_MS, &memory, &added,
					   &inserted, &err));
	assert_true(inserted);
	assert_bytes_equal(added.metadata, given.metadata);
	assert_int_equal(added.created_at, T0 - HOUR_MS);
	found = find(assistant, "ada", 0, T0, NULL);
	assert_int_equal(found.id, added.id);
	/* Speaking in the older one makes that the newest. */
	append_at(assistant, old.conversation_id, 0, false);
	assert_int_equal(find(assistant, "ada", 0, T0, NULL).id, old.id);
	end(&assistant);
}

static void adding_twice_is_a_replay_and_another_contact_a_conflict(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	keep_conversation given = {.conversation_id = KEEP_BYTES("c"),
				   .channel = KEEP_BYTES("webui")};
	keep_conversation first, again;
	bool inserted = false;

	(void)state;
	OK(keep_assistant_add_conversation(assistant, &given, T0, &memory, &first, &inserted,
					   &err));
	assert_true(inserted);
	given.metadata = KEEP_BYTES("{}");
	OK(keep_assistant_add_conversation(assistant, &given, T0 + 5, &memory, &again, &inserted,
					   &err));
	assert_false(inserted);
	assert_int_equal(again.id, first.id);
	assert_null(again.metadata.data);
	assert_int_equal(again.last_accessed, T0);
	given.contact_identifier = KEEP_BYTES("eve");
	assert_int_equal(keep_assistant_add_conversation(assistant, &given, T0, &memory, &again,
							 &inserted, &err),
			 KEEP_CONFLICT);
	given.conversation_id = none;
	OK(keep_assistant_add_conversation(assistant, &given, KEEP_NOW, &memory, &again, NULL,
					   &err));
	assert_int_equal(again.conversation_id.len, 36);
	end(&assistant);
}

/* ---------------------------------------------------------------- at once */

static void *find_often(void *ctx)
{
	keep_error why = KEEP_ERROR_INIT;

	for (int i = 0; i < FINDS; i++) {
		keep_memory own = KEEP_MEMORY_INIT;
		keep_conversation found;
		char contact[20];

		snprintf(contact, sizeof contact, "contact-%d", i);
		if (keep_assistant_find_or_create(ctx, KEEP_BYTES("slack"), keep_bytes_of(contact),
						  HOUR_MS, KEEP_NOW, &own, &found, NULL,
						  &why) != KEEP_OK)
			return ctx;
		keep_memory_release(&own);
	}
	return NULL;
}

/* pin or title: a member of its own, again and again. */
static int edit_often(keep_assistant *assistant, const char *member)
{
	keep_error why = KEEP_ERROR_INIT;

	for (int i = 1; i <= EDITS; i++) {
		keep_memory own = KEEP_MEMORY_INIT;
		keep_conversation found;
		char changes[60];

		snprintf(changes, sizeof changes, "{\"%s\":%d,\"%s-%d\":true}", member, i, member,
			 i);
		if (keep_assistant_update_metadata(assistant, KEEP_BYTES("c"),
						   keep_bytes_of(changes), &own, &found,
						   &why) != KEEP_OK)
			return 1;
		keep_memory_release(&own);
	}
	return 0;
}

static int be_a_process(const char *url, const char *what)
{
	keep_assistant_options options = KEEP_ASSISTANT_OPTIONS_INIT;
	keep_assistant *assistant = NULL;
	keep_error why = KEEP_ERROR_INIT;
	int failed;

	options.timeout_ms = 30000;
	options.without_keys = true;
	if (keep_assistant_open(url, &options, &assistant, &why) != KEEP_OK) {
		fprintf(stderr, "%s\n", why.message);
		return 3;
	}
	failed = strcmp(what, "find") == 0 ? find_often(assistant) != NULL
					   : edit_often(assistant, what);
	keep_assistant_close(&assistant);
	return failed;
}

static pid_t start(const char *what)
{
	char url[ASSISTANT_URL_MAX];
	pid_t child;

	snprintf(url, sizeof url, "%s", assistant_url());
	child = fork();
	if (child == 0) {
		execl(assistant_program(), assistant_program(), url, what, NULL);
		_exit(9);
	}
	return child;
}

static void await(pid_t child)
{
	int ended = 1;

	assert_int_equal(waitpid(child, &ended, 0), child);
	assert_int_equal(ended, 0);
}

static void processes_and_threads_that_ask_at_once_get_one_conversation(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	pthread_t threads[FINDERS];
	pid_t children[FINDERS];

	(void)state;
	for (int i = 0; i < FINDERS; i++)
		children[i] = start("find");
	for (int i = 0; i < FINDERS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, find_often, assistant), 0);
	for (int i = 0; i < FINDERS; i++) {
		void *failed = NULL;

		pthread_join(threads[i], &failed);
		assert_null(failed);
		await(children[i]);
	}
	assert_int_equal(assistant_count("conversations"), FINDS);
	end(&assistant);
}

static void a_pin_and_a_title_that_are_set_at_once_both_survive(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	keep_conversation found;
	char wanted[40];
	pid_t pin, title;

	(void)state;
	(void)assistant_conversation(assistant, "c");
	pin = start("pin");
	title = start("title");
	assert_int_equal(edit_often(assistant, "skills"), 0);
	await(pin);
	await(title);
	found = get(assistant, KEEP_BYTES("c"));
	for (int i = 1; i <= EDITS; i++) {
		snprintf(wanted, sizeof wanted, "\"pin-%d\":true", i);
		assert_non_null(strstr(found.metadata.data, wanted));
		snprintf(wanted, sizeof wanted, "\"title-%d\":true", i);
		assert_non_null(strstr(found.metadata.data, wanted));
		snprintf(wanted, sizeof wanted, "\"skills-%d\":true", i);
		assert_non_null(strstr(found.metadata.data, wanted));
	}
	end(&assistant);
}

/* ---------------------------------------------------------------- metadata */

static void assert_merged(keep_assistant *assistant, const char *changes, const char *expected)
{
	keep_conversation found;

	OK(keep_assistant_update_metadata(assistant, KEEP_BYTES("c"), keep_bytes_of(changes),
					  &memory, &found, &err));
	assert_bytes_equal(found.metadata, keep_bytes_of(expected));
	assert_bytes_equal(get(assistant, KEEP_BYTES("c")).metadata, keep_bytes_of(expected));
}

static void metadata_is_merged_one_level_deep(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	keep_conversation before, found;

	(void)state;
	(void)assistant_conversation(assistant, "c");
	before = get(assistant, KEEP_BYTES("c"));
	assert_merged(assistant, "{}", "{}");
	assert_merged(assistant, "{\"a\":1,\"b\":{\"x\":[1,2]}}", "{\"a\":1,\"b\":{\"x\":[1,2]}}");
	assert_merged(assistant, "{\"c\":\"\\u00e4\\n\",\"a\":2}",
		      "{\"a\":2,\"b\":{\"x\":[1,2]},\"c\":\"\\u00e4\\n\"}");
	assert_merged(assistant, "{\"b\":{\"y\":null}}",
		      "{\"a\":2,\"b\":{\"y\":null},\"c\":\"\\u00e4\\n\"}");
	assert_merged(assistant, "{\"a\":null,\"missing\":null,\"c\":null}",
		      "{\"b\":{\"y\":null}}");
	assert_merged(assistant, "{\"b\":null}", "{}");
	assert_int_equal(get(assistant, KEEP_BYTES("c")).updated_at, before.updated_at);
	assert_int_equal(keep_assistant_update_metadata(assistant, KEEP_BYTES("nobody"),
							KEEP_BYTES("{}"), &memory, &found, &err),
			 KEEP_NOT_FOUND);
	end(&assistant);
}

static void metadata_cannot_grow_beyond_its_limit(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	char *changes = malloc(700000);
	keep_conversation found;

	(void)state;
	(void)assistant_conversation(assistant, "c");
	memset(changes, 'x', 700000);
	for (int i = 0; i < 2; i++) {
		int len = snprintf(changes, 20, "{\"m%d\":\"", i);

		changes[len] = 'x';
		memcpy(changes + 699997, "\"}", 3);
		assert_int_equal(keep_assistant_update_metadata(assistant, KEEP_BYTES("c"),
								keep_bytes_of(changes), &memory,
								&found, &err),
				 i ? KEEP_FULL : KEEP_OK);
	}
	free(changes);
	end(&assistant);
}

/* ---------------------------------------------------------------- deleting */

static void a_deleted_conversation_takes_its_messages_and_memory_along(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	keep_actor actor = {.user_id = KEEP_BYTES("root"), .conversation_id = KEEP_BYTES("desk")};
	keep_bytes c = assistant_conversation(assistant, "c");
	keep_conversation found;

	(void)state;
	(void)assistant_conversation(assistant, "d");
	(void)assistant_append(assistant, "c", "something private");
	(void)assistant_append(assistant, "d", "two");
	OK(keep_assistant_remember(assistant, c, KEEP_BYTES("facts"), KEEP_BYTES("\"likes tea\""),
				   KEEP_NOW, NULL, NULL, &err));
	(void)assistant_sql(
		"INSERT INTO agent_tasks (task_id, conversation_id, agent_name, action) "
		"VALUES ('t', 'c', 'a', 'b')");
	OK(keep_assistant_delete_conversation(assistant, c, &actor, &err));
	assert_int_equal(keep_assistant_get_conversation(assistant, c, &memory, &found, &err),
			 KEEP_NOT_FOUND);
	assert_int_equal(assistant_count("messages"), 1);
	assert_int_equal(assistant_count("conversation_memory"), 0);
	assert_int_equal(assistant_count("agent_tasks WHERE conversation_id IS NULL"), 1);
	assert_int_equal(assistant_count("audit_log WHERE event_type = 'conversation_change' AND "
					 "action = 'delete' AND conversation_id = 'c' AND "
					 "user_id = 'root'"),
			 1);
	assert_null(strstr(assistant_sql("SELECT CAST(details AS text) FROM audit_log WHERE action "
					 "= 'delete'"),
			   "private"));
	assert_int_equal(keep_assistant_delete_conversation(assistant, c, NULL, &err),
			 KEEP_NOT_FOUND);
	assert_int_equal(assistant_count("audit_log WHERE action = 'delete'"), 1);
	/* Its name is free again. */
	(void)assistant_conversation(assistant, "c");
	assert_int_equal(assistant_append(assistant, "c", "anew"), 1);
	end(&assistant);
}

/* ---------------------------------------------------------------- bad input */

static void bad_input_names_what_is_wrong(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	keep_bytes channel = KEEP_BYTES("webui"), ada = KEEP_BYTES("ada");
	keep_conversation given = {.channel = channel, .metadata = KEEP_BYTES("[]")}, out;
	char much[KEEP_ASSISTANT_TEXT_MAX + 2];

	(void)state;
	memset(much, 'x', sizeof much);
	much[sizeof much - 1] = '\0';
#define FINDING(channel_, contact_, idle_, now_)                                                   \
	keep_assistant_find_or_create(assistant, channel_, contact_, idle_, now_, &memory, &out,   \
				      NULL, &err)
	assert_int_equal(FINDING(none, ada, 0, T0), KEEP_INVALID);
	assert_non_null(strstr(err.message, "channel"));
	assert_int_equal(FINDING(channel, KEEP_BYTES(""), 0, T0), KEEP_INVALID);
	assert_non_null(strstr(err.message, "contact"));
	assert_int_equal(FINDING(channel, KEEP_BYTES("a\nb"), 0, T0), KEEP_INVALID);
	assert_int_equal(FINDING(channel, KEEP_BYTES("\xff"), 0, T0), KEEP_INVALID);
	assert_int_equal(FINDING(channel, keep_bytes_of(much), 0, T0), KEEP_INVALID);
	assert_int_equal(FINDING(channel, ada, -1, T0), KEEP_INVALID);
	assert_int_equal(FINDING(channel, ada, 0, INT64_MAX), KEEP_INVALID);
	assert_int_equal(
		keep_assistant_add_conversation(assistant, &given, T0, &memory, &out, NULL, &err),
		KEEP_INVALID);
	assert_non_null(strstr(err.message, "metadata"));
	(void)assistant_conversation(assistant, "c");
	assert_int_equal(keep_assistant_update_metadata(assistant, KEEP_BYTES("c"),
							KEEP_BYTES("[1]"), &memory, &out, &err),
			 KEEP_INVALID);
	assert_int_equal(keep_assistant_update_metadata(assistant, KEEP_BYTES("c"), none, &memory,
							&out, &err),
			 KEEP_INVALID);
	assert_int_equal(keep_assistant_update_metadata(assistant, KEEP_BYTES("c"),
							KEEP_BYTES("{\"a\":1,\"a\":2}"), &memory,
							&out, &err),
			 KEEP_INVALID);
	assert_int_equal(
		keep_assistant_get_conversation(assistant, KEEP_BYTES(""), &memory, &out, &err),
		KEEP_INVALID);
	assert_int_equal(assistant_count("conversations"), 1);
	end(&assistant);
}

static void a_store_that_is_read_only_begins_nothing(void **state)
{
	keep_assistant *assistant = assistant_fresh(), *reader = NULL;
	keep_assistant_options options = KEEP_ASSISTANT_OPTIONS_INIT;
	keep_conversation out;

	(void)state;
	(void)assistant_conversation(assistant, "c");
	options.read_only = true;
	options.without_keys = true;
	OK(assistant_open_with(&options, &reader, &err));
	OK(keep_assistant_get_conversation(reader, KEEP_BYTES("c"), &memory, &out, &err));
	assert_int_equal(keep_assistant_find_or_create(reader, KEEP_BYTES("webui"),
						       KEEP_BYTES("ada"), 0, T0, &memory, &out,
						       NULL, &err),
			 KEEP_DENIED);
	assert_int_equal(keep_assistant_delete_conversation(reader, KEEP_BYTES("c"), NULL, &err),
			 KEEP_DENIED);
	keep_assistant_close(&reader);
	end(&assistant);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_contact_finds_its_conversation_again),
		cmocka_unit_test(nobody_in_particular_has_a_conversation_too),
		cmocka_unit_test(one_that_was_silent_for_too_long_gets_a_successor),
		cmocka_unit_test(an_empty_one_is_used_again_until_it_is_idle),
		cmocka_unit_test(the_newest_one_goes_on_also_when_a_clock_went_back),
		cmocka_unit_test(adding_twice_is_a_replay_and_another_contact_a_conflict),
		cmocka_unit_test(processes_and_threads_that_ask_at_once_get_one_conversation),
		cmocka_unit_test(a_pin_and_a_title_that_are_set_at_once_both_survive),
		cmocka_unit_test(metadata_is_merged_one_level_deep),
		cmocka_unit_test(metadata_cannot_grow_beyond_its_limit),
		cmocka_unit_test(a_deleted_conversation_takes_its_messages_and_memory_along),
		cmocka_unit_test(bad_input_names_what_is_wrong),
		cmocka_unit_test(a_store_that_is_read_only_begins_nothing),
	};
	int failed;

	if (argc == 3)
		return be_a_process(argv[1], argv[2]);
	assistant_begin(argc, argv);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	assistant_end();
	return failed;
}
