/*
 * cli_talk.c - one talk in one chat: the adapter of the channel that a terminal is.
 *
 *     line ── put_message ──> open ── its answers are shown ──> trace says that it is over: closed
 *                                └── trace says that it failed ──> why, on standard error: closed
 *
 * The chat's jid is its channel's name, too, so a claim takes the deliveries of this chat and of no
 * other talk. One thread posts lines, another one claims deliveries, shows them, reports them, and
 * asks about messages whose answers do not come.
 *
 * Invariants:
 *   1. A message has its id before the first try to store it; a try that failed half way is
 * repeated with the same one.
 *   2. A delivery is reported after it was shown. One that comes again because the report was lost
 * is reported again and shown once, as far as this talk lasts; a talk that was killed in between
 * shows it again the next time.
 *   3. Only what the stores say ends a message: nothing is given up by the clock, but an answer
 * that went to somewhere else (ELSEWHERE_MS).
 *   4. At most OPEN_MAX messages are open at once; posting waits.
 *
 * What it does not do: decide who answers. The host does.
 *
 * Tests: tests/cli/test_cli_chat.py.
 */
#include "cli/cli_talk.h"
#include "service/journey.h"

#include <poll.h>
#include <string.h>
#include <time.h>

enum {
	OPEN_MAX = 64,
	SHOWN_MAX = 64,
	KEY_SIZE = 80,
	CLAIM_LIMIT = 50,
	LOOKS_MAX = 8, /* traces in one round */
	WAIT_MS = 400, /* for deliveries, while a message is open */
	IDLE_MS = 1000,
	FIRST_LOOK_MS = 500,
	LOOK_MS = 1000,
	PAUSE_MS = 100,
	PAUSE_MAX_MS = 2000,
	TRIES_MS = 60000,
	ELSEWHERE_MS = 60000
};

/* A message that is neither answered nor failed, as far as we know. */
typedef struct open_message {
	char id[KP_UUID_TEXT_SIZE];
	size_t number;   /* from 1, for people */
	bool is_posted;  /* it is stored */
	bool is_shown;   /* an answer to it */
	size_t retries;  /* that were told */
	int64_t look_ms; /* when to ask about it */
	int64_t over_ms; /* since when the agent is done, 0: it is not */
} open_message;

struct cli_talk {
	cli_talk_options options;
	/* NULL: by the session. The receiver is not cut off when the talk is stopped: a claim that
	   goes on without us would take what nobody shows. */
	cli_remote *sender, *receiver;
	void *gateway, *mailbox; /* the session's, for traces */
	pthread_t thread;
	bool is_started;
	atomic_bool stopping;
	pthread_mutex_t mutex; /* guards what follows */
	pthread_cond_t changed;
	open_message open[OPEN_MAX];
	size_t open_count, posted;
	bool is_last; /* nothing more will be posted */
	atomic_size_t failed;
	pthread_mutex_t screen;          /* one line at a time */
	char shown[SHOWN_MAX][KEY_SIZE]; /* the receiver's: deliveries that were shown, a ring */
	size_t shown_count;
	keep_error failure; /* why it has stopped itself; written before that */
	bool is_away;       /* the receiver's: it was told that the host does not answer */
};

static int64_t now_ms(void)
{
	return kp_monotonic_ns() / 1000000;
}

static keep_bytes text_of(const kp_json *object, const char *name)
{
	const kp_json *member = kp_json_member(object, name);

	return member && member->kind == KP_JSON_TEXT ? member->text : KEEP_BYTES("");
}

static int64_t integer_of(const kp_json *object, const char *name)
{
	const kp_json *member = kp_json_member(object, name);

	return member && member->kind == KP_JSON_INTEGER ? member->integer : 0;
}

/* ---------------------------------------------------------------- what is said */

void cli_talk_prompt(cli_talk *talk)
{
	if (!talk->options.has_prompt || atomic_load(&talk->stopping))
		return;
	pthread_mutex_lock(&talk->screen);
	printf("%s> ", strchr(talk->options.chat, ':') + 1);
	(void)fflush(stdout);
	pthread_mutex_unlock(&talk->screen);
}

/* In front of a line that comes while a person may be typing. */
static void clear_line(const cli_talk *talk)
{
	if (talk->options.has_prompt)
		printf("\r\033[K");
}

