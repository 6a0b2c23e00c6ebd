-- The assistant store in one file. The file's own version is for programs that know only SQLite.
PRAGMA user_version = 1;

-- Who talks with the assistant, on which channel.
CREATE TABLE conversations (
  id INTEGER PRIMARY KEY NOT NULL, -- Assigned by the database.
  conversation_id TEXT NOT NULL UNIQUE, -- Its name: chosen by the caller, or a UUID of ours.
  channel TEXT NOT NULL, -- The channel: webui, whatsapp, slack, system …
  contact_identifier TEXT, -- Whom it is with, as the channel names them.
  context_version INTEGER NOT NULL DEFAULT 1, -- Grows with each summary: what is cached for a smaller one is old.
  last_accessed TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')), -- When it was last found or written to.
  created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')), -- When it began.
  updated_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')), -- When a message was last added.
  metadata TEXT CHECK (metadata IS NULL OR json_valid(metadata)), -- What the caller keeps with it: an object.
  last_seq INTEGER NOT NULL DEFAULT 0, -- The number of its newest message.
  message_count INTEGER NOT NULL DEFAULT 0, -- Its messages without internal ones.
  last_message_at TEXT -- The time of its newest message that is not internal.
) STRICT;
CREATE INDEX conversations_by_channel_contact_identifier_updated_at_id ON conversations (channel, contact_identifier, updated_at, id);
CREATE INDEX conversations_by_channel_updated_at_id ON conversations (channel, updated_at, id);
CREATE INDEX conversations_by_updated_at_id ON conversations (updated_at, id);

-- One message of a conversation.
CREATE TABLE messages (
  id INTEGER PRIMARY KEY NOT NULL, -- Assigned by the database; grows in the order of commits.
  conversation_id TEXT NOT NULL REFERENCES conversations (conversation_id) ON DELETE CASCADE, -- Its conversation.
  message_id TEXT NOT NULL UNIQUE, -- Its name: chosen by the caller before the first try, or a UUID of ours.
  role TEXT NOT NULL CHECK (role IN ('user', 'assistant', 'system', 'tool')), -- Who speaks.
  content TEXT NOT NULL, -- What is said.
  token_count INTEGER NOT NULL DEFAULT 0, -- How many tokens it costs: the caller's count, or an estimate of ours.
  is_summary INTEGER NOT NULL DEFAULT 0 CHECK (is_summary IN (0, 1)), -- It is a generated summary of others.
  "timestamp" TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')), -- When it was said. No order depends on it.
  metadata TEXT CHECK (metadata IS NULL OR json_valid(metadata)), -- What the caller keeps with it: an object.
  seq INTEGER NOT NULL, -- Its number in its conversation, from 1, in the order of commits.
  is_internal INTEGER NOT NULL DEFAULT 0 CHECK (is_internal IN (0, 1)), -- A remark for transparency: never context, never counted.
  summarised_by INTEGER, -- The id of the newest summary in conversation_memory that covers it.
  UNIQUE (conversation_id, seq)
) STRICT;
CREATE INDEX messages_by_conversation_id_seq ON messages (conversation_id, seq) WHERE NOT is_internal;

-- An agent: what it is for, and which tools it has.
CREATE TABLE agent_definitions (
  id INTEGER PRIMARY KEY NOT NULL, -- Assigned by the database.
  name TEXT NOT NULL UNIQUE, -- Its name, by which tasks and prompts call it.
  display_name TEXT NOT NULL, -- What people call it.
  role TEXT NOT NULL, -- What it is, in a few words.
  goal TEXT NOT NULL, -- What it is to achieve, in one line.
  backstory TEXT NOT NULL, -- How it is to work: its part of the prompt.
  tools TEXT NOT NULL DEFAULT '[]' CHECK (json_valid(tools)), -- The names of its tools: an array of texts.
  priority INTEGER NOT NULL DEFAULT 5, -- From 1 to 10; the higher is asked first.
  intent_keywords TEXT NOT NULL DEFAULT '[]' CHECK (json_valid(intent_keywords)), -- Words that say that it is meant: an array of texts.
  category TEXT, -- Where lists put it.
  enabled INTEGER NOT NULL DEFAULT 1 CHECK (enabled IN (0, 1)), -- Whether it is selected.
  allow_delegation INTEGER NOT NULL DEFAULT 0 CHECK (allow_delegation IN (0, 1)), -- Whether it may hand work to others.
  created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')), -- When it was defined.
  updated_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')), -- When it was last changed.
  CHECK (priority >= 1 AND priority <= 10)
) STRICT;
CREATE INDEX agent_definitions_by_enabled_priority_name ON agent_definitions (enabled, priority, name);

