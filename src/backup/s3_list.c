/*
 * s3_list.c - what is in a bucket: keys, and uploads in parts that never ended.
 *
 * Invariants:
 *   1. Memory holds one page of a listing. A listing ends: a server that gives the same place twice
 *      is refused.
 *   2. Keys are asked for percent-encoded, because XML cannot hold every key, and decoded only when
 *      the server says that it did so.
 *   3. Every entry begins with the prefix that was asked for, or the answer is refused.
 *
 * What it does not do: versions of objects; a listing in another order than the server's.
 *
 * Tests: tests/contract/test_s3.c, tests/contract/test_s3_retry.c.
 */
#include "backup/s3_private.h"

#include <string.h>

struct item {
	struct item *next;
	keep_bytes key, id; /* id: of an upload */
	int64_t size, time_ms;
	bool is_folder;
};

struct page {
	kp_arena memory;
	struct item *first, **last;
	struct item entry; /* the one that is read */
	keep_bytes next, next_id;
	bool is_listing, has_more, is_encoded;
};

/* ---------------------------------------------------------------- reading a page */

static keep_status add_item(struct page *page, keep_error *err)
{
	struct item *item = kp_arena_alloc(&page->memory, sizeof *item);

	if (!item)
		return kp_fail_memory(err, "a listing");
	*item = page->entry;
	page->entry = (struct item){.next = NULL};
	*page->last = item;
	page->last = &item->next;
	return KEEP_OK;
}

static void take_time(struct item *item, keep_bytes text)
{
	if (keep_time_parse(text, &item->time_ms, NULL) != KEEP_OK)
		item->time_ms = 0;
}

/* One element of either listing; `path` without its root. */
static keep_status take_element(void *ctx, const char *path, keep_bytes text, keep_error *err)
{
	static const char *const names[] = {
		"/Contents/Key",  "/Contents/Size",         "/Contents/LastModified",
		"/Contents",      "/CommonPrefixes/Prefix", "/CommonPrefixes",
		"/Upload/Key",    "/Upload/UploadId",       "/Upload/Initiated",
		"/Upload",        "/IsTruncated",           "/NextContinuationToken",
		"/NextKeyMarker", "/NextUploadIdMarker",    "/EncodingType",
	};
	struct page *page = ctx;
	const char *rest = strchr(path + 1, '/');
	size_t found = 0;

	if (!rest)
		return KEEP_OK;
	while (found < KP_COUNT(names) && strcmp(names[found], rest) != 0)
		found++;
	switch (found) {
	case 0:
	case 4:
	case 6: return kp_arena_copy(&page->memory, text, &page->entry.key, err);
	case 1:
		if (!kp_int_parse(text, &page->entry.size))
			page->entry.size = -1;
		return KEEP_OK;
	case 2:
	case 8: take_time(&page->entry, text); return KEEP_OK;
	case 5: page->entry.is_folder = true; return add_item(page, err);
	case 3:
	case 9: return add_item(page, err);
	case 7: return kp_arena_copy(&page->memory, text, &page->entry.id, err);
	case 10:
		page->is_listing = true;
		page->has_more = kp_bytes_equal(text, KEEP_BYTES("true"));
		return KEEP_OK;
	case 11:
	case 12: return kp_arena_copy(&page->memory, text, &page->next, err);
	case 13: return kp_arena_copy(&page->memory, text, &page->next_id, err);
	case 14: page->is_encoded = kp_bytes_equal(text, KEEP_BYTES("url")); return KEEP_OK;
	default: return KEEP_OK;
	}
}

/* Decode in place: the page's memory is its own. */
static keep_status decode_keys(const kp_s3 *s3, struct page *page, keep_error *err)
{
	for (struct item *item = page->first; item; item = item->next) {
		/* Our own copy, made by take_element. */
		char *text = (char *)(uintptr_t)item->key.data;

		if (!text || (page->is_encoded && !kp_s3_decode(text, &item->key.len)))
			return kp_fail(err, KEEP_UNAVAILABLE,
				       "the bucket %s: the listing has an entry without a key",
				       s3->bucket);
	}
	return KEEP_OK;
}