static void say(cli_talk *talk, keep_bytes who, keep_bytes text)
{
	pthread_mutex_lock(&talk->screen);
	clear_line(talk);
	if (talk->options.has_prompt)
		printf("%.*s: ", (int)who.len, who.data);
	(void)fwrite(text.data, 1, text.len, stdout);
	printf("\n");
	(void)fflush(stdout);
	pthread_mutex_unlock(&talk->screen);
	cli_talk_prompt(talk);
}

static void complain(cli_talk *talk, const char *format, ...) KEEP_PRINTF(2, 3);

static void complain(cli_talk *talk, const char *format, ...)
{
	char text[600];
	va_list args;

	va_start(args, format);
	kp_message_format(text, sizeof text, format, args);
	va_end(args);
	pthread_mutex_lock(&talk->screen);
	clear_line(talk);
	(void)fflush(stdout);
	fprintf(stderr, "keep: %s\n", text);
	pthread_mutex_unlock(&talk->screen);
	cli_talk_prompt(talk);
}

/* ---------------------------------------------------------------- calls, either way */

static keep_status call(const cli_talk *talk, cli_remote *remote, const char *operation,
			keep_bytes with, kp_arena *memory, const kp_json **result, keep_error *err)
{
	keep_buffer text = KEEP_BUFFER_INIT;
	keep_bytes copy = {NULL, 0};
	keep_status status;

	if (remote)
		return cli_remote_call(remote, operation, with, memory, result, err);
	status = keep_session_call(talk->options.session, keep_bytes_of(operation), with, &text,
				   err);
	if (status == KEEP_OK)
		status = kp_arena_copy(memory, kp_buffer_bytes(&text), &copy, err);
	if (status == KEEP_OK)
		status = kp_json_parse(copy, memory, result, err);
	keep_buffer_release(&text);
	return status;
}

static keep_status trace(const cli_talk *talk, const char *id, kp_arena *memory,
			 const kp_json **result, keep_error *err)
{
	keep_bytes chat = keep_bytes_of(talk->options.chat), copy = {NULL, 0};
	keep_buffer text = KEEP_BUFFER_INIT;
	keep_status status;

	if (talk->receiver)
		return cli_remote_trace(talk->receiver, chat, keep_bytes_of(id), memory, result,
					err);
	status =
		kp_journey_trace(talk->gateway, talk->mailbox, chat, keep_bytes_of(id), &text, err);
	if (status == KEEP_OK)
		status = kp_arena_copy(memory, kp_buffer_bytes(&text), &copy, err);
	if (status == KEEP_OK)
		status = kp_json_parse(copy, memory, result, err);
	keep_buffer_release(&text);
	return status;
}

/* Sleep, unless the talk is stopped. */
static void pause_for(cli_talk *talk, int64_t ms)
{
	for (int64_t until = now_ms() + ms; now_ms() < until && !atomic_load(&talk->stopping);)
		(void)poll(NULL, 0, PAUSE_MS);
}

/* A call that may be repeated is, until it is answered, the talk is stopped, or until_ms. */
static keep_status insist(cli_talk *talk, cli_remote *remote, const char *operation,
			  keep_bytes with, int64_t until_ms, keep_error *err)
{
	int64_t pause = PAUSE_MS;
	keep_status status;

	do {
		kp_arena memory = {.head = NULL};
		const kp_json *result = NULL;

		status = call(talk, remote, operation, with, &memory, &result, err);
		kp_arena_release(&memory);
		if (!keep_status_can_retry(status) && status != KEEP_UNCERTAIN)
			break;
		pause_for(talk, pause);
		pause = pause * 2 < PAUSE_MAX_MS ? pause * 2 : PAUSE_MAX_MS;
	} while (!atomic_load(&talk->stopping) && now_ms() < until_ms);
	return status;
}

/* ---------------------------------------------------------------- open messages */

/* With the mutex. NULL: there is none. */
static open_message *find_open(cli_talk *talk, keep_bytes id)
{
	for (size_t i = 0; i < talk->open_count; i++)
		if (kp_bytes_equal(keep_bytes_of(talk->open[i].id), id))
			return &talk->open[i];
	return NULL;
}

