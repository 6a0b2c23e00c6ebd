#!/usr/bin/env python3
"""Write everything that follows from a record description (*.rec).

    tools/recgen.py            rewrite the generated files that differ
    tools/recgen.py --check    name the stale files and exit 1 instead (a test runs this)
    tools/recgen.py --root DIR the same for another tree (the tests of this program use it)

The outputs are committed, so building needs no Python; changing a record does. What each line of a
.rec file means is written in schema/records/README.md; every refusal below names file:line.

schema/records/<store>.rec gives        tests/fixtures/<set>.rec gives, beside itself
    include/keep/<store>_records.h          <set>_records.h
    src/<store>/<store>_records.h
    src/<store>/<store>_records.c           <set>_records.c
    schema/sqlite/<store>_tables.sql        <set>_sqlite.sql
    schema/postgres/<store>_tables.sql      <set>_postgres.sql
    docs/reference/<store>_tables.md        (none)
A file that begins with `private` has no header in include/.
"""
import argparse
import pathlib
import re
import sys
import textwrap

KINDS = {  # kind: (C type, SQLite, PostgreSQL)
    "text": ("keep_bytes", "TEXT", "text"),
    "blob": ("keep_bytes", "BLOB", "bytea"),
    "json": ("keep_bytes", "TEXT", "json"),
    "int": ("int64_t", "INTEGER", "bigint"),
    "real": ("double", "REAL", "double precision"),
    "bool": ("bool", "INTEGER", "boolean"),
    "time": ("int64_t", "TEXT", "timestamptz"),
}
COUNTED = ("text", "blob", "json")  # absent is data == NULL; the others need a has_ member
DIALECTS = ("sqlite", "postgres")
IDENTIFIER = r"[a-z][a-z0-9_]*"
NAME_MAX = 63  # PostgreSQL cuts longer identifiers silently
COLUMNS_MAX = 200
# A member or column of these names would not compile in C, C++ or an X macro.
C_WORDS = set(
    "alignas alignof asm auto bool break case catch char class const constexpr continue default delete"
    " do double else enum explicit export extern false float for friend goto if inline int long mutable"
    " namespace new noreturn nullptr operator private protected public register restrict return short"
    " signed sizeof static static_assert struct switch template this thread_local throw true try typedef"
    " typeid typename typeof union unsigned using virtual void volatile wchar_t while errno linux unix"
    .split())
# Words that one of the dialects reads as its own; quoted wherever they name a table or column.
SQL_WORDS = set(
    "abort action add after all alter always analyse analyze and any array as asc asymmetric attach"
    " authorization autoincrement before begin between binary both by cascade case cast check collate"
    " collation column commit concurrently conflict constraint create cross current current_catalog"
    " current_date current_role current_schema current_time current_timestamp current_user database"
    " default deferrable deferred delete desc detach distinct do drop each else end escape except exclude"
    " exclusive exists explain fail false fetch filter first following for foreign freeze from full"
    " generated glob grant group groups having if ignore ilike immediate in index indexed initially inner"
    " insert instead intersect into is isnull join key last lateral leading left like limit localtime"
    " localtimestamp match materialized natural no not nothing notnull null nulls of offset on only or"
    " order others outer over overlaps partition placing plan pragma preceding primary query raise range"
    " recursive references regexp reindex release rename replace restrict returning right rollback row"
    " rows savepoint select session session_user set similar some symmetric system_user table tablesample"
    " temp temporary then ties time timestamp to trailing transaction trigger true type unbounded union"
    " unique update user using vacuum value values variadic verbose view virtual when where window with"
    " without".split())


class Refusal(Exception):
    pass


# ------------------------------------------------------------------ reading


