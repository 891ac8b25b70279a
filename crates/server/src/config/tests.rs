use std::ffi::OsString;

use clap::{Args as _, FromArgMatches as _};

use super::*;

/// The settings from arguments, variables and a file's text.
fn load(arguments: &[&str], env: &[(&str, &str)], file: Option<&str>) -> Result<Config, Refused> {
    let dir = tempfile::tempdir().unwrap();
    let command = Flags::augment_args(clap::Command::new("serve"));
    let matches = command.try_get_matches_from(std::iter::once(&"serve").chain(arguments)).unwrap();
    let mut flags = Flags::from_arg_matches(&matches).unwrap();
    if let Some(text) = file {
        let path = dir.path().join("roundtrip.toml");
        std::fs::write(&path, text).unwrap();
        flags.config = Some(path);
    }
    let env: Vec<_> = env.iter().map(|(name, value)| ((*name).to_owned(), OsString::from(value))).collect();
    Config::load(&flags, &env)
}

fn problems(arguments: &[&str], env: &[(&str, &str)], file: Option<&str>) -> Vec<String> {
    let refused = load(arguments, env, file).unwrap_err();
    refused.0.iter().map(|problem| format!("{} {}", problem.code, problem.field)).collect()
}

#[test]
fn the_defaults_are_the_documented_ones() {
    let config = load(&[], &[], None).unwrap();
    assert_eq!(config.data, PathBuf::from("./roundtrip-data"));
    assert_eq!(config.public.to_string(), "127.0.0.1:8080");
    assert_eq!(config.admin.to_string(), "127.0.0.1:8081");
    assert_eq!(config.click_durability, Durability::Strict);
    assert_eq!(config.click_retention, Span::from_days(120));
    let off = [config.allow_plain_http, config.allow_plain_http_out, config.metrics_public, config.json];
    assert_eq!(config.geo_databases, [""; 0].map(PathBuf::from));
    assert_eq!((off, config.public_url, config.notes), ([false; 4], None, vec![]));
}

#[test]
fn flags_are_stronger_than_variables_than_the_file_than_defaults() {
    let file = "[server]\npublic = '127.0.0.1:1'\nadmin = '127.0.0.1:2'\nconnections_max = 7\n\
                trusted_proxies = ['10.0.0.0/8', '::1']\nallow_plain_http = true\n[apps.shop]\nname = 'not ours'";
    let env = [
        ("ROUNDTRIP_PUBLIC", "127.0.0.1:3"),
        ("ROUNDTRIP_ADMIN", "127.0.0.1:4"),
        ("ROUNDTRIP_ALLOW_PLAIN_HTTP", "0"),
        ("ROUNDTRIP_LOG_LEVEL", ""),
    ];
    let config = load(&["--public", "127.0.0.1:5"], &env, Some(file)).unwrap();
    assert_eq!(config.public.port(), 5, "flag");
    assert_eq!(config.admin.port(), 4, "variable");
    assert_eq!(config.connections_max, 7, "file");
    assert_eq!(config.log.level, "info", "an empty variable is none, so the default");
    assert!(!config.allow_plain_http, "a variable can switch off what the file switched on");
    assert_eq!(config.trusted_proxies.len(), 2);
    let lists = [("ROUNDTRIP_TRUSTED_PROXIES", "10.0.0.0/8, 192.168.0.0/16,::1")];
    assert_eq!(load(&[], &lists, None).unwrap().trusted_proxies.len(), 3);
    assert_eq!(load(&["--trusted-proxy=10.0.0.1"], &lists, None).unwrap().trusted_proxies.len(), 1);
    assert!(load(&["--allow-plain-http"], &[], None).unwrap().allow_plain_http);
    assert!(!load(&["--allow-plain-http=false"], &[], Some(file)).unwrap().allow_plain_http);
}

