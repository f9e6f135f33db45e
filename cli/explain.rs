//! `plangate explain`: asks the worker why an answer is what it is, and writes it down for a reader.

use plangate::time::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use crate::failure::{Answer, Failure, usage};
use crate::look_up::LocalSettings;
use crate::{moment, print, send};

/// Explain an answer of the worker: its rule, the records and events behind it, and when it changes by itself.
///
/// Exit code 0 is allowed, 1 is not, 3 is no usable answer. `*` marks what decided.
#[derive(clap::Args)]
#[command(after_help = "Example:
  plangate explain --user user_1 --plan pro --at 2026-12-01T00:00:00Z")]
pub struct Args {
    /// The user to ask about.
    #[arg(long, value_name = "ID")]
    user: Option<String>,
    /// The organization to ask about.
    #[arg(long, value_name = "ID")]
    org: Option<String>,
    /// A plan that must be held; may be given several times.
    #[arg(long, value_name = "PLAN")]
    plan: Vec<String>,
    /// A feature that must be held; may be given several times.
    #[arg(long, value_name = "FEATURE")]
    feature: Vec<String>,
    /// At what time, as RFC 3339 or Unix time: in the past what was known then, in the future what holds if nothing
    /// happens [default: now].
    #[arg(long, value_name = "TIME", value_parser = moment::parse)]
    at: Option<Timestamp>,
    /// Where the worker is.
    #[arg(long, default_value = "http://localhost:8787")]
    url: String,
    /// One of the worker's server keys [default: the first of `API_KEYS` in the environment or in `.dev.vars`].
    #[arg(long, value_name = "KEY")]
    api_key: Option<String>,
}

/// 1. Makes the question (2: nobody to ask about, no key, no address).
/// 2. Asks (3: no answer, or not 200).
/// 3. Prints the explanation (0 allowed, 1 not).
pub fn run(args: &Args, json: bool) -> Result<Answer, Failure> {
    // 1.
    if args.user.is_none() && args.org.is_none() {
        return Err(usage("there is nobody to ask about; give --user, --org or both"));
    }
    let base = send::base("--url", &args.url)?;
    let url = format!("{base}/v1/explain?{}", args.query());
    let key = args.key()?;

    // 2.
    let answer = send::get(&url, &key).map_err(|why| send::no_answer(&args.url, &why))?;

    // 3.
    if answer.status != 200 {
        if json {
            print::line(answer.body.trim_end())?;
        } else {
            print::line(&send::status_line(answer.status))?;
            print::line(&format!("  {}", answer.body.trim_end().replace('\n', "\n  ")))?;
        }
        return if answer.is_of_plangate() { Ok(Answer::Unusable) } else { Err(send::no_plangate(&args.url)) };
    }
    let explanation: Explanation = serde_json::from_str(&answer.body).map_err(|_| send::no_plangate(&args.url))?;
    if json {
        print::line(answer.body.trim_end())?;
    } else {
        explanation.lines().iter().try_for_each(|line| print::line(line))?;
    }
    Ok(if explanation.decision.allowed { Answer::Yes } else { Answer::No })
}

impl Args {
    fn query(&self) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        for (name, values) in [("user_id", self.user.as_slice()), ("org_id", self.org.as_slice())] {
            query.extend_pairs(values.iter().map(|value| (name, value)));
        }
        query.extend_pairs(self.plan.iter().map(|plan| ("plan", plan)));
        query.extend_pairs(self.feature.iter().map(|feature| ("feature", feature)));
        query.extend_pairs(self.at.map(|at| ("at", at.to_string())));
        query.finish()
    }

    fn key(&self) -> Result<String, Failure> {
        let key = match &self.api_key {
            Some(key) => key.clone(),
            None => LocalSettings::read()?.value("API_KEYS").unwrap_or_default(),
        };
        let first = key.split(',').map(str::trim).find(|key| !key.is_empty()).map(str::to_owned);
        let key = first.ok_or_else(|| {
            let place = LocalSettings::place();
            usage(format!("there is no server key; give --api-key, or set API_KEYS in the environment or in `{place}`"))
        })?;
        if key.bytes().all(|byte| byte.is_ascii_graphic()) {
            Ok(key)
        } else {
            Err(usage("the server key goes into a header; give one of visible ASCII characters"))
        }
    }
}

/// What is printed of the worker's answer.
#[derive(Deserialize)]
struct Explanation {
    at: String,
    now: String,
    decision: Decision,
    rule: Rule,
    changes_at: Option<Change>,
    payers: Vec<Holder>,
    events: Vec<Told>,
    has_more_events: bool,
    complete: bool,
    source: String,
    check: Option<Decision>,
}

#[derive(Deserialize)]
struct Decision {
    allowed: bool,
    reason: String,
    plan: Option<String>,
    source: String,
    version: u64,
    age_seconds: Option<i64>,
}

