/*
 * engine_open.c - from a URL to an open engine, and who has which namespace open.
 *
 * Two engines on one namespace in one process are nearly always a mistake: two accounts given one
 * folder, one client started twice. So every open enters its namespace's identity into a registry,
 * and the second to come is refused unless it says that it knows (`shared`). Other processes are
 * the backend's business.
 *
 * Invariants:
 *   1. An identity is in the registry from before the backend opens until after it has closed.
 *   2. The entry has one user per engine; the last one out removes it.
 *   3. A message never shows a URL, which may carry a password; it shows the scheme, or the
 *      identity, which carries none.
 *
 * Tests: tests/contract/test_engine_contract.c.
 */
#include "engine/backend.h"

#include <pthread.h>
#include <string.h>

#define TIMEOUT_MS_DEFAULT 5000
#define SCHEME_BYTES_SHOWN_MAX 32

static const struct {
	const char *start;
	const kp_backend *backend;
} schemes[] = {
	{"memory:", &kp_engine_memory},         {"file:", &kp_engine_files},
	{"sqlite:", &kp_engine_sqlite},         {"postgres://", &kp_engine_postgres},
	{"postgresql://", &kp_engine_postgres}, {"redis://", &kp_engine_redis},
	{"redis+unix://", &kp_engine_redis},
};

struct kp_namespace {
	struct kp_namespace *next;
	char *identity;
	unsigned users;
};

static struct {
	pthread_mutex_t mutex;
	struct kp_namespace *first;
} registry = {.mutex = PTHREAD_MUTEX_INITIALIZER};

/* ---------------------------------------------------------------- the registry */

static void free_namespace(struct kp_namespace *entry)
{
	kp_free(entry->identity);
	kp_free(entry);
}

static struct kp_namespace *find_namespace(const char *identity)
{
	struct kp_namespace *entry = registry.first;

	while (entry && strcmp(entry->identity, identity) != 0)
		entry = entry->next;
	return entry;
}

/* Takes `*identity` over. */
static keep_status hold_namespace(char **identity, bool shared, struct kp_namespace **out,
				  keep_error *err)
{
	struct kp_namespace *made = kp_alloc_zero(sizeof *made), *found;
	keep_status status = KEEP_OK;

	*out = NULL;
	if (!made) {
		kp_free(*identity);
		*identity = NULL;
		return kp_fail_memory(err, "an engine");
	}
	made->identity = *identity;
	*identity = NULL;
	pthread_mutex_lock(&registry.mutex);
	found = find_namespace(made->identity);
	if (!found) {
		made->next = registry.first;
		registry.first = made;
		found = made;
		made = NULL;
	} else if (!shared) {
		found = NULL;
	}
	if (found)
		found->users++;
	pthread_mutex_unlock(&registry.mutex);
	if (!found)
		status = kp_fail(err, KEEP_CONFLICT,
				 "%s is open in this process already; open it shared to allow that",
				 made->identity);
	if (made)
		free_namespace(made);
	*out = found;
	return status;
}

void kp_namespace_release(struct kp_namespace *held)
{
	struct kp_namespace **link = &registry.first;
	bool last;

	if (!held)
		return;
	pthread_mutex_lock(&registry.mutex);
	last = --held->users == 0;
	if (last) {
		while (*link != held)
			link = &(*link)->next;
		*link = held->next;
	}
	pthread_mutex_unlock(&registry.mutex);
	if (last)
		free_namespace(held);
}

/* ---------------------------------------------------------------- options */

keep_status kp_engine_fill_options(const keep_engine_options *given, keep_engine_options *filled,
				   keep_error *err)
{
	*filled = (keep_engine_options)KEEP_ENGINE_OPTIONS_INIT;
	/* A shorter struct is an older program's. A longer one is a newer program's, which may ask
	   for what this library does not know. */
	if (given && (given->size < sizeof given->size || given->size > sizeof *given))
		return kp_fail(err, KEEP_MISUSE,
			       "options: size is %zu; use KEEP_ENGINE_OPTIONS_INIT of this version",
			       given->size);
	if (given)
		memcpy(filled, given, given->size);
	filled->size = sizeof *filled;
	if (filled->timeout_ms < 0)
		return kp_fail(err, KEEP_INVALID, "options: timeout_ms %lld is below 0",
			       (long long)filled->timeout_ms);
	if (filled->value_bytes_max > KP_BUFFER_BYTES_MAX)
		return kp_fail(err, KEEP_INVALID, "options: value_bytes_max is over %zu",
			       KP_BUFFER_BYTES_MAX);
	if (filled->timeout_ms == 0)
		filled->timeout_ms = TIMEOUT_MS_DEFAULT;
	if (filled->value_bytes_max == 0)
		filled->value_bytes_max = KEEP_ENGINE_VALUE_BYTES_MAX;
	if (filled->read_only)
		filled->create = false;
	return KEEP_OK;
}

/* ---------------------------------------------------------------- open and close */

static keep_status find_backend(const char *url, const kp_backend **out, keep_error *err)
{
	size_t len = strcspn(url, ":");

	for (size_t i = 0; i < KP_COUNT(schemes); i++) {
		if (strncmp(url, schemes[i].start, strlen(schemes[i].start)) == 0) {
			*out = schemes[i].backend;
			return KEEP_OK;
		}
	}
	if (url[len] == '\0' || len > SCHEME_BYTES_SHOWN_MAX)
		len = 0;
	return kp_fail(err, KEEP_INVALID,
		       "url: '%.*s' begins none of memory:, file:DIR, sqlite:FILE, postgres://, "
		       "redis://, redis+unix://",
		       (int)len, url);
}

keep_status kp_engine_start(kp_store **store, const keep_engine_options *filled,
			    struct kp_namespace *held, keep_engine **out, keep_error *err)
{
	keep_engine *engine = kp_alloc(sizeof *engine);

	*out = engine;
	if (!engine) {
		(*store)->backend->close(*store);
		*store = NULL;
		return kp_fail_memory(err, "an engine");
	}
	*engine = (keep_engine){
		.store = *store,
		.value_bytes_max = filled->value_bytes_max,
		.read_only = filled->read_only,
		.held = held,
	};
	*store = NULL;
	return KEEP_OK;
}

keep_status keep_engine_open(const char *url, const keep_engine_options *options, keep_engine **out,
			     keep_error *err)
{
	const kp_backend *backend = NULL;
	struct kp_namespace *held = NULL;
	keep_engine_options filled;
	kp_store *store = NULL;
	char *identity = NULL;
	keep_status status;

	if (!url || !out)
		return kp_fail(err, KEEP_MISUSE,
			       "keep_engine_open: an argument is NULL that must not be");
	*out = NULL;
	status = kp_engine_fill_options(options, &filled, err);
	if (status == KEEP_OK)
		status = find_backend(url, &backend, err);
	if (status == KEEP_OK)
		status = backend->identify(url, &identity, err);
	if (status == KEEP_OK)
		status = hold_namespace(&identity, filled.shared, &held, err);
	if (status == KEEP_OK)
		status = backend->open(url, &filled, &store, err);
	if (status == KEEP_OK)
		status = kp_engine_start(&store, &filled, held, out, err);
	if (status != KEEP_OK)
		kp_namespace_release(held);
	return status;
}

void keep_engine_close(keep_engine **engine)
{
	keep_engine *self;

	if (!engine || !*engine)
		return;
	self = *engine;
	*engine = NULL;
	self->store->backend->close(self->store);
	kp_namespace_release(self->held);
	kp_free(self);
}
