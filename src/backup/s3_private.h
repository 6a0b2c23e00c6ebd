#ifndef KP_S3_PRIVATE_H
#define KP_S3_PRIVATE_H
/*
 * s3_private.h - what the files of the S3 client share.
 */
#include "backup/s3.h"

#include <curl/curl.h>
#include <openssl/evp.h>

enum {
	KP_S3_CODE_SIZE = 64,     /* "NoSuchKey" */
	KP_S3_ETAG_SIZE = 136,    /* with its quotes, and the zero byte */
	KP_S3_HEADERS_MAX = 8,    /* of one request, ours beside the signature's */
	KP_S3_HEADER_SIZE = 1200, /* of one of them */
	KP_S3_TARGET_SIZE = 3 * KP_S3_KEY_MAX + 64,
	KP_S3_UPLOAD_ID_MAX = 1024
};
#define KP_S3_ANSWER_BYTES_MAX ((size_t)16 << 20) /* of a listing: 1000 keys, encoded */
#define KP_S3_EMPTY_SHA256 "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

struct kp_s3 {
	CURL *curl;
	keep_memory texts; /* those below but the secrets */
	const char *base;  /* "https://host[:port]", without a '/' at its end */
	const char *bucket;
	const char *prefix; /* "" or "…/" */
	const char *region;
	const char *provider;   /* "aws:amz:<region>:s3" */
	const char *ca_file;    /* or NULL */
	const char *connect_to; /* or NULL */
	keep_memory secrets;    /* wiped */
	const char *access_key, *secret_key, *session_token;
	int64_t timeout_ms, single_bytes_max, part_bytes;
	unsigned tries;
	const _Atomic int *cancelled;
	void (*progress)(void *ctx, const kp_s3_progress *progress);
	void *progress_ctx;
	void (*pause)(void *ctx, int64_t ms);
	void *pause_ctx;
	const char *fixed_date; /* for tests: the X-Amz-Date to sign with; NULL: now */
	kp_s3_progress done;    /* as told last; the running transfer adds to it */
	keep_buffer url;        /* of the request that is made */
};

/* ---------------------------------------------------------------- addresses (s3_url.c) */

/* Percent-encode all but A-Z a-z 0-9 - . _ ~ (and '/' when it is kept), as signatures want it. */
keep_status kp_s3_append_encoded(keep_buffer *out, keep_bytes text, bool keep_slash,
				 keep_error *err) KEEP_MUST_CHECK;
/* The other way, '+' being a blank, within `text`; false: a bad escape. */
bool kp_s3_decode(char *text, size_t *len);
/* "<prefix><key>", checked, appended to an empty buffer. */
keep_status kp_s3_full_key(const kp_s3 *s3, const char *key, keep_buffer *out,
			   keep_error *err) KEEP_MUST_CHECK;
/* The host, port and scheme of an endpoint, without more: INVALID otherwise. */
keep_status kp_s3_check_endpoint(const char *endpoint, keep_error *err) KEEP_MUST_CHECK;

/* ---------------------------------------------------------------- digests (s3_hash.c) */

/* What is fed to it as SHA-256 and, where the machine may, as MD5. {0} is empty. */
typedef struct kp_s3_hash {
	EVP_MD_CTX *sha256, *md5;
} kp_s3_hash;

keep_status kp_s3_hash_begin(kp_s3_hash *hash, keep_error *err) KEEP_MUST_CHECK;
keep_status kp_s3_hash_add(kp_s3_hash *hash, keep_bytes bytes, keep_error *err) KEEP_MUST_CHECK;
/* MD5 is "" where there is none. */
keep_status kp_s3_hash_end(kp_s3_hash *hash, char sha256[KP_S3_SHA256_TEXT], char md5[33],
			   keep_error *err) KEEP_MUST_CHECK;
void kp_s3_hash_release(kp_s3_hash *hash);
/* SHA-256 of a part of a file, also fed to `whole` (may be NULL). CONFLICT: it ends early. */
keep_status kp_s3_hash_file(int fd, int64_t at, int64_t size, kp_s3_hash *whole,
			    const _Atomic int *cancelled, char sha256[KP_S3_SHA256_TEXT],
			    keep_error *err) KEEP_MUST_CHECK;
bool kp_s3_is_sha256(const char *text);

/* ---------------------------------------------------------------- requests (s3_request.c) */

struct kp_s3_answer;

typedef struct kp_s3_request {
	const char *method; /* GET, HEAD, PUT, POST, DELETE */
	keep_bytes key;     /* whole; absent: the bucket itself */
	/* "a=1&b=": sorted by name, encoded, each with its '='; "": none. libcurl 7.88 signs it as
	   it is. */
	const char *query;
	const char *sha256;                     /* hex of the body; NULL: there is none */
	const char *headers[KP_S3_HEADERS_MAX]; /* signed; up to a NULL */
	keep_bytes body;                        /* when `fd` is -1 */
	int fd;                                 /* the body is `size` bytes of it from `at` */
	int64_t at, size;
	bool counts; /* its bytes are progress */
	/* Where the body of a good answer goes; NULL: answer->body. */
	keep_status (*take)(void *ctx, const struct kp_s3_answer *answer, keep_bytes bytes,
			    keep_error *err);
	void *take_ctx;
} kp_s3_request;

