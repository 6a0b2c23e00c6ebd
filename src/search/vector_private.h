#ifndef KP_VECTOR_PRIVATE_H
#define KP_VECTOR_PRIVATE_H
/* vector_private.h - what the vector_*.c files share. README.md draws the layout. */
#include "search/vector_set.h"

#include <pthread.h>

/* ---------------------------------------------------------------- codes (vector_codes.c) */

#define KP_VECTOR_GROUP 16     /* vectors whose high halves are interleaved */
#define KP_VECTOR_SEGMENT 4096 /* slots of a segment; a multiple of KP_VECTOR_GROUP */
#define KP_VECTOR_CODE_MAX 119 /* 16 * 7 + 7: high halves -7 .. 7, low halves -8 .. 7 */
#define KP_VECTOR_SLOTS_MAX ((uint64_t)1 << 31)

/* Where things are, for one dimension. Offsets are within a segment. */
struct kp_vector_layout {
	size_t dimension;
	size_t rows;      /* of 64 bytes in a group: 8 values of each of its 16 vectors */
	size_t low_bytes; /* of one vector's low halves: a multiple of 64 */
	size_t group_bytes;
	size_t values_bytes;
	size_t at_low, at_details, at_dead, at_values; /* groups begin at 0 */
	size_t segment_bytes;                          /* a multiple of 4096 */
};

/* A group: its head, then `rows` rows. Byte b of lane j in row r holds the high halves (plus 8) of
   the values 8r + b (bits 0-3) and 8r + 4 + b (bits 4-7) of vector j. */
struct kp_vector_group {
	float scale[KP_VECTOR_GROUP]; /* of a code: value / norm is about scale * code */
	float error[KP_VECTOR_GROUP]; /* >= the norm of what the high halves alone lose */
	uint8_t rows[];
};

/* Beside each slot, in the scan's second and third pass. */
struct kp_vector_detail {
	int64_t id;
	double square; /* the sum of the squared values, in their order */
	float error;   /* >= the norm of what both halves lose */
	uint32_t zero;
	uint64_t check; /* of the slot's number, everything above, its codes and its values */
};

/* A slot that a commit took out of the set. */
struct kp_vector_dead {
	uint32_t slot;
	uint32_t check; /* of the entry's number and the slot */
};

/* The query, quantised as a vector is. */
struct kp_vector_query {
	int8_t *codes;  /* at least low_bytes * 2, zero behind the dimension */
	double *values; /* as given */
	double square;  /* as kp_vector_detail's */
	float scale;    /* of a code */
	float error;    /* >= the norm of what the codes lose */
	int32_t sum;    /* of the codes */
};

void kp_vector_layout_init(struct kp_vector_layout *layout, size_t dimension);
/* False when a value is NaN or infinite, or all are zero. */
bool kp_vector_square(const float *values, size_t dimension, double *square);
/* Write the codes of `values` into lane `lane` of a group and a row of low halves. */
void kp_vector_encode(const struct kp_vector_layout *layout, const float *values,
		      struct kp_vector_group *group, size_t lane, uint8_t *low,
		      struct kp_vector_detail *detail);
void kp_vector_encode_query(const struct kp_vector_layout *layout, const float *values,
			    struct kp_vector_query *query);
/* The check of a slot as it stands there. `scratch` holds layout->rows * 4 bytes. */
uint64_t kp_vector_check(const struct kp_vector_layout *layout, uint64_t slot,
			 const struct kp_vector_group *group, const uint8_t *low,
			 const struct kp_vector_detail *detail, const float *values,
			 uint8_t *scratch);
uint32_t kp_vector_dead_check(uint64_t number, uint32_t slot);
/* ---------------------------------------------------------------- kernels (vector_kernels.c) */

/* What the first pass compares: lanes whose upper bound reaches `threshold`. */
struct kp_vector_limits {
	float scale;     /* the query's */
	float error;     /* the query's */
	float threshold; /* -INFINITY: all */
	int32_t sum;     /* of the query's codes */
};

#define KP_VECTOR_AT_ONCE 8

