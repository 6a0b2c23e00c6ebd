/*
 * test_gateway_groups.c - contracts/gateway.md, "Groups": registered groups, their states, and
 * finding them by chat, folder and web token.
 *
 *     test_gateway_groups sqlite|postgres
 */
#include "gateway_fixture.h"

#include <pthread.h>
#include <stdatomic.h>

#define TOKEN "s3cr3t-Zm9vYmFyYmF6cXV4"

static int64_t still_ms;

static int64_t read_still_clock(void *ctx)
{
	(void)ctx;
	return still_ms;
}

static keep_registered_group group_of(const char *jid, const char *folder)
{
	return (keep_registered_group){.jid = keep_bytes_of(jid), .folder = keep_bytes_of(folder)};
}

static void put(keep_gateway *gateway, const char *jid, const char *folder)
{
	keep_registered_group group = group_of(jid, folder);
	keep_error err = KEEP_ERROR_INIT;

	OK(keep_gateway_put_group(gateway, &group, &err));
}

static void a_group_is_registered_with_defaults(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_registered_group found;
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	still_ms = 1000000;
	kp_clock_inject(read_still_clock, NULL);
	put(gateway, "telegram:42", "world/sub");
	OK(keep_gateway_get_group(gateway, KEEP_BYTES("telegram:42"), &memory, &found, &err));
	assert_bytes_equal(found.jid, KEEP_BYTES("telegram:42"));
	assert_bytes_equal(found.folder, KEEP_BYTES("world/sub"));
	assert_bytes_equal(found.trigger_word, KEEP_BYTES(""));
	assert_bytes_equal(found.parent, KEEP_BYTES(""));
	assert_bytes_equal(found.name, KEEP_BYTES(""));
	assert_bytes_equal(found.state, KEEP_BYTES("active"));
	assert_false(found.requires_trigger);
	assert_null(found.container_config.data);
	assert_null(found.slink_token.data);
	assert_null(found.slink_hash.data);
	assert_int_equal(found.added_at, 1000000);
	assert_int_equal(found.updated_at, 1000000);
	assert_int_equal(
		keep_gateway_get_group(gateway, KEEP_BYTES("telegram:43"), &memory, &found, &err),
		KEEP_NOT_FOUND);
	keep_memory_release(&memory);
	keep_gateway_close(&gateway);
	kp_clock_inject(NULL, NULL);
	assert_nothing_lives();
}

static void what_is_absent_stays_as_it_was_and_added_at_stays(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_registered_group given = group_of("web:a", "a"), found;
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	still_ms = 1000000;
	kp_clock_inject(read_still_clock, NULL);
	given.trigger_word = KEEP_BYTES("@bot");
	given.requires_trigger = true;
	given.container_config = KEEP_BYTES("{ \"timeout\" : 5,\n \"mounts\":[] }");
	given.parent = KEEP_BYTES("world");
	given.slink_token = KEEP_BYTES(TOKEN);
	given.name = KEEP_BYTES("Ada");
	OK(keep_gateway_put_group(gateway, &given, &err));
	still_ms = 2000000;
	given = (keep_registered_group){.jid = KEEP_BYTES("web:a"), .name = KEEP_BYTES("Ada L.")};
	OK(keep_gateway_put_group(gateway, &given, &err));
	OK(keep_gateway_get_group(gateway, KEEP_BYTES("web:a"), &memory, &found, &err));
	assert_bytes_equal(found.folder, KEEP_BYTES("a"));
	assert_bytes_equal(found.trigger_word, KEEP_BYTES("@bot"));
	assert_bytes_equal(found.container_config,
			   KEEP_BYTES("{ \"timeout\" : 5,\n \"mounts\":[] }"));
	assert_bytes_equal(found.parent, KEEP_BYTES("world"));
	assert_bytes_equal(found.slink_token, KEEP_BYTES(TOKEN));
	assert_bytes_equal(found.name, KEEP_BYTES("Ada L."));
	assert_false(found.requires_trigger); /* always read */
	assert_int_equal(found.added_at, 1000000);
	assert_int_equal(found.updated_at, 2000000);
	keep_memory_release(&memory);
	keep_gateway_close(&gateway);
	kp_clock_inject(NULL, NULL);
	assert_nothing_lives();
}

