/*
 * test_service_accounts.c - who asks: access tokens of all bad kinds, rights that change, signing
 * in.
 *
 *     test_service_accounts sqlite|postgres
 *
 * Passwords cost 64 MiB and a tenth of a second each, so few are hashed here.
 */
#include "keep/time.h"
#include "service_fixture.h"
#include "vault/vault.h"

#include <pthread.h>

static const char *kind;
static keep_service service;

static int open_home(void **state)
{
	(void)state;
	service_open(&service, kind);
	return 0;
}

static int close_home(void **state)
{
	(void)state;
	service_close(&service);
	assert_nothing_lives();
	return 0;
}

static void create_user(const char *sub, const char *folder, const char *password)
{
	keep_user_options options = KEEP_USER_OPTIONS_INIT;
	keep_bytes one = keep_bytes_of(folder);
	keep_error err = KEEP_ERROR_INIT;

	options.sub = keep_bytes_of(sub);
	options.password = keep_bytes_of(password);
	options.is_operator = !folder;
	options.folders = &one;
	options.folder_count = folder ? 1 : 0;
	OK(keep_gateway_create_user(service.gateway, &options, &err));
}

/* What a change through another process is after a second at the latest. */
static void forget(void)
{
	const kp_operation *operation =
		kp_operation_find(&kp_gateway_operations, KEEP_BYTES("create_user"));

	kp_accounts_expect(&service, &kp_gateway_operations, operation);
}

static int ask(kp_request *request, keep_bytes token, kp_door door, keep_error *err)
{
	int http_status = 0;
	keep_status status;

	request->service = &service;
	request->path = "/v1/x";
	request->reply.header_count = 0;
	status = kp_account_of_token(request, token, door, &http_status, err);
	CHECK(status == KEEP_OK || status == KEEP_DENIED, "%s", err->message);
	CHECK((status == KEEP_OK) == (http_status == 0), "%d", http_status);
	CHECK(status == KEEP_OK || strstr(request->reply.headers[0].value, "Bearer"),
	      "no challenge");
	return status == KEEP_OK ? 200 : http_status;
}

static int ask_once(keep_bytes token, kp_door door)
{
	kp_request request = {.is_loopback = true};
	keep_error err = KEEP_ERROR_INIT;
	int answer = ask(&request, token, door, &err);

	CHECK(!token.len || !strstr(err.message, token.data), "the token is in the message");
	kp_account_release(&request.account);
	return answer;
}

static void issue(const char *sub, int64_t now_ms, keep_buffer *token)
{
	keep_error err = KEEP_ERROR_INIT;

	OK(keep_gateway_issue_access_token(service.gateway, keep_bytes_of(sub), now_ms, token,
					   &err));
}

static void nobody_is_asked_on_loopback_until_there_is_an_account(void **state)
{
	kp_request request = {.is_loopback = true};
	keep_error err = KEEP_ERROR_INIT;
	const keep_bytes none = {0};

	(void)state;
	assert_int_equal(ask(&request, none, KP_DOOR_OPERATOR, &err), 200);
	assert_true(request.account.is_anonymous);
	request.is_loopback = false;
	assert_int_equal(ask(&request, none, KP_DOOR_ACCOUNT, &err), 401);
	assert_false(request.account.is_anonymous);
	request.is_loopback = true;
	service.options.behind_proxy = true;
	assert_int_equal(ask(&request, none, KP_DOOR_ACCOUNT, &err), 401);
	service.options.behind_proxy = false;
	assert_int_equal(ask(&request, KEEP_BYTES("x.y.z"), KP_DOOR_ACCOUNT, &err), 401);
	assert_int_equal(ask(&request, none, KP_DOOR_ACCOUNT, &err), 200);

	/* The first one is asked for at once when it came through this service. */
	forget();
	create_user("local:first", "a", NULL);
	assert_int_equal(ask(&request, none, KP_DOOR_ACCOUNT, &err), 401);
	assert_int_equal(ask(&request, none, KP_DOOR_OPEN, &err), 200);
	assert_false(request.account.is_anonymous);
	assert_false(request.account.access.is_operator);

	/* Disabled accounts are accounts. */
	OK(keep_gateway_set_user_disabled(service.gateway, KEEP_BYTES("local:first"), true, &err));
	forget();
	assert_int_equal(ask(&request, none, KP_DOOR_ACCOUNT, &err), 401);
	kp_account_release(&request.account);
}

