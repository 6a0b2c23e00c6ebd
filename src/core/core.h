#ifndef KP_CORE_H
#define KP_CORE_H
/*
 * core.h - what every module of Keep stands on. Core knows nobody.
 *
 * Memory and buffers (alloc.c, buffer.c), failures (error.c), text (utf8.c), JSON (json_read.c,
 * json_write.c), time (time.c), clock and random (clock.c), ids (uuid.c), digests (digest.c),
 * files (file.c), fault points (fault.c), the log callback (log.c).
 *
 * Threads: everything here may be called from any thread unless it says otherwise.
 */
#include "keep/base.h"
#include "keep/log.h"
#include "keep/time.h"

#include <stdarg.h>
#include <sys/types.h>

#define KP_COUNT(array) (sizeof(array) / sizeof *(array))

/* ---------------------------------------------------------------- memory (alloc.c) */

/* The library's only callers of malloc, realloc and free; the style check holds that. */
void *kp_alloc(size_t size) KEEP_MUST_CHECK;      /* NULL when out of memory */
void *kp_alloc_zero(size_t size) KEEP_MUST_CHECK; /* the same, zeroed */
void *kp_realloc(void *ptr, size_t size) KEEP_MUST_CHECK;
void kp_free(void *ptr);
/* A copy of a zero-terminated text, for kp_free; NULL stays NULL. */
keep_status kp_text_copy(const char *text, char **out, keep_error *err) KEEP_MUST_CHECK;
void kp_wipe(void *ptr, size_t size); /* overwrite a secret so that no compiler drops it */
long kp_alloc_live(void);             /* blocks not yet freed; tests assert 0 */

/* Everything one result needs, freed at once. A zeroed arena is empty and valid. */
typedef keep_memory kp_arena;

void *kp_arena_alloc(kp_arena *arena, size_t size) KEEP_MUST_CHECK; /* max-aligned; or NULL */
/* A copy followed by a zero byte; absent stays absent. */
keep_status kp_arena_copy(kp_arena *arena, keep_bytes from, keep_bytes *out,
			  keep_error *err) KEEP_MUST_CHECK;
void kp_arena_release(kp_arena *arena);
void kp_arena_wipe(kp_arena *arena); /* the same, with what it held overwritten first */

/* ---------------------------------------------------------------- failures (error.c) */

/* Fill *err (if not NULL) and return `status`, so that a failure reads `return kp_fail(...)`.
   Control characters and bytes that are not UTF-8 become '?': a message is one printable line. */
keep_status kp_fail(keep_error *err, keep_status status, const char *format, ...) KEEP_MUST_CHECK
	KEEP_PRINTF(3, 4);
/* "<what>: <strerror>", with the status that the errno means to a caller: no space and no
   descriptors are FULL, no permission and read-only DENIED, ENOENT NOT_FOUND, EIO UNAVAILABLE … */
keep_status kp_fail_errno(keep_error *err, int errnum, const char *format, ...) KEEP_MUST_CHECK
	KEEP_PRINTF(3, 4);
keep_status kp_fail_memory(keep_error *err, const char *what) KEEP_MUST_CHECK;
/* Put "<prefix>: " before err's message; the status stays. */
keep_status kp_prefix(keep_error *err, keep_status status, const char *format, ...) KEEP_MUST_CHECK
	KEEP_PRINTF(3, 4);

/* "<format>" as kp_fail would write it: cut between two characters, one printable line. */
void kp_message_format(char *text, size_t size, const char *format, va_list args) KEEP_PRINTF(3, 0);

/* ---------------------------------------------------------------- bytes and buffers (buffer.c) */

bool kp_bytes_equal(keep_bytes a, keep_bytes b);  /* absent equals only absent */
int kp_bytes_compare(keep_bytes a, keep_bytes b); /* memcmp order, then length */
/* %.*s of a keep_bytes: printf("%" KP_PRI, KP_ARG(bytes)); cut at 200 bytes */
#define KP_PRI ".*s"
#define KP_ARG(bytes) ((int)((bytes).len > 200 ? 200 : (bytes).len)), ((bytes).data)

#define KP_BUFFER_BYTES_MAX ((size_t)1 << (sizeof(size_t) == 4 ? 30 : 32))
/* Room for `len` bytes in all (and a zero byte). FULL: over KP_BUFFER_BYTES_MAX. A buffer named
   `out` below is replaced, not appended to (JSON alone appends), and must not hold the input. */
