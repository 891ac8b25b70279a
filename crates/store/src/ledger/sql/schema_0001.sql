-- name: schema_0001
-- The ledger's tables, version 1. Every primary key starts with the workspace; workspace 0 is the
-- installation itself. Ids are 16 bytes, times integer milliseconds UTC, money integer millionths.
-- Enumerated numbers are append-only; every body is JSON in a version envelope.
--
-- | table            | holds                                                      | life                     |
-- | ---------------- | ---------------------------------------------------------- | ------------------------ |
-- | meta             | facts of the installation: node, keys, click floor         | for ever                 |
-- | workspace        | tenants                                                    | for ever                 |
-- | resource         | settings: one row per resource and version that changed it | append-only              |
-- | settings_version | who changed settings when (audit)                          | append-only              |
-- | event            | what was reported                                          | append-only, see below   |
-- | event_key        | idempotency keys                                           | 400 days                 |
-- | tie              | by which key an event can find its installation            | with its event           |
-- | todo             | events to decide (small, hot)                              | until decided            |
-- | install          | installations: the event of their birth                    | with its event           |
-- | identity         | customers and devices seen with an installation            | with its event           |
-- | follower         | events that share an installation's credit                 | with its event           |
-- | claim            | clicks that installations compete for                      | with its event           |
-- | decision         | revisions of who earned an event, and why                  | append-only, see below   |
-- | conversion       | what an event counts as                                    | append-only, see below   |
-- | status_change    | changes of a conversion's status, in their order          | append-only, see below   |
-- | told             | what became of each rule considered for a conversion       | state, with its event    |
-- | first_told       | subjects of which a rule told already                      | with its event           |
-- | second           | what would be the first, were another not that yet waits   | with its event           |
-- | delivery         | intents to tell                                            | append-only, see below   |
-- | queue            | unfinished deliveries (small, hot), by endpoint and due    | until finished           |
-- | queue_count      | how many deliveries of an endpoint are unfinished         | state                    |
-- | queue_books      | the same by the day and kind of what they tell             | state                    |
-- | endpoint         | endpoints that are stopped, or failing                     | state                    |
-- | endpoint_log     | what became of endpoints, by whom and why                  | append-only              |
-- | payload          | bodies of webhooks, by fact                                | a set number of days     |
-- | notice           | what was said about how telling goes                       | with payloads            |
-- | attempt          | every send, with its evidence                              | append-only, some days   |
-- | send_count       | how many sends of a workspace began on a day               | for ever                 |
-- | finish           | how a delivery ended                                       | append-only, see below   |
-- | rollup           | counts in 15-minute buckets                                | for ever                 |
-- | rollup_country   | touches and conversions whose country is known, by it      | for ever                 |
-- | job              | replays, backfills and cancellations of many deliveries    | for ever                 |
-- | share_floor      | until when links that show a delivery were taken back      | for ever                 |
-- | slice            | manifest of the click log                                  | with the slice           |
--
-- Below: facts (event, decision, conversion, status_change, delivery, finish) and what hangs on them are kept for ever, until a
-- later release offers a bound. Only idempotency keys and attempts of finished deliveries are deleted, each after
-- its time.

CREATE TABLE meta (
  workspace INTEGER NOT NULL, name TEXT NOT NULL, value BLOB NOT NULL,
  PRIMARY KEY (workspace, name)
) WITHOUT ROWID;

