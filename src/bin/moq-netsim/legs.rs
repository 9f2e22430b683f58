//! The listeners of a run.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};

use gstmoq::netsim::{Protocol, Proxy, Scenario, Schedule, Settings, StartError, Step};

use crate::args::Args;

/// A running listener; the name is empty where there is only one.
pub struct Leg {
    pub name: String,
    pub seed: u64,
    pub proxy: Proxy,
}

/// Starts all listeners; must run within a tokio runtime.
pub fn start(args: &Args, scenario: Option<&Scenario>) -> Result<Vec<Leg>, String> {
    let own = scenario.map_or(&[][..], |scenario| &scenario.legs);
    if !own.is_empty() && !args.legs.is_empty() {
        return Err("the scenario has legs of its own: leave --legs out".to_owned());
    }
    let seed = args
        .seed
        .or(scenario.and_then(|scenario| scenario.seed))
        .unwrap_or_else(|| fastrand::u64(..));
    let any = SocketAddr::new(args.listen.ip(), 0);
    let plan: Vec<(&str, SocketAddr, Option<&str>)> = if !own.is_empty() {
        let leg = |leg: &'_ gstmoq::netsim::Leg| leg.listen;
        own.iter()
            .map(|own| (own.name.as_str(), leg(own), own.target.as_deref()))
            .collect()
    } else if !args.legs.is_empty() {
        if args.listen.port() != 0 {
            return Err("--legs takes free ports: leave the port of --listen at 0".to_owned());
        }
        args.legs
            .iter()
            .map(|name| (name.as_str(), any, None))
            .collect()
    } else {
        vec![("", args.listen, None)]
    };
    let mut legs: Vec<Leg> = Vec::new();
    for (index, (name, listen, target)) in plan.into_iter().enumerate() {
        if legs.iter().any(|leg| leg.name == name) {
            return Err(format!("there are two legs {name:?}"));
        }
        let target = target.or(args.target.as_deref()).ok_or(NO_TARGET)?;
        let seed = seed.wrapping_add(index as u64);
        let settings = settings(args, scenario, name, seed)?;
        let target = resolve(target, listen)?;
        let proxy = Proxy::start(listen, target, settings).map_err(|error| start_failed(&error))?;
        let name = name.to_owned();
        legs.push(Leg { name, seed, proxy });
    }
    Ok(legs)
}

const NO_TARGET: &str = "there is no target: write --target <HOST:PORT>; see --help";

fn settings(
    args: &Args,
    scenario: Option<&Scenario>,
    leg: &str,
    seed: u64,
) -> Result<Settings, String> {
    let mut settings =
        scenario.map_or_else(Settings::default, |scenario| scenario.settings(Some(leg)));
    settings.seed = seed;
    args.up.apply(&mut settings.up);
    args.down.apply(&mut settings.down);
    if let Some(tcp) = args.tcp {
        settings.tcp = tcp;
    }
    let rebind = |at| Step {
        at,
        rebind: true,
        ..Step::default()
    };
    let given = !args.rebinds.is_empty() || args.rebind_every.is_some();
    if given && !settings.schedule.steps().is_empty() {
        return Err("the scenario has a schedule: put the rebinding there".to_owned());
    }
    if let Some(every) = args.rebind_every {
        let half = rebind(every / 2);
        settings.schedule = Schedule::new(vec![half], Some(every))
            .map_err(|error| format!("--rebind-every: {error}"))?;
    } else if given {
        let steps = args.rebinds.iter().copied().map(rebind).collect();
        settings.schedule =
            Schedule::new(steps, None).map_err(|error| format!("--rebind: {error}"))?;
    }
    Ok(settings)
}

fn start_failed(error: &StartError) -> String {
    match error {
        StartError::Bind { source, .. } if source.kind() == io::ErrorKind::AddrInUse => {
            let tcp = match error {
                StartError::Bind {
                    protocol: Protocol::Tcp,
                    ..
                } => ", or do without TCP with --no-tcp",
                _ => "",
            };
            format!("{error}; choose another port, or port 0 for a free one{tcp}")
        }
        StartError::Bind { source, .. } if source.kind() == io::ErrorKind::AddrNotAvailable => {
            format!("{error}; choose an address of this machine, such as 127.0.0.1:0")
        }
        _ => error.to_string(),
    }
}

/// An address of the target, of the family that is listened on where there is one.
fn resolve(target: &str, listen: SocketAddr) -> Result<SocketAddr, String> {
    let failed = |reason: &str| {
        format!("{target:?} is no target: {reason}; write HOST:PORT, such as 127.0.0.1:4443")
    };
    let found: Vec<_> = target
        .to_socket_addrs()
        .map_err(|error| failed(&error.to_string()))?
        .collect();
    let same = found.iter().find(|addr| addr.is_ipv4() == listen.is_ipv4());
    let addr = same
        .or(found.first())
        .copied()
        .ok_or_else(|| failed("it has no address"))?;
    if addr.port() == 0 {
        return Err(failed("its port is 0"));
    }
    if addr == listen {
        return Err(format!(
            "{addr} is both --listen and --target: choose another port for one of them"
        ));
    }
    Ok(addr)
}
