/*
 * test_keyring.c - keys as text, their ids and check values; key files and who may touch them;
 * where keys come from; IVs over a fork.
 */
#include "temp_folder.h"
#include "vault/vault_private.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define KEY_A "cw_0x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e4="
#define KEY_B "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
/* The signing half of KEY_A and another half after it. */
#define KEY_A_HALF "cw_0x689RpI-jtRR7oE8hwAAAAAAAAAAAAAAAAAAAAA="
/* What openssl says of `keep key id 1` under them, the first 16 digits: ids are in databases. */
#define ID_OF_A "be605a7ec3ca9719"
#define ID_OF_B "dcefa66ed1a9db63"
#define ID_OF_A_HALF "dc0a6fc2977329e7"
#define NOW_MS INT64_C(1700000000000)

static kp_keyring *open_ring(const char *keys)
{
	keep_error err = KEEP_ERROR_INIT;
	kp_keyring *ring = NULL;

	OK(kp_keyring_open(keep_bytes_of(keys), &ring, &err));
	return ring;
}

static void want_id(const char *keys, size_t index, const char *wanted)
{
	kp_keyring *ring = open_ring(keys);
	char id[KP_KEY_ID_SIZE];

	kp_keyring_id(ring, index, id);
	assert_string_equal(id, wanted);
	kp_keyring_close(&ring);
}

/* ---------------------------------------------------------------- keys as text */

static void keys_are_read_however_they_are_separated(void **state)
{
	static const char *const texts[] = {
		KEY_A " " KEY_B,      KEY_A "," KEY_B,  KEY_A "\n" KEY_B "\n",
		KEY_A "\r\n" KEY_B,   KEY_A ", " KEY_B, "\n\n " KEY_A "\t,\n" KEY_B ",\n",
		"," KEY_A ",," KEY_B,
	};
	char id[KP_KEY_ID_SIZE], other[KP_KEY_ID_SIZE];

	(void)state;
	for (size_t i = 0; i < KP_COUNT(texts); i++) {
		kp_keyring *ring = open_ring(texts[i]), *second = open_ring(KEY_B);

		assert_int_equal(kp_keyring_count(ring), 2);
		kp_keyring_id(ring, 1, id);
		kp_keyring_id(second, 0, other);
		assert_string_equal(id, other);
		kp_keyring_id(ring, 2, id);
		assert_string_equal(id, "");
		kp_keyring_close(&ring);
		kp_keyring_close(&second);
	}
	assert_nothing_lives();
}

static void a_wrong_key_is_named_by_its_place_and_not_quoted(void **state)
{
	static const struct {
		const char *keys, *message;
	} wrong[] = {
		{"", "no encryption key"},
		{" ,\n", "no encryption key"},
		{"secret", "key 1 is not"},
		{KEY_A " secret " KEY_B, "key 2 is not"},
		/* Without its padding, with other digits, with bits that count for nothing, longer.
		 */
		{"cw_0x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e4", "key 1 is not"},
		{"cw/0x689RpI+jtRR7oE8h/eQsKImvJapLeSbXpwF4e4=", "key 1 is not"},
		{KEY_B " cw_0x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e5=", "key 2 is not"},
		{"cw_0x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e4A", "key 1 is not"},
		{KEY_A KEY_B, "key 1 is not"},
		{KEY_A " " KEY_B "," KEY_A, "key 3 is key 1 once more"},
		{KEY_B " " KEY_A " " KEY_A_HALF, "key 3 is key 2 once more"},
	};
	keep_error err = KEEP_ERROR_INIT;
	kp_keyring *ring;

	(void)state;
	for (size_t i = 0; i < KP_COUNT(wrong); i++) {
		ring = (kp_keyring *)&err;
		assert_int_equal(kp_keyring_open(keep_bytes_of(wrong[i].keys), &ring, &err),
				 KEEP_INVALID);
		assert_null(ring);
		CHECK(strstr(err.message, wrong[i].message), "\"%s\" and not \"%s\"", err.message,
		      wrong[i].message);
		assert_null(strstr(err.message, "secret"));
		assert_null(strstr(err.message, "cw"));
	}
	assert_int_equal(kp_keyring_open((keep_bytes){.data = NULL}, &ring, &err), KEEP_INVALID);
	kp_keyring_close(&ring);
	assert_nothing_lives();
}

