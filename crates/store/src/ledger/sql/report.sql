-- name: rollup_range
SELECT bucket, app, partner, campaign, link, metric, kind, status, currency, count, micros FROM rollup
WHERE workspace = ?1 AND bucket >= ?2 AND bucket < ?3;
-- name: rollup_country_range
SELECT bucket, app, partner, campaign, link, metric, kind, status, currency, count, micros, '' FROM rollup
WHERE workspace = ?1 AND bucket >= ?2 AND bucket < ?3
UNION ALL
SELECT bucket, app, partner, zeroblob(16), zeroblob(16), metric, kind, status, currency, count, micros, country FROM rollup_country
WHERE workspace = ?1 AND bucket >= ?2 AND bucket < ?3;
-- name: events_of_click
SELECT d.event FROM decision d INDEXED BY decision_by_click WHERE d.workspace = ?1 AND d.click = ?2 AND d.click IS NOT NULL AND (d.kind IS NULL OR d.kind NOT IN ('status_change', 'rejected')) GROUP BY d.event ORDER BY d.event LIMIT 100;
-- name: slice_put
INSERT INTO slice (workspace, node, seq, state, body) VALUES (0, ?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING;
-- name: slice_list
SELECT node, seq, state, body FROM slice WHERE workspace = 0 ORDER BY node, seq;
-- name: recount_told
SELECT t.partner, c.kind, c.received_at, t.reason, t.delivery IS NOT NULL FROM told t JOIN conversion c ON c.workspace = t.workspace AND c.id = t.event
WHERE t.workspace = ?1 AND c.environment = 'production';
-- name: recount_deliveries
SELECT d.partner, d.kind, d.booked_at, f.state, d.replay_of IS NOT NULL, d.teller, d.created_at, f.at FROM delivery d
LEFT JOIN finish f ON f.workspace = d.workspace AND f.delivery = d.id
WHERE d.workspace = ?1 AND d.booked_at IS NOT NULL;
-- name: recount_queue
SELECT d.partner, d.kind, d.booked_at, d.created_at, d.teller, coalesce(e.state, 0) > 0 FROM queue q CROSS JOIN delivery d ON d.workspace = q.workspace AND d.id = q.delivery
LEFT JOIN endpoint e ON e.workspace = q.workspace AND e.teller = q.teller AND e.partner = q.partner
WHERE q.workspace = ?1 AND d.booked_at IS NOT NULL;
-- name: queue_count_of
SELECT coalesce(sum(n), 0) FROM queue_count WHERE workspace = ?1;
-- name: queue_books
SELECT b.day, b.teller, b.partner, b.kind, b.n, coalesce(e.state, 0) > 0 FROM queue_books b
LEFT JOIN endpoint e ON e.workspace = b.workspace AND e.teller = b.teller AND e.partner = b.partner
WHERE b.workspace = ?1 AND b.day >= ?2 AND b.day < ?3;
-- name: queue_oldest
SELECT d.booked_at, d.teller, d.partner, d.kind, d.created_at FROM queue q INDEXED BY queue_by_delivery
JOIN delivery d ON d.workspace = q.workspace AND d.id = q.delivery
WHERE q.workspace = ?1 AND q.delivery >= ?2 ORDER BY q.delivery LIMIT ?3;
-- name: queue_books_add
INSERT INTO queue_books (workspace, day, teller, partner, kind, n) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
ON CONFLICT (workspace, day, teller, partner, kind) DO UPDATE SET n = n + excluded.n;
-- name: queue_books_none
DELETE FROM queue_books WHERE workspace = ?1 AND day = ?2 AND teller = ?3 AND partner = ?4 AND kind = ?5 AND n = 0;
-- name: send_count_add
INSERT INTO send_count (workspace, day, n) VALUES (?1, ?2, ?3) ON CONFLICT (workspace, day) DO UPDATE SET n = n + excluded.n;
-- name: send_count_get
SELECT n FROM send_count WHERE workspace = ?1 AND day = ?2;
-- name: recount_conversions
SELECT d.partner, c.kind, c.received_at FROM conversion c JOIN decision d ON d.workspace = c.workspace AND d.event = c.id
  AND d.revision = (SELECT max(x.revision) FROM decision x WHERE x.workspace = c.workspace AND x.event = c.id)
WHERE c.workspace = ?1 AND c.environment = 'production' AND c.kind NOT IN ('status_change', 'rejected');
-- name: recount_attempts
SELECT d.partner, d.kind, d.booked_at, a.outcome, a.total_us, d.teller FROM attempt a JOIN delivery d ON d.workspace = a.workspace AND d.id = a.delivery
WHERE a.workspace = ?1 AND d.booked_at IS NOT NULL;
-- name: expire_event_key
DELETE FROM event_key WHERE (workspace, scope, key) IN (SELECT workspace, scope, key FROM event_key INDEXED BY event_key_by_expiry WHERE workspace = ?1 AND expires_at <= ?2 LIMIT ?3);
-- name: expire_attempt
DELETE FROM attempt WHERE (workspace, delivery, n, at) IN (SELECT a.workspace, a.delivery, a.n, a.at FROM attempt a JOIN finish f ON f.workspace = a.workspace AND f.delivery = a.delivery WHERE a.workspace = ?1 AND a.delivery < ?2 LIMIT ?3);
-- name: expire_payload
DELETE FROM payload WHERE (workspace, fact, revision) IN (SELECT workspace, fact, revision FROM payload WHERE workspace = ?1 AND fact < ?2 ORDER BY fact LIMIT ?3);
-- name: expire_notice
DELETE FROM notice WHERE (workspace, id) IN (SELECT workspace, id FROM notice WHERE workspace = ?1 AND id < ?2 ORDER BY id LIMIT ?3);
-- name: todo_has
SELECT 1 FROM todo WHERE workspace = ?1 AND event = ?2;
-- name: rollup_last
SELECT app, max(bucket) FROM rollup WHERE workspace = ?1 AND bucket >= ?2 AND metric = ?3 GROUP BY app;
