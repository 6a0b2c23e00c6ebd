-- Attempts of all times, and dead letters: job_history.c.

-- name: history_of_job
SELECT found.*, coalesce(cron_jobs.name, future_tasks.name) AS name FROM (
  SELECT * FROM (
    SELECT * FROM job_executions WHERE job_type = 'cron' AND job_id = $1 AND id < $2
      AND (CAST($3 AS text) IS NULL OR status = $3) ORDER BY id DESC LIMIT $4
  ) AS of_cron
  UNION ALL
  SELECT * FROM (
    SELECT * FROM job_executions WHERE job_type = 'future_task' AND job_id = $1 AND id < $2
      AND (CAST($3 AS text) IS NULL OR status = $3) ORDER BY id DESC LIMIT $4
  ) AS of_task
) AS found
LEFT JOIN cron_jobs ON found.job_type = 'cron' AND cron_jobs.job_id = found.job_id
LEFT JOIN future_tasks ON found.job_type = 'future_task' AND future_tasks.task_id = found.job_id
ORDER BY found.id DESC LIMIT $4;

-- name: history_of_all
SELECT found.*, coalesce(cron_jobs.name, future_tasks.name) AS name FROM (
  SELECT * FROM job_executions WHERE id < $1 ORDER BY id DESC LIMIT $2
) AS found
LEFT JOIN cron_jobs ON found.job_type = 'cron' AND cron_jobs.job_id = found.job_id
LEFT JOIN future_tasks ON found.job_type = 'future_task' AND future_tasks.task_id = found.job_id
ORDER BY found.id DESC;

-- name: history_of_status
SELECT found.*, coalesce(cron_jobs.name, future_tasks.name) AS name FROM (
  SELECT * FROM job_executions WHERE status = $3 AND id < $1 ORDER BY id DESC LIMIT $2
) AS found
LEFT JOIN cron_jobs ON found.job_type = 'cron' AND cron_jobs.job_id = found.job_id
LEFT JOIN future_tasks ON found.job_type = 'future_task' AND future_tasks.task_id = found.job_id
ORDER BY found.id DESC;

-- name: list_dead_letters
SELECT * FROM job_runs WHERE state = 'dead' ORDER BY id LIMIT $1;

-- name: list_dead_letters_of_job
SELECT * FROM job_runs WHERE job_id = $2 AND state = 'dead' ORDER BY scheduled_for LIMIT $1;

-- name: add_dead_task
-- The dead letter of a one-time task.
INSERT INTO job_runs (job_id, scheduled_for, state, attempt, attempts_before, is_missed,
  last_error, created_at, job_type)
VALUES ($1, $2, 'dead', $3, $4, $5, $6, $7, 'future_task')
ON CONFLICT (job_id, scheduled_for) DO UPDATE SET state = 'dead', attempt = excluded.attempt,
  attempts_before = excluded.attempts_before, last_error = excluded.last_error;

-- name: clear_dead_letters
DELETE FROM job_runs WHERE state = 'dead';

-- name: clear_dead_letters_of_job
DELETE FROM job_runs WHERE job_id = $1 AND state = 'dead';

-- name: remove_runs_of_job
-- With the job: what waits and what is dead. What runs, runs on.
DELETE FROM job_runs WHERE job_id = $1 AND state <> 'running';
