/*
 * http_accounts.c - who asks, and signing in.
 *
 *     Authorization: Bearer <access token>      every request but the open doors
 *     ?access_token=<access token>              GET /v1/events alone: a browser's EventSource can
 * send no header
 *
 * Without any account in the home, who asks on loopback is nobody in particular and may everything.
 * As soon as there is one, or on another address, or behind a proxy, a token is needed.
 *
 * Invariants:
 *   1. A token is judged by its signature first, then by what its account may now
 *      (account_rights.c); a request has what both grant.
 *   2. A token that is given is judged, also where none is needed: a bad one is never the same as
 * none.
 *   3. Tokens and passwords are in no message and no log; what a body has is quoted nowhere, and
 * bodies that had one are wiped.
 *   4. A password is looked at only after password_tries.c let it by. Refused, unknown and disabled
 *      look alike.
 *   5. What cannot be read (no store, no memory) is a failure, and never a request without an
 * account.
 *
 * What it does not do: say what an account may (access.c).
 *
 * Tests: tests/contract/test_service_accounts.c, tests/http/test_http_accounts.py.
 */
#include "service/accounts.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

enum { TOKEN_BYTES_MAX = 8192 };
#define EVENTS_PATH "/v1/events"
#define REFUSED 401
#define FORBIDDEN 403
#define TOO_MANY 429

static int64_t monotonic_ms(void)
{
	return kp_monotonic_ns() / 1000000;
}

keep_status kp_accounts_open(kp_accounts **out, keep_error *err)
{
	kp_accounts *accounts = kp_alloc_zero(sizeof *accounts);
	keep_status status;

	*out = NULL;
	if (!accounts)
		return kp_fail_memory(err, "accounts");
	status = kp_rights_open(&accounts->rights, err);
	if (status == KEEP_OK)
		status = kp_tries_open(&accounts->tries, err);
	if (status != KEEP_OK)
		kp_accounts_close(&accounts);
	*out = accounts;
	return status;
}

void kp_accounts_close(kp_accounts **accounts)
{
	if (!*accounts)
		return;
	kp_rights_close(&(*accounts)->rights);
	kp_tries_close(&(*accounts)->tries);
	kp_free(*accounts);
	*accounts = NULL;
}

void kp_accounts_expect(keep_service *service, const kp_operation_store *store,
			const kp_operation *operation)
{
	static const char *const verbs[] = {
		"create_user",      "set_password", "set_user_disabled",
		"set_user_folders", "adopt",        "renew_signing_key"};

	if (!service->accounts || strcmp(store->name, "gateway") != 0)
		return;
	for (size_t i = 0; i < KP_COUNT(verbs); i++)
		if (!strcmp(operation->verb, verbs[i]))
			kp_rights_forget(service->accounts->rights);
}

void kp_account_release(kp_account *account)
{
	keep_memory_release(&account->memory);
	*account = (kp_account){.is_anonymous = false};
}

/* ---------------------------------------------------------------- who asks */

/* Refuse, and say by which header what is needed (RFC 6750). */
static keep_status refuse(kp_request *request, int http_status, const char *challenge,
			  const char *why, int *out, keep_error *err)
{
	keep_status status = kp_reply_header(&request->reply, "WWW-Authenticate", challenge, err);

	kp_count(request->service, KP_COUNT_DENIED, 1);
	*out = http_status;
	return status == KEEP_OK ? kp_fail(err, KEEP_DENIED, "%s", why) : status;
}

static keep_status refuse_token(kp_request *request, const char *why, int *out, keep_error *err)
{
	return refuse(request, REFUSED, "Bearer realm=\"keep\", error=\"invalid_token\"", why, out,
		      err);
}

/* The token of "Bearer <token>"; false: the header is none of that kind. */
static bool parse_bearer(const char *header, keep_bytes *token)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				      "0123456789-._~+/=";
	size_t len;

	if (strncasecmp(header, "Bearer ", 7) != 0)
		return false;
	header += 7;
	header += strspn(header, " ");
	len = strspn(header, letters);
	if (!len || len > TOKEN_BYTES_MAX || header[len + strspn(header + len, " ")])
		return false;
	*token = (keep_bytes){header, len};
	return true;
}

