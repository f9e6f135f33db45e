//! As much of HTTP/1.1 as a browser on this machine needs: one request a connection, bodies of a stated length, small
//! limits. Anything else is refused.

use std::io::{self, BufRead, Read as _, Write};

use serde_json::{Value, json};

use crate::send;

/// The most bytes of request line and headers; a browser sends about 1 kB.
const MAX_HEAD_BYTES: u64 = 16 * 1024;
/// The most bytes of a body; the page sends below 100.
const MAX_BODY_BYTES: u64 = 4 * 1024;
/// Headers of which a second one could be taken for the first by somebody else.
const ONLY_ONCE: [&str; 4] = ["authorization", "content-length", "host", "origin"];

/// A request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Request {
    pub method: String,
    /// Without the query.
    pub path: String,
    headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Request {
    /// Reads a request; none when the connection was opened for nothing, as browsers do in advance.
    ///
    /// # Errors
    /// The reply to what is no request, or not one for us.
    pub fn read(stream: &mut impl BufRead) -> Result<Option<Self>, Reply> {
        let mut head = stream.by_ref().take(MAX_HEAD_BYTES);
        let Some(first) = line(&mut head)? else { return Ok(None) };
        let mut words = first.split(' ');
        let (Some(method), Some(target), Some("HTTP/1.1"), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(Reply::problem(400, "this is no request of HTTP/1.1"));
        };
        if !target.starts_with('/') {
            return Err(Reply::problem(400, "the path must begin with a slash"));
        }
        let path = target.split('?').next().unwrap_or_default().to_owned();
        let mut headers: Vec<(String, String)> = Vec::new();
        loop {
            let text = line(&mut head)?.ok_or_else(cut_off)?;
            if text.is_empty() {
                break;
            }
            let (name, value) = text.split_once(':').ok_or_else(|| Reply::problem(400, "a header has no colon"))?;
            let name = name.to_ascii_lowercase();
            if ONLY_ONCE.contains(&name.as_str()) && headers.iter().any(|(known, _)| *known == name) {
                return Err(Reply::problem(400, &format!("there are two headers `{name}`")));
            }
            headers.push((name, value.trim().to_owned()));
        }
        let mut request = Self { method: method.to_owned(), path, headers, body: Vec::new() };
        if request.header("transfer-encoding").is_some() {
            return Err(Reply::problem(411, "send the body with its length"));
        }
        let length = match request.header("content-length") {
            Some(text) => text.parse().map_err(|_| Reply::problem(400, "`content-length` is no number"))?,
            None => 0,
        };
        if length > MAX_BODY_BYTES {
            return Err(Reply::problem(413, "the body is too long"));
        }
        stream.take(length).read_to_end(&mut request.body).map_err(|_| cut_off())?;
        if u64::try_from(request.body.len()) != Ok(length) {
            return Err(cut_off());
        }
        Ok(Some(request))
    }

    /// A header's value, by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// A line without its end; none where there is nothing more.
fn line(head: &mut impl BufRead) -> Result<Option<String>, Reply> {
    let mut bytes = Vec::new();
    head.read_until(b'\n', &mut bytes).map_err(|_| cut_off())?;
    if bytes.is_empty() {
        return Ok(None);
    }
    if bytes.pop() != Some(b'\n') {
        return Err(cut_off());
    }
    if bytes.last() == Some(&b'\r') {
        bytes.pop();
    }
    String::from_utf8(bytes).map(Some).map_err(|_| Reply::problem(400, "a header is no text"))
}

fn cut_off() -> Reply {
    Reply::problem(400, "the request is cut off, or its headers are too long")
}

/// What is answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reply {
    pub status: u16,
    content_type: &'static str,
    pub body: String,
}

impl Reply {
    pub fn file(content_type: &'static str, body: impl Into<String>) -> Self {
        Self { status: 200, content_type, body: body.into() }
    }

    pub fn json(status: u16, body: &Value) -> Self {
        Self { status, content_type: "application/json", body: body.to_string() }
    }

    /// A refusal, in a sentence.
    pub fn problem(status: u16, detail: &str) -> Self {
        Self::json(status, &json!({"status": status, "detail": detail}))
    }

    /// Writes it, with a policy of what the page may load.
    pub fn write(&self, stream: &mut impl Write, policy: &str) -> io::Result<()> {
        let head = format!(
            "HTTP/1.1 {}\r\n\
             content-type: {}; charset=utf-8\r\n\
             content-length: {}\r\n\
             connection: close\r\n\
             cache-control: no-store\r\n\
             content-security-policy: {policy}\r\n\
             cross-origin-opener-policy: same-origin\r\n\
             cross-origin-resource-policy: same-origin\r\n\
             referrer-policy: no-referrer\r\n\
             x-content-type-options: nosniff\r\n\r\n",
            send::status_line(self.status),
            self.content_type,
            self.body.len(),
        );
        stream.write_all(head.as_bytes())?;
        stream.write_all(self.body.as_bytes())?;
        stream.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(text: &str) -> u16 {
        Request::read(&mut text.as_bytes()).map_or_else(|reply| reply.status, |request| u16::from(request.is_some()))
    }

    #[test]
    fn a_request_is_read_to_its_end() {
        let text = "POST /dev/act?x=1 HTTP/1.1\r\nHost: localhost:8788\r\nORIGIN:http://localhost:8788 \r\nContent-Length: 2\r\n\r\n{}more";
        let request = Request::read(&mut text.as_bytes()).unwrap().unwrap();
        assert_eq!(
            (request.method.as_str(), request.path.as_str(), request.body.as_slice()),
            ("POST", "/dev/act", &b"{}"[..])
        );
        assert_eq!(request.header("host"), Some("localhost:8788"));
        assert_eq!(request.header("origin"), Some("http://localhost:8788"));
        assert_eq!(request.header("cookie"), None);
    }

    #[test]
    fn what_is_no_request_for_us_is_refused() {
        let long = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "x".repeat(16 * 1024));
        let cases = [
            ("", 0),
            ("GET / HTTP/1.1\r\n\r\n", 1),
            ("GET / HTTP/1.1", 400),
            ("GET / HTTP/1.1\r\n", 400),
            ("GET / HTTP/1.0\r\n\r\n", 400),
            ("GET /a b HTTP/1.1\r\n\r\n", 400),
            ("GET http://localhost:8788/ HTTP/1.1\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nno colon\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: a\r\nhost: b\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nOrigin: a\r\nOrigin: b\r\n\r\n", 400),
            ("POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\n{}", 400),
            ("POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n{}", 400),
            ("POST / HTTP/1.1\r\nContent-Length: 4097\r\n\r\n", 413),
            ("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 411),
            (long.as_str(), 400),
        ];
        for (text, expected) in cases {
            assert_eq!(status(text), expected, "{text:.60}");
        }
    }
}
