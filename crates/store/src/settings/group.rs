//! Judges a group of partners.

use roundtrip_domain::id::Id;
use roundtrip_domain::problem::Code;
use roundtrip_domain::settings as domain;

use super::ResourceKind as Kind;
use super::document;
use super::judge::{Entry, Judge};

/// Most members of a group: a rule for all conversions makes one delivery for each.
const MEMBERS_MAX: usize = 1_000;

impl Judge<'_> {
    pub(super) fn group(&mut self, entry: &Entry, doc: &document::PartnerGroup) -> domain::PartnerGroup {
        let name = self.name(entry, doc.name.as_ref());
        let is_guess = self.problems.is_broken(&super::shape::join(&entry.path(), "partners"));
        if doc.partners.is_empty() && !is_guess {
            let message = "a group has at least one partner; without any, its rules would tell nobody";
            self.wrong(entry, Code::ConfigMissing, "partners", message);
        }
        if doc.partners.len() > MEMBERS_MAX {
            let message = format!("a group has at most {MEMBERS_MAX} partners");
            self.wrong(entry, Code::ConfigInvalid, "partners", message);
        }
        let mut partners = Vec::new();
        for (index, slug) in doc.partners.iter().enumerate().take(MEMBERS_MAX) {
            let field = format!("partners[{index}]");
            let Some(target) = self.refer(entry, &field, Kind::Partner, slug) else { continue };
            let id = Id::from_bits(target.id);
            if partners.contains(&id) {
                self.wrong(entry, Code::ConfigInvalid, &field, format!("`{slug}` stands there twice"));
            } else {
                partners.push(id);
            }
        }
        partners.sort_unstable();
        domain::PartnerGroup { id: Id::from_bits(entry.id), slug: entry.slug.clone(), name, partners }
    }
}
