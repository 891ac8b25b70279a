//! What proves who sends a request: what is put on it, what is refused, and what is never shown.

use super::super::auth::{Auth, ClientStyle, OAuth2};
use super::*;

const URL: &str = "https://p.example/?c={click_id}";

fn basic(user: &str, password: &str) -> Auth {
    Auth::Basic { user: user.into(), password: password.into() }
}

fn bearer(token: &str) -> Auth {
    Auth::Bearer { token: token.into() }
}

fn oauth2(more: OAuth2) -> Auth {
    Auth::OAuth2(Box::new(more))
}

fn client() -> OAuth2 {
    OAuth2 {
        token_url: "https://login.example/token".into(),
        client_id: "me".into(),
        client_secret: "cfg.secret".into(),
        ..OAuth2::default()
    }
}

fn parts(auth: Auth) -> Parts {
    Parts { auth: Some(auth), ..Parts::get(URL) }
}

fn render(auth: Auth, values: &[(&str, &str)]) -> Rendered {
    let (template, findings) = Template::parse(parts(auth));
    assert_eq!(findings, []);
    let mut all = BTreeMap::from([("partner_click_id".to_owned(), Value::text("x"))]);
    all.extend(values.iter().map(|(name, value)| ((*name).to_owned(), Value::text(*value))));
    template.render(&all, &SENDING)
}

fn header(rendered: &Rendered) -> Option<String> {
    let mut found = rendered.headers.iter().filter(|(name, _)| name == "authorization");
    let value = found.next().map(|(_, value)| String::from_utf8(value.clone()).expect("text"));
    assert!(found.next().is_none(), "one header, not two");
    value
}

#[test]
fn basic_and_bearer_are_put_on_each_request() {
    // RFC 7617's own example.
    let rendered = render(basic("Aladdin", "cfg.password"), &[("cfg.password", "open sesame")]);
    assert_eq!(header(&rendered).as_deref(), Some("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="));
    assert!(!rendered.lacks_auth && rendered.token.is_none());
    let rendered =
        render(basic("cfg.user", "cfg.password"), &[("cfg.user", "test"), ("cfg.password", "123£")]);
    assert_eq!(header(&rendered).as_deref(), Some("Basic dGVzdDoxMjPCow=="));
    let rendered = render(bearer("cfg.token"), &[("cfg.token", "mF_9.B5f-4.1JqM")]);
    assert_eq!(header(&rendered).as_deref(), Some("Bearer mF_9.B5f-4.1JqM"));
}

#[test]
fn the_header_is_a_secret_in_every_form() {
    let (template, _) = Template::parse(parts(basic("me", "cfg.password")));
    let cfg = BTreeMap::from([("password".to_owned(), "open sesame".to_owned())]);
    let rendered = template.render(&[("cfg.password", "open sesame")], &SENDING);
    let secrets = secrets(template.macros(), &cfg, &rendered.secrets);
    let echoed = b"you sent bWU6b3BlbiBzZXNhbWU= which is me:open sesame";
    let masked = crate::secret::masked(echoed, &secrets, "***", false).expect("masked");
    assert_eq!(String::from_utf8_lossy(&masked), "you sent *** which is me:***");
}

#[test]
fn a_token_is_asked_for_with_what_the_partner_has_set() {
    let all = OAuth2 {
        token_url: "cfg.login".into(),
        client_id: "cfg.id".into(),
        scope: Some("postbacks write".into()),
        audience: Some("cfg.audience".into()),
        style: ClientStyle::Body,
        ..client()
    };
    let values = [
        ("cfg.login", "https://eu.example/t"),
        ("cfg.id", "id-7"),
        ("cfg.secret", "s3cr3t"),
        ("cfg.audience", "https://api.example"),
    ];
    let ask = render(oauth2(all), &values).token.expect("a token to ask for");
    assert_eq!((ask.token_url.as_str(), ask.client_id.as_str()), ("https://eu.example/t", "id-7"));
    assert_eq!((ask.client_secret.as_str(), ask.scope.as_deref()), ("s3cr3t", Some("postbacks write")));
    assert_eq!((ask.audience.as_deref(), ask.style), (Some("https://api.example"), ClientStyle::Body));
    assert_eq!(format!("{ask:?}"), "TokenAsk { style: Body, .. }");
    let rendered = render(oauth2(client()), &[("cfg.secret", "s3cr3t")]);
    assert_eq!(header(&rendered), None);
    assert_eq!(rendered.token.expect("a token").scope, None);
}

