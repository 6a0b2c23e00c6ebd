/* Whatever keep_time_parse accepts is printed, read back the same, and printed the same again. */
#include "core/core.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
	if (!condition)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char text[KEEP_TIME_TEXT_SIZE], again[KEEP_TIME_TEXT_SIZE];
	int64_t first, second;
	keep_error err = KEEP_ERROR_INIT;

	if (keep_time_parse((keep_bytes){(const char *)data, size}, &first, &err) != KEEP_OK) {
		require(err.status == KEEP_INVALID && err.message[0] != '\0');
		return 0;
	}
	require(first >= KEEP_TIME_MIN && first <= KEEP_TIME_MAX);
	require(keep_time_format(first, text, NULL) == KEEP_OK);
	require(strlen(text) == KEEP_TIME_TEXT_SIZE - 1);
	require(keep_time_parse(keep_bytes_of(text), &second, NULL) == KEEP_OK);
	require(first == second);
	require(keep_time_format(second, again, NULL) == KEEP_OK);
	require(strcmp(text, again) == 0);
	return 0;
}
