-- Rows of a session on a server, for files: session_export.c.

-- name: export_messages_in only postgres
SELECT session_id, id, seq, kind, timestamp, status, process_after, recurrence, tries,
  platform_id, channel_type, thread_id, content, dedup_key, series_id, source_session_id,
  last_error, source_out_id, scheduled_at, time_zone, missed, stored_at, finished_at, void_attempt
FROM messages_in WHERE session_id = $1 ORDER BY seq;

-- name: export_messages_in only sqlite
SELECT 1;

-- name: export_delivered only postgres
SELECT session_id, message_out_id, platform_message_id, status, delivered_at, attempts,
  next_attempt_at, last_error, lease_owner, seq
FROM delivered WHERE session_id = $1;

-- name: export_delivered only sqlite
SELECT 1;

-- name: export_outgoing only postgres
SELECT session_id, message_out_id, seq, due_at, attempts, address
FROM outgoing WHERE session_id = $1;

-- name: export_outgoing only sqlite
SELECT 1;

-- name: export_destinations only postgres
SELECT session_id, name, display_name, type, channel_type, platform_id, agent_group_id
FROM destinations WHERE session_id = $1;

-- name: export_destinations only sqlite
SELECT 1;

-- name: export_session_routing only postgres
SELECT session_id, id, channel_type, platform_id, thread_id
FROM session_routing WHERE session_id = $1;

-- name: export_session_routing only sqlite
SELECT 1;

-- name: export_message_steps only postgres
SELECT session_id, n, message_id, at, step, detail
FROM message_steps WHERE session_id = $1 ORDER BY n;

-- name: export_message_steps only sqlite
SELECT 1;

-- name: export_session_host only postgres
SELECT session_id, id, session, agent_group_id, incarnation, marked, ack_change, out_seq,
  outbound_id, closed, prune_before
FROM session_host WHERE session_id = $1;

-- name: export_session_host only sqlite
SELECT 1;

-- name: export_messages_out only postgres
SELECT session_id, id, seq, in_reply_to, timestamp, deliver_after, recurrence, kind, platform_id,
  channel_type, thread_id, content
FROM messages_out WHERE session_id = $1 ORDER BY seq;

-- name: export_messages_out only sqlite
SELECT 1;

-- name: export_processing_ack only postgres
SELECT session_id, message_id, status, status_changed, owner, lease_until, attempt, error, change,
  incarnation, expired
FROM processing_ack WHERE session_id = $1;

-- name: export_processing_ack only sqlite
SELECT 1;

-- name: export_session_state only postgres
SELECT session_id, key, value, updated_at
FROM session_state WHERE session_id = $1;

-- name: export_session_state only sqlite
SELECT 1;

-- name: export_asked_questions only postgres
SELECT session_id, question_id, awaited_until, asked_at
FROM asked_questions WHERE session_id = $1;

-- name: export_asked_questions only sqlite
SELECT 1;

-- name: export_session_agent only postgres
SELECT session_id, id, outbound_id, heartbeat_at, pruned_before
FROM session_agent WHERE session_id = $1;

-- name: export_session_agent only sqlite
SELECT 1;
