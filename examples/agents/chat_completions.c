/*
 * chat_completions.c - an agent that asks an endpoint of the OpenAI kind, and remembers.
 *
 *     printf %s "$KEY" | keep assistant put_credential HOME openai api_key -
 *     keep serve HOME --agent 'chat_completions --url https://api.example.org/v1 --model small'
 *
 * It is run once for each message: the message's JSON on standard input, the answer on standard
 * output. KEEP_HOME names the home, KEEP_CHAT the chat, KEEP_MESSAGE_ID the message; `keep serve`
 * sets all three, for `keep agent` the last one is set and the first is yours to set.
 *
 *     question ──> conversation ──> prompt, summary, newest messages ──> POST …/chat/completions
 *                       ^                                                  │        ^
 *                       └───────────── answer <── text ────────────────────┤        │
 *                                                 search_messages ─────────┴────────┘
 *
 * What it relies on, and what can be relied on:
 *   1. The question is stored under the message's id before the model is asked, and the answer
 *      under "<session>:<id>:answer" before it is printed. Run again for the same message, it
 * prints that answer and asks nobody.
 *   2. The model is shown what fits --budget tokens, and may look up the rest of the conversation
 *      (never another one) by the tool search_messages, ROUNDS_MAX times.
 *   3. Every request ends, and so does the whole of it, after --time-limit seconds. 429 and 5xx are
 *      tried again, with the pause that Retry-After asks for; so is a connection that failed.
 *   4. The key comes from the home's credentials, is never printed, goes only to --url (redirects
 *      are not followed) and only over TLS, or to this machine.
 *   5. Exit status 0: answered. 1: not, and why is a line on standard error; the host tries again
 *      later. 2: wrong use.
 *
 * Tests: tests/cli/test_example_agents.py.
 */
#include <keep/assistant.h>
#include <keep/assistant_admin.h>

#include <curl/curl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

enum {
	ROUNDS_MAX = 4,   /* of tool calls */
	CALLS_MAX = 8,    /* of tools in one round */
	MATCHES_MAX = 10, /* of a search */
	TRIES_MAX = 6,
	CONNECT_SECONDS = 10,
	PAUSE_MAX_SECONDS = 60,
	INPUT_BYTES_MAX = 2 << 20,
	ANSWER_BYTES_MAX = 8 << 20,
	TEXT_SIZE = 2048
};

struct options {
	const char *url, *model, *credential, *prompt;
	long budget, seconds;
};

struct agent {
	struct options options;
	keep_assistant *assistant;
	keep_memory memory; /* what was read from the store */
	CURL *curl;
	struct curl_slist *headers;
	char endpoint[TEXT_SIZE];
	double until;           /* the end of our time, on the monotonic clock */
	const char *message_id; /* of the question */
	char answer_id[TEXT_SIZE];
	keep_bytes conversation; /* its id */
	json_t *messages;        /* what the model is shown */
};

/* ---------------------------------------------------------------- saying why not */

static int fail(const char *what, const char *why)
{
	fprintf(stderr, "chat_completions: %s: %s\n", what, why);
	return 1;
}

static int fail_keep(const keep_error *err)
{
	return fail("the assistant store", err->message);
}

