/*
 * engine_files_plan.c - what a list of changes comes to.
 *
 * The changes of a batch are worked out one after the other against the store as it is and against
 * what the earlier ones made of it. The result is two lists that can be applied, and applied again
 * after a crash, without looking at each other: removals of folders that exist now, then documents
 * with their places.
 *
 * Invariants:
 *   1. A removal names a folder that exists when the plan is made; so after the commit it is done
 *      exactly when its folder is in the trash.
 *   2. At most one put per path counts; the others are dropped, and so are those that a later unset
 *      covers.
 *   3. Places are found in private copies of the orders. A plan that is not carried out has changed
 *      nothing, in memory neither.
 *
 * Tests: the differential runner, tests/contract, tests/unit/test_engine_files.c.
 */
#include "engine/engine_files.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

/* ---------------------------------------------------------------- a table by path */

typedef struct table {
	struct {
		keep_bytes path; /* absent: free */
		size_t value;
	} * slots;
	size_t mask;
	unsigned char key[16];
} table;

static keep_status open_table(table *names, size_t count, keep_error *err)
{
	size_t size = 16;

	while (size < 2 * count)
		size *= 2;
	names->slots = kp_alloc_zero(size * sizeof *names->slots);
	names->mask = size - 1;
	if (!names->slots)
		return kp_fail_memory(err, "a batch");
	return kp_random_bytes(names->key, sizeof names->key, err);
}

static size_t find_slot(const table *names, keep_bytes path)
{
	size_t at = (size_t)kp_siphash(names->key, path) & names->mask;

	while (names->slots[at].path.data && !kp_bytes_equal(names->slots[at].path, path))
		at = (at + 1) & names->mask;
	return at;
}

static void put_in_table(table *names, keep_bytes path, size_t value)
{
	size_t at = find_slot(names, path);

	names->slots[at].path = path;
	names->slots[at].value = value;
}

static bool is_in_table(const table *names, keep_bytes path, size_t *value)
{
	size_t at = find_slot(names, path);

	*value = names->slots[at].value;
	return names->slots[at].path.data != NULL;
}

/* ---------------------------------------------------------------- the work in progress */

typedef struct view {
	keep_bytes path;
	kp_files_order order;
} view;

typedef struct planner {
	kp_files *files;
	const kp_change *changes;
	kp_files_plan *plan;
	view *views;
	size_t view_count;
	table puts; /* path -> the latest put of it */
	table views_by_path;
	table gone; /* paths unset so far */
	bool all_gone;
} planner;

/* True when what is on disk at `path` no longer counts. */
static bool is_gone(const planner *work, const kp_path *path)
{
	kp_path at = *path;
	size_t ignored;

	if (work->all_gone)
		return true;
	for (; at.depth > 0; at = kp_path_parent(&at)) {
		if (is_in_table(&work->gone, at.text, &ignored))
			return true;
	}
	return false;
}

static keep_status load_view(planner *work, const kp_path *path, view *made, keep_error *err)
{
	kp_files *files = work->files;
	const kp_files_order *order;
	keep_status status;
	int fd = -1;

	memcpy(made->order.hash_key, work->puts.key, sizeof made->order.hash_key);
	if (is_gone(work, path))
		return KEEP_OK;
	status = kp_files_folder_open(files, path->text, O_RDONLY, &fd, err);
	if (status == KEEP_NOT_FOUND)
		return KEEP_OK;
	if (status != KEEP_OK)
		return status;
	pthread_mutex_lock(&files->cache_mutex);
	status = kp_files_order_use(files, path->text, fd, false, &order, err);
	if (status == KEEP_OK)
		status = kp_files_order_copy(order, &made->order, err);
	pthread_mutex_unlock(&files->cache_mutex);
	kp_file_close(&fd);
	return status;
}

