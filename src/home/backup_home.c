/*
 * backup_home.c - backups of a home, in its folder and on S3.
 *
 * src/backup knows files; this file knows which of them a home has: which are derived or secret and
 * stay out, which an agent may have damaged, and which keys the rest is encrypted with.
 *
 * A home on a server is first copied into a folder home beside the backups, as of one moment of the
 * server's (keep_transfer), and the backup is made of that.
 *
 * Invariants:
 *   1. vault.key is in no backup.
 *   2. A backup exists when its manifest does, here and on S3: it is written and uploaded last.
 *   3. Rotation never removes the newest good backup, nor one with a label.
 *   4. What can be known to be wrong beforehand (no home, no bucket, no zone) is told before
 * anything is made.
 *
 * Tests: tests/contract/test_backup_home.c, tests/cli/test_cli_backup.py.
 */
#include "backup/backup.h"
#include "backup/s3.h"
#include "home/home_private.h"
#include "keep/backups.h"
#include "keep/operations.h"
#include "vault/vault.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { KEY_IDS_MAX = 64, SAME_SECOND_MAX = 999 };

#define KEY_FILE "vault.key"
#define S3_SCHEME "s3://"

_Static_assert(KP_BACKUP_NAME_SIZE == sizeof((keep_backup_result *)0)->name, "one name");

/* Invariant 1, and what is made again from what is there. */
static const char *const left_out[] = {"/" KEY_FILE, "/" KEY_FILE ".*", "/assistant/*.vectors",
				       "/transfer.json"};

/* The public headers are read by C++, too, which has no _Atomic. */
static const _Atomic int *flag_of(const volatile int *cancelled)
{
	return (const _Atomic int *)(uintptr_t)cancelled;
}

static bool is_s3(const char *place)
{
	return strncmp(place, S3_SCHEME, strlen(S3_SCHEME)) == 0;
}

/* An agent writes it, and an agent is not trusted. */
static bool may_be_damaged(void *ctx, const char *path)
{
	static const char folder[] = "mailbox/sessions/", name[] = "/outbound.db";
	size_t len = strlen(path);

	(void)ctx;
	return strncmp(path, folder, sizeof folder - 1) == 0 && len >= sizeof name &&
	       strcmp(path + len - (sizeof name - 1), name) == 0;
}

/* ---------------------------------------------------------------- making one */

/* Everything that one call holds. */
struct making {
	const char *home;
	keep_backup_options options;
	keep_backup_result *result;
	char ids[KEY_IDS_MAX][KP_KEY_ID_SIZE];
	const char *id_list[KEY_IDS_MAX];
	size_t id_count;
};

/* The names of the keys that restoring needs; none where there are none. */
static keep_status find_key_ids(struct making *making, keep_error *err)
{
	keep_buffer path = KEEP_BUFFER_INIT, keys = KEEP_BUFFER_INIT;
	kp_keyring *ring = NULL;
	const char *file = making->options.key_file;
	keep_status status = KEEP_OK;

	if (!file && !kp_home_side_is_server(making->home)) {
		status = kp_buffer_append_format(&path, err, "%s/" KEY_FILE, making->home);
		file = path.data;
	}
	if (status == KEEP_OK)
		status = kp_keys_find(file, &keys, NULL, err);
	if (status == KEEP_OK)
		status = kp_keyring_open(kp_buffer_bytes(&keys), &ring, err);
	for (size_t i = 0; status == KEEP_OK && i < kp_keyring_count(ring) && i < KEY_IDS_MAX;
	     i++) {
		kp_keyring_id(ring, i, making->ids[i]);
		making->id_list[i] = making->ids[i];
		making->id_count = i + 1;
	}
	kp_keyring_close(&ring);
	kp_secret_release(&keys);
	keep_buffer_release(&path);
	return status == KEEP_NOT_FOUND ? KEEP_OK : status;
}

