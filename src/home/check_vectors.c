/*
 * check_vectors.c - the files in which the assistant's vectors are searched.
 *
 * They are derived: whoever searches makes one anew when it is damaged, or of another generation.
 * So a file that is missing, or behind the table, is nothing; one that is damaged or says more than
 * the table is removed by a repair, and is made anew by the next search.
 *
 * Invariants:
 *   1. The table is read after the file, so that what others add meanwhile is in both or only
 * there.
 *
 * Tests: tests/contract/test_home_check_stores.c.
 */
#include "home/check_search.h"

#include <fcntl.h>
#include <stdio.h>

#define STALE "stale_vectors"

struct model {
	keep_bytes name;
	int64_t dimensions, generation, change, count;
};

struct models {
	struct model *items;
	size_t count, room;
	kp_arena arena;
};

static keep_status take_model(struct models *models, kp_sql_stmt *stmt, keep_error *err)
{
	int64_t numbers[4] = {0};
	keep_bytes name;
	struct model *model;
	keep_status status = kp_sql_column_bytes(stmt, 0, KP_TEXT, &name, err);

	for (int i = 0; i < 4 && status == KEEP_OK; i++)
		status = kp_sql_column_int(stmt, i + 1, &numbers[i], err);
	if (status == KEEP_OK && models->count == models->room) {
		size_t room = models->room ? 2 * models->room : 8;
		struct model *grown = kp_realloc(models->items, room * sizeof *grown);

		if (!grown)
			return kp_fail_memory(err, "models");
		models->items = grown;
		models->room = room;
	}
	if (status != KEEP_OK)
		return status;
	model = &models->items[models->count];
	*model = (struct model){.dimensions = numbers[0],
				.generation = numbers[1],
				.change = numbers[2],
				.count = numbers[3]};
	status = kp_arena_copy(&models->arena, name, &model->name, err);
	models->count += status == KEEP_OK;
	return status;
}

static keep_status query_models(void *ctx, kp_lease *lease, keep_error *err)
{
	struct models *models = ctx;
	kp_sql_stmt *stmt = NULL;
	bool has_row = false;
	keep_status status =
		kp_check_prepare(lease->conn, KP_CHECK_ASSISTANT_MODELS, NULL, 0, &stmt, err);

	models->count = 0;
	while (status == KEEP_OK && (status = kp_sql_step(stmt, &has_row, err)) == KEEP_OK &&
	       has_row)
		status = take_model(models, stmt, err);
	kp_sql_finish(&stmt);
	return status;
}

static void release_models(struct models *models)
{
	kp_free(models->items);
	kp_arena_release(&models->arena);
}

/* What the table says of the model now; NULL: it has gone. */
static const struct model *find_model(const struct models *models, keep_bytes name)
{
	for (size_t i = 0; i < models->count; i++)
		if (kp_bytes_equal(models->items[i].name, name))
			return &models->items[i];
	return NULL;
}

/* *is_stale: it says what the table does not. */
static keep_status compare(kp_check_unit *unit, keep_assistant *assistant,
			   const struct model *model, const char *path, bool *is_stale,
			   keep_error *err)
{
	const struct kp_vectors_options options = {.path = path,
						   .dimension = (size_t)model->dimensions,
						   .model = model->name,
						   .generation = model->generation};
	struct kp_vectors_state state = {.change = 0};
	struct models after = {.items = NULL};
	const struct model *now;
	kp_vectors *set = NULL;
	keep_status status = kp_vectors_open(&options, &set, err);

	*is_stale = false;
	if (status == KEEP_OK && !unit->check->options.quick)
		status = kp_vectors_verify(set, err);
	if (status == KEEP_OK)
		status = kp_vectors_look(set, &state, err);
	kp_vectors_close(&set);
	if (status == KEEP_OK)
		status = kp_store_read_whole(&assistant->store, query_models, &after, err);
	now = find_model(&after, model->name);
	if (status == KEEP_OK && now && now->generation == model->generation)
		*is_stale = state.change > now->change ||
			    (state.change == now->change && state.count != (uint64_t)now->count);
	release_models(&after);
	return status;
}

static keep_status check_file(kp_check_unit *unit, keep_assistant *assistant,
			      const struct model *model, keep_error *err)
{
	kp_home_check *check = unit->check;
	unsigned char digest[KP_SHA256_SIZE];
	char hash[17], file[64], path[PATH_MAX];
	kp_complaint found = {.severity = KEEP_SEVERITY_INCONSISTENCY,
			      .kind = STALE,
			      .file = file,
			      .key = model->name,
			      .can_repair = true};
	size_t from = check->result->count;
	bool is_stale = false;
	keep_error why = KEEP_ERROR_INIT;
	keep_status status = kp_sha256(model->name, digest, err);

	if (status != KEEP_OK)
		return status;
	kp_hex_format((keep_bytes){(const char *)digest, 8}, hash);
	(void)snprintf(file, sizeof file, "assistant/assistant.db-%s.vectors", hash);
	status = kp_check_path(check, file, path, err);
	if (status != KEEP_OK)
		return status;
	status = compare(unit, assistant, model, path, &is_stale, &why);
	if (status == KEEP_NOT_FOUND)
		return KEEP_OK;
	if (status != KEEP_OK && status != KEEP_CORRUPT)
		return kp_check_failed(check, &found, status, &why, err);
	if (status == KEEP_OK && !is_stale)
		return status;
	kp_check_next(check);
	status = is_stale ? kp_check_found(check, &found, err,
					   "the file of vectors says what the table does not")
			  : kp_check_found(check, &found, err, "the file of vectors is damaged: %s",
					   why.message);
	if (status != KEEP_OK || !check->options.repair)
		return status;
	status = kp_file_unlink(AT_FDCWD, path, 0, err);
	if (status == KEEP_OK || status == KEEP_NOT_FOUND)
		kp_check_mended(check, STALE, NULL, from);
	return status == KEEP_NOT_FOUND ? KEEP_OK : status;
}

keep_status kp_check_vectors(kp_check_unit *unit, keep_assistant *assistant, keep_error *err)
{
	kp_complaint found = {.severity = KEEP_SEVERITY_DAMAGE,
			      .kind = "damaged_table",
			      .table = "vector_models"};
	struct models models = {.items = NULL};
	keep_error why = KEEP_ERROR_INIT;
	keep_status status;

	if (unit->check->is_server)
		return KEEP_OK;
	status = kp_store_read_whole(&assistant->store, query_models, &models, &why);
	if (status != KEEP_OK)
		status = kp_check_failed(unit->check, &found, status, &why, err);
	for (size_t i = 0; i < models.count && status == KEEP_OK; i++)
		status = check_file(unit, assistant, &models.items[i], err);
	release_models(&models);
	return status;
}
