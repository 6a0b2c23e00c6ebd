/*
 * backup_manifest.c - what a backup has: manifest.json.
 *
 *     {"format":1,"keep":"0.1.0","label":"","started_at":"…","moment_at":"…","finished_at":"…",
 *      "key_ids":[…],"totals":{"files":2,"databases":1,"bytes":8192},
 *      "folders":[{"path":"gateway","mode":448}],
 *      "files":[{"path":"gateway/messages.db","size":8192,"sha256":"…","kind":"database",
 *                "mode":384,"tables":{"messages":3}}, …],
 *      "sha256":"…"}
 *
 * Invariants:
 *   1. The last member is the SHA-256 of all bytes before it: a manifest with a flipped bit, or one
 *      that was cut, is CORRUPT before anything in it is believed.
 *   2. Paths are relative, have no empty, "." or ".." segment, are sorted, and none is there twice.
 *   3. A later format is TOO_NEW, if its checksum is right.
 *
 * Tests: tests/contract/test_backup_verify.c.
 */
#include "backup/backup_private.h"

#include <fcntl.h>
#include <string.h>

static const char tail_start[] = ",\"sha256\":\"", tail_end[] = "\"}\n";
#define TAIL_BYTES (sizeof tail_start - 1 + KP_HEX_SIZE - 1 + sizeof tail_end - 1)

const char *const kp_item_kind_names[KP_ITEM_KINDS] = {
	[KP_ITEM_FILE] = "file",
	[KP_ITEM_DATABASE] = "database",
	[KP_ITEM_FOLDER] = "folder",
	[KP_ITEM_DAMAGED] = "damaged",
};

/* ---------------------------------------------------------------- writing */

static void put_time(kp_json_writer *writer, const char *name, int64_t time_ms)
{
	char text[KEEP_TIME_TEXT_SIZE] = "";

	kp_json_name(writer, name);
	if (keep_time_format(time_ms, text, NULL) == KEEP_OK)
		kp_json_put_text(writer, keep_bytes_of(text));
	else
		kp_json_put_null(writer);
}

static void put_text(kp_json_writer *writer, const char *name, const char *text)
{
	kp_json_name(writer, name);
	kp_json_put_text(writer, keep_bytes_of(text ? text : ""));
}

static void put_integer(kp_json_writer *writer, const char *name, int64_t value)
{
	kp_json_name(writer, name);
	kp_json_put_integer(writer, value);
}

static void put_head(kp_json_writer *writer, const kp_backup_job *job)
{
	const kp_backup_options *options = job->options;

	put_integer(writer, "format", KP_BACKUP_FORMAT);
	put_text(writer, "keep", keep_version());
	put_text(writer, "label", options->label);
	put_time(writer, "started_at", job->result.started_ms);
	put_time(writer, "moment_at", job->result.moment_ms);
	put_time(writer, "finished_at", job->result.finished_ms);
	kp_json_name(writer, "key_ids");
	kp_json_open_array(writer);
	for (size_t i = 0; i < options->key_id_count; i++)
		kp_json_put_text(writer, keep_bytes_of(options->key_ids[i]));
	kp_json_close_array(writer);
	kp_json_name(writer, "totals");
	kp_json_open_object(writer);
	put_integer(writer, "files", job->result.file_count);
	put_integer(writer, "databases", job->result.database_count);
	put_integer(writer, "bytes", job->result.size_bytes);
	kp_json_close_object(writer);
}

static void put_folders(kp_json_writer *writer, const kp_backup_job *job)
{
	kp_json_name(writer, "folders");
	kp_json_open_array(writer);
	for (size_t i = 0; i < job->count; i++) {
		const kp_item *item = job->items[i];

		if (item->kind != KP_ITEM_FOLDER || item->state != KP_ITEM_COPIED)
			continue;
		kp_json_open_object(writer);
		put_text(writer, "path", item->path);
		put_integer(writer, "mode", item->mode);
		kp_json_close_object(writer);
	}
	kp_json_close_array(writer);
}

