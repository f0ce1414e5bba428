//! How long a password takes to hash on this machine, at the default cost and at others.
//!
//! `cargo run --release --package auth --example password-cost`

use std::error::Error;
use std::time::Instant;

use auth::password::{Cost, Passwords};

const ROUNDS: usize = 9;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // The first is the least that OWASP recommends.
    for (mebibytes, passes) in [(19, 2), (46, 1), (64, 1), (64, 2), (64, 3), (128, 3)] {
        let memory = mebibytes * 1024;
        let passwords = Passwords::new(Cost { memory, passes }, 1)?;
        let mut times = Vec::with_capacity(ROUNDS);
        for _ in 0..ROUNDS {
            let start = Instant::now();
            passwords.hash("correct horse battery staple").await?;
            times.push(start.elapsed());
        }
        times.sort();
        let (least, median) = (times[0], times[ROUNDS / 2]);
        println!("{mebibytes:>4} MiB, {passes} passes: {median:>10.1?}, at best {least:.1?}");
    }
    Ok(())
}
