-- The engine store in one file: documents, the folders that hold them, and what the file says of itself.

-- One value under one path.
CREATE TABLE documents (
  id INTEGER PRIMARY KEY,
  hash INTEGER NOT NULL,
  folder INTEGER NOT NULL,
  score INTEGER NOT NULL,
  tie INTEGER NOT NULL,
  path TEXT NOT NULL,
  value BLOB NOT NULL
) STRICT;

CREATE INDEX documents_hash ON documents (hash);
CREATE INDEX documents_order ON documents (folder, score, tie);

-- A path that has documents or folders directly below it.
CREATE TABLE folders (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  hash INTEGER NOT NULL,
  parent INTEGER,
  documents INTEGER NOT NULL,
  folders INTEGER NOT NULL,
  path TEXT NOT NULL
) STRICT;

CREATE UNIQUE INDEX folders_hash ON folders (hash, path);
CREATE INDEX folders_parent ON folders (parent);

-- What the file says of itself.
CREATE TABLE properties (
  name TEXT NOT NULL PRIMARY KEY,
  value BLOB NOT NULL
) STRICT;
