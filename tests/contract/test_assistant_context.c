/*
 * test_assistant_context.c - a context is the latest summary and what came after, within a budget.
 *
 *     test_assistant_context sqlite|postgres
 *
 * A model in memory says what each context must be; KEEP_TEST_SEED chooses other conversations.
 */
#include "assistant_rows.h"

enum { MESSAGES_MAX = 300, SUMMARIES_MAX = 6, LONG = 100000 };

static keep_memory memory = KEEP_MEMORY_INIT;
static keep_error err = KEEP_ERROR_INIT;

static struct {
	int64_t tokens[MESSAGES_MAX + 1]; /* by seq */
	bool is_internal[MESSAGES_MAX + 1];
	int64_t count;
	struct {
		int64_t from, to, tokens;
	} summaries[SUMMARIES_MAX];
	int summary_count;
} model;

static void end(keep_assistant **assistant)
{
	keep_memory_release(&memory);
	keep_assistant_close(assistant);
	assert_nothing_lives();
}

static keep_context context_of(keep_assistant *assistant, const char *id, int64_t budget)
{
	keep_context context;

	OK(keep_assistant_context(assistant, keep_bytes_of(id), budget, &memory, &context, &err));
	return context;
}

/* ---------------------------------------------------------------- the model */

static void make_messages(keep_assistant *assistant, const char *id, int64_t count, uint64_t *seed)
{
	static keep_conversation_message batch[MESSAGES_MAX];

	(void)assistant_conversation(assistant, id);
	memset(&model, 0, sizeof model);
	model.count = count;
	for (int64_t seq = 1; seq <= count; seq++) {
		model.is_internal[seq] = next_random(seed) % 5 == 0;
		/* A token_count of 0 is an estimate, which of an empty text is 0. */
		model.tokens[seq] =
			next_random(seed) % 4 ? (int64_t)(next_random(seed) % 50) + 1 : 0;
		batch[seq - 1] = (keep_conversation_message){
			.conversation_id = keep_bytes_of(id),
			.role = KEEP_BYTES("user"),
			.content = model.tokens[seq] ? KEEP_BYTES("text") : KEEP_BYTES(""),
			.token_count = model.tokens[seq],
			.is_internal = model.is_internal[seq]};
	}
	OK(keep_assistant_append_many(assistant, batch, (size_t)count, NULL, &err));
}

static void make_summary(keep_assistant *assistant, const char *id, uint64_t *seed)
{
	int64_t from = (int64_t)(next_random(seed) % (uint64_t)model.count) + 1;
	int64_t to = from + (int64_t)(next_random(seed) % (uint64_t)(model.count - from + 1));
	int64_t tokens = (int64_t)(next_random(seed) % 60) + 1;
	bool is_duplicate = false;
	int64_t version = 0;
	char text[60];

	snprintf(text, sizeof text, "%lld to %lld", (long long)from, (long long)to);
	OK(keep_assistant_add_summary(assistant, keep_bytes_of(id), from, to, keep_bytes_of(text),
				      tokens, &version, &is_duplicate, &err));
	if (is_duplicate)
		return;
	model.summaries[model.summary_count].from = from;
	model.summaries[model.summary_count].to = to;
	model.summaries[model.summary_count++].tokens = tokens;
	assert_int_equal(version, model.summary_count + 1);
}

static void assert_context(keep_assistant *assistant, const char *id, int64_t budget)
{
	keep_context context = context_of(assistant, id, budget);
	int latest = -1;
	int64_t after = 0, used = 0, seq;
	bool has_summary = false, is_complete = true;
	size_t left = context.count;

	for (int i = 0; i < model.summary_count; i++)
		if (latest < 0 || model.summaries[i].to >= model.summaries[latest].to)
			latest = i;
	if (latest >= 0) {
		after = model.summaries[latest].to;
		has_summary = !budget || model.summaries[latest].tokens <= budget;
		used = has_summary ? model.summaries[latest].tokens : 0;
		is_complete = has_summary;
	}
	for (seq = model.count; seq > after; seq--) {
		if (model.is_internal[seq])
			continue;
		if (budget && used + model.tokens[seq] > budget) {
			is_complete = false;
			break;
		}
		used += model.tokens[seq];
		assert_true(left > 0);
		left--;
		assert_int_equal(context.messages[left].seq, seq);
	}
	assert_int_equal(left, 0);
	assert_int_equal(context.tokens, used);
	assert_int_equal(context.is_complete, is_complete);
	assert_int_equal(context.has_summary, has_summary);
	assert_int_equal(context.context_version, model.summary_count + 1);
	if (has_summary) {
		char text[60];

		snprintf(text, sizeof text, "%lld to %lld", (long long)model.summaries[latest].from,
			 (long long)after);
		assert_bytes_equal(context.summary_text, keep_bytes_of(text));
		assert_int_equal(context.summary.to_seq, after);
	}
}

static void every_context_is_what_the_model_says(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	uint64_t seed = test_seed();

	(void)state;
	for (int round = 0; round < 12; round++) {
		char id[12];

		snprintf(id, sizeof id, "c%d", round);
		make_messages(assistant, id, (int64_t)(next_random(&seed) % MESSAGES_MAX) + 1,
			      &seed);
		for (int i = 0; i <= SUMMARIES_MAX; i++) {
			assert_context(assistant, id, 0);
			for (int j = 0; j < 12; j++)
				assert_context(
					assistant, id,
					(int64_t)(next_random(&seed) % (j % 2 ? 100 : 6000)) + 1);
			if (i < SUMMARIES_MAX)
				make_summary(assistant, id, &seed);
		}
		keep_memory_release(&memory);
	}
	end(&assistant);
}

/* ---------------------------------------------------------------- edges */

