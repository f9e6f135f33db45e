//! `plangate demo-server`: a small page that sells something, with what stands in for Clerk behind it.
//!
//! In scope: the page, session tokens for the people on it, events signed with the local secret and sent to the worker,
//! and a report that is handed out only after the worker was asked. Secrets stay in this process: the page gets
//! tokens that are good for a minute, and signatures with their middle left out.
//!
//! Whoever reaches this server can sign in as anybody and pay for nothing. So it listens on this machine only, serves
//! the name `localhost` only (another name that was made to point here is another site's), signs for a worker on this
//! machine only, and does what changes something for its own page only.

mod http;
mod stage;

use std::io::{BufReader, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use plangate::provider::Provider;
use plangate::secret::Secret;
use serde_json::{Value, json};

use self::http::{Reply, Request};
use self::stage::{Ids, Person, Sent, Stage};
use crate::compose;
use crate::failure::{Answer, Failure, usage};
use crate::look_up::LocalSettings;
use crate::{clock, ids, print, secrets, send, token, trigger};

const PROVIDER: &str = "clerk";
/// Connections at a time; a browser opens six. More are closed unanswered.
const MAX_CONNECTIONS: usize = 32;
/// How long a browser may take to send or to receive.
const PATIENCE: Duration = Duration::from_secs(10);
/// Deliveries that are kept, to be shown and to be sent again: a few MB.
const MAX_DELIVERIES: usize = 300;
/// Characters of a signature that are shown at either end.
const SHOWN_OF_A_SIGNATURE: usize = 9;

const PAGE: [(&str, &str, &str); 4] = [
    ("/", "text/html", include_str!("../demo/index.html")),
    ("/icon.svg", "image/svg+xml", include_str!("../demo/icon.svg")),
    ("/app.js", "text/javascript", include_str!("../demo/app.js")),
    ("/style.css", "text/css", include_str!("../demo/style.css")),
];
/// The npm package's files that the page imports, under the names the page knows them by.
const CLIENT: [(&str, &str); 2] = [("/client.js", "index.js"), ("/question.js", "question.js")];
const STATE_PATH: &str = "/dev/state";
const REPORT_PATH: &str = "/report";
/// What changes something, or signs somebody in.
const ACTS: [&str; 4] = ["/dev/act", "/dev/fresh", "/dev/shuffle", "/dev/token"];
/// What the gate is for. The page has no copy of it.
const REPORT: &str = include_str!("../demo/report.json");

/// Serve a demo page that asks a local worker, and stand in for Clerk behind it.
///
/// Signs with the secrets of `.dev.vars`, as `trigger` and `token` do. Listens on this machine only.
#[derive(clap::Args)]
#[command(after_help = "Example:
  npm start    # the worker on port 8787 and this on port 8788")]
pub struct Args {
    /// The port to serve on.
    #[arg(long, default_value_t = 8788)]
    port: u16,
    /// Where the worker is, on this machine.
    #[arg(long, value_name = "URL", default_value = "http://localhost:8787")]
    worker: String,
    /// The folder of the built npm package (`npm run build:client`).
    #[arg(long, value_name = "FOLDER", default_value = "client/dist")]
    client: String,
}

pub fn run(args: &Args) -> Result<Answer, Failure> {
    let listeners = listen(args.port)?;
    let port = listeners.first().and_then(|listener| listener.local_addr().ok()).map_or(args.port, |at| at.port());
    let server = Arc::new(Server::new(args, port)?);
    print::line(&format!("plangate demo is on {}", server.origin))?;
    let open = Arc::new(AtomicUsize::new(0));
    thread::scope(|scope| {
        for listener in &listeners {
            scope.spawn(|| accept(listener, &server, &open));
        }
    });
    Ok(Answer::Yes)
}

/// Listens on both addresses of `localhost`: a browser may take either.
fn listen(port: u16) -> Result<Vec<TcpListener>, Failure> {
    let taken = |error: &std::io::Error| {
        usage(match error.kind() {
            ErrorKind::AddrInUse => {
                format!("port {port} is in use; stop what listens there, or choose another: --port")
            }
            _ => format!("port {port} cannot be listened on ({error}); choose another: --port"),
        })
    };
    let first = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map_err(|error| taken(&error))?;
    let port = first.local_addr().map_or(port, |at| at.port());
    match TcpListener::bind(SocketAddr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), port)) {
        Ok(second) => Ok(vec![first, second]),
        Err(error) if error.kind() == ErrorKind::AddrInUse => Err(taken(&error)),
        // A machine without IPv6.
        Err(_) => Ok(vec![first]),
    }
}

