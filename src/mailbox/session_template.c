/*
 * session_template.c - new files of sessions, as copies of two that are made once.
 *
 * Making a database, with its tables and in its journal mode, costs a dozen syncs; copying one that
 * is there costs one. So a mailbox that makes its first session makes inbound.db and outbound.db in
 * a folder of its own, "<mailbox>/making/template-<owner>-<n>", and keeps both open. For each new
 * file the one row that names the session is changed there, without a sync, and the bytes are
 * copied, synced, and given to the agent.
 *
 *     <mailbox>/making/template-<owner>-<n>/     the two templates of one keep_mailbox
 *     <mailbox>/making/<session>/                a session's folder before it gets its place
 *     <mailbox>/making/<session>+                a link that says which place: until the row is
 *                                                stored, a folder there is nobody's
 *
 * All of this happens inside a writing transaction of the registry. So who holds one, and finds
 * something in "making" but another's template, has found what a crash left (kp_making_clean).
 *
 * Invariants:
 *   1. A template's rollback journal is in memory: what is lost with a crash is the template.
 *   2. A copy of the host's says in its header that it is in WAL mode, unless sessions cross
 * mounts; without a log beside it that is a whole database. The agent's has a rollback journal
 * until an agent of Keep's opens it (side.c).
 *   3. What has a row in the registry is never removed here.
 *
 * Tests: tests/contract/test_mailbox_sessions.c.
 */
#include "mailbox/mailbox_private.h"
#include "sql/sqlite_files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

enum { LOG_VERSION = 2 }; /* in a database's header */
#define TEMPLATE_BYTES_MAX (4 << 20)

struct kp_session_template {
	char folder[PATH_MAX];
	kp_lease lease[2]; /* by enum kp_side_kind */
};

static const char *const file_names[] = {"inbound.db", "outbound.db"};

/* A folder that is there is fine. */
static keep_status make_folder(const char *path, unsigned mode, keep_error *err)
{
	keep_error why = KEEP_ERROR_INIT;
	keep_status status = kp_folder_make(AT_FDCWD, path, mode, &why);

	if (status == KEEP_CONFLICT)
		return KEEP_OK;
	if (status != KEEP_OK && err)
		*err = why;
	return status;
}

keep_status kp_making_path(const keep_mailbox *mailbox, const char *name, char path[],
			   keep_error *err)
{
	/* "/outbound.db-journal" and the like come behind */
	if (snprintf(path, PATH_MAX, "%s/making%s%s", mailbox->location, *name ? "/" : "", name) +
		    32 >=
	    PATH_MAX)
		return kp_fail(err, KEEP_INVALID, "the path '%.100s...' is too long",
			       mailbox->location);
	return KEEP_OK;
}

/* ---------------------------------------------------------------- the templates */

static keep_status fill_first(kp_lease *lease, enum kp_side_kind kind, keep_error *err)
{
	kp_value none = kp_text_value(KEEP_BYTES(""));
	keep_status status = kp_sql_begin(lease->conn, KP_SQL_WRITE, err);

	if (status == KEEP_OK)
		status = kp_lease_run(lease,
				      kind == KP_SIDE_HOST ? KP_MAILBOX_ADD_SESSION_HOST
							   : KP_MAILBOX_ADD_SESSION_AGENT,
				      KP_VALUES(none, none), NULL, err);
	if (status == KEEP_OK)
		status = kp_sql_commit(lease->conn, err);
	return status;
}

static keep_status open_template(const keep_mailbox *mailbox, struct kp_session_template *at,
				 enum kp_side_kind kind, keep_error *err)
{
	const kp_migrations *migrations =
		kind == KP_SIDE_HOST ? &kp_mailbox_inbound_migrations[KP_DIALECT_SQLITE]
				     : &kp_mailbox_outbound_migrations[KP_DIALECT_SQLITE];
	char path[PATH_MAX + 16];
	kp_lease *lease = &at->lease[kind];
	kp_sql_options options = {
		.location = path,
		.create = true,
		.seal = kind == KP_SIDE_HOST,
		.relaxed = true,
		.timeout_ms = mailbox->timeout_ms,
		.journal = KP_JOURNAL_ROLLBACK,
	};
	keep_status status;

	snprintf(path, sizeof path, "%s/%s", at->folder, file_names[kind]);
	lease->statements = &kp_mailbox_statements[KP_DIALECT_SQLITE];
	lease->prepared = kp_alloc_zero(lease->statements->count * sizeof *lease->prepared);
	if (!lease->prepared)
		return kp_fail_memory(err, "a template");
	status = kp_sql_open(&kp_sql_sqlite, &options, &lease->conn, err);
	if (status == KEEP_OK) /* invariant 1 */
		status = kp_sql_script(
			lease->conn, "PRAGMA journal_mode = MEMORY; PRAGMA synchronous = OFF", err);
	if (status == KEEP_OK)
		status = kp_migrate(lease->conn, migrations, err);
	return status == KEEP_OK ? fill_first(lease, kind, err) : status;
}

