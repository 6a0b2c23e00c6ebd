/*
 * test_service_access.c - what an account of the folder "a" may, of everything there is.
 *
 *     test_service_access sqlite|postgres
 *
 * The home has the folders a, a/x, ab and b. Everything of b has a name that no other folder's
 * things have, so that an answer with such a name has told something.
 */
#include "service/access.h"
#include "service_fixture.h"

#include <pthread.h>

#define B "beta" /* in every name and text of the folder b */

static const char *kind;
static keep_service service;
static char session_a[64], session_b[64], agent_b[64], place_b[64], agent_a[64];

/* ---------------------------------------------------------------- the home */

KEEP_PRINTF(2, 3) static void call(const char *name, const char *format, ...)
{
	char with[1024];
	va_list args;

	va_start(args, format);
	(void)vsnprintf(with, sizeof with, format, args);
	va_end(args);
	(void)service_call(&service, name, with);
}

static void id_of(const char *result, char out[64])
{
	const char *at = strstr(result, "\"id\":\"");

	CHECK(at, "%s", result);
	(void)snprintf(out, 64, "%.*s", (int)strcspn(at + 6, "\""), at + 6);
}

static void fill_folder(const char *folder, const char *word, char agent[64], char place[64],
			char session[64])
{
	char with[512];
	const char *slash;

	call("gateway.put_group", "{\"jid\":\"test:%s\",\"folder\":\"%s\",\"name\":\"%s\"}", word,
	     folder, word);
	call("gateway.put_message",
	     "{\"chat_jid\":\"test:%s\",\"id\":\"m-%s\",\"content\":\"said in %s\"}", word, word,
	     word);
	call("gateway.put_outbound",
	     "{\"chat_jid\":\"test:%s\",\"id\":\"o-%s\",\"content\":\"answer in %s\"}", word, word,
	     word);
	call("gateway.create_task",
	     "{\"owner\":\"%s\",\"chat_jid\":\"test:%s\",\"prompt\":\"do\",\"id\":\"t-%s\","
	     "\"next_run\":\"2099-01-01T00:00:00Z\"}",
	     folder, word, word);
	call("gateway.enqueue_system_message",
	     "{\"group_id\":\"%s\",\"origin\":\"o\",\"event\":\"e\",\"body\":\"remark %s%s\"}",
	     folder, word, "");
	call("gateway.set_session", "{\"folder\":\"%s\",\"session_id\":\"s-%s%s\"}", folder, word,
	     "");
	call("gateway.start_onboarding", "{\"jid\":\"new:%s\",\"sender\":\"%s%s\"}", word, word,
	     "");
	slash = strchr(folder, '/'); /* as the router makes it */
	(void)snprintf(with, sizeof with,
		       "{\"name\":\"%s\",\"folder\":\"%.*s%s%s\",\"id\":\"ag-%s\"}", folder,
		       slash ? (int)(slash - folder) : (int)strlen(folder), folder,
		       slash ? ".." : "", slash ? slash + 1 : "", word);
	id_of(service_call(&service, "mailbox.put_agent_group", with), agent);
	(void)snprintf(with, sizeof with,
		       "{\"channel_type\":\"test\",\"platform_id\":\"%s\",\"name\":\"%s\"}", word,
		       word);
	id_of(service_call(&service, "mailbox.put_messaging_group", with), place);
	call("mailbox.wire", "{\"messaging_group_id\":\"%s\",\"agent_group_id\":\"%s\"%s}", place,
	     agent, "");
	(void)snprintf(with, sizeof with,
		       "{\"agent_group_id\":\"%s\",\"session_mode\":\"shared\","
		       "\"messaging_group_id\":\"%s\"}",
		       agent, place);
	id_of(service_call(&service, "mailbox.resolve_session", with), session);
	call("mailbox.post", "{\"session\":\"%s\",\"content\":\"{\\\"text\\\":\\\"%s\\\"}\"%s}",
	     session, word, "");
	call("mailbox.state_set", "{\"session\":\"%s\",\"key\":\"k\",\"value\":\"%s\"%s}", session,
	     word, "");
}

