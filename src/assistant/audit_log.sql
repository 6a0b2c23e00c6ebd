-- The audit log: audit_log.c, audit_query.c, audit_verify.c, audit_seal.c.

-- name: get_audit_head
SELECT seq, hash FROM audit_heads WHERE name = 'audit_log';

-- name: add_audit_entry
INSERT INTO audit_log ("timestamp", event_type, service_name, agent_name, action, conversation_id,
  details, success, error_message, user_id, ip_address, seq, previous_hash, hash)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14);

-- name: set_audit_head
UPDATE audit_heads SET seq = $1, hash = $2 WHERE name = 'audit_log';
