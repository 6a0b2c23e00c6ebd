/*
 * test_gateway_accounts.c - contracts/gateway.md, "Web accounts".
 *
 *     test_gateway_accounts sqlite|postgres
 *
 * Passwords cost 64 MiB and a tenth of a second each, so few are hashed here.
 */
#include "gateway_fixture.h"
#include "vault/vault.h"

#include <pthread.h>

#define T0 INT64_C(1700000000000)

static void create_user(keep_gateway *gateway, const char *sub, const char *folder)
{
	keep_user_options options = KEEP_USER_OPTIONS_INIT;
	keep_bytes one = keep_bytes_of(folder);
	keep_error err = KEEP_ERROR_INIT;

	options.sub = keep_bytes_of(sub);
	options.is_operator = !folder;
	options.folders = &one;
	options.folder_count = folder ? 1 : 0;
	OK(keep_gateway_create_user(gateway, &options, &err));
}

static bool may(keep_gateway *gateway, const char *sub, const char *folder)
{
	keep_error err = KEEP_ERROR_INIT;
	bool may = false;

	OK(keep_gateway_may_access(gateway, keep_bytes_of(sub), keep_bytes_of(folder), &may, &err));
	return may;
}

static void nobody_becomes_an_operator_by_omission(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	keep_user_options options = KEEP_USER_OPTIONS_INIT;
	keep_bytes folder = KEEP_BYTES("world");
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	options.sub = KEEP_BYTES("local:ada");
	assert_int_equal(keep_gateway_create_user(gateway, &options, &err), KEEP_INVALID);
	assert_non_null(strstr(err.message, "folders"));
	options.is_operator = true;
	options.folders = &folder;
	options.folder_count = 1;
	assert_int_equal(keep_gateway_create_user(gateway, &options, &err), KEEP_INVALID);
	options.is_operator = false;
	OK(keep_gateway_create_user(gateway, &options, &err));
	assert_int_equal(keep_gateway_create_user(gateway, &options, &err), KEEP_CONFLICT);
	options.sub = KEEP_BYTES("local:other");
	options.username = KEEP_BYTES("local:ada");
	assert_int_equal(keep_gateway_create_user(gateway, &options, &err), KEEP_CONFLICT);
	assert_non_null(strstr(err.message, "username"));

	/* Whose last folder is taken away sees nothing, and is no operator. */
	OK(keep_gateway_set_user_folders(gateway, KEEP_BYTES("local:ada"), false, NULL, 0, &err));
	assert_false(may(gateway, "local:ada", "world"));
	OK(keep_gateway_set_user_folders(gateway, KEEP_BYTES("local:ada"), true, NULL, 0, &err));
	assert_true(may(gateway, "local:ada", "anything/at/all"));
	assert_int_equal(keep_gateway_set_user_folders(gateway, KEEP_BYTES("local:nobody"), true,
						       NULL, 0, &err),
			 KEEP_NOT_FOUND);
	keep_gateway_close(&gateway);
	assert_nothing_lives();
}

static void a_folder_grants_itself_and_what_is_below_it(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	keep_error err = KEEP_ERROR_INIT;
	bool allowed = true;

	(void)state;
	create_user(gateway, "a", "world/room");
	create_user(gateway, "op", NULL);
	assert_true(may(gateway, "a", "world/room"));
	assert_true(may(gateway, "a", "world/room/below"));
	assert_false(may(gateway, "a", "world"));
	assert_false(may(gateway, "a", "world/roommate"));
	assert_false(may(gateway, "a", "world/roo"));
	assert_true(may(gateway, "op", "world"));
	assert_false(may(gateway, "unknown", "world"));
	assert_int_equal(keep_gateway_may_access(gateway, KEEP_BYTES("a"),
						 KEEP_BYTES("world/room/../../etc"), &allowed,
						 &err),
			 KEEP_INVALID);
	assert_false(allowed);
	OK(keep_gateway_set_user_disabled(gateway, KEEP_BYTES("op"), true, &err));
	assert_false(may(gateway, "op", "world"));
	keep_gateway_close(&gateway);
}

static keep_status verify(keep_gateway *gateway, const char *name, const char *password,
			  keep_error *err)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_auth_user user;
	keep_status status = keep_gateway_verify_password(
		gateway, keep_bytes_of(name), keep_bytes_of(password), &memory, &user, err);

	keep_memory_release(&memory);
	return status;
}

