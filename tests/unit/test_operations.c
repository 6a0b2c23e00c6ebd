/*
 * test_operations.c - the descriptions are whole, inputs are held to them, sessions behave.
 */
#include "keep_test.h"

#include "keep/operations.h"
#include "operations/operations_table.h"
#include "temp_folder.h"

static keep_error err;

/* ---------------------------------------------------------------- the table */

static bool is_word(const char *text)
{
	if (!text || !*text)
		return false;
	for (; *text; text++)
		if (!(*text >= 'a' && *text <= 'z') && *text != '_')
			return false;
	return true;
}

static void check_sentence(const char *where, const char *sentence)
{
	size_t len = sentence ? strlen(sentence) : 0;

	CHECK(len > 3 && sentence[len - 1] == '.', "%s: not a sentence", where);
}

static void check_inputs(const char *where, const kp_input *inputs, size_t count)
{
	kp_argument arguments[KP_INPUTS_MAX];
	kp_arena arena = {.head = NULL};
	bool needed = false;

	CHECK(count <= KP_INPUTS_MAX, "%s", where);
	for (size_t i = 0; i < count; i++) {
		CHECK(is_word(inputs[i].name), "%s", where);
		check_sentence(inputs[i].name, inputs[i].sentence);
		CHECK(!inputs[i].required || !inputs[i].fallback, "%s", inputs[i].name);
		CHECK(inputs[i].kind != KP_KIND_INTEGER || inputs[i].min < inputs[i].max, "%s",
		      inputs[i].name);
		for (size_t k = 0; k < i; k++) {
			CHECK(strcmp(inputs[i].name, inputs[k].name) != 0, "%s", where);
			CHECK(!inputs[i].place || inputs[i].place != inputs[k].place, "%s", where);
		}
		needed = needed || inputs[i].required;
	}
	/* Every default is of its own kind. */
	assert_int_equal(kp_inputs_read(inputs, count, NULL, false, &arena, arguments, NULL),
			 needed ? KEEP_INVALID : KEEP_OK);
	kp_arena_release(&arena);
}

static const kp_field *find_field(const kp_record *record, const char *name)
{
	for (size_t i = 0; record && i < record->field_count; i++)
		if (strcmp(record->fields[i].name, name) == 0)
			return &record->fields[i];
	return NULL;
}

/* "message.id": a field of the record that the member `message` is. */
static bool is_within(const kp_member *member, keep_bytes name)
{
	size_t len = strlen(member->name);

	if (!member->record || name.len <= len || name.data[len] != '.' ||
	    memcmp(member->name, name.data, len) != 0)
		return false;
	for (size_t i = 0; i < member->record->field_count; i++)
		if (kp_bytes_equal(keep_bytes_of(member->record->fields[i].name),
				   (keep_bytes){name.data + len + 1, name.len - len - 1}))
			return true;
	return false;
}

static bool is_member(const kp_operation *operation, keep_bytes name)
{
	for (size_t i = 0; i < operation->member_count; i++)
		if (kp_bytes_equal(keep_bytes_of(operation->members[i].name), name) ||
		    is_within(&operation->members[i], name))
			return true;
	for (size_t i = 0; operation->record && i < operation->record->field_count; i++)
		if (kp_bytes_equal(keep_bytes_of(operation->record->fields[i].name), name))
			return true;
	return false;
}

static void check_result(const kp_operation_store *store, const kp_operation *operation)
{
	bool is_object =
		operation->result == KP_RESULT_RECORD || operation->result == KP_RESULT_ROWS;

	CHECK(operation->result != KP_RESULT_BOOLEAN || operation->yes, "%s", operation->verb);
	CHECK(!is_object || !operation->record != !operation->member_count,
	      "%s: a record, or members", operation->verb);
	CHECK(is_object || (!operation->record && !operation->member_count && !operation->shown),
	      "%s: members of nothing", operation->verb);
	CHECK(!operation->record || kp_record_texts(store, operation->record), "%s",
	      operation->verb);
	for (size_t i = 0; i < operation->member_count; i++) {
		check_sentence(operation->members[i].name, operation->members[i].sentence);
		CHECK(!operation->members[i].record ||
			      kp_record_texts(store, operation->members[i].record),
		      "%s", operation->verb);
	}
	for (const char *word = operation->shown; word && *word; word += strspn(word, " ")) {
		size_t len = strcspn(word, " ");

		CHECK(is_member(operation, (keep_bytes){word, len}), "%s shows '%s'",
		      operation->verb, word);
		word += len;
	}
	CHECK(!operation->verdict || is_member(operation, keep_bytes_of(operation->verdict)), "%s",
	      operation->verb);
}

