-- name: note_input
-- Why an inbound message is not with an agent; the same again changes nothing.
UPDATE messages SET last_error = $3, change = (SELECT max(change) + 1 FROM messages)
WHERE chat_jid = $1 AND id = $2 AND NOT is_from_me AND coalesce(last_error, '') <> coalesce($3, '');