static void a_ring_has_at_most_so_many_keys(void **state)
{
	static char keys[(KP_KEYRING_KEYS_MAX + 1) * KP_KEY_TEXT_SIZE];
	keep_error err = KEEP_ERROR_INIT;
	kp_keyring *ring = NULL;

	(void)state;
	for (size_t i = 0; i <= KP_KEYRING_KEYS_MAX; i++) {
		OK(kp_key_make(keys + i * KP_KEY_TEXT_SIZE, &err));
		keys[(i + 1) * KP_KEY_TEXT_SIZE - 1] = ' ';
	}
	assert_int_equal(kp_keyring_open((keep_bytes){keys, sizeof keys}, &ring, &err),
			 KEEP_INVALID);
	OK(kp_keyring_open((keep_bytes){keys, sizeof keys - KP_KEY_TEXT_SIZE}, &ring, &err));
	assert_int_equal(kp_keyring_count(ring), KP_KEYRING_KEYS_MAX);
	kp_keyring_close(&ring);
	assert_nothing_lives();
}

static void new_keys_are_keys_and_never_the_same(void **state)
{
	char first[KP_KEY_TEXT_SIZE], second[KP_KEY_TEXT_SIZE];
	keep_error err = KEEP_ERROR_INIT;
	kp_keyring *ring;

	(void)state;
	OK(kp_key_make(first, &err));
	OK(kp_key_make(second, &err));
	assert_string_not_equal(first, second);
	ring = open_ring(first);
	kp_keyring_close(&ring);
	assert_nothing_lives();
}

/* ---------------------------------------------------------------- ids and check values */

static void ids_stay_what_they_are(void **state)
{
	(void)state;
	want_id(KEY_A, 0, ID_OF_A);
	want_id(KEY_B "," KEY_A, 1, ID_OF_A);
	want_id(KEY_B, 0, ID_OF_B);
	want_id(KEY_A_HALF, 0, ID_OF_A_HALF);
	assert_nothing_lives();
}

static void a_key_is_found_by_its_id(void **state)
{
	kp_keyring *ring = open_ring(KEY_B " " KEY_A);
	size_t index = 99;

	(void)state;
	assert_true(kp_keyring_find(ring, KEEP_BYTES(ID_OF_A), &index));
	assert_int_equal(index, 1);
	assert_true(kp_keyring_find(ring, KEEP_BYTES(ID_OF_B), &index));
	assert_int_equal(index, 0);
	assert_false(kp_keyring_find(ring, KEEP_BYTES(""), &index));
	assert_false(kp_keyring_find(ring, (keep_bytes){.data = NULL}, &index));
	assert_false(kp_keyring_find(ring, KEEP_BYTES(ID_OF_A_HALF), &index));
	kp_keyring_close(&ring);
	assert_nothing_lives();
}

static void a_check_value_tells_a_wrong_key(void **state)
{
	kp_keyring *both = open_ring(KEY_B " " KEY_A), *a = open_ring(KEY_A);
	kp_keyring *b = open_ring(KEY_B), *half = open_ring(KEY_A_HALF);
	keep_buffer check = KEEP_BUFFER_INIT, other = KEEP_BUFFER_INIT;
	keep_error err = KEEP_ERROR_INIT;
	size_t index = 99;

	(void)state;
	OK(kp_keyring_check(both, 1, NOW_MS, &check, &err));
	OK(kp_keyring_verify(a, kp_buffer_bytes(&check), &index, &err));
	assert_int_equal(index, 0);
	OK(kp_keyring_verify(both, kp_buffer_bytes(&check), &index, &err));
	assert_int_equal(index, 1);
	assert_int_equal(kp_keyring_verify(b, kp_buffer_bytes(&check), &index, &err), KEEP_DENIED);
	assert_non_null(strstr(err.message, "check value"));
	/* A right signing half alone is no right key. */
	assert_int_equal(kp_keyring_verify(half, kp_buffer_bytes(&check), &index, &err),
			 KEEP_CORRUPT);
	/* A token of the key that says something else is none, nor is what is no token. */
	OK(kp_fernet_encrypt(a, NOW_MS, KEEP_BYTES("keep key " ID_OF_B), &other, &err));
	assert_int_equal(kp_keyring_verify(a, kp_buffer_bytes(&other), &index, &err), KEEP_CORRUPT);
	assert_int_equal(kp_keyring_verify(a, KEEP_BYTES(""), &index, &err), KEEP_CORRUPT);
	assert_int_equal(kp_keyring_verify(a, (keep_bytes){.data = NULL}, NULL, &err),
			 KEEP_CORRUPT);
	assert_int_equal(kp_keyring_check(a, 1, NOW_MS, &check, &err), KEEP_MISUSE);
	assert_int_equal(index, 1);
	keep_buffer_release(&check);
	keep_buffer_release(&other);
	kp_keyring_close(&both), kp_keyring_close(&a), kp_keyring_close(&b);
	kp_keyring_close(&half);
	assert_nothing_lives();
}