static void put_files(kp_json_writer *writer, const kp_backup_job *job)
{
	kp_json_name(writer, "files");
	kp_json_open_array(writer);
	for (size_t i = 0; i < job->count; i++) {
		const kp_item *item = job->items[i];

		if (item->kind == KP_ITEM_FOLDER || item->state != KP_ITEM_COPIED)
			continue;
		kp_json_open_object(writer);
		put_text(writer, "path", item->path);
		put_integer(writer, "size", item->size);
		put_text(writer, "sha256", item->sha256);
		put_text(writer, "kind", kp_item_kind_names[item->kind]);
		put_integer(writer, "mode", item->mode);
		if (item->tables) {
			kp_json_name(writer, "tables");
			kp_json_put_raw(writer, keep_bytes_of(item->tables));
		}
		kp_json_close_object(writer);
	}
	kp_json_close_array(writer);
}

static keep_status hash_text(keep_bytes text, char sha256[KP_HEX_SIZE], keep_error *err)
{
	unsigned char digest[KP_SHA256_SIZE];
	keep_status status = kp_sha256(text, digest, err);

	if (status == KEEP_OK)
		kp_hex_format((keep_bytes){(const char *)digest, sizeof digest}, sha256);
	return status;
}

static keep_status format_manifest(const kp_backup_job *job, keep_buffer *text, keep_error *err)
{
	char sha256[KP_HEX_SIZE];
	kp_json_writer writer;
	keep_status status;

	kp_json_begin(&writer, text);
	kp_json_open_object(&writer);
	put_head(&writer, job);
	put_folders(&writer, job);
	put_files(&writer, job);
	kp_json_close_object(&writer);
	status = kp_json_finish(&writer, err);
	if (status != KEEP_OK)
		return status;
	text->len--; /* the brace: the tail has it */
	status = hash_text(kp_buffer_bytes(text), sha256, err);
	if (status == KEEP_OK)
		status = kp_buffer_append_format(text, err, "%s%s%s", tail_start, sha256, tail_end);
	return status;
}

keep_status kp_manifest_write(kp_backup_job *job, int folder, keep_error *err)
{
	keep_buffer text = KEEP_BUFFER_INIT;
	int fd = -1;
	keep_status status = format_manifest(job, &text, err);

	if (status == KEEP_OK)
		status = kp_file_open(folder, KP_BACKUP_MANIFEST,
				      O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600, &fd, err);
	if (status == KEEP_OK)
		status = kp_file_append(fd, kp_buffer_bytes(&text), err);
	if (status == KEEP_OK)
		status = kp_file_sync(fd, err);
	kp_file_close(&fd);
	keep_buffer_release(&text);
	return status;
}

/* ---------------------------------------------------------------- reading */

static keep_status fail_form(keep_error *err, const char *what)
{
	return kp_fail(err, KEEP_CORRUPT, KP_BACKUP_MANIFEST ": %s", what);
}

static keep_status check_sum(keep_bytes text, keep_error *err)
{
	char sha256[KP_HEX_SIZE];
	const char *tail = text.data + text.len - TAIL_BYTES;
	keep_status status;

	if (text.len < TAIL_BYTES || memcmp(tail, tail_start, sizeof tail_start - 1) != 0 ||
	    memcmp(text.data + text.len - (sizeof tail_end - 1), tail_end, sizeof tail_end - 1) !=
		    0)
		return fail_form(err, "its end is missing");
	status = hash_text((keep_bytes){text.data, text.len - TAIL_BYTES}, sha256, err);
	if (status == KEEP_OK && memcmp(tail + sizeof tail_start - 1, sha256, KP_HEX_SIZE - 1) != 0)
		return fail_form(err, "it is not what was written: its checksum is another");
	return status;
}