static keep_status fetch_page(kp_s3 *s3, const char *query, struct page *page, keep_error *err)
{
	kp_s3_request request = KP_S3_REQUEST("GET", ((keep_bytes){.data = NULL}));
	kp_s3_answer answer = {.size = -1};
	keep_status status;

	request.query = query;
	*page = (struct page){.last = &page->first};
	status = kp_s3_call(s3, &request, &answer, err);
	if (status == KEEP_OK)
		status = kp_s3_xml_read(kp_buffer_bytes(&answer.body), take_element, page, err);
	if (status == KEEP_OK && !page->is_listing)
		status = kp_fail(err, KEEP_UNAVAILABLE,
				 "the bucket %s: the server's answer is no listing", s3->bucket);
	if (status == KEEP_OK && page->has_more && !page->next.len)
		status = kp_fail(err, KEEP_UNAVAILABLE,
				 "the bucket %s: the listing does not say where it goes on",
				 s3->bucket);
	if (status == KEEP_OK)
		status = decode_keys(s3, page, err);
	kp_s3_answer_release(&answer);
	return status;
}

/* "name=value" of a query, encoded. */
static keep_status append_parameter(keep_buffer *query, const char *name, keep_bytes value,
				    keep_error *err)
{
	keep_status status =
		kp_buffer_append_format(query, err, "%s%s=", query->len ? "&" : "", name);

	return status == KEEP_OK ? kp_s3_append_encoded(query, value, false, err) : status;
}

/* "<the client's prefix><prefix>" */
static keep_status join_prefix(const kp_s3 *s3, const char *prefix, keep_buffer *out,
			       keep_error *err)
{
	keep_status status = kp_check_text("the prefix of a listing", keep_bytes_of(prefix),
					   KP_S3_KEY_MAX, KP_MAY_BE_ABSENT, err);

	if (status == KEEP_OK)
		status = kp_buffer_append_text(out, s3->prefix, err);
	if (status == KEEP_OK && prefix)
		status = kp_buffer_append_text(out, prefix, err);
	return status;
}

/* Where the next page begins is kept in `place`; the same place twice would never end. */
static keep_status move_on(const kp_s3 *s3, keep_buffer *place, keep_bytes next, keep_error *err)
{
	if (place->len && kp_bytes_equal(kp_buffer_bytes(place), next))
		return kp_fail(err, KEEP_UNAVAILABLE,
			       "the bucket %s: the listing goes on where it was", s3->bucket);
	return keep_buffer_set(place, next, err);
}

/* ---------------------------------------------------------------- keys */

static keep_status write_list_query(keep_buffer *query, keep_bytes place, enum kp_s3_depth depth,
				    keep_bytes prefix, keep_error *err)
{
	keep_status status = KEEP_OK;

	query->len = 0;
	if (place.len)
		status = append_parameter(query, "continuation-token", place, err);
	if (status == KEEP_OK && depth == KP_S3_THIS_FOLDER)
		status = append_parameter(query, "delimiter", KEEP_BYTES("/"), err);
	if (status == KEEP_OK)
		status = append_parameter(query, "encoding-type", KEEP_BYTES("url"), err);
	if (status == KEEP_OK)
		status = append_parameter(query, "list-type", KEEP_BYTES("2"), err);
	return status == KEEP_OK ? append_parameter(query, "prefix", prefix, err) : status;
}

static keep_status tell_entries(const kp_s3 *s3, const struct page *page, keep_bytes prefix,
				kp_s3_each *each, void *ctx, keep_error *err)
{
	size_t skip = strlen(s3->prefix);
	keep_status status = KEEP_OK;

	for (const struct item *item = page->first; item && status == KEEP_OK; item = item->next) {
		kp_s3_entry entry = {
			.is_folder = item->is_folder,
			.size = item->size,
			.modified_ms = item->time_ms,
		};

		if (item->key.len < prefix.len ||
		    memcmp(item->key.data, prefix.data, prefix.len) != 0)
			return kp_fail(err, KEEP_UNAVAILABLE,
				       "the bucket %s: the listing has keys not asked for",
				       s3->bucket);
		entry.key = (keep_bytes){item->key.data + skip, item->key.len - skip};
		status = each(ctx, &entry, err);
	}
	return status;
}

