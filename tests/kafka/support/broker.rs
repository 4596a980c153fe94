//! A Kafka of one or more nodes that ends with the test that started it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

use super::skipped;

/// What to start.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted<'a> {
    /// How many nodes; 0 means one.
    pub(crate) nodes: usize,
    /// Where each node sends its clients instead of to itself: a proxy's address.
    pub(crate) advertise: Vec<String>,
    /// SASL/PLAIN and ACLs, with these `name:password` beside `admin:admin-secret`.
    pub(crate) users: Option<&'a [&'a str]>,
    /// Whether clients' connections are encrypted.
    pub(crate) tls: bool,
    /// Broker properties, `key=value`.
    pub(crate) properties: &'a [&'a str],
}

/// Running nodes.
pub(crate) struct Broker {
    directory: TempDir,
    /// What `scripts/kafka start` said.
    pub(crate) described: Value,
}

fn script(arguments: &[&str]) -> Output {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/kafka");
    Command::new(script).args(arguments).output().expect("scripts/kafka runs")
}

impl Broker {
    /// Starts nodes and waits until they serve; `None`, and said so, where Kafka cannot be had.
    pub(crate) fn start(wanted: &Wanted<'_>) -> Option<Self> {
        let fetched = script(&["fetch"]);
        let said = String::from_utf8_lossy(&fetched.stderr).into_owned();
        match fetched.status.code() {
            Some(0) => {}
            Some(3) => {
                skipped(said.trim());
                return None;
            }
            _ => panic!("scripts/kafka fetch: {said}"),
        }
        let directory = TempDir::new().expect("a directory");
        let (place, owner) = (directory.path().join("kafka"), std::process::id().to_string());
        let nodes = wanted.nodes.max(1).to_string();
        let mut arguments =
            vec!["start", "--quick", "--delete", "--dir", text(&place), "--owner-pid", &owner, "--nodes", &nodes];
        let advertise = wanted.advertise.join(",");
        if !advertise.is_empty() {
            arguments.extend(["--advertise", &advertise]);
        }
        let users = directory.path().join("users");
        if let Some(lines) = wanted.users {
            std::fs::write(&users, lines.join("\n")).expect("written");
            arguments.extend(["--secure", "--users", text(&users)]);
        }
        if wanted.tls {
            arguments.push("--tls");
        }
        for property in wanted.properties {
            arguments.extend(["--set", property]);
        }
        let started = script(&arguments);
        let said = String::from_utf8_lossy(&started.stderr);
        assert!(started.status.success(), "scripts/kafka start: {said}");
        let described = serde_json::from_slice(&started.stdout).expect("JSON");
        Some(Self { directory, described })
    }

    /// Returns where clients begin.
    pub(crate) fn bootstrap(&self) -> &str {
        self.described["bootstrap"].as_str().expect("an address")
    }

    /// Returns the way past proxies, passwords and ACLs.
    pub(crate) fn direct(&self) -> &str {
        self.described["direct"].as_str().expect("an address")
    }

    /// Returns the address of one node, 1 and up, past any proxy before it.
    pub(crate) fn node_address(&self, node: usize) -> std::net::SocketAddr {
        let port = self.described["nodes"][node - 1]["port"].as_u64().expect("a port");
        ([127, 0, 0, 1], u16::try_from(port).expect("a port")).into()
    }

    /// Returns the file of the certificate, when clients' connections are encrypted.
    pub(crate) fn ca_file(&self) -> &str {
        self.described["ca_file"].as_str().expect("an encrypted listener")
    }

    /// Does something to one node: kill, term, start, restart, stop, cont.
    pub(crate) fn node(&self, what: &str, node: usize) {
        let done = script(&["node", what, &node.to_string(), "--dir", text(&self.place())]);
        assert!(done.status.success(), "node {what} {node}: {}", String::from_utf8_lossy(&done.stderr));
    }

    /// Allows a user something: `--operation`, `Read`, `--topic`, `scores`.
    pub(crate) fn allow(&self, user: &str, what: &[&str]) {
        let place = self.place();
        let done = script(&[&["acl", "--dir", text(&place), "--user", user], what].concat());
        assert!(done.status.success(), "acl {what:?}: {}", String::from_utf8_lossy(&done.stderr));
    }

    fn place(&self) -> PathBuf {
        self.directory.path().join("kafka")
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // The owner's end would do it too; this is sooner.
        script(&["delete", "--dir", text(&self.place())]);
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}
