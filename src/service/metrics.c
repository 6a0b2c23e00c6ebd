/*
 * metrics.c - the host's numbers in Prometheus' text format (version 0.0.4).
 *
 * What the host counts itself is there already; what the stores know is asked for by index, at most
 * once in SAMPLE_MS however often somebody scrapes; what the kernel knows of the process is read
 * from /proc. docs/metrics.md names every one.
 *
 * Invariants:
 *   1. A scrape always answers: a number that cannot be had now is left out, and keep_store_up says
 *      that the stores do not answer.
 *   2. Names are keep_… with base units (seconds, bytes), counters end with _total, and each has
 * one HELP and one TYPE before it; promtool check metrics has nothing to say.
 *   3. No label has a value from outside: no chat, no account, no folder.
 *
 * What it does not do: keep history; ask a store for more than an index has.
 *
 * Tests: tests/http/test_http_metrics.py.
 */
#include "service/host.h"

#include "gateway/gateway_counts.h"
#include "mailbox/mailbox_counts.h"

#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

enum { SAMPLE_MS = 5000, CHATS_MAX = 1000, STAT_MAX = 4096 };

struct named {
	const char *name, *help;
};

static const struct named counters[KP_COUNTERS] = {
	[KP_COUNT_REQUESTS] = {"keep_http_requests_total", "HTTP requests answered."},
	[KP_COUNT_REFUSED] = {"keep_http_refused_total", "HTTP requests answered with 4xx."},
	[KP_COUNT_FAILED_REQUESTS] = {"keep_http_failed_total", "HTTP requests answered with 5xx."},
	[KP_COUNT_DENIED] = {"keep_http_denied_total", "HTTP requests without permission."},
	[KP_COUNT_EVENTS] = {"keep_events_sent_total", "Events sent to event streams."},
	[KP_COUNT_ROUTED] = {"keep_messages_routed_total", "Messages handed to a session."},
	[KP_COUNT_UNROUTED] = {"keep_messages_unrouted_total", "Messages that nobody takes."},
	[KP_COUNT_ANSWERS] = {"keep_answers_total", "Answers of agents handed to the gateway."},
	[KP_COUNT_SETTLED] = {"keep_deliveries_settled_total",
			      "Outcomes of deliveries told to the mailbox."},
	[KP_COUNT_RUNS] = {"keep_agent_runs_total", "Commands run for messages."},
	[KP_COUNT_FAILED_RUNS] = {"keep_agent_runs_failed_total",
				  "Commands run for messages that failed."},
	[KP_COUNT_TASKS] = {"keep_tasks_fired_total", "Scheduled tasks of the gateway fired."},
	[KP_COUNT_JOBS] = {"keep_jobs_total", "Jobs of the assistant run."},
	[KP_COUNT_FAILED_JOBS] = {"keep_jobs_failed_total", "Jobs of the assistant that failed."},
	[KP_COUNT_BACKUPS] = {"keep_backups_total", "Backups made."},
	[KP_COUNT_FAILED_BACKUPS] = {"keep_backups_failed_total", "Backups that failed."},
	[KP_COUNT_ERRORS] = {"keep_errors_total",
			     "Failures of the host's own loops, each tried again."},
};

static const struct {
	struct named named;
	bool is_time; /* ms since 1970; 0: never */
} gauges[KP_GAUGES] = {
	[KP_GAUGE_STREAMS] = {{"keep_event_streams", "Event streams open."}, false},
	[KP_GAUGE_CONNECTIONS] = {{"keep_http_connections", "HTTP connections open."}, false},
	[KP_GAUGE_AGENTS] = {{"keep_agents_running", "Commands running for messages or jobs."},
			     false},
	[KP_GAUGE_LAST_BACKUP_MS] = {{"keep_last_backup_timestamp_seconds",
				      "When the last backup was finished; 0: none was since the "
				      "start."},
				     true},
	[KP_GAUGE_LAST_SWEEP_MS] = {{"keep_last_sweep_timestamp_seconds",
				     "When the scheduler was round last; 0: not yet."},
				    true},
};

/* Upper bounds of the buckets; the one after the last has no bound. */
static const int64_t bounds_us[] = {500,    1000,   2500,   5000,    10000,   25000,  50000,
				    100000, 250000, 500000, 1000000, 2500000, 5000000};
static const char *const bound_texts[] = {"0.0005", "0.001", "0.0025", "0.005", "0.01",
					  "0.025",  "0.05",  "0.1",    "0.25",  "0.5",
					  "1",      "2.5",   "5"};

_Static_assert(KP_COUNT(bounds_us) == KP_COUNT(bound_texts), "each bound has its text");
_Static_assert(KP_COUNT(bounds_us) < KP_COUNT(((kp_metrics *)NULL)->accept_buckets),
	       "there is a bucket beyond the last bound");

