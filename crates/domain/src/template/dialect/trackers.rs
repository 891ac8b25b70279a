//! Trackers that media buyers run: Voluum, BeMob, Keitaro, Binom, RedTrack.
//!
//! From where such a tracker stands, a traffic source is its partner: `{external_id}` (`{externalid}`) is the
//! click id that the source gave, and its own click id (`{subid}`, `{clickid}`) is ours. But these systems also
//! publish the address that *they* want to be called at, with their own click id's name as the macro
//! (`postback?subid={subid}`, `click.php?cnv_id={clickid}`): there that word is the partner's click id, and the
//! parameter's name tells the two apart.

use super::Word;
use super::table::{Beyond, Row, Spelling, Vocabulary, numbered};
use crate::template::syntax::Syntax;

pub(super) const VOLUUM: Vocabulary = Vocabulary {
    title: "Voluum",
    note: "Tracker; `{name}`, and bare `REPLACE` and `OPTIONAL` in the addresses it hands out.",
    is_incomplete: false,
    syntaxes: &[Syntax::Brace, Syntax::Bare],
    spelling: Spelling::Folded,
    words: &[TRACKER_WORDS, numbered!("customvariable" => "sub": 1 2 3 4 5 6 7 8 9 10), VOLUUM_WORDS],
    beyond: Beyond::Shared,
    called_at: &[("cid", "cid"), ("cid", "clickid")],
    link: &[TRACKER_LINK],
};

const VOLUUM_WORDS: &[Row] = &[
    ("var1", "sub1"),
    ("var2", "sub2"),
    ("var3", "sub3"),
    ("var4", "sub4"),
    ("var5", "sub5"),
    ("var6", "sub6"),
    ("var7", "sub7"),
    ("var8", "sub8"),
    ("var9", "sub9"),
    ("var10", "sub10"),
    ("trackingid", "rt_click_id"),
    ("et", "mapped_event_name"),
];

pub(super) const BEMOB: Vocabulary = Vocabulary {
    title: "BeMob",
    note: "Tracker; `{name}`, and bare `REPLACE` and `OPTIONAL` in the addresses it hands out.",
    is_incomplete: false,
    syntaxes: &[Syntax::Brace, Syntax::Bare],
    spelling: Spelling::Folded,
    words: &[TRACKER_WORDS, numbered!("custom" => "sub": 1 2 3 4 5 6 7 8 9 10)],
    beyond: Beyond::Shared,
    called_at: &[("cid", "cid"), ("cid", "clickid")],
    link: &[TRACKER_LINK],
};

const TRACKER_WORDS: &[Row] = &[
    ("externalid", "partner_click_id"),
    ("clickid", "rt_click_id"),
    ("cid", "rt_click_id"),
    ("payout", "payout"),
    ("revenue", "payout"),
    ("currency", "payout_currency||currency"),
    ("txid", "order_id||transaction_id"),
    ("transactionid", "order_id||transaction_id"),
    ("status", "status"),
    ("conversiontype", "mapped_event_name"),
    ("conversiontime", "event_time"),
    ("cost", "cost_value"),
    ("bid", "cost_value"),
    ("campaignid", "campaign_id"),
    ("campaignname", "campaign"),
    ("offerid", "offer_id"),
    ("offername", "offer_name"),
    ("trafficsourceid", "aff_id"),
    ("trafficsourcename", "partner_name"),
    ("country", "country"),
    ("countrycode", "country"),
    ("region", "region"),
    ("city", "city"),
    ("isp", "isp"),
    ("carrier", "carrier"),
    ("ip", "ip"),
    ("useragent", "ua"),
    ("language", "lang"),
    ("os", "platform"),
    ("osversion", "os_version"),
    ("browser", "browser"),
    ("browserversion", "browser_version"),
    ("device", "device_type"),
    ("brand", "device_brand"),
    ("model", "device_model"),
    ("connectiontype", "connection_type"),
    ("referrer", "referrer"),
];

const TRACKER_LINK: &[Row] = &[
    ("externalid", "partner_click_id"),
    ("clickid", "partner_click_id"),
    ("cost", "cost_value"),
    ("bid", "cost_value"),
];

/// Bare words of Voluum and BeMob, and what they stand for at each parameter.
const BARE_PARAMETERS: &[Row] = &[
    ("cid", "partner_click_id"),
    ("payout", "payout"),
    ("currency", "payout_currency||currency"),
    ("txid", "order_id||transaction_id"),
    ("status", "status"),
    ("et", "mapped_event_name"),
    ("param1", "sub1"),
    ("param2", "sub2"),
    ("param3", "sub3"),
    ("param4", "sub4"),
    ("param5", "sub5"),
];

pub(super) const KEITARO: Vocabulary = Vocabulary {
    title: "Keitaro",
    note: "Tracker; `{name}`, `{_name}` for the bytes as they came, `{status:lead=0 sale=1}` for a value's map.",
    is_incomplete: false,
    syntaxes: &[Syntax::Brace],
    spelling: Spelling::Exact,
    words: &[
        KEITARO_WORDS,
        numbered!("sub_id_" => "sub": 1 2 3 4 5 6 7 8 9 10),
        numbered!("sub_id_" => "param.sub_id_": 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30),
    ],
    beyond: Beyond::Shared,
    called_at: &[("subid", "subid")],
    link: &[KEITARO_LINK, numbered!("sub_id_" => "sub": 1 2 3 4 5 6 7 8 9 10)],
};

