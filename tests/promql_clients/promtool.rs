//! `promtool query` against a running Tidemill: what it prints, word by word.

use anyhow::{Result, ensure};
use tidemill_tests::mqtt::{Protocol, Publisher, Settings};
use tidemill_tests::prometheus::promtool;
use tidemill_tests::tidemill::{Builder, Tidemill};

use crate::SOON;

/// 2023-11-14T22:13:20Z.
const START: u64 = 1_700_000_000;
const TAGGED: &str = r#"{"site": "north"}"#;

/// Two devices; one has a tag. Their temperatures rise by one a minute, from 10 and from 20.
fn with_data() -> Result<Tidemill> {
    let tidemill = Builder::new()?.start()?;
    let publisher = Publisher::start(Settings::new(tidemill.mqtt_address(), "devices", Protocol::V5))?;
    for minute in 0..30_u64 {
        let ts = (START + 60 * minute) * 1_000;
        for (number, (device, tags)) in (0_u64..).zip([("d1", TAGGED), ("d2", "{}")]) {
            let temperature = 10 * (number + 1) + minute;
            let open = minute.is_multiple_of(2);
            let payload = format!(
                r#"{{"ts": {ts}, "values": {{"temperature": {temperature}.5, "open": {open}, "state": "on"}}, "tags": {tags}}}"#
            );
            let topic = format!("devices/{device}/telemetry");
            publisher.publish(2 * minute + number, &topic, payload.as_bytes(), SOON)?;
        }
    }
    publisher.disconnect(SOON)?;
    Ok(tidemill)
}

/// promtool's answer to a query of `tidemill`, which comes after the address.
fn ask(tidemill: &Tidemill, prefix: &str, flags: &[&str], rest: &[&str]) -> Result<String> {
    let (kind, flags) = flags.split_first().map_or(("", flags), |(kind, flags)| (*kind, flags));
    let url = format!("http://{}{prefix}", tidemill.http_address());
    let outcome = promtool(&[&["query", kind], flags, &[url.as_str()], rest].concat())?;
    outcome.expect(0, &[])?;
    ensure!(outcome.log.is_empty(), "{outcome:?}");
    Ok(outcome.output)
}

fn ensure_lines(output: &str, expected: &[&str]) -> Result<()> {
    let lines: Vec<&str> = output.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
    ensure!(lines == expected, "printed {lines:#?}, expected {expected:#?}");
    Ok(())
}

pub(crate) fn queries() -> Result<()> {
    let tidemill = with_data()?;
    for prefix in ["", "/prometheus"] {
        instant(&tidemill, prefix)?;
        range(&tidemill, prefix)?;
        names(&tidemill, prefix)?;
    }
    mistakes(&tidemill)
}

fn instant(tidemill: &Tidemill, prefix: &str) -> Result<()> {
    let at = (START + 29 * 60).to_string();
    let flags = ["instant", "--time", &at];
    let output = ask(tidemill, prefix, &flags, &["temperature"])?;
    ensure_lines(
        &output,
        &[
            r#"temperature{device="d1", site="north", tenant="default"} => 39.5 @[1700001740]"#,
            r#"temperature{device="d2", tenant="default"} => 49.5 @[1700001740]"#,
        ],
    )?;
    let output =
        ask(tidemill, prefix, &flags, &["sum by (site) (avg_over_time(temperature[5m])) > bool 40"])?;
    ensure_lines(&output, &[r#"{site="north"} => 0 @[1700001740]"#, "{} => 1 @[1700001740]"])?;
    let output = ask(tidemill, prefix, &flags, &["sum(open) + scalar(vector(2))"])?;
    ensure_lines(&output, &["{} => 2 @[1700001740]"])
}

fn range(tidemill: &Tidemill, prefix: &str) -> Result<()> {
    let [start, end] = [START + 300, START + 420].map(|time| time.to_string());
    let flags = ["range", "--start", &start, "--end", &end, "--step", "1m"];
    let output = ask(tidemill, prefix, &flags, &["avg by (device) (avg_over_time(temperature[5m]))"])?;
    let expected = [
        r#"{device="d1"} =>"#,
        "13.5 @[1700000300]",
        "14.5 @[1700000360]",
        "15.5 @[1700000420]",
        r#"{device="d2"} =>"#,
        "23.5 @[1700000300]",
        "24.5 @[1700000360]",
        "25.5 @[1700000420]",
    ];
    ensure_lines(&output, &expected)
}

fn names(tidemill: &Tidemill, prefix: &str) -> Result<()> {
    let [start, end] = [START, START + 1_800].map(|time| time.to_string());
    let between = ["--start", start.as_str(), "--end", &end];
    let flags = [&["series", "--match", "{site=\"north\"}"], &between[..]].concat();
    let output = ask(tidemill, prefix, &flags, &[])?;
    ensure_lines(
        &output,
        &[
            r#"{__name__="open", device="d1", site="north", tenant="default"}"#,
            r#"{__name__="temperature", device="d1", site="north", tenant="default"}"#,
        ],
    )?;
    let labels = |name: &str| ask(tidemill, prefix, &[&["labels"], &between[..]].concat(), &[name]);
    ensure_lines(&labels("__name__")?, &["open", "temperature"])?;
    ensure_lines(&labels("device")?, &["d1", "d2"])?;
    ensure_lines(&labels("site")?, &["north"])?;
    ensure_lines(&labels("absent")?, &[])
}

/// What is wrong is said, and the exit code says that it is.
fn mistakes(tidemill: &Tidemill) -> Result<()> {
    let url = format!("http://{}", tidemill.http_address());
    promtool(&["query", "instant", &url, "sum(temperature"])?.expect(1, &["bad_data", "parse error"])?;
    let far = ["query", "range", "--start=0", "--end=1700000000", "--step=1s", &url, "temperature"];
    promtool(&far)?.expect(1, &["bad_data", "11,000"])
}
