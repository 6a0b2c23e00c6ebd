/*
 * gateway_routes.c - routes: storing them, keeping them compiled, and where a message goes.
 *
 * Invariants:
 *   1. Every change of a jid's routes, of whoever, bumps its row of route_versions in the same
 *      transaction (kp_routes_changed). A compiled set is used only under the version that was
 *      read before its routes were: it may be newer than that, never older; and a resolve reads the
 *      version each time. So the next resolve after a change sees it, in every process.
 *   2. Sets in use have owners: the cache may drop one at any time. It holds at most CACHE_SETS and
 *      CACHE_BYTES; what was used longest ago goes first.
 *   3. An explanation takes the same looks in the same order as a resolve without one, so it says
 *      what really happens.
 *   4. Groups are read anew for each message: their state and trigger are never cached.
 *
 * What it does not do: compare texts (route_match.c), know about sticky groups or replies.
 *
 * Tests: tests/contract/test_gateway_routes.c, tests/torture/test_gateway_routes_faults.c.
 */
#include "gateway/gateway_private.h"
#include "gateway/route_match.h"

#include <stdio.h>

enum {
	ROUTES_MAX = 20000,
	RANKS = 3, /* the chat, its platform, everybody */
	CACHE_SETS = 1024,
	GROUPS_KEPT = 64,
	WHY_SIZE = 600
};
#define CACHE_BYTES ((size_t)64 << 20)

/* ---------------------------------------------------------------- the cache */

struct entry {
	struct entry *next; /* from the one used last */
	int64_t version;
	kp_route_set *set;
	size_t jid_len;
	char jid[];
};

struct kp_gateway_routes {
	pthread_mutex_t lock;
	struct entry *first;
	size_t count, bytes;
};

keep_status kp_gateway_routes_open(keep_gateway *gateway, keep_error *err)
{
	gateway->routes = kp_alloc_zero(sizeof *gateway->routes);
	if (!gateway->routes)
		return kp_fail_memory(err, "a gateway");
	pthread_mutex_init(&gateway->routes->lock, NULL);
	return KEEP_OK;
}

static void drop_entry(struct kp_gateway_routes *cache, struct entry **link)
{
	struct entry *entry = *link;

	*link = entry->next;
	cache->count--;
	cache->bytes -= kp_route_set_bytes(entry->set);
	kp_route_set_release(&entry->set);
	kp_free(entry);
}

void kp_gateway_routes_close(keep_gateway *gateway)
{
	struct kp_gateway_routes *cache = gateway->routes;

	if (!cache)
		return;
	while (cache->first)
		drop_entry(cache, &cache->first);
	pthread_mutex_destroy(&cache->lock);
	kp_free(cache);
	gateway->routes = NULL;
}

/* The link to a jid's entry, or to the end. */
static struct entry **find_entry(struct kp_gateway_routes *cache, keep_bytes jid)
{
	struct entry **link = &cache->first;

	while (*link &&
	       !((*link)->jid_len == jid.len && memcmp((*link)->jid, jid.data, jid.len) == 0))
		link = &(*link)->next;
	return link;
}

static kp_route_set *take_cached(struct kp_gateway_routes *cache, keep_bytes jid, int64_t version)
{
	kp_route_set *set = NULL;
	struct entry **link;

	pthread_mutex_lock(&cache->lock);
	link = find_entry(cache, jid);
	if (*link && (*link)->version == version) {
		struct entry *entry = *link;

		*link = entry->next;
		entry->next = cache->first;
		cache->first = entry;
		set = kp_route_set_share(entry->set);
	}
	pthread_mutex_unlock(&cache->lock);
	return set;
}

