-- name: conversion_list
SELECT c.id, c.app, c.kind, c.name, c.status, c.environment, c.received_at, c.occurred_at, c.amount_micros, c.currency,
  d.revision, d.credit, d.partner, d.campaign, d.link, d.click, d.match_type
FROM conversion c JOIN decision d ON d.workspace = c.workspace AND d.event = c.id
  AND d.revision = (SELECT max(x.revision) FROM decision x WHERE x.workspace = c.workspace AND x.event = c.id)
WHERE c.workspace = ?1 AND c.id < ?2 AND (?3 IS NULL OR c.app = ?3) AND ((?4 IS NULL AND c.kind NOT IN ('status_change', 'rejected')) OR c.kind = ?4)
 
  AND (?5 IS NULL OR d.partner = ?5)
ORDER BY c.id DESC LIMIT ?6;
-- name: suppressed_of_event
SELECT count(*) FROM told WHERE workspace = ?1 AND event = ?2 AND reason <> 0;
-- name: states_of_event
SELECT coalesce(f.state, CASE WHEN e.state > 0 THEN 'held' ELSE 'scheduled' END), count(*) FROM delivery d INDEXED BY delivery_by_event
LEFT JOIN endpoint e ON e.workspace = d.workspace AND e.teller = d.teller AND e.partner = d.partner
LEFT JOIN finish f ON f.workspace = d.workspace AND f.delivery = d.id
WHERE d.workspace = ?1 AND d.event = ?2 GROUP BY 1 ORDER BY 1;
-- name: fact_conversions
SELECT c.id, c.kind, c.name, c.status, c.environment, c.received_at, c.occurred_at, c.amount_micros, c.currency, d.partner
FROM conversion c JOIN decision d ON d.workspace = c.workspace AND d.event = c.id
  AND d.revision = (SELECT max(x.revision) FROM decision x WHERE x.workspace = c.workspace AND x.event = c.id)
WHERE c.workspace = ?1 AND c.id > ?2 AND c.id < ?3 AND c.kind NOT IN ('status_change', 'rejected') ORDER BY c.id LIMIT ?4;
-- name: fact_deliveries
SELECT d.id, d.created_at, d.replay_of, f.state, f.reason, f.at, q.reason, d."values" FROM delivery d INDEXED BY delivery_by_event
LEFT JOIN finish f ON f.workspace = d.workspace AND f.delivery = d.id
LEFT JOIN queue q ON q.workspace = d.workspace AND q.delivery = d.id
WHERE d.workspace = ?1 AND d.event = ?2 AND d.partner = ?3 ORDER BY d.id;
-- name: arrivals
SELECT f.at, f.delivery, d.fact, d.kind, d."values" FROM finish f JOIN delivery d ON d.workspace = f.workspace AND d.id = f.delivery
WHERE f.workspace = ?1 AND f.state = 'delivered' AND f.at >= ?2 AND f.at < ?3 AND (f.at, f.delivery) > (?2, ?4)
  AND d.partner = ?5 AND d.booked_at IS NOT NULL ORDER BY f.at, f.delivery LIMIT ?6;
-- name: delivery_listed
SELECT d.event, d.fact, d.teller, d.partner, d.app, d.kind, d.created_at, d.replay_of, f.state, f.reason, f.at, f.sends, q.due, q.sends, q.reason
FROM delivery d
LEFT JOIN finish f ON f.workspace = d.workspace AND f.delivery = d.id
LEFT JOIN queue q ON q.workspace = d.workspace AND q.delivery = d.id
WHERE d.workspace = ?1 AND d.id = ?2;
-- name: attempt_last
SELECT at, outcome, status, total_us FROM attempt WHERE workspace = ?1 AND delivery = ?2 ORDER BY n DESC, at DESC LIMIT 1;
