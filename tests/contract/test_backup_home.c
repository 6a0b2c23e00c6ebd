/*
 * test_backup_home.c - backups of homes with all their stores: the key stays out, an agent's damage
 * stops nothing, rotation, one on a server; what is restored has every value.
 */
#include "backup_home.h"
#include "home_fixture.h"
#include "keep/backups.h"
#include "keep/operations.h"
#include "keep/schedule.h"
#include "server_control.h"

#include <dirent.h>
#include <ftw.h>
#include <unistd.h>

static temp_folder folder;

static const char *path_of(const char *name, char out[128])
{
	return temp_path(&folder, name, out);
}

static void make(const char *home, const keep_backup_options *options, keep_backup_result *result)
{
	keep_error err = KEEP_ERROR_INIT;

	OK(keep_backup_make(home, options, result, &err));
}

static size_t count_backups(const char *place)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_backup_list list = {NULL, 0};
	keep_error err = KEEP_ERROR_INIT;

	OK(keep_backup_find(place, &memory, &list, &err));
	keep_memory_release(&memory);
	return list.count;
}

/* ---------------------------------------------------------------- what is in it */

static char key[64];
static int key_files, files_seen;

static int look(const char *path, const struct stat *about, int kind, struct FTW *at)
{
	static char text[1 << 20];
	FILE *file;
	size_t len;

	(void)about;
	if (kind != FTW_F)
		return 0;
	files_seen++;
	key_files += strncmp(path + at->base, "vault.key", 9) == 0;
	file = fopen(path, "r");
	CHECK(file, "%s", path);
	len = fread(text, 1, sizeof text, file);
	CHECK(!memmem(text, len, key, strlen(key)), "the key is in %s", path);
	(void)fclose(file);
	return 0;
}

static void the_key_is_in_no_backup(void **state)
{
	keep_backup_result result;
	keep_error err = KEEP_ERROR_INIT;
	home_filled filled;
	char home[128], at[512], backups[160];
	FILE *file;

	(void)state;
	home_fill_little(path_of("keyed", home), &filled);
	(void)snprintf(backups, sizeof backups, "%s/vault.key", home);
	file = fopen(backups, "r");
	CHECK(file && fgets(key, sizeof key, file), "no key");
	(void)fclose(file);
	key[strcspn(key, "\n")] = '\0';
	make_file(home, "vault.key.old", key);
	make(home, NULL, &result);
	(void)snprintf(backups, sizeof backups, "%s/backups", home);
	key_files = files_seen = 0;
	CHECK(nftw(backups, look, 16, FTW_PHYS) == 0, "%s", backups);
	assert_int_equal(key_files, 0);
	assert_true(files_seen > 4);
	assert_true(path_exists(backup_path(home, result.name, "/data", at), "home.json"));
	OK(keep_backup_verify(home, NULL, &err));
}

static void a_restored_home_has_every_value(void **state)
{
	keep_backup_result result;
	keep_restore_result restored;
	keep_restore_options options = KEEP_RESTORE_OPTIONS_INIT;
	keep_error err = KEEP_ERROR_INIT;
	home_filled filled;
	char home[128], target[128];

	(void)state;
	home_fill(path_of("whole", home), &filled);
	make(home, NULL, &result);
	OK(keep_restore(home, path_of("whole2", target), NULL, &restored, &err));
	assert_string_equal(restored.name, result.name);
	assert_false(restored.has_key);
	homes_must_be_equal(home, target, &filled);
	assert_int_equal(keep_restore(home, target, NULL, NULL, &err), KEEP_CONFLICT);
	options.over = true;
	OK(keep_restore(home, target, &options, &restored, &err));
	assert_true(restored.set_aside[0]);
}

/* ---------------------------------------------------------------- damage */

static char outbound[512];

static int find_outbound(const char *path, const struct stat *about, int kind, struct FTW *at)
{
	(void)about;
	if (kind == FTW_F && strcmp(path + at->base, "outbound.db") == 0)
		(void)snprintf(outbound, sizeof outbound, "%s", path);
	return 0;
}

/* What follows the header, which still says that it is a database. */
static void damage(const char *path)
{
	FILE *file = fopen(path, "r+");

	CHECK(file && fseek(file, 100, SEEK_SET) == 0, "%s", path);
	for (int i = 0; i < 3000; i++)
		CHECK(fputs("no database ", file) >= 0, "%s", path);
	CHECK(fclose(file) == 0, "%s", path);
}

static void what_an_agent_damaged_stops_no_backup_and_what_is_ours_does(void **state)
{
	keep_backup_result result;
	keep_error err = KEEP_ERROR_INIT;
	home_filled filled;
	char home[128], target[128], file[160];

	(void)state;
	home_fill_little(path_of("damaged", home), &filled);
	outbound[0] = '\0';
	CHECK(nftw(home, find_outbound, 16, FTW_PHYS) == 0 && outbound[0], "no outbound.db");
	damage(outbound);
	make(home, NULL, &result);
	assert_int_equal(result.damaged_count, 1);
	OK(keep_restore(home, path_of("damaged2", target), NULL, NULL, &err));
	(void)snprintf(file, sizeof file, "%s/gateway/messages.db", home);
	damage(file);
	assert_int_equal(keep_backup_make(home, NULL, &result, &err), KEEP_CORRUPT);
	CHECK(strstr(err.message, "gateway/messages.db"), "%s", err.message);
	assert_int_equal(count_backups(home), 1);
}

/* ---------------------------------------------------------------- rotation, ends */

