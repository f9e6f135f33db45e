//! `plangate token`: mints a session token for development, signed with a key of our own.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use plangate::payer::{Payer, PayerKind};
use plangate::session::key::parse_pem;
use plangate::settings::Settings;
use plangate::time::Timestamp;
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use serde_json::{Value, json};

use crate::failure::{Answer, Failure, usage};
use crate::look_up::LocalSettings;
use crate::{clock, ids, print};

const KEY: &str = "DEV_SESSION_PRIVATE_KEY";
const PUBLIC_KEY: &str = "CLERK_JWT_KEY";
/// Clerk's `nbf` is 10 s before `iat`.
const NOT_BEFORE_SECS: i64 = 10;
/// Clerk's session tokens are good for a minute.
const LIFETIME_SECS: i64 = 60;
/// `cat` of a session token: clerk/javascript `packages/backend/src/tokens/jwtCategories.ts`.
const SESSION_CLASS: &str = "cl_B7d4PD111AAA";
const ISSUER: &str = "https://clerk.plangate.example";
const ORIGIN: &str = "http://localhost:3000";

/// Mint a session token that a local worker accepts.
///
/// Signs with `DEV_SESSION_PRIVATE_KEY` (a PKCS8 PEM) from the environment or `.dev.vars`, whose public half is the
/// worker's `CLERK_JWT_KEY`.
#[derive(clap::Args)]
#[command(after_help = "Example:
  curl -H \"Authorization: Bearer $(plangate token --user user_1)\" 'http://localhost:8787/v1/check?plan=pro'")]
pub struct Args {
    /// The user who is signed in.
    #[arg(long, value_name = "ID")]
    user: String,
    /// The organization active in the session.
    #[arg(long, value_name = "ID")]
    org: Option<String>,
    /// The claims of version 1, which some instances still issue.
    #[arg(long)]
    v1: bool,
    /// How long it is good for, in seconds; below zero it has expired.
    #[arg(long, value_name = "N", default_value_t = LIFETIME_SECS, allow_negative_numbers = true)]
    lifetime_secs: i64,
    /// The `iss` [default: that of `CLERK_ISSUER` or `CLERK_PUBLISHABLE_KEY`, where set].
    #[arg(long, value_name = "URL")]
    issuer: Option<String>,
    /// The `azp` [default: the first of `AUTHORIZED_PARTIES`, where set].
    #[arg(long, value_name = "ORIGIN")]
    azp: Option<String>,
}

pub fn run(args: &Args, json: bool) -> Result<Answer, Failure> {
    for (option, id) in [("--user", Some(&args.user)), ("--org", args.org.as_ref())] {
        if id.is_some_and(|id| Payer::new(PayerKind::User, id.as_str()).is_none()) {
            return Err(usage(format!("{option} is empty or too long; give an id of 1 to 255 bytes")));
        }
    }
    let settings = LocalSettings::read()?;
    let now = clock::now();
    let Minted { token, header, claims } = args.mint(&settings, now)?;
    if json {
        let expires_at = now.plus_millis(args.lifetime_secs.saturating_mul(1000));
        let expires_at = Timestamp::from_secs(expires_at.as_secs());
        print::json(&json!({"token": token, "expires_at": expires_at, "header": header, "claims": claims}))?;
    } else {
        print::line(&token)?;
    }
    Ok(Answer::Yes)
}

/// A token and what it says.
pub struct Minted {
    pub token: String,
    pub header: Value,
    pub claims: Value,
}

impl Args {
    /// A token for this user on a page of this origin, unless `AUTHORIZED_PARTIES` names another.
    pub fn of(user: &str, org: Option<&str>, origin: &str, settings: &LocalSettings) -> Self {
        let is_chosen = settings.value("AUTHORIZED_PARTIES").is_some();
        Self {
            user: user.to_owned(),
            org: org.map(str::to_owned),
            v1: false,
            lifetime_secs: LIFETIME_SECS,
            issuer: None,
            azp: (!is_chosen).then(|| origin.to_owned()),
        }
    }

