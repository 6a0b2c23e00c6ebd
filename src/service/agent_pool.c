/*
 * agent_pool.c - the command that answers for sessions without an agent of their own.
 *
 * As many threads as commands may run at once. Each takes the session that waits longest, claims
 * its next message, runs `/bin/sh -c COMMAND` with it (agent_turn.c), and puts the session behind
 * the others: so one's messages are answered in their order, one at a time, and many sessions
 * share.
 *
 * Invariants:
 *   1. At most agents_max commands run, the assistant's jobs among them (agent_jobs.c); neither
 * kind waits for more than one of the other.
 *   2. A session is served by one thread at a time (agent_queue.c).
 *   3. What cannot be served, or a command that cannot be run, is logged, and tried again after a
 *      pause; the message stays pending, and others go on.
 *   4. The end waits for commands that run until its time is over; then their messages are given
 *      back and they are killed.
 *   5. When this process is killed, so is each command, by the kernel.
 *
 * What it does not do: find out which sessions have input (the router, the scheduler's sweep); take
 * answers over (collector.c).
 *
 * Tests: tests/contract/test_service_agents.c.
 */
#include "service/agents.h"
#include "service/journey.h"

#include <errno.h>
#include <string.h>
#include <time.h>

enum { LEASE_MS = 60000, LOOK_MS = 1000, PROD_MS = 20, STACK_SIZE = 512 * 1024, FOLDER_SIZE = 256 };

typedef struct agent_thread {
	kp_agents *agents;
	pthread_t thread;
	kp_turn turn;
	char last_failure[sizeof((keep_error *)0)->message]; /* that was logged */
} agent_thread;

struct kp_agents {
	keep_service *service;
	kp_turn_rules rules;
	char *argv[4];
	kp_seats *seats;
	kp_jobs *jobs;
	pthread_mutex_t mutex; /* guards what follows */
	pthread_cond_t changed;
	kp_agent_queue queue;
	int running;      /* slots that are taken */
	int jobs_waiting; /* for a slot */
	bool job_was_last;
	bool is_full; /* the queue was, and that was logged */
	int alive;    /* threads */
	atomic_bool is_stopping;
	size_t started;
	agent_thread threads[KP_AGENTS_MAX];
};

static int64_t clock_ms(void)
{
	return kp_monotonic_ns() / 1000000;
}

/* With the mutex. */
static void wait_for(kp_agents *agents, int64_t pause_ms)
{
	int64_t until_ns = kp_monotonic_ns() + pause_ms * 1000000;
	struct timespec until = {until_ns / 1000000000, until_ns % 1000000000};

	(void)pthread_cond_timedwait(&agents->changed, &agents->mutex, &until);
}

bool kp_agents_is_stopping(const kp_agents *agents)
{
	return atomic_load(&agents->is_stopping);
}

/* ---------------------------------------------------------------- slots */

/* With the mutex. The two kinds take turns where both wait. */
static bool has_slot(kp_agents *agents, bool is_job)
{
	bool others = is_job ? kp_agent_queue_is_ready(&agents->queue, clock_ms())
			     : agents->jobs_waiting > 0;

	return agents->running < agents->service->options.agents_max &&
	       (!others || agents->job_was_last != is_job);
}

static void take_slot(kp_agents *agents, bool is_job)
{
	agents->running++;
	agents->job_was_last = is_job;
}

bool kp_agents_take_slot(kp_agents *agents)
{
	bool taken;

	pthread_mutex_lock(&agents->mutex);
	agents->jobs_waiting++;
	while (!kp_agents_is_stopping(agents) && !has_slot(agents, true))
		wait_for(agents, LOOK_MS);
	agents->jobs_waiting--;
	taken = !kp_agents_is_stopping(agents);
	if (taken)
		take_slot(agents, true);
	pthread_cond_broadcast(&agents->changed); /* the others' turn */
	pthread_mutex_unlock(&agents->mutex);
	return taken;
}

void kp_agents_give_slot(kp_agents *agents)
{
	pthread_mutex_lock(&agents->mutex);
	agents->running--;
	pthread_cond_broadcast(&agents->changed);
	pthread_mutex_unlock(&agents->mutex);
}

/* ---------------------------------------------------------------- a command's environment */

char *const *kp_agents_command(const kp_agents *agents)
{
	return agents->argv;
}