static void a_password_is_verified_and_every_refusal_sounds_the_same(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	keep_user_options options = KEEP_USER_OPTIONS_INIT;
	keep_error err = KEEP_ERROR_INIT, other = KEEP_ERROR_INIT;

	(void)state;
	options.sub = KEEP_BYTES("local:ada");
	options.username = KEEP_BYTES("ada");
	options.password = KEEP_BYTES("short");
	options.is_operator = true;
	assert_int_equal(keep_gateway_create_user(gateway, &options, &err), KEEP_INVALID);
	options.password = KEEP_BYTES("correct horse");
	OK(keep_gateway_create_user(gateway, &options, &err));
	create_user(gateway, "github:7", NULL);
	OK(verify(gateway, "ada", "correct horse", &err));
	assert_int_equal(verify(gateway, "ada", "correct horsf", &err), KEEP_DENIED);
	assert_int_equal(verify(gateway, "nobody", "correct horse", &other), KEEP_DENIED);
	assert_string_equal(err.message, other.message);
	assert_int_equal(verify(gateway, "github:7", "correct horse", &other), KEEP_DENIED);
	assert_string_equal(err.message, other.message);
	OK(keep_gateway_set_password(gateway, KEEP_BYTES("local:ada"), KEEP_BYTES("battery staple"),
				     &err));
	assert_int_equal(verify(gateway, "ada", "correct horse", &err), KEEP_DENIED);
	OK(keep_gateway_set_user_disabled(gateway, KEEP_BYTES("local:ada"), true, &err));
	assert_int_equal(verify(gateway, "ada", "battery staple", &other), KEEP_DENIED);
	assert_string_equal(err.message, other.message);
	assert_null(strstr(err.message, "horse"));
	keep_gateway_close(&gateway);
	assert_nothing_lives();
}

/* A published vector: password "password", salt "somesalt", m=256, t=2, p=1. */
#define OLD_HASH                                                                                   \
	"$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4"

static void a_hash_of_another_cost_is_verified_and_renewed(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	keep_user_options options = KEEP_USER_OPTIONS_INIT;
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	options.sub = KEEP_BYTES("old");
	options.hash = KEEP_BYTES("$argon2id$v=19$m=4194304,t=2,p=1$c29tZXNhbHQ$"
				  "nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4");
	options.is_operator = true;
	assert_int_equal(keep_gateway_create_user(gateway, &options, &err), KEEP_INVALID);
	options.hash = KEEP_BYTES(OLD_HASH);
	OK(keep_gateway_create_user(gateway, &options, &err));
	assert_int_equal(verify(gateway, "old", "passwort", &err), KEEP_DENIED);
	assert_string_equal(gateway_sql("SELECT hash FROM auth_users"), OLD_HASH);
	OK(verify(gateway, "old", "password", &err));
	assert_int_equal(strncmp(gateway_sql("SELECT hash FROM auth_users"),
				 "$argon2id$v=19$m=65536,t=3,p=4$", 31),
			 0);
	OK(verify(gateway, "old", "password", &err));
	keep_gateway_close(&gateway);
}

static void a_refresh_token_is_stored_as_its_hash_and_used_once(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	char first[KEEP_TOKEN_SIZE], second[KEEP_TOKEN_SIZE], third[KEEP_TOKEN_SIZE];
	char hash[KP_TOKEN_HASH_TEXT_SIZE];
	keep_buffer sub = KEEP_BUFFER_INIT;
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	assert_int_equal(keep_gateway_start_session(gateway, KEEP_BYTES("a"), T0, first, &err),
			 KEEP_NOT_FOUND);
	create_user(gateway, "a", NULL);
	OK(keep_gateway_start_session(gateway, KEEP_BYTES("a"), T0, first, &err));
	assert_int_equal(strlen(first), 43);
	OK(kp_token_hash(keep_bytes_of(first), hash, &err));
	assert_string_equal(gateway_sql("SELECT token_hash FROM auth_sessions"), hash);
	OK(keep_gateway_rotate_session(gateway, keep_bytes_of(first), T0 + 1, second, &sub, &err));
	assert_bytes_equal(kp_buffer_bytes(&sub), KEEP_BYTES("a"));
	assert_string_not_equal(first, second);

	/* The used one comes back: its family ends, the successor included. */
	assert_int_equal(keep_gateway_rotate_session(gateway, keep_bytes_of(first), T0 + 2, third,
						     NULL, &err),
			 KEEP_DENIED);
	assert_null(strstr(err.message, first));
	assert_int_equal(keep_gateway_rotate_session(gateway, keep_bytes_of(second), T0 + 3, third,
						     NULL, &err),
			 KEEP_DENIED);
	assert_non_null(strstr(err.message, "revoked"));
	keep_buffer_release(&sub);
	keep_gateway_close(&gateway);
	assert_nothing_lives();
}

