/*
 * test_engine_files_moments.c - a process that changes a file: store dies at every named moment.
 *
 * For each kp_moment of file: and N = 1, 2, … until it is met no more, a child runs one fixed list
 * of changes and kills itself there; it says in a pipe which changes were acknowledged. Then the
 * store must hold, in every document, list and count, what a model holds after the acknowledged
 * changes, or after one more. Every other time the first to look is a process that had the store
 * open all the while, so that recovery is also done by a reader and not only by an opening.
 *
 * The names are the list below; a name that is never met fails the test.
 */
#include "keep/engine.h"
#include "temp_folder.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *const moments[] = {
	"temp_made",       "temp_written",    "made_ancestor",   "begun",          "made_folder",
	"renamed",         "published",       "unlocked",        "unset_begun",    "unset_renamed",
	"unset_unlocked",  "unset_synced",    "trash_begun",     "trash_moved",    "journal_begun",
	"journal_synced",  "journal_renamed", "journal_written", "batch_begun",    "batch_step",
	"batch_published", "batch_synced",    "journal_removed", "batch_unlocked",
};

static const char *const recovery_moments[] = {"recovered_step", "journal_removed"};

/* ---------------------------------------------------------------- the changes */

enum { STEPS_MAX = 32, PART_MAX = 5 };

typedef struct step {
	keep_engine_change changes[PART_MAX];
	size_t count;
} step;

/* KEEP_BYTES for a constant. */
#define TEXT(literal)                                                                              \
	{                                                                                          \
		(literal), sizeof(literal) - 1                                                     \
	}

static char large[70000];

#define SET(where, what)                                                                           \
	{                                                                                          \
		.kind = KEEP_ENGINE_SET, .path = TEXT(where), .value = TEXT(what)                  \
	}
#define UNSET(where)                                                                               \
	{                                                                                          \
		.kind = KEEP_ENGINE_UNSET, .path = TEXT(where)                                     \
	}

static const step steps[] = {
	{{SET("a", "1")}, 1},
	{{SET("c/1", "one")}, 1},
	{{SET("c/2", "two")}, 1},
	{{SET("c/1", "uno")}, 1},
	{{SET(".keepsake/index.json", "odd")}, 1},
	{{SET("c/3", "three"), UNSET("c/2"), SET("d/e/f", "f"), SET("c/3", "tres"),
	  SET("d/e/.keep", "k")},
	 5},
	{{UNSET("c/1")}, 1},
	{{SET("c/4/content", "below")}, 1},
	{{{.kind = KEEP_ENGINE_SET_SCORED,
	   .path = TEXT("c/5"),
	   .value = TEXT("scored"),
	   .score_ms = 1000}},
	 1},
	{{{.kind = KEEP_ENGINE_COMPARE_AND_SET,
	   .path = TEXT("a"),
	   .value = TEXT("2"),
	   .expected = TEXT("1")}},
	 1},
	{{SET("c/4/content/x/y", "deep")}, 1},
	{{UNSET("c")}, 1},
	{{UNSET("d"), SET("d/e/g", "g"), SET("c/6", "six")}, 3},
	{{{.kind = KEEP_ENGINE_SET, .path = TEXT("c/7"), .value = {large, sizeof large}}}, 1},
	{{UNSET("c/none")}, 1},
	{{UNSET("")}, 1},
	{{SET("z/1", "z")}, 1},
	{{SET("z/2", "z2"), SET("z/1", "z1"), UNSET("z/2")}, 3},
};

static const char *const paths[] = {
	"a",
	"c/1",
	"c/2",
	"c/3",
	"c/4",
	"c/4/content",
	"c/4/content/x/y",
	"c/5",
	"c/6",
	"c/7",
	"d/e/f",
	"d/e/g",
	"d/e/.keep",
	"z/1",
	"z/2",
	".keepsake/index.json",
};

static const char *const folders[] = {"",    "c", "c/4",       "d",
				      "d/e", "z", ".keepsake", "c/4/content/x"};

static keep_status open_store(const char *url, bool relaxed, keep_engine **out, keep_error *err)
{
	keep_engine_options options = KEEP_ENGINE_OPTIONS_INIT;

	options.create = options.shared = true;
	options.relaxed = relaxed;
	return keep_engine_open(url, &options, out, err);
}

static keep_status run_step(keep_engine *engine, const step *at, keep_error *err)
{
	return keep_engine_batch(engine, at->changes, at->count, err);
}

