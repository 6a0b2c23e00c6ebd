/*
 * json_read.c - read one JSON value, strictly (RFC 8259; what is refused besides: core.h).
 *
 *        ┌────────────── open '[' '{' (with the member's name) ┐
 *        ▼                                                     │
 *     VALUE ── a scalar, or an empty container ──► AFTER ── ',' (with the next member's name) ─►
 * VALUE │  ▲ │  └── close ']' '}' └───── depth 0 and the end of the text ─► DONE
 *
 * Invariants:
 *   1. No recursion; open containers are frames in an array of KP_JSON_DEPTH_MAX.
 *   2. Finished values wait on one stack until their container closes, and move to the arena in
 *      one piece then. Each moves once, so time and memory are linear in the input: the stack and
 *      the arena hold at most a constant number of bytes for each byte of text.
 *   3. Names are compared by a merge sort: O(n log n), whatever names a hostile sender chose. A
 *      hash table would need a secret key to promise that.
 *   4. A failure returns before *out is set; what the arena holds then is the caller's to free.
 *
 * Tests: tests/unit/test_json.c; fuzz/fuzz_json.c.
 */
#include "core/core.h"

#include <string.h>

#define STACK_FIRST 32
#define FEW_MEMBERS 8 /* up to here comparing each with each is cheaper than sorting */

enum step { VALUE, AFTER, DONE };

/* A finished value whose container is still open. */
struct pending {
	kp_json node;
	size_t name_at; /* where its name is in the text */
};

/* An open container. */
struct frame {
	bool is_object;
	size_t start; /* of the container in the text */
	size_t first; /* of its values on the stack */
	keep_bytes name;
	size_t name_at;
};

struct reader {
	keep_bytes text;
	size_t at;
	kp_arena *arena;
	keep_error *err;
	struct pending *stack;
	size_t count, capacity;
	struct frame frames[KP_JSON_DEPTH_MAX];
	size_t depth;
	keep_bytes name; /* of the member whose value comes next */
	size_t name_at;
};

static keep_status refuse(struct reader *r, size_t at, const char *expected)
{
	return kp_fail(r->err, KEEP_INVALID, "not JSON: byte %zu: expected %s", at, expected);
}

/* The next byte, or a zero byte at the end, which stands nowhere in JSON either. */
static char peek(const struct reader *r)
{
	return r->at < r->text.len ? r->text.data[r->at] : '\0';
}

static void skip_blanks(struct reader *r)
{
	while (peek(r) == ' ' || peek(r) == '\t' || peek(r) == '\n' || peek(r) == '\r')
		r->at++;
}

/* ---------------------------------------------------------------- texts */

/* Four hexadecimal digits at `at`, or -1. */
static int32_t read_hex(keep_bytes text, size_t at)
{
	int32_t code = 0;

	if (text.len < 4 || at > text.len - 4)
		return -1;
	for (size_t i = at; i < at + 4; i++) {
		int digit = kp_hex_digit(text.data[i]);

		if (digit < 0)
			return -1;
		code = code * 16 + digit;
	}
	return code;
}

static char *write_utf8(char *to, uint32_t code)
{
	if (code < 0x80) {
		*to++ = (char)code;
	} else if (code < 0x800) {
		*to++ = (char)(0xc0 | code >> 6);
		*to++ = (char)(0x80 | (code & 63));
	} else if (code < 0x10000) {
		*to++ = (char)(0xe0 | code >> 12);
		*to++ = (char)(0x80 | (code >> 6 & 63));
		*to++ = (char)(0x80 | (code & 63));
	} else {
		*to++ = (char)(0xf0 | code >> 18);
		*to++ = (char)(0x80 | (code >> 12 & 63));
		*to++ = (char)(0x80 | (code >> 6 & 63));
		*to++ = (char)(0x80 | (code & 63));
	}
	return to;
}

/* "\uXXXX", or a pair of them, beginning at `at`; *used bytes of text. False: not so. */
static bool read_unicode(keep_bytes text, size_t at, uint32_t *code, size_t *used)
{
	int32_t high = read_hex(text, at + 2);
	int32_t low;

	*used = 6;
	*code = (uint32_t)high;
	if (high < 0 || (high >= 0xdc00 && high <= 0xdfff))
		return false;
	if (high < 0xd800 || high > 0xdbff)
		return true;
	if (at + 8 > text.len || text.data[at + 6] != '\\' || text.data[at + 7] != 'u')
		return false;
	low = read_hex(text, at + 8);
	if (low < 0xdc00 || low > 0xdfff)
		return false;
	*used = 12;
	*code = 0x10000 + ((uint32_t)(high - 0xd800) << 10) + (uint32_t)(low - 0xdc00);
	return true;
}