static double now(void)
{
	struct timespec time;

	(void)clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

/* ---------------------------------------------------------------- words */

static int wrong_use(const char *what)
{
	fprintf(stderr,
		"chat_completions: %s\nusage: chat_completions --url BASE --model NAME "
		"[--credential SERVICE] [--prompt KEY] [--budget TOKENS] [--time-limit SECONDS]\n",
		what);
	return 2;
}

static bool read_number(const char *text, long max, long *out)
{
	char *end = NULL;

	*out = strtol(text, &end, 10);
	return *text && !*end && *out > 0 && *out <= max;
}

/* A key may go over TLS, or not leave the machine. */
static bool is_safe(const char *url)
{
	static const char *const near[] = {"http://127.0.0.1", "http://[::1]", "http://localhost"};

	if (strncmp(url, "https://", 8) == 0)
		return true;
	for (unsigned i = 0; i < sizeof near / sizeof *near; i++) {
		size_t len = strlen(near[i]);

		if (strncmp(url, near[i], len) == 0 && (!url[len] || strchr(":/", url[len])))
			return !strchr(url, '@');
	}
	return false;
}

static int read_words(struct options *options, int argc, char **argv)
{
	for (int i = 1; i < argc; i += 2) {
		const char *value = i + 1 < argc ? argv[i + 1] : NULL;

		if (!value)
			return wrong_use("an option's value is missing");
		if (strcmp(argv[i], "--url") == 0)
			options->url = value;
		else if (strcmp(argv[i], "--model") == 0)
			options->model = value;
		else if (strcmp(argv[i], "--credential") == 0)
			options->credential = value;
		else if (strcmp(argv[i], "--prompt") == 0)
			options->prompt = value;
		else if (strcmp(argv[i], "--budget") == 0) {
			if (!read_number(value, 10000000, &options->budget))
				return wrong_use("--budget: a number of tokens is needed");
		} else if (strcmp(argv[i], "--time-limit") == 0) {
			if (!read_number(value, 86400, &options->seconds))
				return wrong_use("--time-limit: a number of seconds is needed");
		} else
			return wrong_use("an option that there is not");
	}
	if (!options->url || !options->model)
		return wrong_use("--url and --model are needed");
	if (!is_safe(options->url))
		return wrong_use("--url: https:// is needed, or http:// to this machine: the key "
				 "must not be read on the way");
	return 0;
}

/* ---------------------------------------------------------------- the store */

/* The assistant of a home: a folder, or a server. */
static int open_store(struct agent *agent)
{
	keep_assistant_options options = KEEP_ASSISTANT_OPTIONS_INIT;
	const char *home = getenv("KEEP_HOME");
	char url[TEXT_SIZE], key_file[TEXT_SIZE];
	keep_error err = KEEP_ERROR_INIT;
	bool is_server;

	if (!home || !*home)
		return fail("KEEP_HOME", "it is not set, so there is no memory and no key");
	is_server =
		strncmp(home, "postgres://", 11) == 0 || strncmp(home, "postgresql://", 13) == 0;
	if (snprintf(url, sizeof url, is_server ? "%s" : "sqlite:%s/assistant/assistant.db",
		     home) >= (int)sizeof url)
		return fail("KEEP_HOME", "it is too long");
	(void)snprintf(key_file, sizeof key_file, "%s/vault.key", home);
	options.service = "agent";
	if (!is_server)
		options.key_file = key_file;
	if (keep_assistant_open(url, &options, &agent->assistant, &err) != KEEP_OK)
		return fail_keep(&err);
	return 0;
}

/* The conversation of the chat: telegram:ada is with ada, on telegram. */
static int find_conversation(struct agent *agent)
{
	const char *chat = getenv("KEEP_CHAT"), *session = getenv("KEEP_SESSION"), *colon;
	keep_bytes channel = KEEP_BYTES("session"), contact = keep_bytes_of(session);
	keep_conversation conversation;
	keep_error err = KEEP_ERROR_INIT;

	colon = chat ? strchr(chat, ':') : NULL;
	if (colon && colon > chat && colon[1]) {
		channel = (keep_bytes){chat, (size_t)(colon - chat)};
		contact = keep_bytes_of(colon + 1);
	}
	if (!contact.data || !contact.len)
		return fail("KEEP_CHAT", "neither a chat nor a session is named");
	if (keep_assistant_find_or_create(agent->assistant, channel, contact, 0, KEEP_NOW,
					  &agent->memory, &conversation, NULL, &err) != KEEP_OK)
		return fail_keep(&err);
	agent->conversation = conversation.conversation_id;
	return 0;
}

static int append(struct agent *agent, const char *id, const char *role, const char *text)
{
	keep_conversation_message message = {.conversation_id = agent->conversation,
					     .message_id = keep_bytes_of(id),
					     .role = keep_bytes_of(role),
					     .content = keep_bytes_of(text)};
	keep_append_result result;
	keep_error err = KEEP_ERROR_INIT;

	if (keep_assistant_append(agent->assistant, &message, &result, &err) != KEEP_OK)
		return fail_keep(&err);
	return 0;
}

/* An earlier run has answered, and was killed before anybody knew: say that again. */
static bool print_stored_answer(struct agent *agent)
{
	keep_conversation_message message;

	if (keep_assistant_get_message(agent->assistant, keep_bytes_of(agent->answer_id),
				       &agent->memory, &message, NULL) != KEEP_OK)
		return false;
	printf("%.*s\n", (int)message.content.len, message.content.data);
	return true;
}

/* ---------------------------------------------------------------- what the model is shown */

static int show(struct agent *agent, const char *role, keep_bytes text)
{
	json_t *message = json_pack("{s:s, s:s%}", "role", role, "content", text.data, text.len);

	if (!message || json_array_append_new(agent->messages, message) != 0)
		return fail("a message", "there is no memory for it");
	return 0;
}

static int show_prompt(struct agent *agent)
{
	const char *keys[] = {agent->options.prompt, "system_prompt_custom",
			      "system_prompt_default"};
	keep_prompt prompt;
	keep_error err = KEEP_ERROR_INIT;
	unsigned first = agent->options.prompt ? 0 : 1, last = agent->options.prompt ? 0 : 2;

	for (unsigned i = first; i <= last; i++) {
		keep_status status = keep_assistant_get_prompt(
			agent->assistant, keep_bytes_of(keys[i]), &agent->memory, &prompt, &err);

		if (status == KEEP_OK && prompt.value.len)
			return show(agent, "system", prompt.value);
		if (status != KEEP_OK && (status != KEEP_NOT_FOUND || agent->options.prompt))
			return fail_keep(&err);
	}
	return 0;
}

static int show_context(struct agent *agent)
{
	keep_context context;
	keep_error err = KEEP_ERROR_INIT;
	int failed = show_prompt(agent);

	if (failed)
		return failed;
	if (keep_assistant_context(agent->assistant, agent->conversation, agent->options.budget,
				   &agent->memory, &context, &err) != KEEP_OK)
		return fail_keep(&err);
	if (context.has_summary)
		failed = show(agent, "system", context.summary_text);
	for (size_t i = 0; i < context.count && !failed; i++) {
		char role[16];

		(void)snprintf(role, sizeof role, "%.*s", (int)context.messages[i].role.len,
			       context.messages[i].role.data);
		failed = show(agent, role, context.messages[i].content);
	}
	/* Half a question is none. */
	if (!failed && context.count == 0)
		return fail("the question", "it is over --budget");
	return failed;
}

/* ---------------------------------------------------------------- one request */

struct answer {
	char *data;
	size_t len;
	bool is_too_long;
};

static size_t take_bytes(char *bytes, size_t size, size_t count, void *ctx)
{
	struct answer *answer = ctx;
	size_t len = size * count;
	char *grown;

	answer->is_too_long = len > ANSWER_BYTES_MAX - answer->len;
	if (answer->is_too_long)
		return 0;
	grown = realloc(answer->data, answer->len + len + 1);
	if (!grown)
		return 0;
	memcpy(grown + answer->len, bytes, len);
	answer->data = grown;
	answer->len += len;
	return len;
}

/* The header is wiped here; libcurl keeps a copy until the end of the process. */
static int set_key(struct agent *agent)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_credential credential;
	keep_actor actor = {.agent_name = KEEP_BYTES("chat_completions"),
			    .conversation_id = agent->conversation};
	keep_error err = KEEP_ERROR_INIT;
	char header[TEXT_SIZE];
	struct curl_slist *grown = NULL;
	int len;

	if (keep_assistant_get_credential(agent->assistant,
					  keep_bytes_of(agent->options.credential), &actor,
					  KEEP_NOW, &memory, &credential, &err) != KEEP_OK)
		return fail_keep(&err);
	len = snprintf(header, sizeof header, "Authorization: Bearer %.*s",
		       (int)credential.data.len, credential.data.data);
	if (len > 0 && len < (int)sizeof header && !strpbrk(header, "\r\n"))
		grown = curl_slist_append(agent->headers, header);
	explicit_bzero(header, sizeof header);
	keep_assistant_wipe(&memory);
	if (!grown)
		return fail(agent->options.credential, "its credential is no key");
	agent->headers = grown;
	return 0;
}