/* ---------------------------------------------------------------- IVs over a fork */

#define IVS 40
#define IV_DIGITS 24

/* The part of so many tokens in which their IVs are, one after the other. */
static bool write_ivs(const kp_keyring *ring, char ivs[IVS][IV_DIGITS])
{
	keep_buffer token = KEEP_BUFFER_INIT;
	bool done = true;

	for (size_t i = 0; i < IVS && done; i++) {
		done = kp_fernet_encrypt(ring, NOW_MS, KEEP_BYTES(""), &token, NULL) == KEEP_OK;
		if (done)
			memcpy(ivs[i], token.data + 12, IV_DIGITS);
	}
	keep_buffer_release(&token);
	return done;
}

static void a_fork_repeats_no_iv(void **state)
{
	static char ours[IVS][IV_DIGITS], theirs[IVS][IV_DIGITS];
	kp_keyring *ring = open_ring(KEY_A);
	int ends[2], status = -1;
	pid_t child;

	(void)state;
	/* Some IVs are drawn beforehand, and more of them wait. */
	assert_true(write_ivs(ring, ours));
	assert_int_equal(pipe(ends), 0);
	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		bool done = write_ivs(ring, theirs) &&
			    write(ends[1], theirs, sizeof theirs) == (ssize_t)sizeof theirs;

		_exit(done ? 0 : 1);
	}
	assert_true(write_ivs(ring, ours));
	assert_int_equal(read(ends[0], theirs, sizeof theirs), (ssize_t)sizeof theirs);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	for (size_t i = 0; i < IVS; i++) {
		for (size_t k = 0; k < IVS; k++)
			CHECK(memcmp(ours[i], theirs[k], IV_DIGITS) != 0, "IVs %zu and %zu", i, k);
	}
	close(ends[0]);
	close(ends[1]);
	kp_keyring_close(&ring);
	assert_nothing_lives();
}

static void fill_counting(void *ctx, void *out, size_t size)
{
	unsigned *calls = ctx;

	memset(out, (int)(0x40 + *calls), size);
	(*calls)++;
}

/* Where a kernel empties no page in a child, nothing may wait in one. */
static void ivs_are_drawn_beforehand_only_where_a_fork_is_seen(void **state)
{
	static char ivs[IVS][IV_DIGITS];
	kp_keyring *ring = open_ring(KEY_A);
	keep_error err = KEEP_ERROR_INIT;
	kp_desk *desk = NULL;
	unsigned calls = 0;

	(void)state;
	kp_random_inject(fill_counting, &calls);
	assert_true(write_ivs(ring, ivs));
	assert_int_equal(calls, 1);
	OK(kp_desk_take(ring, &desk, &err));
	assert_non_null(desk->page);
	assert_int_equal(munmap(desk->page, 4096), 0);
	desk->page = NULL;
	kp_desk_give(ring, &desk);
	assert_true(write_ivs(ring, ivs));
	assert_int_equal(calls, 1 + IVS);
	kp_random_inject(NULL, NULL);
	kp_keyring_close(&ring);
	assert_nothing_lives();
}

/* ---------------------------------------------------------------- key files */