static void base64url(const char *text, keep_buffer *out)
{
	keep_error err = KEEP_ERROR_INIT;
	keep_buffer part = KEEP_BUFFER_INIT;

	OK(kp_base64url_encode(keep_bytes_of(text), &part, &err));
	OK(kp_buffer_append(out, kp_buffer_bytes(&part), &err));
	keep_buffer_release(&part);
}

static void tokens_that_are_not_good_are_refused(void **state)
{
	static const char claims[] = "{\"sub\":\"local:t\",\"name\":\"\",\"groups\":null,"
				     "\"iat\":1700000000,\"exp\":4100000000}";
	keep_buffer token = KEEP_BUFFER_INIT, other = KEEP_BUFFER_INIT;
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	create_user("local:t", "a", NULL);
	issue("local:t", KEEP_NOW, &token);
	assert_int_equal(ask_once(kp_buffer_bytes(&token), KP_DOOR_ACCOUNT), 200);
	assert_int_equal(ask_once(kp_buffer_bytes(&token), KP_DOOR_OPERATOR), 403);

	/* Altered anywhere. */
	for (size_t i = 0; i < token.len; i += 3) {
		char was = token.data[i];

		token.data[i] = was == 'A' ? 'B' : 'A';
		assert_int_equal(ask_once(kp_buffer_bytes(&token), KP_DOOR_ACCOUNT), 401);
		token.data[i] = was;
	}
	for (size_t len = 0; len < token.len; len += 7)
		assert_int_equal(ask_once((keep_bytes){token.data, len}, KP_DOOR_ACCOUNT), 401);

	/* alg none, with and without a dot; another key's, with a kid of nobody and with ours. */
	base64url("{\"alg\":\"none\",\"typ\":\"JWT\"}", &other);
	OK(kp_buffer_append_text(&other, ".", &err));
	base64url(claims, &other);
	assert_int_equal(ask_once(kp_buffer_bytes(&other), KP_DOOR_ACCOUNT), 401);
	OK(kp_buffer_append_text(&other, ".", &err));
	assert_int_equal(ask_once(kp_buffer_bytes(&other), KP_DOOR_ACCOUNT), 401);
	OK(kp_jwt_sign(KEEP_BYTES("0123456789abcdef0123456789abcdef"), KEEP_BYTES("nobody"),
		       keep_bytes_of(claims), &other, &err));
	assert_int_equal(ask_once(kp_buffer_bytes(&other), KP_DOOR_ACCOUNT), 401);
	{
		kp_arena arena = {.head = NULL};
		keep_bytes id = {0};

		OK(kp_jwt_key_id(kp_buffer_bytes(&token), &arena, &id, &err));
		OK(kp_jwt_sign(KEEP_BYTES("0123456789abcdef0123456789abcdef"), id,
			       keep_bytes_of(claims), &other, &err));
		assert_int_equal(ask_once(kp_buffer_bytes(&other), KP_DOOR_ACCOUNT), 401);
		kp_arena_release(&arena);
	}

	/* Of an hour ago, and from the future. */
	issue("local:t", kp_clock_ms() - KEEP_ACCESS_TOKEN_MS - 2000, &other);
	assert_int_equal(ask_once(kp_buffer_bytes(&other), KP_DOOR_ACCOUNT), 401);
	issue("local:t", kp_clock_ms() + 3600000, &other);
	assert_int_equal(ask_once(kp_buffer_bytes(&other), KP_DOOR_ACCOUNT), 401);

	/* Of a key that was retired: at once, and the next one is good. */
	OK(keep_gateway_renew_signing_key(service.gateway, true, &err));
	assert_int_equal(ask_once(kp_buffer_bytes(&token), KP_DOOR_ACCOUNT), 401);
	issue("local:t", KEEP_NOW, &token);
	assert_int_equal(ask_once(kp_buffer_bytes(&token), KP_DOOR_ACCOUNT), 200);
	keep_buffer_release(&token);
	keep_buffer_release(&other);
}