static int set_up_requests(struct agent *agent)
{
	size_t len = strlen(agent->options.url);
	int failed;

	while (len && agent->options.url[len - 1] == '/')
		len--;
	if (snprintf(agent->endpoint, sizeof agent->endpoint, "%.*s/chat/completions", (int)len,
		     agent->options.url) >= (int)sizeof agent->endpoint)
		return fail("--url", "it is too long");
	agent->curl = curl_easy_init();
	agent->headers = curl_slist_append(NULL, "Content-Type: application/json");
	if (!agent->curl || !agent->headers)
		return fail("libcurl", "there is no memory for it");
	failed = set_key(agent);
	(void)curl_easy_setopt(agent->curl, CURLOPT_URL, agent->endpoint);
	(void)curl_easy_setopt(agent->curl, CURLOPT_PROTOCOLS_STR, "http,https");
	(void)curl_easy_setopt(agent->curl, CURLOPT_NOSIGNAL, 1L);
	(void)curl_easy_setopt(agent->curl, CURLOPT_CONNECTTIMEOUT, (long)CONNECT_SECONDS);
	(void)curl_easy_setopt(agent->curl, CURLOPT_HTTPHEADER, agent->headers);
	(void)curl_easy_setopt(agent->curl, CURLOPT_WRITEFUNCTION, take_bytes);
	return failed;
}

