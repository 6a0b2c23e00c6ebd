/*
 * test_engine_redis_server.c - the Redis backend on servers of the test's own: what each operation
 * costs there, servers that die, hang, are full, demand a password, or are a cluster's node.
 */
#include "keep/log.h"
#include "redis_fixture.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/wait.h>

static struct server server;

static int start_server(void **state)
{
	(void)state;
	server_start_redis(&server);
	use_server(server.location);
	return 0;
}

static int remove_server(void **state)
{
	(void)state;
	use_server(NULL);
	server_remove(&server);
	return 0;
}

/* ---------------------------------------------------------------- what operations cost */

struct cost {
	int commands; /* that clients sent */
	int inner;    /* that scripts called */
};

/* Count what the server executes for `operation`, on an engine that is open already. */
static struct cost cost_of(keep_engine *engine, void (*operation)(keep_engine *))
{
	struct cost cost = {.commands = 0};
	redisContext *monitor = redisConnectUnix(server.location);
	redisReply *reply = redisCommand(monitor, "MONITOR");
	bool ended = false;

	freeReplyObject(reply);
	operation(engine);
	raw("ECHO the-end");
	while (!ended) {
		void *line = NULL;

		assert_int_equal(redisGetReply(monitor, &line), REDIS_OK);
		reply = line;
		ended = strstr(reply->str, "the-end") != NULL;
		if (strstr(reply->str, " lua]"))
			cost.inner++;
		else if (!ended)
			cost.commands++;
		freeReplyObject(reply);
	}
	redisFree(monitor);
	return cost;
}

static void list_fifty(keep_engine *engine)
{
	keep_engine_list list = KEEP_ENGINE_LIST_INIT;
	keep_error err = KEEP_ERROR_INIT;

	OK(keep_engine_list_values(engine, KEEP_BYTES("c/1"), 0, 50, &list, &err));
	assert_int_equal(list.count, 50);
	keep_engine_list_release(&list);
}

static void unset_leaf(keep_engine *engine)
{
	unset_path(engine, "c/1/7");
}

static void unset_last_leaf(keep_engine *engine)
{
	unset_path(engine, "lonely/deep/leaf");
}

static void unset_folder(keep_engine *engine)
{
	unset_path(engine, "c");
}

static void set_leaf(keep_engine *engine)
{
	set_text(engine, "c/1/8", "");
}

static void get_and_count(keep_engine *engine)
{
	assert_true(has(engine, "c/1/8"));
	assert_int_equal(count_of(engine, "c/1"), 98);
}

static void fill(keep_engine *engine)
{
	char path[32];

	for (int i = 0; i < 99; i++) {
		snprintf(path, sizeof path, "c/1/%d", i);
		set_text(engine, path, "");
	}
	set_text(engine, "lonely/deep/leaf", "");
}

static void every_operation_is_one_round_trip_whatever_else_the_server_holds(void **state)
{
	keep_engine *engine = open_prefix("cost");
	struct cost before[4], after[4];
	void (*const unsets[])(keep_engine *) = {unset_leaf, unset_last_leaf, unset_folder};

	(void)state;
	fill(engine);
	for (size_t i = 0; i < KP_COUNT(unsets); i++)
		before[i] = cost_of(engine, unsets[i]);
	raw("EVAL %s 0", "for i = 1, 100000 do redis.call('SET', 'foreign:doc:' .. i, '') end");
	fill(engine);
	assert_int_equal(cost_of(engine, list_fifty).commands, 1);
	assert_int_equal(cost_of(engine, set_leaf).commands, 1);
	unset_path(engine, "c/1/9");
	assert_int_equal(cost_of(engine, get_and_count).commands, 2);
	set_text(engine, "c/1/9", "");
	for (size_t i = 0; i < KP_COUNT(unsets); i++) {
		after[i] = cost_of(engine, unsets[i]);
		assert_int_equal(after[i].commands, 1);
		assert_int_equal(after[i].inner, before[i].inner);
		assert_true(after[i].inner < 25);
	}
	assert_int_equal(raw("DBSIZE")->integer, 100001); /* and the marker */
	keep_engine_close(&engine);
	raw("FLUSHALL");
}

/* ---------------------------------------------------------------- servers that go away */

