-- Deliveries: gateway_deliveries.c. A chat with deliveries that are pending or sending has one row
-- in delivery_queues, which says when the first of them is due.

-- name: queue_delivery
-- A delivery comes behind those of its chat.
INSERT INTO delivery_queues (chat_jid, channel, due_at) VALUES ($1, $2, $3)
ON CONFLICT (chat_jid) DO NOTHING;

-- name: end_queue
-- Nothing of the chat is pending or sending any more.
DELETE FROM delivery_queues WHERE chat_jid = $1 AND NOT EXISTS (
  SELECT 1 FROM messages WHERE chat_jid = $1 AND status IN ('pending', 'sending')
);

-- name: renew_queue
-- The first of a chat's deliveries has changed, or is another one.
INSERT INTO delivery_queues (chat_jid, channel, due_at)
SELECT chat_jid, source, next_attempt_at FROM messages
WHERE chat_jid = $1 AND status IN ('pending', 'sending') ORDER BY seq LIMIT 1
ON CONFLICT (chat_jid) DO UPDATE SET channel = excluded.channel, due_at = excluded.due_at;

-- name: lease_queue
-- The first of a chat's deliveries was claimed.
UPDATE delivery_queues SET due_at = $2 WHERE chat_jid = $1;

-- name: end_empty_queues
-- Nothing of these chats can be claimed, though their time has come: somebody else changed them.
DELETE FROM delivery_queues WHERE due_at <= $1 AND NOT EXISTS (
  SELECT 1 FROM messages
  WHERE messages.chat_jid = delivery_queues.chat_jid AND status IN ('pending', 'sending')
);

-- name: fail_unreadable_delivery
-- A claimed one whose row cannot be read: what can be said of it without.
UPDATE messages SET status = 'failed', next_attempt_at = NULL, last_error = $3, lease_by = NULL,
  lease_owner = NULL, change = (SELECT max(change) + 1 FROM messages)
WHERE chat_jid = $1 AND seq = $2 AND status = 'sending';

-- name: delivery_owners
-- Whose processes are delivering.
SELECT DISTINCT lease_owner FROM messages WHERE status = 'sending' AND lease_owner IS NOT NULL;

-- name: end_leases_of_owner
-- A process is gone: its leases are over.
UPDATE messages SET next_attempt_at = $2,
  change = (SELECT max(change) FROM messages) + ended.place
FROM (
  SELECT chat_jid, seq, row_number() OVER (ORDER BY change) AS place FROM messages
  WHERE status = 'sending' AND lease_owner = $1 AND next_attempt_at > $2
) AS ended
WHERE messages.chat_jid = ended.chat_jid AND messages.seq = ended.seq;

-- name: renew_queues_of_owner
UPDATE delivery_queues SET due_at = (
  SELECT next_attempt_at FROM messages
  WHERE messages.chat_jid = delivery_queues.chat_jid AND status IN ('pending', 'sending')
  ORDER BY seq LIMIT 1
) WHERE chat_jid IN (SELECT chat_jid FROM messages WHERE status = 'sending' AND lease_owner = $1);

-- name: due_deliveries
-- Of up to $2 chats whose first delivery is due: the first of each, the second of each …, up to one
-- that waits. Of each chat are looked at as many as make $2 in all when they are shared out equally,
-- $3 times that and one more.
WITH due AS (
  SELECT chat_jid, due_at FROM delivery_queues WHERE due_at <= $1
  ORDER BY due_at, chat_jid LIMIT $2
), waiting AS (
  SELECT due.due_at, messages.chat_jid, messages.seq, messages.attempts, messages.status,
    row_number() OVER (PARTITION BY messages.chat_jid ORDER BY messages.seq) AS place,
    max(CASE WHEN messages.next_attempt_at > $1 THEN 1 ELSE 0 END)
      OVER (PARTITION BY messages.chat_jid ORDER BY messages.seq) AS held
  FROM due
  JOIN messages ON messages.chat_jid = due.chat_jid AND messages.status IN ('pending', 'sending')
    AND messages.seq <= coalesce((
      SELECT later.seq FROM messages AS later
      WHERE later.chat_jid = due.chat_jid AND later.status IN ('pending', 'sending')
      ORDER BY later.seq
      LIMIT 1 OFFSET $3 * ($2 / coalesce(nullif((SELECT count(*) FROM due), 0), 1))
    ), 9223372036854775807)
)
SELECT chat_jid, seq, attempts, status, place FROM waiting WHERE held = 0
ORDER BY place, due_at, chat_jid LIMIT $2;