void kp_session_template_close(keep_mailbox *mailbox)
{
	struct kp_session_template *at = mailbox->session_template;

	if (!at)
		return;
	mailbox->session_template = NULL;
	for (size_t kind = 0; kind < KP_COUNT(at->lease); kind++) {
		kp_lease *lease = &at->lease[kind];

		for (size_t i = 0; lease->prepared && i < lease->statements->count; i++)
			kp_sql_finish(&lease->prepared[i]);
		kp_sql_close(&lease->conn);
		kp_free(lease->prepared);
	}
	kp_tree_drop(at->folder);
	kp_free(at);
}

static keep_status make_template(keep_mailbox *mailbox, keep_error *err)
{
	static atomic_uint number;
	struct kp_session_template *at = kp_alloc_zero(sizeof *at);
	char path[PATH_MAX], name[KP_OWNER_TEXT_SIZE + 32];
	keep_status status;

	if (!at)
		return kp_fail_memory(err, "a template");
	snprintf(name, sizeof name, "template-%s-%u", mailbox->owner, atomic_fetch_add(&number, 1));
	status = kp_making_path(mailbox, "", path, err);
	if (status == KEEP_OK)
		status = make_folder(path, 0700, err);
	if (status == KEEP_OK)
		status = kp_making_path(mailbox, name, at->folder, err);
	if (status == KEEP_OK)
		status = make_folder(at->folder, 0700, err);
	if (status != KEEP_OK) {
		kp_free(at);
		return status;
	}
	mailbox->session_template = at;
	status = open_template(mailbox, at, KP_SIDE_HOST, err);
	if (status == KEEP_OK)
		status = open_template(mailbox, at, KP_SIDE_AGENT, err);
	if (status != KEEP_OK)
		kp_session_template_close(mailbox);
	return status;
}

/* ---------------------------------------------------------------- a copy */

static keep_status fill(kp_lease *lease, enum kp_side_kind kind, const keep_session *session,
			const char *outbound_id, keep_error *err)
{
	bool is_closed = kp_bytes_equal(session->status, KEEP_BYTES(KEEP_SESSION_STATUS_CLOSED));
	keep_status status = kp_sql_begin(lease->conn, KP_SQL_WRITE, err);

	if (status == KEEP_OK && kind == KP_SIDE_HOST)
		status = kp_lease_run(lease, KP_MAILBOX_FILL_TEMPLATE_IN,
				      KP_VALUES(kp_text_value(session->id),
						kp_text_value(session->agent_group_id),
						kp_int_value(session->incarnation),
						kp_bool_value(is_closed)),
				      NULL, err);
	else if (status == KEEP_OK)
		status = kp_lease_run(lease, KP_MAILBOX_FILL_TEMPLATE_OUT,
				      KP_VALUES(kp_text_value(keep_bytes_of(outbound_id))), NULL,
				      err);
	if (status == KEEP_OK)
		status = kp_sql_commit(lease->conn, err);
	else
		kp_sql_rollback(lease->conn);
	return status;
}

static keep_status read_template(const struct kp_session_template *at, enum kp_side_kind kind,
				 keep_buffer *bytes, keep_error *err)
{
	char path[PATH_MAX + 16];
	int fd = -1;
	keep_status status;

	snprintf(path, sizeof path, "%s/%s", at->folder, file_names[kind]);
	status = kp_file_open(AT_FDCWD, path, O_RDONLY, 0, &fd, err);
	if (status == KEEP_OK)
		status = kp_file_read_all(fd, TEMPLATE_BYTES_MAX, bytes, err);
	kp_file_close(&fd);
	return status;
}

keep_status kp_give_to_agent(const keep_mailbox *mailbox, int fd, const char *name, keep_error *err)
{
	uid_t uid = mailbox->agent_uid ? (uid_t)mailbox->agent_uid : (uid_t)-1;
	gid_t gid = mailbox->agent_gid ? (gid_t)mailbox->agent_gid : (gid_t)-1;

	if ((!mailbox->agent_uid && !mailbox->agent_gid) || fchown(fd, uid, gid) == 0)
		return KEEP_OK;
	return kp_fail_errno(err, errno, "give '%s' to its agent", name);
}

static keep_status write_copy(const keep_mailbox *mailbox, int folder, const char *name,
			      keep_bytes bytes, keep_error *err)
{
	int fd = -1;
	keep_status status = kp_file_open(folder, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW,
					  0600, &fd, err);

	if (status == KEEP_OK)
		status = kp_file_append(fd, bytes, err);
	if (status == KEEP_OK)
		status = kp_give_to_agent(mailbox, fd, name, err);
	if (status == KEEP_OK && !mailbox->relaxed)
		status = kp_file_sync(fd, err);
	kp_file_close(&fd);
	return status;
}

