/*
 * due.c - which runs are due, and when a failed attempt is tried again: pure functions of values.
 *
 * The due times are next_run and the schedule's times after it, until now. next_run itself counts
 * even when the expression has no such time: it is authoritative, and somebody may have moved it.
 *
 *     old next_run                        latest           now         new next_run
 *          |------ skipped ------|--- runs ---|--------------|---------------|
 *
 * The latest due time is on time when it is at most on_time_ms old; then it runs whatever the
 * policy for missed runs is, and stands for the earlier ones under run_once. The rest is missed. So
 * the runs of a plan are always the latest ones, and the skipped are always the oldest.
 *
 * Overlap: with nothing running the first run starts. Under `skip` a further one waits for it when
 * it is made up by run_all (asking for all means one after the other), and is skipped when a run of
 * an earlier tick still runs.
 *
 * Invariants:
 *   1. The new next_run is later than now, so that a tick is never due twice for one time, and
 *      later than every planned run.
 *   2. Every due time is in `runs` or within `skipped`: nothing is dropped without a trace.
 *   3. The cost does not grow with the time nobody was there: the runs are found backwards from
 *      now, and the skipped are counted up to KP_DUE_COUNT_MAX.
 *   4. A retry is later than now by at least 1 ms and at most by the longest delay.
 *
 * Tests: tests/unit/test_due.c.
 */
#include "schedule/due.h"

static bool is_text(keep_bytes name, const char *text)
{
	return kp_bytes_equal(name, keep_bytes_of(text));
}

const char *kp_missed_name(kp_missed missed)
{
	switch (missed) {
#define X(name, value, text)                                                                       \
	case KP_MISSED_##name: return text;
		KP_MISSED_MAP(X)
#undef X
	}
	return "?";
}

bool kp_missed_parse(keep_bytes name, kp_missed *out)
{
	for (int value = KP_MISSED_RUN_ONCE; value <= KP_MISSED_RUN_ALL; value++) {
		if (!is_text(name, kp_missed_name((kp_missed)value)))
			continue;
		*out = (kp_missed)value;
		return true;
	}
	return false;
}

const char *kp_overlap_name(kp_overlap overlap)
{
	switch (overlap) {
#define X(name, value, text)                                                                       \
	case KP_OVERLAP_##name: return text;
		KP_OVERLAP_MAP(X)
#undef X
	}
	return "?";
}

bool kp_overlap_parse(keep_bytes name, kp_overlap *out)
{
	for (int value = KP_OVERLAP_SKIP; value <= KP_OVERLAP_ALLOW; value++) {
		if (!is_text(name, kp_overlap_name((kp_overlap)value)))
			continue;
		*out = (kp_overlap)value;
		return true;
	}
	return false;
}

const char *kp_due_verdict_name(kp_due_verdict verdict)
{
	switch (verdict) {
	case KP_DUE_START: return "start";
	case KP_DUE_QUEUE: return "queue";
	case KP_DUE_SKIP_OVERLAP: return "skipped_overlap";
	case KP_DUE_SKIP_FULL: return "skipped_full";
	}
	return "?";
}

/* ---------------------------------------------------------------- due times */

static keep_status check_rules(const kp_due_rules *rules, int64_t next_run_ms, int64_t now_ms,
			       keep_error *err)
{
	if (rules->missed == KP_MISSED_RUN_ALL &&
	    (rules->run_all_max < 1 || rules->run_all_max > KP_DUE_RUNS_MAX))
		return kp_fail(err, KEEP_INVALID, "run_all up to %u runs: 1 to %d are possible",
			       rules->run_all_max, KP_DUE_RUNS_MAX);
	if (rules->grace_ms < 0 || rules->on_time_ms < 0)
		return kp_fail(err, KEEP_INVALID, "a grace below 0");
	if (next_run_ms < KEEP_TIME_MIN || next_run_ms > KEEP_TIME_MAX || now_ms < KEEP_TIME_MIN ||
	    now_ms > KEEP_TIME_MAX)
		return kp_fail(err, KEEP_INVALID, "a time outside of the years 0001 to 9999");
	return KEEP_OK;
}

/* The due time before `before_ms`: one of the schedule, or at last next_run; false: none. */
static bool find_due_before(const kp_due_rules *rules, int64_t next_run_ms, int64_t before_ms,
			    int64_t *due_ms)
{
	if (before_ms <= next_run_ms)
		return false;
	if (!rules->schedule ||
	    keep_schedule_previous(rules->schedule, before_ms, due_ms, NULL) != KEEP_OK ||
	    *due_ms < next_run_ms)
		*due_ms = next_run_ms;
	return true;
}

/* How old a missed time may be, and still get a run. */
static bool is_in_grace(const kp_due_rules *rules, int64_t due_ms, int64_t now_ms)
{
	return rules->grace_ms == 0 || now_ms - due_ms <= rules->grace_ms;
}

