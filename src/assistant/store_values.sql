-- What the store keeps about itself, and its lock: assistant.c, assistant_schema.c.

-- name: take_turn only postgres
-- Writers follow each other: what one numbers is committed before the next one numbers its own.
UPDATE assistant_turns SET changes = changes + 1 WHERE name = 'writers';

-- name: take_turn only sqlite
-- Not used: the file has one writer at a time.
SELECT 1;

-- name: get_value
SELECT value FROM assistant_values WHERE name = $1;

-- name: put_value
INSERT INTO assistant_values (name, value) VALUES ($1, $2)
ON CONFLICT (name) DO UPDATE SET value = excluded.value;

-- name: get_mark
SELECT value FROM derived_marks WHERE name = $1;

-- name: put_mark
INSERT INTO derived_marks (name, value) VALUES ($1, $2)
ON CONFLICT (name) DO UPDATE SET value = excluded.value;

-- name: look_at_store only sqlite
-- The file's version, and whose tables are there; always one row.
SELECT (SELECT user_version FROM pragma_user_version) AS user_version,
  (SELECT count(*) FROM pragma_table_info('migrations') WHERE name = 'checksum') AS is_ours,
  (SELECT count(*) FROM sqlite_schema WHERE type IN ('table', 'view')) AS tables,
  (SELECT count(*) FROM pragma_table_info('conversations') WHERE name = 'context_version') AS has_conversations,
  (SELECT count(*) FROM pragma_table_info('messages') WHERE name = 'seq') AS has_seq;

-- name: look_at_store only postgres
SELECT CAST(NULL AS bigint) AS user_version,
  (SELECT count(*) FROM information_schema.columns WHERE table_schema = current_schema()
   AND table_name = 'migrations' AND column_name = 'checksum') AS is_ours,
  (SELECT count(*) FROM information_schema.tables WHERE table_schema = current_schema()) AS tables,
  (SELECT count(*) FROM information_schema.columns WHERE table_schema = current_schema()
   AND table_name = 'conversations' AND column_name = 'context_version') AS has_conversations,
  (SELECT count(*) FROM information_schema.columns WHERE table_schema = current_schema()
   AND table_name = 'messages' AND column_name = 'seq') AS has_seq;