class Reader:
    """The words of one line, taken from the left."""

    TOKEN = re.compile(r"'(?:[^']|'')*'|[A-Za-z0-9_.|+-]+|[(),]|\S")

    def __init__(self, where, code):
        self.where, self.code = where, code
        self.found = [(m.group(), m.end()) for m in self.TOKEN.finditer(code)]
        self.at = 0

    def refuse(self, what):
        raise Refusal(f"{self.where}: {what}")

    def peek(self):
        return self.found[self.at][0] if self.at < len(self.found) else None

    def take(self, what="a word"):
        word = self.peek()
        if word is None:
            self.refuse(f"{what} is missing at the end of the line")
        self.at += 1
        return word

    def accept(self, *words):
        """Take `words` if they come next."""
        ahead = [word for word, _ in self.found[self.at:self.at + len(words)]]
        if ahead == list(words):
            self.at += len(words)
            return True
        return False

    def expect(self, word):
        if not self.accept(word):
            self.refuse(f"expected '{word}', found '{self.peek() or 'the end of the line'}'")

    def name(self, what):
        word = self.take(what)
        if not re.fullmatch(IDENTIFIER, word) or len(word) > NAME_MAX:
            self.refuse(f"'{word}' is no name for {what}: small letters, digits, _, at most {NAME_MAX}")
        return word

    def names(self):
        """(a, b, c)"""
        self.expect("(")
        found = [self.name("a column")]
        while self.accept(","):
            found.append(self.name("a column"))
        self.expect(")")
        return found

    def rest(self):
        """Everything that is left, as it is written."""
        start = self.found[self.at - 1][1]
        self.at = len(self.found)
        return self.code[start:].strip()

    def end(self):
        if self.peek() is not None:
            self.refuse(f"'{self.peek()}' is not understood here")


def split_doc(where, line):
    """The code and the sentence after `--`; a `--` inside quotes is no comment."""
    match = re.match(r"((?:'(?:[^']|'')*'|(?!--)[^'])*)(?:--(.*))?$", line)
    if not match:
        raise Refusal(f"{where}: a quote is not closed")
    return match[1].rstrip(), (match[2] or "").strip()


def parse_only(line, into):
    dialect = line.take("sqlite or postgres")
    if dialect not in DIALECTS:
        line.refuse(f"'only {dialect}': there are {' and '.join(DIALECTS)}")
    into["only"] = dialect


def parse_references(line, column):
    column["target"] = (line.name("a table"), line.names())
    if len(column["target"][1]) != 1:
        line.refuse("a column references one column; write 'foreign (…)' for several")
    column["on_delete"] = parse_on_delete(line)


def parse_on_delete(line):
    if not line.accept("on", "delete"):
        return ""
    if line.accept("cascade"):
        return " ON DELETE CASCADE"
    if line.accept("set", "null"):
        return " ON DELETE SET NULL"
    line.refuse(f"'on delete {line.peek()}': there are cascade and set null")


def parse_column(line, doc):
    column = {"name": line.name("a column"), "flags": set(), "allowed": [], "only": None,
              "target": None, "on_delete": "", "default": None, "doc": doc, "where": line.where}
    if column["name"] in C_WORDS:
        line.refuse(f"column '{column['name']}': a word of C cannot be a member")
    column["kind"] = line.take("a kind")
    if column["kind"] not in KINDS:
        line.refuse(f"'{column['kind']}' is no kind: {' '.join(KINDS)}")
    while line.peek() is not None:
        word = line.take()
        if word in column["flags"]:
            line.refuse(f"'{word}' is said twice")
        if word in ("key", "null", "secret", "unique", "auto"):
            column["flags"].add(word)
        elif word == "in":
            column["allowed"] = line.take("a value").split("|")
        elif word == "references":
            parse_references(line, column)
        elif word == "default":
            column["default"] = line.take("a literal")
        elif word == "only":
            parse_only(line, column)
        else:
            line.refuse(f"'{word}' is not understood here")
    check_column(line, column)
    return column