const KEITARO_WORDS: &[Row] = &[
    ("external_id", "partner_click_id"),
    ("subid", "rt_click_id"),
    ("tid", "order_id||transaction_id"),
    ("payout", "payout"),
    ("conversion_revenue", "payout"),
    ("revenue", "revenue"),
    ("currency", "payout_currency||currency"),
    ("cost", "cost_value"),
    ("status", "status|map:approved=sale,pending=lead"),
    ("original_status", "status"),
    ("keyword", "keyword"),
    ("source", "site_id"),
    ("creative_id", "creative_id"),
    ("ad_campaign_id", "campaign_id"),
    ("campaign_id", "campaign_id"),
    ("campaign_name", "campaign"),
    ("offer_id", "offer_id"),
    ("offer_name", "offer_name"),
    ("landing_id", "param.landing_id"),
    ("traffic_source_name", "partner_name"),
    ("ts_id", "aff_id"),
    ("country", "country"),
    ("region", "region"),
    ("city", "city"),
    ("isp", "isp"),
    ("operator", "carrier"),
    ("connection_type", "connection_type"),
    ("os", "platform"),
    ("os_version", "os_version"),
    ("browser", "browser"),
    ("browser_version", "browser_version"),
    ("device_type", "device_type"),
    ("device_model", "device_model"),
    ("device_brand", "device_brand"),
    ("ip", "ip"),
    ("user_agent", "ua"),
    ("language", "lang"),
    ("referrer", "referrer"),
    ("date", "event_time"),
    ("conversion_time", "event_time"),
    ("visit_time", "click_time"),
    ("postback_key", "cfg.postback_key"),
    ("domain", "cfg.domain"),
    ("random", "event_id|md5|truncate:16"),
];

const KEITARO_LINK: &[Row] = &[
    ("external_id", "partner_click_id"),
    ("keyword", "keyword"),
    ("cost", "cost_value"),
    ("currency", "cost_currency"),
    ("creative_id", "creative_id"),
    ("ad_campaign_id", "campaign_id"),
    ("source", "site_id"),
];

pub(super) const BINOM: Vocabulary = Vocabulary {
    title: "Binom",
    note: "Tracker; `{externalid}` is the traffic source's click id, `{clickid}` Binom's own.",
    is_incomplete: false,
    syntaxes: &[Syntax::Brace],
    spelling: Spelling::AnyCase,
    words: &[BINOM_WORDS, numbered!("t" => "sub": 1 2 3 4 5 6 7 8 9 10)],
    beyond: Beyond::Shared,
    called_at: &[("cnv_id", "clickid")],
    link: &[TRACKER_LINK],
};

const BINOM_WORDS: &[Row] = &[
    ("externalid", "partner_click_id"),
    ("external_id", "partner_click_id"),
    ("clickid", "rt_click_id"),
    ("payout", "payout"),
    ("cnv_id", "transaction_id"),
    ("cnv_status", "status"),
    ("cnv_status2", "mapped_event_name"),
    ("cnv_currency", "payout_currency||currency"),
    ("status", "status"),
    ("camp_id", "campaign_id"),
    ("campaign", "campaign"),
    ("ip", "ip"),
    ("country", "country"),
    ("user_agent", "ua"),
];

pub(super) const REDTRACK: Vocabulary = Vocabulary {
    title: "RedTrack",
    note: "Tracker; the words of its inbound postback. Its list of outbound words was not found.",
    is_incomplete: true,
    syntaxes: &[Syntax::Brace],
    spelling: Spelling::Exact,
    words: &[
        &[
            ("ref_id", "partner_click_id"),
            ("externalid", "partner_click_id"),
            ("clickid", "rt_click_id"),
            ("sum", "payout"),
            ("payout", "payout"),
            ("currency", "payout_currency||currency"),
            ("type", "mapped_event_name"),
            ("status", "status"),
            ("rdtk_event_id", "event_id"),
        ],
        numbered!("sub" => "sub": 1 2 3 4 5 6 7 8 9 10),
        numbered!("sub" => "param.sub": 11 12 13 14 15 16 17 18 19 20),
    ],
    beyond: Beyond::Shared,
    called_at: &[("clickid", "clickid")],
    link: &[TRACKER_LINK, numbered!("sub" => "sub": 1 2 3 4 5 6 7 8 9 10)],
};

/// What a bare word stands for, by its parameter.
pub(super) fn bare(word: &Word<'_>) -> Option<&'static str> {
    let parameter = word.parameter.filter(|_| matches!(word.name, "REPLACE" | "OPTIONAL"))?;
    BARE_PARAMETERS.iter().find(|(name, _)| *name == parameter).map(|(_, expression)| *expression)
}
