-- What the gateway's rows say of each other: check_gateway.c. The first column is the key, the second
-- what is, the third what should be.

-- name: gateway_messages_without_chat
SELECT DISTINCT chat_jid FROM messages
WHERE NOT EXISTS (SELECT 1 FROM chats WHERE chats.jid = messages.chat_jid);

-- name: gateway_last_seq
SELECT jid, last_seq, coalesce((SELECT max(m.seq) FROM messages m WHERE m.chat_jid = jid), 0) FROM chats
WHERE last_seq <> coalesce((SELECT max(m.seq) FROM messages m WHERE m.chat_jid = jid), 0);

-- name: gateway_renew_last_seq
UPDATE chats SET last_seq = coalesce((SELECT max(m.seq) FROM messages m WHERE m.chat_jid = jid), 0)
WHERE last_seq <> coalesce((SELECT max(m.seq) FROM messages m WHERE m.chat_jid = jid), 0);

-- name: gateway_last_input_seq
SELECT jid, last_input_seq, coalesce((SELECT m.seq FROM messages m
    WHERE m.chat_jid = jid AND NOT m.is_from_me ORDER BY m.seq DESC LIMIT 1), 0) FROM chats
WHERE last_input_seq <> coalesce((SELECT m.seq FROM messages m
    WHERE m.chat_jid = jid AND NOT m.is_from_me ORDER BY m.seq DESC LIMIT 1), 0);

-- name: gateway_renew_last_input_seq
UPDATE chats SET last_input_seq = coalesce((SELECT m.seq FROM messages m
    WHERE m.chat_jid = jid AND NOT m.is_from_me ORDER BY m.seq DESC LIMIT 1), 0)
WHERE last_input_seq <> coalesce((SELECT m.seq FROM messages m
    WHERE m.chat_jid = jid AND NOT m.is_from_me ORDER BY m.seq DESC LIMIT 1), 0);

-- name: gateway_last_time
-- The newest time that was not in the future.
SELECT jid FROM chats
WHERE coalesce(last_message_at <> (SELECT max(m."timestamp") FROM messages m
    WHERE m.chat_jid = jid AND NOT m.is_future), last_message_at IS NOT NULL
  OR EXISTS (SELECT 1 FROM messages m WHERE m.chat_jid = jid AND NOT m.is_future));

-- name: gateway_renew_last_time
UPDATE chats SET last_message_at = (SELECT max(m."timestamp") FROM messages m
  WHERE m.chat_jid = jid AND NOT m.is_future);

-- name: gateway_bad_seq
SELECT chat_jid, seq, CAST(1 AS bigint) FROM messages WHERE seq < 1;

-- name: gateway_double_seq
SELECT chat_jid, seq, seq + 1 FROM messages GROUP BY chat_jid, seq HAVING count(*) > 1;

-- name: gateway_queue_missing
SELECT DISTINCT m.chat_jid FROM messages m WHERE m.status IN ('pending', 'sending')
  AND NOT EXISTS (SELECT 1 FROM delivery_queues q WHERE q.chat_jid = m.chat_jid);

-- name: gateway_add_queues
INSERT INTO delivery_queues (chat_jid, channel, due_at)
SELECT m.chat_jid, m.source, coalesce(m.next_attempt_at, $1) FROM messages m
WHERE m.status IN ('pending', 'sending')
  AND NOT EXISTS (SELECT 1 FROM delivery_queues q WHERE q.chat_jid = m.chat_jid)
  AND m.seq = (SELECT min(f.seq) FROM messages f
    WHERE f.chat_jid = m.chat_jid AND f.status IN ('pending', 'sending'));

-- name: gateway_queue_without_delivery
SELECT q.chat_jid FROM delivery_queues q WHERE NOT EXISTS (SELECT 1 FROM messages m
  WHERE m.chat_jid = q.chat_jid AND m.status IN ('pending', 'sending'));

-- name: gateway_remove_queues
DELETE FROM delivery_queues WHERE NOT EXISTS (SELECT 1 FROM messages m
  WHERE m.chat_jid = delivery_queues.chat_jid AND m.status IN ('pending', 'sending'));

-- name: gateway_queue_differs
-- It says when the first delivery of the chat is due, and on which channel.
SELECT q.chat_jid FROM delivery_queues q
JOIN messages m ON m.chat_jid = q.chat_jid AND m.status IN ('pending', 'sending')
  AND m.seq = (SELECT min(f.seq) FROM messages f
    WHERE f.chat_jid = q.chat_jid AND f.status IN ('pending', 'sending'))
WHERE q.channel <> m.source OR m.next_attempt_at IS NULL OR q.due_at <> m.next_attempt_at;