#[derive(Deserialize)]
struct Rule {
    code: String,
    text: String,
}

#[derive(Deserialize)]
struct Change {
    at: String,
    allowed: bool,
    reason: String,
}

#[derive(Deserialize)]
struct Holder {
    payer: Named,
    version: u64,
    deleted_at: Option<String>,
    records: Vec<Record>,
}

#[derive(Deserialize)]
struct Named {
    r#type: String,
    id: String,
}

#[derive(Deserialize)]
struct Record {
    provider: String,
    id: String,
    plan: Option<String>,
    feature: Option<String>,
    plan_key: Option<String>,
    status: String,
    allowed: bool,
    reason: String,
    valid_until: Option<String>,
    period_start: Option<String>,
    period_end: Option<String>,
    past_due_since: Option<String>,
    occurred_at: String,
    event_id: String,
    granted: Option<Signed>,
    revoked: Option<Signed>,
    decided: bool,
}

#[derive(Deserialize)]
struct Signed {
    by: String,
    why: String,
}

#[derive(Deserialize)]
struct Told {
    provider: String,
    event_id: String,
    r#type: String,
    received_at: String,
    outcome: String,
    records: Vec<Value>,
    decided: bool,
}

impl Explanation {
    fn lines(&self) -> Vec<String> {
        let held = self.decision.plan.as_ref().map_or_else(String::new, |plan| format!(", holding {plan}"));
        let when = if self.at == self.now { "now".to_owned() } else { format!("at {}", self.at) };
        let mut lines = vec![format!("{} {when}: {}{held}", yes(self.decision.allowed), self.decision.reason)];
        lines.push(format!("rule: {} ({})", self.rule.text, self.rule.code));
        lines.push(match &self.changes_at {
            Some(change) => format!("from {} on: {}, {}", change.at, yes(change.allowed), change.reason),
            None => "the answer stays as it is until something happens".to_owned(),
        });
        if let Some(check) = &self.check {
            let age = check.age_seconds.unwrap_or_default();
            lines.push(format!(
                "a check is answered: {}, {}, from {} (version {}, {age} s old; the facts are at version {})",
                yes(check.allowed),
                check.reason,
                check.source,
                check.version,
                self.decision.version
            ));
        }
        if !self.complete {
            lines.push(format!("not all that was known then is still in the {}", self.source));
        }
        for payer in &self.payers {
            payer.write(&mut lines);
        }
        lines.push(if self.events.is_empty() { "no events".into() } else { "events, newest first".to_owned() });
        lines.extend(self.events.iter().map(Told::line));
        if self.has_more_events {
            lines.push("  and more".to_owned());
        }
        lines
    }
}

impl Holder {
    fn write(&self, lines: &mut Vec<String>) {
        let deleted = self.deleted_at.as_ref().map_or_else(String::new, |at| format!(", deleted at {at}"));
        let nothing = if self.records.is_empty() { ", without records" } else { "" };
        lines.push(format!("{}:{}, version {}{deleted}{nothing}", self.payer.r#type, self.payer.id, self.version));
        for record in &self.records {
            let what = record.plan.as_ref().or(record.feature.as_ref()).or(record.plan_key.as_ref());
            let until = record.valid_until.as_ref().map_or_else(String::new, |until| format!(" until {until}"));
            lines.push(format!(
                "{} {} {}: {} {}, {} ({}){until}",
                mark(record.decided),
                record.provider,
                record.id,
                what.map_or("no plan", String::as_str),
                record.status,
                yes(record.allowed),
                record.reason
            ));
            let or_open = |time: &Option<String>| time.clone().unwrap_or_else(|| "open".into());
            lines.push(format!("      period {} to {}", or_open(&record.period_start), or_open(&record.period_end)));
            lines.extend(record.past_due_since.iter().map(|since| format!("      past due since {since}")));
            lines.push(format!("      as {} told it at {}", record.event_id, record.occurred_at));
            let signed = |what: &str, signed: &Signed| format!("      {what} by {}: {}", signed.by, signed.why);
            lines.extend(record.granted.iter().map(|granted| signed("given", granted)));
            lines.extend(record.revoked.iter().map(|revoked| signed("taken back", revoked)));
        }
    }
}

impl Told {
    fn line(&self) -> String {
        let shown: Vec<&str> = self.records.iter().filter_map(Value::as_str).collect();
        let shown = if shown.is_empty() { String::new() } else { format!(": {}", shown.join(", ")) };
        let Self { provider, event_id, r#type, received_at, outcome, decided, .. } = self;
        format!("{} {received_at} {type} {provider} {event_id} {outcome}{shown}", mark(*decided))
    }
}

fn yes(allowed: bool) -> &'static str {
    if allowed { "yes" } else { "no" }
}

fn mark(decided: bool) -> &'static str {
    if decided { "  *" } else { "   " }
}
