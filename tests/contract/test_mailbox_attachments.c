/*
 * test_mailbox_attachments.c - contracts/mailbox.md: files of messages. Names are single segments,
 * no link is followed, only plain files of bounded size are read, and files are made exclusively.
 *
 *     test_mailbox_attachments sqlite|postgres
 */
#include "mailbox_fixture.h"

#include "mailbox/mailbox_private.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static keep_error err;
static char session[KEEP_SEGMENT_MAX + 1], folder[600];
static keep_mailbox *mailbox;

static int set_up(void **state)
{
	(void)state;
	mailbox = mailbox_fresh();
	mailbox_session(mailbox, NULL, session);
	snprintf(folder, sizeof folder, "%s", mailbox_folder(session));
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	keep_mailbox_close(&mailbox);
	keep_zone_forget();
	assert_nothing_lives();
	return 0;
}

static const char *path_of(const char *name)
{
	static char path[900];

	snprintf(path, sizeof path, "%s/%s", folder, name);
	return path;
}

static void make_file(const char *name, const char *text)
{
	FILE *file = fopen(path_of(name), "w");

	assert_non_null(file);
	fputs(text, file);
	fclose(file);
}

static void make_folder(const char *name)
{
	assert_int_equal(mkdir(path_of(name), 0755), 0);
}

static keep_status read_outbox(const char *id, const char *name, keep_buffer *out)
{
	return keep_mailbox_outbox_file(mailbox, keep_bytes_of(session), keep_bytes_of(id),
					keep_bytes_of(name), out, &err);
}

static void assert_answer(const char *id, const char *name, keep_status expected)
{
	keep_buffer out = KEEP_BUFFER_INIT;
	keep_status status = read_outbox(id, name, &out);

	CHECK(status == expected, "%s/%s: %s", id, name, keep_status_name(status));
	assert_int_equal(out.len, 0);
	keep_buffer_release(&out);
}

static void a_file_in_the_outbox_is_read(void **state)
{
	keep_buffer out = KEEP_BUFFER_INIT;

	(void)state;
	make_folder("outbox");
	make_folder("outbox/m1");
	make_file("outbox/m1/a b.txt", "hello");
	OK(read_outbox("m1", "a b.txt", &out));
	assert_bytes_equal(kp_buffer_bytes(&out), KEEP_BYTES("hello"));
	keep_buffer_release(&out);
	assert_answer("m1", "none", KEEP_NOT_FOUND);
	assert_answer("m2", "a b.txt", KEEP_NOT_FOUND);
}

static void names_that_lead_elsewhere_are_invalid(void **state)
{
	static const char *const names[] = {"..", ".", "", "a/b", "../a", "a\\b", "a\nb", "/etc"};

	(void)state;
	for (size_t i = 0; i < KP_COUNT(names); i++) {
		assert_answer("m1", names[i], KEEP_INVALID);
		assert_answer(names[i], "a", KEEP_INVALID);
	}
}

static void no_link_is_followed(void **state)
{
	char from[900];

	(void)state;
	make_folder("outbox");
	make_folder("outbox/m1");
	make_folder("elsewhere");
	make_file("elsewhere/secret", "secret");
	assert_int_equal(symlink("../../elsewhere/secret", path_of("outbox/m1/link")), 0);
	assert_int_equal(symlink("../elsewhere", path_of("outbox/m2")), 0);
	assert_answer("m1", "link", KEEP_DENIED);
	assert_answer("m2", "secret", KEEP_DENIED);
	snprintf(from, sizeof from, "%s", path_of("outbox"));
	assert_int_equal(rename(from, path_of("moved")), 0);
	assert_int_equal(symlink("moved", path_of("outbox")), 0);
	assert_answer("m1", "link", KEEP_DENIED);
}

static void only_plain_files_of_bounded_size_are_read(void **state)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd;

	(void)state;
	make_folder("outbox");
	make_folder("outbox/m1");
	assert_int_equal(mkfifo(path_of("outbox/m1/pipe"), 0644), 0);
	make_folder("outbox/m1/folder");
	make_file("outbox/m1/large", "");
	assert_int_equal(truncate(path_of("outbox/m1/large"), KEEP_MAILBOX_FILE_MAX + 1), 0);
	assert_answer("m1", "pipe", KEEP_DENIED); /* and nobody waits for its other end */
	assert_answer("m1", "folder", KEEP_DENIED);
	assert_answer("m1", "large", KEEP_FULL);
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	assert_int_equal(chdir(path_of("outbox/m1")), 0);
	snprintf(address.sun_path, sizeof address.sun_path, "socket");
	assert_int_equal(bind(fd, (const struct sockaddr *)(const void *)&address, sizeof address),
			 0);
	assert_int_equal(chdir("/"), 0);
	close(fd);
	assert_answer("m1", "socket", KEEP_DENIED);
}

