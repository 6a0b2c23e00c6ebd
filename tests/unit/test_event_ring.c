/*
 * test_event_ring.c - messages as events, and the ring of the last ones.
 */
#include "keep_test.h"
#include "service/event_ring.h"

static keep_error err;
static keep_buffer scratch;

static kp_event *make(int64_t change, const char *chat, bool is_delivery, const char *content)
{
	keep_message message = {
		.chat_jid = keep_bytes_of(chat),
		.id = KEEP_BYTES("1"),
		.sender = KEEP_BYTES("ada"),
		.content = keep_bytes_of(content),
		.verb = KEEP_BYTES("message"),
		.source = KEEP_BYTES("telegram"),
		.group_folder = KEEP_BYTES("main"),
		.is_from_me = is_delivery,
		.status = KEEP_BYTES("received"),
		.change = change,
	};
	kp_event *event = NULL;

	OK(kp_event_make(&message, &scratch, &event, &err));
	return event;
}

static void push(kp_event_ring *ring, int64_t change, const char *chat)
{
	kp_event *event = make(change, chat, false, "x");

	kp_event_ring_push(ring, &event);
	assert_null(event);
}

static void open_ring(kp_event_ring *ring, size_t capacity, size_t bytes_max)
{
	OK(kp_event_ring_init(ring, capacity, bytes_max, 0, &err));
}

static void close_ring(kp_event_ring *ring)
{
	kp_event_ring_release(ring);
	keep_buffer_release(&scratch);
	assert_nothing_lives();
}

static const kp_event_filter everything = {.kinds = KP_EVENTS_ALL};

/* Changes that fit, after `change`, as "2 3 ". */
static const char *after(const kp_event_ring *ring, int64_t change, const kp_event_filter *filter)
{
	static char text[200];
	kp_event *event;
	size_t len = 0;

	text[0] = 0;
	while ((event = kp_event_ring_after(ring, change, filter))) {
		len += (size_t)snprintf(text + len, sizeof text - len, "%d ", (int)event->change);
		change = event->change;
	}
	return text;
}

static void a_message_is_one_frame_whatever_it_says(void **state)
{
	kp_event *event = make(7, "telegram:1", false, "one\ntwo\r\n\ndata: three");
	keep_bytes text = event->text;
	const char *data = strstr(scratch.data, "data: ");

	(void)state;
	assert_int_equal(memcmp(text.data, "id: 7\nevent: message\ndata: {", 28), 0);
	assert_int_equal(memcmp(text.data + text.len - 3, "}\n\n", 3), 0);
	assert_non_null(data);
	assert_ptr_equal(strchr(data, '\n'), scratch.data + scratch.len - 2);
	assert_null(memchr(text.data, '\r', text.len));
	kp_event_let_go(&event);
	event = make(8, "telegram:1", true, "");
	assert_int_equal(memcmp(event->text.data, "id: 8\nevent: delivery\ndata: {", 29), 0);
	kp_event_let_go(&event);
	keep_buffer_release(&scratch);
	assert_nothing_lives();
}

static void a_text_that_cannot_be_shown_is_left_out(void **state)
{
	keep_message message = {.chat_jid = KEEP_BYTES("a:\xff"), .change = 1};
	kp_event *event = NULL;

	(void)state;
	assert_int_equal(kp_event_make(&message, &scratch, &event, &err), KEEP_INVALID);
	OK(kp_event_make_or_skip(&message, &scratch, &event, &err));
	assert_null(event);
	keep_buffer_release(&scratch);
	assert_nothing_lives();
}

static void what_comes_after_a_change_comes_in_order(void **state)
{
	kp_event_ring ring;

	(void)state;
	open_ring(&ring, 8, 1 << 20);
	assert_string_equal(after(&ring, 0, &everything), "");
	push(&ring, 2, "a:1");
	push(&ring, 5, "a:2");
	push(&ring, 9, "a:1");
	assert_string_equal(after(&ring, 0, &everything), "2 5 9 ");
	assert_string_equal(after(&ring, 2, &everything), "5 9 ");
	assert_string_equal(after(&ring, 3, &everything), "5 9 ");
	assert_string_equal(after(&ring, 9, &everything), "");
	assert_string_equal(after(&ring, 100, &everything), "");
	close_ring(&ring);
}

static void the_oldest_go_and_the_base_moves_with_them(void **state)
{
	kp_event_ring ring;

	(void)state;
	open_ring(&ring, 4, 1 << 20);
	assert_true(kp_event_ring_covers(&ring, 0));
	for (int change = 1; change <= 11; change++)
		push(&ring, change, "a:1");
	assert_int_equal(ring.count, 4);
	assert_int_equal(ring.base, 7);
	assert_false(kp_event_ring_covers(&ring, 6));
	assert_true(kp_event_ring_covers(&ring, 7));
	assert_string_equal(after(&ring, 7, &everything), "8 9 10 11 ");
	close_ring(&ring);
}