static void every_description_is_whole(void **state)
{
	const kp_operation *operation;

	(void)state;
	for (size_t i = 0; i < kp_store_count(); i++) {
		const kp_operation_store *store = kp_store_at(i);

		check_sentence(store->name, store->sentence);
		CHECK(store->open && store->close && store->cancel && store->make &&
			      store->is_place,
		      "%s", store->name);
		check_inputs(store->name, store->settings, store->setting_count);
		for (size_t k = 0; (operation = kp_operation_at(store, k)); k++) {
			CHECK(is_word(operation->verb), "%s", store->name);
			check_sentence(operation->verb, operation->sentence);
			check_sentence(operation->verb, operation->result_sentence);
			check_inputs(operation->verb, operation->inputs, operation->input_count);
			CHECK(operation->run, "%s", operation->verb);
			check_result(store, operation);
			CHECK(!operation->alias || is_word(operation->alias), "%s",
			      operation->verb);
			CHECK(kp_operation_find(store, keep_bytes_of(operation->verb)) == operation,
			      "%s", operation->verb);
		}
	}
	CHECK(!kp_store_at(kp_store_count()), "the list does not end");
}

/* An input that has the name of a record's field becomes that field. */
static void check_field(const char *where, const kp_input *input, const kp_field *field)
{
	static const kp_input_kind wanted[] = {
		[KP_TEXT] = KP_KIND_TEXT,    [KP_BLOB] = KP_KIND_BYTES,
		[KP_JSON] = KP_KIND_JSON,    [KP_INT] = KP_KIND_INTEGER,
		[KP_REAL] = KP_KIND_INTEGER, [KP_BOOL] = KP_KIND_BOOLEAN,
		[KP_TIME] = KP_KIND_TIME,
	};

	CHECK(input->kind == wanted[field->kind], "%s: %s is of another kind than its column",
	      where, input->name);
	CHECK(!(field->flags & KP_FIELD_SECRET) || input->is_secret, "%s: %s is a secret", where,
	      input->name);
}

static void inputs_that_are_columns_are_of_their_kind(void **state)
{
	static const struct {
		const kp_operation_store *store;
		const char *verb, *record;
	} made[] = {
		{&kp_gateway_operations, "put_message", "keep_message"},
		{&kp_gateway_operations, "put_message", "keep_chat"},
		{&kp_gateway_operations, "put_outbound", "keep_message"},
		{&kp_gateway_operations, "put_chat", "keep_chat"},
		{&kp_gateway_operations, "add_route", "keep_route"},
		{&kp_gateway_operations, "resolve", "keep_message"},
		{&kp_gateway_operations, "put_group", "keep_registered_group"},
		{&kp_gateway_operations, "enqueue_system_message", "keep_system_message"},
		{&kp_gateway_operations, "create_task", "keep_scheduled_task"},
		{&kp_mailbox_operations, "put_agent_group", "keep_agent_group"},
		{&kp_mailbox_operations, "put_messaging_group", "keep_messaging_group"},
		{&kp_mailbox_operations, "wire", "keep_messaging_group_agent"},
		{&kp_mailbox_operations, "allow", "keep_agent_destination"},
		{&kp_mailbox_operations, "post", "keep_inbound_message"},
		{&kp_mailbox_operations, "send", "keep_outbound_message"},
	};

	(void)state;
	for (size_t i = 0; i < KP_COUNT(made); i++) {
		const kp_operation_store *store = made[i].store;
		const kp_operation *operation =
			kp_operation_find(store, keep_bytes_of(made[i].verb));
		const kp_record *record = NULL;
		size_t found = 0;

		for (size_t k = 0; (record = kp_store_record_at(store, k)); k++)
			if (strcmp(record->name, made[i].record) == 0)
				break;
		assert_non_null(operation);
		assert_non_null(record);
		for (size_t k = 0; k < operation->input_count; k++) {
			const kp_field *field = find_field(record, operation->inputs[k].name);

			if (field)
				check_field(operation->verb, &operation->inputs[k], field);
			found += field != NULL;
		}
		CHECK(found > 1, "%s: takes nothing of %s", made[i].verb, made[i].record);
	}
}

