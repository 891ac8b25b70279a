//! Tables of what is a macro in which syntax, and of what is text.

use super::super::expression::Subject;
use super::*;

/// Pieces as text: a macro as `«text=keys»`, its filters behind each key.
fn show(pieces: &[Piece<'_>]) -> String {
    let mut shown = String::new();
    for piece in pieces {
        match piece {
            Piece::Literal { text, .. } => shown.push_str(text),
            Piece::Macro { expression, .. } => {
                shown.push_str(&format!("«{}=", expression.text));
                for (index, one) in expression.alternatives.iter().enumerate() {
                    let bar = if index > 0 { "||" } else { "" };
                    let loose = if one.subject == Subject::Loose { "?" } else { "" };
                    let filters =
                        if one.filters.is_empty() { String::new() } else { format!("|{:?}", one.filters) };
                    shown.push_str(&format!("{bar}{}{loose}{filters}", one.key));
                }
                shown.push('»');
            }
        }
    }
    shown
}

fn own() -> Meanings {
    [
        ("x", "sub1"),
        ("X", "sub1"),
        ("s2", "sub2"),
        ("s3", "sub3"),
        ("a.b.c", "sub4"),
        ("@a.b", "sub5"),
        ("CLICK_ID", "click_id"),
        ("ad_id", "ad_id"),
        ("cafe", "campaign"),
        ("ifa", "idfa||gaid"),
        ("status", "event_name"),
        ("date", "event_time|date:%Y"),
        ("token", "cfg.token"),
        ("later", "latitude"),
        ("a.~c", "click_id"),
        ("lat", "att_status"),
    ]
    .into_iter()
    .map(|(word, meaning)| (word.to_owned(), meaning.to_owned()))
    .collect()
}

fn reader(macros: &Meanings, dialect: Dialect) -> Reader<'_> {
    Reader::url(dialect, macros, Scope::Postback)
}

#[track_caller]
fn check_in(dialect: Dialect, syntaxes: &[Syntax], query: &str, expected: &str, codes: &[&str]) {
    let macros = own();
    let head = "https://p.example/a?v=";
    let text = format!("{head}{query}");
    let mut findings = Findings::default();
    let pieces = reader(&macros, dialect).scan_with(&text, syntaxes, &mut findings);
    let shown = show(&pieces);
    assert_eq!(shown.strip_prefix(head), Some(expected), "of {query} in {dialect:?}");
    let found: Vec<_> = findings.into_vec().iter().map(|finding| finding.code.as_str()).collect();
    assert_eq!(found, codes, "of {query}");
}

/// Checks a value in the query, read by the syntaxes of all brackets.
#[track_caller]
fn check(query: &str, expected: &str, codes: &[&str]) {
    check_in(Dialect::Generic, Syntax::BRACKETS, query, expected, codes);
}

#[test]
fn each_syntax_alone() {
    for (syntax, text) in [
        (Syntax::Brace, "{x}"),
        (Syntax::DoubleBrace, "{{x}}"),
        (Syntax::DollarBrace, "${x}"),
        (Syntax::BraceDollar, "{$x}"),
        (Syntax::HashBrace, "#{x}"),
        (Syntax::PercentBrace, "%{x}"),
        (Syntax::Round, "(x)"),
        (Syntax::Square, "[x]"),
        (Syntax::DoubleSquare, "[[x]]"),
        (Syntax::TripleSquare, "[[[x]]]"),
        (Syntax::Hash, "#x#"),
        (Syntax::DoubleHash, "##x##"),
        (Syntax::Percent, "%x%"),
        (Syntax::Underscores, "__x__"),
        (Syntax::Angle, "<x>"),
        (Syntax::Bare, "x"),
        (Syntax::FreeMarker, "${(x)!}"),
    ] {
        let expected = format!("«{text}=sub1»");
        check_in(Dialect::Generic, &[syntax], text, &expected, &[]);
        check_in(Dialect::Generic, &[syntax], &format!("{text}&b=1"), &format!("{expected}&b=1"), &[]);
        if syntax != Syntax::FreeMarker {
            check(text, &expected, &[]);
        }
        // No part of a text without such brackets is a macro.
        check_in(Dialect::Generic, &[syntax], "1(2)[3]{4", "1(2)[3]{4", &[]);
    }
    check_in(Dialect::Generic, &[Syntax::Brace], "{a.b.c}{@a.b}", "«{a.b.c}=sub4»«{@a.b}=sub5»", &[]);
}