typedef struct kp_s3_answer {
	long status;                    /* of HTTP; 0: there was none */
	char code[KP_S3_CODE_SIZE];     /* the server's own, when it refused */
	char etag[KP_S3_ETAG_SIZE];     /* without quotes */
	char sha256[KP_S3_SHA256_TEXT]; /* x-amz-meta-sha256, or "" */
	char region[KP_S3_CODE_SIZE];   /* where the bucket is, when the server tells */
	char sent_md5[33];              /* of what was sent from a file; "": not known */
	int64_t size;                   /* Content-Length; -1: not told */
	int64_t range_at;               /* where a part that was asked for begins; -1: it is none */
	int64_t modified_ms;            /* Last-Modified; 0: not told */
	int64_t retry_after_ms;         /* the server asks to wait; 0: it does not */
	bool is_encrypted;              /* by the server, whose ETag then is no MD5 */
	keep_buffer body;
} kp_s3_answer;

#define KP_S3_REQUEST(verb, whole_key)                                                             \
	{                                                                                          \
		.method = (verb), .key = (whole_key), .query = "", .fd = -1                        \
	}

void kp_s3_answer_release(kp_s3_answer *answer);

/* One try. After a failure `again` tells whether another may succeed. The answer is replaced. */
keep_status kp_s3_try(kp_s3 *s3, const kp_s3_request *request, kp_s3_answer *answer, bool *again,
		      keep_error *err) KEEP_MUST_CHECK;
/* Wait before try number `tried` + 1: exponential with jitter, never below what the server asks.
   BUSY: cancelled. */
keep_status kp_s3_back_off(kp_s3 *s3, unsigned tried, int64_t asked_ms,
			   keep_error *err) KEEP_MUST_CHECK;
/* As many tries as may be. */
keep_status kp_s3_call(kp_s3 *s3, const kp_s3_request *request, kp_s3_answer *answer,
		       keep_error *err) KEEP_MUST_CHECK;
keep_status kp_s3_check_cancelled(const kp_s3 *s3, keep_error *err) KEEP_MUST_CHECK;
/* Tell the caller how far it is: what is done, and `more` bytes of what is under way. */
void kp_s3_tell_progress(const kp_s3 *s3, int64_t more);

/* ---------------------------------------------------------------- answers (s3_answer.c) */

/* CURLOPT_HEADERFUNCTION; `ctx` is the answer. */
size_t kp_s3_take_header(char *data, size_t size, size_t count, void *ctx);
/* The status of an answer that came, whole, and whether to try again. */
keep_status kp_s3_judge(const kp_s3 *s3, const kp_s3_request *request, kp_s3_answer *answer,
			bool *again, keep_error *err) KEEP_MUST_CHECK;
/* The same of a transfer that did not end. */
keep_status kp_s3_judge_transfer(const kp_s3 *s3, CURLcode code, bool *again,
				 keep_error *err) KEEP_MUST_CHECK;

/* ---------------------------------------------------------------- XML (s3_xml.c) */

/*
 * Called at the end of each element with its path ("/Error/Code", without namespaces) and its
 * text, in document order; elements that hold others have none.
 */
typedef keep_status kp_s3_xml_each(void *ctx, const char *path, keep_bytes text, keep_error *err);

/* UNAVAILABLE: not XML, or with a document type, or too deep. A failure of `each` ends it. */
keep_status kp_s3_xml_read(keep_bytes xml, kp_s3_xml_each *each, void *ctx,
			   keep_error *err) KEEP_MUST_CHECK;
/* The text of the first element of that path; "" when there is none or it is too long. */
keep_status kp_s3_xml_find(keep_bytes xml, const char *path, char *out, size_t size,
			   keep_error *err) KEEP_MUST_CHECK;

/* ---------------------------------------------------------------- uploads in parts (s3_put.c), and
 * what s3.c shares */

keep_status kp_s3_put_parts(kp_s3 *s3, keep_bytes key, int fd, int64_t size, const char *sha256,
			    keep_error *err) KEEP_MUST_CHECK;
keep_status kp_s3_head_full(kp_s3 *s3, keep_bytes key, kp_s3_object *out,
			    keep_error *err) KEEP_MUST_CHECK;
keep_status kp_s3_delete_full(kp_s3 *s3, keep_bytes key, keep_error *err) KEEP_MUST_CHECK;
/* Is it what was to be stored? CORRUPT: no. */
keep_status kp_s3_check_stored(kp_s3 *s3, keep_bytes key, int64_t size, const char *sha256,
			       keep_error *err) KEEP_MUST_CHECK;

/* ---------------------------------------------------------------- manifests (s3_manifest.c) */

typedef struct kp_s3_file {
	keep_bytes path; /* within the backup: "data/gateway/messages.db"; zero-terminated */
	int64_t size;
	char sha256[KP_S3_SHA256_TEXT];
} kp_s3_file;

typedef struct kp_s3_manifest {
	kp_s3_file *files;
	size_t count;
	keep_bytes *folders; /* those that a home has, also empty ones; as paths of files */
	size_t folder_count;
	int64_t bytes; /* of all of them */
	int64_t size;  /* of the manifest */
	char sha256[KP_S3_SHA256_TEXT];
	kp_arena memory;
} kp_s3_manifest;

/* The manifest.json of an open folder. CORRUPT: it is no manifest, or names a path that leaves the
   folder. */
keep_status kp_s3_manifest_read(int folder, kp_s3_manifest *out, keep_error *err) KEEP_MUST_CHECK;
void kp_s3_manifest_release(kp_s3_manifest *manifest);
/* A name that a backup may have. */
keep_status kp_s3_check_backup_name(const char *name, keep_error *err) KEEP_MUST_CHECK;

#endif
