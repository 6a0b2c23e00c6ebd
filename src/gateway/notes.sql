-- name: note_input
-- Why an inbound message is not with an agent; the same again changes nothing.
UPDATE messages SET last_error = $3, change = (SELECT max(change) + 1 FROM messages)
WHERE chat_jid = $1 AND id = $2 AND NOT is_from_me AND coalesce(last_error, '') <> coalesce($3, '');

-- name: note_inputs
-- The same for all of a chat with numbers from $2 to $3.
UPDATE messages SET last_error = $4, change = (SELECT max(change) FROM messages) + noted.place
FROM (
  SELECT seq, row_number() OVER (ORDER BY seq) AS place FROM messages
  WHERE chat_jid = $1 AND seq BETWEEN $2 AND $3 AND NOT is_from_me
    AND coalesce(last_error, '') <> coalesce($4, '')
) AS noted
WHERE messages.chat_jid = $1 AND messages.seq = noted.seq;