static void a_refresh_token_ends_by_time_by_hand_and_with_its_account(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	char token[KEEP_TOKEN_SIZE], next[KEEP_TOKEN_SIZE];
	keep_error err = KEEP_ERROR_INIT;
	int64_t swept = 0;

	(void)state;
	create_user(gateway, "a", NULL);
	OK(keep_gateway_start_session(gateway, KEEP_BYTES("a"), T0, token, &err));
	assert_int_equal(keep_gateway_rotate_session(gateway, keep_bytes_of(token),
						     T0 + KEEP_SESSION_MS, next, NULL, &err),
			 KEEP_DENIED);
	OK(keep_gateway_rotate_session(gateway, keep_bytes_of(token), T0 + KEEP_SESSION_MS - 1,
				       next, NULL, &err));
	OK(keep_gateway_end_session(gateway, keep_bytes_of(next), &err));
	OK(keep_gateway_end_session(gateway, KEEP_BYTES("never given out"), &err));
	assert_int_equal(
		keep_gateway_rotate_session(gateway, keep_bytes_of(next), T0, next, NULL, &err),
		KEEP_DENIED);
	OK(keep_gateway_start_session(gateway, KEEP_BYTES("a"), T0, token, &err));
	OK(keep_gateway_set_user_disabled(gateway, KEEP_BYTES("a"), true, &err));
	assert_int_equal(
		keep_gateway_rotate_session(gateway, keep_bytes_of(token), T0, next, NULL, &err),
		KEEP_DENIED);
	assert_int_equal(keep_gateway_start_session(gateway, KEEP_BYTES("a"), T0, next, &err),
			 KEEP_DENIED);
	OK(keep_gateway_sweep_sessions(gateway, T0 + KEEP_SESSION_MS, &swept, &err));
	assert_int_equal(swept, 2);
	assert_string_equal(gateway_sql("SELECT count(*) || '' FROM auth_sessions"), "1");
	keep_gateway_close(&gateway);
}

struct racer {
	keep_gateway *gateway;
	const char *token;
	keep_status status;
};

static void *rotate(void *ctx)
{
	struct racer *racer = ctx;
	char next[KEEP_TOKEN_SIZE];

	racer->status = keep_gateway_rotate_session(racer->gateway, keep_bytes_of(racer->token), T0,
						    next, NULL, NULL);
	return NULL;
}

static void a_rotation_raced_by_sixteen_threads_has_one_winner(void **state)
{
	keep_gateway *gateway = gateway_fresh(), *other = gateway_again("onbod");
	char token[KEEP_TOKEN_SIZE];
	struct racer racers[16];
	pthread_t threads[16];
	keep_error err = KEEP_ERROR_INIT;
	int winners = 0;

	(void)state;
	create_user(gateway, "a", NULL);
	OK(keep_gateway_start_session(gateway, KEEP_BYTES("a"), T0, token, &err));
	for (int i = 0; i < 16; i++) {
		racers[i] = (struct racer){i % 2 ? gateway : other, token, KEEP_OK};
		assert_int_equal(pthread_create(&threads[i], NULL, rotate, &racers[i]), 0);
	}
	for (int i = 0; i < 16; i++) {
		pthread_join(threads[i], NULL);
		winners += racers[i].status == KEEP_OK;
		if (racers[i].status != KEEP_OK)
			assert_int_equal(racers[i].status, KEEP_DENIED);
	}
	assert_int_equal(winners, 1);
	keep_gateway_close(&gateway);
	keep_gateway_close(&other);
}

