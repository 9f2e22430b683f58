//! Commands on standard input.

use std::time::Duration;

use gstmoq::netsim::{PathChange, units};

use crate::legs::Leg;

/// What is to be done after a command, besides what it did.
#[derive(Debug, PartialEq, Eq)]
pub enum Then {
    GoOn,
    Counters,
    End,
}

#[derive(Debug, PartialEq)]
enum Command {
    Nothing,
    Set(Box<Sides>),
    Cut(Duration),
    Rebind,
    Counters,
    End,
}

/// What changes in each direction.
#[derive(Debug, PartialEq)]
struct Sides {
    up: PathChange,
    down: PathChange,
}

/// Carries a line out. The error says what is wrong with it; then nothing was done.
pub fn execute(line: &str, legs: &[Leg]) -> Result<Then, String> {
    let mut words: Vec<_> = line.split_whitespace().collect();
    let named = words
        .first()
        .and_then(|word| legs.iter().find(|leg| leg.name == *word));
    let legs: Vec<_> = match named {
        Some(leg) => {
            words.remove(0);
            vec![leg]
        }
        None => legs.iter().collect(),
    };
    match parse(&words)? {
        Command::Nothing => {}
        Command::Set(sides) => legs
            .iter()
            .for_each(|leg| leg.proxy.update(&sides.up, &sides.down)),
        Command::Cut(length) => legs.iter().for_each(|leg| leg.proxy.cut(length)),
        Command::Rebind => {
            for leg in legs {
                let done = leg.proxy.rebind();
                done.map_err(|error| format!("no new port: {error}"))?;
            }
        }
        Command::Counters => return Ok(Then::Counters),
        Command::End => return Ok(Then::End),
    }
    Ok(Then::GoOn)
}

fn parse(words: &[&str]) -> Result<Command, String> {
    match words {
        [] => Ok(Command::Nothing),
        ["set", rest @ ..] => set(rest),
        ["cut", time] => units::duration(time)
            .map(Command::Cut)
            .map_err(|error| error.to_string()),
        ["mend"] => Ok(Command::Cut(Duration::ZERO)),
        ["rebind"] => Ok(Command::Rebind),
        ["stats"] => Ok(Command::Counters),
        ["quit"] => Ok(Command::End),
        _ => Err(format!(
            "{:?} is no command: write set [up|down] KEY=VALUE, cut TIME, mend, rebind, stats or quit",
            words.join(" ")
        )),
    }
}

fn set(words: &[&str]) -> Result<Command, String> {
    let (side, pairs) = match words {
        [side @ ("up" | "down"), pairs @ ..] => (Some(*side), pairs),
        pairs => (None, pairs),
    };
    if pairs.is_empty() {
        return Err("set takes settings such as delay=20ms".to_owned());
    }
    let mut change = PathChange::default();
    for pair in pairs {
        let (key, value) = pair.split_once('=').ok_or_else(|| {
            format!("{pair:?} is no setting: write KEY=VALUE, such as delay=20ms")
        })?;
        change
            .set(key, &[value])
            .map_err(|error| error.to_string())?;
    }
    let of = |wanted| {
        if side.is_none_or(|side| side == wanted) {
            change.clone()
        } else {
            PathChange::default()
        }
    };
    Ok(Command::Set(Box::new(Sides {
        up: of("up"),
        down: of("down"),
    })))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Result<Command, String> {
        parse(&line.split_whitespace().collect::<Vec<_>>())
    }

    #[test]
    fn settings_are_for_both_directions_or_for_one() {
        let mut change = PathChange::default();
        change.set("delay", &["20ms"]).unwrap();
        change.set("loss", &["1%"]).unwrap();
        let none = PathChange::default;
        for (line, up, down) in [
            ("set delay=20ms loss=1%", change.clone(), change.clone()),
            ("set up delay=20ms loss=1%", change.clone(), none()),
            ("set down delay=20ms loss=1%", none(), change.clone()),
        ] {
            let sides = Box::new(Sides { up, down });
            assert_eq!(words(line), Ok(Command::Set(sides)), "{line}");
        }
    }

    #[test]
    fn what_is_no_command_is_told_with_the_remedy() {
        for (line, remedy) in [
            ("sett delay=1ms", "write set"),
            ("set", "such as delay=20ms"),
            ("set delay", "write KEY=VALUE"),
            ("set delay=20", "such as 20ms"),
            ("set dealy=20ms", "there are delay"),
            ("cut 2", "such as 20ms"),
            ("rebind now", "write set"),
        ] {
            let error = words(line).unwrap_err();
            assert!(error.contains(remedy), "{line}: {error}");
        }
        assert_eq!(words("mend"), Ok(Command::Cut(Duration::ZERO)));
    }
}
