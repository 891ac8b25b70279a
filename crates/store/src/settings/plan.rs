//! From what is set up and what somebody wants to change, to what would be written.

use std::collections::BTreeMap;

use roundtrip_ambient::Entropy;
use roundtrip_domain::id::{WorkspaceNo, kind};
use roundtrip_domain::problem::{Code, Problem};
use roundtrip_domain::time::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::diff::{self, Change};
use super::document::{Any, Document, PartnerReport};
use super::judge::{Entry, Set, Warning};
use super::likely::hint;
use super::problems::Problems;
use super::secret::{self, MASK, Secret, hash_token, is_indirect};
use super::shape::{self, join};
use super::stored::{self, Stored};
use super::{Resource, ResourceKind, Write};

/// What is set up now.
#[derive(Clone, Copy)]
pub struct Before<'a> {
    /// The workspace's number.
    pub workspace: WorkspaceNo,
    /// Its slug.
    pub slug: &'a str,
    /// The version that was read.
    pub version: u64,
    /// The rows of that version.
    pub resources: &'a [Resource],
}

/// One wish.
#[derive(Debug, Clone, PartialEq)]
pub struct Edit {
    /// The kind of resource.
    pub kind: ResourceKind,
    /// Its key.
    pub slug: String,
    /// The document as somebody wrote it, unchecked; `None` deletes.
    pub document: Option<Value>,
}

/// What planning needs to know of the rest of the world.
pub struct World<'a> {
    /// Whether a link of that id, or of that address as it is printed, is in another workspace. Addresses begin
    /// with a slash, and no id does.
    pub taken_links: &'a dyn Fn(&str) -> bool,
    /// Whether a key of that hash is in another workspace.
    pub taken_keys: &'a dyn Fn(&[u8; 32]) -> bool,
    /// The time of the change, for new ids.
    pub at: Timestamp,
    /// Randomness for new ids and tokens.
    pub entropy: &'a Entropy,
}

/// A token or a webhook's secret that was made, shown once.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NewKey {
    /// `key`, or `webhook`.
    pub kind: String,
    /// The slug of that.
    pub slug: String,
    /// The token, of which only a hash is kept; or the secret, which is not shown again.
    pub token: String,
}

impl std::fmt::Debug for NewKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewKey").field("slug", &self.slug).finish_non_exhaustive()
    }
}

/// What a change would do.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// Differences: creations and updates in the order of references, then deletions in reverse.
    pub changes: Vec<Change>,
    /// Rows to write, for `Ledger::settings_commit`; one for each change.
    pub writes: Vec<Write>,
    /// What can be saved and had better be known.
    pub warnings: Vec<Warning>,
    /// New tokens and secrets. Those of a plan that is not committed open nothing.
    pub keys: Vec<NewKey>,
}

/// Reads a whole document into edits, with all that is wrong with its outline. With `prune`, whatever is set
/// up and not in it is deleted.
pub fn edits_of(document: &Value, current: &[Resource], prune: bool) -> Result<Vec<Edit>, Vec<Problem>> {
    let mut problems = Problems::default();
    let Some(tables) = document.as_object() else {
        problems.add(Problem::new(Code::ConfigInvalid, "", "the document is a table"));
        return problems.into_result().map(|()| Vec::new());
    };
    let mut edits = Vec::new();
    for (name, table) in tables {
        if name == "workspace" {
            continue;
        }
        let Some(kind) = ResourceKind::ALL.into_iter().find(|kind| kind.table() == name) else {
            let words = ResourceKind::ALL.map(ResourceKind::table);
            let likely = hint(name, words.into_iter().chain(["workspace"]));
            let message = format!("`{name}` is no setting here{likely}");
            problems.add(Problem::new(Code::ConfigUnknownKey, name.as_str(), message));
            continue;
        };
        match table.as_object() {
            Some(table) => edits.extend(table.iter().map(|(slug, document)| Edit {
                kind,
                slug: slug.clone(),
                document: Some(document.clone()),
            })),
            None => problems.add(Problem::new(
                Code::ConfigInvalid,
                name.as_str(),
                format!("it is a table of {name} by slug"),
            )),
        }
    }
    if prune {
        let named = |r: &Resource| edits.iter().any(|e| e.kind == r.kind && e.slug == r.slug);
        let gone: Vec<Edit> = current
            .iter()
            .filter(|resource| !named(resource))
            .map(|r| Edit { kind: r.kind, slug: r.slug.clone(), document: None })
            .collect();
        edits.extend(gone);
    }
    // The outline's problems must not hide those of the resources: judge them too, on nothing that is stored.
    match problems.into_result() {
        Ok(()) => Ok(edits),
        Err(mut outline) => {
            let mut inner = Problems::default();
            for edit in &edits {
                if let Some(document) = &edit.document {
                    shape::read(edit.kind, document, &join(edit.kind.table(), &edit.slug), &mut inner);
                }
            }
            outline.extend(inner.into_result().err().unwrap_or_default());
            Err(outline)
        }
    }
}

