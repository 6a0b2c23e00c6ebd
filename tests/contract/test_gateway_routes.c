/*
 * test_gateway_routes.c - contracts/gateway.md, "Routes": storing them, and where a message goes.
 *
 *     test_gateway_routes sqlite|postgres
 */
#include "gateway_fixture.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

#define ROUTE(type_, match_, target_)                                                              \
	(keep_route)                                                                               \
	{                                                                                          \
		.type = keep_bytes_of(type_), .match = keep_bytes_of(match_),                      \
		.target = keep_bytes_of(target_)                                                   \
	}

static const char *self; /* this program, for other processes */

static keep_message say_to(const char *jid, const char *content)
{
	return (keep_message){.chat_jid = keep_bytes_of(jid),
			      .content = keep_bytes_of(content),
			      .sender = KEEP_BYTES("telegram:7"),
			      .sender_name = KEEP_BYTES("Ada Lovelace"),
			      .verb = KEEP_BYTES("message")};
}

static void set_routes(keep_gateway *gateway, const char *jid, const keep_route *routes,
		       size_t count)
{
	keep_error err = KEEP_ERROR_INIT;

	OK(keep_gateway_set_routes(gateway, keep_bytes_of(jid), routes, count, &err));
}

#define SET_ROUTES(gateway, jid, ...)                                                              \
	set_routes(gateway, jid, (const keep_route[]){__VA_ARGS__},                                \
		   KP_COUNT(((const keep_route[]){__VA_ARGS__})))

/* The target of a message, with and without an explanation; "" when nothing takes it. */
static void check_target(keep_gateway *gateway, const keep_message *message, const char *wanted)
{
	keep_error err = KEEP_ERROR_INIT;
	keep_memory memory = KEEP_MEMORY_INIT;

	for (int explain = 0; explain <= 1; explain++) {
		keep_resolution found;

		OK(keep_gateway_resolve(gateway, message, explain, &memory, &found, &err));
		assert_int_equal(found.matched, *wanted != 0);
		if (*wanted)
			assert_bytes_equal(found.target, keep_bytes_of(wanted));
		if (!explain)
			assert_int_equal(found.step_count, 0);
		for (size_t i = 0; i < found.step_count; i++) {
			assert_int_equal(found.steps[i].matched,
					 found.matched && i + 1 == found.step_count);
			assert_true(found.steps[i].why.len > 0);
		}
	}
	keep_memory_release(&memory);
}

static void check_text(keep_gateway *gateway, const char *content, const char *wanted)
{
	keep_message message = say_to("telegram:42", content);

	check_target(gateway, &message, wanted);
}

static void put_group(keep_gateway *gateway, const char *jid, const char *folder,
		      const char *trigger)
{
	keep_error err = KEEP_ERROR_INIT;
	keep_registered_group group = {.jid = keep_bytes_of(jid),
				       .folder = keep_bytes_of(folder),
				       .trigger_word = keep_bytes_of(trigger),
				       .requires_trigger = trigger != NULL};

	OK(keep_gateway_put_group(gateway, &group, &err));
}

/* ---------------------------------------------------------------- what each type matches */

static void each_type_matches_what_it_says(void **state)
{
	static const struct {
		const char *type, *match, *yes[4], *no[4];
	} cases[] = {
		{"command",
		 "/new",
		 {"/new", " /new \n", "/new topic", "/new\tx"},
		 {"/newer", "x /new", "/NEW", "/ne"}},
		{"prefix", "@", {"@", "@bot hi", "  @x"}, {"x@", ""}},
		{"pattern", "^order [0-9]+$", {"order 12"}, {"order", " order 12", "order x"}},
		{"pattern", "(?i)grüße", {"Viele GRÜSSE, GRÜßE"}, {"grusse"}},
		{"keyword", "ÄRGER", {"viel ärger hier", "Ärger"}, {"arger", "ärge"}},
		{"sender", "^Ada ", {"anything"}, {NULL}},
		{"sender", "^telegram:7$", {NULL}, {"anything"}},
		{"verb", "MESSAGE", {"anything"}, {NULL}},
		{"verb", "mess", {NULL}, {"anything"}},
		{"default", "", {"anything", ""}, {NULL}},
	};
	keep_gateway *gateway = gateway_fresh();

	(void)state;
	for (size_t i = 0; i < KP_COUNT(cases); i++) {
		SET_ROUTES(gateway, "telegram:42", ROUTE(cases[i].type, cases[i].match, "main"));
		for (int j = 0; j < 4 && cases[i].yes[j]; j++)
			check_text(gateway, cases[i].yes[j], "main");
		for (int j = 0; j < 4 && cases[i].no[j]; j++)
			check_text(gateway, cases[i].no[j], "");
	}
	keep_gateway_close(&gateway);
	assert_nothing_lives();
}