static void refused(keep_gateway *gateway, const keep_registered_group *group, keep_status wanted,
		    const char *names)
{
	keep_error err = KEEP_ERROR_INIT;
	keep_status status = keep_gateway_put_group(gateway, group, &err);

	CHECK(status == wanted, "%s: %s", keep_status_name(status), err.message);
	CHECK(strstr(err.message, names), "'%s' does not name %s", err.message, names);
	CHECK(!strstr(err.message, TOKEN), "the token is in '%s'", err.message);
}

static void bad_groups_are_refused_and_named(void **state)
{
	static const char *const folders[] = {"",  "/a",    "a/",  "a//b", "..",         "a/../b",
					      ".", "a/./b", "a b", "a\\b", "gr\xc3\xb6", "a\n"};
	keep_gateway *gateway = gateway_fresh();
	keep_registered_group group;
	char *large = malloc(KEEP_GATEWAY_CONTENT_MAX + 3);
	char long_text[KEEP_GATEWAY_TEXT_MAX + 2];

	(void)state;
	memset(long_text, 'a', sizeof long_text - 1);
	long_text[sizeof long_text - 1] = '\0';
	memset(large, ' ', KEEP_GATEWAY_CONTENT_MAX + 3);
	memcpy(large, "{}", 2);
	for (size_t i = 0; i < KP_COUNT(folders); i++) {
		group = group_of("web:a", folders[i]);
		refused(gateway, &group, KEEP_INVALID, "folder");
	}
	group = group_of("web:a", "a");
	group.folder = (keep_bytes){long_text, 256};
	refused(gateway, &group, KEEP_INVALID, "folder");
	group.folder = (keep_bytes){0};
	refused(gateway, &group, KEEP_INVALID, "folder"); /* a new one needs it */
	group = group_of("", "a");
	refused(gateway, &group, KEEP_INVALID, "jid");
	group = group_of("web:a", "a");
	group.parent = KEEP_BYTES("../a");
	refused(gateway, &group, KEEP_INVALID, "parent");
	group = group_of("web:a", "a");
	group.requires_trigger = true;
	refused(gateway, &group, KEEP_INVALID, "trigger_word");
	group.trigger_word = keep_bytes_of(long_text);
	refused(gateway, &group, KEEP_INVALID, "trigger_word");
	group = group_of("web:a", "a");
	group.container_config = KEEP_BYTES("{timeout: 5}");
	refused(gateway, &group, KEEP_INVALID, "container_config");
	group.container_config = (keep_bytes){large, KEEP_GATEWAY_CONTENT_MAX + 1};
	refused(gateway, &group, KEEP_FULL, "container_config");
	group = group_of("web:a", "a");
	group.state = KEEP_BYTES("open");
	refused(gateway, &group, KEEP_INVALID, "state");
	group = group_of("web:a", "a");
	group.name = KEEP_BYTES("\xff");
	refused(gateway, &group, KEEP_INVALID, "name");
	group.name = (keep_bytes){0};
	group.slink_token = (keep_bytes){long_text, 257};
	refused(gateway, &group, KEEP_INVALID, "slink_token");
	assert_string_equal(gateway_sql("SELECT count(*) || '' FROM registered_groups"), "0");
	free(large);
	keep_gateway_close(&gateway);
	assert_nothing_lives();
}

