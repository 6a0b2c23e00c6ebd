/*
 * engine_files_batch.c - several changes as one, and clear.
 *
 *     write tmps, sync them        no lock
 *     plan, stamp                  the lock
 *     write the journal, sync      the lock, state JOURNAL     <- the commit
 *     renames                      the lock, state JOURNAL, gen odd
 *     publish in the ring          the lock, state JOURNAL, gen odd
 *     sync, remove the journal     the lock, state JOURNAL
 *     delete the trash             no lock
 *
 * Invariants:
 *   1. Before the commit nothing has changed; after it the batch happens, by us or by whoever takes
 *      the lock next (engine_files_journal.c).
 *   2. Readers see gen odd from before the first rename until after the last, so the state before
 *      or the state after, and wait for no sync.
 *   3. The writers' lock is held until the journal is gone: a journal is never applied over
 *      somebody's later change.
 *
 * Tests: tests/contract, tests/unit/test_engine_files.c, tests/crash/test_engine_files_moments.c.
 */
#include "engine/engine_files.h"

#include <stdio.h>
#include <string.h>

static keep_status make_steps(kp_files *files, const kp_files_plan *plan,
			      const kp_files_temp *temps, kp_files_step *steps, size_t *count,
			      keep_error *err)
{
	uint64_t id;
	keep_status status = kp_random_bytes(&id, sizeof id, err);

	*count = 0;
	for (size_t i = 0; status == KEEP_OK && i < plan->removal_count; i++) {
		kp_files_step *step = &steps[(*count)++];

		*step = (kp_files_step){.is_removal = true, .path = plan->removals[i]};
		snprintf(step->name, sizeof step->name, "j%016llx-%zu", (unsigned long long)id, i);
	}
	for (size_t i = 0; status == KEEP_OK && i < plan->put_count; i++) {
		const kp_files_put *put = &plan->puts[i];
		kp_files_step *step = &steps[*count];

		if (put->is_dropped)
			continue;
		++*count;
		*step = (kp_files_step){.path = put->path.text, .mtime = put->mtime};
		memcpy(step->name, temps[put->change].name, sizeof step->name);
		status = kp_files_stamp(files, step->name, put->mtime, err);
	}
	return status;
}

/* The folders that puts will need and that no removal of the same plan takes away can be made
   before the commit: then a full disk is a clean failure. */
static keep_status make_folders(kp_files *files, const kp_files_plan *plan, keep_error *err)
{
	keep_status status = KEEP_OK;

	for (size_t i = 0; status == KEEP_OK && i < plan->put_count; i++) {
		int parent = -1, folder = -1;
		bool is_new;

		if (plan->puts[i].is_dropped)
			continue;
		status = kp_files_make_parent(files, &plan->puts[i].path, false, &parent, err);
		if (status == KEEP_OK)
			status = kp_files_make_folder(files, &plan->puts[i].path, parent, &folder,
						      &is_new, err);
		kp_file_close(&folder);
		kp_file_close(&parent);
	}
	return status;
}

/* What the parents' mtimes are now, into the records. */
static void complete_records(kp_files *files, keep_buffer *records)
{
	keep_bytes last = {NULL, 0};
	int64_t mtime = -1;

	for (size_t at = 0; at < records->len;) {
		kp_files_record *record = (kp_files_record *)(void *)(records->data + at);
		kp_path path = kp_path_of((keep_bytes){record->path, record->path_len});
		struct stat about;
		int fd = -1;

		if (!last.data || !kp_bytes_equal(last, path.parent)) {
			mtime = -1;
			if (kp_files_folder_open(files, path.parent, 0, &fd, NULL) == KEEP_OK &&
			    fstat(fd, &about) == 0)
				mtime = kp_files_mtime(&about);
			kp_file_close(&fd);
		}
		last = path.parent;
		record->folder_mtime = mtime;
		at += record->size;
	}
}