/* What is worth another try, and after how many seconds; below 0: nothing is. */
static double look_at_failure(struct agent *agent, CURLcode code, long http, unsigned tries)
{
	curl_off_t asked = 0;
	double pause = 0.5 * (double)(1U << tries) * (0.5 + (double)rand() / RAND_MAX / 2);

	if (code == CURLE_OK && http != 429 && http != 408 && http < 500)
		return -1;
	if (code == CURLE_WRITE_ERROR || code == CURLE_PEER_FAILED_VERIFICATION ||
	    code == CURLE_URL_MALFORMAT || code == CURLE_UNSUPPORTED_PROTOCOL)
		return -1;
	if (code == CURLE_OK)
		(void)curl_easy_getinfo(agent->curl, CURLINFO_RETRY_AFTER, &asked);
	if ((double)asked > pause)
		pause = (double)asked;
	return pause > PAUSE_MAX_SECONDS ? PAUSE_MAX_SECONDS : pause;
}

static int tell_failure(CURLcode code, long http, bool is_too_long)
{
	char why[64];

	if (is_too_long)
		return fail("the endpoint", "its answer is too long");
	if (code != CURLE_OK)
		return fail("the endpoint", curl_easy_strerror(code));
	if (http == 401 || http == 403)
		return fail("the endpoint", "it refuses the key");
	(void)snprintf(why, sizeof why, "it answers with status %ld", http);
	return fail("the endpoint", why);
}

/* Ask until there is an answer, or no more reason or time for it. */
static int post(struct agent *agent, const char *body, struct answer *answer)
{
	for (unsigned tries = 0;; tries++) {
		double left = agent->until - now(), pause;
		long http = 0;
		CURLcode code;
		struct timespec span;

		if (left <= 0.001)
			return fail("the endpoint", "it did not answer within --time-limit");
		answer->len = 0;
		answer->is_too_long = false;
		(void)curl_easy_setopt(agent->curl, CURLOPT_TIMEOUT_MS, (long)(left * 1000) + 1);
		(void)curl_easy_setopt(agent->curl, CURLOPT_POSTFIELDS, body);
		(void)curl_easy_setopt(agent->curl, CURLOPT_WRITEDATA, answer);
		code = curl_easy_perform(agent->curl);
		(void)curl_easy_getinfo(agent->curl, CURLINFO_RESPONSE_CODE, &http);
		if (code == CURLE_OK && http == 200)
			return 0;
		pause = look_at_failure(agent, code, http, tries);
		if (pause < 0 || tries + 1 >= TRIES_MAX || now() + pause >= agent->until)
			return tell_failure(code, http, answer->is_too_long);
		span.tv_sec = (time_t)pause;
		span.tv_nsec = (long)((pause - (double)span.tv_sec) * 1e9);
		(void)nanosleep(&span, NULL);
	}
}

