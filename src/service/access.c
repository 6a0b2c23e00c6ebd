/*
 * access.c - may this account call this, and may it see that row?
 *
 * The rules are in access_table.c, whose folder a thing is in access_judge.c. Operators, and who
 * asks on loopback where there are no accounts, may everything.
 *
 * Invariants:
 *   1. Default deny: an operation without a rule, an input that its rule does not have, an input
 * that must be judged and is not there, are DENIED to an account of some folders.
 *   2. A refusal has one wording, whether the thing is another folder's, nobody's or not there at
 *      all, and quotes nothing that was sent.
 *   3. An operation is found by what it is, never by the words of the request: an alias has the
 *      rule of its operation.
 *   4. kp_access_chat asks anew whether the account is still good, for what is open for long.
 *
 * What it does not do: check that inputs are well formed; the operation does, after this.
 *
 * Tests: tests/contract/test_service_access.c, tests/http/test_http_accounts.py.
 */
#include "service/access.h"

static bool may_everything(const kp_account *account)
{
	return account->is_anonymous || account->access.is_operator;
}

/* Invariant 1, of inputs that nobody has thought about. */
static keep_status check_inputs(const kp_access_rule *rule, const kp_operation_store *store,
				const kp_operation *operation, const kp_json *with, keep_error *err)
{
	for (size_t i = 0; i < operation->input_count; i++) {
		const char *name = operation->inputs[i].name;
		const kp_json *value = kp_json_member(with, name);

		if (value && value->kind != KP_JSON_NULL && !kp_access_rule_has(rule, name))
			return kp_fail(err, KEEP_DENIED, "%s.%s: '%s' is for operators alone",
				       store->name, operation->verb, name);
	}
	return KEEP_OK;
}

static keep_status check(kp_request *request, const kp_operation_store *store,
			 const kp_operation *operation, const kp_json *with, keep_error *err)
{
	const kp_access_rule *rule = kp_access_rule_find(store, operation);
	keep_status status;

	if (!rule)
		return kp_fail(err, KEEP_DENIED, "%s.%s: is for operators alone", store->name,
			       operation->verb);
	status = check_inputs(rule, store, operation, with, err);
	for (size_t i = 0; i < KP_JUDGED_MAX && rule->judged[i].name && status == KEEP_OK; i++) {
		bool may = false;

		status = kp_access_judge(request->service, &request->account.access,
					 &rule->judged[i], with, &may, err);
		if (status == KEEP_OK && !may)
			status = kp_fail(err, KEEP_DENIED,
					 "%s.%s: '%s' is nothing of this account's folders",
					 store->name, operation->verb, rule->judged[i].name);
	}
	return status;
}

keep_status kp_access_check(kp_request *request, const kp_operation_store *store,
			    const kp_operation *operation, const kp_json *with, keep_error *err)
{
	keep_status status;

	if (may_everything(&request->account)) {
		kp_accounts_expect(request->service, store, operation);
		return KEEP_OK;
	}
	status = check(request, store, operation, with, err);
	if (status == KEEP_DENIED)
		kp_count(request->service, KP_COUNT_DENIED, 1);
	return status;
}

bool kp_access_filters(const kp_account *account, const kp_operation_store *store,
		       const kp_operation *operation)
{
	const kp_access_rule *rule;

	if (may_everything(account) || operation->result != KP_RESULT_ROWS)
		return false;
	rule = kp_access_rule_find(store, operation);
	return !rule || rule->row.name; /* without a rule nothing is seen */
}

keep_status kp_access_row(kp_request *request, const kp_operation_store *store,
			  const kp_operation *operation, const kp_json *row, bool *may,
			  keep_error *err)
{
	const kp_access_rule *rule;

	*may = may_everything(&request->account);
	if (*may)
		return KEEP_OK;
	rule = kp_access_rule_find(store, operation);
	if (rule && !rule->row.name)
		*may = true;
	else if (rule)
		return kp_access_judge(request->service, &request->account.access, &rule->row, row,
				       may, err);
	return KEEP_OK;
}

keep_status kp_access_chat(keep_service *service, const kp_account *account, keep_bytes chat_jid,
			   keep_bytes group_folder, bool *may, keep_error *err)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_access access = {0};
	keep_status status;

	*may = false;
	status = kp_account_renew(service, account, &memory, &access, may, err);
	if (status == KEEP_OK && *may && !account->is_anonymous && !access.is_operator)
		status = kp_access_judge_chat(service, &access, chat_jid, group_folder, may, err);
	if (status != KEEP_OK)
		*may = false;
	keep_memory_release(&memory);
	return status;
}
