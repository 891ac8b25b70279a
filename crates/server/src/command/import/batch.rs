//! Many imports as one document: what two of them share stands there once, and what only has the same name gets
//! another.

use roundtrip_domain::import::{Input, import};
use roundtrip_domain::problem::Problem;
use roundtrip_store::settings::document::Document;
use roundtrip_web::import::{Answer, answer};
use serde_json::{Value, json};

/// Most names that are tried for one link or rule.
const NAMES_MAX: usize = 10_000;

/// A URL that could not be read.
pub(super) struct Refused {
    /// Its line in the list.
    pub(super) line: Option<usize>,
    pub(super) problem: Problem,
}

impl Refused {
    pub(super) fn text(&self) -> String {
        let place = self.line.map_or_else(String::new, |line| format!("line {line}: "));
        let Problem { code, message, .. } = &self.problem;
        format!("{place}{message} ({}); {}", code.text(), self.problem.fix())
    }

    pub(super) fn json(&self) -> Value {
        let Problem { code, field, message, .. } = &self.problem;
        let mut value = json!({
            "type": "refused", "code": code.text(), "field": field, "message": message, "rule": code.rule(),
            "fix": self.problem.fix(),
        });
        if let Some(line) = self.line {
            value["line"] = line.into();
        }
        value
    }
}

/// What became of some URLs.
#[derive(Default)]
pub(super) struct Batch {
    /// Lines, URLs and what became of them.
    pub(super) answers: Vec<(Option<usize>, String, Answer)>,
    pub(super) refused: Vec<Refused>,
    /// All their documents.
    pub(super) document: Document,
}

impl Batch {
    /// Imports one more URL.
    pub(super) fn add(&mut self, input: &Input, line: Option<usize>, url: String) {
        let mut input = Input { url: url.clone(), ..input.clone() };
        let mut answer = match import(&input) {
            Ok(imported) => answer(&imported),
            Err(problem) => return self.refused.push(Refused { line, problem }),
        };
        // Another link or rule of that name: it is read again under the next free one.
        let main = |answer: &Answer| {
            let document = &answer.document;
            document.links.keys().next().or_else(|| document.rules.keys().next()).cloned().unwrap_or_default()
        };
        let wanted = main(&answer);
        let mut number = 2;
        while self.clashes(&answer) && number < NAMES_MAX {
            input.slug = Some(format!("{wanted}-{number}"));
            number += 1;
            if let Ok(imported) = import(&input) {
                answer = roundtrip_web::import::answer(&imported);
            }
        }
        self.join(&answer);
        self.answers.push((line, url, answer));
    }

    fn clashes(&self, answer: &Answer) -> bool {
        let (all, one) = (&self.document, &answer.document);
        one.links.iter().any(|(slug, link)| all.links.get(slug).is_some_and(|known| known != link))
            || one.links.is_empty()
                && one.rules.iter().any(|(slug, rule)| all.rules.get(slug).is_some_and(|known| known != rule))
    }

    fn join(&mut self, answer: &Answer) {
        let all = &mut self.document;
        let one = answer.document.clone();
        for (slug, campaign) in one.campaigns {
            let known = all.campaigns.entry(slug).or_insert_with(|| campaign.clone());
            known.name = known.name.take().or(campaign.name);
            known.public_id = known.public_id.take().or(campaign.public_id);
        }
        for (slug, partner) in one.partners {
            let known = all.partners.entry(slug).or_insert_with(|| partner.clone());
            known.ref_id = known.ref_id.take().or(partner.ref_id);
            // A setting that is there with another value stays: the list says where each came from.
            for (name, value) in partner.cfg {
                known.cfg.entry(name).or_insert(value);
            }
        }
        all.links.extend(one.links);
        for (slug, rule) in one.rules {
            // A callback's rule is named by partner and event; two links may carry different ones.
            let mut name = slug.clone();
            let mut number = 2;
            while all.rules.get(&name).is_some_and(|known| *known != rule) && number < NAMES_MAX {
                name = format!("{slug}-{number}");
                number += 1;
            }
            all.rules.insert(name, rule);
        }
    }
}
