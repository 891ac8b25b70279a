//! Linkrunner. Its page lists what is here; the parameters of its affiliate links are taken to be macros of their
//! own names, as the page's examples do.

use super::table::{Beyond, Row, Spelling, Vocabulary, numbered};
use crate::template::syntax::Syntax;

pub(super) const LINKRUNNER: Vocabulary = Vocabulary {
    title: "Linkrunner",
    note: "Mobile measurement; postbacks to affiliates and networks. Text in braces that is no macro stays as it is.",
    is_incomplete: false,
    syntaxes: &[Syntax::Brace],
    spelling: Spelling::Exact,
    words: &[WORDS, numbered!("sub" => "sub": 1 2 3 4 5)],
    beyond: Beyond::Nothing,
    called_at: &[],
    link: &[LINK, numbered!("sub" => "sub": 1 2 3 4 5)],
};

const WORDS: &[Row] = &[
    ("click_id", "partner_click_id"),
    ("install_id", "install_id"),
    ("event_id", "event_id"),
    ("event_name", "event_name"),
    ("event_time", "event_time"),
    ("event_time_iso", "event_time_iso"),
    ("revenue", "revenue"),
    ("currency", "currency"),
    ("platform", "platform"),
    ("advertising_id", "advertising_id"),
    ("gaid", "gaid"),
    ("idfa", "idfa"),
    ("oaid", "oaid"),
    ("ip", "ip"),
    ("country", "country"),
    ("user_agent", "ua"),
    ("campaign", "campaign"),
    ("aff_id", "aff_id"),
    ("pub_id", "pub_id"),
    ("offer_id", "offer_id"),
    ("creative_id", "creative_id"),
];

const LINK: &[Row] = &[
    ("c", "campaign_id"),
    ("click_id", "partner_click_id"),
    ("aff_id", "aff_id"),
    ("pub_id", "pub_id"),
    ("offer_id", "offer_id"),
    ("creative_id", "creative_id"),
    ("gaid", "gaid"),
    ("idfa", "idfa"),
    ("oaid", "oaid"),
    ("ip", "click_ip"),
    ("user_agent", "click_ua"),
];