static void close_message(cli_talk *talk, const char *id, bool failed)
{
	open_message *at;

	pthread_mutex_lock(&talk->mutex);
	at = find_open(talk, keep_bytes_of(id));
	if (at) {
		size_t index = (size_t)(at - talk->open);

		memmove(at, at + 1, (talk->open_count - index - 1) * sizeof *at);
		talk->open_count--;
		if (failed)
			atomic_fetch_add(&talk->failed, 1);
		pthread_cond_broadcast(&talk->changed);
	}
	pthread_mutex_unlock(&talk->mutex);
}

/* Wait for room. False: the talk is stopped. */
static bool open_one(cli_talk *talk, const char *id)
{
	bool is_stopped;

	pthread_mutex_lock(&talk->mutex);
	while (talk->open_count == OPEN_MAX && !atomic_load(&talk->stopping))
		pthread_cond_wait(&talk->changed, &talk->mutex);
	is_stopped = atomic_load(&talk->stopping);
	if (!is_stopped) {
		open_message *at = &talk->open[talk->open_count++];

		*at = (open_message){.number = ++talk->posted};
		memcpy(at->id, id, sizeof at->id);
	}
	pthread_mutex_unlock(&talk->mutex);
	return !is_stopped;
}

static void note_posted(cli_talk *talk, const char *id)
{
	open_message *at;

	pthread_mutex_lock(&talk->mutex);
	at = find_open(talk, keep_bytes_of(id));
	if (at) {
		at->is_posted = true;
		at->look_ms = now_ms() + FIRST_LOOK_MS;
	}
	pthread_mutex_unlock(&talk->mutex);
}

/* ---------------------------------------------------------------- lines become messages */

static keep_status write_message(const cli_talk *talk, const char *id, keep_bytes text,
				 keep_buffer *out, keep_error *err)
{
	kp_json_writer writer;

	kp_json_begin(&writer, out);
	kp_json_open_object(&writer);
	kp_json_name(&writer, "chat_jid");
	kp_json_put_text(&writer, keep_bytes_of(talk->options.chat));
	kp_json_name(&writer, "id");
	kp_json_put_text(&writer, keep_bytes_of(id));
	kp_json_name(&writer, "content");
	kp_json_put_text(&writer, text);
	kp_json_name(&writer, "sender");
	kp_json_put_text(&writer, keep_bytes_of(strchr(talk->options.chat, ':') + 1));
	kp_json_name(&writer, "channel");
	kp_json_put_text(&writer, keep_bytes_of(talk->options.chat));
	kp_json_close_object(&writer);
	return kp_json_finish(&writer, err);
}

keep_status cli_talk_post(cli_talk *talk, keep_bytes text, keep_error *err)
{
	keep_buffer with = KEEP_BUFFER_INIT;
	keep_error why = KEEP_ERROR_INIT;
	char id[KP_UUID_TEXT_SIZE];
	keep_status status = kp_uuid_make(id, err);

	if (status != KEEP_OK || !open_one(talk, id))
		return status;
	status = write_message(talk, id, text, &with, &why);
	if (status == KEEP_OK)
		status = insist(talk, talk->sender, "gateway.put_message", kp_buffer_bytes(&with),
				now_ms() + TRIES_MS, &why);
	keep_buffer_release(&with);
	if (status == KEEP_OK) {
		note_posted(talk, id);
		return KEEP_OK;
	}
	close_message(talk, id, true);
	if (status == KEEP_DENIED || status == KEEP_NO_MEMORY) { /* so would be every other one */
		if (err)
			*err = why;
		return status;
	}
	if (!atomic_load(&talk->stopping))
		complain(talk, "the message was not accepted: %s", why.message);
	return KEEP_OK;
}

void cli_talk_settle(cli_talk *talk)
{
	pthread_mutex_lock(&talk->mutex);
	talk->is_last = true;
	while (talk->open_count && !atomic_load(&talk->stopping))
		pthread_cond_wait(&talk->changed, &talk->mutex);
	pthread_mutex_unlock(&talk->mutex);
}

/* ---------------------------------------------------------------- deliveries become lines */

/* False: it was shown before. */
static bool note_shown(cli_talk *talk, keep_bytes key)
{
	char *slot = talk->shown[talk->shown_count % SHOWN_MAX];

	for (size_t i = 0; i < SHOWN_MAX && i < talk->shown_count; i++)
		if (kp_bytes_equal(keep_bytes_of(talk->shown[i]), key))
			return false;
	if (key.len < KEY_SIZE) {
		memcpy(slot, key.data, key.len);
		slot[key.len] = '\0';
		talk->shown_count++;
	}
	return true;
}

