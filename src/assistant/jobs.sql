-- Cron jobs: jobs.c; and the tick that makes their runs: job_tick.c.

-- name: get_cron_job
SELECT * FROM cron_jobs WHERE job_id = $1;

-- name: list_cron_jobs
SELECT * FROM cron_jobs ORDER BY name @{COLLATE "C"}, id;

-- name: list_enabled_cron_jobs
SELECT * FROM cron_jobs WHERE enabled ORDER BY name @{COLLATE "C"}, id;

-- name: add_cron_job
INSERT INTO cron_jobs (job_id, name, description, cron_expression, job_type, tool_name,
  tool_parameters, prompt, enabled, next_run_at, timezone, missed_policy, overlap_policy,
  timeout_ms, max_attempts, dialect, grace_ms, run_all_max, broken_since, created_at, updated_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19,
  $20, $20);

-- name: set_cron_job
UPDATE cron_jobs SET name = $2, description = $3, cron_expression = $4, job_type = $5,
  tool_name = $6, tool_parameters = $7, prompt = $8, enabled = $9, next_run_at = $10,
  timezone = $11, missed_policy = $12, overlap_policy = $13, timeout_ms = $14, max_attempts = $15,
  dialect = $16, grace_ms = $17, run_all_max = $18, broken_since = $19, updated_at = $20
WHERE job_id = $1;

-- name: set_cron_job_times
-- What a tick changes.
UPDATE cron_jobs SET last_run_at = $2, next_run_at = $3, broken_since = $4 WHERE job_id = $1;

-- name: remove_cron_job
DELETE FROM cron_jobs WHERE job_id = $1;

-- name: due_cron_jobs
SELECT * FROM cron_jobs WHERE enabled AND next_run_at IS NOT NULL AND next_run_at <= $1
ORDER BY next_run_at LIMIT $2;

-- name: put_off_cron_job
-- Its row cannot be read.
UPDATE cron_jobs SET next_run_at = $2 WHERE id = $1;

-- name: is_run_known
-- Has (job, time) ever been made, or put away on purpose? That it could not be read is neither.
SELECT 1 FROM job_runs WHERE job_id = $1 AND scheduled_for = $2
UNION ALL
SELECT 1 FROM job_executions WHERE job_id = $1 AND scheduled_for = $2
  AND NOT (attempt = 0 AND status = 'failed')
LIMIT 1;

-- name: look_for_due
-- Is anything due, and when is the next of each kind: six looks at an index, however many rows.
SELECT
  (SELECT 1 FROM cron_jobs WHERE enabled AND next_run_at IS NOT NULL AND next_run_at <= $1 LIMIT 1),
  (SELECT 1 FROM job_runs WHERE state IN ('waiting', 'running') AND due_at <= $1 LIMIT 1),
  (SELECT 1 FROM future_tasks WHERE due_at IS NOT NULL AND due_at <= $1 LIMIT 1),
  (SELECT next_run_at FROM cron_jobs WHERE enabled AND next_run_at IS NOT NULL AND next_run_at > $1
   ORDER BY next_run_at LIMIT 1),
  (SELECT due_at FROM job_runs WHERE state IN ('waiting', 'running') AND due_at > $1
   ORDER BY due_at LIMIT 1),
  (SELECT due_at FROM future_tasks WHERE due_at IS NOT NULL AND due_at > $1
   ORDER BY due_at LIMIT 1);
