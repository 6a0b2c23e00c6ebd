#!/usr/bin/env python3
"""Each store's migrations, one after the other, make the tables that its records describe.

The description (schema/records/*.rec) is the truth about a table; migrations are written by hand.
SQLite compares in memory; PostgreSQL through psql in two schemas of the test's own server.
"""
import os
import pathlib
import re
import sqlite3
import subprocess
import sys
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
COLUMNS = """
SELECT table_name, column_name, ordinal_position, data_type, is_nullable, coalesce(column_default, '')
FROM information_schema.columns WHERE table_schema = '{schema}'
ORDER BY table_name, ordinal_position;
SELECT tablename, indexname, replace(indexdef, '{schema}.', '') FROM pg_indexes
WHERE schemaname = '{schema}' ORDER BY tablename, indexname;
SELECT conrelid::regclass::text, contype, replace(pg_get_constraintdef(oid), '{schema}.', '')
FROM pg_constraint WHERE connamespace = '{schema}'::regnamespace ORDER BY 1, 2, 3;
"""


def stores(dialect):
    """(name, the migrations' SQL, the described SQL) of every store that has migrations."""
    folder = ROOT / "schema" / dialect
    for described in sorted(folder.glob("*_tables.sql")):
        name = described.name.removesuffix("_tables.sql")
        migrations = sorted((folder / name).glob("[0-9][0-9][0-9][0-9]_*.sql"))
        if migrations:
            yield name, "\n".join(path.read_text() for path in migrations), described.read_text()


def sqlite_shape(sql):
    """What SQLite makes of it: tables with their columns, indexes with theirs."""
    db = sqlite3.connect(":memory:")
    db.executescript(sql)
    shape = []
    for kind, name, table, text in db.execute(
            "SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY type, name"):
        clean = re.sub(r"\s+", " ", re.sub(r"--[^\n]*", "", text or "")).strip()
        shape.append((kind, name, table, clean))
    return shape


def psql(sql):
    conninfo = os.environ.get("KEEP_TEST_POSTGRES")
    if not conninfo:
        sys.exit("KEEP_TEST_POSTGRES is not set: run this under tests/support/with_servers.sh")
    done = subprocess.run(["psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", conninfo],
                          input=sql, capture_output=True, text=True, check=False)
    if done.returncode:
        raise AssertionError(done.stderr)
    return done.stdout


def postgres_shape(schema, sql):
    psql(f"CREATE SCHEMA {schema}; SET search_path = {schema};\n{sql}")
    try:
        found = psql(f"SET search_path = {schema};" + COLUMNS.format(schema=schema))
        return found.replace(schema + ".", "").splitlines()
    finally:
        psql(f"DROP SCHEMA {schema} CASCADE")


class SchemaRecords(unittest.TestCase):
    maxDiff = None

    def test_there_is_a_store_with_migrations(self):
        for dialect in ("sqlite", "postgres"):
            self.assertIn("engine", [name for name, _, _ in stores(dialect)])

    def test_sqlite_migrations_make_the_described_tables(self):
        for name, migrated, described in stores("sqlite"):
            with self.subTest(store=name):
                self.assertEqual(sqlite_shape(migrated), sqlite_shape(described))

    def test_postgres_migrations_make_the_described_tables(self):
        for name, migrated, described in stores("postgres"):
            with self.subTest(store=name):
                pair = f"keep_shape_{name}_{os.getpid()}"
                self.assertEqual(postgres_shape(pair + "_a", migrated),
                                 [line.replace(pair + "_b", pair + "_a")
                                  for line in postgres_shape(pair + "_b", described)])


if __name__ == "__main__":
    unittest.main()
