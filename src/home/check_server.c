/*
 * check_server.c - what only a server can say of its files: whether its pages have checksums, and
 * whether each B-tree has an entry for each row of its table.
 *
 * The second is asked of PostgreSQL's own extension amcheck, when somebody has installed it in the
 * home's database (CREATE EXTENSION amcheck) and lets the home's user call it. That it is not there
 * is a note: a check installs nothing.
 *
 * Invariants:
 *   1. One B-tree after the other, by name: one that is made or dropped meanwhile is no finding.
 *   2. An index is derived: a repair makes it anew, in a transaction of its own, and asks again.
 *
 * Tests: tests/contract/test_home_check.c.
 */
#include "home/check_private.h"

#include <string.h>

#define STALE_INDEX "stale_index"
#define FILE_NOTE "file_note"
enum { TRIES = 3 };

/* One index, and the statements about it, which the server has quoted. */
struct tree {
	keep_bytes name;
	char *text, *verify, *renew; /* each ends with a zero byte, in `memory` */
	kp_arena memory;
};

static keep_status copy_text(struct tree *tree, kp_sql_stmt *stmt, int column, char **out,
			     keep_error *err)
{
	keep_bytes text = {NULL, 0};
	keep_status status = kp_sql_column_bytes(stmt, column, KP_TEXT, &text, err);

	*out = status == KEEP_OK ? kp_arena_alloc(&tree->memory, text.len + 1) : NULL;
	if (status == KEEP_OK && !*out)
		return kp_fail_memory(err, "an index's name");
	if (status != KEEP_OK)
		return status;
	memcpy(*out, text.data, text.len);
	(*out)[text.len] = '\0';
	return KEEP_OK;
}

/* The first one behind tree->name, which it replaces; *has is false behind the last. */
static keep_status next_tree(kp_check_unit *unit, struct tree *tree, bool *has, keep_error *err)
{
	const kp_value after = kp_text_value(tree->name);
	struct tree next = {.memory = {.head = NULL}};
	kp_sql_stmt *stmt = NULL;
	keep_status status =
		kp_check_prepare(unit->conn, KP_CHECK_NEXT_BTREE, &after, 1, &stmt, err);

	*has = false;
	if (status == KEEP_OK)
		status = kp_sql_step(stmt, has, err);
	if (status == KEEP_OK && *has)
		status = copy_text(&next, stmt, 0, &next.text, err);
	if (status == KEEP_OK && *has)
		status = copy_text(&next, stmt, 1, &next.verify, err);
	if (status == KEEP_OK && *has)
		status = copy_text(&next, stmt, 2, &next.renew, err);
	kp_sql_finish(&stmt);
	kp_arena_release(&tree->memory);
	next.name = keep_bytes_of(next.text ? next.text : "");
	*tree = next;
	return status;
}

/* After a failure in a new transaction: the old one is void. */
static keep_status verify_tree(kp_check_unit *unit, const struct tree *tree, keep_error *why,
			       keep_error *err)
{
	keep_status status = KEEP_BUSY;

	/* An index that was made after our transaction began cannot be looked at by it. */
	for (int i = 0; i < TRIES && status == KEEP_BUSY; i++) {
		kp_sql_stmt *stmt = NULL;
		bool has_row = false;

		status = kp_sql_prepare(unit->conn, tree->verify, &stmt, why);
		if (status == KEEP_OK)
			status = kp_sql_step(stmt, &has_row, why);
		kp_sql_finish(&stmt);
		if (status != KEEP_OK && kp_check_unit_renew(unit, err) != KEEP_OK)
			return status;
	}
	return status;
}

static keep_status renew_tree(void *ctx, kp_sql_conn *conn, keep_error *err)
{
	const struct tree *tree = ctx;

	return kp_sql_script(conn, tree->renew, err);
}

