//! The statements themselves: that they fit the migrations, and that no row they do not need is ever walked.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use plangate::delivery::Verified;
use plangate::event::{ParseError, Parsed};
use plangate::ledger::Filter;
use plangate::provider::{Ours, PROVIDERS};
use plangate::store::sqlite::MIGRATIONS;
use plangate::store::{
    LATEST_MIGRATION, Outcome, Statement, again, health, history, ledger, loose, snapshots, webhook,
};
use plangate::time::Timestamp;
use rusqlite::Connection;
use rusqlite::types::Value;
use serde_json::json;

use crate::history::{
    NOW, Sent, Shop, T, identity_event, item, item_event, payer, payment_event, run_statement, subscription_event, with,
};

/// What wrangler keeps of the migrations it applied.
const D1_MIGRATIONS: &str = "CREATE TABLE d1_migrations (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT UNIQUE, \
                             applied_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP NOT NULL)";

/// The names of the files in `migrations/`, in order, with their text.
fn migration_files() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations");
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read_to_string(path).unwrap()))
        .collect();
    files.sort();
    files
}

#[test]
fn the_code_lists_every_migration_and_names_the_last() {
    let files = migration_files();
    let texts: Vec<&str> = files.iter().map(|(_, text)| text.as_str()).collect();
    assert_eq!(MIGRATIONS, texts);
    assert_eq!(LATEST_MIGRATION, files.last().unwrap().0);
    for (number, (name, _)) in files.iter().enumerate() {
        assert!(name.starts_with(&format!("{:04}_", number + 1)) && name.ends_with(".sql"), "{name}");
    }
}

