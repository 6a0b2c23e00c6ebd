-- The agent's side: agent.c, agent_send.c, agent_edit.c.

-- name: get_ack
SELECT CAST($1 AS text), message_id, status, status_changed, owner, lease_until, attempt, error,
  change, incarnation, expired
FROM processing_ack WHERE @{session_id = $1 AND} message_id = $2;

-- name: add_outbound
-- The next odd number above both sides'; nothing when the id is there. Parameters are the record's
-- fields, 3 is not read. A number out of the host's reach (KP_OUT_REACH of collect.h, 2^40) is what
-- it refuses: it is passed over here, or all that comes after it would be refused as well.
INSERT INTO messages_out (@{session_id,} id, seq, in_reply_to, timestamp, deliver_after, recurrence,
  kind, platform_id, channel_type, thread_id, content)
VALUES (@{$1,} $2, (
    WITH host (n) AS (SELECT max(seq) FROM messages_in @{WHERE session_id = $1}
      UNION ALL SELECT out_seq FROM session_host @{WHERE session_id = $1})
    SELECT (COALESCE(max(n), 0) + 1) / 2 * 2 + 1 FROM (
      SELECT n FROM host
      UNION ALL SELECT max(seq) FROM messages_out WHERE @{session_id = $1 AND}
        seq <= 1099511627776 + (SELECT COALESCE(max(n), 0) FROM host)) AS both_sides),
  $4, $5, $6, $7, $8, $9, $10, $11, $12)
ON CONFLICT (@{session_id,} id) DO NOTHING RETURNING seq;

-- name: add_outbound_next
-- The same with the number behind one that this transaction has given out.
INSERT INTO messages_out (@{session_id,} id, seq, in_reply_to, timestamp, deliver_after, recurrence,
  kind, platform_id, channel_type, thread_id, content)
VALUES (@{$1,} $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
ON CONFLICT (@{session_id,} id) DO NOTHING;

-- name: get_outbound
SELECT CAST($1 AS text), id, seq, in_reply_to, timestamp, deliver_after, recurrence, kind,
  platform_id, channel_type, thread_id, content
FROM messages_out WHERE @{session_id = $1 AND} id = $2;

-- name: get_destination
SELECT CAST($1 AS text), name, display_name, type, channel_type, platform_id, agent_group_id
FROM destinations WHERE @{session_id = $1 AND} name = $2;

-- name: list_session_destinations
SELECT CAST($1 AS text), name, display_name, type, channel_type, platform_id, agent_group_id
FROM destinations WHERE @{session_id = $1 AND} $1 IS NOT NULL ORDER BY name;

-- name: get_session_route
SELECT CAST($1 AS text), id, channel_type, platform_id, thread_id
FROM session_routing WHERE @{session_id = $1 AND} id = 1;

-- name: inbound_address
-- Where a message to the agent came from, by its id. The source's columns alone.
SELECT channel_type, platform_id, thread_id, id FROM messages_in
WHERE @{session_id = $1 AND} id = $2 AND $1 IS NOT NULL;

-- name: inbound_address_by_number
SELECT channel_type, platform_id, thread_id, id FROM messages_in
WHERE @{session_id = $1 AND} seq = $2 AND $1 IS NOT NULL;

-- name: outbound_address_by_number
SELECT channel_type, platform_id, thread_id, id FROM messages_out
WHERE @{session_id = $1 AND} seq = $2 AND $1 IS NOT NULL;

-- name: platform_id_of_delivered
SELECT platform_message_id FROM delivered
WHERE @{session_id = $1 AND} message_out_id = $2 AND $1 IS NOT NULL;