static keep_status get_text(const kp_json *object, const char *name, kp_arena *arena,
			    const char **out, keep_error *err)
{
	const kp_json *member = kp_json_member(object, name);
	keep_bytes copy = {.data = NULL};
	keep_status status;

	if (!member || member->kind != KP_JSON_TEXT || !kp_text_is_storable(member->text))
		return kp_fail(err, KEEP_CORRUPT, KP_BACKUP_MANIFEST ": something has no %s", name);
	status = kp_arena_copy(arena, member->text, &copy, err);
	if (status == KEEP_OK)
		*out = copy.data;
	return status;
}

static bool get_integer(const kp_json *object, const char *name, int64_t *out)
{
	const kp_json *member = kp_json_member(object, name);

	if (!member || member->kind != KP_JSON_INTEGER || member->integer < 0)
		return false;
	*out = member->integer;
	return true;
}

static void get_time(const kp_json *object, const char *name, int64_t *out)
{
	const kp_json *member = kp_json_member(object, name);

	*out = 0;
	if (member && member->kind == KP_JSON_TEXT &&
	    keep_time_parse(member->text, out, NULL) != KEEP_OK)
		*out = 0;
}

/* Invariant 2, of one. */
static bool is_safe(const char *path)
{
	if (strlen(path) >= PATH_MAX)
		return false;
	for (const char *at = path;; at++) {
		size_t len = strcspn(at, "/");

		if (len == 0 || (len == 1 && at[0] == '.') ||
		    (len == 2 && memcmp(at, "..", 2) == 0))
			return false;
		at += len;
		if (*at == '\0')
			return true;
	}
}

static bool get_kind(const char *name, kp_item_kind *out)
{
	for (size_t i = 0; i < KP_ITEM_KINDS; i++) {
		if (i == KP_ITEM_FOLDER || strcmp(name, kp_item_kind_names[i]) != 0)
			continue;
		*out = (kp_item_kind)i;
		return true;
	}
	return false;
}

static keep_status read_file(const kp_json *json, kp_manifest *out, kp_manifest_file *file,
			     keep_error *err)
{
	const kp_json *tables = kp_json_member(json, "tables");
	const char *kind = "";
	keep_bytes copy = {.data = ""};
	int64_t mode = 0;
	keep_status status = get_text(json, "path", &out->arena, &file->path, err);

	if (status == KEEP_OK)
		status = get_text(json, "sha256", &out->arena, &file->sha256, err);
	if (status == KEEP_OK)
		status = get_text(json, "kind", &out->arena, &kind, err);
	if (status == KEEP_OK && tables)
		status = kp_arena_copy(&out->arena, tables->raw, &copy, err);
	if (status != KEEP_OK)
		return status;
	if (!is_safe(file->path) || !get_kind(kind, &file->kind) ||
	    !get_integer(json, "size", &file->size) || !get_integer(json, "mode", &mode))
		return fail_form(err, "it has a file that is not described rightly");
	file->tables = copy.data;
	file->mode = (unsigned)mode & 07777;
	out->size_bytes += file->size;
	out->database_count += file->kind == KP_ITEM_DATABASE;
	return KEEP_OK;
}

static keep_status read_files(const kp_json *json, kp_manifest *out, keep_error *err)
{
	const kp_json *files = kp_json_member(json, "files");
	keep_status status = KEEP_OK;

	if (!files || files->kind != KP_JSON_ARRAY || files->list.count > KP_BACKUP_FILES_MAX)
		return fail_form(err, "it has no list of files");
	out->files = kp_arena_alloc(&out->arena, (files->list.count + 1) * sizeof *out->files);
	if (!out->files)
		return kp_fail_memory(err, "a manifest");
	for (size_t i = 0; i < files->list.count && status == KEEP_OK; i++) {
		out->files[i] = (kp_manifest_file){.path = NULL};
		status = read_file(&files->list.items[i], out, &out->files[i], err);
		if (status == KEEP_OK && i > 0 &&
		    strcmp(out->files[i - 1].path, out->files[i].path) >= 0)
			status = fail_form(err, "its files are not in order");
	}
	out->count = files->list.count;
	return status;
}