#[test]
fn migrations_apply_to_an_empty_database_and_every_statement_fits_them() {
    let connection = Connection::open_in_memory().unwrap();
    connection.execute_batch(D1_MIGRATIONS).unwrap();
    for (name, text) in migration_files() {
        connection.execute_batch(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    for statement in statements() {
        let prepared = connection.prepare(statement.sql).unwrap_or_else(|error| panic!("{error}: {}", statement.sql));
        assert_eq!(prepared.parameter_count(), statement.params.len(), "{}", statement.sql);
    }
}

#[test]
fn health_tells_of_migrations_dead_letters_and_deliveries() {
    let mut shop = Shop::new();
    shop.connection().execute_batch(D1_MIGRATIONS).unwrap();
    let at = Timestamp::from_millis(NOW);
    let read = |shop: &Shop| -> serde_json::Value {
        let text: String = shop.connection().query_row(health(at).sql, [NOW], |row| row.get("health")).unwrap();
        serde_json::from_str(&text).unwrap()
    };
    assert_eq!(
        read(&shop),
        json!({"migration": null, "dead_letters": 0, "unassigned_records": 0, "deliveries": [], "sold": [], "rejections": [],
            "sweeps": [], "undelivered": [], "unsent_since": null})
    );
    shop.connection()
        .execute("INSERT INTO d1_migrations (name) VALUES ('0000_old.sql'), (?1)", [LATEST_MIGRATION])
        .unwrap();
    shop.deliver(&Sent::raw("e1", "not JSON"));
    shop.deliver(&item_event(
        "e2",
        "active",
        T,
        with(item("user_1", "i_1", "active", "pro", T), json!({"payer": null})),
    ));
    assert_eq!(
        read(&shop),
        json!({
            "migration": LATEST_MIGRATION,
            "dead_letters": 1,
            "unassigned_records": 1,
            "deliveries": [
                {"provider": "clerk", "outcome": "dead_letter", "detail": "", "count": 1, "last_at": NOW},
                {"provider": "clerk", "outcome": "stored", "detail": "", "count": 1, "last_at": NOW},
            ],
            "sold": [{"provider": "clerk", "key": "pro", "id": "cplan_pro"}],
            "rejections": [],
            "unsent_since": null,
            "sweeps": [],
            "undelivered": [],
        })
    );
}

#[test]
fn of_very_many_prices_as_many_are_told_as_d1_can_answer_and_every_product_is_among_them() {
    let shop = Shop::new();
    shop.connection().execute_batch(D1_MIGRATIONS).unwrap();
    // As where every customer has a price of their own.
    let many = "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n LIMIT 40000) INSERT INTO plan_keys \
                SELECT 'stripe', printf('price_1QXg1o8vlqPyMhC%06d', n), printf('prod_QXg1o8vlqP%d', n % 3) FROM n";
    shop.connection().execute(many, []).unwrap();
    shop.connection().execute("INSERT INTO plan_keys VALUES ('stripe', 'price_0', 'prod_other')", []).unwrap();
    for statement in [health(Timestamp::from_millis(NOW)), loose(100)] {
        let rows = run_statement(shop.connection(), &statement);
        let Value::Text(text) = &rows[0][0] else { panic!("{rows:?}") };
        // https://developers.cloudflare.com/d1/platform/limits/
        assert!(text.len() < 2_000_000, "{}", text.len());
        for key in
            ["price_0", "price_1QXg1o8vlqPyMhC040000", "price_1QXg1o8vlqPyMhC039999", "price_1QXg1o8vlqPyMhC039998"]
        {
            assert!(text.contains(&format!("\"{key}\"")), "{key}");
        }
    }
}

/// The names of tables that grow with use, as they are and as the statements call them.
const GROWING: [&str; 10] =
    ["deliveries", "d", "records", "r", "h", "u", "payments", "payers", "p", "payment_attempts"];

/// How SQLite means to run a statement.
pub fn steps_of_plan(connection: &Connection, sql: &str) -> Vec<String> {
    let mut prepared = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
    let count = prepared.parameter_count();
    let steps: Vec<String> = prepared
        .query_map(rusqlite::params_from_iter(vec![rusqlite::types::Null; count]), |row| row.get("detail"))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    assert!(!steps.is_empty(), "{sql}");
    steps
}

/// The steps of the plan that walk a whole table that grows.
pub fn walks(connection: &Connection, sql: &str) -> Vec<String> {
    steps_of_plan(connection, sql)
        .into_iter()
        .filter(|step| match step.split_once(' ') {
            Some(("SCAN", rest)) => GROWING.contains(&rest.split(' ').next().unwrap()),
            // By the provider alone: that is all of a table, or nearly.
            Some(("SEARCH", rest)) => rest.ends_with("(provider=?)") || rest.contains("AUTOMATIC"),
            _ => false,
        })
        .collect()
}

#[test]
fn the_payer_of_a_delivery_is_looked_for_once_a_statement() {
    let shop = Shop::new();
    shop.connection().execute_batch(D1_MIGRATIONS).unwrap();
    let looks =
        |sql: &str| steps_of_plan(shop.connection(), sql).iter().filter(|step| step.starts_with("SEARCH r ")).count();
    let named: Vec<&str> =
        statements().iter().map(|statement| statement.sql).filter(|sql| sql.contains("CROSS JOIN records r")).collect();
    assert!(!named.is_empty());
    for sql in named {
        assert_eq!(looks(sql), 1, "{sql}");
    }
}

#[test]
fn webhooks_and_checks_never_walk_a_table_that_grows() {
    let shop = Shop::new();
    shop.connection().execute_batch(D1_MIGRATIONS).unwrap();
    for statement in statements() {
        // Counting what is wrong reads the index of what is wrong, and nothing else.
        let is_health = statement.sql == health(Timestamp::from_millis(NOW)).sql;
        let is_of_dead_letters = statement.sql == of_dead_letters().sql;
        let walks = walks(shop.connection(), statement.sql);
        // A body that cannot be read is searched for the ids of those who were erased, who are few.
        let allowed = |step: &String| {
            is_health && step == "SCAN deliveries USING COVERING INDEX dead_letters"
                || is_of_dead_letters && step == "SCAN deliveries USING INDEX dead_letters"
                || step == "SCAN payers USING INDEX payers_erased"
        };
        assert!(walks.iter().all(allowed), "{walks:?} in\n{}", statement.sql);
    }
    // Or the test sees nothing.
    for sql in [
        "SELECT * FROM records WHERE status = 'active'",
        "SELECT 1 FROM deliveries d WHERE event_type = ?1",
        "SELECT r.payer FROM json_each(?1) e JOIN records r ON r.provider = ?2 AND r.id = e.value ->> 'id'",
        "SELECT * FROM payments WHERE payment = ?1",
    ] {
        assert_eq!(walks(shop.connection(), sql).len(), 1, "{sql}");
    }
}

/// The statements of every delivery there is an example of, of every provider, by the example's file.
fn statements_of_examples() -> Vec<(String, Vec<Statement>)> {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let mut all = Vec::new();
    for provider in PROVIDERS {
        let mut files: Vec<_> =
            fs::read_dir(data.join(provider.name())).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        let before = all.len();
        for file in files {
            let name = format!("{}/{}", provider.name(), file.file_name().unwrap().to_str().unwrap());
            // What is expected of an example lies beside it.
            if !name.ends_with(".json") || name.ends_with(".event.json") {
                continue;
            }
            let body = fs::read(&file).unwrap();
            let at = Timestamp::from_millis(NOW);
            let verified = Verified::recorded(format!("e_{name}"), at, &body);
            let parsed = provider.parse(&verified, &Ours::default());
            all.push((name, webhook(provider.name(), &verified, &parsed, true, at).unwrap()));
        }
        assert!(all.len() > before, "no example of {}", provider.name());
    }
    all
}

#[test]
fn every_table_that_a_webhook_or_a_check_reads_is_searched_by_an_index() {
    let shop = Shop::new();
    let mut texts: BTreeSet<&str> = statements_of_examples()
        .iter()
        .flat_map(|(_, statements)| statements.iter().map(|statement| statement.sql))
        .collect();
    let of_webhooks = [
        "INSERT INTO deliveries",
        "INSERT INTO records",
        "INSERT INTO payments",
        "INSERT INTO customers",
        "INSERT INTO payers",
        "UPDATE records",
        "UPDATE payments",
        "SELECT who.payer AS payer, coalesce",
    ];
    for part in of_webhooks {
        assert_eq!(texts.iter().filter(|sql| sql.contains(part)).count(), 1, "{part}");
    }
    assert_eq!(texts.len(), of_webhooks.len(), "a statement that this test does not know");
    texts.insert(snapshots((&payer("user_1"), Some(&payer("org_1"))), Timestamp::from_millis(NOW)).sql);
    texts.insert(again("clerk", "e1", Timestamp::from_millis(NOW)).sql);

    let mut searches = 0;
    for sql in texts {
        for step in steps_of_plan(shop.connection(), sql) {
            if step == "SEARCH back" {
                // Of the two statuses of what was paid back.
            } else if step.starts_with("SEARCH") {
                searches += 1;
                let by_key =
                    [" USING INDEX ", " USING COVERING INDEX ", " USING PRIMARY KEY ", " USING INTEGER PRIMARY KEY "];
                assert!(by_key.iter().any(|how| step.contains(how)), "{step} in\n{sql}");
                assert!(!step.ends_with("(provider=?)"), "nearly all of a table: {step} in\n{sql}");
            } else if step.starts_with("SCAN") {
                // The parts of the event or of the question, and what is already found of the payer.
                let is_small = step.contains("VIRTUAL TABLE")
                    || step.contains("CONSTANT ROW")
                    || step == "SCAN e"
                    || ["SCAN who", "SCAN kept", "SCAN (subquery", "SCAN payers USING INDEX payers_erased"]
                        .iter()
                        .any(|small| step.starts_with(small));
                assert!(is_small, "{step} in\n{sql}");
            }
        }
    }
    assert!(searches > 30, "{searches} searches");
}

/// The instructions of SQLite's machine for a statement: what each does, and its first two operands.
fn instructions(connection: &Connection, sql: &str) -> Vec<(String, i64, i64)> {
    let mut prepared = connection.prepare(&format!("EXPLAIN {sql}")).unwrap();
    let nothing = vec![rusqlite::types::Null; prepared.parameter_count()];
    let read = |row: &rusqlite::Row<'_>| Ok((row.get(1)?, row.get(2)?, row.get(3)?));
    let rows = prepared.query_map(rusqlite::params_from_iter(nothing), read).unwrap();
    rows.map(Result::unwrap).collect()
}

/// Each makes SQLite work hard for nothing: a table that it makes for the time of a statement has a page cache of its own, and a
/// column of `json_each` is written as text anew wherever it is named.
#[test]
fn the_statements_of_every_webhook_and_check_make_few_tables_and_write_no_entry_as_text_twice() {
    let shop = Shop::new();
    let of_examples = statements_of_examples();
    let texts: BTreeSet<&str> =
        of_examples.iter().flat_map(|(_, statements)| statements.iter().map(|statement| statement.sql)).collect();
    let mut checked = 0;
    for (part, most) in [
        // What is inserted, as triggers follow; and what is answered.
        ("INSERT INTO deliveries ", 2),
        ("INSERT INTO records ", 1),
        ("INSERT INTO payments ", 1),
        // The same, and the payer's records in order: once where the payer is new, once where not.
        ("INSERT INTO payers ", 4),
    ] {
        let sql = texts.iter().find(|sql| sql.contains(part)).unwrap_or_else(|| panic!("{part}"));
        let instructions = instructions(shop.connection(), sql);
        let of = |what: &str| instructions.iter().filter(|(name, ..)| name == what).collect::<Vec<_>>();
        assert!(of("OpenEphemeral").len() <= most, "{} tables: {sql}", of("OpenEphemeral").len());
        for (_, list, _) in of("VOpen") {
            // Column 1 is `value`.
            let reads = of("VColumn").iter().filter(|(_, cursor, column)| cursor == list && *column == 1).count();
            assert!(reads <= 2, "an entry is written as text {reads} times: {sql}");
            checked += 1;
        }
    }
    assert!(checked > 5, "{checked} lists");
    let check = snapshots((&payer("user_1"), None), Timestamp::from_millis(NOW));
    let tables = instructions(shop.connection(), check.sql).iter().filter(|(name, ..)| name == "OpenEphemeral").count();
    assert_eq!(tables, 1, "the payer's records in order: {}", check.sql);
}

/// Most payments are of a subscription that goes on and on, and say nothing of today.
#[test]
fn the_work_of_a_check_does_not_grow_with_the_number_of_a_payers_payments() {
    let steps_with = |payments: i64| {
        let mut shop = Shop::new();
        for number in 0..5 {
            let id = format!("i_{number}");
            shop.deliver(&item_event(&format!("e_{id}"), "active", T, item("user_1", &id, "active", "pro", T)));
        }
        for number in 0..payments {
            let id = format!("cpa_{number}");
            shop.deliver(&payment_event(&format!("e_{id}"), T + number, &id, &id, "paid", T + number));
        }
        let check = snapshots((&payer("user_1"), None), Timestamp::from_millis(NOW));
        let mut prepared = shop.connection().prepare(check.sql).unwrap();
        let mut rows = prepared.query(rusqlite::params_from_iter(&check.params)).unwrap();
        while rows.next().unwrap().is_some() {}
        drop(rows);
        prepared.get_status(rusqlite::StatementStatus::VmStep)
    };
    assert_eq!(steps_with(300), steps_with(3));
}

#[test]
fn the_work_of_every_providers_deliveries_does_not_grow_with_the_number_of_payers() {
    let steps_among = |others: i64| -> Vec<(String, i32)> {
        let shop = Shop::new();
        load_others(&shop, others);
        let steps = |statement: &Statement| {
            let mut prepared = shop.connection().prepare(statement.sql).unwrap();
            let mut rows = prepared.query(rusqlite::params_from_iter(&statement.params)).unwrap();
            while rows.next().unwrap().is_some() {}
            drop(rows);
            prepared.get_status(rusqlite::StatementStatus::VmStep)
        };
        statements_of_examples()
            .iter()
            .map(|(name, statements)| (name.clone(), statements.iter().map(steps).sum()))
            .collect()
    };
    let few = steps_among(10);
    assert!(few.iter().all(|(_, steps)| *steps > 100), "{few:?}");
    assert_eq!(steps_among(3_000), few);
}

/// Payers of every provider's, of whom the deliveries of a test do not tell: each with a record and a payment that name it, and
/// with some that are its customer's.
fn load_others(shop: &Shop, others: i64) {
    let load = |table: &str, columns: &str, values: &str| {
        let numbers = "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n LIMIT ?1)";
        let sql = format!("{numbers} INSERT INTO {table} ({columns}) SELECT {values} FROM n");
        shop.connection().execute(&sql, [others]).unwrap();
    };
    load("payers", "payer, version", "'user:other_' || n, 1");
    for provider in PROVIDERS {
        let name = provider.name();
        load(
            "customers",
            "provider, id, payer, version",
            &format!("'{name}', 'c_other_' || n, 'user:other_' || n, '0'"),
        );
        for version in ["0", ""] {
            load(
                "records",
                "provider, id, payer, payer_version, customer, customer_version, plan_free, plan_version, status, \
                 failed_attempts, occurred_at, event_id, version, trial_used",
                &format!(
                    "'{name}', 'i_other_{version}' || n, 'user:other_' || n, '{version}', 'c_other_' || n, '0', 0, '0', \
                     'active', 0, 1, 'e', '0', 0"
                ),
            );
            load(
                "payments",
                "provider, id, payer, payer_version, customer, status, created_at, occurred_at, event_id, version",
                &format!(
                    "'{name}', 'p_other_{version}' || n, 'user:other_' || n, '{version}', 'c_other_' || n, 'failed', 1, 1, \
                     'e', '0'"
                ),
            );
        }
        load(
            "deliveries",
            "provider, event_id, payer, received_at, last_received_at, outcome",
            &format!("'{name}', 'e_other_' || n, 'user:other_' || n, 1, 1, 'stored'"),
        );
    }
}

/// Work done by the statements of a delivery, of a check, and of a payer's history, in steps of SQLite's virtual machine.
fn steps_among(others: i64) -> [i32; 3] {
    let mut shop = Shop::new();
    let load = |table: &str, columns: &str, values: &str| {
        let numbers = "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n LIMIT ?1)";
        let sql = format!("{numbers} INSERT INTO {table} ({columns}) SELECT {values} FROM n");
        shop.connection().execute(&sql, [others]).unwrap();
    };
    load("payers", "payer, version", "'user:other_' || n, 1");
    load(
        "records",
        "provider, id, payer, payer_version, customer_version, plan_free, plan_version, status, failed_attempts, \
         occurred_at, event_id, version, trial_used",
        "'clerk', 'i_other_' || n, 'user:other_' || n, '0', '0', 0, '0', 'active', 0, 1, 'e', '0', 0",
    );
    load(
        "payments",
        "provider, id, payer, status, created_at, occurred_at, event_id, version",
        "'clerk', 'cpa_other_' || n, 'user:other_' || n, 'failed', 1, 1, 'e', '0'",
    );
    load(
        "deliveries",
        "provider, event_id, received_at, last_received_at, outcome",
        "'clerk', 'e_other_' || n, 1, 1, 'stored'",
    );

    let happened = [
        item_event("e1", "active", T, item("user_1", "i_1", "active", "pro", T)),
        payment_event("e2", T, "cpa_1", "cpay_1", "failed", T),
    ];
    for sent in &happened {
        shop.deliver(sent);
    }
    let anonymous = with(item("user_1", "i_1", "active", "pro", T + 1), json!({"payer": null}));
    let sent = item_event("e3", "updated", T + 1, anonymous);
    let steps = |statement: &Statement| {
        let mut prepared = shop.connection().prepare(statement.sql).unwrap();
        let mut rows = prepared.query(rusqlite::params_from_iter(&statement.params)).unwrap();
        while rows.next().unwrap().is_some() {}
        drop(rows);
        prepared.get_status(rusqlite::StatementStatus::VmStep)
    };
    let at = Timestamp::from_millis(NOW);
    let delivery = webhook("clerk", &sent.verified(), &sent.parse(), false, at).unwrap();
    [
        delivery.iter().map(steps).sum(),
        steps(&snapshots((&payer("user_1"), Some(&payer("org_1"))), at)),
        steps(&history(&payer("user_1"), at, 100)),
    ]
}

#[test]
fn the_work_of_a_delivery_of_a_check_and_of_a_history_does_not_grow_with_the_number_of_payers() {
    let few = steps_among(10);
    assert!(few.iter().all(|steps| *steps > 100), "{few:?} steps");
    assert_eq!(steps_among(5_000), few);
}

fn of_dead_letters() -> Statement {
    ledger(&Filter { outcome: Some(Outcome::DeadLetter), ..Filter::default() })
}

/// Every statement that the worker runs.
fn statements() -> Vec<Statement> {
    let sent = [
        item_event("e1", "active", T, item("user_1", "i_1", "active", "pro", T)),
        subscription_event("e2", "active", T, "user_1", vec![]),
        payment_event("e3", T, "cpa_1", "cpay_1", "paid", T),
        identity_event("e4", "user.deleted", T, "user_1"),
        identity_event("e5", "session.created", T, "user_1"),
        Sent::raw("e6", "not JSON"),
    ];
    let at = Timestamp::from_millis(NOW);
    let mut all = Vec::new();
    for sent in &sent {
        all.extend(webhook("clerk", &sent.verified(), &sent.parse(), true, at).unwrap());
    }
    // Which one is which, or a case above does not show what it is there for.
    let kinds = sent.each_ref().map(|sent| match sent.parse() {
        Ok(Parsed::Event(_)) => "event",
        Ok(Parsed::Ignored { .. }) => "ignored",
        Err(ParseError { .. }) => "unreadable",
    });
    assert_eq!(kinds, ["event", "event", "event", "event", "ignored", "unreadable"]);
    all.push(snapshots((&payer("user_1"), None), at));
    all.push(snapshots((&payer("user_1"), Some(&payer("org_1"))), at));
    all.push(again("clerk", "e1", at));
    all.push(health(at));
    all.push(history(&payer("user_1"), at, 100));
    // The ledger as a whole is read newest first and walked as far as a page needs; by payer or by key it is looked up.
    all.push(ledger(&Filter { payer: Some(payer("user_1")), ..Filter::default() }));
    all.push(ledger(&Filter { provider: Some("clerk".into()), event_id: Some("e1".into()), ..Filter::default() }));
    all.push(ledger(&Filter {
        provider: Some("clerk".into()),
        event_id: Some("e1".into()),
        payer: Some(payer("user_1")),
        ..Filter::default()
    }));
    all.push(of_dead_letters());
    let different: BTreeSet<&str> = all.iter().map(|statement| statement.sql).collect();
    assert_eq!(
        different.len(),
        12,
        "deliver, records, payments, payers, snapshot, snapshots, again, health, a payer's history, the ledger by \
         payer, by key and of dead letters"
    );
    all
}