/* Remember a set, in the place of an older one. Without memory it is not remembered. */
static void remember(struct kp_gateway_routes *cache, keep_bytes jid, int64_t version,
		     kp_route_set *set)
{
	struct entry *entry = kp_alloc(sizeof *entry + jid.len);
	struct entry **link;

	if (!entry)
		return;
	*entry = (struct entry){.version = version, .jid_len = jid.len};
	memcpy(entry->jid, jid.data, jid.len);
	entry->set = kp_route_set_share(set);
	pthread_mutex_lock(&cache->lock);
	link = find_entry(cache, jid);
	if (*link)
		drop_entry(cache, link);
	entry->next = cache->first;
	cache->first = entry;
	cache->count++;
	cache->bytes += kp_route_set_bytes(set);
	while (cache->count > 1 && (cache->count > CACHE_SETS || cache->bytes > CACHE_BYTES)) {
		link = &cache->first;
		while ((*link)->next)
			link = &(*link)->next;
		drop_entry(cache, link);
	}
	pthread_mutex_unlock(&cache->lock);
}

/* ---------------------------------------------------------------- changing */

keep_status kp_routes_changed(kp_lease *lease, keep_bytes jid, keep_error *err)
{
	return kp_lease_queue(lease, KP_GATEWAY_CHANGE_ROUTES, KP_VALUES(kp_text_value(jid)), err);
}

_Static_assert(KEEP_ROUTE_PATTERN_MAX == KP_PATTERN_BYTES_MAX,
	       "a route's pattern is as long as a pattern may be");

static keep_status check_route(const keep_route *route, keep_error *err)
{
	kp_arena arena = {.head = NULL};
	kp_pattern *pattern;
	kp_route_type type = KP_ROUTE_DEFAULT;
	keep_status status;
	bool is_pattern;

	if (route->type.data && !kp_route_type_parse(route->type, &type))
		return kp_fail(err, KEEP_INVALID,
			       "type: one of command, prefix, pattern, keyword, sender, verb, "
			       "default is needed");
	is_pattern = type == KP_ROUTE_PATTERN || type == KP_ROUTE_SENDER;
	status = kp_check_text("match", route->match,
			       is_pattern ? KEEP_ROUTE_PATTERN_MAX : KEEP_GATEWAY_TEXT_MAX,
			       type == KP_ROUTE_DEFAULT ? KP_MAY_BE_ABSENT : KP_NOT_EMPTY, err);
	if (status == KEEP_OK && is_pattern)
		status = kp_pattern_compile(route->match, &arena, &pattern, NULL, err);
	kp_arena_release(&arena);
	return status == KEEP_OK ? kp_target_check(route->target, err) : status;
}

static keep_status insert_route(kp_lease *lease, keep_bytes jid, const keep_route *route,
				int64_t *id, keep_error *err)
{
	const kp_value values[] = {
		kp_text_value(jid),
		kp_int_value(route->seq),
		kp_text_value(kp_text_or(route->type, KEEP_ROUTE_TYPE_DEFAULT)),
		kp_text_value(kp_text_or(route->match, "")),
		kp_text_value(route->target),
	};
	kp_sql_stmt *stmt = NULL;
	bool has_row = false;
	keep_status status;

	if (!id)
		return kp_lease_queue(lease, KP_GATEWAY_INSERT_ROUTE, values, KP_COUNT(values),
				      err);
	status =
		kp_lease_bind(lease, KP_GATEWAY_INSERT_ROUTE, values, KP_COUNT(values), &stmt, err);
	if (status == KEEP_OK)
		status = kp_sql_step(stmt, &has_row, err);
	if (status == KEEP_OK && has_row)
		status = kp_sql_column_int(stmt, 0, id, err);
	kp_sql_reset(stmt);
	return status;
}

struct addition {
	const keep_route *route;
	int64_t id;
};