/* The names of files, which a terminal cannot show. */
static void show_files(cli_talk *talk, keep_bytes who, const kp_json *attachments)
{
	if (!attachments || attachments->kind != KP_JSON_ARRAY)
		return;
	for (size_t i = 0; i < attachments->list.count; i++) {
		keep_bytes name = text_of(&attachments->list.items[i], "name");
		keep_buffer line = KEEP_BUFFER_INIT;

		if (name.len && kp_buffer_append_format(&line, NULL, "[file: %" KP_PRI "]",
							KP_ARG(name)) == KEEP_OK)
			say(talk, who, kp_buffer_bytes(&line));
		keep_buffer_release(&line);
	}
}

static void show(cli_talk *talk, const kp_json *delivery)
{
	keep_bytes who = text_of(delivery, "group_folder"), text = text_of(delivery, "content");

	if (!who.len)
		who = KEEP_BYTES("agent");
	if (text.len)
		say(talk, who, text);
	show_files(talk, who, kp_json_member(delivery, "attachments"));
}

static keep_status report(cli_talk *talk, const kp_json *delivery, keep_error *err)
{
	keep_buffer with = KEEP_BUFFER_INIT;
	kp_json_writer writer;
	keep_status status;

	kp_json_begin(&writer, &with);
	kp_json_open_object(&writer);
	kp_json_name(&writer, "jid");
	kp_json_put_text(&writer, text_of(delivery, "chat_jid"));
	kp_json_name(&writer, "id");
	kp_json_put_text(&writer, text_of(delivery, "id"));
	kp_json_name(&writer, "attempt");
	kp_json_put_integer(&writer, integer_of(delivery, "attempts"));
	kp_json_name(&writer, "delivery");
	kp_json_put_text(&writer, KEEP_BYTES("delivered"));
	kp_json_close_object(&writer);
	status = kp_json_finish(&writer, err);
	if (status == KEEP_OK)
		status = insist(talk, talk->receiver, "gateway.complete_delivery",
				kp_buffer_bytes(&with), INT64_MAX, err);
	keep_buffer_release(&with);
	return status == KEEP_CONFLICT ? KEEP_OK : status; /* the lease moved on: it comes again */
}

static keep_status deliver(cli_talk *talk, const kp_json *delivery, keep_error *err)
{
	open_message *at;
	keep_status status;

	if (note_shown(talk, text_of(delivery, "id")))
		show(talk, delivery);
	status = report(talk, delivery, err);
	pthread_mutex_lock(&talk->mutex);
	at = find_open(talk, text_of(delivery, "reply_to_id"));
	if (at) {
		at->is_shown = true;
		at->look_ms = 0;
	}
	pthread_mutex_unlock(&talk->mutex);
	return status;
}

static keep_status take_deliveries(cli_talk *talk, keep_error *err)
{
	kp_arena memory = {.head = NULL};
	const kp_json *result = NULL;
	keep_buffer with = KEEP_BUFFER_INIT;
	kp_json_writer writer;
	bool is_idle;
	keep_status status;

	pthread_mutex_lock(&talk->mutex);
	is_idle = talk->open_count == 0;
	pthread_mutex_unlock(&talk->mutex);
	kp_json_begin(&writer, &with);
	kp_json_open_object(&writer);
	kp_json_name(&writer, "channel");
	kp_json_put_text(&writer, keep_bytes_of(talk->options.chat));
	kp_json_name(&writer, "limit");
	kp_json_put_integer(&writer, CLAIM_LIMIT);
	kp_json_name(&writer, "timeout_ms");
	kp_json_put_integer(&writer, is_idle ? IDLE_MS : WAIT_MS);
	kp_json_close_object(&writer);
	status = kp_json_finish(&writer, err);
	if (status == KEEP_OK)
		status = call(talk, talk->receiver, "gateway.claim_deliveries",
			      kp_buffer_bytes(&with), &memory, &result, err);
	for (size_t i = 0;
	     status == KEEP_OK && result->kind == KP_JSON_ARRAY && i < result->list.count; i++)
		status = deliver(talk, &result->list.items[i], err);
	keep_buffer_release(&with);
	kp_arena_release(&memory);
	return status;
}

