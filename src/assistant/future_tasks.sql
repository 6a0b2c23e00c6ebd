-- One-time tasks: future_tasks.c, job_runs.c.

-- name: get_future_task
SELECT * FROM future_tasks WHERE task_id = $1;

-- name: get_future_task_row
SELECT * FROM future_tasks WHERE id = $1;

-- name: add_future_task
INSERT INTO future_tasks (task_id, name, description, conversation_id, scheduled_time, job_type,
  tool_name, tool_parameters, prompt, status, created_at, timeout_ms, max_attempts, due_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 'pending', $10, $11, $12, $5);

-- name: save_future_task
-- A step of its state.
UPDATE future_tasks SET status = $2, due_at = $3, attempt = $4, attempts_before = $5,
  lease_by = $6, lease_owner = $7, lease_until = $8, result = $9, error_message = $10,
  cancel_asked_at = $11, deadline_at = $12, completed_at = $13
WHERE id = $1;

-- name: list_future_tasks
SELECT * FROM future_tasks WHERE scheduled_time < $1 ORDER BY scheduled_time DESC, id DESC LIMIT $2;

-- name: list_future_tasks_of_status
SELECT * FROM future_tasks WHERE status = $3 AND scheduled_time < $1
ORDER BY scheduled_time DESC, id DESC LIMIT $2;
