//! The parameters of an inbound postback: its query and its form body as one list.
//!
//! Unlike a link's, they are judged: the sender is a program that can be corrected, and a value that was guessed at is
//! money booked wrongly. The token is taken out at once, so that nothing behind this file can keep or log it.

use roundtrip_domain::params::{
    NAME_BYTES_MAX, PARAMS_MAX, Params, QUERY_BYTES_MAX, VALUE_BYTES_MAX, bad_escape, decode,
};
use roundtrip_domain::problem::{Code, Problem};

/// A postback's parameters.
#[derive(Debug)]
pub(super) struct Parameters {
    /// All but the token, read.
    pub(super) params: Params,
    /// All but the token, as received.
    pub(super) query: Vec<u8>,
    /// The token's decoded bytes, if there is one.
    pub(super) token: Option<Vec<u8>>,
    /// What is wrong with their form, in the order in which they came.
    pub(super) problems: Vec<Problem>,
}

impl Parameters {
    /// Reads query and body.
    pub(super) fn read(query: &[u8], body: &[u8]) -> Self {
        let mut kept: Vec<&[u8]> = Vec::new();
        let mut seen: Vec<(Vec<u8>, &[u8])> = Vec::new();
        let mut token = None;
        let mut problems = Vec::new();
        let pairs = [query, body].into_iter().flat_map(|part| part.split(|b| matches!(b, b'&' | b'?')));
        for pair in pairs.map(trim_line_end).filter(|pair| !pair.is_empty()) {
            let at = pair.iter().position(|b| *b == b'=').unwrap_or(pair.len());
            let (raw_name, raw) = (&pair[..at], pair.get(at + 1..).unwrap_or_default());
            let name = decode(raw_name);
            if name.is_empty() {
                continue;
            }
            let is_token = name == b"token";
            let shown: String =
                String::from_utf8_lossy(&name).chars().filter(|c| !c.is_control()).take(64).collect();
            let mut wrong = |code, message: String| problems.push(Problem::new(code, shown.clone(), message));
            if raw_name.len() > NAME_BYTES_MAX {
                wrong(Code::ValueTooLong, format!("the name has more than {NAME_BYTES_MAX} bytes"));
            } else if raw.len() > VALUE_BYTES_MAX {
                wrong(
                    Code::ValueTooLong,
                    format!("the value has {} bytes, at most {VALUE_BYTES_MAX} are allowed", raw.len()),
                );
            } else if bad_escape(raw) || bad_escape(raw_name) {
                wrong(Code::PercentEscapeInvalid, "a % is not followed by two hexadecimal digits".to_owned());
            } else if std::str::from_utf8(&decode(raw)).is_err() || std::str::from_utf8(&name).is_err() {
                wrong(Code::Utf8Invalid, "the decoded bytes are no UTF-8".to_owned());
            }
            match seen.iter().find(|(known, _)| *known == name) {
                // A form that repeats what the query says already says nothing new.
                Some((_, first)) if *first == raw => continue,
                Some(_) => {
                    wrong(
                        Code::ParameterRepeated,
                        "the parameter came twice, with different values".to_owned(),
                    );
                    continue;
                }
                None => {}
            }
            if seen.len() == PARAMS_MAX {
                problems.push(Problem::new(
                    Code::ValueTooLong,
                    "",
                    format!("there are more than {PARAMS_MAX} parameters"),
                ));
                break;
            }
            seen.push((name, raw));
            if is_token {
                token = Some(decode(raw)).filter(|token| !token.is_empty());
            } else {
                kept.push(pair);
            }
        }
        let query = kept.join(&b'&');
        if query.len() > QUERY_BYTES_MAX {
            let message = format!(
                "all parameters together have {} bytes, at most {QUERY_BYTES_MAX} are allowed",
                query.len()
            );
            problems.push(Problem::new(Code::ValueTooLong, "", message));
        }
        Self { params: Params::parse(&query), query, token, problems }
    }
}

/// Forms written by hand end in a line break.
fn trim_line_end(pair: &[u8]) -> &[u8] {
    let end = pair.iter().rposition(|b| !matches!(b, b'\r' | b'\n')).map_or(0, |at| at + 1);
    &pair[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(query: &str, body: &str, want: &[(Code, &str)]) {
        let read = Parameters::read(query.as_bytes(), body.as_bytes());
        let got: Vec<_> = read.problems.iter().map(|p| (p.code, p.field.as_str())).collect();
        assert_eq!(got, want, "{query} {body}");
    }

    #[test]
    fn each_fault_of_form_has_its_code_and_parameter() {
        check("a=1&b=%41+c", "d=2\n", &[]);
        check("a=%4", "", &[(Code::PercentEscapeInvalid, "a")]);
        check("a=%ff", "", &[(Code::Utf8Invalid, "a")]);
        check("a=1&a=2", "", &[(Code::ParameterRepeated, "a")]);
        check("a=1", "a=2", &[(Code::ParameterRepeated, "a")]);
        check("a=1", "a=1", &[]);
        check("token=1&token=2", "", &[(Code::ParameterRepeated, "token")]);
        check(&format!("a={}", "x".repeat(VALUE_BYTES_MAX + 1)), "", &[(Code::ValueTooLong, "a")]);
        check(&format!("{}=1", "x".repeat(200)), "", &[(Code::ValueTooLong, &"x".repeat(64))]);
        let many: String = (0..200).map(|i| format!("p{i}=1&")).collect();
        check(&many, "", &[(Code::ValueTooLong, "")]);
        let long: String = (0..9).map(|i| format!("p{i}={}&", "x".repeat(2_000))).collect();
        check(&long, "", &[(Code::ValueTooLong, "")]);
        check("a=%zz&b=%ff", "", &[(Code::PercentEscapeInvalid, "a"), (Code::Utf8Invalid, "b")]);
    }

    #[test]
    fn the_token_is_taken_out_whatever_way_it_is_written() {
        for query in [
            "a=1&token=s3%63ret&b=2",
            "token=s3cret&a=1&b=2",
            "a=1&b=2&t%6fken=s3cret",
            "a=1?token=s3cret&b=2",
        ] {
            let read = Parameters::read(query.as_bytes(), b"");
            assert_eq!(read.token.as_deref(), Some(b"s3cret".as_slice()), "{query}");
            assert_eq!(read.query, b"a=1&b=2", "{query}");
            assert_eq!(read.params.get("token"), None);
        }
        let again = Parameters::read(b"token=a&token=b&x=1", b"token=c");
        assert_eq!(again.query, b"x=1", "not even a repeated one is kept");
        assert_eq!(Parameters::read(b"token=&x=1", b"").token, None);
    }
}