def check_column(line, column):
    flags, kind = column["flags"], column["kind"]
    if {"key", "null"} <= flags:
        line.refuse("a key cannot be null")
    if "auto" in flags and (kind != "int" or "key" not in flags):
        line.refuse("auto is for an int key")
    if "key" in flags and kind in ("json", "real"):
        line.refuse(f"a {kind} cannot be a key")
    if "unique" in flags and kind == "json":
        line.refuse("json cannot be unique")
    if "key" in flags and column["only"]:
        line.refuse("a key is there in both dialects")
    if column["allowed"] and kind != "text":
        line.refuse("only text has allowed values")
    for value in column["allowed"]:
        if not re.fullmatch(r"[A-Za-z0-9_.+-]+", value) or column["allowed"].count(value) > 1:
            line.refuse(f"'{value}' is no allowed value, or is there twice")
    if " SET NULL" in column["on_delete"] and "null" not in flags:
        line.refuse("on delete set null needs a column that may be null")
    if column["default"] is not None:
        check_default(line, column)


def check_default(line, column):
    literal, kind = column["default"], column["kind"]
    right = {
        "text": r"'(?:[^']|'')*'", "json": r"'(?:[^']|'')*'", "int": r"-?\d+",
        "real": r"-?\d+(\.\d+)?", "bool": r"true|false", "time": r"now",
    }
    if kind not in right or not re.fullmatch(right[kind], literal):
        line.refuse(f"'{literal}' is no default for {kind}")
    if column["allowed"] and literal[1:-1] not in column["allowed"]:
        line.refuse(f"the default {literal} is not one of the allowed values")
    if "auto" in column["flags"]:
        line.refuse("an auto key has no default")


def parse_record(line, doc):
    record = {"name": line.name("a record"), "doc": doc, "columns": [], "uniques": [], "indexes": [],
              "foreigns": [], "cluster": None, "only": None, "where": line.where}
    line.expect("in")
    record["table"] = line.name("a table")
    if line.accept("only"):
        parse_only(line, record)
    line.end()
    return record


def parse_part(line, record, doc):
    """A line inside a record. Table-level lines open with a word and a bracket."""
    if line.accept("unique", "("):
        line.at -= 1
        record["uniques"].append(line.names())
    elif line.accept("index", "("):
        line.at -= 1
        index = {"columns": line.names(), "where_sql": ""}
        if line.accept("where"):
            index["where_sql"] = line.rest()
            if not index["where_sql"]:
                line.refuse("a condition is missing after 'where'")
        record["indexes"].append(index)
    elif line.accept("cluster", "("):
        line.at -= 1
        if record["cluster"]:
            line.refuse("a table is clustered once")
        record["cluster"] = line.names()
    elif line.accept("foreign", "("):
        line.at -= 1
        columns = line.names()
        line.expect("references")
        target = (line.name("a table"), line.names())
        record["foreigns"].append((columns, target, parse_on_delete(line), line.where))
    else:
        if not doc:
            line.refuse("every column says what it is (-- text)")
        record["columns"].append(parse_column(line, doc))
    line.end()


def parse_file(path, label):
    store = {"name": path.stem, "private": False, "records": []}
    if not re.fullmatch(IDENTIFIER, path.stem):
        raise Refusal(f"{label}:1: the file's name becomes a C name: small letters, digits, _")
    for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        where = f"{label}:{number}"
        if text.lstrip().startswith("#"):
            continue
        code, doc = split_doc(where, text)
        line = Reader(where, code)
        if line.peek() is None:
            if doc:
                raise Refusal(f"{where}: a sentence without a record or column; # begins a remark")
        elif line.accept("private"):
            if store["records"] or store["private"]:
                line.refuse("private is the first line")
            store["private"] = True
            line.end()
        elif not text[0].isspace():
            line.expect("record")
            if not doc:
                line.refuse("every record says what it is (-- text)")
            store["records"].append(parse_record(line, doc))
        elif not store["records"]:
            line.refuse("a column before the first record")
        else:
            parse_part(line, store["records"][-1], doc)
    if not store["records"]:
        raise Refusal(f"{label}:1: no record in it")
    check_store(store)
    return store


# ------------------------------------------------------------------ what one line cannot know


