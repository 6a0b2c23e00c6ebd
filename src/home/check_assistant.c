/*
 * check_assistant.c - the assistant's store: its rows, its secrets, its audit chain, its leases.
 *
 * Rows are looked at on a connection of their own; the audit chain, and what is derived for search
 * (check_words.c), through the store itself, opened for reading.
 *
 * Invariants:
 *   1. A secret is decrypted and wiped; neither it nor what it is of is told, only its row.
 *   2. That the audit chain is broken is damage and stays so: nothing here mends it.
 *   3. Runs that a dead scheduler had are ended by the store's own rules: retried, or dead letters.
 *
 * Tests: tests/contract/test_home_check_stores.c.
 */
#include "home/check_private.h"

#include "assistant/assistant_jobs.h"
#include "home/check_search.h"

#include <stdio.h>
#include <string.h>

enum { ENDED_AT_ONCE = 100, OWNERS_MAX = 100 };
#define STALE "stale_counter"
#define VECTORS "stale_vectors"

static const kp_check_rule rules[] = {
	{.find = KP_CHECK_ASSISTANT_LAST_SEQ,
	 .table = "conversations",
	 .kind = STALE,
	 .sentence = "last_seq is below the number of the conversation's newest message",
	 .severity = KEEP_SEVERITY_INCONSISTENCY,
	 .has_numbers = true,
	 .mend = {KP_CHECK_ASSISTANT_RENEW_LAST_SEQ},
	 .mend_count = 1},
	{.find = KP_CHECK_ASSISTANT_MESSAGE_COUNT,
	 .table = "conversations",
	 .kind = STALE,
	 .sentence = "message_count is not the number of the conversation's messages",
	 .severity = KEEP_SEVERITY_INCONSISTENCY,
	 .has_numbers = true,
	 .reads_all = true,
	 .mend = {KP_CHECK_ASSISTANT_RENEW_MESSAGE_COUNT},
	 .mend_count = 1},
	{.find = KP_CHECK_ASSISTANT_BAD_SEQ,
	 .table = "messages",
	 .kind = "bad_number",
	 .sentence = "a message's number in its conversation is below 1",
	 .severity = KEEP_SEVERITY_INCONSISTENCY,
	 .has_numbers = true,
	 .reads_all = true},
	{.find = KP_CHECK_ASSISTANT_VECTOR_SIZE,
	 .table = "search_index",
	 .kind = "damaged_row",
	 .sentence = "the document's vector has not the size that its dimensions say",
	 .severity = KEEP_SEVERITY_DAMAGE,
	 .has_numbers = true,
	 .reads_all = true},
	{.find = KP_CHECK_ASSISTANT_VECTOR_WITHOUT_MODEL,
	 .table = "search_index",
	 .kind = "broken_reference",
	 .sentence = "the document's vector is of a model that is not there, and is not found",
	 .severity = KEEP_SEVERITY_INCONSISTENCY,
	 .reads_all = true},
	{.find = KP_CHECK_ASSISTANT_VECTOR_COUNT,
	 .table = "vector_models",
	 .kind = VECTORS,
	 .sentence = "the model's count is not the number of its vectors",
	 .severity = KEEP_SEVERITY_INCONSISTENCY,
	 .has_numbers = true,
	 .reads_all = true,
	 .mend = {KP_CHECK_ASSISTANT_RENEW_VECTORS},
	 .mend_count = 1},
	{.find = KP_CHECK_ASSISTANT_VECTOR_REMOVED,
	 .table = "vector_models",
	 .kind = VECTORS,
	 .sentence = "the model's count of removed vectors is not theirs",
	 .severity = KEEP_SEVERITY_INCONSISTENCY,
	 .has_numbers = true,
	 .reads_all = true,
	 .mend = {KP_CHECK_ASSISTANT_RENEW_VECTORS},
	 .mend_count = 1},
	{.find = KP_CHECK_ASSISTANT_VECTOR_CHANGE,
	 .table = "vector_models",
	 .kind = VECTORS,
	 .sentence = "the model's last change is before that of one of its vectors",
	 .severity = KEEP_SEVERITY_INCONSISTENCY,
	 .has_numbers = true,
	 .reads_all = true,
	 .mend = {KP_CHECK_ASSISTANT_RENEW_VECTORS},
	 .mend_count = 1},
	{.find = KP_CHECK_ASSISTANT_RUN_WITHOUT_ATTEMPT,
	 .table = "job_runs",
	 .kind = "broken_reference",
	 .sentence = "a run of the job is under way, and its attempt is not in the history",
	 .severity = KEEP_SEVERITY_INCONSISTENCY},
};

