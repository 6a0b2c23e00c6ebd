/*
 * engine_path.c - paths: what a caller wrote, checked and brought to its one normal form.
 *
 * A path comes from the network as often as from a program, so this file is a border: what passes
 * may be handed to a file system, a Redis key or SQL without a second look at its shape.
 *
 * Invariants of a path that was parsed:
 *   1. Its text has no leading, trailing or double '/', no zero byte, and is valid UTF-8.
 *   2. Every segment has 1 to KEEP_SEGMENT_BYTES_MAX bytes and is neither "." nor "..".
 *   3. It has at most KEEP_PATH_SEGMENTS_MAX segments and KEEP_PATH_BYTES_MAX bytes.
 *   4. Parsing its text again gives the same path. Nothing else is changed: no letter case, no
 *      Unicode form, no escape.
 *   5. text, parent and name are slices of one text; nothing is copied unless slashes double up
 *      inside. This is on the way of every get.
 *
 * What it does not do: escape. A segment "index.json" or "%" is an ordinary one; a backend that
 * cannot hold it escapes it.
 *
 * Tests: tests/contract/test_engine_contract.c, fuzz/fuzz_path.c.
 */
#include "engine/backend.h"

#include <string.h>

static keep_bytes trim_slashes(keep_bytes raw)
{
	while (raw.len && raw.data[0] == '/') {
		raw.data++;
		raw.len--;
	}
	while (raw.len && raw.data[raw.len - 1] == '/')
		raw.len--;
	return raw;
}

static keep_status check_text(keep_bytes text, keep_error *err)
{
	const char *zero = memchr(text.data, 0, text.len);
	size_t position;

	if (zero)
		return kp_fail(err, KEEP_INVALID, "path: a zero byte at position %zu",
			       (size_t)(zero - text.data));
	if (!kp_utf8_is_valid(text, &position))
		return kp_fail(err, KEEP_INVALID, "path: not UTF-8 at position %zu", position);
	return KEEP_OK;
}

static keep_status check_segment(keep_bytes segment, keep_error *err)
{
	if (segment.len > KEEP_SEGMENT_BYTES_MAX)
		return kp_fail(err, KEEP_INVALID, "path: a segment of %zu bytes, the limit is %d",
			       segment.len, KEEP_SEGMENT_BYTES_MAX);
	if (segment.len <= 2 && segment.data[0] == '.' && segment.data[segment.len - 1] == '.')
		return kp_fail(err, KEEP_INVALID, "path: '%" KP_PRI "' is not a segment",
			       KP_ARG(segment));
	return KEEP_OK;
}

static keep_status check_size(size_t len, unsigned depth, keep_error *err)
{
	if (depth > KEEP_PATH_SEGMENTS_MAX)
		return kp_fail(err, KEEP_INVALID, "path: more than %d segments",
			       KEEP_PATH_SEGMENTS_MAX);
	if (len > KEEP_PATH_BYTES_MAX)
		return kp_fail(err, KEEP_INVALID, "path: more than %d bytes", KEEP_PATH_BYTES_MAX);
	return KEEP_OK;
}

/* Walk trimmed, checked bytes. From the first doubled slash on, segments are copied to `room`. */
static keep_status walk_segments(keep_bytes text, kp_path_room *room, kp_path *path,
				 keep_error *err)
{
	const char *at = text.data, *end = text.data + text.len;
	size_t len = 0, name_at = 0;
	unsigned depth = 0;
	bool copied = false;
	keep_status status = KEEP_OK;

	while (at < end) {
		const char *slash = memchr(at, '/', (size_t)(end - at));
		keep_bytes segment = {at, (size_t)((slash ? slash : end) - at)};

		if (segment.len == 0) {
			if (!copied)
				memcpy(room->bytes, text.data, len);
			copied = true;
			at++;
			continue;
		}
		name_at = len ? len + 1 : 0;
		len = name_at + segment.len;
		depth++;
		status = check_segment(segment, err);
		if (status == KEEP_OK)
			status = check_size(len, depth, err);
		if (status != KEEP_OK)
			return status;
		if (copied) {
			room->bytes[name_at - 1] = '/';
			memcpy(room->bytes + name_at, segment.data, segment.len);
		}
		at = slash ? slash + 1 : end;
	}
	path->text = (keep_bytes){copied ? room->bytes : text.data, len};
	path->parent = (keep_bytes){path->text.data, name_at ? name_at - 1 : 0};
	path->name = (keep_bytes){path->text.data + name_at, len - name_at};
	path->depth = depth;
	return status;
}

