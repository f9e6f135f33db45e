//! `plangate trigger`: signs a realistic event as its provider would, and sends it.

use plangate::event::Seats;
use plangate::provider::Provider;
use plangate::secret::{Secret, Use};
use plangate::time::Timestamp;

use crate::compose::{self, Wish};
use crate::failure::{Answer, Failure, usage};
use crate::look_up::LocalSettings;
use crate::send::{self, ExchangeView, Request};
use crate::{clock, ids, moment, print, secrets};

/// Sign a realistic event as the provider would, and post it to the worker.
///
/// Prints the exchange and succeeds only on HTTP 200, as the provider does. An unknown event lists those there are. Exit
/// code 0 is taken, 1 is refused (400), 3 is no usable answer.
#[derive(clap::Args)]
#[command(after_help = "Example:
  plangate trigger clerk subscriptionItem.active --user user_1 --plan pro")]
pub struct Args {
    /// Who sends it, such as `clerk`.
    provider: String,
    /// The type of event, such as `subscriptionItem.active`.
    event: String,
    /// The user it is about [default: `user_example`, unless --org is given].
    #[arg(long, value_name = "ID")]
    user: Option<String>,
    /// The organization it is about.
    #[arg(long, value_name = "ID")]
    org: Option<String>,
    /// The plan it is about, as the provider names it: a slug, or the id of a price, product or variant [default: `pro`, or an
    /// invented id].
    #[arg(long, value_name = "SLUG")]
    plan: Option<String>,
    /// The status it tells of [default: what fits the event].
    #[arg(long)]
    status: Option<String>,
    /// Where the worker is.
    #[arg(long, default_value = "http://localhost:8787")]
    url: String,
    /// The endpoint's signing secret [default: the provider's setting in the environment or in `.dev.vars`].
    #[arg(long)]
    secret: Option<String>,
    /// The id of the delivery; give the same one to send it again [default: a new one].
    #[arg(long, value_name = "ID")]
    event_id: Option<String>,
    /// When it happened, as RFC 3339 or Unix time [default: now].
    #[arg(long, value_name = "TIME", value_parser = moment::parse)]
    at: Option<Timestamp>,
    /// When it was signed, as RFC 3339 or Unix time [default: now].
    #[arg(long, value_name = "TIME", value_parser = moment::parse)]
    sent_at: Option<Timestamp>,
    /// When the paid period ends, as RFC 3339 or Unix time [default: what fits the event].
    #[arg(long, value_name = "TIME", value_parser = moment::parse)]
    period_end: Option<Timestamp>,
    /// In a trial.
    #[arg(long)]
    trial: bool,
    /// How many seats are paid for, or `unlimited`.
    #[arg(long, value_name = "N", value_parser = parse_seats)]
    seats: Option<Seats>,
    /// The flat form, where an event has two.
    #[arg(long)]
    flat: bool,
    /// Print what would be sent, and send nothing.
    #[arg(long)]
    dry_run: bool,
}

fn parse_seats(text: &str) -> Result<Seats, String> {
    match text {
        "unlimited" => Ok(Seats::Unlimited),
        _ => text.parse().map(Seats::Limited).map_err(|_| "not a number, and not `unlimited`".into()),
    }
}

