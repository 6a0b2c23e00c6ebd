"""Read record descriptions (*.rec) for tools/recgen.py, and refuse what is wrong with them.

parse_file() gives a store: its name, folder, whether it is private, and its records with their columns,
every one checked; a Refusal names file:line. What the lines mean: schema/records/README.md. What follows
from a store is written by recgen.py. Held by tests/unit/test_recgen.py.
"""
import re

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
        if word in ("key", "null", "secret", "unique", "auto", "shared", "rowid"):
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
    if "shared" in flags and (kind != "text" or "key" not in flags or "unique" in flags
                              or column["only"]):
        line.refuse("shared is for a text key, which is not unique by itself")
    if "rowid" in flags and (kind != "int" or flags != {"rowid"} or column["only"]
                             or column["default"] is not None):
        line.refuse("rowid is for an int of both dialects: no key, not null, without a default")
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
              "foreigns": [], "checks": [], "cluster": None, "only": None, "where": line.where}
    line.expect("in")
    record["table"] = line.name("a table")
    if line.accept("only"):
        parse_only(line, record)
    line.end()
    return record


def parse_part(line, record, doc):
    """A line inside a record. Table-level lines open with a word and a bracket, or with check."""
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
    elif line.accept("check"):
        record["checks"].append((line.rest(), doc, line.where))
    else:
        if not doc:
            line.refuse("every column says what it is (-- text)")
        record["columns"].append(parse_column(line, doc))
    line.end()


def parse_also(line, doc):
    dialect = line.name("a dialect")
    if dialect not in ("sqlite", "postgres"):
        line.refuse("also sqlite, or also postgres")
    if not doc:
        line.refuse("every table says what it is (-- text)")
    return {"dialect": dialect, "sql": line.rest(), "doc": doc}


def parse_file(path, label):
    store = {"name": path.stem, "private": False, "folder": None, "records": [], "also": []}
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
                line.refuse("private comes once, before the first record")
            store["private"] = True
            line.end()
        elif not text[0].isspace() and line.accept("folder"):
            if store["records"] or store["folder"]:
                line.refuse("folder comes once, before the first record")
            store["folder"] = line.name("a folder")
            line.end()
        elif not text[0].isspace() and line.accept("also"):
            store["also"].append(parse_also(line, doc))
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
        for columns, target, on_delete, foreign_where in record["foreigns"]:
            check_reference(seen_tables, record, columns, target, foreign_where)
            if "SET NULL" in on_delete and shared_name(record) in columns:
                raise Refusal(f"{foreign_where}: on delete set null would take the shared column, too")
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
    check_sharing(record, keys)
    check_rowid(record, keys)
    for columns in record["uniques"] + [index["columns"] for index in record["indexes"]]:
        check_columns(record, names, columns, where)
    for index in record["indexes"]:
        if index["where_sql"]:
            check_condition(record, names, index["where_sql"], where)
    for condition, _, condition_where in record["checks"]:
        check_condition(record, names, condition, condition_where)
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


def check_sharing(record, keys):
    """The shared column is the first, and rows have another key beside it."""
    for column in record["columns"]:
        if "shared" not in column["flags"]:
            continue
        if column is not record["columns"][0]:
            raise Refusal(f"{column['where']}: a shared column is the first of its record")
        if len(keys) == 1:
            raise Refusal(f"{column['where']}: record '{record['name']}' has no key beside the shared one")
        if record["only"]:
            raise Refusal(f"{column['where']}: a table of one dialect has no shared column")


def check_rowid(record, keys):
    found = [column for column in record["columns"] if "rowid" in column["flags"]]
    if not found:
        return
    where, others = found[-1]["where"], [key for key in keys if "shared" not in key["flags"]]
    if len(found) > 1:
        raise Refusal(f"{where}: a table has one rowid")
    if len(others) != 1 or "auto" in others[0]["flags"]:
        raise Refusal(f"{where}: rowid is beside a single key, which the database does not assign")
    if record["cluster"]:
        raise Refusal(f"{where}: a clustered table has no rowid")


def check_condition(record, names, condition, where):
    """Conditions are SQL as it is written: looked at only for the columns they name."""
    words = re.findall(r"\w+", re.sub(r"'(?:[^']|'')*'", "", condition))
    named = [names[word] for word in words if word in names]
    if not named:
        raise Refusal(f"{where}: the condition '{condition}' names no column of {record['name']}")
    for column in named:
        if column["only"] or "shared" in column["flags"]:
            raise Refusal(f"{where}: '{column['name']}' is not there in both dialects")


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
    if not without_shared(record, columns):
        raise Refusal(f"{where}: ({', '.join(columns)}) names only the shared column")


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
    # A reference from the shared column alone is PostgreSQL's alone, as the column is.
    only = record["only"] if without_shared(record, columns) else "postgres"
    if other["only"] not in (None, only) or any(names[name]["only"] not in (None, only)
                                                for name in theirs):
        raise Refusal(f"{where}: {table}({', '.join(theirs)}) is not there in every dialect")
    if theirs not in unique_lists(other):
        raise Refusal(f"{where}: {table}({', '.join(theirs)}) is neither a key nor unique")
    for ours, their in zip(columns, theirs):
        if only is None and "shared" in mine[ours]["flags"] ^ names[their]["flags"]:
            raise Refusal(f"{where}: of {ours} and {table}.{their} one alone is shared")
    for ours, their in zip(columns, theirs):
        if mine[ours]["kind"] != names[their]["kind"]:
            raise Refusal(f"{where}: {ours} is {mine[ours]['kind']}, {table}.{their} is"
                          f" {names[their]['kind']}")


def shared_name(record):
    """The column that tells sessions apart where they share a table, or None."""
    first = record["columns"][0]
    return first["name"] if "shared" in first["flags"] else None


def with_shared(record, names):
    """A list of columns as PostgreSQL has it."""
    shared = shared_name(record)
    return names if shared is None or shared in names else [shared] + names


def without_shared(record, names):
    """A list of columns as SQLite has it."""
    return [name for name in names if name != shared_name(record)]


def unique_lists(record):
    """What may be referenced: the key and every unique list, as PostgreSQL has them."""
    keys = [column["name"] for column in record["columns"] if "key" in column["flags"]]
    single = [[column["name"]] for column in record["columns"] if column["flags"] & {"unique", "rowid"}]
    return [keys] + [with_shared(record, names) for names in record["uniques"] + single]


# ------------------------------------------------------------------ names that checks and outputs share


def has(column):
    """The member that says whether a nullable number is there, or ''."""
    return f"has_{column['name']}" if "null" in column["flags"] and column["kind"] not in COUNTED else ""


def struct_name(store, record):
    return f"{'kp' if store['private'] else 'keep'}_{record['name']}"


def value_macro(store, record, column, value):
    words = f"{struct_name(store, record)}_{column['name']}_{value}"
    return re.sub(r"[^A-Z0-9]", "_", words.upper())


def index_name(record, index):
    return "_".join([record["table"], "by"] + index["columns"])
