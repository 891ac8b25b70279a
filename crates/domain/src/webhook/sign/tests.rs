use super::*;
use proptest::prelude::*;

const DAY_MS: i64 = 86_400_000;
const ID: &str = "evt_01KAHS8Z4N2T7QX5W3R9M6B0CD";
const BODY: &[u8] = br#"{"event_name":"install","revenue":"12.50"}"#;

fn secret(byte: u8) -> Secret {
    Secret::generate([byte; 32])
}

fn key(byte: u8) -> SigningKey {
    SigningKey::generate([byte; 32])
}

fn at(ms: i64) -> Timestamp {
    Timestamp::from_ms(1_780_000_000_000).plus_ms(ms)
}

fn header(signing: &Signing, name: &str, now: Timestamp) -> String {
    let all = headers(signing, ID, now, BODY);
    let found: Vec<_> = all.into_iter().filter(|(found, _)| found == name).collect();
    assert_eq!(found.len(), 1, "{name}");
    found.into_iter().next().map(|(_, value)| value).unwrap_or_default()
}

fn signatures(signing: &Signing, now: Timestamp) -> Vec<String> {
    header(signing, SIGNATURE_HEADER, now).split(' ').map(str::to_owned).collect()
}

/// What `secrets` and `keys` are to put into the header, each worked out by itself.
fn expected(secrets: &[&Secret], keys: &[&SigningKey], now: Timestamp) -> Vec<String> {
    let content = [ID.as_bytes(), format!(".{}.", now.seconds()).as_bytes(), BODY].concat();
    secrets.iter().map(|one| v1(one, &content)).chain(keys.iter().map(|one| v1a(one, &content))).collect()
}