struct kp_vector_kernel {
	const char *name;
	bool (*runs)(void); /* on this processor */
	/* The products of the high halves (plus 8) with the query's codes, and, as bits, the lanes
	   that may reach the threshold. */
	uint32_t (*high)(const struct kp_vector_group *group, size_t rows, const int8_t *codes,
			 const struct kp_vector_limits *limits, int32_t dots[KP_VECTOR_GROUP]);
	/* The product of one vector's low halves (plus 8) with the query's codes. */
	int32_t (*low)(const uint8_t *low, size_t bytes, const int8_t *codes);
	/* The sums of the products of `count` (1 to KP_VECTOR_AT_ONCE) vectors with the query, each
	   in the values' order. All of `values` are set. */
	void (*dots)(const float *const values[KP_VECTOR_AT_ONCE], size_t count,
		     const double *query, size_t dimension, double dots[KP_VECTOR_AT_ONCE]);
};

/* The plain kernel's `dots`. */
void kp_vector_dots(const float *const values[KP_VECTOR_AT_ONCE], size_t count, const double *query,
		    size_t dimension, double dots[KP_VECTOR_AT_ONCE]);
void kp_vector_dots_avx2(const float *const values[KP_VECTOR_AT_ONCE], size_t count,
			 const double *query, size_t dimension, double dots[KP_VECTOR_AT_ONCE]);

extern const struct kp_vector_kernel kp_vector_plain, kp_vector_avx2, kp_vector_avx512;
/* All of them, fastest first, NULL at the end; and the first that runs here. */
extern const struct kp_vector_kernel *const kp_vector_kernels[];
const struct kp_vector_kernel *kp_vector_kernel_best(void);

/* The upper bound of a similarity, as all kernels compute it: vector_codes.c has the proof. */
static inline float kp_vector_reach(float estimate, float error, float query_error)
{
	return estimate + (error + query_error * (1.0f + error)) + 4e-6f * (1.0f + error);
}

/* ---------------------------------------------------------------- file (vector_file.c) */

/* One commit's state, written to one of two places of the file in turn. */
struct kp_vector_header {
	char magic[16];
	uint32_t format, dimension;
	unsigned char model[KP_SHA256_SIZE]; /* of its name */
	int64_t generation, change;
	uint64_t commit;        /* 1, 2, …; the newer of the two valid headers counts */
	uint64_t count, dead;   /* slots in use, of them dead */
	unsigned char boot[16]; /* of the kernel that wrote it; zero: not known */
	uint64_t is_synced;     /* all that it counts was synced before it was written */
	unsigned char zero[64];
	uint64_t check; /* of everything above */
};

#define KP_VECTOR_HEADER_BYTES 8192 /* two pages, a header at the start of each */

struct kp_vector_file {
	int fd; /* -1: not open */
	bool is_writable;
	char *path,
		*draft; /* draft: the name until it is published, NULL after; both NULL: memory */
	const uint8_t *headers; /* mapped */
	uint8_t **segments;     /* mapped, each of layout.segment_bytes */
	size_t segment_count, segment_room;
	unsigned char boot[16];
	int64_t lock_wait_ns; /* how long a writer waits for another one */
};

keep_status kp_vector_file_open(struct kp_vector_file *file, const char *path,
				keep_error *err) KEEP_MUST_CHECK;
/* A new one, without a header. path NULL: in memory. */
keep_status kp_vector_file_make(struct kp_vector_file *file, const char *path,
				keep_error *err) KEEP_MUST_CHECK;
void kp_vector_file_close(struct kp_vector_file *file, size_t segment_bytes);
/* The newer valid header; false when there is none. */
bool kp_vector_file_header(const struct kp_vector_file *file, struct kp_vector_header *out);
/* The number of the newest commit that a header claims, valid or not: has anything changed? */
uint64_t kp_vector_file_peek(const struct kp_vector_file *file);
/* Write it as the next one: its commit and its check are set here. */
keep_status kp_vector_file_put_header(struct kp_vector_file *file, struct kp_vector_header *header,
				      keep_error *err) KEEP_MUST_CHECK;
/* Make the file long enough for `slots` slots. */
keep_status kp_vector_file_extend(struct kp_vector_file *file,
				  const struct kp_vector_layout *layout, uint64_t slots,
				  keep_error *err) KEEP_MUST_CHECK;
/* Map the segments of `slots` slots. CORRUPT: the file is shorter. */
keep_status kp_vector_file_map(struct kp_vector_file *file, const struct kp_vector_layout *layout,
			       uint64_t slots, keep_error *err) KEEP_MUST_CHECK;
