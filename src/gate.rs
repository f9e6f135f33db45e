//! Content behind a plan: which rule a path falls under, and who is answered with a page.
//!
//! In scope: `GATES`, the paths of requests. Not in scope: who asks ([`crate::session`]) and what they
//! hold ([`crate::decide`](mod@crate::decide)).

mod path;

pub use path::{BadPath, Path};

use std::borrow::Cow;

use crate::answer::CheckAnswer;
use crate::json::{self, Fields, Json, Unreadable};
use crate::payer::{Payer, PayerKind};
use crate::question::Question;

/// What begins the paths that are plangate's own, whatever the rules say.
const OWN: [&str; 5] = ["/v1", "/admin", "/webhooks", "/healthz", "/openapi.json"];

/// Names of the headers that tell who was let through, all of them.
pub const HEADERS: [&str; 7] = [
    "x-plangate-user",
    "x-plangate-org",
    "x-plangate-payer",
    "x-plangate-plan",
    "x-plangate-status",
    "x-plangate-reason",
    "x-plangate-valid-until",
];

/// What stands before which content, in the operator's order.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Rules(Vec<Rule>);

/// One of them.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Rule {
    /// Decoded, without a slash at its end. A last segment `*` is everything below and the place itself; elsewhere `*` is
    /// any part of one segment.
    pattern: String,
    /// Without a condition it is public.
    needs: Question,
    upgrade_url: Option<String>,
}

/// What the rules say of a path.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict<'a> {
    /// No rule speaks of it: there is nothing.
    Unknown,
    /// Everybody may have it.
    Public,
    /// Those may have it to whom all of this is answered with yes.
    Gated {
        /// The conditions.
        needs: Question,
        /// Where these can be bought, if the rule says so.
        upgrade_url: Option<&'a str>,
    },
}

impl Rules {
    /// Reads the JSON form of `GATES`.
    ///
    /// # Errors
    /// [`Unreadable`] says which rule is wrong and how. A rule that no path can reach, because an earlier one has it all, is
    /// wrong too: whoever wrote it means something else.
    pub fn parse(text: &str) -> Result<Self, Unreadable> {
        let list = json::parse(text.as_bytes())?;
        let list = list.as_list().filter(|list| !list.is_empty());
        let list = list.ok_or_else(|| Unreadable::new("a list with at least one rule was expected"))?;
        let mut rules: Vec<Rule> = Vec::with_capacity(list.len());
        for (number, one) in (1_u32..).zip(list) {
            let rule = Rule::read(one).map_err(|error| Unreadable::new(format!("rule {number}: {error}")))?;
            if let Some(earlier) = rules.iter().find(|earlier| covers(&earlier.pattern, &rule.pattern)) {
                let (own, theirs) = (shown(&rule.pattern), shown(&earlier.pattern));
                return Err(Unreadable::new(format!(
                    "rule {number}: `{own}` is never reached, `{theirs}` comes first"
                )));
            }
            rules.push(rule);
        }
        Ok(Self(rules))
    }

    /// What they say of a path. The first rule that has it speaks; a path that none has is nowhere.
    ///
    /// A server may take other spellings for the same thing: other letter case, `;parameters`, dots at the end, `a` for
    /// `a.html`. So an earlier rule that has one of these has to be satisfied as well. A server that `runs_files` may have
    /// more of them: `/a.php/b` for `/a.php`, or for `/b`.
    #[must_use]
    pub fn judge(&self, path: &Path, runs_files: bool, fold: &dyn Fn(&str) -> String) -> Verdict<'_> {
        let Some(exact) = self.0.iter().position(|rule| covers(&rule.pattern, path.exact())) else {
            return Verdict::Unknown;
        };
        let spellings = path.spellings(runs_files);
        let (mut needs, mut upgrade_url) = (Question::default(), None);
        let mut left: Vec<&str> = spellings.iter().map(String::as_str).collect();
        for (index, rule) in self.0.iter().enumerate().take(exact.saturating_add(1)) {
            let pattern = fold(&rule.pattern);
            let open = left.len();
            left.retain(|spelling| !covers(&pattern, spelling));
            if left.len() < open || index == exact {
                needs.conditions.extend_from_slice(&rule.needs.conditions);
                // That of the rule in the path's own spelling is the last to be seen.
                upgrade_url = rule.upgrade_url.as_deref().or(upgrade_url);
            }
        }
        if needs.conditions.is_empty() { Verdict::Public } else { Verdict::Gated { needs, upgrade_url } }
    }
}

impl Rule {
    fn read(entry: &Json<'_>) -> Result<Self, Unreadable> {
        let fields = Fields::of(entry)?.only(&["path", "plan", "feature", "public", "upgrade_url"])?;
        let path = fields.need("path", Fields::text)?;
        let pattern = path.strip_suffix('/').unwrap_or(&path);
        if !path.starts_with('/') || !path::is_plain(pattern) {
            return Err(Unreadable::new(
                "`path` begins with `/` and is written decoded, without `//`, dot segments, `%`, `?`, `#` and `\\`",
            ));
        }
        if is_own(pattern) {
            return Err(Unreadable::new(format!("`{pattern}` is plangate's own")));
        }
        let needs = Question::of(fields.text("plan")?.as_deref(), fields.text("feature")?.as_deref())
            .map_err(|error| Unreadable::new(error.to_string()))?;
        if fields.truth("public")?.unwrap_or_default() != needs.conditions.is_empty() {
            return Err(Unreadable::new("it takes `plan`, `feature` or both, or else `public = true`"));
        }
        let upgrade_url = fields.text("upgrade_url")?;
        if upgrade_url.as_deref().is_some_and(|url| !is_link(url)) {
            return Err(Unreadable::new("`upgrade_url` is neither `https://…` nor a path"));
        }
        Ok(Self { pattern: pattern.to_owned(), needs, upgrade_url })
    }
}

