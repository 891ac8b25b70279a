"""Reads exports and click segments with tools that nobody here wrote, and runs the queries of docs/queries.md.

    data_tools.py FOLDER QUERIES

FOLDER holds exports/{what}/dt=*/{what}.parquet, exports/{what}.csv and exports/{what}.ndjson, and clicks/, the folder of a
click log. Prints one JSON object; what is right is for the caller to know, but the formats of one export are compared
here, row for row, and so are the segments as each tool reads them, and segments and export.
"""

import csv
import datetime
import decimal
import glob
import json
import os
import re
import sys
import uuid

import chdb
import duckdb
import pandas
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset
import pyarrow.parquet as pq

KINDS = ["installs", "events", "conversions", "decisions", "deliveries", "clicks"]
MONEY = {"amount", "payout"}
SEGMENTS = "clicks/*/*/*.parquet"
# What docs/export.md says of cells that could be taken for a formula.
GUARD = re.compile("^'(?='*(?:[\\t\\r\\n]|[ \\t\\r\\n\\v\\f\\0\\xa0\\u3000\\ufeff]*[=+\\-@＝＋－＠]))")
# A click of which docs/queries.md knows.
ITS_CLICK = "019e92f5-1c00-7000-8000-000000000001"


def plain(name, value):
    """A value of Parquet or JSON as CSV shows it, without its apostrophe."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime.datetime):
        value = value.astimezone(datetime.timezone.utc)
        return value.strftime("%Y-%m-%dT%H:%M:%S.") + f"{value.microsecond // 1000:03d}Z"
    if name in MONEY and value != "":
        return str(decimal.Decimal(value).normalize())
    return str(value)


def formats(what):
    files = sorted(glob.glob(f"exports/{what}/*/*.parquet"))
    tables = [pq.read_table(path, partitioning=None) for path in files]
    by_parquet = [{n: plain(n, v) for n, v in row.items()} for t in tables for row in t.to_pylist()]
    with open(f"exports/{what}.ndjson") as lines:
        by_json = [{n: plain(n, v) for n, v in json.loads(line).items()} for line in lines]
    with open(f"exports/{what}.csv", newline="") as text:
        by_csv = []
        for row in csv.DictReader(text):
            row = {n: GUARD.sub("", v) for n, v in row.items()}
            by_csv.append({n: plain(n, v) if n in MONEY else v for n, v in row.items()})
    assert by_parquet == by_json, (what, "Parquet and JSON lines differ")
    assert by_parquet == by_csv, (what, "Parquet and CSV differ")
    return by_parquet


def clickhouse(query):
    text = str(chdb.query(query, "JSONEachRow"))
    return [json.loads(line) for line in text.splitlines() if line]


def agree(what, rows):
    """Counts, and sums of money by currency, by each tool and format."""
    money = what in ("events", "conversions")
    out = {"python": len(rows)}
    sources = {
        "parquet": (f"read_parquet('exports/{what}/*/*.parquet')", f"file('exports/{what}/*/*.parquet', Parquet)"),
        "csv": (f"read_csv('exports/{what}.csv', all_varchar = true)", f"file('exports/{what}.csv', CSVWithNames)"),
        "ndjson": (f"read_ndjson('exports/{what}.ndjson')", f"file('exports/{what}.ndjson', JSONEachRow)"),
    }
    for form, (duck, click) in sources.items():
        out[f"duckdb {form}"] = duckdb.sql(f"SELECT count(*) FROM {duck}").fetchall()[0][0]
        out[f"chdb {form}"] = int(clickhouse(f"SELECT count() AS n FROM {click}")[0]["n"])
        if money:
            sums = duckdb.sql(
                f"SELECT currency, sum(amount::DECIMAL(18, 6)) FROM {duck} WHERE currency IS NOT NULL AND currency <> '' "
                "GROUP BY 1 ORDER BY 1"
            ).fetchall()
            out[f"duckdb {form} sums"] = [[c, str(s.normalize())] for c, s in sums]
            sums = clickhouse(
                f"SELECT currency AS c, toString(sum(toDecimal64(ifNull(toString(amount), '0'), 6))) AS s FROM {click} "
                "WHERE currency IS NOT NULL AND currency <> '' GROUP BY c ORDER BY c"
            )
            out[f"chdb {form} sums"] = [[row["c"], str(decimal.Decimal(row["s"]).normalize())] for row in sums]
    # One row, looked up by its first column, is the same row in all tools.
    name = next(iter(rows[0]))
    wanted = rows[len(rows) // 2]
    found = duckdb.sql(f"SELECT * FROM read_parquet('exports/{what}/*/*.parquet', hive_partitioning = false) WHERE {name} = '{wanted[name]}' LIMIT 1")
    found = dict(zip(found.columns, found.fetchall()[0]))
    assert found.keys() == wanted.keys(), (what, found.keys())
    key = [n for n in wanted if n.endswith("_id") and not n.startswith("customer")]
    assert all(plain(n, found[n]) == wanted[n] for n in key), (what, found, wanted)
    texts = ", ".join(f"ifNull(toString({n}), '') AS {n}_" for n in key)
    seen = clickhouse(f"SELECT {texts} FROM file('exports/{what}/*/*.parquet', Parquet) WHERE {name} = '{wanted[name]}' LIMIT 1")[0]
    assert all(seen[f"{n}_"] == wanted[n] for n in key), (what, seen, wanted)
    return out


def segments(clicks):
    """Every segment by each tool: the same rows, value for value, those of the export among them."""
    paths = sorted(glob.glob(SEGMENTS))
    tables = [pq.read_table(path, partitioning=None) for path in paths]
    names = tables[0].column_names
    assert all(table.column_names == names for table in tables), "segments differ in their columns"
    for path, table in zip(paths, tables):
        spark = json.loads(pq.read_metadata(path).metadata[b"org.apache.spark.sql.parquet.row.metadata"])
        assert [field["name"] for field in spark["fields"]] == names, (path, spark)
        ids = [row.bytes for row in table["click_id"].to_pylist()]
        assert ids == sorted(ids), (path, "is not sorted")

    def same(name, value):
        if isinstance(value, (bytes, bytearray)):
            # pandas has no UUIDs and gives their bytes.
            return str(uuid.UUID(bytes=bytes(value))) if name == "click_id" else bytes(value).hex()
        if value is None or value is pandas.NaT or isinstance(value, float) and value != value:
            return None
        if isinstance(value, float):
            return str(int(value))
        return plain("", value)

    def sorted_rows(rows):
        rows = [{name: same(name, row[name]) for name in names} for row in rows]
        return sorted(rows, key=lambda row: row["click_id"])

    by_pyarrow = sorted_rows(row for table in tables for row in table.to_pylist())
    found = duckdb.sql(f"SELECT {', '.join(names)} FROM read_parquet('{SEGMENTS}', hive_partitioning = true)")
    by_duckdb = sorted_rows(dict(zip(found.columns, row)) for row in found.fetchall())
    frames = pandas.concat([pandas.read_parquet(path, dtype_backend="pyarrow") for path in paths], ignore_index=True)
    by_pandas = sorted_rows(frames.astype(object).where(frames.notna(), None).to_dict("records"))
    shown = [f"toString({n}) AS {n}_" for n in names if n not in ("received_at", "query_frame")]
    shown += ["toUnixTimestamp64Milli(received_at) AS received_at_", "lower(hex(query_frame)) AS query_frame_"]
    by_clickhouse = []
    for row in clickhouse(f"SELECT {', '.join(shown)} FROM file('{SEGMENTS}', Parquet)"):
        row = {name: row[f"{name}_"] for name in names}
        at = datetime.datetime.fromtimestamp(int(row["received_at"]) / 1000, datetime.timezone.utc)
        row["received_at"] = at.replace(microsecond=int(row["received_at"]) % 1000 * 1000)
        by_clickhouse.append({name: same(name, value) for name, value in row.items()})
    by_clickhouse.sort(key=lambda row: row["click_id"])
    tools = {"pyarrow": by_pyarrow, "duckdb": by_duckdb, "pandas": by_pandas, "clickhouse": by_clickhouse}
    for tool, rows in tools.items():
        for wanted, row in zip(by_pyarrow, rows, strict=True):
            assert row == wanted, (tool, {n: (row[n], wanted[n]) for n in names if row[n] != wanted[n]})

    # One by its id, by each.
    one = by_pyarrow[len(by_pyarrow) // 2]
    its = duckdb.sql(f"SELECT partner_click_id FROM read_parquet('{SEGMENTS}') WHERE click_id = '{one['click_id']}'::UUID")
    assert its.fetchall() == [(one["partner_click_id"],)], (its, one)
    its = clickhouse(f"SELECT partner_click_id FROM file('{SEGMENTS}', Parquet) WHERE toString(click_id) = '{one['click_id']}'")
    assert its == [{"partner_click_id": one["partner_click_id"]}], (its, one)
    its = [t.filter(pc.equal(t["click_id"].cast(pa.binary(16)), uuid.UUID(one["click_id"]).bytes)) for t in tables]
    assert [row["partner_click_id"] for t in its for row in t.to_pylist()] == [one["partner_click_id"]]

    # By the folders' names, one hour.
    dataset = pyarrow.dataset.dataset(paths, format="parquet", partitioning=pyarrow.dataset.partitioning(flavor="hive"))
    hour = (pc.field("dt") == "2026-06-04") & (pc.field("hr") == dataset.schema.field("hr").type.to_pandas_dtype()(11))
    hive = f"read_parquet('{SEGMENTS}', hive_partitioning = true, hive_types_autocast = false)"
    of_one_hour = {
        "path": sum(pq.read_metadata(path).num_rows for path in glob.glob("clicks/dt=2026-06-04/hr=11/*.parquet")),
        "pyarrow": dataset.count_rows(filter=hour),
        "duckdb": duckdb.sql(f"SELECT count(*) FROM {hive} WHERE dt = '2026-06-04' AND hr = '11'").fetchall()[0][0],
        "clickhouse": int(clickhouse(f"SELECT count() AS n FROM file('{SEGMENTS}', Parquet) WHERE _path LIKE '%dt=2026-06-04/hr=11/%'")[0]["n"]),
    }

    # The same rows as the export has of its workspace, in the columns that both have.
    ours = [row for row in by_pyarrow if row["workspace"] == "1"]
    both = [name for name in names if name in clicks[0] and name != "flags"]
    assert len(both) >= 35, both
    for wanted, row in zip(ours, clicks, strict=True):
        differ = {name: (row[name], wanted[name]) for name in both if row[name] != (wanted[name] or "")}
        assert not differ, differ
    counts = {tool: len(rows) for tool, rows in tools.items()}
    sums = duckdb.sql(f"SELECT sum(asn)::BIGINT, count(DISTINCT partner_click_id), max(received_at) - min(received_at) FROM {hive}").fetchall()[0]
    seen = clickhouse(f"SELECT sum(asn) AS a, uniqExact(partner_click_id) AS u FROM file('{SEGMENTS}', Parquet)")[0]
    assert (sums[0], sums[1]) == (int(seen["a"]), int(seen["u"])), (sums, seen)
    assert sums[0] == sum(int(row["asn"]) for row in by_pyarrow)
    return {"rows": counts, "of one hour": of_one_hour, "like the export": len(clicks), "one": one["click_id"]}


def queries(page, click):
    """Runs those of the page, each in the folder; the rows of each. `click` stands for the page's own."""
    out = {}
    page = open(page).read()
    assert ITS_CLICK in page
    blocks = re.findall(r"<!-- run: (\w+) (\w+) -->\n```\w+\n(.*?)```", page.replace(ITS_CLICK, click), re.S)
    for tool, name, text in blocks:
        if tool == "duckdb":
            found = duckdb.sql(text.strip().rstrip(";"))
            out[f"{tool} {name}"] = [dict(zip(found.columns, row)) for row in found.fetchall()]
        elif tool == "clickhouse":
            out[f"{tool} {name}"] = clickhouse(text)
        elif tool == "pandas":
            names = {}
            exec(text, names)
            out[f"{tool} {name}"] = names["result"].to_dict("records")
        else:
            raise ValueError(tool)
    return out


def main(folder, page):
    os.chdir(folder)
    rows = {what: formats(what) for what in KINDS}
    out = {"exports": {what: agree(what, rows[what]) for what in KINDS}}
    out["segments"] = segments(rows["clicks"])
    ours = next(row["click_id"] for row in rows["clicks"] if row["kind"] == "click")
    out["queries"] = queries(page, ours)
    out["row"] = rows["installs"][0]
    print(json.dumps(out, default=str))


main(*sys.argv[1:])
