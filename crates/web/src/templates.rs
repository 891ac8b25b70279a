//! Sets of templates that are rendered from typed contexts: the dashboard's, a partner's sheet, a shared delivery. Each
//! keeps the templates it needs and no others.
//!
//! Values are escaped because the templates' names end in `.html`. Not relied on: that a context fits its template; a
//! misspelt name is an error where it is printed, and tests render every template.

use std::sync::OnceLock;

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, Error, UndefinedBehavior};
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