/// The whole document as people may see it, in the shape of the file.
pub fn document_of(slug: &str, resources: &[Resource]) -> Result<Value, Vec<Problem>> {
    let mut problems = Problems::default();
    let mut tables: BTreeMap<ResourceKind, BTreeMap<&str, Value>> = BTreeMap::new();
    for resource in resources {
        match stored::decode(resource.kind, &resource.body) {
            Ok(stored) => {
                let table = tables.entry(resource.kind).or_default();
                table.insert(&resource.slug, stored::masked(&stored.document));
            }
            Err(why) => problems.add(unreadable(resource, &why)),
        }
    }
    problems.into_result()?;
    let mut document = serde_json::Map::new();
    document.insert("workspace".into(), slug.into());
    for (kind, table) in tables {
        let table = table.into_iter().map(|(slug, value)| (slug.to_owned(), value)).collect();
        document.insert(kind.table().into(), Value::Object(table));
    }
    // The struct is what the API's schema is made from; going through it keeps the two from drifting apart.
    debug_assert!(serde_json::from_value::<Document>(Value::Object(document.clone())).is_ok());
    Ok(Value::Object(document))
}

fn unreadable(resource: &Resource, why: &str) -> Problem {
    let path = join(resource.kind.table(), &resource.slug);
    Problem::new(Code::ConfigInvalid, path, format!("the stored document cannot be read: {why}"))
}

/// Plans a change: checks everything, and says all that is wrong at once. Nothing is written.
pub fn plan(before: Before<'_>, edits: &[Edit], world: &World<'_>) -> Result<Plan, Vec<Problem>> {
    let mut problems = Problems::default();
    let mut current: BTreeMap<(ResourceKind, &str), (u128, u64, Stored)> = BTreeMap::new();
    for resource in before.resources {
        match stored::decode(resource.kind, &resource.body) {
            Ok(stored) => {
                current.insert((resource.kind, &resource.slug), (resource.id, resource.version, stored));
            }
            // A row that cannot be read may still be replaced or deleted.
            Err(_) if edits.iter().any(|e| e.kind == resource.kind && e.slug == resource.slug) => {}
            Err(why) => problems.add(unreadable(resource, &why)),
        }
    }

    let mut entries: Vec<Entry> = Vec::new();
    let mut deleted: Vec<(ResourceKind, String)> = Vec::new();
    let mut keys = Vec::new();
    for edit in edits {
        let path = join(edit.kind.table(), &edit.slug);
        let old = current.get(&(edit.kind, edit.slug.as_str()));
        let Some(document) = &edit.document else {
            deleted.push((edit.kind, edit.slug.clone()));
            continue;
        };
        let Some(document) = shape::read(edit.kind, document, &path, &mut problems) else { continue };
        let row = before.resources.iter().find(|r| r.kind == edit.kind && r.slug == edit.slug);
        let mut step =
            Step { path: &path, old: old.map(|(_, _, stored)| stored), world, problems: &mut problems };
        let (stored, token) = step.settle(document);
        if let Some(token) = token {
            keys.push(NewKey { kind: edit.kind.name().to_owned(), slug: edit.slug.clone(), token });
        }
        entries.push(Entry {
            kind: edit.kind,
            id: row.map_or_else(|| mint(world), |row| row.id),
            slug: edit.slug.clone(),
            version: before.version + 1,
            stored,
            is_edited: true,
        });
    }
    for ((kind, slug), (id, version, stored)) in &current {
        let is_touched = edits.iter().any(|e| e.kind == *kind && e.slug == *slug);
        if !is_touched {
            let stored = stored.clone();
            entries.push(Entry {
                kind: *kind,
                id: *id,
                slug: (*slug).to_owned(),
                version: *version,
                stored,
                is_edited: false,
            });
        }
    }
    entries.sort_by(|a, b| (a.kind, &a.slug).cmp(&(b.kind, &b.slug)));

    let set = Set {
        workspace: before.workspace,
        slug: before.slug,
        version: before.version + 1,
        entries: &entries,
        deleted: &deleted,
    };
    let (_, warnings) = set.judge(world.taken_links, &mut problems);
    problems.into_result()?;

    let mut plan = Plan { warnings, keys, ..Plan::default() };
    for entry in entries.iter().filter(|entry| entry.is_edited) {
        let old = current.get(&(entry.kind, entry.slug.as_str())).map(|(_, _, stored)| stored);
        if let Some(change) = diff::between(entry.kind, &entry.slug, old, Some(&entry.stored)) {
            plan.changes.push(change);
            plan.writes.push(Write {
                kind: entry.kind,
                id: entry.id,
                slug: entry.slug.clone(),
                body: Some(stored::encode(&entry.stored)),
            });
        }
    }
    deleted.sort_by(|a, b| (b.0, &b.1).cmp(&(a.0, &a.1)));
    for (kind, slug) in deleted {
        let Some(row) = before.resources.iter().find(|r| r.kind == kind && r.slug == slug) else { continue };
        let old = current.get(&(kind, slug.as_str())).map(|(_, _, stored)| stored);
        plan.changes.push(diff::between(kind, &slug, old, None).unwrap_or_else(|| Change {
            kind: kind.name().to_owned(),
            slug: slug.clone(),
            action: diff::Action::Delete,
            fields: Vec::new(),
        }));
        plan.writes.push(Write { kind, id: row.id, slug, body: None });
    }
    Ok(plan)
}

