/* engine_places.c - see engine_places.h. */
#include "engine_places.h"

engine_kind places_kind;

bool places_is_sqlite(void)
{
	return strcmp(places_kind.name, "sqlite") == 0;
}

void place_make(place *at)
{
	temp_folder_make(&at->folder);
	(void)temp_path(&at->folder, "store", at->store);
	if (places_kind.is_file)
		snprintf(at->url, sizeof at->url, "%.10s:%s", places_kind.name, at->store);
	else
		engine_fresh_url(&places_kind, at->url);
}

void place_remove(const place *at)
{
	bad_place_remove(&at->folder);
}

/* ---------------------------------------------------------------- documents */

keep_bytes document_path(unsigned i, char room[40])
{
	return (keep_bytes){room, (size_t)snprintf(room, 40, "room/%u", i)};
}

void document_value(keep_buffer *out, unsigned i, uint32_t version, size_t len)
{
	char head[40];
	size_t head_len = (size_t)snprintf(head, sizeof head, "%u:%u:", i, version);

	if (kp_buffer_reserve(out, len, NULL) != KEEP_OK)
		abort();
	for (size_t at = 0; at < len; at++)
		out->data[at] = (char)(at < head_len ? (unsigned char)head[at] : i + version + at);
	out->len = len;
}

keep_status try_open(const char *url, bool create, bool read_only, keep_engine **out,
		     keep_error *err)
{
	keep_engine_options options = KEEP_ENGINE_OPTIONS_INIT;

	options.create = create;
	options.read_only = read_only;
	options.shared = true;
	return keep_engine_open(url, &options, out, err);
}

keep_engine *open_store(const char *url, bool create)
{
	keep_engine *engine = NULL;
	keep_error err = KEEP_ERROR_INIT;

	WANT_OK(try_open(url, create, false, &engine, &err));
	return engine;
}

static void note_set(documents *docs, unsigned i, uint32_t version, size_t len)
{
	docs->version[i] = version;
	docs->len[i] = len;
	docs->order[i] = ++docs->clock;
}

keep_status documents_set(keep_engine *engine, documents *docs, unsigned i, size_t len,
			  keep_error *err)
{
	keep_buffer value = KEEP_BUFFER_INIT;
	/* Never the same again, so that what a failed set wrote could be told. */
	uint32_t version = (uint32_t)++docs->clock;
	char room[40];
	keep_status status;

	WANT(i < DOCUMENTS_MAX, "too many documents");
	document_value(&value, i, version, len);
	status = keep_engine_set(engine, document_path(i, room), kp_buffer_bytes(&value), err);
	if (status == KEEP_OK)
		note_set(docs, i, version, len);
	if (i >= docs->count)
		docs->count = i + 1;
	keep_buffer_release(&value);
	return status;
}

keep_status documents_unset(keep_engine *engine, documents *docs, unsigned i, keep_error *err)
{
	char room[40];
	keep_status status = keep_engine_unset(engine, document_path(i, room), err);

	if (status == KEEP_OK)
		docs->version[i] = 0;
	return status;
}

keep_status documents_batch(keep_engine *engine, documents *docs, unsigned first, unsigned count,
			    size_t len, keep_error *err)
{
	keep_buffer values[16] = {KEEP_BUFFER_INIT};
	keep_engine_change changes[17];
	char rooms[17][40];
	uint32_t version = (uint32_t)++docs->clock;
	keep_status status;

	WANT(count <= 16 && first > 0 && first + count <= DOCUMENTS_MAX, "wrong use");
	for (unsigned i = 0; i < count; i++) {
		document_value(&values[i], first + i, version, len);
		changes[i] = (keep_engine_change){.kind = KEEP_ENGINE_SET,
						  .path = document_path(first + i, rooms[i]),
						  .value = kp_buffer_bytes(&values[i])};
	}
	changes[count] = (keep_engine_change){.kind = KEEP_ENGINE_UNSET,
					      .path = document_path(0, rooms[count])};
	status = keep_engine_batch(engine, changes, count + 1, err);
	for (unsigned i = 0; i < count; i++) {
		if (status == KEEP_OK)
			note_set(docs, first + i, version, len);
		keep_buffer_release(&values[i]);
	}
	if (status == KEEP_OK)
		docs->version[0] = 0;
	if (first + count > docs->count)
		docs->count = first + count;
	return status;
}

/* ---------------------------------------------------------------- looking */

