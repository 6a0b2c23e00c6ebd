-- The SQL of engine_sqlite.c. Every path comes with its keyed 64-bit hash, which finds it in one
-- step; the path itself decides, so that two paths with one hash are two documents.

-- name: get
-- The value of one document.
SELECT value FROM documents WHERE hash = ?1 AND path = ?2;

-- name: count_children
-- How many documents are directly below a path.
SELECT documents FROM folders WHERE hash = ?1 AND path = ?2;

-- name: list
-- A page of the documents directly below a path, newest first. One statement, so that folder and
-- documents are of one moment.
SELECT value, path FROM documents
WHERE folder = (SELECT id FROM folders WHERE hash = ?1 AND path = ?2)
ORDER BY score DESC, tie DESC
LIMIT ?3 OFFSET ?4;

-- name: scan_all
-- Every document of the store.
SELECT path, value FROM documents;

-- name: scan_below
-- Every document below a path.
WITH RECURSIVE below (id) AS (
  SELECT id FROM folders WHERE hash = ?1 AND path = ?2
  UNION ALL
  SELECT folders.id FROM below JOIN folders ON folders.parent = below.id
)
SELECT documents.path, documents.value
FROM below CROSS JOIN documents ON documents.folder = below.id;

-- name: find_document
-- Where a document is and which place it has.
SELECT id, folder, score, tie FROM documents WHERE hash = ?1 AND path = ?2;

-- name: top
-- The newest document of a folder.
SELECT score, tie FROM documents WHERE folder = ?1 ORDER BY score DESC, tie DESC LIMIT 1;

-- name: top_of_score
-- The newest document of a folder among those of one score.
SELECT tie FROM documents WHERE folder = ?1 AND score = ?2 ORDER BY tie DESC LIMIT 1;

-- name: insert_document
INSERT INTO documents (hash, folder, score, tie, path, value) VALUES (?1, ?2, ?3, ?4, ?5, ?6);

-- name: update_document
UPDATE documents SET score = ?2, tie = ?3, value = ?4 WHERE id = ?1;

-- name: delete_document
DELETE FROM documents WHERE id = ?1;

-- name: find_folder
SELECT id, parent, documents, folders FROM folders WHERE hash = ?1 AND path = ?2;

-- name: find_folder_by_id
SELECT id, parent, documents, folders FROM folders WHERE id = ?1;

-- name: insert_folder
INSERT INTO folders (hash, parent, documents, folders, path) VALUES (?1, ?2, 0, 0, ?3)
RETURNING id;

-- name: count_document
-- One document more or less directly in a folder.
UPDATE folders SET documents = documents + ?2 WHERE id = ?1;

-- name: count_folder
-- One folder more or less directly in a folder.
UPDATE folders SET folders = folders + ?2 WHERE id = ?1;

-- name: delete_folder
DELETE FROM folders WHERE id = ?1;

-- name: delete_documents_below
WITH RECURSIVE below (id) AS (
  SELECT ?1
  UNION ALL
  SELECT folders.id FROM below JOIN folders ON folders.parent = below.id
)
DELETE FROM documents WHERE folder IN below;

-- name: delete_folders_below
-- The folder itself too.
WITH RECURSIVE below (id) AS (
  SELECT ?1
  UNION ALL
  SELECT folders.id FROM below JOIN folders ON folders.parent = below.id
)
DELETE FROM folders WHERE id IN below;

-- name: delete_all_documents
DELETE FROM documents;

-- name: delete_all_folders
DELETE FROM folders;

-- name: get_property
SELECT value FROM properties WHERE name = ?1;

-- name: add_property
-- The first writer's value stands.
INSERT INTO properties (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO NOTHING;

-- name: data_version
-- Differs from the last look of this connection when another one committed in between.
PRAGMA data_version;