static keep_status check_nobody(kp_request *request, int *http_status, keep_error *err)
{
	bool exist = true;
	keep_status status = KEEP_OK;

	if (request->is_loopback && !request->service->options.behind_proxy)
		status = kp_accounts_exist(request->service, &exist, err);
	if (status != KEEP_OK)
		return status;
	if (exist)
		return refuse(request, REFUSED, "Bearer realm=\"keep\"",
			      "an access token is needed: Authorization: Bearer …", http_status,
			      err);
	request->account.is_anonymous = true;
	return KEEP_OK;
}

/* Invariant 1. */
static keep_status check_token(kp_request *request, keep_bytes token, int *http_status,
			       keep_error *err)
{
	kp_account *account = &request->account;
	keep_access said = {0}, now = {0};
	bool good = false;
	keep_error why = KEEP_ERROR_INIT;
	keep_status status = keep_gateway_verify_access_token(
		request->service->gateway, token, KEEP_NOW, &account->memory, &said, &why);

	if (status == KEEP_DENIED)
		return refuse_token(request, why.message, http_status, err);
	if (status != KEEP_OK) {
		if (err)
			*err = why;
		return status;
	}
	status = kp_rights_read(request->service, said.sub, &account->memory, &now, &good, err);
	if (status == KEEP_OK && !good)
		return refuse_token(request, "the access token's account is disabled or gone",
				    http_status, err);
	if (status == KEEP_OK)
		status = kp_rights_meet(&said, &now, &account->memory, &account->access, err);
	return status;
}

keep_status kp_account_of_token(kp_request *request, keep_bytes token, kp_door door,
				int *http_status, keep_error *err)
{
	keep_status status;

	*http_status = 0;
	kp_account_release(&request->account);
	if (door == KP_DOOR_OPEN)
		return KEEP_OK;
	status = token.data ? check_token(request, token, http_status, err)
			    : check_nobody(request, http_status, err);
	if (status == KEEP_OK && door == KP_DOOR_OPERATOR && !request->account.is_anonymous &&
	    !request->account.access.is_operator)
		status = refuse(request, FORBIDDEN,
				"Bearer realm=\"keep\", error=\"insufficient_scope\"",
				"this is for operators alone", http_status, err);
	if (status != KEEP_OK)
		kp_account_release(&request->account);
	return status;
}

keep_status kp_account_identify(kp_request *request, kp_door door, int *http_status,
				keep_error *err)
{
	const char *header = kp_request_header(request, "Authorization"), *parameter = NULL;
	keep_bytes token = {0};

	*http_status = 0;
	if (!strcmp(request->path, EVENTS_PATH))
		parameter = kp_request_parameter(request, "access_token");
	if (door == KP_DOOR_OPEN)
		return kp_account_of_token(request, token, door, http_status, err);
	if (header && parameter)
		return refuse_token(request,
				    "one access token is enough: the header's or the query's",
				    http_status, err);
	if (header && !parse_bearer(header, &token))
		return refuse_token(request, "the header Authorization has no access token",
				    http_status, err);
	if (parameter)
		token = keep_bytes_of(parameter);
	if (token.len > TOKEN_BYTES_MAX || (parameter && !token.len))
		return refuse_token(request, "the query has no access token", http_status, err);
	return kp_account_of_token(request, token, door, http_status, err);
}

keep_status kp_account_renew(keep_service *service, const kp_account *account, keep_memory *memory,
			     keep_access *out, bool *good, keep_error *err)
{
	keep_access now = {0};
	bool exist = true;
	keep_status status;

	*good = false;
	*out = (keep_access){0};
	if (account->is_anonymous) {
		status = kp_accounts_exist(service, &exist, err);
		*good = status == KEEP_OK && !exist;
		return status;
	}
	if (!account->access.sub.data || account->access.expires_at <= kp_clock_ms())
		return KEEP_OK;
	status = kp_rights_read(service, account->access.sub, memory, &now, good, err);
	if (status == KEEP_OK && *good)
		status = kp_rights_meet(&account->access, &now, memory, out, err);
	if (status != KEEP_OK)
		*good = false;
	return status;
}

/* ---------------------------------------------------------------- bodies and answers */

struct wanted {
	const char *name;
	keep_bytes text;
};