static void rotation_keeps_the_newest_good_one_and_those_with_a_label(void **state)
{
	keep_backup_options options = KEEP_BACKUP_OPTIONS_INIT;
	keep_backup_result first, result;
	keep_error err = KEEP_ERROR_INIT;
	home_filled filled;
	int64_t removed = 0;
	char home[128], at[512];

	(void)state;
	home_fill_little(path_of("rotated", home), &filled);
	options.label = "before-the-move";
	make(home, &options, &first);
	options.label = NULL;
	for (int i = 0; i < 3; i++)
		make(home, &options, &result);
	options.daily = 1;
	OK(keep_backup_rotate(home, &options, true, &removed, &err));
	assert_int_equal(removed, 2);
	assert_int_equal(count_backups(home), 4);
	OK(keep_backup_rotate(home, &options, false, &removed, &err));
	assert_int_equal(removed, 2);
	assert_true(path_exists(backup_path(home, first.name, "", at), "manifest.json"));
	assert_true(path_exists(backup_path(home, result.name, "", at), "manifest.json"));
	options.rotate = true;
	options.daily = 1;
	make(home, &options, &result);
	assert_int_equal(result.removed_count, 1);
	assert_int_equal(count_backups(home), 2);
}

static void what_is_cancelled_or_wrong_leaves_nothing(void **state)
{
	static const volatile int yes = 1;
	keep_backup_options options = KEEP_BACKUP_OPTIONS_INIT;
	keep_backup_result result;
	keep_error err = KEEP_ERROR_INIT;
	home_filled filled;
	char home[128], other[128];

	(void)state;
	home_fill_little(path_of("cancelled", home), &filled);
	options.cancelled = &yes;
	assert_int_equal(keep_backup_make(home, &options, &result, &err), KEEP_BUSY);
	options.cancelled = NULL;
	options.zone = "Nowhere";
	assert_int_equal(keep_backup_make(home, &options, &result, &err), KEEP_INVALID);
	options.zone = NULL;
	options.s3 = "nope";
	assert_int_equal(keep_backup_make(home, &options, &result, &err), KEEP_INVALID);
	options.s3 = NULL;
	options.to = "/dev/shm";
	assert_int_equal(keep_backup_make(home, &options, &result, &err), KEEP_INVALID);
	options.to = NULL;
	options.daily = -1;
	assert_int_equal(keep_backup_make(home, &options, &result, &err), KEEP_INVALID);
	assert_int_equal(count_backups(home), 0);
	assert_int_equal(mkdir(path_of("plain", other), 0700), 0);
	assert_int_equal(keep_backup_make(other, NULL, &result, &err), KEEP_NOT_FOUND);
	assert_false(path_exists(other, "backups"));
	assert_int_equal(keep_backup_make(NULL, NULL, &result, &err), KEEP_MISUSE);
	options.daily = 0;
	options.size = 1;
	assert_int_equal(keep_backup_make(home, &options, &result, &err), KEEP_MISUSE);
	assert_int_equal(keep_backup_verify(home, "../x", &err), KEEP_INVALID);
	assert_int_equal(keep_backup_verify(home, NULL, &err), KEEP_NOT_FOUND);
	assert_int_equal(keep_restore(home, other, NULL, NULL, &err), KEEP_NOT_FOUND);
}

static void two_of_one_second_have_two_names_wherever_they_go(void **state)
{
	keep_backup_options options = KEEP_BACKUP_OPTIONS_INIT;
	keep_backup_result first, second, third;
	home_filled filled;
	char home[128], to[128];

	(void)state;
	home_fill_little(path_of("twice", home), &filled);
	options.to = path_of("twice-to", to);
	make(home, &options, &first);
	make(home, &options, &second);
	make(home, &options, &third);
	assert_string_not_equal(first.name, second.name);
	assert_string_not_equal(second.name, third.name);
	assert_int_equal(count_backups(to), 3);
	assert_int_equal(count_backups(home), 0);
}

/* ---------------------------------------------------------------- a server */

static void a_home_on_a_server_is_backed_up_as_a_folder(void **state)
{
	keep_transfer_options transfer = KEEP_TRANSFER_OPTIONS_INIT;
	keep_backup_options options = KEEP_BACKUP_OPTIONS_INIT;
	keep_transfer_result moved;
	keep_backup_result result;
	keep_error err = KEEP_ERROR_INIT;
	home_filled filled;
	char home[128], to[128], target[128], url[HOME_URL_MAX];

	(void)state;
	home_fill(path_of("source", home), &filled);
	home_server(url);
	transfer.without_files = true;
	OK(keep_transfer(home, url, &transfer, &moved, &err));
	keep_transfer_result_release(&moved);
	assert_int_equal(keep_backup_make(url, NULL, &result, &err), KEEP_INVALID);
	options.to = path_of("copies", to);
	make(url, &options, &result);
	assert_false(path_exists(to, ".staging"));
	assert_int_equal(count_backups(to), 1);
	OK(keep_backup_verify(to, result.name, &err));
	OK(keep_restore(to, path_of("from-server", target), NULL, NULL, &err));
	homes_must_be_equal(home, target, &filled);
}

static void everything_was_given_back(void **state)
{
	(void)state;
	home_servers_drop();
	keep_zone_forget();
	assert_nothing_lives();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_key_is_in_no_backup),
		cmocka_unit_test(a_restored_home_has_every_value),
		cmocka_unit_test(what_an_agent_damaged_stops_no_backup_and_what_is_ours_does),
		cmocka_unit_test(rotation_keeps_the_newest_good_one_and_those_with_a_label),
		cmocka_unit_test(what_is_cancelled_or_wrong_leaves_nothing),
		cmocka_unit_test(two_of_one_second_have_two_names_wherever_they_go),
		cmocka_unit_test(a_home_on_a_server_is_backed_up_as_a_folder),
		cmocka_unit_test(everything_was_given_back),
	};
	int failed;

	temp_folder_make(&folder);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	temp_folder_remove(&folder);
	return failed;
}
