//! What is done to the files of a bundle to make a bad one of it.

use fraudd::runtime::release::bundle::{self, Files};
use fraudd::runtime::release::manifest::Manifest;

/// Hashes the files anew, as if they had been packed so.
pub(crate) fn repack(files: &mut Files, edit: impl FnOnce(&mut Manifest)) {
    let mut manifest = Manifest::parse(std::str::from_utf8(&files[bundle::MANIFEST]).expect("text")).expect("parsed");
    for name in bundle::HASHED {
        manifest.files.insert(name.to_owned(), bundle::sha256(&files[name]));
    }
    edit(&mut manifest);
    files.insert(bundle::MANIFEST.to_owned(), toml::to_string(&manifest).expect("written").into());
}

/// Lets every fraud of the golden rows stand for a tenth of one: the scores promise ten times as many as there are, which
/// the gate of calibration refuses.
pub(crate) fn miscalibrate(files: &mut Files) {
    let golden = String::from_utf8(files[bundle::GOLDEN].to_vec()).expect("text");
    let fewer = golden.lines().map(|line| {
        let mut row: serde_json::Value = serde_json::from_str(line).expect("a row");
        if row["label"] == true {
            row["weight"] = 0.1.into();
        }
        format!("{row}\n")
    });
    files.insert(bundle::GOLDEN.to_owned(), fewer.collect::<String>().into());
    repack(files, |_| {});
}
