-- The gateway store in one file. The file's own version is for programs that know only SQLite.
PRAGMA user_version = 1;

-- One message, in or out.
CREATE TABLE messages (
  chat_jid TEXT NOT NULL, -- The chat it belongs to.
  id TEXT NOT NULL, -- The platform's id of it, or ours; unique in its chat.
  sender TEXT NOT NULL DEFAULT '', -- Who sent it, as the platform names them.
  content TEXT NOT NULL, -- What it says.
  "timestamp" TEXT NOT NULL, -- When it was sent, as its sender says; no order depends on it.
  verb TEXT NOT NULL DEFAULT 'message', -- What it does: message, reply, join, edit, delete …
  source TEXT NOT NULL DEFAULT '', -- The channel that brought it, or that is to deliver it.
  group_folder TEXT NOT NULL DEFAULT '', -- Outbound: the folder whose agent answered.
  is_from_me INTEGER NOT NULL DEFAULT 0 CHECK (is_from_me IN (0, 1)), -- Outbound, written by an agent: never input.
  sender_name TEXT NOT NULL DEFAULT '', -- The sender's name for people.
  topic TEXT NOT NULL DEFAULT '', -- The thread within the chat; empty is the main one.
  reply_to_id TEXT, -- The message it answers.
  forwarded_from TEXT, -- Who said it first.
  attachments TEXT CHECK (attachments IS NULL OR json_valid(attachments)), -- What is attached, as the adapter describes it.
  seq INTEGER NOT NULL, -- Its number in its chat, in the order of commits, from 1.
  received_at TEXT NOT NULL, -- When it was stored.
  status TEXT NOT NULL DEFAULT 'received' CHECK (status IN ('received', 'pending', 'sending', 'delivered', 'failed', 'refused', 'uncertain')), -- How far it is; received is inbound, the others are a delivery.
  platform_id TEXT, -- The platform's id of a delivered message.
  attempts INTEGER NOT NULL DEFAULT 0, -- How often a delivery was begun; fences late reports.
  next_attempt_at TEXT, -- When a delivery is due, or its lease is over.
  last_error TEXT, -- Why the last attempt failed.
  turn_id TEXT, -- The agent's turn that it belongs to.
  is_future INTEGER NOT NULL DEFAULT 0 CHECK (is_future IN (0, 1)), -- The timestamp was over 10 minutes ahead of us.
  lease_by TEXT, -- The service that is delivering it.
  lease_owner TEXT, -- Its process.
  attempts_before INTEGER NOT NULL DEFAULT 0, -- Attempts before it was last retried by hand.
  return_to TEXT, -- To whom a delivery's outcome is yet to be reported.
  change INTEGER NOT NULL UNIQUE, -- The number of its latest change, over all chats of the store, in the order of commits.
  PRIMARY KEY (chat_jid, seq),
  UNIQUE (chat_jid, id)
) WITHOUT ROWID, STRICT;
CREATE INDEX messages_by_chat_jid_timestamp ON messages (chat_jid, "timestamp");
CREATE INDEX messages_by_chat_jid_platform_id ON messages (chat_jid, platform_id) WHERE platform_id IS NOT NULL;
CREATE INDEX messages_by_chat_jid_seq ON messages (chat_jid, seq) WHERE status IN ('pending', 'sending');
CREATE INDEX messages_by_lease_owner ON messages (lease_owner) WHERE status = 'sending';
CREATE INDEX messages_by_status_received_at ON messages (status, received_at) WHERE status IN ('failed', 'refused', 'uncertain');
CREATE INDEX messages_by_turn_id ON messages (turn_id) WHERE turn_id IS NOT NULL;
CREATE INDEX messages_by_change ON messages (change) WHERE return_to IS NOT NULL AND status IN ('delivered', 'failed', 'refused', 'uncertain');

-- A chat with deliveries under way: its first one decides when it is due.
CREATE TABLE delivery_queues (
  chat_jid TEXT NOT NULL, -- The chat; it has a row as long as a message of it is pending or sending.
  channel TEXT NOT NULL, -- The channel of the first of them.
  due_at TEXT NOT NULL, -- When the first of them is due, or its lease is over.
  PRIMARY KEY (chat_jid)
) WITHOUT ROWID, STRICT;
CREATE INDEX delivery_queues_by_due_at ON delivery_queues (due_at);
CREATE INDEX delivery_queues_by_channel_due_at ON delivery_queues (channel, due_at);