def check_store(store):
    seen_names, seen_tables = {}, {}
    for record in store["records"]:
        where = record["where"]
        twin = seen_tables.get(record["table"])
        apart = twin and {twin["only"], record["only"]} == {"sqlite", "postgres"}
        if record["name"] in seen_names or (twin and not apart):
            raise Refusal(f"{where}: record '{record['name']}' or table '{record['table']}' is there twice")
        seen_names[record["name"]] = seen_tables[record["table"]] = record
        check_record(record)
        for column in record["columns"]:
            if column["target"]:
                check_reference(seen_tables, record, [column["name"]], column["target"], column["where"])
        for columns, target, _, foreign_where in record["foreigns"]:
            check_reference(seen_tables, record, columns, target, foreign_where)
    macros = {}
    for record in store["records"]:
        for column in record["columns"]:
            for value in column["allowed"]:
                macro = value_macro(store, record, column, value)
                if macro in macros:
                    raise Refusal(f"{column['where']}: {macro} would be made twice")
                macros[macro] = True


def check_record(record):
    where, members = record["where"], {}
    for column in record["columns"]:
        for member in [column["name"]] + ([has(column)] if has(column) else []):
            if member in members:
                raise Refusal(f"{column['where']}: '{member}' is there twice in {record['name']}")
            members[member] = column
    keys = [column for column in record["columns"] if "key" in column["flags"]]
    if not keys:
        raise Refusal(f"{where}: record '{record['name']}' has no key")
    if len(record["columns"]) > COLUMNS_MAX:
        raise Refusal(f"{where}: record '{record['name']}' has more than {COLUMNS_MAX} columns")
    if any("auto" in key["flags"] for key in keys) and len(keys) > 1:
        raise Refusal(f"{where}: an auto key is the whole key")
    names = {column["name"]: column for column in record["columns"]}
    for columns in record["uniques"] + [index["columns"] for index in record["indexes"]]:
        check_columns(record, names, columns, where)
    if record["cluster"]:
        check_columns(record, names, record["cluster"], where)
        if any("auto" in key["flags"] for key in keys):
            raise Refusal(f"{where}: a table with an auto key is clustered by it already")
        if any("null" in names[name]["flags"] for name in record["cluster"]):
            raise Refusal(f"{where}: a table is not clustered by what may be null")
    made = [index_name(record, index) for index in record["indexes"]]
    for name in made:
        if len(name) > NAME_MAX or made.count(name) > 1:
            raise Refusal(f"{where}: index name '{name}' is longer than {NAME_MAX}, or there twice")


def check_columns(record, names, columns, where):
    for name in columns:
        if name not in names:
            raise Refusal(f"{where}: '{name}' is no column of {record['name']}")
        if names[name]["kind"] == "json":
            raise Refusal(f"{where}: json column '{name}' cannot be indexed")
        if names[name]["only"]:
            raise Refusal(f"{where}: '{name}' is not there in both dialects")
    if len(set(columns)) != len(columns):
        raise Refusal(f"{where}: ({', '.join(columns)}) names a column twice")


def check_reference(tables, record, columns, target, where):
    table, theirs = target
    if table not in tables:
        raise Refusal(f"{where}: table '{table}' is not described above (a table refers upwards)")
    other = tables[table]
    names = {column["name"]: column for column in other["columns"]}
    mine = {column["name"]: column for column in record["columns"]}
    for name in theirs:
        if name not in names:
            raise Refusal(f"{where}: '{name}' is no column of table '{table}'")
    if len(columns) != len(theirs) or any(name not in mine for name in columns):
        raise Refusal(f"{where}: ({', '.join(columns)}) does not fit ({', '.join(theirs)})")
    if other["only"] not in (None, record["only"]) or any(names[name]["only"] for name in theirs):
        raise Refusal(f"{where}: {table}({', '.join(theirs)}) is not there in every dialect")
    keys = [name for name, column in names.items() if "key" in column["flags"]]
    single = len(theirs) == 1 and "unique" in names[theirs[0]]["flags"]
    if not single and theirs != keys and theirs not in other["uniques"]:
        raise Refusal(f"{where}: {table}({', '.join(theirs)}) is neither a key nor unique")
    for ours, their in zip(columns, theirs):
        if mine[ours]["kind"] != names[their]["kind"]:
            raise Refusal(f"{where}: {ours} is {mine[ours]['kind']}, {table}.{their} is"
                          f" {names[their]['kind']}")