static void write_file(const char *path, const char *text, unsigned mode)
{
	FILE *file = fopen(path, "wb");

	CHECK(file, "%s cannot be written", path);
	assert_int_equal(fwrite(text, 1, strlen(text), file), strlen(text));
	assert_int_equal(fclose(file), 0);
	assert_int_equal(chmod(path, mode), 0);
}

static void want_file(const char *path, const char *wanted)
{
	char text[2000];
	FILE *file = fopen(path, "rb");
	size_t len;

	CHECK(file, "%s cannot be read", path);
	len = fread(text, 1, sizeof text - 1, file);
	text[len] = '\0';
	assert_string_equal(text, wanted);
	(void)fclose(file);
}

/* So that nothing but these is in a folder: no file is left half way. */
static void want_only(const temp_folder *folder, const char *name)
{
	char command[200];

	(void)snprintf(command, sizeof command, "test \"$(ls -A '%s')\" = '%s'", folder->path,
		       name);
	assert_int_equal(system(command), 0);
}

static void a_key_file_is_made_once_and_for_its_owner_alone(void **state)
{
	keep_buffer keys = KEEP_BUFFER_INIT, again = KEEP_BUFFER_INIT;
	keep_error err = KEEP_ERROR_INIT;
	kp_keyring *ring = NULL;
	temp_folder folder;
	struct stat about;
	mode_t mask = umask(0);
	char path[128];

	(void)state;
	temp_folder_make(&folder);
	temp_path(&folder, "key", path);
	OK(kp_key_file_make(path, &err));
	umask(mask);
	assert_int_equal(stat(path, &about), 0);
	assert_int_equal(about.st_mode & 07777, 0600);
	assert_int_equal(about.st_nlink, 1);
	OK(kp_key_file_read(path, &keys, &err));
	OK(kp_keyring_open(kp_buffer_bytes(&keys), &ring, &err));
	assert_int_equal(kp_keyring_count(ring), 1);
	assert_int_equal(kp_key_file_make(path, &err), KEEP_CONFLICT);
	OK(kp_key_file_read(path, &again, &err));
	assert_string_equal(keys.data, again.data);
	want_only(&folder, "key");
	assert_int_equal(kp_key_file_make("/nowhere/at/all", &err), KEEP_NOT_FOUND);
	assert_int_equal(kp_key_file_make(folder.path, &err), KEEP_CONFLICT);
	assert_int_equal(kp_key_file_make("", &err), KEEP_INVALID);
	assert_int_equal(kp_key_file_make("/tmp/", &err), KEEP_INVALID);
	assert_int_equal(kp_key_file_make(NULL, &err), KEEP_INVALID);
	kp_keyring_close(&ring);
	kp_secret_release(&keys);
	kp_secret_release(&again);
	temp_folder_remove(&folder);
	assert_nothing_lives();
}

static void *make_file(void *ctx)
{
	keep_error err = KEEP_ERROR_INIT;
	keep_status status = kp_key_file_make(ctx, &err);

	return status == KEEP_OK ? ctx : NULL;
}

static void of_many_who_make_a_key_file_one_does(void **state)
{
	pthread_t threads[8];
	temp_folder folder;
	size_t made = 0;
	char path[128];

	(void)state;
	temp_folder_make(&folder);
	temp_path(&folder, "key", path);
	for (size_t i = 0; i < KP_COUNT(threads); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, make_file, path), 0);
	for (size_t i = 0; i < KP_COUNT(threads); i++) {
		void *is_maker = NULL;

		pthread_join(threads[i], &is_maker);
		made += is_maker != NULL;
	}
	assert_int_equal(made, 1);
	want_only(&folder, "key");
	temp_folder_remove(&folder);
	assert_nothing_lives();
}

static void remarks_of_a_key_file_are_passed_over(void **state)
{
	keep_buffer keys = KEEP_BUFFER_INIT;
	keep_error err = KEEP_ERROR_INIT;
	temp_folder folder;
	char path[128];

	(void)state;
	temp_folder_make(&folder);
	temp_path(&folder, "key", path);
	write_file(path, "# the newest\n" KEY_A " # of today\n\n#" KEY_A_HALF "\r\n" KEY_B, 0600);
	OK(kp_key_file_read(path, &keys, &err));
	assert_string_equal(keys.data, "\n" KEY_A " \n\n\n" KEY_B);
	/* Nothing of a longer file is left when a shorter one is read into the same buffer. */
	write_file(path, "", 0400);
	OK(kp_key_file_read(path, &keys, &err));
	assert_int_equal(keys.len, 0);
	kp_secret_release(&keys);
	temp_folder_remove(&folder);
	assert_nothing_lives();
}

