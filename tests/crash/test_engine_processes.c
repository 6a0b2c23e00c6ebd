/*
 * test_engine_processes.c - several processes with several threads on one store.
 *
 *     test_engine_processes KIND        KEEP_PROCESS_SECONDS: how long (default 4)
 *
 * Each thread sets, unsets, lists and counts below a path of its own, sets paths that all share,
 * and adds to shared counters with compare_and_set. No call may fail, but that compare_and_set
 * meets another's (CONFLICT). No call may wait longer than LONGEST_MS (times test_patience()). Each
 * process tells its parent through a pipe what was acknowledged, and afterwards all of it must be
 * there: each own path's last value, in each shared path the last value of one of the threads, and
 * in each counter the number of additions that succeeded.
 */
#include "engine_urls.h"
#include "keep_test.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
	PROCESSES = 4,
	THREADS = 4,
	OWN = 12,   /* paths of a thread */
	SHARED = 5, /* paths of everybody */
	COUNTERS = 3,
	LONGEST_MS = 1000,
	SLOW_MAX = 40000, /* latencies kept of one operation of one process */
	SECONDS_DEFAULT = 4
};

enum op { SET_OWN, SET_SHARED, UNSET, GET, LIST, COUNT, BATCH, ADD, OPS };

static const char *const op_names[OPS] = {"set own", "set shared", "unset", "get",
					  "list",    "count",      "batch", "compare_and_set"};

/* What one thread was told. */
struct told {
	uint32_t own[OWN];       /* the value's number; 0: unset */
	uint32_t shared[SHARED]; /* of its last set; 0: none */
	uint32_t added[COUNTERS];
	uint32_t conflicts;
};

/* What a process reports. */
struct report {
	struct told told[THREADS];
	uint32_t calls[OPS];
	uint32_t kept[OPS]; /* latencies that follow, in microseconds */
	uint32_t longest_us[OPS];
};

static engine_kind kind;
static char url[ENGINE_URL_MAX];
static int64_t seconds = SECONDS_DEFAULT;

/* ---------------------------------------------------------------- a process */

static keep_engine *engine;
static int process_number;
static struct report report;
static uint32_t latencies[OPS][SLOW_MAX];
static pthread_mutex_t report_lock = PTHREAD_MUTEX_INITIALIZER;

struct worker {
	int thread;
	uint64_t seed;
	uint32_t next; /* number of the next value */
	struct told *told;
	int64_t until_ns;
};

static _Noreturn void die(const char *what, keep_status status, const keep_error *err)
{
	fprintf(stderr, "process %d: %s: %s: %s\n", process_number, what, keep_status_name(status),
		err->message);
	_exit(1);
}

static void note_latency(enum op op, int64_t took_ns)
{
	uint32_t us = (uint32_t)(took_ns / 1000);

	pthread_mutex_lock(&report_lock);
	report.calls[op]++;
	if (report.kept[op] < SLOW_MAX)
		latencies[op][report.kept[op]++] = us;
	if (us > report.longest_us[op])
		report.longest_us[op] = us;
	pthread_mutex_unlock(&report_lock);
}

static keep_bytes own_path(int process, int thread, unsigned i, char room[80])
{
	return (keep_bytes){room,
			    (size_t)snprintf(room, 80, "own/%d-%d/message/%u", process, thread, i)};
}

static keep_bytes shared_path(unsigned i, char room[80])
{
	return (keep_bytes){room, (size_t)snprintf(room, 80, "shared/%u", i)};
}

static keep_bytes counter_path(unsigned i, char room[80])
{
	return (keep_bytes){room, (size_t)snprintf(room, 80, "counter/%u", i)};
}

/* "<process>-<thread>-<number>" and then some, so that a mix of two values would be seen. */
static keep_bytes value_of(int process, int thread, uint32_t number, char room[400])
{
	size_t len = (size_t)snprintf(room, 400, "%d-%d-%u", process, thread, number);
	size_t wanted = len + number % 300;

	while (len < wanted)
		room[len++] = (char)('a' + number % 26);
	return (keep_bytes){room, wanted};
}

/* One more, if nobody else was quicker. */
static keep_status add_one(struct worker *worker, unsigned counter, keep_error *err)
{
	keep_buffer stored = KEEP_BUFFER_INIT;
	char path[80], text[24];
	keep_bytes name = counter_path(counter, path), expected = {0};
	keep_status status = keep_engine_get(engine, name, &stored, err);
	long value = 0;

	if (status == KEEP_OK) {
		expected = kp_buffer_bytes(&stored);
		value = atol(stored.data);
	}
	if (status == KEEP_OK || status == KEEP_NOT_FOUND) {
		snprintf(text, sizeof text, "%ld", value + 1);
		status = keep_engine_compare_and_set(engine, name, expected, keep_bytes_of(text),
						     err);
	}
	keep_buffer_release(&stored);
	worker->told->added[counter] += status == KEEP_OK;
	worker->told->conflicts += status == KEEP_CONFLICT;
	return status == KEEP_CONFLICT ? KEEP_OK : status;
}