static bool is_value(keep_bytes found, const documents *docs, unsigned i)
{
	keep_buffer wanted = KEEP_BUFFER_INIT;
	bool same;

	document_value(&wanted, i, docs->version[i], docs->len[i]);
	same = kp_bytes_equal(found, kp_buffer_bytes(&wanted));
	keep_buffer_release(&wanted);
	return same;
}

/* True: the call succeeded. */
static bool may_be(keep_status status, const keep_error *err, unsigned may, const char *when,
		   const char *call)
{
	WANT(status == KEEP_OK || may & MAY(status), "%s: %s: %s: %s", when, call,
	     keep_status_name(status), err->message);
	return status == KEEP_OK;
}

static unsigned expect_gets(keep_engine *engine, const documents *docs, unsigned may,
			    const char *when)
{
	keep_buffer value = KEEP_BUFFER_INIT;
	keep_error err = KEEP_ERROR_INIT;
	unsigned failed = 0;

	for (unsigned i = 0; i < docs->count; i++) {
		char room[40];
		keep_status status = keep_engine_get(engine, document_path(i, room), &value, &err);

		if (status == KEEP_NOT_FOUND) {
			WANT(!docs->version[i], "%s: document %u is gone: %s", when, i,
			     err.message);
		} else if (may_be(status, &err, may, when, "get")) {
			WANT(docs->version[i], "%s: document %u is there", when, i);
			WANT(is_value(kp_buffer_bytes(&value), docs, i),
			     "%s: document %u has another value of %zu bytes", when, i, value.len);
		} else {
			failed++;
		}
	}
	keep_buffer_release(&value);
	return failed;
}

static void check_list(const keep_engine_list *list, const documents *docs, size_t wanted,
		       const char *when)
{
	uint64_t above = UINT64_MAX;

	WANT(list->count == wanted, "%s: %zu listed, not %zu", when, list->count, wanted);
	for (size_t n = 0; n < list->count; n++) {
		char room[40] = "";
		unsigned i;

		snprintf(room, sizeof room, "%" KP_PRI, KP_ARG(list->items[n].name));
		i = (unsigned)atoi(room);
		WANT(i < docs->count && docs->version[i], "%s: '%s' is listed", when, room);
		WANT(docs->order[i] < above, "%s: document %u is out of order", when, i);
		above = docs->order[i];
		WANT(is_value(list->items[n].value, docs, i), "%s: %u's value in the list", when,
		     i);
	}
}

struct seen {
	const documents *docs;
	size_t count;
	const char *when;
};

static bool see(void *ctx, keep_bytes path, keep_bytes value)
{
	struct seen *seen = ctx;
	char room[60] = "";
	unsigned i;

	snprintf(room, sizeof room, "%" KP_PRI, KP_ARG(path));
	i = (unsigned)atoi(room + strlen("room/"));
	WANT(i < seen->docs->count && seen->docs->version[i], "%s: scan saw %s", seen->when, room);
	WANT(is_value(value, seen->docs, i), "%s: scan saw another value of %s", seen->when, room);
	seen->count++;
	return true;
}

unsigned documents_expect(keep_engine *engine, const documents *docs, unsigned may,
			  const char *when)
{
	keep_engine_list list = KEEP_ENGINE_LIST_INIT;
	keep_error err = KEEP_ERROR_INIT;
	unsigned failed = expect_gets(engine, docs, may, when);
	struct seen seen = {docs, 0, when};
	int64_t count = 0;
	size_t wanted = 0;

	for (unsigned i = 0; i < docs->count; i++)
		wanted += docs->version[i] != 0;
	if (may_be(keep_engine_list_names(engine, keep_bytes_of("room"), 0, DOCUMENTS_MAX, &list,
					  &err),
		   &err, may, when, "list"))
		check_list(&list, docs, wanted, when);
	else
		failed++;
	keep_engine_list_release(&list);
	if (may_be(keep_engine_count(engine, keep_bytes_of("room"), &count, &err), &err, may, when,
		   "count"))
		WANT((size_t)count == wanted, "%s: counted %lld, not %zu", when, (long long)count,
		     wanted);
	else
		failed++;
	if (may_be(keep_engine_scan(engine, keep_bytes_of(""), see, &seen, &err), &err, may, when,
		   "scan"))
		WANT(seen.count == wanted, "%s: scanned %zu, not %zu", when, seen.count, wanted);
	else
		failed++;
	return failed;
}
