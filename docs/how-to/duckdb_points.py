#!/usr/bin/env python3
"""Counts and sums the points of each series in a data directory, with DuckDB alone.

    duckdb_points.py DATA_DIR [PATTERN]     PATTERN is for series names, as SQL's GLOB; all without it

One line a stream: database, policy, level, table, series, field, count, sum. Texts have no sum.
"""

import pathlib
import sys

import duckdb

STREAMS = """
WITH files AS (
    SELECT file_name, decode(value)::UBIGINT AS seq
    FROM parquet_kv_metadata($points) WHERE decode(key) = 'rhythmite.seq'),
points AS (
    SELECT DISTINCT ON (series, field, time) p.*
    FROM read_parquet($points, union_by_name = true, filename = true) p
    JOIN files ON files.file_name = p.filename
    ORDER BY series, field, time, seq DESC)
SELECT s.database, s.policy, s.table, s.path, f.name, count(*),
       sum(coalesce(p.f, p.m / pow(10, p.e), p.i, p.u, p.b::INT))
FROM points p
JOIN (SELECT DISTINCT ON (series) * FROM read_parquet($series)) s USING (series)
JOIN (SELECT DISTINCT * FROM read_parquet($fields)) f ON f.table = p.series >> 40 AND f.id = p.field
WHERE s.path GLOB $pattern
GROUP BY ALL ORDER BY ALL
"""


def main():
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    data = pathlib.Path(sys.argv[1]) / "data"
    pattern = sys.argv[2] if len(sys.argv) == 3 else "*"
    # A level of a policy is one directory: its partitions, and what has not been sorted into them yet.
    for level in sorted(p for p in data.glob("*/*/*") if any(p.glob("*/points-*.parquet"))):
        files = {kind: f"{level}/*/{kind}-*.parquet" for kind in ("points", "series", "fields")}
        for database, policy, *rest in duckdb.execute(STREAMS, files | {"pattern": pattern}).fetchall():
            print(database, policy, level.name, *rest, sep="\t")


if __name__ == "__main__":
    main()