/* ---------------------------------------------------------------- the tool */

static json_t *describe_tools(void)
{
	return json_pack(
		"[{s:s, s:{s:s, s:s, s:{s:s, s:{s:{s:s, s:s}}, s:[s]}}}]", "type", "function",
		"function", "name", "search_messages", "description",
		"Search earlier messages of this conversation for words. All words must occur; "
		"\"a phrase\", prefix*, -without and OR work.",
		"parameters", "type", "object", "properties", "query", "type", "string",
		"description", "The words.", "required", "query");
}

/* A JSON text of what was found; NULL: no memory. A search that failed is the model's to mend. */
static char *search(struct agent *agent, const char *arguments)
{
	json_t *given = json_loads(arguments ? arguments : "", JSON_REJECT_DUPLICATES, NULL);
	const char *query = json_string_value(json_object_get(given, "query"));
	json_t *found = json_array(), *result;
	keep_message_matches matches = {.count = 0};
	keep_error err = {.message = "query: a text is needed"};
	char *text;

	if (query && keep_assistant_search_messages(agent->assistant, keep_bytes_of(query),
						    agent->conversation, false, MATCHES_MAX,
						    &agent->memory, &matches, &err) == KEEP_OK)
		err.message[0] = '\0';
	for (size_t i = 0; i < matches.count; i++) {
		const keep_conversation_message *message = &matches.items[i].message;

		(void)json_array_append_new(found, json_pack("{s:s%, s:s%, s:I}", "role",
							     message->role.data, message->role.len,
							     "content", message->content.data,
							     message->content.len, "timestamp_ms",
							     (json_int_t)message->timestamp));
	}
	result = err.message[0] ? json_pack("{s:s}", "error", err.message)
				: json_pack("{s:O}", "messages", found);
	text = result ? json_dumps(result, JSON_COMPACT) : NULL;
	json_decref(result);
	json_decref(found);
	json_decref(given);
	return text;
}

/* The answer to one call of a tool becomes a message of its own. */
static int run_tool(struct agent *agent, json_t *call)
{
	json_t *function = json_object_get(call, "function"), *message;
	const char *id = json_string_value(json_object_get(call, "id"));
	const char *name = json_string_value(json_object_get(function, "name"));
	char *text = NULL;
	int failed = 0;

	if (!id || !name)
		return fail("the endpoint", "it calls a tool without id or name");
	if (strcmp(name, "search_messages") == 0)
		text = search(agent, json_string_value(json_object_get(function, "arguments")));
	else
		text = strdup("{\"error\":\"there is no such tool\"}");
	message = text ? json_pack("{s:s, s:s, s:s}", "role", "tool", "tool_call_id", id, "content",
				   text)
		       : NULL;
	if (!message || json_array_append_new(agent->messages, message) != 0)
		failed = fail("a tool", "there is no memory for it");
	free(text);
	return failed;
}

/* ---------------------------------------------------------------- the talk with the model */

/* One round: its message, or NULL. In the last one it may call no tool. */
static json_t *ask(struct agent *agent, bool is_last)
{
	json_t *request = json_pack("{s:s, s:O, s:o, s:s}", "model", agent->options.model,
				    "messages", agent->messages, "tools", describe_tools(),
				    "tool_choice", is_last ? "none" : "auto");
	char *body = request ? json_dumps(request, JSON_COMPACT) : NULL;
	struct answer answer = {.len = 0};
	json_t *json = NULL, *message = NULL;

	if (!body)
		(void)fail("a request", "there is no memory for it");
	else if (post(agent, body, &answer) == 0) {
		json = json_loadb(answer.data ? answer.data : "", answer.len, 0, NULL);
		message = json_incref(json_object_get(
			json_array_get(json_object_get(json, "choices"), 0), "message"));
		if (!json_is_object(message)) {
			(void)fail("the endpoint", "its answer is no chat completion");
			json_decref(message);
			message = NULL;
		}
	}
	json_decref(json);
	free(answer.data);
	free(body);
	json_decref(request);
	return message;
}