static void an_operation_is_found_by_its_name_only(void **state)
{
	static const char *const wrong[] = {"",      ".",           "engine",     "engine.",
					    ".get",  "engine.get ", "Engine.get", "engine.get.x",
					    "x.get", "engineget"};
	const kp_operation_store *store;
	const kp_operation *operation;

	(void)state;
	OK(kp_operation_parse(KEEP_BYTES("engine.get"), &store, &operation, &err));
	assert_string_equal(operation->verb, "get");
	OK(kp_operation_parse(KEEP_BYTES("gateway.pause"), &store, &operation, &err));
	assert_string_equal(operation->verb, "pause_task");
	for (size_t i = 0; i < KP_COUNT(wrong); i++)
		CHECK(kp_operation_parse(keep_bytes_of(wrong[i]), &store, &operation, &err) ==
			      KEEP_INVALID,
		      "%s", wrong[i]);
}

static void a_url_is_a_home_or_one_stores_own(void **state)
{
	static const char *const own[] = {"memory:",
					  "sqlite:x.db",
					  "file:x",
					  "redis://h/0?prefix=p",
					  "postgres://h/d?namespace=n",
					  "postgres://h/d?a=b&schema=s"};
	static const char *const homes[] = {"home", "/srv/sqlite:", "postgres://h/d",
					    "postgresql://u@h/d?sslmode=require"};

	(void)state;
	for (size_t i = 0; i < KP_COUNT(own); i++)
		CHECK(kp_store_of_place(own[i]) == &kp_engine_operations, "%s", own[i]);
	for (size_t i = 0; i < KP_COUNT(homes); i++)
		CHECK(!kp_store_of_place(homes[i]), "%s", homes[i]);
	CHECK(kp_gateway_operations.is_place(own[1]) && kp_gateway_operations.is_place(own[5]),
	      "a place of a gateway");
	CHECK(!kp_gateway_operations.is_place(own[0]) && !kp_gateway_operations.is_place(own[2]) &&
		      !kp_gateway_operations.is_place(own[4]) &&
		      !kp_gateway_operations.is_place("postgres://h/d?namespace=n&schema=s") &&
		      !kp_gateway_operations.is_place("postgres://h/d?xschema=s"),
	      "a place of an engine alone");
	CHECK(kp_mailbox_operations.is_place(own[1]) && kp_mailbox_operations.is_place(own[5]) &&
		      kp_mailbox_operations.is_place("postgres://h/d?schema=m&session=s"),
	      "a place of a mailbox");
	CHECK(!kp_mailbox_operations.is_place(own[0]) && !kp_mailbox_operations.is_place(own[2]) &&
		      !kp_mailbox_operations.is_place(own[4]) &&
		      !kp_mailbox_operations.is_place("postgres://h/d"),
	      "no place of a mailbox");
	CHECK(kp_home_is_server(homes[2]) && kp_home_is_server(homes[3]) &&
		      !kp_home_is_server(homes[0]),
	      "a server is not told from a folder");
}

/* ---------------------------------------------------------------- inputs */

static const char *const colours[] = {"red", "green", NULL};
static const kp_input sample[] = {
	{.name = "path", .kind = KP_KIND_PATH, .required = true, .sentence = "A path."},
	{.name = "value", .kind = KP_KIND_BYTES, .nullable = true, .sentence = "Bytes."},
	{.name = "count",
	 .kind = KP_KIND_INTEGER,
	 .fallback = "5",
	 .min = 1,
	 .max = 9,
	 .sentence = "A count."},
	{.name = "loud", .kind = KP_KIND_BOOLEAN, .fallback = "true", .sentence = "A flag."},
	{.name = "colour",
	 .kind = KP_KIND_TEXT,
	 .fallback = "red",
	 .words = colours,
	 .sentence = "A colour."},
	{.name = "due", .kind = KP_KIND_TIME, .sentence = "A time."},
	{.name = "list", .kind = KP_KIND_ARRAY, .sentence = "A list."},
	{.name = "about", .kind = KP_KIND_OBJECT, .sentence = "An object."},
	{.name = "any", .kind = KP_KIND_JSON, .nullable = true, .sentence = "Any JSON."},
	{.name = "encoding", .kind = KP_KIND_TEXT, .fallback = "text", .sentence = "An encoding."},
};
enum { PATH, VALUE, NUMBER, LOUD, COLOUR, DUE, LIST, ABOUT, ANY };