static void an_empty_conversation_has_an_empty_context(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	keep_context context;

	(void)state;
	(void)assistant_conversation(assistant, "c");
	context = context_of(assistant, "c", 0);
	assert_int_equal(context.count, 0);
	assert_true(context.is_complete);
	assert_false(context.has_summary);
	assert_int_equal(context.context_version, 1);
	assert_int_equal(
		keep_assistant_context(assistant, KEEP_BYTES("nobody"), 0, &memory, &context, &err),
		KEEP_NOT_FOUND);
	assert_int_equal(
		keep_assistant_context(assistant, KEEP_BYTES("c"), -1, &memory, &context, &err),
		KEEP_INVALID);
	end(&assistant);
}

static void a_message_that_does_not_fit_ends_it(void **state)
{
	static const int64_t tokens[] = {1, 1, 100, 0, 5, 0};
	keep_assistant *assistant = assistant_fresh();
	keep_context context;

	(void)state;
	(void)assistant_conversation(assistant, "c");
	for (size_t i = 0; i < KP_COUNT(tokens); i++) {
		keep_conversation_message message = {.conversation_id = KEEP_BYTES("c"),
						     .role = KEEP_BYTES("user"),
						     .content = tokens[i] ? KEEP_BYTES("x")
									  : KEEP_BYTES(""),
						     .token_count = tokens[i]};

		OK(keep_assistant_append(assistant, &message, NULL, &err));
	}
	context = context_of(assistant, "c", 5);
	assert_int_equal(context.count, 3); /* what costs nothing fits */
	assert_int_equal(context.tokens, 5);
	assert_false(context.is_complete);
	context = context_of(assistant, "c", 4);
	assert_int_equal(context.count, 1);
	context = context_of(assistant, "c", 106);
	assert_int_equal(context.count, 5);
	context = context_of(assistant, "c", 107);
	assert_true(context.is_complete);
	end(&assistant);
}

/* Make one message unreadable: whoever reads it is told CORRUPT. Of a server that says which rows
   are looked at; how many it sends is the LIMIT of a portion. */
static void damage(const char *id, int64_t seq)
{
	char sql[200];

	if (!assistant_is_file())
		(void)assistant_sql("ALTER TABLE messages DROP CONSTRAINT messages_role_check");
	snprintf(sql, sizeof sql,
		 "UPDATE messages SET %s WHERE conversation_id = '%s' AND seq = %lld",
		 assistant_is_file() ? "\"timestamp\" = 'never'" : "role = 'nobody'", id,
		 (long long)seq);
	(void)assistant_sql(sql);
}

static void a_context_reads_what_it_answers_and_one_more(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	keep_conversation_message batch[200];
	keep_context context;

	(void)state;
	(void)assistant_conversation(assistant, "c");
	for (int i = 0; i < 200; i++)
		batch[i] = (keep_conversation_message){.conversation_id = KEEP_BYTES("c"),
						       .role = KEEP_BYTES("user"),
						       .content = KEEP_BYTES("text"),
						       .token_count = 1};
	OK(keep_assistant_append_many(assistant, batch, 200, NULL, &err));
	damage("c", 99);
	context = context_of(assistant, "c", 100);
	assert_int_equal(context.count, 100);
	assert_int_equal(context.messages[0].seq, 101);
	assert_int_equal(
		keep_assistant_context(assistant, KEEP_BYTES("c"), 101, &memory, &context, &err),
		KEEP_CORRUPT);
	/* What a summary covers is not read either. */
	OK(keep_assistant_add_summary(assistant, KEEP_BYTES("c"), 1, 99, KEEP_BYTES("s"), 1, NULL,
				      NULL, &err));
	context = context_of(assistant, "c", 0);
	assert_int_equal(context.count, 101);
	assert_true(context.is_complete);
	end(&assistant);
}

static void a_hundred_thousand_messages_are_one_context(void **state)
{
	static keep_conversation_message batch[KEEP_ASSISTANT_LIST_MAX];
	keep_assistant *assistant = assistant_fresh();
	keep_context context;

	(void)state;
	(void)assistant_conversation(assistant, "c");
	for (int i = 0; i < KEEP_ASSISTANT_LIST_MAX; i++)
		batch[i] = (keep_conversation_message){.conversation_id = KEEP_BYTES("c"),
						       .role = KEEP_BYTES("user"),
						       .content = KEEP_BYTES("text")};
	for (int i = 0; i < LONG; i += KEEP_ASSISTANT_LIST_MAX)
		OK(keep_assistant_append_many(assistant, batch, KEEP_ASSISTANT_LIST_MAX, NULL,
					      &err));
	context = context_of(assistant, "c", 0);
	assert_int_equal(context.count, LONG);
	assert_true(context.is_complete);
	for (int i = 0; i < LONG; i++)
		assert_int_equal(context.messages[i].seq, i + 1);
	(void)assistant_append(assistant, "c", "one too many");
	context = context_of(assistant, "c", 0);
	assert_int_equal(context.count, KEEP_CONTEXT_MESSAGES_MAX);
	assert_false(context.is_complete);
	assert_int_equal(context.messages[0].seq, 2);
	OK(keep_assistant_delete_conversation(assistant, KEEP_BYTES("c"), NULL, &err));
	assert_int_equal(assistant_count("messages"), 0);
	end(&assistant);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_context_is_what_the_model_says),
		cmocka_unit_test(an_empty_conversation_has_an_empty_context),
		cmocka_unit_test(a_message_that_does_not_fit_ends_it),
		cmocka_unit_test(a_context_reads_what_it_answers_and_one_more),
		cmocka_unit_test(a_hundred_thousand_messages_are_one_context),
	};
	int failed;

	assistant_begin(argc, argv);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	assistant_end();
	return failed;
}
