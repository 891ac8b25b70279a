//! SQL by name. Statements live in `sql/*.sql`, each opened by a line `-- name: …`; the conformance suite,
//! not the compiler, checks them, and a test here prepares every one against the schema.

use std::collections::HashMap;
use std::sync::OnceLock;

const FILES: &[&str] = &[
    include_str!("sql/schema_0001.sql"),
    include_str!("sql/settings.sql"),
    include_str!("sql/event.sql"),
    include_str!("sql/decide.sql"),
    include_str!("sql/delivery.sql"),
    include_str!("sql/endpoint.sql"),
    include_str!("sql/failure.sql"),
    include_str!("sql/report.sql"),
    include_str!("sql/list.sql"),
    include_str!("sql/job.sql"),
    include_str!("sql/backup.sql"),
    include_str!("sql/export.sql"),
];

fn all() -> &'static HashMap<&'static str, &'static str> {
    static ALL: OnceLock<HashMap<&'static str, &'static str>> = OnceLock::new();
    ALL.get_or_init(|| {
        FILES
            .iter()
            .flat_map(|file| file.split("-- name: ").skip(1))
            .filter_map(|part| part.split_once('\n'))
            .map(|(name, text)| (name.trim(), text))
            .collect()
    })
}

/// The statement of that name. A name that does not exist gives text that SQLite refuses, naming it.
pub(super) fn sql(name: &'static str) -> &'static str {
    all().get(name).copied().unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_statement_prepares() {
        let conn = rusqlite::Connection::open_in_memory().unwrap();
        conn.execute_batch(sql("schema_0001")).unwrap();
        for (name, text) in all().iter().filter(|(name, _)| !name.starts_with("schema_")) {
            if let Err(error) = conn.prepare(text) {
                panic!("{name}: {error}");
            }
        }
    }

    /// A million rows wait in these tables when a partner is away; a look-up there must not be a walk.
    #[test]
    fn hot_tables_are_looked_up_by_their_index() {
        let conn = rusqlite::Connection::open_in_memory().unwrap();
        conn.execute_batch(sql("schema_0001")).unwrap();
        for (name, index) in [
            ("queue_of_delivery", "queue_by_delivery (workspace=? AND delivery=?)"),
            (
                "queue_sends",
                "PRIMARY KEY (workspace=? AND teller=? AND partner=? AND retry=? AND due=? AND delivery=?)",
            ),
            (
                "queue_delete",
                "PRIMARY KEY (workspace=? AND teller=? AND partner=? AND retry=? AND due=? AND delivery=?)",
            ),
            ("queue_window", "PRIMARY KEY (workspace=? AND teller=? AND partner=? AND retry=?)"),
            ("held_too_long", "PRIMARY KEY (workspace=? AND teller=? AND partner=? AND retry=? AND due<?)"),
            ("todo_due", "todo_by_after (workspace=? AND after<?)"),
            ("queue_of_event", "delivery_by_event (workspace=? AND event=?)"),
            ("webhook_told", "delivery_by_event (workspace=? AND event=?)"),
            ("delivery_tellings", "delivery_by_event (workspace=? AND event=?)"),
            ("fact_deliveries", "delivery_by_event (workspace=? AND event=?)"),
            ("delivery_of_event", "delivery_by_event (workspace=? AND event=?)"),
            ("arrivals", "finish_by_arrival (workspace=? AND at>? AND at<?)"),
            ("recount_queue", "d USING PRIMARY KEY (workspace=? AND id=?)"),
            ("expire_event_key", "event_key_by_expiry (workspace=? AND expires_at<?)"),
            ("queue_books", "PRIMARY KEY (workspace=? AND day>? AND day<?)"),
            ("queue_oldest", "queue_by_delivery (workspace=? AND delivery>?)"),
            ("births_list", "tie_by_births (workspace=? AND app=? AND key=? AND births=?)"),
            ("failure_retries", "PRIMARY KEY (workspace=? AND teller=? AND partner=? AND retry=?)"),
            ("export_events", "PRIMARY KEY (workspace=? AND id>? AND id<?)"),
            ("export_conversions", "PRIMARY KEY (workspace=? AND id>? AND id<?)"),
            ("export_decisions", "PRIMARY KEY (workspace=? AND event>? AND event<?)"),
            ("export_deliveries", "PRIMARY KEY (workspace=? AND id>? AND id<?)"),
            ("export_first_event", "PRIMARY KEY (workspace=?)"),
            ("export_oldest_undecided", "PRIMARY KEY (workspace=?)"),
            ("export_first_delivery", "PRIMARY KEY (workspace=?)"),
            ("ids_newest_event", "PRIMARY KEY (workspace=? AND id<?)"),
            ("ids_newest_delivery", "PRIMARY KEY (workspace=? AND id<?)"),
            ("todo_by_identity", "PRIMARY KEY (workspace=? AND app=? AND kind=? AND key=?)"),
        ] {
            let mut statement = conn.prepare(&format!("EXPLAIN QUERY PLAN {}", sql(name))).unwrap();
            let mut rows = statement.raw_query();
            let mut plan: Vec<String> = Vec::new();
            while let Some(row) = rows.next().unwrap() {
                plan.push(row.get(3).unwrap());
            }
            assert!(plan.iter().any(|step| step.contains(index)), "{name}: {plan:?}");
            let walks = plan.iter().any(|step| step.starts_with("SCAN") && !step.ends_with(" t"));
            assert!(!walks && !plan.iter().any(|step| step.contains("TEMP B-TREE")), "{name}: {plan:?}");
        }
    }

    #[test]
    fn every_name_used_exists() {
        let sources = [
            include_str!("mod.rs"),
            include_str!("settings.rs"),
            include_str!("event.rs"),
            include_str!("handoff.rs"),
            include_str!("claim.rs"),
            include_str!("decide.rs"),
            include_str!("install.rs"),
            include_str!("todo.rs"),
            include_str!("tell.rs"),
            include_str!("revision.rs"),
            include_str!("booked.rs"),
            include_str!("delivery.rs"),
            include_str!("endpoint.rs"),
            include_str!("failure.rs"),
            include_str!("export.rs"),
            include_str!("story.rs"),
            include_str!("report.rs"),
            include_str!("list.rs"),
            include_str!("listed.rs"),
            include_str!("fact.rs"),
            include_str!("notice.rs"),
            include_str!("ids.rs"),
            include_str!("filter.rs"),
            include_str!("status.rs"),
            include_str!("job.rs"),
            include_str!("recover.rs"),
            include_str!("share.rs"),
            include_str!("tail.rs"),
            include_str!("rollup.rs"),
            include_str!("retention.rs"),
            include_str!("slice.rs"),
        ];
        for source in sources {
            for part in source.split("sql(\"").skip(1) {
                let name = part.split('"').next().unwrap();
                assert!(all().contains_key(name), "no statement is named {name}");
            }
        }
    }
}
