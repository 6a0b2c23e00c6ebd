/*
 * transfer_stores.c - which tables every store has, and how an empty store is made.
 *
 * The tables are the stores' own records, in the order of their description, in which a table
 * comes after those that it refers to. What one backend alone has (writers' turns, counters) is
 * made by the store when it is opened, and is no part of a transfer.
 *
 * Invariants:
 *   1. Every record that both backends have is carried, or is named here with the reason why not.
 *   2. A store of the target is made by its own opening, and emptied of what that puts in, before
 *      the first row is copied; never one that has rows.
 *
 * Tests: tests/contract/test_transfer_home.c.
 */
#include "assistant/assistant_records.h"
#include "gateway/gateway_records.h"
#include "home/home_private.h"
#include "keep/assistant.h"
#include "keep/gateway.h"
#include "keep/mailbox.h"
#include "mailbox/mailbox_records.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

/* Rows lie in the order of their numbers: reading them so is a scan. */
static const kp_home_order gateway_orders[] = {
	{.record = &kp_message_record, .columns = {"chat_jid", "seq"}},
	{.record = NULL},
};

static keep_status make_gateway(const char *url, keep_error *err)
{
	keep_gateway_options options = KEEP_GATEWAY_OPTIONS_INIT;
	keep_gateway *gateway = NULL;
	keep_status status;

	options.create = true;
	status = keep_gateway_open(url, &options, &gateway, err);
	keep_gateway_close(&gateway);
	return status;
}

static keep_status make_mailbox(const char *url, keep_error *err)
{
	keep_mailbox_options options = KEEP_MAILBOX_OPTIONS_INIT;
	keep_mailbox *mailbox = NULL;
	keep_status status;

	options.create = true;
	status = keep_mailbox_open(url, &options, &mailbox, err);
	keep_mailbox_close(&mailbox);
	return status;
}

/* They tell what was made here, and when, or how far what is derived has come: another thing there.
 */
static const kp_record *const assistant_left_out[] = {&kp_schema_migration_record,
						      &kp_derived_mark_record, NULL};

/* What a new one has. Who changes any of it leaves an entry in the audit log. */
static const kp_record *const assistant_seeded[] = {
	&kp_agent_definition_record, &kp_prompt_record,          &kp_setting_record,
	&kp_audit_head_record,       &kp_assistant_value_record, NULL};

static keep_status make_assistant(const char *url, keep_error *err)
{
	keep_assistant_options options = KEEP_ASSISTANT_OPTIONS_INIT;
	keep_assistant *assistant = NULL;
	keep_status status;

	options.create = true;
	options.without_keys = true; /* what is encrypted is carried as it is */
	status = keep_assistant_open(url, &options, &assistant, err);
	keep_assistant_close(&assistant);
	return status;
}

const kp_home_store kp_home_stores[] = {
	{.name = "gateway",
	 .file = "messages.db",
	 .url = "/messages.db",
	 .records = kp_gateway_records,
	 .record_count = KP_GATEWAY_RECORD_COUNT,
	 .orders = gateway_orders,
	 .make = make_gateway},
	{.name = "mailbox",
	 .file = "registry.db",
	 .url = "",
	 .records = kp_mailbox_records,
	 .record_count = KP_MAILBOX_RECORD_COUNT,
	 .make = make_mailbox},
	{.name = "assistant",
	 .file = "assistant.db",
	 .url = "/assistant.db",
	 .records = kp_assistant_records,
	 .record_count = KP_ASSISTANT_RECORD_COUNT,
	 .left_out = assistant_left_out,
	 .seeded = assistant_seeded,
	 .make = make_assistant},
};
const size_t kp_home_store_count = KP_COUNT(kp_home_stores);

/* ---------------------------------------------------------------- their tables */

static bool is_among(const kp_record *const *list, const kp_record *record)
{
	for (; list && *list; list++)
		if (*list == record)
			return true;
	return false;
}

void kp_home_tables_fill(kp_home_tables *tables, const char *service,
			 const kp_record *const *records, size_t count, const kp_home_order *orders,
			 const kp_record *const *left_out, const char *shared)
{
	*tables = (kp_home_tables){.service = service};
	for (size_t i = 0; i < count && tables->count < KP_HOME_TABLES_MAX; i++) {
		kp_transfer_table *table = &tables->list[tables->count];

		if (records[i]->flags || is_among(left_out, records[i]))
			continue;
		*table = (kp_transfer_table){
			.name = records[i]->table, .record = records[i], .shared = shared};
		for (const kp_home_order *order = orders; order && order->record; order++)
			if (order->record == records[i])
				memcpy(table->order, order->columns, sizeof table->order);
		tables->count++;
	}
}

static void fill(kp_home_tables *tables, const kp_home_store *store)
{
	kp_home_tables_fill(tables, store->name, store->records, store->record_count, store->orders,
			    store->left_out, NULL);
}

/* ---------------------------------------------------------------- where they are */

static keep_status make_folder(const kp_home_side *side, const char *name, keep_error *err)
{
	keep_error why = KEEP_ERROR_INIT;
	keep_status status = kp_folder_make(side->fd, name, 0700, &why);

	if (status == KEEP_OK || status == KEEP_CONFLICT)
		return KEEP_OK;
	return kp_fail(err, status, "%s", why.message);
}

