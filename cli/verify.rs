//! `plangate verify`: says whether a delivery is genuine, with the code that the worker runs.

use std::io::Read as _;

use plangate::delivery::{Delivery, Headers};
use plangate::settings::Settings;
use plangate::time::Timestamp;
use serde::Serialize;

use crate::failure::{Answer, Failure, usage};
use crate::look_up::LocalSettings;
use crate::{clock, moment, print, secrets};

/// Check the signature of a delivery: its headers as options, its raw body on stdin.
///
/// Prints `ok` and the event's id, or the reason with its code: `missing_headers`, `invalid_signature` or
/// `timestamp_out_of_tolerance`.
#[derive(clap::Args)]
#[command(after_help = "Example:
  plangate verify clerk --header 'svix-id: msg_1' --header 'svix-timestamp: 1767225600' \\
    --header 'svix-signature: v1,…' --now 1767225600 < body.json")]
pub struct Args {
    /// Who is said to have sent it, such as `clerk`.
    provider: String,
    /// A signing secret, any of which may fit [default: the provider's setting in the environment or in `.dev.vars`].
    #[arg(long)]
    secret: Vec<String>,
    /// The time to check at, as Unix time or RFC 3339 [default: now].
    #[arg(long, value_name = "UNIX", value_parser = moment::parse)]
    now: Option<Timestamp>,
    /// A header, as `name: value`.
    #[arg(long, value_name = "HEADER", value_parser = parse_header)]
    header: Vec<Header>,
}

#[derive(Clone)]
struct Header(String, String);

fn parse_header(text: &str) -> Result<Header, String> {
    let (name, value) = text.split_once(':').ok_or("a header is `name: value`")?;
    Ok(Header(name.trim().to_owned(), value.trim().to_owned()))
}

#[derive(Serialize)]
struct Verdict<'a> {
    ok: bool,
    code: Option<&'static str>,
    detail: Option<String>,
    event_id: Option<&'a str>,
}

pub fn run(args: &Args, json: bool) -> Result<Answer, Failure> {
    let provider = secrets::provider(&args.provider)?;
    let settings = LocalSettings::read()?;
    let secrets = secrets::read(provider, &args.secret, &settings)?;
    let ours = Settings::read(|name| settings.value(name)).ours;
    let mut body = Vec::new();
    std::io::stdin()
        .read_to_end(&mut body)
        .map_err(|error| usage(format!("stdin cannot be read ({error}); pass the raw body with `< FILE`")))?;
    let headers = Headers::new(args.header.iter().map(|header| (header.0.as_str(), header.1.as_str())));
    let delivery = Delivery { headers, body };

    let verified = provider.verify(&delivery, &secrets, &ours, args.now.unwrap_or_else(clock::now));
    let error = verified.as_ref().err();
    let verdict = Verdict {
        ok: verified.is_ok(),
        code: error.map(plangate::delivery::VerifyError::code),
        detail: error.map(ToString::to_string),
        event_id: verified.as_ref().ok().map(plangate::delivery::Verified::event_id),
    };
    if json {
        print::json(&verdict)?;
    } else {
        let line = match (verdict.event_id, verdict.code, &verdict.detail) {
            (Some(id), ..) => format!("ok {id}"),
            (None, code, detail) => format!("{}: {}", code.unwrap_or_default(), detail.as_deref().unwrap_or_default()),
        };
        print::line(&line)?;
    }
    Ok(if verdict.ok { Answer::Yes } else { Answer::No })
}