-- A conversation on a channel.
CREATE TABLE chats (
  jid TEXT NOT NULL, -- Its address: <channel>:<id>.
  name TEXT NOT NULL DEFAULT '', -- What people call it.
  channel TEXT NOT NULL DEFAULT '', -- The channel it is on.
  is_group INTEGER NOT NULL DEFAULT 0 CHECK (is_group IN (0, 1)), -- More than two take part.
  errored INTEGER NOT NULL DEFAULT 0 CHECK (errored IN (0, 1)), -- An agent failed on it; cleared by its next success.
  last_seq INTEGER NOT NULL DEFAULT 0, -- The number of its newest message.
  last_input_seq INTEGER NOT NULL DEFAULT 0, -- The number of its newest message that is input.
  last_message_at TEXT, -- The newest timestamp that was not in the future.
  sticky_group TEXT, -- The folder it is pinned to.
  sticky_topic TEXT, -- The topic it is pinned to.
  PRIMARY KEY (jid)
) WITHOUT ROWID, STRICT;
CREATE INDEX chats_by_last_message_at_jid ON chats (last_message_at, jid) WHERE substr(jid, 1, 4) = 'web:';
CREATE INDEX chats_by_jid ON chats (jid) WHERE errored;

-- Where messages of a chat go.
CREATE TABLE routes (
  id INTEGER PRIMARY KEY NOT NULL, -- Assigned by the database.
  jid TEXT NOT NULL, -- A chat, a platform's prefix such as telegram:, or *.
  seq INTEGER NOT NULL DEFAULT 0, -- Smaller is tried first.
  "type" TEXT NOT NULL DEFAULT 'default' CHECK ("type" IN ('command', 'prefix', 'pattern', 'keyword', 'sender', 'verb', 'default')), -- How match is compared.
  "match" TEXT NOT NULL DEFAULT '', -- What to compare with; empty for default.
  target TEXT NOT NULL -- A folder; {sender} stands for the sender's id.
) STRICT;
CREATE INDEX routes_by_jid_seq ON routes (jid, seq);

-- How often the routes of a jid have changed; who keeps them compiled looks here.
CREATE TABLE route_versions (
  jid TEXT NOT NULL, -- As in routes.
  version INTEGER NOT NULL, -- Grows with each change.
  PRIMARY KEY (jid)
) STRICT;

-- A chat that an agent's folder serves.
CREATE TABLE registered_groups (
  jid TEXT NOT NULL, -- The chat.
  folder TEXT NOT NULL, -- The folder: segments between slashes.
  trigger_word TEXT NOT NULL DEFAULT '', -- What a message must begin with, if it must.
  requires_trigger INTEGER NOT NULL DEFAULT 0 CHECK (requires_trigger IN (0, 1)), -- Take only messages that begin with trigger_word.
  container_config TEXT CHECK (container_config IS NULL OR json_valid(container_config)), -- Mounts, timeout, sidecars.
  parent TEXT NOT NULL DEFAULT '', -- The folder above; empty for none.
  slink_token TEXT, -- Who has it may write to the group over the web.
  name TEXT NOT NULL DEFAULT '', -- What people call it.
  state TEXT NOT NULL DEFAULT 'active' CHECK (state IN ('active', 'closed', 'archived')), -- Whether it takes messages.
  added_at TEXT NOT NULL, -- When it was registered.
  updated_at TEXT NOT NULL, -- When it was last changed.
  slink_hash TEXT UNIQUE, -- SHA-256 of slink_token in hex: it is found by this.
  PRIMARY KEY (jid)
) STRICT;
CREATE INDEX registered_groups_by_folder_jid ON registered_groups (folder, jid);
CREATE INDEX registered_groups_by_state_jid ON registered_groups (state, jid);