static int run_tools(struct agent *agent, json_t *message, json_t *calls)
{
	int failed = 0;

	if (json_array_size(calls) > CALLS_MAX)
		return fail("the endpoint", "it calls too many tools at once");
	if (json_array_append(agent->messages, message) != 0)
		return fail("a message", "there is no memory for it");
	for (size_t i = 0; i < json_array_size(calls) && !failed; i++)
		failed = run_tool(agent, json_array_get(calls, i));
	return failed;
}

/* *text: the answer, in `message`. */
static int talk(struct agent *agent, json_t **message, const char **text)
{
	*text = NULL;
	for (unsigned round = 0; round <= ROUNDS_MAX; round++) {
		json_t *calls;
		int failed;

		*message = ask(agent, round == ROUNDS_MAX);
		if (!*message)
			return 1;
		calls = json_object_get(*message, "tool_calls");
		if (json_array_size(calls) == 0 || round == ROUNDS_MAX)
			break;
		failed = run_tools(agent, *message, calls);
		json_decref(*message);
		*message = NULL;
		if (failed)
			return failed;
	}
	*text = json_string_value(json_object_get(*message, "content"));
	if (!*text || !**text)
		return fail("the endpoint", "its answer has no text");
	return 0;
}

static int answer(struct agent *agent)
{
	json_t *message = NULL;
	const char *text = NULL;
	int failed = talk(agent, &message, &text);

	if (!failed)
		failed = append(agent, agent->answer_id, "assistant", text);
	if (!failed && (puts(text) < 0 || fflush(stdout) != 0))
		failed = fail("standard output", "it cannot be written");
	json_decref(message);
	return failed;
}

/* ---------------------------------------------------------------- from the question on */

/* The text of the message's JSON, or the input itself; NULL: none. */
static char *read_question(void)
{
	char *input = malloc(INPUT_BYTES_MAX + 1), *question = NULL;
	size_t len = input ? fread(input, 1, INPUT_BYTES_MAX, stdin) : 0;
	json_t *json;
	const char *text;

	if (!input)
		return NULL;
	while (len && strchr("\r\n", input[len - 1]))
		len--;
	input[len] = '\0';
	json = json_loadb(input, len, 0, NULL);
	text = json_string_value(json_object_get(json, "text"));
	if (text || !json_is_object(json))
		question = strdup(text ? text : input);
	json_decref(json);
	free(input);
	if (question && *question)
		return question;
	free(question);
	return NULL;
}

static int run(struct agent *agent, const char *question)
{
	int failed = open_store(agent);

	if (!failed)
		failed = find_conversation(agent);
	if (!failed && print_stored_answer(agent))
		return 0;
	if (!failed)
		failed = append(agent, agent->message_id, "user", question);
	if (!failed)
		failed = show_context(agent);
	if (!failed)
		failed = set_up_requests(agent);
	return failed ? failed : answer(agent);
}

int main(int argc, char **argv)
{
	struct agent agent = {.options = {.credential = "openai", .budget = 8000, .seconds = 120}};
	int failed = read_words(&agent.options, argc, argv);
	const char *session = getenv("KEEP_SESSION");
	char *question;

	if (failed)
		return failed;
	agent.until = now() + (double)agent.options.seconds;
	agent.message_id = getenv("KEEP_MESSAGE_ID");
	if (!agent.message_id || !*agent.message_id)
		return fail("KEEP_MESSAGE_ID", "it is not set");
	if (snprintf(agent.answer_id, sizeof agent.answer_id, "%s:%s:answer",
		     session ? session : "", agent.message_id) >= (int)sizeof agent.answer_id)
		return fail("KEEP_MESSAGE_ID", "it is too long");
	question = read_question();
	if (!question)
		return 0; /* nothing was asked */
	(void)curl_global_init(CURL_GLOBAL_DEFAULT);
	srand((unsigned)(now() * 1e6));
	agent.messages = json_array();
	failed = agent.messages ? run(&agent, question) : fail("a talk", "there is no memory");
	json_decref(agent.messages);
	curl_easy_cleanup(agent.curl);
	curl_slist_free_all(agent.headers);
	curl_global_cleanup();
	keep_memory_release(&agent.memory);
	keep_assistant_close(&agent.assistant);
	free(question);
	return failed;
}