static keep_status mend_tree(kp_check_unit *unit, struct tree *tree, size_t from, keep_error *err)
{
	keep_error why = KEEP_ERROR_INIT;
	keep_status status = kp_check_write(unit, renew_tree, tree, err);

	if (status == KEEP_OK && verify_tree(unit, tree, &why, err) == KEEP_OK)
		kp_check_mended(unit->check, STALE_INDEX, NULL, from);
	return status;
}

/* *may: amcheck may be called. */
static keep_status check_tree(kp_check_unit *unit, struct tree *tree, bool *may, keep_error *err)
{
	kp_home_check *check = unit->check;
	kp_complaint found = {.severity = KEEP_SEVERITY_INCONSISTENCY,
			      .kind = STALE_INDEX,
			      .key = tree->name,
			      .can_repair = true};
	size_t from = check->result->count;
	keep_error why = KEEP_ERROR_INIT;
	keep_status status = verify_tree(unit, tree, &why, err);

	if (status == KEEP_NOT_FOUND) /* dropped */
		return KEEP_OK;
	if (status == KEEP_DENIED) {
		*may = false;
		found = (kp_complaint){.severity = KEEP_SEVERITY_NOTE, .kind = FILE_NOTE};
		return kp_check_found(check, &found, err,
				      "the home's user may not call amcheck: B-trees are not "
				      "compared with their tables");
	}
	kp_check_next(check);
	if (status != KEEP_CORRUPT)
		return kp_check_failed(check, &found, status, &why, err);
	status = kp_check_found(check, &found, err, "the index is not what its table says: %s",
				why.message);
	return status == KEEP_OK && check->options.repair ? mend_tree(unit, tree, from, err)
							  : status;
}

keep_status kp_check_btrees(kp_check_unit *unit, keep_error *err)
{
	struct tree tree = {.name = KEEP_BYTES("")};
	int64_t count = 0;
	bool has = false, may = true;
	keep_status status = kp_check_ask(unit->conn, KP_CHECK_HAS_AMCHECK, &count, err);

	if (status == KEEP_OK && count)
		status = next_tree(unit, &tree, &has, err);
	while (status == KEEP_OK && has && may) {
		status = check_tree(unit, &tree, &may, err);
		if (status == KEEP_OK)
			status = kp_check_tell(unit->check, tree.text, 0, err);
		if (status == KEEP_OK && may)
			status = next_tree(unit, &tree, &has, err);
	}
	kp_arena_release(&tree.memory);
	return status;
}

/* ---------------------------------------------------------------- the server as a whole */

static keep_status tell_notes(kp_check_unit *unit, keep_error *err)
{
	const kp_complaint found = {.severity = KEEP_SEVERITY_NOTE, .kind = FILE_NOTE};
	int64_t has_checksums = 0, has_amcheck = 0;
	keep_status status = kp_check_ask(unit->conn, KP_CHECK_HAS_CHECKSUMS, &has_checksums, err);

	if (status == KEEP_OK)
		status = kp_check_ask(unit->conn, KP_CHECK_HAS_AMCHECK, &has_amcheck, err);
	if (status == KEEP_OK && !has_checksums)
		status = kp_check_found(unit->check, &found, err,
					"the server's pages have no checksums (initdb "
					"--data-checksums, pg_checksums): it does not notice a bit "
					"that flips on its disk");
	if (status == KEEP_OK && !has_amcheck)
		status = kp_check_found(unit->check, &found, err,
					"the extension amcheck is not in the database: B-trees are "
					"not compared with their tables");
	return status;
}

keep_status kp_check_server(kp_home_check *check, keep_error *err)
{
	kp_check_unit unit = {.check = check};
	bool is_open = false;
	keep_status status;

	if (!check->is_server || check->options.quick)
		return KEEP_OK;
	kp_check_enter(check, "home", "server");
	check->result->files--;
	status = kp_check_unit_open(&unit, &is_open, err);
	if (status == KEEP_OK && is_open)
		status = tell_notes(&unit, err);
	kp_check_unit_close(&unit);
	return status;
}