-- Which session of an agent goes on in a folder's topic.
CREATE TABLE sessions (
  group_folder TEXT NOT NULL, -- The folder.
  topic TEXT NOT NULL, -- The topic; empty is the default session.
  session_id TEXT NOT NULL, -- The agent's own id of the session.
  updated_at TEXT NOT NULL, -- When it was set.
  PRIMARY KEY (group_folder, topic)
) STRICT;

-- One run of a session.
CREATE TABLE session_log (
  id INTEGER PRIMARY KEY NOT NULL, -- Assigned by the database.
  group_folder TEXT NOT NULL, -- The folder.
  session_id TEXT NOT NULL, -- The agent's own id of the session.
  started_at TEXT NOT NULL, -- When it began.
  ended_at TEXT, -- When it ended.
  result TEXT, -- How it ended.
  error TEXT, -- Why it failed.
  topic TEXT NOT NULL DEFAULT '', -- The topic.
  message_count INTEGER NOT NULL DEFAULT 0 -- How many messages it was given.
) STRICT;
CREATE INDEX session_log_by_group_folder_id ON session_log (group_folder, id);

-- A remark for an agent, told with the next message.
CREATE TABLE system_messages (
  id INTEGER PRIMARY KEY NOT NULL, -- Assigned by the database; their order.
  group_id TEXT NOT NULL, -- The folder it is for.
  origin TEXT NOT NULL, -- Who remarks.
  event TEXT NOT NULL, -- What happened.
  body TEXT NOT NULL DEFAULT '', -- Text, or XML when is_xml.
  attributes TEXT CHECK (attributes IS NULL OR json_valid(attributes)), -- More attributes of the element: an object of texts.
  dedup_key TEXT, -- While one with this key waits, another is a duplicate.
  created_at TEXT NOT NULL, -- When it was enqueued.
  is_xml INTEGER NOT NULL DEFAULT 0 CHECK (is_xml IN (0, 1)), -- The body is XML and is not escaped.
  turn_id TEXT, -- The turn that has claimed it.
  attempts INTEGER NOT NULL DEFAULT 0, -- How often it was claimed.
  lease_by TEXT, -- The service that claimed it.
  lease_owner TEXT, -- Its process.
  lease_until TEXT, -- Until when.
  UNIQUE (group_id, dedup_key)
) STRICT;
CREATE INDEX system_messages_by_group_id_id ON system_messages (group_id, id) WHERE turn_id IS NULL;
CREATE INDEX system_messages_by_group_id_turn_id ON system_messages (group_id, turn_id) WHERE turn_id IS NOT NULL;

-- A turn whose system messages went to another: it must not complete them.
CREATE TABLE lost_claims (
  group_id TEXT NOT NULL, -- The folder.
  turn_id TEXT NOT NULL, -- The turn.
  lost_at TEXT NOT NULL, -- When it lost them; a week later it is forgotten.
  PRIMARY KEY (group_id, turn_id)
) STRICT;
CREATE INDEX lost_claims_by_lost_at ON lost_claims (lost_at);

