//! What was said about each setting, and where: texts, not yet understood.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Command};
use roundtrip_domain::problem::{Code, Problem};

use super::{CONFIG_ENV, Form, SETTINGS, Setting};

/// The flags of `serve`: those of [`SETTINGS`] and `--config`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Flags {
    /// The file named by `--config`.
    pub(crate) config: Option<PathBuf>,
    /// What each flag was given, by the setting's key.
    pub(crate) given: BTreeMap<&'static str, Vec<String>>,
}

impl clap::Args for Flags {
    fn augment_args(command: Command) -> Command {
        let config = Arg::new("config")
            .long("config")
            .value_name("FILE")
            .value_parser(clap::value_parser!(PathBuf))
            .help("Reads settings from the [server] table of this file.")
            .long_help(format!(
                "Reads settings from the [server] table of this file.\n\n[env: {CONFIG_ENV}]"
            ));
        SETTINGS.iter().fold(command.arg(config), |command, setting| command.arg(argument(setting)))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

/// The environment is not left to clap: it must come after the flags and before the file, and a test must be
/// able to hand it in.
fn argument(setting: &Setting) -> Arg {
    let mut long_help = format!("{}\n\n[env: {}]", setting.meaning, setting.env);
    if setting.form == Form::One && !setting.default.is_empty() {
        long_help.push_str(&format!("\n[default: {}]", setting.default));
    }
    let argument = Arg::new(setting.key).long(setting.flag).help(setting.meaning).long_help(long_help);
    match setting.form {
        Form::One => argument.value_name(setting.value),
        Form::Many => argument.value_name(setting.value).action(ArgAction::Append),
        Form::Switch => argument
            .value_name(setting.value)
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true"),
    }
}

impl clap::FromArgMatches for Flags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given = SETTINGS.iter().filter_map(|setting| {
            let values = matches.get_many::<String>(setting.key)?;
            Some((setting.key, values.cloned().collect()))
        });
        Ok(Self { config: matches.get_one("config").cloned(), given: given.collect() })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// What was said about one setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Said {
    /// Where: `--public`, `ROUNDTRIP_PUBLIC` or `server.public`.
    pub(crate) place: String,
    /// The texts; exactly one unless the setting takes many.
    pub(crate) values: Vec<String>,
}

/// What was said about all settings.
#[derive(Debug, Default)]
pub(crate) struct Raw {
    said: BTreeMap<&'static str, Said>,
    /// Oddities that are no reason to refuse.
    pub(crate) notes: Vec<String>,
}

impl Raw {
    /// Gathers flags, environment and file. Of each setting the strongest source stands; the weaker ones are
    /// still checked for their form.
    pub(crate) fn collect(flags: &Flags, env: &[(String, OsString)], problems: &mut Vec<Problem>) -> Self {
        let mut raw = Self::default();
        let env_file = env.iter().find(|(name, _)| name == CONFIG_ENV).map(|(_, value)| PathBuf::from(value));
        if let Some(file) = flags.config.clone().or(env_file) {
            raw.read_file(&file, problems);
        }
        raw.read_env(env, problems);
        for (key, values) in &flags.given {
            let flag =
                SETTINGS.iter().find(|setting| setting.key == *key).map_or(*key, |setting| setting.flag);
            raw.said.insert(key, Said { place: format!("--{flag}"), values: values.clone() });
        }
        raw
    }

    /// What was said about a setting; `None` leaves it at its default.
    pub(crate) fn get(&self, key: &str) -> Option<&Said> {
        self.said.get(key)
    }

    fn read_env(&mut self, env: &[(String, OsString)], problems: &mut Vec<Problem>) {
        for (name, value) in env {
            let Some(setting) = SETTINGS.iter().find(|setting| setting.env == name) else {
                let client = crate::client::VARIABLES.contains(&name.as_str());
                if name.starts_with("ROUNDTRIP_") && name != CONFIG_ENV && !client {
                    // Not refused: whoever runs containers names variables of their own after the product.
                    let known = SETTINGS.iter().map(|setting| setting.env);
                    self.notes.push(format!("the variable {name} is no setting{}", likely(name, known)));
                }
                continue;
            };
            let Some(text) = value.to_str() else {
                problems.push(Problem::new(Code::ConfigInvalid, name, "is not UTF-8"));
                continue;
            };
            if text.is_empty() {
                // Compose files pass unset variables on as empty ones.
                continue;
            }
            let values = match setting.form {
                Form::Many => text.split(',').map(|part| part.trim().to_owned()).collect(),
                Form::One | Form::Switch => vec![text.to_owned()],
            };
            self.said.insert(setting.key, Said { place: name.clone(), values });
        }
    }

    fn read_file(&mut self, file: &std::path::Path, problems: &mut Vec<Problem>) {
        let shown = file.display().to_string();
        let text = match std::fs::read_to_string(file) {
            Ok(text) => text,
            Err(error) => {
                problems.push(Problem::new(Code::ConfigMissing, shown, format!("cannot be read: {error}")));
                return;
            }
        };
        let table: toml::Table = match text.parse() {
            Ok(table) => table,
            Err(error) => {
                let message = format!("is not TOML: {}", error.to_string().trim_end());
                problems.push(Problem::new(Code::ConfigInvalid, shown, message));
                return;
            }
        };
        let server = match table.get("server") {
            None => return,
            Some(toml::Value::Table(server)) => server,
            Some(_) => {
                problems.push(Problem::new(Code::ConfigInvalid, "server", "is a table, written [server]"));
                return;
            }
        };
        for (key, value) in server {
            let place = format!("server.{key}");
            let Some(setting) = SETTINGS.iter().find(|setting| setting.key == key) else {
                let known = SETTINGS.iter().map(|setting| setting.key);
                let message = format!("is no setting{}", likely(key, known));
                problems.push(Problem::new(Code::ConfigUnknownKey, place, message));
                continue;
            };
            match texts(setting.form, value) {
                Some(values) => {
                    self.said.insert(setting.key, Said { place, values });
                }
                None => {
                    let wanted = match setting.form {
                        Form::One => "one text or number",
                        Form::Switch => "true or false",
                        Form::Many => "an array of texts or numbers",
                    };
                    problems.push(Problem::new(Code::ConfigInvalid, place, format!("is not {wanted}")));
                }
            }
        }
    }
}

fn texts(form: Form, value: &toml::Value) -> Option<Vec<String>> {
    use toml::Value as V;
    match (form, value) {
        (Form::One | Form::Many, V::String(text)) => Some(vec![text.clone()]),
        (Form::One, V::Integer(number)) => Some(vec![number.to_string()]),
        (Form::Switch, V::Boolean(on)) => Some(vec![on.to_string()]),
        (Form::Many, V::Array(items)) => items
            .iter()
            .map(|item| match item {
                V::String(text) => Some(text.clone()),
                V::Integer(number) => Some(number.to_string()),
                _ => None,
            })
            .collect(),
        _ => None,
    }
}

/// `; did you mean …?` when a known name is at most two edits away.
fn likely<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    let best = known.map(|other| (distance(name, other), other)).min();
    match best {
        Some((1..=2, other)) => format!("; did you mean {other}?"),
        _ => String::new(),
    }
}

/// Levenshtein's distance, by rows.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