#[test]
fn databases_of_addresses_are_files_named_once() {
    let file = "[server]\ngeo_databases = ['/var/lib/geo/city.mmdb', 'asn.mmdb']";
    let paths =
        |arguments: &[&str], env: &[(&str, &str)]| load(arguments, env, Some(file)).unwrap().geo_databases;
    assert_eq!(paths(&[], &[]), ["/var/lib/geo/city.mmdb", "asn.mmdb"].map(PathBuf::from));
    assert_eq!(
        paths(&[], &[("ROUNDTRIP_GEO_DATABASES", "a.mmdb, b.mmdb")]),
        ["a.mmdb", "b.mmdb"].map(PathBuf::from)
    );
    let two = ["--geo-database=x.mmdb", "--geo-database=y.mmdb"];
    assert_eq!(paths(&two, &[]), ["x.mmdb", "y.mmdb"].map(PathBuf::from));
    let twice = ["--geo-database=x.mmdb", "--geo-database=", "--geo-database=x.mmdb"];
    assert_eq!(
        problems(&twice, &[], None),
        ["config_invalid --geo-database[1]", "config_invalid --geo-database[2]"]
    );
    let many: Vec<String> = (0..9).map(|n| format!("--geo-database={n}.mmdb")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(problems(&many, &[], None), ["config_invalid --geo-database"]);
}

#[test]
fn the_way_out_is_read_and_a_password_is_never_shown() {
    let file = "[server]\noutbound_bind_v4 = '203.0.113.7'\noutbound_bind_v6 = '2001:db8::7'\n\
                outbound_proxy = 'http://us%65r:s3cr3t@proxy.example:3128'\noutbound_ports = [81, '587']\n\
                egress_addresses = ['198.51.100.7', '2001:db8:1::/48']";
    let config = load(&[], &[], Some(file)).unwrap();
    assert_eq!(config.outbound_bind_v4.unwrap().to_string(), "203.0.113.7");
    assert_eq!(config.outbound_bind_v6.unwrap().to_string(), "2001:db8::7");
    assert_eq!(config.outbound_proxy.as_ref().unwrap().to_string(), "proxy.example:3128");
    assert_eq!(config.outbound_ports, [81, 587]);
    assert_eq!(config.egress_addresses, ["198.51.100.7", "2001:db8:1::/48"]);
    assert!(!format!("{config:?}").contains("s3cr3t"));
    let none = load(&[], &[], None).unwrap();
    assert!(
        none.outbound_proxy.is_none() && none.outbound_bind_v4.is_none() && none.egress_addresses.is_empty()
    );

    // What the environment names for all programs is not asked.
    let env = [("HTTP_PROXY", "http://a:1"), ("https_proxy", "http://a:1"), ("ALL_PROXY", "http://a:1")];
    assert!(load(&[], &env, None).unwrap().outbound_proxy.is_none());

    let wrong = [
        "--outbound-bind-v4=2001:db8::7",
        "--outbound-bind-v6=203.0.113.7",
        "--outbound-proxy=https://user:s3cr3t@proxy.example/",
        "--outbound-port=81",
        "--outbound-port=8080",
        "--outbound-port=0",
        "--egress-address=somewhere",
    ];
    let refused = load(&wrong, &[], None).unwrap_err();
    let fields: Vec<&str> = refused.0.iter().map(|problem| problem.field.as_str()).collect();
    assert_eq!(
        fields,
        [
            "--outbound-port[1]",
            "--outbound-port[2]",
            "--outbound-bind-v4",
            "--outbound-bind-v6",
            "--outbound-proxy",
            "--egress-address[0]"
        ]
    );
    assert!(!refused.to_string().contains("s3cr3t"), "{refused}");
}

#[test]
fn all_problems_are_reported_at_once_with_their_place() {
    let file = "[server]\npublik = '127.0.0.1:1'\nadmin = 8081\nclick_retention = 'a while'\n\
                allow_private = ['10.0.0.0/8', '10.0.0.1/8', 'home']\nmetrics_public = 'yes'";
    let env = [("ROUNDTRIP_ADMIN", "localhost"), ("ROUNDTRIP_LOG_LEVEL", "loud")];
    let arguments =
        ["--public=8080", "--click-durability=maybe", "--public-url=https://u@h/x", "--connections-max=0"];
    assert_eq!(
        problems(&arguments, &env, Some(file)),
        [
            "config_invalid server.metrics_public",
            "config_unknown_key server.publik",
            "config_invalid --public",
            "config_invalid ROUNDTRIP_ADMIN",
            "config_invalid --public-url",
            "config_invalid server.allow_private[1]",
            "config_invalid server.allow_private[2]",
            "config_invalid --click-durability",
            "config_invalid server.click_retention",
            "config_invalid --connections-max",
            "config_invalid ROUNDTRIP_LOG_LEVEL",
        ]
    );
    let text = load(&arguments, &env, Some(file)).unwrap_err().to_string();
    assert!(text.starts_with("use the settings: 11 problems\n"), "{text}");
    assert!(
        text.contains("\n  server.publik: is no setting; did you mean public? (config_unknown_key)\n"),
        "{text}"
    );
}

#[test]
fn files_that_cannot_be_used_are_named() {
    assert_eq!(
        problems(&["--config=/nonexistent/rt.toml"], &[], None),
        ["config_missing /nonexistent/rt.toml"]
    );
    assert_eq!(
        problems(&[], &[("ROUNDTRIP_CONFIG", "/nonexistent/rt.toml")], None),
        ["config_missing /nonexistent/rt.toml"]
    );
    assert_eq!(problems(&[], &[], Some("server = 1")), ["config_invalid server"]);
    for bad in ["[server", "[server]\npublic = '127.0.0.1:1'\npublic = '127.0.0.1:2'"] {
        let refused = load(&[], &[], Some(bad)).unwrap_err();
        assert!(refused.0.len() == 1 && refused.0[0].message.starts_with("is not TOML"), "{refused}");
    }
}

#[test]
fn listeners_need_two_addresses_and_odd_variables_are_noted() {
    assert_eq!(problems(&["--admin=127.0.0.1:8080"], &[], None), ["config_invalid --admin"]);
    load(&["--public=127.0.0.1:0", "--admin=127.0.0.1:0"], &[], None).unwrap();
    let env = [
        ("ROUNDTRIP_PUBLC", "x"),
        ("ROUNDTRIP_TOKEN", "x"),
        ("ROUNDTRIP_CONFIG_MAP_NAME", "x"),
        ("PATH", "x"),
    ];
    let notes = load(&[], &env, None).unwrap().notes;
    assert_eq!(
        notes,
        [
            "the variable ROUNDTRIP_PUBLC is no setting; did you mean ROUNDTRIP_PUBLIC?",
            "the variable ROUNDTRIP_CONFIG_MAP_NAME is no setting"
        ]
    );
}

#[test]
fn every_setting_is_read_and_named_consistently() {
    for setting in SETTINGS {
        let long = setting.key.replace('_', "-");
        let singular = setting.form == Form::Many && setting.flag != long;
        assert!(setting.flag == long || singular, "{}", setting.key);
        assert_eq!(setting.env, format!("ROUNDTRIP_{}", setting.key.to_uppercase()));
        // A value that no setting can have is refused by each that reads its value at all.
        let text_is_free = ["data", "extra_roots", "geo_databases"].contains(&setting.key);
        let refused = load(&[&format!("--{}=\u{1} ?", setting.flag)], &[], None).is_err();
        assert!(refused != text_is_free, "{} is declared and not read", setting.key);
    }
}

#[test]
fn the_page_in_docs_is_the_generated_one() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/server.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path, page()).unwrap();
    }
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        written == page(),
        "docs/server.md is stale: run UPDATE_DOCS=1 cargo test -p roundtrip-server config"
    );
}