static void create_user(const char *sub, const char *folder)
{
	keep_user_options options = KEEP_USER_OPTIONS_INIT;
	keep_bytes one = keep_bytes_of(folder);
	keep_error err = KEEP_ERROR_INIT;

	options.sub = keep_bytes_of(sub);
	options.is_operator = !folder;
	options.folders = &one;
	options.folder_count = folder ? 1 : 0;
	OK(keep_gateway_create_user(service.gateway, &options, &err));
}

static int open_home(void **state)
{
	char agent[64], place[64], session[64];

	(void)state;
	service_open(&service, kind);
	fill_folder("a", "alpha", agent_a, place, session_a);
	fill_folder("a/x", "inner", agent, place, session);
	fill_folder("ab", B "-ab", agent, place, session);
	fill_folder("b", B, agent_b, place_b, session_b);
	create_user("local:a", "a");
	create_user("local:" B, "b");
	create_user("local:op", NULL);
	return 0;
}

static int close_home(void **state)
{
	(void)state;
	service_close(&service);
	assert_nothing_lives();
	return 0;
}

/* A request of an account. */
static void ask_as(kp_request *request, const char *sub)
{
	keep_error err = KEEP_ERROR_INIT;
	keep_buffer token = KEEP_BUFFER_INIT;
	int http_status = 0;

	*request = (kp_request){.service = &service, .method = "POST", .path = "/v1/x"};
	OK(keep_gateway_issue_access_token(service.gateway, keep_bytes_of(sub), KEEP_NOW, &token,
					   &err));
	OK(kp_account_of_token(request, kp_buffer_bytes(&token), KP_DOOR_ACCOUNT, &http_status,
			       &err));
	keep_buffer_release(&token);
}

static void end_request(kp_request *request)
{
	kp_account_release(&request->account);
	keep_buffer_release(&request->reply.body);
}

/* Check and run; the answer's text, or "" when it was refused. */
static keep_status run(kp_request *request, const char *name, const char *with, keep_buffer *out,
		       keep_error *err)
{
	const kp_operation_store *store = NULL;
	const kp_operation *operation = NULL;
	kp_arena arena = {.head = NULL};
	const kp_json *inputs = NULL;
	keep_status status = kp_operation_parse(keep_bytes_of(name), &store, &operation, err);

	out->len = 0;
	if (status == KEEP_OK)
		status = kp_json_parse(keep_bytes_of(with), &arena, &inputs, err);
	if (status == KEEP_OK)
		status = kp_access_check(request, store, operation, inputs, err);
	if (status == KEEP_OK)
		status = kp_access_run(request, store, operation, inputs, NULL, out, err);
	kp_arena_release(&arena);
	return status;
}

/* ---------------------------------------------------------------- everything of another folder */

