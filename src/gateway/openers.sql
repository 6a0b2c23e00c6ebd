-- What the openers and migrations of a gateway look at: gateway_migrate.c. Each runs once for an
-- opening or a migration, none for a message.

-- name: look_at_store only sqlite
-- The file's version, and whose tables are there; always one row.
SELECT (SELECT user_version FROM pragma_user_version) AS user_version,
  (SELECT count(*) FROM pragma_table_info('migrations') WHERE name = 'checksum') AS is_ours,
  (SELECT count(*) FROM sqlite_schema WHERE type IN ('table', 'view')) AS tables,
  (SELECT count(*) FROM pragma_table_info('messages') WHERE name = 'chat_jid') AS has_chat_jid,
  (SELECT count(*) FROM pragma_table_info('messages') WHERE name = 'seq') AS has_seq;

-- name: look_at_store only postgres
SELECT CAST(NULL AS bigint) AS user_version,
  (SELECT count(*) FROM information_schema.columns WHERE table_schema = current_schema()
   AND table_name = 'migrations' AND column_name = 'checksum') AS is_ours,
  (SELECT count(*) FROM information_schema.tables WHERE table_schema = current_schema()) AS tables,
  (SELECT count(*) FROM information_schema.columns WHERE table_schema = current_schema()
   AND table_name = 'messages' AND column_name = 'chat_jid') AS has_chat_jid,
  (SELECT count(*) FROM information_schema.columns WHERE table_schema = current_schema()
   AND table_name = 'messages' AND column_name = 'seq') AS has_seq;

-- name: has_content
-- A row when anything was ever stored, or another service has tables here.
SELECT 1 WHERE EXISTS (SELECT 1 FROM messages) OR EXISTS (SELECT 1 FROM chats)
  OR EXISTS (SELECT 1 FROM routes) OR EXISTS (SELECT 1 FROM registered_groups)
  OR EXISTS (SELECT 1 FROM sessions) OR EXISTS (SELECT 1 FROM session_log)
  OR EXISTS (SELECT 1 FROM system_messages) OR EXISTS (SELECT 1 FROM scheduled_tasks)
  OR EXISTS (SELECT 1 FROM router_state) OR EXISTS (SELECT 1 FROM consumers)
  OR EXISTS (SELECT 1 FROM auth_users) OR EXISTS (SELECT 1 FROM user_groups)
  OR EXISTS (SELECT 1 FROM auth_sessions) OR EXISTS (SELECT 1 FROM email_threads)
  OR EXISTS (SELECT 1 FROM onboarding) OR EXISTS (SELECT 1 FROM signing_keys)
  OR EXISTS (SELECT 1 FROM adopted_rows)
  OR EXISTS (SELECT 1 FROM migrations WHERE version > 0 AND service <> 'gateway');
