//! Events as text: the API's JSON, one object a line, or flat CSV.

pub mod csv;
pub mod json;