CREATE TABLE workspace (
  workspace INTEGER NOT NULL PRIMARY KEY, slug TEXT NOT NULL, created_at INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE resource (
  workspace INTEGER NOT NULL, kind INTEGER NOT NULL, id BLOB NOT NULL, version INTEGER NOT NULL,
  slug TEXT NOT NULL, body TEXT,
  PRIMARY KEY (workspace, kind, id, version)
) WITHOUT ROWID;

CREATE TABLE settings_version (
  workspace INTEGER NOT NULL, version INTEGER NOT NULL, at INTEGER NOT NULL, actor TEXT NOT NULL,
  summary TEXT NOT NULL,
  PRIMARY KEY (workspace, version)
) WITHOUT ROWID;

CREATE TABLE event (
  workspace INTEGER NOT NULL, id BLOB NOT NULL, app BLOB NOT NULL, name TEXT NOT NULL,
  received_at INTEGER NOT NULL, occurred_at INTEGER NOT NULL, body TEXT NOT NULL,
  PRIMARY KEY (workspace, id)
) WITHOUT ROWID;

CREATE TABLE event_key (
  workspace INTEGER NOT NULL, scope BLOB NOT NULL, key BLOB NOT NULL, event BLOB NOT NULL,
  fields BLOB NOT NULL, expires_at INTEGER NOT NULL,
  PRIMARY KEY (workspace, scope, key)
) WITHOUT ROWID;
-- 400 days of keys: what has expired is found without walking the rest.
CREATE INDEX event_key_by_expiry ON event_key (workspace, expires_at);

CREATE TABLE tie (
  workspace INTEGER NOT NULL, app BLOB NOT NULL, kind INTEGER NOT NULL, key BLOB NOT NULL,
  event BLOB NOT NULL, births INTEGER NOT NULL,
  PRIMARY KEY (workspace, app, kind, key, event)
) WITHOUT ROWID;
-- 0 is no birth; the higher, the more it names. Of an installation with more births than are read, those count.
CREATE INDEX tie_by_births ON tie (workspace, app, key, births, event) WHERE births > 0;

-- An event that failed waits until `after`; 0 is at once.
CREATE TABLE todo (
  workspace INTEGER NOT NULL, event BLOB NOT NULL, tries INTEGER NOT NULL DEFAULT 0,
  after INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (workspace, event)
) WITHOUT ROWID;
CREATE INDEX todo_by_after ON todo (workspace, after, event);

CREATE TABLE install (
  workspace INTEGER NOT NULL, app BLOB NOT NULL, key BLOB NOT NULL, event BLOB NOT NULL,
  installed_at INTEGER NOT NULL,
  PRIMARY KEY (workspace, app, key)
) WITHOUT ROWID;

CREATE TABLE identity (
  workspace INTEGER NOT NULL, app BLOB NOT NULL, kind INTEGER NOT NULL, key BLOB NOT NULL,
  install_key BLOB NOT NULL,
  PRIMARY KEY (workspace, app, kind, key, install_key)
) WITHOUT ROWID;
CREATE INDEX identity_by_install ON identity (workspace, app, install_key);

CREATE TABLE follower (
  workspace INTEGER NOT NULL, install BLOB NOT NULL, event BLOB NOT NULL,
  PRIMARY KEY (workspace, install, event)
) WITHOUT ROWID;

CREATE TABLE claim (
  workspace INTEGER NOT NULL, app BLOB NOT NULL, click BLOB NOT NULL, event BLOB NOT NULL,
  sandbox INTEGER NOT NULL, door INTEGER NOT NULL, reference_at INTEGER NOT NULL, install_key BLOB NOT NULL,
  PRIMARY KEY (workspace, app, click, event)
) WITHOUT ROWID;
CREATE INDEX claim_by_event ON claim (workspace, event, reference_at);

CREATE TABLE decision (
  workspace INTEGER NOT NULL, event BLOB NOT NULL, revision INTEGER NOT NULL, at INTEGER NOT NULL,
  settings_version INTEGER NOT NULL, kind TEXT, credit TEXT NOT NULL, partner BLOB, campaign BLOB,
  link BLOB, click BLOB, match_type INTEGER, body TEXT NOT NULL, status INTEGER NOT NULL,
  PRIMARY KEY (workspace, event, revision)
) WITHOUT ROWID;

CREATE INDEX decision_by_click ON decision (workspace, click) WHERE click IS NOT NULL;

CREATE TABLE conversion (
  workspace INTEGER NOT NULL, id BLOB NOT NULL, app BLOB NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL,
  status TEXT NOT NULL, environment TEXT NOT NULL, received_at INTEGER NOT NULL, occurred_at INTEGER NOT NULL,
  amount_micros INTEGER, currency TEXT, verified INTEGER NOT NULL, payout_micros INTEGER, payout_currency TEXT,
  PRIMARY KEY (workspace, id)
) WITHOUT ROWID;

-- `event` is the one that made the conversion, `change` the event that changed its status on the word of `asker` (1 the
-- owner, 2 a sender); the last one holds.
CREATE TABLE status_change (
  workspace INTEGER NOT NULL, event BLOB NOT NULL, n INTEGER NOT NULL, change BLOB NOT NULL, status INTEGER NOT NULL,
  asker INTEGER NOT NULL,
  PRIMARY KEY (workspace, event, n)
) WITHOUT ROWID;

CREATE TABLE told (
  workspace INTEGER NOT NULL, event BLOB NOT NULL, rule BLOB NOT NULL, partner BLOB NOT NULL,
  rule_version INTEGER NOT NULL, revision INTEGER NOT NULL, reason INTEGER NOT NULL, delivery BLOB, detail TEXT,
  PRIMARY KEY (workspace, event, rule, partner)
) WITHOUT ROWID;

CREATE TABLE first_told (
  workspace INTEGER NOT NULL, rule BLOB NOT NULL, partner BLOB NOT NULL, subject BLOB NOT NULL,
  event BLOB NOT NULL,
  PRIMARY KEY (workspace, rule, partner, subject)
) WITHOUT ROWID;

CREATE TABLE second (
  workspace INTEGER NOT NULL, rule BLOB NOT NULL, partner BLOB NOT NULL, subject BLOB NOT NULL,
  event BLOB NOT NULL,
  PRIMARY KEY (workspace, rule, partner, subject, event)
) WITHOUT ROWID;

-- `teller` is a rule, or a webhook when `partner` is zeros. `event` is what it is about; `fact` what receivers dedupe
-- on, for a postback the same. `booked_at` is in which bucket of `app` it counts; NULL: in none.
CREATE TABLE delivery (
  workspace INTEGER NOT NULL, id BLOB NOT NULL, event BLOB NOT NULL, fact BLOB NOT NULL, revision INTEGER NOT NULL,
  teller BLOB NOT NULL, teller_version INTEGER NOT NULL, partner BLOB NOT NULL, app BLOB NOT NULL, kind TEXT NOT NULL,
  created_at INTEGER NOT NULL, booked_at INTEGER, deadline INTEGER, replay_of BLOB, "values" TEXT NOT NULL,
  PRIMARY KEY (workspace, id)
) WITHOUT ROWID;
CREATE INDEX delivery_by_event ON delivery (workspace, event);

-- `retry` is 1 once it was sent: first attempts and retries of an endpoint stand in two lanes, each by when it is due.
CREATE TABLE queue (
  workspace INTEGER NOT NULL, teller BLOB NOT NULL, partner BLOB NOT NULL, retry INTEGER NOT NULL, due INTEGER NOT NULL,
  delivery BLOB NOT NULL, sends INTEGER NOT NULL, reason TEXT NOT NULL,
  PRIMARY KEY (workspace, teller, partner, retry, due, delivery)
) WITHOUT ROWID;
CREATE UNIQUE INDEX queue_by_delivery ON queue (workspace, delivery);

-- Kept by triggers, so that it is right whoever writes; counting millions of rows takes seconds. OR FAIL: a statement
-- that could abort keeps a copy of every page that it changes, and here the whole job is taken back when one fails.
CREATE TABLE queue_count (
  workspace INTEGER NOT NULL, teller BLOB NOT NULL, partner BLOB NOT NULL, n INTEGER NOT NULL,
  PRIMARY KEY (workspace, teller, partner)
) WITHOUT ROWID;
CREATE TRIGGER queue_in AFTER INSERT ON queue BEGIN
  INSERT INTO queue_count (workspace, teller, partner, n) VALUES (new.workspace, new.teller, new.partner, 1)
  ON CONFLICT (workspace, teller, partner) DO UPDATE SET n = n + 1;
END;
CREATE TRIGGER queue_out AFTER DELETE ON queue BEGIN
  UPDATE OR FAIL queue_count SET n = n - 1 WHERE workspace = old.workspace AND teller = old.teller AND partner = old.partner;
END;

-- What of the queue is booked, by the day (UTC, in ms) in which it is: how much waits without walking millions of rows.
-- Counted in the transaction that changes the queue; rows of nothing are deleted.
CREATE TABLE queue_books (
  workspace INTEGER NOT NULL, day INTEGER NOT NULL, teller BLOB NOT NULL, partner BLOB NOT NULL, kind TEXT NOT NULL,
  n INTEGER NOT NULL,
  PRIMARY KEY (workspace, day, teller, partner, kind)
) WITHOUT ROWID;

-- `state` 0 is told, 1 paused, 2 disabled: the queue's rows of the last two are held. `since`, `reason` and `actor` are
-- of the last change of the state. The rest is how long it has been failing, and what was said of it.
CREATE TABLE endpoint (
  workspace INTEGER NOT NULL, teller BLOB NOT NULL, partner BLOB NOT NULL, state INTEGER NOT NULL,
  reason TEXT NOT NULL, actor TEXT NOT NULL, since INTEGER NOT NULL, failing_since INTEGER, evidence_at INTEGER,
  last_success INTEGER, notices INTEGER NOT NULL, body TEXT NOT NULL,
  PRIMARY KEY (workspace, teller, partner)
) WITHOUT ROWID;

CREATE TABLE endpoint_log (
  workspace INTEGER NOT NULL, teller BLOB NOT NULL, partner BLOB NOT NULL, at INTEGER NOT NULL, code TEXT NOT NULL,
  reason TEXT NOT NULL, actor TEXT NOT NULL,
  PRIMARY KEY (workspace, teller, partner, at, code)
) WITHOUT ROWID;

-- Made once per fact and revision that is told of it, when the first webhook is; made again from the facts when it is gone.
CREATE TABLE payload (
  workspace INTEGER NOT NULL, fact BLOB NOT NULL, revision INTEGER NOT NULL, at INTEGER NOT NULL, body TEXT NOT NULL,
  PRIMARY KEY (workspace, fact, revision)
) WITHOUT ROWID;

CREATE TABLE notice (
  workspace INTEGER NOT NULL, id BLOB NOT NULL, at INTEGER NOT NULL, topic TEXT NOT NULL, app BLOB,
  body TEXT NOT NULL,
  PRIMARY KEY (workspace, id)
) WITHOUT ROWID;

-- Two sends can have the same `n`: of one that ended with a crash nothing is known, and two workers can send the same.
-- With rows in the order in which they come: a body of more than a kilobyte in the key's own tree takes a page of its own.
CREATE TABLE attempt (
  workspace INTEGER NOT NULL, delivery BLOB NOT NULL, n INTEGER NOT NULL, at INTEGER NOT NULL,
  outcome TEXT NOT NULL, status INTEGER, total_us INTEGER NOT NULL, next TEXT NOT NULL, body TEXT NOT NULL,
  PRIMARY KEY (workspace, delivery, n, at)
);

-- How many sends of a workspace began on a day (UTC, in ms), whatever they came to: where a quota goes on after a start.
CREATE TABLE send_count (
  workspace INTEGER NOT NULL, day INTEGER NOT NULL, n INTEGER NOT NULL,
  PRIMARY KEY (workspace, day)
) WITHOUT ROWID;

-- `jobs` is how many jobs the workspace had made by then: whether it ended before a job was made does not depend on what
-- the clock said.
CREATE TABLE finish (
  workspace INTEGER NOT NULL, delivery BLOB NOT NULL, state TEXT NOT NULL, reason TEXT NOT NULL,
  at INTEGER NOT NULL, sends INTEGER NOT NULL, jobs INTEGER NOT NULL,
  PRIMARY KEY (workspace, delivery)
) WITHOUT ROWID;
-- What arrived on a day, for the statements to partners. Nearly always written at its end, so it costs little.
CREATE INDEX finish_by_arrival ON finish (workspace, at, delivery) WHERE state = 'delivered';

-- What did not arrive is looked for among all that did.
CREATE INDEX finish_undelivered ON finish (workspace, delivery) WHERE state <> 'delivered';

-- Deliveries (of a backfill: facts) after `after` and before `below` are still to be looked at. `skipped` counts by
-- reason, `done` what was planned or cancelled. `n` is 1 for the workspace's first job, in the order in which they were
-- made.
CREATE TABLE job (
  workspace INTEGER NOT NULL, id BLOB NOT NULL, n INTEGER NOT NULL, kind TEXT NOT NULL, state TEXT NOT NULL,
  created_at INTEGER NOT NULL, changed_at INTEGER NOT NULL, ended_at INTEGER, actor TEXT NOT NULL,
  rate INTEGER NOT NULL, after BLOB, below BLOB NOT NULL, rows INTEGER NOT NULL, matched INTEGER NOT NULL,
  done INTEGER NOT NULL, skipped TEXT NOT NULL, expected INTEGER, note TEXT, body TEXT NOT NULL,
  PRIMARY KEY (workspace, id)
) WITHOUT ROWID;
CREATE INDEX job_open ON job (workspace, id) WHERE ended_at IS NULL;
CREATE UNIQUE INDEX job_by_number ON job (workspace, n);

-- Links made up to `floor` open nothing: those of a delivery, or, where it is zeros, of the whole workspace.
CREATE TABLE share_floor (
  workspace INTEGER NOT NULL, delivery BLOB NOT NULL, floor INTEGER NOT NULL,
  PRIMARY KEY (workspace, delivery)
) WITHOUT ROWID;

CREATE TABLE rollup (
  workspace INTEGER NOT NULL, bucket INTEGER NOT NULL, app BLOB NOT NULL, partner BLOB NOT NULL,
  campaign BLOB NOT NULL, link BLOB NOT NULL, metric INTEGER NOT NULL, kind TEXT NOT NULL,
  status INTEGER NOT NULL, currency TEXT NOT NULL, count INTEGER NOT NULL, micros INTEGER NOT NULL,
  PRIMARY KEY (workspace, bucket, app, partner, campaign, link, metric, kind, status, currency)
) WITHOUT ROWID;

CREATE TABLE rollup_country (
  workspace INTEGER NOT NULL, bucket INTEGER NOT NULL, country TEXT NOT NULL, app BLOB NOT NULL,
  partner BLOB NOT NULL, metric INTEGER NOT NULL, kind TEXT NOT NULL, status INTEGER NOT NULL,
  currency TEXT NOT NULL, count INTEGER NOT NULL, micros INTEGER NOT NULL,
  PRIMARY KEY (workspace, bucket, country, app, partner, metric, kind, status, currency)
) WITHOUT ROWID;

CREATE TABLE slice (
  workspace INTEGER NOT NULL, node INTEGER NOT NULL, seq INTEGER NOT NULL, state TEXT NOT NULL,
  body TEXT NOT NULL,
  PRIMARY KEY (workspace, node, seq)
) WITHOUT ROWID;
