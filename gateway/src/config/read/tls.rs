//! Reads `[tls]`.

use std::{fs::File, path::PathBuf};

use super::{
    super::{CertificateFiles, Certificates, Listen, Tls, source::reason},
    context::Fault,
    table::{Table, closest},
    text::Text,
};

pub(super) fn read(root: &Table<'_>, listen: &Listen) -> Tls {
    let table = root.table("tls", "tls");
    let certificates = table
        .parse("certificates", certificates)
        .unwrap_or(Certificates::Internal);
    let before = table.context().count();
    let files: Vec<_> = table
        .tables("files", "tls.files")
        .iter()
        .filter_map(pair)
        .collect();
    let none = files.is_empty() && table.context().count() == before;
    if certificates == Certificates::Files && none && !listen.https.is_empty() {
        let place = table.key("certificates").unwrap_or(table.place);
        place.error_hint(
            "HTTPS has no certificate: `certificates` is `files` and there are no `files`",
            "add `files = [{ cert = \"cert.pem\", key = \"key.pem\" }]`",
        );
    }
    table.finish();
    Tls {
        certificates,
        files,
    }
}

fn certificates(text: &Text<'_>) -> Result<Certificates, Fault> {
    match text.value.as_str() {
        "internal" => Ok(Certificates::Internal),
        "files" => Ok(Certificates::Files),
        "acme" => Err(Fault::hint(
            "certificates by ACME are not available in this version",
            "use `internal`, or `files` with certificates from an ACME client",
        )),
        other => Err(Fault::hint(
            format!("`{text}` is not a source of certificates"),
            match closest(other, &["internal", "files"]) {
                Some(close) => format!("did you mean `{close}`?"),
                None => "there are `internal` and `files`".into(),
            },
        )),
    }
}

fn pair(table: &Table<'_>) -> Option<CertificateFiles> {
    let cert = table.parse("cert", readable);
    let key = table.parse("key", readable);
    for missing in ["cert", "key"].into_iter().filter(|key| !table.has(key)) {
        table.place.error_hint(
            format!("`{missing}` is missing"),
            "a pair is `{ cert = \"cert.pem\", key = \"key.pem\" }`",
        );
    }
    table.finish();
    Some(CertificateFiles {
        cert: cert?,
        key: key?,
    })
}

/// What is in the file is looked at when it is loaded, and again whenever it changes.
fn readable(text: &Text<'_>) -> Result<PathBuf, Fault> {
    let path = text.path()?;
    let failure = match File::open(&path).and_then(|file| file.metadata()) {
        Ok(metadata) if metadata.is_dir() => "it is a directory".to_owned(),
        Ok(_) => return Ok(path),
        Err(error) => reason(&error),
    };
    Err(text.unreadable(&failure, &path))
}
