/*
 * transfer_state.c - the note in the target that a transfer is under way, and of which home.
 *
 *     a folder   HOME/transfer.json         {"from":"<hex>","stage":"making"}
 *     a server   keep_transfer.state        one row: source, stage
 *
 * How far each table is needs no note: what the target has of it is a beginning of what the source
 * has (src/backup/transfer.c). The note says only whether rows there may be taken for that.
 *
 * Invariants:
 *   1. It is there before anything else of the target is made, and goes after everything was
 *      compared.
 *   2. It is written whole: a new file that is renamed, or one transaction.
 *
 * Tests: tests/crash/test_transfer_crash.c.
 */
#include "home/home_private.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define STATE_FILE "transfer.json"
#define STATE_FILE_NEW "transfer.json.new"
enum { STATE_BYTES_MAX = 4096, IDENTITY_TEXT_SIZE = 2 * KP_SHA256_SIZE + 1 };

static const char *const stage_names[] = {
	[KP_STAGE_NONE] = "none", [KP_STAGE_MAKING] = "making", [KP_STAGE_COPYING] = "copying"};

static void format_identity(const unsigned char identity[KP_SHA256_SIZE],
			    char text[IDENTITY_TEXT_SIZE])
{
	kp_hex_format((keep_bytes){(const char *)identity, KP_SHA256_SIZE}, text);
}

static keep_status judge(const kp_home_side *to, const unsigned char identity[KP_SHA256_SIZE],
			 keep_bytes from, keep_bytes stage, enum kp_transfer_stage *out,
			 keep_error *err)
{
	char expected[IDENTITY_TEXT_SIZE];
	const char *what = to->is_server ? "the target server" : to->folder;

	format_identity(identity, expected);
	for (size_t i = 0; i < KP_COUNT(stage_names); i++)
		if (kp_bytes_equal(stage, keep_bytes_of(stage_names[i])))
			*out = (enum kp_transfer_stage)i;
	if (*out == KP_STAGE_NONE)
		return kp_fail(err, KEEP_CORRUPT, "%s: its note of a transfer is damaged", what);
	if (!kp_bytes_equal(from, keep_bytes_of(expected)))
		return kp_fail(err, KEEP_CONFLICT,
			       "%s: has the beginning of a transfer of another home", what);
	return KEEP_OK;
}

/* ---------------------------------------------------------------- a folder */

static keep_status read_file(kp_home_side *to, const unsigned char identity[KP_SHA256_SIZE],
			     enum kp_transfer_stage *stage, keep_error *err)
{
	kp_arena arena = {.head = NULL};
	keep_buffer text = KEEP_BUFFER_INIT;
	keep_error why = KEEP_ERROR_INIT;
	const kp_json *json = NULL, *from, *name;
	keep_bytes none = KEEP_BYTES("");
	int fd = -1;
	keep_status status =
		kp_file_open(to->fd, STATE_FILE, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0, &fd, &why);

	if (status == KEEP_NOT_FOUND)
		return KEEP_OK;
	if (status == KEEP_OK)
		status = kp_file_read_all(fd, STATE_BYTES_MAX, &text, &why);
	if (status == KEEP_OK)
		status = kp_json_parse(kp_buffer_bytes(&text), &arena, &json, &why);
	from = kp_json_member(json, "from");
	name = kp_json_member(json, "stage");
	if (status == KEEP_OK || status == KEEP_INVALID)
		status = judge(to, identity, from && from->kind == KP_JSON_TEXT ? from->text : none,
			       name && name->kind == KP_JSON_TEXT ? name->text : none, stage, err);
	else
		status = kp_fail(err, status, "%s", why.message);
	kp_file_close(&fd);
	kp_arena_release(&arena);
	keep_buffer_release(&text);
	return status;
}

