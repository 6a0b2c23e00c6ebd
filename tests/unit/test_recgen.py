#!/usr/bin/env python3
"""test_recgen.py RECGEN - what tools/recgen.py refuses, and that --check sees what is stale."""
import pathlib
import sqlite3
import subprocess
import sys
import tempfile
import unittest

RECGEN = sys.argv.pop(1)
GOOD = ("record thing in things -- A thing.\n"
        "  id text key -- The key.\n"
        "  parent text null references things(id) on delete set null -- Another.\n")


SHARED = ("record row in rows -- A row.\n"
          "  session text key shared -- The session.\n"
          "  id text key -- Its id.\n"
          "  seq int rowid -- Its number.\n"
          "  name text null unique -- Its name.\n"
          "  check seq > 0 AND seq % 2 = 0 -- Even.\n"
          "  unique (name, seq)\n"
          "  index (name) where name <> 'session'\n"
          "record part in parts -- A part of a row.\n"
          "  session text key shared -- The session.\n"
          "  n int key -- Counts.\n"
          "  row_id text -- Its row.\n"
          "  place int -- Where.\n"
          "  cluster (place)\n"
          "  foreign (session, row_id) references rows(session, id) on delete cascade\n")


class Generating(unittest.TestCase):
    def setUp(self):
        self.holder = tempfile.TemporaryDirectory()
        self.root = pathlib.Path(self.holder.name)
        (self.root / "schema/records").mkdir(parents=True)

    def tearDown(self):
        self.holder.cleanup()

    def write(self, content, name="store"):
        (self.root / f"schema/records/{name}.rec").write_text(content, encoding="utf-8")

    def run_it(self, *arguments):
        return subprocess.run([sys.executable, RECGEN, "--root", self.root, *arguments],
                              capture_output=True, text=True)

    def refuse(self, content, words):
        self.write(content)
        run = self.run_it()
        self.assertEqual(run.returncode, 1, run.stdout)
        self.assertIn(words, run.stderr)
        self.assertNotIn("Traceback", run.stderr)
        self.assertFalse((self.root / "src").exists(), "something was written")

    def refuse_column(self, column, words):
        self.refuse(GOOD + f"  {column} -- Words.\n", f"store.rec:4: {words}")

    def text(self, name):
        return (self.root / name).read_text(encoding="utf-8")

    def test_a_second_run_writes_nothing_and_check_agrees(self):
        self.write(GOOD)
        self.assertIn("wrote: include/keep/store_records.h", self.run_it().stdout)
        self.assertEqual(self.run_it().stdout, "")
        self.assertEqual(self.run_it("--check").returncode, 0)

    def test_check_names_what_is_stale_and_changes_nothing(self):
        self.write(GOOD)
        self.run_it()
        self.write(GOOD.replace("A thing.", "Another thing."))
        before = self.text("include/keep/store_records.h")
        run = self.run_it("--check")
        self.assertEqual(run.returncode, 1)
        self.assertIn("stale: include/keep/store_records.h", run.stdout)
        self.assertIn("stale: docs/reference/store_tables.md", run.stdout)
        self.assertEqual(self.text("include/keep/store_records.h"), before)

    def test_check_names_what_no_description_gives_any_more(self):
        self.write(GOOD)
        self.run_it()
        self.write(GOOD, "renamed")
        (self.root / "schema/records/store.rec").unlink()
        self.run_it()
        run = self.run_it("--check")
        self.assertEqual(run.returncode, 1)
        self.assertIn("remove it: src/store/store_records.c", run.stdout)
        self.assertNotIn("stale", run.stdout)

    def test_a_private_file_has_no_public_header(self):
        self.write("private\n" + GOOD)
        self.run_it()
        self.assertFalse((self.root / "include").exists())
        self.assertIn("typedef struct kp_thing", self.text("src/store/store_records.h"))

    def test_reserved_words_are_quoted_in_both_dialects(self):
        self.write("record thing in things -- A thing.\n  key text key -- K.\n  match text null -- M.\n"
                   "  order int -- O.\n  index (order)\n")
        self.run_it()
        for dialect in ("sqlite", "postgres"):
            sql = self.text(f"schema/{dialect}/store_tables.sql")
            self.assertIn('"match"', sql)
            self.assertIn('PRIMARY KEY ("key")', sql)
            self.assertIn('CREATE INDEX things_by_order ON things ("order")', sql)

    def test_a_sentence_cannot_end_a_c_comment(self):
        self.write("record thing in things -- A */ thing.\n  id text key -- K */ K /* K.\n")
        self.run_it()
        self.assertNotIn("K */ K", self.text("include/keep/store_records.h"))

    def test_what_only_one_dialect_has_is_only_in_its_tables(self):
        self.write(GOOD + "  here text only postgres -- Words.\n"
                   "record single in singles only sqlite -- Words.\n  id int key auto -- Words.\n")
        self.run_it()
        sqlite, postgres = (self.text(f"schema/{dialect}/store_tables.sql")
                            for dialect in ("sqlite", "postgres"))
        self.assertNotIn("here", sqlite)
        self.assertIn("here text NOT NULL", postgres)
        self.assertIn("CREATE TABLE singles", sqlite)
        self.assertNotIn("singles", postgres)

    def test_a_clustered_table_lies_in_its_order_on_sqlite_and_is_unique_on_both(self):
        self.write("record row in rows -- A row.\n  id text key -- Its id.\n  place int -- Where.\n"
                   "  cluster (place)\n")
        self.run_it()
        sqlite, postgres = (self.text(f"schema/{name}/store_tables.sql")
                            for name in ("sqlite", "postgres"))
        self.assertIn("PRIMARY KEY (place),\n  UNIQUE (id)\n) WITHOUT ROWID, STRICT;", sqlite)
        self.assertIn("PRIMARY KEY (id),\n  UNIQUE (place)\n);", postgres)
        self.assertIn("in the order of (place)", self.text("docs/reference/store_tables.md"))

    def test_sources_go_to_the_folder_that_is_named_and_are_missed_there(self):
        self.write("private\nfolder box\n" + GOOD)
        self.run_it()
        self.assertIn('#include "box/store_records.h"', self.text("src/box/store_records.c"))
        self.assertFalse((self.root / "src/store").exists())
        self.assertIn("CREATE TABLE things", self.text("schema/sqlite/store_tables.sql"))
        self.assertEqual(self.run_it("--check").stdout, "")
        self.write("folder chest\nprivate\n" + GOOD)
        self.run_it()
        self.assertIn("remove it: src/box/store_records.c", self.run_it("--check").stdout)

    def test_a_fixture_has_no_folder(self):
        (self.root / "tests/fixtures").mkdir(parents=True)
        (self.root / "tests/fixtures/set.rec").write_text("private\nfolder box\n" + GOOD)
        self.assertIn("in no folder", self.run_it().stderr)

    def test_the_shared_column_is_in_front_on_postgres_and_not_there_on_sqlite(self):
        self.write(SHARED)
        self.run_it()
        sqlite, postgres = (self.text(f"schema/{name}/store_tables.sql")
                            for name in ("sqlite", "postgres"))
        self.assertNotIn("session text", sqlite.lower())
        self.assertNotIn("(session", sqlite)
        for line in ("  id TEXT NOT NULL, -- Its id.", "  name TEXT UNIQUE, -- Its name.",
                     "  UNIQUE (name, seq),",
                     "CREATE INDEX rows_by_name ON \"rows\" (name) WHERE",
                     "  PRIMARY KEY (place),\n  UNIQUE (n),",
                     "FOREIGN KEY (row_id) REFERENCES \"rows\" (id) ON DELETE CASCADE"):
            self.assertIn(line, sqlite)
        for line in ('  "session" text NOT NULL, -- The session.', "  name text, -- Its name.",
                     '  PRIMARY KEY ("session", id),\n  UNIQUE ("session", seq),\n'
                     '  UNIQUE ("session", name),\n  UNIQUE ("session", name, seq),',
                     'CREATE INDEX rows_by_name ON "rows" ("session", name) WHERE',
                     '  PRIMARY KEY ("session", n),\n  UNIQUE ("session", place),',
                     'FOREIGN KEY ("session", row_id) REFERENCES "rows" ("session", id)'):
            self.assertIn(line, postgres)

    def test_what_no_struct_reads_is_in_the_tables_of_its_dialect(self):
        self.write(GOOD + "also sqlite CREATE VIRTUAL TABLE words USING fts5 (text) -- The words.\n")
        self.assertEqual(self.run_it().returncode, 0)
        self.assertIn("-- The words.\nCREATE VIRTUAL TABLE words USING fts5 (text);\n",
                      self.text("schema/sqlite/store_tables.sql"))
        self.assertNotIn("fts5", self.text("schema/postgres/store_tables.sql"))
        self.assertIn("fts5", self.text("docs/reference/store_tables.md"))

    def test_a_statement_of_no_dialect_or_without_a_sentence_is_refused(self):
        self.refuse(GOOD + "also oracle CREATE TABLE t (a) -- Words.\n", "also sqlite, or also postgres")
        self.refuse(GOOD + "also sqlite CREATE TABLE t (a)\n", "every table says what it is")

    def test_a_shared_column_is_an_ordinary_key_in_c_and_the_pages_tell(self):
        self.write(SHARED)
        self.run_it()
        self.assertIn("KP_FIELD(TEXT, keep_row, session, KP_FIELD_KEY, NULL)",
                      self.text("src/store/store_records.c"))
        self.assertIn("KP_FIELD(INT, keep_row, seq, 0, NULL)", self.text("src/store/store_records.c"))
        header = self.text("include/keep/store_records.h")
        self.assertIn("The session. (key; only where sessions share a table)", header)
        self.assertIn("Its number. (the rowid)", header)
        page = self.text("docs/reference/store_tables.md")
        self.assertIn("The session. Only where sessions share a table.", page)
        self.assertIn("Its number. On SQLite the rowid; unique.", page)
        self.assertIn("- check `seq > 0 AND seq % 2 = 0`: Even.", page)

    def test_a_rowid_is_the_rowid_and_a_check_holds(self):
        self.write(SHARED)
        self.run_it()
        sqlite = self.text("schema/sqlite/store_tables.sql")
        self.assertIn("  seq INTEGER PRIMARY KEY NOT NULL, -- Its number.", sqlite)
        self.assertIn("  UNIQUE (id),\n", sqlite)
        database = sqlite3.connect(":memory:")
        database.executescript(sqlite)
        database.execute("INSERT INTO \"rows\" (id, seq) VALUES ('a', 2)")
        self.assertEqual(database.execute('SELECT rowid FROM "rows"').fetchall(), [(2,)])
        for values in ("'a', 4", "'b', 2", "'b', 3", "'b', 0"):
            with self.assertRaises(sqlite3.IntegrityError):
                database.execute(f'INSERT INTO "rows" (id, seq) VALUES ({values})')
        database.close()
        postgres = self.text("schema/postgres/store_tables.sql")
        self.assertIn("  seq bigint NOT NULL, -- Its number.", postgres)
        self.assertIn("  CHECK (seq > 0 AND seq % 2 = 0) -- Even.", postgres)

    def test_a_shared_column_out_of_place_is_refused(self):
        row = "record row in rows{} -- A row.\n{}  id text key -- Its id.\n"
        shared = "  session text key shared -- The session.\n"
        for content, words in (
                (row.format("", "") + shared, "store.rec:3: a shared column is the first"),
                (row.format(" only postgres", shared), "a table of one dialect has no shared column"),
                ("record row in rows -- A row.\n" + shared + "  x int -- X.\n",
                 "record 'row' has no key beside the shared one"),
                (row.format("", shared) + "  index (session)\n", "names only the shared column"),
                (row.format("", shared) + "  check session > 'a'\n", "'session' is not there in both"),
                (row.format("", shared) + "  index (id) where session > 'a'\n",
                 "'session' is not there in both"),
                (SHARED + "  foreign (row_id) references rows(id)\n", "neither a key nor unique"),
                (SHARED.replace("cascade", "set null"), "would take the shared column"),
                (SHARED + "  foreign (row_id, session) references rows(session, id)\n",
                 "of row_id and rows.session one alone is shared")):
            with self.subTest(words=words):
                self.refuse(content, words)

    def test_a_rowid_out_of_place_is_refused(self):
        row = "record row in rows -- A row.\n  id {} -- Its id.\n  seq int rowid -- Its number.\n"
        self.refuse(row.format("int key auto"), "rowid is beside a single key")
        self.refuse(row.format("text key") + "  two text key -- W.\n", "rowid is beside a single key")
        self.refuse(row.format("text key") + "  two int rowid -- W.\n", "a table has one rowid")
        self.refuse(row.format("text key") + "  cluster (seq)\n", "a clustered table has no rowid")

    def test_a_bad_cluster_is_refused(self):
        row = "record row in rows -- A row.\n  id {} -- Its id.\n  place int null -- Where.\n"
        self.refuse(row.format("text key") + "  cluster (place)\n", "by what may be null")
        self.refuse(row.format("int key auto") + "  cluster (id)\n", "clustered by it already")
        self.refuse(row.format("text key") + "  cluster (id)\n  cluster (id)\n", "clustered once")
        self.refuse(row.format("text key") + "  cluster (nothing)\n", "'nothing' is no column")

    def test_bad_columns_are_refused_with_their_line(self):
        for column, words in (
                ("x wide", "'wide' is no kind"),
                ("x text fast", "'fast' is not understood here"),
                ("x text null null", "'null' is said twice"),
                ("X text", "'X' is no name"),
                ("y" * 64 + " text", f"'{'y' * 64}' is no name"),
                ("int int", "column 'int': a word of C"),
                ("x text key null", "a key cannot be null"),
                ("x json key", "a json cannot be a key"),
                ("x int auto", "auto is for an int key"),
                ("x text shared", "shared is for a text key"),
                ("x int key shared", "shared is for a text key"),
                ("x text rowid", "rowid is for an int"),
                ("x int key rowid", "rowid is for an int"),
                ("x int null rowid", "rowid is for an int"),
                ("x int rowid default 1", "rowid is for an int"),
                ("x int in a|b", "only text has allowed values"),
                ("x text in a|a", "'a' is no allowed value, or is there twice"),
                ("x text in a||b", "'' is no allowed value"),
                ("x text in a|b default 'c'", "the default 'c' is not one of"),
                ("x int default 'c'", "''c'' is no default for int"),
                ("x blob default 'c'", "''c'' is no default for blob"),
                ("x text only mysql", "'only mysql'"),
                ("x text references things(id) on delete restrict", "'on delete restrict'"),
                ("x text references things(id) on delete set null", "on delete set null needs"),
                ("x text references others(id)", "table 'others' is not described above"),
                ("x text references things(nothing)", "'nothing' is no column of table"),
                ("x int references things(id)", "x is int, things.id is text"),
                ("x text references things(parent)", "things(parent) is neither a key nor unique"),
                ("x text default", "a literal is missing"),
                ("x", "a kind is missing"),
                ("id text", "'id' is there twice in thing")):
            with self.subTest(column=column):
                self.refuse_column(column, words)

    def test_bad_records_are_refused(self):
        for content, words in (
                ("record a in b\n  id text key -- K.\n", "store.rec:1: every record says"),
                ("record a in b -- A.\n  id text key\n", "store.rec:2: every column says"),
                ("record a in b -- A.\n  id text -- K.\n", "store.rec:1: record 'a' has no key"),
                ("record a at b -- A.\n", "store.rec:1: expected 'in'"),
                ("  id text key -- K.\n", "store.rec:1: a column before the first record"),
                ("-- words\n", "store.rec:1: a sentence without"),
                ("# nothing\n", "no record in it"),
                (GOOD + "private\n", "store.rec:4: private comes once"),
                (GOOD + "folder a\n", "store.rec:4: folder comes once"),
                ("folder a\nfolder b\n" + GOOD, "store.rec:2: folder comes once"),
                ("folder A\n" + GOOD, "store.rec:1: 'A' is no name for a folder"),
                (GOOD + "  check 1 = 1\n", "store.rec:4: the condition '1 = 1' names no column"),
                (GOOD + "  check text null -- W.\n", "store.rec:4: the condition 'text null'"),
                (GOOD + "  x int only sqlite -- X.\n  check x > 0\n", "'x' is not there in both"),
                (GOOD + "  x text default 'a -- W.\n", "store.rec:4: a quote is not closed"),
                (GOOD + GOOD, "store.rec:4: record 'thing' or table 'things' is there twice"),
                (GOOD + "  unique (id, nothing)\n", "'nothing' is no column of thing"),
                (GOOD + "  index (id, id)\n", "names a column twice"),
                (GOOD + "  index (id)\n  index (id) where id > 'a'\n", "'things_by_id'"),
                (GOOD + "  index (id) where\n", "a condition is missing"),
                (GOOD + "  j json -- J.\n  index (j)\n", "json column 'j' cannot be indexed"),
                (GOOD + "  foreign (id, parent) references things(id)\n", "does not fit"),
                (GOOD + "  has_n text -- H.\n  n int null -- N.\n", "'has_n' is there twice"),
                ("record a in b -- A.\n  i int key auto -- I.\n  j int key -- J.\n",
                 "an auto key is the whole key"),
                (GOOD + "  a_b text in c -- W.\n  a text in b_c -- W.\n", "would be made twice")):
            with self.subTest(words=words):
                self.refuse(content, words)

    def test_one_name_in_two_stores_is_refused(self):
        self.write(GOOD, "other")
        self.refuse(GOOD, "record 'thing' is also in schema/records/other.rec")


if __name__ == "__main__":
    unittest.main()
