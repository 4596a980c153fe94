//! Reads one HTTP/1.1 answer out of the bytes received so far.
//!
//! Only what our servers send: a status line, headers with `content-length`, that many bytes. An answer in
//! chunks is refused, so that it is seen and not guessed at.

use memchr::memmem;

/// Headers beyond this are no answer of ours.
const HEAD_LEN_MAX: usize = 16 * 1024;
/// A body beyond this is no answer of ours.
const BODY_LEN_MAX: usize = 16 * 1024 * 1024;

/// What came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Whether the body says `"degraded":true`.
    pub degraded: bool,
    /// Whether the server ends the connection with it.
    pub closes: bool,
    /// Whether it says when to come again (`Retry-After`).
    pub retry_after: bool,
    /// Where in what was received the body begins.
    pub body_from: usize,
}

/// Why bytes are no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the bytes received are no HTTP/1.1 answer with a content-length")]
pub(crate) struct Malformed;

/// Parses what was received; `None` while more must come.
pub(crate) fn parse(received: &[u8]) -> Result<Option<Answer>, Malformed> {
    let Some(head_len) = memmem::find(received, b"\r\n\r\n") else {
        return if received.len() > HEAD_LEN_MAX { Err(Malformed) } else { Ok(None) };
    };
    let head = std::str::from_utf8(&received[..head_len]).map_err(|_| Malformed)?;
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(status).ok_or(Malformed)?;
    let mut length = None;
    let (mut closes, mut retry_after) = (false, false);
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        let value = value.trim();
        if name.eq_ignore_ascii_case("content-length") {
            length = Some(value.parse().map_err(|_| Malformed)?);
        } else if name.eq_ignore_ascii_case("connection") {
            closes = value.eq_ignore_ascii_case("close");
        } else if name.eq_ignore_ascii_case("retry-after") {
            retry_after = true;
        }
    }
    let length = length.filter(|length: &usize| *length <= BODY_LEN_MAX).ok_or(Malformed)?;
    let body_from = head_len + 4;
    let body = &received[body_from..];
    if body.len() > length {
        return Err(Malformed);
    }
    if body.len() < length {
        return Ok(None);
    }
    let degraded = memmem::find(body, b"\"degraded\":true").is_some();
    Ok(Some(Answer { status, degraded, closes, retry_after, body_from }))
}

fn status(line: &str) -> Option<u16> {
    let (version, rest) = line.split_once(' ')?;
    let code = rest.split(' ').next()?;
    let code: u16 = (version == "HTTP/1.1" && code.len() == 3).then(|| code.parse().ok())??;
    (100..600).contains(&code).then_some(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &[u8] =
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 18\r\n\r\n{\"degraded\":false}";

    #[test]
    fn an_answer_is_whole_with_its_last_byte_and_not_before() {
        for len in 0..WHOLE.len() {
            assert_eq!(parse(&WHOLE[..len]), Ok(None), "{len} bytes");
        }
        let answer = parse(WHOLE).expect("well formed").expect("whole");
        assert_eq!((answer.status, answer.degraded, answer.closes, answer.retry_after), (200, false, false, false));
        assert_eq!(&WHOLE[answer.body_from..], b"{\"degraded\":false}");
    }

    #[test]
    fn status_degradation_retry_after_and_the_end_of_the_connection_are_read() {
        let check = |text: &str, expected: (u16, bool, bool, bool)| {
            let answer = parse(text.as_bytes()).expect("well formed").expect("whole");
            assert_eq!((answer.status, answer.degraded, answer.closes, answer.retry_after), expected, "{text}");
        };
        check("HTTP/1.1 503 \r\ncontent-length:0\r\nConnection: close\r\n\r\n", (503, false, true, false));
        check("HTTP/1.1 200 OK\r\ncontent-length: 17\r\n\r\n{\"degraded\":true}", (200, true, false, false));
        check("HTTP/1.1 422 X\r\nconnection: keep-alive\r\nCONTENT-LENGTH: 2\r\n\r\n{}", (422, false, false, false));
        check("HTTP/1.1 429 X\r\nRetry-After: 1\r\ncontent-length: 2\r\n\r\n{}", (429, false, false, true));
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        let check = |text: &[u8]| assert_eq!(parse(text), Err(Malformed), "{}", String::from_utf8_lossy(text));
        check(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n");
        check(b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n");
        check(b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n");
        check(b"HTTP/1.1 20 OK\r\ncontent-length: 0\r\n\r\n");
        check(b"HTTP/1.1 999 OK\r\ncontent-length: 0\r\n\r\n");
        check(b"SSH-2.0 200\r\ncontent-length: 0\r\n\r\n");
        check(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n{}");
        check(b"HTTP/1.1 \xff00 OK\r\ncontent-length: 0\r\n\r\n");
        check(&vec![b'x'; HEAD_LEN_MAX + 1]);
    }
}