/// A pattern as it is written: that of the root is empty here.
fn shown(pattern: &str) -> &str {
    if pattern.is_empty() { "/" } else { pattern }
}

/// Whether a path is plangate's own and never content: its routes, and what may become one.
#[must_use]
pub fn is_own(path: &str) -> bool {
    OWN.iter().any(|own| path.strip_prefix(own).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
}

/// Whether a text is fit for a link, a header and an attribute of HTML: an address of the web, or a path of the same site.
#[must_use]
pub fn is_link(text: &str) -> bool {
    let is_absolute = text.starts_with("https://") || text.starts_with("http://");
    let is_path = text.starts_with('/') && !text.starts_with("//");
    (is_absolute || is_path) && text.bytes().all(|b| b.is_ascii_graphic() && !b"\"'<>\\`{|}^,".contains(&b))
}

/// Whether a pattern has a path, or all that another pattern has. Neither has a slash at its end.
fn covers(pattern: &str, path: &str) -> bool {
    let (pattern, has_all_below) = match pattern.strip_suffix("/*") {
        Some(base) => (base, true),
        None => (pattern, false),
    };
    if path.ends_with("/*") && !has_all_below {
        return false;
    }
    let path = path.strip_suffix("/*").unwrap_or(path);
    let mut segments = path.split('/');
    pattern.split('/').all(|wanted| segments.next().is_some_and(|segment| fits(wanted, segment)))
        && (has_all_below || segments.next().is_none())
}

/// Whether a segment is what a pattern of one wants: `*` is any number of characters.
fn fits(pattern: &str, mut segment: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else { return pattern == segment };
    let mut pieces = rest.split('*');
    let last = pieces.next_back().unwrap_or_default();
    let Some(after) = segment.strip_prefix(head) else { return false };
    segment = after;
    for piece in pieces {
        let Some((_, after)) = segment.split_once(piece) else { return false };
        segment = after;
    }
    segment.ends_with(last)
}

/// What tells the content's server who was let through, and why: safe as headers, whatever the names are.
#[must_use]
pub fn identity(payers: &[Payer], answer: &CheckAnswer) -> Vec<(&'static str, String)> {
    let id = |kind| payers.iter().find(|payer| payer.kind() == kind).map(|payer| header_text(payer.id()).into_owned());
    let values = [
        id(PayerKind::User),
        id(PayerKind::Org),
        answer.payer.as_ref().map(|payer| header_text(&payer.key()).into_owned()),
        answer.plan.as_deref().map(|plan| header_text(plan).into_owned()),
        answer.status.as_ref().map(|status| header_text(status.as_str()).into_owned()),
        reason(answer),
        answer.valid_until.map(|until| until.to_string()),
    ];
    // All of them, empty where there is nothing to tell: a proxy that copies what is there would else leave its client's.
    HEADERS.into_iter().zip(values.map(Option::unwrap_or_default)).collect()
}

/// The reason of an answer, as it is written in JSON.
#[must_use]
pub fn reason(answer: &CheckAnswer) -> Option<String> {
    Some(serde_json::to_string(&answer.reason).ok()?.trim_matches('"').to_owned())
}

/// A text in visible ASCII: every other byte, and `%`, as `%XX`.
fn header_text(text: &str) -> Cow<'_, str> {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && byte != b'%';
    if text.bytes().all(is_plain) {
        return text.into();
    }
    let mut written = String::with_capacity(text.len());
    for byte in text.bytes() {
        if is_plain(byte) {
            written.push(char::from(byte));
        } else {
            written.push('%');
            for digit in [byte >> 4, byte & 15] {
                written.extend(char::from_digit(digit.into(), 16).map(|digit| digit.to_ascii_uppercase()));
            }
        }
    }
    written.into()
}

/// Whether somebody looks at the answer: a browser's page load names HTML, and before any JSON. A program gets a problem.
#[must_use]
pub fn is_for_a_person(method: &str, accept: &str) -> bool {
    let wanted = accept.split(',').map(|kind| kind.split(';').next().unwrap_or_default().trim());
    let mut wanted = wanted.filter(|kind| kind.ends_with("json") || kind.eq_ignore_ascii_case("text/html"));
    matches!(method, "GET" | "HEAD") && wanted.next().is_some_and(|kind| !kind.ends_with("json"))
}

/// Who is counted where nobody proved who they are: an address, or the network of one, as a single home or server has a
/// whole /64 of IPv6 to ask from.
#[must_use]
pub fn network(address: &str) -> String {
    let (mut kept, mut colons) = (String::new(), 0_u8);
    for c in address.chars() {
        if c == ':' {
            colons = colons.saturating_add(1);
            if colons == 4 || kept.ends_with(':') {
                break;
            }
        }
        kept.push(c);
    }
    kept
}