static keep_status make_in(struct making *making, const char *home, keep_error *err)
{
	kp_backup_result made = {.name = ""};
	const kp_backup_options options = {
		.label = making->options.label,
		.left_out = left_out,
		.left_out_count = KP_COUNT(left_out),
		.key_ids = making->id_list,
		.key_id_count = making->id_count,
		.may_raise_limit = false,
		.may_be_damaged = may_be_damaged,
		.progress = making->options.progress,
		.progress_ctx = making->options.progress_ctx,
		.cancelled = flag_of(making->options.cancelled),
	};
	keep_backup_result *result = making->result;
	keep_status status = kp_backup_make(home, &options, &made, err);

	if (status != KEEP_OK)
		return status;
	memcpy(result->name, made.name, sizeof result->name);
	result->started_ms = made.started_ms;
	result->moment_ms = made.moment_ms;
	result->finished_ms = made.finished_ms;
	result->file_count = made.file_count;
	result->database_count = made.database_count;
	result->size_bytes = made.size_bytes;
	result->damaged_count = made.damaged_count;
	result->held_us = made.held_us;
	return KEEP_OK;
}

/* ---------------------------------------------------------------- of another place */

/* A folder of that name below `to`; there already is fine. */
static keep_status make_folder(const char *to, const char *name, keep_error *err)
{
	keep_buffer path = KEEP_BUFFER_INIT;
	keep_status status = kp_buffer_append_format(&path, err, "%s/%s", to, name);

	if (status == KEEP_OK)
		status = kp_folder_make(AT_FDCWD, path.data, 0700, err);
	keep_buffer_release(&path);
	return status == KEEP_CONFLICT ? KEEP_OK : status;
}

/* Rename one folder to another; one that is there is CONFLICT. */
static keep_status rename_to(const char *from, const char *to, const char *old_name,
			     const char *name, keep_error *err)
{
	keep_buffer old = KEEP_BUFFER_INIT, new = KEEP_BUFFER_INIT;
	keep_status status =
		kp_buffer_append_format(&old, err, "%s/" KP_BACKUP_FOLDER "/%s", from, old_name);

	if (status == KEEP_OK)
		status = kp_buffer_append_format(&new, err, "%s/" KP_BACKUP_FOLDER "/%s", to, name);
	if (status == KEEP_OK)
		status = kp_file_rename(AT_FDCWD, old.data, AT_FDCWD, new.data, err);
	keep_buffer_release(&old);
	keep_buffer_release(&new);
	return status;
}

static keep_status sync_backups(const char *to, keep_error *err)
{
	keep_buffer path = KEEP_BUFFER_INIT;
	int folder = -1;
	keep_status status = kp_buffer_append_format(&path, err, "%s/" KP_BACKUP_FOLDER, to);

	if (status == KEEP_OK)
		status = kp_file_open(AT_FDCWD, path.data, O_RDONLY | O_DIRECTORY, 0, &folder, err);
	if (status == KEEP_OK)
		status = kp_file_sync(folder, err);
	kp_file_close(&folder);
	keep_buffer_release(&path);
	return status;
}

/*
 * Move <from>/backups/<name> to <to>/backups/<name>, or <name>-2, -3 … when there is one of that
 * second; `name` becomes what it is called then. Both are on one file system (check_before).
 */
static keep_status move_backup(const char *from, const char *to, char name[KP_BACKUP_NAME_SIZE],
			       keep_error *err)
{
	char old_name[KP_BACKUP_NAME_SIZE], base[KP_BACKUP_NAME_SIZE];
	keep_status status = kp_folder_make(AT_FDCWD, to, 0700, err);

	(void)snprintf(old_name, sizeof old_name, "%s", name);
	(void)snprintf(base, sizeof base, "%.*s", (int)strcspn(name, "-"), name);
	if (status == KEEP_OK || status == KEEP_CONFLICT)
		status = make_folder(to, KP_BACKUP_FOLDER, err);
	if (status == KEEP_OK)
		status = rename_to(from, to, old_name, name, err);
	for (unsigned n = 2; status == KEEP_CONFLICT && n <= SAME_SECOND_MAX; n++) {
		(void)snprintf(name, KP_BACKUP_NAME_SIZE, "%.20s-%u", base, n);
		status = rename_to(from, to, old_name, name, err);
	}
	return status == KEEP_OK
		       ? sync_backups(to, err)
		       : kp_prefix(err, status, "the backup %s stays in %s", old_name, from);
}