/* Count the due times that are older than the oldest run (or all, until `end_ms`). */
static void count_skipped(const kp_due_rules *rules, int64_t next_run_ms, int64_t end_ms,
			  kp_due_plan *out)
{
	int64_t due_ms = next_run_ms, last_ms;

	if (!find_due_before(rules, next_run_ms, end_ms, &last_ms))
		return;
	out->skipped.first_ms = next_run_ms;
	out->skipped.last_ms = last_ms;
	out->skipped.count = 1;
	while (due_ms < last_ms && out->skipped.count < KP_DUE_COUNT_MAX) {
		if (keep_schedule_next(rules->schedule, due_ms, &due_ms, NULL) != KEEP_OK)
			break;
		out->skipped.count++;
	}
	out->skipped.is_exact = due_ms >= last_ms;
}

/* The times that get a run, oldest first; the rest becomes `skipped`. */
static void choose_runs(const kp_due_rules *rules, int64_t next_run_ms, int64_t now_ms,
			kp_due_plan *out)
{
	int64_t on_time_ms = rules->on_time_ms > 0 ? rules->on_time_ms : KP_DUE_ON_TIME_MS;
	size_t runs_max = rules->missed == KP_MISSED_RUN_ALL ? rules->run_all_max : 1;
	int64_t due_ms, before_ms = now_ms + 1;

	while (out->count < runs_max && find_due_before(rules, next_run_ms, before_ms, &due_ms)) {
		bool is_missed = now_ms - due_ms > on_time_ms;

		if (is_missed &&
		    (rules->missed == KP_MISSED_SKIP || !is_in_grace(rules, due_ms, now_ms)))
			break;
		out->runs[out->count++] =
			(kp_due_run){.scheduled_ms = due_ms, .is_missed = is_missed};
		before_ms = due_ms;
	}
	for (size_t i = 0; i < out->count / 2; i++) {
		kp_due_run run = out->runs[i];

		out->runs[i] = out->runs[out->count - 1 - i];
		out->runs[out->count - 1 - i] = run;
	}
	count_skipped(rules, next_run_ms, before_ms, out);
}

static void judge_runs(const kp_due_rules *rules, unsigned running, unsigned queued,
		       kp_due_plan *out)
{
	unsigned queued_max = rules->queued_max > 0 ? rules->queued_max : KP_DUE_RUNS_MAX;

	for (size_t i = 0; i < out->count; i++) {
		kp_due_run *run = &out->runs[i];
		bool is_free = running == 0 && queued == 0 && i == 0;

		if (rules->overlap == KP_OVERLAP_ALLOW || is_free) {
			run->verdict = KP_DUE_START;
		} else if (rules->overlap == KP_OVERLAP_SKIP && (running > 0 || queued > 0)) {
			run->verdict = KP_DUE_SKIP_OVERLAP;
		} else if (rules->overlap == KP_OVERLAP_QUEUE && queued + i >= queued_max) {
			run->verdict = KP_DUE_SKIP_FULL;
		} else {
			run->verdict = KP_DUE_QUEUE;
		}
	}
}

keep_status kp_due_plan_make(const kp_due_rules *rules, int64_t next_run_ms, int64_t now_ms,
			     unsigned running, unsigned queued, kp_due_plan *out, keep_error *err)
{
	keep_status status = check_rules(rules, next_run_ms, now_ms, err);

	*out = (kp_due_plan){.skipped = {.is_exact = true}};
	if (status != KEEP_OK)
		return status;
	if (next_run_ms > now_ms) {
		out->has_next = true;
		out->next_run_ms = next_run_ms;
		return KEEP_OK;
	}
	choose_runs(rules, next_run_ms, now_ms, out);
	judge_runs(rules, running, queued, out);
	if (!rules->schedule)
		return KEEP_OK;
	status = keep_schedule_next(rules->schedule, now_ms, &out->next_run_ms, err);
	out->has_next = status == KEEP_OK;
	/* A series that has come to its end is no failure. */
	return status == KEEP_NOT_FOUND ? KEEP_OK : status;
}

/* ---------------------------------------------------------------- trying again */

static int64_t find_delay(const kp_backoff *backoff, unsigned attempt)
{
	int64_t delay = backoff->first_ms;

	if (backoff->delays_ms && backoff->delays > 0)
		return backoff
			->delays_ms[attempt <= backoff->delays ? attempt - 1 : backoff->delays - 1];
	for (unsigned i = 1; i < attempt && delay < backoff->max_ms && backoff->factor > 1; i++)
		delay = delay > backoff->max_ms / backoff->factor ? backoff->max_ms
								  : delay * backoff->factor;
	return delay < backoff->max_ms ? delay : backoff->max_ms;
}

bool kp_backoff_next(const kp_backoff *backoff, unsigned attempt, int64_t now_ms, uint64_t random,
		     int64_t *retry_ms)
{
	int64_t delay, jitter;

	*retry_ms = 0;
	if (attempt < 1 || attempt >= backoff->attempts_max)
		return false;
	delay = find_delay(backoff, attempt);
	if (delay < 1)
		delay = 1;
	if (delay > KEEP_TIME_MAX - now_ms)
		delay = KEEP_TIME_MAX - now_ms;
	/* Shortened, not lengthened: the longest delay is a promise. */
	jitter =
		delay / 100 * backoff->jitter_percent + delay % 100 * backoff->jitter_percent / 100;
	if (jitter > delay - 1)
		jitter = delay - 1;
	if (jitter > 0)
		delay -= (int64_t)(random % (uint64_t)(jitter + 1));
	*retry_ms = now_ms + delay;
	return true;
}
