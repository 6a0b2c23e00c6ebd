/*
 * access_lists.c - lists of which an account sees a part.
 *
 * The operation is run with a limit of our own, page after page where it has pages, and rows of
 * other folders are dropped before they are counted. With the caller's limit, a row that is missing
 * from a page would tell that something lies between two names, and a search by halves its whole
 * name.
 *
 * Invariants:
 *   1. An answer is what it would be in a home that has nothing but what the account sees.
 *   2. A call looks at LOOKED_AT_MAX rows at most; then it is FULL, which says nothing about the
 * rest. Where an operation has no pages it answers of its newest or first rows, as many as it
 * gives.
 *
 * What it does not do: judge (access_judge.c).
 *
 * Tests: tests/contract/test_service_access.c.
 */
#include "service/access.h"

#include <string.h>

enum { LOOKED_AT_MAX = 100000, PAGE_ROWS = 500 };

struct listing {
	kp_request *request;
	const kp_operation_store *store;
	const kp_operation *operation;
	const kp_access_rule *rule;
	const kp_call_hooks *hooks; /* the caller's, or NULL */
	keep_buffer *result;        /* the array, when hooks has no row */
	int64_t wanted, given;      /* rows; wanted below 0: all */
	int64_t page_rows;          /* of the page at hand */
	int64_t looked_at;
	keep_buffer last; /* the cursor's member of the page's last row */
};

static keep_status give_row(struct listing *listing, keep_bytes json, keep_error *err)
{
	keep_status status = KEEP_OK;

	listing->given++;
	if (listing->hooks && listing->hooks->row)
		return listing->hooks->row(listing->hooks->ctx, json, err);
	if (listing->given > 1)
		status = kp_buffer_append_text(listing->result, ",", err);
	return status == KEEP_OK ? kp_buffer_append(listing->result, json, err) : status;
}

static keep_status take_row(void *ctx, keep_bytes json, keep_error *err)
{
	struct listing *listing = ctx;
	kp_arena arena = {.head = NULL};
	const kp_json *row = NULL;
	bool may = false;
	keep_status status;

	listing->page_rows++;
	if (listing->wanted >= 0 && listing->given >= listing->wanted)
		return KEEP_OK;
	status = kp_json_parse(json, &arena, &row, err);
	if (status == KEEP_OK && ++listing->looked_at > LOOKED_AT_MAX)
		status = kp_fail(err, KEEP_FULL, "%s.%s: too much to look through",
				 listing->store->name, listing->operation->verb);
	if (status == KEEP_OK)
		status = kp_access_row(listing->request, listing->store, listing->operation, row,
				       &may, err);
	if (status == KEEP_OK && may)
		status = give_row(listing, json, err);
	if (status == KEEP_OK && listing->rule->cursor) {
		const kp_json *key = kp_json_member(row, listing->rule->cursor_member);

		status = key && key->kind == KP_JSON_TEXT
				 ? keep_buffer_set(&listing->last, key->text, err)
				 : kp_fail(err, KEEP_MISUSE, "%s.%s: its rows have no '%s'",
					   listing->store->name, listing->operation->verb,
					   listing->rule->cursor_member);
	}
	kp_arena_release(&arena);
	return status;
}

/* The call's inputs with our own limit and cursor. */
static keep_status write_inputs(const struct listing *listing, const kp_json *with, int64_t limit,
				bool is_first, keep_buffer *out, keep_error *err)
{
	const char *cursor = listing->rule->cursor;
	kp_json_writer writer;

	out->len = 0;
	kp_json_begin(&writer, out);
	kp_json_open_object(&writer);
	for (size_t i = 0; with && i < with->list.count; i++) {
		const kp_json *input = &with->list.items[i];

		if ((limit && kp_bytes_equal(input->name, KEEP_BYTES("limit"))) ||
		    (cursor && !is_first && kp_bytes_equal(input->name, keep_bytes_of(cursor))))
			continue;
		kp_json_name_bytes(&writer, input->name);
		kp_json_put_raw(&writer, input->raw);
	}
	if (limit) {
		kp_json_name(&writer, "limit");
		kp_json_put_integer(&writer, limit);
	}
	if (cursor && !is_first) {
		kp_json_name(&writer, cursor);
		kp_json_put_text(&writer, kp_buffer_bytes(&listing->last));
	}
	kp_json_close_object(&writer);
	return kp_json_finish(&writer, err);
}