static keep_status set_batch(struct worker *worker, keep_error *err)
{
	enum { CHANGES = 4 };
	char paths[CHANGES][80], values[CHANGES][400];
	keep_engine_change changes[CHANGES];
	unsigned first = (unsigned)(next_random(&worker->seed) % (OWN - CHANGES));
	keep_status status;

	for (unsigned i = 0; i < CHANGES; i++)
		changes[i] = (keep_engine_change){
			.kind = i == 0 ? KEEP_ENGINE_UNSET : KEEP_ENGINE_SET,
			.path = own_path(process_number, worker->thread, first + i, paths[i]),
			.value = value_of(process_number, worker->thread, worker->next + i,
					  values[i])};
	status = keep_engine_batch(engine, changes, CHANGES, err);
	for (unsigned i = 0; status == KEEP_OK && i < CHANGES; i++)
		worker->told->own[first + i] = i == 0 ? 0 : worker->next + i;
	worker->next += CHANGES;
	return status;
}

/* A thread alone changes its own paths: what it reads there must be what it was told. */
static keep_status get_own(struct worker *worker, unsigned i, keep_error *err)
{
	keep_buffer found = KEEP_BUFFER_INIT;
	char path[80], value[400];
	uint32_t wanted = worker->told->own[i];
	keep_status status = keep_engine_get(
		engine, own_path(process_number, worker->thread, i, path), &found, err);

	if (wanted && status == KEEP_OK &&
	    !kp_bytes_equal(kp_buffer_bytes(&found),
			    value_of(process_number, worker->thread, wanted, value)))
		status = kp_fail(err, KEEP_CORRUPT, "%s has another value", path);
	else if (!wanted && status == KEEP_OK)
		status = kp_fail(err, KEEP_CORRUPT, "%s is there again", path);
	else if (!wanted && status == KEEP_NOT_FOUND)
		status = KEEP_OK;
	keep_buffer_release(&found);
	return status;
}

static keep_status list_own(struct worker *worker, enum op op, keep_error *err)
{
	keep_engine_list list = KEEP_ENGINE_LIST_INIT;
	char path[80];
	int64_t found = 0, wanted = 0;
	keep_status status;

	snprintf(path, sizeof path, "own/%d-%d/message", process_number, worker->thread);
	for (int i = 0; i < OWN; i++)
		wanted += worker->told->own[i] != 0;
	if (op == COUNT) {
		status = keep_engine_count(engine, keep_bytes_of(path), &found, err);
	} else {
		status = keep_engine_list_values(engine, keep_bytes_of(path), 0, 50, &list, err);
		found = (int64_t)list.count;
	}
	keep_engine_list_release(&list);
	if (status == KEEP_OK && found != wanted)
		status = kp_fail(err, KEEP_CORRUPT, "%s: %lld documents, not %lld", path,
				 (long long)found, (long long)wanted);
	return status;
}

static keep_status call(struct worker *worker, enum op op, keep_error *err)
{
	unsigned i = (unsigned)(next_random(&worker->seed) % OWN);
	char path[80], value[400];
	keep_bytes bytes = value_of(process_number, worker->thread, worker->next, value);
	keep_status status = KEEP_MISUSE;

	switch (op) {
	case SET_OWN:
		status = keep_engine_set(engine, own_path(process_number, worker->thread, i, path),
					 bytes, err);
		worker->told->own[i] = worker->next++;
		break;
	case SET_SHARED:
		i %= SHARED;
		status = keep_engine_set(engine, shared_path(i, path), bytes, err);
		worker->told->shared[i] = worker->next++;
		break;
	case UNSET:
		status = keep_engine_unset(engine,
					   own_path(process_number, worker->thread, i, path), err);
		worker->told->own[i] = 0;
		break;
	case GET: status = get_own(worker, i, err); break;
	case LIST:
	case COUNT: status = list_own(worker, op, err); break;
	case BATCH: status = set_batch(worker, err); break;
	case ADD: status = add_one(worker, i % COUNTERS, err); break;
	case OPS: break;
	}
	return status;
}

