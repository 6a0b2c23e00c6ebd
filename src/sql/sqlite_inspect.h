#ifndef KP_SQLITE_INSPECT_H
#define KP_SQLITE_INSPECT_H
/*
 * sqlite_inspect.h - what sqlite_inspect.c (a file), sqlite_log_walk.c (its log) and
 * sqlite_reseal.c share.
 */
#include "sql/sqlite_files.h"

/* What those who have the database open hold of its log, in its index. */
typedef struct kp_log_index {
	bool is_known;       /* else nobody has it open */
	uint32_t frames;     /* committed */
	uint32_t backfilled; /* of them, in the file and perhaps read there */
	unsigned char salts[8];
} kp_log_index;

typedef enum kp_log_trouble {
	KP_LOG_WELL,
	KP_LOG_HEADER, /* its header is damaged */
	KP_LOG_FRAME,  /* a frame is, for certain */
	KP_LOG_TAIL    /* the last transaction is not whole: it may have been torn by a crash */
} kp_log_trouble;

typedef struct kp_log_walk {
	uint32_t page_bytes; /* 0: there is no log that can be read */
	uint32_t frames;     /* that are right, up to the last commit */
	uint32_t pages;      /* of the database as of it */
	kp_log_trouble trouble;
	uint32_t first, last; /* the frames in trouble */
} kp_log_walk;

/* Of an open connection in WAL mode that has read. BUSY: it changes all the time. */
keep_status kp_log_index_read(kp_sql_conn *conn, kp_log_index *out,
			      keep_error *err) KEEP_MUST_CHECK;
/* Verify a log frame by frame. Its index being newer or older than it is no trouble. */
keep_status kp_log_walk_all(int fd, const kp_log_index *index, kp_log_walk *out,
			    keep_error *err) KEEP_MUST_CHECK;
/* Set the bit of each page up to `pages` that the log's frames from..to have. */
keep_status kp_log_walk_mark(int fd, const kp_log_walk *walk, uint32_t from, unsigned char *bits,
			     uint32_t pages, keep_error *err) KEEP_MUST_CHECK;

static inline bool kp_bit_is_set(const unsigned char *bits, uint32_t page)
{
	return bits[page / 8] & 1u << page % 8;
}
static inline void kp_bit_set(unsigned char *bits, uint32_t page)
{
	bits[page / 8] |= (unsigned char)(1u << page % 8);
}
static inline void kp_bit_clear(unsigned char *bits, uint32_t page)
{
	bits[page / 8] &= (unsigned char)~(1u << page % 8);
}

#endif