static void a_sender_without_a_name_is_compared_by_id(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	keep_message message = say_to("telegram:42", "hello");

	(void)state;
	SET_ROUTES(gateway, "telegram:42", ROUTE("sender", "^telegram:7$", "main"));
	message.sender_name = (keep_bytes){0};
	check_target(gateway, &message, "main");
	message.sender_name = KEEP_BYTES("");
	check_target(gateway, &message, "main");
	message.sender = (keep_bytes){0};
	check_target(gateway, &message, "");
	keep_gateway_close(&gateway);
}

/* ---------------------------------------------------------------- order */

static void a_chat_comes_before_its_platform_and_that_before_everybody(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	keep_message other = say_to("telegram:43", "hello"), web = say_to("web:1", "hello"),
		     plain = say_to("nowhere", "hello"), star = say_to("*", "hello"),
		     prefix = say_to("telegram:", "hello");

	(void)state;
	SET_ROUTES(gateway, "*", {.seq = -100, .target = KEEP_BYTES("everybody")});
	SET_ROUTES(gateway, "telegram:", {.seq = -50, .target = KEEP_BYTES("platform")});
	SET_ROUTES(gateway, "telegram:42", {.seq = 1000, .target = KEEP_BYTES("chat")});
	check_text(gateway, "hello", "chat");
	check_target(gateway, &other, "platform");
	check_target(gateway, &prefix, "platform");
	check_target(gateway, &web, "everybody");
	check_target(gateway, &plain, "everybody");
	check_target(gateway, &star, "everybody");
	set_routes(gateway, "telegram:42", NULL, 0);
	check_text(gateway, "hello", "platform");
	set_routes(gateway, "telegram:", NULL, 0);
	set_routes(gateway, "*", NULL, 0);
	check_text(gateway, "hello", "");
	keep_gateway_close(&gateway);
}

static void routes_are_tried_by_seq_and_then_by_id(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	keep_error err = KEEP_ERROR_INIT;
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_route_list list;
	static const struct {
		int64_t seq;
		const char *target;
	} added[] = {{5, "c"}, {-1, "a"}, {5, "d"}, {0, "b"}};
	int64_t ids[4];

	(void)state;
	for (size_t i = 0; i < KP_COUNT(added); i++) {
		keep_route route = {.jid = KEEP_BYTES("telegram:42"),
				    .seq = added[i].seq,
				    .target = keep_bytes_of(added[i].target)};

		OK(keep_gateway_add_route(gateway, &route, &ids[i], &err));
	}
	OK(keep_gateway_get_routes(gateway, KEEP_BYTES("telegram:42"), &memory, &list, &err));
	assert_int_equal(list.count, 4);
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(list.items[i].target.data[0], 'a' + (int)i);
	assert_bytes_equal(list.items[0].type, KEEP_BYTES("default"));
	assert_bytes_equal(list.items[0].match, KEEP_BYTES(""));
	for (int i = 0; i < 4; i++) {
		const size_t order[] = {1, 3, 0, 2};

		check_text(gateway, "hello", added[order[i]].target);
		OK(keep_gateway_remove_route(gateway, ids[order[i]], &err));
	}
	check_text(gateway, "hello", "");
	assert_int_equal(keep_gateway_remove_route(gateway, ids[0], &err), KEEP_NOT_FOUND);
	keep_memory_release(&memory);
	keep_gateway_close(&gateway);
	assert_nothing_lives();
}

static void all_routes_are_listed_in_the_order_of_evaluation(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	keep_error err = KEEP_ERROR_INIT;
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_route_list list;

	(void)state;
	SET_ROUTES(gateway, "*", ROUTE("default", "", "x"));
	SET_ROUTES(gateway, "web:", ROUTE("default", "", "x"));
	SET_ROUTES(gateway, "web:1", ROUTE("default", "", "x"), ROUTE("default", "", "y"));
	OK(keep_gateway_get_routes(gateway, (keep_bytes){0}, &memory, &list, &err));
	assert_int_equal(list.count, 4);
	assert_bytes_equal(list.items[0].jid, KEEP_BYTES("web:1"));
	assert_bytes_equal(list.items[1].target, KEEP_BYTES("y"));
	assert_bytes_equal(list.items[2].jid, KEEP_BYTES("web:"));
	assert_bytes_equal(list.items[3].jid, KEEP_BYTES("*"));
	keep_memory_release(&memory);
	keep_gateway_close(&gateway);
}

