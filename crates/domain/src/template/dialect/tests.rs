//! The words of each dialect: that the tables are sound, and what a template comes out as.

use super::super::sample::Samples;
use super::super::{Code, Sending, Severity, UrlTemplate, UseKind};
use super::*;
use std::collections::BTreeMap;

const SENDING: Sending<'static> = Sending { attempt: 1, at_ms: 1_780_564_905_250, nonce: "9f86d081884c7d65" };
const OURS: &str = "019a8c3e-7b1d-7c44-9f02-5a1b6c7d8e9f";

/// What a query comes out as, with the vocabulary's examples as values.
fn fill(dialect: Dialect, scope: Scope, query: &str, given: &[(&str, &str)]) -> String {
    let (template, findings) = UrlTemplate::parse(&format!("https://p.example/?{query}"), scope, dialect);
    assert!(findings.iter().all(|f| f.severity != Severity::Error), "{dialect:?} {query}: {findings:#?}");
    let mut samples = Samples::of(template.macros());
    samples.given.extend(given.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    let url = template.render(&samples, Some(&SENDING)).url;
    url.strip_prefix("https://p.example/?").expect("the host stays").replace("%20", " ").replace("%3A", ":")
}

#[track_caller]
fn check(dialect: Dialect, rows: &[(&str, &str)]) {
    for (query, expected) in rows {
        let value = fill(dialect, Scope::Postback, &format!("v={query}"), &[]);
        assert_eq!(value, format!("v={expected}"), "{dialect:?} {query}");
    }
}

/// Compares whole queries, whose parameters matter.
#[track_caller]
fn check_queries(dialect: Dialect, scope: Scope, rows: &[(&str, &str)]) {
    for (query, expected) in rows {
        assert_eq!(fill(dialect, scope, query, &[]), *expected, "{dialect:?} {query}");
    }
}

/// A word in a dialect's own brackets.
fn written(dialect: Dialect, word: &str) -> String {
    match dialect {
        Dialect::Branch => format!("${{({word})!}}"),
        _ => {
            let (open, close) = dialect.syntaxes()[0].brackets();
            format!("{open}{word}{close}")
        }
    }
}

#[test]
fn every_expression_is_one_of_ours() {
    for dialect in Dialect::ALL {
        for (word, expression) in dialect.words().chain(dialect.link_parameters()) {
            let (template, findings) = UrlTemplate::parse(
                &format!("https://p.example/?v={{{expression}}}"),
                Scope::Postback,
                Dialect::Canonical,
            );
            let wrong: Vec<_> = findings
                .iter()
                .filter(|f| {
                    f.severity == Severity::Error
                        || matches!(f.code, Code::MacroUnknown | Code::FilterOneSide)
                })
                .collect();
            assert!(wrong.is_empty(), "{dialect:?} {word} = {expression}: {wrong:#?}");
            assert!(template.macros().count() > 0, "{dialect:?} {word} = {expression}");
        }
    }
}

#[test]
fn no_word_is_there_twice() {
    for dialect in Dialect::ALL {
        let spelling = dialect.vocabulary().spelling;
        for list in [dialect.words().collect::<Vec<_>>(), dialect.link_parameters().collect()] {
            for (index, (word, _)) in list.iter().enumerate() {
                let again = list[..index].iter().find(|(before, _)| table::is_same(before, word, spelling));
                assert!(again.is_none(), "{dialect:?} has {word} twice: {again:?}");
            }
        }
    }
    for list in [parameters::POSTBACK, parameters::LINK] {
        for (index, (word, _)) in list.iter().enumerate() {
            let again =
                list[..index].iter().find(|(before, _)| table::is_same(before, word, Spelling::Folded));
            assert!(again.is_none(), "{word} is there twice: {again:?}");
        }
    }
}

#[test]
fn every_word_is_read_where_it_is_written() {
    for &dialect in Dialect::ALL {
        if matches!(dialect, Dialect::Canonical | Dialect::Generic) {
            continue;
        }
        for (word, expression) in dialect.words() {
            let text = format!("https://p.example/?v={}", written(dialect, word));
            let (template, findings) = UrlTemplate::parse(&text, Scope::Postback, dialect);
            let first =
                template.macros().next().unwrap_or_else(|| panic!("{dialect:?} does not read {text}"));
            let key = expression.split('|').next().expect("a first piece");
            assert_eq!(
                (first.key.as_str(), first.kind == UseKind::Unknown),
                (key, false),
                "{text}: {findings:#?}"
            );
        }
    }
}

#[test]
fn every_dialect_introduces_itself() {
    for dialect in Dialect::ALL {
        assert!(!dialect.title().is_empty() && dialect.note().ends_with('.'), "{dialect:?}");
        assert!(!dialect.syntaxes().is_empty(), "{dialect:?}");
    }
    let incomplete: Vec<_> = Dialect::ALL.iter().filter(|d| d.is_incomplete()).map(|d| d.as_str()).collect();
    assert_eq!(incomplete, ["airbridge", "tracknow", "kochava", "redtrack", "admitad"]);
}

#[test]
fn linkrunner() {
    check(
        Dialect::Linkrunner,
        &[
            ("{click_id}", "a1b2c3"),
            ("{install_id}", "i-7f3a"),
            ("{event_id}", "evt_01KAHS8Z4N2T7QX5W3R9M6B0CD"),
            ("{event_time}", "1780564904"),
            ("{event_time_iso}", "2026-06-04T09:21:44.120Z"),
            ("{revenue}", "12.50"),
            ("{platform}", "android"),
            ("{sub1}{sub5}", "ae"),
            // Text that is no macro stays.
            ("{gibberish}", "%7Bgibberish%7D"),
        ],
    );
}

#[test]
fn appsflyer() {
    check(
        Dialect::Appsflyer,
        &[
            ("(clickid)", "a1b2c3"),
            ("(pid)", "Acme Ads"),
            ("(campaign)", "summer_uac"),
            ("(c)", "summer_uac"),
            ("(af_c_id)", "4711"),
            ("(af_adset)", "lookalike_2pct"),
            ("(advertiserId)", "38400000-8cf0-11bd-b23e-10b96e40000d"),
            ("(ios-device-id)", "6D92078A-8246-4BA4-AE5B-76104861E7DC"),
            ("(sha1-android-id)", "41e29575c7361b2924f701502ca6d932b45b9e51"),
            ("(android-id)", "9774d56d682e549c"),
            ("(install-unix-ts)", "1780564900"),
            ("(install-ts)", "2026-06-04 09:21:40"),
            ("(click-ts)", "2026-06-04 09:20:04"),
            ("(timestamp)", "1780564904"),
            ("(device-brand)", "Google"),
            ("(device_brand)", "Google"),
            ("(user-agent)", "Mozilla%2F5.0 %28Linux%3B Android 16%29"),
            ("(match-type)", "gp_referrer"),
            ("(attributed-touch-type)", "click"),
            ("(retargeting-conversion-type)", ""),
            ("(gp_referer_click_ts)", "1780564804"),
            ("(event-name)", "purchase"),
            ("(mapped-iae)", "sale"),
            ("(monetary)", "13.60"),
            ("(orig-monetary)", "12.50"),
            ("(blocked-reason)", "returned"),
            ("(reject_reason_value)", "2"),
            ("{event_revenue_USD}", "13.60"),
            ("{event_time}", "2026-06-04 09:21:44"),
            ("{af_sub1}", "a"),
        ],
    );
}

#[test]
fn adjust() {
    check(
        Dialect::Adjust,
        &[
            ("{gps_adid}", "38400000-8cf0-11bd-b23e-10b96e40000d"),
            ("{adid}", "i-7f3a"),
            ("{nonce}", "9f86d081884c7d65"),
            ("{app_token}", "sample"),
            ("{environment}", "production"),
            ("{activity_kind}", "event"),
            ("{event}", "sale"),
            ("{created_at}", "1780564904"),
            ("{click_time}", "1780564804"),
            ("{installed_at}", "1780564900"),
            ("{installed_at_hour}", "1780563600"),
            ("{conversion_duration}", "96"),
            ("{tracker}", "k3x9"),
            ("{network_name}", "Acme Ads"),
            ("{label}", "a"),
            ("{match_type}", "referrer"),
            ("{att_status}", "3"),
            ("{tracking_enabled}", "1"),
            ("{revenue}", "1250"),
            ("{revenue_float}", "12.50"),
            ("{revenue_usd_cents}", "1360"),
            ("{callback_ttl}", "672"),
            ("{click_attribution_window}", "168"),
            ("{rejection_reason}", "returned"),
            ("{iad_keyword}", "shoes"),
            ("{fb_install_referrer_adgroup_name}", "c"),
            // A parameter of the link, by its own name; and a word that others share.
            ("{uid}", "sample"),
            ("{publisher_id}", "34"),
            ("{idfa||gps_adid}", "6D92078A-8246-4BA4-AE5B-76104861E7DC"),
        ],
    );
}

#[test]
fn branch() {
    check(
        Dialect::Branch,
        &[
            ("${(name)!}", "purchase"),
            ("${(customer_event_alias)!}", "sale"),
            ("${(event_timestamp)!}", "1780564904120"),
            ("${(last_attributed_touch_data.~click_id)!}", "a1b2c3"),
            ("${(last_attributed_touch_data.~secondary_publisher)!}", "site-7"),
            ("${(last_attributed_touch_data.colour)!}", "sample"),
            ("${(user_data.aaid)!}", "38400000-8cf0-11bd-b23e-10b96e40000d"),
            ("${(user_data.os)!}", "ANDROID"),
            ("${(event_data.revenue)!}", "12.50"),
            ("${(event_data.transaction_id)!}", "o-1001"),
            ("<#if attributed>1<#else>0</#if>", "1"),
            ("<#if (user_data.limit_ad_tracking)!>0<#else>1</#if>", "1"),
            ("${(days_from_last_attributed_touch_to_event)!}", "0"),
        ],
    );
}

#[test]
fn singular() {
    check(
        Dialect::Singular,
        &[
            ("{CLID}", OURS),
            ("{cl?Network}", "a1b2c3"),
            ("{psid?Network}", "site-7"),
            ("{sub1}", "a"),
            ("{NETWORK}", "Acme Ads"),
            ("{NETWORK=Acme Ads}", "1"),
            ("{NETWORK=Other}", "0"),
            ("{IS_VIEWTHROUGH}", "0"),
            ("{TOUCHPOINT_IP}", "203.0.113.9"),
            ("{AIFA}", "38400000-8cf0-11bd-b23e-10b96e40000d"),
            ("{EVTNAME}", "purchase"),
            ("{AMOUNT}", "12.50"),
            ("{UTC}", "1780564904"),
            ("{UTCM}", "1780564904120"),
            ("{CLICK_UTC}", "1780564804"),
        ],
    );
}

#[test]
fn appmetrica() {
    check(
        Dialect::Appmetrica,
        &[
            ("{click_id}", "a1b2c3"),
            ("{transaction_id}", OURS),
            ("{match_type}", "referrer"),
            ("{click_datetime}", "2026-06-04T09:20:04.000Z"),
            ("{click_timestamp}", "1780564804"),
            ("{conversion_timestamp}", "1780564904"),
            ("{conversion_event_name}", "purchase"),
            ("{install_timestamp}", "1780564900"),
            ("{google_aid}", "38400000-8cf0-11bd-b23e-10b96e40000d"),
            ("{ios_ifv}", "599F9C00-92DC-4B5C-9464-7971F01F8370"),
            ("{profile_id}", "u-2071"),
            ("{app_package_name}", "com.example.shop"),
            ("{ecom_revenue}", "12.50"),
            ("{inapp_validated}", "1"),
            // Every link parameter by its own name.
            ("{my_own}", "sample"),
        ],
    );
}

#[test]
fn airbridge() {
    check(
        Dialect::Airbridge,
        &[
            ("{attributionResult.attributedClickID}", "a1b2c3"),
            ("{device.limitAdTracking}", "false"),
            ("{eventData.isFirstPerDevice}", "true"),
            ("{eventTimestamp}", "1780564904120"),
            ("{@postback.eventName}", "sale"),
            ("{@trackingLink.custom_param1}", "sample"),
        ],
    );
}

#[test]
fn tune() {
    check(
        Dialect::Tune,
        &[
            ("{aff_click_id}", "a1b2c3"),
            ("{publisher_ref_id}", "a1b2c3"),
            ("{aff_sub}{aff_sub5}", "ae"),
            ("{google_aid_md5}", "5756ae9022b2ea1e47d84fead75220c8"),
            ("{ios_ifa_lower}", "6d92078a-8246-4ba4-ae5b-76104861e7dc"),
            ("{ios_ifa_alphanumeric_lower}", "6d92078a82464ba4ae5b76104861e7dc"),
            ("{conversion_timestamp}", "1780564904"),
            ("{conversion_timestamp_milliseconds}", "1780564904120"),
            ("{conversion_timestamp_date}", "2026-06-04"),
            ("{install_timestamp_datetime}", "2026-06-04 09:21:40"),
            ("{revenue_in_usd}", "13.60"),
            ("{is_view_through}", "0"),
            ("{is_first_event}", "1"),
        ],
    );
    check_queries(
        Dialect::Tune,
        Scope::Postback,
        &[
            // Its own click id; but where it wants to be called, that word is the partner's.
            ("tid={transaction_id}", &format!("tid={OURS}")),
            ("transaction_id={transaction_id}", "transaction_id=a1b2c3"),
        ],
    );
}

#[test]
fn affiliate_platforms() {
    check(
        Dialect::Trackier,
        &[
            ("{p1}", "a1b2c3"),
            ("{p10}", "j"),
            ("{click_id}", OURS),
            ("{install_time}", "2026-06-04 09:21:40"),
            ("{install_time_unix}", "1780564900"),
            ("{install_date_ymd}", "2026-06-04"),
        ],
    );
    check(
        Dialect::Everflow,
        &[
            ("{sub1}", "a1b2c3"),
            ("{sub2}", "b"),
            ("{transaction_id}", OURS),
            ("{payout_amount}", "2.00"),
            ("{sale_amount}", "12.50"),
            ("{event_id}", "sale"),
            ("{order_id}", "o-1001"),
        ],
    );
    check(
        Dialect::Affise,
        &[
            ("{sub1}", "a1b2c3"),
            ("{sub3}", "c"),
            ("{sub30}", "sample"),
            ("{clickid}", OURS),
            ("{transactionid}", "cnv_01KAHS8Z4N2T7QX5W3R9M6B0CD"),
            ("{sum}", "2.00"),
            ("{status}", "1"),
            ("{date}", "2026-06-04 09:21:44"),
        ],
    );
    check(
        Dialect::Scaleo,
        &[("{aff_click_id}", "a1b2c3"), ("{click_id}", OURS), ("{conv_status}", "approved")],
    );
    check(
        Dialect::Cake,
        &[("#s2#", "a1b2c3"), ("#s1#", "a"), ("#price#", "2.00"), ("#tid#", "o-1001"), ("#reqid#", OURS)],
    );
    check(Dialect::Tracknow, &[("{click_id}", "a1b2c3"), ("{ref_id}", "12"), ("{custom1}", "k")]);
    check(
        Dialect::Admitad,
        &[("[[[subid]]]", "a1b2c3"), ("[[[payment_sum]]]", "2.00"), ("[[[order_sum]]]", "12.50")],
    );
}

#[test]
fn without_a_click_id_the_sub_parameter_is_given_back() {
    let given = &[("partner_click_id", "")];
    for (dialect, query) in [
        (Dialect::Affise, "v={sub1}"),
        (Dialect::Everflow, "v={sub1}"),
        (Dialect::Trackier, "v={p1}"),
        (Dialect::Generic, "clickid={sub1}"),
    ] {
        assert!(fill(dialect, Scope::Postback, query, given).ends_with("=a"), "{dialect:?}");
    }
    assert_eq!(fill(Dialect::Cake, Scope::Postback, "v=#s2#", given), "v=b");
}

#[test]
fn trackers() {
    check(
        Dialect::Keitaro,
        &[
            ("{external_id}", "a1b2c3"),
            ("{subid}", OURS),
            ("{sub_id_3}", "c"),
            ("{sub_id_14}", "sample"),
            ("{status}", "sale"),
            ("{status:lead=0 sale=1}", "1"),
            ("{conversion_revenue}", "2.00"),
            ("{tid}", "o-1001"),
            // A word of somebody else's.
            ("{access_token}", "sample"),
        ],
    );
    check_queries(
        Dialect::Keitaro,
        Scope::Postback,
        &[("subid={subid}&payout={payout}", "subid=a1b2c3&payout=2.00")],
    );
    check(Dialect::Binom, &[("{externalid}", "a1b2c3"), ("{clickid}", OURS), ("{t2}", "b")]);
    check(Dialect::Redtrack, &[("{ref_id}", "a1b2c3"), ("{sub2}", "b"), ("{sum}", "2.00")]);
    for dialect in [Dialect::Voluum, Dialect::Bemob] {
        check(dialect, &[("{externalid}", "a1b2c3"), ("{externalId}", "a1b2c3"), ("{clickId}", OURS)]);
        check_queries(
            dialect,
            Scope::Postback,
            &[
                ("cid=REPLACE&payout=OPTIONAL&txid=OPTIONAL", "cid=a1b2c3&payout=2.00&txid=o-1001"),
                ("cid=REPLACE&currency=usd&et=status", "cid=a1b2c3&currency=usd&et=status"),
                ("colour=REPLACE", "colour=REPLACE"),
            ],
        );
    }
    check(
        Dialect::Kochava,
        &[("{click_id}", "a1b2c3"), ("{network_id}", "sample"), ("{partner_campaign_name}", "summer_uac")],
    );
}

#[test]
fn shared_words() {
    check(
        Dialect::Generic,
        &[
            ("{clickid}", "a1b2c3"),
            ("{CLICK-ID}", "a1b2c3"),
            ("{{clickId}}", "a1b2c3"),
            ("${CLICK_ID}", "a1b2c3"),
            ("__CLICKID__", "a1b2c3"),
            ("[clickid]", "a1b2c3"),
            ("##CLICK_ID##", "a1b2c3"),
            ("%clickid%", "a1b2c3"),
            ("{bv_clickid}", "a1b2c3"),
            ("{gclid}", "sample"),
            ("{subid3}", "c"),
            ("{aff_sub2}", "b"),
            ("{sub_id_7}", "g"),
            ("{idfa|gaid}", "6D92078A-8246-4BA4-AE5B-76104861E7DC"),
            ("{amount}", "12.50"),
            ("{payment}", "2.00"),
            ("{goal}", "registration"),
            ("{api_key}", "sample"),
            ("{utm_campaign}", "summer_uac"),
            ("{device.os}", "android"),
            ("{S_COUNTRY_CODE}", "DE"),
            ("{YOUR_MACRO_FOR_GOOGLE_AD_ID}", "38400000-8cf0-11bd-b23e-10b96e40000d"),
            ("{frobnicated}", "%7Bfrobnicated%7D"),
        ],
    );
}

#[test]
fn the_parameter_decides_what_the_word_leaves_open() {
    check_queries(
        Dialect::Generic,
        Scope::Postback,
        &[
            ("subid={ymid}", "subid=a1b2c3"),
            ("clickid={tid}&tid={tid}", "clickid=a1b2c3&tid=cnv_01KAHS8Z4N2T7QX5W3R9M6B0CD"),
            ("payout={amount}&amount={amount}", "payout=2.00&amount=12.50"),
            ("payout={sum}", "payout=2.00"),
            (
                "currency={foo}&status={bar}&ifa={baz}",
                "currency=EUR&status=approved&ifa=38400000-8cf0-11bd-b23e-10b96e40000d",
            ),
            ("tracking_enabled={0|1}&dnt={0|1}", "tracking_enabled=1&dnt=0"),
            ("token={replace}&aid=[put_userID]", "token=sample&aid=sample"),
            // Brackets that text can have are macros only around a word that is known.
            ("clickid=Level (hard)", "clickid=Level (hard)"),
            ("data[sub]={sub2}", "data[sub]=b"),
        ],
    );
}

#[test]
fn on_a_link_the_parameter_comes_first() {
    let kinds = |dialect: Dialect, query: &str| -> BTreeMap<String, String> {
        let (template, _) = UrlTemplate::parse(&format!("https://t.example/?{query}"), Scope::Link, dialect);
        template.macros().map(|used| (used.text.clone(), used.key.clone())).collect()
    };
    for (dialect, query, word, key) in [
        (Dialect::Keitaro, "external_id={BV_CLICKID}", "{BV_CLICKID}", "partner_click_id"),
        (Dialect::Keitaro, "cost={{price}}", "{{price}}", "cost_value"),
        (Dialect::Keitaro, "creative_id=__ACCOUNT_ID__", "__ACCOUNT_ID__", "creative_id"),
        (Dialect::Keitaro, "sub_id_2={domain}", "{domain}", "sub2"),
        (Dialect::Keitaro, "source=%SITE_ID%", "%SITE_ID%", "site_id"),
        (Dialect::Appsflyer, "c={OFFER}", "{OFFER}", "campaign"),
        (Dialect::Appsflyer, "clickid={transaction_id}", "{transaction_id}", "partner_click_id"),
        (Dialect::Linkrunner, "c={OFFER}", "{OFFER}", "campaign_id"),
        (Dialect::Singular, "cl={x}", "{x}", "partner_click_id"),
        (Dialect::Branch, "~secondary_publisher={site}", "{site}", "site_id"),
        (Dialect::Adjust, "molo_click_id={{mtid}}", "{{mtid}}", "partner_click_id"),
        (Dialect::Generic, "whatever={agegroup}", "{agegroup}", "age"),
        (Dialect::Generic, "whatever={feature}", "{feature}", "param.whatever"),
        (Dialect::Generic, "action={action}", "{action}", "param.action"),
        (Dialect::Generic, "campaign={campaign.id}", "{campaign.id}", "campaign_id"),
        (Dialect::Generic, "utm_content={adid}", "{adid}", "ad_id"),
        (Dialect::Generic, "bid={bannerid}", "{bannerid}", "creative_id"),
        (Dialect::Generic, "bid={bid}", "{bid}", "cost_value"),
        (Dialect::Generic, "os={os_version}", "{os_version}", "os_version"),
        (Dialect::Generic, "pid=__PLAN_ID__", "__PLAN_ID__", "param.pid"),
        (Dialect::Generic, "net={network}", "{network}", "param.net"),
        (Dialect::Generic, "adset=__UNIT_ID__", "__UNIT_ID__", "ad_group"),
        (Dialect::Generic, "visitor_id=${SUBID}", "${SUBID}", "partner_click_id"),
        (Dialect::Generic, "cn={campaign_name_lat}", "{campaign_name_lat}", "param.cn"),
    ] {
        assert_eq!(kinds(dialect, query).get(word).map(String::as_str), Some(key), "{dialect:?} {query}");
    }
}

#[test]
fn words_of_networks_that_nobody_listed() {
    check_queries(
        Dialect::Generic,
        Scope::Postback,
        &[
            // Units and forms: behind the word stands which.
            ("t={conversion_time_ms}&u={conversion_datetime_unix}", "t=1780564904120&u=1780564904"),
            ("t={click_timestamp_iso}", "t=2026-06-04T09:20:04.000Z"),
            ("h={hashed_idfa}", "h=2afcf919a0c1953d177fcb412ea65138b44b4a42dda7d322225811767c0c530c"),
            ("p={payout_cents}", "p=200"),
            // A slot says what it wants where the word is for something else.
            ("cid={utm_term}", "cid=a1b2c3"),
            ("payout={cost}", "payout=2.00"),
            ("lead={id}&cid={id}", "lead=cnv_01KAHS8Z4N2T7QX5W3R9M6B0CD&cid=a1b2c3"),
            // What belongs to the account is no click id and no device id.
            ("CID={ENTERPRISE_ID}&advid={mdotm_advid}", "CID=sample&advid=sample"),
            ("uid={user.externalUserID}", "uid=u-2071"),
            ("a={snap_token}&b={my_click_token}", "a=sample&b=a1b2c3"),
            // Click ids of networks under their own names.
            ("a={awc}&b={mtid}&c={dynamic_parameter}&d={callback}", "a=sample&b=a1b2c3&c=a1b2c3&d=a1b2c3"),
            ("a={pkg}&b={order_reference}&c={cancel_reason}", "a=com.example.shop&b=o-1001&c=returned"),
            ("a={campaign_name_lat}", "a=%7Bcampaign_name_lat%7D"),
            ("t={click_ts_ms}", "t=1780564804000"),
            ("a={blocked_reason_value}&status={state}&b={state}", "a=2&status=approved&b=BE"),
            ("user_id={uid}&x={ml_sub2}&y={placement_identifier}", "user_id=u-2071&x=b&y=feed"),
            (
                "y={year}-{month}-{day}T{hour}&t={tax_amount}&u={p.amount}",
                "y=2026-06-04T09&t=%7Btax_amount%7D&u=12.50",
            ),
            ("a=${encodeURIComponent(click_id)}&b=Size(country)", "a=a1b2c3&b=Size(country)"),
        ],
    );
    check(Dialect::Tune, &[("{my_campaign}", "summer_uac"), ("{my_site}", "site-7")]);
    check(
        Dialect::Kochava,
        &[
            ("{adid}", "38400000-8cf0-11bd-b23e-10b96e40000d"),
            ("{kochava_device_id}", "i-7f3a"),
            ("{tracker_id}", "k3x9"),
        ],
    );
    check(Dialect::Singular, &[("{TOUCHPOINT_TIMESTAMP}", "1780564804")]);
    check(Dialect::Adjust, &[("{my_param}", "sample")]);
    check(Dialect::Everflow, &[("{oid}", "56")]);
    check(
        Dialect::Airbridge,
        &[("{eventData.goal.category}", "purchase"), ("{eventData.goal.value}", "12.50")],
    );
    check(Dialect::Admitad, &[("[[[action]]]", "purchase"), ("[[[reward_ready]]]", "1")]);
    check(Dialect::Keitaro, &[("{random:1,99}", "324a12ed6567560f"), ("{offer_value:price}", "56")]);
}

#[test]
fn brackets_that_hold_more_than_a_word() {
    check(
        Dialect::Generic,
        &[
            ("##SUB_ID_SHORT(action)##", "a1b2c3"),
            ("%%DEVICE_ID%%", "38400000-8cf0-11bd-b23e-10b96e40000d"),
            ("{{${user_id}}}", "u-2071"),
            ("{{event_properties.${event_name}}}", "purchase"),
            ("{{ custom_attribute.${click_id} | default: 'none' }}", "a1b2c3"),
            ("{{ click_id }}", "a1b2c3"),
            ("{{ x y }}", "%7B%7B x y %7D%7D"),
            ("{country:US}", "DE"),
        ],
    );
    let given = &[("keyword", ""), ("param.v", "")];
    for (query, expected) in [("v={keyword:shoes}", "v=shoes"), ("v={ifmobile:m}", "v=m")] {
        assert_eq!(fill(Dialect::Generic, Scope::Link, query, given), expected);
    }
}
