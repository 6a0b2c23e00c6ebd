-- What the host writes of a session.

-- One message to an agent.
CREATE TABLE messages_in (
  id TEXT NOT NULL, -- Ours; never used twice.
  seq INTEGER PRIMARY KEY NOT NULL, -- Its number in the session: even, in the order of commits.
  kind TEXT NOT NULL CHECK (kind IN ('chat', 'chat-sdk', 'task', 'webhook', 'system')), -- What the content is.
  "timestamp" TEXT NOT NULL, -- When it was sent, as its sender says; no order depends on it.
  status TEXT NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'completed', 'failed', 'cancelled', 'paused')), -- How far it is.
  process_after TEXT, -- Not due before.
  recurrence TEXT, -- A cron expression: when it is over, the next one is made.
  tries INTEGER NOT NULL DEFAULT 0, -- Attempts that failed.
  platform_id TEXT, -- The chat it came from, or the agent group.
  channel_type TEXT, -- The channel it came from; agent: another agent's.
  thread_id TEXT, -- The thread it came from.
  content TEXT NOT NULL, -- JSON.
  dedup_key TEXT, -- The platform's id of it; not unique for ever.
  series_id TEXT, -- Tasks: the series it is an occurrence of.
  source_session_id TEXT, -- Another agent's session that sent it.
  last_error TEXT, -- Why the last attempt failed.
  source_out_id TEXT, -- The messages_out row that it is the delivery of.
  scheduled_at TEXT, -- Tasks: the time of this occurrence, whatever retries made of process_after.
  time_zone TEXT, -- Tasks: whose clock the recurrence follows; absent: UTC.
  missed TEXT CHECK (missed IN ('run_once', 'skip', 'run_all')), -- Tasks: what happens to occurrences that nobody was there for; absent: run_once.
  stored_at TEXT, -- When it was stored.
  finished_at TEXT, -- When it was completed, failed or cancelled.
  void_attempt INTEGER NOT NULL DEFAULT 0, -- Claims up to this attempt are over: they failed or ran out.
  UNIQUE (id),
  CHECK (seq > 0 AND seq % 2 = 0)
) STRICT;
CREATE INDEX messages_in_by_process_after_seq ON messages_in (process_after, seq) WHERE status = 'pending';
CREATE INDEX messages_in_by_dedup_key ON messages_in (dedup_key) WHERE dedup_key IS NOT NULL;
CREATE INDEX messages_in_by_series_id_seq ON messages_in (series_id, seq) WHERE series_id IS NOT NULL;
CREATE INDEX messages_in_by_series_id ON messages_in (series_id) WHERE series_id IS NOT NULL AND status IN ('pending', 'paused');
CREATE INDEX messages_in_by_finished_at ON messages_in (finished_at) WHERE finished_at IS NOT NULL;
CREATE INDEX messages_in_by_source_session_id ON messages_in (source_session_id) WHERE source_session_id IS NOT NULL;

-- What became of one message of the agent's.
CREATE TABLE delivered (
  message_out_id TEXT NOT NULL, -- The messages_out row; the idempotency key of its delivery.
  platform_message_id TEXT, -- The platform's id of what was delivered.
  status TEXT NOT NULL CHECK (status IN ('sending', 'delivered', 'failed', 'refused', 'uncertain')), -- How far it is.
  delivered_at TEXT, -- When it was delivered, failed or was refused.
  attempts INTEGER NOT NULL DEFAULT 0, -- How often it was begun; fences late reports.
  next_attempt_at TEXT, -- When it is tried again, or its lease is over.
  last_error TEXT, -- Why the last attempt failed.
  lease_owner TEXT, -- The process that is delivering it.
  seq INTEGER NOT NULL DEFAULT 0, -- Its number in the session.
  PRIMARY KEY (message_out_id)
) STRICT;
CREATE INDEX delivered_by_status_next_attempt_at ON delivered (status, next_attempt_at) WHERE status IN ('sending', 'uncertain');
CREATE INDEX delivered_by_delivered_at ON delivered (delivered_at) WHERE delivered_at IS NOT NULL;
CREATE INDEX delivered_by_seq ON delivered (seq);

-- A message of the agent's that the host has taken over and not yet finished.
CREATE TABLE outgoing (
  message_out_id TEXT NOT NULL, -- The messages_out row.
  seq INTEGER NOT NULL, -- Its number in the session.
  due_at TEXT NOT NULL, -- When it is to be delivered, or tried again.
  attempts INTEGER NOT NULL DEFAULT 0, -- How often it was begun; later ones to the same address wait for one that was.
  address TEXT NOT NULL DEFAULT '', -- The channel and chat it goes to.
  PRIMARY KEY (message_out_id)
) STRICT;
CREATE INDEX outgoing_by_due_at_seq ON outgoing (due_at, seq);
CREATE INDEX outgoing_by_address_seq ON outgoing (address, seq) WHERE attempts > 0;

-- Where the agent may send: the registry's rows, as they were when the session was last woken.
CREATE TABLE destinations (
  name TEXT NOT NULL, -- How the agent calls it.
  display_name TEXT, -- How people call it.
  "type" TEXT NOT NULL CHECK ("type" IN ('channel', 'agent')), -- A chat, or another agent.
  channel_type TEXT, -- A chat's channel.
  platform_id TEXT, -- A chat's id there.
  agent_group_id TEXT, -- The other agent.
  PRIMARY KEY (name)
) STRICT;

-- Where what the agent says goes when it does not say where.
CREATE TABLE session_routing (
  id INTEGER NOT NULL, -- 1.
  channel_type TEXT, -- The channel; absent: nowhere.
  platform_id TEXT, -- The chat.
  thread_id TEXT, -- The thread.
  PRIMARY KEY (id),
  CHECK (id = 1)
) STRICT;

-- Something that happened to a message besides going well.
CREATE TABLE message_steps (
  n INTEGER NOT NULL, -- Counts.
  message_id TEXT NOT NULL, -- The messages_in or messages_out row.
  at TEXT NOT NULL, -- When.
  step TEXT NOT NULL, -- retry, failed, expired, cancelled, paused, resumed, sending, delivery_failed, refused, uncertain …
  detail TEXT NOT NULL DEFAULT '', -- Why, or of which attempt.
  PRIMARY KEY (n)
) STRICT;
CREATE INDEX message_steps_by_message_id_n ON message_steps (message_id, n);

-- What the host remembers of the session; one row.
CREATE TABLE session_host (
  id INTEGER NOT NULL, -- 1.
  "session" TEXT NOT NULL, -- The session: the file says whose it is.
  agent_group_id TEXT NOT NULL, -- Its agent group.
  incarnation INTEGER NOT NULL DEFAULT 0, -- Counts the agent's starts; claims of earlier ones are void.
  marked INTEGER NOT NULL DEFAULT 0 CHECK (marked IN (0, 1)), -- The registry's due_at is set: posts need not set it.
  ack_change INTEGER NOT NULL DEFAULT 0, -- The last change of processing_ack that was taken over.
  out_seq INTEGER NOT NULL DEFAULT 0, -- The last messages_out that was taken over.
  outbound_id TEXT NOT NULL DEFAULT '', -- Which outbound side those two numbers are of.
  closed INTEGER NOT NULL DEFAULT 0 CHECK (closed IN (0, 1)), -- The session takes nothing any more.
  prune_before TEXT, -- The agent's side removes what the host has finished before.
  PRIMARY KEY (id),
  CHECK (id = 1)
) STRICT;
