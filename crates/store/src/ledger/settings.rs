//! Settings in the ledger: appended documents, a version per change, and the compiled catalog.

use std::collections::HashMap;
use std::sync::Arc;

use roundtrip_domain::id::{Id, WorkspaceNo, kind};
use roundtrip_domain::settings::{Catalog, Settings};
use roundtrip_domain::template::Template;
use roundtrip_domain::time::Timestamp;
use rusqlite::{Connection, OptionalExtension};

use super::Ledger;
use super::statements::sql;
use crate::Error;
use crate::settings::{Resource, ResourceKind, Write, compile, rule_template};

/// Templates of earlier rule versions, by rule and version. Bounded: emptied when full.
pub(super) type TemplateCache = HashMap<(WorkspaceNo, Id<kind::Rule>, u64), Option<Arc<Template>>>;
const TEMPLATES_MAX: usize = 4_096;

/// A change of settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRow {
    /// The version that it made.
    pub version: u64,
    /// When.
    pub at: Timestamp,
    /// Who.
    pub actor: String,
    /// What, in one line.
    pub summary: String,
}

pub(super) fn current(conn: &Connection, ws: WorkspaceNo) -> Result<(u64, Vec<Resource>), Error> {
    let version = conn.prepare_cached(sql("settings_version_current"))?.query_row([ws.0], |r| r.get(0))?;
    let mut statement = conn.prepare_cached(sql("resource_current"))?;
    let mut rows = statement.query([ws.0])?;
    let mut resources = Vec::new();
    while let Some(row) = rows.next()? {
        let number: u8 = row.get(0)?;
        let id: Vec<u8> = row.get(1)?;
        resources.push(Resource {
            kind: ResourceKind::from_number(number).ok_or_else(|| Error::Corrupt {
                table: "resource",
                column: "kind",
                row: format!("{id:02x?}"),
                what: format!("{number} is no kind of resource"),
            })?,
            id: super::id_from::<kind::App>(&id, "resource", "id")?.bits(),
            slug: row.get(2)?,
            version: row.get(3)?,
            body: row.get(4)?,
        });
    }
    Ok((version, resources))
}

