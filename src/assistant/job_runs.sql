-- Runs that are not done, of cron jobs and one-time tasks, and their attempts: job_runs.c,
-- job_claim.c, job_finish.c. A key is (is it a one-time task, the row's id).

-- name: add_job_run
INSERT INTO job_runs (job_id, scheduled_for, state, due_at, is_by_hand, is_missed, created_at)
VALUES ($1, $2, 'waiting', $3, $4, $5, $6);

-- name: get_job_run
SELECT * FROM job_runs WHERE id = $1;

-- name: find_job_run
SELECT * FROM job_runs WHERE job_id = $1 AND scheduled_for = $2;

-- name: save_job_run
UPDATE job_runs SET state = $2, due_at = $3, attempt = $4, attempts_before = $5, is_by_hand = $6,
  lease_by = $7, lease_owner = $8, lease_until = $9, last_error = $10, cancel_asked_at = $11,
  deadline_at = $12
WHERE id = $1;

-- name: remove_job_run
DELETE FROM job_runs WHERE id = $1;

-- name: open_runs
-- A job's, oldest first.
SELECT * FROM job_runs WHERE job_id = $1 AND state IN ('waiting', 'running')
ORDER BY scheduled_for;

-- name: count_open_runs
SELECT count(*) FROM job_runs WHERE job_id = $1 AND state IN ('waiting', 'running');

-- name: close_gate
-- What waits of a job, waits for those before it.
UPDATE job_runs SET due_at = NULL
WHERE job_id = $1 AND state IN ('waiting', 'running') AND state = 'waiting';

-- name: open_gate
-- When none of a job's runs is under way or has a time, the oldest one's time is now.
UPDATE job_runs SET due_at = $2
WHERE job_id = $1 AND state IN ('waiting', 'running')
  AND scheduled_for = (SELECT min(scheduled_for) FROM job_runs
    WHERE job_id = $1 AND state IN ('waiting', 'running'))
  AND NOT EXISTS (SELECT 1 FROM job_runs
    WHERE job_id = $1 AND state IN ('waiting', 'running') AND due_at IS NOT NULL);

-- name: open_gates
-- Nothing of a job waits for anything before it.
UPDATE job_runs SET due_at = $2
WHERE job_id = $1 AND state IN ('waiting', 'running') AND due_at IS NULL;

-- name: running_owners
-- The processes that have something: as many rows as there are attempts under way.
SELECT lease_owner FROM job_runs WHERE state = 'running' AND lease_owner IS NOT NULL
UNION
SELECT lease_owner FROM future_tasks WHERE status = 'running' AND lease_owner IS NOT NULL;

-- name: runs_of_owner
SELECT FALSE AS is_task, id FROM job_runs WHERE state = 'running' AND lease_owner = $1
UNION ALL
SELECT TRUE AS is_task, id FROM future_tasks WHERE status = 'running' AND lease_owner = $1
LIMIT $2;

-- name: expired_runs
SELECT is_task, id FROM (
  SELECT * FROM (
    SELECT FALSE AS is_task, id, due_at FROM job_runs
    WHERE state IN ('waiting', 'running') AND state = 'running' AND due_at <= $1
    ORDER BY due_at LIMIT $2
  ) AS runs
  UNION ALL
  SELECT * FROM (
    SELECT TRUE AS is_task, id, due_at FROM future_tasks
    WHERE due_at IS NOT NULL AND status = 'running' AND due_at <= $1
    ORDER BY due_at LIMIT $2
  ) AS tasks
) AS expired ORDER BY due_at LIMIT $2;

-- name: due_runs
-- The oldest $2 that are due; among them each job's first before any job's second.
SELECT is_task, id FROM (
  SELECT is_task, id, due_at, row_number() OVER (
    PARTITION BY is_task, job_id ORDER BY due_at, scheduled_for, id) AS place
  FROM (
    SELECT * FROM (
      SELECT FALSE AS is_task, id, job_id, due_at, scheduled_for FROM job_runs
      WHERE state IN ('waiting', 'running') AND state = 'waiting' AND due_at <= $1
      ORDER BY due_at LIMIT $2
    ) AS runs
    UNION ALL
    SELECT * FROM (
      SELECT TRUE AS is_task, id, task_id AS job_id, due_at, scheduled_time AS scheduled_for
      FROM future_tasks WHERE due_at IS NOT NULL AND status = 'pending' AND due_at <= $1
      ORDER BY due_at LIMIT $2
    ) AS tasks
  ) AS due
) AS placed ORDER BY place, due_at, is_task, id LIMIT $3;

-- name: kill_job_run
-- Its row cannot be read: somebody has to look.
UPDATE job_runs SET state = 'dead', due_at = NULL, last_error = $2 WHERE id = $1;

-- name: kill_future_task
UPDATE future_tasks SET status = 'failed', due_at = NULL, error_message = $2, completed_at = $3
WHERE id = $1;

-- name: end_attempt_of_run
-- The attempt of a run whose row cannot be read.
UPDATE job_executions SET status = 'interrupted', error_message = $2, completed_at = $3
WHERE status = 'running' AND id = (
  SELECT made.id FROM job_runs JOIN job_executions AS made ON made.job_id = job_runs.job_id
    AND made.scheduled_for = job_runs.scheduled_for AND made.attempt = job_runs.attempt
  WHERE job_runs.id = $1);

-- name: end_attempt_of_task
UPDATE job_executions SET status = 'interrupted', error_message = $2, completed_at = $3
WHERE status = 'running' AND id = (
  SELECT made.id FROM future_tasks JOIN job_executions AS made ON made.job_id = future_tasks.task_id
    AND made.scheduled_for = future_tasks.scheduled_time AND made.attempt = future_tasks.attempt
  WHERE future_tasks.id = $1);

-- name: add_execution
-- An attempt begins.
INSERT INTO job_executions (job_id, job_type, started_at, status, scheduled_for, attempt)
VALUES ($1, $2, $3, 'running', $4, $5) RETURNING id;

-- name: put_verdict
-- What became of a run without an attempt.
INSERT INTO job_executions (job_id, job_type, started_at, completed_at, status, error_message,
  scheduled_for, attempt)
VALUES ($1, $2, $3, $3, $4, $5, $6, 0)
ON CONFLICT (job_id, scheduled_for, attempt) DO UPDATE SET
  completed_at = excluded.completed_at, status = excluded.status,
  error_message = excluded.error_message;

-- name: get_execution
SELECT * FROM job_executions WHERE job_id = $1 AND scheduled_for = $2 AND attempt = $3;

-- name: last_attempt
-- Of a run whose row is new, but which was there before.
SELECT coalesce(max(attempt), 0) FROM job_executions WHERE job_id = $1 AND scheduled_for = $2;

-- name: end_execution
UPDATE job_executions SET completed_at = $4, status = $5, result = $6, error_message = $7,
  container_id = $8
WHERE job_id = $1 AND scheduled_for = $2 AND attempt = $3 AND status = 'running';