/* Names of b's things for an input; several where one name stands for several kinds. */
static const char *value_of(const kp_input *input, size_t variant, char out[256])
{
	static const char *const ids[] = {"\"m-" B "\"", "\"t-" B "\"", NULL,
					  NULL,          NULL,          "\"o-" B "\""};
	static const struct {
		const char *name, *value;
	} named[] = {
		{"chat_jid", "\"test:" B "\""},
		{"jid", "\"test:" B "\""},
		{"folder", "\"b\""},
		{"group_folder", "\"b\""},
		{"group_id", "\"b\""},
		{"group", "\"b\""},
		{"owner", "\"b\""},
		{"target", "\"b\""},
		{"task_id", "\"t-" B "\""},
		{"sub", "\"local:" B "\""},
		{"username", "\"local:" B "\""},
		{"channel_type", "\"test\""},
		{"platform_id", "\"" B "\""},
		{"consumer", "\"router\""},
		{"series_id", "\"s\""},
		{"kind", "\"chat\""},
		{"messages", "[{\"chat_jid\":\"test:" B "\",\"id\":\"new\",\"content\":\"x\"}]"},
	};

	if (!strcmp(input->name, "id") && input->kind == KP_KIND_TEXT) {
		const char *id = ids[variant % KP_COUNT(ids)];
		const char *made[] = {agent_b, place_b, session_b};

		(void)snprintf(out, 256, "\"%s\"", made[(variant + 1) % 3]);
		return id ? id : out;
	}
	if (!strcmp(input->name, "session") || !strcmp(input->name, "session_id"))
		(void)snprintf(out, 256, "\"%s\"", session_b);
	else if (!strcmp(input->name, "agent_group_id"))
		(void)snprintf(out, 256, "\"%s\"", agent_b);
	else if (!strcmp(input->name, "messaging_group_id"))
		(void)snprintf(out, 256, "\"%s\"", place_b);
	else
		(void)snprintf(out, 256, "%s",
			       input->words                     ? ""
			       : input->kind == KP_KIND_INTEGER ? "1"
			       : input->kind == KP_KIND_BOOLEAN ? "true"
			       : input->kind == KP_KIND_TIME    ? "1700000000000"
			       : input->kind == KP_KIND_ARRAY   ? "[]"
			       : input->kind == KP_KIND_OBJECT || input->kind == KP_KIND_JSON
				       ? "{}"
				       : "\"{}\"");
	if (input->words)
		(void)snprintf(out, 256, "\"%s\"", input->words[0]);
	for (size_t i = 0; i < KP_COUNT(named); i++)
		if (!strcmp(named[i].name, input->name))
			return named[i].value;
	return out;
}

static void write_inputs(const kp_operation *operation, size_t variant, bool all, char with[4096])
{
	size_t len = (size_t)snprintf(with, 4096, "{");

	for (size_t i = 0; i < operation->input_count; i++) {
		const kp_input *input = &operation->inputs[i];
		char value[256];

		if (!input->required && !all)
			continue;
		if (!strcmp(input->name, "timeout_ms"))
			continue;
		len += (size_t)snprintf(with + len, 4096 - len, "%s\"%s\":%s", len > 1 ? "," : "",
					input->name, value_of(input, variant, value));
	}
	(void)snprintf(with + len, 4096 - len, "}");
}

/* What the home has of b, as an operator sees it. */
static void dump_b(char *out, size_t size)
{
	char with[256];
	static const char *const calls[][2] = {
		{"gateway.history", "{\"jid\":\"test:" B "\"}"},
		{"gateway.get_chat", "{\"jid\":\"test:" B "\"}"},
		{"gateway.get_group", "{\"jid\":\"test:" B "\"}"},
		{"gateway.list_tasks", "{\"owner\":\"b\"}"},
		{"gateway.task_runs", "{\"task_id\":\"t-" B "\"}"},
		{"gateway.list_sessions", "{\"folder\":\"b\"}"},
		{"gateway.get_routes", "{}"},
		{"gateway.list_users", "{}"},
		{"mailbox.list_agent_groups", "{}"},
		{"mailbox.list_wirings", "{}"},
	};
	size_t len = 0;

	for (size_t i = 0; i < KP_COUNT(calls); i++)
		len += (size_t)snprintf(out + len, size - len, "%s\n",
					service_call(&service, calls[i][0], calls[i][1]));
	(void)snprintf(with, sizeof with, "{\"session\":\"%s\"}", session_b);
	len += (size_t)snprintf(out + len, size - len, "%s\n",
				service_call(&service, "mailbox.messages", with));
	len += (size_t)snprintf(out + len, size - len, "%s\n",
				service_call(&service, "mailbox.get_session", with));
	(void)snprintf(out + len, size - len, "%s\n",
		       service_call(&service, "mailbox.state_list", with));
}

