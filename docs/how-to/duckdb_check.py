#!/usr/bin/env python3
"""Reads a server's data files with DuckDB and compares them with what the server says over SQL.

    pip install duckdb
    python3 duckdb_check.py --data-dir /var/lib/rhythmite --db telegraf --db graphite

Asks the server to write out what it has in memory and to merge its files (POST /api/v1/compact), then compares, for every
table of the databases named, the series and, of each field, the number of values and their sum. Prints a line a table;
ends with 1 if anything differs. While points are being written the two sides see different moments: end the range of
time before that with --until, or check a server that is quiet.
"""

import argparse
import json
import math
import pathlib
import sys
import urllib.error
import urllib.parse
import urllib.request

import duckdb

# Of two rows for the same series, field and time the one of the newer file counts (its metadata has the order).
POINTS = """
CREATE OR REPLACE TEMP TABLE points AS
WITH files AS (
    SELECT file_name, decode(value)::UBIGINT AS seq
    FROM parquet_kv_metadata({points}) WHERE decode(key) = 'rhythmite.seq'),
newest AS (
    SELECT DISTINCT ON (series, field, time) p.*
    FROM read_parquet({points}, union_by_name = true, filename = true) p
    JOIN files ON files.file_name = p.filename
    ORDER BY series, field, time, seq DESC),
names AS (SELECT DISTINCT ON (series) * FROM read_parquet({series})),
fields AS (SELECT DISTINCT * FROM read_parquet({fields}))
SELECT n.database, n.policy, n."table", n.path, f.name AS field, f.type, p.time,
       coalesce(p.f, p.m / pow(10, p.e)) AS float_value, p.i, p.u, p.s, p.b
FROM newest p
JOIN names n USING (series)
JOIN fields f ON f."table" = p.series >> 40 AND f.id = p.field
WHERE epoch_ns(p.time) >= {since} AND epoch_ns(p.time) < {until}
"""

# Per field: how many values, and a sum that every type has.
SUMS = {
    "float": "sum(float_value)",
    "integer": "sum(i::HUGEINT)",
    "unsigned": "sum(u::HUGEINT)",
    "boolean": "count(*) FILTER (b)",
    "string": "sum(length(s))",
}
SERVER_SUMS = {
    "Float64": "sum({})",
    "Int64": "sum(CAST({} AS DECIMAL(38, 0)))",
    "UInt64": "sum(CAST({} AS DECIMAL(38, 0)))",
    "Boolean": "sum(CASE WHEN {} THEN 1 ELSE 0 END)",
    "Utf8": "sum(length({}))",
}


class Server:
    def __init__(self, url, token):
        self.url, self.token = url.rstrip("/"), token

    def post(self, path, body):
        request = urllib.request.Request(self.url + path, data=json.dumps(body).encode(), method="POST")
        request.add_header("Content-Type", "application/json")
        if self.token:
            request.add_header("Authorization", f"Bearer {self.token}")
        try:
            with urllib.request.urlopen(request) as response:
                return json.load(response)
        except urllib.error.HTTPError as e:
            sys.exit(f"{path}: {e.code} {e.read().decode(errors='replace')}")

    def sql(self, database, q, **params):
        return self.post("/api/v3/query_sql", {"db": database, "q": q, "params": params})


def quoted(name):
    return '"' + name.replace('"', '""') + '"'


def text(value):
    return "'" + value.replace("'", "''") + "'"


def read_files(data_dir, since, until):
    """Loads the raw points of all databases into the table `points`; false when there is no file."""
    files = {kind: sorted(str(p) for p in pathlib.Path(data_dir).glob(f"data/*/*/raw/*/{kind}-*.parquet"))
             for kind in ("points", "series", "fields")}
    if not files["points"]:
        return False
    lists = {kind: "[" + ", ".join(text(p) for p in paths) + "]" for kind, paths in files.items()}
    duckdb.sql(POINTS.format(**lists, since=since, until=until))
    return True


def same(a, b):
    a, b = float(a or 0), float(b or 0)
    return math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-9)