static keep_status count_routes(kp_lease *lease, keep_bytes jid, int64_t *count, keep_error *err)
{
	kp_sql_stmt *stmt = NULL;
	bool has_row = false;
	keep_status status = kp_lease_bind(lease, KP_GATEWAY_COUNT_ROUTES,
					   KP_VALUES(kp_text_value(jid)), &stmt, err);

	*count = 0;
	if (status == KEEP_OK)
		status = kp_sql_step(stmt, &has_row, err);
	if (status == KEEP_OK && has_row)
		status = kp_sql_column_int(stmt, 0, count, err);
	kp_sql_reset(stmt);
	return status;
}

static keep_status apply_addition(void *ctx, kp_lease *lease, keep_error *err)
{
	struct addition *addition = ctx;
	int64_t count = 0;
	keep_status status = count_routes(lease, addition->route->jid, &count, err);

	if (status == KEEP_OK && count >= ROUTES_MAX) {
		lease->unchanged = true;
		return kp_fail(err, KEEP_FULL, "jid '%" KP_PRI "' has %d routes already",
			       KP_ARG(addition->route->jid), ROUTES_MAX);
	}
	if (status == KEEP_OK)
		status = insert_route(lease, addition->route->jid, addition->route, &addition->id,
				      err);
	return status == KEEP_OK ? kp_routes_changed(lease, addition->route->jid, err) : status;
}

keep_status keep_gateway_add_route(keep_gateway *gateway, const keep_route *route, int64_t *id,
				   keep_error *err)
{
	struct addition addition = {route, 0};
	keep_status status = kp_check_key("jid", route->jid, err);

	if (status == KEEP_OK)
		status = check_route(route, err);
	if (status == KEEP_OK)
		status = kp_gateway_change(gateway, apply_addition, &addition, KP_NEWS_NONE, err);
	if (status == KEEP_OK && id)
		*id = addition.id;
	return status;
}

static keep_status apply_removal(void *ctx, kp_lease *lease, keep_error *err)
{
	int64_t id = *(const int64_t *)ctx;
	kp_arena arena = {.head = NULL};
	kp_sql_stmt *stmt = NULL;
	keep_bytes jid = {0};
	bool has_row = false;
	keep_status status = kp_lease_bind(lease, KP_GATEWAY_DELETE_ROUTE,
					   KP_VALUES(kp_int_value(id)), &stmt, err);

	if (status == KEEP_OK)
		status = kp_sql_step(stmt, &has_row, err);
	if (status == KEEP_OK && has_row)
		status = kp_sql_column_bytes(stmt, 0, KP_TEXT, &jid, err);
	if (status == KEEP_OK && has_row)
		status = kp_arena_copy(&arena, jid, &jid, err);
	kp_sql_reset(stmt);
	if (status == KEEP_OK && !has_row) {
		lease->unchanged = true;
		status = kp_fail(err, KEEP_NOT_FOUND, "there is no route %lld", (long long)id);
	} else if (status == KEEP_OK) {
		status = kp_routes_changed(lease, jid, err);
	}
	kp_arena_release(&arena);
	return status;
}

keep_status keep_gateway_remove_route(keep_gateway *gateway, int64_t id, keep_error *err)
{
	return kp_gateway_change(gateway, apply_removal, &id, KP_NEWS_NONE, err);
}

struct replacement {
	keep_bytes jid;
	const keep_route *routes;
	size_t count;
};

static keep_status apply_replacement(void *ctx, kp_lease *lease, keep_error *err)
{
	const struct replacement *all = ctx;
	keep_status status = kp_lease_queue(lease, KP_GATEWAY_DELETE_ROUTES_OF_JID,
					    KP_VALUES(kp_text_value(all->jid)), err);

	for (size_t i = 0; i < all->count && status == KEEP_OK; i++)
		status = insert_route(lease, all->jid, &all->routes[i], NULL, err);
	return status == KEEP_OK ? kp_routes_changed(lease, all->jid, err) : status;
}