keep_status kp_s3_list(kp_s3 *s3, const char *prefix, enum kp_s3_depth depth, kp_s3_each *each,
		       void *ctx, keep_error *err)
{
	keep_buffer full = KEEP_BUFFER_INIT, query = KEEP_BUFFER_INIT, place = KEEP_BUFFER_INIT;
	struct page page = {.memory = {.head = NULL}};
	keep_status status = join_prefix(s3, prefix, &full, err);
	bool has_more = true;

	while (status == KEEP_OK && has_more) {
		status = write_list_query(&query, kp_buffer_bytes(&place), depth,
					  kp_buffer_bytes(&full), err);
		if (status == KEEP_OK)
			status = fetch_page(s3, query.data, &page, err);
		has_more = page.has_more;
		if (status == KEEP_OK)
			status = tell_entries(s3, &page, kp_buffer_bytes(&full), each, ctx, err);
		if (status == KEEP_OK && has_more)
			status = move_on(s3, &place, page.next, err);
		kp_arena_release(&page.memory);
	}
	keep_buffer_release(&full);
	keep_buffer_release(&query);
	keep_buffer_release(&place);
	return status;
}

/* ---------------------------------------------------------------- uploads that never ended */

static keep_status abort_upload(kp_s3 *s3, const struct item *item, keep_error *err)
{
	keep_buffer query = KEEP_BUFFER_INIT;
	kp_s3_request request = KP_S3_REQUEST("DELETE", item->key);
	kp_s3_answer answer = {.size = -1};
	keep_status status = append_parameter(&query, "uploadId", item->id, err);

	request.query = query.data;
	if (status == KEEP_OK)
		status = kp_s3_call(s3, &request, &answer, err);
	kp_s3_answer_release(&answer);
	keep_buffer_release(&query);
	return status == KEEP_NOT_FOUND ? KEEP_OK : status;
}

static keep_status abort_page(kp_s3 *s3, const struct page *page, keep_bytes prefix,
			      int64_t before_ms, size_t *count, keep_error *err)
{
	keep_status status = KEEP_OK;

	for (const struct item *item = page->first; item && status == KEEP_OK; item = item->next) {
		/* Some servers list all of a bucket's, whatever the prefix. */
		if (!item->id.len || item->time_ms == 0 || item->time_ms >= before_ms ||
		    item->key.len < prefix.len ||
		    memcmp(item->key.data, prefix.data, prefix.len) != 0)
			continue;
		status = abort_upload(s3, item, err);
		if (status == KEEP_OK && count)
			++*count;
	}
	return status;
}

static keep_status write_uploads_query(keep_buffer *query, keep_bytes place, keep_bytes place_id,
				       keep_bytes prefix, keep_error *err)
{
	keep_status status = KEEP_OK;

	query->len = 0;
	if (place.len)
		status = append_parameter(query, "key-marker", place, err);
	if (status == KEEP_OK)
		status = append_parameter(query, "prefix", prefix, err);
	if (status == KEEP_OK && place.len && place_id.len)
		status = append_parameter(query, "upload-id-marker", place_id, err);
	return status == KEEP_OK ? append_parameter(query, "uploads", KEEP_BYTES(""), err) : status;
}

keep_status kp_s3_prune_uploads(kp_s3 *s3, const char *prefix, int64_t before_ms, size_t *count,
				keep_error *err)
{
	keep_buffer full = KEEP_BUFFER_INIT, query = KEEP_BUFFER_INIT;
	keep_buffer place = KEEP_BUFFER_INIT, place_id = KEEP_BUFFER_INIT;
	struct page page = {.memory = {.head = NULL}};
	keep_status status = join_prefix(s3, prefix, &full, err);
	bool has_more = true;

	if (count)
		*count = 0;
	while (status == KEEP_OK && has_more) {
		status = write_uploads_query(&query, kp_buffer_bytes(&place),
					     kp_buffer_bytes(&place_id), kp_buffer_bytes(&full),
					     err);
		if (status == KEEP_OK)
			status = fetch_page(s3, query.data, &page, err);
		has_more = page.has_more;
		if (status == KEEP_OK)
			status = abort_page(s3, &page, kp_buffer_bytes(&full), before_ms, count,
					    err);
		/* The same key may have many uploads: then its id tells the place. */
		if (status == KEEP_OK && has_more && page.next_id.len &&
		    kp_bytes_equal(kp_buffer_bytes(&place), page.next))
			status = move_on(s3, &place_id, page.next_id, err);
		else if (status == KEEP_OK && has_more)
			status = move_on(s3, &place, page.next, err);
		if (status == KEEP_OK && has_more)
			status = keep_buffer_set(&place_id, page.next_id, err);
		kp_arena_release(&page.memory);
	}
	keep_buffer_release(&full);
	keep_buffer_release(&query);
	keep_buffer_release(&place);
	keep_buffer_release(&place_id);
	return status;
}