/// 1. Makes the body (2: unknown provider, event or unfit option).
/// 2. Signs it (2: no usable secret).
/// 3. Posts it (1: refused, 400; 3: no answer, or another), unless it is a dry run.
pub fn run(args: &Args, json: bool) -> Result<Answer, Failure> {
    // 1.
    let now = clock::now();
    let settings = LocalSettings::read()?;
    let provider = secrets::provider(&args.provider)?;
    let composer = compose::composer(provider, &args.event)?;
    let event_id = match &args.event_id {
        Some(id) if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_graphic()) => {
            return Err(usage("--event-id goes into a header; give one of visible ASCII characters"));
        }
        Some(id) => id.clone(),
        None => ids::fresh(composer.id_prefix())?,
    };
    let made = composer.compose(&args.event, &args.wish(now, &event_id, &settings))?;
    let body = made.body.to_string();
    if let Some(status) = &args.status
        && compose::is_unknown_status(provider, &event_id, args.at.unwrap_or(now), &body)
    {
        let known: Vec<_> = composer.statuses().iter().map(|known| format!("`{known}`")).collect();
        let known = known.join(", ");
        print::complain(&format!(
            "the worker does not know the status `{status}`, so it grants nothing; known are {known}"
        ));
    }

    // 2.
    let given: Vec<String> = args.secret.iter().cloned().collect();
    let secrets = secrets::read(provider, &given, &settings)?;
    let request = signed(&args.url, provider, &secrets, &event_id, args.sent_at.unwrap_or(now), body)?;

    // 3.
    let answer = (!args.dry_run).then(|| send::post(&request));
    if json {
        print::json(&ExchangeView::new(&request, answer.as_ref()))?;
    } else {
        args.print(&request, &made.about)?;
        if let Some(Ok(answer)) = &answer {
            print::line(&send::status_line(answer.status))?;
            print::line(&format!("  {}", answer.body.trim_end().replace('\n', "\n  ")))?;
        }
    }
    match answer {
        None => Ok(Answer::Yes),
        Some(Err(why)) => Err(send::no_answer(&args.url, &why)),
        Some(Ok(answer)) if !answer.is_of_plangate() => Err(send::no_plangate(&args.url)),
        Some(Ok(answer)) => Ok(match answer.status {
            200 => Answer::Yes,
            400 => Answer::No,
            _ => Answer::Unusable,
        }),
    }
}

/// The request that delivers a body to the worker at `url`, signed as the provider signs.
///
/// # Errors
/// When `url` is no address.
pub fn signed(
    url: &str,
    provider: &dyn Provider,
    secrets: &[Secret],
    event_id: &str,
    sent_at: Timestamp,
    body: String,
) -> Result<Request, Failure> {
    let base = send::base("--url", url)?;
    let fixed = [("content-type", "application/json"), ("user-agent", send::USER_AGENT)];
    let fixed = fixed.map(|(name, value)| (name, value.to_owned()));
    // Of each kind of secret the first: who has several kinds proves a delivery by all of them.
    let first = |use_| secrets.iter().find(|secret| secret.use_() == use_);
    let signature = [Use::Signing, Use::Header].into_iter().filter_map(first);
    let signature = signature.flat_map(|secret| provider.sign(secret, event_id, sent_at, body.as_bytes()));
    Ok(Request {
        url: format!("{base}/webhooks/{}", provider.name()),
        headers: fixed.into_iter().chain(signature).map(|(name, value)| (name.to_owned(), value)).collect(),
        body,
    })
}

impl Args {
    fn wish(&self, now: Timestamp, event_id: &str, settings: &LocalSettings) -> Wish {
        Wish {
            user: self.user.clone(),
            org: self.org.clone(),
            plan: self.plan.clone(),
            status: self.status.clone(),
            at: self.at.unwrap_or(now),
            period_end: self.period_end,
            trial: self.trial,
            seats: self.seats,
            flat: self.flat,
            instance_id: settings.value("CLERK_INSTANCE_ID"),
            event_id: event_id.to_owned(),
        }
    }

    /// A dry run shows everything that would be sent; else the body is long and is only named.
    fn print(&self, request: &Request, about: &str) -> Result<(), Failure> {
        print::line(&format!("POST {}", request.url))?;
        for (name, value) in &request.headers {
            print::line(&format!("  {name}: {}", send::shown(name, value)))?;
        }
        if self.dry_run {
            print::line("")?;
            print::line(&request.body)
        } else {
            print::line(&format!("  ({} of {about}, {} bytes)", self.event, request.body.len()))
        }
    }
}
