-- Consumers, their cursors, and what is waited for: gateway_consumers.c, gateway_wait.c.

-- name: pending_chats
-- The chats with input beyond a consumer's cursors, longest waiting first; one row with an absent
-- chat when there is none, and no row when there is no such consumer.
SELECT found.chat_jid, found.seq, chats.last_input_seq, found.pending_since, chats.errored
FROM consumers
LEFT JOIN (
  SELECT chat_jid, seq, pending_since FROM cursors
  WHERE consumer = $1 AND pending_since IS NOT NULL
  ORDER BY pending_since, chat_jid LIMIT $2
) AS found ON TRUE
LEFT JOIN chats ON chats.jid = found.chat_jid
WHERE consumers.name = $1
ORDER BY found.pending_since, found.chat_jid;

-- name: pending_of only sqlite
-- The same of the chats in a JSON array.
SELECT found.chat_jid, found.seq, chats.last_input_seq, found.pending_since, chats.errored
FROM consumers
LEFT JOIN (
  SELECT chat_jid, seq, pending_since FROM cursors
  WHERE consumer = $1 AND pending_since IS NOT NULL
    AND chat_jid IN (SELECT value FROM json_each($3))
  ORDER BY pending_since, chat_jid LIMIT $2
) AS found ON TRUE
LEFT JOIN chats ON chats.jid = found.chat_jid
WHERE consumers.name = $1
ORDER BY found.pending_since, found.chat_jid;

-- name: pending_of only postgres
-- The same of the chats in a JSON array.
SELECT found.chat_jid, found.seq, chats.last_input_seq, found.pending_since, chats.errored
FROM consumers
LEFT JOIN (
  SELECT chat_jid, seq, pending_since FROM cursors
  WHERE consumer = $1 AND pending_since IS NOT NULL
    AND chat_jid = ANY (ARRAY(SELECT json_array_elements_text($3)))
  ORDER BY pending_since, chat_jid LIMIT $2
) AS found ON TRUE
LEFT JOIN chats ON chats.jid = found.chat_jid
WHERE consumers.name = $1
ORDER BY found.pending_since, found.chat_jid;

-- name: unread_chats
-- What is pending for a consumer that is yet to be made, at the time $1.
SELECT jid, 0, last_input_seq, $1, errored FROM chats WHERE last_input_seq > 0 ORDER BY jid LIMIT $2;

-- name: unread_of only sqlite
-- The same of the chats in a JSON array.
SELECT jid, 0, last_input_seq, $1, errored FROM chats
WHERE last_input_seq > 0 AND jid IN (SELECT value FROM json_each($3))
ORDER BY jid LIMIT $2;

-- name: unread_of only postgres
-- The same of the chats in a JSON array.
SELECT jid, 0, last_input_seq, $1, errored FROM chats
WHERE last_input_seq > 0 AND jid = ANY (ARRAY(SELECT json_array_elements_text($3)))
ORDER BY jid LIMIT $2;

-- name: messages_beyond only sqlite
-- Of each chat in a JSON array of [jid, number] the first $2 input messages beyond that number, in
-- the order of the array; $3 in all.
SELECT messages.*
FROM json_each($1) AS wanted CROSS JOIN messages
WHERE messages.chat_jid = json_extract(wanted.value, '$[0]')
  AND messages.seq > json_extract(wanted.value, '$[1]')
  AND messages.seq <= (
    SELECT max(seq) FROM (
      SELECT near.seq FROM messages AS near
      WHERE near.chat_jid = json_extract(wanted.value, '$[0]')
        AND near.seq > json_extract(wanted.value, '$[1]') AND NOT near.is_from_me
      ORDER BY near.seq LIMIT $2))
  AND NOT messages.is_from_me
ORDER BY wanted.key, messages.seq LIMIT $3;

-- name: messages_beyond only postgres
-- The same. Pairs are compared, so that no index but that of the numbers fits, whatever the planner
-- thinks of a young table.
SELECT found.*
FROM json_array_elements($1) WITH ORDINALITY AS wanted (value, key)
CROSS JOIN LATERAL (
  SELECT * FROM messages
  WHERE (chat_jid, seq) > (wanted.value ->> 0, (wanted.value ->> 1)::bigint)
    AND (chat_jid, seq) <= (wanted.value ->> 0, 9223372036854775807) AND NOT is_from_me
  ORDER BY chat_jid, seq LIMIT $2
) AS found
ORDER BY wanted.key, found.seq LIMIT $3;

-- name: probe_cursor
-- What a move of a cursor must know, and the last in the consumer's line but this chat; always one
-- row.
SELECT chats.last_seq, chats.last_input_seq, consumers.name, cursors.seq, cursors.pending_since,
  (SELECT others.pending_since FROM cursors AS others
   WHERE others.consumer = $1 AND others.pending_since IS NOT NULL AND others.chat_jid <> $2
   ORDER BY others.pending_since DESC, others.chat_jid DESC LIMIT 1)
FROM (SELECT 1 AS one) AS always
LEFT JOIN chats ON chats.jid = $2
LEFT JOIN consumers ON consumers.name = $1
LEFT JOIN cursors ON cursors.consumer = $1 AND cursors.chat_jid = $2;

-- name: set_cursor
-- Move a cursor from $6.
INSERT INTO cursors (consumer, chat_jid, seq, updated_at, pending_since)
VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (consumer, chat_jid) DO UPDATE SET seq = $3, updated_at = $4, pending_since = $5
WHERE cursors.seq = $6;

-- name: get_cursor
-- No row when there is no such consumer.
SELECT cursors.seq FROM consumers
LEFT JOIN cursors ON cursors.consumer = $1 AND cursors.chat_jid = $2
WHERE consumers.name = $1;

-- name: add_consumer
INSERT INTO consumers (name, created_at) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING;

-- name: add_consumer_cursors
-- A new consumer begins every chat before its first message.
INSERT INTO cursors (consumer, chat_jid, seq, updated_at, pending_since)
SELECT $1, jid, 0, $2, CASE WHEN last_input_seq > 0 THEN $2 END FROM chats WHERE TRUE
ON CONFLICT (consumer, chat_jid) DO NOTHING;

-- name: add_missing_cursors
-- Every consumer begins a chat that was perhaps just made.
INSERT INTO cursors (consumer, chat_jid, seq, updated_at, pending_since)
SELECT name, $1, 0, $2, NULL FROM consumers WHERE TRUE ON CONFLICT (consumer, chat_jid) DO NOTHING;

-- name: remove_cursors
DELETE FROM cursors WHERE consumer = $1;

-- name: remove_consumer
DELETE FROM consumers WHERE name = $1;

-- name: has_pending
-- Whether a consumer has something to read; no row when there is no such consumer.
SELECT EXISTS (SELECT 1 FROM cursors WHERE consumer = $1 AND pending_since IS NOT NULL)
FROM consumers WHERE name = $1;

-- name: has_input
-- Whether a consumer that is yet to be made would have something to read.
SELECT EXISTS (SELECT 1 FROM chats WHERE last_input_seq > 0);

-- name: deliveries_due
-- When the first delivery of a channel is due, or its lease is over.
SELECT due_at FROM delivery_queues WHERE channel = $1 ORDER BY due_at LIMIT 1;

-- name: deliveries_due_anywhere
-- The same of all channels.
SELECT due_at FROM delivery_queues ORDER BY due_at LIMIT 1;
