-- What a database says of itself: check_database.c.

-- name: structure only sqlite
PRAGMA integrity_check(100);

-- name: structure only postgres
SELECT 'ok';

-- name: references only sqlite
PRAGMA foreign_key_check;

-- name: references only postgres
-- The server holds them itself.
SELECT CAST(NULL AS text), CAST(NULL AS bigint), CAST(NULL AS text) WHERE FALSE;

-- name: reindex only sqlite
REINDEX;

-- name: reindex only postgres
-- One by one, by name: check_server.c.
SELECT 1;

-- name: has_amcheck only sqlite
SELECT 0;

-- name: has_amcheck only postgres
SELECT count(*) FROM pg_extension WHERE extname = 'amcheck';

-- name: has_checksums only sqlite
SELECT 1;

-- name: has_checksums only postgres
SELECT CAST(current_setting('data_checksums') = 'on' AS integer);

-- name: next_btree only sqlite
SELECT CAST($1 AS text) WHERE FALSE;

-- name: next_btree only postgres
-- The first index of the schema behind $1, and what verifies it and makes it anew.
SELECT CAST(c.relname AS text),
  format('SELECT %I.bt_index_check(CAST(%L AS regclass), TRUE)', e.nspname,
    CAST(c.oid AS text)),
  format('REINDEX INDEX %I.%I', current_schema(), c.relname)
FROM pg_class c JOIN pg_am a ON a.oid = c.relam AND a.amname = 'btree'
JOIN pg_index i ON i.indexrelid = c.oid AND i.indisvalid
CROSS JOIN (SELECT n.nspname FROM pg_extension x JOIN pg_namespace n ON n.oid = x.extnamespace
  WHERE x.extname = 'amcheck') AS e
WHERE c.relnamespace = CAST(current_schema() AS regnamespace) AND c.relkind = 'i'
  AND CAST(c.relname AS text) COLLATE "C" > $1
ORDER BY CAST(c.relname AS text) COLLATE "C" LIMIT 1;