-- A prompt that comes back.
CREATE TABLE scheduled_tasks (
  id TEXT NOT NULL, -- Chosen by who creates it.
  owner TEXT NOT NULL, -- The folder whose it is.
  chat_jid TEXT NOT NULL, -- The chat that the prompt goes to.
  prompt TEXT NOT NULL, -- What is said then.
  cron TEXT, -- A cron expression, or an interval in ms; absent: one time only.
  next_run TEXT, -- When it is due; absent: never.
  status TEXT NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'paused', 'firing', 'completed', 'cancelled', 'failed')), -- How far it is.
  created_at TEXT NOT NULL, -- When it was made.
  timezone TEXT NOT NULL DEFAULT 'UTC', -- The IANA zone of the expression.
  context_mode TEXT NOT NULL DEFAULT 'group' CHECK (context_mode IN ('group', 'isolated')), -- In the group's session, or in one of its own.
  missed_policy TEXT NOT NULL DEFAULT 'run_once' CHECK (missed_policy IN ('run_once', 'skip', 'run_all')), -- What becomes of runs that nobody started.
  attempts INTEGER NOT NULL DEFAULT 0, -- Failed attempts at the present time.
  last_error TEXT, -- Why the last attempt failed.
  last_run TEXT, -- When it last fired.
  dialect TEXT NOT NULL DEFAULT 'debian' CHECK (dialect IN ('debian', 'robfig', 'cron-parser', 'apscheduler')), -- Whose rules the expression follows.
  anchor_at TEXT NOT NULL, -- An interval counts from here; otherwise the first time it was made for.
  grace_ms INTEGER NOT NULL DEFAULT 0, -- A missed run older than that is not made up; 0: no limit.
  run_all_max INTEGER NOT NULL DEFAULT 10, -- run_all: so many of the latest missed runs.
  retry_of TEXT, -- The time whose run failed; next_run is when it is tried again.
  lease_by TEXT, -- The service that fired it last, or is firing it.
  lease_owner TEXT, -- Its process.
  lease_until TEXT, -- Until when; once it has fired, when that was.
  PRIMARY KEY (id)
) STRICT;
CREATE INDEX scheduled_tasks_by_next_run ON scheduled_tasks (next_run) WHERE status IN ('active', 'firing');
CREATE INDEX scheduled_tasks_by_lease_until ON scheduled_tasks (lease_until) WHERE status = 'firing';
CREATE INDEX scheduled_tasks_by_owner_created_at_id ON scheduled_tasks (owner, created_at, id);
CREATE INDEX scheduled_tasks_by_status_created_at_id ON scheduled_tasks (status, created_at, id);
CREATE INDEX scheduled_tasks_by_created_at_id ON scheduled_tasks (created_at, id);

-- One run of a task.
CREATE TABLE task_run_logs (
  id INTEGER PRIMARY KEY NOT NULL, -- Assigned by the database.
  task_id TEXT NOT NULL REFERENCES scheduled_tasks (id) ON DELETE CASCADE, -- The task.
  scheduled_for TEXT NOT NULL, -- The time it was due; with task_id its identity.
  run_at TEXT NOT NULL, -- When it was fired; until then, when that first failed.
  duration_ms INTEGER, -- How long the agent took, when told.
  status TEXT NOT NULL CHECK (status IN ('success', 'error', 'skipped')), -- success: its message is stored.
  result TEXT, -- What the agent said of it.
  error TEXT, -- Why it was skipped or failed, a line for each attempt.
  message_id TEXT, -- The message it became.
  UNIQUE (task_id, scheduled_for)
) STRICT;
CREATE INDEX task_run_logs_by_status_run_at ON task_run_logs (status, run_at);
CREATE INDEX task_run_logs_by_task_id_id ON task_run_logs (task_id, id);

-- What a router remembers under a name.
CREATE TABLE router_state (
  "key" TEXT NOT NULL, -- The name.
  "value" TEXT NOT NULL, -- Its value.
  PRIMARY KEY ("key")
) STRICT;

-- Who reads messages with cursors.
CREATE TABLE consumers (
  name TEXT NOT NULL, -- The name it reads under.
  created_at TEXT NOT NULL, -- When it first read.
  PRIMARY KEY (name)
) STRICT;

-- How far a consumer has come in a chat.
CREATE TABLE cursors (
  consumer TEXT NOT NULL, -- The consumer.
  chat_jid TEXT NOT NULL, -- The chat.
  seq INTEGER NOT NULL, -- It has done everything up to this number.
  updated_at TEXT NOT NULL, -- When it last moved.
  pending_since TEXT, -- Since when input waits beyond it; absent: none does.
  PRIMARY KEY (consumer, chat_jid)
) WITHOUT ROWID, STRICT;
CREATE INDEX cursors_by_chat_jid ON cursors (chat_jid) WHERE pending_since IS NULL;
CREATE INDEX cursors_by_consumer_pending_since_chat_jid ON cursors (consumer, pending_since, chat_jid) WHERE pending_since IS NOT NULL;

-- Who may sign in on the web.
CREATE TABLE auth_users (
  sub TEXT NOT NULL, -- <provider>:<id>.
  username TEXT NOT NULL UNIQUE, -- The name to sign in with.
  hash TEXT NOT NULL, -- argon2id as a PHC string; empty: no password.
  name TEXT NOT NULL DEFAULT '', -- What people call them.
  created_at TEXT NOT NULL, -- When the account was made.
  disabled INTEGER NOT NULL DEFAULT 0 CHECK (disabled IN (0, 1)), -- May not sign in.
  PRIMARY KEY (sub)
) STRICT;

