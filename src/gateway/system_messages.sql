-- System messages: gateway_system_messages.c.

-- name: find_system_message
-- The one that waits under a dedup_key.
SELECT * FROM system_messages WHERE group_id = $1 AND dedup_key = $2;

-- name: add_system_message
INSERT INTO system_messages (group_id, origin, event, body, attributes, dedup_key, created_at, is_xml)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
RETURNING id;

-- name: system_message_holders
-- The turns that hold some of a folder's, and until when.
SELECT turn_id, lease_owner, max(lease_until), count(*) FROM system_messages
WHERE group_id = $1 AND turn_id IS NOT NULL
GROUP BY turn_id, lease_owner ORDER BY turn_id;

-- name: waiting_system_messages only sqlite
-- What nobody holds, and its size.
SELECT id, length(CAST(body AS BLOB)) + coalesce(length(CAST(attributes AS BLOB)), 0)
FROM system_messages WHERE group_id = $1 AND turn_id IS NULL ORDER BY id LIMIT $2;

-- name: waiting_system_messages only postgres
-- What nobody holds, and its size.
SELECT id, (octet_length(body) + coalesce(octet_length(attributes::text), 0))::bigint
FROM system_messages WHERE group_id = $1 AND turn_id IS NULL ORDER BY id LIMIT $2;

-- name: flush_system_messages
-- What is returned is what is deleted; in no order.
DELETE FROM system_messages WHERE group_id = $1 AND turn_id IS NULL AND id <= $2 RETURNING *;

-- name: take_system_messages
UPDATE system_messages SET
  turn_id = $2, attempts = attempts + 1, lease_by = $3, lease_owner = $4, lease_until = $5
WHERE group_id = $1 AND turn_id IS NULL AND id <= $6;

-- name: keep_system_messages
-- What the turn has already; taken from a process that may not have it any more, it is one attempt
-- more.
UPDATE system_messages SET
  attempts = attempts + CASE WHEN lease_owner = $4 AND lease_until > $6 THEN 0 ELSE 1 END,
  lease_by = $3, lease_owner = $4, lease_until = $5
WHERE group_id = $1 AND turn_id IS NOT NULL AND turn_id = $2;

-- name: held_system_messages
SELECT * FROM system_messages
WHERE group_id = $1 AND turn_id IS NOT NULL AND turn_id = $2 ORDER BY id;

-- name: complete_system_messages
DELETE FROM system_messages WHERE group_id = $1 AND turn_id IS NOT NULL AND turn_id = $2;

-- name: release_system_messages
UPDATE system_messages SET turn_id = NULL, lease_by = NULL, lease_owner = NULL, lease_until = NULL
WHERE group_id = $1 AND turn_id IS NOT NULL AND turn_id = $2;

-- name: is_lost_claim
SELECT turn_id FROM lost_claims WHERE group_id = $1 AND turn_id = $2;

-- name: mark_lost_claim
INSERT INTO lost_claims (group_id, turn_id, lost_at) VALUES ($1, $2, $3)
ON CONFLICT (group_id, turn_id) DO UPDATE SET lost_at = excluded.lost_at;

-- name: forget_lost_claim
DELETE FROM lost_claims WHERE group_id = $1 AND turn_id = $2;

-- name: sweep_lost_claims
DELETE FROM lost_claims WHERE lost_at < $1;

-- name: has_system_messages
SELECT 1 FROM system_messages WHERE group_id = $1 LIMIT 1;
