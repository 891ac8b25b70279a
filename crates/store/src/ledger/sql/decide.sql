-- name: install_get
SELECT event, installed_at FROM install WHERE workspace = ?1 AND app = ?2 AND key = ?3;
-- name: install_put
INSERT INTO install (workspace, app, key, event, installed_at) VALUES (?1, ?2, ?3, ?4, ?5)
ON CONFLICT (workspace, app, key) DO UPDATE SET installed_at = excluded.installed_at;
-- name: identity_put
INSERT INTO identity (workspace, app, kind, key, install_key) VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING;
-- name: identity_installs
SELECT i.event, i.installed_at, i.key
FROM (SELECT workspace, app, install_key FROM identity WHERE workspace = ?1 AND app = ?2 AND kind = ?3 AND key = ?4 ORDER BY install_key LIMIT ?5) d
JOIN install i ON i.workspace = d.workspace AND i.app = d.app AND i.key = d.install_key ORDER BY i.installed_at, i.key;
-- name: identity_crowd
SELECT count(*) FROM (SELECT 1 FROM identity WHERE workspace = ?1 AND app = ?2 AND kind = ?3 AND key = ?4 LIMIT ?5);
-- name: identity_of_install
SELECT kind, key FROM identity WHERE workspace = ?1 AND app = ?2 AND install_key = ?3 ORDER BY kind, key LIMIT ?4;
-- name: todo_by_tie
INSERT INTO todo (workspace, event) SELECT workspace, event FROM tie WHERE workspace = ?1 AND app = ?2 AND kind = ?3 AND key = ?4 AND event <> ?5 ON CONFLICT DO NOTHING;
-- name: todo_by_identity
INSERT INTO todo (workspace, event) SELECT workspace, event FROM (
  SELECT workspace, event FROM tie WHERE workspace = ?1 AND app = ?2 AND kind = ?3 AND key = ?4 AND event <> ?5 ORDER BY event DESC LIMIT ?6
) t WHERE true ON CONFLICT DO NOTHING;
-- name: tie_crowd
SELECT count(*) FROM (SELECT 1 FROM tie WHERE workspace = ?1 AND app = ?2 AND kind = ?3 AND key = ?4 AND event <> ?5 LIMIT ?6);
-- name: todo_by_follower
INSERT INTO todo (workspace, event) SELECT workspace, event FROM follower WHERE workspace = ?1 AND install = ?2 AND event <> ?2 ON CONFLICT DO NOTHING;
-- name: follower_put
INSERT INTO follower (workspace, install, event) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING;
-- name: claim_taken
SELECT 1 FROM claim WHERE workspace = ?1 AND app = ?2 AND click = ?3 AND event <> ?4 AND sandbox = ?5
  AND (door, reference_at, install_key) < (?6, ?7, ?8) LIMIT 1;