/* A server's home, as a folder home of one moment that goes again afterwards. */
static keep_status make_of_server(struct making *making, keep_error *err)
{
	keep_transfer_options transfer = KEEP_TRANSFER_OPTIONS_INIT;
	keep_transfer_result moved = {.count = 0};
	keep_buffer staging = KEEP_BUFFER_INIT;
	bool is_new;
	keep_status status;

	transfer.cancelled = making->options.cancelled;
	status = kp_folder_make(AT_FDCWD, making->options.to, 0700, err);
	is_new = status == KEEP_OK;
	if (status == KEEP_CONFLICT)
		status = KEEP_OK;
	if (status == KEEP_OK)
		status = kp_buffer_append_format(&staging, err, "%s/.staging", making->options.to);
	/* What a run that was killed left is of an older moment. */
	if (status == KEEP_OK)
		status = kp_folder_remove(AT_FDCWD, staging.data, err);
	if (status == KEEP_OK)
		status = keep_transfer(making->home, staging.data, &transfer, &moved, err);
	keep_transfer_result_release(&moved);
	if (status == KEEP_OK)
		status = make_in(making, staging.data, err);
	if (status == KEEP_OK)
		status = move_backup(staging.data, making->options.to, making->result->name, err);
	if (staging.data && kp_folder_remove(AT_FDCWD, staging.data, NULL) != KEEP_OK)
		kp_log(KEEP_LOG_WARNING, "%s was left behind", staging.data);
	if (status != KEEP_OK && is_new)
		(void)rmdir(making->options.to); /* stays when there is something in it */
	keep_buffer_release(&staging);
	return status;
}

/* ---------------------------------------------------------------- S3 */

static keep_status open_s3(const char *url, const keep_backup_options *options, kp_s3 **s3,
			   keep_error *err)
{
	const kp_s3_options rest = {.cancelled = flag_of(options ? options->cancelled : NULL)};

	return kp_s3_open_url(url, &rest, s3, err);
}

static keep_status upload(struct making *making, const char *holder, keep_error *err)
{
	kp_s3 *s3 = NULL;
	keep_buffer path = KEEP_BUFFER_INIT;
	keep_status status = open_s3(making->options.s3, &making->options, &s3, err);

	if (status == KEEP_OK)
		status = kp_buffer_append_format(&path, err, "%s/" KP_BACKUP_FOLDER "/%s", holder,
						 making->result->name);
	if (status == KEEP_OK)
		status = kp_s3_backup_upload(s3, path.data, making->result->name, err);
	making->result->is_uploaded = status == KEEP_OK;
	kp_s3_close(&s3);
	keep_buffer_release(&path);
	return status == KEEP_OK
		       ? status
		       : kp_prefix(err, status, "the backup %s is made, but was not uploaded",
				   making->result->name);
}

/* ---------------------------------------------------------------- the calls */

static keep_status take_options(const keep_backup_options *given, keep_backup_options *options,
				keep_error *err)
{
	*options = (keep_backup_options)KEEP_BACKUP_OPTIONS_INIT;
	if (given && (given->size < sizeof given->size || given->size > sizeof *options))
		return kp_fail(err, KEEP_MISUSE, "keep_backup_options: size is wrong");
	if (given)
		memcpy(options, given, given->size);
	if (options->daily < 0 || options->weekly < 0 || options->monthly < 0)
		return kp_fail(err, KEEP_INVALID, "daily, weekly, monthly: below 0");
	return KEEP_OK;
}