static const kp_check_lease task_leases[] = {
	{.find = KP_CHECK_ASSISTANT_TASKS,
	 .table = "agent_tasks",
	 .what = "the task",
	 .mend = {KP_CHECK_ASSISTANT_GIVE_TASK_BACK},
	 .mend_count = 1},
};

static const kp_check_lease run_leases[] = {
	{.find = KP_CHECK_ASSISTANT_RUNS, .table = "job_runs", .what = "the run of the job"},
	{.find = KP_CHECK_ASSISTANT_FUTURE_TASKS,
	 .table = "future_tasks",
	 .what = "the one-time task"},
};

/* ---------------------------------------------------------------- secrets */

struct secrets {
	kp_check_unit *unit;
	kp_keyring *ring;  /* NULL: no key */
	bool told_missing; /* once is enough */
};

static keep_status open_ring(struct secrets *secrets, keep_error *err)
{
	const kp_home_check *check = secrets->unit->check;
	const char *file = check->options.key_file;
	keep_buffer keys = KEEP_BUFFER_INIT;
	char path[PATH_MAX] = "";
	keep_error why = KEEP_ERROR_INIT;
	keep_status status = KEEP_OK;

	if (!file && !check->is_server) {
		status = kp_check_path(check, "vault.key", path, err);
		file = path;
	}
	if (status != KEEP_OK)
		return status;
	status = kp_keys_find(file, &keys, NULL, &why);
	if (status == KEEP_OK)
		status = kp_keyring_open(kp_buffer_bytes(&keys), &secrets->ring, &why);
	kp_secret_release(&keys);
	/* A file that cannot be used was told (check_files.c), or is another's. */
	return status == KEEP_NO_MEMORY ? kp_fail(err, status, "%s", why.message) : KEEP_OK;
}

static keep_status tell_missing(struct secrets *secrets, keep_error *err)
{
	const kp_complaint found = {.severity = KEEP_SEVERITY_DAMAGE,
				    .kind = "missing_file",
				    .file = secrets->unit->check->is_server ? NULL : "vault.key"};

	if (secrets->told_missing)
		return KEEP_OK;
	secrets->told_missing = true;
	return kp_check_found(
		secrets->unit->check, &found, err,
		"there are secrets, and no usable key: without the one that encrypted "
		"them nobody reads them");
}

static keep_status check_secret(struct secrets *secrets, const char *table, keep_bytes key,
				keep_bytes token, keep_error *err)
{
	kp_complaint found = {.severity = KEEP_SEVERITY_DAMAGE,
			      .kind = "unreadable_secret",
			      .table = table,
			      .key = key};
	keep_buffer plain = KEEP_BUFFER_INIT;
	keep_error why = KEEP_ERROR_INIT;
	keep_status status;

	if (!token.data)
		return KEEP_OK;
	if (!secrets->ring)
		return tell_missing(secrets, err);
	status = kp_fernet_decrypt(secrets->ring, token, -1, 0, &plain, NULL, &why);
	kp_secret_release(&plain);
	if (status == KEEP_OK)
		return status;
	if (status == KEEP_DENIED)
		return kp_check_found(secrets->unit->check, &found, err,
				      "none of the home's keys decrypts the secret");
	if (status == KEEP_CORRUPT || status == KEEP_FULL)
		return kp_check_found(
			secrets->unit->check, &found, err,
			"the secret is damaged: it is no token that any key decrypts");
	return kp_fail(err, status, "%s", why.message);
}

static keep_status check_credential(void *ctx, const void *object, keep_error *err)
{
	const keep_service_credential *credential = object;

	return check_secret(ctx, "service_credentials", credential->service_name,
			    credential->credential_data, err);
}

static keep_status check_setting(void *ctx, const void *object, keep_error *err)
{
	const keep_setting *setting = object;
	keep_status status;

	if (!setting->is_sensitive)
		return KEEP_OK;
	status = check_secret(ctx, "settings", setting->key, setting->value, err);
	return status == KEEP_OK
		       ? check_secret(ctx, "settings", setting->key, setting->default_value, err)
		       : status;
}

static keep_status check_rows(kp_check_unit *unit, keep_error *err)
{
	struct secrets secrets = {.unit = unit};
	const kp_check_rows hooks[] = {
		{.record = &kp_service_credential_record, .row = check_credential, .ctx = &secrets},
		{.record = &kp_setting_record, .row = check_setting, .ctx = &secrets},
		{.record = NULL},
	};
	keep_status status = open_ring(&secrets, err);

	if (status == KEEP_OK)
		status = kp_check_tables(unit, kp_assistant_records, KP_ASSISTANT_RECORD_COUNT,
					 hooks, err);
	kp_keyring_close(&secrets.ring);
	return status;
}

