//! `plangate simulate`: plays a recorded history through the parser, the store and the decision that the worker runs.
//!
//! The times come from the file. Nothing here reads the clock, so the same file gives the same answers.

use std::fs::File;
use std::io::{BufRead, BufReader};

use plangate::answer::{self, Facts, Source};
use plangate::catalog::Catalog;
use plangate::decide::Policy;
use plangate::delivery::Verified;
use plangate::event::Parsed;
use plangate::payer::Payer;
use plangate::provider::{self, Ours};
use plangate::question::Asked;
use plangate::store::sqlite::SqliteStore;
use plangate::time::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::failure::{Answer, Failure, usage};
use crate::{moment, print};

/// Play recorded deliveries and print the decision at given times.
///
/// FILE has one JSON object a line, in order: a delivery, or a check. Each check prints one line, the answer of
/// `GET /v1/check`; so there is nothing that `--json` would change.
#[derive(clap::Args)]
#[command(after_help = "Lines:
  {\"deliver\":{\"provider\":\"clerk\",\"event_id\":\"msg_1\",\"body\":{…},\"at\":\"2026-12-01T00:00:00Z\"}}
  {\"check\":{\"user_id\":\"user_1\",\"org_id\":null,\"plan\":\"pro\",\"feature\":null,\"at\":\"2026-12-01T00:00:00Z\"}}
A delivery's `at` says when it was sent. Without it, events that have no clock of their own are ordered by line.
The body is as the provider sent it. The lines of `/admin/export` will not do: they are rows, with events in normal form.

Example:
  plangate simulate history.ndjson --plans plans.json --grace-days 7")]
pub struct Args {
    /// The history; `-` is stdin.
    file: String,
    /// The catalog, a JSON file of the same form as the setting `PLANS`.
    #[arg(long, value_name = "FILE")]
    plans: Option<String>,
    /// How long an active record grants after its period (`RENEWAL_SLACK_HOURS`).
    #[arg(long, value_name = "N", default_value_t = 24)]
    slack_hours: u32,
    /// How long a past due record grants after the first failure (`PAST_DUE_GRACE_DAYS`).
    #[arg(long, value_name = "N", default_value_t = 0)]
    grace_days: u32,
    /// What was paid back in full, or is disputed, grants nothing (`REFUNDS_REVOKE`).
    #[arg(long)]
    refunds_revoke: bool,
}

/// One line of a history.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Deliver(Deliver),
    Check(Check),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Deliver {
    provider: String,
    event_id: String,
    body: Box<RawValue>,
    /// When this attempt was sent.
    #[serde(default, deserialize_with = "optional_moment")]
    at: Option<Timestamp>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Check {
    user_id: Option<String>,
    org_id: Option<String>,
    plan: Option<String>,
    feature: Option<String>,
    #[serde(skip_serializing, deserialize_with = "required_moment")]
    at: Timestamp,
}

pub fn run(args: &Args) -> Result<Answer, Failure> {
    let mut player = Player {
        store: SqliteStore::in_memory().map_err(|error| database(&error))?,
        catalog: args.catalog()?,
        policy: Policy { refunds_revoke: args.refunds_revoke, ..Policy::new(args.slack_hours, args.grace_days) },
        latest: Timestamp::from_millis(0),
    };
    for (index, line) in args.open()?.lines().enumerate() {
        let number = index.saturating_add(1);
        let bad = |cause: String| usage(format!("line {number} of `{}`: {cause}; mend it and play again", args.file));
        let line = line.map_err(|error| bad(format!("it cannot be read ({error})")))?;
        if line.trim().is_empty() {
            continue;
        }
        match serde_json::from_str(&line).map_err(|error| bad(cause(&error)))? {
            Line::Deliver(deliver) => {
                if let Some(dead) = player.deliver(&deliver).map_err(|refused| refused.named(bad))? {
                    print::complain(&format!("line {number} became a dead letter: {dead}"));
                }
            }
            Line::Check(check) => print::json(&player.check(&check).map_err(|refused| refused.named(bad))?)?,
        }
    }
    Ok(Answer::Yes)
}

impl Args {
    fn open(&self) -> Result<Box<dyn BufRead>, Failure> {
        if self.file == "-" {
            return Ok(Box::new(BufReader::new(std::io::stdin())));
        }
        let file = File::open(&self.file)
            .map_err(|error| usage(format!("`{}` cannot be read ({error}); give a file, or `-`", self.file)))?;
        Ok(Box::new(BufReader::new(file)))
    }

    fn catalog(&self) -> Result<Catalog, Failure> {
        let Some(path) = &self.plans else { return Ok(Catalog::default()) };
        let text = std::fs::read_to_string(path)
            .map_err(|error| usage(format!("`{path}` cannot be read ({error}); give the catalog as a file")))?;
        Catalog::parse(&text).map_err(|error| usage(format!("`{path}` is no catalog: {error}; mend it and play again")))
    }
}

struct Player {
    store: SqliteStore,
    catalog: Catalog,
    policy: Policy,
    /// The latest time that any line so far has told.
    latest: Timestamp,
}

/// Why a line was not played.
enum Refused {
    /// The line is wrong.
    Line(String),
    /// The database failed.
    Database(Failure),
}

impl Refused {
    fn named(self, bad: impl Fn(String) -> Failure) -> Failure {
        match self {
            Self::Line(cause) => bad(cause),
            Self::Database(failure) => failure,
        }
    }
}

impl Player {
    /// Stores a delivery; answers why, if it became a dead letter.
    fn deliver(&mut self, deliver: &Deliver) -> Result<Option<String>, Refused> {
        let provider = provider::named(&deliver.provider)
            .ok_or_else(|| Refused::Line(format!("`{}` is no provider", deliver.provider)))?;
        // The signed time of a delivery is in whole seconds. One that does not tell it was sent after everything that
        // the lines before it told, which orders events that have no clock of their own by line.
        let sent_at = match deliver.at {
            Some(at) => Timestamp::from_secs(at.as_secs()),
            None => self.latest.plus_millis(1),
        };
        let verified = Verified::recorded(deliver.event_id.as_str(), sent_at, deliver.body.get().as_bytes());
        let parsed = provider.parse(&verified, &Ours::default());
        self.store
            .deliver(provider.name(), &verified, &parsed, sent_at)
            .map_err(|error| Refused::Database(database(&error)))?;
        let told = parsed.as_ref().ok().and_then(|parsed| match parsed {
            Parsed::Event(event) => Some(event.occurred_at),
            Parsed::Ignored { .. } => None,
        });
        self.latest = self.latest.max(sent_at).max(told.unwrap_or(sent_at));
        Ok(parsed.err().map(|error| error.to_string()))
    }

    /// Reads the question as the body of `POST /v1/check` is read, and answers it.
    fn check(&mut self, check: &Check) -> Result<answer::CheckAnswer, Refused> {
        let body = serde_json::to_vec(check).map_err(|error| Refused::Line(error.to_string()))?;
        let asked = Asked::from_json(&body).map_err(|error| Refused::Line(error.to_string()))?;
        let question = asked.questions.into_iter().next().unwrap_or_default();
        let payers: Vec<Payer> = asked.user.into_iter().chain(asked.org).collect();
        let Some(first) = payers.first() else {
            return Err(Refused::Line("a check needs `user_id`, `org_id` or both".into()));
        };
        let snapshots = self
            .store
            .snapshots((first, payers.get(1)), check.at)
            .map_err(|error| Refused::Database(database(&error)))?;
        self.latest = self.latest.max(check.at);
        let facts = Facts::all_from(Source::D1, snapshots);
        Ok(answer::check(&facts, &self.catalog, &self.policy, &question, check.at))
    }
}

fn database(error: &plangate::store::sqlite::Error) -> Failure {
    Failure::NoAnswer(format!("the database in memory failed ({error}); report this"))
}

/// What is wrong with a line, by column: `serde_json` counts lines from the start of this one.
fn cause(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    match text.strip_suffix(&place) {
        Some(what) => format!("{what} at column {}", error.column()),
        None => text,
    }
}

fn required_moment<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
    optional_moment(deserializer)?.ok_or_else(|| serde::de::Error::custom("`at` must say when to check"))
}

fn optional_moment<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
    let moment = match Value::deserialize(deserializer)? {
        Value::Null => return Ok(None),
        Value::String(text) => moment::parse(&text).ok(),
        other => other.as_i64().and_then(Timestamp::from_provider),
    };
    moment.map(Some).ok_or_else(|| serde::de::Error::custom("`at` is neither RFC 3339 nor a Unix time"))
}