static void a_server_that_is_gone_is_unavailable_and_works_again_when_back(void **state)
{
	keep_engine *engine = open_prefix("gone");
	keep_error err = KEEP_ERROR_INIT;
	keep_buffer value = KEEP_BUFFER_INIT;

	(void)state;
	set_text(engine, "a", "1");
	server_kill(&server);
	assert_int_equal(keep_engine_get(engine, KEEP_BYTES("a"), &value, &err), KEEP_UNAVAILABLE);
	assert_non_null(strstr(err.message, server.location));
	/* Nothing was sent, so there is no doubt. */
	assert_int_equal(keep_engine_set(engine, KEEP_BYTES("b"), KEEP_BYTES("1"), &err),
			 KEEP_UNAVAILABLE);
	server_restart(&server);
	use_server(server.location);
	assert_true(has(engine, "a"));
	assert_false(has(engine, "b"));
	set_text(engine, "b", "1"); /* the scripts are loaded again */
	want_names(engine, "", "b a");
	server_stop(&server);
	server_restart(&server);
	use_server(server.location);
	set_text(engine, "c", "1"); /* a connection found closed is no reason for doubt */
	unset_path(engine, "");
	keep_buffer_release(&value);
	keep_engine_close(&engine);
}

static void a_change_that_a_hanging_server_got_is_uncertain(void **state)
{
	keep_engine *engine = NULL;
	keep_error err = KEEP_ERROR_INIT;
	keep_buffer value = KEEP_BUFFER_INIT;
	char url[URL_MAX];
	int64_t start;

	(void)state;
	prefix_url(url, "hang");
	OK(try_url(url, (keep_engine_options){.create = true, .timeout_ms = 300}, &engine, &err));
	set_text(engine, "a", "1");
	server_pause(&server);
	start = kp_monotonic_ns();
	assert_int_equal(keep_engine_set(engine, KEEP_BYTES("a"), KEEP_BYTES("2"), &err),
			 KEEP_UNCERTAIN);
	assert_int_equal(keep_engine_get(engine, KEEP_BYTES("a"), &value, &err), KEEP_UNAVAILABLE);
	assert_true(kp_monotonic_ns() - start < INT64_C(2000000000));
	server_resume(&server);
	assert_true(has(engine, "a"));
	unset_path(engine, "");
	keep_buffer_release(&value);
	keep_engine_close(&engine);
}

/* Kill the server's process, without waiting, in a few milliseconds. */
static pid_t kill_soon(useconds_t delay)
{
	const char *line = strstr(raw("INFO server")->str, "process_id:");
	pid_t target = line ? (pid_t)strtol(line + 11, NULL, 10) : 0;
	pid_t child;

	assert_true(target > 1);
	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		usleep(delay);
		kill(target, SIGKILL);
		_exit(0);
	}
	return child;
}

static void a_server_killed_during_changes_keeps_what_was_acknowledged(void **state)
{
	uint64_t seed = test_seed();

	(void)state;
	for (int round = 0; round < 12; round++) {
		keep_engine *engine = open_prefix("killed");
		keep_error err = KEEP_ERROR_INIT;
		keep_status status = KEEP_OK;
		pid_t killer = kill_soon((useconds_t)(2000 + next_random(&seed) % 30000));
		char path[32];
		int count = 0;

		while (status == KEEP_OK) {
			snprintf(path, sizeof path, "r/%d/%d", round, count);
			status =
				keep_engine_set(engine, keep_bytes_of(path), KEEP_BYTES("x"), &err);
			count += status == KEEP_OK;
		}
		assert_true(status == KEEP_UNCERTAIN || status == KEEP_UNAVAILABLE);
		assert_int_equal(waitpid(killer, NULL, 0), killer);
		server_kill(&server); /* clears away what it left */
		server_restart(&server);
		use_server(server.location);
		if (status == KEEP_UNAVAILABLE)
			assert_false(has(engine, path));
		for (int i = 0; i < count; i++) {
			snprintf(path, sizeof path, "r/%d/%d", round, i);
			assert_true(has(engine, path));
		}
		assert_string_equal(tree_faults("killed"), "");
		unset_path(engine, "");
		keep_engine_close(&engine);
	}
}

