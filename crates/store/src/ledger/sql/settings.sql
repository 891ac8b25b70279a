-- name: meta_get
SELECT value FROM meta WHERE workspace = 0 AND name = ?1;
-- name: meta_put
INSERT INTO meta (workspace, name, value) VALUES (0, ?1, ?2) ON CONFLICT (workspace, name) DO UPDATE SET value = excluded.value;
-- name: workspace_numbers
SELECT workspace FROM workspace ORDER BY workspace;
-- name: workspace_list
SELECT workspace, slug FROM workspace ORDER BY workspace;
-- name: workspace_insert
INSERT INTO workspace (workspace, slug, created_at) VALUES (?1, ?2, ?3);
-- name: resource_current
SELECT r.kind, r.id, r.slug, r.version, r.body FROM resource r
WHERE r.workspace = ?1 AND r.body IS NOT NULL
  AND r.version = (SELECT max(x.version) FROM resource x WHERE x.workspace = r.workspace AND x.kind = r.kind AND x.id = r.id)
ORDER BY r.kind, r.slug;
-- name: resource_at
SELECT body, slug FROM resource WHERE workspace = ?1 AND kind = ?2 AND id = ?3 AND version <= ?4 AND body IS NOT NULL ORDER BY version DESC LIMIT 1;
-- name: resource_last_slug
SELECT slug FROM resource WHERE workspace = ?1 AND kind = ?2 AND id = ?3 ORDER BY version DESC LIMIT 1;
-- name: resource_insert
INSERT INTO resource (workspace, kind, id, version, slug, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6);
-- name: settings_version_current
SELECT coalesce(max(version), 0) FROM settings_version WHERE workspace = ?1;
-- name: settings_version_insert
INSERT INTO settings_version (workspace, version, at, actor, summary) VALUES (?1, ?2, ?3, ?4, ?5);
-- name: audit_list
SELECT version, at, actor, summary FROM settings_version WHERE workspace = ?1 ORDER BY version DESC LIMIT ?2;