# ------------------------------------------------------------------ names that outputs share


def has(column):
    """The member that says whether a nullable number is there, or ''."""
    return f"has_{column['name']}" if "null" in column["flags"] and column["kind"] not in COUNTED else ""


def struct_name(store, record):
    return f"{'kp' if store['private'] else 'keep'}_{record['name']}"


def value_macro(store, record, column, value):
    words = f"{struct_name(store, record)}_{column['name']}_{value}"
    return re.sub(r"[^A-Z0-9]", "_", words.upper())


def quote(name):
    return f'"{name}"' if name in SQL_WORDS else name


def quote_all(names):
    return ", ".join(quote(name) for name in names)


def index_name(record, index):
    return "_".join([record["table"], "by"] + index["columns"])


def note(store):
    return f"Generated by tools/recgen.py from {store['label']}. Do not edit."


def comment(text, indent="", width=98):
    """A C comment; a sentence cannot end it."""
    text = text.replace("*/", "* /").replace("/*", "/ *")
    one = f"{indent}/* {text} */"
    if len(one.expandtabs(8)) <= width:
        return [one]
    wrapped = textwrap.wrap(text, width - len(indent.expandtabs(8)) - 6)
    lines = [f"{indent}/* {wrapped[0]}"] + [f"{indent}   {part}" for part in wrapped[1:]]
    return lines[:-1] + [lines[-1] + " */"]


# ------------------------------------------------------------------ C


def member_lines(kind, name, doc):
    declared = f"\t{KINDS[kind][0]} {name};"
    text = doc.replace("*/", "* /").replace("/*", "/ *")
    line = f"{declared} /* {text} */"
    return [line] if len(line.expandtabs(8)) <= 100 else comment(doc, "\t") + [declared]


def column_doc(column):
    extra = []
    if "key" in column["flags"]:
        extra.append("key" + (", assigned by the database" if "auto" in column["flags"] else ""))
    if "null" in column["flags"]:
        extra.append("may be absent")
    if "secret" in column["flags"]:
        extra.append("secret")
    if column["only"]:
        extra.append(f"only {column['only']}")
    return column["doc"] + (f" ({'; '.join(extra)})" if extra else "")


def structs(store):
    out = []
    for record in store["records"]:
        struct = struct_name(store, record)
        out += comment(f"{record['doc']} Table `{record['table']}`.") + [f"typedef struct {struct} {{"]
        for column in record["columns"]:
            doc = column_doc(column)
            if column["allowed"]:
                doc += f" One of {', '.join(column['allowed'])}."
            out += member_lines(column["kind"], column["name"], doc)
            if has(column):
                out.append(f"\tbool {has(column)}; /* whether {column['name']} is there */")
        out += [f"}} {struct};", ""]
        for column in record["columns"]:
            if column["allowed"]:
                out += comment(f"The values of {struct}.{column['name']}.")
                out += [f'#define {value_macro(store, record, column, value)} "{value}"'
                        for value in column["allowed"]] + [""]
    return out


def public_header(store):
    guard = f"KEEP_{store['name'].upper()}_RECORDS_H"
    out = [f"/* {note(store)} */", f"#ifndef {guard}", f"#define {guard}", "/*",
           f" * keep/{store['name']}_records.h - what the {store['name']} store keeps, as plain structs.",
           " *", " * What it is not: it stores and frees nothing. A keep_bytes of a record that was read is",
           " * borrowed from the result it came with; data == NULL is absent. Times are ms since 1970 UTC.",
           " *", " * Threads: plain data.", " */", '#include "keep/base.h"', ""]
    return "\n".join(out + structs(store) + ["#endif", ""])


