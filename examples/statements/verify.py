#!/usr/bin/env python3
"""Checks a day's statement of a Roundtrip installation: its signature, its sums, and your own records against it.

    verify.py STATEMENT.json PUBLIC_KEY [RECORDS.csv]

STATEMENT.json is what `roundtrip statement PARTNER DAY --json` prints, PUBLIC_KEY the base64 key that the owner of
the installation gave you once (`GET /api/v1/statement/key`). RECORDS.csv, with a head, holds what you received:
event_id,partner_click_id,kind,amount,currency. Exit status 0 when everything fits. Needs the standard library only.
"""

import base64
import csv
import hashlib
import json
import re
import sys

# Ed25519 as RFC 8032 writes it (section 6), for verifying only: nothing here is secret, so nothing has to be constant-time.
P = 2**255 - 19
Q = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P


def add(a, b):
    e = (a[1] - a[0]) * (b[1] - b[0]) % P
    f = (a[1] + a[0]) * (b[1] + b[0]) % P
    g = 2 * a[3] * b[3] * D % P
    h = 2 * a[2] * b[2] % P
    return ((f - e) * (h - g) % P, (h + g) * (f + e) % P, (h - g) * (h + g) % P, (f - e) * (f + e) % P)


def times(n, point):
    total = (0, 1, 1, 0)
    while n:
        if n & 1:
            total = add(total, point)
        point = add(point, point)
        n >>= 1
    return total


def point_of(data):
    y = int.from_bytes(data, "little")
    sign, y = y >> 255, y & (2**255 - 1)
    if y >= P:
        return None
    square = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    if (x * x - square) % P or (x == 0 and sign):
        return None
    if x & 1 != sign:
        x = P - x
    return (x, y, 1, x * y % P)


BASE = point_of((4 * pow(5, P - 2, P) % P).to_bytes(32, "little"))


def is_signed(public, text, signature):
    if len(public) != 32 or len(signature) != 64:
        return False
    key, r = point_of(public), point_of(signature[:32])
    s = int.from_bytes(signature[32:], "little")
    if key is None or r is None or s >= Q:
        return False
    k = int.from_bytes(hashlib.sha512(signature[:32] + public + text).digest(), "little") % Q
    left, right = times(s, BASE), add(r, times(k, key))
    return (left[0] * right[2] - right[0] * left[2]) % P == 0 and (left[1] * right[2] - right[1] * left[2]) % P == 0


def escaped(field):
    return re.sub(r"[%|\x00-\x1f\x7f]", lambda found: "%%%02X" % ord(found.group()), field)


def line_hash(fields):
    return hashlib.sha256("|".join(map(escaped, fields)).encode()).hexdigest()


def faults(statement, key, records):
    entries = statement["entries"]
    total = hashlib.sha256("".join(entry["hash"] + "\n" for entry in entries).encode()).hexdigest()
    counts = {}
    for entry in entries:
        counts[entry["kind"]] = counts.get(entry["kind"], 0) + 1
    lines = ["roundtrip-statement-v1"]
    lines += ["%s=%s" % (name, escaped(statement[name])) for name in ("workspace", "partner", "day")]
    lines += ["final=%s" % str(statement["final"]).lower(), "entries=%d" % len(entries)]
    lines += ["count.%s=%d" % (escaped(kind), counts[kind]) for kind in sorted(counts)]
    signed = "\n".join(lines + ["total=" + total, ""])
    if signed != statement["signed"]:
        yield "what is signed is not what it says"
    if not is_signed(base64.b64decode(key), statement["signed"].encode(), base64.b64decode(statement["signature"])):
        yield "its signature is not that key's"
    if records is None:
        return
    stated = {}
    for entry in entries:
        stated.setdefault(entry["event_id"], []).append(entry)
    seen = set()
    for record in records:
        event = record["event_id"]
        seen.add(event)
        if event not in stated:
            yield "%s: received, and not stated" % event
            continue
        rest = [record.get(name) or "" for name in ("partner_click_id", "kind", "amount", "currency")]
        if not any(line_hash([event, *rest, entry["delivered_at"]]) == entry["hash"] for entry in stated[event]):
            yield "%s: received with other values than those that are stated" % event
    for event in sorted(stated.keys() - seen):
        yield "%s: stated, and not received" % event


def main(arguments):
    if len(arguments) not in (2, 3):
        sys.exit(__doc__)
    with open(arguments[0], encoding="utf-8") as file:
        statement = json.load(file)
    records = None
    if len(arguments) == 3:
        with open(arguments[2], encoding="utf-8-sig", newline="") as file:
            records = list(csv.DictReader(file))
    found = list(faults(statement, arguments[1], records))
    for fault in found:
        print(fault)
    if not found:
        print("%s on %s: %d entries, sound" % (statement["partner"], statement["day"], len(statement["entries"])))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
