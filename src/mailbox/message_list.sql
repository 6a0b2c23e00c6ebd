-- Messages to an agent, listed: message_list.c.

-- name: list_inbound
SELECT CAST($1 AS text), id, seq, kind, timestamp, status, process_after, recurrence, tries,
  platform_id, channel_type, thread_id, content, dedup_key, series_id, source_session_id, last_error,
  source_out_id, scheduled_at, time_zone, missed, stored_at, finished_at, void_attempt
FROM messages_in WHERE @{session_id = $1 AND} seq > $2 ORDER BY seq LIMIT $3;

-- name: list_inbound_of_status
SELECT CAST($1 AS text), id, seq, kind, timestamp, status, process_after, recurrence, tries,
  platform_id, channel_type, thread_id, content, dedup_key, series_id, source_session_id, last_error,
  source_out_id, scheduled_at, time_zone, missed, stored_at, finished_at, void_attempt
FROM messages_in WHERE @{session_id = $1 AND} seq > $2 AND status = $4 ORDER BY seq LIMIT $3;
