//! Settings, from the documents that people write to what the program runs on.
//!
//! The cast:
//! - [`document`] is the one shape of each resource. The same struct is read from `roundtrip.toml`, read
//!   and served by the API, drawn by the pages, and stored. One shape, because "the UI, the API and the file
//!   edit the same things" can only stay true while there is nothing to translate between them, and because
//!   a stored document that is what its author wrote can be compared with the next one by eye.
//! - [`stored`] wraps it in a version envelope (`{"v":1,…}`) for the ledger; the envelope also carries what
//!   nobody writes, a key's hash.
//! - `shape` compares what came with the document's own JSON Schema and goes on after each problem, so that
//!   all of them are found at once; serde alone stops at the first.
//! - `rule`, `webhook`, `group`, `condition`, `share` and `retry` judge those parts
//!   of it; `advice` looks across documents.
//! - `judge` turns a whole set of documents into [`Settings`] and says everything that is wrong between them.
//!   It is used twice: when a change is planned, and when the ledger compiles what it stores.
//! - [`plan()`] joins them: the current rows and some edits in; differences, rows to write, warnings and new
//!   tokens out.
//! - [`diff`] tells what a change changes, with secrets masked.
//!
//! Not relied on: nothing here writes, asks the time, or knows HTTP. A plan is only as true as the version
//! it was made from, which is why `Ledger::settings_commit` takes that version and refuses a stale one.

mod address;
pub mod advice;
mod auth;
pub mod condition;
pub mod diff;
pub mod document;
mod form;
mod group;
mod judge;
mod likely;
mod plan;
mod problems;
pub mod retry;
mod rule;
mod secret;
mod shape;
pub mod share;
mod signature;
pub mod stored;
pub mod webhook;

#[cfg(test)]
mod tests;

pub use self::form::{RESERVED, is_reserved, is_workspace_slug};
pub use self::judge::Warning;
pub use self::plan::{Before, Edit, NewKey, Plan, World, document_of, edits_of, plan};
pub use self::rule::rule_template;
pub use self::secret::{MASK, Secret, hash_token, is_indirect};
pub use self::signature::scheme as signature_scheme;

use std::fmt;

use roundtrip_domain::id::WorkspaceNo;
use roundtrip_domain::problem::Problem;
use roundtrip_domain::settings::Settings;

/// What kinds of resources there are. The numbers are stored: append only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ResourceKind {
    /// A mobile app or a web site.
    App = 1,
    /// A campaign of an app.
    Campaign = 2,
    /// An affiliate or ad network.
    Partner = 3,
    /// A tracking link: campaign × partner.
    Link = 4,
    /// What a partner is told, when and how.
    Rule = 5,
    /// A credential.
    Key = 6,
    /// Partners that a rule tells together.
    PartnerGroup = 7,
    /// What the owner is told, where and how.
    Webhook = 8,
}

impl Ord for ResourceKind {
    /// By reference: what is referred to comes before what refers to it.
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let rank = |kind: &Self| Self::ALL.iter().position(|known| known == kind);
        rank(self).cmp(&rank(other))
    }
}

impl PartialOrd for ResourceKind {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl ResourceKind {
    /// Every kind, in the order in which they refer to each other.
    pub const ALL: [Self; 8] = [
        Self::App,
        Self::Campaign,
        Self::Partner,
        Self::Link,
        Self::PartnerGroup,
        Self::Rule,
        Self::Webhook,
        Self::Key,
    ];

    /// The kind with that stored number.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == number)
    }

