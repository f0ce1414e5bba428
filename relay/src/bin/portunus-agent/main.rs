//! `portunus-agent`: gives a local service a public name.

mod args;
mod show;
mod signals;

use std::{process::ExitCode, sync::Arc};

use clap::Parser;
use relay::tunnel::{
    agent::{Agent, Event, Proxy, Roots, Server, Service, Settings, bearer},
    carrier::Timing,
};

use self::args::{Args, Command, Tunnel};

/// The command cannot be obeyed as it is written (EX_USAGE of sysexits).
const EXIT_USAGE: u8 = 64;
/// The gateway, or something between, refuses for good.
const EXIT_REFUSED: u8 = 1;

fn main() -> ExitCode {
    let Args { command } = Args::parse();
    let Command::Http(tunnel) = command;
    show::install_log(&tunnel.log);
    let settings = match settings(&tunnel) {
        Ok(settings) => settings,
        Err(problem) => {
            eprintln!("error: {problem}");
            return ExitCode::from(EXIT_USAGE);
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    match runtime {
        Ok(runtime) => runtime.block_on(run(settings)),
        Err(error) => {
            eprintln!("error: cannot start: {error}");
            ExitCode::from(EXIT_REFUSED)
        }
    }
}

async fn run(settings: Settings) -> ExitCode {
    let target = settings.service.address.clone();
    let listener = Arc::new(move |event: Event<'_>| show::event(&event, &target));
    let stop = signals::stop();
    let agent = Agent::new(settings, listener);
    match agent.run(stop).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(EXIT_REFUSED)
        }
    }
}

fn settings(tunnel: &Tunnel) -> Result<Settings, String> {
    let roots = match &tunnel.ca {
        None => Roots::System,
        Some(path) => Roots::Pem(
            std::fs::read_to_string(path)
                .map_err(|error| format!("`--ca {}`: {error}", path.display()))?,
        ),
    };
    let server = Server::parse(&tunnel.server, &roots).map_err(|error| error.to_string())?;
    let proxy = Proxy::from_environment(&server, &|name| std::env::var(name).ok())
        .map_err(|error| error.to_string())?;
    let key = bearer(&tunnel.key)
        .filter(|_| !tunnel.key.trim().is_empty())
        .ok_or("the API key is empty or has characters that no key has")?;
    Ok(Settings {
        server,
        proxy,
        key,
        tunnel: tunnel.name.clone(),
        service: Service {
            address: args::target(&tunnel.target)?,
        },
        carriers: tunnel.carriers,
        timing: Timing::default(),
    })
}