static void nothing_of_another_folder_is_readable_or_changeable_by_any_operation(void **state)
{
	static char before[1 << 18], after[1 << 18];
	keep_buffer out = KEEP_BUFFER_INIT;
	kp_request request;
	size_t refused = 0, answered = 0;

	(void)state;
	dump_b(before, sizeof before);
	ask_as(&request, "local:a");
	for (size_t s = 0; s < kp_store_count(); s++) {
		const kp_operation_store *store = kp_store_at(s);
		const kp_operation *operation;

		for (size_t o = 0; (operation = kp_operation_at(store, o)); o++) {
			for (size_t variant = 0; variant < 12; variant++) {
				char name[128], with[4096];
				keep_error err = KEEP_ERROR_INIT;
				keep_status status;

				(void)snprintf(name, sizeof name, "%s.%s", store->name,
					       operation->verb);
				write_inputs(operation, variant / 2, variant % 2, with);
				status = run(&request, name, with, &out, &err);
				refused += status == KEEP_DENIED;
				answered += status == KEEP_OK;
				CHECK(status == KEEP_OK || status == KEEP_DENIED, "%s %s: %s", name,
				      with, err.message);
				CHECK(!out.len || !strstr(out.data, B), "%s %s: %s", name, with,
				      out.data);
				CHECK(!strstr(err.message, B), "%s: %s", name, err.message);
			}
		}
	}
	end_request(&request);
	dump_b(after, sizeof after);
	assert_string_equal(before, after);
	print_message("%zu refused, %zu answered without anything of b\n", refused, answered);
	assert_true(refused > 1000);
	assert_true(answered > 10);
	keep_buffer_release(&out);
}

/* Who may do nothing at all would pass the test above. */
static void an_account_may_use_what_is_in_its_folders(void **state)
{
	static const char *const calls[][2] = {
		{"gateway.put_message",
		 "{\"chat_jid\":\"test:alpha\",\"id\":\"1\",\"content\":\"x\"}"},
		{"gateway.put_messages",
		 "{\"messages\":[{\"chat_jid\":\"test:alpha\",\"id\":\"2\",\"content\":\"x\"},"
		 "{\"chat_jid\":\"test:inner\",\"id\":\"2\",\"content\":\"x\"}]}"},
		{"gateway.put_outbound",
		 "{\"chat_jid\":\"test:alpha\",\"content\":\"x\",\"group_folder\":\"a\"}"},
		{"gateway.history", "{\"jid\":\"test:inner\"}"},
		{"gateway.messages_since", "{\"jid\":\"test:alpha\"}"},
		{"gateway.get_message", "{\"jid\":\"test:alpha\",\"id\":\"m-alpha\"}"},
		{"gateway.get_chat", "{\"jid\":\"test:alpha\"}"},
		{"gateway.get_group", "{\"jid\":\"test:inner\"}"},
		{"gateway.groups_by_folder", "{\"folder\":\"a/x\"}"},
		{"gateway.list_tasks", "{\"owner\":\"a\"}"},
		{"gateway.list", "{}"},
		{"gateway.create_task",
		 "{\"owner\":\"a/"
		 "new\",\"chat_jid\":\"test:alpha\",\"prompt\":\"p\",\"id\":\"mine\","
		 "\"next_run\":\"2099-01-01T00:00:00Z\"}"},
		{"gateway.pause", "{\"id\":\"mine\"}"},
		{"gateway.resume_task", "{\"id\":\"mine\"}"},
		{"gateway.run_task_now", "{\"id\":\"mine\"}"},
		{"gateway.cancel_task", "{\"id\":\"mine\"}"},
		{"gateway.flush_system_messages", "{\"group\":\"a\"}"},
		{"gateway.get_user", "{\"sub\":\"local:a\"}"},
		{"mailbox.get_agent_group", "{\"id\":\"ag-alpha\"}"},
		{"mailbox.find_messaging_group",
		 "{\"channel_type\":\"test\",\"platform_id\":\"alpha\"}"},
		{"mailbox.get_session", "{\"session\":\"%s\"}"},
		{"mailbox.post", "{\"session\":\"%s\",\"content\":\"{}\"}"},
		{"mailbox.post", "{\"session\":\"%s\",\"content\":\"{}\",\"channel_type\":\"test\","
				 "\"platform_id\":\"alpha\"}"},
		{"mailbox.messages", "{\"session\":\"%s\"}"},
		{"mailbox.deliveries", "{\"session\":\"%s\"}"},
		{"mailbox.claim", "{\"session\":\"%s\"}"},
		{"mailbox.state_list", "{\"session\":\"%s\"}"},
		{"mailbox.questions", "{\"session\":\"%s\"}"},
	};
	keep_buffer out = KEEP_BUFFER_INIT;
	kp_request request;

	(void)state;
	ask_as(&request, "local:a");
	for (size_t i = 0; i < KP_COUNT(calls); i++) {
		char with[512];
		keep_error err = KEEP_ERROR_INIT;
		const char *at = strstr(calls[i][1], "%s");

		if (at)
			(void)snprintf(with, sizeof with, "%.*s%s%s", (int)(at - calls[i][1]),
				       calls[i][1], session_a, at + 2);
		else
			(void)snprintf(with, sizeof with, "%s", calls[i][1]);
		CHECK(run(&request, calls[i][0], with, &out, &err) == KEEP_OK, "%s %s: %s",
		      calls[i][0], with, err.message);
	}
	end_request(&request);
	keep_buffer_release(&out);
}

