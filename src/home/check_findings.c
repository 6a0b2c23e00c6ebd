/*
 * check_findings.c - what a check of a home found, in the order in which it did.
 *
 * Invariants:
 *   1. A finding names a place and says what is wrong in one sentence: never content, never a
 *      secret. A key is cut when it is long, and what does not print is shown as '?'.
 *   2. More than findings_max of one kind in one file, and more than LISTED_ALL in all, are counted
 *      and not listed, so that a home full of damage is told in bounded memory.
 *   3. What is wrong with the home is a finding; what keeps the check from going on ends it.
 *
 * Tests: tests/contract/test_home_check.c, tests/torture/test_home_check_faults.c.
 */
#include "home/check_private.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

enum {
	TELL_EVERY = 512,
	KEY_MAX = 200,
	FILE_MAX = 600,
	ROOM_FIRST = 16,
	SENTENCE_MAX = 320,
	LISTED = 100
};
enum { LISTED_ALL = 10000 };

const char *keep_severity_name(keep_severity severity)
{
	switch (severity) {
	case KEEP_SEVERITY_NOTE: return "note";
	case KEEP_SEVERITY_INCONSISTENCY: return "inconsistency";
	case KEEP_SEVERITY_DAMAGE: return "damage";
	}
	return "?";
}

void keep_check_result_release(keep_check_result *result)
{
	if (!result)
		return;
	kp_free(result->findings);
	keep_memory_release(&result->memory);
	*result = (keep_check_result){.findings = NULL};
}

void kp_check_enter(kp_home_check *check, const char *store, const char *file)
{
	check->store = store;
	check->file = file;
	check->kinds_first = check->result->count;
	check->result->files++;
}

/* ---------------------------------------------------------------- adding one */

static size_t count_kind(const kp_home_check *check, const char *kind)
{
	size_t count = 0;

	for (size_t i = check->kinds_first; i < check->result->count; i++)
		count += kp_bytes_equal(check->result->findings[i].kind, keep_bytes_of(kind));
	return count;
}

static keep_status make_room(kp_home_check *check, keep_error *err)
{
	size_t room = check->room ? 2 * check->room : ROOM_FIRST;
	keep_finding *grown;

	if (check->result->count < check->room)
		return KEEP_OK;
	grown = kp_realloc(check->result->findings, room * sizeof *grown);
	if (!grown)
		return kp_fail_memory(err, "what was found");
	check->result->findings = grown;
	check->room = room;
	return KEEP_OK;
}

/* Of a key or a file's name what can be shown: whole characters, one printable line. */
static keep_bytes show_name(keep_bytes key, char *text, size_t max)
{
	size_t len = 0;

	if (!key.data)
		return key;
	while (len < key.len) {
		keep_bytes rest = {key.data + len, key.len - len};
		size_t width = kp_utf8_width(rest);
		bool shows = width && ((unsigned char)*rest.data >= 0x20 && *rest.data != 0x7f);

		if (len + (width ? width : 1) > max)
			break;
		if (shows)
			memcpy(text + len, rest.data, width);
		else
			text[len] = '?';
		len += width ? width : 1;
	}
	text[len] = '\0';
	return (keep_bytes){text, len};
}

static keep_status copy_texts(kp_home_check *check, const kp_complaint *found, const char *sentence,
			      keep_finding *out, keep_error *err)
{
	char key[KEY_MAX + 1], file[FILE_MAX + 1];
	const keep_bytes from[] = {
		keep_bytes_of(check->store),
		show_name(keep_bytes_of(found->file ? found->file : check->file), file, FILE_MAX),
		keep_bytes_of(found->table),
		show_name(found->key, key, KEY_MAX),
		keep_bytes_of(found->kind),
		keep_bytes_of(sentence),
	};
	keep_bytes *const to[] = {&out->store, &out->file, &out->table,
				  &out->key,   &out->kind, &out->sentence};
	keep_status status = KEEP_OK;

	for (size_t i = 0; i < KP_COUNT(from) && status == KEEP_OK; i++)
		status = kp_arena_copy(&check->result->memory, from[i], to[i], err);
	return status;
}