static void what_an_account_lost_its_tokens_lose(void **state)
{
	const keep_bytes folders[] = {KEEP_BYTES("a/x"), KEEP_BYTES("c")};
	keep_buffer token = KEEP_BUFFER_INIT;
	kp_request request = {.is_loopback = false};
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_access now = {0};
	keep_error err = KEEP_ERROR_INIT;
	const keep_bytes sub = KEEP_BYTES("local:u");
	bool good = false;

	(void)state;
	create_user("local:u", NULL, NULL);
	issue("local:u", KEEP_NOW, &token);
	assert_int_equal(ask(&request, kp_buffer_bytes(&token), KP_DOOR_OPERATOR, &err), 200);
	assert_true(request.account.access.is_operator);

	/* An operator no more. */
	OK(keep_gateway_set_user_folders(service.gateway, sub, false, folders, 2, &err));
	forget();
	assert_int_equal(ask(&request, kp_buffer_bytes(&token), KP_DOOR_OPERATOR, &err), 403);
	assert_int_equal(ask(&request, kp_buffer_bytes(&token), KP_DOOR_ACCOUNT, &err), 200);
	assert_true(keep_access_covers(&request.account.access, KEEP_BYTES("c/d")));
	assert_false(keep_access_covers(&request.account.access, KEEP_BYTES("a")));

	/* A token of then gains nothing by what the account is given, and keeps what both have. */
	issue("local:u", KEEP_NOW, &token);
	OK(keep_gateway_set_user_folders(service.gateway, sub, false,
					 (keep_bytes[]){KEEP_BYTES("a")}, 1, &err));
	forget();
	assert_int_equal(ask(&request, kp_buffer_bytes(&token), KP_DOOR_ACCOUNT, &err), 200);
	assert_true(keep_access_covers(&request.account.access, KEEP_BYTES("a/x")));
	assert_false(keep_access_covers(&request.account.access, KEEP_BYTES("a")));
	assert_false(keep_access_covers(&request.account.access, KEEP_BYTES("c")));
	OK(keep_gateway_set_user_folders(service.gateway, sub, true, NULL, 0, &err));
	forget();
	assert_int_equal(ask(&request, kp_buffer_bytes(&token), KP_DOOR_OPERATOR, &err), 403);

	/* What is open for long is asked again. */
	assert_int_equal(ask(&request, kp_buffer_bytes(&token), KP_DOOR_ACCOUNT, &err), 200);
	OK(kp_account_renew(&service, &request.account, &memory, &now, &good, &err));
	assert_true(good);
	OK(keep_gateway_set_user_disabled(service.gateway, sub, true, &err));
	forget();
	OK(kp_account_renew(&service, &request.account, &memory, &now, &good, &err));
	assert_false(good);
	assert_int_equal(ask(&request, kp_buffer_bytes(&token), KP_DOOR_ACCOUNT, &err), 401);
	keep_memory_release(&memory);
	kp_account_release(&request.account);
	keep_buffer_release(&token);
}

static int64_t monotonic_ms(void)
{
	return kp_monotonic_ns() / 1000000;
}

static void a_change_of_another_process_takes_a_second_at_most(void **state)
{
	keep_buffer token = KEEP_BUFFER_INIT;
	keep_error err = KEEP_ERROR_INIT;
	int64_t begin;

	(void)state;
	create_user("local:v", "a", NULL);
	issue("local:v", KEEP_NOW, &token);
	assert_int_equal(ask_once(kp_buffer_bytes(&token), KP_DOOR_ACCOUNT), 200);
	OK(keep_gateway_set_user_disabled(service.gateway, KEEP_BYTES("local:v"), true, &err));
	begin = monotonic_ms();
	while (ask_once(kp_buffer_bytes(&token), KP_DOOR_ACCOUNT) == 200)
		CHECK(monotonic_ms() - begin < KP_RIGHTS_MS + 30000, "still good");
	/* The last good answer was remembered for a second and no longer; the rest is this machine.
	 */
	keep_buffer_release(&token);
}

