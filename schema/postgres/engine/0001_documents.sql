-- The engine store on PostgreSQL: one set of tables for all namespaces of a schema.

-- A namespace: one account's store.
CREATE TABLE namespaces (
  namespace text NOT NULL PRIMARY KEY,
  changes bigint NOT NULL
);

-- One value under one path; id and folder are SHA-256 of the path and of its parent's path.
CREATE TABLE documents (
  namespace text NOT NULL,
  id bytea NOT NULL,
  folder bytea NOT NULL,
  score bigint NOT NULL,
  tie bigint NOT NULL,
  path text NOT NULL,
  value bytea NOT NULL,
  PRIMARY KEY (namespace, id)
);

CREATE INDEX documents_order ON documents (namespace, folder, score, tie);

-- A path that has documents or folders directly below it.
CREATE TABLE folders (
  namespace text NOT NULL,
  id bytea NOT NULL,
  parent bytea,
  documents bigint NOT NULL,
  folders bigint NOT NULL,
  path text NOT NULL,
  PRIMARY KEY (namespace, id)
);

CREATE INDEX folders_parent ON folders (namespace, parent);