/* Decode one escape at `from` (a backslash) of the slice; on false the escape is not JSON's. */
static bool decode_escape(keep_bytes slice, size_t *from, char **to)
{
	static const char letters[] = "\"\\/bfnrt", meanings[] = "\"\\/\b\f\n\r\t";
	char letter = slice.data[*from + 1]; /* there is one: the slice ends before a quote */
	const char *found = letter ? strchr(letters, letter) : NULL;
	uint32_t code;
	size_t used;

	if (found) {
		*(*to)++ = meanings[found - letters];
		*from += 2;
		return true;
	}
	if (letter != 'u' || !read_unicode(slice, *from, &code, &used))
		return false;
	*to = write_utf8(*to, code);
	*from += used;
	return true;
}

/* The slice between two quotes, which begins at `start`, without its escapes. */
static keep_status decode_text(struct reader *r, size_t start, keep_bytes slice, keep_bytes *out)
{
	char *decoded = kp_arena_alloc(r->arena, slice.len + 1); /* an escape never gets longer */
	char *to = decoded;
	size_t from = 0;

	if (!decoded)
		return kp_fail_memory(r->err, "a JSON text");
	while (from < slice.len) {
		const char *escape = memchr(slice.data + from, '\\', slice.len - from);
		size_t run = escape ? (size_t)(escape - slice.data) - from : slice.len - from;

		memcpy(to, slice.data + from, run);
		to += run;
		from += run;
		if (escape && !decode_escape(slice, &from, &to))
			return refuse(r, start + from, "an escape that JSON has, and no half pair");
	}
	*to = '\0';
	*out = (keep_bytes){decoded, (size_t)(to - decoded)};
	return KEEP_OK;
}

/* The text whose opening quote is next. */
static keep_status read_text(struct reader *r, keep_bytes *out)
{
	size_t start = ++r->at;
	bool has_escape = false;

	for (; peek(r) != '"'; r->at++) {
		if (r->at >= r->text.len)
			return refuse(r, r->text.len, "'\"' at the end of a text");
		if ((unsigned char)peek(r) < 0x20)
			return refuse(r, r->at, "no control character in a text");
		if (peek(r) == '\\') {
			has_escape = true;
			r->at++;
		}
	}
	*out = (keep_bytes){r->text.data + start, r->at - start};
	r->at++;
	return has_escape ? decode_text(r, start, *out, out) : KEEP_OK;
}

/* `"name" :`, with blanks before each. */
static keep_status read_name(struct reader *r)
{
	keep_status status;

	skip_blanks(r);
	if (peek(r) != '"')
		return refuse(r, r->at, "a member name in quotes");
	r->name_at = r->at;
	status = read_text(r, &r->name);
	if (status != KEEP_OK)
		return status;
	skip_blanks(r);
	if (peek(r) != ':')
		return refuse(r, r->at, "':'");
	r->at++;
	return KEEP_OK;
}

/* ---------------------------------------------------------------- values */

/* Put a finished value on the stack, under the name that was read before it. */
static keep_status push(struct reader *r, kp_json node)
{
	if (r->count == r->capacity) {
		size_t capacity = r->capacity ? r->capacity * 2 : STACK_FIRST;
		struct pending *stack = kp_realloc(r->stack, capacity * sizeof *stack);

		if (!stack)
			return kp_fail_memory(r->err, "JSON values");
		r->stack = stack;
		r->capacity = capacity;
	}
	node.name = r->name;
	r->stack[r->count++] = (struct pending){.node = node, .name_at = r->name_at};
	r->name = (keep_bytes){.data = NULL};
	return KEEP_OK;
}

/* "0", or digits that do not begin with it; perhaps after '-'. */
static bool is_integer(keep_bytes raw)
{
	size_t at = raw.data[0] == '-';

	if (raw.len > at + 1 && raw.data[at] == '0')
		return false;
	for (size_t i = at; i < raw.len; i++) {
		if (raw.data[i] < '0' || raw.data[i] > '9')
			return false;
	}
	return raw.len > at;
}

static keep_status read_number(struct reader *r)
{
	kp_json node = {.kind = KP_JSON_INTEGER};
	size_t start = r->at;

	while (peek(r) != '\0' && strchr("+-.eE0123456789", peek(r)))
		r->at++;
	node.raw = (keep_bytes){r->text.data + start, r->at - start};
	if (!is_integer(node.raw) || !kp_int_parse(node.raw, &node.integer)) {
		node.kind = KP_JSON_REAL;
		if (!kp_real_parse(node.raw, &node.real))
			return refuse(r, start,
				      "a number as JSON writes it, that a double can hold");
	}
	return push(r, node);
}