/* ---------------------------------------------------------------- the audit chain */

static keep_status check_chain(kp_home_check *check, keep_assistant *assistant, keep_error *err)
{
	kp_complaint found = {
		.severity = KEEP_SEVERITY_DAMAGE, .kind = "broken_audit", .table = "audit_log"};
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_audit_report report;
	char key[32];
	keep_error why = KEEP_ERROR_INIT;
	keep_status status = kp_check_tell(check, "audit_log", 0, err);

	if (status != KEEP_OK)
		return status;
	status = keep_assistant_verify_audit(assistant, &memory, &report, &why);
	if (status != KEEP_OK) {
		status = kp_check_failed(check, &found, status, &why, err);
	} else if (!report.is_intact) {
		(void)snprintf(key, sizeof key, "%lld", (long long)report.broken_seq);
		found.key = keep_bytes_of(key);
		status = kp_check_found(check, &found, err,
					"the audit chain is broken at entry %lld: %" KP_PRI,
					(long long)report.broken_seq, KP_ARG(report.reason));
	}
	keep_memory_release(&memory);
	return status;
}

/* ---------------------------------------------------------------- runs of dead schedulers */

struct ending {
	int64_t now_ms;
	uint64_t random;
};

static keep_status end_run(const struct ending *ending, kp_lease *lease, kp_run_key key,
			   keep_error *err)
{
	const kp_outcome outcome = {.status = KEEP_BYTES(KEEP_JOB_EXECUTION_STATUS_INTERRUPTED),
				    .error_message = KEEP_BYTES("its lease was orphaned")};
	kp_arena arena = {.head = NULL};
	keep_error why = KEEP_ERROR_INIT;
	kp_open_run run;
	keep_status status = kp_run_load(lease, key, &arena, &run, &why);

	if (status == KEEP_OK)
		status = kp_run_end_attempt(lease, &run, &outcome, ending->now_ms, ending->random,
					    err);
	else if (status != KEEP_CORRUPT) /* a damaged row stays as it is */
		status = kp_fail(err, status, "%s", why.message);
	else
		status = KEEP_OK;
	kp_arena_release(&arena);
	return status;
}

static keep_status end_listed(const struct ending *ending, kp_lease *lease, size_t statement,
			      kp_value what, keep_error *err)
{
	kp_arena arena = {.head = NULL};
	kp_run_key *keys = NULL;
	size_t count = 0;
	keep_status status =
		kp_run_keys(lease, statement, KP_VALUES(what, kp_int_value(ENDED_AT_ONCE)),
			    ENDED_AT_ONCE, &arena, &keys, &count, err);

	for (size_t i = 0; i < count && status == KEEP_OK; i++)
		status = end_run(ending, lease, keys[i], err);
	kp_arena_release(&arena);
	return status;
}

static keep_status read_gone(kp_lease *lease, kp_arena *arena, keep_bytes owners[OWNERS_MAX],
			     size_t *count, keep_error *err)
{
	kp_sql_stmt *stmt = NULL;
	bool has_row = false;
	keep_status status = kp_lease_bind(lease, KP_ASSISTANT_RUNNING_OWNERS, NULL, 0, &stmt, err);

	*count = 0;
	while (status == KEEP_OK && *count < OWNERS_MAX &&
	       (status = kp_sql_step(stmt, &has_row, err)) == KEEP_OK && has_row) {
		keep_bytes owner = {NULL, 0};

		status = kp_sql_column_bytes(stmt, 0, KP_TEXT, &owner, err);
		if (status == KEEP_OK && kp_owner_check(owner, INT64_MAX, 0) == KP_OWNER_GONE)
			status = kp_arena_copy(arena, owner, &owners[(*count)++], err);
	}
	kp_sql_reset(stmt);
	return status;
}

/* As a scheduler that claims does it (job_claim.c). */
static keep_status apply_end(void *ctx, kp_lease *lease, keep_error *err)
{
	const struct ending *ending = ctx;
	kp_arena arena = {.head = NULL};
	keep_bytes owners[OWNERS_MAX];
	size_t count = 0;
	keep_status status = end_listed(ending, lease, KP_ASSISTANT_EXPIRED_RUNS,
					kp_time_value(ending->now_ms), err);

	if (status == KEEP_OK)
		status = read_gone(lease, &arena, owners, &count, err);
	for (size_t i = 0; i < count && status == KEEP_OK; i++)
		status = end_listed(ending, lease, KP_ASSISTANT_RUNS_OF_OWNER,
				    kp_text_value(owners[i]), err);
	kp_arena_release(&arena);
	return status;
}

