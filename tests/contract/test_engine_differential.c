/*
 * test_engine_differential.c - the same random operations on every backend and on a model.
 *
 *     test_engine_differential OPERATIONS KIND…        KIND as in tests/support/engine_urls.h
 *
 * Every answer of every backend is compared with the model's. The first difference is shrunk:
 * parts of the sequence are left out, on a fresh namespace each time, as long as the backend and
 * the model still differ; what remains is printed, one readable line an operation, with the seed.
 *
 * KEEP_TEST_SEED chooses the sequence.
 */
#include "engine_model.h"
#include "engine_urls.h"
#include "keep_test.h"

#define KINDS_MAX 8
#define PART_MAX 5 /* changes of one batch */
#define FUTURE (KEEP_ENGINE_SCORE_MAX - 100000000)
#define SHRINK_SECONDS 60

enum verb {
	DO_SET,
	DO_SCORED,
	DO_UNSET,
	DO_CAS,
	DO_GET,
	DO_LIST,
	DO_NAMES,
	DO_COUNT,
	DO_BATCH,
	DO_EACH,
	DO_SCAN,
	DO_CLEAR,
	DO_REOPEN
};

typedef struct operation {
	enum verb verb;
	char path[64];        /* as it is given, perhaps with slashes too many */
	const char *value;    /* NULL in a compare_and_set: unset */
	const char *expected; /* compare_and_set */
	int64_t score;
	int64_t offset, limit;
	size_t part_count; /* batch and apply_each: so many operations follow that belong to it */
} operation;

static struct {
	size_t operations, kind_count;
	const char *kinds[KINDS_MAX];
} wanted;

/* ---------------------------------------------------------------- making a sequence */

static const char *const segments[] = {"a",          "ab",    "b",        "a_b", "a%",
				       "*",          "A",     "\\",       "a b", "[ab]",
				       "index.json", ".keep", "\xc3\xa4", "%25"};
static const char *const values[] = {"1", "2", "", "three", "4\r\n\"", "\xf0\x9f\x98\x80"};

static size_t random_below(uint64_t *seed, size_t limit)
{
	return next_random(seed) % limit;
}

/* The first segments more often, so that paths meet. */
static const char *random_segment(uint64_t *seed)
{
	size_t one = random_below(seed, KP_COUNT(segments));
	size_t two = random_below(seed, KP_COUNT(segments));

	return segments[one < two ? one : two];
}

static void random_path(uint64_t *seed, char path[64])
{
	static const unsigned depths[] = {1, 1, 1, 2, 2, 2, 2, 3, 3, 4};
	unsigned depth = depths[random_below(seed, KP_COUNT(depths))];

	path[0] = '\0';
	if (random_below(seed, 400) == 0)
		return;
	if (random_below(seed, 4) == 0)
		strcat(path, "/");
	for (unsigned i = 0; i < depth; i++) {
		strcat(path, i ? "/" : "");
		if (i && random_below(seed, 10) == 0)
			strcat(path, "/");
		strcat(path, random_segment(seed));
	}
	if (random_below(seed, 10) == 0)
		strcat(path, "/");
	if (random_below(seed, 200) == 0)
		strcat(path, "/..");
}

static enum verb random_change(uint64_t *seed)
{
	size_t dice = random_below(seed, 50);

	if (dice < 28)
		return DO_SET;
	if (dice < 35)
		return DO_SCORED;
	return dice < 42 ? DO_UNSET : DO_CAS;
}

static enum verb random_verb(uint64_t *seed)
{
	static const struct {
		enum verb verb;
		size_t weight;
	} weights[] = {{DO_GET, 150},  {DO_LIST, 110}, {DO_NAMES, 90},
		       {DO_COUNT, 80}, {DO_BATCH, 45}, {DO_EACH, 25},
		       {DO_SCAN, 8},   {DO_CLEAR, 1},  {DO_REOPEN, 2}};
	size_t dice = random_below(seed, 1000);

