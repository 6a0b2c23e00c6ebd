/*
 * test_backup_restore.c - a home is made of a backup, the one before is set aside, and nothing is
 * lost on the way.
 */
#include "backup_home.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>

struct made {
	temp_folder folder; /* <folder>/home is the home */
	char home[128], backup[512];
};

static void make(struct made *made)
{
	static const char *const left_out[] = {"vault.key"};
	kp_backup_options options = {.left_out = left_out, .left_out_count = 1};
	kp_backup_result result;
	keep_error err = KEEP_ERROR_INIT;
	char path[512];

	temp_folder_make(&made->folder);
	make_folder(made->folder.path, "home");
	temp_path(&made->folder, "home", made->home);
	make_folder(made->home, "gateway");
	make_folder(made->home, "empty");
	make_database(made->home, "gateway/messages.db", true, 100);
	make_file(made->home, "home.json", "{\"format\":1}\n");
	make_file(made->home, "vault.key", "secret");
	FORMAT(path, "%s/home.json", made->home);
	CHECK(chmod(path, 0640) == 0, "no mode");
	OK(kp_backup_make(made->home, &options, &result, &err));
	backup_path(made->home, result.name, "", made->backup);
}

static void check_home(const char *home)
{
	char path[512];
	struct stat st;

	CHECK(ask_file(home, "gateway/messages.db", "SELECT count(*) FROM t") == 100, "rows");
	CHECK(path_exists(home, "empty"), "an empty folder is missing");
	CHECK(!path_exists(home, ".restored"), "its note stays");
	FORMAT(path, "%s/home.json", home);
	CHECK(stat(path, &st) == 0 && (st.st_mode & 07777) == 0640, "mode %o", st.st_mode & 07777);
}

static size_t count_names(const char *path)
{
	DIR *names = opendir(path);
	size_t count = 0;

	while (names && readdir(names))
		count++;
	(void)closedir(names);
	return count - 2;
}

static void a_new_home_is_made_of_it(void **state)
{
	kp_backup_restore_result result;
	keep_error err = KEEP_ERROR_INIT;
	struct made made;
	char other[512];

	(void)state;
	make(&made);
	FORMAT(other, "%s/other", made.folder.path);
	OK(kp_backup_restore(made.backup, other, NULL, &result, &err));
	check_home(other);
	CHECK(result.file_count == 2 && !result.set_aside[0] && !result.backups[0], "%s %s",
	      result.set_aside, result.backups);
	CHECK(!path_exists(other, "vault.key"), "a key came from nowhere");
	CHECK(count_names(made.folder.path) == 2, "something is left beside it");
	FORMAT(other, "%s/empty/", made.folder.path);
	make_folder(made.folder.path, "empty");
	OK(kp_backup_restore(made.backup, other, NULL, &result, &err));
	check_home(other);
	temp_folder_remove(&made.folder);
}

static void a_home_that_is_there_is_left_alone_unless_told(void **state)
{
	keep_error err = KEEP_ERROR_INIT;
	struct made made;

	(void)state;
	make(&made);
	CHECK(kp_backup_restore(made.backup, made.home, NULL, NULL, &err) == KEEP_CONFLICT, "%s",
	      err.message);
	CHECK(count_names(made.folder.path) == 1, "something is left beside it");
	temp_folder_remove(&made.folder);
}

static void the_home_before_is_set_aside_and_its_key_and_backups_come_along(void **state)
{
	static const char *const carried[] = {"vault.key", "other.key"};
	kp_backup_restore_options options = {.over = true, .carried = carried, .carried_count = 2};
	kp_backup_restore_result result;
	keep_error err = KEEP_ERROR_INIT;
	struct made made;
	char path[512];

	(void)state;
	make(&made);
	make_file(made.home, "later", "x");
	(void)ask_file(made.home, "gateway/messages.db", "DELETE FROM t");
	OK(kp_backup_restore(made.backup, made.home, &options, &result, &err));
	check_home(made.home);
	CHECK(path_exists(made.home, "vault.key"), "the key was not carried over");
	CHECK(!path_exists(made.home, "later"), "something of the home before is there");
	CHECK(path_exists(result.set_aside, "later") && path_exists(result.set_aside, "vault.key"),
	      "the home before is not at '%s'", result.set_aside);
	CHECK(ask_file(result.set_aside, "gateway/messages.db", "SELECT count(*) FROM t") == 0,
	      "the home before is another");
	FORMAT(path, "%s/backups", made.home);
	CHECK(strcmp(path, result.backups) == 0, "backups are at %s", result.backups);
	OK(kp_backup_verify(made.backup, NULL, &err));
	CHECK(count_names(made.folder.path) == 2, "something is left beside it");
	temp_folder_remove(&made.folder);
}

static void a_home_with_an_open_database_is_refused_unless_forced(void **state)
{
	kp_backup_restore_options options = {.over = true};
	kp_backup_restore_result result;
	keep_error err = KEEP_ERROR_INIT;
	struct made made;
	sqlite3 *db;

	(void)state;
	make(&made);
	db = open_sql(made.home, "gateway/messages.db");
	(void)ask_sql(db, "SELECT count(*) FROM t");
	CHECK(kp_backup_restore(made.backup, made.home, &options, NULL, &err) == KEEP_BUSY, "%s",
	      err.message);
	CHECK(strstr(err.message, "messages.db"), "%s", err.message);
	run_sql(db, "UPDATE t SET n = 1"); /* its locks are what they were */
	options.force = true;
	OK(kp_backup_restore(made.backup, made.home, &options, &result, &err));
	(void)sqlite3_close(db);
	check_home(made.home);
	temp_folder_remove(&made.folder);
}

static void a_damaged_backup_changes_nothing(void **state)
{
	kp_backup_restore_options options = {.over = true};
	keep_error err = KEEP_ERROR_INIT;
	struct made made;

	(void)state;
	make(&made);
	flip_bit(made.backup, "data/gateway/messages.db", 4200);
	CHECK(kp_backup_restore(made.backup, made.home, &options, NULL, &err) == KEEP_CORRUPT, "%s",
	      err.message);
	CHECK(count_names(made.folder.path) == 1, "something is left beside it");
	CHECK(ask_file(made.home, "gateway/messages.db", "SELECT count(*) FROM t") == 100, "rows");
	temp_folder_remove(&made.folder);
}

static void two_at_once_exclude_each_other(void **state)
{
	keep_error err = KEEP_ERROR_INIT;
	struct made made;
	char other[512];
	int fd;

	(void)state;
	make(&made);
	FORMAT(other, "%s/other", made.folder.path);
	fd = open(made.folder.path, O_RDONLY | O_CLOEXEC);
	CHECK(fd >= 0 && flock(fd, LOCK_EX) == 0, "no lock");
	CHECK(kp_backup_restore(made.backup, other, NULL, NULL, &err) == KEEP_BUSY, "%s",
	      err.message);
	(void)close(fd);
	OK(kp_backup_restore(made.backup, other, NULL, NULL, &err));
	temp_folder_remove(&made.folder);
}

static void nothing_lives(void **state)
{
	(void)state;
	assert_nothing_lives();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_new_home_is_made_of_it),
		cmocka_unit_test(a_home_that_is_there_is_left_alone_unless_told),
		cmocka_unit_test(the_home_before_is_set_aside_and_its_key_and_backups_come_along),
		cmocka_unit_test(a_home_with_an_open_database_is_refused_unless_forced),
		cmocka_unit_test(a_damaged_backup_changes_nothing),
		cmocka_unit_test(two_at_once_exclude_each_other),
		cmocka_unit_test(nothing_lives),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