#[test]
fn longest_brackets_come_first() {
    check("[[[x]]]", "«[[[x]]]=sub1»", &[]);
    check("##X##", "«##X##=sub1»", &[]);
    check("{{x}}", "«{{x}}=sub1»", &[]);
    check("${x}", "«${x}=sub1»", &[]);
    check_in(Dialect::Tune, &[Syntax::Brace], "{{x}}", "{«{x}=sub1»}", &["macro_syntax_foreign"]);
    check_in(Dialect::Tune, &[Syntax::Brace], "${x}", "$«{x}=sub1»", &["macro_syntax_foreign"]);
    check_in(Dialect::Cake, &[Syntax::Square], "[[x]]", "[«[x]=sub1»]", &["macro_syntax_foreign"]);
}

#[test]
fn macros_glued_together() {
    check_in(Dialect::Cake, &[Syntax::Hash], "#s2##s3#", "«#s2#=sub2»«#s3#=sub3»", &[]);
    check("#s2##s3#", "«#s2#=sub2»«#s3#=sub3»", &[]);
    check("##X##,##X##", "«##X##=sub1»,«##X##=sub1»", &[]);
    check("__X____X__", "«__X__=sub1»«__X__=sub1»", &[]);
    check("%CLICK_ID%%ad_id%", "«%CLICK_ID%=partner_click_id»«%ad_id%=ad_id»", &[]);
    check("{x}_[X]", "«{x}=sub1»_«[X]=sub1»", &[]);
    check("(x)(X)", "«(x)=sub1»«(X)=sub1»", &[]);
}

#[test]
fn percent_signs_are_escapes_first() {
    check("a%20b%20c", "a%20b%20c", &[]);
    // `%ca` is an escape, and so is `%20`: text, though `cafe` is known.
    check("%cafe%20", "%cafe%20", &[]);
    check("%cafe%", "«%cafe%=campaign»", &[]);
    check("%ad_id%", "«%ad_id%=ad_id»", &[]);
    check("%ad_xy%", "%ad_xy%", &[]);
    check("%unknown_word%", "«%unknown_word%=param.unknown_word?»", &["macro_unknown"]);
    check("100%&b=5%", "100%&b=5%", &[]);
    check("%C3%BC", "%C3%BC", &[]);
    check("%CLICK_ID%20", "«%CLICK_ID%=partner_click_id»20", &[]);
    check("%NOBODY%20", "%NOBODY%20", &[]);
    check("%{x}%20", "«%{x}=sub1»%20", &[]);
}

#[test]
fn hashes_are_fragments_first() {
    check("1#top", "1#top", &[]);
    check("1#top#", "1#top#", &[]);
    check("#nobody#", "«#nobody#=param.nobody?»", &["macro_unknown"]);
    check("#s2#&b=1#top", "«#s2#=sub2»&b=1#top", &[]);
    // In a path it is the fragment that holds a macro.
    let macros = own();
    let mut findings = Findings::default();
    let read = |text: &'static str, findings: &mut Findings| {
        show(&reader(&macros, Dialect::Generic).scan_with(text, Syntax::BRACKETS, findings))
    };
    assert_eq!(read("https://p.example/#{x}", &mut findings), "https://p.example/#«{x}=sub1»");
    assert_eq!(read("https://p.example/#{x}/a", &mut findings), "https://p.example/«#{x}=sub1»/a");
    assert_eq!(read("https://p.example/?a=1#b#{x}", &mut findings), "https://p.example/?a=1#b#«{x}=sub1»");
}

