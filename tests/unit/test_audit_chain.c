/*
 * test_audit_chain.c - the hash of an audit entry covers all of it, and never changes its meaning.
 */
#include "keep_test.h"

#include "audit/audit.h"

static const keep_audit_entry sample = {
	.id = 7,
	.timestamp = INT64_C(1790000000000),
	.event_type = {"setting_change", 14},
	.action = {"set", 3},
	.details = {"{\"key\": \"a\"}", 12},
	.success = true,
	.has_success = true,
	.user_id = {"ada", 3},
	.seq = 1,
	.previous_hash = {KP_AUDIT_FIRST_HASH, 64},
};

static void hash(const keep_audit_entry *entry, char out[KP_AUDIT_HASH_SIZE])
{
	keep_error err = KEEP_ERROR_INIT;

	OK(kp_audit_hash(entry, out, &err));
}

/* The bytes of the essay in chain.c, made by hand. */
static void the_hash_is_that_of_the_described_bytes(void **state)
{
	const struct {
		const char *bytes;
		size_t len;
	} parts[] = {
#define TEXT(text)                                                                                 \
	{"t", 1}, {(const char[]){sizeof(text) - 1, 0, 0, 0, 0, 0, 0, 0}, 8},                      \
		{text, sizeof(text) - 1}
		TEXT(KP_AUDIT_FIRST_HASH),
		{"i\x01\0\0\0\0\0\0\0", 9},
		{"i\x00\x6c\x50\xc4\xa0\x01\0\0", 9},
		{"i\x01\0\0\0\0\0\0\0", 9},
		TEXT("setting_change"),
		{"nn", 2},
		TEXT("set"),
		{"n", 1},
		TEXT("{\"key\": \"a\"}"),
		{"n", 1},
		TEXT("ada"),
		{"n", 1},
#undef TEXT
	};
	char found[KP_AUDIT_HASH_SIZE], expected[KP_AUDIT_HASH_SIZE];
	unsigned char digest[KP_SHA256_SIZE];
	keep_buffer bytes = KEEP_BUFFER_INIT;
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	for (size_t i = 0; i < KP_COUNT(parts); i++)
		OK(kp_buffer_append(&bytes, (keep_bytes){parts[i].bytes, parts[i].len}, &err));
	OK(kp_sha256(kp_buffer_bytes(&bytes), digest, &err));
	kp_hex_format((keep_bytes){(const char *)digest, sizeof digest}, expected);
	hash(&sample, found);
	assert_string_equal(found, expected);
	keep_buffer_release(&bytes);
	assert_nothing_lives();
}

static void every_column_but_id_and_hash_counts(void **state)
{
	char whole[KP_AUDIT_HASH_SIZE], other[KP_AUDIT_HASH_SIZE];
	keep_audit_entry entry = sample;

	(void)state;
	hash(&sample, whole);
	entry.id = 8;
	entry.hash = KEEP_BYTES("x");
	hash(&entry, other);
	assert_string_equal(whole, other);
#define DIFFERS(member, value)                                                                     \
	do {                                                                                       \
		entry = sample;                                                                    \
		entry.member = value;                                                              \
		hash(&entry, other);                                                               \
		CHECK(strcmp(whole, other) != 0, #member);                                         \
	} while (0)
	DIFFERS(timestamp, sample.timestamp + 1);
	DIFFERS(event_type, KEEP_BYTES("setting_chang"));
	DIFFERS(service_name, KEEP_BYTES(""));
	DIFFERS(agent_name, KEEP_BYTES("a"));
	DIFFERS(action, KEEP_BYTES("get"));
	DIFFERS(conversation_id, KEEP_BYTES("c"));
	DIFFERS(details, KEEP_BYTES("{\"key\":\"a\"}"));
	DIFFERS(success, false);
	DIFFERS(has_success, false);
	DIFFERS(error_message, KEEP_BYTES("e"));
	DIFFERS(user_id, KEEP_BYTES("bob"));
	DIFFERS(ip_address, KEEP_BYTES("::1"));
	DIFFERS(seq, 2);
	DIFFERS(previous_hash, KEEP_BYTES("1"));
#undef DIFFERS
	assert_nothing_lives();
}

static void texts_do_not_run_into_each_other(void **state)
{
	char one[KP_AUDIT_HASH_SIZE], other[KP_AUDIT_HASH_SIZE];
	keep_audit_entry entry = sample;

	(void)state;
	entry.service_name = KEEP_BYTES("ab");
	entry.agent_name = KEEP_BYTES("c");
	hash(&entry, one);
	entry.service_name = KEEP_BYTES("a");
	entry.agent_name = KEEP_BYTES("bc");
	hash(&entry, other);
	assert_string_not_equal(one, other);
	entry.service_name = (keep_bytes){NULL, 0};
	entry.agent_name = KEEP_BYTES("");
	hash(&entry, one);
	entry.service_name = KEEP_BYTES("");
	entry.agent_name = (keep_bytes){NULL, 0};
	hash(&entry, other);
	assert_string_not_equal(one, other);
	assert_nothing_lives();
}

enum { CHAIN = 6 };

static void make_chain(keep_audit_entry entries[CHAIN], char hashes[CHAIN][KP_AUDIT_HASH_SIZE])
{
	for (int i = 0; i < CHAIN; i++) {
		entries[i] = sample;
		entries[i].seq = i + 1;
		entries[i].previous_hash = keep_bytes_of(i ? hashes[i - 1] : KP_AUDIT_FIRST_HASH);
		hash(&entries[i], hashes[i]);
		entries[i].hash = keep_bytes_of(hashes[i]);
	}
}

/* The number of the first that does not follow; 0: all do. */
static int64_t first_broken(const keep_audit_entry *entries, size_t count)
{
	keep_error err = KEEP_ERROR_INIT;
	const char *why = NULL;
	kp_audit_link link;

	kp_audit_begin(&link);
	for (size_t i = 0; i < count; i++) {
		OK(kp_audit_follow(&link, &entries[i], &why, &err));
		if (why)
			return entries[i].seq;
	}
	return 0;
}

static void a_chain_shows_where_it_was_changed(void **state)
{
	keep_audit_entry entries[CHAIN], kept;
	char hashes[CHAIN][KP_AUDIT_HASH_SIZE], other[KP_AUDIT_HASH_SIZE];

	(void)state;
	make_chain(entries, hashes);
	assert_int_equal(first_broken(entries, CHAIN), 0);
	entries[2].user_id = KEEP_BYTES("eve");
	assert_int_equal(first_broken(entries, CHAIN), 3);
	/* With a hash made anew it is the next one. */
	hash(&entries[2], other);
	entries[2].hash = keep_bytes_of(other);
	assert_int_equal(first_broken(entries, CHAIN), 4);
	make_chain(entries, hashes);
	memmove(&entries[3], &entries[4], 2 * sizeof *entries);
	assert_int_equal(first_broken(entries, CHAIN - 1), 5);
	make_chain(entries, hashes);
	kept = entries[3];
	entries[3] = entries[4];
	entries[4] = kept;
	assert_int_equal(first_broken(entries, CHAIN), 5);
	make_chain(entries, hashes);
	entries[4].seq = 4;
	assert_int_equal(first_broken(entries, CHAIN), 4);
	assert_int_equal(first_broken(entries + 1, CHAIN - 1), 2);
	assert_nothing_lives();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_hash_is_that_of_the_described_bytes),
		cmocka_unit_test(every_column_but_id_and_hash_counts),
		cmocka_unit_test(texts_do_not_run_into_each_other),
		cmocka_unit_test(a_chain_shows_where_it_was_changed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
