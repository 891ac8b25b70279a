-- name: failure_sends
SELECT a.delivery, a.at, a.outcome, a.status, a.arrived, d.teller, d.partner
FROM (SELECT rowid AS place, workspace, delivery, at, outcome, status, next = 'delivered' AS arrived FROM attempt ORDER BY rowid DESC LIMIT ?2) a
CROSS JOIN delivery d ON d.workspace = a.workspace AND d.id = a.delivery
WHERE a.workspace = ?1 AND (?3 IS NULL OR (d.teller = ?3 AND d.partner = ?4))
ORDER BY a.place DESC;
-- name: failure_retrying
SELECT teller, partner FROM queue_count WHERE workspace = ?1 AND n > 0 AND (?2 IS NULL OR (teller = ?2 AND partner = ?3));
-- name: failure_retries
SELECT delivery FROM queue WHERE workspace = ?1 AND teller = ?2 AND partner = ?3 AND retry = 1 ORDER BY due LIMIT ?4;
-- name: failure_retries_last
SELECT delivery FROM queue WHERE workspace = ?1 AND teller = ?2 AND partner = ?3 AND retry = 1 ORDER BY due DESC LIMIT ?4;
-- name: failure_ends
SELECT d.teller, d.partner, max(f.delivery)
FROM (SELECT delivery, sends FROM finish INDEXED BY finish_undelivered WHERE workspace = ?1 AND state <> 'delivered' ORDER BY delivery DESC LIMIT ?2) f
CROSS JOIN delivery d ON d.workspace = ?1 AND d.id = f.delivery
WHERE f.sends > 0 AND (?3 IS NULL OR (d.teller = ?3 AND d.partner = ?4)) GROUP BY d.teller, d.partner;
-- name: failure_figures
SELECT f.state, count(*)
FROM (SELECT id, teller, partner FROM delivery WHERE workspace = ?1 AND id >= ?2 ORDER BY id DESC LIMIT ?3) d
CROSS JOIN finish f ON f.workspace = ?1 AND f.delivery = d.id
WHERE d.teller = ?4 AND d.partner = ?5 GROUP BY f.state;
-- name: failure_figures_cut
SELECT created_at FROM delivery WHERE workspace = ?1 AND id >= ?2 ORDER BY id DESC LIMIT 1 OFFSET ?3;
-- name: queued_of
SELECT coalesce(e.state, 0) > 0, sum(c.n),
  min((SELECT min(q.due) FROM queue q WHERE q.workspace = c.workspace AND q.teller = c.teller AND q.partner = c.partner AND q.retry = 0)),
  min((SELECT min(q.due) FROM queue q WHERE q.workspace = c.workspace AND q.teller = c.teller AND q.partner = c.partner AND q.retry = 1))
FROM queue_count c LEFT JOIN endpoint e ON e.workspace = c.workspace AND e.teller = c.teller AND e.partner = c.partner
WHERE c.workspace = ?1 AND c.n > 0 AND (?2 IS NULL OR c.partner = ?2) GROUP BY 1;
-- name: queued_booked
SELECT coalesce(sum(n), 0) FROM queue_books WHERE workspace = ?1 AND (?2 IS NULL OR partner = ?2);