static keep_status read_sample(const char *json, bool others, kp_arena *arena,
			       kp_argument *arguments)
{
	const kp_json *with = NULL;

	OK(kp_json_parse(keep_bytes_of(json), arena, &with, &err));
	return kp_inputs_read(sample, KP_COUNT(sample), with, others, arena, arguments, &err);
}

static void inputs_are_read_and_defaults_filled_in(void **state)
{
	kp_argument arguments[KP_INPUTS_MAX];
	kp_arena arena = {.head = NULL};

	(void)state;
	OK(read_sample("{\"path\":\"a\"}", false, &arena, arguments));
	assert_bytes_equal(arguments[PATH].bytes, KEEP_BYTES("a"));
	assert_false(arguments[VALUE].given);
	assert_null(arguments[VALUE].bytes.data);
	assert_int_equal(arguments[NUMBER].integer, 5);
	assert_true(arguments[LOUD].boolean);
	assert_bytes_equal(arguments[COLOUR].bytes, KEEP_BYTES("red"));
	OK(read_sample("{\"path\":\"\",\"value\":null,\"count\":9,\"loud\":false,\"colour\":"
		       "\"green\",\"due\":\"1970-01-01T00:00:01Z\",\"list\":[1],\"about\":{},"
		       "\"any\":[ 1,{}]}",
		       false, &arena, arguments));
	assert_true(arguments[PATH].given && arguments[PATH].bytes.len == 0);
	assert_false(arguments[VALUE].given);
	assert_int_equal(arguments[NUMBER].integer, 9);
	assert_false(arguments[LOUD].boolean);
	assert_int_equal(arguments[DUE].integer, 1000);
	assert_int_equal(arguments[LIST].json->list.count, 1);
	assert_int_equal(arguments[ABOUT].json->kind, KP_JSON_OBJECT);
	assert_bytes_equal(arguments[ANY].json->raw, KEEP_BYTES("[ 1,{}]"));
	OK(read_sample("{\"path\":\"a\",\"encoding\":\"base64\",\"value\":\"AP8=\",\"due\":-1}",
		       false, &arena, arguments));
	assert_bytes_equal(arguments[VALUE].bytes, (keep_bytes){"\0\xff", 2});
	assert_int_equal(arguments[DUE].integer, -1);
	OK(read_sample("{\"path\":\"a\",\"other\":1}", true, &arena, arguments));
	kp_arena_release(&arena);
	assert_nothing_lives();
}

static void a_wrong_input_is_named(void **state)
{
	static const struct {
		const char *json, *message;
	} wrong[] = {
		{"[]", "with: an array where an object belongs"},
		{"{}", "path: missing"},
		{"{\"path\":null}", "path: null where a text belongs"},
		{"{\"path\":1}", "path: an integer where a text belongs"},
		{"{\"path\":\"a\",\"other\":1}", "other: no such input"},
		{"{\"path\":\"a\",\"value\":[]}", "value: an array where a text belongs"},
		{"{\"path\":\"a\",\"count\":0}", "count: 0 is below 1"},
		{"{\"path\":\"a\",\"count\":10}", "count: 10 is over 9"},
		{"{\"path\":\"a\",\"count\":5.0}", "count: a number where an integer belongs"},
		{"{\"path\":\"a\",\"count\":null}", "count: null where an integer belongs"},
		{"{\"path\":\"a\",\"loud\":1}", "loud: an integer where a boolean belongs"},
		{"{\"path\":\"a\",\"colour\":\"blue\"}", "colour: 'blue' is not one of its words"},
		{"{\"path\":\"a\",\"due\":true}",
		 "due: true or false where milliseconds or an RFC 3339 text belongs"},
		{"{\"path\":\"a\",\"list\":{}}", "list: an object where an array belongs"},
		{"{\"path\":\"a\",\"about\":[]}", "about: an array where an object belongs"},
	};
	kp_argument arguments[KP_INPUTS_MAX];
	kp_arena arena = {.head = NULL};

	(void)state;
	for (size_t i = 0; i < KP_COUNT(wrong); i++) {
		assert_int_equal(read_sample(wrong[i].json, false, &arena, arguments),
				 KEEP_INVALID);
		assert_string_equal(err.message, wrong[i].message);
	}
	assert_int_equal(read_sample("{\"path\":\"a\",\"encoding\":\"base64\",\"value\":\"A\"}",
				     false, &arena, arguments),
			 KEEP_INVALID);
	assert_memory_equal(err.message, "value: ", 7);
	assert_int_equal(read_sample("{\"path\":\"a\",\"due\":\"soon\"}", false, &arena, arguments),
			 KEEP_INVALID);
	assert_memory_equal(err.message, "due: ", 5);
	kp_arena_release(&arena);
	assert_nothing_lives();
}