-- name: gateway_time_deliveries
-- One that has no time is due.
UPDATE messages SET next_attempt_at = $1
WHERE status IN ('pending', 'sending') AND next_attempt_at IS NULL;

-- name: gateway_renew_queues
UPDATE delivery_queues SET channel = (SELECT m.source FROM messages m
    WHERE m.chat_jid = delivery_queues.chat_jid AND m.status IN ('pending', 'sending')
    ORDER BY m.seq LIMIT 1),
  due_at = (SELECT coalesce(m.next_attempt_at, $1) FROM messages m
    WHERE m.chat_jid = delivery_queues.chat_jid AND m.status IN ('pending', 'sending')
    ORDER BY m.seq LIMIT 1)
WHERE EXISTS (SELECT 1 FROM messages m
  WHERE m.chat_jid = delivery_queues.chat_jid AND m.status IN ('pending', 'sending'));

-- name: gateway_cursor_ahead
SELECT c.consumer || ' ' || c.chat_jid, c.seq, coalesce(chats.last_seq, 0) FROM cursors c
LEFT JOIN chats ON chats.jid = c.chat_jid WHERE c.seq > coalesce(chats.last_seq, 0);

-- name: gateway_put_cursors_back
UPDATE cursors SET seq = coalesce((SELECT last_seq FROM chats WHERE jid = chat_jid), 0)
WHERE seq > coalesce((SELECT last_seq FROM chats WHERE jid = chat_jid), 0);

-- name: gateway_cursor_pending
-- pending_since is there exactly while input waits beyond the cursor.
SELECT c.consumer || ' ' || c.chat_jid FROM cursors c JOIN chats ON chats.jid = c.chat_jid
WHERE (c.pending_since IS NOT NULL) <> (chats.last_input_seq > c.seq);

-- name: gateway_renew_pending only sqlite
UPDATE cursors SET pending_since = CASE
  WHEN (SELECT last_input_seq FROM chats WHERE jid = chat_jid) > seq THEN coalesce(pending_since, $1)
  END
WHERE (pending_since IS NOT NULL) <> ((SELECT last_input_seq FROM chats WHERE jid = chat_jid) > seq);

-- name: gateway_renew_pending only postgres
UPDATE cursors SET pending_since = CASE
  WHEN (SELECT last_input_seq FROM chats WHERE jid = chat_jid) > seq
  THEN coalesce(pending_since, CAST($1 AS timestamptz)) END
WHERE (pending_since IS NOT NULL) <> ((SELECT last_input_seq FROM chats WHERE jid = chat_jid) > seq);

-- name: gateway_cursor_missing
SELECT consumers.name || ' ' || chats.jid FROM consumers CROSS JOIN chats
WHERE NOT EXISTS (SELECT 1 FROM cursors c
  WHERE c.consumer = consumers.name AND c.chat_jid = chats.jid);

-- name: gateway_add_cursors only sqlite
INSERT INTO cursors (consumer, chat_jid, seq, updated_at, pending_since)
SELECT consumers.name, chats.jid, 0, $1, CASE WHEN chats.last_input_seq > 0 THEN $1 END
FROM consumers CROSS JOIN chats WHERE TRUE ON CONFLICT (consumer, chat_jid) DO NOTHING;

-- name: gateway_add_cursors only postgres
INSERT INTO cursors (consumer, chat_jid, seq, updated_at, pending_since)
SELECT consumers.name, chats.jid, 0, CAST($1 AS timestamptz),
  CASE WHEN chats.last_input_seq > 0 THEN CAST($1 AS timestamptz) END
FROM consumers CROSS JOIN chats WHERE TRUE ON CONFLICT (consumer, chat_jid) DO NOTHING;

-- name: gateway_cursor_without_consumer
SELECT c.consumer || ' ' || c.chat_jid FROM cursors c
WHERE NOT EXISTS (SELECT 1 FROM consumers WHERE consumers.name = c.consumer);

-- name: gateway_add_consumers only sqlite
INSERT INTO consumers (name, created_at) SELECT DISTINCT c.consumer, $1 FROM cursors c
WHERE NOT EXISTS (SELECT 1 FROM consumers WHERE consumers.name = c.consumer);

-- name: gateway_add_consumers only postgres
INSERT INTO consumers (name, created_at)
SELECT DISTINCT c.consumer, CAST($1 AS timestamptz) FROM cursors c
WHERE NOT EXISTS (SELECT 1 FROM consumers WHERE consumers.name = c.consumer);

-- name: gateway_route_unversioned
SELECT DISTINCT r.jid FROM routes r
WHERE NOT EXISTS (SELECT 1 FROM route_versions v WHERE v.jid = r.jid);