/* Invariant 4. */
static keep_status check_before(const struct making *making, keep_error *err)
{
	keep_session *session = NULL;
	keep_zone *zone = NULL;
	kp_s3 *s3 = NULL;
	struct stat at_home, at_target;
	bool is_server = kp_home_side_is_server(making->home);
	keep_status status = KEEP_OK;

	if (is_server && !making->options.to)
		return kp_fail(err, KEEP_INVALID,
			       "to: a home on a server needs a folder for its backups");
	if (!is_server)
		status = keep_session_open(making->home, &session, err);
	if (status == KEEP_OK && !is_server && making->options.to &&
	    stat(making->home, &at_home) == 0 && stat(making->options.to, &at_target) == 0 &&
	    at_home.st_dev != at_target.st_dev)
		status = kp_fail(
			err, KEEP_INVALID,
			"to: %s is on another file system than the home: make the backup in "
			"the home, and copy its folder",
			making->options.to);
	if (status == KEEP_OK && making->options.zone)
		status = keep_zone_open(making->options.zone, &zone, err);
	if (status == KEEP_OK && making->options.s3)
		status = open_s3(making->options.s3, &making->options, &s3, err);
	kp_s3_close(&s3);
	keep_zone_close(&zone);
	keep_session_close(&session);
	return status;
}

keep_status keep_backup_make(const char *home, const keep_backup_options *options,
			     keep_backup_result *result, keep_error *err)
{
	struct making making = {.home = home, .result = result};
	const char *holder;
	keep_status status;

	if (!home || !result)
		return kp_fail(err, KEEP_MISUSE, "keep_backup_make: an argument is NULL");
	*result = (keep_backup_result){.name = ""};
	status = take_options(options, &making.options, err);
	if (status == KEEP_OK)
		status = check_before(&making, err);
	if (status == KEEP_OK)
		status = find_key_ids(&making, err);
	if (status != KEEP_OK)
		return status;
	holder = making.options.to ? making.options.to : home;
	if (kp_home_side_is_server(home))
		status = make_of_server(&making, err);
	else
		status = make_in(&making, home, err);
	if (status == KEEP_OK && making.options.to && !kp_home_side_is_server(home))
		status = move_backup(home, holder, result->name, err);
	if (status == KEEP_OK && making.options.s3)
		status = upload(&making, holder, err);
	if (status == KEEP_OK && making.options.rotate)
		status = keep_backup_rotate(holder, options, false, &result->removed_count, err);
	if (status == KEEP_OK && making.options.rotate && making.options.s3)
		status = keep_backup_rotate(making.options.s3, options, false, NULL, err);
	return status;
}

/* ---------------------------------------------------------------- what is there */

static keep_status take_entry(const kp_backup_entry *from, kp_arena *arena, keep_backup_entry *to,
			      keep_error *err)
{
	keep_status status = kp_arena_copy(arena, keep_bytes_of(from->name), &to->name, err);

	if (status == KEEP_OK)
		status = kp_arena_copy(arena, keep_bytes_of(from->label), &to->label, err);
	if (status == KEEP_OK)
		status = kp_arena_copy(arena, keep_bytes_of(from->why), &to->why, err);
	to->is_good = from->is_good;
	to->moment_ms = from->moment_ms;
	to->file_count = from->file_count;
	to->database_count = from->database_count;
	to->size_bytes = from->size_bytes;
	return status;
}

static keep_status find_in_folder(const char *home, keep_memory *memory, keep_backup_list *out,
				  keep_error *err)
{
	kp_backup_entries entries = {.count = 0};
	keep_status status = kp_backup_list(home, &entries, err);

	if (status == KEEP_OK) {
		out->items = kp_arena_alloc(memory, (entries.count + 1) * sizeof *out->items);
		if (!out->items)
			status = kp_fail_memory(err, "backups");
	}
	for (size_t i = 0; i < entries.count && status == KEEP_OK; i++) {
		status = take_entry(&entries.items[i], memory, &out->items[i], err);
		out->count = i + 1;
	}
	kp_backup_entries_release(&entries);
	return status;
}

