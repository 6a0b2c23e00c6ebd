/* test_fault.c - the fault points themselves, and every allocation of the arena and of JSON. */
#include "torture.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static void the_nth_call_fires_and_no_other(void **state)
{
	(void)state;
	assert_false(kp_fault(KP_FAULT_DRIVER));
	kp_fault_arm(KP_FAULT_DRIVER, 3, false);
	for (int call = 1; call <= 10; call++)
		assert_int_equal(kp_fault(KP_FAULT_DRIVER), call == 3);
	assert_false(kp_fault(KP_FAULT_COMMIT));
	assert_int_equal(kp_fault_disarm(KP_FAULT_DRIVER), 1);
	assert_false(kp_fault(KP_FAULT_DRIVER));
}

static void a_persistent_fault_fires_from_then_on(void **state)
{
	(void)state;
	kp_fault_arm(KP_FAULT_DRIVER, 3, true);
	for (int call = 1; call <= 10; call++)
		assert_int_equal(kp_fault(KP_FAULT_DRIVER), call >= 3);
	assert_int_equal(kp_fault_disarm(KP_FAULT_DRIVER), 8);
}

static void one_allocation_is_counted_once(void **state)
{
	void *ptr;

	(void)state;
	for (long nth = 1; nth <= 4; nth++) {
		kp_fault_arm(KP_FAULT_ALLOC, nth, false);
		ptr = kp_alloc(1);
		assert_int_equal(ptr == NULL, nth == 1);
		kp_free(ptr);
		ptr = kp_alloc_zero(1);
		assert_int_equal(ptr == NULL, nth == 2);
		kp_free(ptr);
		ptr = kp_realloc(NULL, 1);
		assert_int_equal(ptr == NULL, nth == 3);
		kp_free(ptr);
		assert_int_equal(kp_fault_disarm(KP_FAULT_ALLOC), nth <= 3);
	}
	assert_nothing_lives();
}

static void count_moments(void *ctx, const char *name)
{
	int *count = ctx;

	*count += strcmp(name, "test.here") == 0;
}

static void a_moment_calls_the_injected_callback(void **state)
{
	int count = 0;

	(void)state;
	kp_moment_inject(count_moments, &count);
	kp_moment("test.here");
	kp_moment("test.there");
	kp_moment("test.here");
	kp_moment_inject(NULL, NULL);
	kp_moment("test.here");
	assert_int_equal(count, 2);
}

/* Runs this program again, so that the environment is read anew: see main. */
static void a_process_dies_at_the_nth_meeting_of_its_moment(void **state)
{
	static const struct {
		const char *kill_at;
		int signal; /* 0: it ends by itself */
	} cases[] = {
		{"test.loop:1", SIGKILL}, {"test.loop:3", SIGKILL}, {"test.loop:4", 0},
		{"test.other:1", 0},      {"test.loop", 0},         {"test.loop:", 0},
		{"test.loop:0", 0},       {"test.loop:x", 0},       {"", 0},
	};

	(void)state;
	for (size_t i = 0; i < KP_COUNT(cases); i++) {
		int status = 0;
		pid_t child = fork();

		if (child == 0) {
			setenv("KEEP_KILL_AT", cases[i].kill_at, 1);
			execl("/proc/self/exe", "test_fault", "meet", (char *)NULL);
			_exit(99);
		}
		assert_int_equal(waitpid(child, &status, 0), child);
		CHECK(cases[i].signal ? WIFSIGNALED(status) && WTERMSIG(status) == cases[i].signal
				      : WIFEXITED(status) && WEXITSTATUS(status) == 0,
		      "%s: %x", cases[i].kill_at, (unsigned)status);
	}
}

static keep_status fill_arena(void *ctx)
{
	static const size_t sizes[] = {10, 1000, 5000, 100000, 16, 30000, 30000, 30000, 200000, 7};
	kp_arena arena = {.head = NULL};
	keep_status status = KEEP_OK;
	keep_bytes copy = {.data = NULL};

	for (size_t i = 0; i < KP_COUNT(sizes) && status == KEEP_OK; i++) {
		char *given = kp_arena_alloc(&arena, sizes[i]);

		if (given)
			memset(given, 'x', sizes[i]);
		else
			status = kp_fail_memory(ctx, "the test");
		if (status == KEEP_OK)
			status = kp_arena_copy(&arena, KEEP_BYTES("copied"), &copy, ctx);
	}
	/* An arena that has refused once is whole and may be used on. */
	if (status != KEEP_OK) {
		char *given = kp_arena_alloc(&arena, 100);

		if (given)
			memset(given, 'y', 100);
	}
	kp_arena_release(&arena);
	return status;
}

