-- What an engine's two tables say of each other: check_engine.c.

-- name: engine_take_turn only sqlite
SELECT 1;

-- name: engine_take_turn only postgres
UPDATE namespaces SET changes = changes + 1;

-- name: engine_hash_key only sqlite
SELECT value FROM properties WHERE name = 'hash_key';

-- name: engine_hash_key only postgres
SELECT CAST('' AS bytea);

-- name: engine_document_without_folder
SELECT path FROM documents d WHERE NOT EXISTS (SELECT 1 FROM folders f
  WHERE @{f.owner = d.owner AND} f.id = d.folder);

-- name: engine_folder_without_parent
SELECT path FROM folders d WHERE d.parent IS NOT NULL AND NOT EXISTS (SELECT 1 FROM folders f
  WHERE @{f.owner = d.owner AND} f.id = d.parent);

-- name: engine_document_count
SELECT path, documents, (SELECT count(*) FROM documents d
    WHERE @{d.owner = folders.owner AND} d.folder = folders.id) FROM folders
WHERE documents <> (SELECT count(*) FROM documents d
    WHERE @{d.owner = folders.owner AND} d.folder = folders.id);

-- name: engine_renew_document_count
UPDATE folders SET documents = (SELECT count(*) FROM documents d
    WHERE @{d.owner = folders.owner AND} d.folder = folders.id)
WHERE documents <> (SELECT count(*) FROM documents d
    WHERE @{d.owner = folders.owner AND} d.folder = folders.id);

-- name: engine_folder_count
SELECT path, folders, (SELECT count(*) FROM folders f
    WHERE @{f.owner = folders.owner AND} f.parent = folders.id) FROM folders
WHERE folders <> (SELECT count(*) FROM folders f
    WHERE @{f.owner = folders.owner AND} f.parent = folders.id);

-- name: engine_renew_folder_count
UPDATE folders SET folders = (SELECT count(*) FROM folders f
    WHERE @{f.owner = folders.owner AND} f.parent = folders.id)
WHERE folders <> (SELECT count(*) FROM folders f
    WHERE @{f.owner = folders.owner AND} f.parent = folders.id);

-- name: engine_misplaced
-- A document below another folder than its path says: the rest of it must have no slash.
SELECT d.path FROM documents d JOIN folders f ON @{f.owner = d.owner AND} f.id = d.folder
WHERE CASE WHEN f.path = '' THEN d.path ELSE
  CASE WHEN substr(d.path, 1, length(f.path) + 1) = f.path || '/'
    THEN substr(d.path, length(f.path) + 2) ELSE '/' END END LIKE '%/%';
