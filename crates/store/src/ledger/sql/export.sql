-- name: export_events
SELECT workspace, id, app, name, received_at, occurred_at, body FROM event
WHERE workspace = ?1 AND id >= ?2 AND id < ?3 ORDER BY id LIMIT ?4;
-- name: export_conversions
SELECT id, app, kind, name, status, environment, received_at, occurred_at, amount_micros, currency, verified,
  payout_micros, payout_currency
FROM conversion WHERE workspace = ?1 AND id >= ?2 AND id < ?3 ORDER BY id LIMIT ?4;
-- name: export_decisions
SELECT d.revision, d.at, d.settings_version, d.kind, d.credit, d.match_type, d.click, d.body, d.status, d.event, e.app
FROM decision d JOIN event e ON e.workspace = d.workspace AND e.id = d.event
WHERE d.workspace = ?1 AND d.event >= ?2 AND d.event < ?3 AND NOT (d.event = ?2 AND d.revision < ?5)
ORDER BY d.event, d.revision LIMIT ?4;
-- name: export_deliveries
SELECT id, app, teller_version, revision, booked_at, deadline FROM delivery
WHERE workspace = ?1 AND id >= ?2 AND id < ?3 ORDER BY id LIMIT ?4;
-- name: export_first_event
SELECT id FROM event WHERE workspace = ?1 ORDER BY id LIMIT 1;
-- name: export_oldest_undecided
SELECT event FROM todo WHERE workspace = ?1 ORDER BY event LIMIT 1;
-- name: export_first_delivery
SELECT id FROM delivery WHERE workspace = ?1 ORDER BY id LIMIT 1;