keep_status keep_gateway_set_routes(keep_gateway *gateway, keep_bytes jid, const keep_route *routes,
				    size_t count, keep_error *err)
{
	struct replacement all = {jid, routes, count};
	keep_status status = kp_check_key("jid", jid, err);

	if (status == KEEP_OK && count > ROUTES_MAX)
		status = kp_fail(err, KEEP_INVALID, "routes: %zu, the limit is %d", count,
				 ROUTES_MAX);
	for (size_t i = 0; i < count && status == KEEP_OK; i++) {
		status = check_route(&routes[i], err);
		if (status == KEEP_INVALID)
			status = kp_prefix(err, status, "route %zu of %zu", i + 1, count);
	}
	if (status != KEEP_OK)
		return status;
	return kp_gateway_change(gateway, apply_replacement, &all, KP_NEWS_NONE, err);
}

keep_status keep_gateway_get_routes(keep_gateway *gateway, keep_bytes jid, keep_memory *memory,
				    keep_route_list *out, keep_error *err)
{
	size_t statement = jid.data ? KP_GATEWAY_ROUTES_OF_JID : KP_GATEWAY_ALL_ROUTES;
	const kp_value value = kp_text_value(jid);
	keep_status status = jid.data ? kp_check_key("jid", jid, err) : KEEP_OK;

	if (status != KEEP_OK)
		return status;
	return kp_gateway_list(gateway, statement, &value, jid.data ? 1 : 0, &kp_route_record,
			       memory, &out->items, &out->count, err);
}

/* ---------------------------------------------------------------- what a message meets */

struct group {
	keep_bytes folder, state, trigger;
	bool exists, requires_trigger;
};

struct resolving {
	keep_gateway *gateway;
	const keep_message *message;
	keep_bytes jids[RANKS]; /* absent: none */
	kp_route_set *sets[RANKS];
	kp_arena arena; /* of what is only needed until the answer */
	kp_route_input input;
	struct group groups[GROUPS_KEPT];
	size_t group_count;
	keep_memory *memory;
	keep_resolution *out; /* being made */
	size_t step_room;     /* 0: nothing is explained */
};

static void release_sets(struct resolving *self)
{
	for (int i = 0; i < RANKS; i++)
		kp_route_set_release(&self->sets[i]);
}

static keep_status load_set(struct resolving *self, kp_lease *lease, int rank, int64_t version,
			    keep_error *err)
{
	struct kp_gateway_routes *cache = self->gateway->routes;
	kp_arena arena = {.head = NULL};
	kp_sql_stmt *stmt = NULL;
	void *routes = NULL;
	size_t count = 0;
	keep_status status;

	if (version)
		self->sets[rank] = take_cached(cache, self->jids[rank], version);
	if (self->sets[rank])
		return KEEP_OK;
	status = kp_lease_bind(lease, KP_GATEWAY_ROUTES_OF_JID,
			       KP_VALUES(kp_text_value(self->jids[rank])), &stmt, err);
	if (status == KEEP_OK)
		status = kp_record_read_all(stmt, &kp_route_record, &arena, &routes, &count, err);
	if (status == KEEP_OK)
		status = kp_route_set_make(routes, count, &self->sets[rank], err);
	if (status == KEEP_OK && version)
		remember(cache, self->jids[rank], version, self->sets[rank]);
	kp_arena_release(&arena);
	return status;
}