static keep_status end_runs(kp_home_check *check, keep_error *err)
{
	struct ending ending = {.now_ms = check->now_ms};
	keep_assistant *assistant = NULL;
	keep_status status = kp_check_open_assistant(check, true, &assistant, err);

	if (status == KEEP_OK)
		status = kp_random_bytes(&ending.random, sizeof ending.random, err);
	if (status == KEEP_OK)
		status = kp_store_change(&assistant->store, apply_end, &ending, KP_NEWS_DUE, err);
	keep_assistant_close(&assistant);
	return status;
}

static keep_status check_held(kp_check_unit *unit, keep_error *err)
{
	kp_home_check *check = unit->check;
	int64_t orphans = 0, still = 0;
	size_t from;
	keep_status status =
		kp_check_leases(unit, task_leases, KP_COUNT(task_leases), &orphans, err);

	from = check->result->count;
	if (status == KEEP_OK)
		status = kp_check_leases(unit, run_leases, KP_COUNT(run_leases), &orphans, err);
	if (status != KEEP_OK || !orphans || !check->options.repair || unit->is_damaged)
		return status;
	kp_sql_rollback(unit->conn);
	status = end_runs(check, err);
	if (status == KEEP_OK)
		status = kp_check_unit_renew(unit, err);
	if (status == KEEP_OK)
		status =
			kp_check_count_orphans(unit, run_leases, KP_COUNT(run_leases), &still, err);
	if (status == KEEP_OK && !still)
		kp_check_mended(check, KP_ORPHANED_LEASE, NULL, from);
	return status;
}

/* ---------------------------------------------------------------- all of it */

keep_status kp_check_open_assistant(const kp_home_check *check, bool writes, keep_assistant **out,
				    keep_error *err)
{
	keep_assistant_options options = KEEP_ASSISTANT_OPTIONS_INIT;
	keep_buffer url = KEEP_BUFFER_INIT;
	keep_status status =
		check->is_server
			? kp_buffer_append_format(&url, err, "%s%sschema=assistant", check->home,
						  strchr(check->home, '?') ? "&" : "?")
			: kp_buffer_append_format(&url, err, "sqlite:%s/assistant/assistant.db",
						  check->folder);

	options.read_only = !writes;
	options.without_keys = true;
	options.timeout_ms = check->options.timeout_ms;
	*out = NULL;
	if (status == KEEP_OK)
		status = keep_assistant_open(url.data, &options, out, err);
	keep_buffer_release(&url);
	return status;
}

/* Through the store itself. */
static keep_status check_store(kp_check_unit *unit, keep_error *err)
{
	kp_home_check *check = unit->check;
	kp_complaint found = {.severity = KEEP_SEVERITY_DAMAGE, .kind = "damaged_file"};
	keep_assistant *assistant = NULL;
	keep_error why = KEEP_ERROR_INIT;
	keep_status status = kp_check_open_assistant(check, false, &assistant, &why);

	if (status != KEEP_OK)
		return kp_check_failed(check, &found, status, &why, err);
	if (!check->options.quick)
		status = check_chain(check, assistant, err);
	if (status == KEEP_OK && !check->options.quick)
		status = kp_check_words(unit, assistant, err);
	if (status == KEEP_OK)
		status = kp_check_vectors(unit, assistant, err);
	keep_assistant_close(&assistant);
	return status;
}

static keep_status check_open(kp_check_unit *unit, keep_error *err)
{
	bool is_known = false;
	keep_status status = kp_check_version(unit, "assistant", &is_known, err);

	if (status != KEEP_OK || !is_known)
		return status;
	status = kp_check_indexes(unit, err);
	if (status == KEEP_OK)
		status = check_rows(unit, err);
	if (status == KEEP_OK)
		status = check_held(unit, err);
	if (status == KEEP_OK)
		status = kp_check_rules(unit, rules, KP_COUNT(rules), err);
	/* One moment is not held while the store is asked. */
	kp_sql_rollback(unit->conn);
	return status == KEEP_OK ? check_store(unit, err) : status;
}

keep_status kp_check_assistant(kp_home_check *check, keep_error *err)
{
	kp_check_unit unit = {
		.check = check, .schema = "assistant", .turn = KP_CHECK_ASSISTANT_TAKE_TURN + 1};
	bool there = false, is_open = false;
	keep_status status =
		kp_check_is_there(check, "assistant", "assistant/assistant.db", NULL, &there, err);

	if (status != KEEP_OK || !there)
		return status;
	status = kp_check_pages(check, &unit.is_damaged, err);
	if (status == KEEP_OK)
		status = kp_check_unit_open(&unit, &is_open, err);
	if (status == KEEP_OK && is_open)
		status = check_open(&unit, err);
	kp_check_unit_close(&unit);
	return status;
}
