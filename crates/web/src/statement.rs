//! A day's statement to a partner: what arrived, hashed line by line and signed, so that both sides can check it.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use roundtrip_domain::id::{Id, kind};
use roundtrip_domain::problem::{Code, Problem};
use roundtrip_domain::settings::Settings;
use roundtrip_domain::statement::{self, Digest, Entry, Heading, StatementKey};
use roundtrip_domain::time::Timestamp;
use roundtrip_store::ledger::{Arrival, ArrivalMark, Ledger};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::problem;

/// Entries of one answer; the signature is over all of them nevertheless.
pub const ENTRIES_MAX: u64 = 20_000;
/// Arrivals read at once.
const PAGE: u32 = 5_000;

/// One fact that arrived.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "StatementEntry")]
pub struct Line {
    /// The delivery, `dlv_…`: evidence, and no part of the hash.
    pub delivery: String,
    /// What the receiver dedupes on: `evt_…`.
    pub event_id: String,
    /// The conversion kind.
    pub kind: String,
    /// When it arrived, to the millisecond as it stands in the line that is hashed.
    pub delivered_at: String,
    /// SHA-256 of the line, in lower-case hexadecimal.
    pub hash: String,
}

/// A statement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Statement {
    /// The workspace's slug.
    pub workspace: String,
    /// The partner's id.
    pub partner: String,
    /// The day, UTC.
    pub day: String,
    /// Whether the day was over when it was made: then it never changes.
    #[serde(rename = "final")]
    pub is_final: bool,
    /// How many facts arrived, of each kind.
    pub counts: BTreeMap<String, u64>,
    /// How many in all.
    pub total_entries: u64,
    /// SHA-256 of all hashes, each followed by a line feed, in lower-case hexadecimal.
    pub total: String,
    /// The text that is signed.
    pub signed: String,
    /// The Ed25519 signature of that text, base64.
    pub signature: String,
    /// The public key, base64; compare it with the one that you were given.
    pub key: String,
    /// In the order of arrival, behind `after`.
    pub entries: Vec<Line>,
    /// Send it as `after` for the next entries; absent when these are the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// What statements are signed with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PublicKey {
    /// `ed25519`.
    pub algorithm: String,
    /// The 32 bytes of the public key, base64.
    pub key: String,
}

/// The public key of an installation.
pub fn public_key(key: &StatementKey) -> PublicKey {
    PublicKey { algorithm: "ed25519".to_owned(), key: STANDARD.encode(key.public()) }
}

/// Makes a statement, with its entries behind a delivery, or from the first on.
///
/// # Errors
/// With `parameter_invalid` when the day is none or the delivery is not of it, `store_unavailable` when the ledger cannot answer.
pub async fn read(
    ledger: &Ledger,
    settings: &Settings,
    partner: Id<kind::Partner>,
    day: &str,
    behind: Option<Id<kind::Delivery>>,
    now: Timestamp,
) -> Result<Statement, Problem> {
    let from = Some(format!("{day}T00:00:00Z"))
        .filter(|_| day.len() == 10)
        .and_then(|text| Timestamp::parse(&text))
        .ok_or_else(|| Problem::new(Code::ParameterInvalid, "day", "it is a day such as 2026-06-04, UTC"))?;
    let to = from.plus_ms(86_400_000);
    let heading = Heading {
        workspace: settings.slug.clone(),
        partner: partner.to_string(),
        day: day.to_owned(),
        is_final: now >= to,
    };
    let mut digest = Digest::default();
    let mut entries: Vec<Line> = Vec::new();
    let mut is_behind = behind.is_none();
    let mut more = false;
    let mut after: Option<ArrivalMark> = None;
    loop {
        let page = ledger.arrivals(settings.workspace, partner, (from, to), after, PAGE).await;
        let page = page.map_err(|error| problem::of_store(&error))?;
        let Some(last) = page.last() else { break };
        after = Some(ArrivalMark { at: last.at, delivery: last.delivery });
        for arrival in &page {
            let entry = entry(arrival);
            let hash = entry.hash();
            digest.add(&entry.kind, &hash);
            if !is_behind {
                is_behind = behind == Some(arrival.delivery);
            } else if entries.len() as u64 == ENTRIES_MAX {
                more = true;
            } else {
                let (delivery, delivered_at) = (arrival.delivery.to_string(), entry.delivered_at.to_string());
                entries.push(Line {
                    delivery,
                    event_id: entry.event_id,
                    kind: entry.kind,
                    delivered_at,
                    hash,
                });
            }
        }
    }
    if !is_behind {
        return Err(Problem::new(Code::ParameterInvalid, "after", "no such delivery arrived on that day"));
    }
    let signed = digest.signed_text(&heading);
    let key = &ledger.identity().statement_key;
    let next = entries.last().filter(|_| more).map(|last| last.delivery.clone());
    Ok(Statement {
        workspace: heading.workspace,
        partner: heading.partner,
        day: heading.day,
        is_final: heading.is_final,
        counts: digest.counts().clone(),
        total_entries: digest.entries(),
        total: digest.total(),
        signature: STANDARD.encode(key.sign(&signed)),
        signed,
        key: STANDARD.encode(key.public()),
        entries,
        next,
    })
}

/// What a delivery told, by the values that were stored with it.
fn entry(arrival: &Arrival) -> Entry {
    let told = |names: &[&str]| {
        let value = names.iter().find_map(|name| arrival.values.iter().find(|value| value.name == *name));
        value.map(|value| String::from_utf8_lossy(&value.decoded).into_owned()).unwrap_or_default()
    };
    Entry {
        event_id: arrival.fact.to_string(),
        partner_click_id: told(&["click_id", "partner_click_id"]),
        kind: arrival.kind.clone(),
        amount: told(&["revenue"]),
        currency: told(&["currency"]),
        delivered_at: arrival.at,
    }
}

impl Statement {
    /// What is wrong with a whole statement, in words; empty when its signature is `key`'s and everything else follows
    /// from what is signed.
    pub fn faults(&self, key: &str) -> Vec<String> {
        let mut faults = Vec::new();
        let mut digest = Digest::default();
        self.entries.iter().for_each(|line| digest.add(&line.kind, &line.hash));
        let heading = Heading {
            workspace: self.workspace.clone(),
            partner: self.partner.clone(),
            day: self.day.clone(),
            is_final: self.is_final,
        };
        if self.key != key {
            faults.push(format!("it names the key {}, and the installation's is {key}", self.key));
        }
        if (digest.entries(), digest.total()) != (self.total_entries, self.total.clone()) {
            faults.push(format!("its {} entries do not make the total that it names", digest.entries()));
        }
        if digest.signed_text(&heading) != self.signed || *digest.counts() != self.counts {
            faults.push("what is signed is not what it says".to_owned());
        }
        let bytes = |text: &str| STANDARD.decode(text).unwrap_or_default();
        let public: Result<[u8; 32], _> = bytes(key).try_into();
        let signature: Result<[u8; 64], _> = bytes(&self.signature).try_into();
        let is_signed = match (public, signature) {
            (Ok(public), Ok(signature)) => statement::verifies(&public, &self.signed, &signature),
            _ => false,
        };
        if !is_signed {
            faults.push("its signature is not the key's".to_owned());
        }
        faults
    }
}