static const char *const tricks[][2] = {
	{"gateway.history", "{\"jid\":\"TEST:" B "\"}"},
	{"gateway.history", "{\"jid\":\" test:" B "\"}"},
	{"gateway.history", "{\"jid\":\"test:" B " \"}"},
	{"gateway.history", "{\"jid\":\"test:\"}"},
	{"gateway.history", "{\"jid\":\"*\"}"},
	{"gateway.history", "{\"jid\":\"" B "\"}"},
	{"gateway.history", "{\"jid\":\"\"}"},
	{"gateway.history", "{\"jid\":null}"},
	{"gateway.history", "{\"jid\":[\"test:alpha\"]}"},
	{"gateway.history", "{}"},
	{"gateway.history", "{\"jid\":\"test:alpha\\u0000" B "\"}"},
	{"gateway.put_message",
	 "{\"chat_jid\":\"" B "\",\"source\":\"test\",\"id\":\"1\",\"content\":\"x\"}"},
	{"gateway.groups_by_folder", "{\"folder\":\"a/../b\"}"},
	{"gateway.groups_by_folder", "{\"folder\":\"a/\"}"},
	{"gateway.groups_by_folder", "{\"folder\":\"a//x\"}"},
	{"gateway.groups_by_folder", "{\"folder\":\"/a\"}"},
	{"gateway.groups_by_folder", "{\"folder\":\"A\"}"},
	{"gateway.groups_by_folder", "{\"folder\":\"a \"}"},
	{"gateway.groups_by_folder", "{\"folder\":\"./a\"}"},
	{"gateway.groups_by_folder", "{\"folder\":\"\"}"},
	{"gateway.groups_by_folder", "{\"folder\":\"ab\"}"},
	{"gateway.put_messages",
	 "{\"messages\":[{\"chat_jid\":\"test:alpha\",\"id\":\"8\",\"content\":\"x\"},"
	 "{\"chat_jid\":\"test:" B "\",\"id\":\"8\",\"content\":\"x\"}]}"},
	{"gateway.put_messages", "{\"messages\":[[\"test:alpha\"]]}"},
	{"gateway.put_messages", "{\"messages\":{\"chat_jid\":\"test:alpha\"}}"},
	{"gateway.put_outbound",
	 "{\"chat_jid\":\"test:alpha\",\"content\":\"x\",\"group_folder\":\"b\"}"},
	{"gateway.put_outbound",
	 "{\"chat_jid\":\"test:alpha\",\"content\":\"x\",\"return_to\":\"x\"}"},
	{"gateway.set_sticky_group", "{\"jid\":\"test:alpha\",\"folder\":\"b\"}"},
	{"gateway.create_task", "{\"owner\":\"a\",\"chat_jid\":\"test:" B "\",\"prompt\":\"p\"}"},
	{"gateway.create_task",
	 "{\"owner\":\"a\",\"chat_jid\":\"test:alpha\",\"prompt\":\"p\",\"id\":\"t-" B "\"}"},
	{"gateway.cancel", "{\"id\":\"t-" B "\"}"},
	{"gateway.get_user", "{\"username\":\"local:" B "\"}"},
	{"gateway.get_user", "{\"sub\":\"local:a\",\"username\":\"local:" B "\"}"},
	{"mailbox.post", "{\"session\":\"%s\",\"content\":\"{}\",\"channel_type\":\"test\","
			 "\"platform_id\":\"" B "\"}"},
	{"mailbox.post", "{\"session\":\"%s\",\"content\":\"{}\",\"channel_type\":\"agent\","
			 "\"platform_id\":\"ag-" B "\"}"},
	{"mailbox.post", "{\"session\":\"%s\",\"content\":\"{}\",\"platform_id\":\"" B "\"}"},
	{"mailbox.post_many",
	 "{\"session\":\"%s\",\"messages\":[{\"content\":\"{}\",\"channel_type\":\"test\","
	 "\"platform_id\":\"" B "\"}]}"},
	{"mailbox.export_session", "{\"session\":\"%s\",\"folder\":\"/tmp/x\"}"},
	{"mailbox.session_place", "{\"session\":\"%s\"}"},
	{"mailbox.trace", "{\"id\":\"m-alpha\"}"},
};

