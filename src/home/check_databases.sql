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
-- One by one, by name: check_database.c.
SELECT 1;

-- name: has_amcheck only sqlite
SELECT 0;

-- name: has_amcheck only postgres
SELECT count(*) FROM pg_extension WHERE extname = 'amcheck';

-- name: next_btree only sqlite
SELECT CAST($1 AS text) WHERE FALSE;

-- name: next_btree only postgres
-- The first index of the schema behind $1.
SELECT CAST(c.relname AS text) FROM pg_class c JOIN pg_am a ON a.oid = c.relam AND a.amname = 'btree'
JOIN pg_index i ON i.indexrelid = c.oid AND i.indisvalid
WHERE c.relnamespace = CAST(current_schema() AS regnamespace) AND c.relkind = 'i'
  AND CAST(c.relname AS text) COLLATE "C" > $1
ORDER BY CAST(c.relname AS text) COLLATE "C" LIMIT 1;

-- name: check_btree only sqlite
SELECT CAST($1 AS text) WHERE FALSE;

-- name: check_btree only postgres
SELECT 1 FROM (SELECT bt_index_check(c.oid, TRUE) FROM pg_class c
  WHERE c.relnamespace = CAST(current_schema() AS regnamespace) AND CAST(c.relname AS text) = $1
  OFFSET 0) AS checked;

-- name: page_checksums only sqlite
SELECT 'on';

-- name: page_checksums only postgres
SELECT current_setting('data_checksums');
