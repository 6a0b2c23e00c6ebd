-- Adoption of another gateway's messages.db: adopt.c. Once in a store's life, row by row.

-- name: adopt_find_message
SELECT 1 FROM messages LIMIT 1;

-- name: adopt_route
INSERT INTO routes VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING;

-- name: adopt_group
INSERT INTO registered_groups VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) ON CONFLICT DO NOTHING;

-- name: adopt_session
INSERT INTO sessions VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING;

-- name: adopt_run
INSERT INTO session_log VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING;

-- name: adopt_system_message
INSERT INTO system_messages VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) ON CONFLICT DO NOTHING;

-- name: adopt_task
INSERT INTO scheduled_tasks VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22) ON CONFLICT DO NOTHING;

-- name: adopt_task_run
-- A run whose task is there; one of a time.
INSERT INTO task_run_logs SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9
WHERE EXISTS (SELECT 1 FROM scheduled_tasks WHERE id = $2) ON CONFLICT DO NOTHING;

-- name: adopt_state
INSERT INTO router_state VALUES ($1, $2) ON CONFLICT DO NOTHING;

-- name: adopt_user
INSERT INTO auth_users VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING;

-- name: adopt_auth_session
INSERT INTO auth_sessions VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING;

-- name: adopt_user_group
INSERT INTO user_groups VALUES ($1, $2) ON CONFLICT DO NOTHING;

-- name: adopt_thread
INSERT INTO email_threads VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING;

-- name: adopt_onboarding
INSERT INTO onboarding VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING;

-- name: adopt_other
INSERT INTO adopted_rows (source_table, data) VALUES ($1, $2);

-- name: adopt_chat_messages
-- What a chat's messages say of it; the chat may be there already.
INSERT INTO chats (jid, channel, last_seq, last_input_seq, last_message_at)
VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (jid) DO UPDATE SET last_seq = $3, last_input_seq = $4, last_message_at = $5;

-- name: adopt_chat
-- What the source says of a chat itself; the time is for one without messages.
INSERT INTO chats (jid, name, channel, is_group, errored, last_message_at, sticky_group, sticky_topic)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT (jid) DO UPDATE SET name = $2, channel = $3, is_group = $4, errored = $5,
  last_message_at = coalesce(chats.last_message_at, $6), sticky_group = $7, sticky_topic = $8;

-- name: adopt_consumer
INSERT INTO consumers (name, created_at) VALUES ($1, $2) ON CONFLICT DO NOTHING;

-- name: adopt_add_cursors
-- Every consumer begins a chat before its first message.
INSERT INTO cursors (consumer, chat_jid, seq, updated_at, pending_since)
SELECT name, $1, 0, $2, $3 FROM consumers WHERE TRUE
ON CONFLICT (consumer, chat_jid) DO UPDATE SET seq = 0, updated_at = $2, pending_since = $3;

-- name: adopt_set_cursor
UPDATE cursors SET seq = $3, pending_since = $4 WHERE consumer = $1 AND chat_jid = $2;

-- name: adopt_fill_cursors
-- And every consumer has a cursor of each chat without messages.
INSERT INTO cursors (consumer, chat_jid, seq, updated_at)
SELECT consumers.name, chats.jid, 0, $1 FROM consumers CROSS JOIN chats WHERE TRUE
ON CONFLICT DO NOTHING;

-- name: adopt_set_identities only sqlite
-- Nothing: the next id is one above the largest.
SELECT 1;

-- name: adopt_set_identities only postgres
-- The next ids are above those that came along.
SELECT
  setval(pg_get_serial_sequence('routes', 'id'), greatest(coalesce(max(routes.id), 1), 1), max(routes.id) >= 1),
  setval(pg_get_serial_sequence('session_log', 'id'),
    (SELECT greatest(coalesce(max(id), 1), 1) FROM session_log), (SELECT coalesce(max(id), 0) >= 1 FROM session_log)),
  setval(pg_get_serial_sequence('system_messages', 'id'),
    (SELECT greatest(coalesce(max(id), 1), 1) FROM system_messages), (SELECT coalesce(max(id), 0) >= 1 FROM system_messages)),
  setval(pg_get_serial_sequence('task_run_logs', 'id'),
    (SELECT greatest(coalesce(max(id), 1), 1) FROM task_run_logs), (SELECT coalesce(max(id), 0) >= 1 FROM task_run_logs))
FROM (SELECT coalesce(max(id), 0) AS id FROM routes) AS routes;

-- name: adopt_route_versions
-- Who keeps routes compiled reads them anew.
INSERT INTO route_versions (jid, version) SELECT DISTINCT jid, 1 FROM routes WHERE TRUE
ON CONFLICT (jid) DO UPDATE SET version = route_versions.version + 1;