-- name: claim_list
SELECT click, reference_at FROM claim WHERE workspace = ?1 AND event = ?2;
-- name: claim_put
INSERT INTO claim (workspace, app, click, event, sandbox, door, reference_at, install_key) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
ON CONFLICT (workspace, app, click, event) DO UPDATE SET reference_at = excluded.reference_at;
-- name: claim_delete
DELETE FROM claim WHERE workspace = ?1 AND app = ?2 AND click = ?3 AND event = ?4;
-- name: todo_by_claim
INSERT INTO todo (workspace, event) SELECT workspace, event FROM claim WHERE workspace = ?1 AND app = ?2 AND click = ?3 AND event <> ?4 AND sandbox = ?5 ON CONFLICT DO NOTHING;
-- name: decision_latest
SELECT revision, at, settings_version, kind, credit, match_type, click, body, status FROM decision WHERE workspace = ?1 AND event = ?2 ORDER BY revision DESC LIMIT 1;
-- name: decision_all
SELECT revision, at, settings_version, kind, credit, match_type, click, body, status FROM decision WHERE workspace = ?1 AND event = ?2 ORDER BY revision;
-- name: decision_insert
INSERT INTO decision (workspace, event, revision, at, settings_version, kind, credit, partner, campaign, link, click, match_type, body, status)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14);
-- name: conversion_insert
INSERT INTO conversion (workspace, id, app, kind, name, status, environment, received_at, occurred_at, amount_micros, currency, verified)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12) ON CONFLICT DO NOTHING;
-- name: conversion_status
UPDATE conversion SET status = ?3 WHERE workspace = ?1 AND id = ?2;
-- name: status_now
SELECT n, status, change, asker FROM status_change WHERE workspace = ?1 AND event = ?2 ORDER BY n DESC LIMIT 1;
-- name: status_put
INSERT INTO status_change (workspace, event, n, change, status, asker) VALUES (?1, ?2, ?3, ?4, ?5, ?6);
-- name: status_list
SELECT change FROM status_change WHERE workspace = ?1 AND event = ?2 ORDER BY n;
-- name: todo_by_status
INSERT INTO todo (workspace, event) SELECT workspace, change FROM status_change WHERE workspace = ?1 AND event = ?2 ON CONFLICT DO NOTHING;
-- name: todo_by_heard
INSERT INTO todo (workspace, event) SELECT t.workspace, t.event FROM status_change s
JOIN told t ON t.workspace = s.workspace AND t.event = s.change
WHERE s.workspace = ?1 AND s.event = ?2 AND t.partner = ?3 AND t.reason = 16 ON CONFLICT DO NOTHING;
-- name: partner_heard
SELECT 1 FROM (SELECT ?2 AS event UNION ALL SELECT change FROM status_change WHERE workspace = ?1 AND event = ?2) e
CROSS JOIN delivery d INDEXED BY delivery_by_event ON d.workspace = ?1 AND d.event = e.event
WHERE e.event <> ?3 AND d.partner = ?4 AND (
  EXISTS (SELECT 1 FROM finish f WHERE f.workspace = d.workspace AND f.delivery = d.id AND (f.sends > 0 OR f.state = 'delivered'))
  OR EXISTS (SELECT 1 FROM queue q WHERE q.workspace = d.workspace AND q.delivery = d.id AND q.sends > 0)
  OR EXISTS (SELECT 1 FROM attempt a WHERE a.workspace = d.workspace AND a.delivery = d.id)
) LIMIT 1;
-- name: told_never
SELECT 1 FROM told WHERE workspace = ?1 AND event = ?2 AND reason = 16 LIMIT 1;
-- name: told_list
SELECT rule, partner, reason, delivery, rule_version, revision, detail FROM told WHERE workspace = ?1 AND event = ?2 ORDER BY rule, partner;
-- name: told_before_winning
SELECT 1 FROM told t JOIN decision d ON d.workspace = t.workspace AND d.event = t.event AND d.revision = t.revision
WHERE t.workspace = ?1 AND t.event = ?2 AND t.partner = ?3 AND t.reason = 0 AND (d.partner IS NULL OR d.partner <> t.partner) LIMIT 1;
-- name: told_put
INSERT INTO told (workspace, event, rule, partner, rule_version, revision, reason, delivery, detail) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9);
-- name: told_again
UPDATE told SET rule_version = ?5, revision = ?6, delivery = ?7, detail = ?8 WHERE workspace = ?1 AND event = ?2 AND rule = ?3 AND partner = ?4;
-- name: told_clear
DELETE FROM told WHERE workspace = ?1 AND event = ?2 AND reason <> 0;
-- name: first_told_get
SELECT 1 FROM first_told WHERE workspace = ?1 AND rule = ?2 AND partner = ?3 AND subject = ?4 AND event <> ?5;
-- name: first_told_put
INSERT INTO first_told (workspace, rule, partner, subject, event) VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING;
-- name: first_told_delete
DELETE FROM first_told WHERE workspace = ?1 AND rule = ?2 AND partner = ?3 AND subject = ?4 AND event = ?5;
-- name: second_put
INSERT INTO second (workspace, rule, partner, subject, event)
SELECT f.workspace, f.rule, f.partner, f.subject, ?5 FROM first_told f
JOIN told t ON t.workspace = f.workspace AND t.event = f.event AND t.rule = f.rule AND t.partner = f.partner
JOIN queue q ON q.workspace = t.workspace AND q.delivery = t.delivery
WHERE f.workspace = ?1 AND f.rule = ?2 AND f.partner = ?3 AND f.subject = ?4 ON CONFLICT DO NOTHING;
-- name: second_list
SELECT event FROM second WHERE workspace = ?1 AND rule = ?2 AND partner = ?3 AND subject = ?4 ORDER BY event;
-- name: second_delete
DELETE FROM second WHERE workspace = ?1 AND rule = ?2 AND partner = ?3 AND subject = ?4;
-- name: delivery_insert
INSERT INTO delivery (workspace, id, event, fact, revision, teller, teller_version, partner, app, kind, created_at, booked_at, deadline, replay_of, "values")
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15);
-- name: queue_insert
INSERT INTO queue (workspace, teller, partner, retry, due, delivery, sends, reason) VALUES (?1, ?2, ?3, ?6 > 0, ?4, ?5, ?6, ?7);
-- name: rollup_add
INSERT INTO rollup (workspace, bucket, app, partner, campaign, link, metric, kind, status, currency, count, micros)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)
ON CONFLICT (workspace, bucket, app, partner, campaign, link, metric, kind, status, currency)
DO UPDATE SET count = count + excluded.count, micros = micros + excluded.micros;
-- name: rollup_country_add
INSERT INTO rollup_country (workspace, bucket, country, app, partner, metric, kind, status, currency, count, micros)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)
ON CONFLICT (workspace, bucket, country, app, partner, metric, kind, status, currency)
DO UPDATE SET count = count + excluded.count, micros = micros + excluded.micros;
