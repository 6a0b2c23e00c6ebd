-- What the assistant's rows say of each other: check_assistant.c, check_words.c.

-- name: assistant_take_turn only sqlite
SELECT 1;

-- name: assistant_take_turn only postgres
UPDATE assistant_turns SET changes = changes + 1 WHERE name = 'writers';

-- name: assistant_last_seq
SELECT conversation_id, last_seq, coalesce((SELECT max(m.seq) FROM messages m
    WHERE m.conversation_id = conversations.conversation_id), 0) FROM conversations
WHERE last_seq < coalesce((SELECT max(m.seq) FROM messages m
    WHERE m.conversation_id = conversations.conversation_id), 0);

-- name: assistant_renew_last_seq
UPDATE conversations SET last_seq = (SELECT max(m.seq) FROM messages m
    WHERE m.conversation_id = conversations.conversation_id)
WHERE last_seq < coalesce((SELECT max(m.seq) FROM messages m
    WHERE m.conversation_id = conversations.conversation_id), 0);

-- name: assistant_message_count
SELECT conversation_id, message_count, (SELECT count(*) FROM messages m
    WHERE m.conversation_id = conversations.conversation_id AND NOT m.is_internal) FROM conversations
WHERE message_count <> (SELECT count(*) FROM messages m
    WHERE m.conversation_id = conversations.conversation_id AND NOT m.is_internal);

-- name: assistant_renew_message_count
UPDATE conversations SET message_count = (SELECT count(*) FROM messages m
    WHERE m.conversation_id = conversations.conversation_id AND NOT m.is_internal)
WHERE message_count <> (SELECT count(*) FROM messages m
    WHERE m.conversation_id = conversations.conversation_id AND NOT m.is_internal);

-- name: assistant_bad_seq
SELECT conversation_id, seq, CAST(1 AS bigint) FROM messages WHERE seq < 1;

-- name: assistant_vector_count
SELECT model, count, (SELECT count(*) FROM search_index s
    WHERE s.model = vector_models.model AND s.embedding IS NOT NULL) FROM vector_models
WHERE count <> (SELECT count(*) FROM search_index s
    WHERE s.model = vector_models.model AND s.embedding IS NOT NULL);

-- name: assistant_vector_removed
SELECT model, removed, (SELECT count(*) FROM removed_vectors r WHERE r.model = vector_models.model)
FROM vector_models
WHERE removed <> (SELECT count(*) FROM removed_vectors r WHERE r.model = vector_models.model);

-- name: assistant_vector_change
SELECT model, change, coalesce((SELECT max(s.vector_change) FROM search_index s
    WHERE s.model = vector_models.model AND s.embedding IS NOT NULL), 0) FROM vector_models
WHERE change < coalesce((SELECT max(s.vector_change) FROM search_index s
    WHERE s.model = vector_models.model AND s.embedding IS NOT NULL), 0);

-- name: assistant_renew_vectors only sqlite
-- Another generation: whoever has an earlier state makes it anew.
UPDATE vector_models SET
  count = (SELECT count(*) FROM search_index s
    WHERE s.model = vector_models.model AND s.embedding IS NOT NULL),
  removed = (SELECT count(*) FROM removed_vectors r WHERE r.model = vector_models.model),
  change = max(change, coalesce((SELECT max(s.vector_change) FROM search_index s
    WHERE s.model = vector_models.model AND s.embedding IS NOT NULL), 0)),
  generation = abs(random() / 2);

-- name: assistant_renew_vectors only postgres
-- Another generation: whoever has an earlier state makes it anew.
UPDATE vector_models SET
  count = (SELECT count(*) FROM search_index s
    WHERE s.model = vector_models.model AND s.embedding IS NOT NULL),
  removed = (SELECT count(*) FROM removed_vectors r WHERE r.model = vector_models.model),
  change = greatest(change, coalesce((SELECT max(s.vector_change) FROM search_index s
    WHERE s.model = vector_models.model AND s.embedding IS NOT NULL), 0)),
  generation = CAST(random() * 1e15 AS bigint);

-- name: assistant_vector_size only sqlite
SELECT CAST(id AS text), length(embedding), 4 * dimensions FROM search_index
WHERE embedding IS NOT NULL AND (dimensions IS NULL OR length(embedding) <> 4 * dimensions);

-- name: assistant_vector_size only postgres
SELECT CAST(id AS text), CAST(length(embedding) AS bigint), 4 * dimensions FROM search_index
WHERE embedding IS NOT NULL AND (dimensions IS NULL OR length(embedding) <> 4 * dimensions);

-- name: assistant_vector_without_model
SELECT CAST(s.id AS text) FROM search_index s WHERE s.embedding IS NOT NULL
  AND NOT EXISTS (SELECT 1 FROM vector_models v WHERE v.model = s.model);

-- name: assistant_run_without_attempt
SELECT job_id FROM job_runs WHERE state = 'running' AND NOT EXISTS (SELECT 1 FROM job_executions e
  WHERE e.job_id = job_runs.job_id AND e.scheduled_for = job_runs.scheduled_for
    AND e.attempt = job_runs.attempt);

-- name: assistant_models
SELECT model, dimensions, generation, change, count FROM vector_models ORDER BY model;

-- name: assistant_tasks
-- Key, owner, until when.
SELECT task_id, lease_owner, lease_until FROM agent_tasks WHERE status = 'running';

-- name: assistant_give_task_back only sqlite
UPDATE agent_tasks SET status = 'interrupted', completed_at = $2, lease_until = NULL,
  lease_by = NULL, lease_owner = NULL, error_message = 'its lease was orphaned'
WHERE status = 'running' AND task_id = $1 AND lease_owner IS $3;

-- name: assistant_give_task_back only postgres
UPDATE agent_tasks SET status = 'interrupted', completed_at = $2, lease_until = NULL,
  lease_by = NULL, lease_owner = NULL, error_message = 'its lease was orphaned'
WHERE status = 'running' AND task_id = $1 AND lease_owner IS NOT DISTINCT FROM $3;

-- name: assistant_runs
SELECT job_id, lease_owner, lease_until FROM job_runs WHERE state = 'running';

-- name: assistant_future_tasks
SELECT task_id, lease_owner, lease_until FROM future_tasks WHERE status = 'running';

-- name: words_of_messages only sqlite
SELECT term, doc, col, "offset" FROM message_terms;

-- name: words_of_messages only postgres
SELECT words = CAST(CAST($2 AS text) || CAST($3 AS text) AS tsvector) FROM message_words WHERE id = $1;

-- name: words_of_documents only sqlite
SELECT term, doc, col, "offset" FROM document_terms;

-- name: words_of_documents only postgres
SELECT words = CAST(CAST($2 AS text) || CAST($3 AS text) AS tsvector) FROM document_words WHERE id = $1;

-- name: count_words_of_messages only sqlite
SELECT 0;

-- name: count_words_of_messages only postgres
SELECT count(*) FROM message_words;

-- name: count_words_of_documents only sqlite
SELECT 0;

-- name: count_words_of_documents only postgres
SELECT count(*) FROM document_words;