static keep_status query_sets(void *ctx, kp_lease *lease, keep_error *err)
{
	struct resolving *self = ctx;
	int64_t versions[RANKS] = {0};
	bool any[RANKS] = {false}, has_row = true;
	kp_sql_stmt *stmt = NULL;
	keep_status status =
		kp_lease_bind(lease, KP_GATEWAY_ROUTE_VERSIONS,
			      KP_VALUES(kp_text_value(self->jids[0]), kp_text_value(self->jids[1]),
					kp_text_value(self->jids[2])),
			      &stmt, err);

	release_sets(self);
	while (status == KEEP_OK) {
		kp_value jid, version, has;

		status = kp_sql_step(stmt, &has_row, err);
		if (status != KEEP_OK || !has_row)
			break;
		status = kp_sql_column(stmt, 0, KP_TEXT, &jid, err);
		if (status == KEEP_OK)
			status = kp_sql_column(stmt, 1, KP_INT, &version, err);
		if (status == KEEP_OK)
			status = kp_sql_column(stmt, 2, KP_BOOL, &has, err);
		for (int i = 0; i < RANKS && status == KEEP_OK; i++) {
			if (!self->jids[i].data || jid.is_null ||
			    !kp_bytes_equal(jid.bytes, self->jids[i]))
				continue;
			versions[i] = version.integer;
			any[i] = has.integer;
		}
	}
	kp_sql_reset(stmt);
	for (int i = 0; i < RANKS && status == KEEP_OK; i++)
		if (any[i])
			status = load_set(self, lease, i, versions[i], err);
	return status;
}

struct group_query {
	struct resolving *self;
	struct group *group;
};

static keep_status query_group(void *ctx, kp_lease *lease, keep_error *err)
{
	struct group_query *query = ctx;
	struct group *group = query->group;
	kp_sql_stmt *stmt = NULL;
	kp_value required;
	keep_status status = kp_lease_bind(lease, KP_GATEWAY_ROUTE_GROUP,
					   KP_VALUES(kp_text_value(group->folder),
						     kp_text_value(query->self->message->chat_jid)),
					   &stmt, err);

	group->exists = false;
	if (status == KEEP_OK)
		status = kp_sql_step(stmt, &group->exists, err);
	if (status == KEEP_OK && group->exists) {
		status = kp_sql_column_bytes(stmt, 0, KP_TEXT, &group->state, err);
		if (status == KEEP_OK)
			status = kp_sql_column_bytes(stmt, 1, KP_TEXT, &group->trigger, err);
		if (status == KEEP_OK)
			status = kp_sql_column(stmt, 2, KP_BOOL, &required, err);
		if (status == KEEP_OK)
			status = kp_arena_copy(&query->self->arena, group->state, &group->state,
					       err);
		if (status == KEEP_OK)
			status = kp_arena_copy(&query->self->arena, group->trigger, &group->trigger,
					       err);
		if (status == KEEP_OK)
			group->requires_trigger = required.integer;
	}
	kp_sql_reset(stmt);
	return status;
}

/* The group of a folder; read once a message. */
static keep_status find_group(struct resolving *self, keep_bytes folder, struct group *out,
			      keep_error *err)
{
	struct group_query query = {self, out};
	keep_status status;

	for (size_t i = 0; i < self->group_count; i++) {
		if (!kp_bytes_equal(self->groups[i].folder, folder))
			continue;
		*out = self->groups[i];
		return KEEP_OK;
	}
	*out = (struct group){.folder = folder};
	status = kp_gateway_read(self->gateway, query_group, &query, err);
	if (status == KEEP_OK && self->group_count < GROUPS_KEPT)
		self->groups[self->group_count++] = *out;
	return status;
}

/* ---------------------------------------------------------------- explaining */

static void say(char why[WHY_SIZE], const char *format, ...) KEEP_PRINTF(2, 3);

static void say(char why[WHY_SIZE], const char *format, ...)
{
	va_list args;

	va_start(args, format);
	kp_message_format(why, WHY_SIZE, format, args);
	va_end(args);
}

