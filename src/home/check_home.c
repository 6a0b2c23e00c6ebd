/*
 * check_home.c - keep_home_check: is a home whole?
 *
 * The home's own files first, then store by store, then the backups. What is found is listed
 * (check_findings.c); the check goes on behind it.
 *
 * Invariants:
 *   1. Nothing is changed without `repair`, but for what reading a database leaves beside it.
 *   2. Others may work with the home. What they change while it is read is no finding: a database
 *      is read in one transaction, and what two files say of each other is asked again.
 *   3. A repair changes what is derived, and leases that nobody has any more; in each store by a
 *      transaction of its own, so that killed at any moment it has done all of a thing or nothing.
 *
 * What it does not do: mend damage. A backup does (keep restore).
 *
 * Tests: tests/contract/test_home_check.c, tests/torture/test_home_check_faults.c,
 * tests/cli/test_cli_check.py, tests/cli/test_cli_check_damage.py.
 */
#include "home/check_private.h"
#include "keep/operations.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

/* ---------------------------------------------------------------- what the home is */

/* Without a home.json it is one that has lost it, when something of a home is there. */
static keep_status is_home(const kp_home_check *check, keep_error *err)
{
	static const char *const traces[] = {"home.json",           "vault.key",
					     KP_HOME_STORES_FILE,   "gateway/messages.db",
					     "mailbox/registry.db", "assistant/assistant.db",
					     "engine/default.db"};
	keep_status status = KEEP_OK;
	bool exists = false;

	for (size_t i = 0; i < KP_COUNT(traces) && status == KEEP_OK && !exists; i++)
		status = kp_check_exists(check, traces[i], &exists, err);
	if (status == KEEP_OK && !exists)
		status = kp_fail(err, KEEP_NOT_FOUND, "%s: no home there; make one with: keep init",
				 check->home);
	return status;
}

static keep_status open_folder(kp_home_check *check, keep_error *err)
{
	keep_status status =
		kp_file_open(AT_FDCWD, check->home, O_RDONLY | O_DIRECTORY, 0, &check->fd, err);

	if (status == KEEP_NOT_FOUND)
		return kp_fail(err, status, "%s: no home there; make one with: keep init",
			       check->home);
	if (status == KEEP_OK && !realpath(check->home, check->folder))
		status = kp_fail_errno(err, errno, "%s", check->home);
	return status == KEEP_OK ? is_home(check, err) : status;
}

static keep_status open_server(kp_home_check *check, keep_error *err)
{
	kp_postgres_url parts = {.conninfo = NULL};
	keep_status status;

	if (strstr(check->home, "?schema=") || strstr(check->home, "&schema=") ||
	    strstr(check->home, "?namespace=") || strstr(check->home, "&namespace="))
		return kp_fail(err, KEEP_INVALID,
			       "check: a home's URL has neither schema nor namespace");
	status = kp_postgres_url_read(check->home, "keep", &parts, err);
	if (status != KEEP_OK)
		return status;
	check->conninfo = parts.conninfo;
	parts.conninfo = NULL;
	kp_postgres_url_release(&parts);
	return KEEP_OK;
}

static keep_status open_home(kp_home_check *check, keep_error *err)
{
	check->is_server = kp_home_side_is_server(check->home);
	if (!check->is_server && strncmp(check->home, "sqlite:", 7) == 0)
		return kp_fail(err, KEEP_INVALID, "check: this URL is one store's own");
	return check->is_server ? open_server(check, err) : open_folder(check, err);
}

static void close_home(kp_home_check *check)
{
	kp_free(check->conninfo);
	kp_file_close(&check->fd);
}

/* ---------------------------------------------------------------- the door */

static keep_status check_options(const keep_check_options *options, keep_check_options *out,
				 keep_error *err)
{
	*out = (keep_check_options)KEEP_CHECK_OPTIONS_INIT;
	if (!options)
		return KEEP_OK;
	if (options->size != sizeof *options)
		return kp_fail(err, KEEP_MISUSE, "keep_home_check: options.size is %zu",
			       options->size);
	if (options->timeout_ms < 0)
		return kp_fail(err, KEEP_INVALID, "timeout_ms: is below 0");
	*out = *options;
	return KEEP_OK;
}

static keep_status look_at_all(kp_home_check *check, keep_error *err)
{
	keep_status (*const parts[])(kp_home_check * check, keep_error * err) = {
		kp_check_home_files, kp_check_server,  kp_check_gateway, kp_check_mailbox,
		kp_check_assistant,  kp_check_engines, kp_check_backups};
	keep_status status = KEEP_OK;

	for (size_t i = 0; i < KP_COUNT(parts) && status == KEEP_OK; i++)
		status = parts[i](check, err);
	return status;
}

keep_status keep_home_check(const char *home, const keep_check_options *options,
			    keep_check_result *result, keep_error *err)
{
	kp_home_check *check;
	keep_status status;

	if (!home || !result)
		return kp_fail(err, KEEP_MISUSE, "keep_home_check: an argument is NULL");
	*result = (keep_check_result){.findings = NULL};
	check = kp_alloc_zero(sizeof *check);
	if (!check)
		return kp_fail_memory(err, "a check");
	check->home = home;
	check->fd = -1;
	check->result = result;
	check->now_ms = kp_clock_ms();
	status = check_options(options, &check->options, err);
	if (status == KEEP_OK)
		status = open_home(check, err);
	if (status == KEEP_OK)
		status = look_at_all(check, err);
	close_home(check);
	kp_free(check);
	if (status != KEEP_OK)
		keep_check_result_release(result);
	return status;
}