/* ---------------------------------------------------------------- sessions */

static void a_session_calls_by_name(void **state)
{
	keep_session *session = NULL;
	keep_buffer result = KEEP_BUFFER_INIT;

	(void)state;
	OK(keep_session_open("memory:", &session, &err));
	OK(keep_session_call(session, KEEP_BYTES("engine.set"),
			     KEEP_BYTES("{\"path\":\"a\",\"value\":\"v\"}"), &result, &err));
	assert_bytes_equal(kp_buffer_bytes(&result), KEEP_BYTES("null"));
	OK(keep_session_call(session, KEEP_BYTES("engine.get"), KEEP_BYTES("{\"path\":\"a\"}"),
			     &result, &err));
	assert_bytes_equal(kp_buffer_bytes(&result), KEEP_BYTES("\"v\""));
	assert_int_equal(keep_session_call(session, KEEP_BYTES("engine.get"),
					   KEEP_BYTES("{\"path\":\"b\"}"), &result, &err),
			 KEEP_NOT_FOUND);
	assert_int_equal(result.len, 0);
	assert_int_equal(keep_session_call(session, KEEP_BYTES("engine.get"),
					   KEEP_BYTES("{\"path\":"), &result, &err),
			 KEEP_INVALID);
	assert_memory_equal(err.message, "with: ", 6);
	OK(keep_session_call(session, KEEP_BYTES("engine.clear"), KEEP_BYTES(""), &result, &err));
	assert_int_equal(
		keep_session_call(session, (keep_bytes){NULL, 0}, KEEP_BYTES(""), &result, &err),
		KEEP_MISUSE);
	keep_session_close(&session);
	keep_session_close(&session);
	assert_null(session);
	keep_buffer_release(&result);
	assert_nothing_lives();
}

static void a_url_of_several_stores_is_the_first_ones_that_is_called(void **state)
{
	static const char set[] = "{\"path\":\"a\",\"value\":\"v\"}";
	static const char put[] = "{\"chat_jid\":\"a:1\",\"id\":\"1\",\"content\":\"hi\"}";
	keep_session *session = NULL;
	keep_buffer result = KEEP_BUFFER_INIT;
	temp_folder folder;
	char url[160], path[128];

	(void)state;
	temp_folder_make(&folder);
	(void)snprintf(url, sizeof url, "sqlite:%s", temp_path(&folder, "one.db", path));
	OK(keep_session_open(url, &session, &err));
	/* A call that is wrong in itself claims nothing. */
	assert_int_equal(keep_session_call(session, KEEP_BYTES("engine.get"), KEEP_BYTES("{}"),
					   &result, &err),
			 KEEP_INVALID);
	OK(keep_session_call(session, KEEP_BYTES("gateway.put_message"), keep_bytes_of(put),
			     &result, &err));
	assert_bytes_equal(kp_buffer_bytes(&result),
			   KEEP_BYTES("{\"outcome\":\"inserted\",\"seq\":1}"));
	assert_int_equal(keep_session_call(session, KEEP_BYTES("engine.set"), keep_bytes_of(set),
					   &result, &err),
			 KEEP_INVALID);
	assert_string_equal(err.message,
			    "engine: needs a home; this session is on one gateway alone");
	keep_session_close(&session);
	(void)snprintf(url, sizeof url, "sqlite:%s", temp_path(&folder, "two.db", path));
	OK(keep_session_open(url, &session, &err));
	OK(keep_session_call(session, KEEP_BYTES("engine.set"), keep_bytes_of(set), &result, &err));
	assert_int_equal(keep_session_call(session, KEEP_BYTES("gateway.put_message"),
					   keep_bytes_of(put), &result, &err),
			 KEEP_INVALID);
	keep_session_close(&session);
	keep_buffer_release(&result);
	temp_folder_remove(&folder);
	assert_nothing_lives();
}