static void an_access_token_tells_who_and_what_without_the_account(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	keep_buffer token = KEEP_BUFFER_INIT;
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_access access;

	(void)state;
	create_user(gateway, "a", "world");
	assert_int_equal(
		keep_gateway_issue_access_token(gateway, KEEP_BYTES("b"), T0, &token, &err),
		KEEP_NOT_FOUND);
	OK(keep_gateway_issue_access_token(gateway, KEEP_BYTES("a"), T0, &token, &err));
	OK(keep_gateway_verify_access_token(gateway, kp_buffer_bytes(&token), T0, &memory, &access,
					    &err));
	assert_bytes_equal(access.sub, KEEP_BYTES("a"));
	assert_false(access.is_operator);
	assert_int_equal(access.expires_at, T0 + KEEP_ACCESS_TOKEN_MS);
	assert_true(keep_access_covers(&access, KEEP_BYTES("world/room")));
	assert_false(keep_access_covers(&access, KEEP_BYTES("other")));
	assert_false(keep_access_covers(&access, KEEP_BYTES("world/../other")));
	assert_int_equal(keep_gateway_verify_access_token(gateway, kp_buffer_bytes(&token),
							  T0 + KEEP_ACCESS_TOKEN_MS, &memory,
							  &access, &err),
			 KEEP_DENIED);
	token.data[token.len - 2] ^= 1;
	assert_int_equal(keep_gateway_verify_access_token(gateway, kp_buffer_bytes(&token), T0,
							  &memory, &access, &err),
			 KEEP_DENIED);
	keep_memory_release(&memory);
	keep_buffer_release(&token);
	keep_gateway_close(&gateway);
	assert_nothing_lives();
}

static keep_status judge(keep_gateway *gateway, const keep_buffer *token)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_access access;
	keep_status status = keep_gateway_verify_access_token(gateway, kp_buffer_bytes(token), T0,
							      &memory, &access, NULL);

	keep_memory_release(&memory);
	return status;
}

static void a_renewed_key_leaves_old_tokens_good_until_it_retires_them(void **state)
{
	keep_gateway *gateway = gateway_fresh(), *stranger;
	keep_buffer old = KEEP_BUFFER_INIT, fresh = KEEP_BUFFER_INIT;
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	create_user(gateway, "a", NULL);
	OK(keep_gateway_issue_access_token(gateway, KEEP_BYTES("a"), T0, &old, &err));
	OK(keep_gateway_renew_signing_key(gateway, false, &err));
	OK(keep_gateway_issue_access_token(gateway, KEEP_BYTES("a"), T0, &fresh, &err));
	OK(judge(gateway, &old));
	OK(judge(gateway, &fresh));
	OK(keep_gateway_renew_signing_key(gateway, true, &err));
	assert_int_equal(judge(gateway, &old), KEEP_DENIED);
	assert_int_equal(judge(gateway, &fresh), KEEP_DENIED);
	OK(keep_gateway_issue_access_token(gateway, KEEP_BYTES("a"), T0, &fresh, &err));
	OK(judge(gateway, &fresh));
	keep_gateway_close(&gateway);
	stranger = gateway_fresh();
	assert_int_equal(judge(stranger, &fresh), KEEP_DENIED);
	keep_gateway_close(&stranger);
	keep_buffer_release(&old);
	keep_buffer_release(&fresh);
}

static void accounts_are_listed_and_found(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_auth_user_list list;
	keep_auth_user user;
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	create_user(gateway, "a", NULL);
	create_user(gateway, "b", "world");
	create_user(gateway, "c", NULL);
	OK(keep_gateway_list_users(gateway, KEEP_BYTES("a"), 1, &memory, &list, &err));
	assert_int_equal(list.count, 1);
	assert_bytes_equal(list.items[0].sub, KEEP_BYTES("b"));
	OK(keep_gateway_get_user(gateway, (keep_bytes){0}, KEEP_BYTES("c"), &memory, &user, &err));
	assert_bytes_equal(user.sub, KEEP_BYTES("c"));
	assert_int_equal(keep_gateway_get_user(gateway, KEEP_BYTES("d"), (keep_bytes){0}, &memory,
					       &user, &err),
			 KEEP_NOT_FOUND);
	keep_memory_release(&memory);
	keep_gateway_close(&gateway);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nobody_becomes_an_operator_by_omission),
		cmocka_unit_test(a_folder_grants_itself_and_what_is_below_it),
		cmocka_unit_test(a_password_is_verified_and_every_refusal_sounds_the_same),
		cmocka_unit_test(a_hash_of_another_cost_is_verified_and_renewed),
		cmocka_unit_test(a_refresh_token_is_stored_as_its_hash_and_used_once),
		cmocka_unit_test(a_refresh_token_ends_by_time_by_hand_and_with_its_account),
		cmocka_unit_test(a_rotation_raced_by_sixteen_threads_has_one_winner),
		cmocka_unit_test(an_access_token_tells_who_and_what_without_the_account),
		cmocka_unit_test(a_renewed_key_leaves_old_tokens_good_until_it_retires_them),
		cmocka_unit_test(accounts_are_listed_and_found),
	};
	int failed;

	gateway_begin(argc, argv);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	gateway_end();
	return failed;
}