keep_status kp_home_store_url(const kp_home_side *side, const char *name, const char *rest,
			      keep_buffer *url, keep_error *err)
{
	keep_status status;

	url->len = 0;
	if (side->is_server)
		return kp_buffer_append_format(url, err, "%s%sschema=%s", side->home,
					       strchr(side->home, '?') ? "&" : "?", name);
	status = make_folder(side, name, err);
	return status == KEEP_OK ? kp_buffer_append_format(url, err, "sqlite:%s/%s%s", side->folder,
							   name, rest)
				 : status;
}

static keep_status open_store(const kp_home_side *side, const kp_home_store *store, bool is_target,
			      kp_home_database *out, keep_error *err)
{
	char file[64];

	(void)snprintf(file, sizeof file, "%s/%s", store->name, store->file);
	return kp_home_database_open(side, file, NULL, store->name, is_target, out, err);
}

static keep_status has_store(const kp_home_side *side, const kp_home_store *store, bool *has,
			     keep_error *err)
{
	char file[64];

	(void)snprintf(file, sizeof file, "%s/%s", store->name, store->file);
	return kp_home_has(side, file, store->name, "migrations", has, err);
}

/* ---------------------------------------------------------------- an empty target */

static keep_status check_tables_empty(const kp_home_side *to, const kp_home_store *store,
				      keep_error *err)
{
	kp_home_tables tables;
	kp_home_database database = {.conn = NULL};
	bool has_rows = false;
	keep_status status = open_store(to, store, true, &database, err);
	kp_transfer_end end;

	fill(&tables, store);
	end = (kp_transfer_end){.conn = database.conn, .schema = database.schema};
	for (size_t i = 0; i < tables.count && status == KEEP_OK && !has_rows; i++) {
		if (is_among(store->seeded, tables.list[i].record))
			continue;
		status = kp_transfer_has_rows(&tables.list[i], &end, &has_rows, err);
		if (status == KEEP_OK && has_rows)
			status = kp_fail(err, KEEP_CONFLICT, "%s: the target's %s has rows",
					 store->name, tables.list[i].name);
	}
	kp_home_database_close(&database);
	return status;
}

keep_status kp_home_stores_check_empty(const kp_home_side *to, keep_error *err)
{
	keep_status status = KEEP_OK;

	for (size_t i = 0; i < kp_home_store_count && status == KEEP_OK; i++) {
		bool has = false;

		status = has_store(to, &kp_home_stores[i], &has, err);
		if (status == KEEP_OK && has)
			status = check_tables_empty(to, &kp_home_stores[i], err);
	}
	return status;
}

/* What opening put into it. In one transaction, those that refer to others first. */
static keep_status clear_store(const kp_home_side *to, const kp_home_store *store, keep_error *err)
{
	kp_home_tables tables;
	kp_home_database database = {.conn = NULL};
	kp_transfer_end end;
	keep_status status = open_store(to, store, true, &database, err);

	fill(&tables, store);
	end = (kp_transfer_end){.conn = database.conn, .schema = database.schema};
	if (status == KEEP_OK)
		status = kp_sql_begin(end.conn, KP_SQL_WRITE, err);
	for (size_t i = tables.count; i > 0 && status == KEEP_OK; i--)
		status = kp_transfer_clear(&tables.list[i - 1], &end, err);
	if (status == KEEP_OK)
		status = kp_sql_commit(end.conn, err);
	else if (end.conn)
		kp_sql_rollback(end.conn);
	kp_home_database_close(&database);
	return status;
}

keep_status kp_home_stores_make(kp_home_transfer *transfer, keep_error *err)
{
	keep_buffer url = KEEP_BUFFER_INIT;
	keep_status status = KEEP_OK;

	for (size_t i = 0; i < kp_home_store_count && status == KEEP_OK; i++) {
		const kp_home_store *store = &kp_home_stores[i];
		bool has = false;

		status = has_store(&transfer->from, store, &has, err);
		if (status != KEEP_OK || !has)
			continue;
		status = kp_home_store_url(&transfer->to, store->name, store->url, &url, err);
		if (status == KEEP_OK)
			status = store->make(url.data, err);
		if (status == KEEP_OK)
			status = clear_store(&transfer->to, store, err);
		kp_moment("transfer.made");
	}
	keep_buffer_release(&url);
	return status;
}

/* ---------------------------------------------------------------- copying */

static keep_status copy_store(kp_home_transfer *transfer, const kp_home_store *store,
			      keep_error *err)
{
	kp_home_tables tables;
	kp_home_database from = {.conn = NULL}, to = {.conn = NULL};
	keep_status status = open_store(&transfer->from, store, false, &from, err);

	fill(&tables, store);
	if (status == KEEP_OK)
		status = open_store(&transfer->to, store, true, &to, err);
	if (status == KEEP_OK)
		status =
			kp_home_unit(transfer, store->name, &tables,
				     &(kp_transfer_end){.conn = from.conn, .schema = from.schema},
				     &(kp_transfer_end){.conn = to.conn, .schema = to.schema}, err);
	kp_home_database_close(&to);
	kp_home_database_close(&from);
	return status;
}

keep_status kp_home_stores_copy(kp_home_transfer *transfer, keep_error *err)
{
	keep_status status = KEEP_OK;

	for (size_t i = 0; i < kp_home_store_count && status == KEEP_OK; i++) {
		bool has = false;

		transfer->store = kp_home_stores[i].name;
		status = has_store(&transfer->from, &kp_home_stores[i], &has, err);
		if (status == KEEP_OK && has)
			status = copy_store(transfer, &kp_home_stores[i], err);
	}
	return status;
}