/* One writer at a time, of all processes. */
keep_status kp_vector_file_lock(struct kp_vector_file *file, keep_error *err) KEEP_MUST_CHECK;
void kp_vector_file_unlock(struct kp_vector_file *file);
/* False: the path now names another file, or none. */
keep_status kp_vector_file_is_there(const struct kp_vector_file *file, bool *is_there,
				    keep_error *err) KEEP_MUST_CHECK;
const char *kp_vector_file_name(const struct kp_vector_file *file); /* for messages */
keep_status kp_vector_file_publish(struct kp_vector_file *file, keep_error *err) KEEP_MUST_CHECK;

/* ---------------------------------------------------------------- ids (vector_slots.c) */

/* Which slot holds an id: open addressing, at most 3/4 full. A zeroed one is empty. */
struct kp_vector_slots {
	struct kp_vector_place *places;
	size_t room, used; /* room: a power of two; used: with the erased ones */
	uint64_t slots_read, dead_read;
};

#define KP_VECTOR_NO_SLOT UINT32_MAX

void kp_vector_slots_release(struct kp_vector_slots *slots);
/* Room for `more` further ids, so that put cannot fail. */
keep_status kp_vector_slots_reserve(struct kp_vector_slots *slots, size_t more,
				    keep_error *err) KEEP_MUST_CHECK;
uint32_t kp_vector_slots_get(const struct kp_vector_slots *slots, int64_t id);
void kp_vector_slots_put(struct kp_vector_slots *slots, int64_t id, uint32_t slot);
void kp_vector_slots_erase(struct kp_vector_slots *slots, int64_t id);

/* ---------------------------------------------------------------- set (vector_set.c) */

struct kp_vector_edit {
	int64_t id;
	size_t at; /* of its values among the staged ones; SIZE_MAX: a removal */
};

struct kp_vectors {
	struct kp_vector_layout layout;
	const struct kp_vector_kernel *kernel;
	struct kp_vector_file file;

	pthread_rwlock_t view_lock; /* searches read the view; a commit and news change it */
	struct kp_vector_header view;
	uint64_t *dead;     /* bits of the view's dead slots */
	uint64_t dead_room; /* in words */

	pthread_mutex_t write_lock; /* the rest; taken before view_lock */
	struct kp_vector_slots slots;
	struct kp_vector_edit *edits;
	size_t edit_count, edit_room;
	float *staged;
	size_t staged_count, staged_room; /* in vectors */
};

static inline const struct kp_vector_group *kp_vectors_group(const kp_vectors *set, uint64_t slot)
{
	const void *at = set->file.segments[slot / KP_VECTOR_SEGMENT] +
			 slot % KP_VECTOR_SEGMENT / KP_VECTOR_GROUP * set->layout.group_bytes;

	return at;
}

static inline const uint8_t *kp_vectors_low(const kp_vectors *set, uint64_t slot)
{
	return set->file.segments[slot / KP_VECTOR_SEGMENT] + set->layout.at_low +
	       slot % KP_VECTOR_SEGMENT * set->layout.low_bytes;
}

static inline const struct kp_vector_detail *kp_vectors_detail(const kp_vectors *set, uint64_t slot)
{
	const void *at = set->file.segments[slot / KP_VECTOR_SEGMENT] + set->layout.at_details +
			 slot % KP_VECTOR_SEGMENT * sizeof(struct kp_vector_detail);

	return at;
}

static inline const float *kp_vectors_values(const kp_vectors *set, uint64_t slot)
{
	const void *at = set->file.segments[slot / KP_VECTOR_SEGMENT] + set->layout.at_values +
			 slot % KP_VECTOR_SEGMENT * set->layout.values_bytes;

	return at;
}

static inline bool kp_vectors_is_dead(const kp_vectors *set, uint64_t slot)
{
	return set->dead[slot / 64] >> (slot % 64) & 1;
}

/* Bring the view up to what the file says, and hold it for reading until let_go. */
keep_status kp_vectors_hold(kp_vectors *set, keep_error *err) KEEP_MUST_CHECK;
void kp_vectors_let_go(kp_vectors *set);
/* Write what is staged behind what `header` counts, and count it there. Holds write_lock. */
keep_status kp_vectors_write(kp_vectors *set, struct kp_vector_header *header,
			     keep_error *err) KEEP_MUST_CHECK;

#endif