static void files_come_before_the_row_and_a_repetition_is_the_same(void **state)
{
	keep_file file = {KEEP_BYTES("a.txt"), KEEP_BYTES("one")};
	keep_buffer out = KEEP_BUFFER_INIT;

	(void)state;
	OK(kp_files_store(folder, "inbox", KEEP_BYTES("m1"), &file, 1, 0, 0, &err));
	OK(kp_files_store(folder, "inbox", KEEP_BYTES("m1"), &file, 1, 0, 0, &err));
	file.bytes = KEEP_BYTES("two");
	assert_int_equal(kp_files_store(folder, "inbox", KEEP_BYTES("m1"), &file, 1, 0, 0, &err),
			 KEEP_CONFLICT);
	OK(kp_file_of_message(folder, "inbox", KEEP_BYTES("m1"), KEEP_BYTES("a.txt"), &out, &err));
	assert_bytes_equal(kp_buffer_bytes(&out), KEEP_BYTES("one"));
	keep_buffer_release(&out);
}

static void files_are_not_stored_through_a_link(void **state)
{
	keep_file file = {KEEP_BYTES("a.txt"), KEEP_BYTES("one")};
	struct stat st;

	(void)state;
	make_folder("elsewhere");
	make_folder("inbox");
	assert_int_equal(symlink("../elsewhere", path_of("inbox/m1")), 0);
	assert_int_equal(kp_files_store(folder, "inbox", KEEP_BYTES("m1"), &file, 1, 0, 0, &err),
			 KEEP_DENIED);
	assert_int_equal(stat(path_of("elsewhere/a.txt"), &st), -1);
	make_folder("inbox/m2");
	make_file("elsewhere/kept", "kept");
	assert_int_equal(symlink("../../elsewhere/kept", path_of("inbox/m2/a.txt")), 0);
	assert_int_not_equal(
		kp_files_store(folder, "inbox", KEEP_BYTES("m2"), &file, 1, 0, 0, &err), KEEP_OK);
	assert_int_equal(stat(path_of("elsewhere/kept"), &st), 0);
	assert_int_equal(st.st_size, 4);
}

static void a_removal_follows_no_link(void **state)
{
	struct stat st;

	(void)state;
	make_folder("outbox");
	make_folder("outbox/m1");
	make_folder("outbox/m1/deep");
	make_folder("outbox/m1/deep/deeper");
	make_folder("elsewhere");
	make_file("elsewhere/kept", "kept");
	make_file("outbox/m1/deep/deeper/file", "x");
	assert_int_equal(symlink("../../elsewhere", path_of("outbox/m1/link")), 0);
	assert_int_equal(symlink("../elsewhere", path_of("outbox/m2")), 0);
	OK(kp_files_remove(folder, "outbox", KEEP_BYTES("m1"), &err));
	OK(kp_files_remove(folder, "outbox", KEEP_BYTES("m2"), &err));
	OK(kp_files_remove(folder, "outbox", KEEP_BYTES("m3"), &err));
	assert_int_equal(lstat(path_of("outbox/m1"), &st), -1);
	assert_int_equal(lstat(path_of("outbox/m2"), &st), -1);
	assert_int_equal(stat(path_of("elsewhere/kept"), &st), 0);
	assert_int_equal(kp_files_remove(folder, "outbox", KEEP_BYTES(".."), &err), KEEP_INVALID);
}

static void a_server_has_no_files(void **state)
{
	(void)state;
	assert_answer("m1", "a.txt", KEEP_NOT_FOUND);
	assert_answer("m1", "a/b", KEEP_INVALID);
}

int main(int argc, char **argv)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest files[] = {
		TEST(a_file_in_the_outbox_is_read),
		TEST(names_that_lead_elsewhere_are_invalid),
		TEST(no_link_is_followed),
		TEST(only_plain_files_of_bounded_size_are_read),
		TEST(files_come_before_the_row_and_a_repetition_is_the_same),
		TEST(files_are_not_stored_through_a_link),
		TEST(a_removal_follows_no_link),
	};
	const struct CMUnitTest server[] = {TEST(a_server_has_no_files)};
	int failed;

	mailbox_begin(argc, argv);
	if (mailbox_is_file())
		failed = cmocka_run_group_tests(files, NULL, NULL);
	else
		failed = cmocka_run_group_tests(server, NULL, NULL);
	mailbox_end();
	return failed;
}
