-- name: queue_endpoints
SELECT c.workspace, c.teller, c.partner, c.n,
  (SELECT min(q.due) FROM queue q WHERE q.workspace = c.workspace AND q.teller = c.teller AND q.partner = c.partner AND q.retry = 0),
  (SELECT min(q.due) FROM queue q WHERE q.workspace = c.workspace AND q.teller = c.teller AND q.partner = c.partner AND q.retry = 1)
FROM queue_count c WHERE c.n > 0;
-- name: queue_window
SELECT due, delivery, sends, (SELECT max(a.at) FROM attempt a WHERE a.workspace = q.workspace AND a.delivery = q.delivery AND a.n = q.sends) FROM queue q
WHERE q.workspace = ?1 AND q.teller = ?2 AND q.partner = ?3 AND q.retry = ?4 ORDER BY q.due, q.delivery LIMIT ?5;
-- name: queue_delete
DELETE FROM queue NOT INDEXED WHERE workspace = ?1 AND teller = ?2 AND partner = ?3 AND retry = (?6 > 0) AND due = ?4 AND delivery = ?5;
-- name: queue_sends
SELECT sends FROM queue NOT INDEXED WHERE workspace = ?1 AND teller = ?2 AND partner = ?3 AND retry = (?6 > 0) AND due = ?4 AND delivery = ?5;
-- name: queue_depth
SELECT min((SELECT min(q.due) FROM queue q WHERE q.workspace = c.workspace AND q.teller = c.teller AND q.partner = c.partner AND q.retry = r.retry)),
  coalesce(sum(CASE r.retry WHEN 0 THEN c.n END), 0), coalesce(sum(CASE WHEN r.retry = 0 AND e.state > 0 THEN c.n END), 0)
FROM queue_count c CROSS JOIN (SELECT 0 AS retry UNION ALL SELECT 1) r
LEFT JOIN endpoint e ON e.workspace = c.workspace AND e.teller = c.teller AND e.partner = c.partner WHERE c.n > 0;
-- name: queue_of_delivery
SELECT due, sends, reason FROM queue WHERE workspace = ?1 AND delivery = ?2;
-- name: delivery_get
SELECT event, fact, revision, teller, teller_version, partner, app, kind, created_at, booked_at, deadline, replay_of, "values" FROM delivery WHERE workspace = ?1 AND id = ?2;
-- name: delivery_of_event
SELECT id FROM delivery WHERE workspace = ?1 AND event = ?2 ORDER BY id;
-- name: queue_of_event
SELECT d.id FROM delivery d INDEXED BY delivery_by_event JOIN queue q ON q.workspace = d.workspace AND q.delivery = d.id
WHERE d.workspace = ?1 AND d.event = ?2 AND d.partner <> zeroblob(16) ORDER BY d.id;
-- name: attempt_insert
INSERT INTO attempt (workspace, delivery, n, at, outcome, status, total_us, next, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
ON CONFLICT DO NOTHING;
-- name: attempt_exists
SELECT 1 FROM attempt WHERE workspace = ?1 AND delivery = ?2 AND n = ?3 AND outcome = ?4;
-- name: attempt_first
SELECT at FROM attempt WHERE workspace = ?1 AND delivery = ?2 AND outcome NOT IN ('plain_http_refused', 'port_refused', 'refused_address')
ORDER BY n, at LIMIT 1;
-- name: attempt_list
SELECT n, at, outcome, status, total_us, next, body FROM attempt WHERE workspace = ?1 AND delivery = ?2 ORDER BY n, at;
-- name: finish_insert
INSERT INTO finish (workspace, delivery, state, reason, at, sends, jobs)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, coalesce((SELECT n FROM job WHERE workspace = ?1 ORDER BY n DESC LIMIT 1), 0)) ON CONFLICT DO NOTHING;
-- name: finish_mend
UPDATE finish SET state = 'delivered', reason = ?3, at = ?4, sends = max(sends, ?5),
  jobs = coalesce((SELECT n FROM job WHERE workspace = ?1 ORDER BY n DESC LIMIT 1), 0)
WHERE workspace = ?1 AND delivery = ?2 AND state <> 'delivered';
-- name: finish_sent
UPDATE finish SET sends = ?3 WHERE workspace = ?1 AND delivery = ?2 AND sends < ?3;
-- name: finish_get
SELECT state, reason, at, sends, jobs FROM finish WHERE workspace = ?1 AND delivery = ?2;
-- name: delivery_booked
SELECT kind, booked_at, app, created_at, event FROM delivery WHERE workspace = ?1 AND id = ?2;
-- name: attempt_get
SELECT at, outcome, status, total_us, next, body FROM attempt WHERE workspace = ?1 AND delivery = ?2 AND n = ?3 ORDER BY at DESC LIMIT 1;
-- name: share_floor_get
SELECT max(floor) FROM share_floor WHERE workspace = ?1 AND delivery IN (?2, ?3);
-- name: share_floor_any
SELECT max(floor) FROM share_floor WHERE workspace = ?1;
-- name: share_floor_put
INSERT INTO share_floor (workspace, delivery, floor) VALUES (?1, ?2, ?3) ON CONFLICT (workspace, delivery) DO UPDATE SET floor = max(floor, excluded.floor);
-- name: payload_put
INSERT INTO payload (workspace, fact, revision, at, body) VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING;
-- name: payload_get
SELECT body FROM payload WHERE workspace = ?1 AND fact = ?2 AND revision = ?3;
-- name: notice_put
INSERT INTO notice (workspace, id, at, topic, app, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6);
-- name: notice_get
SELECT body FROM notice WHERE workspace = ?1 AND id = ?2;
-- name: notice_list
SELECT id, at, topic, body FROM notice WHERE workspace = ?1 AND id < ?2 ORDER BY id DESC LIMIT ?3;
-- name: webhook_told
SELECT 1 FROM delivery INDEXED BY delivery_by_event WHERE workspace = ?1 AND event = ?2 AND teller = ?3 AND fact = ?4 LIMIT 1;