static void a_token_finds_its_active_group_and_is_taken_away_by_an_empty_one(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_registered_group group = group_of("web:a", "a"), found;
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	group.slink_token = KEEP_BYTES(TOKEN);
	OK(keep_gateway_put_group(gateway, &group, &err));
	OK(keep_gateway_group_by_slink_token(gateway, KEEP_BYTES(TOKEN), &memory, &found, &err));
	assert_bytes_equal(found.jid, KEEP_BYTES("web:a"));
	assert_int_equal(keep_gateway_group_by_slink_token(gateway, KEEP_BYTES(TOKEN "x"), &memory,
							   &found, &err),
			 KEEP_NOT_FOUND);
	assert_null(strstr(err.message, TOKEN));
	assert_int_equal(
		keep_gateway_group_by_slink_token(gateway, KEEP_BYTES(""), &memory, &found, &err),
		KEEP_INVALID);
	/* The column holds the token as it is; its hash is what an index sees. */
	assert_string_equal(gateway_sql("SELECT slink_token FROM registered_groups"), TOKEN);
	assert_string_equal(gateway_sql("SELECT length(slink_hash) || '' FROM registered_groups"),
			    "64");
	OK(keep_gateway_set_group_state(gateway, KEEP_BYTES("web:a"), KEEP_BYTES("closed"), &err));
	assert_int_equal(keep_gateway_group_by_slink_token(gateway, KEEP_BYTES(TOKEN), &memory,
							   &found, &err),
			 KEEP_NOT_FOUND);
	OK(keep_gateway_set_group_state(gateway, KEEP_BYTES("web:a"), KEEP_BYTES("active"), &err));
	group.slink_token = KEEP_BYTES("another-token");
	OK(keep_gateway_put_group(gateway, &group, &err));
	assert_int_equal(keep_gateway_group_by_slink_token(gateway, KEEP_BYTES(TOKEN), &memory,
							   &found, &err),
			 KEEP_NOT_FOUND);
	group.slink_token = KEEP_BYTES("");
	OK(keep_gateway_put_group(gateway, &group, &err));
	assert_int_equal(keep_gateway_group_by_slink_token(gateway, KEEP_BYTES("another-token"),
							   &memory, &found, &err),
			 KEEP_NOT_FOUND);
	keep_memory_release(&memory);
	keep_gateway_close(&gateway);
	assert_nothing_lives();
}

static void a_row_whose_hash_lies_is_not_found(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_registered_group group = group_of("web:a", "a"), found;
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	group.slink_token = KEEP_BYTES(TOKEN);
	OK(keep_gateway_put_group(gateway, &group, &err));
	(void)gateway_sql("UPDATE registered_groups SET slink_token = 'changed behind us'");
	assert_int_equal(keep_gateway_group_by_slink_token(gateway, KEEP_BYTES(TOKEN), &memory,
							   &found, &err),
			 KEEP_NOT_FOUND);
	keep_memory_release(&memory);
	keep_gateway_close(&gateway);
}

static void a_token_belongs_to_one_group(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	keep_registered_group group = group_of("web:a", "a");
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	group.slink_token = KEEP_BYTES(TOKEN);
	OK(keep_gateway_put_group(gateway, &group, &err));
	OK(keep_gateway_put_group(gateway, &group, &err)); /* its own again */
	group.jid = KEEP_BYTES("web:b");
	refused(gateway, &group, KEEP_CONFLICT, "slink_token");
	assert_string_equal(gateway_sql("SELECT count(*) || '' FROM registered_groups"), "1");
	keep_gateway_close(&gateway);
	assert_nothing_lives();
}

static void lists_are_by_state_and_by_folder_in_order(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_registered_group_list list;
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	OK(keep_gateway_get_registered_groups(gateway, (keep_bytes){0}, &memory, &list, &err));
	assert_int_equal(list.count, 0);
	put(gateway, "web:c", "x");
	put(gateway, "web:a", "x");
	put(gateway, "web:b", "y");
	OK(keep_gateway_set_group_state(gateway, KEEP_BYTES("web:b"), KEEP_BYTES("closed"), &err));
	OK(keep_gateway_get_registered_groups(gateway, (keep_bytes){0}, &memory, &list, &err));
	assert_int_equal(list.count, 2);
	assert_bytes_equal(list.items[0].jid, KEEP_BYTES("web:a"));
	assert_bytes_equal(list.items[1].jid, KEEP_BYTES("web:c"));
	OK(keep_gateway_get_registered_groups(gateway, KEEP_BYTES("closed"), &memory, &list, &err));
	assert_int_equal(list.count, 1);
	assert_int_equal(keep_gateway_get_registered_groups(gateway, KEEP_BYTES("all"), &memory,
							    &list, &err),
			 KEEP_INVALID);
	OK(keep_gateway_groups_by_folder(gateway, KEEP_BYTES("x"), &memory, &list, &err));
	assert_int_equal(list.count, 2);
	assert_bytes_equal(list.items[0].jid, KEEP_BYTES("web:a"));
	OK(keep_gateway_groups_by_folder(gateway, KEEP_BYTES("z"), &memory, &list, &err));
	assert_int_equal(list.count, 0);
	assert_int_equal(
		keep_gateway_groups_by_folder(gateway, KEEP_BYTES("../x"), &memory, &list, &err),
		KEEP_INVALID);
	keep_memory_release(&memory);
	keep_gateway_close(&gateway);
	assert_nothing_lives();
}

