-- Statistics, free pages, sizes: optimize.c.

-- name: bound_analysis only sqlite
-- How many rows of an index ANALYZE reads.
PRAGMA analysis_limit = 1000;

-- name: bound_analysis only postgres
-- The server takes a sample by itself.
SELECT 1;

-- name: count_free_pages only sqlite
-- Pages that can be given back; none in a file that was not made for it.
SELECT CASE WHEN (SELECT auto_vacuum FROM pragma_auto_vacuum) = 2
  THEN (SELECT freelist_count FROM pragma_freelist_count) ELSE 0 END;

-- name: count_free_pages only postgres
-- The server's own vacuuming gives them back.
SELECT 0;

-- name: give_pages_back only sqlite
PRAGMA incremental_vacuum(16);

-- name: give_pages_back only postgres
SELECT 0;

-- name: tells_sizes only sqlite
-- Is SQLite built with what tells them?
SELECT count(*) FROM pragma_module_list WHERE name = 'dbstat';

-- name: tells_sizes only postgres
SELECT 1;

-- name: list_sizes only sqlite
-- Each table's pages with its indexes', the words of a table with it.
SELECT name, sum(bytes) AS bytes FROM (
  SELECT CASE WHEN substr(s.tbl_name, 1, 14) = 'message_words_' THEN 'messages'
    WHEN substr(s.tbl_name, 1, 15) = 'document_words_' THEN 'search_index'
    ELSE s.tbl_name END AS name, d.pgsize AS bytes
  FROM dbstat AS d JOIN sqlite_schema AS s ON s.name = d.name
  WHERE d.aggregate = TRUE AND substr(s.tbl_name, 1, 7) <> 'sqlite_'
) AS pieces GROUP BY name ORDER BY bytes DESC, name;

-- name: list_sizes only postgres
SELECT name, CAST(sum(bytes) AS bigint) AS bytes FROM (
  SELECT CASE c.relname WHEN 'message_words' THEN 'messages' WHEN 'document_words' THEN 'search_index'
    ELSE CAST(c.relname AS text) END AS name, pg_total_relation_size(c.oid) AS bytes
  FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
  WHERE n.nspname = current_schema() AND c.relkind IN ('r', 'p')
) AS pieces GROUP BY name ORDER BY bytes DESC, name;

-- name: list_tables only sqlite
-- Where nothing tells sizes.
SELECT name, -1 AS bytes FROM sqlite_schema WHERE type = 'table'
  AND substr(name, 1, 7) <> 'sqlite_' AND substr(name, 1, 13) <> 'message_words'
  AND substr(name, 1, 14) <> 'document_words' ORDER BY name;

-- name: list_tables only postgres
SELECT CAST(table_name AS text) AS name, CAST(-1 AS bigint) AS bytes
FROM information_schema.tables WHERE table_schema = current_schema() ORDER BY table_name;