static void a_watch_outlives_its_server(void **state)
{
	keep_engine *engine = open_prefix("watch");
	keep_engine_watch *watch = NULL;
	keep_error err = KEEP_ERROR_INIT;
	bool changed = true;

	(void)state;
	OK(keep_engine_watch_open(engine, KEEP_BYTES("a/b"), &watch, &err));
	set_text(engine, "other", "");
	OK(keep_engine_watch_wait(watch, 50, &changed, &err));
	assert_false(changed);
	server_kill(&server);
	assert_int_equal(keep_engine_watch_wait(watch, 300, &changed, &err), KEEP_UNAVAILABLE);
	server_restart(&server);
	use_server(server.location);
	OK(keep_engine_watch_wait(watch, 2000, &changed, &err));
	assert_true(changed); /* what was missed is not known */
	OK(keep_engine_watch_wait(watch, 0, &changed, &err));
	assert_false(changed);
	unset_path(engine, "a"); /* above it */
	OK(keep_engine_watch_wait(watch, 2000, &changed, &err));
	assert_true(changed);
	set_text(engine, "a/bc", "");
	OK(keep_engine_watch_wait(watch, 50, &changed, &err));
	assert_false(changed);
	set_text(engine, "a/b/c", "");
	OK(keep_engine_watch_wait(watch, 2000, &changed, &err));
	assert_true(changed);
	keep_engine_watch_close(&watch);
	unset_path(engine, "");
	keep_engine_close(&engine);
}

/* ---------------------------------------------------------------- servers that refuse */

static void a_full_server_refuses_whole_changes_and_lets_go(void **state)
{
	keep_engine *engine = open_prefix("full");
	keep_engine *second = NULL;
	keep_engine_change changes[] = {
		{.kind = KEEP_ENGINE_SET, .path = KEEP_BYTES("new/a"), .value = KEEP_BYTES("1")},
		{.kind = KEEP_ENGINE_SET, .path = KEEP_BYTES("old"), .value = KEEP_BYTES("2")},
	};
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	set_text(engine, "old", "1");
	set_text(engine, "old/below", "1");
	raw("CONFIG SET maxmemory 1");
	assert_int_equal(keep_engine_batch(engine, changes, 2, &err), KEEP_FULL);
	assert_int_equal(keep_engine_set(engine, KEEP_BYTES("old"), KEEP_BYTES("2"), &err),
			 KEEP_FULL);
	assert_int_equal(keep_engine_set_scored(engine, KEEP_BYTES("n"), KEEP_BYTES("2"), 1, &err),
			 KEEP_FULL);
	assert_string_equal(tree_faults("full"), "");
	assert_string_equal(raw("GET full:doc:old")->str, "1");
	assert_int_equal(raw("EXISTS full:doc:new/a full:idx:new full:dir:new")->integer, 0);
	want_names(engine, "", "old"); /* reading goes on, opening too */
	second = open_prefix("full");
	keep_engine_close(&second);
	unset_path(engine, "old"); /* and so does removing, which makes room */
	assert_false(has(engine, "old/below"));
	raw("CONFIG SET maxmemory 0");
	OK(keep_engine_batch(engine, changes, 2, &err));
	unset_path(engine, "");
	keep_engine_close(&engine);
}

static void a_login_url(char url[URL_MAX], const char *login)
{
	snprintf(url, URL_MAX, "redis+unix://%s%s?prefix=login", login, server.location);
}

static keep_status try_login(const char *login, char message[320])
{
	keep_engine *engine = NULL;
	keep_error err = KEEP_ERROR_INIT;
	keep_status status;
	char url[URL_MAX];

	a_login_url(url, login);
	status = try_url(url, (keep_engine_options){.create = true}, &engine, &err);
	if (status == KEEP_OK)
		unset_path(engine, "");
	keep_engine_close(&engine);
	memcpy(message, err.message, 320);
	return status;
}