def private_header(store):
    guard = f"KP_{store['name'].upper()}_RECORDS_H"
    out = [f"/* {note(store)} */", f"#ifndef {guard}", f"#define {guard}", "/*",
           f" * {store['name']}_records.h - the field tables of the {store['name']} records.", " */"]
    if not store["private"]:
        out.append(f'#include "keep/{store["name"]}_records.h"')
    out += ['#include "sql/sql.h"', ""]
    if store["private"]:
        out += structs(store)
    out += [f"extern const kp_record kp_{record['name']}_record;" for record in store["records"]]
    out += ["", "/* All of them, in the order of their description. */",
            f"extern const kp_record *const kp_{store['name']}_records[];",
            f"enum {{ KP_{store['name'].upper()}_RECORD_COUNT = {len(store['records'])} }};"]
    if not store["private"]:
        out += ["", "/* What each field of each of them is, for the manual; the same orders. */",
                f"extern const char *const *const kp_{store['name']}_record_texts[];"]
    return "\n".join(out + ["", "#endif", ""])


def flag_text(column):
    names = [f"KP_FIELD_{flag.upper()}" for flag in ("key", "null", "secret", "auto")
             if flag in column["flags"]]
    if column["only"]:
        names.append(f"KP_FIELD_{column['only'].upper()}")
    return " | ".join(names) or "0"


def field_line(struct, record, column):
    start = f"{column['kind'].upper()}, {struct}, {column['name']}, {flag_text(column)}"
    if has(column):
        line = f"\tKP_FIELD_OPTIONAL({start}),"
    else:
        allowed = f"{record['name']}_{column['name']}_values" if column["allowed"] else "NULL"
        line = f"\tKP_FIELD({start}, {allowed}),"
    if len(line.expandtabs(8)) <= 100:
        return line
    head, tail = line.rsplit(f", {flag_text(column)}", 1)
    return f"{head},\n\t\t{flag_text(column)}{tail}"


def field_tables(store):
    folder = "" if store["beside"] else f"{store['name']}/"
    out = [f"/* {note(store)} */", "/*",
           f" * {store['name']}_records.c - how each struct of the {store['name']} records lies in its table.",
           " * A field whose struct member has another type does not compile.", " */",
           f'#include "{folder}{store["name"]}_records.h"', ""]
    for record in store["records"]:
        struct = struct_name(store, record)
        for column in record["columns"]:
            if column["allowed"]:
                values = ", ".join(f'"{value}"' for value in column["allowed"])
                out += [f"static const char *const {record['name']}_{column['name']}_values[] = {{"]
                out += ["\t" + part for part in textwrap.wrap(values + ", NULL", 88)] + ["};", ""]
        out.append(f"static const kp_field {record['name']}_fields[] = {{")
        out += [field_line(struct, record, column) for column in record["columns"]] + ["};", ""]
        flags = f"KP_FIELD_{record['only'].upper()}" if record["only"] else "0"
        out += [f"const kp_record kp_{record['name']}_record =",
                f'\tKP_RECORD({struct}, "{record["table"]}", {flags}, {record["name"]}_fields);', ""]
    out.append(f"const kp_record *const kp_{store['name']}_records[] = {{")
    out += [f"\t&kp_{record['name']}_record," for record in store["records"]] + ["};", ""]
    if not store["private"]:
        out += field_texts(store)
    return "\n".join(out)


def field_texts(store):
    """The sentences of a public store's fields: operations show them to people."""
    out = []
    for record in store["records"]:
        out.append(f"static const char *const {record['name']}_texts[] = {{")
        for column in record["columns"]:
            text = column["doc"].replace("\\", "\\\\").replace('"', '\\"')
            out.append(f'\t"{text}",')
        out += ["};", ""]
    out.append(f"const char *const *const kp_{store['name']}_record_texts[] = {{")
    return out + [f"\t{record['name']}_texts," for record in store["records"]] + ["};", ""]


# ------------------------------------------------------------------ SQL


def default_sql(column, dialect):
    literal = column["default"]
    if literal is None:
        return ""
    if literal == "now":
        now = "(strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))"
        return f" DEFAULT {now if dialect == 'sqlite' else 'now()'}"
    if column["kind"] == "bool" and dialect == "sqlite":
        literal = str(int(literal == "true"))
    return f" DEFAULT {literal}"


