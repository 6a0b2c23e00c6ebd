-- Numbers about a store: stats_home.c. Each row is a name, a part of it or NULL, a number or NULL, and a
-- time or NULL.

-- name: stats_gateway only sqlite
SELECT 'deliveries', status, count(*), CAST(NULL AS text)
FROM messages WHERE status IN ('pending', 'sending') GROUP BY status
UNION ALL
SELECT 'ended_badly', status, count(*), NULL
FROM messages WHERE status IN ('failed', 'refused', 'uncertain') GROUP BY status
UNION ALL
SELECT 'delivery_queues', channel, count(*), NULL FROM delivery_queues GROUP BY channel
UNION ALL
SELECT 'next_delivery_at', NULL, NULL, min(due_at) FROM delivery_queues
UNION ALL
SELECT 'unread_chats', consumer, count(*), NULL FROM cursors WHERE pending_since IS NOT NULL
GROUP BY consumer
UNION ALL
SELECT 'oldest_unread_at', consumer, NULL, min(pending_since) FROM cursors
WHERE pending_since IS NOT NULL GROUP BY consumer
UNION ALL
SELECT 'errored_chats', NULL, count(*), NULL FROM chats WHERE errored
UNION ALL
SELECT 'tasks', status, count(*), NULL FROM scheduled_tasks GROUP BY status
UNION ALL
SELECT 'next_task_at', NULL, NULL, min(next_run) FROM scheduled_tasks
WHERE status IN ('active', 'firing')
UNION ALL
SELECT 'groups', state, count(*), NULL FROM registered_groups GROUP BY state
UNION ALL
SELECT 'schema_version', service, max(version), NULL FROM migrations WHERE version > 0
GROUP BY service;

-- name: stats_gateway only postgres
SELECT 'deliveries', status, count(*), CAST(NULL AS timestamptz)
FROM messages WHERE status IN ('pending', 'sending') GROUP BY status
UNION ALL
SELECT 'ended_badly', status, count(*), NULL
FROM messages WHERE status IN ('failed', 'refused', 'uncertain') GROUP BY status
UNION ALL
SELECT 'delivery_queues', channel, count(*), NULL FROM delivery_queues GROUP BY channel
UNION ALL
SELECT 'next_delivery_at', NULL, NULL, min(due_at) FROM delivery_queues
UNION ALL
SELECT 'unread_chats', consumer, count(*), NULL FROM cursors WHERE pending_since IS NOT NULL
GROUP BY consumer
UNION ALL
SELECT 'oldest_unread_at', consumer, NULL, min(pending_since) FROM cursors
WHERE pending_since IS NOT NULL GROUP BY consumer
UNION ALL
SELECT 'errored_chats', NULL, count(*), NULL FROM chats WHERE errored
UNION ALL
SELECT 'tasks', status, count(*), NULL FROM scheduled_tasks GROUP BY status
UNION ALL
SELECT 'next_task_at', NULL, NULL, min(next_run) FROM scheduled_tasks
WHERE status IN ('active', 'firing')
UNION ALL
SELECT 'groups', state, count(*), NULL FROM registered_groups GROUP BY state
UNION ALL
SELECT 'schema_version', service, max(version), NULL FROM migrations WHERE version > 0
GROUP BY service;

-- name: stats_mailbox only sqlite
SELECT 'sessions', status, count(*), CAST(NULL AS text) FROM sessions GROUP BY status
UNION ALL
SELECT 'containers', container_status, count(*), NULL FROM sessions
WHERE container_status <> 'stopped' GROUP BY container_status
UNION ALL
SELECT 'sessions_due', NULL, count(*), NULL FROM sessions WHERE due_at IS NOT NULL
UNION ALL
SELECT 'next_session_at', NULL, NULL, min(due_at) FROM sessions WHERE due_at IS NOT NULL
UNION ALL
SELECT 'last_active_at', NULL, NULL, max(last_active) FROM sessions
UNION ALL
SELECT 'open_questions', NULL, count(*), NULL FROM pending_questions
UNION ALL
SELECT 'unrouted_messages', NULL, coalesce(sum(count), 0), NULL FROM unrouted_messages
UNION ALL
SELECT 'schema_version', service, max(version), NULL FROM migrations WHERE version > 0
GROUP BY service;

-- name: stats_mailbox only postgres
SELECT 'sessions', status, count(*), CAST(NULL AS timestamptz) FROM sessions GROUP BY status
UNION ALL
SELECT 'containers', container_status, count(*), NULL FROM sessions
WHERE container_status <> 'stopped' GROUP BY container_status
UNION ALL
SELECT 'sessions_due', NULL, count(*), NULL FROM sessions WHERE due_at IS NOT NULL
UNION ALL
SELECT 'next_session_at', NULL, NULL, min(due_at) FROM sessions WHERE due_at IS NOT NULL
UNION ALL
SELECT 'last_active_at', NULL, NULL, max(last_active) FROM sessions
UNION ALL
SELECT 'open_questions', NULL, count(*), NULL FROM pending_questions
UNION ALL
SELECT 'unrouted_messages', NULL, CAST(coalesce(sum(count), 0) AS bigint), NULL FROM unrouted_messages
UNION ALL
SELECT 'schema_version', service, max(version), NULL FROM migrations WHERE version > 0
GROUP BY service;

