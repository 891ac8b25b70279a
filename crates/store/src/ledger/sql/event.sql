-- name: event_insert
INSERT INTO event (workspace, id, app, name, received_at, occurred_at, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7);
-- name: event_get
SELECT workspace, id, app, name, received_at, occurred_at, body FROM event WHERE workspace = ?1 AND id = ?2;
-- name: event_key_get
SELECT event, fields FROM event_key WHERE workspace = ?1 AND scope = ?2 AND key = ?3 AND expires_at > ?4;
-- name: event_key_put
INSERT INTO event_key (workspace, scope, key, event, fields, expires_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
ON CONFLICT (workspace, scope, key) DO UPDATE SET event = excluded.event, fields = excluded.fields, expires_at = excluded.expires_at;
-- name: tie_insert
INSERT INTO tie (workspace, app, kind, key, event, births) VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO NOTHING;
-- name: todo_insert
INSERT INTO todo (workspace, event) VALUES (?1, ?2) ON CONFLICT DO NOTHING;
-- name: todo_delete
DELETE FROM todo WHERE workspace = ?1 AND event = ?2;
-- name: todo_workspaces
WITH RECURSIVE w (n) AS (
  SELECT min(workspace) FROM todo
  UNION ALL SELECT (SELECT min(workspace) FROM todo WHERE workspace > w.n) FROM w WHERE w.n IS NOT NULL
) SELECT n FROM w WHERE n IS NOT NULL;
-- name: todo_due
SELECT event FROM todo WHERE workspace = ?1 AND after <= ?2 ORDER BY after, event LIMIT ?3;
-- name: todo_tries
SELECT tries FROM todo WHERE workspace = ?1 AND event = ?2;
-- name: todo_later
UPDATE todo SET tries = ?3, after = ?4 WHERE workspace = ?1 AND event = ?2;
-- name: todo_count
SELECT count(*) FROM (SELECT 1 FROM todo LIMIT 100000);
-- name: births_list
SELECT event FROM tie WHERE workspace = ?1 AND app = ?2 AND key = ?3 AND births = ?4 AND births > 0 ORDER BY event LIMIT ?5;
-- name: event_page
SELECT id, app FROM event WHERE workspace = ?1 AND id >= ?2 AND id < ?3 ORDER BY id LIMIT ?4;
-- name: ids_newest_event
SELECT id FROM event WHERE workspace = ?1 AND id < ?2 ORDER BY id DESC LIMIT 1;
-- name: ids_newest_delivery
SELECT id FROM delivery WHERE workspace = ?1 AND id < ?2 ORDER BY id DESC LIMIT 1;