/* ---------------------------------------------------------------- targets and groups */

static void a_sender_without_an_id_falls_to_the_next_route(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	keep_message message = say_to("telegram:42", "hello");

	(void)state;
	SET_ROUTES(gateway, "telegram:42", ROUTE("default", "", "home/{sender}"),
		   ROUTE("default", "", "rest"));
	check_target(gateway, &message, "home/tg-7");
	message.sender = KEEP_BYTES("");
	check_target(gateway, &message, "rest");
	message.sender = KEEP_BYTES("unknown");
	check_target(gateway, &message, "rest");
	keep_gateway_close(&gateway);
}

static void a_group_that_requires_its_trigger_takes_nothing_else(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	SET_ROUTES(gateway, "telegram:42", ROUTE("default", "", "main"),
		   ROUTE("default", "", "rest"));
	put_group(gateway, "telegram:42", "main", "@Bot");
	check_text(gateway, "@bot hello", "main");
	check_text(gateway, "  @BOT", "main");
	check_text(gateway, "@bots hello", "rest");
	check_text(gateway, "hello @bot", "rest");
	/* The chat's own group counts, not another one of the folder. */
	put_group(gateway, "telegram:43", "main", NULL);
	check_text(gateway, "hello", "rest");
	OK(keep_gateway_remove_group(gateway, KEEP_BYTES("telegram:42"), &err));
	check_text(gateway, "hello", "main");
	keep_gateway_close(&gateway);
}

static void a_closed_or_archived_group_takes_nothing(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	keep_error err = KEEP_ERROR_INIT;
	static const char *const states[] = {"closed", "archived"};

	(void)state;
	SET_ROUTES(gateway, "telegram:42", ROUTE("default", "", "main"),
		   ROUTE("default", "", "rest"));
	put_group(gateway, "telegram:42", "main", NULL);
	check_text(gateway, "hello", "main");
	for (int i = 0; i < 2; i++) {
		OK(keep_gateway_set_group_state(gateway, KEEP_BYTES("telegram:42"),
						keep_bytes_of(states[i]), &err));
		check_text(gateway, "hello", "rest");
	}
	OK(keep_gateway_set_group_state(gateway, KEEP_BYTES("telegram:42"), KEEP_BYTES("active"),
					&err));
	check_text(gateway, "hello", "main");
	keep_gateway_close(&gateway);
}

/* ---------------------------------------------------------------- explaining */

static void an_explanation_tells_every_route_that_was_looked_at(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	keep_error err = KEEP_ERROR_INIT;
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_resolution found;
	keep_message message = say_to("telegram:42", "hello");
	static const char *const why[] = {
		"has not the command '/new'",    "does not match the pattern '^[0-9]",
		"has no folder for this sender", "takes only messages that begin with '@bot'",
		"the group of 'gone' is closed", "the content contains 'HELL'",
	};

	(void)state;
	message.sender = KEEP_BYTES("");
	put_group(gateway, "telegram:1", "asked", "@bot");
	put_group(gateway, "telegram:2", "gone", NULL);
	OK(keep_gateway_set_group_state(gateway, KEEP_BYTES("telegram:2"), KEEP_BYTES("closed"),
					&err));
	SET_ROUTES(gateway, "telegram:42", ROUTE("command", "/new", "a"),
		   ROUTE("pattern", "^[0-9]+$", "a"), ROUTE("default", "", "{sender}"));
	SET_ROUTES(gateway, "telegram:", ROUTE("prefix", "he", "asked"),
		   ROUTE("verb", "Message", "gone"));
	SET_ROUTES(gateway, "*", ROUTE("keyword", "HELL", "won"), ROUTE("default", "", "late"));
	OK(keep_gateway_resolve(gateway, &message, true, &memory, &found, &err));
	assert_true(found.matched);
	assert_bytes_equal(found.target, KEEP_BYTES("won"));
	assert_bytes_equal(found.route.match, KEEP_BYTES("HELL"));
	assert_bytes_equal(found.route.jid, KEEP_BYTES("*"));
	assert_int_equal(found.step_count, KP_COUNT(why));
	for (size_t i = 0; i < KP_COUNT(why); i++) {
		CHECK(strstr(found.steps[i].why.data, why[i]), "%zu: %s", i,
		      found.steps[i].why.data);
		assert_int_equal(found.steps[i].matched, i + 1 == KP_COUNT(why));
	}
	keep_memory_release(&memory);
	keep_gateway_close(&gateway);
	assert_nothing_lives();
}