#[test]
fn without_its_setting_a_request_is_better_not_sent() {
    for (auth, values, missing) in [
        (bearer("cfg.token"), &[][..], &["cfg.token"][..]),
        (bearer("cfg.token"), &[("cfg.token", "")], &["cfg.token"]),
        (bearer("cfg.token"), &[("cfg.token", "a b")], &["cfg.token"]),
        (bearer("cfg.token"), &[("cfg.token", "a\r\nx-evil: 1")], &["cfg.token"]),
        (bearer("cfg.token"), &[("cfg.token", "t\u{f6}ken")], &["cfg.token"]),
        (basic("cfg.user", "cfg.password"), &[], &["cfg.user", "cfg.password"]),
        (basic("cfg.user", "cfg.password"), &[("cfg.user", "a:b"), ("cfg.password", "p")], &["cfg.user"]),
        (basic("me", "cfg.password"), &[("cfg.password", "a\nb")], &["cfg.password"]),
        (oauth2(client()), &[], &["cfg.secret"]),
        (
            oauth2(OAuth2 { scope: Some("cfg.scope".into()), ..client() }),
            &[("cfg.secret", "s")],
            &["cfg.scope"],
        ),
    ] {
        let rendered = render(auth.clone(), values);
        assert!(rendered.lacks_auth && rendered.token.is_none(), "{auth:?}");
        assert_eq!(header(&rendered), None, "{auth:?}");
        assert_eq!(rendered.missing, missing, "{auth:?}");
    }
}

#[test]
fn what_cannot_be_a_credential_names_its_field() {
    let with = |change: fn(&mut OAuth2)| {
        let mut one = client();
        change(&mut one);
        oauth2(one)
    };
    for (auth, field, says) in [
        (bearer("s3cr3t-itself"), "bearer", "never written into a rule"),
        (bearer("{cfg.token}"), "bearer", "without braces"),
        (bearer("cfg."), "bearer", "as `cfg.secret`"),
        (bearer(""), "bearer", "as `cfg.secret`"),
        (basic("a:b", "cfg.p"), "basic.user", "colon"),
        (basic("", "cfg.p"), "basic.user", "1 to 4096 bytes"),
        (basic("a\r\nb", "cfg.p"), "basic.user", "control character"),
        (basic("{cfg.user}", "cfg.p"), "basic.user", "without braces"),
        (basic("me", "hunter2"), "basic.password", "never written into a rule"),
        (with(|o| o.client_secret = "x".into()), "oauth2.client_secret", "never written into a rule"),
        (with(|o| o.client_id.clear()), "oauth2.client_id", "1 to 4096 bytes"),
        (with(|o| o.scope = Some("a\nb".into())), "oauth2.scope", "control character"),
        (with(|o| o.audience = Some(String::new())), "oauth2.audience", "1 to 4096 bytes"),
        (with(|o| o.token_url = "login.example".into()), "oauth2.token_url", "no URL"),
        (with(|o| o.token_url = "ftp://h/".into()), "oauth2.token_url", "no https URL"),
        (with(|o| o.token_url = "https://u:p@h/".into()), "oauth2.token_url", "client_id and client_secret"),
        (with(|o| o.token_url = "https://h/#x".into()), "oauth2.token_url", "fragment"),
    ] {
        let (_, findings) = Template::parse(parts(auth.clone()));
        assert_eq!(findings.len(), 1, "{auth:?}: {findings:?}");
        let finding = &findings[0];
        assert_eq!(
            (finding.code, finding.place, finding.severity),
            (Code::AuthInvalid, Place::Auth, Severity::Error)
        );
        assert_eq!(finding.name.as_deref(), Some(field));
        assert!(finding.message.contains(says), "{}", finding.message);
        assert!(!finding.message.contains("s3cr3t-itself") && !finding.message.contains("hunter2"));
    }
    let (_, findings) = Template::parse(parts(with(|o| o.token_url = "http://h.example/".into())));
    assert_eq!(findings.iter().map(|f| f.code).collect::<Vec<_>>(), [Code::UrlPlainHttp]);
}

#[test]
fn one_request_is_proven_once() {
    let own = Parts {
        headers: vec![("Authorization".into(), "Token {cfg.other}".into())],
        ..parts(bearer("cfg.token"))
    };
    let in_url = Parts { url: "https://u:p@p.example/?c={click_id}".into(), ..parts(bearer("cfg.token")) };
    for parts in [own, in_url] {
        let (template, findings) = Template::parse(parts);
        let errors: Vec<_> = findings.iter().filter(|f| f.severity == Severity::Error).collect();
        assert_eq!(errors.iter().map(|f| f.code).collect::<Vec<_>>(), [Code::AuthConflict]);
        // Even then there is one header, and it is the one that was asked for.
        let rendered = template.render(&[("cfg.token", "t"), ("cfg.other", "o")], &SENDING);
        assert_eq!(header(&rendered).as_deref(), Some("Bearer t"));
    }
    // A header of one's own is the old way, and a static token needs no other.
    let own = Parts {
        headers: vec![
            ("authorization".into(), "Token {cfg.token}".into()),
            ("x-api-key".into(), "{cfg.key}".into()),
        ],
        ..Parts::get(URL)
    };
    let (template, findings) = Template::parse(own);
    assert_eq!(findings, []);
    let rendered =
        template.render(&[("cfg.token", "t"), ("cfg.key", "k"), ("partner_click_id", "x")], &SENDING);
    assert_eq!(header(&rendered).as_deref(), Some("Token t"));
    assert!(rendered.headers.contains(&("x-api-key".into(), b"k".to_vec())));
}