static void tricks_with_names_do_not_help(void **state)
{
	keep_buffer out = KEEP_BUFFER_INIT;
	kp_request request;

	(void)state;
	ask_as(&request, "local:a");
	for (size_t i = 0; i < KP_COUNT(tricks); i++) {
		char with[512];
		keep_error err = KEEP_ERROR_INIT;
		const char *at = strstr(tricks[i][1], "%s");

		if (at)
			(void)snprintf(with, sizeof with, "%.*s%s%s", (int)(at - tricks[i][1]),
				       tricks[i][1], session_a, at + 2);
		else
			(void)snprintf(with, sizeof with, "%s", tricks[i][1]);
		CHECK(run(&request, tricks[i][0], with, &out, &err) == KEEP_DENIED, "%s %s: %s %s",
		      tricks[i][0], with, err.message, out.data ? out.data : "");
	}
	end_request(&request);
	keep_buffer_release(&out);
}

static void a_refusal_does_not_tell_whether_the_thing_exists(void **state)
{
	static const char *const pairs[][3] = {
		{"gateway.history", "{\"jid\":\"test:" B "\"}", "{\"jid\":\"test:nobody\"}"},
		{"gateway.get_task", "{\"id\":\"t-" B "\"}", "{\"id\":\"none\"}"},
		{"mailbox.get_agent_group", "{\"id\":\"ag-" B "\"}", "{\"id\":\"none\"}"},
		{"mailbox.get_agent_group", "{\"id\":\"ag-" B "\"}", "{\"id\":\"../x\"}"},
		{"gateway.groups_by_folder", "{\"folder\":\"b\"}", "{\"folder\":\"none\"}"},
		{"mailbox.answer", "{\"question_id\":\"x\",\"option\":\"y\"}",
		 "{\"question_id\":\"y\",\"option\":\"y\"}"},
	};
	keep_buffer out = KEEP_BUFFER_INIT;
	kp_request request;

	(void)state;
	ask_as(&request, "local:a");
	for (size_t i = 0; i < KP_COUNT(pairs); i++) {
		keep_error one = KEEP_ERROR_INIT, other = KEEP_ERROR_INIT;

		assert_int_equal(run(&request, pairs[i][0], pairs[i][1], &out, &one), KEEP_DENIED);
		assert_int_equal(run(&request, pairs[i][0], pairs[i][2], &out, &other),
				 KEEP_DENIED);
		assert_string_equal(one.message, other.message);
	}
	end_request(&request);
	keep_buffer_release(&out);
}

/* ---------------------------------------------------------------- lists */

