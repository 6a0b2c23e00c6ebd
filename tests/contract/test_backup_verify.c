/*
 * test_backup_verify.c - a backup that is not what was written is found out, and its file is named.
 */
#include "backup_home.h"

struct made {
	temp_folder folder;
	kp_backup_result result;
	char path[512], data[512];
};

static void make(struct made *made)
{
	keep_error err = KEEP_ERROR_INIT;

	temp_folder_make(&made->folder);
	make_folder(made->folder.path, "gateway");
	make_database(made->folder.path, "gateway/messages.db", true, 300);
	make_database(made->folder.path, "plain.db", false, 3);
	make_file(made->folder.path, "home.json", "{\"format\":1}\n");
	OK(kp_backup_make(made->folder.path, NULL, &made->result, &err));
	backup_path(made->folder.path, made->result.name, "", made->path);
	backup_path(made->folder.path, made->result.name, "/data", made->data);
}

static void check_fault(const struct made *made, const char *named)
{
	keep_error err = KEEP_ERROR_INIT;
	keep_status status = kp_backup_verify(made->path, NULL, &err);

	CHECK(status == KEEP_CORRUPT, "%s: %s", keep_status_name(status), err.message);
	CHECK(strstr(err.message, named), "'%s' does not name %s", err.message, named);
}

static void a_flipped_bit_anywhere_is_named_by_its_file(void **state)
{
	static const char *const names[] = {"gateway/messages.db", "plain.db", "home.json"};
	keep_error err = KEEP_ERROR_INIT;
	struct made made;
	struct stat st;
	char path[600];

	(void)state;
	make(&made);
	OK(kp_backup_verify(made.path, NULL, &err));
	for (size_t i = 0; i < KP_COUNT(names); i++) {
		FORMAT(path, "%s/%s", made.data, names[i]);
		CHECK(stat(path, &st) == 0, "%s is missing", path);
		for (long at = 0; at < st.st_size; at += st.st_size / 7 + 1) {
			flip_bit(made.data, names[i], at);
			check_fault(&made, names[i]);
			flip_bit(made.data, names[i], at);
		}
	}
	FORMAT(path, "%s/manifest.json", made.path);
	CHECK(stat(path, &st) == 0, "%s is missing", path);
	for (long at = 0; at < st.st_size; at++) {
		flip_bit(made.path, "manifest.json", at);
		check_fault(&made, "manifest.json");
		flip_bit(made.path, "manifest.json", at);
	}
	OK(kp_backup_verify(made.path, NULL, &err));
	temp_folder_remove(&made.folder);
}

static void a_file_too_many_or_missing_or_cut_is_named(void **state)
{
	struct made made;
	char path[600], away[600];

	(void)state;
	make(&made);
	make_file(made.data, "gateway/stranger", "");
	check_fault(&made, "gateway/stranger");
	FORMAT(path, "%s/gateway/stranger", made.data);
	CHECK(unlink(path) == 0, "it stays");
	FORMAT(path, "%s/plain.db", made.data);
	FORMAT(away, "%s/away", made.folder.path);
	CHECK(rename(path, away) == 0, "it stays");
	check_fault(&made, "plain.db");
	CHECK(rename(away, path) == 0 && truncate(path, 4096) == 0, "it cannot be cut");
	check_fault(&made, "plain.db");
	FORMAT(path, "%s/manifest.json", made.path);
	CHECK(truncate(path, 100) == 0, "it cannot be cut");
	check_fault(&made, "manifest.json");
	CHECK(unlink(path) == 0, "it stays");
	check_fault(&made, "manifest.json");
	temp_folder_remove(&made.folder);
}

static void count_fault(void *ctx, const char *path, const char *why)
{
	(void)path, (void)why;
	++*(int *)ctx;
}

static void every_file_at_fault_is_told(void **state)
{
	keep_error err = KEEP_ERROR_INIT;
	int faults = 0;
	kp_backup_verify_options options = {.damaged = count_fault, .damaged_ctx = &faults};
	struct made made;

	(void)state;
	make(&made);
	flip_bit(made.data, "plain.db", 5000);
	flip_bit(made.data, "home.json", 2);
	CHECK(kp_backup_verify(made.path, &options, &err) == KEEP_CORRUPT, "%s", err.message);
	CHECK(faults == 2, "%d faults", faults);
	temp_folder_remove(&made.folder);
}