/* "20260411T171821Z[-n]" is the moment; 0: it is no such name. */
static int64_t moment_of(keep_bytes name)
{
	char text[] = "0000-00-00T00:00:00Z";
	static const unsigned char places[] = {0,  1,  2,  3,  5,  6,  8,  9,
					       10, 11, 12, 14, 15, 17, 18, 19};
	int64_t time_ms = 0;

	if (name.len < sizeof places)
		return 0;
	for (size_t i = 0; i < sizeof places; i++)
		text[places[i]] = name.data[i];
	return keep_time_parse(keep_bytes_of(text), &time_ms, NULL) == KEEP_OK ? time_ms : 0;
}

static keep_status find_on_s3(const char *url, keep_memory *memory, keep_backup_list *out,
			      keep_error *err)
{
	kp_s3 *s3 = NULL;
	kp_s3_backups backups = {.count = 0};
	keep_status status = open_s3(url, NULL, &s3, err);

	if (status == KEEP_OK)
		status = kp_s3_backup_list(s3, &backups, err);
	if (status == KEEP_OK) {
		out->items = kp_arena_alloc(memory, (backups.count + 1) * sizeof *out->items);
		if (!out->items)
			status = kp_fail_memory(err, "backups");
	}
	for (size_t i = 0; i < backups.count && status == KEEP_OK; i++) {
		keep_backup_entry *entry = &out->items[i];

		*entry = (keep_backup_entry){.label = KEEP_BYTES("")};
		status = kp_arena_copy(memory, backups.items[i].name, &entry->name, err);
		entry->is_good = backups.items[i].is_complete;
		entry->why = entry->is_good ? KEEP_BYTES("")
					    : KEEP_BYTES("it was not uploaded to its end");
		entry->moment_ms = moment_of(entry->name);
		out->count = i + 1;
	}
	kp_s3_backups_release(&backups);
	kp_s3_close(&s3);
	return status;
}

keep_status keep_backup_find(const char *place, keep_memory *memory, keep_backup_list *out,
			     keep_error *err)
{
	if (!place || !memory || !out)
		return kp_fail(err, KEEP_MISUSE, "keep_backup_find: an argument is NULL");
	*out = (keep_backup_list){NULL, 0};
	return is_s3(place) ? find_on_s3(place, memory, out, err)
			    : find_in_folder(place, memory, out, err);
}

/* The newest good backup of a list. NOT_FOUND: none. */
static keep_status choose_newest(const keep_backup_list *list, const char *place, keep_bytes *name,
				 keep_error *err)
{
	*name = (keep_bytes){NULL, 0};
	for (size_t i = 0; i < list->count; i++)
		if (list->items[i].is_good)
			*name = list->items[i].name;
	return name->data ? KEEP_OK
			  : kp_fail(err, KEEP_NOT_FOUND, "%s: there is no good backup", place);
}

/* A backup's name becomes part of a path: nothing but what backups are called. */
static keep_status check_name(const char *name, keep_error *err)
{
	size_t len = strlen(name);

	if (len && len < KP_BACKUP_NAME_SIZE && strspn(name, "0123456789TZ-") == len)
		return KEEP_OK;
	return kp_fail(err, KEEP_INVALID, "name: a backup is called as 20260411T171821Z");
}

static keep_status path_of(const char *home, const char *name, keep_buffer *path, keep_error *err)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_backup_list list = {NULL, 0};
	keep_bytes newest = {NULL, 0};
	keep_status status = KEEP_OK;

	if (name)
		status = check_name(name, err);
	else
		status = keep_backup_find(home, &memory, &list, err);
	if (status == KEEP_OK && !name)
		status = choose_newest(&list, home, &newest, err);
	if (status == KEEP_OK)
		status = kp_buffer_append_format(path, err, "%s/" KP_BACKUP_FOLDER "/%s", home,
						 name ? name : newest.data);
	keep_memory_release(&memory);
	return status;
}

