//! Why something waits, and how an endpoint stands: in words, for the API, the pages and the commands.

use roundtrip_domain::endpoint::{Endpoint, NotAllowed, State, Wait};
use roundtrip_domain::settings::Settings;
use roundtrip_domain::time::{Timestamp, human};
/// An endpoint's id: `wbh_…`, or `rul_…:prt_…`.
pub use roundtrip_store::ledger::endpoint_id as id;
use roundtrip_store::ledger::{EndpointLogRow, EndpointRow, JobWait, Why, endpoint_name};

/// An endpoint by the name that commands take: `webhook:SLUG`, `rule:SLUG@PARTNER`. What was deleted since is named
/// by its id.
pub fn name(endpoint: Endpoint, settings: &Settings) -> String {
    endpoint_name(endpoint, Some(settings))
}

/// Why an endpoint is stopped, as the end of a sentence: `paused since … by …: …`, as far as it is known.
pub fn stopped(row: &EndpointRow) -> String {
    let why = reason(&row.reason).map_or_else(String::new, |why| format!(": {why}"));
    let by = if row.actor.is_empty() { String::new() } else { format!(" by {}", row.actor) };
    format!("{} since {}{by}{why}", row.state.name(), row.since)
}

/// A line of an endpoint's log, as a sentence.
pub fn became(line: &EndpointLogRow) -> String {
    let (by, why) = (&line.actor, &line.reason);
    match line.code.as_str() {
        "active" if why.is_empty() => format!("Let go on by {by}."),
        "active" => format!("Let go on by {by}: {why}."),
        code @ ("paused" | "disabled") => {
            let word = if code == "paused" { "Paused" } else { "Disabled" };
            match reason(why) {
                Some(why) => format!("{word} by {by}: {why}."),
                None => format!("{word} by {by}."),
            }
        }
        "endpoint_failing" => format!("It had been failing for {why}; who wants to know was told."),
        "endpoint_disabled" => "That it is disabled was told.".to_owned(),
        "endpoint_recovered" => "It works again.".to_owned(),
        other => format!("{other} {why}").trim().to_owned(),
    }
}

/// Why an endpoint was stopped, in words; `None` when nobody said.
fn reason(code: &str) -> Option<&str> {
    match code {
        "" => None,
        "failing_for_days" => Some("it failed for five days"),
        "gone" => Some("its receiver said that it is gone (410)"),
        other => Some(other),
    }
}

/// Why something waits, as the end of "it waits because …". `held`: how its endpoint stands, if that is stopped.
pub fn because(why: Why, held: Option<&EndpointRow>, now: Timestamp) -> String {
    let until = |what: &str| match why.until {
        Some(at) if at > now => format!("{what} in {}", human(at.since(now))),
        Some(_) => format!("{what} now"),
        None => format!("{what} when what is under way has ended"),
    };
    match (why.wait, held) {
        (Wait::Paused | Wait::Disabled, Some(row)) => format!("its endpoint is {}", stopped(row)),
        (Wait::Paused, None) => "its endpoint is paused".to_owned(),
        (Wait::Disabled, None) => "its endpoint is disabled".to_owned(),
        (Wait::Delayed, _) => until("its rule delays it; it is sent"),
        (Wait::DueAt, _) => until("it is not due; it is sent"),
        (Wait::BreakerOpen, _) => {
            until("its endpoint was in trouble and is left in peace; one delivery finds out")
        }
        (Wait::NotAllowed(what), _) => until(&format!(
            "the server's own settings do not allow {}, {} does; one delivery finds out",
            what.what(),
            what.switch()
        )),
        (Wait::RetryAfter, _) => until("the receiver asked for a rest; it goes on"),
        (Wait::RateLimited, _) => until("only so many a second are sent there; the next one goes"),
        (Wait::HostFull, _) => "as many requests as its host is given at once are under way".to_owned(),
        (Wait::ConcurrencyFull, _) => {
            "as many requests as its endpoint is given at once are under way".to_owned()
        }
        (Wait::RetryBudget, _) => "first attempts go before retries, four to one".to_owned(),
        (Wait::Quota, _) => until("its workspace has used up its quota; it goes on"),
        (Wait::TotalFull, _) => {
            "as many requests as the server makes at once are under way, or it is the turn of others"
                .to_owned()
        }
        (Wait::LedgerBusy, _) => "the ledger has not stored yet what came back from earlier sends".to_owned(),
        (Wait::Sending, _) => "it is being sent".to_owned(),
        (Wait::Next, _) => "its turn comes next".to_owned(),
    }
}