    /// Mints the token.
    ///
    /// # Errors
    /// When there is no usable key to sign it with.
    pub fn mint(&self, settings: &LocalSettings, now: Timestamp) -> Result<Minted, Failure> {
        let key = private_key(settings)?;
        check_that_it_fits(&key, settings)?;
        let instance = settings.value("CLERK_INSTANCE_ID").unwrap_or_else(|| "ins_plangate_example".to_owned());
        let header = json!({"alg": "RS256", "cat": SESSION_CLASS, "kid": instance, "typ": "JWT"});
        let claims = self.claims(settings, now)?;
        let token = sign(&key, &header, &claims)?;
        Ok(Minted { token, header, claims })
    }

    fn claims(&self, settings: &LocalSettings, now: Timestamp) -> Result<Value, Failure> {
        let policy = Settings::read(|name| settings.value(name)).session;
        let issuer = self.issuer.clone().or(policy.issuer).unwrap_or_else(|| ISSUER.to_owned());
        let origin = self.azp.clone().or_else(|| policy.authorized_parties.into_iter().next());
        let iat = now.as_secs();
        let mut claims = json!({
            "azp": origin.unwrap_or_else(|| ORIGIN.to_owned()),
            "exp": iat.saturating_add(self.lifetime_secs),
            "fva": [0, -1],
            "iat": iat,
            "iss": issuer,
            "jti": ids::fresh("")?,
            "nbf": iat.saturating_sub(NOT_BEFORE_SECS),
            "sid": ids::stable("sess_", &[&self.user]),
            "sts": "active",
            "sub": self.user,
        });
        let Some(fields) = claims.as_object_mut() else { return Ok(claims) };
        let mut put = |name: &str, value: Value| fields.insert(name.to_owned(), value);
        if !self.v1 {
            put("v", json!(2));
        }
        match &self.org {
            Some(org) if self.v1 => {
                put("org_id", json!(org));
                put("org_role", json!("org:admin"));
                put("org_slug", json!("example-ltd"));
                put("org_permissions", json!([]));
            }
            Some(org) => {
                put("o", json!({"id": org, "slg": "example-ltd", "rol": "admin"}));
            }
            None => {}
        }
        Ok(claims)
    }
}

/// Reads the key. Its newlines may be real or escaped. No message repeats any part of it.
fn private_key(settings: &LocalSettings) -> Result<RsaKeyPair, Failure> {
    let Some(pem) = settings.value(KEY) else {
        let place = LocalSettings::place();
        // `npm start` writes the file once, and never touches one that is there.
        let remedy = if settings.has_file() {
            format!("delete `{place}` and run `npm start`, which writes a fresh one, or set it yourself")
        } else {
            format!(
                "run `npm start` once, which writes a fresh one into its `.dev.vars`, or set it yourself: there is no `{place}`"
            )
        };
        return Err(usage(format!("{KEY} is not set; {remedy}")));
    };
    let unusable = || usage(format!("{KEY} is no PKCS8 PEM of an RSA key of 2048 bits or more; make a fresh one"));
    let pem = pem.replace("\\r", "").replace("\\n", "\n");
    let body = pem
        .split_once("-----BEGIN PRIVATE KEY-----")
        .and_then(|(_, rest)| rest.split_once("-----END PRIVATE KEY-----"))
        .map(|(body, _)| body.chars().filter(|c| !c.is_whitespace()).collect::<String>());
    let der = STANDARD.decode(body.ok_or_else(unusable)?).map_err(|_| unusable())?;
    RsaKeyPair::from_pkcs8(&der).map_err(|_| unusable())
}

/// Whether the worker that is set beside it takes what the key signs. An unreadable public key is the worker's to report.
fn check_that_it_fits(key: &RsaKeyPair, settings: &LocalSettings) -> Result<(), Failure> {
    let public = settings.value_beside(PUBLIC_KEY, KEY).and_then(|text| parse_pem(&text).ok());
    // A SubjectPublicKeyInfo ends with the key itself.
    if public.is_none_or(|public| public.spki().ends_with(key.public().as_ref())) {
        return Ok(());
    }
    Err(usage(format!(
        "{PUBLIC_KEY} is not the public half of {KEY}, so the worker would refuse this token; with a Clerk instance's key \
         take a token of Clerk's, or delete `{}` and run `npm start` for a pair",
        LocalSettings::place()
    )))
}

fn sign(key: &RsaKeyPair, header: &Value, claims: &Value) -> Result<String, Failure> {
    let [header, claims] = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
    let signed = format!("{header}.{claims}");
    let mut signature = vec![0; key.public().modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature)
        .map_err(|_| Failure::NoAnswer("the token could not be signed; try again".into()))?;
    Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
}