fn accept(listener: &TcpListener, server: &Arc<Server>, open: &Arc<AtomicUsize>) {
    for stream in listener.incoming().flatten() {
        if open.fetch_add(1, Ordering::Relaxed) < MAX_CONNECTIONS {
            let (server, counter) = (Arc::clone(server), Arc::clone(open));
            let serve = move || {
                server.serve(&stream);
                counter.fetch_sub(1, Ordering::Relaxed);
            };
            if thread::Builder::new().spawn(serve).is_ok() {
                continue;
            }
        }
        open.fetch_sub(1, Ordering::Relaxed);
    }
}

struct Server {
    origin: String,
    /// What `Host` must say.
    host: String,
    worker: String,
    policy: String,
    client: Vec<(&'static str, String)>,
    settings: LocalSettings,
    provider: &'static dyn Provider,
    secrets: Vec<Secret>,
    stage: Mutex<Stage>,
}

impl Server {
    fn new(args: &Args, port: u16) -> Result<Self, Failure> {
        let worker = local(&args.worker)?.to_owned();
        let settings = LocalSettings::read()?;
        let provider = secrets::provider(PROVIDER)?;
        let secrets = secrets::read(provider, &[], &settings)?;
        let host = format!("localhost:{port}");
        let origin = format!("http://{host}");
        // Better now than when somebody signs in.
        token::Args::of("user_nobody", None, &origin, &settings).mint(&settings, clock::now())?;
        let client = CLIENT.into_iter().map(|(path, name)| {
            let file = format!("{}/{name}", args.client);
            let text = std::fs::read_to_string(&file).map_err(|error| {
                usage(format!("`{file}` cannot be read ({error}); run `npm run build:client` first"))
            })?;
            Ok((path, text))
        });
        let policy = format!(
            "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self' {worker}; img-src 'self'; \
             base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        );
        let stage = Mutex::new(Stage::fresh(clock::now())?);
        Ok(Self {
            origin,
            host,
            policy,
            client: client.collect::<Result<_, Failure>>()?,
            worker,
            settings,
            provider,
            secrets,
            stage,
        })
    }

    fn serve(&self, stream: &TcpStream) {
        // Without a limit of time a silent connection would be kept for ever.
        if stream.set_read_timeout(Some(PATIENCE)).and_then(|()| stream.set_write_timeout(Some(PATIENCE))).is_err() {
            return;
        }
        let reply = match Request::read(&mut BufReader::new(stream)) {
            Ok(None) => return,
            Ok(Some(request)) => self.answer(&request),
            Err(refusal) => refusal,
        };
        // Whoever has gone gets nothing.
        let _ = reply.write(&mut &*stream, &self.policy);
    }

    /// 1. For this name only (421).
    /// 2. What changes something is for our own page only (403).
    /// 3. The route (404, 405).
    fn answer(&self, request: &Request) -> Reply {
        // 1.
        if request.header("host") != Some(self.host.as_str()) {
            return Reply::problem(421, &format!("this is {}, and answers to no other name", self.origin));
        }
        // 2.
        if request.method == "POST" && request.header("origin") != Some(self.origin.as_str()) {
            return Reply::problem(403, "only the demo's own page may do that");
        }
        // 3.
        let path = request.path.as_str();
        let page = PAGE.iter().find(|(known, ..)| *known == path);
        let client = self.client.iter().find(|(known, _)| *known == path);
        let done = match (request.method.as_str(), path, page, client) {
            ("GET", _, Some((_, content_type, text)), _) => return Reply::file(content_type, *text),
            ("GET", _, _, Some((_, text))) => return Reply::file("text/javascript", text.as_str()),
            ("GET", STATE_PATH, ..) => Ok(self.state()),
            ("GET", REPORT_PATH, ..) => Ok(self.report(request)),
            ("POST", ..) if ACTS.contains(&path) => match serde_json::from_slice(&request.body) {
                Ok(body) => self.act(path, &body),
                Err(_) => return Reply::problem(400, "the body is no JSON"),
            },
            (_, _, None, None) if !ACTS.contains(&path) && ![STATE_PATH, REPORT_PATH].contains(&path) => {
                return Reply::problem(404, "there is no such page");
            }
            _ => return Reply::problem(405, "not with this method"),
        };
        done.unwrap_or_else(|failure| match failure {
            Failure::NoAnswer(sentence) | Failure::Usage(sentence) => Reply::problem(500, &sentence),
            Failure::NobodyReads => Reply::problem(500, "stdout is closed"),
        })
    }

    fn act(&self, path: &str, body: &Value) -> Result<Reply, Failure> {
        let text = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or_default();
        let mut stage = self.stage();
        if path == "/dev/fresh" {
            let last = stage.moment(clock::now());
            *stage = Stage::fresh(last)?;
            drop(stage);
            return Ok(self.state());
        }
        let Some(person) = stage.person(text("who")).cloned() else {
            return Ok(Reply::problem(400, "there is nobody of that name"));
        };
        match path {
            "/dev/token" => {
                // Several people may sign in at once, also while an event is on its way.
                drop(stage);
                let minted = self.token(&person.ids)?;
                Ok(Reply::json(200, &json!({"token": minted})))
            }
            "/dev/act" => self.tell(&mut stage, &person, text("act"), text("plan")),
            _ => self.shuffle(&mut stage, &person),
        }
    }

    fn stage(&self) -> MutexGuard<'_, Stage> {
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> Reply {
        let stage = self.stage();
        let people: Vec<Value> = stage.people.iter().map(Person::view).collect();
        Reply::json(200, &json!({"worker": self.worker, "people": people, "log": stage.log}))
    }

    fn token(&self, ids: &Ids) -> Result<String, Failure> {
        let args = token::Args::of(&ids.user, ids.org.as_deref(), &self.origin, &self.settings);
        Ok(args.mint(&self.settings, clock::now())?.token)
    }

    /// What any back end would do: asks the worker with the token that came with the request, and goes by its answer.
    fn report(&self, request: &Request) -> Reply {
        let Some(token) = request.header("authorization").and_then(|value| value.strip_prefix("Bearer ")) else {
            return Reply::problem(401, "a session token is needed");
        };
        match send::get(&format!("{}/v1/check", self.worker), token) {
            Ok(answer) => match serde_json::from_str::<Value>(&answer.body) {
                Ok(body) if answer.status == 200 && body.get("allowed") == Some(&json!(true)) => {
                    Reply::file("application/json", REPORT)
                }
                Ok(body) if answer.status == 200 => Reply::json(403, &body),
                _ => Reply::problem(502, &format!("the worker answered {}", answer.status)),
            },
            Err(why) => Reply::problem(502, &format!("no answer from the worker: {why}")),
        }
    }

    /// Sends what Clerk would send about an act. What the worker did not take has not happened.
    fn tell(&self, stage: &mut Stage, person: &Person, act: &str, plan: &str) -> Result<Reply, Failure> {
        let now = clock::now();
        let Some((told, after)) = person.act(act, plan, stage.moment(now)) else {
            return Ok(Reply::problem(409, "that makes no sense now"));
        };
        if stage.sent.len().saturating_add(told.len()) > MAX_DELIVERIES {
            return Ok(Reply::problem(409, "the log is full; start over"));
        }
        let instance = self.settings.value("CLERK_INSTANCE_ID");
        let mut all_taken = true;
        let mut shown = Vec::new();
        for telling in told {
            let composer = compose::composer(self.provider, telling.event_type)?;
            let event_id = ids::fresh(composer.id_prefix())?;
            let wish = person.ids.wish(&telling, stage.moment(now), event_id, instance.clone());
            let body = composer.compose(telling.event_type, &wish)?.body.to_string();
            let sent = Sent { who: person.key, event_type: telling.event_type, wish, body };
            let (status, entry) = self.deliver(&sent, stage.log.len().saturating_add(1))?;
            stage.log.push(entry.clone());
            shown.push(entry);
            if status != Some(200) {
                all_taken = false;
                break;
            }
            stage.sent.push(sent);
        }
        if all_taken && let Some(person) = stage.person(person.key) {
            *person = after;
        }
        let people: Vec<Value> = stage.people.iter().map(Person::view).collect();
        Ok(Reply::json(200, &json!({"people": people, "log": shown})))
    }

    /// Sends all again, twice each, in random order; then the person's own to somebody new, so that a history that was
    /// never in order can be held against the one that was.
    fn shuffle(&self, stage: &mut Stage, person: &Person) -> Result<Reply, Failure> {
        let mut again = Vec::new();
        for sent in shuffled(&stage.sent)? {
            again.push(self.deliver(&sent, 0)?.1);
        }
        let twin = Ids::fresh(&format!("{}_twin", person.key), person.ids.org.is_some())?;
        let mut retold = Vec::new();
        for sent in stage.sent.iter().filter(|sent| sent.who == person.key) {
            let composer = compose::composer(self.provider, sent.event_type)?;
            let wish = compose::Wish {
                user: twin.org.is_none().then(|| twin.user.clone()),
                org: twin.org.clone(),
                event_id: ids::fresh(composer.id_prefix())?,
                ..sent.wish.clone()
            };
            let body = composer.compose(sent.event_type, &wish)?.body.to_string();
            retold.push(Sent { wish, body, ..sent.clone() });
        }
        let mut to_twin = Vec::new();
        for sent in shuffled(&retold)? {
            to_twin.push(self.deliver(&sent, 0)?.1);
        }
        let brief = |entries: &[Value]| -> Vec<Value> {
            entries.iter().map(|entry| json!({"outcome": entry.get("outcome")})).collect()
        };
        let twin_token = self.token(&twin)?;
        Ok(Reply::json(200, &json!({"again": brief(&again), "twin": brief(&to_twin), "twin_token": twin_token})))
    }

    /// Signs an event now and delivers it. Answers the worker's status, and what the page shows as the log's `n`th.
    fn deliver(&self, sent: &Sent, n: usize) -> Result<(Option<u16>, Value), Failure> {
        let at = clock::now();
        let id = &sent.wish.event_id;
        let request = trigger::signed(&self.worker, self.provider, &self.secrets, id, at, sent.body.clone())?;
        let (answer, took) = clock::timed(|| send::post(&request));
        let answered = answer.as_ref().ok();
        let body = answered.map(|answer| serde_json::from_str(&answer.body).unwrap_or_else(|_| json!(answer.body)));
        let headers: Vec<[String; 2]> =
            request.headers.iter().map(|(name, value)| [name.clone(), shown(name, value)]).collect();
        let entry = json!({
            "n": n,
            "who": sent.who,
            "type": sent.event_type,
            "at": at,
            "ms": u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            "url": request.url,
            "headers": headers,
            "body": serde_json::from_str::<Value>(&sent.body).unwrap_or_default(),
            "status": answered.map(|answer| answer.status),
            "outcome": body.as_ref().and_then(|body| body.get("outcome").or_else(|| body.get("code"))),
            "answer": body,
            "error": answer.as_ref().err(),
        });
        Ok((answered.map(|answer| answer.status), entry))
    }
}

/// Twice each, in random order.
fn shuffled(sent: &[Sent]) -> Result<Vec<Sent>, Failure> {
    let mut keyed = Vec::new();
    for one in sent.iter().chain(sent) {
        keyed.push((ids::fresh("")?, one.clone()));
    }
    keyed.sort_by(|(left, _), (right, _)| left.cmp(right));
    Ok(keyed.into_iter().map(|(_, one)| one).collect())
}

/// A header as the page shows it: enough of a signature to tell two apart.
fn shown(name: &str, value: &str) -> String {
    if !name.ends_with("signature") {
        return send::shown(name, value).to_owned();
    }
    let end: String = value.chars().rev().take(SHOWN_OF_A_SIGNATURE).collect();
    let start: String = value.chars().take(SHOWN_OF_A_SIGNATURE).collect();
    format!("{start}…{}", end.chars().rev().collect::<String>())
}

/// The address of a worker on this machine. It goes into a header.
fn local(url: &str) -> Result<&str, Failure> {
    let base = send::base("--worker", url)?;
    let authority = base.split_once("://").map_or("", |(_, rest)| rest);
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port),
        _ => (authority, "80"),
    };
    if ["localhost", "127.0.0.1", "[::1]"].contains(&host) && port.parse::<u16>().is_ok() {
        return Ok(base);
    }
    Err(usage("--worker is not on this machine; give an address such as http://localhost:8787"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_worker_on_this_machine_is_signed_for() {
        for url in
            ["http://localhost:8787", "http://127.0.0.1:1/", "http://[::1]:8787", "http://[::1]", "http://localhost"]
        {
            assert!(local(url).is_ok(), "{url}");
        }
        for url in [
            "https://plangate.example.com",
            "http://localhost.example.com:8787",
            "http://127.0.0.1.example.com",
            "http://localhost:8787/path",
            "http://localhost:8787; script-src *",
            "localhost:8787",
        ] {
            let Err(Failure::Usage(sentence)) = local(url) else { panic!("{url} is taken") };
            assert!(sentence.starts_with("--worker is "), "{sentence}");
        }
    }

    #[test]
    fn of_a_signature_only_the_ends_are_shown() {
        assert_eq!(shown("svix-signature", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="), "v1,g0hM9S…NIOLJ1OE=");
        assert_eq!(shown("svix-id", "msg_1"), "msg_1");
        assert_eq!(shown("authorization", "Bearer secret"), "[redacted]");
    }

    #[test]
    fn everything_is_sent_twice() {
        let mut stage = Stage::fresh(clock::now()).unwrap();
        let person = stage.people.remove(0);
        let (told, _) = person.act("subscribe", "pro", clock::now()).unwrap();
        let sent: Vec<Sent> = told
            .iter()
            .enumerate()
            .map(|(n, telling)| Sent {
                who: person.key,
                event_type: telling.event_type,
                wish: person.ids.wish(telling, clock::now(), format!("msg_{n}"), None),
                body: String::new(),
            })
            .collect();
        let mut all: Vec<String> = shuffled(&sent).unwrap().into_iter().map(|sent| sent.wish.event_id).collect();
        all.sort();
        assert_eq!(all, ["msg_0", "msg_0", "msg_1", "msg_1"]);
    }
}