/* The body, an object of exactly these texts. Invariant 3: a message names only what we wanted. */
static keep_status read_body(kp_request *request, kp_arena *arena, struct wanted *wanted,
			     size_t count, keep_error *err)
{
	const kp_json *body = NULL;
	size_t found = 0;
	keep_status status = kp_json_parse(kp_buffer_bytes(&request->body), arena, &body, NULL);

	if (status == KEEP_NO_MEMORY)
		return kp_fail_memory(err, "the body");
	if (status != KEEP_OK || body->kind != KP_JSON_OBJECT)
		return kp_fail(err, KEEP_INVALID, "the body is not a JSON object");
	for (size_t i = 0; i < count; i++) {
		const kp_json *value = kp_json_member(body, wanted[i].name);

		if (!value || value->kind != KP_JSON_TEXT || !value->text.len)
			return kp_fail(err, KEEP_INVALID, "%s: a text is needed", wanted[i].name);
		wanted[i].text = value->text;
		found++;
	}
	if (found != body->list.count)
		return kp_fail(err, KEEP_INVALID, "the body has something that is not asked for");
	return KEEP_OK;
}

static void wipe_body(kp_request *request, kp_arena *arena)
{
	kp_arena_wipe(arena);
	if (request->body.data)
		kp_wipe(request->body.data, request->body.len);
}

static void write_access(kp_json_writer *writer, const keep_access *access)
{
	kp_json_name(writer, "sub");
	kp_json_put_text(writer, access->sub);
	kp_json_name(writer, "name");
	kp_json_put_text(writer, access->name);
	kp_json_name(writer, "is_operator");
	kp_json_put_bool(writer, access->is_operator);
	kp_json_name(writer, "folders");
	kp_json_open_array(writer);
	for (size_t i = 0; i < access->folder_count; i++)
		kp_json_put_text(writer, access->folders[i]);
	kp_json_close_array(writer);
}

static keep_status write_tokens(kp_request *request, keep_bytes token, keep_bytes refresh,
				const keep_access *access, keep_error *err)
{
	kp_json_writer writer;
	keep_status status = kp_buffer_reserve(&request->reply.body,
					       request->reply.body.len + token.len + 4096, err);

	if (status != KEEP_OK)
		return status;
	kp_json_begin(&writer, &request->reply.body);
	kp_json_open_object(&writer);
	kp_json_name(&writer, "ok");
	kp_json_put_bool(&writer, true);
	kp_json_name(&writer, "result");
	kp_json_open_object(&writer);
	kp_json_name(&writer, "access_token");
	kp_json_put_text(&writer, token);
	kp_json_name(&writer, "token_type");
	kp_json_put_text(&writer, KEEP_BYTES("Bearer"));
	kp_json_name(&writer, "expires_in");
	kp_json_put_integer(&writer, KEEP_ACCESS_TOKEN_MS / 1000);
	kp_json_name(&writer, "refresh_token");
	kp_json_put_text(&writer, refresh);
	write_access(&writer, access);
	kp_json_close_object(&writer);
	kp_json_close_object(&writer);
	status = kp_json_finish(&writer, err);
	if (status == KEEP_OK)
		request->reply.status = 200;
	return status;
}

/* The answer to who holds a new refresh token. */
static keep_status answer_tokens(kp_request *request, keep_bytes sub, keep_bytes refresh,
				 keep_error *err)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_access access = {0};
	keep_buffer token = KEEP_BUFFER_INIT;
	keep_status status = keep_gateway_issue_access_token(request->service->gateway, sub,
							     KEEP_NOW, &token, err);

	if (status == KEEP_OK)
		status = keep_gateway_verify_access_token(request->service->gateway,
							  kp_buffer_bytes(&token), KEEP_NOW,
							  &memory, &access, err);
	if (status == KEEP_OK)
		status = write_tokens(request, kp_buffer_bytes(&token), refresh, &access, err);
	if (token.data)
		kp_wipe(token.data, token.capacity);
	keep_buffer_release(&token);
	keep_memory_release(&memory);
	return status;
}

/* DENIED becomes a 401 here: who asks has not shown who they are. */
static keep_status settle(kp_request *request, keep_status status, keep_error *err)
{
	int ignored = 0;

	if (status != KEEP_DENIED)
		return status;
	kp_problem(&request->reply, REFUSED, err);
	kp_log(KEEP_LOG_INFO, "%s: refused, from %s", request->path, request->address);
	status = refuse(request, REFUSED, "Bearer realm=\"keep\"", "", &ignored, err);
	return status == KEEP_DENIED ? KEEP_OK : status;
}

/* ---------------------------------------------------------------- signing in */