-- One piece of work for an agent.
CREATE TABLE agent_tasks (
  id INTEGER PRIMARY KEY NOT NULL, -- Assigned by the database.
  task_id TEXT NOT NULL UNIQUE, -- Its name.
  conversation_id TEXT REFERENCES conversations (conversation_id) ON DELETE SET NULL, -- Where it came from.
  agent_name TEXT NOT NULL, -- Who is to do it; need not be defined here.
  "action" TEXT NOT NULL, -- What is to be done.
  parameters TEXT CHECK (parameters IS NULL OR json_valid(parameters)), -- With what.
  status TEXT NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'running', 'completed', 'failed', 'cancelled', 'interrupted')), -- How far it is.
  result TEXT CHECK (result IS NULL OR json_valid(result)), -- What came of it.
  error_message TEXT, -- Why it failed, or was interrupted or cancelled.
  created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')), -- When it was asked for.
  started_at TEXT, -- When it was last begun.
  completed_at TEXT, -- When it ended.
  attempt INTEGER NOT NULL DEFAULT 0, -- How often it was begun; fences those who are late.
  lease_by TEXT, -- The worker that has it.
  lease_owner TEXT, -- Its process.
  lease_until TEXT, -- Until when.
  cancel_asked_at TEXT -- Since when a running one is to stop.
) STRICT;
CREATE INDEX agent_tasks_by_status_id ON agent_tasks (status, id);
CREATE INDEX agent_tasks_by_conversation_id_id ON agent_tasks (conversation_id, id);
CREATE INDEX agent_tasks_by_agent_name_status_id ON agent_tasks (agent_name, status, id);
CREATE INDEX agent_tasks_by_agent_name_id ON agent_tasks (agent_name, id);
CREATE INDEX agent_tasks_by_lease_until ON agent_tasks (lease_until) WHERE status = 'running';
CREATE INDEX agent_tasks_by_lease_owner ON agent_tasks (lease_owner) WHERE status = 'running';

-- Work that comes back.
CREATE TABLE cron_jobs (
  id INTEGER PRIMARY KEY NOT NULL, -- Assigned by the database.
  job_id TEXT NOT NULL UNIQUE, -- Its name.
  name TEXT NOT NULL, -- What people call it.
  description TEXT, -- What it is for.
  cron_expression TEXT NOT NULL, -- When: docs/schedule.md.
  job_type TEXT NOT NULL CHECK (job_type IN ('tool', 'prompt')), -- Whether a tool runs or a prompt is said.
  tool_name TEXT, -- The tool.
  tool_parameters TEXT CHECK (tool_parameters IS NULL OR json_valid(tool_parameters)), -- What it is given: an object.
  prompt TEXT, -- What is said.
  enabled INTEGER NOT NULL DEFAULT 1 CHECK (enabled IN (0, 1)), -- Whether it comes due.
  last_run_at TEXT, -- The time that its latest run was due.
  next_run_at TEXT, -- When it is due next; absent: never, or not enabled.
  created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')), -- When it was made.
  updated_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')), -- When it was last changed.
  timezone TEXT NOT NULL DEFAULT 'UTC', -- The IANA zone of the expression.
  missed_policy TEXT NOT NULL DEFAULT 'run_once' CHECK (missed_policy IN ('run_once', 'skip', 'run_all')), -- What becomes of runs that nobody started.
  overlap_policy TEXT NOT NULL DEFAULT 'skip' CHECK (overlap_policy IN ('skip', 'queue', 'allow')), -- What becomes of a run while an earlier one is not done.
  timeout_ms INTEGER NOT NULL DEFAULT 1200000, -- How long one attempt may take.
  max_attempts INTEGER NOT NULL DEFAULT 3, -- How often one run is tried.
  dialect TEXT NOT NULL DEFAULT 'debian' CHECK (dialect IN ('debian', 'robfig', 'cron-parser', 'apscheduler')), -- Whose rules the expression follows.
  grace_ms INTEGER NOT NULL DEFAULT 0, -- A missed run older than that is not made up; 0: no limit.
  run_all_max INTEGER NOT NULL DEFAULT 10, -- run_all: so many of the latest missed runs.
  broken_since TEXT, -- The time that came due while its expression or zone could not be read; next_run_at is then when that is looked at again.
  CHECK ((job_type = 'tool' AND tool_name IS NOT NULL) OR (job_type = 'prompt' AND prompt IS NOT NULL))
) STRICT;
CREATE INDEX cron_jobs_by_next_run_at ON cron_jobs (next_run_at) WHERE enabled AND next_run_at IS NOT NULL;
CREATE INDEX cron_jobs_by_name_id ON cron_jobs (name, id);