fn workspaces(conn: &Connection) -> Result<Vec<(WorkspaceNo, String)>, Error> {
    let mut statement = conn.prepare_cached(sql("workspace_list"))?;
    let rows = statement.query_map([], |row| Ok((WorkspaceNo(row.get(0)?), row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Compiles the stored settings of every workspace. They were checked when they were saved, so a problem
/// here means that this release reads them differently: it is said, and nothing is guessed.
pub(super) fn load_catalog(conn: &Connection) -> Result<Catalog, Error> {
    let mut all: Vec<Arc<Settings>> = Vec::new();
    for (ws, slug) in workspaces(conn)? {
        let (version, resources) = current(conn, ws)?;
        let settings = compile(ws, &slug, version, &resources, &|_| false).map_err(|problems| {
            let what = problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
            Error::Corrupt { table: "resource", column: "body", row: slug.clone(), what }
        })?;
        all.push(Arc::new(settings));
    }
    Ok(Catalog::new(all))
}

/// How much has changed in all workspaces together: rises with every change, so that of two catalogs read in
/// the writer's order the later one is known.
fn generation(catalog: &Catalog) -> u64 {
    catalog.workspaces().iter().map(|s| s.version + 1).sum()
}

impl Ledger {
    /// Makes a workspace, or finds it: idempotent by slug.
    pub async fn workspace_create(
        &self,
        slug: &str,
        at: Timestamp,
        actor: &str,
    ) -> Result<WorkspaceNo, Error> {
        let (slug, actor) = (slug.to_owned(), actor.to_owned());
        let (ws, catalog) = self
            .write(move |conn| {
                let known = workspaces(conn)?;
                let ws = match known.iter().find(|(_, s)| *s == slug) {
                    Some((ws, _)) => *ws,
                    None => {
                        let ws = WorkspaceNo(known.iter().map(|(ws, _)| ws.0).max().unwrap_or(0) + 1);
                        conn.prepare_cached(sql("workspace_insert"))?.execute((ws.0, &slug, at.ms()))?;
                        conn.prepare_cached(sql("settings_version_insert"))?.execute((
                            ws.0,
                            0,
                            at.ms(),
                            &actor,
                            "workspace created",
                        ))?;
                        ws
                    }
                };
                Ok((ws, load_catalog(conn)?))
            })
            .await?;
        self.publish(catalog);
        Ok(ws)
    }

    /// Makes a catalog current unless a later one is already: callers resume in any order.
    pub(super) fn publish(&self, catalog: Catalog) {
        let catalog = Arc::new(catalog);
        self.inner
            .catalog
            .rcu(|now| if generation(now) > generation(&catalog) { now.clone() } else { catalog.clone() });
    }

    /// The current version and documents of a workspace.
    pub async fn settings_read(&self, ws: WorkspaceNo) -> Result<(u64, Vec<Resource>), Error> {
        self.read(move |conn| current(conn, ws)).await
    }

    /// Appends a change, all of it or nothing, and makes it current. The documents have been checked by
    /// the caller; they are compiled here once more against what is stored, inside the transaction.
    pub async fn settings_commit(
        &self,
        ws: WorkspaceNo,
        base_version: u64,
        writes: Vec<Write>,
        actor: String,
        at: Timestamp,
    ) -> Result<u64, Error> {
        let (version, catalog) = self
            .write(move |conn| {
                let current: u64 =
                    conn.prepare_cached(sql("settings_version_current"))?.query_row([ws.0], |r| r.get(0))?;
                if current != base_version {
                    return Err(Error::VersionConflict { current });
                }
                let version = current + 1;
                let mut names = Vec::new();
                for write in &writes {
                    let id = write.id.to_be_bytes();
                    let sign = if write.body.is_some() { "" } else { "-" };
                    names.push(format!("{sign}{}/{}", write.kind.name(), write.slug));
                    conn.prepare_cached(sql("resource_insert"))?.execute((
                        ws.0,
                        write.kind as u8,
                        id.as_slice(),
                        version,
                        &write.slug,
                        &write.body,
                    ))?;
                }
                names.truncate(50);
                conn.prepare_cached(sql("settings_version_insert"))?.execute((
                    ws.0,
                    version,
                    at.ms(),
                    &actor,
                    names.join(" "),
                ))?;
                Ok((version, load_catalog(conn)?))
            })
            .await?;
        self.publish(catalog);
        Ok(version)
    }

    /// The latest changes, newest first.
    pub async fn audit_read(&self, ws: WorkspaceNo, limit: u32) -> Result<Vec<AuditRow>, Error> {
        self.read(move |conn| {
            let mut statement = conn.prepare_cached(sql("audit_list"))?;
            let rows = statement.query_map((ws.0, limit), |row| {
                Ok(AuditRow {
                    version: row.get(0)?,
                    at: Timestamp::from_ms(row.get(1)?),
                    actor: row.get(2)?,
                    summary: row.get(3)?,
                })
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// The template of a rule as it was at a version, for deliveries planned with it. `None` when no such
    /// version can be read, or it told the clicks' own callbacks.
    pub async fn rule_template(
        &self,
        ws: WorkspaceNo,
        rule: Id<kind::Rule>,
        version: u64,
    ) -> Result<Option<Arc<Template>>, Error> {
        if let Some(current) = self.catalog().workspace(ws).and_then(|s| s.rule(rule))
            && current.version == version
        {
            return Ok(current.request.template().cloned());
        }
        let key = (ws, rule, version);
        let cache = || self.inner.templates.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(known) = cache().get(&key) {
            return Ok(known.clone());
        }
        let body: Option<String> = self
            .read(move |conn| {
                let mut statement = conn.prepare_cached(sql("resource_at"))?;
                let kind = ResourceKind::Rule as u8;
                Ok(statement
                    .query_row((ws.0, kind, rule.bytes().as_slice(), version), |row| row.get(0))
                    .optional()?)
            })
            .await?;
        let template = body.as_deref().and_then(rule_template).map(Arc::new);
        let mut cache = cache();
        if cache.len() >= TEMPLATES_MAX {
            cache.clear();
        }
        cache.insert(key, template.clone());
        Ok(template)
    }

    /// The last slug of a resource that may be deleted by now, for people who read old stories.
    pub(super) fn last_slug(
        conn: &Connection,
        ws: WorkspaceNo,
        kind: ResourceKind,
        id: &[u8],
    ) -> Result<Option<String>, Error> {
        Ok(conn
            .prepare_cached(sql("resource_last_slug"))?
            .query_row((ws.0, kind as u8, id), |row| row.get(0))
            .optional()?)
    }
}