void kp_metrics_accepted(keep_service *service, int64_t took_us)
{
	kp_metrics *metrics = &service->metrics;
	size_t bucket = 0;

	while (bucket < KP_COUNT(bounds_us) && took_us > bounds_us[bucket])
		bucket++;
	atomic_fetch_add_explicit(&metrics->accept_buckets[bucket], 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&metrics->accept_us, took_us, memory_order_relaxed);
}

/* ---------------------------------------------------------------- writing */

/* A text that grows; the first failure sticks. */
struct page {
	keep_buffer *out;
	keep_status status;
	keep_error *err;
};

static void put_head(struct page *page, const char *name, const char *help, const char *type)
{
	if (page->status == KEEP_OK)
		page->status = kp_buffer_append_format(page->out, page->err,
						       "# HELP %s %s\n# TYPE %s %s\n", name, help,
						       name, type);
}

static void put_value(struct page *page, const char *name, int64_t value)
{
	if (page->status == KEEP_OK)
		page->status = kp_buffer_append_format(page->out, page->err, "%s %" PRId64 "\n",
						       name, value);
}

/* `thousandths` of a unit, exactly. */
static void put_fraction(struct page *page, const char *name, int64_t thousandths)
{
	if (page->status == KEEP_OK)
		page->status =
			kp_buffer_append_format(page->out, page->err, "%s %" PRId64 ".%03d\n", name,
						thousandths / 1000, (int)(thousandths % 1000));
}

static void put_gauge(struct page *page, const char *name, const char *help, int64_t value)
{
	put_head(page, name, help, "gauge");
	put_value(page, name, value);
}

static void put_gauge_ms(struct page *page, const char *name, const char *help, int64_t value_ms)
{
	put_head(page, name, help, "gauge");
	put_fraction(page, name, value_ms < 0 ? 0 : value_ms);
}

/* ---------------------------------------------------------------- the host */

static void put_host(struct page *page, keep_service *service)
{
	kp_metrics *metrics = &service->metrics;

	for (size_t i = 0; i < KP_COUNTERS; i++) {
		put_head(page, counters[i].name, counters[i].help, "counter");
		put_value(page, counters[i].name, atomic_load(&metrics->counters[i]));
	}
	for (size_t i = 0; i < KP_GAUGES; i++) {
		const struct named *named = &gauges[i].named;
		int64_t value = atomic_load(&metrics->gauges[i]);

		if (gauges[i].is_time)
			put_gauge_ms(page, named->name, named->help, value);
		else
			put_gauge(page, named->name, named->help, value);
	}
	put_head(page, "keep_build_info", "The version that runs; its value is always 1.", "gauge");
	put_value(page, "keep_build_info{version=\"" KEEP_VERSION "\"}", 1);
}

static void put_accepting(struct page *page, keep_service *service)
{
	static const char name[] = "keep_accept_seconds";
	kp_metrics *metrics = &service->metrics;
	int64_t count = 0;

	put_head(page, name, "How long accepting messages took: POST put_message and put_messages.",
		 "histogram");
	for (size_t i = 0; i <= KP_COUNT(bounds_us); i++) {
		count += atomic_load(&metrics->accept_buckets[i]);
		if (page->status == KEEP_OK)
			page->status = kp_buffer_append_format(
				page->out, page->err, "%s_bucket{le=\"%s\"} %" PRId64 "\n", name,
				i < KP_COUNT(bounds_us) ? bound_texts[i] : "+Inf", count);
	}
	if (page->status == KEEP_OK) {
		int64_t took_us = atomic_load(&metrics->accept_us);

		page->status = kp_buffer_append_format(
			page->out, page->err, "%s_sum %" PRId64 ".%06d\n%s_count %" PRId64 "\n",
			name, took_us / 1000000, (int)(took_us % 1000000), name, count);
	}
}

/* ---------------------------------------------------------------- the stores */

static keep_status ask_stores(keep_service *service, int64_t values[KP_SAMPLES], keep_error *err)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_pending_list pending = {.items = NULL};
	kp_gateway_counts counts = {.waiting = 0};
	keep_status status = keep_gateway_pending_chats(
		service->gateway, keep_bytes_of(KP_ROUTER_NAME), CHATS_MAX, &memory, &pending, err);

	if (status == KEEP_OK)
		status = kp_gateway_count(service->gateway, &counts, err);
	if (status == KEEP_OK)
		status = kp_mailbox_count_sessions(service->mailbox, &values[KP_SAMPLE_SESSIONS],
						   err);
	values[KP_SAMPLE_GOOD] = status == KEEP_OK;
	values[KP_SAMPLE_PENDING_CHATS] = (int64_t)pending.count;
	if (pending.count)
		values[KP_SAMPLE_PENDING_SINCE_MS] = pending.items[0].pending_since;
	values[KP_SAMPLE_WAITING_DELIVERIES] = counts.waiting;
	values[KP_SAMPLE_FAILED_DELIVERIES] = counts.failed;
	keep_memory_release(&memory);
	return status;
}