-- name: due_deliveries_of_channel
-- The same of channel $4; another one's holds back its chat.
WITH due AS (
  SELECT chat_jid, due_at FROM delivery_queues WHERE channel = $4 AND due_at <= $1
  ORDER BY due_at, chat_jid LIMIT $2
), waiting AS (
  SELECT due.due_at, messages.chat_jid, messages.seq, messages.attempts, messages.status,
    row_number() OVER (PARTITION BY messages.chat_jid ORDER BY messages.seq) AS place,
    max(CASE WHEN messages.next_attempt_at > $1 OR messages.source <> $4 THEN 1 ELSE 0 END)
      OVER (PARTITION BY messages.chat_jid ORDER BY messages.seq) AS held
  FROM due
  JOIN messages ON messages.chat_jid = due.chat_jid AND messages.status IN ('pending', 'sending')
    AND messages.seq <= coalesce((
      SELECT later.seq FROM messages AS later
      WHERE later.chat_jid = due.chat_jid AND later.status IN ('pending', 'sending')
      ORDER BY later.seq
      LIMIT 1 OFFSET $3 * ($2 / coalesce(nullif((SELECT count(*) FROM due), 0), 1))
    ), 9223372036854775807)
)
SELECT chat_jid, seq, attempts, status, place FROM waiting WHERE held = 0
ORDER BY place, due_at, chat_jid LIMIT $2;

-- name: claim_deliveries only sqlite
-- Lease [[chat, number, attempts, status], …]: each a compare-and-set.
UPDATE messages SET status = 'sending', attempts = messages.attempts + 1, next_attempt_at = $2,
  lease_by = $3, lease_owner = $4,
  change = (SELECT max(change) FROM messages) + 1 + wanted.key
FROM json_each($1) AS wanted
WHERE messages.chat_jid = wanted.value ->> 0
  AND messages.seq = wanted.value ->> 1
  AND messages.attempts = wanted.value ->> 2
  AND messages.status = wanted.value ->> 3
RETURNING *;

-- name: claim_deliveries only postgres
-- Lease [[chat, number, attempts, status], …]: each a compare-and-set.
UPDATE messages SET status = 'sending', attempts = messages.attempts + 1, next_attempt_at = $2,
  lease_by = $3, lease_owner = $4,
  change = (SELECT max(change) FROM messages) + wanted.place
FROM json_array_elements(CAST($1 AS json)) WITH ORDINALITY AS wanted (value, place)
WHERE messages.chat_jid = wanted.value ->> 0
  AND messages.seq = CAST(wanted.value ->> 1 AS bigint)
  AND messages.attempts = CAST(wanted.value ->> 2 AS bigint)
  AND messages.status = wanted.value ->> 3
RETURNING messages.*;

-- name: probe_delivery
SELECT status, attempts, attempts_before, last_error, platform_id, next_attempt_at
FROM messages WHERE chat_jid = $1 AND id = $2;

-- name: move_delivery
-- From status $3 and attempt $4 to another one; an absent platform_id stays.
UPDATE messages SET status = $5, next_attempt_at = $6, last_error = $7,
  platform_id = coalesce($8, platform_id), attempts_before = $9, lease_by = NULL, lease_owner = NULL,
  change = (SELECT max(change) + 1 FROM messages)
WHERE chat_jid = $1 AND id = $2 AND status = $3 AND attempts = $4;

-- name: extend_delivery
UPDATE messages SET next_attempt_at = $5, change = (SELECT max(change) + 1 FROM messages)
WHERE chat_jid = $1 AND id = $2 AND status = $3 AND attempts = $4;

-- name: ended_badly
-- Of one status, newest first.
SELECT * FROM messages
WHERE status IN ('failed', 'refused', 'uncertain') AND status = $3 AND received_at < $1
ORDER BY received_at DESC, chat_jid, seq DESC LIMIT $2;

-- name: ended_badly_at_all
-- Of all three, newest first; each of them by the index.
SELECT * FROM (
  SELECT * FROM (
    SELECT * FROM messages
    WHERE status IN ('failed', 'refused', 'uncertain') AND status = 'failed' AND received_at < $1
    ORDER BY received_at DESC, chat_jid, seq DESC LIMIT $2
  ) AS failed
  UNION ALL
  SELECT * FROM (
    SELECT * FROM messages
    WHERE status IN ('failed', 'refused', 'uncertain') AND status = 'refused' AND received_at < $1
    ORDER BY received_at DESC, chat_jid, seq DESC LIMIT $2
  ) AS refused
  UNION ALL
  SELECT * FROM (
    SELECT * FROM messages
    WHERE status IN ('failed', 'refused', 'uncertain') AND status = 'uncertain' AND received_at < $1
    ORDER BY received_at DESC, chat_jid, seq DESC LIMIT $2
  ) AS uncertain
) AS ended
ORDER BY received_at DESC, chat_jid, seq DESC LIMIT $2;