static void a_pattern_that_takes_too_long_does_not_match_and_says_so(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	keep_error err = KEEP_ERROR_INIT;
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_resolution found;
	size_t len = KEEP_GATEWAY_CONTENT_MAX;
	char *content = malloc(len + 1);
	keep_message message;
	int64_t begun = kp_monotonic_ns();

	(void)state;
	memset(content, 'a', len);
	content[len] = 0;
	message = say_to("telegram:42", content);
	SET_ROUTES(gateway, "telegram:42", ROUTE("pattern", "a.{500}[bc]", "a"),
		   ROUTE("pattern", "(a?){300}[bc]", "a"), ROUTE("keyword", "aaa", "rest"));
	check_target(gateway, &message, "rest");
	OK(keep_gateway_resolve(gateway, &message, true, &memory, &found, &err));
	for (int i = 0; i < 2; i++)
		assert_non_null(strstr(found.steps[i].why.data, "took too long"));
	assert_true(kp_monotonic_ns() - begun < INT64_C(10000000000) * test_patience());
	message.content.len++;
	assert_int_equal(keep_gateway_resolve(gateway, &message, false, &memory, &found, &err),
			 KEEP_FULL);
	free(content);
	keep_memory_release(&memory);
	keep_gateway_close(&gateway);
}

/* ---------------------------------------------------------------- changing */

static void what_is_not_valid_is_refused_and_named(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	keep_error err = KEEP_ERROR_INIT;
	char long_text[1026];
	const struct {
		const char *jid, *type, *match, *target, *what;
	} cases[] = {
		{"", "default", "", "a", "jid:"},
		{"x\n", "default", "", "a", "jid:"},
		{"*", "regex", "x", "a", "type:"},
		{"*", "Default", "", "a", "type:"},
		{"*", "command", "", "a", "match:"},
		{"*", "keyword", NULL, "a", "match:"},
		{"*", "pattern", "(", "a", "at byte 0"},
		{"*", "sender", "a{2,1}", "a", "at byte 1"},
		{"*", "pattern", long_text + 824, "a", "match:"},
		{"*", "keyword", long_text, "a", "match:"},
		{"*", "keyword", "\xff", "a", "match:"},
		{"*", "default", "", "", "target:"},
		{"*", "default", "", "../a", "target:"},
		{"*", "default", "", "a b", "target:"},
		{"*", "default", "", "{name}", "target:"},
	};
	int64_t id;

	(void)state;
	memset(long_text, 'x', 1025);
	long_text[1025] = 0;
	for (size_t i = 0; i < KP_COUNT(cases); i++) {
		keep_route route = ROUTE(cases[i].type, cases[i].match, cases[i].target);
		keep_route both[] = {ROUTE("default", "", "fine"), route};

		route.jid = keep_bytes_of(cases[i].jid);
		CHECK(keep_gateway_add_route(gateway, &route, &id, &err) == KEEP_INVALID, "%zu", i);
		CHECK(strstr(err.message, cases[i].what), "%zu: %s", i, err.message);
		CHECK(keep_gateway_set_routes(gateway, route.jid, both, 2, &err) == KEEP_INVALID,
		      "%zu", i);
		if (strcmp(cases[i].what, "jid:") != 0)
			assert_non_null(strstr(err.message, "route 2 of 2"));
	}
	assert_int_equal(keep_gateway_set_routes(gateway, KEEP_BYTES("*"), NULL, 20001, &err),
			 KEEP_INVALID);
	assert_string_equal(gateway_sql("SELECT count(*) || '' FROM routes"), "0");
	keep_gateway_close(&gateway);
	assert_nothing_lives();
}

static void a_reader_cannot_change_routes_but_resolve(void **state)
{
	keep_gateway *gateway = gateway_fresh(), *reader = NULL;
	keep_gateway_options options = KEEP_GATEWAY_OPTIONS_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_route route = {.jid = KEEP_BYTES("*"), .target = KEEP_BYTES("a")};

	(void)state;
	options.read_only = true;
	OK(keep_gateway_add_route(gateway, &route, NULL, &err));
	OK(gateway_open_with(&options, &reader, &err));
	check_text(reader, "hello", "a");
	assert_int_equal(keep_gateway_add_route(reader, &route, NULL, &err), KEEP_DENIED);
	assert_int_equal(keep_gateway_set_routes(reader, route.jid, NULL, 0, &err), KEEP_DENIED);
	assert_int_equal(keep_gateway_remove_route(reader, 1, &err), KEEP_DENIED);
	keep_gateway_close(&reader);
	keep_gateway_close(&gateway);
}