static void a_list_tells_which_are_good_and_why_others_are_not(void **state)
{
	static const char *const label = "before-migration";
	kp_backup_options options = {.label = label};
	keep_error err = KEEP_ERROR_INIT;
	kp_backup_entries entries;
	struct made made;
	char path[600];

	(void)state;
	make(&made);
	OK(kp_backup_make(made.folder.path, &options, NULL, &err));
	make_folder(made.folder.path, "backups/20200101T000000Z");
	make_folder(made.folder.path, "backups/.partial-20200101T000000Z");
	FORMAT(path, "%s/home.json", made.data);
	CHECK(truncate(path, 1) == 0, "it cannot be cut");
	OK(kp_backup_list(made.folder.path, &entries, &err));
	CHECK(entries.count == 3, "%zu backups", entries.count);
	CHECK(!entries.items[0].is_good && strstr(entries.items[0].why, "manifest"), "%s",
	      entries.items[0].why);
	CHECK(!entries.items[1].is_good && strstr(entries.items[1].why, "home.json"), "%s",
	      entries.items[1].why);
	CHECK(entries.items[2].is_good && strcmp(entries.items[2].label, label) == 0 &&
		      entries.items[2].database_count == 2 && entries.items[2].file_count == 3,
	      "%s", entries.items[2].why);
	kp_backup_entries_release(&entries);
	temp_folder_remove(&made.folder);
}

static int64_t held_ms;

static int64_t held_clock(void *ctx)
{
	(void)ctx;
	return held_ms;
}

static size_t count_backups(const char *home)
{
	keep_error err = KEEP_ERROR_INIT;
	kp_backup_entries entries;
	size_t count;

	OK(kp_backup_list(home, &entries, &err));
	count = entries.count;
	kp_backup_entries_release(&entries);
	return count;
}

static void rotation_removes_what_is_old_and_neither_labelled_nor_damaged(void **state)
{
	kp_backup_options labelled = {.label = "by-hand"};
	kp_backup_prune_options rules = {.rules = {.daily = 2}, .dry_run = true};
	keep_error err = KEEP_ERROR_INIT;
	temp_folder folder;
	int64_t removed = 0;

	(void)state;
	temp_folder_make(&folder);
	make_file(folder.path, "home.json", "{}");
	OK(keep_time_parse(KEEP_BYTES("2026-04-01T03:00:00Z"), &held_ms, &err));
	kp_clock_inject(held_clock, NULL);
	for (int day = 0; day < 6; day++, held_ms += 86400000)
		OK(kp_backup_make(folder.path, day == 0 ? &labelled : NULL, NULL, &err));
	flip_bit(folder.path, "backups/20260406T030000Z/manifest.json", 30);
	OK(kp_backup_prune(folder.path, &rules, &removed, &err));
	CHECK(removed == 2 && count_backups(folder.path) == 6, "%lld", (long long)removed);
	rules.dry_run = false;
	OK(kp_backup_prune(folder.path, &rules, &removed, &err));
	CHECK(removed == 2 && count_backups(folder.path) == 4, "%lld", (long long)removed);
	CHECK(path_exists(folder.path, "backups/20260401T030000Z") &&
		      path_exists(folder.path, "backups/20260404T030000Z") &&
		      path_exists(folder.path, "backups/20260405T030000Z") &&
		      path_exists(folder.path, "backups/20260406T030000Z"),
	      "others are kept");
	rules.labelled_too = true;
	rules.rules.daily = 1;
	OK(kp_backup_prune(folder.path, &rules, &removed, &err));
	CHECK(removed == 2 && path_exists(folder.path, "backups/20260405T030000Z"), "%lld",
	      (long long)removed);
	kp_clock_inject(NULL, NULL);
	temp_folder_remove(&folder);
}

static void nothing_lives(void **state)
{
	(void)state;
	keep_zone_forget();
	assert_nothing_lives();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_flipped_bit_anywhere_is_named_by_its_file),
		cmocka_unit_test(a_file_too_many_or_missing_or_cut_is_named),
		cmocka_unit_test(every_file_at_fault_is_told),
		cmocka_unit_test(a_list_tells_which_are_good_and_why_others_are_not),
		cmocka_unit_test(rotation_removes_what_is_old_and_neither_labelled_nor_damaged),
		cmocka_unit_test(nothing_lives),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
