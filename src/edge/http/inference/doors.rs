//! The doors of the protocol with their scopes, in the form of the one table of doors.

use crate::edge::http::auth::Scope;
use crate::edge::http::doors::Door;

const fn door(method: &'static str, path: &'static str, scope: Option<Scope>, summary: &'static str) -> Door {
    Door { method, path, scope, summary }
}

const SCORE: Option<Scope> = Some(Scope::Score);
const READ: Option<Scope> = Some(Scope::Read);
const ADMIN: Option<Scope> = Some(Scope::Admin);

/// Every door of the protocol. They exist while `inference.protocol_enabled` is true.
pub const DOORS: [Door; 21] = [
    door("POST", "/v2/models/{name}/infer", SCORE, "Run rows through a model, raw"),
    door("POST", "/v2/models/{name}/versions/{version}/infer", SCORE, "Run rows through one version of a model, raw"),
    door("GET", "/v2/health/live", None, "Tell whether the process turns, in the protocol's form"),
    door("GET", "/v2/health/ready", None, "Tell whether the active model can be asked"),
    door("GET", "/v2/models/{name}/ready", READ, "Tell whether a model can be asked"),
    door("GET", "/v2/models/{name}/versions/{version}/ready", READ, "Tell whether one version can be asked"),
    door("GET", "/v2", READ, "Show the server's name, version and extensions"),
    door("GET", "/v2/", READ, "Show the server's name, version and extensions"),
    door("GET", "/v2/models", READ, "List the names of the loaded models"),
    door("GET", "/v2/models/{name}", READ, "Show a model's inputs and outputs"),
    door("GET", "/v2/models/{name}/versions/{version}", READ, "Show one version's inputs and outputs"),
    door("GET", "/v2/models/{name}/config", READ, "Show a model's configuration"),
    door("GET", "/v2/models/{name}/versions/{version}/config", READ, "Show one version's configuration"),
    door("GET", "/v2/models/stats", READ, "Show counts and times of raw calls, every model"),
    door("GET", "/v2/models/{name}/stats", READ, "Show counts and times of a model's raw calls"),
    door("GET", "/v2/models/{name}/versions/{version}/stats", READ, "Show counts and times of one version's raw calls"),
    door("POST", "/v2/repository/index", READ, "List the bundles of the model directory"),
    door(
        "POST",
        "/v2/repository/models/{name}/load",
        ADMIN,
        "Pass a bundle through every gate and make it a candidate",
    ),
    door(
        "POST",
        "/v2/repository/models/{name}/versions/{version}/load",
        ADMIN,
        "Pass one version through every gate and make it a candidate",
    ),
    door("POST", "/v2/repository/models/{name}/unload", ADMIN, "Let a candidate go"),
    door("POST", "/v2/repository/models/{name}/versions/{version}/unload", ADMIN, "Let one version go"),
];