static void twenty_thousand_routes_are_replaced_at_once_and_one_more_is_too_many(void **state)
{
	enum { COUNT = 20000 };
	static char matches[COUNT][24];
	keep_gateway *gateway = gateway_fresh();
	keep_error err = KEEP_ERROR_INIT;
	keep_route *routes = calloc(COUNT, sizeof *routes);
	keep_route one = {.jid = KEEP_BYTES("telegram:42"), .target = KEEP_BYTES("a")};

	(void)state;
	for (int i = 0; i < COUNT; i++) {
		snprintf(matches[i], sizeof matches[i], i % 2 ? "word%d." : "^w[o]rd%d$", i);
		routes[i] = ROUTE(i % 2 ? "keyword" : "pattern", matches[i], "a");
	}
	routes[COUNT - 1].target = KEEP_BYTES("last");
	set_routes(gateway, "telegram:42", routes, COUNT);
	check_text(gateway, "a word19999. here", "last");
	check_text(gateway, "nothing", "");
	assert_int_equal(keep_gateway_add_route(gateway, &one, NULL, &err), KEEP_FULL);
	set_routes(gateway, "telegram:42", routes, 1);
	OK(keep_gateway_add_route(gateway, &one, NULL, &err));
	check_text(gateway, "nothing", "a");
	free(routes);
	keep_gateway_close(&gateway);
	assert_nothing_lives();
}

static void a_stored_route_that_cannot_be_used_harms_no_other(void **state)
{
	keep_gateway *gateway = gateway_fresh();

	(void)state;
	gateway_sql("INSERT INTO routes (jid, seq, type, match, target) "
		    "VALUES ('telegram:42', 0, 'pattern', '(', 'a'), "
		    "('telegram:42', 1, 'keyword', '', 'b'), "
		    "('telegram:42', 2, 'default', '', '../c'), "
		    "('telegram:42', 3, 'default', '', 'd')");
	check_text(gateway, "hello", "d");
	keep_gateway_close(&gateway);
}

/* ---------------------------------------------------------------- others change routes */

static int run_other(const char *url, const char *target)
{
	keep_gateway_options options = KEEP_GATEWAY_OPTIONS_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_gateway *gateway = NULL;
	keep_route route = {.target = keep_bytes_of(target)};
	keep_status status = keep_gateway_open(url, &options, &gateway, &err);

	if (status == KEEP_OK)
		status = keep_gateway_set_routes(gateway, KEEP_BYTES("telegram:42"), &route, 1,
						 &err);
	keep_gateway_close(&gateway);
	if (status != KEEP_OK)
		fprintf(stderr, "%s\n", err.message);
	return status == KEEP_OK ? 0 : 1;
}

static void a_change_by_another_process_is_seen_by_the_next_resolve(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	static const char *const targets[] = {"first", "second", "third"};
	const char *url = gateway_url(); /* names this process */

	(void)state;
	for (int i = 0; i < 3; i++) {
		pid_t pid = fork();
		int result = -1;

		if (pid == 0) {
			execl(self, self, gateway_kind(), "other", url, targets[i], (char *)NULL);
			_exit(127);
		}
		assert_int_equal(waitpid(pid, &result, 0), pid);
		assert_int_equal(result, 0);
		check_text(gateway, "hello", targets[i]);
	}
	keep_gateway_close(&gateway);
}

/* Each generation has the same routes but for the folder, which names it; a resolve that saw two
   generations at once would find another target than the first. */
enum { THREADS = 16, GENERATIONS = 40, RESOLVES = 60 };

struct crowd {
	keep_gateway *gateway;
	atomic_int generation; /* was stored */
	atomic_int failures;
};