static void want_denied(const char *path, const char *part)
{
	keep_buffer keys = KEEP_BUFFER_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_status status = kp_key_file_read(path, &keys, &err);

	CHECK(status == KEEP_DENIED, "%s: %s", keep_status_name(status), err.message);
	CHECK(strstr(err.message, part) && strstr(err.message, path), "%s", err.message);
	assert_null(keys.data);
	assert_int_equal(kp_key_file_put(path, KEEP_BYTES(KEY_B), &err), KEEP_DENIED);
	/* What is refused is not passed by for something else. */
	assert_int_equal(kp_keys_find(path, &keys, NULL, &err), KEEP_DENIED);
	assert_null(keys.data);
}

static void a_key_file_that_others_may_touch_is_refused(void **state)
{
	temp_folder folder;
	char path[128];

	(void)state;
	temp_folder_make(&folder);
	temp_path(&folder, "key", path);
	for (unsigned mode = 1; mode <= 077; mode++) {
		write_file(path, KEY_A "\n", 0600 | mode);
		want_denied(path, "its owner alone");
		want_file(path, KEY_A "\n");
	}
	temp_folder_remove(&folder);
	assert_nothing_lives();
}

static void only_a_regular_file_is_a_key_file(void **state)
{
	char path[128], link_path[128];
	keep_buffer keys = KEEP_BUFFER_INIT;
	keep_error err = KEEP_ERROR_INIT;
	temp_folder folder;

	(void)state;
	temp_folder_make(&folder);
	temp_path(&folder, "key", path);
	temp_path(&folder, "link", link_path);
	write_file(path, KEY_A "\n", 0600);
	assert_int_equal(symlink(path, link_path), 0);
	want_denied(link_path, "key file");
	assert_int_equal(unlink(link_path), 0);
	/* Nobody writes to this pipe: opening it must not wait. */
	assert_int_equal(mkfifo(link_path, 0600), 0);
	want_denied(link_path, "no regular file");
	assert_int_equal(unlink(link_path), 0);
	assert_int_equal(mkdir(link_path, 0700), 0);
	want_denied(link_path, "no regular file");
	assert_int_equal(kp_key_file_read(path + 1, &keys, &err), KEEP_NOT_FOUND);
	assert_int_equal(kp_key_file_read("", &keys, &err), KEEP_INVALID);
	temp_folder_remove(&folder);
	assert_nothing_lives();
}

static void a_key_file_is_not_endless(void **state)
{
	static char text[KP_KEY_FILE_BYTES_MAX + 2];
	keep_buffer keys = KEEP_BUFFER_INIT;
	keep_error err = KEEP_ERROR_INIT;
	temp_folder folder;
	char path[128];

	(void)state;
	temp_folder_make(&folder);
	temp_path(&folder, "key", path);
	memset(text, '#', sizeof text - 1);
	write_file(path, text, 0600);
	assert_int_equal(kp_key_file_read(path, &keys, &err), KEEP_FULL);
	assert_null(keys.data);
	write_file(path, text + 1, 0600);
	OK(kp_key_file_read(path, &keys, &err));
	kp_secret_release(&keys);
	/* There is no room for one more key. */
	memcpy(text + 1, KEY_A "\n", KP_KEY_TEXT_SIZE);
	write_file(path, text + 1, 0600);
	assert_int_equal(kp_key_file_put(path, KEEP_BYTES(KEY_B), &err), KEEP_FULL);
	want_only(&folder, "key");
	temp_folder_remove(&folder);
	assert_nothing_lives();
}

/* ---------------------------------------------------------------- a new key in front */