keep_status kp_buffer_reserve(keep_buffer *buffer, size_t len, keep_error *err) KEEP_MUST_CHECK;
keep_status kp_buffer_append(keep_buffer *buffer, keep_bytes bytes,
			     keep_error *err) KEEP_MUST_CHECK;
keep_status kp_buffer_append_text(keep_buffer *buffer, const char *text,
				  keep_error *err) KEEP_MUST_CHECK;
keep_status kp_buffer_append_format(keep_buffer *buffer, keep_error *err, const char *format,
				    ...) KEEP_MUST_CHECK KEEP_PRINTF(3, 4);
keep_bytes kp_buffer_bytes(const keep_buffer *buffer); /* {"", 0} for an empty one */
/* The keep/base.h function keep_buffer_set lives here too. */

/* -------------------------------------------------- text (utf8.c, number.c, base64.c) */

/* Valid UTF-8 by RFC 3629 (no overlong forms, no surrogates, nothing above U+10FFFF). On false
   `position` (may be NULL) is the first bad byte. */
bool kp_utf8_is_valid(keep_bytes text, size_t *position);
/* The bytes of the character that `text` begins with, 1 to 4; 0 when it is not valid UTF-8. */
size_t kp_utf8_width(keep_bytes text);
/* Valid UTF-8 without a zero byte: what a text column of every backend can hold. */
bool kp_text_is_storable(keep_bytes text);
/* Decimal, the whole text, in range; no blanks, no '+'. */
bool kp_int_parse(keep_bytes text, int64_t *out);
bool kp_real_parse(keep_bytes text, double *out); /* finite, JSON's grammar, no locale */
/* The shortest text (of 15 to 17 digits) that kp_real_parse reads back equal; false: not finite. */
#define KP_REAL_TEXT_SIZE 32
bool kp_real_format(double value, char text[KP_REAL_TEXT_SIZE]);
/* RFC 4648 base64 with padding; decode is strict: INVALID for anything that encode never writes. */
keep_status kp_base64_encode(keep_bytes bytes, keep_buffer *out, keep_error *err) KEEP_MUST_CHECK;
keep_status kp_base64_decode(keep_bytes text, keep_buffer *out, keep_error *err) KEEP_MUST_CHECK;
int kp_hex_digit(char digit);                    /* 0 to 15 in either case, or -1 */
void kp_hex_format(keep_bytes bytes, char *out); /* 2 * len lower-case digits and a zero byte */

/* ---------------------------------------------------------------- JSON (json_read.c, json_write.c)
 *
 * RFC 8259, strictly: one value, no trailing bytes, no comments, valid UTF-8, no lone surrogate
 * escapes, no duplicate member names, at most KP_JSON_DEPTH_MAX levels. Integers without fraction
 * and exponent that fit int64_t are exact; every other number is a finite double and keeps its raw
 * text. Values are slices of the caller's bytes, so that a nested value is stored verbatim.
 */
#define KP_JSON_DEPTH_MAX 64

typedef enum kp_json_kind {
	KP_JSON_NULL,
	KP_JSON_BOOL,
	KP_JSON_INTEGER,
	KP_JSON_REAL,
	KP_JSON_TEXT,
	KP_JSON_ARRAY,
	KP_JSON_OBJECT
} kp_json_kind;

typedef struct kp_json {
	kp_json_kind kind;
	keep_bytes raw;  /* the value's own bytes in the input */
	keep_bytes name; /* the decoded member name when it is a member of an object */
	union {
		bool boolean;
		int64_t integer;
		double real;
		keep_bytes text; /* decoded; borrowed from the input where it has no escape */
		struct {
			const struct kp_json *items; /* members in input order */
			size_t count;
		} list; /* arrays and objects */
	};
} kp_json;

/* Read one value; the nodes live in `arena`, the slices in `text`. INVALID names the position. */
keep_status kp_json_parse(keep_bytes text, kp_arena *arena, const kp_json **out,
			  keep_error *err) KEEP_MUST_CHECK;
/* The member of that name, or NULL; NULL also when `object` is no object. */
const kp_json *kp_json_member(const kp_json *object, const char *name);
const char *kp_json_kind_name(kp_json_kind kind); /* "a text", "an integer", … for messages */

/* Compact JSON appended to a buffer. The first failure sticks; finish returns it. Texts must be
   UTF-8 (INVALID otherwise); control characters are escaped. */
typedef struct kp_json_writer {
	keep_buffer *out;
	keep_status status;
	keep_error error;
	bool comma;     /* the next value needs one before it */
	unsigned depth; /* open containers; finish asserts 0 */
} kp_json_writer;