static void users_and_passwords_are_asked_and_never_shown(void **state)
{
	char message[320];

	(void)state;
	assert_int_equal(try_login(":s%25same@", message), KEEP_DENIED); /* none is set */
	assert_null(strstr(message, "same"));
	raw("ACL SETUSER keeper on >s%%same ~login:* &login:watch +@all -@dangerous +info");
	raw("ACL SETUSER reader on >s%%same ~login:* &login:watch +@read +evalsha +script|load");
	raw("ACL SETUSER silent on >s%%same ~login:* resetchannels +@all");
	raw("CONFIG SET requirepass s%%same");
	assert_int_equal(try_login("", message), KEEP_DENIED);
	assert_int_equal(try_login(":wrong-sesame@", message), KEEP_DENIED);
	assert_null(strstr(message, "sesame"));
	assert_int_equal(try_login("nobody:wrong-sesame@", message), KEEP_DENIED);
	assert_null(strstr(message, "sesame"));
	assert_int_equal(try_login(":s%25same@", message), KEEP_OK);
	assert_int_equal(try_login("default:s%25same@", message), KEEP_OK);
	/* What a change needs and the user may not do is said at once, not half way. */
	assert_int_equal(try_login("reader:s%25same@", message), KEEP_DENIED);
	assert_int_equal(try_login("silent:s%25same@", message), KEEP_DENIED);
	assert_int_equal(try_login("keeper:s%25same@", message), KEEP_OK);
	assert_int_equal(raw("EVAL %s 0", "return #redis.call('KEYS', 'login:*')")->integer, 0);
	raw("CONFIG SET requirepass %s", "");
}

static void a_user_who_may_only_use_the_prefix_gets_lists(void **state)
{
	keep_engine *engine = NULL;
	keep_error err = KEEP_ERROR_INIT;
	char url[URL_MAX];

	(void)state;
	raw("ACL SETUSER keeper on >same ~login:* &login:watch +@all");
	a_login_url(url, "keeper:same@");
	OK(try_url(url, (keep_engine_options){.create = true}, &engine, &err));
	set_text(engine, "a/1", "");
	set_text(engine, "a/2", "");
	want_names(engine, "a", "2 1"); /* SORT needs the right to read all keys */
	unset_path(engine, "");
	keep_engine_close(&engine);
}

/* ---------------------------------------------------------------- durability */

static char logged[2000];

static void keep_log_text(void *ctx, keep_log_level level, const char *message)
{
	(void)ctx, (void)level;
	snprintf(logged, sizeof logged, "%s", message);
}

static void want_durability(const char *expected, bool relaxed, bool warned)
{
	keep_engine_options options = KEEP_ENGINE_OPTIONS_INIT;
	keep_engine_info info;
	keep_engine *engine = NULL;
	keep_error err = KEEP_ERROR_INIT;
	char url[URL_MAX];

	logged[0] = '\0';
	prefix_url(url, "durable");
	options.relaxed = relaxed;
	OK(keep_engine_open(url, &options, &engine, &err));
	keep_engine_describe(engine, &info);
	assert_string_equal(info.durability, expected);
	assert_string_equal(info.backend, "redis");
	assert_int_equal(logged[0] != '\0', warned);
	keep_engine_close(&engine);
}

static void durability_is_what_the_server_says(void **state)
{
	(void)state;
	keep_log_set(keep_log_text, NULL);
	want_durability("appendfsync always", false, false);
	raw("CONFIG SET appendfsync everysec");
	want_durability("appendfsync everysec", false, true);
	want_durability("appendfsync everysec", true, false);
	raw("CONFIG SET appendonly no");
	want_durability("not persistent", false, true);
	raw("CONFIG SET maxmemory 1gb maxmemory-policy allkeys-lru");
	want_durability("not persistent", true, true);
	raw("ACL SETUSER default -config");
	want_durability("not persistent", true, false); /* INFO tells it, too */
	raw("ACL SETUSER default +config");
	raw("CONFIG SET maxmemory 0 maxmemory-policy noeviction appendonly yes appendfsync always");
	keep_log_set(NULL, NULL);
	raw("DEL durable:keep");
}

/* ---------------------------------------------------------------- a cluster */

static int free_port(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t size = sizeof address;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &size), 0);
	close(fd);
	return ntohs(address.sin_port);
}

/* Make the running server a cluster of one node, also on 127.0.0.1; returns its port. */
static int become_a_cluster(struct server *node, int bus_port)
{
	char name[128];
	int port = free_port();
	FILE *config;

	server_stop(node);
	snprintf(name, sizeof name, "%s/redis.conf", node->folder);
	config = fopen(name, "a");
	assert_non_null(config);
	fprintf(config,
		"cluster-enabled yes\nbind 127.0.0.1\nport %d\ncluster-port %d\n"
		"cluster-require-full-coverage no\ncluster-announce-ip 127.0.0.1\n",
		port, bus_port);
	fclose(config);
	server_restart(node);
	use_server(node->location);
	return port;
}

