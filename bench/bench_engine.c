/*
 * bench_engine.c - loops over the engine's functions, timed.
 *
 * A loop does nothing but make a path and call; what a call costs beyond its backend is therefore
 * in the figure. Any failure ends the program: a benchmark of failures measures nothing.
 */
#include "bench_engine.h"

#include <pthread.h>
#include <string.h>

static void must(keep_status status, const keep_error *err)
{
	if (status != KEEP_OK)
		bench_fail("%s: %s", keep_status_name(status), err->message);
}

void bench_engine_open(struct bench_engine *bench, const char *url, bool relaxed)
{
	keep_engine_options options = KEEP_ENGINE_OPTIONS_INIT;
	keep_error err;

	keep_engine_close(&bench->engine);
	options.create = true;
	options.relaxed = relaxed;
	must(keep_engine_open(url, &options, &bench->engine, &err), &err);
	memset(bench->bytes, 'k', sizeof bench->bytes);
}

void bench_engine_close(struct bench_engine *bench)
{
	keep_engine_close(&bench->engine);
	keep_buffer_release(&bench->value);
}

static keep_bytes value_of(const struct bench_engine *bench)
{
	return (keep_bytes){bench->bytes, sizeof bench->bytes};
}

void bench_engine_load(struct bench_engine *bench)
{
	enum { BATCH = 1000 };
	static char rooms[BATCH][80];
	static keep_engine_change changes[BATCH];
	keep_error err;

	for (long done = 0; done < bench->documents; done += BATCH) {
		long count = bench->documents - done < BATCH ? bench->documents - done : BATCH;

		for (long i = 0; i < count; i++)
			changes[i] =
				(keep_engine_change){.kind = KEEP_ENGINE_SET,
						     .path = bench->path(bench, done + i, rooms[i]),
						     .value = value_of(bench)};
		must(keep_engine_batch(bench->engine, changes, (size_t)count, &err), &err);
	}
}

keep_bytes bench_random_path(struct bench_engine *bench, char room[80])
{
	return bench->path(bench, (long)(bench_random(&bench->seed) % (uint64_t)bench->documents),
			   room);
}

keep_bytes bench_random_folder(struct bench_engine *bench, char room[80])
{
	return bench->folder(bench, (long)(bench_random(&bench->seed) % (uint64_t)bench->folders),
			     room);
}

double bench_get(void *ctx, long count)
{
	struct bench_engine *bench = ctx;
	double start = bench_now();
	keep_error err;
	char room[80];

	for (long i = 0; i < count; i++)
		must(keep_engine_get(bench->engine, bench_random_path(bench, room), &bench->value,
				     &err),
		     &err);
	return bench_now() - start;
}

double bench_list(void *ctx, long count)
{
	struct bench_engine *bench = ctx;
	double start = bench_now();
	keep_error err;
	char room[80];

	for (long i = 0; i < count; i++) {
		keep_engine_list list;

		must(keep_engine_list_values(bench->engine, bench_random_folder(bench, room), 0,
					     BENCH_PAGE, &list, &err),
		     &err);
		if (list.count != BENCH_PAGE)
			bench_fail("a list of %zu values", list.count);
		keep_engine_list_release(&list);
	}
	return bench_now() - start;
}

double bench_count(void *ctx, long count)
{
	struct bench_engine *bench = ctx;
	double start = bench_now();
	keep_error err;
	char room[80];
	int64_t found;

	for (long i = 0; i < count; i++)
		must(keep_engine_count(bench->engine, bench_random_folder(bench, room), &found,
				       &err),
		     &err);
	return bench_now() - start;
}

double bench_set(void *ctx, long count)
{
	struct bench_engine *bench = ctx;
	double start = bench_now();
	keep_error err;
	char room[80];

	for (long i = 0; i < count; i++)
		must(keep_engine_set(bench->engine, bench_random_path(bench, room), value_of(bench),
				     &err),
		     &err);
	return bench_now() - start;
}

double bench_set_new(void *ctx, long count)
{
	struct bench_engine *bench = ctx;
	double start = bench_now();
	keep_error err;
	char room[80];

	for (long i = 0; i < count; i++)
		must(keep_engine_set(bench->engine,
				     bench->path(bench, bench->documents + bench->made++, room),
				     value_of(bench), &err),
		     &err);
	return bench_now() - start;
}

struct writer {
	struct bench_engine bench; /* a copy: its own seed, the same engine */
	long count;
};

static void *write_many(void *ctx)
{
	struct writer *writer = ctx;

	bench_set(&writer->bench, writer->count);
	return NULL;
}

double bench_set_threads(void *ctx, long count)
{
	struct bench_engine *bench = ctx;
	pthread_t threads[BENCH_THREADS];
	struct writer writers[BENCH_THREADS];
	double start = bench_now();

	for (int i = 0; i < BENCH_THREADS; i++) {
		writers[i] = (struct writer){*bench, count / BENCH_THREADS};
		writers[i].bench.seed = bench_random(&bench->seed);
		if (pthread_create(&threads[i], NULL, write_many, &writers[i]))
			bench_fail("no thread");
	}
	for (int i = 0; i < BENCH_THREADS; i++)
		pthread_join(threads[i], NULL);
	return bench_now() - start;
}

double bench_unset(void *ctx, long count)
{
	struct bench_engine *bench = ctx;
	struct bench_engine again = *bench; /* the same choices once more */
	double start = bench_now(), taken;
	keep_error err;
	char room[80];

	for (long i = 0; i < count; i++)
		must(keep_engine_unset(bench->engine, bench_random_path(bench, room), &err), &err);
	taken = bench_now() - start;
	bench_set(&again, count);
	return taken;
}