keep_status keep_backup_verify(const char *home, const char *name, keep_error *err)
{
	keep_buffer path = KEEP_BUFFER_INIT;
	keep_status status;

	if (!home)
		return kp_fail(err, KEEP_MISUSE, "keep_backup_verify: home is NULL");
	if (is_s3(home))
		return kp_fail(err, KEEP_INVALID,
			       "a backup in a bucket is verified when it is restored: fetch it");
	status = path_of(home, name, &path, err);
	if (status == KEEP_OK)
		status = kp_backup_verify(path.data, NULL, err);
	keep_buffer_release(&path);
	return status;
}

/* ---------------------------------------------------------------- rotation */

static keep_status rotate_folder(const char *home, const keep_backup_options *options, bool dry_run,
				 int64_t *removed, keep_error *err)
{
	const kp_backup_prune_options prune = {
		.rules = {options->daily, options->weekly, options->monthly},
		.zone = options->zone,
		.dry_run = dry_run,
	};

	return kp_backup_prune(home, &prune, removed, err);
}

/* Those that are complete; what was interrupted is no backup and goes when it is older than them.
 */
static keep_status choose_on_s3(const keep_backup_list *list, const keep_backup_options *options,
				bool *keep, keep_error *err)
{
	const kp_backup_rules rules = {options->daily, options->weekly, options->monthly};
	keep_memory memory = KEEP_MEMORY_INIT;
	int64_t *times = kp_arena_alloc(&memory, (list->count + 1) * sizeof *times);
	bool *kept = kp_arena_alloc(&memory, list->count + 1);
	keep_zone *zone = NULL;
	size_t count = 0;
	keep_status status = times && kept ? KEEP_OK : kp_fail_memory(err, "a rotation");

	for (size_t i = 0; i < list->count && status == KEEP_OK; i++)
		if (list->items[i].is_good && list->items[i].moment_ms)
			times[count++] = list->items[i].moment_ms;
	if (status == KEEP_OK)
		status = keep_zone_open(options->zone ? options->zone : "UTC", &zone, err);
	if (status == KEEP_OK && count)
		status = kp_backup_keep(times, count, zone, &rules, kept, err);
	count = 0;
	for (size_t i = 0; i < list->count && status == KEEP_OK; i++)
		keep[i] = !list->items[i].is_good || !list->items[i].moment_ms || kept[count++];
	keep_zone_close(&zone);
	keep_memory_release(&memory);
	return status;
}

static keep_status rotate_s3(const char *url, const keep_backup_options *options, bool dry_run,
			     int64_t *removed, keep_error *err)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_backup_list list = {NULL, 0};
	kp_s3 *s3 = NULL;
	bool *keep = NULL;
	keep_status status = find_on_s3(url, &memory, &list, err);

	if (status == KEEP_OK) {
		keep = kp_arena_alloc(&memory, list.count + 1);
		status = keep ? choose_on_s3(&list, options, keep, err)
			      : kp_fail_memory(err, "a rotation");
	}
	if (status == KEEP_OK)
		status = open_s3(url, options, &s3, err);
	for (size_t i = 0; i < list.count && status == KEEP_OK; i++) {
		if (keep[i])
			continue;
		if (!dry_run)
			status = kp_s3_backup_remove(s3, list.items[i].name.data, err);
		*removed += status == KEEP_OK;
	}
	kp_s3_close(&s3);
	keep_memory_release(&memory);
	return status;
}

keep_status keep_backup_rotate(const char *place, const keep_backup_options *options, bool dry_run,
			       int64_t *removed, keep_error *err)
{
	keep_backup_options given;
	int64_t count = 0;
	keep_status status;

	if (!place)
		return kp_fail(err, KEEP_MISUSE, "keep_backup_rotate: place is NULL");
	status = take_options(options, &given, err);
	if (status != KEEP_OK)
		return status;
	status = is_s3(place) ? rotate_s3(place, &given, dry_run, &count, err)
			      : rotate_folder(place, &given, dry_run, &count, err);
	if (removed)
		*removed = count;
	return status;
}

/* ---------------------------------------------------------------- restoring */