static keep_status read_folders(const kp_json *json, kp_manifest *out, keep_error *err)
{
	const kp_json *folders = kp_json_member(json, "folders");
	keep_status status = KEEP_OK;

	if (!folders || folders->kind != KP_JSON_ARRAY || folders->list.count > KP_BACKUP_FILES_MAX)
		return fail_form(err, "it has no list of folders");
	out->folders =
		kp_arena_alloc(&out->arena, (folders->list.count + 1) * sizeof *out->folders);
	if (!out->folders)
		return kp_fail_memory(err, "a manifest");
	for (size_t i = 0; i < folders->list.count && status == KEEP_OK; i++) {
		kp_manifest_folder *folder = &out->folders[i];
		int64_t mode = 0;

		status = get_text(&folders->list.items[i], "path", &out->arena, &folder->path, err);
		if (status == KEEP_OK && (!is_safe(folder->path) ||
					  !get_integer(&folders->list.items[i], "mode", &mode)))
			status = fail_form(err, "it has a folder that is not described rightly");
		folder->mode = (unsigned)mode & 07777;
	}
	out->folder_count = folders->list.count;
	return status;
}

static keep_status read_all(const kp_json *json, kp_manifest *out, keep_error *err)
{
	int64_t format = 0;
	keep_status status;

	if (!get_integer(json, "format", &format) || format < 1)
		return fail_form(err, "it has no format number");
	if (format > KP_BACKUP_FORMAT)
		return kp_fail(err, KEEP_TOO_NEW, "a backup of format %lld, this Keep knows %d",
			       (long long)format, KP_BACKUP_FORMAT);
	status = get_text(json, "label", &out->arena, &out->label, err);
	if (status == KEEP_OK)
		status = get_text(json, "keep", &out->arena, &out->version, err);
	if (status != KEEP_OK)
		return status;
	get_time(json, "started_at", &out->started_ms);
	get_time(json, "moment_at", &out->moment_ms);
	get_time(json, "finished_at", &out->finished_ms);
	status = read_folders(json, out, err);
	return status == KEEP_OK ? read_files(json, out, err) : status;
}

keep_status kp_manifest_read(int folder, kp_manifest *out, keep_error *err)
{
	const kp_json *json = NULL;
	kp_arena arena = {.head = NULL};
	int fd = -1;
	keep_status status =
		kp_file_open(folder, KP_BACKUP_MANIFEST, O_RDONLY | O_NOFOLLOW, 0, &fd, err);

	*out = (kp_manifest){.label = "", .version = ""};
	if (status == KEEP_NOT_FOUND)
		status = kp_fail(err, KEEP_CORRUPT, "there is no " KP_BACKUP_MANIFEST);
	if (status == KEEP_OK)
		status = kp_file_read_all(fd, KP_BACKUP_MANIFEST_BYTES_MAX, &out->text, err);
	kp_file_close(&fd);
	if (status == KEEP_OK)
		status = check_sum(kp_buffer_bytes(&out->text), err);
	if (status == KEEP_OK) {
		status = kp_json_parse(kp_buffer_bytes(&out->text), &arena, &json, err);
		if (status == KEEP_INVALID)
			status = fail_form(err, "it is no JSON");
	}
	if (status == KEEP_OK)
		status = read_all(json, out, err);
	kp_arena_release(&arena);
	if (status != KEEP_OK)
		kp_manifest_release(out);
	return status;
}

void kp_manifest_release(kp_manifest *manifest)
{
	kp_arena_release(&manifest->arena);
	keep_buffer_release(&manifest->text);
	*manifest = (kp_manifest){.label = "", .version = ""};
}