/* Each node learns of the other's slots by and by. */
static void wait_until_whole(const char *slots)
{
	for (int i = 0; i < 800; i++) {
		if (strstr(raw("CLUSTER NODES")->str, slots) &&
		    strstr(raw("CLUSTER INFO")->str, "cluster_state:ok"))
			return;
		usleep(25000);
	}
	fail_msg("the cluster does not come together");
}

static struct server other; /* the second node */

/* Two nodes that know each other; each has half of the slots. */
static void start_cluster(int ports[2])
{
	int other_bus = free_port();

	server_start_redis(&other);
	ports[1] = become_a_cluster(&other, other_bus);
	raw("CLUSTER ADDSLOTSRANGE 8192 16383");
	server_start_redis(&server);
	ports[0] = become_a_cluster(&server, free_port());
	raw("CLUSTER ADDSLOTSRANGE 0 8191");
	raw("CLUSTER MEET 127.0.0.1 %d %d", ports[1], other_bus);
	wait_until_whole(" 8192-16383");
	use_server(other.location);
	wait_until_whole(" 0-8191");
	use_server(server.location);
}

static void a_cluster_wants_a_hash_tag_and_leads_to_its_node(void **state)
{
	/* CLUSTER KEYSLOT: {wa} is 11593 and the other node's, {b} is 3300 and this one's. */
	static const char *const tags[] = {"{wa}", "x{b}:1"};
	keep_engine *engine = NULL;
	keep_error err = KEEP_ERROR_INIT;
	char url[URL_MAX];
	int ports[2];

	(void)state;
	start_cluster(ports);
	prefix_url(url, "wa");
	assert_int_equal(try_url(url, (keep_engine_options){.create = true}, &engine, &err),
			 KEEP_INVALID);
	assert_non_null(strstr(err.message, "{hash tag}"));
	for (size_t i = 0; i < KP_COUNT(tags); i++) {
		engine = open_prefix(tags[i]);
		set_text(engine, "a/b/c", "1");
		set_text(engine, "a/b/d", "1");
		want_names(engine, "a/b", "d c");
		unset_path(engine, "a");
		assert_false(has(engine, "a/b/c"));
		unset_path(engine, "");
		keep_engine_close(&engine);
	}
	snprintf(url, sizeof url, "redis://127.0.0.1:%d?prefix={wa}", ports[0]);
	OK(try_url(url, (keep_engine_options){.create = true}, &engine, &err));
	set_text(engine, "a", "1");
	assert_true(has(engine, "a"));
	unset_path(engine, "");
	keep_engine_close(&engine);
	snprintf(url, sizeof url, "redis://127.0.0.1:%d/1?prefix={wa}", ports[0]);
	assert_int_equal(try_url(url, (keep_engine_options){.create = true}, &engine, &err),
			 KEEP_INVALID);
}

static int remove_cluster(void **state)
{
	if (other.kind)
		server_remove(&other);
	return server.kind ? remove_server(state) : 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_operation_is_one_round_trip_whatever_else_the_server_holds),
		cmocka_unit_test(a_server_that_is_gone_is_unavailable_and_works_again_when_back),
		cmocka_unit_test(a_change_that_a_hanging_server_got_is_uncertain),
		cmocka_unit_test(a_server_killed_during_changes_keeps_what_was_acknowledged),
		cmocka_unit_test(a_watch_outlives_its_server),
		cmocka_unit_test(a_full_server_refuses_whole_changes_and_lets_go),
		cmocka_unit_test(users_and_passwords_are_asked_and_never_shown),
		cmocka_unit_test(a_user_who_may_only_use_the_prefix_gets_lists),
		cmocka_unit_test(durability_is_what_the_server_says),
	};
	const struct CMUnitTest alone[] = {
		cmocka_unit_test_teardown(a_cluster_wants_a_hash_tag_and_leads_to_its_node,
					  remove_cluster),
	};
	int failed = cmocka_run_group_tests(tests, start_server, remove_server);

	return cmocka_run_group_tests(alone, NULL, NULL) + failed;
}
