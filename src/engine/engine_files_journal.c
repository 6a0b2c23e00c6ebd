/*
 * engine_files_journal.c - the journal of a batch, and what is done about killed writers.
 *
 * .keep/journal exists while a batch is committed but not known to be wholly applied and durable.
 * It is written under a temporary name, synced and renamed. Its steps are done again from the start
 * after a crash, and each can tell whether it was done before:
 *
 *     a removal is done when its folder is in the trash under the journal's name for it
 *     a put is done when its temporary is gone
 *
 * Invariants:
 *   1. Who applies a journal holds the writers' lock.
 *   2. Trash and temporaries of a journal are not deleted while it exists: their names begin with
 *      "j" (trash), or their opener is the journal's (temporaries, which the sweep leaves alone
 *      while there is a journal).
 *   3. A journal that is cut short or damaged was not synced (relaxed, and the machine crashed): it
 *      is dropped. One that was synced and still fails its digest is CORRUPT, and the store is not
 *      touched until somebody has looked at it.
 *
 * Tests: tests/unit/test_engine_files.c, tests/crash/test_engine_files_moments.c.
 */
#include "engine/engine_files.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define MAGIC "keepjrn"
#define VERSION 1
#define JOURNAL "journal"
#define JOURNAL_BYTES_MAX ((size_t)256 << 20)
#define SYNC_EACH_MAX 8

typedef struct header {
	char magic[8];
	uint32_t version;
	uint32_t synced; /* it was synced before it got its name */
	uint64_t size;   /* of the whole file */
	uint64_t count;
	unsigned char digest[KP_SHA256_SIZE]; /* of what follows */
} header;

typedef struct step_head {
	uint32_t path_len;
	uint16_t name_len;
	uint16_t is_removal;
	int64_t mtime;
} step_head;

/* ---------------------------------------------------------------- writing */

static keep_status encode(kp_files *files, const kp_files_step *steps, size_t count,
			  keep_buffer *out, keep_error *err)
{
	header head = {.magic = MAGIC, .version = VERSION, .count = count};
	keep_status status = kp_buffer_append(out, (keep_bytes){(char *)&head, sizeof head}, err);

	for (size_t i = 0; status == KEEP_OK && i < count; i++) {
		const kp_files_step *step = &steps[i];
		step_head item = {
			.path_len = (uint32_t)step->path.len,
			.name_len = (uint16_t)strlen(step->name),
			.is_removal = step->is_removal,
			.mtime = step->mtime,
		};

		status = kp_buffer_append(out, (keep_bytes){(char *)&item, sizeof item}, err);
		if (status == KEEP_OK)
			status = kp_buffer_append(out, keep_bytes_of(step->name), err);
		if (status == KEEP_OK)
			status = kp_buffer_append(out, step->path, err);
	}
	if (status != KEEP_OK)
		return status;
	head.synced = !files->relaxed;
	head.size = out->len;
	status = kp_sha256((keep_bytes){out->data + sizeof head, out->len - sizeof head},
			   head.digest, err);
	memcpy(out->data, &head, sizeof head);
	return status;
}

keep_status kp_files_journal_write(kp_files *files, const kp_files_step *steps, size_t count,
				   keep_error *err)
{
	char temp[KP_FILES_TEMP_NAME_MAX];
	keep_buffer bytes = KEEP_BUFFER_INIT;
	bool is_named = false;
	int fd = -1;
	keep_status status = encode(files, steps, count, &bytes, err);

	kp_files_own_name(files, temp);
	if (status == KEEP_OK)
		status =
			kp_file_open(files->tmp, temp, O_WRONLY | O_CREAT | O_EXCL, 0600, &fd, err);
	if (status == KEEP_OK)
		status = kp_file_append(fd, kp_buffer_bytes(&bytes), err);
	if (status == KEEP_OK && !files->relaxed)
		status = kp_file_sync(fd, err);
	kp_moment("engine_files.journal_synced");
	if (status == KEEP_OK) {
		status = kp_file_rename(files->tmp, temp, files->keep, JOURNAL, err);
		is_named = status == KEEP_OK;
	}
	kp_moment("engine_files.journal_renamed");
	if (status == KEEP_OK && !files->relaxed)
		status = kp_file_sync(files->keep, err);
	if (status != KEEP_OK && fd >= 0) {
		/* Named but not known to be durable: take it back, or admit that we cannot. */
		if (unlinkat(is_named ? files->keep : files->tmp, is_named ? JOURNAL : temp, 0) !=
			    0 &&
		    is_named) {
			err->status = KEEP_UNCERTAIN;
			status = kp_prefix(err, KEEP_UNCERTAIN, "a journal was left behind");
		}
	}
	kp_file_close(&fd);
	keep_buffer_release(&bytes);
	return status;
}

