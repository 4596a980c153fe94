//! `fraudd model keygen` and `fraudd model sign`.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::Error;
use crate::runtime::release::{Bundle, bundle, signature};

/// What `fraudd model keygen` is asked for.
#[derive(Clone, Debug, clap::Args)]
pub struct KeygenArgs {
    /// Where the secret key goes; it must not exist. The public key is printed
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
}

/// What `fraudd model sign` is asked for.
#[derive(Clone, Debug, clap::Args)]
pub struct SignArgs {
    /// The bundle's directory
    pub directory: PathBuf,
    /// The secret key's file
    #[arg(long, value_name = "FILE")]
    pub key: PathBuf,
}

pub(super) fn keygen(args: &KeygenArgs) -> Result<ExitCode, Error> {
    let failed = |what, path: &Path| {
        let path = path.to_owned();
        move |source| Error::File { what, path, source }
    };
    let source = Path::new("/dev/urandom");
    let mut secret = [0; 32];
    File::open(source).and_then(|mut file| file.read_exact(&mut secret)).map_err(failed("read", source))?;
    // Never over another key, and readable by its owner only.
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&args.out);
    let written = file.and_then(|mut file| writeln!(file, "{}", signature::hex(&secret)));
    written.map_err(failed("create", &args.out))?;
    writeln!(std::io::stdout(), "{}", signature::public_key(&secret))?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn sign(args: &SignArgs) -> Result<ExitCode, Error> {
    // Signing vouches for the whole bundle, so the whole bundle must be in order first.
    let loaded = Bundle::load(&args.directory)?;
    let text = signature::sign(&loaded.manifest_bytes, &super::read_text(&args.key)?)?;
    let path = args.directory.join(bundle::SIGNATURE);
    std::fs::write(&path, text).map_err(|source| Error::File { what: "write", path, source })?;
    Ok(ExitCode::SUCCESS)
}