keep_status kp_check_found(kp_home_check *check, const kp_complaint *found, keep_error *err,
			   const char *format, ...)
{
	size_t max = check->options.findings_max ? check->options.findings_max : LISTED;
	keep_finding finding = {.severity = found->severity, .can_repair = found->can_repair};
	char sentence[SENTENCE_MAX];
	keep_status status;
	va_list args;

	if (check->result->count >= LISTED_ALL || count_kind(check, found->kind) >= max) {
		check->result->unlisted++;
		check->unlisted += found->can_repair && found->severity != KEEP_SEVERITY_NOTE;
		check->result->wrong += found->severity != KEEP_SEVERITY_NOTE;
		return KEEP_OK;
	}
	va_start(args, format);
	kp_message_format(sentence, sizeof sentence, format, args);
	va_end(args);
	status = make_room(check, err);
	if (status == KEEP_OK)
		status = copy_texts(check, found, sentence, &finding, err);
	if (status != KEEP_OK)
		return status;
	check->result->findings[check->result->count++] = finding;
	check->result->wrong += found->severity != KEEP_SEVERITY_NOTE;
	return KEEP_OK;
}

void kp_check_next(kp_home_check *check)
{
	check->unlisted = 0;
}

void kp_check_mended(kp_home_check *check, const char *kind, const char *table, size_t from)
{
	for (size_t i = from; i < check->result->count; i++) {
		keep_finding *finding = &check->result->findings[i];

		if (finding->is_repaired || !finding->can_repair ||
		    !kp_bytes_equal(finding->kind, keep_bytes_of(kind)) ||
		    (table && !kp_bytes_equal(finding->table, keep_bytes_of(table))))
			continue;
		finding->is_repaired = true;
		check->result->repaired++;
		check->result->wrong -= finding->severity != KEEP_SEVERITY_NOTE;
	}
	check->result->repaired += check->unlisted;
	check->result->wrong -= check->unlisted;
	check->unlisted = 0;
}

/* ---------------------------------------------------------------- going on */

/* The public headers are read by C++, too, which has no _Atomic. */
static bool is_cancelled(const kp_home_check *check)
{
	const _Atomic int *flag = (const _Atomic int *)(uintptr_t)check->options.cancelled;

	return flag && atomic_load(flag);
}

keep_status kp_check_tell(kp_home_check *check, const char *what, int64_t rows, keep_error *err)
{
	keep_check_progress progress = {.store = check->store, .what = what};

	check->result->rows += rows;
	check->unnoted += rows;
	if (rows && check->unnoted < TELL_EVERY)
		return KEEP_OK;
	check->unnoted = 0;
	progress.rows = check->result->rows;
	if (check->options.progress)
		check->options.progress(check->options.progress_ctx, &progress);
	return is_cancelled(check) ? kp_fail(err, KEEP_BUSY, "check: cancelled") : KEEP_OK;
}

keep_status kp_check_failed(kp_home_check *check, const kp_complaint *found, keep_status status,
			    const keep_error *why, keep_error *err)
{
	switch (status) {
	case KEEP_OK: return KEEP_OK;
	case KEEP_NO_MEMORY:
	case KEEP_MISUSE:
	case KEEP_UNCERTAIN: return kp_fail(err, status, "%s", why->message);
	case KEEP_UNAVAILABLE:
	case KEEP_BUSY:
	case KEEP_FULL:
		/* A file that cannot be read is one; a server that is away has no answer. */
		if (check->is_server || is_cancelled(check))
			return kp_fail(err, status, "%s", why->message);
		break;
	default: break;
	}
	return kp_check_found(check, found, err, "%s", why->message);
}
