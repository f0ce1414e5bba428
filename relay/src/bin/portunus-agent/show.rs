//! What people see: one line for each thing that happens.

use relay::tunnel::agent::Event;
use tracing_subscriber::EnvFilter;

pub(crate) fn install_log(level: &str) {
    let filter = EnvFilter::try_new(level).unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
}

pub(crate) fn event(event: &Event<'_>, target: &str) {
    match event {
        Event::Up(granted) => println!("{} -> {target}", granted.url),
        Event::Carriers(count) => tracing::info!(count, "connections to the gateway"),
        Event::Down(ended) => eprintln!("disconnected: {ended}"),
        Event::Retry(error, pause) => {
            let seconds = pause.as_secs_f64();
            eprintln!("not connected: {error}; trying again in {seconds:.1} s");
        }
    }
}