static keep_status ask_to_wait(kp_request *request, int64_t wait_ms, keep_error *err)
{
	char seconds[24];
	keep_error why = KEEP_ERROR_INIT;

	snprintf(seconds, sizeof seconds, "%lld", (long long)((wait_ms + 999) / 1000));
	if (kp_fail(&why, KEEP_BUSY, "too many tries: wait %s s", seconds) != KEEP_BUSY)
		return KEEP_MISUSE;
	kp_problem(&request->reply, TOO_MANY, &why);
	return kp_reply_header(&request->reply, "Retry-After", seconds, err);
}

static keep_status try_password(kp_request *request, keep_bytes username, keep_bytes password,
				keep_memory *memory, keep_auth_user *user, int64_t *wait_ms,
				keep_error *err)
{
	kp_tries *tries = request->service->accounts->tries;
	kp_try try;
	keep_status status = kp_check_key("username", username, err);

	if (status != KEEP_OK)
		return status;
	if (!kp_tries_begin(tries, username, request->address, monotonic_ms(), &try, wait_ms))
		return KEEP_OK;
	status = keep_gateway_verify_password(request->service->gateway, username, password, memory,
					      user, err);
	kp_tries_end(tries, &try,
		     status == KEEP_OK       ? KP_TRY_RIGHT
		     : status == KEEP_DENIED ? KP_TRY_WRONG
					     : KP_TRY_VOID,
		     monotonic_ms());
	return status;
}

keep_status kp_accounts_sign_in(kp_request *request, keep_error *err)
{
	struct wanted wanted[] = {{.name = "username"}, {.name = "password"}};
	kp_arena arena = {.head = NULL};
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_auth_user user = {0};
	char refresh[KEEP_TOKEN_SIZE] = "";
	int64_t wait_ms = 0;
	keep_status status = read_body(request, &arena, wanted, KP_COUNT(wanted), err);

	if (status == KEEP_OK && !request->service->accounts)
		status = kp_fail(err, KEEP_UNAVAILABLE, "the service is starting");
	if (status == KEEP_OK)
		status = try_password(request, wanted[0].text, wanted[1].text, &memory, &user,
				      &wait_ms, err);
	if (status == KEEP_OK && wait_ms)
		status = ask_to_wait(request, wait_ms, err);
	else if (status == KEEP_OK)
		status = keep_gateway_start_session(request->service->gateway, user.sub, KEEP_NOW,
						    refresh, err);
	if (status == KEEP_OK && !wait_ms)
		status = answer_tokens(request, user.sub, keep_bytes_of(refresh), err);
	kp_wipe(refresh, sizeof refresh);
	wipe_body(request, &arena);
	kp_arena_wipe(&memory); /* it has the password's hash */
	return settle(request, status, err);
}

keep_status kp_accounts_refresh(kp_request *request, keep_error *err)
{
	struct wanted wanted[] = {{.name = "refresh_token"}};
	kp_arena arena = {.head = NULL};
	keep_buffer sub = KEEP_BUFFER_INIT;
	char next[KEEP_TOKEN_SIZE] = "";
	keep_status status = read_body(request, &arena, wanted, KP_COUNT(wanted), err);

	if (status == KEEP_OK && wanted[0].text.len >= 2 * (size_t)KEEP_TOKEN_SIZE)
		status = kp_fail(err, KEEP_DENIED, "the refresh token is refused");
	if (status == KEEP_OK)
		status = keep_gateway_rotate_session(request->service->gateway, wanted[0].text,
						     KEEP_NOW, next, &sub, err);
	if (status == KEEP_OK)
		status = answer_tokens(request, kp_buffer_bytes(&sub), keep_bytes_of(next), err);
	kp_wipe(next, sizeof next);
	keep_buffer_release(&sub);
	wipe_body(request, &arena);
	return settle(request, status, err);
}

keep_status kp_accounts_sign_out(kp_request *request, keep_error *err)
{
	struct wanted wanted[] = {{.name = "refresh_token"}};
	kp_arena arena = {.head = NULL};
	keep_status status = read_body(request, &arena, wanted, KP_COUNT(wanted), err);

	if (status == KEEP_OK && wanted[0].text.len < 2 * (size_t)KEEP_TOKEN_SIZE)
		status = keep_gateway_end_session(request->service->gateway, wanted[0].text, err);
	if (status == KEEP_OK)
		status = kp_buffer_append_text(&request->reply.body,
					       "{\"ok\":true,\"result\":null}", err);
	if (status == KEEP_OK)
		request->reply.status = 200;
	wipe_body(request, &arena);
	return settle(request, status, err);
}
