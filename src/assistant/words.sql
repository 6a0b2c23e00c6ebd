-- The words of messages and documents: text_index.c, text_search.c. Rows are read as id, scope (the
-- conversation, the source), hidden, title, content.

-- name: put_message_words only sqlite
INSERT INTO message_words (rowid, title, content) VALUES ($1, $2, $3);

-- name: put_message_words only postgres
INSERT INTO message_words (id, words)
VALUES ($1, CAST(CAST($2 AS text) || CAST($3 AS text) AS tsvector));

-- name: remove_message_words only sqlite
-- What a contentless table holds of a row is taken out by the same words.
INSERT INTO message_words (message_words, rowid, title, content) VALUES ('delete', $1, $2, $3);

-- name: remove_message_words only postgres
DELETE FROM message_words
WHERE id = $1 AND CAST($2 AS text) IS NOT NULL AND CAST($3 AS text) IS NOT NULL;

-- name: clear_message_words only sqlite
-- Merging in steps of a batch: src/search/README.md measures it.
INSERT INTO message_words (message_words, rank)
VALUES ('delete-all', NULL), ('automerge', 8), ('crisismerge', 64);

-- name: clear_message_words only postgres
DELETE FROM message_words;

-- name: put_document_words only sqlite
INSERT INTO document_words (rowid, title, content) VALUES ($1, $2, $3);

-- name: put_document_words only postgres
INSERT INTO document_words (id, words)
VALUES ($1, CAST(CAST($2 AS text) || CAST($3 AS text) AS tsvector));

-- name: remove_document_words only sqlite
INSERT INTO document_words (document_words, rowid, title, content) VALUES ('delete', $1, $2, $3);

-- name: remove_document_words only postgres
DELETE FROM document_words
WHERE id = $1 AND CAST($2 AS text) IS NOT NULL AND CAST($3 AS text) IS NOT NULL;

-- name: clear_document_words only sqlite
INSERT INTO document_words (document_words, rank)
VALUES ('delete-all', NULL), ('automerge', 8), ('crisismerge', 64);

-- name: clear_document_words only postgres
DELETE FROM document_words;

-- name: find_messages only sqlite
SELECT m.id, m.conversation_id, m.is_internal, NULL, m.content
FROM (SELECT rowid AS id FROM message_words WHERE message_words MATCH $1 AND rowid > $2
  AND rowid <= $3 ORDER BY rowid DESC LIMIT $4) AS found
CROSS JOIN messages AS m ON m.id = found.id;

-- name: find_messages only postgres
SELECT m.id, m.conversation_id, m.is_internal, CAST(NULL AS text), m.content
FROM (SELECT id FROM message_words WHERE words @@ CAST(CAST($1 AS text) AS tsquery) AND id > $2
  AND id <= $3 ORDER BY id DESC LIMIT $4) AS found
JOIN messages AS m ON m.id = found.id ORDER BY m.id DESC;

-- name: find_documents only sqlite
SELECT d.id, d.source, FALSE, d.title, d.content
FROM (SELECT rowid AS id FROM document_words WHERE document_words MATCH $1 AND rowid > $2
  AND rowid <= $3 ORDER BY rowid DESC LIMIT $4) AS found
CROSS JOIN search_index AS d ON d.id = found.id;

-- name: find_documents only postgres
SELECT d.id, d.source, FALSE, d.title, d.content
FROM (SELECT id FROM document_words WHERE words @@ CAST(CAST($1 AS text) AS tsquery) AND id > $2
  AND id <= $3 ORDER BY id DESC LIMIT $4) AS found
JOIN search_index AS d ON d.id = found.id ORDER BY d.id DESC;

-- name: count_message_words only sqlite
-- How many rows have a word, up to $2, and the oldest of those.
SELECT count(*), min(id) FROM (SELECT rowid AS id FROM message_words WHERE message_words MATCH $1
  ORDER BY rowid DESC LIMIT $2) AS found;

-- name: count_message_words only postgres
SELECT count(*), min(id) FROM (SELECT id FROM message_words
  WHERE words @@ CAST(CAST($1 AS text) AS tsquery) ORDER BY id DESC LIMIT $2) AS found;

-- name: count_document_words only sqlite
SELECT count(*), min(id) FROM (SELECT rowid AS id FROM document_words WHERE document_words MATCH $1
  ORDER BY rowid DESC LIMIT $2) AS found;

-- name: count_document_words only postgres
SELECT count(*), min(id) FROM (SELECT id FROM document_words
  WHERE words @@ CAST(CAST($1 AS text) AS tsquery) ORDER BY id DESC LIMIT $2) AS found;

-- name: next_message_word only sqlite
-- The first word from $1 on, before $2. Not used on PostgreSQL, whose index knows prefixes.
SELECT term FROM message_terms WHERE term >= $1 AND term < $2 LIMIT 1;

-- name: next_message_word only postgres
SELECT CAST(NULL AS text) WHERE CAST($1 AS text) IS NULL AND CAST($2 AS text) IS NULL;

-- name: next_document_word only sqlite
SELECT term FROM document_terms WHERE term >= $1 AND term < $2 LIMIT 1;

-- name: next_document_word only postgres
SELECT CAST(NULL AS text) WHERE CAST($1 AS text) IS NULL AND CAST($2 AS text) IS NULL;

-- name: messages_between
-- Newest first, as a search reads what no index says.
SELECT id, conversation_id, is_internal, CAST(NULL AS text), content FROM messages
WHERE id > $1 AND id <= $2 ORDER BY id DESC LIMIT $3;

-- name: documents_between
SELECT id, source, FALSE, title, content FROM search_index
WHERE id > $1 AND id <= $2 ORDER BY id DESC LIMIT $3;

-- name: messages_behind
-- Oldest first, as they are folded in.
SELECT id, conversation_id, is_internal, CAST(NULL AS text), content FROM messages
WHERE id > $1 ORDER BY id LIMIT $2;

-- name: documents_behind
SELECT id, source, FALSE, title, content FROM search_index WHERE id > $1 ORDER BY id LIMIT $2;

-- name: newest_message_id
SELECT id FROM messages ORDER BY id DESC LIMIT 1;

-- name: newest_document_id
SELECT id FROM search_index ORDER BY id DESC LIMIT 1;

-- name: newest_message_id_of_others
-- Reads back over the conversation's own newest messages.
SELECT id FROM messages WHERE conversation_id <> $1 ORDER BY id DESC LIMIT 1;

-- name: count_folded_of
SELECT count(*) FROM messages WHERE conversation_id = $1 AND id <= $2;

-- name: folded_of only sqlite
-- Those of a conversation whose words are in, in portions by their number.
SELECT id, conversation_id, is_internal, NULL, content, seq FROM messages
WHERE conversation_id = $1 AND seq > $2 AND id <= $3 ORDER BY seq LIMIT $4;

-- name: folded_of only postgres
-- None: the words go by the foreign key's cascade.
SELECT id, conversation_id, is_internal, CAST(NULL AS text), content, seq FROM messages
WHERE conversation_id = $1 AND seq > $2 AND id <= $3 AND FALSE LIMIT $4;

-- name: get_message_by_id
SELECT * FROM messages WHERE id = $1;
