-- name: job_insert
INSERT INTO job (workspace, id, n, kind, state, created_at, changed_at, ended_at, actor, rate, after, below, rows, matched, done, skipped, expected, note, body)
VALUES (?1, ?2, coalesce((SELECT n FROM job WHERE workspace = ?1 ORDER BY n DESC LIMIT 1), 0) + 1, ?3, ?4, ?5, ?5, NULL, ?6, ?7, NULL, ?8, 0, 0, 0, '{}', ?9, NULL, ?10);
-- name: job_get
SELECT id, kind, state, created_at, changed_at, ended_at, actor, rate, after, below, rows, matched, done, skipped, expected, note, body, n FROM job WHERE workspace = ?1 AND id = ?2;
-- name: job_list
SELECT id, kind, state, created_at, changed_at, ended_at, actor, rate, after, below, rows, matched, done, skipped, expected, note, body, n FROM job WHERE workspace = ?1 AND id < ?2 ORDER BY id DESC LIMIT ?3;
-- name: job_unfinished
SELECT workspace, id, rate FROM (
  SELECT workspace, id, rate, row_number() OVER (PARTITION BY workspace ORDER BY id) AS turn
  FROM job INDEXED BY job_open WHERE ended_at IS NULL AND state IN ('planned', 'running')
) t ORDER BY turn, workspace LIMIT ?1;
-- name: job_open_count
SELECT count(*) FROM job INDEXED BY job_open WHERE workspace = ?1 AND ended_at IS NULL;
-- name: job_state
UPDATE job SET state = ?3, changed_at = ?4, ended_at = ?5, note = ?6 WHERE workspace = ?1 AND id = ?2;
-- name: job_move
UPDATE job SET state = ?3, changed_at = ?4, ended_at = ?5, after = ?6, rows = rows + ?7, matched = matched + ?8, done = done + ?9, skipped = ?10 WHERE workspace = ?1 AND id = ?2;
-- name: delivery_tellings
SELECT d.id, f.state, q.sends IS NOT NULL FROM delivery d INDEXED BY delivery_by_event
LEFT JOIN finish f ON f.workspace = d.workspace AND f.delivery = d.id
LEFT JOIN queue q ON q.workspace = d.workspace AND q.delivery = d.id
WHERE d.workspace = ?1 AND d.event = ?2 AND d.teller = ?3 AND d.partner = ?4 AND d.fact = ?5 ORDER BY d.id;
-- name: job_state_get
SELECT state FROM job WHERE workspace = ?1 AND id = ?2;
-- name: delivery_unsent
SELECT 1 FROM queue q WHERE q.workspace = ?1 AND q.delivery = ?2 AND q.sends = 0
  AND NOT EXISTS (SELECT 1 FROM endpoint e WHERE e.workspace = ?1 AND e.teller = ?3 AND e.partner = ?4 AND e.state > 0);