def check_sql(column, dialect):
    name = quote(column["name"])
    if column["allowed"]:
        values = ", ".join(f"'{value}'" for value in column["allowed"])
        return f" CHECK ({name} IN ({values}))"
    if dialect == "sqlite" and column["kind"] == "bool":
        return f" CHECK ({name} IN (0, 1))"
    if dialect == "sqlite" and column["kind"] == "json":
        # SQLite before 3.42 answers 0 for NULL to programs without a function of their own.
        absent = f"{name} IS NULL OR " if "null" in column["flags"] else ""
        return f" CHECK ({absent}json_valid({name}))"
    return ""


def column_sql(column, dialect):
    sql = f"{quote(column['name'])} {KINDS[column['kind']][1 + DIALECTS.index(dialect)]}"
    if "auto" in column["flags"]:
        return sql + (" PRIMARY KEY NOT NULL" if dialect == "sqlite"
                      else " GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY")
    if "null" not in column["flags"]:
        sql += " NOT NULL"
    sql += default_sql(column, dialect)
    if "unique" in column["flags"]:
        sql += " UNIQUE"
    sql += check_sql(column, dialect)
    if column["target"]:
        table, names = column["target"]
        sql += f" REFERENCES {quote(table)} ({quote_all(names)}){column['on_delete']}"
    return sql


def table_sql(record, dialect):
    columns = [c for c in record["columns"] if c["only"] in (None, dialect)]
    parts = [(column_sql(column, dialect), column["doc"]) for column in columns]
    if not any("auto" in column["flags"] for column in columns):
        keys = [column["name"] for column in columns if "key" in column["flags"]]
        others = [record["cluster"]] if record["cluster"] not in (None, keys) else []
        if record["cluster"] and dialect == "sqlite":
            keys, others = record["cluster"], [keys] if others else []
        parts.append((f"PRIMARY KEY ({quote_all(keys)})", ""))
        parts += [(f"UNIQUE ({quote_all(names)})", "") for names in others]
    parts += [(f"UNIQUE ({quote_all(names)})", "") for names in record["uniques"]]
    for names, (table, theirs), on_delete, _ in record["foreigns"]:
        parts.append((f"FOREIGN KEY ({quote_all(names)}) REFERENCES {quote(table)}"
                      f" ({quote_all(theirs)}){on_delete}", ""))
    out = ["", f"-- {record['doc']}", f"CREATE TABLE {quote(record['table'])} ("]
    for number, (sql, doc) in enumerate(parts, 1):
        comma = "," if number < len(parts) else ""
        out.append(f"  {sql}{comma}" + (f" -- {doc}" if doc else ""))
    clustered = " WITHOUT ROWID," if record["cluster"] else ""
    out.append(f"){clustered} STRICT;" if dialect == "sqlite" else ");")
    for index in record["indexes"]:
        where = f" WHERE {index['where_sql']}" if index["where_sql"] else ""
        out.append(f"CREATE INDEX {index_name(record, index)} ON {quote(record['table'])}"
                   f" ({quote_all(index['columns'])}){where};")
    return out


def tables(store, dialect):
    out = [f"-- {note(store)}"]
    for record in store["records"]:
        if record["only"] in (None, dialect):
            out += table_sql(record, dialect)
    return "\n".join(out + [""])


# ------------------------------------------------------------------ the reference page


def escape_cell(text):
    return text.replace("|", "\\|")