size_t kp_agents_variables(const kp_agents *agents, kp_turn_variable *variables)
{
	const keep_service *service = agents->service;
	const char *home = service->folder ? service->folder : service->home;
	const kp_turn_variable ours[] = {
		{"KEEP_HOME", keep_bytes_of(home)},
		{"KEEP_URL", keep_bytes_of(service->url)},
		/* What the manager of services told us is not theirs. */
		{"NOTIFY_SOCKET", {NULL, 0}},
		{"WATCHDOG_USEC", {NULL, 0}},
		{"WATCHDOG_PID", {NULL, 0}},
	};

	memcpy(variables, ours, sizeof ours);
	return KP_COUNT(ours);
}

/* The chat's jid: where the message came from, else the session's own. */
static keep_bytes find_chat(const kp_seat *seat, keep_service *service,
			    const keep_inbound_message *message, keep_memory *memory)
{
	keep_bytes channel = {NULL, 0}, jid = {NULL, 0};
	bool is_message = message->platform_id.len && message->channel_type.len &&
			  !kp_bytes_equal(message->channel_type, KEEP_BYTES("agent"));
	keep_bytes type = is_message ? message->channel_type : seat->channel_type;
	keep_bytes id = is_message ? message->platform_id : seat->platform_id;
	keep_error err = KEEP_ERROR_INIT;

	if (!type.len || !id.len)
		return jid;
	if (kp_jid_find(service->gateway, type, id, memory, &jid, &channel, &err) == KEEP_OK)
		return jid;
	kp_log(KEEP_LOG_WARNING, "agent of session %s: its chat: %s", seat->session, err.message);
	return (keep_bytes){NULL, 0};
}

/* As the gateway calls it: the mailbox's folders are one segment (journey_place.c). */
static keep_bytes format_folder(keep_bytes folder, char out[FOLDER_SIZE])
{
	size_t len = 0;

	for (size_t i = 0; i < folder.len && len + 1 < FOLDER_SIZE; i++) {
		bool is_slash = i + 1 < folder.len && memcmp(folder.data + i, "..", 2) == 0;

		out[len++] = is_slash ? '/' : folder.data[i];
		i += is_slash;
	}
	out[len] = '\0';
	return (keep_bytes){out, len};
}

/* ---------------------------------------------------------------- a message */

static void log_warning(const kp_turn *turn, const char *text)
{
	const kp_seat *seat = turn->ctx;

	kp_log(KEEP_LOG_WARNING, "agent of session %s: %s", seat->session, text);
}

static void log_line(const kp_turn *turn, const char *line)
{
	const kp_seat *seat = turn->ctx;

	kp_log(KEEP_LOG_INFO, "agent of session %s says: %s", seat->session, line);
}

/* The chat tells people whether its agent failed. Trifles: a failure is logged alone. */
static void mark_chat(keep_service *service, keep_bytes jid, kp_turn_end end)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_chat chat;
	keep_status status;

	if (!jid.data || end == KP_TURN_NONE)
		return;
	status = keep_gateway_get_chat(service->gateway, jid, &memory, &chat, &err);
	if (status == KEEP_OK && end == KP_TURN_FAILED && !chat.errored)
		status = keep_gateway_mark_errored(service->gateway, jid, &err);
	else if (status == KEEP_OK && end == KP_TURN_COMPLETED && chat.errored)
		status = keep_gateway_clear_errored(service->gateway, jid, &err);
	if (status != KEEP_OK && status != KEEP_NOT_FOUND)
		kp_log(KEEP_LOG_WARNING, "agents: a chat's state: %s", err.message);
	keep_memory_release(&memory);
}

static keep_status answer(agent_thread *thread, kp_seat *seat, const keep_claimed *claimed,
			  keep_memory *memory, keep_error *err)
{
	kp_agents *agents = thread->agents;
	keep_service *service = agents->service;
	char folder[FOLDER_SIZE];
	kp_turn_variable variables[KP_TURN_VARIABLES_MAX];
	size_t count = kp_agents_variables(agents, variables);
	keep_bytes jid = find_chat(seat, service, &claimed->message, memory);
	kp_turn_end end = KP_TURN_NONE;
	keep_status status;

	variables[count++] = (kp_turn_variable){"KEEP_CHAT", jid};
	variables[count++] = (kp_turn_variable){"KEEP_FOLDER", format_folder(seat->folder, folder)};
	thread->turn.agent = seat->agent;
	thread->turn.beat_ms = &seat->beat_ms;
	thread->turn.variables = variables;
	thread->turn.variable_count = count;
	thread->turn.ctx = seat;
	kp_gauge_add(service, KP_GAUGE_AGENTS, 1);
	status = kp_turn_run(&thread->turn, claimed, memory, &end, err);
	kp_gauge_add(service, KP_GAUGE_AGENTS, -1);
	kp_count(service, KP_COUNT_RUNS, 1);
	if (status != KEEP_OK || end == KP_TURN_FAILED)
		kp_count(service, KP_COUNT_FAILED_RUNS, 1);
	kp_collector_look(service->collector, keep_bytes_of(seat->session));
	mark_chat(service, jid, end);
	return status;
}

