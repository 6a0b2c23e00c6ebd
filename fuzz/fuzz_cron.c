/*
 * What is no expression is refused with a message. An accepted one has next and previous times that
 * end, agree with each other and with matches, and it can be said in words.
 *
 * The input's first byte chooses dialect, seconds and zone, the next two the time; the rest is the
 * expression.
 */
#include "core/core.h"

#include "keep/schedule.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
	if (!condition)
		abort();
}

static void check_times(const keep_schedule *schedule, int64_t from)
{
	int64_t next, back, between;
	keep_status status;

	for (int i = 0; i < 4; i++) {
		status = keep_schedule_next(schedule, from, &next, NULL);
		if (status == KEEP_NOT_FOUND)
			break;
		require(status == KEEP_OK && next > from);
		require(keep_schedule_matches(schedule, next));
		require(keep_schedule_next(schedule, next - 1, &between, NULL) == KEEP_OK);
		require(between == next);
		/* Nothing lies between: backwards from the next time leads to `from` or before. */
		status = keep_schedule_previous(schedule, next, &back, NULL);
		require(status == KEEP_NOT_FOUND || (status == KEEP_OK && back <= from));
		require(keep_schedule_previous(schedule, next + 1, &back, NULL) == KEEP_OK);
		require(back == next);
		from = next;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const zones[] = {"UTC", "Europe/Brussels", "Australia/Lord_Howe",
					    "Pacific/Apia"};
	keep_schedule_options options = KEEP_SCHEDULE_OPTIONS_INIT;
	keep_schedule *schedule = NULL;
	keep_buffer words = KEEP_BUFFER_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_status status;
	int64_t from;

	if (size < 3)
		return 0;
	options.dialect = (keep_dialect)(data[0] & 3);
	options.seconds = (data[0] & 4) != 0;
	options.zone = zones[data[0] >> 3 & 3];
	from = INT64_C(1262304000000) + ((int64_t)data[1] << 8 | data[2]) * INT64_C(43200000);
	status = keep_schedule_parse((keep_bytes){(const char *)data + 3, size - 3}, &options,
				     &schedule, &err);
	if (status != KEEP_OK) {
		require(status == KEEP_INVALID && err.message[0] != '\0' && !schedule);
		return 0;
	}
	check_times(schedule, from);
	require(keep_schedule_describe(schedule, &words, &err) == KEEP_OK && words.len > 0);
	keep_buffer_release(&words);
	keep_schedule_close(&schedule);
	return 0;
}
