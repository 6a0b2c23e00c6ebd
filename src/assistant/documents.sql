-- Documents and their vectors: documents.c, document_find.c, vector_changes.c, vector_sets.c.

-- name: get_document
SELECT * FROM search_index WHERE source = $1 AND source_id = $2;

-- name: get_document_by_id
-- Without its embedding, which may be long.
SELECT id, source, source_id, title, content, content_hash, @{CAST(}NULL@{ AS bytea)}, metadata, indexed_at,
  model, dimensions, word_count, vector_change
FROM search_index WHERE id = $1;

-- name: add_document
INSERT INTO search_index (source, source_id, title, content, content_hash, metadata, indexed_at,
  word_count)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8) RETURNING id;

-- name: set_document
UPDATE search_index SET title = $2, content = $3, content_hash = $4, metadata = $5,
  indexed_at = $6, word_count = $7 WHERE id = $1;

-- name: set_document_vector
UPDATE search_index SET embedding = $2, model = $3, dimensions = $4, vector_change = $5,
  indexed_at = $6 WHERE id = $1;

-- name: drop_document_vector
UPDATE search_index SET embedding = NULL, model = NULL, dimensions = NULL, vector_change = NULL
WHERE id = $1;

-- name: remove_document
DELETE FROM search_index WHERE id = $1;

-- name: documents_of_source
-- A portion of a source, in the order of its ids there.
SELECT id, source_id FROM search_index WHERE source = $1 AND source_id > $2
ORDER BY source_id LIMIT $3;

-- name: document_to_remove
SELECT * FROM search_index WHERE id = $1;

-- name: has_documents
SELECT id FROM search_index LIMIT 1;

-- name: vector_ids_of_source
SELECT id FROM search_index WHERE source = $1 AND model = $2 AND embedding IS NOT NULL ORDER BY id;

-- name: get_vector_model
SELECT * FROM vector_models WHERE model = $1;

-- name: any_vector_model
SELECT model FROM vector_models WHERE count > 0 LIMIT 1;

-- name: add_vector_model
INSERT INTO vector_models (model, dimensions, generation) VALUES ($1, $2, $3);

-- name: renew_vector_model
-- Another generation: whoever has an earlier state makes it anew.
UPDATE vector_models SET dimensions = $2, generation = $3, removed = 0 WHERE model = $1;

-- name: change_vector_model
UPDATE vector_models SET change = change + 1, count = count + $2, removed = removed + $3
WHERE model = $1 RETURNING change;

-- name: add_removed_vector
INSERT INTO removed_vectors (model, change, document_id) VALUES ($1, $2, $3);

-- name: clear_removed_vectors
DELETE FROM removed_vectors WHERE model = $1;

-- name: removed_since
SELECT document_id FROM removed_vectors WHERE model = $1 AND change > $2 ORDER BY change;

-- name: vectors_since
SELECT id, embedding, vector_change FROM search_index
WHERE model = $1 AND vector_change > $2 AND embedding IS NOT NULL ORDER BY vector_change LIMIT $3;

-- name: vectors_behind
SELECT id, embedding, vector_change FROM search_index
WHERE model = $1 AND dimensions = $2 AND embedding IS NOT NULL AND id > $3 ORDER BY id LIMIT $4;

-- name: clear_vector_models
DELETE FROM vector_models;

-- name: clear_all_removed_vectors
DELETE FROM removed_vectors;

-- name: list_stored_vectors
-- All of them, for a rebuild.
SELECT id, model, dimensions, @{octet_}length(embedding) FROM search_index
WHERE embedding IS NOT NULL AND id > $1 ORDER BY id LIMIT $2;

-- name: set_vector_change
UPDATE search_index SET vector_change = $2 WHERE id = $1;