keep_status kp_path_parse(keep_bytes raw, kp_path_room *room, kp_path *path, keep_error *err)
{
	keep_bytes text = trim_slashes(raw);
	keep_status status;

	*path = kp_path_of(KEEP_BYTES(""));
	/* An absent path must not become the root by mistake: unset of the root drops everything.
	 */
	if (!raw.data)
		return kp_fail(err, KEEP_MISUSE, "path: absent; the root is the empty path");
	if (text.len == 0)
		return KEEP_OK;
	status = check_text(text, err);
	return status == KEEP_OK ? walk_segments(text, room, path, err) : status;
}

kp_path kp_path_of(keep_bytes normal)
{
	const char *slash = normal.len ? memrchr(normal.data, '/', normal.len) : NULL;
	size_t name_at = slash ? (size_t)(slash - normal.data) + 1 : 0;
	kp_path path = {
		.text = normal,
		.parent = {normal.data, slash ? name_at - 1 : 0},
		.name = {normal.data + name_at, normal.len - name_at},
		.depth = normal.len ? 1 : 0,
	};

	for (size_t i = 0; i < name_at; i++)
		path.depth += normal.data[i] == '/';
	return path;
}

kp_path kp_path_parent(const kp_path *path)
{
	return kp_path_of(path->parent);
}

bool kp_path_is_within(keep_bytes base, keep_bytes path)
{
	if (base.len == 0)
		return true;
	return path.len >= base.len && memcmp(path.data, base.data, base.len) == 0 &&
	       (path.len == base.len || path.data[base.len] == '/');
}

bool kp_path_concerns(keep_bytes changed, keep_bytes watched)
{
	return kp_path_is_within(watched, changed) || kp_path_is_within(changed, watched);
}

static keep_status check_new_segment(keep_bytes segment, keep_error *err)
{
	keep_status status;

	if (!segment.data)
		return kp_fail(err, KEEP_MISUSE, "path: the segment is absent");
	if (segment.len == 0)
		return kp_fail(err, KEEP_INVALID, "path: an empty segment");
	if (memchr(segment.data, '/', segment.len))
		return kp_fail(err, KEEP_INVALID, "path: '%" KP_PRI "' is more than one segment",
			       KP_ARG(segment));
	status = check_text(segment, err);
	return status == KEEP_OK ? check_segment(segment, err) : status;
}

keep_status keep_path_join(keep_buffer *path, keep_bytes segment, keep_error *err)
{
	kp_path_room room;
	kp_path base;
	keep_status status;
	size_t len;

	if (!path)
		return kp_fail(err, KEEP_MISUSE, "keep_path_join: path must not be NULL");
	status = check_new_segment(segment, err);
	if (status == KEEP_OK)
		status = kp_path_parse(kp_buffer_bytes(path), &room, &base, err);
	if (status != KEEP_OK)
		return status;
	len = base.text.len + (base.depth ? 1 : 0) + segment.len;
	status = check_size(len, base.depth + 1, err);
	if (status != KEEP_OK)
		return status;
	memmove(room.bytes, base.text.data, base.text.len);
	room.bytes[base.text.len] = '/';
	memcpy(room.bytes + len - segment.len, segment.data, segment.len);
	return keep_buffer_set(path, (keep_bytes){room.bytes, len}, err);
}