keep_status kp_files_journal_remove(kp_files *files, keep_error *err)
{
	keep_status status = kp_file_unlink(files->keep, JOURNAL, 0, err);

	if (status == KEEP_NOT_FOUND)
		status = KEEP_OK;
	if (status == KEEP_OK && !files->relaxed)
		status = kp_file_sync(files->keep, err);
	kp_moment("engine_files.journal_removed");
	return status;
}

/* ---------------------------------------------------------------- applying */

keep_status kp_files_holder_open(const kp_files *files, const char *disk, int *fd,
				 const char **name, keep_error *err)
{
	char folder[KP_FILES_PATH_MAX];
	const char *slash = strrchr(disk, '/');
	size_t len = slash ? (size_t)(slash - disk) : 0;
	int failed;

	memcpy(folder, disk, len);
	folder[len] = '\0';
	*name = slash ? slash + 1 : disk;
	failed = kp_files_open_at(files, files->base, folder, O_RDONLY | O_DIRECTORY, fd);
	if (failed == ENOENT || failed == ENOTDIR)
		return kp_fail(err, KEEP_NOT_FOUND, "there is no '%s'", folder);
	return failed ? kp_fail_errno(err, failed, "cannot open '%s'", folder) : KEEP_OK;
}

static keep_status apply_removal(kp_files *files, const kp_files_step *step, keep_error *err)
{
	char disk[KP_FILES_PATH_MAX];
	struct stat about;
	const char *name;
	int fd = -1, failed = kp_files_stat_at(files->trash, step->name, &about);
	keep_status status;

	if (failed != ENOENT)
		return failed ? kp_fail_errno(err, failed, "cannot look into the trash") : KEEP_OK;
	memcpy(disk, step->path.data, step->path.len);
	disk[step->path.len] = '\0';
	status = kp_files_holder_open(files, disk, &fd, &name, err);
	if (status == KEEP_OK)
		status = kp_file_rename(fd, name, files->trash, step->name, err);
	kp_file_close(&fd);
	return status == KEEP_NOT_FOUND ? KEEP_OK : status;
}

static keep_status apply_put(kp_files *files, const kp_files_step *step, keep_error *err)
{
	kp_path path = kp_path_of(step->path);
	int parent = -1, folder = -1, failed;
	struct stat about;
	keep_status status;
	bool is_new;

	failed = kp_files_stat_at(files->tmp, step->name, &about);
	if (failed)
		return failed == ENOENT ? KEEP_OK
					: kp_fail_errno(err, failed, "cannot look at a temporary");
	status = KEEP_OK;
	if (kp_files_mtime(&about) != step->mtime)
		status = kp_files_stamp(files, step->name, step->mtime, err);
	if (status == KEEP_OK)
		status = kp_files_make_parent(files, &path, false, &parent, err);
	if (status == KEEP_OK)
		status = kp_files_make_folder(files, &path, parent, &folder, &is_new, err);
	if (status == KEEP_OK)
		status = kp_file_rename(files->tmp, step->name, folder, KP_FILES_DOCUMENT, err);
	kp_file_close(&folder);
	kp_file_close(&parent);
	return status;
}

keep_status kp_files_step_apply(kp_files *files, const kp_files_step *step, keep_error *err)
{
	return step->is_removal ? apply_removal(files, step, err) : apply_put(files, step, err);
}

static keep_status sync_path(kp_files *files, const char *disk, keep_error *err)
{
	const char *name;
	int fd = -1, child = -1;
	keep_status status = kp_files_holder_open(files, disk, &fd, &name, err);

	if (status == KEEP_OK)
		status = kp_file_sync(fd, err);
	if (status == KEEP_OK &&
	    kp_files_open_at(files, fd, name, O_RDONLY | O_DIRECTORY, &child) == 0)
		status = kp_file_sync(child, err);
	kp_file_close(&child);
	kp_file_close(&fd);
	return status == KEEP_NOT_FOUND ? KEEP_OK : status;
}

keep_status kp_files_steps_sync(kp_files *files, const kp_files_step *steps, size_t count,
				keep_error *err)
{
	char disk[KP_FILES_PATH_MAX];
	keep_status status = KEEP_OK;
	int failed;

	if (count > SYNC_EACH_MAX) {
		failed = kp_files_sync_all(files->base);
		return failed ? kp_fail_errno(err, failed, "cannot sync %s", files->base_path)
			      : KEEP_OK;
	}
	for (size_t i = 0; status == KEEP_OK && i < count; i++) {
		kp_path path = kp_path_of(steps[i].path);

		if (steps[i].is_removal) {
			memcpy(disk, steps[i].path.data, steps[i].path.len);
			disk[steps[i].path.len] = '\0';
			status = sync_path(files, disk, err);
			continue;
		}
		/* The batch may have made any of the ancestors. */
		for (; status == KEEP_OK && path.depth > 0; path = kp_path_parent(&path)) {
			status = kp_files_disk_path(files, path.text, disk, err);
			if (status == KEEP_OK)
				status = sync_path(files, disk, err);
		}
	}
	return status;
}