-- name: gateway_version_routes
INSERT INTO route_versions (jid, version) SELECT DISTINCT r.jid, 1 FROM routes r
WHERE NOT EXISTS (SELECT 1 FROM route_versions v WHERE v.jid = r.jid);

-- name: gateway_folder_of_nobody
SELECT user_sub || ' ' || folder FROM user_groups
WHERE NOT EXISTS (SELECT 1 FROM auth_users WHERE auth_users.sub = user_groups.user_sub);

-- name: gateway_session_of_nobody
SELECT user_sub FROM auth_sessions
WHERE NOT EXISTS (SELECT 1 FROM auth_users WHERE auth_users.sub = auth_sessions.user_sub);

-- name: gateway_task_without_time
SELECT id FROM scheduled_tasks WHERE status IN ('active', 'firing') AND next_run IS NULL;

-- name: gateway_sending
-- Key, owner, until when.
SELECT chat_jid || ' ' || id, lease_owner, next_attempt_at FROM messages WHERE status = 'sending';

-- name: gateway_give_delivery_back only sqlite
UPDATE messages SET status = 'pending', next_attempt_at = $2, lease_by = NULL, lease_owner = NULL
WHERE status = 'sending' AND chat_jid || ' ' || id = $1 AND lease_owner IS $3;

-- name: gateway_give_delivery_back only postgres
UPDATE messages SET status = 'pending', next_attempt_at = $2, lease_by = NULL, lease_owner = NULL
WHERE status = 'sending' AND chat_jid || ' ' || id = $1 AND lease_owner IS NOT DISTINCT FROM $3;

-- name: gateway_renew_queue_of
UPDATE delivery_queues SET due_at = $2 WHERE chat_jid IN (SELECT chat_jid FROM messages
  WHERE status = 'pending' AND next_attempt_at = $2 AND chat_jid || ' ' || id = $1
    AND seq = (SELECT min(f.seq) FROM messages f
      WHERE f.chat_jid = messages.chat_jid AND f.status IN ('pending', 'sending')));

-- name: gateway_firing
SELECT id, lease_owner, lease_until FROM scheduled_tasks WHERE status = 'firing';

-- name: gateway_give_task_back only sqlite
UPDATE scheduled_tasks SET status = 'active', next_run = coalesce(next_run, $2), lease_by = NULL,
  lease_owner = NULL, lease_until = NULL
WHERE status = 'firing' AND id = $1 AND lease_owner IS $3;

-- name: gateway_give_task_back only postgres
UPDATE scheduled_tasks SET status = 'active', next_run = coalesce(next_run, CAST($2 AS timestamptz)),
  lease_by = NULL, lease_owner = NULL, lease_until = NULL
WHERE status = 'firing' AND id = $1 AND lease_owner IS NOT DISTINCT FROM $3;

-- name: gateway_told
-- Remarks that a turn has claimed.
SELECT CAST(id AS text), lease_owner, lease_until FROM system_messages WHERE turn_id IS NOT NULL;

-- name: gateway_lose_claim only sqlite
INSERT INTO lost_claims (group_id, turn_id, lost_at) SELECT group_id, turn_id, $2 FROM system_messages
WHERE turn_id IS NOT NULL AND CAST(id AS text) = $1 AND lease_owner IS $3
ON CONFLICT (group_id, turn_id) DO UPDATE SET lost_at = excluded.lost_at;

-- name: gateway_lose_claim only postgres
INSERT INTO lost_claims (group_id, turn_id, lost_at)
SELECT group_id, turn_id, CAST($2 AS timestamptz) FROM system_messages
WHERE turn_id IS NOT NULL AND CAST(id AS text) = $1 AND lease_owner IS NOT DISTINCT FROM $3
ON CONFLICT (group_id, turn_id) DO UPDATE SET lost_at = excluded.lost_at;

-- name: gateway_give_remark_back only sqlite
UPDATE system_messages SET turn_id = NULL, lease_by = NULL, lease_owner = NULL, lease_until = NULL
WHERE turn_id IS NOT NULL AND CAST(id AS text) = $1 AND lease_owner IS $3 AND $2 IS NOT NULL;

-- name: gateway_give_remark_back only postgres
UPDATE system_messages SET turn_id = NULL, lease_by = NULL, lease_owner = NULL, lease_until = NULL
WHERE turn_id IS NOT NULL AND CAST(id AS text) = $1 AND lease_owner IS NOT DISTINCT FROM $3
  AND CAST($2 AS timestamptz) IS NOT NULL;

-- name: gateway_take_turn only sqlite
SELECT 1;

-- name: gateway_take_turn only postgres
-- The writers of all processes follow each other.
UPDATE store_changes SET changes = changes + 1 WHERE name = 'messages';