static void a_new_key_goes_in_front_and_the_rest_stays(void **state)
{
	keep_error err = KEEP_ERROR_INIT;
	temp_folder folder;
	struct stat about;
	char path[128];

	(void)state;
	temp_folder_make(&folder);
	temp_path(&folder, "key", path);
	write_file(path, "# mine\n" KEY_A, 0600);
	OK(kp_key_file_put(path, KEEP_BYTES(KEY_B), &err));
	want_file(path, KEY_B "\n# mine\n" KEY_A);
	assert_int_equal(stat(path, &about), 0);
	assert_int_equal(about.st_mode & 07777, 0600);
	/* Again is no change; an older one is no newest. */
	OK(kp_key_file_put(path, KEEP_BYTES(KEY_B), &err));
	want_file(path, KEY_B "\n# mine\n" KEY_A);
	assert_int_equal(kp_key_file_put(path, KEEP_BYTES(KEY_A), &err), KEEP_CONFLICT);
	assert_int_equal(kp_key_file_put(path, KEEP_BYTES("secret"), &err), KEEP_INVALID);
	assert_null(strstr(err.message, "secret"));
	assert_int_equal(kp_key_file_put(path, KEEP_BYTES(KEY_A " " KEY_B), &err), KEEP_INVALID);
	want_file(path, KEY_B "\n# mine\n" KEY_A);
	/* A file that could not be read is not made worse. */
	write_file(path, KEY_A "\nsecret\n", 0600);
	assert_int_equal(kp_key_file_put(path, KEEP_BYTES(KEY_B), &err), KEEP_INVALID);
	assert_non_null(strstr(err.message, "key 2 is not"));
	want_file(path, KEY_A "\nsecret\n");
	assert_int_equal(unlink(path), 0);
	assert_int_equal(kp_key_file_put(path, KEEP_BYTES(KEY_B), &err), KEEP_NOT_FOUND);
	temp_folder_remove(&folder);
	assert_nothing_lives();
}

static void a_key_file_that_another_is_changing_is_busy(void **state)
{
	keep_error err = KEEP_ERROR_INIT;
	temp_folder folder;
	char path[128];
	int fd;

	(void)state;
	temp_folder_make(&folder);
	temp_path(&folder, "key", path);
	write_file(path, KEY_A "\n", 0600);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_int_equal(flock(fd, LOCK_EX), 0);
	assert_int_equal(kp_key_file_put(path, KEEP_BYTES(KEY_B), &err), KEEP_BUSY);
	want_file(path, KEY_A "\n");
	close(fd);
	OK(kp_key_file_put(path, KEEP_BYTES(KEY_B), &err));
	want_only(&folder, "key");
	temp_folder_remove(&folder);
	assert_nothing_lives();
}

struct putter {
	pthread_t thread;
	const char *path;
	char key[KP_KEY_TEXT_SIZE];
	keep_status status;
};

static void *put_key(void *ctx)
{
	struct putter *putter = ctx;

	do
		putter->status = kp_key_file_put(putter->path, keep_bytes_of(putter->key), NULL);
	while (putter->status == KEEP_BUSY);
	return NULL;
}

static void no_key_is_lost_between_many_who_add_one(void **state)
{
	struct putter putters[8];
	keep_buffer keys = KEEP_BUFFER_INIT;
	keep_error err = KEEP_ERROR_INIT;
	temp_folder folder;
	char path[128];

	(void)state;
	temp_folder_make(&folder);
	temp_path(&folder, "key", path);
	OK(kp_key_file_make(path, &err));
	for (size_t i = 0; i < KP_COUNT(putters); i++) {
		putters[i].path = path;
		OK(kp_key_make(putters[i].key, &err));
	}
	for (size_t i = 0; i < KP_COUNT(putters); i++)
		assert_int_equal(pthread_create(&putters[i].thread, NULL, put_key, &putters[i]), 0);
	for (size_t i = 0; i < KP_COUNT(putters); i++)
		pthread_join(putters[i].thread, NULL);
	OK(kp_key_file_read(path, &keys, &err));
	assert_int_equal(keys.len, (KP_COUNT(putters) + 1) * KP_KEY_TEXT_SIZE);
	for (size_t i = 0; i < KP_COUNT(putters); i++) {
		assert_int_equal(putters[i].status, KEEP_OK);
		CHECK(strstr(keys.data, putters[i].key), "key %zu is lost", i);
	}
	want_only(&folder, "key");
	kp_secret_release(&keys);
	temp_folder_remove(&folder);
	assert_nothing_lives();
}