static keep_status run_page(struct listing *listing, const kp_json *with, int64_t limit,
			    bool is_first, keep_error *err)
{
	kp_call_hooks hooks = {.ctx = listing, .row = take_row};
	keep_buffer text = KEEP_BUFFER_INIT, nothing = KEEP_BUFFER_INIT;
	kp_arena arena = {.head = NULL};
	const kp_json *inputs = NULL;
	keep_status status = write_inputs(listing, with, limit, is_first, &text, err);

	if (listing->hooks)
		hooks.actor = listing->hooks->actor;
	listing->page_rows = 0;
	if (status == KEEP_OK)
		status = kp_json_parse(kp_buffer_bytes(&text), &arena, &inputs, err);
	if (status == KEEP_OK)
		status = kp_session_run(listing->request->service->session, listing->store,
					listing->operation, inputs, &hooks, &nothing, err);
	kp_arena_release(&arena);
	keep_buffer_release(&text);
	keep_buffer_release(&nothing);
	return status;
}

static const kp_input *find_input(const kp_operation *operation, const char *name)
{
	for (size_t i = 0; i < operation->input_count; i++)
		if (!strcmp(operation->inputs[i].name, name))
			return &operation->inputs[i];
	return NULL;
}

/* What the caller wants of rows, checked as the operation would. */
static keep_status read_limit(struct listing *listing, const kp_json *with, int64_t *most,
			      keep_error *err)
{
	kp_argument arguments[KP_INPUTS_MAX];
	const kp_input *limit = find_input(listing->operation, "limit");
	kp_arena arena = {.head = NULL};
	keep_status status =
		kp_inputs_read(listing->operation->inputs, listing->operation->input_count, with,
			       false, &arena, arguments, err);

	listing->wanted = -1;
	*most = 0;
	if (status == KEEP_OK && limit) {
		listing->wanted = arguments[limit - listing->operation->inputs].integer;
		*most = limit->max;
	}
	if (listing->rule->cursor && *most > PAGE_ROWS)
		*most = PAGE_ROWS;
	kp_arena_release(&arena);
	return status;
}

static keep_status run_listing(struct listing *listing, const kp_json *with, keep_error *err)
{
	int64_t most = 0;
	bool is_first = true, is_over = false;
	keep_status status = read_limit(listing, with, &most, err);

	while (status == KEEP_OK && !is_over) {
		status = run_page(listing, with, most, is_first, err);
		is_first = false;
		is_over = !listing->rule->cursor || !most || listing->page_rows < most ||
			  (listing->wanted >= 0 && listing->given >= listing->wanted);
	}
	return status;
}

keep_status kp_access_run(kp_request *request, const kp_operation_store *store,
			  const kp_operation *operation, const kp_json *with,
			  const kp_call_hooks *hooks, keep_buffer *result, keep_error *err)
{
	struct listing listing = {
		.request = request,
		.store = store,
		.operation = operation,
		.rule = kp_access_rule_find(store, operation),
		.hooks = hooks,
		.result = result,
	};
	bool is_array = !hooks || !hooks->row;
	size_t before = result->len;
	keep_status status = KEEP_OK;

	if (!kp_access_filters(&request->account, store, operation))
		return kp_session_run(request->service->session, store, operation, with, hooks,
				      result, err);
	if (!listing.rule)
		return kp_fail(err, KEEP_DENIED, "%s.%s: is for operators alone", store->name,
			       operation->verb);
	if (is_array)
		status = kp_buffer_append_text(result, "[", err);
	if (status == KEEP_OK)
		status = run_listing(&listing, with, err);
	if (status == KEEP_OK && is_array)
		status = kp_buffer_append_text(result, "]", err);
	if (status != KEEP_OK && result->data) {
		result->len = before;
		result->data[before] = '\0';
	}
	keep_buffer_release(&listing.last);
	return status;
}