void kp_json_begin(kp_json_writer *writer, keep_buffer *out);
void kp_json_open_object(kp_json_writer *writer);
void kp_json_close_object(kp_json_writer *writer);
void kp_json_open_array(kp_json_writer *writer);
void kp_json_close_array(kp_json_writer *writer);
void kp_json_name(kp_json_writer *writer, const char *name);
void kp_json_name_bytes(kp_json_writer *writer, keep_bytes name); /* any text, also with \0 */
void kp_json_put_text(kp_json_writer *writer, keep_bytes text);   /* absent: null */
void kp_json_put_integer(kp_json_writer *writer, int64_t value);
void kp_json_put_real(kp_json_writer *writer, double value); /* shortest that reads back equal */
void kp_json_put_bool(kp_json_writer *writer, bool value);
void kp_json_put_null(kp_json_writer *writer);
void kp_json_put_raw(kp_json_writer *writer, keep_bytes json); /* already JSON */
keep_status kp_json_finish(kp_json_writer *writer, keep_error *err) KEEP_MUST_CHECK;

/* ---------------------------------------------------------------- checks (check.c)
 *
 * Each names `what` (a column) in its message, and never quotes a text that may be long or secret.
 */
#define KP_KEY_MAX 1024              /* bytes of an id, a name, a key, an error … */
#define KP_CONTENT_MAX (1024 * 1024) /* bytes of a content or a JSON: else FULL */

enum kp_text_rule { KP_MAY_BE_ABSENT, KP_NOT_EMPTY };

/* UTF-8 without a zero byte, at most `max` bytes. */
keep_status kp_check_text(const char *what, keep_bytes text, size_t max, enum kp_text_rule rule,
			  keep_error *err) KEEP_MUST_CHECK;
/* An id, a jid, a name that is a key: not empty, no control characters, KP_KEY_MAX. */
keep_status kp_check_key(const char *what, keep_bytes text, keep_error *err) KEEP_MUST_CHECK;
/* A folder: segments of A-Z a-z 0-9 . _ -, not "." or "..", between single slashes; 255 bytes. */
keep_status kp_check_folder(const char *what, keep_bytes folder, keep_error *err) KEEP_MUST_CHECK;
/* JSON of the kind (KP_JSON_NULL: any), at most KP_CONTENT_MAX bytes (else FULL). */
keep_status kp_check_json(const char *what, keep_bytes json, kp_json_kind kind,
			  keep_error *err) KEEP_MUST_CHECK;
/* A content, prompt or body: FULL when over KP_CONTENT_MAX. */
keep_status kp_check_content(const char *what, keep_bytes text, keep_error *err) KEEP_MUST_CHECK;
/* Within KEEP_TIME_MIN to KEEP_TIME_MAX. */
keep_status kp_check_time(const char *what, int64_t time_ms, keep_error *err) KEEP_MUST_CHECK;

/* `limit`, or `fallback` for 0; INVALID when over `max`. */
keep_status kp_check_limit(size_t limit, size_t fallback, size_t max, int64_t *out,
			   keep_error *err) KEEP_MUST_CHECK;

/* `text`, or `fallback` when it is absent. */
static inline keep_bytes kp_text_or(keep_bytes text, const char *fallback)
{
	return text.data ? text : keep_bytes_of(fallback);
}

/* ---------------------------------------------------------------- clock and random (clock.c) */

int64_t kp_clock_ms(void);     /* wall clock, ms since 1970; a test may hold it still */
int64_t kp_monotonic_ns(void); /* never goes back; for time limits only */
keep_status kp_random_bytes(void *out, size_t size, keep_error *err) KEEP_MUST_CHECK;

/* For tests: replace the sources; NULL restores the system's. */
void kp_clock_inject(int64_t (*clock_ms)(void *ctx), void *ctx);
void kp_random_inject(void (*fill)(void *ctx, void *out, size_t size), void *ctx);

/* ---------------------------------------------------------------- ids (uuid.c) */

#define KP_UUID_TEXT_SIZE 37
/* A UUIDv7 (RFC 9562): 48 bits of clock_ms, then a counter and random. Ids made by one process
   are strictly increasing as text, whatever the clock does. */
keep_status kp_uuid_make(char text[KP_UUID_TEXT_SIZE], keep_error *err) KEEP_MUST_CHECK;

/* ---------------------------------------------------------------- digests (digest.c, siphash.c) */