/* *found is false when there is nothing to claim. */
static keep_status serve_seat(agent_thread *thread, kp_seat *seat, bool *found, keep_error *err)
{
	const keep_claim_request request = {.max = 1, .lease_ms = LEASE_MS};
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_claim_list list = {NULL, 0};
	keep_status status = keep_agent_claim(seat->agent, &request, KEEP_NOW, &memory, &list, err);

	*found = status == KEEP_OK && list.count > 0;
	if (*found)
		status = answer(thread, seat, &list.items[0], &memory, err);
	keep_memory_release(&memory);
	return status;
}

static void log_failure(agent_thread *thread, keep_bytes session, const keep_error *err)
{
	if (strcmp(thread->last_failure, err->message) == 0)
		return;
	memcpy(thread->last_failure, err->message, sizeof thread->last_failure);
	kp_count(thread->agents->service, KP_COUNT_ERRORS, 1);
	kp_log(KEEP_LOG_WARNING, "agent of session %" KP_PRI ": %s; tried again later",
	       KP_ARG(session), err->message);
}

static kp_served serve(agent_thread *thread, keep_bytes session)
{
	kp_seats *seats = thread->agents->seats;
	kp_seat *seat = NULL;
	bool found = false;
	keep_error err = KEEP_ERROR_INIT;
	keep_status status = kp_seats_take(seats, session, &seat, &err);

	if (status == KEEP_OK && seat)
		status = serve_seat(thread, seat, &found, &err);
	kp_seats_give(seats, &seat, status == KEEP_OK);
	if (status != KEEP_OK) {
		log_failure(thread, session, &err);
		return KP_SERVED_FAILED;
	}
	thread->last_failure[0] = '\0';
	return found ? KP_SERVED_MORE : KP_SERVED_DONE;
}

/* ---------------------------------------------------------------- threads */

/* With the mutex: what to serve, or NULL, and how long to wait for it. */
static kp_queued *take_next(kp_agents *agents, int64_t *pause_ms)
{
	*pause_ms = LOOK_MS;
	if (!atomic_load(&agents->service->is_ready)) {
		*pause_ms = PROD_MS;
		return NULL;
	}
	if (!has_slot(agents, false))
		return NULL;
	return kp_agent_queue_take(&agents->queue, clock_ms(), pause_ms);
}

static void rest(kp_agents *agents, int64_t pause_ms)
{
	wait_for(agents, pause_ms < 1 ? 1 : pause_ms);
	pthread_mutex_unlock(&agents->mutex);
	kp_seats_tidy(agents->seats);
	pthread_mutex_lock(&agents->mutex);
}

static void *work(void *ctx)
{
	agent_thread *thread = ctx;
	kp_agents *agents = thread->agents;

	pthread_mutex_lock(&agents->mutex);
	while (!kp_agents_is_stopping(agents)) {
		int64_t pause_ms = 0;
		kp_queued *queued = take_next(agents, &pause_ms);
		kp_served served;

		if (!queued) {
			rest(agents, pause_ms);
			continue;
		}
		take_slot(agents, false);
		pthread_mutex_unlock(&agents->mutex);
		served = serve(thread, kp_queued_session(queued));
		pthread_mutex_lock(&agents->mutex);
		agents->running--;
		kp_agent_queue_settle(&agents->queue, &queued, served, clock_ms());
		pthread_cond_broadcast(&agents->changed);
	}
	agents->alive--;
	pthread_cond_broadcast(&agents->changed);
	pthread_mutex_unlock(&agents->mutex);
	return NULL;
}

void kp_agents_look(kp_agents *agents, keep_bytes session)
{
	keep_error err = KEEP_ERROR_INIT;
	keep_status status;
	bool tells;

	if (!agents)
		return;
	pthread_mutex_lock(&agents->mutex);
	status = kp_agent_queue_add(&agents->queue, session, &err);
	tells = status != KEEP_OK && !agents->is_full;
	agents->is_full = status != KEEP_OK;
	if (agents->jobs_waiting)
		pthread_cond_broadcast(&agents->changed);
	else
		pthread_cond_signal(&agents->changed);
	pthread_mutex_unlock(&agents->mutex);
	if (tells)
		kp_log(KEEP_LOG_WARNING, "agents: %s; a later sweep brings it again", err.message);
}

/* ---------------------------------------------------------------- start and stop */