	for (size_t i = 0; i < KP_COUNT(weights); i++) {
		if (dice < weights[i].weight)
			return weights[i].verb;
		dice -= weights[i].weight;
	}
	return random_change(seed);
}

static int64_t random_score(uint64_t *seed)
{
	int64_t step = (int64_t)random_below(seed, 10);

	return random_below(seed, 25) == 0 ? FUTURE + step * 1000000 : step;
}

static operation random_operation(uint64_t *seed, enum verb verb)
{
	operation made = {.verb = verb};

	random_path(seed, made.path);
	/* Seldom the root, which would empty the store each time. */
	if (verb == DO_UNSET && made.path[0] == '\0')
		strcpy(made.path, "a");
	made.value = values[random_below(seed, KP_COUNT(values))];
	made.expected = values[random_below(seed, 3)];
	if (verb == DO_CAS && random_below(seed, 2) == 0)
		made.expected = NULL;
	if (verb == DO_CAS && random_below(seed, 4) == 0)
		made.value = NULL;
	if (verb == DO_SCORED)
		made.score = random_score(seed);
	made.offset = (int64_t)random_below(seed, 4);
	made.limit = (int64_t)random_below(seed, 2) ? 50 : (int64_t)random_below(seed, 4);
	if (random_below(seed, 3) == 0)
		made.offset = 0;
	return made;
}

/* All of them, a batch followed by its parts. Returns how many there are. */
static size_t make_sequence(uint64_t seed, operation *out, size_t count)
{
	size_t made = 0;

	while (made + PART_MAX + 1 < count) {
		enum verb verb = random_verb(&seed);
		operation *head = &out[made++];

		*head = random_operation(&seed, verb);
		if (verb != DO_BATCH && verb != DO_EACH)
			continue;
		head->part_count = 1 + random_below(&seed, PART_MAX);
		for (size_t i = 0; i < head->part_count; i++)
			out[made++] = random_operation(&seed, random_change(&seed));
	}
	return made;
}

/* ---------------------------------------------------------------- the model's answers */

static void say(keep_buffer *answer, const char *text)
{
	if (kp_buffer_append(answer, keep_bytes_of(text), NULL) != KEEP_OK)
		abort();
}

static void say_bytes(keep_buffer *answer, keep_bytes bytes)
{
	if (kp_buffer_append(answer, bytes, NULL) != KEEP_OK)
		abort();
}

static void say_number(keep_buffer *answer, int64_t number)
{
	char text[24];

	snprintf(text, sizeof text, "%lld", (long long)number);
	say(answer, text);
}

/* Where a document must be named: false for the root and for what is no path. */
static bool normalise(const char *raw, char path[64], bool root_too)
{
	size_t len = 0;

	for (const char *at = raw; *at; at++) {
		if (*at == '/' && (len == 0 || path[len - 1] == '/'))
			continue;
		path[len++] = *at;
	}
	if (len && path[len - 1] == '/')
		len--;
	path[len] = '\0';
	if (strcmp(model_name(path), "..") == 0)
		return false;
	return len > 0 || root_too;
}

static keep_status model_change(model *state, const operation *op)
{
	char path[64];

	if (!normalise(op->path, path, op->verb == DO_UNSET))
		return KEEP_INVALID;
	switch (op->verb) {
	case DO_SET: model_set(state, path, op->value); return KEEP_OK;
	case DO_SCORED: model_set_scored(state, path, op->value, op->score); return KEEP_OK;
	case DO_UNSET: model_unset(state, path); return KEEP_OK;
	default:
		return model_compare_and_set(state, path, op->expected, op->value) ? KEEP_OK
										   : KEEP_CONFLICT;
	}
}