-- name: stats_assistant only sqlite
SELECT 'agent_tasks', status, count(*), CAST(NULL AS text)
FROM agent_tasks GROUP BY status
UNION ALL
SELECT 'future_tasks', status, count(*), NULL FROM future_tasks GROUP BY status
UNION ALL
SELECT 'job_runs', state, count(*), NULL FROM job_runs WHERE state <> 'dead' GROUP BY state
UNION ALL
SELECT 'dead_letters', NULL, count(*), NULL FROM job_runs WHERE state = 'dead'
UNION ALL
SELECT 'executions', status, count(*), NULL FROM job_executions GROUP BY status
UNION ALL
SELECT 'next_job_at', NULL, NULL, min(next_run_at) FROM cron_jobs
WHERE enabled AND next_run_at IS NOT NULL
UNION ALL
SELECT 'next_future_task_at', NULL, NULL, min(due_at) FROM future_tasks WHERE due_at IS NOT NULL
UNION ALL
SELECT 'memories', memory_type, count(*), NULL FROM conversation_memory GROUP BY memory_type
UNION ALL
SELECT 'vectors', model, count, NULL FROM vector_models
UNION ALL
SELECT 'schema_version', service, max(version), NULL FROM migrations WHERE version > 0
GROUP BY service;

-- name: stats_assistant only postgres
SELECT 'agent_tasks', status, count(*), CAST(NULL AS timestamptz)
FROM agent_tasks GROUP BY status
UNION ALL
SELECT 'future_tasks', status, count(*), NULL FROM future_tasks GROUP BY status
UNION ALL
SELECT 'job_runs', state, count(*), NULL FROM job_runs WHERE state <> 'dead' GROUP BY state
UNION ALL
SELECT 'dead_letters', NULL, count(*), NULL FROM job_runs WHERE state = 'dead'
UNION ALL
SELECT 'executions', status, count(*), NULL FROM job_executions GROUP BY status
UNION ALL
SELECT 'next_job_at', NULL, NULL, min(next_run_at) FROM cron_jobs
WHERE enabled AND next_run_at IS NOT NULL
UNION ALL
SELECT 'next_future_task_at', NULL, NULL, min(due_at) FROM future_tasks WHERE due_at IS NOT NULL
UNION ALL
SELECT 'memories', memory_type, count(*), NULL FROM conversation_memory GROUP BY memory_type
UNION ALL
SELECT 'vectors', model, count, NULL FROM vector_models
UNION ALL
SELECT 'schema_version', service, max(version), NULL FROM migrations WHERE version > 0
GROUP BY service;

-- name: stats_engine only sqlite
SELECT 'documents', NULL, coalesce(sum(documents), 0), CAST(NULL AS text) FROM folders
UNION ALL
SELECT 'schema_version', service, max(version), NULL FROM migrations WHERE version > 0
GROUP BY service;

-- name: stats_engine only postgres
SELECT 'documents', owner, CAST(coalesce(sum(documents), 0) AS bigint), CAST(NULL AS timestamptz) FROM folders GROUP BY owner
UNION ALL
SELECT 'schema_version', service, max(version), NULL FROM migrations WHERE version > 0
GROUP BY service;

-- name: stats_session_in only sqlite
-- Of one session of a folder; of a server of all.
SELECT 'messages_in', status, count(*), CAST(NULL AS text)
FROM messages_in GROUP BY status
UNION ALL
SELECT 'deliveries', status, count(*), NULL FROM delivered GROUP BY status
UNION ALL
SELECT 'outgoing', NULL, count(*), NULL FROM outgoing
UNION ALL
SELECT 'oldest_waiting_at', NULL, NULL, min(stored_at) FROM messages_in WHERE status = 'pending';

-- name: stats_session_in only postgres
-- Of one session of a folder; of a server of all.
SELECT 'messages_in', status, count(*), CAST(NULL AS timestamptz)
FROM messages_in GROUP BY status
UNION ALL
SELECT 'deliveries', status, count(*), NULL FROM delivered GROUP BY status
UNION ALL
SELECT 'outgoing', NULL, count(*), NULL FROM outgoing
UNION ALL
SELECT 'oldest_waiting_at', NULL, NULL, min(stored_at) FROM messages_in WHERE status = 'pending';

-- name: stats_session_out only sqlite
SELECT 'messages_out', NULL, count(*), CAST(NULL AS text) FROM messages_out;

-- name: stats_session_out only postgres
SELECT 'messages_out', NULL, count(*), CAST(NULL AS timestamptz) FROM messages_out;

-- name: stats_recent_sessions
-- $1 how many; those that were active last.
SELECT id, agent_group_id FROM sessions ORDER BY last_active DESC LIMIT $1;

-- name: stats_database_size only sqlite
SELECT 0;

-- name: stats_database_size only postgres
SELECT CAST(coalesce(sum(pg_total_relation_size(c.oid)), 0) AS bigint) FROM pg_class c
WHERE c.relnamespace = CAST(current_schema() AS regnamespace) AND c.relkind = 'r';
