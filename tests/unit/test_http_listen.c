/* test_http_listen.c - addresses to listen at, Host's name and port, problems, headers of replies.
 */
#include "keep_test.h"
#include "service/http_exchange.h"

static void addresses_are_read_and_loopback_is_known(void **state)
{
	static const struct {
		const char *text, *host;
		int port;
		bool is_loopback, is_any;
	} good[] = {
		{"127.0.0.1:7400", "127.0.0.1", 7400, true, false},
		{"127.1.2.3:0", "127.1.2.3", 0, true, false},
		{"localhost:1", "127.0.0.1", 1, true, false},
		{"[::1]:65535", "::1", 65535, true, false},
		{"[::ffff:127.0.0.1]:1", "::ffff:127.0.0.1", 1, true, false},
		{"[::ffff:10.0.0.1]:1", "::ffff:10.0.0.1", 1, false, false},
		{"0.0.0.0:80", "0.0.0.0", 80, false, true},
		{"[::]:80", "::", 80, false, true},
		{"128.0.0.1:80", "128.0.0.1", 80, false, false},
	};
	static const char *const bad[] = {"",
					  ":1",
					  "127.0.0.1",
					  "127.0.0.1:",
					  "127.0.0.1:65536",
					  "127.0.0.1:1x",
					  "[::1]",
					  "::1:1",
					  "[::1",
					  "[]:1",
					  "name:1",
					  "127.0.0.1:+1",
					  "127.1:1",
					  "[127.0.0.1]:1",
					  "1.2.3.4.5:1",
					  " 127.0.0.1:1",
					  "127.0.0.1 :1",
					  "0x7f.1:1"};
	keep_error err = KEEP_ERROR_INIT;
	kp_endpoint endpoint;

	(void)state;
	for (size_t i = 0; i < KP_COUNT(good); i++) {
		OK(kp_endpoint_parse(good[i].text, &endpoint, &err));
		assert_string_equal(endpoint.host, good[i].host);
		assert_int_equal(endpoint.port, good[i].port);
		assert_int_equal(endpoint.is_loopback, good[i].is_loopback);
		assert_int_equal(endpoint.is_any, good[i].is_any);
	}
	for (size_t i = 0; i < KP_COUNT(bad); i++)
		CHECK(kp_endpoint_parse(bad[i], &endpoint, &err) == KEEP_INVALID, "%s", bad[i]);
	assert_nothing_lives();
}

static void hosts_are_split_into_name_and_port(void **state)
{
	static const struct {
		const char *text, *name, *port;
	} good[] = {{"a", "a", NULL},
		    {"a:1", "a", "1"},
		    {"[::1]", "[::1]", NULL},
		    {"[::1]:80", "[::1]", "80"},
		    {"a.b-c.d", "a.b-c.d", NULL}};
	static const char *const bad[] = {"",       ":1",       "a:",   "a:b", "a:1:2",
					  "a b",    "a/b",      "u@a",  "a,b", "[::1",
					  "[::1]x", "a:123456", "a:1 ", "a\tb"};
	keep_bytes name, port;

	(void)state;
	for (size_t i = 0; i < KP_COUNT(good); i++) {
		CHECK(kp_host_split(good[i].text, &name, &port), "%s", good[i].text);
		assert_bytes_equal(name, keep_bytes_of(good[i].name));
		assert_bytes_equal(port, keep_bytes_of(good[i].port));
	}
	for (size_t i = 0; i < KP_COUNT(bad); i++)
		CHECK(!kp_host_split(bad[i], &name, &port), "%s", bad[i]);
}

static void every_status_makes_a_problem(void **state)
{
	(void)state;
	for (int status = KEEP_NOT_FOUND; status <= KEEP_MISUSE; status++) {
		kp_reply reply = {.status = 0};
		kp_arena arena = {.head = NULL};
		const kp_json *json = NULL;
		keep_error err = {.status = (keep_status)status, .message = "say \"why\""};

		kp_problem_with_id(&reply, 0, &err, KEEP_BYTES("[7]"));
		assert_int_equal(reply.status, keep_status_http((keep_status)status));
		OK(kp_json_parse(kp_buffer_bytes(&reply.body), &arena, &json, &err));
		assert_bytes_equal(kp_json_member(json, "code")->text,
				   keep_bytes_of(keep_status_name((keep_status)status)));
		assert_bytes_equal(kp_json_member(json, "detail")->text, KEEP_BYTES("say \"why\""));
		assert_bytes_equal(kp_json_member(json, "id")->raw, KEEP_BYTES("[7]"));
		assert_int_equal(reply.header_count, reply.status == 503);
		kp_arena_release(&arena);
		kp_reply_release(&reply);
	}
	assert_nothing_lives();
}

static void a_header_of_a_reply_cannot_make_another_one(void **state)
{
	kp_reply reply = {.status = 0};
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	OK(kp_reply_header(&reply, "A", "1", &err));
	OK(kp_reply_header(&reply, "A", "2", &err));
	assert_int_equal(reply.header_count, 1);
	assert_string_equal(reply.headers[0].value, "2");
	assert_int_equal(kp_reply_header(&reply, "B", "x\r\nSet-Cookie: y", &err), KEEP_MISUSE);
	assert_int_equal(reply.header_count, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(addresses_are_read_and_loopback_is_known),
		cmocka_unit_test(hosts_are_split_into_name_and_port),
		cmocka_unit_test(every_status_makes_a_problem),
		cmocka_unit_test(a_header_of_a_reply_cannot_make_another_one),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
