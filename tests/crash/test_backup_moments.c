/*
 * test_backup_moments.c - a backup, a rotation or a restore that is killed at each of its named
 * moments.
 *
 * Killed while it makes a backup: none is there that is not whole, the next run leaves nothing of
 * it. Killed while it restores: the home before or the new one is at its place, or the next call
 * finishes; nothing of either is lost.
 */
#include "backup_home.h"

#include <signal.h>
#include <sys/wait.h>

struct made {
	temp_folder folder;
	char home[128], backup[512];
};

static void make(struct made *made)
{
	keep_error err = KEEP_ERROR_INIT;
	kp_backup_result result;

	temp_folder_make(&made->folder);
	make_folder(made->folder.path, "home");
	temp_path(&made->folder, "home", made->home);
	make_folder(made->home, "gateway");
	make_database(made->home, "gateway/messages.db", true, 100);
	make_file(made->home, "home.json", "{\"format\":1}\n");
	make_file(made->home, "vault.key", "secret");
	OK(kp_backup_make(made->home, NULL, &result, &err));
	backup_path(made->home, result.name, "", made->backup);
	make_file(made->home, "later", "x");
}

static void die_at(void *ctx, const char *name)
{
	if (strcmp(name, ctx) == 0)
		(void)raise(SIGKILL);
}

/* Run `work` in a process that is killed at the moment; false: it never came there. */
static bool is_killed_at(const char *moment, void (*work)(const struct made *made),
			 const struct made *made)
{
	char name[64];
	int status = 0;
	pid_t pid;

	FORMAT(name, "%s", moment);
	pid = fork();
	if (pid == 0) {
		kp_moment_inject(die_at, name);
		work(made);
		_exit(0);
	}
	CHECK(waitpid(pid, &status, 0) == pid, "no child");
	return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
}

static void back_up(const struct made *made)
{
	if (kp_backup_make(made->home, NULL, NULL, NULL) != KEEP_OK)
		_exit(1);
}

static void check_backups(const struct made *made, size_t expected)
{
	keep_error err = KEEP_ERROR_INIT;
	kp_backup_entries entries;

	OK(kp_backup_list(made->home, &entries, &err));
	CHECK(entries.count == expected, "%zu backups instead of %zu", entries.count, expected);
	for (size_t i = 0; i < entries.count; i++) {
		char path[512];

		CHECK(entries.items[i].is_good, "%s: %s", entries.items[i].name,
		      entries.items[i].why);
		OK(kp_backup_verify(backup_path(made->home, entries.items[i].name, "", path), NULL,
				    &err));
	}
	kp_backup_entries_release(&entries);
}

static void a_killed_backup_is_never_taken_for_a_good_one(void **state)
{
	static const char *const moments[] = {
		"backup.copied", "backup.complete",  "backup.checked",
		"backup.synced", "backup.described", "backup.renamed",
	};
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	for (size_t i = 0; i < KP_COUNT(moments); i++) {
		bool is_done = strcmp(moments[i], "backup.renamed") == 0;
		struct made made;
		char command[256];

		make(&made);
		CHECK(is_killed_at(moments[i], back_up, &made), "it never comes to %s", moments[i]);
		check_backups(&made, is_done ? 2 : 1);
		OK(kp_backup_make(made.home, NULL, NULL, &err));
		check_backups(&made, is_done ? 3 : 2);
		FORMAT(command, "! ls -A %s/backups | grep -q partial", made.home);
		CHECK(system(command) == 0, "something is left after %s", moments[i]);
		temp_folder_remove(&made.folder);
	}
}

static void rotate(const struct made *made)
{
	kp_backup_prune_options options = {.rules = {.daily = 1}};

	if (kp_backup_prune(made->home, &options, NULL, NULL) != KEEP_OK)
		_exit(1);
}

static void a_killed_rotation_leaves_no_half_of_a_backup(void **state)
{
	keep_error err = KEEP_ERROR_INIT;
	struct made made;
	int64_t removed = 0;
	char command[256];

	(void)state;
	make(&made);
	OK(kp_backup_make(made.home, NULL, NULL, &err));
	CHECK(is_killed_at("backup.removing", rotate, &made), "it never comes there");
	check_backups(&made, 1);
	OK(kp_backup_prune(made.home, NULL, &removed, &err));
	FORMAT(command, "! ls -A %s/backups | grep -q removing", made.home);
	CHECK(system(command) == 0, "something is left");
	check_backups(&made, 1);
	keep_zone_forget();
	temp_folder_remove(&made.folder);
}

static void restore(const struct made *made)
{
	static const char *const carried[] = {"vault.key"};
	kp_backup_restore_options options = {.over = true, .carried = carried, .carried_count = 1};

	if (kp_backup_restore(made->backup, made->home, &options, NULL, NULL) != KEEP_OK)
		_exit(1);
}

static void a_killed_restore_leaves_one_whole_home_and_the_next_finishes(void **state)
{
	static const char *const moments[] = {
		"restore.copied", "restore.synced", "restore.placed",
		"restore.aside",  "restore.moved",
	};
	kp_backup_restore_options options = {.over = true};
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	for (size_t i = 0; i < KP_COUNT(moments); i++) {
		kp_backup_restore_result result;
		struct made made;
		bool is_old;

		make(&made);
		CHECK(is_killed_at(moments[i], restore, &made), "it never comes to %s", moments[i]);
		CHECK(path_exists(made.home, "home.json") &&
			      ask_file(made.home, "gateway/messages.db",
				       "SELECT count(*) FROM t") == 100,
		      "no home is at its place after %s", moments[i]);
		is_old = path_exists(made.home, "later");
		OK(kp_backup_restore(made.backup, made.home, &options, &result, &err));
		CHECK(result.was_finished == !is_old, "%s", moments[i]);
		CHECK(!path_exists(made.home, "later") && !path_exists(made.home, ".restored") &&
			      path_exists(made.home, "home.json"),
		      "it is not restored after %s", moments[i]);
		CHECK(path_exists(result.set_aside, "later"), "the home before is lost after %s",
		      moments[i]);
		OK(kp_backup_verify(made.backup, NULL, &err));
		temp_folder_remove(&made.folder);
	}
}

static void nothing_lives(void **state)
{
	(void)state;
	assert_nothing_lives();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_killed_backup_is_never_taken_for_a_good_one),
		cmocka_unit_test(a_killed_rotation_leaves_no_half_of_a_backup),
		cmocka_unit_test(a_killed_restore_leaves_one_whole_home_and_the_next_finishes),
		cmocka_unit_test(nothing_lives),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
