-- The audit log: audit_log.c, audit_query.c, audit_verify.c, audit_seal.c.

-- name: get_audit_head
SELECT seq, hash FROM audit_heads WHERE name = 'audit_log';

-- name: add_audit_entry
INSERT INTO audit_log ("timestamp", event_type, service_name, agent_name, action, conversation_id,
  details, success, error_message, user_id, ip_address, seq, previous_hash, hash)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14);

-- name: set_audit_head
UPDATE audit_heads SET seq = $1, hash = $2 WHERE name = 'audit_log';

-- A question to the log has up to seven filters. One of them finds the rows, through its index; the
-- others are asked of those rows (audit_query.c chooses). The parameters are the same for all.

-- name: query_audit
-- The newest entries: no filter finds fewer.
SELECT * FROM audit_log WHERE (CAST($1 AS text) IS NULL OR event_type = $1)
  AND (CAST($2 AS text) IS NULL OR service_name = $2)
  AND (CAST($3 AS text) IS NULL OR agent_name = $3)
  AND (CAST($4 AS text) IS NULL OR conversation_id = $4)
  AND (CAST($5 AS boolean) IS NULL OR success = $5)
  AND ($6@{::timestamptz} IS NULL OR "timestamp" >= $6)
  AND ($7@{::timestamptz} IS NULL OR "timestamp" < $7)
  AND seq < $8
ORDER BY seq DESC LIMIT $9;

-- name: query_audit_by_type
SELECT * FROM audit_log WHERE event_type = $1
  AND (CAST($2 AS text) IS NULL OR service_name = $2)
  AND (CAST($3 AS text) IS NULL OR agent_name = $3)
  AND (CAST($4 AS text) IS NULL OR conversation_id = $4)
  AND (CAST($5 AS boolean) IS NULL OR success = $5)
  AND ($6@{::timestamptz} IS NULL OR "timestamp" >= $6)
  AND ($7@{::timestamptz} IS NULL OR "timestamp" < $7)
  AND seq < $8
ORDER BY seq DESC LIMIT $9;

-- name: query_audit_by_service
SELECT * FROM audit_log WHERE (CAST($1 AS text) IS NULL OR event_type = $1)
  AND service_name = $2
  AND (CAST($3 AS text) IS NULL OR agent_name = $3)
  AND (CAST($4 AS text) IS NULL OR conversation_id = $4)
  AND (CAST($5 AS boolean) IS NULL OR success = $5)
  AND ($6@{::timestamptz} IS NULL OR "timestamp" >= $6)
  AND ($7@{::timestamptz} IS NULL OR "timestamp" < $7)
  AND seq < $8
ORDER BY seq DESC LIMIT $9;

-- name: query_audit_by_agent
SELECT * FROM audit_log WHERE (CAST($1 AS text) IS NULL OR event_type = $1)
  AND (CAST($2 AS text) IS NULL OR service_name = $2)
  AND agent_name = $3
  AND (CAST($4 AS text) IS NULL OR conversation_id = $4)
  AND (CAST($5 AS boolean) IS NULL OR success = $5)
  AND ($6@{::timestamptz} IS NULL OR "timestamp" >= $6)
  AND ($7@{::timestamptz} IS NULL OR "timestamp" < $7)
  AND seq < $8
ORDER BY seq DESC LIMIT $9;

-- name: query_audit_by_conversation
SELECT * FROM audit_log WHERE (CAST($1 AS text) IS NULL OR event_type = $1)
  AND (CAST($2 AS text) IS NULL OR service_name = $2)
  AND (CAST($3 AS text) IS NULL OR agent_name = $3)
  AND conversation_id = $4
  AND (CAST($5 AS boolean) IS NULL OR success = $5)
  AND ($6@{::timestamptz} IS NULL OR "timestamp" >= $6)
  AND ($7@{::timestamptz} IS NULL OR "timestamp" < $7)
  AND seq < $8
ORDER BY seq DESC LIMIT $9;