-- Work for one time.
CREATE TABLE future_tasks (
  id INTEGER PRIMARY KEY NOT NULL, -- Assigned by the database.
  task_id TEXT NOT NULL UNIQUE, -- Its name.
  name TEXT NOT NULL, -- What people call it.
  description TEXT, -- What it is for.
  conversation_id TEXT REFERENCES conversations (conversation_id) ON DELETE SET NULL, -- Where it came from.
  scheduled_time TEXT NOT NULL, -- When it is due.
  job_type TEXT NOT NULL CHECK (job_type IN ('tool', 'prompt')), -- Whether a tool runs or a prompt is said.
  tool_name TEXT, -- The tool.
  tool_parameters TEXT CHECK (tool_parameters IS NULL OR json_valid(tool_parameters)), -- What it is given: an object.
  prompt TEXT, -- What is said.
  status TEXT NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'running', 'completed', 'failed', 'cancelled', 'interrupted')), -- How far it is.
  result TEXT CHECK (result IS NULL OR json_valid(result)), -- What came of it.
  error_message TEXT, -- Why it failed, or was interrupted or cancelled.
  created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')), -- When it was asked for.
  completed_at TEXT, -- When it ended.
  timeout_ms INTEGER NOT NULL DEFAULT 600000, -- How long one attempt may take.
  max_attempts INTEGER NOT NULL DEFAULT 3, -- How often it is tried.
  attempt INTEGER NOT NULL DEFAULT 0, -- How often it was begun; fences those who are late.
  due_at TEXT, -- When it is due, or tried again, or its lease is over; absent: it has ended.
  lease_by TEXT, -- The scheduler that runs it.
  lease_owner TEXT, -- Its process.
  lease_until TEXT, -- Until when.
  cancel_asked_at TEXT, -- Since when a running one is to stop.
  attempts_before INTEGER NOT NULL DEFAULT 0, -- Attempts before it was last retried by hand.
  deadline_at TEXT, -- When its attempt is over, whatever its lease says.
  CHECK ((job_type = 'tool' AND tool_name IS NOT NULL) OR (job_type = 'prompt' AND prompt IS NOT NULL))
) STRICT;
CREATE INDEX future_tasks_by_due_at ON future_tasks (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX future_tasks_by_status_scheduled_time_id ON future_tasks (status, scheduled_time, id);
CREATE INDEX future_tasks_by_scheduled_time_id ON future_tasks (scheduled_time, id);
CREATE INDEX future_tasks_by_conversation_id ON future_tasks (conversation_id);
CREATE INDEX future_tasks_by_completed_at ON future_tasks (completed_at) WHERE completed_at IS NOT NULL;

-- A run that is not done: of a cron job it waits or is under way; or it is a dead letter.
CREATE TABLE job_runs (
  id INTEGER PRIMARY KEY NOT NULL, -- Assigned by the database; of one job the order of their times.
  job_id TEXT NOT NULL, -- The job.
  scheduled_for TEXT NOT NULL, -- The time it was due; with job_id its identity.
  state TEXT NOT NULL CHECK (state IN ('waiting', 'running', 'dead')), -- dead: all attempts failed; somebody has to look.
  due_at TEXT, -- When it is begun, or tried again, or its lease is over; absent: it waits for an earlier one, or is dead.
  attempt INTEGER NOT NULL DEFAULT 0, -- How often it was begun; fences those who are late.
  attempts_before INTEGER NOT NULL DEFAULT 0, -- Attempts before it was last retried by hand.
  is_by_hand INTEGER NOT NULL DEFAULT 0 CHECK (is_by_hand IN (0, 1)), -- run_now: no time of the expression.
  is_missed INTEGER NOT NULL DEFAULT 0 CHECK (is_missed IN (0, 1)), -- Nobody was there when it was due.
  lease_by TEXT, -- The scheduler that runs it.
  lease_owner TEXT, -- Its process.
  lease_until TEXT, -- Until when.
  last_error TEXT, -- Why its latest attempt failed.
  cancel_asked_at TEXT, -- Since when a running one is to stop.
  created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')), -- When a tick found it due.
  job_type TEXT NOT NULL DEFAULT 'cron' CHECK (job_type IN ('cron', 'future_task')), -- A one-time task is here only as a dead letter.
  deadline_at TEXT, -- When its attempt is over, whatever its lease says.
  UNIQUE (job_id, scheduled_for)
) STRICT;
CREATE INDEX job_runs_by_job_id_scheduled_for ON job_runs (job_id, scheduled_for) WHERE state IN ('waiting', 'running');
CREATE INDEX job_runs_by_due_at ON job_runs (due_at) WHERE state IN ('waiting', 'running');
CREATE INDEX job_runs_by_state_id ON job_runs (state, id);

-- One attempt of a run.
CREATE TABLE job_executions (
  id INTEGER PRIMARY KEY NOT NULL, -- Assigned by the database.
  job_id TEXT NOT NULL, -- The job, or the one-time task.
  job_type TEXT NOT NULL CHECK (job_type IN ('cron', 'future_task')), -- Which of them.
  started_at TEXT NOT NULL, -- When it began; of one that was skipped, when that was decided.
  completed_at TEXT, -- When it ended.
  status TEXT NOT NULL CHECK (status IN ('running', 'success', 'failed', 'cancelled', 'skipped', 'interrupted')), -- How far it is.
  result TEXT CHECK (result IS NULL OR json_valid(result)), -- What came of it.
  error_message TEXT, -- Why not.
  container_id TEXT, -- Where it ran, as the worker says.
  scheduled_for TEXT NOT NULL, -- The time it was due.
  attempt INTEGER NOT NULL DEFAULT 1, -- Which try; 0: it was skipped.
  UNIQUE (job_id, scheduled_for, attempt)
) STRICT;
CREATE INDEX job_executions_by_job_type_job_id_id ON job_executions (job_type, job_id, id);
CREATE INDEX job_executions_by_status_id ON job_executions (status, id);
CREATE INDEX job_executions_by_started_at ON job_executions (started_at);

-- What lets Keep's user into a service.
CREATE TABLE service_credentials (
  id INTEGER PRIMARY KEY NOT NULL, -- Assigned by the database.
  service_name TEXT NOT NULL UNIQUE, -- The service.
  credential_type TEXT NOT NULL CHECK (credential_type IN ('oauth_token', 'api_key', 'app_password')), -- What it is.
  credential_data TEXT NOT NULL, -- A Fernet token of it.
  expires_at TEXT, -- When it stops being good.
  created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')), -- When it was first put.
  updated_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')), -- When it was last put.
  key_id TEXT -- The key that it is encrypted with.
) STRICT;
CREATE INDEX service_credentials_by_expires_at ON service_credentials (expires_at) WHERE expires_at IS NOT NULL;
CREATE INDEX service_credentials_by_key_id ON service_credentials (key_id);

-- Whether a service can be reached.
CREATE TABLE service_connections (
  id INTEGER PRIMARY KEY NOT NULL, -- Assigned by the database.
  service_name TEXT NOT NULL UNIQUE, -- The service.
  status TEXT NOT NULL DEFAULT 'disconnected' CHECK (status IN ('connected', 'disconnected', 'error')), -- What was last seen.
  last_check TEXT, -- When that was.
  last_error TEXT, -- What went wrong then.
  metadata TEXT CHECK (metadata IS NULL OR json_valid(metadata)), -- What the reporter keeps with it: an object.
  updated_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')) -- When the row was last written.
) STRICT;
CREATE INDEX service_connections_by_status ON service_connections (status);

-- A text that is part of what agents are told.
CREATE TABLE prompts (
  id INTEGER PRIMARY KEY NOT NULL, -- Assigned by the database.
  "key" TEXT NOT NULL UNIQUE, -- Its name: system_prompt_default, system_prompt_custom, memory, soul …
  "value" TEXT NOT NULL DEFAULT '', -- The text.
  description TEXT, -- What it is for.
  created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')), -- When it was first set.
  updated_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')), -- When it was last set.
  revision INTEGER NOT NULL DEFAULT 1 -- Grows with each value.
) STRICT;

-- An earlier value of a prompt.
CREATE TABLE prompt_revisions (
  id INTEGER PRIMARY KEY NOT NULL, -- Assigned by the database.
  "key" TEXT NOT NULL REFERENCES prompts ("key") ON DELETE CASCADE, -- The prompt.
  revision INTEGER NOT NULL, -- Which one it was.
  "value" TEXT NOT NULL, -- The text.
  set_at TEXT NOT NULL, -- When it was set.
  replaced_at TEXT NOT NULL, -- When it was replaced.
  UNIQUE ("key", revision)
) STRICT;

-- A setting: what it may be, and what it is.
CREATE TABLE settings (
  id INTEGER PRIMARY KEY NOT NULL, -- Assigned by the database.
  "key" TEXT NOT NULL UNIQUE, -- Its name: <prefix>.<name>.
  "value" TEXT, -- What was set, as text; absent: nothing. Of a sensitive one a Fernet token.
  value_type TEXT NOT NULL DEFAULT 'string' CHECK (value_type IN ('string', 'int', 'float', 'bool', 'json')), -- What a value is.
  description TEXT, -- What it is for.
  category TEXT NOT NULL DEFAULT 'application', -- Where lists put it.
  is_required INTEGER NOT NULL DEFAULT 0 CHECK (is_required IN (0, 1)), -- It may not be set to nothing.
  is_sensitive INTEGER NOT NULL DEFAULT 0 CHECK (is_sensitive IN (0, 1)), -- Its value is encrypted, and shown as ***.
  validation_regex TEXT, -- What the whole text of a value must match.
  min_value REAL, -- The smallest number.
  max_value REAL, -- The largest number.
  options TEXT CHECK (options IS NULL OR json_valid(options)), -- The only values: an array.
  display_order INTEGER NOT NULL DEFAULT 0, -- Where lists put it within its category.
  updated_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')), -- When the row was last written.
  default_value TEXT, -- What it is without a value, as text. Of a sensitive one a Fernet token.
  environment TEXT, -- The variable that is asked before the default.
  key_id TEXT, -- The key that a sensitive value is encrypted with.
  default_key_id TEXT -- The key that a sensitive default is encrypted with.
) STRICT;
CREATE INDEX settings_by_category_display_order_key ON settings (category, display_order, "key");
CREATE INDEX settings_by_key_id ON settings (key_id) WHERE key_id IS NOT NULL;
CREATE INDEX settings_by_default_key_id ON settings (default_key_id) WHERE default_key_id IS NOT NULL;

-- Something that was done, or refused.
CREATE TABLE audit_log (
  id INTEGER PRIMARY KEY NOT NULL, -- Assigned by the database.
  "timestamp" TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')), -- When.
  event_type TEXT NOT NULL, -- What kind of thing: setting_change, credential_access, tool_execution …
  service_name TEXT, -- The service that it is about.
  agent_name TEXT, -- The agent that did it.
  "action" TEXT, -- What was done, in a word or two.
  conversation_id TEXT, -- Where it came from; stays when that is deleted.
  details TEXT CHECK (details IS NULL OR json_valid(details)), -- More of it: an object without secrets.
  success INTEGER CHECK (success IN (0, 1)), -- Whether it went well.
  error_message TEXT, -- Why not.
  user_id TEXT, -- Who asked for it.
  ip_address TEXT, -- From where.
  seq INTEGER NOT NULL UNIQUE, -- 1, 2, 3 … without a gap.
  previous_hash TEXT NOT NULL, -- The hash of the entry before; of the first one 64 zeros.
  hash TEXT NOT NULL -- SHA-256 over previous_hash and all of the entry but id, in hex.
) STRICT;
CREATE INDEX audit_log_by_timestamp ON audit_log ("timestamp");
CREATE INDEX audit_log_by_event_type_seq ON audit_log (event_type, seq);
CREATE INDEX audit_log_by_service_name_seq ON audit_log (service_name, seq) WHERE service_name IS NOT NULL;
CREATE INDEX audit_log_by_agent_name_seq ON audit_log (agent_name, seq) WHERE agent_name IS NOT NULL;
CREATE INDEX audit_log_by_conversation_id_seq ON audit_log (conversation_id, seq) WHERE conversation_id IS NOT NULL;
CREATE INDEX audit_log_by_success_seq ON audit_log (success, seq);

-- The end of the chain; one row, so that entries that are cut off are missed.
CREATE TABLE audit_heads (
  name TEXT NOT NULL, -- audit_log.
  seq INTEGER NOT NULL, -- The number of the newest entry; 0: none yet.
  hash TEXT NOT NULL, -- Its hash.
  PRIMARY KEY (name)
) STRICT;

-- What retention removed from the beginning of the chain; at most one row, which grows.
CREATE TABLE audit_anchors (
  first_seq INTEGER NOT NULL, -- The first entry that was removed: 1.
  last_seq INTEGER NOT NULL, -- The last.
  last_hash TEXT NOT NULL, -- The hash of the last: the next entry carries it as previous_hash.
  removed_at TEXT NOT NULL, -- When it was last removed from.
  removed_hash TEXT NOT NULL, -- SHA-256 over the removed_hash before (if any) and the hashes removed last, in order, in hex.
  entry_seq INTEGER NOT NULL, -- The entry of the chain that says the same: audit_sealed.
  PRIMARY KEY (first_seq)
) STRICT;

-- Something that is remembered of a conversation.
CREATE TABLE conversation_memory (
  id INTEGER PRIMARY KEY NOT NULL, -- Assigned by the database.
  conversation_id TEXT NOT NULL REFERENCES conversations (conversation_id) ON DELETE CASCADE, -- The conversation.
  memory_type TEXT NOT NULL CHECK (memory_type IN ('short_term', 'long_term', 'facts', 'working')), -- What kind of memory.
  content TEXT NOT NULL CHECK (json_valid(content)), -- What: of a summary {"summary": …}, of a fact {"fact": …}.
  created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')), -- When.
  from_seq INTEGER, -- Of a summary: the first message that it covers.
  to_seq INTEGER, -- The last.
  content_hash TEXT, -- Of a fact: SHA-256 of its normalised text, so that it is there once.
  token_count INTEGER NOT NULL DEFAULT 0, -- How many tokens it costs: the caller's count, or an estimate of ours.
  UNIQUE (conversation_id, memory_type, content_hash),
  UNIQUE (conversation_id, from_seq, to_seq)
) STRICT;
CREATE INDEX conversation_memory_by_conversation_id_memory_type_id ON conversation_memory (conversation_id, memory_type, id);
CREATE INDEX conversation_memory_by_conversation_id_id ON conversation_memory (conversation_id, id) WHERE memory_type = 'short_term';
CREATE INDEX conversation_memory_by_conversation_id_to_seq_id ON conversation_memory (conversation_id, to_seq, id) WHERE to_seq IS NOT NULL;

-- A document that can be found.
CREATE TABLE search_index (
  id INTEGER PRIMARY KEY NOT NULL, -- Assigned by the database.
  source TEXT NOT NULL, -- Where it comes from: notion, gmail, memory …
  source_id TEXT NOT NULL, -- Its id there.
  title TEXT, -- Its title.
  content TEXT, -- Its text.
  content_hash TEXT, -- SHA-256 of title and text, in hex: unchanged ones are skipped.
  embedding BLOB, -- Its vector: float32, little-endian.
  metadata TEXT CHECK (metadata IS NULL OR json_valid(metadata)), -- What the caller keeps with it: an object.
  indexed_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')), -- When it was last indexed.
  model TEXT, -- The model that made the vector.
  dimensions INTEGER, -- How many numbers it has.
  word_count INTEGER NOT NULL DEFAULT 0, -- How many words it has, for ranking.
  vector_change INTEGER, -- Which change of its model's vectors this vector came with.
  UNIQUE (source, source_id)
) STRICT;
CREATE INDEX search_index_by_content_hash ON search_index (content_hash);
CREATE INDEX search_index_by_indexed_at ON search_index (indexed_at);
CREATE INDEX search_index_by_model_dimensions_id ON search_index (model, dimensions, id) WHERE embedding IS NOT NULL;
CREATE INDEX search_index_by_model_vector_change ON search_index (model, vector_change) WHERE embedding IS NOT NULL;
CREATE INDEX search_index_by_source_model_id ON search_index (source, model, id) WHERE embedding IS NOT NULL;

-- A model whose vectors are kept; what files of them are made by.
CREATE TABLE vector_models (
  model TEXT NOT NULL, -- Its name.
  dimensions INTEGER NOT NULL, -- How many numbers its vectors have.
  generation INTEGER NOT NULL, -- A random number: files and memory of another one are made anew.
  change INTEGER NOT NULL DEFAULT 0, -- Grows with each vector that comes or goes.
  count INTEGER NOT NULL DEFAULT 0, -- How many vectors there are.
  removed INTEGER NOT NULL DEFAULT 0, -- How many rows of removed_vectors are its own.
  PRIMARY KEY (model)
) STRICT;

-- A vector that is gone, for those who have an earlier state.
CREATE TABLE removed_vectors (
  model TEXT NOT NULL, -- The model.
  change INTEGER NOT NULL, -- Which change of its vectors that was.
  document_id INTEGER NOT NULL, -- The document's id.
  PRIMARY KEY (model, change)
) STRICT;

-- A change of the tables that was made.
CREATE TABLE schema_migrations (
  id INTEGER PRIMARY KEY NOT NULL, -- Assigned by the database.
  version TEXT NOT NULL UNIQUE, -- <version>_<description>, as the file is called.
  applied_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')), -- When.
  checksum TEXT NOT NULL, -- SHA-256 of the file, in hex: a changed one is noticed.
  duration_ms INTEGER NOT NULL -- How long it took.
) STRICT;

-- What the store keeps about itself.
CREATE TABLE assistant_values (
  name TEXT NOT NULL, -- What it is: key_check:<id> …
  "value" TEXT NOT NULL, -- Its value.
  PRIMARY KEY (name)
) STRICT;

-- How far what is derived from the tables has come; it is made again where it is missing.
CREATE TABLE derived_marks (
  name TEXT NOT NULL, -- What is derived: message_words, document_words.
  "value" TEXT NOT NULL, -- By which rules, up to where.
  PRIMARY KEY (name)
) STRICT;

-- What an adopted file held that has no place here.
CREATE TABLE adopted_rows (
  id INTEGER PRIMARY KEY NOT NULL, -- Assigned by the database.
  source_table TEXT NOT NULL, -- The table it was in.
  data TEXT NOT NULL CHECK (json_valid(data)) -- The row, or its columns that have no place here.
) STRICT;
CREATE INDEX adopted_rows_by_source_table_id ON adopted_rows (source_table, id);

-- The normalised words of messages up to the one that derived_marks says; rowid is messages.id.
CREATE VIRTUAL TABLE message_words USING fts5 (title, content, content = '', tokenize = "ascii tokenchars '='", columnsize = 0);

-- Which words there are.
CREATE VIRTUAL TABLE message_terms USING fts5vocab (message_words, instance);

-- The normalised words of documents; rowid is search_index.id.
CREATE VIRTUAL TABLE document_words USING fts5 (title, content, content = '', tokenize = "ascii tokenchars '='", columnsize = 0);

-- Which words there are.
CREATE VIRTUAL TABLE document_terms USING fts5vocab (document_words, instance);

INSERT INTO audit_heads (name, seq, hash) VALUES ('audit_log', 0, '0000000000000000000000000000000000000000000000000000000000000000');
