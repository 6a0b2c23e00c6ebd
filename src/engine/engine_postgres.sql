-- The SQL of engine_postgres.c. $1 is the namespace everywhere; ids are SHA-256 of paths. Changing
-- statements need no answer, so that a whole transaction is one round trip in pipeline mode; each
-- sees what the ones before it in its transaction did.

-- name: add_namespace
INSERT INTO namespaces (name, changes) VALUES ($1, 0) ON CONFLICT DO NOTHING;

-- name: lock_namespace
-- The first statement of every change: one writer at a time in a namespace, and a number that tells
-- a watch without LISTEN that something happened.
UPDATE namespaces SET changes = changes + 1 WHERE name = $1;

-- name: changes
SELECT changes FROM namespaces WHERE name = $1;

-- name: durability
-- What the server makes of a commit on this connection.
SELECT CASE WHEN current_setting('fsync') = 'off' THEN 'not persistent'
            WHEN current_setting('synchronous_commit') = 'off' THEN 'relaxed'
            ELSE 'synced' END;

-- name: get
-- The value of one document.
SELECT value FROM documents WHERE owner = $1 AND id = $2;

-- name: count_children
-- How many documents are directly below a path.
SELECT documents FROM folders WHERE owner = $1 AND id = $2;

-- name: list
-- A page of the documents directly below a path, newest first.
SELECT value, path FROM documents
WHERE owner = $1 AND folder = $2
ORDER BY score DESC, tie DESC
LIMIT $3 OFFSET $4;

-- name: open_scan_all
-- Every document of the namespace; a large value comes by its own get.
DECLARE keep_scan NO SCROLL CURSOR FOR
SELECT path, CASE WHEN octet_length(value) <= 65536 THEN value END
FROM documents WHERE owner = $1;

-- name: open_scan_below
-- Every document below a path; a large value comes by its own get.
DECLARE keep_scan NO SCROLL CURSOR FOR
WITH RECURSIVE below (id) AS (
  SELECT id FROM folders WHERE owner = $1 AND id = $2
  UNION ALL
  SELECT folders.id FROM below JOIN folders ON folders.owner = $1 AND folders.parent = below.id
)
SELECT path, CASE WHEN octet_length(value) <= 65536 THEN value END
FROM below JOIN documents ON documents.owner = $1 AND documents.folder = below.id;

-- name: fetch_scan
FETCH 128 FROM keep_scan;

-- name: ensure_folder
-- A folder ($2, below $3, NULL for the root) that may be there; a new one counts in its parent.
WITH made AS (
  INSERT INTO folders (owner, id, parent, documents, folders, path)
  VALUES ($1, $2, $3, 0, 0, $4)
  ON CONFLICT DO NOTHING
  RETURNING parent
)
UPDATE folders SET folders = folders + 1
WHERE owner = $1 AND id = (SELECT parent FROM made);

-- name: put_document
-- Set document $2 of folder $3 (path $4) to $5 as the newest of its siblings, at $6 or later.
WITH top AS (
  SELECT score, tie FROM documents
  WHERE owner = $1 AND folder = $3
  ORDER BY score DESC, tie DESC LIMIT 1
), existing AS (
  SELECT 1 FROM documents WHERE owner = $1 AND id = $2
), put AS (
  INSERT INTO documents (owner, id, folder, score, tie, path, value)
  SELECT $1, $2, $3, greatest($6, coalesce((SELECT score FROM top), 0)),
         CASE WHEN (SELECT score FROM top) >= $6 THEN (SELECT tie FROM top) + 1 ELSE 0 END, $4, $5
  ON CONFLICT (owner, id)
  DO UPDATE SET score = excluded.score, tie = excluded.tie, value = excluded.value
)
UPDATE folders SET documents = documents + 1
WHERE owner = $1 AND id = $3 AND NOT EXISTS (SELECT 1 FROM existing);

-- name: put_scored_document
-- The same at score $6, after its equals.
WITH existing AS (
  SELECT 1 FROM documents WHERE owner = $1 AND id = $2
), put AS (
  INSERT INTO documents (owner, id, folder, score, tie, path, value)
  SELECT $1, $2, $3, $6,
         coalesce((SELECT max(tie) + 1 FROM documents
                   WHERE owner = $1 AND folder = $3 AND score = $6), 0), $4, $5
  ON CONFLICT (owner, id)
  DO UPDATE SET score = excluded.score, tie = excluded.tie, value = excluded.value
)
UPDATE folders SET documents = documents + 1
WHERE owner = $1 AND id = $3 AND NOT EXISTS (SELECT 1 FROM existing);

-- name: delete_document
-- Document $2 of folder $3.
WITH gone AS (
  DELETE FROM documents WHERE owner = $1 AND id = $2 RETURNING 1
)
UPDATE folders SET documents = documents - 1
WHERE owner = $1 AND id = $3 AND EXISTS (SELECT 1 FROM gone);

-- name: delete_below
-- Folder $2 with everything in it; its parent is $3.
WITH RECURSIVE below (id) AS (
  SELECT id FROM folders WHERE owner = $1 AND id = $2
  UNION ALL
  SELECT folders.id FROM below JOIN folders ON folders.owner = $1 AND folders.parent = below.id
), gone AS (
  DELETE FROM documents USING below
  WHERE documents.owner = $1 AND documents.folder = below.id
), lessened AS (
  UPDATE folders SET folders = folders - 1
  WHERE owner = $1 AND id = $3 AND EXISTS (SELECT 1 FROM below)
)
DELETE FROM folders USING below WHERE folders.owner = $1 AND folders.id = below.id;

-- name: prune_folder
-- Drop folder $2 when nothing is left in it; its parent is $3.
WITH gone AS (
  DELETE FROM folders
  WHERE owner = $1 AND id = $2 AND documents = 0 AND folders = 0
  RETURNING 1
)
UPDATE folders SET folders = folders - 1
WHERE owner = $1 AND id = $3 AND EXISTS (SELECT 1 FROM gone);

-- name: delete_all_documents
DELETE FROM documents WHERE owner = $1;

-- name: delete_all_folders
DELETE FROM folders WHERE owner = $1;
