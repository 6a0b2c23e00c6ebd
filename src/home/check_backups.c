/*
 * check_backups.c - the backups in a home's folder: their manifests, and every byte of them.
 *
 * Invariants:
 *   1. Nothing is mended: a backup is never changed. One that is not good is named, with the first
 *      files that are at fault.
 *   2. One that is being made, or removed by rotation meanwhile, is no finding.
 *
 * Tests: tests/contract/test_home_check.c.
 */
#include "home/check_private.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

struct verifying {
	kp_home_check *check;
	const char *name;
	char file[PATH_MAX];
	bool is_told;
	keep_status status; /* of telling */
	keep_error why;
};

static void take_damaged(void *ctx, const char *path, const char *why)
{
	struct verifying *verifying = ctx;
	kp_complaint found = {.severity = KEEP_SEVERITY_DAMAGE,
			      .kind = "damaged_backup",
			      .file = verifying->file};

	if (verifying->status != KEEP_OK)
		return;
	verifying->is_told = true;
	(void)snprintf(verifying->file, sizeof verifying->file, KP_BACKUP_FOLDER "/%s/%s",
		       verifying->name, path);
	verifying->status = kp_check_found(verifying->check, &found, &verifying->why, "%s", why);
}

static void take_bytes(void *ctx, int64_t done_bytes, int64_t all_bytes)
{
	struct verifying *verifying = ctx;

	(void)done_bytes, (void)all_bytes;
	if (verifying->status == KEEP_OK)
		verifying->status =
			kp_check_tell(verifying->check, verifying->name, 0, &verifying->why);
}

static keep_status verify(kp_home_check *check, const char *name, keep_error *err)
{
	struct verifying verifying = {.check = check, .name = name};
	const kp_backup_verify_options options = {
		.damaged = take_damaged,
		.damaged_ctx = &verifying,
		.progress = take_bytes,
		.progress_ctx = &verifying,
		.cancelled = (const _Atomic int *)(uintptr_t)check->options.cancelled,
	};
	kp_complaint found = {.severity = KEEP_SEVERITY_DAMAGE, .kind = "damaged_backup"};
	char below[PATH_MAX], path[PATH_MAX];
	keep_error why = KEEP_ERROR_INIT;
	bool exists = true;
	keep_status status;

	if (snprintf(below, sizeof below, KP_BACKUP_FOLDER "/%s", name) >= (int)sizeof below)
		return KEEP_OK;
	kp_check_enter(check, "backups", KP_BACKUP_FOLDER);
	found.file = below;
	status = kp_check_path(check, below, path, err);
	if (status == KEEP_OK)
		status = kp_backup_verify(path, &options, &why);
	if (verifying.status != KEEP_OK)
		return kp_fail(err, verifying.status, "%s", verifying.why.message);
	if (status == KEEP_OK || (verifying.is_told && status == KEEP_CORRUPT))
		return KEEP_OK;
	/* Invariant 2. */
	if (kp_check_exists(check, below, &exists, err) == KEEP_OK && !exists)
		return KEEP_OK;
	return kp_check_failed(check, &found, status, &why, err);
}

static keep_status look_at_one(kp_home_check *check, const kp_backup_entry *entry, keep_error *err)
{
	char below[PATH_MAX];
	kp_complaint found = {
		.severity = KEEP_SEVERITY_DAMAGE, .kind = "damaged_backup", .file = below};

	if (!check->options.quick)
		return verify(check, entry->name, err);
	if (entry->is_good)
		return KEEP_OK;
	(void)snprintf(below, sizeof below, KP_BACKUP_FOLDER "/%s", entry->name);
	kp_check_enter(check, "backups", KP_BACKUP_FOLDER);
	return kp_check_found(check, &found, err, "%s", entry->why);
}

keep_status kp_check_backups(kp_home_check *check, keep_error *err)
{
	kp_backup_entries entries = {.items = NULL};
	kp_complaint found = {.severity = KEEP_SEVERITY_DAMAGE, .kind = "damaged_backup"};
	keep_error why = KEEP_ERROR_INIT;
	keep_status status;

	if (check->is_server)
		return KEEP_OK;
	kp_check_enter(check, "backups", KP_BACKUP_FOLDER);
	check->result->files--;
	status = kp_backup_list(check->folder, &entries, &why);
	if (status != KEEP_OK)
		status = kp_check_failed(check, &found, status, &why, err);
	for (size_t i = 0; i < entries.count && status == KEEP_OK; i++)
		status = look_at_one(check, &entries.items[i], err);
	kp_backup_entries_release(&entries);
	return status;
}