static void a_list_is_what_it_would_be_without_the_others(void **state)
{
	static const char *const calls[][2] = {
		{"gateway.list_chats", "{\"limit\":1}"},
		{"gateway.list_chats", "{\"limit\":1,\"after_jid\":\"test:alpha\"}"},
		{"gateway.list_chats", "{\"after_jid\":\"test:inner\"}"},
		{"mailbox.list_agent_groups", "{\"limit\":1,\"after\":\"ag-alpha\"}"},
	};
	static const char *const first[] = {"test:alpha", "test:inner", NULL, "ag-inner"};
	keep_buffer out = KEEP_BUFFER_INIT;
	kp_request request;

	(void)state;
	ask_as(&request, "local:a");
	for (size_t i = 0; i < KP_COUNT(calls); i++) {
		keep_error err = KEEP_ERROR_INIT;

		OK(run(&request, calls[i][0], calls[i][1], &out, &err));
		if (first[i])
			CHECK(strstr(out.data, first[i]), "%s: %s", calls[i][1], out.data);
		else
			assert_string_equal(out.data, "[]");
	}
	end_request(&request);

	/* An operator sees all of them, an account of another folder its own. */
	ask_as(&request, "local:op");
	{
		keep_error err = KEEP_ERROR_INIT;

		OK(run(&request, "gateway.list_chats", "{}", &out, &err));
		assert_non_null(strstr(out.data, "test:" B));
		assert_non_null(strstr(out.data, "test:alpha"));
	}
	end_request(&request);
	keep_buffer_release(&out);
}

/* ---------------------------------------------------------------- chats without a group */

static bool may_see(const char *sub, const char *jid, const char *folder)
{
	kp_request request;
	keep_error err = KEEP_ERROR_INIT;
	bool may = false;

	ask_as(&request, sub);
	OK(kp_access_chat(&service, &request.account, keep_bytes_of(jid), keep_bytes_of(folder),
			  &may, &err));
	end_request(&request);
	return may;
}

static void a_chat_belongs_to_its_group_else_to_everybody_it_can_reach(void **state)
{
	(void)state;
	assert_true(may_see("local:a", "test:alpha", NULL));
	assert_true(may_see("local:a", "test:inner", "b"));
	assert_false(may_see("local:a", "test:" B, "a"));
	assert_false(may_see("local:a", "test:" B "-ab", NULL));
	assert_true(may_see("local:op", "test:" B, NULL));
	assert_true(may_see("local:op", "no jid at all", NULL));

	/* Nobody's: the message's folder decides, then the default agent's, if there is one. */
	assert_false(may_see("local:a", "free:1", NULL));
	assert_true(may_see("local:a", "free:1", "a/x"));
	assert_false(may_see("local:a", "free:1", "b"));
	create_user("local:main", "main");
	assert_false(may_see("local:main", "free:1", NULL));
	service.options.agent = "cat";
	assert_true(may_see("local:main", "free:1", NULL));
	assert_false(may_see("local:a", "free:1", NULL));
	service.options.agent = NULL;

	/* Wired, then routed elsewhere, too. */
	(void)service_call(&service, "mailbox.put_messaging_group",
			   "{\"channel_type\":\"wired\",\"platform_id\":\"1\",\"id\":\"w1\"}");
	(void)service_call(&service, "mailbox.wire",
			   "{\"messaging_group_id\":\"w1\",\"agent_group_id\":\"ag-alpha\"}");
	assert_true(may_see("local:a", "wired:1", NULL));
	assert_false(may_see("local:" B, "wired:1", "b"));
	(void)service_call(&service, "gateway.add_route",
			   "{\"jid\":\"wired:\",\"target\":\"b\",\"type\":\"default\"}");
	assert_false(may_see("local:a", "wired:1", NULL));
	(void)service_call(&service, "gateway.set_routes", "{\"jid\":\"wired:\",\"routes\":[]}");
	assert_true(may_see("local:a", "wired:1", NULL));
	(void)service_call(&service, "gateway.add_route",
			   "{\"jid\":\"wired:1\",\"target\":\"a/{sender}\",\"type\":\"default\"}");
	assert_false(may_see("local:a", "wired:1", NULL));
	(void)service_call(&service, "gateway.set_routes", "{\"jid\":\"wired:1\",\"routes\":[]}");
}

