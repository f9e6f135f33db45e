//! `plangate`: what the worker does, on the command line and without a server.
//!
//! In scope: signing and sending events, minting session tokens for development, checking a signature, playing a
//! recorded history, asking the worker why, and the demo's page with a stand-in for Clerk. All of it through the library
//! that the worker runs. Out of scope: anything that decides; nothing here knows what a status grants.
//!
//! Only this program reads the clock and prints. What a command answers goes to stdout; an error is one sentence on
//! stderr. Exit codes: 0 yes, 1 no, 2 the command cannot be carried out as it was given, 3 there is no usable answer. A
//! script that asks a worker which is down must not take that for a no.

// `json!` goes one level deeper for every field, and a Clerk user has many.
#![recursion_limit = "256"]
// The same lints as the library's: what comes in here is outside data too.
#![cfg_attr(
    not(test),
    deny(
        clippy::arithmetic_side_effects,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::string_slice,
        clippy::unwrap_used
    )
)]
#![deny(clippy::disallowed_methods, clippy::print_stderr, clippy::print_stdout, clippy::dbg_macro)]
#![warn(clippy::pedantic)]

mod clock;
mod compose;
mod demo_server;
mod explain;
mod failure;
mod ids;
mod look_up;
mod moment;
mod print;
mod secrets;
mod send;
mod simulate;
mod token;
mod trigger;
mod verify;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use self::failure::{Answer, Failure};

/// Signed payment webhooks in, plan status stored, entitlement answers out: the tool beside the worker.
///
/// Secrets are read from the environment or from `.dev.vars` in the working directory, and never printed.
#[derive(Parser)]
#[command(
    name = "plangate",
    version,
    arg_required_else_help = true,
    after_help = "Exit codes: 0 yes, 1 no, 2 misuse, 3 no usable answer (no worker, or not its answer to this question)"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Answer as JSON on stdout.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum Command {
    Trigger(trigger::Args),
    Token(token::Args),
    Verify(verify::Args),
    Simulate(simulate::Args),
    Explain(explain::Args),
    DemoServer(demo_server::Args),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let answer = match &cli.command {
        Command::Trigger(args) => trigger::run(args, cli.json),
        Command::Token(args) => token::run(args, cli.json),
        Command::Verify(args) => verify::run(args, cli.json),
        Command::Simulate(args) => simulate::run(args),
        Command::Explain(args) => explain::run(args, cli.json),
        Command::DemoServer(args) => demo_server::run(args),
    };
    match answer {
        Ok(Answer::Yes) => ExitCode::SUCCESS,
        Ok(Answer::No) => ExitCode::from(1),
        Ok(Answer::Unusable) | Err(Failure::NobodyReads) => ExitCode::from(3),
        Err(Failure::NoAnswer(sentence)) => {
            print::complain(&sentence);
            ExitCode::from(3)
        }
        Err(Failure::Usage(sentence)) => {
            print::complain(&sentence);
            ExitCode::from(2)
        }
    }
}