static keep_status read_word(struct reader *r)
{
	static const struct {
		keep_bytes text;
		kp_json node;
	} words[] = {
		{{"null", 4}, {.kind = KP_JSON_NULL}},
		{{"true", 4}, {.kind = KP_JSON_BOOL, .boolean = true}},
		{{"false", 5}, {.kind = KP_JSON_BOOL, .boolean = false}},
	};

	for (size_t i = 0; i < KP_COUNT(words); i++) {
		kp_json node = words[i].node;

		node.raw = (keep_bytes){r->text.data + r->at, words[i].text.len};
		if (words[i].text.len <= r->text.len - r->at &&
		    kp_bytes_equal(node.raw, words[i].text)) {
			r->at += words[i].text.len;
			return push(r, node);
		}
	}
	return refuse(r, r->at, "a value");
}

/* ---------------------------------------------------------------- member names */

static int compare(const struct pending *a, const struct pending *b)
{
	return kp_bytes_compare(a->node.name, b->node.name);
}

/* Merge from[begin..middle) and from[middle..end), both sorted, into `to`. */
static void merge(const struct pending **from, const struct pending **to, size_t begin,
		  size_t middle, size_t end)
{
	size_t left = begin, right = middle;

	for (size_t i = begin; i < end; i++) {
		bool take_left =
			right == end || (left < middle && compare(from[left], from[right]) <= 0);

		to[i] = take_left ? from[left++] : from[right++];
	}
}

/* Sort `count` of `sorted`, which has room for twice as many; gives the half with the result. */
static const struct pending **sort(const struct pending **sorted, size_t count)
{
	const struct pending **from = sorted, **to = sorted + count;

	for (size_t width = 1; width < count; width *= 2) {
		const struct pending **swap = from;

		for (size_t begin = 0; begin < count; begin += 2 * width) {
			size_t left = count - begin < width ? count - begin : width;
			size_t both = count - begin < 2 * width ? count - begin : 2 * width;

			merge(from, to, begin, begin + left, begin + both);
		}
		from = to;
		to = swap;
	}
	return from;
}

static keep_status refuse_duplicate(struct reader *r, const struct pending *member)
{
	return kp_fail(r->err, KEEP_INVALID,
		       "not JSON: byte %zu: expected each member name once, \"%" KP_PRI
		       "\" is again",
		       member->name_at, KP_ARG(member->node.name));
}

static keep_status check_names(struct reader *r, const struct pending *members, size_t count)
{
	keep_status status = KEEP_OK;
	const struct pending **room = NULL, **sorted;

	if (count <= FEW_MEMBERS) {
		for (size_t i = 1; i < count; i++) {
			for (size_t j = 0; j < i; j++) {
				if (compare(&members[i], &members[j]) == 0)
					return refuse_duplicate(r, &members[i]);
			}
		}
		return KEEP_OK;
	}
	room = kp_alloc(count * 2 * sizeof *room);
	if (!room)
		return kp_fail_memory(r->err, "JSON member names");
	for (size_t i = 0; i < count; i++)
		room[i] = &members[i];
	sorted = sort(room, count);
	for (size_t i = 1; i < count && status == KEEP_OK; i++) {
		if (compare(sorted[i - 1], sorted[i]) == 0)
			status = refuse_duplicate(r, sorted[i]);
	}
	kp_free(room);
	return status;
}

/* ---------------------------------------------------------------- containers */

static keep_status open_container(struct reader *r)
{
	if (r->depth == KP_JSON_DEPTH_MAX)
		return kp_fail(r->err, KEEP_INVALID,
			       "not JSON: byte %zu: expected at most %d levels", r->at,
			       KP_JSON_DEPTH_MAX);
	r->frames[r->depth++] = (struct frame){
		.is_object = peek(r) == '{',
		.start = r->at++,
		.first = r->count,
		.name = r->name,
		.name_at = r->name_at,
	};
	r->name = (keep_bytes){.data = NULL};
	return KEEP_OK;
}