/* ---------------------------------------------------------------- signing in */

static void post(kp_request *request, kp_http_handler *handler, const char *body)
{
	keep_error err = KEEP_ERROR_INIT;
	keep_status status;

	request->service = &service;
	request->path = "/v1/auth/x";
	request->reply.status = 0;
	request->reply.header_count = 0;
	request->reply.body.len = 0;
	OK(keep_buffer_set(&request->body, keep_bytes_of(body), &err));
	status = handler(request, &err);
	if (status != KEEP_OK)
		kp_problem(&request->reply, 0, &err);
	CHECK(!strstr(request->reply.body.data, "wrong-password"), "%s", request->reply.body.data);
	CHECK(!memmem(request->body.data, request->body.len, "password", 8), "not wiped");
}

static void end(kp_request *request)
{
	kp_account_release(&request->account);
	keep_buffer_release(&request->body);
	keep_buffer_release(&request->reply.body);
}

static void text_of(const kp_request *request, const char *name, char *out, size_t size)
{
	char wanted[64];
	const char *at;

	(void)snprintf(wanted, sizeof wanted, "\"%s\":\"", name);
	at = strstr(request->reply.body.data, wanted);
	CHECK(at, "%s", request->reply.body.data);
	at += strlen(wanted);
	(void)snprintf(out, size, "%.*s", (int)strcspn(at, "\""), at);
}

static void who_signs_in_gets_two_tokens_and_a_used_one_ends_the_session(void **state)
{
	kp_request request = {.address = "192.0.2.1"};
	char access[4096], first[64], second[64], body[256];

	(void)state;
	create_user("local:w", "a", "the right one");
	post(&request, kp_accounts_sign_in,
	     "{\"username\":\"local:w\",\"password\":\"the right one\"}");
	assert_int_equal(request.reply.status, 200);
	text_of(&request, "access_token", access, sizeof access);
	text_of(&request, "refresh_token", first, sizeof first);
	assert_non_null(strstr(request.reply.body.data, "\"folders\":[\"a\"]"));
	assert_non_null(strstr(request.reply.body.data, "\"is_operator\":false"));
	assert_non_null(strstr(request.reply.body.data, "\"expires_in\":3600"));
	assert_int_equal(ask_once(keep_bytes_of(access), KP_DOOR_ACCOUNT), 200);

	(void)snprintf(body, sizeof body, "{\"refresh_token\":\"%s\"}", first);
	post(&request, kp_accounts_refresh, body);
	assert_int_equal(request.reply.status, 200);
	text_of(&request, "refresh_token", second, sizeof second);
	assert_string_not_equal(first, second);
	post(&request, kp_accounts_refresh, body); /* stolen: both end */
	assert_int_equal(request.reply.status, 401);
	assert_string_equal(request.reply.headers[0].name, "WWW-Authenticate");
	(void)snprintf(body, sizeof body, "{\"refresh_token\":\"%s\"}", second);
	post(&request, kp_accounts_refresh, body);
	assert_int_equal(request.reply.status, 401);
	assert_null(strstr(request.reply.body.data, second));

	/* Signing out ends a family; an unknown token is done, too. */
	post(&request, kp_accounts_sign_in,
	     "{\"username\":\"local:w\",\"password\":\"the right one\"}");
	text_of(&request, "refresh_token", first, sizeof first);
	(void)snprintf(body, sizeof body, "{\"refresh_token\":\"%s\"}", first);
	post(&request, kp_accounts_sign_out, body);
	assert_int_equal(request.reply.status, 200);
	post(&request, kp_accounts_refresh, body);
	assert_int_equal(request.reply.status, 401);
	post(&request, kp_accounts_sign_out, "{\"refresh_token\":\"nobody's\"}");
	assert_int_equal(request.reply.status, 200);
	end(&request);
}

