/*
 * first.c - a store of two messages, and the newest of them.
 *
 *     cc first.c -lkeep -o first && ./first
 */
#include <keep/engine.h>
#include <stdio.h>

int main(void)
{
	keep_engine_options options = KEEP_ENGINE_OPTIONS_INIT;
	keep_engine_list newest = KEEP_ENGINE_LIST_INIT;
	keep_engine *engine = NULL;
	keep_error err;

	options.create = true;
	if (keep_engine_open("sqlite:chats.db", &options, &engine, &err) ||
	    keep_engine_set(engine, KEEP_BYTES("chat/ada/message/1"), KEEP_BYTES("hello"), &err) ||
	    keep_engine_set(engine, KEEP_BYTES("chat/ada/message/2"), KEEP_BYTES("again"), &err) ||
	    keep_engine_list_values(engine, KEEP_BYTES("chat/ada/message"), 0, 50, &newest, &err)) {
		fprintf(stderr, "%s: %s\n", keep_status_name(err.status), err.message);
	}
	for (size_t i = 0; i < newest.count; i++)
		printf("%.*s\n", (int)newest.items[i].value.len, newest.items[i].value.data);
	keep_engine_list_release(&newest);
	keep_engine_close(&engine);
}