static keep_status carry_out(kp_files *files, kp_files_plan *plan, const kp_files_step *steps,
			     size_t count, keep_error *err)
{
	kp_files_record reset = {.size = sizeof reset, .kind = KP_FILES_RESET, .folder_mtime = -1};
	keep_bytes records = {(const char *)&reset, sizeof reset};
	keep_status status = KEEP_OK;

	kp_files_change_begin(files, KP_FILES_JOURNAL, true);
	kp_moment("engine_files.batch_begun");
	for (size_t i = 0; status == KEEP_OK && i < count; i++) {
		status = kp_files_step_apply(files, &steps[i], err);
		kp_moment("engine_files.batch_step");
	}
	if (status != KEEP_OK)
		return status; /* gen stays odd: nobody reads until somebody has finished it */
	if (!plan->is_clear) {
		complete_records(files, &plan->records);
		records = kp_buffer_bytes(&plan->records);
	}
	kp_files_publish(files, records);
	kp_moment("engine_files.batch_published");
	kp_files_change_end(files);
	if (!files->relaxed)
		status = kp_files_steps_sync(files, steps, count, err);
	kp_moment("engine_files.batch_synced");
	if (status == KEEP_OK)
		status = kp_files_journal_remove(files, err);
	return status;
}

static keep_status commit(kp_files *files, kp_files_plan *plan, const kp_files_step *steps,
			  size_t count, kp_files_temp *temps, keep_error *err)
{
	keep_status status;

	kp_files_set_state(files, KP_FILES_JOURNAL);
	kp_moment("engine_files.journal_begun");
	status = kp_files_journal_write(files, steps, count, err);
	if (status != KEEP_OK && status != KEEP_UNCERTAIN) {
		kp_files_set_state(files, KP_FILES_IDLE);
		return status;
	}
	/* The temporaries are the journal's now; those of dropped changes are nobody's. */
	for (size_t i = 0; i < plan->put_count; i++) {
		if (!plan->puts[i].is_dropped)
			temps[plan->puts[i].change].name[0] = '\0';
	}
	if (status == KEEP_UNCERTAIN)
		return status; /* state stays JOURNAL: the next one to lock finds out */
	kp_moment("engine_files.journal_written");
	status = carry_out(files, plan, steps, count, err);
	if (status != KEEP_OK) {
		err->status = KEEP_UNCERTAIN;
		return kp_prefix(err, KEEP_UNCERTAIN,
				 "committed, and to be finished by the next change");
	}
	kp_files_set_state(files, KP_FILES_IDLE);
	return KEEP_OK;
}

keep_status kp_files_apply_many(kp_files *files, const kp_change *changes, size_t count,
				kp_files_temp *temps, keep_error *err)
{
	kp_files_plan plan = KP_FILES_PLAN_INIT;
	kp_files_step *steps = NULL;
	size_t step_count = 0;
	keep_status status = kp_files_lock(files, err);

	if (status != KEEP_OK)
		return status;
	status = kp_files_plan_make(files, changes, count, &plan, err);
	if (status == KEEP_OK) {
		steps = kp_alloc((plan.removal_count + plan.put_count + 1) * sizeof *steps);
		if (!steps)
			status = kp_fail_memory(err, "a batch");
	}
	if (status == KEEP_OK)
		status = make_folders(files, &plan, err);
	if (status == KEEP_OK)
		status = make_steps(files, &plan, temps, steps, &step_count, err);
	if (status == KEEP_OK && step_count > 0)
		status = commit(files, &plan, steps, step_count, temps, err);
	kp_files_unlock(files);
	kp_moment("engine_files.batch_unlocked");
	for (size_t i = 0; status == KEEP_OK && i < step_count; i++) {
		if (steps[i].is_removal)
			kp_files_trash_delete(files, steps[i].name);
	}
	kp_files_plan_release(&plan);
	kp_free(steps);
	return status;
}
