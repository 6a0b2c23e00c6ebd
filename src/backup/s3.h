#ifndef KP_S3_H
#define KP_S3_H
/*
 * s3.h - files of backups in an S3 bucket: of AWS, or of any server that speaks its protocol.
 *
 *   opening, single objects   s3.c, s3_put.c, s3_get.c
 *   whole backups             s3_backup.c, s3_backup_download.c
 *   addresses                 s3_url.c        requests      s3_request.c, s3_answer.c
 *   listings                  s3_list.c       XML           s3_xml.c
 *   manifests                 s3_manifest.c   digests       s3_hash.c
 *
 * What it is not: a file system, or a cache. It remembers nothing between two calls but the
 * connection.
 *
 * Every call repeats what may be repeated (5xx, 429, SlowDown, a connection that is lost or
 * silent), with growing pauses, and ends. Repeating is safe for all of them, so none returns
 * UNCERTAIN.
 *
 *   DENIED       401, 403, an expired token, a certificate that cannot be verified; the message has
 *                the server's own code, such as SignatureDoesNotMatch
 *   NOT_FOUND    no such bucket, key or backup; a file of ours that is missing
 *   INVALID      an address, a name, or a request that the server will never take; a bucket that
 *                lives in another region, which is told
 *   FULL         a quota, or something that is too large
 *   UNAVAILABLE  the server cannot be reached, or went on failing to the last try
 *   CORRUPT      a file or an object is not what its checksum says
 *   BUSY         the caller's flag cancelled it
 *
 * Secrets are in no message, and what this module holds of them is wiped. libcurl keeps a copy in
 * its own memory while a client is open, which nobody can wipe.
 *
 * Threads: a client is used by one thread at a time; the flag may be set by any.
 */
#include "core/core.h"

typedef struct kp_s3 kp_s3;

#define KP_S3_KEY_MAX 1024                          /* bytes of a key, with the client's prefix */
#define KP_S3_SHA256_TEXT 65                        /* hex of SHA-256, and the zero byte */
#define KP_S3_SINGLE_BYTES_MAX ((int64_t)64 << 20)  /* a larger file goes up in parts */
#define KP_S3_PART_BYTES ((int64_t)16 << 20)        /* so large each; larger for huge files */
#define KP_S3_PART_BYTES_MIN ((int64_t)5 << 20)     /* what servers take */
#define KP_S3_FILE_BYTES_MAX ((int64_t)5 << 40)     /* of one object */
#define KP_S3_MANIFEST_BYTES_MAX ((size_t)64 << 20) /* of a backup's manifest.json */

/* `bytes` and `files` are 0 while they are not known. `files` counts those of a whole backup. */
typedef struct kp_s3_progress {
	int64_t files_done, files;
	int64_t bytes_done, bytes;
} kp_s3_progress;

typedef struct kp_s3_options {
	const char *endpoint; /* "https://host[:port]", or http; NULL: AWS's own of the region */
	const char *bucket;
	const char *prefix; /* before every key, a '/' is put after it; NULL: none */
	const char *region; /* NULL: us-east-1 */
	const char *access_key;
	const char *secret_key;
	const char *session_token;    /* NULL: none */
	const char *ca_file;          /* whom to trust; NULL: whom the system trusts */
	int64_t timeout_ms;           /* to connect, and of silence; 0: 30000; at least 1000 */
	unsigned tries;               /* of one request; 0: 6 */
	int64_t single_bytes_max;     /* 0: KP_S3_SINGLE_BYTES_MAX; never above it */
	int64_t part_bytes;           /* 0: KP_S3_PART_BYTES */
	const _Atomic int *cancelled; /* not 0: end soon, with BUSY; NULL: never */
	void (*progress)(void *ctx, const kp_s3_progress *progress);
	void *progress_ctx;
	void (*pause)(void *ctx, int64_t ms); /* NULL: sleeps, and looks at `cancelled` meanwhile */
	void *pause_ctx;
	const char *connect_to; /* for tests: "host:port" to connect to instead; NULL */
} kp_s3_options;

/* What is given is copied. Nothing is asked of the server. INVALID names the option. */
keep_status kp_s3_open(const kp_s3_options *options, kp_s3 **out, keep_error *err) KEEP_MUST_CHECK;

/*
 * The same for "s3://bucket[/prefix]" and the names of the trade in the environment:
 * AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, AWS_REGION or AWS_DEFAULT_REGION,
 * AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL, AWS_CA_BUNDLE. `rest` (NULL: defaults) gives what these
 * do not, and what it gives itself wins. INVALID: the URL, or a name that is missing.
 */
keep_status kp_s3_open_url(const char *url, const kp_s3_options *rest, kp_s3 **out,
			   keep_error *err) KEEP_MUST_CHECK;
void kp_s3_close(kp_s3 **s3);