static void *resolve_always(void *ctx)
{
	struct crowd *crowd = ctx;
	keep_message message = say_to("telegram:42", "find the needle");

	for (int i = 0; i < RESOLVES; i++) {
		keep_memory memory = KEEP_MEMORY_INIT;
		keep_resolution found = {.matched = false};
		int before = atomic_load(&crowd->generation), seen = -1;
		keep_status status = keep_gateway_resolve(crowd->gateway, &message, i % 8 == 0,
							  &memory, &found, NULL);

		if (status != KEEP_OK || !found.matched ||
		    sscanf(found.target.data, "g%d", &seen) != 1 || seen < before ||
		    seen > GENERATIONS || !kp_bytes_equal(found.route.match, KEEP_BYTES("needle")))
			atomic_fetch_add(&crowd->failures, 1);
		keep_memory_release(&memory);
	}
	return NULL;
}

static void store_generation(struct crowd *crowd, int generation)
{
	enum { COUNT = 30 };
	keep_route routes[COUNT];
	char target[16];

	snprintf(target, sizeof target, "g%d", generation);
	for (int i = 0; i < COUNT; i++)
		routes[i] = ROUTE("pattern", "^absent[0-9]+$", target);
	routes[20] = ROUTE("keyword", "needle", target);
	set_routes(crowd->gateway, "telegram:42", routes, COUNT);
	atomic_store(&crowd->generation, generation);
}

static void threads_resolve_while_routes_change_and_see_whole_ones(void **state)
{
	struct crowd crowd = {.gateway = gateway_fresh()};
	pthread_t threads[THREADS];

	(void)state;
	store_generation(&crowd, 0);
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, resolve_always, &crowd), 0);
	for (int generation = 1; generation <= GENERATIONS; generation++)
		store_generation(&crowd, generation);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(atomic_load(&crowd.failures), 0);
	check_text(crowd.gateway, "needle", "g40");
	keep_gateway_close(&crowd.gateway);
	assert_nothing_lives();
}

#define CHATS                                                                                      \
	"WITH RECURSIVE numbers (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers "             \
	"WHERE n < 1099) "

static void more_chats_than_are_kept_compiled_resolve_all_the_same(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	char jid[32], target[32];
	long live;

	(void)state;
	gateway_sql("INSERT INTO routes (jid, type, match, target) " CHATS
		    "SELECT 'web:' || n, 'keyword', 'hello', 'w' || n FROM numbers");
	gateway_sql("INSERT INTO route_versions (jid, version) " CHATS
		    "SELECT 'web:' || n, 1 FROM numbers");
	live = kp_alloc_live();
	for (int i = 0; i < 2200; i += i < 1100 ? 1 : 50) {
		keep_message message;

		snprintf(jid, sizeof jid, "web:%d", i % 1100);
		snprintf(target, sizeof target, "w%d", i % 1100);
		message = say_to(jid, "hello");
		check_target(gateway, &message, target);
		if (i == 1030)
			live = kp_alloc_live();
	}
	CHECK(kp_alloc_live() <= live + 20, "%ld blocks became %ld", live, kp_alloc_live());
	keep_gateway_close(&gateway);
	assert_nothing_lives();
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_type_matches_what_it_says),
		cmocka_unit_test(a_sender_without_a_name_is_compared_by_id),
		cmocka_unit_test(a_chat_comes_before_its_platform_and_that_before_everybody),
		cmocka_unit_test(routes_are_tried_by_seq_and_then_by_id),
		cmocka_unit_test(all_routes_are_listed_in_the_order_of_evaluation),
		cmocka_unit_test(a_sender_without_an_id_falls_to_the_next_route),
		cmocka_unit_test(a_group_that_requires_its_trigger_takes_nothing_else),
		cmocka_unit_test(a_closed_or_archived_group_takes_nothing),
		cmocka_unit_test(an_explanation_tells_every_route_that_was_looked_at),
		cmocka_unit_test(a_pattern_that_takes_too_long_does_not_match_and_says_so),
		cmocka_unit_test(what_is_not_valid_is_refused_and_named),
		cmocka_unit_test(a_reader_cannot_change_routes_but_resolve),
		cmocka_unit_test(
			twenty_thousand_routes_are_replaced_at_once_and_one_more_is_too_many),
		cmocka_unit_test(a_stored_route_that_cannot_be_used_harms_no_other),
		cmocka_unit_test(a_change_by_another_process_is_seen_by_the_next_resolve),
		cmocka_unit_test(threads_resolve_while_routes_change_and_see_whole_ones),
		cmocka_unit_test(more_chats_than_are_kept_compiled_resolve_all_the_same),
	};
	int failed;

	self = argv[0];
	if (argc == 5 && strcmp(argv[2], "other") == 0)
		return run_other(argv[3], argv[4]);
	gateway_begin(argc, argv);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	gateway_end();
	return failed;
}