static void a_failed_call_leaves_no_part_of_a_result(void **state)
{
	keep_session *session = NULL;
	keep_buffer result = KEEP_BUFFER_INIT;

	(void)state;
	OK(keep_session_open("memory:", &session, &err));
	OK(keep_session_call(session, KEEP_BYTES("engine.batch"),
			     KEEP_BYTES("{\"changes\":[{\"op\":\"set\",\"path\":\"p/"
					"a\",\"value\":\"/w==\",\"encoding\":\"base64\"},"
					"{\"op\":\"set\",\"path\":\"p/b\",\"value\":\"text\"}]}"),
			     &result, &err));
	assert_int_equal(keep_session_call(session, KEEP_BYTES("engine.list"),
					   KEEP_BYTES("{\"path\":\"p\"}"), &result, &err),
			 KEEP_INVALID);
	assert_non_null(strstr(err.message, "base64"));
	assert_int_equal(result.len, 0);
	OK(keep_session_call(session, KEEP_BYTES("engine.list"),
			     KEEP_BYTES("{\"path\":\"p\",\"encoding\":\"base64\"}"), &result,
			     &err));
	assert_bytes_equal(kp_buffer_bytes(&result), KEEP_BYTES("[\"dGV4dA==\",\"/w==\"]"));
	keep_session_close(&session);
	keep_buffer_release(&result);
	assert_nothing_lives();
}

static void a_home_is_made_once_and_opened(void **state)
{
	keep_session *session = NULL;
	keep_buffer result = KEEP_BUFFER_INIT;
	temp_folder folder;
	char home[128];

	(void)state;
	temp_folder_make(&folder);
	temp_path(&folder, "home", home);
	assert_int_equal(keep_session_open(home, &session, &err), KEEP_NOT_FOUND);
	OK(keep_home_init(home, &err));
	OK(keep_home_init(home, &err));
	OK(keep_session_open(home, &session, &err));
	OK(keep_session_call(session, KEEP_BYTES("engine.count"), KEEP_BYTES("{\"path\":\"\"}"),
			     &result, &err));
	assert_bytes_equal(kp_buffer_bytes(&result), KEEP_BYTES("0"));
	OK(keep_session_call(session, KEEP_BYTES("engine.set"),
			     KEEP_BYTES("{\"path\":\"a\",\"value\":\"v\",\"engine\":\"e\"}"),
			     &result, &err));
	OK(keep_session_call(session, KEEP_BYTES("engine.count"),
			     KEEP_BYTES("{\"path\":\"\",\"engine\":\"e\"}"), &result, &err));
	assert_bytes_equal(kp_buffer_bytes(&result), KEEP_BYTES("1"));
	keep_session_close(&session);
	keep_buffer_release(&result);
	assert_int_equal(keep_home_init(folder.path, &err), KEEP_CONFLICT);
	assert_int_equal(keep_home_init("", &err), KEEP_INVALID);
	assert_int_equal(keep_home_init(NULL, &err), KEEP_MISUSE);
	temp_folder_remove(&folder);
	assert_nothing_lives();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_description_is_whole),
		cmocka_unit_test(inputs_that_are_columns_are_of_their_kind),
		cmocka_unit_test(an_operation_is_found_by_its_name_only),
		cmocka_unit_test(a_url_is_a_home_or_one_stores_own),
		cmocka_unit_test(inputs_are_read_and_defaults_filled_in),
		cmocka_unit_test(a_wrong_input_is_named),
		cmocka_unit_test(a_session_calls_by_name),
		cmocka_unit_test(a_url_of_several_stores_is_the_first_ones_that_is_called),
		cmocka_unit_test(a_failed_call_leaves_no_part_of_a_result),
		cmocka_unit_test(a_home_is_made_once_and_opened),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