static void every_allocation_of_an_arena_fails_once(void **state)
{
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	assert_true(torture(KP_FAULT_ALLOC, MAY(KEEP_NO_MEMORY), fill_arena, &err) >= 10);
}

/* Read a document, write it again, and compare. */
static keep_status read_and_write(void *ctx)
{
	static const char text[] =
		"{\"a\":[1,2.5,\"caf\\u00e9\\n\",null,true],\"b\":{},\"c\":\"plain\","
		"\"d1\":1,\"d2\":2,\"d3\":3,\"d4\":4,\"d5\":5,\"d6\":6,\"d7\":7,\"d8\":8,"
		"\"long\":[0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,"
		"27,28,29,30,31,32,33,34,35,36,37,38,39,40]}";
	keep_buffer out = KEEP_BUFFER_INIT;
	kp_arena arena = {.head = NULL};
	const kp_json *root = NULL;
	kp_json_writer writer;
	keep_status status = kp_json_parse(KEEP_BYTES(text), &arena, &root, ctx);

	if (status != KEEP_OK)
		goto out;
	kp_json_begin(&writer, &out);
	kp_json_open_object(&writer);
	for (size_t i = 0; i < root->list.count; i++) {
		kp_json_name(&writer, root->list.items[i].name.data ? "name" : "none");
		kp_json_put_raw(&writer, root->list.items[i].raw);
		kp_json_name(&writer, "text");
		kp_json_put_text(&writer, root->list.items[i].name);
	}
	kp_json_close_object(&writer);
	status = kp_json_finish(&writer, ctx);
	if (status == KEEP_OK && (root->list.count != 12 || out.len < 200))
		status = kp_fail(ctx, KEEP_CORRUPT, "read or wrote something else");
out:
	kp_arena_release(&arena);
	keep_buffer_release(&out);
	return status;
}

static void every_allocation_of_json_fails_once(void **state)
{
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	assert_true(torture(KP_FAULT_ALLOC, MAY(KEEP_NO_MEMORY), read_and_write, &err) >= 14);
}

static keep_status use_buffers(void *ctx)
{
	keep_buffer buffer = KEEP_BUFFER_INIT, text = KEEP_BUFFER_INIT;
	unsigned char digest[KP_SHA256_SIZE];
	keep_status status = KEEP_OK;

	for (int i = 0; i < 100 && status == KEEP_OK; i++)
		status = kp_buffer_append_format(&buffer, ctx, "line %d\n", i);
	if (status == KEEP_OK)
		status = kp_base64_encode(kp_buffer_bytes(&buffer), &text, ctx);
	if (status == KEEP_OK)
		status = kp_base64_decode(KEEP_BYTES("Zm9v"), &buffer, ctx);
	if (status == KEEP_OK)
		status = kp_sha256(kp_buffer_bytes(&buffer), digest, ctx);
	/* SHA-256 of "foo" */
	if (status == KEEP_OK && memcmp(digest, "\x2c\x26\xb4\x6b\x68\xff\xc6\x8f", 8) != 0)
		status = kp_fail(ctx, KEEP_CORRUPT, "a wrong digest");
	keep_buffer_release(&buffer);
	keep_buffer_release(&text);
	return status;
}

static void every_allocation_of_buffers_and_digests_fails_once(void **state)
{
	unsigned char digest[KP_SHA256_SIZE];
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	/* libcrypto sets itself up once, and remembers for good when that failed: digest.c. */
	OK(kp_sha256(KEEP_BYTES(""), digest, &err));
	/* OK too: libcrypto can do without some of its allocations. */
	assert_true(torture(KP_FAULT_ALLOC, MAY(KEEP_NO_MEMORY) | MAY(KEEP_OK), use_buffers,
			    &err) >= 8);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_nth_call_fires_and_no_other),
		cmocka_unit_test(a_persistent_fault_fires_from_then_on),
		cmocka_unit_test(one_allocation_is_counted_once),
		cmocka_unit_test(a_moment_calls_the_injected_callback),
		cmocka_unit_test(a_process_dies_at_the_nth_meeting_of_its_moment),
		cmocka_unit_test(every_allocation_of_an_arena_fails_once),
		cmocka_unit_test(every_allocation_of_json_fails_once),
		cmocka_unit_test(every_allocation_of_buffers_and_digests_fails_once),
	};

	if (argc == 2 && strcmp(argv[1], "meet") == 0) {
		for (int i = 0; i < 3; i++)
			kp_moment("test.loop");
		return 0;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