keep_status kp_session_file_make(keep_mailbox *mailbox, enum kp_side_kind kind,
				 const keep_session *session, const char *outbound_id, int folder,
				 const char *name, keep_error *err)
{
	keep_buffer bytes = KEEP_BUFFER_INIT;
	keep_status status = KEEP_OK;

	/* Somebody tidied up: the template is gone. */
	if (mailbox->session_template &&
	    kp_sql_check(mailbox->session_template->lease[kind].conn, NULL) != KEEP_OK)
		kp_session_template_close(mailbox);
	if (!mailbox->session_template)
		status = make_template(mailbox, err);
	if (status == KEEP_OK)
		status = fill(&mailbox->session_template->lease[kind], kind, session, outbound_id,
			      err);
	if (status == KEEP_OK)
		status = read_template(mailbox->session_template, kind, &bytes, err);
	if (status == KEEP_OK && kind == KP_SIDE_HOST && !mailbox->mount_safe) /* invariant 2 */
		kp_seal_set_versions(bytes.data, bytes.len, LOG_VERSION);
	if (status == KEEP_OK)
		status = write_copy(mailbox, folder, name, kp_buffer_bytes(&bytes), err);
	keep_buffer_release(&bytes);
	return status;
}

/* ---------------------------------------------------------------- what a crash left */

/* Another's template, unless its process is provably gone. */
static bool is_in_use(const char *name)
{
	static const char prefix[] = "template-";
	const char *owner = name + sizeof prefix - 1;
	const char *end = strrchr(name, '-');

	if (strncmp(name, prefix, sizeof prefix - 1) != 0)
		return false;
	if (end > owner && end[-1] == '+') /* of a mailbox with lasting leases */
		end--;
	return end <= owner || kp_owner_check((keep_bytes){owner, (size_t)(end - owner)}, INT64_MAX,
					      0) != KP_OWNER_GONE;
}

/* A place that was taken before the row was stored. */
static keep_status clear_place(const keep_mailbox *mailbox, kp_lease *lease, int making,
			       const char *name, keep_error *err)
{
	char place[PATH_MAX], path[2 * PATH_MAX];
	kp_arena arena = {.head = NULL};
	keep_bytes session = {name, strlen(name) - 1};
	keep_session row;
	bool is_there = false;
	ssize_t len = readlinkat(making, name, place, sizeof place - 1);
	keep_status status;

	if (len < 0 || kp_check_segment("session", session, NULL) != KEEP_OK)
		return KEEP_OK;
	place[len] = '\0';
	status = kp_lease_get(lease, KP_MAILBOX_GET_SESSION, KP_VALUES(kp_text_value(session)),
			      &kp_session_record, &arena, &row, &is_there, err);
	if (status == KEEP_OK && !is_there) { /* invariant 3 */
		snprintf(path, sizeof path, "%s/sessions/%s", mailbox->location, place);
		status = kp_tree_remove(AT_FDCWD, path, err);
	}
	kp_arena_release(&arena);
	return status == KEEP_NOT_FOUND ? KEEP_OK : status;
}

static keep_status apply_clean(void *ctx, kp_lease *lease, keep_error *err)
{
	const keep_mailbox *mailbox = ctx;
	char path[PATH_MAX];
	const struct dirent *entry;
	DIR *names = NULL;
	keep_status status = kp_making_path(mailbox, "", path, err);

	if (status == KEEP_OK)
		names = opendir(path);
	while (status == KEEP_OK && names && (entry = readdir(names))) {
		const char *name = entry->d_name;

		if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0 || is_in_use(name))
			continue;
		if (name[strlen(name) - 1] == '+')
			status = clear_place(mailbox, lease, dirfd(names), name, err);
		if (status == KEEP_OK)
			status = kp_tree_remove(dirfd(names), name, err);
	}
	if (names)
		(void)closedir(names);
	return status;
}

keep_status kp_making_clean(keep_mailbox *mailbox, keep_error *err)
{
	char path[PATH_MAX];
	const struct dirent *entry;
	DIR *names;
	bool has_remains = false;
	keep_status status;

	if (mailbox->schema || mailbox->read_only)
		return KEEP_OK;
	status = kp_making_path(mailbox, "", path, err);
	if (status != KEEP_OK)
		return status;
	names = opendir(path);
	while (names && !has_remains && (entry = readdir(names)))
		has_remains = strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 &&
			      !is_in_use(entry->d_name);
	if (names)
		(void)closedir(names);
	return has_remains ? kp_registry_change(mailbox, apply_clean, mailbox, err) : KEEP_OK;
}
