//! Sets of templates that are rendered from typed contexts: the dashboard's, a partner's sheet, a shared delivery. Each
//! keeps the templates it needs and no others.
//!
//! Values are escaped because the templates' names end in `.html`. Not relied on: that a context fits its template; a
//! misspelt name is an error where it is printed, and tests render every template.

use std::sync::OnceLock;

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, Error, HtmlEscape, UndefinedBehavior, Value};
use serde::Serialize;

/// The one style sheet, for all of them.
pub(crate) const STYLE: &str = include_str!("../templates/style.css");

/// A set of templates, parsed when the first of them is asked for.
pub(crate) struct Templates {
    texts: &'static [(&'static str, &'static str)],
    made: OnceLock<Result<Environment<'static>, Error>>,
}

impl Templates {
    /// The set of these: name and text.
    pub(crate) const fn of(texts: &'static [(&'static str, &'static str)]) -> Self {
        Self { texts, made: OnceLock::new() }
    }

    fn make(&self) -> Result<Environment<'static>, Error> {
        let mut environment = Environment::new();
        // A misspelt name is an error where it is printed; absent facts are asked for with `if`.
        environment.set_undefined_behavior(UndefinedBehavior::SemiStrict);
        environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
        environment.add_filter("words", words);
        for (name, text) in self.texts {
            environment.add_template(name, text)?;
        }
        Ok(environment)
    }

    /// One of them, filled.
    ///
    /// # Errors
    /// When the template does not fit the context, which tests exclude.
    pub(crate) fn render(&self, name: &str, context: &impl Serialize) -> Result<String, Error> {
        let made = self.made.get_or_init(|| self.make());
        let environment = made.as_ref().map_err(|error| Error::new(error.kind(), error.to_string()))?;
        environment.get_template(name)?.render(minijinja::value::Serde(context))
    }
}

/// A sentence of ours as HTML: what stands between backticks looks like code, and an option of a command (`--json`) is not
/// broken behind its dashes.
#[expect(clippy::needless_pass_by_value, reason = "filters take what they are given")]
fn words(text: String) -> Value {
    let mut html = String::new();
    let is_paired = text.matches('`').count().is_multiple_of(2);
    for (n, part) in text.split('`').enumerate() {
        let is_code = is_paired && n % 2 == 1;
        if is_code {
            html.push_str("<span class=\"code\">");
        } else if n > 0 && !is_paired {
            html.push('`');
        }
        for (n, word) in part.split(' ').enumerate() {
            if n > 0 {
                html.push(' ');
            }
            let escaped = HtmlEscape(word);
            match word.starts_with("--") {
                true => html.push_str(&format!("<span class=\"option\">{escaped}</span>")),
                false => html.push_str(&escaped.to_string()),
            }
        }
        if is_code {
            html.push_str("</span>");
        }
    }
    Value::from_safe_string(html)
}

#[cfg(test)]
mod tests {
    use super::words;

    #[test]
    fn sentences_are_escaped_and_their_code_looks_like_code() {
        let html = |text: &str| words(text.to_owned()).to_string();
        assert_eq!(
            html("it is `roundtrip serve --x N`; <b> & \"y\""),
            "it is <span class=\"code\">roundtrip serve <span class=\"option\">--x</span> N</span>; &lt;b&gt; &amp; &quot;y&quot;"
        );
        assert_eq!(html("--a<i>"), "<span class=\"option\">--a&lt;i&gt;</span>");
        assert_eq!(html("one ` alone <script>"), "one ` alone &lt;script&gt;");
        assert_eq!(html(""), "");
    }
}