/* The child: say '.' in descriptor 3 after each acknowledged change. */
static int run_child(const char *url)
{
	keep_error err = KEEP_ERROR_INIT;
	keep_engine *engine = NULL;
	keep_status status = open_store(url, getenv("KEEP_TEST_RELAXED") != NULL, &engine, &err);

	memset(large, 'L', sizeof large);
	if (getenv("KEEP_TEST_ONLY_OPEN"))
		goto out;
	for (size_t i = 0; status == KEEP_OK && i < KP_COUNT(steps); i++) {
		status = run_step(engine, &steps[i], &err);
		if (status == KEEP_OK && write(3, ".", 1) != 1)
			_exit(3);
	}
out:
	keep_engine_close(&engine);
	if (status != KEEP_OK)
		fprintf(stderr, "%s\n", err.message);
	return status == KEEP_OK ? 0 : 2;
}

/* ---------------------------------------------------------------- comparing */

static bool same_value(keep_engine *left, keep_engine *right, const char *path)
{
	keep_buffer a = KEEP_BUFFER_INIT, b = KEEP_BUFFER_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_status first = keep_engine_get(left, keep_bytes_of(path), &a, &err);
	keep_status second = keep_engine_get(right, keep_bytes_of(path), &b, &err);
	bool same = first == second && kp_bytes_equal(kp_buffer_bytes(&a), kp_buffer_bytes(&b));

	CHECK((first == KEEP_OK || first == KEEP_NOT_FOUND) &&
		      (second == KEEP_OK || second == KEEP_NOT_FOUND),
	      "get %s: %s", path, err.message);
	keep_buffer_release(&a);
	keep_buffer_release(&b);
	return same;
}

static bool same_children(keep_engine *left, keep_engine *right, const char *path)
{
	keep_engine_list a = KEEP_ENGINE_LIST_INIT, b = KEEP_ENGINE_LIST_INIT;
	keep_error err = KEEP_ERROR_INIT;
	int64_t a_count, b_count;
	bool same;

	OK(keep_engine_list_names(left, keep_bytes_of(path), 0, 100, &a, &err));
	OK(keep_engine_list_names(right, keep_bytes_of(path), 0, 100, &b, &err));
	OK(keep_engine_count(left, keep_bytes_of(path), &a_count, &err));
	OK(keep_engine_count(right, keep_bytes_of(path), &b_count, &err));
	CHECK(a_count == (int64_t)a.count, "count of '%s' is %lld, its list has %zu", path,
	      (long long)a_count, a.count);
	same = a.count == b.count && a_count == b_count;
	for (size_t i = 0; same && i < a.count; i++)
		same = kp_bytes_equal(a.items[i].name, b.items[i].name) &&
		       kp_bytes_equal(a.items[i].value, b.items[i].value);
	keep_engine_list_release(&a);
	keep_engine_list_release(&b);
	return same;
}

static bool same_store(keep_engine *left, keep_engine *right)
{
	bool same = true;

	for (size_t i = 0; same && i < KP_COUNT(folders); i++)
		same = same_children(left, right, folders[i]);
	for (size_t i = 0; same && i < KP_COUNT(paths); i++)
		same = same_value(left, right, paths[i]);
	return same;
}

/* True when the store is the model after `count` changes. */
static bool is_after(keep_engine *engine, size_t count)
{
	keep_error err = KEEP_ERROR_INIT;
	keep_engine *model = NULL;
	bool same;

	if (count > KP_COUNT(steps))
		return false;
	OK(open_store("memory:moments-model", true, &model, &err));
	OK(keep_engine_clear(model, &err));
	for (size_t i = 0; i < count; i++)
		OK(run_step(model, &steps[i], &err));
	same = same_store(engine, model);
	keep_engine_close(&model);
	return same;
}

/* ---------------------------------------------------------------- one death */

static struct {
	const char *program;
	temp_folder folder;
	char url[128];
} at;

static bool is_empty(const char *name)
{
	char command[300];

	snprintf(command, sizeof command, "test -z \"$(ls -A %s/.keep/%s)\"", at.url + 5, name);
	return system(command) == 0;
}

