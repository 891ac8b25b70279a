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
-- name: todo_list
SELECT e.workspace, e.id, e.app, e.name, e.received_at, e.occurred_at, e.body
FROM todo t JOIN event e ON e.workspace = t.workspace AND e.id = t.event ORDER BY t.workspace, t.event;
-- name: todo_count
SELECT count(*) FROM (SELECT 1 FROM todo LIMIT 100000);
-- name: births_list
SELECT e.workspace, e.id, e.app, e.name, e.received_at, e.occurred_at, e.body
FROM tie t JOIN event e ON e.workspace = t.workspace AND e.id = t.event
WHERE t.workspace = ?1 AND t.app = ?2 AND t.kind = 1 AND t.key = ?3 AND t.births = 1 ORDER BY t.event LIMIT 50;