def check_table(server, db, schema, table, since, until):
    """The differences between server and files, and the number of series and values compared."""
    columns = server.sql(
        db, "SELECT column_name AS name, data_type AS type FROM information_schema.columns WHERE table_catalog = $db "
        "AND table_schema = $schema AND table_name = $tab ORDER BY ordinal_position", db=db, schema=schema, tab=table)
    names = [c["name"] for c in columns]
    fields = [c for c in columns if c["type"] in SERVER_SUMS and c["name"] != "time"]
    tags = [c["name"] for c in columns if c["type"].startswith("Dictionary") and c["name"] != "path"]
    graphite = "path" in names and "value" in names and db == "graphite"
    where = (f"WHERE time >= arrow_cast({since}, 'Timestamp(Nanosecond, None)') "
             f"AND time < arrow_cast({until}, 'Timestamp(Nanosecond, None)')")
    source = f"{quoted(schema)}.{quoted(table)} {where}"

    # Graphite's paths are one table over all storage schemas, each of which is a policy with files of its own.
    of_table = f"database = {text(db)} AND \"table\" = {text(table)}"
    of_table += f" AND policy != {text(schema)}" if graphite else f" AND policy = {text(schema)}"
    differences = []

    if graphite:
        said = {r["path"] for r in server.sql(db, f"SELECT DISTINCT path FROM {source}")}
        read = {r[0] for r in duckdb.sql(f"SELECT DISTINCT path FROM points WHERE {of_table}").fetchall()}
        for path in sorted(said ^ read)[:10]:
            differences.append(f"series {path}: only {'the server' if path in said else 'the files'} have it")
        series = len(read)
    else:
        listed = ", ".join(quoted(t) for t in tags)
        said = len(server.sql(db, f"SELECT DISTINCT {listed} FROM {source}")) if tags else None
        series = duckdb.sql(f"SELECT count(DISTINCT path) FROM points WHERE {of_table}").fetchall()[0][0]
        if said is not None and said != series:
            differences.append(f"series: the server has {said}, the files {series}")

    values = 0
    for field in fields:
        name = field["name"]
        column = quoted(name)
        sums = SERVER_SUMS[field["type"]].format(column)
        said = server.sql(db, f"SELECT count({column}) AS n, CAST({sums} AS DOUBLE) AS total FROM {source}")[0]
        kind = {"Float64": "float", "Int64": "integer", "UInt64": "unsigned", "Boolean": "boolean"}.get(
            field["type"], "string")
        n, total = duckdb.sql(f"SELECT count(*), {SUMS[kind]} FROM points WHERE {of_table} AND field = {text(name)} "
                              f"AND type = {text(kind)}").fetchall()[0]
        values += n
        if said["n"] != n:
            differences.append(f"field {name}: the server has {said['n']} values, the files {n}")
        elif not same(said.get("total"), total):
            differences.append(f"field {name}: the server's sum is {said.get('total')}, the files' {total}")
    return differences, series, values


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--url", default="http://127.0.0.1:8086")
    parser.add_argument("--token", help="sent as Authorization: Bearer")
    parser.add_argument("--data-dir", required=True)
    parser.add_argument("--db", action="append", required=True, help="a database; may be given more than once")
    parser.add_argument("--since", type=int, default=-(2**63) + 1, metavar="NS",
                        help="nanoseconds since 1970: compare points from here on. Older ones may be past their "
                             "retention for the server and still be in a file")
    parser.add_argument("--until", type=int, default=2**63 - 1, metavar="NS", help="compare points before this")
    options = parser.parse_args()

    server = Server(options.url, options.token)
    report = server.post("/api/v1/compact", {})
    print(f"compacted: {report['files_before']} files became {report['files_after']}")
    if not read_files(options.data_dir, options.since, options.until):
        sys.exit(f"no points-*.parquet below {options.data_dir}/data")

    failed = compared = 0
    for db in options.db:
        tables = server.sql(
            db, "SELECT table_schema AS s, table_name AS t FROM information_schema.tables WHERE table_catalog = $db "
            "AND table_schema NOT IN ('information_schema', 'iox') ORDER BY 1, 2", db=db)
        for row in tables:
            differences, series, values = check_table(
                server, db, row["s"], row["t"], options.since, options.until)
            compared += 1
            failed += bool(differences)
            print(f"{'DIFFERS' if differences else 'same'}: {db}.{row['s']}.{row['t']}: {series} series, {values} values")
            for difference in differences:
                print(f"    {difference}")
    if not compared:
        sys.exit("the server has no table in these databases")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