static void bodies_that_are_not_as_they_should_be_are_invalid(void **state)
{
	static const char *const bodies[] = {
		"",
		"{",
		"[]",
		"null",
		"{}",
		"{\"username\":\"x\"}",
		"{\"username\":\"x\",\"password\":1}",
		"{\"username\":\"x\",\"password\":\"\"}",
		"{\"username\":\"x\",\"password\":\"y\",\"more\":1}",
		"{\"username\":\"x\",\"username\":\"y\",\"password\":\"z\"}",
		"{\"username\":\"x\\n\",\"password\":\"z\"}",
	};
	kp_request request = {.address = "192.0.2.2"};

	(void)state;
	for (size_t i = 0; i < KP_COUNT(bodies); i++) {
		post(&request, kp_accounts_sign_in, bodies[i]);
		CHECK(request.reply.status == 400, "%s: %d", bodies[i], request.reply.status);
	}
	end(&request);
}

static void guessing_is_slowed_down_the_same_for_whoever_is_not_there(void **state)
{
	static const char *const bodies[] = {
		"{\"username\":\"local:g\",\"password\":\"wrong-password\"}",
		"{\"username\":\"local:nobody\",\"password\":\"wrong-password\"}",
	};
	char answers[2][512];
	kp_request request = {.address = "192.0.2.3"};

	(void)state;
	create_user("local:g", "a", "the right one");
	for (size_t i = 0; i < KP_COUNT(bodies); i++) {
		int tries = 0;

		(void)snprintf(request.address, sizeof request.address, "192.0.2.%zu", i + 3);
		do {
			post(&request, kp_accounts_sign_in, bodies[i]);
			if (request.reply.status == 401)
				(void)snprintf(answers[i], sizeof answers[i], "%s",
					       request.reply.body.data);
			CHECK(++tries < 20, "it may go on for ever");
		} while (request.reply.status == 401);
		assert_int_equal(request.reply.status, 429);
		assert_string_equal(request.reply.headers[0].name, "Retry-After");
	}
	assert_string_equal(answers[0], answers[1]);
	/* The right one has to wait, too. */
	post(&request, kp_accounts_sign_in,
	     "{\"username\":\"local:g\",\"password\":\"the right one\"}");
	assert_true(request.reply.status == 429 || request.reply.status == 200);
	end(&request);
}

/* ---------------------------------------------------------------- many at once */

static void *ask_again_and_again(void *arg)
{
	const keep_buffer *token = arg;

	for (int i = 0; i < 200; i++) {
		kp_request request = {.is_loopback = true};
		keep_error err = KEEP_ERROR_INIT;
		int answer = ask(&request, kp_buffer_bytes(token), KP_DOOR_ACCOUNT, &err);

		CHECK(answer == 401 || !request.account.access.is_operator, "an operator");
		CHECK(answer == 401 || keep_access_covers(&request.account.access, KEEP_BYTES("a")),
		      "not its folder");
		kp_account_release(&request.account);
		if (i % 20 == 0)
			forget();
	}
	return NULL;
}

static void many_ask_while_their_account_is_changed(void **state)
{
	pthread_t threads[4];
	keep_buffer token = KEEP_BUFFER_INIT;
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	create_user("local:x", "a", NULL);
	issue("local:x", KEEP_NOW, &token);
	for (size_t i = 0; i < KP_COUNT(threads); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, ask_again_and_again, &token), 0);
	for (int i = 0; i < 10; i++)
		OK(keep_gateway_set_user_disabled(service.gateway, KEEP_BYTES("local:x"),
						  i % 2 == 0, &err));
	for (size_t i = 0; i < KP_COUNT(threads); i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	keep_buffer_release(&token);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nobody_is_asked_on_loopback_until_there_is_an_account),
		cmocka_unit_test(tokens_that_are_not_good_are_refused),
		cmocka_unit_test(what_an_account_lost_its_tokens_lose),
		cmocka_unit_test(a_change_of_another_process_takes_a_second_at_most),
		cmocka_unit_test(who_signs_in_gets_two_tokens_and_a_used_one_ends_the_session),
		cmocka_unit_test(bodies_that_are_not_as_they_should_be_are_invalid),
		cmocka_unit_test(guessing_is_slowed_down_the_same_for_whoever_is_not_there),
		cmocka_unit_test(many_ask_while_their_account_is_changed),
	};

	kind = argc > 1 ? argv[1] : "sqlite";
	return cmocka_run_group_tests(tests, open_home, close_home);
}
