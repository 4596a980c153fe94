//! Gates that read and run nothing.

use super::{Gate, Limits, Report};
use crate::runtime::release::onnx::Survey;
use crate::runtime::release::signature::{self, Standing};
use crate::runtime::release::{Bundle, bundle};

pub(super) fn run(bundle: &Bundle, limits: &Limits) -> Report {
    let mut report = Report::default();
    // A bundle in memory has passed this one: it cannot be made otherwise.
    report.add(Gate::Hashes, Ok(format!("{} files as hashed, model {}", bundle::HASHED.len(), short(bundle))));
    report.add(Gate::Signature, signed(bundle, limits));
    report.add(Gate::Schema, schema(bundle));
    match Survey::of(&bundle.model) {
        Ok(survey) => {
            report.add(Gate::Operators, operators(&survey));
            report.add(Gate::External, external(&survey));
        }
        Err(reason) => {
            report.add(Gate::Operators, Err(reason));
        }
    }
    report.add(Gate::Profile, profile(bundle));
    report
}

fn short(bundle: &Bundle) -> &str {
    bundle.model_sha256.get(..12).unwrap_or_default()
}

fn signed(bundle: &Bundle, limits: &Limits) -> Result<String, String> {
    let keys = limits.trusted_keys.iter().map(|key| signature::trusted_key(key)).collect::<Result<Vec<_>, _>>();
    let keys = keys.map_err(|error| error.to_string())?;
    match signature::judge(bundle, &keys) {
        Standing::Signed => Ok("signed by a trusted key".to_owned()),
        Standing::Unsigned if bundle.signature.is_some() => Ok("signed, and no key is trusted to check it".to_owned()),
        Standing::Unsigned => Ok("unsigned: may serve, is never promoted automatically".to_owned()),
        Standing::Bad => {
            Err("the signature is not of a trusted key; sign the bundle again or trust its key".to_owned())
        }
    }
}

fn schema(bundle: &Bundle) -> Result<String, String> {
    let (manifest, names) = (&bundle.manifest, bundle.input_names());
    if manifest.schema_hash != bundle.schema.hash() {
        let (stated, found) = (&manifest.schema_hash, bundle.schema.hash());
        return Err(format!("the manifest was packed for schema {stated} and this is {found}; pack it again"));
    }
    if !manifest.inputs.iter().map(String::as_str).eq(names.iter().copied()) {
        return Err("the manifest's inputs are not the schema's in order; pack it again".to_owned());
    }
    for place in bundle.schema.inputs() {
        let feature = &bundle.schema.features()[*place];
        let stated = manifest.missing.get(feature.name.as_str()).copied();
        // By bits, since NaN is a policy too.
        if stated.map(f64::to_bits) != Some(feature.missing.to_bits())
            && !stated.is_some_and(|s| s.is_nan() && feature.missing.is_nan())
        {
            return Err(format!("the missing-value policy of {} is not the schema's; pack it again", feature.name));
        }
    }
    Ok(format!("{} inputs", names.len()))
}

fn operators(survey: &Survey) -> Result<String, String> {
    let forbidden = survey.forbidden();
    if forbidden.is_empty() {
        let names: Vec<&str> = survey.operators.iter().map(|name| name.rsplit(':').next().unwrap_or(name)).collect();
        return Ok(names.join(", "));
    }
    Err(format!("{} may not be used; export the model without", forbidden.join(", ")))
}

fn external(survey: &Survey) -> Result<String, String> {
    if survey.external.is_empty() {
        return Ok("every tensor is in the file".to_owned());
    }
    let names: Vec<&str> = survey.external.iter().take(3).map(String::as_str).collect();
    Err(format!("{} tensors lie in other files ({}); export it as one file", survey.external.len(), names.join(", ")))
}

fn profile(bundle: &Bundle) -> Result<String, String> {
    match bundle.baseline.fault(&bundle.input_names()) {
        Some(fault) => Err(format!("{fault}; pack it again")),
        None => Ok(format!("of {} rows", bundle.baseline.rows)),
    }
}