-- A refresh token that was given out.
CREATE TABLE auth_sessions (
  token_hash TEXT NOT NULL, -- SHA-256 of the token in hex.
  user_sub TEXT NOT NULL, -- Whose it is.
  expires_at TEXT NOT NULL, -- When it stops being good.
  family_id TEXT NOT NULL, -- All tokens that follow from one sign-in.
  created_at TEXT NOT NULL, -- When it was given out.
  used_at TEXT, -- When it was exchanged for the next one.
  revoked_at TEXT, -- When it, and its family, was ended.
  PRIMARY KEY (token_hash)
) STRICT;
CREATE INDEX auth_sessions_by_family_id ON auth_sessions (family_id);
CREATE INDEX auth_sessions_by_user_sub ON auth_sessions (user_sub);
CREATE INDEX auth_sessions_by_expires_at ON auth_sessions (expires_at);

-- A folder that an account may see. No row: an operator.
CREATE TABLE user_groups (
  user_sub TEXT NOT NULL, -- The account.
  folder TEXT NOT NULL, -- The folder, with all below it; empty: none.
  PRIMARY KEY (user_sub, folder)
) STRICT;

-- A conversation by mail.
CREATE TABLE email_threads (
  thread_id TEXT NOT NULL, -- Made from its first message's id.
  chat_jid TEXT NOT NULL, -- email:<thread_id>.
  subject TEXT NOT NULL DEFAULT '', -- Of the first message.
  root_message_id TEXT NOT NULL, -- The first message's Message-ID.
  from_address TEXT NOT NULL DEFAULT '', -- Who wrote it.
  PRIMARY KEY (thread_id)
) STRICT;

-- Which conversation a mail belongs to.
CREATE TABLE email_message_ids (
  message_id TEXT NOT NULL, -- A Message-ID, without the angle brackets.
  thread_id TEXT NOT NULL REFERENCES email_threads (thread_id) ON DELETE CASCADE, -- The conversation.
  PRIMARY KEY (message_id)
) STRICT;
CREATE INDEX email_message_ids_by_thread_id ON email_message_ids (thread_id);

-- A chat that asks for a world of its own.
CREATE TABLE onboarding (
  jid TEXT NOT NULL, -- The chat.
  status TEXT NOT NULL CHECK (status IN ('awaiting_name', 'pending', 'approved', 'rejected')), -- How far it is.
  world_name TEXT, -- The name it asks for.
  prompted_at TEXT, -- When it was last asked for a name.
  sender TEXT NOT NULL DEFAULT '', -- Who asks.
  channel TEXT NOT NULL DEFAULT '', -- On which channel.
  created_at TEXT NOT NULL, -- When it first asked.
  decided_at TEXT, -- When it was decided.
  decided_by TEXT, -- Who decided.
  PRIMARY KEY (jid)
) STRICT;
CREATE INDEX onboarding_by_created_at_jid ON onboarding (created_at, jid);
CREATE INDEX onboarding_by_status_created_at_jid ON onboarding (status, created_at, jid);
CREATE INDEX onboarding_by_world_name ON onboarding (world_name) WHERE status IN ('awaiting_name', 'pending');

-- A key of access tokens.
CREATE TABLE signing_keys (
  id TEXT NOT NULL, -- Its id, as tokens name it.
  "key" BLOB NOT NULL, -- 32 random bytes.
  created_at TEXT NOT NULL, -- When it was made; the newest signs.
  retired_at TEXT, -- When it was taken out of use.
  PRIMARY KEY (id)
) STRICT;

-- What an adopted file held that has no place here.
CREATE TABLE adopted_rows (
  id INTEGER PRIMARY KEY NOT NULL, -- Assigned by the database.
  source_table TEXT NOT NULL, -- The table it was in.
  data TEXT NOT NULL CHECK (json_valid(data)) -- The row, or its columns that have no place here.
) STRICT;
CREATE INDEX adopted_rows_by_source_table_id ON adopted_rows (source_table, id);