static bool has_file(const char *folder, const char *name)
{
	keep_buffer path = KEEP_BUFFER_INIT;
	struct stat about;
	bool found = kp_buffer_append_format(&path, NULL, "%s/%s", folder, name) == KEEP_OK &&
		     stat(path.data, &about) == 0;

	keep_buffer_release(&path);
	return found;
}

/* Fetch a backup of S3 beside the target; *fetched is where it is now. */
static keep_status fetch(const char *url, const char *target, const keep_restore_options *options,
			 keep_buffer *fetched, keep_error *err)
{
	const kp_s3_options rest = {.cancelled = flag_of(options->cancelled)};
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_backup_list list = {NULL, 0};
	keep_bytes name = keep_bytes_of(options->name);
	kp_s3 *s3 = NULL;
	keep_status status = KEEP_OK;

	if (!name.data)
		status = find_on_s3(url, &memory, &list, err);
	if (status == KEEP_OK && !name.data)
		status = choose_newest(&list, url, &name, err);
	if (status == KEEP_OK)
		status = check_name(name.data, err);
	if (status == KEEP_OK)
		status = kp_buffer_append_format(fetched, err, "%s.fetched-%s", target, name.data);
	if (status == KEEP_OK)
		status = kp_s3_open_url(url, &rest, &s3, err);
	if (status == KEEP_OK)
		status = kp_s3_backup_download(s3, name.data, fetched->data, err);
	/* A restore that was killed fetched it already, whole. */
	if (status == KEEP_CONFLICT)
		status = KEEP_OK;
	kp_s3_close(&s3);
	keep_memory_release(&memory);
	return status;
}

static keep_status restore_folder(const char *backup, const char *target,
				  const keep_restore_options *options, keep_restore_result *result,
				  keep_error *err)
{
	static const char *const carried[] = {KEY_FILE};
	const kp_backup_restore_options given = {
		.over = options->over,
		.force = options->force,
		.carried = carried,
		.carried_count = KP_COUNT(carried),
		.progress = options->progress,
		.progress_ctx = options->progress_ctx,
		.cancelled = flag_of(options->cancelled),
	};
	kp_backup_restore_result made = {.set_aside = ""};
	const char *slash = strrchr(backup, '/');
	keep_status status = kp_backup_restore(backup, target, &given, &made, err);

	if (status != KEEP_OK)
		return status;
	(void)snprintf(result->name, sizeof result->name, "%.31s", slash ? slash + 1 : backup);
	(void)snprintf(result->set_aside, sizeof result->set_aside, "%s", made.set_aside);
	result->file_count = made.file_count;
	result->size_bytes = made.size_bytes;
	result->was_finished = made.was_finished;
	result->has_key = has_file(target, KEY_FILE);
	return KEEP_OK;
}

keep_status keep_restore(const char *from, const char *target, const keep_restore_options *options,
			 keep_restore_result *result, keep_error *err)
{
	keep_restore_options given = KEEP_RESTORE_OPTIONS_INIT;
	keep_restore_result unused;
	keep_buffer path = KEEP_BUFFER_INIT;
	keep_status status = KEEP_OK;

	if (!from || !target)
		return kp_fail(err, KEEP_MISUSE, "keep_restore: an argument is NULL");
	if (options && (options->size < sizeof given.size || options->size > sizeof given))
		return kp_fail(err, KEEP_MISUSE, "keep_restore: options.size is wrong");
	if (options)
		memcpy(&given, options, options->size);
	result = result ? result : &unused;
	*result = (keep_restore_result){.name = ""};
	if (is_s3(from))
		status = fetch(from, target, &given, &path, err);
	else if (has_file(from, KP_BACKUP_MANIFEST))
		status = kp_buffer_append_text(&path, from, err);
	else
		status = path_of(from, given.name, &path, err);
	if (status == KEEP_OK)
		status = restore_folder(path.data, target, &given, result, err);
	if (status == KEEP_OK && is_s3(from) &&
	    kp_folder_remove(AT_FDCWD, path.data, NULL) != KEEP_OK)
		kp_log(KEEP_LOG_WARNING, "%s was left behind", path.data);
	keep_buffer_release(&path);
	return status;
}