static void *work(void *ctx)
{
	static const enum op ops[] = {SET_OWN, SET_OWN, SET_OWN, SET_SHARED, UNSET, GET,
				      GET,     LIST,    COUNT,   BATCH,      ADD,   ADD};
	struct worker *worker = ctx;

	while (kp_monotonic_ns() < worker->until_ns) {
		enum op op = ops[next_random(&worker->seed) % KP_COUNT(ops)];
		keep_error err = KEEP_ERROR_INIT;
		int64_t begun_ns = kp_monotonic_ns();
		keep_status status = call(worker, op, &err);

		note_latency(op, kp_monotonic_ns() - begun_ns);
		if (status != KEEP_OK)
			die(op_names[op], status, &err);
	}
	return NULL;
}

static void write_all(int fd, const void *bytes, size_t size)
{
	for (size_t done = 0; done < size;) {
		ssize_t got = write(fd, (const char *)bytes + done, size - done);

		if (got <= 0)
			_exit(1);
		done += (size_t)got;
	}
}

/* `go` becomes readable, with its end, when all processes have opened the store. */
static _Noreturn void be_a_process(int number, int ready, int go, int out, uint64_t seed)
{
	keep_engine_options options = KEEP_ENGINE_OPTIONS_INIT;
	struct worker workers[THREADS];
	pthread_t threads[THREADS];
	keep_error err = KEEP_ERROR_INIT;
	keep_status status;
	char byte = 0;

	process_number = number;
	options.create = true;
	status = keep_engine_open(url, &options, &engine, &err);
	if (status != KEEP_OK)
		die("open", status, &err);
	write_all(ready, &byte, 1);
	(void)!read(go, &byte, 1);
	for (int t = 0; t < THREADS; t++) {
		workers[t] = (struct worker){.thread = t,
					     .seed = seed + (uint64_t)(number * THREADS + t) * 7919,
					     .next = 1,
					     .told = &report.told[t],
					     .until_ns = kp_monotonic_ns() +
							 seconds * INT64_C(1000000000)};
		if (pthread_create(&threads[t], NULL, work, &workers[t]))
			_exit(1);
	}
	for (int t = 0; t < THREADS; t++)
		pthread_join(threads[t], NULL);
	keep_engine_close(&engine);
	write_all(out, &report, sizeof report);
	for (int op = 0; op < OPS; op++)
		write_all(out, latencies[op], report.kept[op] * sizeof latencies[op][0]);
	_exit(kp_alloc_live() == 0 ? 0 : 7);
}

/* ---------------------------------------------------------------- the parent */

static struct report reports[PROCESSES];
static uint32_t *all_latencies[OPS];
static size_t latency_count[OPS];

static void read_all(int fd, void *bytes, size_t size)
{
	for (size_t done = 0; done < size;) {
		ssize_t got = read(fd, (char *)bytes + done, size - done);

		CHECK(got > 0, "a process ended without its report; see above");
		done += (size_t)got;
	}
}

static void read_report(int fd, struct report *out)
{
	read_all(fd, out, sizeof *out);
	for (int op = 0; op < OPS; op++) {
		read_all(fd, all_latencies[op] + latency_count[op],
			 out->kept[op] * sizeof **all_latencies);
		latency_count[op] += out->kept[op];
	}
}

static void run_processes(uint64_t seed)
{
	int ready[2], go[2], out[PROCESSES][2];
	pid_t children[PROCESSES];
	char byte;

	assert_int_equal(pipe(ready) | pipe(go), 0);
	fflush(stdout);
	for (int p = 0; p < PROCESSES; p++) {
		assert_int_equal(pipe(out[p]), 0);
		children[p] = fork();
		assert_true(children[p] >= 0);
		if (children[p] == 0) {
			close(go[1]);
			be_a_process(p, ready[1], go[0], out[p][1], seed);
		}
		close(out[p][1]);
	}
	close(ready[1]);
	for (int p = 0; p < PROCESSES; p++)
		read_all(ready[0], &byte, 1);
	close(go[1]);
	for (int p = 0; p < PROCESSES; p++)
		read_report(out[p][0], &reports[p]);
	for (int p = 0; p < PROCESSES; p++) {
		int ended = 0;

		assert_int_equal(waitpid(children[p], &ended, 0), children[p]);
		CHECK(WIFEXITED(ended) && WEXITSTATUS(ended) == 0, "process %d: status %d", p,
		      ended);
		close(out[p][0]);
	}
	close(ready[0]);
	close(go[0]);
}