/* A batch whose paths or roots are wrong is refused before anything else is looked at. */
static keep_status model_batch(model *state, const operation *parts, size_t count)
{
	keep_status status = KEEP_OK;
	model before;
	char path[64];

	for (size_t i = 0; i < count; i++) {
		if (!normalise(parts[i].path, path, parts[i].verb == DO_UNSET))
			return KEEP_INVALID;
	}
	model_copy(&before, state);
	for (size_t i = 0; i < count && status == KEEP_OK; i++)
		status = model_change(state, &parts[i]);
	if (status != KEEP_OK) {
		model_release(state);
		*state = before;
	} else {
		model_release(&before);
	}
	return status;
}

static int compare_texts(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The documents below a path as sorted lines. */
static void say_sorted(keep_buffer *answer, char **lines, size_t count)
{
	if (count)
		qsort(lines, count, sizeof *lines, compare_texts);
	for (size_t i = 0; i < count; i++) {
		say(answer, "\n");
		say(answer, lines[i]);
		free(lines[i]);
	}
}

static void model_scan(const model *state, const char *path, keep_buffer *answer)
{
	char **lines = calloc(state->count + 1, sizeof *lines);
	size_t count = 0;

	assert_non_null(lines);
	for (size_t i = 0; i < state->count; i++) {
		if (model_is_below(path, state->documents[i].path) &&
		    asprintf(&lines[count++], "%s=%s", state->documents[i].path,
			     state->documents[i].value) < 0)
			abort();
	}
	say_sorted(answer, lines, count);
	free(lines);
}

static void model_list(const model *state, const char *path, const operation *op,
		       keep_buffer *answer)
{
	const model_document **children;
	size_t count = model_children(state, path, &children);

	for (size_t i = (size_t)op->offset; i < count && i < (size_t)(op->offset + op->limit);
	     i++) {
		say(answer, "\n");
		say(answer, op->verb == DO_NAMES ? model_name(children[i]->path) : "");
		say(answer, "=");
		say(answer, children[i]->value);
	}
	free(children);
}

static void model_read(const model *state, const operation *op, keep_buffer *answer)
{
	const model_document **children;
	const char *found;
	char path[64];

	if (!normalise(op->path, path, op->verb != DO_GET)) {
		say(answer, "INVALID");
		return;
	}
	found = model_get(state, path);
	if (op->verb == DO_GET && !found) {
		say(answer, "NOT_FOUND");
		return;
	}
	say(answer, "OK ");
	if (op->verb == DO_GET) {
		say(answer, found);
	} else if (op->verb == DO_SCAN) {
		model_scan(state, path, answer);
	} else if (op->verb == DO_COUNT) {
		say_number(answer, (int64_t)model_children(state, path, &children));
		free(children);
	} else {
		model_list(state, path, op, answer);
	}
}

static void ask_model(model *state, const operation *op, keep_buffer *answer)
{
	answer->len = 0;
	switch (op->verb) {
	case DO_SET:
	case DO_SCORED:
	case DO_UNSET:
	case DO_CAS: say(answer, keep_status_name(model_change(state, op))); break;
	case DO_GET:
	case DO_LIST:
	case DO_NAMES:
	case DO_COUNT:
	case DO_SCAN: model_read(state, op, answer); break;
	case DO_BATCH:
		say(answer, keep_status_name(model_batch(state, op + 1, op->part_count)));
		break;
	case DO_EACH:
		say(answer, "OK");
		for (size_t i = 1; i <= op->part_count; i++) {
			say(answer, " ");
			say(answer, keep_status_name(model_change(state, &op[i])));
		}
		break;
	case DO_CLEAR:
		model_unset(state, "");
		say(answer, "OK");
		break;
	case DO_REOPEN: say(answer, "OK"); break;
	}
}

/* ---------------------------------------------------------------- an engine's answers */

typedef struct subject {
	engine_kind kind;
	char url[ENGINE_URL_MAX];
	keep_engine *engine;
	int64_t spent_ns;
} subject;

static keep_status open_subject(subject *self)
{
	keep_engine_options options = {
		.size = sizeof options, .create = true, .relaxed = true, .timeout_ms = 20000};
	keep_error err = KEEP_ERROR_INIT;
	keep_status status = keep_engine_open(self->url, &options, &self->engine, &err);

	if (status != KEEP_OK)
		print_error("%s: %s\n", self->kind.name, err.message);
	return status;
}

static keep_engine_change change_of(const operation *op)
{
	static const keep_engine_change_kind kinds[] = {
		[DO_SET] = KEEP_ENGINE_SET,
		[DO_SCORED] = KEEP_ENGINE_SET_SCORED,
		[DO_UNSET] = KEEP_ENGINE_UNSET,
		[DO_CAS] = KEEP_ENGINE_COMPARE_AND_SET,
	};

	return (keep_engine_change){.kind = kinds[op->verb],
				    .path = keep_bytes_of(op->path),
				    .value = keep_bytes_of(op->value),
				    .expected = keep_bytes_of(op->expected),
				    .score_ms = op->score};
}

/* `error` tells more where the status is one that the model never answers. */
static void say_status(keep_buffer *answer, keep_status status, const keep_error *error)
{
	say(answer, keep_status_name(status));
	if (status != KEEP_OK && status != KEEP_INVALID && status != KEEP_NOT_FOUND &&
	    status != KEEP_CONFLICT) {
		say(answer, ": ");
		say(answer, error->message);
	}
}

static keep_status change_engine(keep_engine *engine, const operation *op, keep_error *err)
{
	keep_engine_change change;

	if (op->verb == DO_CLEAR)
		return keep_engine_clear(engine, err);
	change = change_of(op);
	switch (op->verb) {
	case DO_SET: return keep_engine_set(engine, change.path, change.value, err);
	case DO_SCORED:
		return keep_engine_set_scored(engine, change.path, change.value, op->score, err);
	case DO_UNSET: return keep_engine_unset(engine, change.path, err);
	default:
		return keep_engine_compare_and_set(engine, change.path, change.expected,
						   change.value, err);
	}
}

typedef struct line_list {
	char **lines;
	size_t count;
} line_list;

static bool add_line(void *ctx, keep_bytes path, keep_bytes value)
{
	line_list *self = ctx;

	self->lines = realloc(self->lines, (self->count + 1) * sizeof *self->lines);
	if (!self->lines || asprintf(&self->lines[self->count++], "%.*s=%.*s", (int)path.len,
				     path.data, (int)value.len, value.data) < 0)
		abort();
	return true;
}

static void scan_engine(keep_engine *engine, const operation *op, keep_buffer *answer)
{
	line_list found = {.count = 0};
	keep_error err = KEEP_ERROR_INIT;
	keep_status status =
		keep_engine_scan(engine, keep_bytes_of(op->path), add_line, &found, &err);

	say_status(answer, status, &err);
	say(answer, status == KEEP_OK ? " " : "");
	say_sorted(answer, found.lines, found.count);
	free(found.lines);
}

static void list_engine(keep_engine *engine, const operation *op, keep_buffer *answer)
{
	keep_engine_list list = KEEP_ENGINE_LIST_INIT;
	keep_bytes path = keep_bytes_of(op->path);
	keep_error err = KEEP_ERROR_INIT;
	keep_status status;

	if (op->verb == DO_NAMES)
		status = keep_engine_list_names(engine, path, op->offset, op->limit, &list, &err);
	else
		status = keep_engine_list_values(engine, path, op->offset, op->limit, &list, &err);
	say_status(answer, status, &err);
	say(answer, status == KEEP_OK ? " " : "");
	for (size_t i = 0; i < list.count; i++) {
		say(answer, "\n");
		say_bytes(answer, list.items[i].name);
		say(answer, "=");
		say_bytes(answer, list.items[i].value);
	}
	keep_engine_list_release(&list);
}

static void read_engine(keep_engine *engine, const operation *op, keep_buffer *answer)
{
	keep_bytes path = keep_bytes_of(op->path);
	keep_buffer value = KEEP_BUFFER_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_status status;
	int64_t count;

	if (op->verb == DO_GET)
		status = keep_engine_get(engine, path, &value, &err);
	else
		status = keep_engine_count(engine, path, &count, &err);
	say_status(answer, status, &err);
	say(answer, status == KEEP_OK ? " " : "");
	if (op->verb == DO_GET)
		say_bytes(answer, kp_buffer_bytes(&value));
	else if (status == KEEP_OK)
		say_number(answer, count);
	keep_buffer_release(&value);
}

static void change_engine_at_once(keep_engine *engine, const operation *op, keep_buffer *answer)
{
	keep_engine_change changes[PART_MAX];
	keep_status statuses[PART_MAX], status;
	keep_error errors[PART_MAX], err = KEEP_ERROR_INIT;

	for (size_t i = 0; i < op->part_count; i++)
		changes[i] = change_of(&op[i + 1]);
	if (op->verb == DO_BATCH) {
		status = keep_engine_batch(engine, changes, op->part_count, &err);
		say_status(answer, status, &err);
		return;
	}
	status = keep_engine_apply_each(engine, changes, op->part_count, statuses, errors, &err);
	say_status(answer, status, &err);
	for (size_t i = 0; status == KEEP_OK && i < op->part_count; i++) {
		say(answer, " ");
		say_status(answer, statuses[i], &errors[i]);
	}
}

static void ask_engine(subject *self, const operation *op, keep_buffer *answer)
{
	keep_error err = KEEP_ERROR_INIT;
	int64_t start = kp_monotonic_ns();

	answer->len = 0;
	switch (op->verb) {
	case DO_SET:
	case DO_SCORED:
	case DO_UNSET:
	case DO_CAS:
	case DO_CLEAR: say_status(answer, change_engine(self->engine, op, &err), &err); break;
	case DO_GET:
	case DO_COUNT: read_engine(self->engine, op, answer); break;
	case DO_LIST:
	case DO_NAMES: list_engine(self->engine, op, answer); break;
	case DO_SCAN: scan_engine(self->engine, op, answer); break;
	case DO_BATCH:
	case DO_EACH: change_engine_at_once(self->engine, op, answer); break;
	case DO_REOPEN:
		if (self->kind.persists)
			keep_engine_close(&self->engine);
		say(answer, !self->kind.persists || open_subject(self) == KEEP_OK ? "OK" : "gone");
		break;
	}
	self->spent_ns += kp_monotonic_ns() - start;
}

/* ---------------------------------------------------------------- a sequence as text */

static void print_text(const char *text)
{
	if (!text) {
		print_error("absent");
		return;
	}
	print_error("\"");
	for (const char *at = text; *at; at++) {
		if ((unsigned char)*at < 0x20 || *at == '"' || *at == '\\')
			print_error("\\x%02x", (unsigned char)*at);
		else
			print_error("%c", *at);
	}
	print_error("\"");
}

static void print_operation(const operation *op)
{
	static const char *const names[] = {"set",   "set_scored", "unset",      "compare_and_set",
					    "get",   "list",       "list_names", "count",
					    "batch", "apply_each", "scan",       "clear",
					    "reopen"};

	print_error("%s", names[op->verb]);
	if (op->verb < DO_BATCH || op->verb == DO_SCAN) {
		print_error(" ");
		print_text(op->path);
	}
	if (op->verb == DO_CAS) {
		print_error(" from ");
		print_text(op->expected);
		print_error(" to");
	}
	if (op->verb <= DO_CAS && op->verb != DO_UNSET) {
		print_error(" ");
		print_text(op->value);
	}
	if (op->verb == DO_SCORED)
		print_error(" %lld", (long long)op->score);
	if (op->verb == DO_LIST || op->verb == DO_NAMES)
		print_error(" from %lld, %lld of them", (long long)op->offset,
			    (long long)op->limit);
	for (size_t i = 1; i <= op->part_count; i++) {
		print_error("\n        ");
		print_operation(&op[i]);
	}
}

/* ---------------------------------------------------------------- compare and shrink */

static size_t next_at(const operation *ops, size_t at)
{
	return at + 1 + ops[at].part_count;
}

/* Run a sequence on a fresh namespace of one kind. The operation that differs, or `count`. */
static size_t find_difference(const engine_kind *kind, const operation *ops, size_t count,
			      keep_buffer *model_says, keep_buffer *engine_says)
{
	subject self = {.kind = *kind};
	model state = {.count = 0};
	size_t at = 0;

	engine_fresh_url(kind, self.url);
	if (open_subject(&self) != KEEP_OK)
		return count;
	while (at < count) {
		ask_model(&state, &ops[at], model_says);
		ask_engine(&self, &ops[at], engine_says);
		if (!kp_bytes_equal(kp_buffer_bytes(model_says), kp_buffer_bytes(engine_says)))
			break;
		at = next_at(ops, at);
	}
	if (self.engine)
		(void)!keep_engine_clear(self.engine, NULL);
	keep_engine_close(&self.engine);
	model_release(&state);
	return at;
}

/* The index before which `skip` whole operations stand. */
static size_t skip_operations(const operation *ops, size_t count, size_t from, size_t skip)
{
	while (skip-- > 0 && from < count)
		from = next_at(ops, from);
	return from;
}

/* Leave out single changes of batches while the difference stays. Returns the new length. */
static size_t shrink_batches(const engine_kind *kind, operation *ops, size_t count,
			     operation *tried, int64_t end)
{
	keep_buffer one = KEEP_BUFFER_INIT, two = KEEP_BUFFER_INIT;

	for (size_t head = 0; head < count; head = next_at(ops, head)) {
		size_t part = ops[head].part_count;

		for (; part > 0 && kp_monotonic_ns() < end; part--) {
			size_t gone = head + part, at;

			if (ops[head].part_count == 1)
				break;
			memcpy(tried, ops, gone * sizeof *ops);
			memcpy(tried + gone, ops + gone + 1, (count - gone - 1) * sizeof *ops);
			tried[head].part_count--;
			at = find_difference(kind, tried, count - 1, &one, &two);
			if (at == count - 1)
				continue;
			count = next_at(tried, at);
			memcpy(ops, tried, count * sizeof *ops);
		}
	}
	keep_buffer_release(&one);
	keep_buffer_release(&two);
	return count;
}

/* Leave out ever smaller parts while the difference stays. Returns the new length. */
static size_t shrink(const engine_kind *kind, operation *ops, size_t count)
{
	int64_t end = kp_monotonic_ns() + SHRINK_SECONDS * INT64_C(1000000000);
	keep_buffer one = KEEP_BUFFER_INIT, two = KEEP_BUFFER_INIT;
	operation *tried = calloc(count + 1, sizeof *tried);

	assert_non_null(tried);
	for (size_t chunk = count / 2; chunk > 0; chunk /= 2) {
		size_t from = 0;

		while (from < count && kp_monotonic_ns() < end) {
			size_t to = skip_operations(ops, count, from, chunk), at;
			size_t left = count - (to - from);

			memcpy(tried, ops, from * sizeof *ops);
			memcpy(tried + from, ops + to, (count - to) * sizeof *ops);
			at = find_difference(kind, tried, left, &one, &two);
			if (at < left) {
				count = next_at(tried, at);
				memcpy(ops, tried, count * sizeof *ops);
			} else {
				from = to;
			}
		}
	}
	count = shrink_batches(kind, ops, count, tried, end);
	free(tried);
	keep_buffer_release(&one);
	keep_buffer_release(&two);
	return count;
}

static void report(const engine_kind *kind, const operation *ops, size_t count, uint64_t seed)
{
	keep_buffer model_says = KEEP_BUFFER_INIT, engine_says = KEEP_BUFFER_INIT;
	operation *kept = calloc(count + 1, sizeof *kept);
	size_t at;

	assert_non_null(kept);
	memcpy(kept, ops, count * sizeof *kept);
	at = find_difference(kind, kept, count, &model_says, &engine_says);
	if (at == count) {
		print_error("%s: the difference does not come again (KEEP_TEST_SEED=%llu)\n",
			    kind->name, (unsigned long long)seed);
	} else {
		count = shrink(kind, kept, next_at(kept, at));
		at = find_difference(kind, kept, count, &model_says, &engine_says);
		print_error("\n%s differs from the model, KEEP_TEST_SEED=%llu:\n", kind->name,
			    (unsigned long long)seed);
		for (size_t i = 0; i < count; i = next_at(kept, i)) {
			print_error("    ");
			print_operation(&kept[i]);
			print_error("\n");
		}
		print_error("the model says: %s\n%s says: %s\n", model_says.data, kind->name,
			    engine_says.data);
	}
	free(kept);
	keep_buffer_release(&model_says);
	keep_buffer_release(&engine_says);
}

static void every_backend_answers_as_the_model_does(void **state)
{
	static subject subjects[KINDS_MAX];
	operation *ops = calloc(wanted.operations + 1, sizeof *ops);
	keep_buffer model_says = KEEP_BUFFER_INIT, engine_says = KEEP_BUFFER_INIT;
	model mirror = {.count = 0};
	uint64_t seed = test_seed();
	size_t count, different = wanted.kind_count, at = 0;

	(void)state;
	assert_non_null(ops);
	count = make_sequence(seed, ops, wanted.operations);
	for (size_t i = 0; i < wanted.kind_count; i++) {
		engine_urls_begin(wanted.kinds[i], &subjects[i].kind);
		engine_fresh_url(&subjects[i].kind, subjects[i].url);
		assert_int_equal(open_subject(&subjects[i]), KEEP_OK);
	}
	for (; at < count && different == wanted.kind_count; at = next_at(ops, at)) {
		ask_model(&mirror, &ops[at], &model_says);
		for (size_t i = 0; i < wanted.kind_count; i++) {
			ask_engine(&subjects[i], &ops[at], &engine_says);
			if (different == wanted.kind_count &&
			    !kp_bytes_equal(kp_buffer_bytes(&model_says),
					    kp_buffer_bytes(&engine_says)))
				different = i;
		}
	}
	for (size_t i = 0; i < wanted.kind_count; i++) {
		print_message("%s: %zu operations in %.1f s\n", subjects[i].kind.name, at,
			      (double)subjects[i].spent_ns / 1e9);
		if (subjects[i].engine)
			(void)!keep_engine_clear(subjects[i].engine, NULL);
		keep_engine_close(&subjects[i].engine);
	}
	if (different < wanted.kind_count)
		report(&subjects[different].kind, ops, at, seed);
	keep_buffer_release(&model_says);
	keep_buffer_release(&engine_says);
	model_release(&mirror);
	free(ops);
	assert_int_equal(different, wanted.kind_count);
	assert_nothing_lives();
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_backend_answers_as_the_model_does)};
	int failed;

	if (argc < 3 || argc > 2 + KINDS_MAX || atoi(argv[1]) < 100) {
		fprintf(stderr, "usage: test_engine_differential OPERATIONS KIND…\n");
		return 2;
	}
	wanted.operations = (size_t)atoi(argv[1]);
	wanted.kind_count = (size_t)(argc - 2);
	for (size_t i = 0; i < wanted.kind_count; i++)
		wanted.kinds[i] = argv[i + 2];
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	engine_urls_end();
	return failed;
}