#define KP_SHA256_SIZE 32
keep_status kp_sha256(keep_bytes bytes, unsigned char out[KP_SHA256_SIZE],
		      keep_error *err) KEEP_MUST_CHECK;
/* SipHash-2-4 (Aumasson, Bernstein): a keyed 64-bit hash for tables that hostile names fill. */
uint64_t kp_siphash(const unsigned char key[16], keep_bytes bytes);

/* ---------------------------------------------------------------- files (file.c)
 *
 * Every system call on files that Keep itself makes, so that a test can make the Nth one fail
 * (KP_FAULT_FILE). Names are relative to a folder's descriptor; AT_FDCWD stands for the current
 * one. Interrupted calls are repeated; short writes are completed; descriptors are close-on-exec.
 */
keep_status kp_file_open(int folder, const char *name, int flags, unsigned mode, int *fd,
			 keep_error *err) KEEP_MUST_CHECK;
void kp_file_close(int *fd); /* accepts -1; sets -1 */
keep_status kp_file_read_at(int fd, void *out, size_t size, int64_t at, size_t *got,
			    keep_error *err) KEEP_MUST_CHECK;
keep_status kp_file_read_all(int fd, size_t limit, keep_buffer *out,
			     keep_error *err) KEEP_MUST_CHECK; /* FULL: longer than limit */
keep_status kp_file_write_at(int fd, keep_bytes bytes, int64_t at, keep_error *err) KEEP_MUST_CHECK;
keep_status kp_file_append(int fd, keep_bytes bytes, keep_error *err) KEEP_MUST_CHECK;
keep_status kp_file_truncate(int fd, int64_t size, keep_error *err) KEEP_MUST_CHECK;
keep_status kp_file_sync(int fd, keep_error *err) KEEP_MUST_CHECK; /* fdatasync; a folder too */
keep_status kp_file_rename(int from_folder, const char *from, int to_folder, const char *to,
			   keep_error *err) KEEP_MUST_CHECK;
keep_status kp_file_unlink(int folder, const char *name, int flags,
			   keep_error *err) KEEP_MUST_CHECK;
keep_status kp_folder_make(int folder, const char *name, unsigned mode,
			   keep_error *err) KEEP_MUST_CHECK; /* CONFLICT: there already */

/* ---------------------------------------------------------------- fault points (fault.c)
 *
 * A production build compiles kp_fault() to false. A build with KP_FAULTS lets a test arm "the Nth
 * operation of this kind fails", run a scenario, and ask how many fired. tests/support/torture.h
 * is the loop that uses it. Counters are process-wide and atomic.
 */
enum kp_fault_kind {
	KP_FAULT_ALLOC,   /* an allocation, ours or of any library (tests/support/interpose.c) */
	KP_FAULT_FILE,    /* a file call, ours or SQLite's (tests/support/sqlite_faults.c) */
	KP_FAULT_DRIVER,  /* a call through a door of sql or of a server client */
	KP_FAULT_COMMIT,  /* a commit that happened, but whose answer was lost */
	KP_FAULT_CONNECT, /* a server connection breaks */
	KP_FAULT_KINDS
};

#ifdef KP_FAULTS
bool kp_fault(enum kp_fault_kind kind);
void kp_fault_arm(enum kp_fault_kind kind, long nth, bool persistent);
long kp_fault_disarm(enum kp_fault_kind kind); /* how many times it fired */
/* True in a program whose own malloc consults KP_FAULT_ALLOC (tests/support/interpose.c sets it):
   kp_alloc then does not, so that one allocation is counted once. */
extern bool kp_fault_malloc_interposed;
#else
static inline bool kp_fault(enum kp_fault_kind kind)
{
	(void)kind;
	return false;
}
#endif

/*
 * A named moment, for tests that stop or kill a process exactly there. `name` is a literal such as
 * "engine_files.renamed". Production builds compile it to nothing; with KP_FAULTS the process
 * kills itself (SIGKILL) at the Nth time it meets the moment named by KEEP_KILL_AT="name:N", and
 * an injected callback may run instead.
 */
#ifdef KP_FAULTS
void kp_moment(const char *name);
void kp_moment_inject(void (*callback)(void *ctx, const char *name), void *ctx);
#else
#define kp_moment(name) ((void)0)
#endif

/* ---------------------------------------------------------------- log (log.c) */

void kp_log(keep_log_level level, const char *format, ...) KEEP_PRINTF(2, 3);

#endif