static keep_status get_view(planner *work, const kp_path *path, view **out, keep_error *err)
{
	keep_status status;
	size_t index;
	view *made;

	*out = NULL;
	if (is_in_table(&work->views_by_path, path->text, &index)) {
		*out = &work->views[index];
		return KEEP_OK;
	}
	made = &work->views[work->view_count];
	*made = (view){.path = path->text};
	status = load_view(work, path, made, err);
	if (status != KEEP_OK)
		return status;
	put_in_table(&work->views_by_path, path->text, work->view_count++);
	*out = made;
	return KEEP_OK;
}

/* ---------------------------------------------------------------- one change of several */

static keep_status check_expected(planner *work, const kp_change *change, keep_error *err)
{
	keep_buffer value = KEEP_BUFFER_INIT;
	keep_status status = KEEP_NOT_FOUND;
	keep_bytes found = {NULL, 0};
	size_t index;

	if (is_in_table(&work->puts, change->path.text, &index) &&
	    !work->plan->puts[index].is_dropped) {
		found = work->changes[work->plan->puts[index].change].value;
		status = KEEP_OK;
	} else if (!is_gone(work, &change->path)) {
		status = kp_files_document_get(work->files, change->path.text, &value, err);
		found = kp_buffer_bytes(&value);
	}
	if (status == KEEP_OK || status == KEEP_NOT_FOUND)
		status = kp_engine_check_expected(change, status == KEEP_OK, found, err);
	keep_buffer_release(&value);
	return status;
}

static keep_status plan_set(planner *work, size_t number, keep_error *err)
{
	const kp_change *change = &work->changes[number];
	kp_files_plan *plan = work->plan;
	kp_path parent = kp_path_parent(&change->path);
	kp_files_put *put = &plan->puts[plan->put_count];
	view *siblings;
	keep_status status = get_view(work, &parent, &siblings, err);
	size_t index;

	*put = (kp_files_put){.path = change->path, .change = number};
	if (status == KEEP_OK)
		status = kp_files_place(&siblings->order, change, &put->mtime, err);
	if (status == KEEP_OK)
		status = kp_files_order_put(&siblings->order, change->path.name, put->mtime, err);
	if (status != KEEP_OK)
		return status;
	if (is_in_table(&work->puts, change->path.text, &index))
		plan->puts[index].is_dropped = true;
	put_in_table(&work->puts, change->path.text, plan->put_count++);
	return KEEP_OK;
}

/* A folder, by its path on disk, that is to go. */
static keep_status add_removal(kp_files_plan *plan, keep_bytes disk, keep_error *err)
{
	if (plan->removal_count == plan->removal_capacity) {
		size_t capacity = plan->removal_capacity ? 2 * plan->removal_capacity : 16;
		keep_bytes *grown = kp_realloc(plan->removals, capacity * sizeof *grown);

		if (!grown)
			return kp_fail_memory(err, "a batch");
		plan->removals = grown;
		plan->removal_capacity = capacity;
	}
	return kp_arena_copy(&plan->arena, disk, &plan->removals[plan->removal_count++], err);
}

static keep_status remove_if_there(planner *work, const kp_path *path, keep_error *err)
{
	char disk[KP_FILES_PATH_MAX];
	keep_status status = kp_files_disk_path(work->files, path->text, disk, err);
	struct stat about;
	const char *name;
	int holder = -1, failed;

	if (status == KEEP_OK)
		status = kp_files_holder_open(work->files, disk, &holder, &name, err);
	if (status != KEEP_OK)
		return status == KEEP_NOT_FOUND ? KEEP_OK : status;
	failed = kp_files_stat_at(holder, name, &about);
	kp_file_close(&holder);
	if (failed == ENOENT || (!failed && !S_ISDIR(about.st_mode)))
		return KEEP_OK;
	if (failed)
		return kp_fail_errno(err, failed, "cannot look at '%" KP_PRI "'",
				     KP_ARG(path->text));
	return add_removal(work->plan, keep_bytes_of(disk), err);
}