/* ---------------------------------------------------------------- what became of the others */

static bool is_one_of(keep_bytes word, const char *const *words)
{
	for (; *words; words++)
		if (kp_bytes_equal(word, keep_bytes_of(*words)))
			return true;
	return false;
}

/* How many steps of its way are called so; *detail: of the last one. */
static size_t count_steps(const kp_json *told, const char *what, keep_bytes *detail)
{
	const kp_json *steps = kp_json_member(told, "steps");
	size_t count = 0;

	for (size_t i = 0; steps && steps->kind == KP_JSON_ARRAY && i < steps->list.count; i++) {
		if (!kp_bytes_equal(text_of(&steps->list.items[i], "what"), keep_bytes_of(what)))
			continue;
		*detail = text_of(&steps->list.items[i], "detail");
		count++;
	}
	return count;
}

/* The agent is done: has it said anything, and is it to come? */
static bool is_completed_over(const open_message *message, const kp_json *told)
{
	keep_bytes detail;

	return message->is_shown || count_steps(told, "replied", &detail) == 0 ||
	       (message->over_ms && now_ms() - message->over_ms > ELSEWHERE_MS);
}

/* `message` is a copy; true: it is over. */
static bool judge(cli_talk *talk, open_message *message, const kp_json *told)
{
	static const char *const under_way[] = {"waiting",  "pending",      "processing", "expired",
						"answered", "acknowledged", NULL};
	static const char *const good[] = {"delivered", "completed", NULL};
	keep_bytes state = text_of(told, "state"), why = text_of(told, "why"), detail = {NULL, 0};
	size_t retries = count_steps(told, "retry", &detail);

	if (is_one_of(state, under_way)) {
		if (retries > message->retries)
			complain(talk, "message %zu is tried again: %" KP_PRI, message->number,
				 KP_ARG(detail));
		message->retries = retries;
		return false;
	}
	if (kp_bytes_equal(state, KEEP_BYTES("completed")) && !is_completed_over(message, told)) {
		message->over_ms = message->over_ms ? message->over_ms : now_ms();
		return false;
	}
	if (!is_one_of(state, good))
		complain(talk, "message %zu was not answered: %" KP_PRI "%s%" KP_PRI,
			 message->number, KP_ARG(state), why.len ? ": " : "", KP_ARG(why));
	else if (!message->is_shown && kp_bytes_equal(state, KEEP_BYTES("delivered")))
		complain(talk, "message %zu was answered in another terminal", message->number);
	else if (!message->is_shown)
		complain(talk, "message %zu: the agent said nothing to it", message->number);
	close_message(talk, message->id, !is_one_of(state, good));
	return true;
}

/* Ask about one, and write back what is remembered of it. */
static keep_status look_at(cli_talk *talk, open_message *message, keep_error *err)
{
	kp_arena memory = {.head = NULL};
	const kp_json *told = NULL;
	open_message *at;
	keep_status status = trace(talk, message->id, &memory, &told, err);

	message->look_ms = now_ms() + LOOK_MS;
	if (status == KEEP_DENIED && message->is_shown) /* it may not ask; an answer is an answer */
		close_message(talk, message->id, false);
	if (status != KEEP_OK || !judge(talk, message, told)) {
		pthread_mutex_lock(&talk->mutex);
		at = find_open(talk, keep_bytes_of(message->id));
		if (at)
			*at = *message;
		pthread_mutex_unlock(&talk->mutex);
	}
	kp_arena_release(&memory);
	return status == KEEP_DENIED ? KEEP_OK : status;
}

static keep_status look_after(cli_talk *talk, keep_error *err)
{
	open_message due[LOOKS_MAX];
	size_t count = 0;
	keep_status status = KEEP_OK;

	pthread_mutex_lock(&talk->mutex);
	for (size_t i = 0; i < talk->open_count && count < LOOKS_MAX; i++)
		if (talk->open[i].is_posted && talk->open[i].look_ms <= now_ms())
			due[count++] = talk->open[i];
	pthread_mutex_unlock(&talk->mutex);
	for (size_t i = 0; i < count && status == KEEP_OK && !atomic_load(&talk->stopping); i++)
		status = look_at(talk, &due[i], err);
	return status;
}

