use clap::CommandFactory as _;

use super::{Cli, exit_code};
use crate::config::Refused;
use crate::node::Fatal;

/// The help of each command is part of what is promised; a change shows up here.
#[test]
fn help_is_as_reviewed() {
    fn visit(command: &mut clap::Command, path: &str) {
        let help = command.clone().bin_name(path.replace('_', " ")).render_long_help().to_string();
        insta::assert_snapshot!(path.to_owned(), help);
        let names: Vec<_> = command.get_subcommands().map(|sub| sub.get_name().to_owned()).collect();
        for name in names.iter().filter(|name| *name != "help") {
            let sub = command.find_subcommand_mut(name).expect("it was listed");
            visit(sub, &format!("{path}_{name}"));
        }
    }
    insta::with_settings!({ prepend_module_to_snapshot => false, snapshot_path => "../snapshots/help" }, {
        visit(&mut Cli::command(), "roundtrip");
    });
}

#[test]
fn arguments_do_not_collide() {
    Cli::command().debug_assert();
}

/// As with `ROUNDTRIP_SERVER` in the environment: clap counts what is set there among what was typed.
#[test]
fn usage_does_not_ask_for_what_was_set_already() {
    let typed = ["roundtrip", "deliveries", "--server", "http://127.0.0.1:1", "--data", "d", "--nope"];
    let said = super::command().try_get_matches_from(typed).expect_err("no such option").to_string();
    assert!(said.contains("Usage: roundtrip deliveries [OPTIONS]\n"), "{said}");
    let deep = ["roundtrip", "endpoint", "pause", "--server", "http://127.0.0.1:1"];
    let said = super::command().try_get_matches_from(deep).expect_err("a name is missing").to_string();
    assert!(said.contains("Usage: roundtrip endpoint pause [OPTIONS] <NAME>\n"), "{said}");
}

#[test]
fn exit_codes_are_the_documented_ones() {
    assert_eq!(exit_code(&Refused(Vec::new()).into()), 2);
    assert_eq!(exit_code(&Fatal("fsync".to_owned()).into()), 70);
    assert_eq!(exit_code(&anyhow::Error::from(Fatal(String::new())).context("serve")), 70);
    assert_eq!(exit_code(&anyhow::anyhow!("anything else")), 1);
}