/// What the server's own settings do not allow of an endpoint's requests, and the switch that allows it; the end of "it
/// is told nothing: ".
pub(crate) fn not_allowed(what: NotAllowed) -> String {
    format!(
        "this server's own settings do not allow {}; `roundtrip serve {}` does",
        what.what(),
        what.switch()
    )
}

/// Why a job plans nothing at the moment, as the end of "it waits because …". `has_rate`: its owner said how fast it goes.
pub(crate) fn job_because(wait: JobWait, has_rate: bool, settings: &Settings, now: Timestamp) -> String {
    let until = |what: &str| match wait.why.until {
        Some(at) if at > now => format!("{what} in {}", human(at.since(now))),
        _ => format!("{what} now"),
    };
    let Some(endpoint) = wait.endpoint else {
        return until(match has_rate {
            true => "it is not to go faster than it was asked to; it goes on",
            false => "most of the room is left to what is fresh; it goes on",
        });
    };
    let name = name(endpoint, settings);
    match wait.why.wait {
        Wait::BreakerOpen => {
            until(&format!("{name} was in trouble and is left in peace; one delivery finds out"))
        }
        Wait::NotAllowed(what) => {
            format!("{name} is told nothing: {}", not_allowed(what))
        }
        Wait::RetryAfter => until(&format!("the receiver of {name} asked for a rest; it goes on")),
        _ => format!("what it planned for {name} is not sent yet, and a job has a quarter of its room"),
    }
}

/// How an endpoint stands, in sentences; `queued` is what waits or, of a stopped one, is held; `refused` what the server's
/// own settings do not allow of its requests.
pub(crate) fn stands(row: &EndpointRow, queued: u64, refused: Option<NotAllowed>) -> String {
    if let (State::Active, Some(what)) = (row.state, refused) {
        return format!("It is told nothing: {}. Waiting: {queued}.", not_allowed(what));
    }
    let end = match row.state {
        State::Active if queued > 0 => return format!("It is told. Waiting: {queued}."),
        State::Active => return "It is told.".to_owned(),
        State::Paused => "resumed",
        State::Disabled => "enabled",
    };
    let why = stopped(row);
    format!("It is {why}. What is planned for it is held until it is {end}. Held: {queued}.")
}

/// Who stopped an endpoint and why, in short.
pub(crate) fn stopped_by(row: &EndpointRow) -> String {
    let word = if row.state == State::Paused { "Paused" } else { "Disabled" };
    match reason(&row.reason) {
        Some(why) => format!("{word} by {}: {why}.", row.actor),
        None => format!("{word} by {}.", row.actor),
    }
}

#[cfg(test)]
mod tests {
    use roundtrip_domain::endpoint::health::Health;
    use roundtrip_domain::id::{Id, WorkspaceNo};

    use super::*;

    #[test]
    fn says_who_stopped_it_and_until_when_it_waits() {
        let at = Timestamp::from_ms;
        let row = EndpointRow {
            workspace: WorkspaceNo::DEFAULT,
            endpoint: Endpoint::Webhook(Id::from_bits(1)),
            state: State::Disabled,
            reason: "failing_for_days".into(),
            actor: "roundtrip".into(),
            since: at(0),
            health: Health::default(),
        };
        let why = |wait, until| Why { wait, until };
        assert_eq!(
            because(why(Wait::Disabled, None), Some(&row), at(5)),
            "its endpoint is disabled since 1970-01-01T00:00:00.000Z by roundtrip: it failed for five days"
        );
        let rest = because(why(Wait::RetryAfter, Some(at(60_000))), None, at(0));
        assert_eq!(rest, "the receiver asked for a rest; it goes on in 1 m");
        let probing = because(why(Wait::BreakerOpen, None), None, at(0));
        assert!(probing.ends_with("finds out when what is under way has ended"), "{probing}");
    }
}