static void say_verdict(char why[WHY_SIZE], const keep_route *route, kp_route_verdict verdict)
{
	static const struct {
		const char *yes, *no;
	} texts[KP_ROUTE_TYPES] = {
		{"the text is, or begins with, the command", "the text has not the command"},
		{"the text begins with", "the text does not begin with"},
		{"the content matches the pattern", "the content does not match the pattern"},
		{"the content contains", "the content does not contain"},
		{"the sender matches the pattern", "the sender does not match the pattern"},
		{"the verb is", "the verb is not"},
	};
	kp_route_type type = KP_ROUTE_DEFAULT;

	if (verdict == KP_VERDICT_BROKEN || !kp_route_type_parse(route->type, &type)) {
		say(why, "the stored route cannot be used: its type or match is not valid");
		return;
	}
	if (type == KP_ROUTE_DEFAULT)
		say(why, "a default matches everything");
	else if (verdict == KP_VERDICT_BOUND)
		say(why, "the search for the pattern '%" KP_PRI "' was given up: it took too long",
		    KP_ARG(route->match));
	else
		say(why, "%s '%" KP_PRI "'",
		    verdict == KP_VERDICT_YES ? texts[type].yes : texts[type].no,
		    KP_ARG(route->match));
}

static keep_status copy_route(const keep_route *from, kp_arena *arena, keep_route *to,
			      keep_error *err)
{
	keep_status status;

	*to = *from;
	status = kp_arena_copy(arena, from->jid, &to->jid, err);
	if (status == KEEP_OK)
		status = kp_arena_copy(arena, from->type, &to->type, err);
	if (status == KEEP_OK)
		status = kp_arena_copy(arena, from->match, &to->match, err);
	if (status == KEEP_OK)
		status = kp_arena_copy(arena, from->target, &to->target, err);
	return status;
}

static keep_status add_step(struct resolving *self, const keep_route *route, bool matched,
			    const char *why, keep_error *err)
{
	keep_route_step *step;
	keep_status status;

	if (!self->step_room)
		return KEEP_OK;
	step = &self->out->steps[self->out->step_count];
	*step = (keep_route_step){.matched = matched};
	status = copy_route(route, self->memory, &step->route, err);
	if (status == KEEP_OK)
		status = kp_arena_copy(self->memory, keep_bytes_of(why), &step->why, err);
	self->out->step_count++;
	return status;
}

/* ---------------------------------------------------------------- resolving */

/* A route has matched: does its target take the message? Writes the step. */
static keep_status try_target(struct resolving *self, const keep_route *route, keep_error *err)
{
	char why[WHY_SIZE];
	keep_bytes folder;
	struct group group = {.exists = false};
	keep_status status = kp_target_expand(route->target, self->message->chat_jid,
					      self->message->sender, &self->arena, &folder, err);

	if (status == KEEP_OK && folder.data)
		status = find_group(self, folder, &group, err);
	if (status != KEEP_OK)
		return status;
	if (!folder.data) {
		say(why, "it matches, but its target '%" KP_PRI "' has no folder for this sender",
		    KP_ARG(route->target));
	} else if (group.exists &&
		   !kp_bytes_equal(group.state,
				   keep_bytes_of(KEEP_REGISTERED_GROUP_STATE_ACTIVE))) {
		say(why, "it matches, but the group of '%" KP_PRI "' is %" KP_PRI, KP_ARG(folder),
		    KP_ARG(group.state));
	} else if (group.exists && group.requires_trigger &&
		   !kp_trigger_accepts(self->input.content, group.trigger)) {
		say(why,
		    "it matches, but the group of '%" KP_PRI
		    "' takes only messages that begin with '%" KP_PRI "'",
		    KP_ARG(folder), KP_ARG(group.trigger));
	} else {
		self->out->matched = true;
		status = copy_route(route, self->memory, &self->out->route, err);
		if (status == KEEP_OK)
			status = kp_arena_copy(self->memory, folder, &self->out->target, err);
		if (status == KEEP_OK)
			say_verdict(why, route, KP_VERDICT_YES);
	}
	return status == KEEP_OK ? add_step(self, route, self->out->matched, why, err) : status;
}

