//! Every route, its scope and its line of documentation: the one table that routing, keys and the
//! OpenAPI description share.

use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::auth::Scope;
use crate::edge::problem::{Code, Problem};

/// One door.
#[derive(Clone, Copy, Debug)]
pub struct Door {
    /// `GET`, `POST` or `DELETE`.
    pub method: &'static str,
    /// The path with its parameters in braces.
    pub path: &'static str,
    /// What a key must be allowed; `None` needs no key.
    pub scope: Option<Scope>,
    /// One line for people.
    pub summary: &'static str,
}

const fn door(method: &'static str, path: &'static str, scope: Option<Scope>, summary: &'static str) -> Door {
    Door { method, path, scope, summary }
}

/// The busiest door, which has a way in of its own: `frame`.
pub const DECIDE: Door =
    door("POST", "/v1/decisions", Some(Scope::Score), "Score one transaction and record the decision");

/// Every door; the busiest first.
pub const DOORS: [Door; 36] = [
    DECIDE,
    door("POST", "/v1/decisions:batch", Some(Scope::Score), "Score up to 1,000 transactions, answered in order"),
    door("POST", "/v1/decisions:dry-run", Some(Scope::Score), "Score without recording or changing anything"),
    door("GET", "/v1/decisions", Some(Scope::Read), "List decisions after a cursor"),
    door("GET", "/v1/decisions/{transaction_id}", Some(Scope::Read), "Look up a recorded decision"),
    door("POST", "/v1/labels", Some(Scope::Label), "Say what became of up to 1,000 transactions"),
    door("GET", "/v1/lists/{name}/entries", Some(Scope::Read), "List the entries of the allow or deny list"),
    door("POST", "/v1/lists/{name}/entries", Some(Scope::Operate), "Add an entry, effective at once"),
    door("DELETE", "/v1/lists/{name}/entries", Some(Scope::Operate), "Remove the entries of a value"),
    door("GET", "/v1/rules", Some(Scope::Read), "Show the rules in force and how often they hit"),
    door("POST", "/v1/rules:validate", Some(Scope::Operate), "Check a rule file without loading it"),
    door("GET", "/v1/entities/{kind}/{id}", Some(Scope::Read), "Show what is known of an entity now"),
    door("GET", "/v1/breaker", Some(Scope::Read), "Show the breaker of the active model"),
    door("POST", "/v1/breaker/force-open", Some(Scope::Operate), "Keep calls from the active model for a while"),
    door("POST", "/v1/breaker/force-closed", Some(Scope::Operate), "Let every call through for a while"),
    door("POST", "/v1/breaker/observe-only", Some(Scope::Operate), "Let the breaker only say what it would do"),
    door("POST", "/v1/breaker/clear", Some(Scope::Operate), "End what was forced"),
    door("GET", "/v1/models", Some(Scope::Read), "List the models, how far each has come, and the running trial"),
    door(
        "POST",
        "/v1/models/{name}/versions/{version}/promote",
        Some(Scope::Admin),
        "Put a validated model in force; the one before stands by",
    ),
    door(
        "POST",
        "/v1/models/{name}/versions/{version}/shadow",
        Some(Scope::Admin),
        "Let a validated model score beside the active one and answer nobody",
    ),
    door(
        "POST",
        "/v1/models/{name}/versions/{version}/canary",
        Some(Scope::Admin),
        "Let a validated model answer for a share of the entities",
    ),
    door(
        "POST",
        "/v1/models/{name}/versions/{version}/withdraw",
        Some(Scope::Operate),
        "End a trial without a verdict against the model",
    ),
    door(
        "POST",
        "/v1/models/{name}/versions/{version}/quarantine",
        Some(Scope::Operate),
        "Ban a bundle by its hash; when it answers, the standby takes over",
    ),
    door(
        "POST",
        "/v1/models/{name}/versions/{version}/release",
        Some(Scope::Admin),
        "Lift a ban: the bundle has its gates to pass again",
    ),
    door(
        "POST",
        "/v1/models/{name}/rollback",
        Some(Scope::Operate),
        "Put the standby, or a proven version, back in force",
    ),
    door(
        "POST",
        "/v1/models/{name}/accept",
        Some(Scope::Operate),
        "Accept the last rollback: decisions no longer tell it",
    ),
    door("GET", "/v1/health", Some(Scope::Read), "Show the state, the release and the numbers an operator asks first"),
    door("GET", "/v1/audit", Some(Scope::Read), "List what was found, planned, done and ordered, after a number"),
    door("POST", "/v1/healing/{order}", Some(Scope::Operate), "Lock, unlock, enter safe mode or resume, with a reason"),
    door("POST", "/v1/hooks/alertmanager", Some(Scope::Operate), "Take alarms from Alertmanager (webhook version 4)"),
    door("GET", "/livez", None, "Tell whether the process turns"),
    door("GET", "/startupz", None, "Tell whether loading was attempted"),
    door("GET", "/readyz", None, "Tell whether the service can answer"),
    door("GET", "/metrics", None, "Show the metrics in the Prometheus text format"),
    door("GET", "/openapi.json", None, "Describe this API in OpenAPI 3.1"),
    door("GET", "/docs", None, "Show this description as a page"),
];

/// Returns every door, those of the inference protocol last.
pub fn all() -> impl Iterator<Item = &'static Door> {
    DOORS.iter().chain(&super::inference::doors::DOORS)
}

/// Finds a door; `HEAD` goes through the one of `GET`.
#[must_use]
pub fn find(method: &Method, path: &str) -> Option<&'static Door> {
    let method = if method == Method::HEAD { "GET" } else { method.as_str() };
    all().find(|door| door.method == method && door.path == path)
}

/// Answers a method that a route does not have: `OPTIONS` with what it has, the rest with a problem.
pub(super) async fn wrong_method(request: Request) -> Response {
    let path = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
    let mut methods: Vec<&str> = all().filter(|door| door.path == path).map(|door| door.method).collect();
    if methods.contains(&"GET") {
        methods.push("HEAD");
    }
    methods.push("OPTIONS");
    let listed = methods.join(", ");
    let allow = HeaderValue::from_str(&listed).unwrap_or(HeaderValue::from_static("OPTIONS"));
    if request.method() == Method::OPTIONS {
        return (StatusCode::NO_CONTENT, [(header::ALLOW, allow)]).into_response();
    }
    Problem::new(Code::MethodNotAllowed, format!("this route has {listed}"))
        .header(header::ALLOW, allow)
        .into_response()
}