/* ---------------------------------------------------------------- the receiving thread */

static bool has_ended(cli_talk *talk)
{
	bool is_over;

	pthread_mutex_lock(&talk->mutex);
	is_over = talk->is_last && talk->open_count == 0;
	pthread_mutex_unlock(&talk->mutex);
	return is_over || atomic_load(&talk->stopping);
}

static void *receive(void *ctx)
{
	cli_talk *talk = ctx;
	int64_t pause = PAUSE_MS;

	while (!has_ended(talk)) {
		keep_error err = KEEP_ERROR_INIT;
		keep_status status = take_deliveries(talk, &err);

		if (status == KEEP_OK)
			status = look_after(talk, &err);
		if (status == KEEP_OK) {
			talk->is_away = false;
			pause = PAUSE_MS;
			continue;
		}
		if (atomic_load(&talk->stopping))
			break;
		if (!keep_status_can_retry(status) && status != KEEP_UNCERTAIN) {
			talk->failure = err;
			cli_talk_stop(talk);
			talk->options.ended(talk->options.ended_ctx);
			break;
		}
		if (!talk->is_away)
			complain(talk, "%s; trying again", err.message);
		talk->is_away = true;
		pause_for(talk, pause);
		pause = pause * 2 < PAUSE_MAX_MS ? pause * 2 : PAUSE_MAX_MS;
	}
	return NULL;
}

/* ---------------------------------------------------------------- open and close */

static keep_status open_ways(cli_talk *talk, keep_error *err)
{
	const cli_talk_options *options = &talk->options;
	keep_status status;

	if (options->url) {
		status = cli_remote_open(options->url, options->token, &talk->stopping,
					 &talk->sender, err);
		if (status == KEEP_OK)
			status = cli_remote_open(options->url, options->token, NULL,
						 &talk->receiver, err);
		if (status == KEEP_OK)
			status = cli_remote_check(talk->sender, err);
		return status;
	}
	status = kp_session_handle(options->session, &kp_gateway_operations, &talk->gateway, err);
	return status == KEEP_OK ? kp_session_handle(options->session, &kp_mailbox_operations,
						     &talk->mailbox, err)
				 : status;
}

keep_status cli_talk_open(const cli_talk_options *options, cli_talk **out, keep_error *err)
{
	cli_talk *talk = kp_alloc_zero(sizeof *talk);
	keep_status status;
	int failed;

	*out = talk;
	if (!talk)
		return kp_fail_memory(err, "a talk");
	talk->options = *options;
	atomic_init(&talk->stopping, false);
	atomic_init(&talk->failed, 0);
	pthread_mutex_init(&talk->mutex, NULL);
	pthread_mutex_init(&talk->screen, NULL);
	pthread_cond_init(&talk->changed, NULL);
	status = open_ways(talk, err);
	if (status == KEEP_OK) {
		failed = pthread_create(&talk->thread, NULL, receive, talk);
		talk->is_started = !failed;
		if (failed)
			status = kp_fail_errno(err, failed, "a thread of the talk");
	}
	if (status != KEEP_OK)
		cli_talk_close(out);
	return status;
}

void cli_talk_stop(cli_talk *talk)
{
	atomic_store(&talk->stopping, true);
	if (talk->options.session)
		kp_session_cancel(talk->options.session);
	pthread_mutex_lock(&talk->mutex);
	pthread_cond_broadcast(&talk->changed);
	pthread_mutex_unlock(&talk->mutex);
}

void cli_talk_close(cli_talk **talk)
{
	cli_talk *self = *talk;

	*talk = NULL;
	if (!self)
		return;
	cli_talk_stop(self);
	if (self->is_started)
		(void)pthread_join(self->thread, NULL);
	cli_remote_close(&self->sender);
	cli_remote_close(&self->receiver);
	pthread_cond_destroy(&self->changed);
	pthread_mutex_destroy(&self->screen);
	pthread_mutex_destroy(&self->mutex);
	kp_free(self);
}

keep_status cli_talk_failure(const cli_talk *talk, keep_error *err)
{
	if (talk->failure.status != KEEP_OK)
		*err = talk->failure;
	return talk->failure.status;
}

size_t cli_talk_failed(const cli_talk *talk)
{
	return atomic_load(&talk->failed);
}
