#ifndef GATEWAY_PLACES_H
#define GATEWAY_PLACES_H
/*
 * gateway_places.h - what the files of test_gateway_places share: a place, and a ledger of what a
 * gateway has to hold.
 */
#include "bad_places.h"
#include "gateway_fixture.h"

/* The place of a test: a folder of its own and in it a store, a SQLite file. */
typedef struct gateway_place {
	temp_folder folder;
	char store[128];
	char url[GATEWAY_URL_MAX];
} gateway_place;

void gateway_place_make(gateway_place *at);
void gateway_place_remove(const gateway_place *at);

keep_gateway *open_gateway(const char *url, bool create);
keep_status try_gateway(const char *url, bool create, bool read_only, keep_gateway **out,
			keep_error *err);

/* ---------------------------------------------------------------- the ledger
 *
 * Chats "room:0" … with messages that say which try they are of, and the cursors of a consumer. A
 * call changes the ledger when, and only when, the gateway said OK. Used by one thread, in a child.
 */
enum { LEDGER_CHATS = 3, LEDGER_MESSAGES_MAX = 700 };

#define LEDGER_CONSUMER KEEP_BYTES("gated")

typedef struct ledger {
	unsigned tries;
	unsigned count[LEDGER_CHATS];
	unsigned try[LEDGER_CHATS][LEDGER_MESSAGES_MAX]; /* of message number + 1 */
	size_t len[LEDGER_CHATS][LEDGER_MESSAGES_MAX];
	int64_t cursor[LEDGER_CHATS];
} ledger;

keep_bytes ledger_jid(unsigned chat, char room[40]);
keep_status ledger_put(keep_gateway *gateway, ledger *book, unsigned chat, size_t len,
		       keep_error *err);
/* One message into each chat, in one call. */
keep_status ledger_put_all(keep_gateway *gateway, ledger *book, size_t len, keep_error *err);
/* One further, if there is more. */
keep_status ledger_advance(keep_gateway *gateway, ledger *book, unsigned chat, keep_error *err);
/* Every message, number, cursor and pending chat; `may` are the failures that are allowed besides
   the truth, as bits made with MAY. Returns how many calls failed, of LEDGER_CALLS. */
unsigned ledger_expect(keep_gateway *gateway, const ledger *book, unsigned may, const char *when);
enum { LEDGER_CALLS = 3 * LEDGER_CHATS + 2 };

/* ---------------------------------------------------------------- the other files' tests */

void garbage_is_CORRUPT_and_left_alone(void **state);
void a_file_cut_short_is_CORRUPT_and_left_alone(void **state);
void a_flipped_byte_gets_an_answer(void **state);
void another_programs_tables_are_a_CONFLICT_and_stay(void **state);
void harmed_sidecars_are_repaired(void **state);

void a_damaged_message_holds_up_its_own_chat_alone(void **state);
void damaged_chats_in_front_starve_nobody(void **state);
void a_damaged_cursor_holds_up_its_own_chat_alone(void **state);
void a_damaged_delivery_is_failed_and_the_others_go_out(void **state);
void a_queue_without_a_delivery_is_removed(void **state);
void a_damaged_task_is_failed_and_the_others_fire(void **state);
void a_damaged_chat_takes_nothing_and_the_others_do(void **state);
void damaged_rows_of_other_tables_name_themselves(void **state);

void a_server_killed_in_a_burst_of_puts_loses_nothing(void **state);
void waits_come_back_after_a_restart(void **state);
void a_stopped_server_holds_no_call_beyond_its_time_limit(void **state);
void a_dropped_schema_is_told_and_can_be_made_again(void **state);
void a_role_without_rights_is_DENIED(void **state);
void a_server_without_free_connections_is_told(void **state);

#endif
