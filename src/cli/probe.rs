//! `fraudd probe`: asks a running service whether it is ready. It is the health check of the container
//! image, which has no other HTTP client.
//!
//! Without a URL it asks the address of the settings, so it finds the service that shares its
//! configuration. Every "no" is exit code 1, an unreachable service too: health checks know no other.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;

use anyhow::Context;

use super::config::LayerArgs;
use crate::domain::Span;

/// How much of an answer is read, in bytes.
const ANSWER_LEN_MAX: u64 = 4 << 10;

/// What `fraudd probe` is asked for.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// What to ask; /readyz at the address of the settings when not given
    #[arg(value_name = "URL")]
    url: Option<String>,
    /// How long it may take in all
    #[arg(long, value_name = "SPAN", value_parser = span, default_value = "2s")]
    timeout: Span,
    #[command(flatten)]
    layers: LayerArgs,
}

const EXAMPLES: &str = "\
Exit code 0: ready. 1: not ready, or no answer. 2: the question could not be asked.

Examples:
  fraudd probe
  fraudd probe http://127.0.0.1:8080/livez --timeout 500ms";

fn span(text: &str) -> Result<Span, String> {
    Span::parse(text).filter(|span| *span > Span::ZERO).ok_or_else(|| "write for example 2s".into())
}

/// Asks, and says what was answered.
///
/// # Errors
/// A URL that is none, settings with faults.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let url = match &args.url {
        Some(url) => url.clone(),
        None => format!("http://{}/readyz", reachable(args.layers.load()?.0.listen)),
    };
    let url = reqwest::Url::parse(&url).with_context(|| format!("{url}: not a URL"))?;
    let (is_ready, told) = match ask(url.clone(), args.timeout) {
        Ok(answer) => answer,
        Err(error) => (false, format!("no answer: {:#}", anyhow::Error::from(error))),
    };
    // Nobody may be there to read it.
    let _ = writeln!(io::stdout(), "{url}: {told}");
    Ok(if is_ready { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn ask(url: reqwest::Url, timeout: Span) -> reqwest::Result<(bool, String)> {
    // Whether the service itself is ready: no proxy and no other place may answer for it.
    let client = reqwest::blocking::Client::builder()
        .timeout(timeout.to_std())
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .build()?;
    let answer = client.get(url).send()?;
    let status = answer.status();
    let mut body = Vec::new();
    // The status is the answer; a body that breaks off only tells less.
    let _ = answer.take(ANSWER_LEN_MAX).read_to_end(&mut body);
    Ok((status == reqwest::StatusCode::OK, format!("{status} {}", String::from_utf8_lossy(&body))))
}

/// Where a service that listens everywhere can be asked from its own machine.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// Answers one connection with `answer` and returns what the probe made of it.
    fn probed(answer: &'static str) -> (bool, String) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}/readyz", listener.local_addr().expect("an address"));
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let (mut stream, _) = listener.accept().expect("a connection");
                let mut request = [0; 1_024];
                let read = stream.read(&mut request).expect("a request");
                assert!(request[..read].starts_with(b"GET /readyz HTTP/1.1\r\n"));
                stream.write_all(answer.as_bytes()).expect("answered");
            });
            let url = reqwest::Url::parse(&url).expect("a URL");
            match ask(url, Span::parse("10s").expect("a span")) {
                Ok(answer) => answer,
                Err(error) => (false, format!("error: {error}")),
            }
        })
    }

    #[test]
    fn only_200_is_ready() {
        let ready = probed("HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}");
        assert_eq!(ready, (true, "200 OK {}".into()));
        let unready =
            probed("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 7\r\nconnection: close\r\n\r\nloading");
        assert_eq!(unready, (false, "503 Service Unavailable loading".into()));
        let elsewhere = "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n";
        assert!(!probed(elsewhere).0, "a redirect is no answer of this service");
        assert!(!probed("SSH-2.0-none\r\n").0, "what is not HTTP is not ready");
    }

    #[test]
    fn nobody_there_is_not_ready() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}/readyz", listener.local_addr().expect("an address"));
        drop(listener);
        assert!(ask(reqwest::Url::parse(&url).expect("a URL"), Span::parse("10s").expect("a span")).is_err());
    }

    #[test]
    fn a_service_that_listens_everywhere_is_asked_at_home() {
        let check = |listen: &str, asked: &str| {
            assert_eq!(reachable(listen.parse().expect("an address")).to_string(), asked);
        };
        check("0.0.0.0:8080", "127.0.0.1:8080");
        check("[::]:9", "[::1]:9");
        check("10.1.2.3:80", "10.1.2.3:80");
    }
}