/// 1: the Rust library of `standard-webhooks/standard-webhooks` (`libraries/rust/src/lib.rs`); 2: its Python and
/// JavaScript ones (`libraries/python/tests/test_webhooks.py`, `libraries/javascript/src/webhook.test.ts`); 3:
/// `svix/svix-webhooks` (`server/svix-server/src/worker.rs`, tests).
#[test]
fn the_public_vectors_come_out() {
    let no_prefix = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let prefixed = format!("whsec_{no_prefix}");
    let table = [
        (
            "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD",
            "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk",
            1_649_367_553,
            r#"{"email":"test@example.com","username":"test_user"}"#,
            "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=",
        ),
        (
            no_prefix,
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            r#"{"test": 2432232314}"#,
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
        ),
        (
            &prefixed,
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            r#"{"test": 2432232314}"#,
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
        ),
    ];
    for (secret, id, seconds, body, wanted) in table {
        let signing = Signing::new(Secret::parse(secret).unwrap());
        // Any millisecond of the second.
        let now = Timestamp::from_ms(seconds * 1000 + 999);
        let made = headers(&signing, id, now, body.as_bytes());
        let standard =
            [(ID_HEADER, id), (TIMESTAMP_HEADER, &seconds.to_string()), (SIGNATURE_HEADER, wanted)];
        for (index, (name, value)) in standard.into_iter().enumerate() {
            assert_eq!((made[index].0.as_str(), made[index].1.as_str()), (name, value));
        }
    }

    let pair =
        "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg==";
    let key = SigningKey::parse(pair).unwrap();
    assert_eq!(key.shown(), pair);
    assert_eq!(key.public(), "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4=");
    let mut signing = Signing::new(Secret::parse(no_prefix).unwrap());
    signing.key = Some(key);
    let now = Timestamp::from_ms(1_614_265_330_000);
    assert_eq!(
        headers(&signing, "msg_p5jXN8AQM9LWM0D4loKWxJek", now, br#"{"test": 2432232314}"#)[2].1,
        "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE= v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXF\
         ymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg=="
    );
}

/// The values were made with `openssl dgst -sha256 -hmac`, and say that the key is the text and not its bytes.
#[test]
fn the_plain_header_is_keyed_with_the_shown_text() {
    let signing = Signing::new(Secret::parse("C2FVsBQIhrscChlQIMV+b5sSYspob7oD").unwrap());
    let made = headers(&signing, ID, at(0), br#"{"test": 2432232314}"#);
    assert_eq!(made[3].0, "x-roundtrip-signature");
    assert_eq!(made[3].1, "fc40649f80ed2d64aa1f71768b00c87e0db70663005ac910f741c296eff3be32");
    assert_eq!(
        headers(&signing, ID, at(0), b"")[3].1,
        "5d3e487bab0818bb987d1da693fc7b12fc14fe92ea7f131fa2e4aa4df793247d"
    );
}

#[test]
fn secrets_are_read_and_shown_with_their_prefix() {
    for bytes in [24, 32, 64] {
        let encoded = STANDARD.encode(vec![7; bytes]);
        for text in [encoded.clone(), format!("whsec_{encoded}")] {
            let secret = Secret::parse(&text).unwrap();
            assert_eq!(secret.shown(), format!("whsec_{encoded}"));
            assert_eq!(secret.key(), vec![7; bytes]);
        }
    }
    assert_eq!(Secret::parse(secret(9).shown()), Ok(secret(9)));
    let length = |bytes: usize| (STANDARD.encode(vec![7; bytes]), Invalid::SecretLength(bytes));
    let base64 = Invalid::Base64("whsec_");
    let unpadded = STANDARD.encode([7; 32]).trim_end_matches('=').to_owned();
    let url_safe = "-_".repeat(16);
    let table = [
        length(0),
        length(23),
        length(65),
        (unpadded, base64),
        (url_safe, base64),
        (format!(" {}", secret(1).shown()), base64),
        (format!("{}\n", secret(1).shown()), base64),
        (format!("whsec_{}", secret(1).shown()), base64),
        ("whsk_C2FVsBQIhrscChlQIMV+b5sSYspob7oD".to_owned(), base64),
    ];
    for (text, fault) in table {
        assert_eq!(Secret::parse(&text), Err(fault), "{text:?}");
        assert_eq!(Secret::parse(&format!("whsec_{text}")), Err(fault), "{text:?}");
    }
}

#[test]
fn private_keys_are_read_in_both_lengths_and_no_other() {
    let seed = format!("whsk_{}", STANDARD.encode([5; 32]));
    assert_eq!(SigningKey::parse(&seed), Ok(key(5)));
    assert_eq!(SigningKey::parse(&key(5).shown()), Ok(key(5)));

    let torn = [[5; 32], *key(6).pair().verifying_key().as_bytes()].concat();
    // Of y coordinates about half are no point of the curve; this is one.
    let no_point = [[5; 32], [2; 32]].concat();
    let table = [
        (format!("whsk_{}", STANDARD.encode(torn)), Invalid::KeyPairTorn),
        (format!("whsk_{}", STANDARD.encode(no_point)), Invalid::KeyPairTorn),
        (format!("whsk_{}", STANDARD.encode([5; 48])), Invalid::KeyLength(48)),
        ("whsk_".to_owned(), Invalid::KeyLength(0)),
        ("whsk_not base64".to_owned(), Invalid::Base64("whsk_")),
        (key(5).public(), Invalid::KeyPrefix),
        (STANDARD.encode([5; 32]), Invalid::KeyPrefix),
    ];
    for (text, fault) in table {
        assert_eq!(SigningKey::parse(&text), Err(fault), "{text}");
    }
}

#[test]
fn nothing_secret_is_printed() {
    let mut signing = Signing::new(secret(1));
    signing.key = Some(key(2));
    signing.rotate_secret(secret(3), DAY_MS, at(0)).unwrap();
    let printed = format!("{signing:?} {signing:#?}");
    for text in [secret(1).shown(), secret(3).shown(), &key(2).shown()] {
        let encoded = text.split_once('_').unwrap().1;
        assert!(!printed.contains(&encoded[..12]), "{printed}");
    }
    assert!(printed.contains(&key(2).public()), "{printed}");
    let faults = [
        Secret::parse("whsec_SGVsbG8gd29ybGQ=").unwrap_err().to_string(),
        SigningKey::parse("whsk_SGVsbG8gd29ybGQ=").unwrap_err().to_string(),
    ];
    assert!(faults.iter().all(|fault| !fault.contains("SGVs")), "{faults:?}");
}

#[test]
fn both_secrets_sign_until_the_overlap_ends() {
    let mut signing = Signing::new(secret(1));
    assert_eq!(signatures(&signing, at(-1)), expected(&[&secret(1)], &[], at(-1)));
    signing.rotate_secret(secret(2), OVERLAP_DEFAULT_MS, at(0)).unwrap();
    for now in [at(0), at(DAY_MS - 1)] {
        assert_eq!(signatures(&signing, now), expected(&[&secret(2), &secret(1)], &[], now));
    }
    assert_eq!(signatures(&signing, at(DAY_MS)), expected(&[&secret(2)], &[], at(DAY_MS)));

    // With 0 the new one alone signs at once, and whatever overlapped before has ended too.
    signing.rotate_secret(secret(3), 0, at(5)).unwrap();
    assert_eq!(signatures(&signing, at(5)), expected(&[&secret(3)], &[], at(5)));
    assert_eq!(signing.older_secrets, []);
    assert_eq!(signing.plain_secret(at(5)), &secret(3));
}

#[test]
fn keys_stand_beside_secrets_and_overlap_too() {
    let mut signing = Signing::new(secret(1));
    signing.rotate_key(Some(key(1)), DAY_MS, at(0)).unwrap();
    assert_eq!(signatures(&signing, at(0)), expected(&[&secret(1)], &[&key(1)], at(0)));
    signing.rotate_key(Some(key(2)), DAY_MS, at(0)).unwrap();
    assert_eq!(signatures(&signing, at(0)), expected(&[&secret(1)], &[&key(2), &key(1)], at(0)));
    assert_eq!(signatures(&signing, at(DAY_MS)), expected(&[&secret(1)], &[&key(2)], at(DAY_MS)));

    // A full header refuses a fourth, and keeps what it promised.
    let before = signing.clone();
    assert_eq!(
        signing.rotate_secret(secret(2), DAY_MS, at(10)),
        Err(Refused::TooMany { free_at: at(DAY_MS) })
    );
    assert_eq!(signing, before);
    signing.rotate_secret(secret(2), DAY_MS, at(DAY_MS)).unwrap();
    let [new_secret, new_key] = &expected(&[&secret(2)], &[&key(2)], at(DAY_MS))[..] else { panic!("two") };
    let old_secret = &expected(&[&secret(1)], &[], at(DAY_MS))[0];
    assert_eq!(
        header(&signing, SIGNATURE_HEADER, at(DAY_MS)),
        format!("{new_secret} {new_key} {old_secret}")
    );

    signing.rotate_key(None, 0, at(DAY_MS)).unwrap();
    assert_eq!(
        signatures(&signing, at(DAY_MS)),
        expected(&[&secret(2), &secret(1)], &[], at(DAY_MS)),
        "no v1a is left"
    );

    let mut ending = Signing::new(secret(1));
    ending.rotate_key(Some(key(1)), 0, at(0)).unwrap();
    ending.rotate_key(Some(key(2)), DAY_MS, at(0)).unwrap();
    ending.rotate_key(None, DAY_MS, at(0)).unwrap();
    assert_eq!(
        signatures(&ending, at(0)),
        expected(&[&secret(1)], &[&key(2), &key(1)], at(0)),
        "newest first"
    );
}

#[test]
fn three_secrets_can_overlap_and_none_outlives_the_one_that_followed_it() {
    let mut signing = Signing::new(secret(1));
    signing.rotate_secret(secret(2), 10 * DAY_MS, at(0)).unwrap();
    signing.rotate_secret(secret(3), DAY_MS, at(0)).unwrap();
    let all = [&secret(3), &secret(2), &secret(1)];
    assert_eq!(signatures(&signing, at(0)), expected(&all, &[], at(0)));
    assert_eq!(
        signing.rotate_secret(secret(4), DAY_MS, at(1)),
        Err(Refused::TooMany { free_at: at(DAY_MS) })
    );
    assert_eq!(signatures(&signing, at(DAY_MS)), expected(&[&secret(3)], &[], at(DAY_MS)));
    for overlap in [-1, OVERLAP_MAX_MS + 1, i64::MIN, i64::MAX] {
        assert_eq!(signing.rotate_secret(secret(4), overlap, at(1)), Err(Refused::Overlap));
        assert_eq!(signing.rotate_key(None, overlap, at(1)), Err(Refused::Overlap));
    }
    signing.rotate_secret(secret(4), OVERLAP_MAX_MS, at(DAY_MS)).unwrap();
    assert_eq!(signing.older_secrets.len(), 1, "those that ended are dropped");

    // What has ended by itself frees no place again.
    let mut full = Signing::new(secret(1));
    full.rotate_secret(secret(2), DAY_MS, at(0)).unwrap();
    full.rotate_secret(secret(3), 3 * DAY_MS, at(0)).unwrap();
    full.key = Some(key(1));
    assert_eq!(
        full.rotate_secret(secret(4), DAY_MS, at(2 * DAY_MS)),
        Err(Refused::TooMany { free_at: at(3 * DAY_MS) })
    );
}

#[test]
fn the_old_secret_signs_the_plain_header_until_its_cut_over() {
    let plain_at = |signing: &Signing, now| header(signing, PLAIN_HEADER, now);
    let of = |byte| plain(&secret(byte), BODY);

    let mut signing = Signing::new(secret(1));
    signing.rotate_secret(secret(2), DAY_MS, at(0)).unwrap();
    assert_eq!(plain_at(&signing, at(0)), of(1));
    assert_eq!(plain_at(&signing, at(DAY_MS - 1)), of(1));
    assert_eq!(plain_at(&signing, at(DAY_MS)), of(2), "by default at the end of the overlap");

    signing.cut_over(at(500));
    assert_eq!(plain_at(&signing, at(499)), of(1));
    assert_eq!(plain_at(&signing, at(500)), of(2));
    assert_eq!(signatures(&signing, at(500)).len(), 2, "the overlap of the others goes on");
    signing.cut_over(at(700));
    assert_eq!(plain_at(&signing, at(500)), of(2), "it is moved forward only");

    // A second rotation does not bring back a secret whose cut-over has passed.
    signing.rotate_secret(secret(3), DAY_MS, at(1000)).unwrap();
    assert_eq!(plain_at(&signing, at(1000)), of(2));
    assert_eq!(plain_at(&signing, at(1000 + DAY_MS)), of(3));

    // Of several whose cut-over is to come, the oldest signs: its receiver passes through each in turn.
    let mut twice = Signing::new(secret(1));
    twice.rotate_secret(secret(2), DAY_MS, at(0)).unwrap();
    twice.rotate_secret(secret(3), 3 * DAY_MS, at(0)).unwrap();
    for (now, byte) in [(at(0), 1), (at(DAY_MS - 1), 1), (at(DAY_MS), 2), (at(3 * DAY_MS), 3)] {
        assert_eq!(plain_at(&twice, now), of(byte));
    }

    // Nor does a stored cut-over beyond the end bring one back.
    signing.older_secrets[0].cut_over = at(9 * DAY_MS);
    assert_eq!(plain_at(&signing, at(1000 + DAY_MS)), of(3));
}

#[test]
fn the_plain_header_has_a_name_that_nobody_else_sets() {
    for (given, name) in [
        ("X-Signature", "x-signature"),
        ("x-roundtrip-signature", "x-roundtrip-signature"),
        ("X-Roundtrip-Signature", "x-roundtrip-signature"),
        ("x_hub", "x_hub"),
    ] {
        let parsed = PlainHeader::parse(given).unwrap();
        assert_eq!(parsed.as_str(), name);
        let signing = Signing { plain_header: parsed, ..Signing::new(secret(1)) };
        assert_eq!(header(&signing, name, at(0)), plain(&secret(1), BODY));
    }
    for name in [
        "Host",
        "content-length",
        "transfer-encoding",
        "Content-Type",
        "authorization",
        "user-agent",
        "webhook-signature",
        "Webhook-Other",
        "x-roundtrip-delivery",
        "x-roundtrip-attempt",
    ] {
        assert_eq!(PlainHeader::parse(name), Err(NameInvalid::Taken(name.to_ascii_lowercase())));
    }
    for name in ["", "a b", "x-signature\r\nx-evil: 1", "x:y", "ä", &"x".repeat(65)] {
        assert_eq!(PlainHeader::parse(name), Err(NameInvalid::NoToken), "{name:?}");
    }
}

/// Checks a signature header as a receiver does: by splitting it at single spaces.
fn opens(value: &str, secret: &Secret, id: &str, timestamp: &str, body: &[u8]) -> bool {
    value.split(' ').filter_map(|one| one.strip_prefix("v1,")).any(|one| {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.key()).unwrap();
        for part in [id.as_bytes(), b".", timestamp.as_bytes(), b".", body] {
            mac.update(part);
        }
        STANDARD.decode(one).is_ok_and(|bytes| mac.verify_slice(&bytes).is_ok())
    })
}

fn opens_with_public_key(value: &str, public: &str, id: &str, timestamp: &str, body: &[u8]) -> bool {
    let raw = STANDARD.decode(public.strip_prefix("whpk_").unwrap()).unwrap();
    let key = ed25519_dalek::VerifyingKey::from_bytes(&raw.try_into().unwrap()).unwrap();
    let content = [id.as_bytes(), b".", timestamp.as_bytes(), b".", body].concat();
    value.split(' ').filter_map(|one| one.strip_prefix("v1a,")).any(|one| {
        let bytes = STANDARD.decode(one).unwrap();
        key.verify_strict(&content, &bytes.as_slice().try_into().unwrap()).is_ok()
    })
}

proptest! {
    #[test]
    fn what_is_signed_opens_and_nothing_else_does(
        secrets in prop::collection::vec(prop::collection::vec(any::<u8>(), 24..=64), 1..=5),
        seeds in prop::collection::vec(any::<[u8; 32]>(), 0..=3),
        ms in -1_000_000_000_000_i64..4_000_000_000_000,
        body in prop::collection::vec(any::<u8>(), 0..200),
        flipped in any::<prop::sample::Index>(),
    ) {
        let secrets: Vec<Secret> =
            secrets.iter().map(|bytes| Secret::parse(&STANDARD.encode(bytes)).unwrap()).collect();
        let keys: Vec<SigningKey> = seeds.into_iter().map(SigningKey::generate).collect();
        let now = Timestamp::from_ms(ms);
        // As a store may hand it over: longer than rotations make it.
        let signing = Signing {
            secret: secrets[0].clone(),
            older_secrets: secrets[1..]
                .iter()
                .map(|secret| OlderSecret { secret: secret.clone(), until: at(i64::MAX), cut_over: now })
                .collect(),
            key: keys.first().cloned(),
            older_keys: keys.iter().skip(1).map(|key| OlderKey { key: key.clone(), until: at(i64::MAX) }).collect(),
            plain_header: PlainHeader::default(),
        };
        let made = headers(&signing, ID, now, &body);
        let [(_, id), (_, timestamp), (_, value), (_, plain_value)] = &made[..] else { panic!("four headers") };
        prop_assert_eq!(timestamp, &ms.div_euclid(1000).to_string());

        // Hygiene: printable ASCII, lower-case names, single spaces, none at an end, three at most.
        for (name, value) in &made {
            prop_assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'));
            prop_assert!(value.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
        }
        let parts: Vec<&str> = value.split(' ').collect();
        prop_assert_eq!(parts.len(), SIGNATURES_MAX.min(secrets.len() + keys.len()));
        prop_assert!(parts.iter().all(|part| part.starts_with("v1,") || part.starts_with("v1a,")), "{}", value);
        prop_assert_eq!(plain_value.len(), 64);
        prop_assert!(plain_value.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')));

        let shown = usize::from(!keys.is_empty());
        for secret in secrets.iter().take(SIGNATURES_MAX - shown) {
            prop_assert!(opens(value, secret, id, timestamp, &body));
        }
        if let Some(key) = keys.first() {
            prop_assert!(opens_with_public_key(value, &key.public(), id, timestamp, &body));
            prop_assert!(!opens_with_public_key(value, &key.public(), id, "1", &body));
        }
        prop_assert!(!opens(value, &Secret::generate([0xee; 32]), id, timestamp, &body));
        prop_assert!(!opens(value, &secrets[0], "evt_other", timestamp, &body));
        prop_assert!(!opens(value, &secrets[0], id, "1", &body));
        if !body.is_empty() {
            let mut other = body.clone();
            other[flipped.index(body.len())] ^= 1;
            prop_assert!(!opens(value, &secrets[0], id, timestamp, &other));
            prop_assert_ne!(plain(&secrets[0], &other), plain_value.as_str());
        }
    }

    #[test]
    fn any_text_is_read_or_refused(text in ".{0,100}", prefix in "(whsec_|whsk_|whpk_)?") {
        let text = format!("{prefix}{text}");
        if let Ok(secret) = Secret::parse(&text) {
            prop_assert_eq!(Secret::parse(secret.shown()), Ok(secret));
        }
        if let Ok(key) = SigningKey::parse(&text) {
            prop_assert_eq!(SigningKey::parse(&key.shown()), Ok(key));
        }
        if let Ok(name) = PlainHeader::parse(&text) {
            prop_assert_eq!(PlainHeader::parse(name.as_str()), Ok(name.clone()));
        }
    }
}
