-- name: endpoint_rows
SELECT workspace, teller, partner, state, reason, actor, since, failing_since, evidence_at, last_success, notices FROM endpoint
WHERE state > 0 OR failing_since IS NOT NULL;
-- name: endpoint_get
SELECT workspace, teller, partner, state, reason, actor, since, failing_since, evidence_at, last_success, notices FROM endpoint
WHERE workspace = ?1 AND teller = ?2 AND partner = ?3;
-- name: endpoint_put_state
INSERT INTO endpoint (workspace, teller, partner, state, reason, actor, since, notices, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 0, '{"v":1}')
ON CONFLICT (workspace, teller, partner) DO UPDATE SET state = excluded.state, reason = excluded.reason, actor = excluded.actor, since = excluded.since;
-- name: endpoint_forgive
UPDATE endpoint SET body = json_set(body, '$.failed_from', coalesce(failing_since, ?4)), failing_since = NULL, evidence_at = NULL, notices = 0
WHERE workspace = ?1 AND teller = ?2 AND partner = ?3;
-- name: endpoint_put_health
INSERT INTO endpoint (workspace, teller, partner, state, reason, actor, since, failing_since, evidence_at, last_success, notices, body)
VALUES (?1, ?2, ?3, 0, '', '', ?4, ?5, ?6, ?7, ?8, '{"v":1}')
ON CONFLICT (workspace, teller, partner) DO UPDATE SET
  body = CASE WHEN excluded.failing_since IS NULL AND failing_since IS NOT NULL THEN json_set(body, '$.failed_from', failing_since) ELSE body END,
  failing_since = excluded.failing_since, evidence_at = excluded.evidence_at,
  last_success = coalesce(excluded.last_success, last_success), notices = excluded.notices;
-- name: endpoint_trouble
SELECT state, since, failing_since, json_extract(body, '$.failed_from') FROM endpoint WHERE workspace = ?1 AND teller = ?2 AND partner = ?3;
-- name: endpoint_log_put
INSERT INTO endpoint_log (workspace, teller, partner, at, code, reason, actor) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT DO NOTHING;
-- name: endpoint_log_list
SELECT at, code, reason, actor FROM endpoint_log WHERE workspace = ?1 AND teller = ?2 AND partner = ?3 ORDER BY at DESC, code LIMIT ?4;
-- name: endpoint_list
SELECT k.workspace, k.teller, k.partner, coalesce(e.state, 0), coalesce(e.reason, ''), coalesce(e.actor, ''), coalesce(e.since, 0),
  e.failing_since, e.evidence_at, e.last_success, coalesce(e.notices, 0), coalesce(c.n, 0),
  (SELECT min(q.due) FROM queue q WHERE q.workspace = k.workspace AND q.teller = k.teller AND q.partner = k.partner AND q.retry = 0),
  (SELECT min(q.due) FROM queue q WHERE q.workspace = k.workspace AND q.teller = k.teller AND q.partner = k.partner AND q.retry = 1)
FROM (SELECT workspace, teller, partner FROM queue_count WHERE workspace = ?1 UNION SELECT workspace, teller, partner FROM endpoint WHERE workspace = ?1) k
LEFT JOIN endpoint e ON e.workspace = k.workspace AND e.teller = k.teller AND e.partner = k.partner
LEFT JOIN queue_count c ON c.workspace = k.workspace AND c.teller = k.teller AND c.partner = k.partner
ORDER BY k.teller, k.partner;
-- name: endpoint_one
SELECT k.workspace, k.teller, k.partner, coalesce(e.state, 0), coalesce(e.reason, ''), coalesce(e.actor, ''), coalesce(e.since, 0),
  e.failing_since, e.evidence_at, e.last_success, coalesce(e.notices, 0), coalesce(c.n, 0),
  (SELECT min(q.due) FROM queue q WHERE q.workspace = k.workspace AND q.teller = k.teller AND q.partner = k.partner AND q.retry = 0),
  (SELECT min(q.due) FROM queue q WHERE q.workspace = k.workspace AND q.teller = k.teller AND q.partner = k.partner AND q.retry = 1)
FROM (SELECT ?1 AS workspace, ?2 AS teller, ?3 AS partner) k
LEFT JOIN endpoint e ON e.workspace = k.workspace AND e.teller = k.teller AND e.partner = k.partner
LEFT JOIN queue_count c ON c.workspace = k.workspace AND c.teller = k.teller AND c.partner = k.partner
WHERE e.workspace IS NOT NULL OR c.workspace IS NOT NULL;
-- name: endpoint_figures
SELECT d.teller, d.partner, f.state, count(*), min(d.created_at)
FROM (SELECT id, teller, partner, created_at FROM delivery WHERE workspace = ?1 AND id >= ?2 ORDER BY id DESC LIMIT ?3) d
LEFT JOIN finish f ON f.workspace = ?1 AND f.delivery = d.id
GROUP BY d.teller, d.partner, f.state;
-- name: endpoint_holding
SELECT e.teller, e.partner FROM endpoint e
JOIN queue_count c ON c.workspace = e.workspace AND c.teller = e.teller AND c.partner = e.partner
WHERE e.workspace = ?1 AND e.state > 0 AND c.n > 0 AND coalesce((
  SELECT min(l.at) FROM endpoint_log l WHERE l.workspace = e.workspace AND l.teller = e.teller AND l.partner = e.partner
    AND l.code IN ('paused', 'disabled') AND l.at >= coalesce((
      SELECT max(a.at) FROM endpoint_log a WHERE a.workspace = e.workspace AND a.teller = e.teller AND a.partner = e.partner AND a.code = 'active'), 0)
), e.since) <= ?2 ORDER BY e.teller, e.partner;
-- name: held_too_long
SELECT delivery, due, sends FROM queue WHERE workspace = ?1 AND teller = ?2 AND partner = ?3 AND retry = ?4 AND due <= ?5 ORDER BY due LIMIT ?6;