#[test]
fn brackets_of_ordinary_text_stay() {
    check("1&data[x]=2", "1&data[x]=2", &[]);
    check("1&f(x)=2", "1&f(x)=2", &[]);
    check("1&a[]=2", "1&a[]=2", &[]);
    check("Mozilla (Linux) [en]", "Mozilla (Linux) [en]", &[]);
    check("pre__nobody__post", "pre__nobody__post", &[]);
    check("pre__X__", "pre__X__", &[]);
    check("__X__post", "__X__post", &[]);
    check("a <b> c", "a <b> c", &[]);
    // A whole value in brackets is meant, even if nobody knows it; it is sent as it is.
    check("[NOBODY]", "«[NOBODY]=param.NOBODY?»", &["macro_unknown"]);
    check("(NOBODY)", "«(NOBODY)=param.NOBODY?»", &["macro_unknown"]);
    check("__NOBODY__", "«__NOBODY__=param.NOBODY?»", &["macro_unknown"]);
    check("<NOBODY>", "«<NOBODY>=param.NOBODY?»", &["macro_unknown"]);
    // So is a glued one, in a dialect that has those brackets.
    check_in(
        Dialect::Appsflyer,
        &[Syntax::Round],
        "a(NOBODY)",
        "a«(NOBODY)=param.NOBODY?»",
        &["macro_unknown"],
    );
    // Macros in a parameter's name.
    check("1&event_callback_{x}=2", "1&event_callback_«{x}=sub1»=2", &[]);
    check("1&##X##=2", "1&«##X##=sub1»=2", &[]);
}

#[test]
fn bare_words_are_whole_values() {
    let bare = &[Syntax::Bare];
    check_in(Dialect::Voluum, bare, "CLICK_ID", "«CLICK_ID=partner_click_id»", &[]);
    check_in(Dialect::Voluum, bare, "CLICK_ID&a=X", "«CLICK_ID=partner_click_id»&a=«X=sub1»", &[]);
    check_in(Dialect::Voluum, bare, "CLICK_IDS", "CLICK_IDS", &[]);
    check_in(Dialect::Voluum, bare, "my-CLICK_ID", "my-CLICK_ID", &[]);
    check_in(Dialect::Voluum, bare, "CLICK_ID,X", "CLICK_ID,X", &[]);
    check_in(Dialect::Voluum, bare, "NOBODY", "NOBODY", &[]);
    check_in(Dialect::Voluum, bare, "1&CLICK_ID=2", "1&CLICK_ID=2", &[]);
    let macros = own();
    let mut findings = Findings::default();
    let read = |text| show(&reader(&macros, Dialect::Voluum).scan_with(text, bare, &mut findings));
    assert_eq!(["https://X/X/a/X?X"].map(read), ["https://X/«X=sub1»/a/«X=sub1»?X"]);
}