/* Every route is looked at and told of. */
static keep_status explain_set(struct resolving *self, kp_route_scan *scan, keep_error *err)
{
	size_t count = kp_route_set_count(scan->set);
	keep_status status = KEEP_OK;

	for (size_t i = 0; i < count && status == KEEP_OK && !self->out->matched; i++) {
		const keep_route *route = kp_route_set_at(scan->set, i);
		kp_route_verdict verdict = kp_route_scan_look(scan, i);
		char why[WHY_SIZE];

		if (verdict == KP_VERDICT_YES) {
			status = try_target(self, route, err);
			continue;
		}
		say_verdict(why, route, verdict);
		status = add_step(self, route, false, why, err);
	}
	return status;
}

static keep_status resolve_set(struct resolving *self, const kp_route_set *set, keep_error *err)
{
	kp_route_scan scan;
	size_t index;
	keep_status status = kp_route_scan_begin(&scan, set, &self->input, err);

	if (status != KEEP_OK)
		return status;
	if (self->step_room)
		status = explain_set(self, &scan, err);
	while (!self->step_room && status == KEEP_OK && !self->out->matched &&
	       kp_route_scan_next(&scan, &index))
		status = try_target(self, kp_route_set_at(set, index), err);
	kp_route_scan_end(&scan);
	return status;
}

static keep_status check_message(const keep_message *message, keep_error *err)
{
	keep_status status = kp_check_key("chat_jid", message->chat_jid, err);

	if (status == KEEP_OK)
		status = kp_check_content("content", message->content, err);
	if (status == KEEP_OK)
		status = kp_check_text("sender", message->sender, KEEP_GATEWAY_TEXT_MAX,
				       KP_MAY_BE_ABSENT, err);
	if (status == KEEP_OK)
		status = kp_check_text("sender_name", message->sender_name, KEEP_GATEWAY_TEXT_MAX,
				       KP_MAY_BE_ABSENT, err);
	if (status == KEEP_OK)
		status = kp_check_text("verb", message->verb, KEEP_GATEWAY_TEXT_MAX,
				       KP_MAY_BE_ABSENT, err);
	return status;
}

/* The jids whose routes count, each once. */
static void name_jids(struct resolving *self)
{
	keep_bytes jid = self->message->chat_jid, platform = kp_channel_of(jid);
	keep_bytes everybody = KEEP_BYTES("*");

	self->jids[0] = jid;
	if (memchr(jid.data, ':', jid.len) && platform.len + 1 < jid.len)
		self->jids[1] = (keep_bytes){jid.data, platform.len + 1};
	if (!kp_bytes_equal(jid, everybody))
		self->jids[2] = everybody;
}

static keep_status make_step_room(struct resolving *self, keep_error *err)
{
	for (int i = 0; i < RANKS; i++)
		self->step_room += self->sets[i] ? kp_route_set_count(self->sets[i]) : 0;
	if (!self->step_room)
		return KEEP_OK;
	self->out->steps = kp_arena_alloc(self->memory, self->step_room * sizeof *self->out->steps);
	return self->out->steps ? KEEP_OK : kp_fail_memory(err, "an explanation");
}

keep_status keep_gateway_resolve(keep_gateway *gateway, const keep_message *message, bool explain,
				 keep_memory *memory, keep_resolution *out, keep_error *err)
{
	keep_resolution made = {.matched = false};
	struct resolving self = {
		.gateway = gateway, .message = message, .memory = memory, .out = &made};
	keep_status status = check_message(message, err);

	if (status != KEEP_OK)
		return status;
	name_jids(&self);
	status = kp_route_input_init(&self.input, message, &self.arena, err);
	if (status == KEEP_OK)
		status = kp_gateway_read(gateway, query_sets, &self, err);
	if (status == KEEP_OK && explain)
		status = make_step_room(&self, err);
	for (int i = 0; i < RANKS && status == KEEP_OK && !made.matched; i++)
		if (self.sets[i])
			status = resolve_set(&self, self.sets[i], err);
	release_sets(&self);
	kp_route_input_release(&self.input);
	kp_arena_release(&self.arena);
	if (status == KEEP_OK)
		*out = made;
	return status;
}