static keep_status write_file(kp_home_side *to, const char *from, const char *stage,
			      keep_error *err)
{
	keep_buffer text = KEEP_BUFFER_INIT;
	int fd = -1;
	keep_status status = kp_buffer_append_format(
		&text, err, "{\"from\":\"%s\",\"stage\":\"%s\"}\n", from, stage);

	if (status == KEEP_OK)
		status = kp_file_open(to->fd, STATE_FILE_NEW,
				      O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0600, &fd, err);
	if (status == KEEP_OK)
		status = kp_file_append(fd, kp_buffer_bytes(&text), err);
	if (status == KEEP_OK)
		status = kp_file_sync(fd, err);
	kp_file_close(&fd);
	if (status == KEEP_OK)
		status = kp_file_rename(to->fd, STATE_FILE_NEW, to->fd, STATE_FILE, err);
	if (status == KEEP_OK)
		status = kp_file_sync(to->fd, err);
	keep_buffer_release(&text);
	return status;
}

/* ---------------------------------------------------------------- a server */

static keep_status read_row(kp_home_side *to, const unsigned char identity[KP_SHA256_SIZE],
			    enum kp_transfer_stage *stage, keep_error *err)
{
	kp_sql_stmt *stmt = NULL;
	bool has = false;
	keep_bytes from, name;
	keep_status status = kp_home_has(to, NULL, "keep_transfer", "state", &has, err);

	if (status != KEEP_OK || !has)
		return status;
	status = kp_sql_prepare(to->conn, "SELECT source, stage FROM keep_transfer.state", &stmt,
				err);
	if (status == KEEP_OK)
		status = kp_sql_step(stmt, &has, err);
	if (status == KEEP_OK && has)
		status = kp_sql_column_bytes(stmt, 0, KP_TEXT, &from, err);
	if (status == KEEP_OK && has)
		status = kp_sql_column_bytes(stmt, 1, KP_TEXT, &name, err);
	if (status == KEEP_OK && has)
		status = judge(to, identity, from, name, stage, err);
	kp_sql_finish(&stmt);
	return status;
}

static keep_status write_row(kp_home_side *to, const char *from, const char *stage, keep_error *err)
{
	keep_buffer sql = KEEP_BUFFER_INIT;
	keep_status status = kp_sql_begin(to->conn, KP_SQL_WRITE, err);

	if (status != KEEP_OK)
		return status;
	/* Both are hex digits and letters of ours. */
	status = kp_buffer_append_format(
		&sql, err,
		"CREATE SCHEMA IF NOT EXISTS keep_transfer;"
		"CREATE TABLE IF NOT EXISTS keep_transfer.state (source text NOT NULL, "
		"stage text NOT NULL);"
		"DELETE FROM keep_transfer.state;"
		"INSERT INTO keep_transfer.state VALUES ('%s', '%s')",
		from, stage);
	if (status == KEEP_OK)
		status = kp_sql_script(to->conn, sql.data, err);
	if (status == KEEP_OK)
		status = kp_sql_commit(to->conn, err);
	else
		kp_sql_rollback(to->conn);
	keep_buffer_release(&sql);
	return status;
}

/* ---------------------------------------------------------------- both */

keep_status kp_transfer_state_read(kp_home_side *to, const unsigned char identity[KP_SHA256_SIZE],
				   enum kp_transfer_stage *stage, keep_error *err)
{
	*stage = KP_STAGE_NONE;
	return to->is_server ? read_row(to, identity, stage, err)
			     : read_file(to, identity, stage, err);
}

keep_status kp_transfer_state_write(kp_home_side *to, const unsigned char identity[KP_SHA256_SIZE],
				    enum kp_transfer_stage stage, keep_error *err)
{
	char from[IDENTITY_TEXT_SIZE];

	format_identity(identity, from);
	return to->is_server ? write_row(to, from, stage_names[stage], err)
			     : write_file(to, from, stage_names[stage], err);
}

keep_status kp_transfer_state_remove(kp_home_side *to, keep_error *err)
{
	keep_status status;

	if (to->is_server)
		return kp_sql_script(to->conn, "DROP SCHEMA keep_transfer CASCADE", err);
	status = kp_file_unlink(to->fd, STATE_FILE, 0, err);
	return status == KEEP_OK ? kp_file_sync(to->fd, err) : status;
}
