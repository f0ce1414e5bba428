//! `portunus hash-password`: the hash that `basic` in a configuration takes.

use std::io::BufRead;

use auth::password::{Cost, MAX_BYTES, Passwords};

/// Reads one line and prints its hash. What comes from a terminal is shown as it is typed, as far
/// as the terminal shows it.
pub(super) fn hash(input: impl BufRead) -> Result<String, String> {
    let mut line = Vec::new();
    // One byte more than is taken, for the message; and a line end.
    let mut input = input.take(MAX_BYTES as u64 + 3);
    let read = input.read_until(b'\n', &mut line);
    read.map_err(|error| format!("cannot read the password: {error}"))?;
    let password = String::from_utf8(line).map_err(|_| "the password is not UTF-8 text")?;
    let password = password.trim_end_matches(['\r', '\n']);
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let runtime = runtime.map_err(|error| format!("cannot start a runtime: {error}"))?;
    let passwords = Passwords::new(Cost::default(), 1).map_err(|error| error.to_string())?;
    let hash = runtime.block_on(passwords.hash(password));
    Ok(hash.map_err(|error| error.to_string())?.as_str().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_becomes_a_hash_and_nothing_else_does() {
        let made = hash(&b"correct horse\r\nignored\n"[..]).unwrap();
        assert!(made.starts_with("$argon2id$v=19$"), "{made}");
        for wrong in [
            &b"short\n"[..],
            b"",
            b"\xff\xfe\xff\xfe\xff\xfe\xff\xfe\xff\xfe",
            &[b'a'; 4096],
        ] {
            assert!(hash(wrong).is_err());
        }
    }
}