static keep_status start_thread(kp_agents *agents, agent_thread *thread, keep_error *err)
{
	pthread_attr_t attributes;
	int failed;

	thread->agents = agents;
	thread->turn.rules = &agents->rules;
	kp_turn_init(&thread->turn);
	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, STACK_SIZE);
	pthread_mutex_lock(&agents->mutex);
	failed = pthread_create(&thread->thread, &attributes, work, thread);
	if (!failed)
		agents->alive++;
	pthread_mutex_unlock(&agents->mutex);
	pthread_attr_destroy(&attributes);
	if (failed) {
		kp_turn_release(&thread->turn);
		return kp_fail_errno(err, failed, "a thread for the agent's command");
	}
	agents->started++;
	return KEEP_OK;
}

static keep_status fill_command(kp_agents *agents, keep_error *err)
{
	const keep_service_options *options = &agents->service->options;
	static const char *const words[] = {"/bin/sh", "-c"};
	keep_status status = KEEP_OK;

	for (size_t i = 0; i < KP_COUNT(words) && status == KEEP_OK; i++)
		status = kp_text_copy(words[i], &agents->argv[i], err);
	if (status == KEEP_OK)
		status = kp_text_copy(options->agent, &agents->argv[2], err);
	agents->rules = (kp_turn_rules){
		.command = agents->argv,
		.text = options->agent_text,
		.is_shell = true,
		.lease_ms = LEASE_MS,
		.limit_ms = options->agent_limit_ms,
		.warn = log_warning,
		.said = log_line,
	};
	return status;
}

static void init_agents(kp_agents *agents, keep_service *service)
{
	pthread_condattr_t monotonic;

	agents->service = service;
	pthread_mutex_init(&agents->mutex, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&agents->changed, &monotonic);
	pthread_condattr_destroy(&monotonic);
}

keep_status kp_agents_start(keep_service *service, kp_agents **out, keep_error *err)
{
	kp_agents *agents;
	keep_status status;

	*out = NULL;
	if (service->options.agents_max > KP_AGENTS_MAX)
		return kp_fail(err, KEEP_INVALID, "agents_max: at most %d commands run at once",
			       KP_AGENTS_MAX);
	agents = kp_alloc_zero(sizeof *agents);
	if (!agents)
		return kp_fail_memory(err, "the agents");
	init_agents(agents, service);
	status = fill_command(agents, err);
	if (status == KEEP_OK)
		status = kp_agent_queue_init(&agents->queue, err);
	if (status == KEEP_OK)
		status = kp_seats_open(service, &agents->seats, err);
	for (int64_t i = 0; i < service->options.agents_max && status == KEEP_OK; i++)
		status = start_thread(agents, &agents->threads[i], err);
	if (status == KEEP_OK)
		status = kp_jobs_start(service, agents, &agents->jobs, err);
	if (status != KEEP_OK)
		kp_agents_stop(&agents, 0);
	*out = agents;
	return status;
}

/* With the mutex. */
static bool is_over(const kp_agents *agents)
{
	return agents->alive == 0 && (!agents->jobs || kp_jobs_running(agents->jobs) == 0);
}

/* Let what runs come to its end, then end it. */
static void end_commands(kp_agents *agents, int64_t until_ms)
{
	pthread_mutex_lock(&agents->mutex);
	while (!is_over(agents)) {
		wait_for(agents, PROD_MS);
		if (clock_ms() < until_ms)
			continue;
		pthread_mutex_unlock(&agents->mutex);
		for (size_t i = 0; i < agents->started; i++)
			kp_turn_abandon(&agents->threads[i].turn);
		if (agents->jobs)
			kp_jobs_abandon(agents->jobs);
		pthread_mutex_lock(&agents->mutex);
	}
	pthread_mutex_unlock(&agents->mutex);
}

void kp_agents_stop(kp_agents **agents, int64_t until_ms)
{
	kp_agents *self = *agents;

	*agents = NULL;
	if (!self)
		return;
	pthread_mutex_lock(&self->mutex);
	atomic_store(&self->is_stopping, true);
	pthread_cond_broadcast(&self->changed);
	pthread_mutex_unlock(&self->mutex);
	if (self->jobs)
		kp_jobs_cancel(self->jobs);
	end_commands(self, until_ms);
	kp_jobs_stop(&self->jobs);
	for (size_t i = 0; i < self->started; i++) {
		(void)pthread_join(self->threads[i].thread, NULL);
		kp_turn_release(&self->threads[i].turn);
	}
	kp_seats_close(&self->seats);
	kp_agent_queue_release(&self->queue);
	for (size_t i = 0; i < KP_COUNT(self->argv); i++)
		kp_free(self->argv[i]);
	pthread_cond_destroy(&self->changed);
	pthread_mutex_destroy(&self->mutex);
	kp_free(self);
}
