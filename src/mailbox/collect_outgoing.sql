-- New messages of the agent's: collect_outgoing.c. As in collect_acks.sql, the table can be
-- anything.

-- name: last_out_seq
-- $2: at most.
SELECT CAST(max(seq) AS bigint) FROM messages_out
WHERE @{session_id = $1 AND} seq <= $2 AND $1 IS NOT NULL;

-- name: last_in_seq
SELECT max(seq) FROM messages_in WHERE @{session_id = $1 AND} $1 IS NOT NULL;

-- name: new_out_seqs
-- $2 after, $3 up to, $4 how many.
SELECT CAST(seq AS bigint) FROM messages_out
WHERE @{session_id = $1 AND} seq > $2 AND seq <= $3
  AND seq = CAST(seq AS bigint) AND $1 IS NOT NULL
ORDER BY seq LIMIT $4;

-- name: new_outbound
-- The same, whole rows.
SELECT CAST($1 AS text), id, seq, in_reply_to, timestamp, deliver_after, recurrence, kind,
  platform_id, channel_type, thread_id,
  @{CASE WHEN octet_length(content) <= 1048576 THEN} content @{END}
FROM messages_out
WHERE @{session_id = $1 AND} seq > $2 AND seq <= $3
ORDER BY seq LIMIT $4;

-- name: out_seqs_out_of_reach
-- Numbers above $2 that were not refused yet; $3 how many.
SELECT CAST(seq AS bigint) FROM messages_out
WHERE @{session_id = $1 AND} seq > $2 AND seq <= 9223372036854775807
  AND seq = CAST(seq AS bigint) AND $1 IS NOT NULL
  AND NOT EXISTS (SELECT 1 FROM delivered d
    WHERE @{d.session_id = $1 AND} d.message_out_id = '#' || messages_out.seq)
ORDER BY seq LIMIT $3;

-- name: outbound_of_seq
-- At most two: there must be one. What is longer than any message may be is left out here, or a
-- failure of the connection, which has a limit of its own.
SELECT CAST($1 AS text), id, CAST(seq AS bigint), in_reply_to, timestamp, deliver_after, recurrence,
  kind, platform_id, channel_type, thread_id, content
FROM messages_out
WHERE @{session_id = $1 AND octet_length(content) <= 4194304 AND}
  @{octet_length(COALESCE(in_reply_to, '')) + octet_length(COALESCE(recurrence, '')) <= 8192 AND}
  @{octet_length(COALESCE(platform_id, '')) + octet_length(COALESCE(channel_type, '')) <= 8192 AND}
  @{octet_length(COALESCE(thread_id, '')) + octet_length(kind) <= 8192 AND}
  seq = $2 LIMIT 2;

-- name: out_seq_is_there
SELECT CAST(seq AS bigint) FROM messages_out
WHERE @{session_id = $1 AND} seq = $2 AND $1 IS NOT NULL LIMIT 1;

-- name: known_out_seq
-- The number under which a key was taken over before.
SELECT seq FROM outgoing WHERE @{session_id = $1 AND} message_out_id = $2 AND $1 IS NOT NULL
UNION ALL SELECT seq FROM delivered WHERE @{session_id = $1 AND} message_out_id = $2;