/* Every folder of the base but our own. */
static keep_status remove_everything(planner *work, keep_error *err)
{
	kp_files_dirent entry;
	kp_files_dir dir;
	keep_status status = KEEP_OK;
	int failed = kp_files_dir_open(work->files, work->files->base, &dir);

	while (status == KEEP_OK && !failed) {
		failed = kp_files_dir_next(&dir, &entry);
		if (failed || !entry.name)
			break;
		if (entry.is_folder && strcmp(entry.name, KP_FILES_RESERVED) != 0)
			status = add_removal(work->plan, keep_bytes_of(entry.name), err);
	}
	kp_files_dir_close(&dir);
	if (failed)
		status = kp_fail_errno(err, failed, "cannot read %s", work->files->base_path);
	return status;
}

static keep_status plan_unset(planner *work, const kp_path *path, keep_error *err)
{
	kp_files_plan *plan = work->plan;
	kp_path parent = kp_path_parent(path);
	keep_status status = KEEP_OK;
	view *siblings;

	if (!is_gone(work, path))
		status = path->depth == 0 ? remove_everything(work, err)
					  : remove_if_there(work, path, err);
	for (size_t i = 0; i < plan->put_count; i++)
		plan->puts[i].is_dropped |= kp_path_is_within(path->text, plan->puts[i].path.text);
	for (size_t i = 0; i < work->view_count; i++) {
		view *at = &work->views[i];

		if (kp_path_is_within(path->text, at->path)) {
			kp_files_order_release(&at->order);
			memcpy(at->order.hash_key, work->puts.key, sizeof at->order.hash_key);
		}
	}
	if (path->depth == 0) {
		work->all_gone = plan->is_clear = true;
		return status;
	}
	if (status == KEEP_OK)
		status = get_view(work, &parent, &siblings, err);
	if (status != KEEP_OK)
		return status;
	kp_files_order_remove(&siblings->order, path->name);
	put_in_table(&work->gone, path->text, 0);
	return kp_files_record_add(&plan->records, KP_FILES_UNSET, path->text, 0, err);
}

/* ---------------------------------------------------------------- the plan */

static keep_status plan_changes(planner *work, size_t count, keep_error *err)
{
	kp_files_plan *plan = work->plan;
	keep_status status = KEEP_OK;

	for (size_t i = 0; status == KEEP_OK && i < count; i++) {
		const kp_change *change = &work->changes[i];

		if (change->kind == KEEP_ENGINE_COMPARE_AND_SET)
			status = check_expected(work, change, err);
		if (status != KEEP_OK)
			break;
		status = kp_files_is_set(change) ? plan_set(work, i, err)
						 : plan_unset(work, &change->path, err);
	}
	for (size_t i = 0; status == KEEP_OK && i < plan->put_count; i++) {
		const kp_files_put *put = &plan->puts[i];

		if (!put->is_dropped)
			status = kp_files_record_add(&plan->records, KP_FILES_SET, put->path.text,
						     put->mtime, err);
	}
	return status;
}

keep_status kp_files_plan_make(kp_files *files, const kp_change *changes, size_t count,
			       kp_files_plan *plan, keep_error *err)
{
	planner work = {.files = files, .changes = changes, .plan = plan};
	keep_status status;

	plan->puts = kp_alloc_zero(count * sizeof *plan->puts);
	work.views = kp_alloc_zero(count * sizeof *work.views);
	if (!plan->puts || !work.views) {
		status = kp_fail_memory(err, "a batch");
		goto out;
	}
	status = open_table(&work.puts, count, err);
	if (status == KEEP_OK)
		status = open_table(&work.views_by_path, count, err);
	if (status == KEEP_OK)
		status = open_table(&work.gone, count, err);
	if (status == KEEP_OK)
		status = plan_changes(&work, count, err);
out:
	for (size_t i = 0; i < work.view_count; i++)
		kp_files_order_release(&work.views[i].order);
	kp_free(work.views);
	kp_free(work.puts.slots);
	kp_free(work.views_by_path.slots);
	kp_free(work.gone.slots);
	return status;
}

void kp_files_plan_release(kp_files_plan *plan)
{
	kp_free(plan->puts);
	kp_free(plan->removals);
	keep_buffer_release(&plan->records);
	kp_arena_release(&plan->arena);
	*plan = (kp_files_plan)KP_FILES_PLAN_INIT;
}