    /// The word for one of them.
    pub const fn name(self) -> &'static str {
        match self {
            Self::App => "app",
            Self::Campaign => "campaign",
            Self::Partner => "partner",
            Self::Link => "link",
            Self::Rule => "rule",
            Self::Webhook => "webhook",
            Self::Key => "key",
            Self::PartnerGroup => "partner_group",
        }
    }

    /// The word for all of them: the table in the file and the segment of the API's paths.
    pub const fn table(self) -> &'static str {
        match self {
            Self::App => "apps",
            Self::Campaign => "campaigns",
            Self::Partner => "partners",
            Self::Link => "links",
            Self::Rule => "rules",
            Self::Webhook => "webhooks",
            Self::Key => "keys",
            Self::PartnerGroup => "partner_groups",
        }
    }

    /// The prefix of their printed ids.
    pub const fn prefix(self) -> &'static str {
        use roundtrip_domain::id::{Kind as _, kind};
        match self {
            Self::App => kind::App::PREFIX,
            Self::Campaign => kind::Campaign::PREFIX,
            Self::Partner => kind::Partner::PREFIX,
            Self::Link => kind::Link::PREFIX,
            Self::Rule => kind::Rule::PREFIX,
            Self::Webhook => kind::Webhook::PREFIX,
            Self::Key => kind::Key::PREFIX,
            Self::PartnerGroup => kind::PartnerGroup::PREFIX,
        }
    }

    /// The id of such a resource as it is printed.
    pub fn print_id(self, bits: u128) -> String {
        use roundtrip_domain::id::{Id, kind};
        match self {
            Self::App => Id::<kind::App>::from_bits(bits).to_string(),
            Self::Campaign => Id::<kind::Campaign>::from_bits(bits).to_string(),
            Self::Partner => Id::<kind::Partner>::from_bits(bits).to_string(),
            Self::Link => Id::<kind::Link>::from_bits(bits).to_string(),
            Self::Rule => Id::<kind::Rule>::from_bits(bits).to_string(),
            Self::Webhook => Id::<kind::Webhook>::from_bits(bits).to_string(),
            Self::Key => Id::<kind::Key>::from_bits(bits).to_string(),
            Self::PartnerGroup => Id::<kind::PartnerGroup>::from_bits(bits).to_string(),
        }
    }
}

/// A resource as the ledger keeps it: the current row of its slug.
#[derive(Clone, PartialEq, Eq)]
pub struct Resource {
    /// What it is.
    pub kind: ResourceKind,
    /// The bits of its id; the same for all versions of a slug that was not deleted in between.
    pub id: u128,
    /// Its key in file and API.
    pub slug: String,
    /// The settings version that last wrote it.
    pub version: u64,
    /// The stored document, see [`stored`].
    pub body: String,
}

/// A row to write.
#[derive(Clone, PartialEq, Eq)]
pub struct Write {
    /// What it is.
    pub kind: ResourceKind,
    /// The bits of its id.
    pub id: u128,
    /// Its key in file and API.
    pub slug: String,
    /// The stored document; `None` deletes it.
    pub body: Option<String>,
}

// A body can hold a partner's secrets, so neither prints it.
impl fmt::Debug for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{} at {}", self.kind.table(), self.slug, self.version)
    }
}

impl fmt::Debug for Write {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = if self.body.is_some() { "write" } else { "delete" };
        write!(f, "{what} {}.{}", self.kind.table(), self.slug)
    }
}

/// Makes what the program runs on from what is stored. `taken_links` says which link ids and other
/// addresses of links other workspaces have. Fails with every contradiction; rows that came through [`plan()`] have none.
pub fn compile(
    workspace: WorkspaceNo,
    slug: &str,
    version: u64,
    resources: &[Resource],
    taken_links: &dyn Fn(&str) -> bool,
) -> Result<Settings, Vec<Problem>> {
    let mut problems = problems::Problems::default();
    let mut entries = Vec::with_capacity(resources.len());
    for resource in resources {
        match stored::decode(resource.kind, &resource.body) {
            Ok(stored) => entries.push(judge::Entry {
                kind: resource.kind,
                id: resource.id,
                slug: resource.slug.clone(),
                version: resource.version,
                stored,
                is_edited: true,
            }),
            Err(why) => problems.add(Problem::new(
                roundtrip_domain::problem::Code::ConfigInvalid,
                format!("{}.{}", resource.kind.table(), resource.slug),
                format!("the stored document cannot be read: {why}"),
            )),
        }
    }
    let set = judge::Set { workspace, slug, version, entries: &entries, deleted: &[] };
    let (settings, _) = set.judge(taken_links, &mut problems);
    problems.into_result().map(|()| settings)
}
