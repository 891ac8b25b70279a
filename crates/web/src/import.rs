//! What an import comes to, in the one shape that the API answers and the command prints.
//!
//! Not relied on for checking: the documents are judged where every other is, by a dry run of `apply`.

use std::collections::BTreeMap;

use roundtrip_domain::import::{Imported, LinkDraft, RuleDraft};
use roundtrip_domain::template::{self, Dialect, Parts};
use roundtrip_store::settings::document::{self, Body, Destinations, Document, Link, Rule};
use roundtrip_store::settings::share::ShareRevenue;
use roundtrip_store::settings::{Secret, is_reserved};
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// What a URL of another system becomes. Nothing was changed.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(rename = "Imported")]
pub struct Answer {
    /// `link` or `rule`.
    pub kind: &'static str,
    /// Whether everything came along: `not_carried` is empty.
    pub whole: bool,
    /// The systems that it may come from, the best first; the first is the dialect that was taken.
    pub systems: Vec<System>,
    /// The settings to apply: link and campaign, or rule; the partner with its settings. Credentials that stood in the
    /// URL stand in the partner's `cfg`.
    pub document: Document,
    /// The rules once more in Roundtrip's own macros, by slug, where that is certain to send the same.
    pub canonical: BTreeMap<String, Rule>,
    /// For a link: the URL to hand to the partner.
    pub url: Option<String>,
    /// For a link: the old URL on this host, which works too.
    pub same_url: Option<String>,
    /// What came along, and where it went.
    pub carried: Vec<Carried>,
    /// What did not, why, and what to do.
    pub not_carried: Vec<NotCarried>,
    /// What the URL does not say: guesses and placeholders in the document.
    pub missing: Vec<Missing>,
}

/// A system that a URL may come from.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(rename = "ImportedSystem")]
pub struct System {
    /// The dialect's word.
    pub system: String,
    /// Why.
    pub because: String,
    /// From 0 to 99; it orders, and is no probability.
    pub certainty: u8,
}

/// Something that came along.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(rename = "ImportedCarried")]
pub struct Carried {
    /// `parameter NAME`, `macro TEXT`, `host`, `path`, …
    pub what: String,
    /// Its value, shortened; credentials are masked.
    pub value: String,
    /// Where it went.
    pub to: String,
    /// What is worth knowing of it; may be empty.
    pub note: String,
}

/// Something that did not come along, or not with its effect.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(rename = "ImportedNotCarried")]
pub struct NotCarried {
    /// `parameter NAME`, `macro TEXT`, `host`, `path`, …
    pub what: String,
    /// Its value, shortened; credentials are masked.
    pub value: String,
    /// Why.
    pub reason: String,
    /// What to do about it.
    pub fix: String,
}

/// Something that the URL does not say.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(rename = "ImportedMissing")]
pub struct Missing {
    /// The field of the document.
    pub field: String,
    /// What stands there, and why.
    pub reason: String,
    /// What to do about it.
    pub fix: String,
}

