"""Reads exports with tools that nobody here wrote, and runs the queries of docs/queries.md.

    data_tools.py FOLDER QUERIES DATA_MODEL

FOLDER holds exports/{what}/dt=*/{what}.parquet, exports/{what}.csv and exports/{what}.ndjson. Click segments are made here
by the columns that DATA_MODEL lists. Prints one JSON object; what is right is for the caller to know, but the formats of
one export are compared here, row for row.
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
import pyarrow.parquet as pq

KINDS = ["installs", "events", "conversions", "decisions", "deliveries"]
MONEY = {"amount", "payout"}


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
            row = {n: re.sub(r"^'(?='*[=+\-@\t\r\n])", "", v) for n, v in row.items()}
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


def segments(data_model, installs):
    """Click segments with the documented columns: three clicks for each click that was told of, of the same links."""
    page = open(data_model).read().split("### Columns of a segment")[1].split("## Kept")[0]
    types = {"UUID": pa.binary(16), "TIMESTAMP": pa.timestamp("ms", tz="UTC"), "UINT_32": pa.uint32(), "STRING": pa.string(), "BYTE_ARRAY": pa.binary()}
    columns = [(n, types[t.split()[0]], "or null" in t) for n, t in re.findall(r"^\| `(\w+)` \| ([^|]+) \|", page, re.M)]
    assert len(columns) > 30, columns
    schema = pa.schema([pa.field(n, pa.uuid() if n == "click_id" else t, nullable) for n, t, nullable in columns])
    links = sorted({row["link_id"] for row in installs if row["link_id"]})
    at = datetime.datetime(2026, 6, 4, 12, tzinfo=datetime.timezone.utc)
    rows = []
    for n in range(3 * len(links)):
        row = {name: None for name, _, _ in columns}
        row.update(
            click_id=uuid.UUID(int=0x019E92F51C0070008000000000000001 + n).bytes, received_at=at, workspace=1,
            app_id="app_", campaign_id="cmp_", partner_id="prt_", link_id=links[n % len(links)], kind="click",
            dialect="roundtrip", flags=0, partner_click_id=f"p{n}", sub1="x", query_frame=b"",
        )
        rows.append(row)
    # Somebody else's, which no query may count.
    rows.append(dict(rows[0], workspace=2, click_id=uuid.uuid4().bytes))
    os.makedirs("clicks/dt=2026-06-04/hr=12")
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), "clicks/dt=2026-06-04/hr=12/1-1.parquet", compression="zstd")


def queries(page):
    """Runs those of the page, each in the folder; the rows of each."""
    out = {}
    blocks = re.findall(r"<!-- run: (\w+) (\w+) -->\n```\w+\n(.*?)```", open(page).read(), re.S)
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


def main(folder, page, data_model):
    os.chdir(folder)
    rows = {what: formats(what) for what in KINDS}
    out = {"exports": {what: agree(what, rows[what]) for what in KINDS}}
    segments(data_model, rows["installs"])
    out["queries"] = queries(page)
    out["row"] = rows["installs"][0]
    print(json.dumps(out, default=str))


main(*sys.argv[1:])