/* A new sample when the last one is old; while one scrape asks, others tell the last one. */
static void take_sample(keep_service *service)
{
	kp_metrics *metrics = &service->metrics;
	int64_t now_ms = kp_monotonic_ns() / 1000000;
	int64_t sampled_ms = atomic_load(&metrics->sampled_ms);
	int64_t values[KP_SAMPLES] = {0};
	keep_error err = KEEP_ERROR_INIT;

	if (sampled_ms && now_ms - sampled_ms < SAMPLE_MS)
		return;
	if (atomic_exchange(&metrics->is_sampling, true) && sampled_ms)
		return;
	if (ask_stores(service, values, &err) != KEEP_OK)
		kp_log(KEEP_LOG_WARNING, "metrics: %s", err.message);
	for (size_t i = 0; i < KP_SAMPLES; i++)
		atomic_store(&metrics->samples[i], values[i]);
	atomic_store(&metrics->sampled_ms, now_ms);
	atomic_store(&metrics->is_sampling, false);
}

static void put_stores(struct page *page, keep_service *service)
{
	static const struct {
		kp_sample sample;
		struct named named;
	} numbers[] = {
		{KP_SAMPLE_PENDING_CHATS,
		 {"keep_gateway_pending_chats",
		  "Chats with messages not routed yet, counted to 1000."}},
		{KP_SAMPLE_WAITING_DELIVERIES,
		 {"keep_deliveries_waiting",
		  "Deliveries pending or being sent, counted to 100000."}},
		{KP_SAMPLE_FAILED_DELIVERIES,
		 {"keep_deliveries_failed",
		  "Deliveries failed, refused or uncertain, counted to 100000."}},
		{KP_SAMPLE_SESSIONS,
		 {"keep_mailbox_sessions", "Sessions in the mailbox, counted to 100000."}},
	};
	const atomic_llong *samples = service->metrics.samples;
	int64_t since_ms, is_good;

	take_sample(service);
	is_good = atomic_load(&samples[KP_SAMPLE_GOOD]);
	put_gauge(page, "keep_store_up", "Whether the stores answered when they were last asked.",
		  is_good);
	if (!is_good)
		return;
	for (size_t i = 0; i < KP_COUNT(numbers); i++)
		put_gauge(page, numbers[i].named.name, numbers[i].named.help,
			  atomic_load(&samples[numbers[i].sample]));
	since_ms = atomic_load(&samples[KP_SAMPLE_PENDING_SINCE_MS]);
	put_gauge_ms(page, "keep_gateway_oldest_pending_seconds",
		     "How long the oldest message not routed yet has been waiting; 0: none.",
		     since_ms ? kp_clock_ms() - since_ms : 0);
}

/* ---------------------------------------------------------------- the process */

/* A number after `label` in a file of /proc/self; false: it is not there. */
static bool read_proc(const char *file, const char *label, keep_buffer *text, int64_t *out)
{
	const char *at, *end;
	int fd = -1;
	keep_status status = kp_file_open(AT_FDCWD, file, O_RDONLY, 0, &fd, NULL);

	if (status == KEEP_OK)
		status = kp_file_read_all(fd, STAT_MAX, text, NULL);
	kp_file_close(&fd);
	if (status != KEEP_OK || !text->data)
		return false;
	at = strstr(text->data, label);
	if (!at)
		return false;
	at += strlen(label);
	at += strspn(at, " \t");
	end = at + strspn(at, "0123456789");
	return kp_int_parse((keep_bytes){at, (size_t)(end - at)}, out);
}

/* Descriptors that are open, the one that looks not counted. */
static bool count_descriptors(int64_t *out)
{
	int64_t count = 0;
	int64_t max = sysconf(_SC_OPEN_MAX);
	int64_t table = 0;
	keep_buffer text = KEEP_BUFFER_INIT;
	bool has_table = read_proc("/proc/self/status", "\nFDSize:", &text, &table);

	keep_buffer_release(&text);
	if (has_table && table < max)
		max = table;
	for (int64_t fd = 0; fd < max; fd++)
		count += fcntl((int)fd, F_GETFD) >= 0;
	*out = count;
	return true;
}

static void put_process(struct page *page, const keep_service *service)
{
	keep_buffer text = KEEP_BUFFER_INIT;
	int64_t value = 0;

	if (read_proc("/proc/self/status", "\nVmRSS:", &text, &value))
		put_gauge(page, "process_resident_memory_bytes", "Resident memory.", value * 1024);
	if (read_proc("/proc/self/status", "\nVmSize:", &text, &value))
		put_gauge(page, "process_virtual_memory_bytes", "Virtual memory.", value * 1024);
	if (count_descriptors(&value))
		put_gauge(page, "process_open_fds", "File descriptors open.", value);
	put_gauge_ms(page, "process_start_time_seconds", "When the service was started.",
		     service->started_ms);
	keep_buffer_release(&text);
}

keep_status kp_metrics_write(keep_service *service, keep_buffer *out, keep_error *err)
{
	struct page page = {.out = out, .err = err};

	put_host(&page, service);
	put_accepting(&page, service);
	put_stores(&page, service);
	put_process(&page, service);
	return page.status;
}
