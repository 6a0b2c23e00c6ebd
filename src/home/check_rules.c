/*
 * check_rules.c - what the rows of a store say of each other, as a table of rules.
 *
 * A rule is a query of check_*.sql whose rows are findings, with what mends them if they are
 * derived: statements that make it anew from the rest, in one writing transaction. After that the
 * query is asked again, and what it still finds stays a finding.
 *
 * Invariants:
 *   1. A rule sees one moment. Where two files are compared there is none: then only what is found
 *      again, in a later look, is a finding.
 *   2. What mends is right whenever it runs, also when others have changed the rows meanwhile: it
 *      looks at them again, inside of its transaction.
 *
 * Tests: tests/contract/test_home_check.c, tests/contract/test_home_check_stores.c.
 */
#include "home/check_private.h"

#include <string.h>
#include <time.h>

enum { LOOKS = 3, LOOK_AGAIN_NS = 30000000 };

/* One look: the findings of a rule, or only how many there are. */
struct looking {
	kp_check_unit *unit;
	const kp_check_rule *rule;
	bool counts; /* nothing is told */
	int64_t count;
};

static keep_status take_finding(struct looking *looking, kp_sql_stmt *stmt, keep_error *err)
{
	const kp_check_rule *rule = looking->rule;
	kp_complaint found = {.severity = rule->severity,
			      .kind = rule->kind,
			      .table = rule->table,
			      .can_repair = rule->mend_count > 0};
	kp_value key = {.is_null = true}, is = key, should = key;
	keep_status status = kp_sql_column(stmt, 0, KP_TEXT, &key, err);

	looking->count++;
	if (status != KEEP_OK || looking->counts)
		return status;
	found.key = key.is_null ? (keep_bytes){NULL, 0} : key.bytes;
	if (!rule->has_numbers)
		return kp_check_found(looking->unit->check, &found, err, "%s", rule->sentence);
	status = kp_sql_column(stmt, 1, KP_INT, &is, err);
	if (status == KEEP_OK)
		status = kp_sql_column(stmt, 2, KP_INT, &should, err);
	return status == KEEP_OK ? kp_check_found(looking->unit->check, &found, err,
						  "%s: %lld instead of %lld", rule->sentence,
						  (long long)(is.is_null ? 0 : is.integer),
						  (long long)(should.is_null ? 0 : should.integer))
				 : status;
}

static keep_status look(struct looking *looking, keep_error *err)
{
	const kp_check_rule *rule = looking->rule;
	kp_sql_conn *conn = looking->unit->conn;
	kp_value now = kp_time_value(looking->unit->check->now_ms);
	kp_sql_stmt *stmt = NULL;
	bool has_row = false;
	keep_status status = kp_check_prepare(conn, rule->find, &now, 1, &stmt, err);

	looking->count = 0;
	while (status == KEEP_OK && (status = kp_sql_step(stmt, &has_row, err)) == KEEP_OK &&
	       has_row) {
		status = take_finding(looking, stmt, err);
		if (status == KEEP_OK)
			status = kp_check_tell(looking->unit->check, rule->table, 1, err);
	}
	kp_sql_finish(&stmt);
	return status;
}

/* Invariant 1. *stays: it was there in each of several moments. */
static keep_status look_again(struct looking *looking, bool *stays, keep_error *err)
{
	const struct timespec pause = {.tv_nsec = LOOK_AGAIN_NS};
	keep_status status = KEEP_OK;

	*stays = true;
	for (int i = 0; i < LOOKS && *stays && status == KEEP_OK; i++) {
		looking->counts = true;
		if (i)
			status = kp_check_unit_renew(looking->unit, err);
		if (status == KEEP_OK)
			status = look(looking, err);
		*stays = looking->count > 0;
		if (*stays && i + 1 < LOOKS)
			(void)nanosleep(&pause, NULL);
	}
	looking->counts = false;
	return status;
}

/* ---------------------------------------------------------------- mending */

static keep_status apply_mend(void *ctx, kp_sql_conn *conn, keep_error *err)
{
	const struct looking *looking = ctx;
	const kp_check_rule *rule = looking->rule;
	kp_value now = kp_time_value(looking->unit->check->now_ms);
	keep_status status = KEEP_OK;

	for (size_t i = 0; i < rule->mend_count && status == KEEP_OK; i++)
		status = kp_check_run(conn, rule->mend[i], &now, 1, err);
	return status;
}

static keep_status mend(struct looking *looking, size_t from, keep_error *err)
{
	const kp_check_rule *rule = looking->rule;
	keep_status status = kp_check_write(looking->unit, apply_mend, looking, err);

	looking->counts = true;
	if (status == KEEP_OK)
		status = look(looking, err);
	looking->counts = false;
	if (status == KEEP_OK && looking->count == 0)
		kp_check_mended(looking->unit->check, rule->kind, rule->table, from);
	return status;
}

static keep_status follow(kp_check_unit *unit, const kp_check_rule *rule, keep_error *err)
{
	struct looking looking = {.unit = unit, .rule = rule};
	size_t from = unit->check->result->count;
	bool stays = true;
	keep_status status;

	kp_check_next(unit->check);
	status = rule->may_pass ? look_again(&looking, &stays, err) : KEEP_OK;

	if (status == KEEP_OK && stays)
		status = look(&looking, err);
	if (status == KEEP_OK && stays && looking.count && rule->mend_count &&
	    unit->check->options.repair && !unit->is_damaged)
		status = mend(&looking, from, err);
	return status;
}

keep_status kp_check_rules(kp_check_unit *unit, const kp_check_rule *rules, size_t count,
			   keep_error *err)
{
	keep_status status = KEEP_OK;

	for (size_t i = 0; i < count && status == KEEP_OK; i++) {
		const kp_check_rule *rule = &rules[i];
		keep_error why = KEEP_ERROR_INIT;

		if (rule->reads_all && unit->check->options.quick)
			continue;
		status = follow(unit, rule, &why);
		if (status == KEEP_OK)
			continue;
		status = kp_check_failed(unit->check,
					 &(kp_complaint){.severity = KEEP_SEVERITY_DAMAGE,
							 .kind = "damaged_table",
							 .table = rule->table},
					 status, &why, err);
		if (status == KEEP_OK)
			status = kp_check_unit_renew(unit, err);
	}
	return status;
}