/// Puts an import into the shape that leaves the program.
pub fn answer(imported: &Imported) -> Answer {
    let mut document = Document::default();
    let partner = &imported.partner;
    let cfg = partner.cfg.iter().map(|(name, value)| (name.clone(), Secret(value.clone()))).collect();
    let draft = document::Partner {
        name: None,
        ref_id: partner.ref_id.clone(),
        cfg,
        in_link_callbacks: false,
        rate: None,
        accepts_within: None,
        needs: Vec::new(),
        report: None,
    };
    document.partners.insert(partner.slug.clone(), draft);
    if let Some(campaign) = &imported.campaign {
        let draft = document::Campaign {
            name: campaign.name.clone(),
            app: campaign.app.clone(),
            public_id: campaign.public_id.clone(),
            landing_page: None,
            mandatory: Vec::new(),
        };
        document.campaigns.insert(campaign.slug.clone(), draft);
    }
    let mut not_carried: Vec<NotCarried> = imported
        .lost
        .iter()
        .map(|one| NotCarried {
            what: one.what.clone(),
            value: one.value.clone(),
            reason: one.reason.clone(),
            fix: one.fix.clone(),
        })
        .collect();
    if let Some(draft) = &imported.link {
        let mut link = link(draft);
        if is_reserved(&draft.slug) {
            let slug = format!("{}-link", draft.slug);
            not_carried.push(NotCarried {
                what: "path".to_owned(),
                value: draft.slug.clone(),
                reason: format!(
                    "`{}` is the first segment of a route here, so the link is called `{slug}`",
                    draft.slug
                ),
                fix: "hand out the new URL; the old one will not be found here".to_owned(),
            });
            document.links.insert(slug, link);
        } else {
            link.also.dedup();
            document.links.insert(draft.slug.clone(), link);
        }
    }
    let mut canonical = BTreeMap::new();
    for draft in &imported.rules {
        document.rules.insert(draft.slug.clone(), rule(draft, &draft.parts));
        if let Some(parts) = &draft.canonical {
            canonical.insert(draft.slug.clone(), rule(draft, parts));
        }
    }
    let renamed = |url: &String| match (&imported.link, document.links.keys().next()) {
        (Some(draft), Some(slug)) if *slug != draft.slug => {
            url.replacen(&format!("/{}", draft.slug), &format!("/{slug}"), 1)
        }
        _ => url.clone(),
    };
    Answer {
        kind: imported.kind.as_str(),
        whole: not_carried.is_empty(),
        systems: imported
            .systems
            .iter()
            .map(|one| System {
                system: one.system.clone(),
                because: one.because.clone(),
                certainty: one.certainty,
            })
            .collect(),
        canonical,
        url: imported.url.as_ref().map(renamed),
        same_url: imported.same_url.clone(),
        carried: imported
            .carried
            .iter()
            .map(|one| Carried {
                what: one.what.clone(),
                value: one.value.clone(),
                to: one.to.clone(),
                note: one.note.clone(),
            })
            .collect(),
        not_carried,
        missing: imported
            .missing
            .iter()
            .map(|one| Missing { field: one.field.clone(), reason: one.reason.clone(), fix: one.fix.clone() })
            .collect(),
        document,
    }
}

/// The value that a document writes with that word.
fn of_word<T: DeserializeOwned + Default>(word: &str) -> T {
    serde_json::from_value(Value::String(word.to_owned())).unwrap_or_default()
}

fn link(draft: &LinkDraft) -> Link {
    Link {
        campaign: draft.campaign.clone(),
        partner: draft.partner.clone(),
        dialect: of_word(draft.dialect.name()),
        destinations: Destinations {
            android: draft.android.clone(),
            ios: draft.ios.clone(),
            web: draft.web.clone(),
            deep_link: draft.deep_link.clone(),
            fallback: draft.fallback.clone(),
        },
        allow_destinations: draft.allow_destinations.clone(),
        click_window: draft.click_window.clone(),
        also: draft.also.clone(),
        also_impressions: draft.also_impressions.clone(),
    }
}

fn rule(draft: &RuleDraft, parts: &Parts) -> Rule {
    use roundtrip_domain::event::ConversionKind as K;
    Rule {
        app: draft.app.clone(),
        partner: Some(draft.partner.clone()),
        group: None,
        on: match draft.on {
            K::Install => document::On::Install,
            K::Signup => document::On::Signup,
            K::Purchase => document::On::Purchase,
            K::Event => document::On::Event,
            K::Rejected => document::On::Rejected,
            K::StatusChange => document::On::StatusChange,
        },
        events: draft.events.clone(),
        dialect: (parts.dialect != Dialect::Canonical).then(|| parts.dialect.as_str().to_owned()),
        macros: parts.macros.clone(),
        signatures: Vec::new(),
        auth: None,
        method: (parts.method != "GET").then(|| parts.method.clone()),
        url: Some(parts.url.clone()),
        callback: false,
        headers: parts.headers.iter().cloned().collect(),
        body: match &parts.body {
            template::Body::None => None,
            template::Body::Form(text) => Some(Body { form: Some(text.clone()), ..Body::default() }),
            template::Body::Json(text) => Some(Body { json: Some(text.clone()), ..Body::default() }),
            template::Body::Text(text) => Some(Body { text: Some(text.clone()), ..Body::default() }),
        },
        scope: document::Scope::default(),
        first_only: false,
        share_revenue: ShareRevenue(draft.share_revenue.into()),
        when: Default::default(),
        delay: None,
        rate: None,
        rename: BTreeMap::new(),
        sandbox: false,
        pending: false,
        window: None,
        retry: Default::default(),
        timeout: None,
        success: Default::default(),
        accepts_within: None,
        accepts_from: Default::default(),
        late: Default::default(),
        needs: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use roundtrip_domain::link_dialect::LinkDialect;

    #[test]
    fn every_link_dialect_has_its_word_in_documents() {
        for dialect in LinkDialect::ALL {
            let written: document::Dialect = of_word(dialect.name());
            assert_eq!(LinkDialect::from(written), *dialect);
        }
    }
}