/* Run a child that dies at the Nth `moment`. Returns the acknowledged changes; *died. */
static size_t run(const char *moment, long nth, bool only_open, bool *died)
{
	char kill_at[128], byte;
	size_t acknowledged = 0;
	int ends[2], result;
	pid_t child;

	CHECK(pipe2(ends, O_CLOEXEC) == 0, "pipe");
	snprintf(kill_at, sizeof kill_at, "engine_files.%s:%ld", moment, nth);
	child = fork();
	CHECK(child >= 0, "fork");
	if (child == 0) {
		setenv("KEEP_KILL_AT", kill_at, 1);
		if (nth > 1)
			setenv("KEEP_TEST_RELAXED", "1", 1);
		if (only_open)
			setenv("KEEP_TEST_ONLY_OPEN", "1", 1);
		if (ends[1] == 3)
			fcntl(3, F_SETFD, 0);
		else
			dup2(ends[1], 3);
		execl(at.program, at.program, "--child", at.url, (char *)NULL);
		_exit(9);
	}
	close(ends[1]);
	while (read(ends[0], &byte, 1) == 1)
		acknowledged++;
	close(ends[0]);
	CHECK(waitpid(child, &result, 0) == child, "waitpid");
	*died = WIFSIGNALED(result) && WTERMSIG(result) == SIGKILL;
	CHECK(*died || (WIFEXITED(result) && WEXITSTATUS(result) == 0), "%s: the child said %x",
	      kill_at, (unsigned)result);
	return acknowledged;
}

static void check_store(keep_engine *engine, size_t acknowledged, const char *moment, long nth)
{
	CHECK(is_after(engine, acknowledged) || is_after(engine, acknowledged + 1),
	      "killed at %s:%ld after %zu changes the store is neither before nor after the next",
	      moment, nth, acknowledged);
}

static void check_no_garbage(const char *moment, long nth)
{
	keep_error err = KEEP_ERROR_INIT;
	keep_engine *engine = NULL;

	OK(open_store(at.url, true, &engine, &err));
	CHECK(is_empty("tmp") && is_empty("trash") && is_empty("journal 2>/dev/null"),
	      "killed at %s:%ld something is left", moment, nth);
	keep_engine_close(&engine);
}

static void fresh_store(void)
{
	static unsigned number;

	snprintf(at.url, sizeof at.url, "file:%s/s%u", at.folder.path, ++number);
}

/* True when the moment was met. */
static bool die_once(const char *moment, long nth)
{
	keep_error err = KEEP_ERROR_INIT;
	keep_engine *engine = NULL;
	size_t acknowledged;
	bool died;

	fresh_store();
	OK(open_store(at.url, true, &engine, &err));
	for (size_t i = 0; i < KP_COUNT(folders); i++)
		CHECK(same_children(engine, engine, folders[i]), "a store differs from itself");
	if (nth % 2 == 0)
		keep_engine_close(&engine);
	acknowledged = run(moment, nth, false, &died);
	if (!engine)
		OK(open_store(at.url, true, &engine, &err));
	check_store(engine, acknowledged, moment, nth);
	keep_engine_close(&engine);
	check_no_garbage(moment, nth);
	return died;
}

static void whatever_moment_it_dies_at_the_store_is_whole(void **state)
{
	long deaths = 0;

	(void)state;
	for (size_t i = 0; i < KP_COUNT(moments); i++) {
		long nth = 1;

		while (die_once(moments[i], nth))
			nth++;
		CHECK(nth > 1, "the moment %s is never met", moments[i]);
		deaths += nth - 1;
	}
	print_message("%ld deaths at %zu moments\n", deaths, KP_COUNT(moments));
}

static void a_recovery_that_is_killed_is_recovered(void **state)
{
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	for (size_t i = 0; i < KP_COUNT(recovery_moments); i++) {
		for (long nth = 1;; nth++) {
			keep_engine *engine = NULL;
			size_t acknowledged;
			bool died;

			fresh_store();
			acknowledged = run("batch_step", 2, false, &died);
			CHECK(died, "no batch");
			(void)run(recovery_moments[i], nth, true, &died);
			OK(open_store(at.url, true, &engine, &err));
			CHECK(is_after(engine, acknowledged + 1), "the batch was lost");
			keep_engine_close(&engine);
			check_no_garbage(recovery_moments[i], nth);
			if (!died) {
				CHECK(nth > 1, "%s is never met", recovery_moments[i]);
				break;
			}
		}
	}
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(whatever_moment_it_dies_at_the_store_is_whole),
		cmocka_unit_test(a_recovery_that_is_killed_is_recovered),
	};
	int failed;

	memset(large, 'L', sizeof large);
	if (argc == 3 && strcmp(argv[1], "--child") == 0)
		return run_child(argv[2]);
	at.program = "/proc/self/exe";
	temp_folder_make(&at.folder);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	temp_folder_remove(&at.folder);
	return failed;
}
