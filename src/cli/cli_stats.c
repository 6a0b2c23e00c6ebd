/*
 * cli_stats.c - `keep stats`: what a home has, in numbers.
 *
 * A line for each number, under its store's name; --json gives each as an object on a line. Ages
 * are told beside times.
 *
 * Tests: tests/cli/test_cli_check.py.
 */
#include "cli/cli.h"
#include "keep/home.h"

#include <stdlib.h>
#include <string.h>

static int print_json(const keep_stat *stat)
{
	char time[KEEP_TIME_TEXT_SIZE];
	keep_error err = KEEP_ERROR_INIT;
	keep_buffer line = KEEP_BUFFER_INIT;
	kp_json_writer writer;
	keep_status status = KEEP_OK;

	kp_json_begin(&writer, &line);
	kp_json_open_object(&writer);
	kp_json_name(&writer, "store");
	kp_json_put_text(&writer, stat->store);
	kp_json_name(&writer, "name");
	kp_json_put_text(&writer, stat->name);
	kp_json_name(&writer, "part");
	kp_json_put_text(&writer, stat->part);
	kp_json_name(&writer, "value");
	if (stat->is_time)
		status = keep_time_format(stat->value, time, &err);
	if (stat->is_time && status == KEEP_OK)
		kp_json_put_text(&writer, keep_bytes_of(time));
	else
		kp_json_put_integer(&writer, stat->value);
	kp_json_close_object(&writer);
	if (status == KEEP_OK)
		status = kp_json_finish(&writer, &err);
	if (status == KEEP_OK)
		printf("%s\n", line.data);
	keep_buffer_release(&line);
	return status == KEEP_OK ? CLI_DONE : cli_fail(&err);
}

static void print_age(int64_t time_ms)
{
	int64_t seconds = (kp_clock_ms() - time_ms) / 1000;
	bool is_ahead = seconds < 0;

	seconds = is_ahead ? -seconds : seconds;
	printf(is_ahead ? " (in " : " (");
	if (seconds < 120)
		printf("%lld s", (long long)seconds);
	else if (seconds < 7200)
		printf("%lld min", (long long)(seconds / 60));
	else if (seconds < 172800)
		printf("%lld h", (long long)(seconds / 3600));
	else
		printf("%lld days", (long long)(seconds / 86400));
	printf(is_ahead ? ")" : " ago)");
}

static void print_line(const keep_stat *stat)
{
	char time[KEEP_TIME_TEXT_SIZE] = "?", label[120];

	(void)snprintf(label, sizeof label, "%.*s%s%.*s", (int)stat->name.len, stat->name.data,
		       stat->part.data ? " " : "", (int)stat->part.len,
		       stat->part.data ? stat->part.data : "");
	if (!stat->is_time) {
		printf("  %-44s %12lld\n", label, (long long)stat->value);
		return;
	}
	(void)!keep_time_format(stat->value, time, NULL);
	printf("  %-32s %s", label, time);
	print_age(stat->value);
	printf("\n");
}

int cli_stats_main(int argc, char **argv)
{
	const char *places[1] = {NULL};
	bool is_json = false;
	const cli_option options[] = {{.name = "json", .flag = &is_json}, {.name = NULL}};
	keep_stats_result result = {.items = NULL};
	keep_error err = KEEP_ERROR_INIT;
	keep_bytes store = {NULL, 0};
	const char *home;
	int exit_status = cli_options_read("stats", options, places, 1, argc, argv);

	if (exit_status != CLI_DONE)
		return exit_status;
	home = places[0] ? places[0] : getenv("KEEP_HOME");
	if (!home || !*home)
		return cli_wrong_use("stats", "stats: HOME: missing, and KEEP_HOME is not set");
	if (keep_home_stats(home, NULL, &result, &err) != KEEP_OK)
		return cli_fail(&err);
	for (size_t i = 0; i < result.count && exit_status == CLI_DONE; i++) {
		const keep_stat *stat = &result.items[i];

		if (is_json) {
			exit_status = print_json(stat);
			continue;
		}
		if (!kp_bytes_equal(store, stat->store))
			printf("%.*s\n", (int)stat->store.len, stat->store.data);
		store = stat->store;
		print_line(stat);
	}
	keep_stats_result_release(&result);
	return cli_finish_output(exit_status);
}