static void an_agent_of_a_folder_with_dots_is_not_one_below_another(void **state)
{
	keep_buffer out = KEEP_BUFFER_INIT;
	kp_request request;
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	(void)service_call(&service, "mailbox.put_agent_group",
			   "{\"id\":\"dots\",\"name\":\"a..z\",\"folder\":\"a..z\"}");
	(void)service_call(&service, "mailbox.put_agent_group",
			   "{\"id\":\"people\",\"name\":\"a/y\",\"folder\":\"c..y\"}");
	ask_as(&request, "local:a");
	OK(run(&request, "mailbox.get_agent_group", "{\"id\":\"ag-inner\"}", &out, &err));
	assert_int_equal(run(&request, "mailbox.get_agent_group", "{\"id\":\"dots\"}", &out, &err),
			 KEEP_DENIED);
	assert_int_equal(
		run(&request, "mailbox.get_agent_group", "{\"id\":\"people\"}", &out, &err),
		KEEP_DENIED);
	end_request(&request);
	keep_buffer_release(&out);
}

/* ---------------------------------------------------------------- the table itself */

static void every_rule_names_an_operation_and_inputs_that_exist(void **state)
{
	static const char *const judged[] = {
		"jid",     "chat_jid", "folder",  "group_folder",   "group_id",
		"group",   "owner",    "session", "agent_group_id", "messaging_group_id",
		"task_id", "sub",      "username"};
	const kp_access_rule *rule;

	(void)state;
	for (size_t i = 0; (rule = kp_access_rule_at(i)); i++) {
		const kp_operation_store *store = kp_store_find(keep_bytes_of(rule->store));
		const kp_operation *operation;
		size_t known = 0, words = rule->free[0] != 0;

		CHECK(store, "%s", rule->store);
		operation = kp_operation_find(store, keep_bytes_of(rule->verb));
		CHECK(operation && !strcmp(operation->verb, rule->verb), "%s.%s", rule->store,
		      rule->verb);
		CHECK(kp_access_rule_find(store, operation) == rule, "%s.%s is there twice",
		      rule->store, rule->verb);
		for (const char *at = rule->free; *at; at++)
			words += *at == ' ';
		for (size_t j = 0; j < KP_JUDGED_MAX && rule->judged[j].name; j++)
			words++;
		for (size_t j = 0; j < operation->input_count; j++) {
			const char *name = operation->inputs[j].name;
			bool is_judged = false;

			known += kp_access_rule_has(rule, name);
			for (size_t k = 0; k < KP_JUDGED_MAX && rule->judged[k].name; k++)
				is_judged |= !strcmp(rule->judged[k].name, name);
			for (size_t k = 0; k < KP_COUNT(judged); k++)
				CHECK(strcmp(name, judged[k]) != 0 || is_judged ||
					      !kp_access_rule_has(rule, name) ||
					      !strcmp(rule->verb, "may_access"),
				      "%s.%s: %s is not judged", rule->store, rule->verb, name);
		}
		CHECK(known == words, "%s.%s: %zu of %zu inputs exist", rule->store, rule->verb,
		      known, words);
		CHECK(rule->judged[0].name || rule->row.name, "%s.%s judges nothing", rule->store,
		      rule->verb);
		CHECK(!strcmp(rule->verb, "set_session") ||
			      !strcmp(rule->verb, "session_started") ||
			      !strstr(rule->free, "session_id"),
		      "%s.%s", rule->store, rule->verb);
	}
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_rule_names_an_operation_and_inputs_that_exist),
		cmocka_unit_test(
			nothing_of_another_folder_is_readable_or_changeable_by_any_operation),
		cmocka_unit_test(tricks_with_names_do_not_help),
		cmocka_unit_test(a_refusal_does_not_tell_whether_the_thing_exists),
		cmocka_unit_test(a_list_is_what_it_would_be_without_the_others),
		cmocka_unit_test(an_account_may_use_what_is_in_its_folders),
		cmocka_unit_test(a_chat_belongs_to_its_group_else_to_everybody_it_can_reach),
		cmocka_unit_test(an_agent_of_a_folder_with_dots_is_not_one_below_another),
	};

	kind = argc > 1 ? argv[1] : "sqlite";
	return cmocka_run_group_tests(tests, open_home, close_home);
}
