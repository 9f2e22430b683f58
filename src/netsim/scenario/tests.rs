use super::super::loss::Probability;
use super::super::settings::Rate;
use super::*;

const TWO_LEGS: &str = r#"
description = "a bad uplink"
seed = 7
duration = "60s"
repeat = "20s"

[path]
delay = "20ms"
loss = "1%"

[up]
rate = "3Mbit"
outage = ["2s@10s", "1s@30s"]

[[leg]]
name = "publisher"
listen = "127.0.0.1:4501"
target = "localhost:4443"
up = { rate = "1Mbit" }

[[leg]]
name = "player"
path = { delay = "40ms", reorder = true }

[[step]]
at = "5s"
down = { loss = "5%" }
rebind = true

[[step]]
at = "6s"
leg = "player"
cut = "2s"
"#;

fn fails(text: &str) -> String {
    Scenario::parse("wifi.toml", text).unwrap_err().to_string()
}

#[test]
fn legs_have_what_the_file_says_and_where_they_say_something_their_own() {
    let scenario = Scenario::parse("two.toml", TWO_LEGS).unwrap();
    assert_eq!(scenario.duration, Some(Duration::from_secs(60)));
    let publisher = scenario.settings(Some("publisher"));
    let player = scenario.settings(Some("player"));
    assert_eq!((publisher.seed, player.seed), (7, 8));
    assert_eq!(publisher.up.rate, Some(Rate::mbit(1)));
    assert_eq!(player.up.rate, Some(Rate::mbit(3)));
    assert_eq!(player.down.rate, None);
    assert_eq!(player.up.outages.len(), 2);
    assert_eq!(player.up.delay, Duration::from_millis(40));
    assert_eq!(publisher.down.delay, Duration::from_millis(20));
    assert_eq!(player.down.loss, Probability::percent(1.0));
    assert_eq!(publisher.schedule.steps().len(), 1);
    assert_eq!(player.schedule.steps().len(), 2);
    assert_eq!(player.schedule.repeat(), Some(Duration::from_secs(20)));
    assert_eq!(scenario.legs[0].target.as_deref(), Some("localhost:4443"));
    assert_eq!(scenario.legs[1].target, None);
}

#[test]
fn an_empty_file_is_a_perfect_path() {
    let scenario = Scenario::parse("empty.toml", "").unwrap();
    assert_eq!(scenario.settings(None), Settings::default());
}

#[test]
fn errors_name_file_line_and_key() {
    for (text, line, part) in [
        ("[path]\ndealy = \"20ms\"", 2, "\"dealy\""),
        ("[path]\ndelay = \"20\"", 2, "such as 20ms"),
        ("[path]\ndelay = 20", 2, "delay: a text in quotes"),
        ("[path]\n\nloss = \"101%\"", 3, "probability"),
        ("[path]\nreorder = \"yes\"", 2, "true or false"),
        ("[path]\noutage = [\"2s\"]", 2, "such as 2s@10s"),
        (
            "[path]\nburst = \"5@1%\"\ngilbert-elliott = \"1%,2%\"",
            1,
            "exclude",
        ),
        ("duratoin = \"5s\"", 1, "duratoin"),
        ("duration = \"5\"", 1, "such as 20ms"),
        ("tcp = \"on\"", 1, "shaped, plain or off"),
        ("seed = -1", 1, "-1"),
        ("[[leg]]\nlisten = \"127.0.0.1:0\"", 1, "name"),
        (
            "[[leg]]\nname = \"a\"\nlisten = \"here\"",
            3,
            "socket address",
        ),
        ("[[leg]]\nname = \"a\"\n[[leg]]\nname = \"a\"", 4, "already"),
        ("[[leg]]\nname = \"a b\"", 2, "a word"),
        ("[[step]]\nat = \"1s\"\nleg = \"b\"", 3, "no leg \"b\""),
        (
            "repeat = \"5s\"\n[[step]]\nat = \"5s\"",
            3,
            "before `repeat`",
        ),
        ("repeat = \"0\"", 1, "too short"),
        ("[[step]]\nrebind = true", 1, "at"),
        ("[path\n", 1, ""),
    ] {
        let error = fails(text);
        let place = format!("wifi.toml:{line}: ");
        assert!(error.starts_with(&place), "{text:?} gives {error:?}");
        assert!(error.contains(part), "{text:?} gives {error:?}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let error = Scenario::read(FilePath::new("/no/such.toml")).unwrap_err();
    assert!(error.to_string().starts_with("/no/such.toml: "), "{error}");
}

#[test]
fn every_shipped_scenario_reads() {
    let folder = FilePath::new(env!("CARGO_MANIFEST_DIR")).join("examples/scenarios");
    let mut count = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let scenario = Scenario::read(&entry.unwrap().path()).unwrap();
        assert!(!scenario.description.is_empty());
        scenario.settings(None);
        count += 1;
    }
    assert!(count >= 10, "{count} scenarios");
}
