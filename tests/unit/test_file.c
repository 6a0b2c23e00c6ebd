/* test_file.c - the file calls, their statuses, and each of them failing once. */
#include "torture.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

/* A folder of this test's own, opened; removed by remove_folder. */
static char folder_path[64];
static int folder = -1;

static int make_folder(void **state)
{
	(void)state;
	snprintf(folder_path, sizeof folder_path, "/tmp/keep_test_file_XXXXXX");
	if (!mkdtemp(folder_path))
		return -1;
	folder = open(folder_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return folder < 0 ? -1 : 0;
}

static int remove_folder(void **state)
{
	char command[128];

	(void)state;
	kp_file_close(&folder);
	snprintf(command, sizeof command, "rm -rf '%s'", folder_path);
	return system(command);
}

static keep_status write_file(const char *name, keep_bytes bytes, keep_error *err)
{
	int fd;
	keep_status status =
		kp_file_open(folder, name, O_WRONLY | O_CREAT | O_TRUNC, 0600, &fd, err);

	if (status != KEEP_OK)
		return status;
	status = kp_file_append(fd, bytes, err);
	if (status == KEEP_OK)
		status = kp_file_sync(fd, err);
	kp_file_close(&fd);
	return status;
}

static keep_status read_file(const char *name, size_t limit, keep_buffer *out, keep_error *err)
{
	int fd;
	keep_status status = kp_file_open(folder, name, O_RDONLY, 0, &fd, err);

	if (status == KEEP_OK)
		status = kp_file_read_all(fd, limit, out, err);
	kp_file_close(&fd);
	return status;
}

static void what_is_written_is_read(void **state)
{
	static char large[300000];
	keep_buffer out = KEEP_BUFFER_INIT;
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	for (size_t i = 0; i < sizeof large; i++)
		large[i] = (char)(i * 7 % 251);
	OK(write_file("large", (keep_bytes){large, sizeof large}, &err));
	OK(read_file("large", sizeof large, &out, &err));
	assert_bytes_equal(kp_buffer_bytes(&out), (keep_bytes){large, sizeof large});
	assert_int_equal(out.data[out.len], 0);
	OK(write_file("empty", KEEP_BYTES(""), &err));
	OK(read_file("empty", 0, &out, &err));
	assert_int_equal(out.len, 0);
	keep_buffer_release(&out);
	assert_nothing_lives();
}

static void a_file_longer_than_the_limit_is_full(void **state)
{
	keep_buffer out = KEEP_BUFFER_INIT;
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	OK(write_file("ten", KEEP_BYTES("0123456789"), &err));
	OK(read_file("ten", 10, &out, &err));
	assert_int_equal(read_file("ten", 9, &out, &err), KEEP_FULL);
	assert_string_equal(err.message, "the file is longer than 9 bytes");
	assert_int_equal(out.len, 0);
	keep_buffer_release(&out);
}

static void *feed_slowly(void *ctx)
{
	int *fd = ctx;
	static const char part[] = "0123456789";

	for (int i = 0; i < 20000; i++) {
		if (write(*fd, part, 10) != 10)
			break;
	}
	close(*fd);
	return NULL;
}

static void a_pipe_is_read_to_its_end(void **state)
{
	int ends[2];
	pthread_t thread;
	keep_buffer out = KEEP_BUFFER_INIT;
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	assert_int_equal(pipe(ends), 0);
	assert_int_equal(pthread_create(&thread, NULL, feed_slowly, &ends[1]), 0);
	OK(kp_file_read_all(ends[0], 1 << 20, &out, &err));
	pthread_join(thread, NULL);
	assert_int_equal(out.len, 200000);
	for (size_t i = 0; i < out.len; i++)
		assert_int_equal(out.data[i], '0' + i % 10);
	close(ends[0]);
	keep_buffer_release(&out);
}

static void a_part_is_read_and_written_at_its_position(void **state)
{
	char part[8] = "";
	size_t got;
	int fd;
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	OK(kp_file_open(folder, "parts", O_RDWR | O_CREAT, 0600, &fd, &err));
	assert_int_equal(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
	OK(kp_file_append(fd, KEEP_BYTES("0123456789"), &err));
	OK(kp_file_write_at(fd, KEEP_BYTES("ab"), 4, &err));
	OK(kp_file_read_at(fd, part, 4, 3, &got, &err));
	assert_int_equal(got, 4);
	assert_memory_equal(part, "3ab6", 4);
	OK(kp_file_read_at(fd, part, 8, 7, &got, &err));
	assert_int_equal(got, 3);
	OK(kp_file_read_at(fd, part, 8, 70, &got, &err));
	assert_int_equal(got, 0);
	OK(kp_file_truncate(fd, 2, &err));
	OK(kp_file_read_at(fd, part, 8, 0, &got, &err));
	assert_int_equal(got, 2);
	assert_int_equal(kp_file_write_at(fd, KEEP_BYTES("x"), -1, &err), KEEP_MISUSE);
	kp_file_close(&fd);
	assert_int_equal(fd, -1);
	kp_file_close(&fd);
}

static void a_failed_call_names_the_file_and_what_it_means(void **state)
{
	int fd;
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	assert_int_equal(kp_file_open(folder, "missing", O_RDONLY, 0, &fd, &err), KEEP_NOT_FOUND);
	assert_int_equal(fd, -1);
	assert_string_equal(err.message, "cannot open missing: No such file or directory");
	OK(write_file("there", KEEP_BYTES("x"), &err));
	assert_int_equal(
		kp_file_open(folder, "there", O_WRONLY | O_CREAT | O_EXCL, 0600, &fd, &err),
		KEEP_CONFLICT);
	OK(kp_file_open(folder, "there", O_RDONLY, 0, &fd, &err));
	assert_int_equal(kp_file_append(fd, KEEP_BYTES("x"), &err), KEEP_MISUSE);
	CHECK(strstr(err.message, folder_path) && strstr(err.message, "/there"), "%s", err.message);
	kp_file_close(&fd);
	assert_int_equal(kp_file_sync(fd, &err), KEEP_MISUSE);
	assert_string_equal(err.message, "cannot sync descriptor -1: Bad file descriptor");
	assert_int_equal(kp_file_unlink(folder, "missing", 0, &err), KEEP_NOT_FOUND);
	assert_int_equal(kp_file_rename(folder, "missing", folder, "x", &err), KEEP_NOT_FOUND);
	OK(kp_file_open(AT_FDCWD, "/dev/full", O_WRONLY, 0, &fd, &err));
	assert_int_equal(kp_file_append(fd, KEEP_BYTES("x"), &err), KEEP_FULL);
	kp_file_close(&fd);
}

static void a_folder_is_made_once_and_removed(void **state)
{
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	OK(kp_folder_make(folder, "sub", 0700, &err));
	OK(kp_file_sync(folder, &err));
	assert_int_equal(kp_folder_make(folder, "sub", 0700, &err), KEEP_CONFLICT);
	assert_int_equal(kp_folder_make(folder, "no/sub", 0700, &err), KEEP_NOT_FOUND);
	OK(write_file("sub/file", KEEP_BYTES("x"), &err));
	assert_int_equal(kp_file_unlink(folder, "sub", AT_REMOVEDIR, &err), KEEP_CONFLICT);
	OK(kp_file_rename(folder, "sub/file", folder, "moved", &err));
	OK(kp_file_unlink(folder, "sub", AT_REMOVEDIR, &err));
	OK(kp_file_unlink(folder, "moved", 0, &err));
}

/* Replace a file the durable way; nothing of an earlier round is left in its way. */
static keep_status replace_file(void *ctx)
{
	keep_buffer out = KEEP_BUFFER_INIT;
	char part[8];
	size_t got;
	int fd = -1;
	keep_status status = kp_folder_make(folder, "made", 0700, ctx);

	unlinkat(folder, "made", AT_REMOVEDIR);
	if (status == KEEP_OK)
		status = write_file("new", KEEP_BYTES("content"), ctx);
	if (status == KEEP_OK)
		status = kp_file_rename(folder, "new", folder, "kept", ctx);
	if (status == KEEP_OK)
		status = kp_file_sync(folder, ctx);
	if (status == KEEP_OK)
		status = read_file("kept", 100, &out, ctx);
	if (status == KEEP_OK && strcmp(out.data, "content") != 0)
		status = kp_fail(ctx, KEEP_CORRUPT, "read something else");
	if (status == KEEP_OK)
		status = kp_file_open(folder, "kept", O_RDWR, 0, &fd, ctx);
	if (status == KEEP_OK)
		status = kp_file_write_at(fd, KEEP_BYTES("C"), 0, ctx);
	if (status == KEEP_OK)
		status = kp_file_read_at(fd, part, sizeof part, 0, &got, ctx);
	if (status == KEEP_OK)
		status = kp_file_truncate(fd, 0, ctx);
	kp_file_close(&fd);
	if (status == KEEP_OK)
		status = kp_file_unlink(folder, "kept", 0, ctx);
	keep_buffer_release(&out);
	return status;
}

static void every_call_fails_once_and_leaves_nothing_open(void **state)
{
	int lowest = dup(folder);
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	close(lowest);
	assert_int_equal(torture(KP_FAULT_FILE, MAY(KEEP_UNAVAILABLE), replace_file, &err), 26);
	assert_int_equal(torture(KP_FAULT_ALLOC, MAY(KEEP_NO_MEMORY), replace_file, &err), 2);
	assert_int_equal(dup(folder), lowest);
	close(lowest);
}

static void a_failed_write_has_written_half(void **state)
{
	keep_buffer out = KEEP_BUFFER_INIT;
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	kp_fault_arm(KP_FAULT_FILE, 2, false);
	assert_int_equal(write_file("half", KEEP_BYTES("01234567"), &err), KEEP_UNAVAILABLE);
	assert_int_equal(kp_fault_disarm(KP_FAULT_FILE), 1);
	OK(read_file("half", 100, &out, &err));
	assert_string_equal(out.data, "0123");
	keep_buffer_release(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_written_is_read),
		cmocka_unit_test(a_file_longer_than_the_limit_is_full),
		cmocka_unit_test(a_pipe_is_read_to_its_end),
		cmocka_unit_test(a_part_is_read_and_written_at_its_position),
		cmocka_unit_test(a_failed_call_names_the_file_and_what_it_means),
		cmocka_unit_test(a_folder_is_made_once_and_removed),
		cmocka_unit_test(every_call_fails_once_and_leaves_nothing_open),
		cmocka_unit_test(a_failed_write_has_written_half),
	};

	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