static void check_own(keep_engine *store, keep_buffer *found)
{
	keep_error err = KEEP_ERROR_INIT;

	for (int p = 0; p < PROCESSES; p++) {
		for (int t = 0; t < THREADS; t++) {
			for (unsigned i = 0; i < OWN; i++) {
				uint32_t wanted = reports[p].told[t].own[i];
				char path[80], value[400];
				keep_status status = keep_engine_get(store, own_path(p, t, i, path),
								     found, &err);

				CHECK(status == (wanted ? KEEP_OK : KEEP_NOT_FOUND), "%s: %s", path,
				      keep_status_name(status));
				if (wanted)
					assert_bytes_equal(kp_buffer_bytes(found),
							   value_of(p, t, wanted, value));
			}
		}
	}
}

/* The last set of all is the last set of one thread. */
static void check_shared(keep_engine *store, keep_buffer *found)
{
	keep_error err = KEEP_ERROR_INIT;
	char path[80], value[400];

	for (unsigned i = 0; i < SHARED; i++) {
		bool known = false;

		OK(keep_engine_get(store, shared_path(i, path), found, &err));
		for (int p = 0; p < PROCESSES; p++) {
			for (int t = 0; t < THREADS; t++) {
				uint32_t last = reports[p].told[t].shared[i];

				known |= last && kp_bytes_equal(kp_buffer_bytes(found),
								value_of(p, t, last, value));
			}
		}
		CHECK(known, "%s holds nobody's last value", path);
	}
}

static void check_counters(keep_engine *store, keep_buffer *found)
{
	keep_error err = KEEP_ERROR_INIT;
	uint32_t conflicts = 0;
	char path[80];

	for (unsigned i = 0; i < COUNTERS; i++) {
		uint32_t added = 0;

		for (int p = 0; p < PROCESSES; p++)
			for (int t = 0; t < THREADS; t++)
				added += reports[p].told[t].added[i];
		OK(keep_engine_get(store, counter_path(i, path), found, &err));
		CHECK((uint32_t)atol(found->data) == added, "%s is %s after %u additions", path,
		      found->data, added);
	}
	for (int p = 0; p < PROCESSES; p++)
		for (int t = 0; t < THREADS; t++)
			conflicts += reports[p].told[t].conflicts;
	print_message("   %u refused by compare_and_set\n", conflicts);
}

static int compare_latencies(const void *a, const void *b)
{
	uint32_t one = *(const uint32_t *)a, other = *(const uint32_t *)b;

	return one < other ? -1 : one > other;
}

static void check_latencies(void)
{
	uint32_t longest_of_all = 0, limit_us = LONGEST_MS * 1000 * (uint32_t)test_patience();

	for (int op = 0; op < OPS; op++) {
		uint32_t calls = 0, longest = 0, p99 = 0;

		for (int p = 0; p < PROCESSES; p++) {
			calls += reports[p].calls[op];
			if (reports[p].longest_us[op] > longest)
				longest = reports[p].longest_us[op];
		}
		qsort(all_latencies[op], latency_count[op], sizeof **all_latencies,
		      compare_latencies);
		if (latency_count[op])
			p99 = all_latencies[op][latency_count[op] * 99 / 100];
		print_message("   %-16s %7u calls, p99 %7.2f ms, longest %7.2f ms\n", op_names[op],
			      calls, p99 / 1000.0, longest / 1000.0);
		if (longest > longest_of_all)
			longest_of_all = longest;
	}
	CHECK(longest_of_all <= limit_us, "a call took %u ms", longest_of_all / 1000);
}

static void processes_that_share_a_store_lose_nothing_and_wait_for_nobody_long(void **state)
{
	keep_engine_options options = KEEP_ENGINE_OPTIONS_INIT;
	keep_engine *store = NULL;
	keep_buffer found = KEEP_BUFFER_INIT;
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	print_message("seed %llu\n", (unsigned long long)test_seed());
	engine_fresh_url(&kind, url);
	for (int op = 0; op < OPS; op++) {
		all_latencies[op] = malloc(sizeof(uint32_t) * SLOW_MAX * PROCESSES);
		assert_non_null(all_latencies[op]);
	}
	run_processes(test_seed());
	OK(keep_engine_open(url, &options, &store, &err));
	check_own(store, &found);
	check_shared(store, &found);
	check_counters(store, &found);
	keep_buffer_release(&found);
	keep_engine_close(&store);
	check_latencies();
	for (int op = 0; op < OPS; op++)
		free(all_latencies[op]);
	assert_nothing_lives();
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			processes_that_share_a_store_lose_nothing_and_wait_for_nobody_long),
	};
	const char *wanted = getenv("KEEP_PROCESS_SECONDS");
	int failed;

	if (argc != 2)
		return 2;
	signal(SIGPIPE, SIG_IGN);
	if (wanted)
		seconds = atol(wanted);
	engine_urls_begin(argv[1], &kind);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	engine_urls_end();
	return failed;
}