static void more_groups_than_a_page_are_all_listed(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_registered_group_list list;
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	(void)gateway_sql(
		gateway_is_file()
			? "INSERT INTO registered_groups (jid, folder, added_at, updated_at) WITH "
			  "RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < "
			  "1500) SELECT 'web:' || i, 'f', '2026-01-01T00:00:00.000Z', "
			  "'2026-01-01T00:00:00.000Z' FROM n"
			: "INSERT INTO registered_groups (jid, folder, added_at, updated_at) "
			  "SELECT 'web:' || i, 'f', now(), now() FROM generate_series(1, 1500) i");
	OK(keep_gateway_get_registered_groups(gateway, (keep_bytes){0}, &memory, &list, &err));
	assert_int_equal(list.count, 1500);
	keep_memory_release(&memory);
	keep_gateway_close(&gateway);
}

static void states_move_along_the_drawing_only(void **state)
{
	static const char *const names[] = {"active", "closed", "archived"};
	static const bool may[3][3] = {
		{false, true, false}, {true, false, true}, {true, false, false}};
	keep_gateway *gateway = gateway_fresh();
	keep_registered_group group = group_of("web:a", "a");
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	put(gateway, "web:a", "a");
	for (int from = 0; from < 3; from++) {
		for (int to = 0; to < 3; to++) {
			char sql[100];
			keep_status status;

			snprintf(sql, sizeof sql, "UPDATE registered_groups SET state = '%s'",
				 names[from]);
			(void)gateway_sql(sql);
			status = keep_gateway_set_group_state(gateway, KEEP_BYTES("web:a"),
							      keep_bytes_of(names[to]), &err);
			CHECK(status == (may[from][to] ? KEEP_OK : KEEP_CONFLICT), "%s to %s: %s",
			      names[from], names[to], keep_status_name(status));
			assert_string_equal(gateway_sql("SELECT state FROM registered_groups"),
					    names[may[from][to] ? to : from]);
		}
	}
	/* put_group with a state follows it, too; its own state is no step. */
	(void)gateway_sql("UPDATE registered_groups SET state = 'active'");
	group.state = KEEP_BYTES("archived");
	refused(gateway, &group, KEEP_CONFLICT, "archived");
	group.state = KEEP_BYTES("active");
	OK(keep_gateway_put_group(gateway, &group, &err));
	group.state = KEEP_BYTES("closed");
	OK(keep_gateway_put_group(gateway, &group, &err));
	assert_int_equal(keep_gateway_set_group_state(gateway, KEEP_BYTES("web:b"),
						      KEEP_BYTES("closed"), &err),
			 KEEP_NOT_FOUND);
	assert_int_equal(keep_gateway_set_group_state(gateway, KEEP_BYTES("web:a"),
						      KEEP_BYTES("gone"), &err),
			 KEEP_INVALID);
	keep_gateway_close(&gateway);
	assert_nothing_lives();
}

struct closer {
	keep_gateway *gateway;
	atomic_int closed, refused;
};

static void *close_group(void *ctx)
{
	struct closer *closer = ctx;
	keep_status status = keep_gateway_set_group_state(closer->gateway, KEEP_BYTES("web:a"),
							  KEEP_BYTES("closed"), NULL);

	if (status == KEEP_OK)
		closer->closed++;
	else if (status == KEEP_CONFLICT)
		closer->refused++;
	return NULL;
}

static void of_many_that_close_a_group_at_once_one_does(void **state)
{
	struct closer closers[2];
	pthread_t threads[8];

	(void)state;
	memset(closers, 0, sizeof closers);
	closers[0].gateway = gateway_fresh();
	closers[1].gateway = gateway_again("dashd");
	put(closers[0].gateway, "web:a", "a");
	for (size_t i = 0; i < KP_COUNT(threads); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, close_group, &closers[i % 2]),
				 0);
	for (size_t i = 0; i < KP_COUNT(threads); i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(closers[0].closed + closers[1].closed, 1);
	assert_int_equal(closers[0].refused + closers[1].refused, 7);
	keep_gateway_close(&closers[0].gateway);
	keep_gateway_close(&closers[1].gateway);
	assert_nothing_lives();
}

struct putter {
	keep_gateway *gateway;
	int number;
};