/* ---------------------------------------------------------------- where keys come from */

static void want_found(const char *path, const char *keys_wanted, const char *where_wanted)
{
	keep_buffer keys = KEEP_BUFFER_INIT;
	keep_error err = KEEP_ERROR_INIT;
	const char *where = NULL;

	OK(kp_keys_find(path, &keys, &where, &err));
	assert_string_equal(keys.data, keys_wanted);
	assert_string_equal(where, where_wanted);
	kp_secret_release(&keys);
}

static void the_environment_comes_before_the_file(void **state)
{
	keep_buffer keys = KEEP_BUFFER_INIT;
	keep_error err = KEEP_ERROR_INIT;
	temp_folder folder;
	const char *where;
	char path[128];

	(void)state;
	temp_folder_make(&folder);
	temp_path(&folder, "key", path);
	assert_int_equal(kp_keys_find(path, &keys, &where, &err), KEEP_NOT_FOUND);
	assert_non_null(strstr(err.message, path));
	assert_non_null(strstr(err.message, "KEEP_ENCRYPTION_KEY"));
	assert_int_equal(kp_keys_find(NULL, &keys, &where, &err), KEEP_NOT_FOUND);
	assert_null(where);
	write_file(path, "file\n", 0600);
	want_found(path, "file\n", path);
	assert_int_equal(setenv("ENCRYPTION_KEY", "second", 1), 0);
	want_found(path, "second", "ENCRYPTION_KEY");
	assert_int_equal(setenv("KEEP_ENCRYPTION_KEY", "first,older", 1), 0);
	want_found(NULL, "first,older", "KEEP_ENCRYPTION_KEY");
	/* An empty one is as good as none. */
	assert_int_equal(setenv("KEEP_ENCRYPTION_KEY", "", 1), 0);
	want_found(path, "second", "ENCRYPTION_KEY");
	assert_int_equal(setenv("ENCRYPTION_KEY", "", 1), 0);
	want_found(path, "file\n", path);
	unsetenv("KEEP_ENCRYPTION_KEY");
	unsetenv("ENCRYPTION_KEY");
	temp_folder_remove(&folder);
	assert_nothing_lives();
}

/* Whoever runs the tests may have keys of their own. */
static int forget_keys(void **state)
{
	(void)state;
	unsetenv("KEEP_ENCRYPTION_KEY");
	unsetenv("ENCRYPTION_KEY");
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(keys_are_read_however_they_are_separated),
		cmocka_unit_test(a_wrong_key_is_named_by_its_place_and_not_quoted),
		cmocka_unit_test(a_ring_has_at_most_so_many_keys),
		cmocka_unit_test(new_keys_are_keys_and_never_the_same),
		cmocka_unit_test(ids_stay_what_they_are),
		cmocka_unit_test(a_key_is_found_by_its_id),
		cmocka_unit_test(a_check_value_tells_a_wrong_key),
		cmocka_unit_test(a_fork_repeats_no_iv),
		cmocka_unit_test(ivs_are_drawn_beforehand_only_where_a_fork_is_seen),
		cmocka_unit_test(a_key_file_is_made_once_and_for_its_owner_alone),
		cmocka_unit_test(of_many_who_make_a_key_file_one_does),
		cmocka_unit_test(remarks_of_a_key_file_are_passed_over),
		cmocka_unit_test(a_key_file_that_others_may_touch_is_refused),
		cmocka_unit_test(only_a_regular_file_is_a_key_file),
		cmocka_unit_test(a_key_file_is_not_endless),
		cmocka_unit_test(a_new_key_goes_in_front_and_the_rest_stays),
		cmocka_unit_test(a_key_file_that_another_is_changing_is_busy),
		cmocka_unit_test(no_key_is_lost_between_many_who_add_one),
		cmocka_unit_test(the_environment_comes_before_the_file),
	};

	return cmocka_run_group_tests(tests, forget_keys, NULL);
}
