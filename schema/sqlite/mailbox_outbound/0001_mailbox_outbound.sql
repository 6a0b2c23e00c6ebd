-- What the agent's side writes of a session.

-- One message from an agent.
CREATE TABLE messages_out (
  id TEXT NOT NULL, -- Chosen by the sender; the idempotency key of its delivery, and the name of its outbox folder.
  seq INTEGER PRIMARY KEY NOT NULL, -- Its number in the session: odd, in the order of commits.
  in_reply_to TEXT, -- The messages_in row that it answers.
  "timestamp" TEXT NOT NULL, -- When it was written.
  deliver_after TEXT, -- Not to be delivered before.
  recurrence TEXT, -- A cron expression: delivered again and again, from deliver_after on.
  kind TEXT NOT NULL, -- chat, chat-sdk, or system: something that the host shall do.
  platform_id TEXT, -- The chat it goes to, or the agent group.
  channel_type TEXT, -- The channel it goes to; agent: another agent.
  thread_id TEXT, -- The thread it goes to.
  content TEXT NOT NULL, -- JSON.
  UNIQUE (id),
  CHECK (seq > 0 AND seq % 2 = 1)
) STRICT;
CREATE INDEX messages_out_by_in_reply_to ON messages_out (in_reply_to) WHERE in_reply_to IS NOT NULL;

-- How far the agent's side is with a message.
CREATE TABLE processing_ack (
  message_id TEXT NOT NULL, -- The messages_in row.
  status TEXT NOT NULL CHECK (status IN ('processing', 'completed', 'failed')), -- How far it is.
  status_changed TEXT NOT NULL, -- When it became so.
  owner TEXT, -- The process that claimed it; absent: a program that knows no leases.
  lease_until TEXT, -- The claim's end.
  attempt INTEGER, -- Counts the claims of the message; fences late ones.
  error TEXT, -- Why it failed.
  change INTEGER, -- Counts the changes of this table; the host goes on from the last one it saw.
  incarnation INTEGER, -- The start of the agent that claimed it.
  expired INTEGER NOT NULL DEFAULT 0, -- Claims that ran out since the host last heard of a failure.
  PRIMARY KEY (message_id)
) STRICT;
CREATE INDEX processing_ack_by_change ON processing_ack (change);
CREATE INDEX processing_ack_by_lease_until ON processing_ack (lease_until) WHERE status = 'processing';

-- Something that the agent remembers.
CREATE TABLE session_state (
  "key" TEXT NOT NULL, -- Its name.
  "value" TEXT NOT NULL, -- Its value.
  updated_at TEXT NOT NULL, -- When it was set.
  PRIMARY KEY ("key")
) STRICT;

-- A question that this side asked.
CREATE TABLE asked_questions (
  question_id TEXT NOT NULL, -- Its id, and its card's.
  awaited_until TEXT, -- A process waits for the answer until then: claims leave it alone.
  asked_at TEXT NOT NULL, -- When it was asked.
  PRIMARY KEY (question_id)
) STRICT;

-- What the agent's side remembers of the session; one row.
CREATE TABLE session_agent (
  id INTEGER NOT NULL, -- 1.
  outbound_id TEXT NOT NULL, -- Which outbound side this is: a file that was made anew has another.
  heartbeat_at TEXT, -- When the agent last said that it lives; where there are files, .heartbeat says it.
  pruned_before TEXT, -- What the host has finished before is removed here, as far as it asked for that.
  PRIMARY KEY (id),
  CHECK (id = 1)
) STRICT;
