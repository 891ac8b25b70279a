//! Judges the other addresses of links: that each is one, that no route of ours has it, and that no two links do.
//!
//! The listener asks its own forms first, so an address that one of them answers would never be reached: it is refused
//! here, and so is a new link whose id would hide an address that another link has already.

use roundtrip_domain::link_address::Address;
use roundtrip_domain::problem::Code;

use super::ResourceKind as Kind;
use super::document;
use super::form;
use super::judge::{Entry, Judge};
use super::shape::join;

/// First segments under which links may have addresses although they are routes: those of link forms.
const SHARED_SEGMENTS: &[&str] = &["c", "click", "impression"];

impl<'a> Judge<'a> {
    /// The addresses of a link, those that are wrong left out.
    pub(super) fn addresses(&mut self, entry: &'a Entry, doc: &document::Link) -> Vec<Address> {
        let mut addresses = Vec::new();
        for (name, texts, is_view) in
            [("also", &doc.also, false), ("also_impressions", &doc.also_impressions, true)]
        {
            for (index, text) in texts.iter().enumerate() {
                let field = format!("{name}[{index}]");
                match Address::parse(text, is_view) {
                    Ok(address) => {
                        if self.is_free(entry, &field, &address) {
                            addresses.push(address);
                        }
                    }
                    Err(error) => {
                        self.wrong(
                            entry,
                            Code::ConfigInvalid,
                            &field,
                            format!("`{text}` is no address: {error}"),
                        );
                    }
                }
            }
        }
        addresses
    }

    fn is_free(&mut self, entry: &'a Entry, field: &str, address: &Address) -> bool {
        let printed = address.to_string();
        if let Some(why) = route_of(address) {
            self.wrong(entry, Code::NameReserved, field, format!("`{printed}` {why}"));
            return false;
        }
        if let Some(id) = link_id_of(address) {
            let other = self.by_slug.get(&(Kind::Link, id)).copied();
            if other.is_some_and(|other| std::ptr::eq(other, entry)) {
                let message = format!("`{printed}` leads to this link already, by its id");
                self.wrong(entry, Code::ConfigInvalid, field, message);
                return false;
            }
            if let Some(other) = other {
                // The one that came later is to blame.
                if entry.is_edited {
                    let message = format!("`{printed}` leads to {} by its id", other.path());
                    self.wrong(entry, Code::NameTaken, field, message);
                } else {
                    let message = format!("`{printed}` is an address of {}", join(&entry.path(), field));
                    self.wrong(other, Code::NameTaken, "", message);
                }
                return false;
            }
            if (self.taken_links)(id) {
                let message = format!("`{printed}` leads to a link of another workspace by its id");
                self.wrong(entry, Code::NameTaken, field, message);
                return false;
            }
        }
        if (self.taken_links)(&printed) {
            self.wrong(
                entry,
                Code::NameTaken,
                field,
                format!("a link of another workspace has the path of `{printed}`; give it a host of its own"),
            );
            return false;
        }
        let here = join(&entry.path(), field);
        if let Some((other, place)) = self.addresses.insert(printed.clone(), (entry, here.clone())) {
            let (blamed, field, place) = if entry.is_edited {
                (entry, field.to_owned(), place)
            } else {
                let field = place.strip_prefix(&other.path()).unwrap_or_default();
                (other, field.trim_start_matches('.').to_owned(), here)
            };
            self.wrong(blamed, Code::NameTaken, &field, format!("`{printed}` is also at {place}"));
            return false;
        }
        true
    }
}

/// Why a route of ours would answer there, if one would.
fn route_of(address: &Address) -> Option<&'static str> {
    let segments: Vec<&str> = address.path().split('/').skip(1).collect();
    let first = segments.first().copied().unwrap_or_default();
    let is_shared = SHARED_SEGMENTS.iter().any(|word| word.eq_ignore_ascii_case(first));
    // Kochava's clicks, which share the first segment of our events and nothing else.
    let is_shared = is_shared || segments.starts_with(&["v1", "cpi"]);
    if form::is_reserved(first) && !is_shared {
        return Some("begins with the first segment of a route");
    }
    if matches!(segments.as_slice(), [_, "postback"] | [_, "postback", "validate"]) {
        return Some("is where a namespace's postbacks come in");
    }
    let is_click = matches!(segments.as_slice(), ["click"] | [_, "click"]);
    let names_both = address.value("campaign_id").is_some() && address.value("ref_id").is_some();
    (is_click && names_both).then_some(
        "is Tracknow's form, which finds links by the campaign's public_id and the partner's ref_id",
    )
}

/// The public id of the link that our own forms would look for there.
fn link_id_of(address: &Address) -> Option<&str> {
    let path = address.path();
    if path == "/" {
        return address.value("c");
    }
    let id = ["/c/", "/impression/", "/"].iter().find_map(|prefix| path.strip_prefix(prefix))?;
    (!id.contains('/')).then_some(id)
}
