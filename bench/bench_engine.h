#ifndef BENCH_ENGINE_H
#define BENCH_ENGINE_H
/*
 * bench_engine.h - the engine's side of every comparison: the same loops on whichever backend.
 *
 * Documents are numbered; `path` makes the path of number i, `folder` that of a folder with
 * children. Which one a turn takes is random and the same in each run.
 */
#include "bench.h"
#include "keep/engine.h"

enum { BENCH_VALUE_BYTES = 500, BENCH_PAGE = 50, BENCH_THREADS = 32 };

struct bench_engine {
	keep_engine *engine;
	long documents, folders; /* numbers to choose from */
	keep_bytes (*path)(const struct bench_engine *bench, long i, char room[80]);
	keep_bytes (*folder)(const struct bench_engine *bench, long i, char room[80]);
	uint64_t seed;
	long made; /* documents that bench_set_new added */
	char bytes[BENCH_VALUE_BYTES];
	keep_buffer value;
};

/* Open `url`, made when it is missing; an engine that is open is closed first. */
void bench_engine_open(struct bench_engine *bench, const char *url, bool relaxed);
void bench_engine_close(struct bench_engine *bench);
/* Set documents 0 to `documents`, in batches. */
void bench_engine_load(struct bench_engine *bench);

keep_bytes bench_random_path(struct bench_engine *bench, char room[80]);
keep_bytes bench_random_folder(struct bench_engine *bench, char room[80]);

/* Sides of a pair; ctx is a struct bench_engine. */
bench_side bench_get, bench_list, bench_count, bench_set, bench_set_new, bench_set_threads;
/* Unset leaves; they are put back outside the time that counts. */
bench_side bench_unset;

#endif