/* ---------------------------------------------------------------- single objects
 *
 * Keys are relative to the client's prefix: UTF-8 without control characters, no segment "." or
 * "..".
 */

typedef struct kp_s3_object {
	int64_t size;
	int64_t modified_ms; /* when it was uploaded; 0: the server did not tell */
	bool has_sha256;     /* it was uploaded by kp_s3_put_file */
	char sha256[KP_S3_SHA256_TEXT];
} kp_s3_object;

/*
 * Store the file `name` of `folder` under `key`, replacing what was there. Afterwards it is there
 * whole, or as it was before: never in part. Memory does not grow with the file. `sha256` (hex) and
 * `size` are what the file must have, else CORRUPT and nothing was changed.
 */
keep_status kp_s3_put_file(kp_s3 *s3, const char *key, int folder, const char *name, int64_t size,
			   const char *sha256, keep_error *err) KEEP_MUST_CHECK;

/*
 * Fetch `key` into the file `name` of `folder` (mode 0600, synced; the folder is not), which is
 * replaced only by a whole and right one: it grows as "<name>.partial". `size` (-1: any) and
 * `sha256` (NULL: the one that it was stored with) are what it must have, else CORRUPT. A
 * connection that breaks goes on where it was.
 */
keep_status kp_s3_get_file(kp_s3 *s3, const char *key, int folder, const char *name, int64_t size,
			   const char *sha256, keep_error *err) KEEP_MUST_CHECK;

keep_status kp_s3_head(kp_s3 *s3, const char *key, kp_s3_object *out,
		       keep_error *err) KEEP_MUST_CHECK;

/* OK also when it was not there. */
keep_status kp_s3_delete(kp_s3 *s3, const char *key, keep_error *err) KEEP_MUST_CHECK;

typedef struct kp_s3_entry {
	keep_bytes key;      /* relative to the client's prefix */
	bool is_folder;      /* all keys that begin so, as one entry; `key` ends with '/' */
	int64_t size;        /* of a key */
	int64_t modified_ms; /* of a key; 0: the server did not tell */
} kp_s3_entry;

enum kp_s3_depth { KP_S3_ALL_BELOW, KP_S3_THIS_FOLDER };

/* Called for each entry, in the server's order; the entry is borrowed. A failure ends the list and
   is its result. It must not use the client. */
typedef keep_status kp_s3_each(void *ctx, const kp_s3_entry *entry, keep_error *err);

/* All keys that begin with `prefix` (after the client's own), page by page. */
keep_status kp_s3_list(kp_s3 *s3, const char *prefix, enum kp_s3_depth depth, kp_s3_each *each,
		       void *ctx, keep_error *err) KEEP_MUST_CHECK;

/* Abort the uploads in parts that began before `before_ms` and never ended: what a killed process
   leaves, invisible and paid for. `count` (may be NULL) is how many there were. */
keep_status kp_s3_prune_uploads(kp_s3 *s3, const char *prefix, int64_t before_ms, size_t *count,
				keep_error *err) KEEP_MUST_CHECK;

/* ---------------------------------------------------------------- whole backups
 *
 * A backup folder (backup.h) becomes the keys "<name>/manifest.json" and "<name>/data/…". A backup
 * exists when its manifest does: it is uploaded last and removed first. A name is a folder name of
 * A-Z a-z 0-9 . _ -, and does not begin with a dot.
 */

/*
 * What is there already with the same checksum is not uploaded again, so an interrupted upload is
 * ended by repeating it. CONFLICT: another backup has that name. CORRUPT: a file is not what the
 * manifest says.
 */
keep_status kp_s3_backup_upload(kp_s3 *s3, const char *folder, const char *name,
				keep_error *err) KEEP_MUST_CHECK;

typedef struct kp_s3_backup {
	keep_bytes name;
	bool is_complete; /* false: what is left of an upload or a removal that was interrupted */
	int64_t uploaded_ms; /* of a complete one */
} kp_s3_backup;

typedef struct kp_s3_backups {
	kp_s3_backup *items; /* by name */
	size_t count;
	kp_arena memory;
} kp_s3_backups;

keep_status kp_s3_backup_list(kp_s3 *s3, kp_s3_backups *out, keep_error *err) KEEP_MUST_CHECK;
void kp_s3_backups_release(kp_s3_backups *backups);

/*
 * Into the folder `into`, which must not exist (CONFLICT) while its parent must. It grows as
 * "<into>.partial", every file verified; one that an interrupted download left is gone on with.
 */
keep_status kp_s3_backup_download(kp_s3 *s3, const char *name, const char *into,
				  keep_error *err) KEEP_MUST_CHECK;

/* The manifest first, so that a half removed one is no backup; and uploads that never ended.
   NOT_FOUND: nothing of that name is there. */
keep_status kp_s3_backup_remove(kp_s3 *s3, const char *name, keep_error *err) KEEP_MUST_CHECK;

#endif