static void *put_same_token(void *ctx)
{
	struct putter *putter = ctx;
	char jid[32];
	keep_registered_group group;

	snprintf(jid, sizeof jid, "web:%d", putter->number);
	group = group_of(jid, "a");
	group.slink_token = KEEP_BYTES(TOKEN);
	putter->number = keep_gateway_put_group(putter->gateway, &group, NULL);
	return NULL;
}

static void of_many_that_register_one_token_at_once_one_has_it(void **state)
{
	keep_gateway *gateways[2] = {gateway_fresh(), gateway_again("dashd")};
	struct putter putters[8];
	pthread_t threads[8];
	int stored = 0, conflicts = 0;

	(void)state;
	for (int i = 0; i < 8; i++) {
		putters[i] = (struct putter){gateways[i % 2], i};
		assert_int_equal(pthread_create(&threads[i], NULL, put_same_token, &putters[i]), 0);
	}
	for (int i = 0; i < 8; i++) {
		pthread_join(threads[i], NULL);
		stored += putters[i].number == KEEP_OK;
		conflicts += putters[i].number == KEEP_CONFLICT;
	}
	assert_int_equal(stored, 1);
	assert_int_equal(conflicts, 7);
	assert_string_equal(gateway_sql("SELECT count(*) || '' FROM registered_groups"), "1");
	keep_gateway_close(&gateways[0]);
	keep_gateway_close(&gateways[1]);
	assert_nothing_lives();
}

static void a_removed_group_is_gone(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_registered_group found;
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	put(gateway, "web:a", "a");
	OK(keep_gateway_remove_group(gateway, KEEP_BYTES("web:a"), &err));
	assert_int_equal(
		keep_gateway_get_group(gateway, KEEP_BYTES("web:a"), &memory, &found, &err),
		KEEP_NOT_FOUND);
	assert_int_equal(keep_gateway_remove_group(gateway, KEEP_BYTES("web:a"), &err),
			 KEEP_NOT_FOUND);
	keep_memory_release(&memory);
	keep_gateway_close(&gateway);
	assert_nothing_lives();
}

static void a_read_only_gateway_reads_groups_and_changes_none(void **state)
{
	keep_gateway *gateway = gateway_fresh(), *reader = NULL;
	keep_gateway_options options = KEEP_GATEWAY_OPTIONS_INIT;
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_registered_group group = group_of("web:a", "a"), found;
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	put(gateway, "web:a", "a");
	options.read_only = true;
	OK(gateway_open_with(&options, &reader, &err));
	OK(keep_gateway_get_group(reader, KEEP_BYTES("web:a"), &memory, &found, &err));
	assert_int_equal(keep_gateway_put_group(reader, &group, &err), KEEP_DENIED);
	assert_int_equal(keep_gateway_set_group_state(reader, KEEP_BYTES("web:a"),
						      KEEP_BYTES("closed"), &err),
			 KEEP_DENIED);
	assert_int_equal(keep_gateway_remove_group(reader, KEEP_BYTES("web:a"), &err), KEEP_DENIED);
	keep_memory_release(&memory);
	keep_gateway_close(&reader);
	keep_gateway_close(&gateway);
	assert_nothing_lives();
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_group_is_registered_with_defaults),
		cmocka_unit_test(what_is_absent_stays_as_it_was_and_added_at_stays),
		cmocka_unit_test(bad_groups_are_refused_and_named),
		cmocka_unit_test(a_token_finds_its_active_group_and_is_taken_away_by_an_empty_one),
		cmocka_unit_test(a_row_whose_hash_lies_is_not_found),
		cmocka_unit_test(a_token_belongs_to_one_group),
		cmocka_unit_test(lists_are_by_state_and_by_folder_in_order),
		cmocka_unit_test(more_groups_than_a_page_are_all_listed),
		cmocka_unit_test(states_move_along_the_drawing_only),
		cmocka_unit_test(of_many_that_close_a_group_at_once_one_does),
		cmocka_unit_test(of_many_that_register_one_token_at_once_one_has_it),
		cmocka_unit_test(a_removed_group_is_gone),
		cmocka_unit_test(a_read_only_gateway_reads_groups_and_changes_none),
	};
	int failed;

	gateway_begin(argc, argv);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	gateway_end();
	return failed;
}
