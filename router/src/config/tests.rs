use clap::Parser;

use super::*;

fn config(words: &[&str]) -> Result<RouterConfig, Problems> {
    let needed = [
        "shardline-router",
        "--model-id",
        "org/model",
        "--shard-uds-path",
        "/run/shard",
    ];
    RouterConfig::new(Flags::try_parse_from(needed.iter().chain(words)).unwrap())
}

#[test]
fn defaults_are_those_of_the_interface() {
    let config = config(&[]).unwrap();
    assert_eq!(config.address.to_string(), "0.0.0.0:3000");
    assert_eq!(config.grace, Duration::from_secs(90));
    assert_eq!(config.http.payload_limit, 2_000_000);
    assert_eq!(config.engine, EngineConfig::new("/run/shard", 1));
}

#[test]
fn all_problems_are_told_together() {
    let words = [
        "--max-total-tokens=10",
        "--max-input-tokens=10",
        "--max-batch-total-tokens=9",
        "--overlap-depth=5",
        "--log-level=shout=loud",
        "--control-fd=1",
    ];
    let Problems(problems) = config(&words).unwrap_err();
    let flags: Vec<_> = problems.iter().map(|problem| problem.flag).collect();
    let expected = [
        "--overlap-depth",
        "--max-input-tokens",
        "--max-batch-total-tokens",
        "--control-fd",
        "--log-level",
    ];
    assert_eq!(flags, expected);
    assert_eq!(
        problems[1].to_string(),
        "--max-input-tokens 10: it must be less than --max-total-tokens, which is 10"
    );
}

#[test]
fn a_socket_path_that_no_system_takes_is_refused() {
    let long = format!("--shard-uds-path=/{}", "x".repeat(110));
    let parsed = Flags::try_parse_from(["r", "--model-id", "m", &long]).unwrap();
    assert_eq!(
        RouterConfig::new(parsed).unwrap_err().0[0].flag,
        "--shard-uds-path"
    );
}

#[test]
fn sampling_defaults_come_from_where_the_flag_says() {
    let here = env!("CARGO_MANIFEST_DIR");
    let path = format!("--generation-config={here}");
    for (words, expected) in [
        (&[][..], GenerationSource::Model),
        (&["--generation-config=auto"], GenerationSource::Model),
        (&["--generation-config=none"], GenerationSource::Neutral),
        (&["--generation-config=vllm"], GenerationSource::Neutral),
        (&[path.as_str()], GenerationSource::File(here.into())),
    ] {
        assert_eq!(config(words).unwrap().generation, expected);
    }
    let Problems(problems) = config(&["--generation-config=Auto"]).unwrap_err();
    assert_eq!(problems[0].flag, "--generation-config");
}

#[test]
fn the_key_is_in_no_log() {
    let config = config(&["--api-key", "sesame"]).unwrap();
    assert!(!format!("{config:?}").contains("sesame"));
    assert_eq!(config.http.api_key.unwrap().reveal(), "sesame");
}

#[test]
fn origins_and_certificates_are_checked() {
    for (words, flag) in [
        (
            ["--cors-allow-origin=app.example", "--port=1"],
            "--cors-allow-origin",
        ),
        (
            ["--cors-allow-origin=https://a/b", "--port=1"],
            "--cors-allow-origin",
        ),
        (["--tls-cert=a.pem", "--port=1"], "--tls-key"),
        (["--prometheus-port=1", "--port=1"], "--prometheus-port"),
    ] {
        let Problems(problems) = config(&words).unwrap_err();
        let flags: Vec<_> = problems.iter().map(|problem| problem.flag).collect();
        assert_eq!(flags, [flag]);
    }
    let both = config(&[
        "--cors-allow-origin=https://a",
        "--cors-allow-origin=*",
        "--tls-cert=a",
        "--tls-key=b",
    ]);
    assert!(both.unwrap().http.tls.is_some());
}

#[test]
fn hosts_are_addresses_or_all() {
    for (given, expected) in [
        ("127.0.0.1", "127.0.0.1"),
        ("[::1]", "::1"),
        ("::", "::"),
        ("web", "0.0.0.0"),
    ] {
        assert_eq!(listen_address(given).to_string(), expected);
    }
}