static void it_is_no_longer_than_its_bytes_but_for_the_newest(void **state)
{
	static char content[5000];
	kp_event_ring ring;
	kp_event *event;

	(void)state;
	open_ring(&ring, 64, 4000);
	for (int change = 1; change <= 64; change++) {
		push(&ring, change, "a:1");
		assert_true(ring.bytes <= 4000);
	}
	assert_true(ring.count > 2 && ring.count < 64);
	memset(content, 'x', sizeof content - 1);
	event = make(65, "a:1", false, content);
	kp_event_ring_push(&ring, &event);
	assert_int_equal(ring.count, 1);
	assert_string_equal(after(&ring, 64, &everything), "65 ");
	push(&ring, 66, "a:1");
	assert_string_equal(after(&ring, 65, &everything), "66 ");
	close_ring(&ring);
}

static void a_filter_lets_through_what_fits_all_of_it(void **state)
{
	kp_event_filter filter = {.chat = KEEP_BYTES("a:1")};
	kp_event_ring ring;
	kp_event *event;

	(void)state;
	open_ring(&ring, 8, 1 << 20);
	push(&ring, 1, "a:1");
	push(&ring, 2, "a:10");
	event = make(3, "a:1", true, "y");
	kp_event_ring_push(&ring, &event);
	assert_string_equal(after(&ring, 0, &filter), "1 3 ");
	filter.kinds = KP_EVENTS_DELIVERIES;
	assert_string_equal(after(&ring, 0, &filter), "3 ");
	filter.kinds = KP_EVENTS_MESSAGES;
	assert_string_equal(after(&ring, 0, &filter), "1 ");
	filter = (kp_event_filter){.channel = KEEP_BYTES("telegram")};
	assert_string_equal(after(&ring, 0, &filter), "1 2 3 ");
	filter.channel = KEEP_BYTES("tele");
	assert_string_equal(after(&ring, 0, &filter), "");
	close_ring(&ring);
}

static void what_waits_is_counted_without_the_first(void **state)
{
	kp_event_ring ring;
	size_t one;

	(void)state;
	open_ring(&ring, 64, 1 << 20);
	push(&ring, 11, "a:1");
	one = ring.bytes;
	assert_int_equal(kp_event_ring_waiting(&ring, 0, &everything, SIZE_MAX), 0);
	for (int change = 12; change <= 20; change++)
		push(&ring, change, "a:1");
	assert_int_equal(kp_event_ring_waiting(&ring, 0, &everything, SIZE_MAX), 9 * one);
	assert_int_equal(kp_event_ring_waiting(&ring, 19, &everything, SIZE_MAX), 0);
	assert_int_equal(kp_event_ring_waiting(&ring, 0, &everything, one), 2 * one);
	close_ring(&ring);
}

static void an_event_that_is_held_outlives_the_ring(void **state)
{
	kp_event_ring ring;
	kp_event *held;

	(void)state;
	open_ring(&ring, 2, 1 << 20);
	push(&ring, 1, "a:1");
	held = kp_event_hold(kp_event_ring_after(&ring, 0, &everything));
	for (int change = 2; change < 9; change++)
		push(&ring, change, "a:1");
	kp_event_ring_release(&ring);
	assert_int_equal(held->change, 1);
	assert_int_equal(memcmp(held->text.data, "id: 1\n", 6), 0);
	kp_event_let_go(&held);
	assert_null(held);
	kp_event_let_go(&held);
	keep_buffer_release(&scratch);
	assert_nothing_lives();
}

static void what_made_no_event_moves_the_head(void **state)
{
	kp_event_ring ring;

	(void)state;
	open_ring(&ring, 4, 1 << 20);
	push(&ring, 3, "a:1");
	kp_event_ring_reach(&ring, 8);
	kp_event_ring_reach(&ring, 5);
	assert_int_equal(ring.head, 8);
	assert_int_equal(ring.base, 0);
	assert_string_equal(after(&ring, 4, &everything), "");
	push(&ring, 9, "a:1");
	assert_string_equal(after(&ring, 4, &everything), "9 ");
	close_ring(&ring);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_message_is_one_frame_whatever_it_says),
		cmocka_unit_test(a_text_that_cannot_be_shown_is_left_out),
		cmocka_unit_test(what_comes_after_a_change_comes_in_order),
		cmocka_unit_test(the_oldest_go_and_the_base_moves_with_them),
		cmocka_unit_test(it_is_no_longer_than_its_bytes_but_for_the_newest),
		cmocka_unit_test(a_filter_lets_through_what_fits_all_of_it),
		cmocka_unit_test(what_waits_is_counted_without_the_first),
		cmocka_unit_test(an_event_that_is_held_outlives_the_ring),
		cmocka_unit_test(what_made_no_event_moves_the_head),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