/* ---------------------------------------------------------------- recovery */

/* The next step of a journal's bytes. */
static bool decode(keep_bytes *rest, kp_files_step *step)
{
	step_head item;

	if (rest->len < sizeof item)
		return false;
	memcpy(&item, rest->data, sizeof item);
	rest->data += sizeof item;
	rest->len -= sizeof item;
	if (item.name_len >= sizeof step->name || item.path_len >= KP_FILES_PATH_MAX ||
	    rest->len < (size_t)item.name_len + item.path_len)
		return false;
	*step = (kp_files_step){.is_removal = item.is_removal != 0, .mtime = item.mtime};
	memcpy(step->name, rest->data, item.name_len);
	step->path = (keep_bytes){rest->data + item.name_len, item.path_len};
	rest->data += item.name_len + item.path_len;
	rest->len -= item.name_len + item.path_len;
	return true;
}

/* OK: whole. NOT_FOUND: never synced, to be dropped. CORRUPT, TOO_NEW: to be looked at. */
static keep_status check_journal(keep_bytes bytes, header *head, keep_error *err)
{
	unsigned char digest[KP_SHA256_SIZE];
	keep_status status;

	if (bytes.len < sizeof *head)
		return KEEP_NOT_FOUND;
	memcpy(head, bytes.data, sizeof *head);
	if (memcmp(head->magic, MAGIC, sizeof MAGIC) != 0)
		return KEEP_NOT_FOUND;
	if (head->version > VERSION)
		return kp_fail(err, KEEP_TOO_NEW, "a newer Keep left a journal");
	if (head->size != bytes.len)
		return KEEP_NOT_FOUND;
	status = kp_sha256((keep_bytes){bytes.data + sizeof *head, bytes.len - sizeof *head},
			   digest, err);
	if (status != KEEP_OK || memcmp(digest, head->digest, sizeof digest) == 0)
		return status;
	return head->synced ? kp_fail(err, KEEP_CORRUPT, "the journal fails its digest")
			    : KEEP_NOT_FOUND;
}

static keep_status roll_forward(kp_files *files, keep_bytes bytes, const header *head,
				keep_error *err)
{
	keep_bytes rest = {bytes.data + sizeof *head, bytes.len - sizeof *head};
	keep_status status = KEEP_OK;
	kp_files_step step;
	int failed;

	for (uint64_t i = 0; status == KEEP_OK && i < head->count; i++) {
		if (!decode(&rest, &step))
			return kp_fail(err, KEEP_CORRUPT, "the journal's step %llu is damaged",
				       (unsigned long long)i);
		status = kp_files_step_apply(files, &step, err);
		kp_moment("engine_files.recovered_step");
	}
	if (status == KEEP_OK && head->synced) {
		failed = kp_files_sync_all(files->base);
		if (failed)
			status = kp_fail_errno(err, failed, "cannot sync %s", files->base_path);
	}
	return status;
}

keep_status kp_files_recover(kp_files *files, keep_error *err)
{
	keep_buffer bytes = KEEP_BUFFER_INIT;
	header head = {.count = 0};
	keep_status status;
	int fd = -1;
	int failed = kp_files_open_at(files, files->keep, JOURNAL, O_RDONLY | O_NONBLOCK, &fd);

	if (failed == ENOENT)
		return KEEP_OK;
	if (failed)
		return kp_fail_errno(err, failed, "cannot open the journal of %s",
				     files->base_path);
	status = kp_file_read_all(fd, JOURNAL_BYTES_MAX, &bytes, err);
	kp_file_close(&fd);
	if (status == KEEP_OK) {
		status = check_journal(kp_buffer_bytes(&bytes), &head, err);
		if (status == KEEP_OK)
			status = roll_forward(files, kp_buffer_bytes(&bytes), &head, err);
		else if (status == KEEP_NOT_FOUND)
			status = KEEP_OK;
	}
	if (status == KEEP_OK)
		status = kp_files_journal_remove(files, err);
	keep_buffer_release(&bytes);
	return status == KEEP_OK ? status : kp_prefix(err, status, "%s", files->base_path);
}