/* The innermost container ends before r->at: move its values to the arena. */
static keep_status close_container(struct reader *r)
{
	const struct frame *frame = &r->frames[--r->depth];
	const struct pending *values = r->stack + frame->first;
	size_t count = r->count - frame->first;
	kp_json node = {.kind = frame->is_object ? KP_JSON_OBJECT : KP_JSON_ARRAY,
			.raw = {r->text.data + frame->start, r->at - frame->start}};
	keep_status status = frame->is_object ? check_names(r, values, count) : KEEP_OK;
	kp_json *items;

	if (status != KEEP_OK)
		return status;
	if (count > 0) {
		items = kp_arena_alloc(r->arena, count * sizeof *items);
		if (!items)
			return kp_fail_memory(r->err, "JSON values");
		for (size_t i = 0; i < count; i++)
			items[i] = values[i].node;
		node.list.items = items;
		node.list.count = count;
	}
	r->count = frame->first;
	r->name = frame->name;
	r->name_at = frame->name_at;
	return push(r, node);
}

static char closing(const struct reader *r)
{
	return r->frames[r->depth - 1].is_object ? '}' : ']';
}

/* '[' or '{', and the name of the first member; an empty container is a value at once. */
static keep_status begin_container(struct reader *r, enum step *next)
{
	keep_status status = open_container(r);

	if (status != KEEP_OK)
		return status;
	skip_blanks(r);
	if (peek(r) == closing(r)) {
		*next = AFTER;
		r->at++;
		return close_container(r);
	}
	return r->frames[r->depth - 1].is_object ? read_name(r) : KEEP_OK;
}

/* ---------------------------------------------------------------- the document */

static keep_status step_value(struct reader *r, enum step *next)
{
	kp_json node = {.kind = KP_JSON_TEXT};
	size_t start;
	keep_status status;

	skip_blanks(r);
	start = r->at;
	if (peek(r) == '{' || peek(r) == '[')
		return begin_container(r, next);
	*next = AFTER;
	if (peek(r) == '-' || (peek(r) >= '0' && peek(r) <= '9'))
		return read_number(r);
	if (peek(r) != '"')
		return read_word(r);
	status = read_text(r, &node.text);
	node.raw = (keep_bytes){r->text.data + start, r->at - start};
	return status == KEEP_OK ? push(r, node) : status;
}

static keep_status step_after(struct reader *r, enum step *next)
{
	skip_blanks(r);
	if (r->depth == 0) {
		*next = DONE;
		return r->at == r->text.len ? KEEP_OK : refuse(r, r->at, "the end");
	}
	if (peek(r) == closing(r)) {
		r->at++;
		return close_container(r);
	}
	if (peek(r) != ',')
		return refuse(r, r->at, closing(r) == '}' ? "',' or '}'" : "',' or ']'");
	r->at++;
	*next = VALUE;
	return r->frames[r->depth - 1].is_object ? read_name(r) : KEEP_OK;
}

keep_status kp_json_parse(keep_bytes text, kp_arena *arena, const kp_json **out, keep_error *err)
{
	struct reader r = {.text = text, .arena = arena, .err = err};
	enum step next = VALUE;
	keep_status status = KEEP_OK;
	kp_json *root;

	*out = NULL;
	if (!text.data)
		r.text = KEEP_BYTES("");
	if (!kp_utf8_is_valid(text, &r.at))
		return refuse(&r, r.at, "valid UTF-8");
	while (next != DONE && status == KEEP_OK)
		status = next == VALUE ? step_value(&r, &next) : step_after(&r, &next);
	if (status != KEEP_OK)
		goto out;
	root = kp_arena_alloc(arena, sizeof *root);
	if (!root) {
		status = kp_fail_memory(err, "JSON values");
		goto out;
	}
	*root = r.stack[0].node;
	*out = root;
out:
	kp_free(r.stack);
	return status;
}

const kp_json *kp_json_member(const kp_json *object, const char *name)
{
	keep_bytes wanted = keep_bytes_of(name);

	if (!object || object->kind != KP_JSON_OBJECT)
		return NULL;
	for (size_t i = 0; i < object->list.count; i++) {
		if (kp_bytes_equal(object->list.items[i].name, wanted))
			return &object->list.items[i];
	}
	return NULL;
}

const char *kp_json_kind_name(kp_json_kind kind)
{
	static const char *const names[] = {
		[KP_JSON_NULL] = "null",          [KP_JSON_BOOL] = "true or false",
		[KP_JSON_INTEGER] = "an integer", [KP_JSON_REAL] = "a number",
		[KP_JSON_TEXT] = "a text",        [KP_JSON_ARRAY] = "an array",
		[KP_JSON_OBJECT] = "an object",
	};

	return (size_t)kind < KP_COUNT(names) ? names[kind] : "?";
}
