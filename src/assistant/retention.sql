-- What retention removes: retention.c. A group is a conversation, or a job. Groups are found by one
-- step into an index for each, and each is read as far as its limit.

-- name: task_groups
-- Conversations with tasks, behind $1, with the newest task that is beyond the last $2; or null.
WITH RECURSIVE parts (conversation_id) AS (
  SELECT * FROM (SELECT conversation_id FROM agent_tasks WHERE conversation_id > $1
    ORDER BY conversation_id LIMIT 1) AS first_part
  UNION ALL
  SELECT (SELECT t.conversation_id FROM agent_tasks AS t
    WHERE t.conversation_id > parts.conversation_id ORDER BY t.conversation_id LIMIT 1)
  FROM parts WHERE parts.conversation_id IS NOT NULL
)
SELECT conversation_id, (SELECT t.id FROM agent_tasks AS t
  WHERE t.conversation_id = parts.conversation_id ORDER BY t.id DESC LIMIT 1 OFFSET $2) AS last_id
FROM parts WHERE conversation_id IS NOT NULL LIMIT $3;

-- name: count_old_tasks
SELECT count(*) FROM agent_tasks WHERE conversation_id = $1 AND id <= $2
AND status NOT IN ('pending', 'running');

-- name: remove_old_tasks
DELETE FROM agent_tasks WHERE id IN (SELECT id FROM agent_tasks WHERE conversation_id = $1
  AND id <= $2 AND status NOT IN ('pending', 'running') ORDER BY id LIMIT $3);

-- name: last_old_loose_task
-- The newest task without a conversation that is beyond the last $1; or no row.
SELECT id FROM agent_tasks WHERE conversation_id IS NULL ORDER BY id DESC LIMIT 1 OFFSET $1;

-- name: count_old_loose_tasks
SELECT count(*) FROM agent_tasks WHERE conversation_id IS NULL AND id <= $1
AND status NOT IN ('pending', 'running');

-- name: remove_old_loose_tasks
DELETE FROM agent_tasks WHERE id IN (SELECT id FROM agent_tasks WHERE conversation_id IS NULL
  AND id <= $1 AND status NOT IN ('pending', 'running') ORDER BY id LIMIT $2);

-- name: execution_groups
-- Jobs of a type with executions, behind $2, with the newest one that is beyond the last $3.
WITH RECURSIVE parts (job_id) AS (
  SELECT * FROM (SELECT job_id FROM job_executions WHERE job_type = $1 AND job_id > $2
    ORDER BY job_id LIMIT 1) AS first_part
  UNION ALL
  SELECT (SELECT e.job_id FROM job_executions AS e
    WHERE e.job_type = $1 AND e.job_id > parts.job_id ORDER BY e.job_id LIMIT 1)
  FROM parts WHERE parts.job_id IS NOT NULL
)
SELECT job_id, (SELECT e.id FROM job_executions AS e WHERE e.job_type = $1
  AND e.job_id = parts.job_id ORDER BY e.id DESC LIMIT 1 OFFSET $3) AS last_id
FROM parts WHERE job_id IS NOT NULL LIMIT $4;

-- name: count_old_executions
SELECT count(*) FROM job_executions WHERE job_type = $1 AND job_id = $2 AND id <= $3
AND status <> 'running';

-- name: remove_old_executions
DELETE FROM job_executions WHERE id IN (SELECT id FROM job_executions WHERE job_type = $1
  AND job_id = $2 AND id <= $3 AND status <> 'running' ORDER BY id LIMIT $4);

-- name: memory_groups
-- Conversations with short-term memories, behind $1, with the newest one beyond the last $2.
WITH RECURSIVE parts (conversation_id) AS (
  SELECT * FROM (SELECT conversation_id FROM conversation_memory WHERE conversation_id > $1
    AND memory_type = 'short_term' ORDER BY conversation_id LIMIT 1) AS first_part
  UNION ALL
  SELECT (SELECT m.conversation_id FROM conversation_memory AS m
    WHERE m.conversation_id > parts.conversation_id AND m.memory_type = 'short_term'
    ORDER BY m.conversation_id LIMIT 1)
  FROM parts WHERE parts.conversation_id IS NOT NULL
)
SELECT conversation_id, (SELECT m.id FROM conversation_memory AS m
  WHERE m.conversation_id = parts.conversation_id AND m.memory_type = 'short_term'
  ORDER BY m.id DESC LIMIT 1 OFFSET $2) AS last_id
FROM parts WHERE conversation_id IS NOT NULL LIMIT $3;

-- name: count_old_memories
SELECT count(*) FROM conversation_memory WHERE conversation_id = $1
AND memory_type = 'short_term' AND id <= $2;

-- name: remove_old_memories
DELETE FROM conversation_memory WHERE id IN (SELECT id FROM conversation_memory
  WHERE conversation_id = $1 AND memory_type = 'short_term' AND id <= $2 ORDER BY id LIMIT $3);

-- name: count_old_future_tasks
SELECT count(*) FROM future_tasks WHERE completed_at IS NOT NULL AND completed_at < $1
AND status NOT IN ('pending', 'running');

-- name: remove_letters_of_old_future_tasks
-- Of those that remove_old_future_tasks removes next: nobody can try them again.
DELETE FROM job_runs WHERE state = 'dead' AND job_type = 'future_task' AND job_id IN (
  SELECT task_id FROM future_tasks WHERE completed_at IS NOT NULL AND completed_at < $1
  AND status NOT IN ('pending', 'running') ORDER BY completed_at, id LIMIT $2);

-- name: remove_old_future_tasks
DELETE FROM future_tasks WHERE id IN (
  SELECT id FROM future_tasks WHERE completed_at IS NOT NULL AND completed_at < $1
  AND status NOT IN ('pending', 'running') ORDER BY completed_at, id LIMIT $2);

-- name: first_young_audit_entry only sqlite
-- The first entry that is not older than $1, nor dated after $2. The plus keeps SQLite on the index
-- of seq, so that it reads what is older and no more.
SELECT seq FROM audit_log WHERE +"timestamp" >= $1 AND +"timestamp" <= $2 ORDER BY seq LIMIT 1;

-- name: first_young_audit_entry only postgres
SELECT seq FROM audit_log WHERE "timestamp" >= $1 AND "timestamp" <= $2 ORDER BY seq LIMIT 1;

-- name: last_old_audit_entry only sqlite
SELECT seq FROM audit_log WHERE seq < $1 AND +"timestamp" < $2 ORDER BY seq DESC LIMIT 1;

-- name: last_old_audit_entry only postgres
SELECT seq FROM audit_log WHERE seq < $1 AND "timestamp" < $2 ORDER BY seq DESC LIMIT 1;

-- name: count_audit_up_to
SELECT count(*) FROM audit_log WHERE seq <= $1;