/// Mints the bits of an id. Whose id it is, is a mark for the compiler only.
fn mint(world: &World<'_>) -> u128 {
    world.entropy.id::<kind::App>(world.at).bits()
}

/// One document on its way to its stored form.
pub(super) struct Step<'a> {
    pub(super) path: &'a str,
    pub(super) old: Option<&'a Stored>,
    pub(super) world: &'a World<'a>,
    problems: &'a mut Problems,
}

impl Step<'_> {
    pub(super) fn wrong(&mut self, code: Code, field: &str, message: &str) {
        self.problems.broken(Problem::new(code, join(self.path, field), message));
    }

    /// Settles what depends on the row before: masks, the token, and what cannot change.
    fn settle(&mut self, mut document: Any) -> (Stored, Option<String>) {
        let old = self.old;
        match (&mut document, old.map(|stored| &stored.document)) {
            (Any::App(new), Some(Any::App(old))) => {
                // A stand-in was reported already, and `broken` keeps this from being a second report.
                self.keep("platform", new.platform == old.platform);
            }
            (Any::Campaign(new), Some(Any::Campaign(old))) => self.keep("app", new.app == old.app),
            (Any::Link(new), Some(Any::Link(old))) => {
                self.keep("campaign", new.campaign == old.campaign);
                self.keep("partner", new.partner == old.partner);
            }
            (Any::Partner(new), Some(Any::Partner(old))) => {
                for (name, Secret(value)) in &mut new.cfg {
                    if value == MASK
                        && let Some(Secret(kept)) = old.cfg.get(name)
                    {
                        value.clone_from(kept);
                    }
                }
                // A command may have saved it, and a file that does not speak of it does not mean to take it away.
                if new.report.is_none() {
                    new.report.clone_from(&old.report);
                }
            }
            (Any::Webhook(new), Some(Any::Webhook(old))) => {
                if new.url.contains(MASK) && new.url == super::webhook::url_shown(&old.url) {
                    new.url.clone_from(&old.url);
                }
                for (name, Secret(value)) in &mut new.headers {
                    if value == MASK
                        && let Some(Secret(kept)) = old.headers.get(name)
                    {
                        value.clone_from(kept);
                    }
                }
            }
            _ => {}
        }
        if let Any::Partner(partner) = &mut document {
            partner.report = partner.report.take().filter(|report| *report != PartnerReport::default());
        }
        if let Any::Webhook(webhook) = &mut document {
            let (signing, retired, shown) = self.signing(webhook);
            return (Stored { document, hash: None, signing: Some(signing), retired }, shown);
        }
        let Any::Key(key) = &mut document else { return (Stored::plain(document), None) };
        let kept = old.and_then(|stored| stored.hash);
        let is_guess = self.problems.is_broken(&join(self.path, "kind"));
        let (hash, token) = match key.secret.take() {
            Some(Secret(secret)) if secret == MASK && kept.is_some() => (kept, None),
            Some(Secret(secret)) => {
                if is_indirect(&secret) {
                    self.wrong(
                        Code::SecretInvalid,
                        "secret",
                        "env: and file: are read by `roundtrip apply`, never by the server",
                    );
                } else if secret.chars().count() < secret::SECRET_CHARS_MIN {
                    self.wrong(Code::SecretInvalid, "secret", "it has fewer than 32 characters");
                } else if !secret.bytes().all(|b| b.is_ascii_graphic()) {
                    self.wrong(
                        Code::SecretInvalid,
                        "secret",
                        "it is printable ASCII without space, as a header needs",
                    );
                }
                (Some(hash_token(&secret)), None)
            }
            None if kept.is_some() => (kept, None),
            None => {
                let token = secret::mint_token(key.kind.into(), self.world.entropy);
                (Some(hash_token(&token)), Some(token).filter(|_| !is_guess))
            }
        };
        if hash.is_some_and(|hash| (self.world.taken_keys)(&hash)) {
            self.wrong(Code::SecretInvalid, "secret", "another key has the same secret");
        }
        (Stored { document, hash, signing: None, retired: Vec::new() }, token)
    }

    fn keep(&mut self, field: &str, is_same: bool) {
        if !is_same {
            // Not `broken`: where the new value is none that exists, that is worth knowing too.
            let path = join(self.path, field);
            self.problems.add(Problem::new(Code::FieldImmutable, path, "it cannot be changed"));
        }
    }
}

impl std::fmt::Debug for World<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("World").field("at", &self.at).finish_non_exhaustive()
    }
}
