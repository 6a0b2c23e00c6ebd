-- Adoption of another program's assistant.db: assistant_adopt*.c. Once in a store's life.

-- name: adopt_find_content
-- Is there anything but what a new store holds, or was an agent changed? Stops at the first row.
SELECT CASE WHEN EXISTS (SELECT 1 FROM conversations) OR EXISTS (SELECT 1 FROM agent_tasks)
  OR EXISTS (SELECT 1 FROM cron_jobs) OR EXISTS (SELECT 1 FROM future_tasks)
  OR EXISTS (SELECT 1 FROM job_executions) OR EXISTS (SELECT 1 FROM service_credentials)
  OR EXISTS (SELECT 1 FROM search_index) OR EXISTS (SELECT 1 FROM adopted_rows)
  OR EXISTS (SELECT 1 FROM prompt_revisions)
  OR EXISTS (SELECT 1 FROM audit_log WHERE event_type = 'agent_change') THEN 1 ELSE 0 END;

-- name: adopt_other
INSERT INTO adopted_rows (source_table, data) VALUES ($1, $2);

-- name: adopt_has_conversation
SELECT 1 FROM conversations WHERE conversation_id = $1;

-- name: adopt_summaries
-- The newest long-term memories of a conversation.
SELECT * FROM conversation_memory WHERE conversation_id = $1 AND memory_type = 'long_term'
ORDER BY id DESC LIMIT 20;

-- name: adopt_set_range
UPDATE conversation_memory SET from_seq = $2, to_seq = $3 WHERE id = $1;

-- name: adopt_set_counts
UPDATE conversations SET last_seq = $2, message_count = $3, last_message_at = $4
WHERE conversation_id = $1;

-- name: adopt_drop_agents
DELETE FROM agent_definitions;

-- name: adopt_drop_setting
DELETE FROM settings WHERE key = $1;