#[test]
fn what_stands_behind_a_word() {
    let brace = &[Syntax::Brace];
    let keitaro = |query: &str, expected: &str, codes: &[&str]| {
        check_in(Dialect::Keitaro, brace, query, expected, codes);
    };
    let map = r#"event_name|[Map { pairs: [("lead", "reg"), ("sale", "dep")], other: None }]"#;
    for text in [
        "{status: lead=reg sale=dep}",
        "{status:lead=reg sale=dep}",
        "{status:lead=reg%20sale=dep}",
        "{status: lead=reg+sale=dep}",
    ] {
        keitaro(text, &format!("«{text}={map}»"), &[]);
    }
    keitaro("{_x}", "«{_x}=sub1|[Raw]»", &[]);
    keitaro("{x:raw}", "«{x:raw}=sub1|[Raw]»", &[]);
    keitaro("{_nobody}", "«{_nobody}=param.nobody?|[Raw]»", &["macro_unknown"]);
    keitaro("{x:nonsense}", "{x:nonsense}", &["macro_malformed"]);
    check("{url(x)}", "«{url(x)}=sub1»", &[]);
    check("{p:x}", "«{p:x}=sub1»", &[]);
    check("{p:zzq}", "«{p:zzq}=param.zzq?»", &["macro_unknown"]);
    check("{x?Network}", "«{x?Network}=sub1»", &[]);
    check("{zzq?Network}", "«{zzq?Network}=param.zzq?»", &["macro_unknown"]);
    check(
        "{X=Some Name}",
        r#"«{X=Some Name}=sub1|[Map { pairs: [("Some Name", "1")], other: Some("0") }]»"#,
        &[],
    );
    // Each alternative is asked: the first maps nothing to nothing.
    check(
        "{ifa=1}",
        r#"«{ifa=1}=idfa|[Map { pairs: [("", ""), ("1", "1")], other: Some("0") }]||gaid|[Map { pairs: [("1", "1")], other: Some("0") }]»"#,
        &[],
    );
    check("{x|sha1}", "«{x|sha1}=sub1|[Sha1]»", &[]);
    check("{ifa|md5}", "«{ifa|md5}=idfa|[Md5]||gaid|[Md5]»", &[]);
    check("{ifa|default:0}", r#"«{ifa|default:0}=idfa||gaid|[Default("0")]»"#, &[]);
    check("{x||s2|sha1}", "«{x||s2|sha1}=sub1||sub2|[Sha1]»", &["filter_one_side"]);
    check("{x|s2}", "«{x|s2}=sub1||sub2»", &["macro_bar"]);
    check("{x|s2|md5}", "«{x|s2|md5}=sub1||sub2|[Md5]»", &["macro_bar", "filter_one_side"]);
    check("{x|nobody}", "«{x|nobody}=sub1|[Broken]»", &["filter_unknown"]);
    check("{token}", "«{token}=cfg.token»", &[]);
    check("{cfg.other}{param.y}", "«{cfg.other}=cfg.other»«{param.y}=param.y»", &[]);
    check("{later}", "«{later}=latitude»", &["macro_not_filled"]);
}

#[test]
fn a_format_after_a_time_replaces_the_usual_one() {
    let macros = own();
    for text in ["{date:%H}", "{date:H}"] {
        let mut findings = Findings::default();
        let query = format!("https://p.example/?d={text}");
        let pieces = reader(&macros, Dialect::Keitaro).scan_with(&query, &[Syntax::Brace], &mut findings);
        let Some(Piece::Macro { expression, .. }) = pieces.get(1) else { panic!("{pieces:?}") };
        assert_eq!(expression.alternatives[0].filters.len(), 1, "{text}");
        assert!(findings.into_vec().is_empty(), "{text}");
    }
}

#[test]
fn odd_braces_are_text() {
    check("{", "{", &[]);
    check("{x", "{x", &["macro_unclosed"]);
    check("{x&b={x}", "{x&b=«{x}=sub1»", &["macro_unclosed"]);
    check("{}{ }{\"a\":1}", "{}{ }{\"a\":1}", &[]);
    check("{0|1}", "{0|1}", &["macro_malformed"]);
    check("{x||}", "{x||}", &["macro_malformed"]);
    check("{x&y}", "{x&y}", &["macro_malformed"]);
    check("[x", "[x", &[]);
    check("(x", "(x", &[]);
    check("[[x]", "[«[x]=sub1»", &[]);
    check("{nobody knows}", "«{nobody knows}=param.nobody knows?»", &["macro_unknown"]);
    check("{zzq-zzq}", "«{zzq-zzq}=param.zzq-zzq?»", &["macro_unknown"]);
}

#[test]
fn free_marker() {
    let check = |query: &str, expected: &str, codes: &[&str]| {
        check_in(Dialect::Branch, &[Syntax::FreeMarker, Syntax::Brace], query, expected, codes);
    };
    check("${(a.~c)!}", "«${(a.~c)!}=partner_click_id»", &[]);
    check("${a.~c}", "«${a.~c}=partner_click_id»", &[]);
    check("${a.~c!}&b=1", "«${a.~c!}=partner_click_id»&b=1", &[]);
    check("${(x)!\"a}b,c\"}", "«${(x)!\"a}b,c\"}=sub1|[Default(\"a}b,c\")]»", &[]);
    check("${(x)!'d'}", "«${(x)!'d'}=sub1|[Default(\"d\")]»", &[]);
    check("${(x)!0}", "«${(x)!0}=sub1|[Default(\"0\")]»", &[]);
    check("${x?lower_case?url}", "«${x?lower_case?url}=sub1|[Lower]»", &[]);
    check("${(no.body)!}", "«${(no.body)!}=param.no.body?»", &["macro_unknown"]);
    let map = |yes: &str, no: &str| {
        format!(
            r#"[Map {{ pairs: [("", "{no}"), ("0", "{no}"), ("false", "{no}")], other: Some("{yes}") }}]"#
        )
    };
    for (text, yes, no) in [
        ("<#if lat>1<#else>0</#if>", "1", "0"),
        ("<#if (lat)!>0<#else>1</#if>", "0", "1"),
        ("<#if !lat>1<#else>0</#if>", "0", "1"),
        ("<#if lat>yes</#if>", "yes", ""),
    ] {
        check(text, &format!("«{text}=att_status|{}»", map(yes, no)), &[]);
    }
    let text = "<#if (lat)??>1<#else>0</#if>";
    check(text, &format!(r#"«{text}=att_status|[Map {{ pairs: [("", "0")], other: Some("1") }}]»"#), &[]);
    for odd in [
        "<#list a as b>${b}</#list>",
        "<#if a><#if b>1</#if></#if>",
        "<#if x>${x}<#else>0</#if>",
        "<#if a gt 3>1</#if>",
        "<#if a>1<#elseif b>2</#if>",
        "${a + b}",
        "${",
        "${x?md5}",
        "${x!\"a\\\"b\"}",
    ] {
        let macros = own();
        let text = format!("https://p.example/?v={odd}");
        let mut findings = Findings::default();
        let syntaxes = &[Syntax::FreeMarker, Syntax::Brace];
        let pieces = reader(&macros, Dialect::Branch).scan_with(&text, syntaxes, &mut findings);
        let has_known = pieces.iter().any(|piece| {
            matches!(piece, Piece::Macro { expression, .. } if expression.alternatives[0].subject != Subject::Loose)
        });
        assert!(!has_known, "{odd}: {}", show(&pieces));
        assert_eq!(findings.worst().map(|finding| finding.code), Some(Code::MacroMalformed), "{odd}");
    }
}

#[test]
fn unknown_words_of_hosts_and_generic_paths_are_settings() {
    let macros = own();
    let read = |dialect, text: &str| {
        let mut findings = Findings::default();
        let shown = show(&reader(&macros, dialect).scan_with(text, Syntax::BRACKETS, &mut findings));
        let codes: Vec<_> = findings.into_vec().iter().map(|finding| finding.code.as_str()).collect();
        (shown, codes.join(" "))
    };
    for (dialect, text, expected, codes) in [
        (
            Dialect::Affise,
            "https://offers-{Name}.affise.com/p?c={x}",
            "https://offers-«{Name}=cfg.name».affise.com/p?c=«{x}=sub1»",
            "macro_became_setting",
        ),
        (
            Dialect::Keitaro,
            "http://{domain}/{Zzq-Zzq}/p",
            "http://«{domain}=cfg.domain»/«{Zzq-Zzq}=param.Zzq-Zzq?»/p",
            "macro_became_setting macro_unknown",
        ),
        (
            Dialect::Generic,
            "https://p.example/games/[ZZQ_ZZ]/install/{x}",
            "https://p.example/games/«[ZZQ_ZZ]=cfg.zzq_zz»/install/«{x}=sub1»",
            "macro_became_setting",
        ),
        (Dialect::Tune, "{base}/a", "«{base}=cfg.base»/a", "macro_became_setting"),
        (Dialect::Tune, "https://{x}.p.example/", "https://«{x}=sub1».p.example/", ""),
        (Dialect::Tune, "https://[::1]/", "https://[::1]/", ""),
        (Dialect::Canonical, "https://{y}.p.example/", "https://«{y}=param.y?».p.example/", "macro_unknown"),
        (
            Dialect::Singular,
            "https://p.example/?a={{x_id}}",
            "https://p.example/?a=«{{x_id}}=cfg.x_id»",
            "macro_became_setting",
        ),
    ] {
        assert_eq!(read(dialect, text), (expected.to_owned(), codes.to_owned()), "of {text}");
    }
}

#[test]
fn words_are_asked_for_with_where_they_stand() {
    let text = "https://h.example/seg/?a%20b=1{x}&c+d={y}&{z}=1&p_{q}=r#f";
    let mut position = Position::new(text, Shape::Url);
    let mut at = |needle: &str| {
        let at = text.find(needle).unwrap();
        position.advance(at);
        let shown = (position.place(), position.parameter(), position.is_in_name());
        if needle.starts_with('{') {
            position.skip(at + needle.len());
        }
        shown
    };
    assert_eq!(at("h.ex"), (Some(Place::Host), None, false));
    assert_eq!(at("seg"), (Some(Place::Path), None, false));
    assert_eq!(at("{x}"), (Some(Place::Query), Some("a b".into()), false));
    assert_eq!(at("{y}"), (Some(Place::Query), Some("c d".into()), false));
    assert_eq!(at("{z}"), (Some(Place::Query), None, true));
    assert_eq!(at("{q}"), (Some(Place::Query), None, true));
    assert_eq!(at("r#"), (Some(Place::Query), None, false));
    position.advance(text.len());
    assert_eq!((position.place(), position.value()), (Some(Place::Fragment), None));
}

mod properties {
    use super::super::super::{
        Body, Parts, Rendered, Sending, Template, URL_BYTES_MAX, UrlTemplate, Value, Values,
    };
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    /// Text that is likely to be nearly a template in some dialect.
    fn scraps() -> impl Strategy<Value = String> {
        let scrap = prop_oneof![
            3 => "[a-zA-Z0-9/?&=#:@.%;~$_-]{0,6}",
            1 => "\\PC{0,3}",
            1 => "[\\x00-\\x20\"\\\\<>`^|\\[\\]]{0,3}",
            4 => prop::sample::select(
                &["{", "}", "{{", "}}", "${", "#{", "%{", "(", ")", "[", "]", "[[", "]]", "[[[", "]]]", "#", "##", "%",
                  "__", "<", ">", "|", "||", "\\", ":", "!", "?", "&", "=", "%20", "%7B", "%7D", "%257B", "%257D",
                  "<#if ", "<#else>", "</#if>", "https://", "https%3A%2F%2F", "&u=https%3A%2F%2Fa%3F"][..]
            ).prop_map(str::to_owned),
            4 => prop::sample::select(
                &["click_id", "clickid", "sub1", "x", "s2", "CLICK_ID", "cafe", "REPLACE", "cfg.x", "a.~c", "status", "idfa",
                  "aff_click_id", "event-name", "(name)!", "status: lead=1 sale=2", "date:Y-m-d,UTC", "gaid|sha1", "nobody"][..]
            ).prop_map(str::to_owned),
            3 => prop::sample::select(
                &["{clickid}", "(clickid)", "#s2##s3#", "__CLICK_ID__", "%CLICK_ID%", "[[[subid]]]", "##CLICK_ID##",
                  "${(name)!}", "<#if attributed>1<#else>0</#if>", "{_subid}", "{cl?Network}", "{url(sid)}",
                  "&cb=https%3A%2F%2Fa.example%3Fc%3D%7Bclick_id%7D", "&c=REPLACE"][..]
            ).prop_map(str::to_owned),
        ];
        vec(scrap, 0..12).prop_map(|scraps| scraps.concat())
    }

    fn dialects() -> impl Strategy<Value = Dialect> {
        prop::sample::select(Dialect::ALL)
    }

    fn joined(pieces: &[Piece<'_>]) -> (String, bool) {
        let (mut text, mut in_place) = (String::new(), true);
        for piece in pieces {
            let (at, piece) = match piece {
                Piece::Literal { at, text } => (*at, *text),
                Piece::Macro { at, expression } => (*at, expression.text.as_str()),
            };
            in_place &= at == text.len();
            text.push_str(piece);
        }
        (text, in_place)
    }

    struct Everything;

    impl Values for Everything {
        fn get(&self, name: &str) -> Option<Value<'_>> {
            Some(Value::text(format!("\r\n{name}\u{0}&\"")))
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn in_every_dialect_the_pieces_joined_are_the_text(
            text in scraps(),
            dialect in dialects(),
            own in any::<bool>(),
            shape in prop::sample::select(&[Shape::Url, Shape::Form, Shape::Line][..]),
        ) {
            let macros = if own { super::own() } else { Meanings::new() };
            let url = format!("https://p.example/{text}");
            for text in [&text, &url] {
                let reader = Reader { shape, free_text: shape != Shape::Url, ..reader(&macros, dialect) };
                for pieces in [
                    reader.scan(text, &mut Findings::default()),
                    reader.scan_with(text, Syntax::BRACKETS, &mut Findings::default()),
                    reader.scan_with(text, &[Syntax::FreeMarker, Syntax::Brace], &mut Findings::default()),
                ] {
                    prop_assert_eq!(joined(&pieces), (text.clone(), true));
                    for piece in &pieces {
                        let Piece::Macro { expression, .. } = piece else { continue };
                        prop_assert!(!expression.alternatives.is_empty(), "{}", expression.text);
                        prop_assert!(expression.alternatives.iter().all(|one| one.at < text.len()));
                    }
                }
            }
        }

        #[test]
        fn in_every_dialect_a_request_stays_on_its_lines(
            texts in (scraps(), scraps(), scraps()),
            dialect in dialects(),
        ) {
            let parts = Parts {
                dialect,
                macros: own(),
                method: "POST".into(),
                headers: vec![("X-A".into(), texts.1)],
                body: Body::Form(texts.2),
                ..Parts::get(format!("https://p.example/{}", texts.0))
            };
            let (template, findings) = Template::parse(parts.clone());
            prop_assert!(findings.len() <= super::super::super::FINDINGS_MAX);
            prop_assert_eq!(template.source(), &parts);
            prop_assert_eq!(&Template::parse(template.source().clone()).0, &template);
            for used in template.macros() {
                prop_assert!(!used.text.is_empty());
            }
            let sending = Sending { attempt: 1, at_ms: 1_780_564_905_250, nonce: "n" };
            let Rendered { url, headers, .. } = template.render(&Everything, &sending);
            prop_assert!(url.len() <= URL_BYTES_MAX);
            prop_assert!(url.bytes().all(|byte| byte.is_ascii_graphic()), "{}", url);
            for (_, value) in &headers {
                prop_assert!(value.iter().all(|byte| *byte == b'\t' || !byte.is_ascii_control()));
            }
            prop_assert!(url.starts_with("https://p.example/"));
        }

        #[test]
        fn in_every_dialect_a_url_without_macros_is_itself(
            path in "[a-z0-9/;:.~-]{0,20}",
            query in "([a-z$~-]{1,6}=[a-z0-9%;:,.-]{0,6}&){0,4}",
            dialect in dialects(),
            scope in prop::sample::select(&[Scope::Postback, Scope::Destination, Scope::Link][..]),
        ) {
            let text = format!("https://p.example/{path}?{query}adv=&android_id=&%24x=%20");
            let (template, _) = UrlTemplate::parse(&text, scope, dialect);
            // `%a%` and a lone word can be macros where the dialect has such.
            prop_assume!(template.macros().count() == 0);
            prop_assert_eq!(template.render(&Everything, None).url, text);
        }
    }
}