-- name: query_audit_by_success
SELECT * FROM audit_log WHERE (CAST($1 AS text) IS NULL OR event_type = $1)
  AND (CAST($2 AS text) IS NULL OR service_name = $2)
  AND (CAST($3 AS text) IS NULL OR agent_name = $3)
  AND (CAST($4 AS text) IS NULL OR conversation_id = $4)
  AND success = $5
  AND ($6@{::timestamptz} IS NULL OR "timestamp" >= $6)
  AND ($7@{::timestamptz} IS NULL OR "timestamp" < $7)
  AND seq < $8
ORDER BY seq DESC LIMIT $9;

-- name: query_audit_by_time
-- Of a time that has few: sorted by their numbers, which the clock need not follow.
SELECT * FROM audit_log WHERE (CAST($1 AS text) IS NULL OR event_type = $1)
  AND (CAST($2 AS text) IS NULL OR service_name = $2)
  AND (CAST($3 AS text) IS NULL OR agent_name = $3)
  AND (CAST($4 AS text) IS NULL OR conversation_id = $4)
  AND (CAST($5 AS boolean) IS NULL OR success = $5)
  AND "timestamp" >= $6 AND "timestamp" < $7
  AND seq + 0 < $8
ORDER BY seq + 0 DESC LIMIT $9;

-- name: probe_audit_by_type
SELECT count(*) FROM (SELECT 1 FROM audit_log WHERE event_type = $1 LIMIT $2)@{ AS few};

-- name: probe_audit_by_service
SELECT count(*) FROM (SELECT 1 FROM audit_log WHERE service_name = $1 LIMIT $2)@{ AS few};

-- name: probe_audit_by_agent
SELECT count(*) FROM (SELECT 1 FROM audit_log WHERE agent_name = $1 LIMIT $2)@{ AS few};

-- name: probe_audit_by_conversation
SELECT count(*) FROM (SELECT 1 FROM audit_log WHERE conversation_id = $1 LIMIT $2)@{ AS few};

-- name: probe_audit_by_success
SELECT count(*) FROM (SELECT 1 FROM audit_log WHERE success = $1 LIMIT $2)@{ AS few};

-- name: probe_audit_by_time
SELECT count(*) FROM (SELECT 1 FROM audit_log WHERE "timestamp" >= $1 AND "timestamp" < $2
  LIMIT $3)@{ AS few};

-- name: export_audit
-- All that pass the filter from one number on up to another, oldest first.
SELECT * FROM audit_log WHERE (CAST($1 AS text) IS NULL OR event_type = $1)
  AND (CAST($2 AS text) IS NULL OR service_name = $2)
  AND (CAST($3 AS text) IS NULL OR agent_name = $3)
  AND (CAST($4 AS text) IS NULL OR conversation_id = $4)
  AND (CAST($5 AS boolean) IS NULL OR success = $5)
  AND ($6@{::timestamptz} IS NULL OR "timestamp" >= $6)
  AND ($7@{::timestamptz} IS NULL OR "timestamp" < $7)
  AND seq <= $8 AND seq > $9
ORDER BY seq LIMIT $10;

-- name: audit_behind
SELECT * FROM audit_log WHERE seq > $1 ORDER BY seq LIMIT $2;

-- name: next_dated_audit_entry only sqlite
-- The time of the first entry behind $1 that is not dated after $2. The plus: retention.sql.
SELECT "timestamp" FROM audit_log WHERE seq > $1 AND +"timestamp" <= $2 ORDER BY seq LIMIT 1;

-- name: next_dated_audit_entry only postgres
SELECT "timestamp" FROM audit_log WHERE seq > $1 AND "timestamp" <= $2 ORDER BY seq LIMIT 1;

-- name: last_audit_seq
SELECT max(seq) FROM audit_log;

-- name: list_audit_anchors
-- One, or none; two are one too many.
SELECT * FROM audit_anchors ORDER BY first_seq LIMIT 2;

-- name: put_audit_anchor
INSERT INTO audit_anchors (first_seq, last_seq, last_hash, removed_at, removed_hash, entry_seq)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (first_seq) DO UPDATE SET last_seq = excluded.last_seq, last_hash = excluded.last_hash,
  removed_at = excluded.removed_at, removed_hash = excluded.removed_hash,
  entry_seq = excluded.entry_seq;

-- name: remove_audit_entries
DELETE FROM audit_log WHERE seq > $1 AND seq <= $2;