def reference(store):
    out = [f"<!-- {note(store)} -->", f"# The tables of {store['name']}", ""]
    out += ["Times are RFC 3339 text of fixed width on SQLite and timestamptz on PostgreSQL."]
    for record in store["records"]:
        only = f" Only on {record['only']}." if record["only"] else ""
        out += ["", f"## {record['table']}", "", record["doc"] + only, "",
                "| column | type | null | meaning |", "|---|---|---|---|"]
        for column in record["columns"]:
            words = [column["kind"]] + [flag for flag in ("key", "auto", "unique", "secret")
                                        if flag in column["flags"]]
            meaning = column["doc"]
            if column["allowed"]:
                meaning += f" One of `{'`, `'.join(column['allowed'])}`."
            if column["target"]:
                meaning += f" References {column['target'][0]}({column['target'][1][0]})."
            if column["default"] is not None:
                meaning += f" Default {column['default']}."
            if column["only"]:
                meaning += f" Only on {column['only']}."
            out.append(f"| {column['name']} | {', '.join(words)} |"
                       f" {'yes' if 'null' in column['flags'] else 'no'} | {escape_cell(meaning)} |")
        out += [""] if any(record[part] for part in ("uniques", "foreigns", "indexes", "cluster")) else []
        if record["cluster"]:
            out.append(f"- rows lie in the order of ({', '.join(record['cluster'])}), which is unique")
        out += [f"- unique ({', '.join(names)})" for names in record["uniques"]]
        out += [f"- ({', '.join(names)}) references {table}({', '.join(theirs)})"
                for names, (table, theirs), _, _ in record["foreigns"]]
        out += [f"- index ({', '.join(index['columns'])})"
                + (f" where `{index['where_sql']}`" if index["where_sql"] else "")
                for index in record["indexes"]]
    return "\n".join(out + [""])


# ------------------------------------------------------------------ files


def outputs(store):
    name = store["name"]
    if store["beside"]:
        folder = store["beside"]
        return {f"{folder}/{name}_records.h": private_header(store),
                f"{folder}/{name}_records.c": field_tables(store),
                f"{folder}/{name}_sqlite.sql": tables(store, "sqlite"),
                f"{folder}/{name}_postgres.sql": tables(store, "postgres")}
    found = {f"src/{name}/{name}_records.h": private_header(store),
             f"src/{name}/{name}_records.c": field_tables(store),
             f"schema/sqlite/{name}_tables.sql": tables(store, "sqlite"),
             f"schema/postgres/{name}_tables.sql": tables(store, "postgres"),
             f"docs/reference/{name}_tables.md": reference(store)}
    if not store["private"]:
        found[f"include/keep/{name}_records.h"] = public_header(store)
    return found


def collect(root):
    """Every output of every description under `root`: path -> text."""
    found, structs_seen = {}, {}
    for folder, beside in (("schema/records", None), ("tests/fixtures", "tests/fixtures")):
        for path in sorted((root / folder).glob("*.rec")):
            label = str(path.relative_to(root))
            store = parse_file(path, label)
            store["label"], store["beside"] = label, beside
            if beside and not store["private"]:
                raise Refusal(f"{label}:1: a fixture is private")
            for record in store["records"]:
                if record["name"] in structs_seen:
                    raise Refusal(f"{record['where']}: record '{record['name']}' is also in"
                                  f" {structs_seen[record['name']]}")
                structs_seen[record["name"]] = label
            found.update(outputs(store))
    return found


def find_orphans(root, wanted):
    """Generated files that no description gives any more: their names, for a person to remove."""
    places = ("include/keep/*_records.h", "src/*/*_records.[ch]", "schema/*/*_tables.sql",
              "docs/reference/*_tables.md", "tests/fixtures/*")
    for place in places:
        for path in sorted(root.glob(place)):
            name = str(path.relative_to(root))
            if path.is_file() and name not in wanted and \
                    "Generated by tools/recgen.py" in path.read_text(encoding="utf-8").split("\n")[0]:
                yield name


def main():
    parser = argparse.ArgumentParser(description="Write what follows from the record descriptions.")
    parser.add_argument("--check", action="store_true", help="name stale files and exit 1")
    parser.add_argument("--root", type=pathlib.Path,
                        default=pathlib.Path(__file__).resolve().parent.parent)
    options = parser.parse_args()
    try:
        wanted = collect(options.root)
    except Refusal as refusal:
        sys.exit(str(refusal))
    stale = []
    for name, text in wanted.items():
        target = options.root / name
        if target.exists() and target.read_text(encoding="utf-8") == text:
            continue
        stale.append(name)
        if not options.check:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")
    for name in stale:
        print(("stale: " if options.check else "wrote: ") + name)
    orphans = list(find_orphans(options.root, wanted))
    for name in orphans:
        print(f"no description gives it any more, remove it: {name}")
    sys.exit(1 if options.check and (stale or orphans) else 0)


if __name__ == "__main__":
    main()
