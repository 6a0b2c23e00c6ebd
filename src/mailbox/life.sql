-- The life of sessions: session_life.c, session_remove.c.

-- name: list_sessions
-- Those after $1 by id, of status $2 (absent: all), at most $3.
SELECT id, agent_group_id, messaging_group_id, thread_id, agent_provider, status, container_status,
  last_active, created_at, incarnation, heartbeat_at, anchor, due_at
FROM sessions WHERE id > $1 AND (CAST($2 AS text) IS NULL OR status = $2) ORDER BY id LIMIT $3;

-- name: list_sessions_of
-- The same of agent group $4.
SELECT id, agent_group_id, messaging_group_id, thread_id, agent_provider, status, container_status,
  last_active, created_at, incarnation, heartbeat_at, anchor, due_at
FROM sessions WHERE agent_group_id = $4 AND id > $1 AND (CAST($2 AS text) IS NULL OR status = $2)
ORDER BY id LIMIT $3;

-- name: next_incarnation
-- A start is a sign of life: nobody takes for dead what has just been started.
UPDATE sessions SET incarnation = incarnation + 1, heartbeat_at = $2
WHERE id = $1 AND status = 'active';

-- name: set_container
-- $3 when its agent was last known to live; absent: not known.
UPDATE sessions SET container_status = $2,
  heartbeat_at = CASE WHEN $3 IS NULL OR heartbeat_at > $3 THEN heartbeat_at ELSE $3 END
WHERE id = $1;

-- name: destinations_of_group
-- The registry's permissions as the session's rows: $1 the session, $2 its agent group.
SELECT CAST($1 AS text), name, display_name, type, channel_type, platform_id, target_agent_group_id
FROM agent_destinations WHERE agent_group_id = $2 ORDER BY name;

-- name: chat_of_session
-- One row: where the session's chat is; without one nulls.
SELECT s.id, 1, g.channel_type, g.platform_id, CASE WHEN g.id IS NULL THEN NULL ELSE s.thread_id END
FROM sessions s LEFT JOIN messaging_groups g ON g.id = s.messaging_group_id WHERE s.id = $1;

-- name: set_incarnation
-- $2; never an older one.
UPDATE session_host SET incarnation = $2
WHERE @{session_id = $1 AND} id = 1 AND $1 IS NOT NULL AND incarnation < $2;

-- name: clear_destinations
DELETE FROM destinations WHERE @{session_id = $1 AND} $1 IS NOT NULL;

-- name: add_session_destination
INSERT INTO destinations (@{session_id,} name, display_name, type, channel_type, platform_id,
  agent_group_id)
VALUES (@{$1,} $2, $3, $4, $5, $6, $7);

-- name: put_session_route
INSERT INTO session_routing (@{session_id,} id, channel_type, platform_id, thread_id)
VALUES (@{$1,} $2, $3, $4, $5)
ON CONFLICT (@{session_id,} id) DO UPDATE SET channel_type = excluded.channel_type,
  platform_id = excluded.platform_id, thread_id = excluded.thread_id;

-- name: close_session_row
UPDATE sessions SET status = 'closed', anchor = NULL WHERE id = $1;

-- name: close_session_host
UPDATE session_host SET closed = TRUE WHERE @{session_id = $1 AND} id = 1 AND $1 IS NOT NULL;

-- name: list_unfinished
-- Messages that closing cancels, $2 at a time.
SELECT CAST($1 AS text), id, seq, kind, timestamp, status, process_after, recurrence, tries,
  platform_id, channel_type, thread_id, content, dedup_key, series_id, source_session_id, last_error,
  source_out_id, scheduled_at, time_zone, missed, stored_at, finished_at, void_attempt
FROM messages_in WHERE @{session_id = $1 AND} status IN ('pending', 'paused') ORDER BY seq LIMIT $2;

-- name: first_under_way
-- A message of the agent's whose delivery is not over; no row: none.
SELECT message_out_id FROM (
  SELECT message_out_id FROM outgoing WHERE @{session_id = $1 AND} $1 IS NOT NULL
  UNION ALL
  SELECT message_out_id FROM delivered WHERE @{session_id = $1 AND} status = 'sending') AS under_way
ORDER BY message_out_id LIMIT 1;

-- name: remove_session
DELETE FROM sessions WHERE id = $1 AND status = 'closed';

-- name: remove_messages_in only postgres
DELETE FROM messages_in WHERE session_id = $1
  AND seq IN (SELECT seq FROM messages_in WHERE session_id = $1 ORDER BY seq LIMIT $2);

-- name: remove_messages_in only sqlite
SELECT 1;

-- name: remove_messages_out only postgres
DELETE FROM messages_out WHERE session_id = $1
  AND seq IN (SELECT seq FROM messages_out WHERE session_id = $1 ORDER BY seq LIMIT $2);

-- name: remove_messages_out only sqlite
SELECT 1;

-- name: remove_acks only postgres
DELETE FROM processing_ack WHERE session_id = $1 AND message_id IN (
  SELECT message_id FROM processing_ack WHERE session_id = $1 ORDER BY message_id LIMIT $2);

-- name: remove_acks only sqlite
SELECT 1;

-- name: remove_deliveries only postgres
DELETE FROM delivered WHERE session_id = $1 AND message_out_id IN (
  SELECT message_out_id FROM delivered WHERE session_id = $1 ORDER BY message_out_id LIMIT $2);

-- name: remove_deliveries only sqlite
SELECT 1;

-- name: remove_steps only postgres
DELETE FROM message_steps WHERE session_id = $1
  AND n IN (SELECT n FROM message_steps WHERE session_id = $1 ORDER BY n LIMIT $2);

-- name: remove_steps only sqlite
SELECT 1;

-- name: remove_outgoing only postgres
DELETE FROM outgoing WHERE session_id = $1;

-- name: remove_outgoing only sqlite
SELECT 1;

-- name: remove_session_route only postgres
DELETE FROM session_routing WHERE session_id = $1;

-- name: remove_session_route only sqlite
SELECT 1;

-- name: remove_session_host only postgres
DELETE FROM session_host WHERE session_id = $1;

-- name: remove_session_host only sqlite
SELECT 1;

-- name: remove_session_values only postgres
DELETE FROM session_state WHERE session_id = $1;

-- name: remove_session_values only sqlite
SELECT 1;

-- name: remove_asked_questions only postgres
DELETE FROM asked_questions WHERE session_id = $1;

-- name: remove_asked_questions only sqlite
SELECT 1;

-- name: remove_session_agent only postgres
DELETE FROM session_agent WHERE session_id = $1;

-- name: remove_session_agent only sqlite
SELECT 1;
