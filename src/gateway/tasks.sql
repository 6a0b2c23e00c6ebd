-- Scheduled tasks and the log of their runs: gateway_tasks.c, task_fire.c.

-- name: get_task
SELECT * FROM scheduled_tasks WHERE id = $1;

-- name: insert_task
INSERT INTO scheduled_tasks VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22);

-- name: save_task
-- What a step changes of a task that is still in the state it was read in.
UPDATE scheduled_tasks SET status = $3, next_run = $4, attempts = $5, last_error = $6,
  last_run = $7, retry_of = $8, lease_by = $9, lease_owner = $10, lease_until = $11
WHERE id = $1 AND status = $2;

-- name: list_tasks
SELECT * FROM scheduled_tasks ORDER BY created_at DESC, id DESC LIMIT $1;

-- name: list_tasks_of_status
SELECT * FROM scheduled_tasks WHERE status = $2 ORDER BY created_at DESC, id DESC LIMIT $1;

-- name: list_tasks_of_owner
SELECT * FROM scheduled_tasks WHERE owner = $2 ORDER BY created_at DESC, id DESC LIMIT $1;

-- name: list_tasks_of_owner_and_status
SELECT * FROM scheduled_tasks WHERE owner = $2 AND status = $3
ORDER BY created_at DESC, id DESC LIMIT $1;

-- name: due_tasks
-- Whose time has come, longest waiting first; those without a time, which no step of ours makes;
-- and those that another program is firing, with who that is, when its lease is not over.
SELECT id, holder FROM (
  SELECT * FROM (
    SELECT id, NULL AS holder, next_run AS due FROM scheduled_tasks
    WHERE status IN ('active', 'firing') AND next_run <= $1
      AND (status = 'active' OR lease_until IS NULL OR lease_until <= $1)
    ORDER BY next_run LIMIT $2
  ) AS ready
  UNION ALL
  SELECT * FROM (
    SELECT id, NULL AS holder, next_run AS due FROM scheduled_tasks
    WHERE status IN ('active', 'firing') AND next_run IS NULL
      AND (status = 'active' OR lease_until IS NULL OR lease_until <= $1)
    LIMIT $2
  ) AS timeless
  UNION ALL
  SELECT * FROM (
    SELECT id, lease_owner AS holder, next_run AS due FROM scheduled_tasks
    WHERE status = 'firing' AND lease_until > $1 AND lease_owner IS NOT NULL
      AND (next_run IS NULL OR next_run <= $1)
    ORDER BY lease_until LIMIT $2
  ) AS leased
) AS found ORDER BY due;

-- name: next_task_time
-- When something is due again: a task, or a lease that may have to be taken over.
SELECT id, due FROM (
  SELECT * FROM (
    SELECT id, next_run AS due FROM scheduled_tasks
    WHERE status IN ('active', 'firing') AND next_run IS NOT NULL
      AND (status = 'active' OR lease_until IS NULL OR lease_until <= $1)
    ORDER BY next_run LIMIT 1
  ) AS waiting
  UNION ALL
  SELECT * FROM (
    SELECT id, lease_until AS due FROM scheduled_tasks
    WHERE status = 'firing' AND lease_until > $1
    ORDER BY lease_until LIMIT 1
  ) AS leased
) AS times ORDER BY due LIMIT 1;

-- name: fail_unreadable_task
-- Its row cannot be read: what can be said of it without.
UPDATE scheduled_tasks SET status = 'failed', next_run = NULL, retry_of = NULL, last_error = $2,
  last_run = NULL, lease_by = $3, lease_owner = $4, lease_until = $5
WHERE id = $1 AND status IN ('active', 'firing');

-- name: get_task_run
SELECT * FROM task_run_logs WHERE task_id = $1 AND scheduled_for = $2;

-- name: save_task_run
-- The line of a run in the log; one that has become a message is never changed here.
INSERT INTO task_run_logs (task_id, scheduled_for, run_at, status, error, message_id)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (task_id, scheduled_for) DO UPDATE SET
  run_at = CASE WHEN excluded.status = 'error' THEN task_run_logs.run_at ELSE excluded.run_at END,
  status = excluded.status, error = excluded.error, message_id = excluded.message_id
WHERE task_run_logs.message_id IS NULL AND task_run_logs.status <> 'success'
RETURNING *;

-- name: report_task_run
UPDATE task_run_logs SET status = $3, duration_ms = $4, result = $5, error = $6
WHERE task_id = $1 AND scheduled_for = $2;

-- name: task_runs
SELECT * FROM task_run_logs WHERE task_id = $1 AND id < $2 ORDER BY id DESC LIMIT $3;
