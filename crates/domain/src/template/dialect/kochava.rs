//! Kochava. The names of its postback macros were missing from the pages that were read; what is here are the
//! parameters of its links and the words of templates in the open.

use super::table::{Beyond, Row, Spelling, Vocabulary};
use crate::template::syntax::Syntax;

pub(super) const KOCHAVA: Vocabulary = Vocabulary {
    title: "Kochava",
    note: "Mobile measurement; its list of postback macros was not found.",
    is_incomplete: true,
    syntaxes: &[Syntax::Brace],
    spelling: Spelling::AnyCase,
    words: &[WORDS],
    beyond: Beyond::Shared,
    called_at: &[],
    link: &[WORDS],
};

const WORDS: &[Row] = &[
    ("tracker_id", "link_id"),
    ("app_guid", "cfg.app_guid"),
    ("adid", "gaid"),
    ("click_id", "partner_click_id"),
    ("impression_id", "impression_id"),
    ("device_id", "device_id"),
    ("ip_address", "ip"),
    ("device_ua", "ua"),
    ("user_agent", "ua"),
    ("site_id", "site_id"),
    ("sub_site_id", "sub_site_id"),
    ("campaign_id", "campaign_id"),
    ("network_id", "cfg.network_id"),
    ("creative_id", "creative_id"),
    ("creative_size", "ad_size"),
    ("creative_type", "ad_type"),
    ("source", "site_name"),
    ("partner_campaign_id", "campaign_id"),
    ("partner_campaign_name", "campaign"),
    ("att", "att_status"),
];
