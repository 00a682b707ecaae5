//! What each process is started with, and that no flag is lost on the way.

use std::fmt::Write;

use crate::devices::{Devices, VisibleGpus};
use crate::parse::{Asked, fates, parse_without_environment};
use crate::problem::Problems;
use crate::settings::Note;

use super::*;

fn settings(arguments: &[&str], devices: &Devices) -> Result<Settings, Problems> {
    let words = std::iter::once("shardline-launcher").chain(arguments.iter().copied());
    match parse_without_environment(words.map(Into::into))? {
        Asked::Run(parsed) => Settings::check(*parsed, devices),
        Asked::Print(text) => panic!("{text}"),
    }
}

fn plan_for(arguments: &[&str], devices: &Devices) -> Plan {
    let settings = settings(arguments, devices).unwrap();
    let programs = Programs {
        router: "/bin/router".into(),
        shard: "/bin/server".into(),
    };
    let choices = Choices {
        port: 3000,
        socket_prefix: "/run/private/shard".into(),
        master_port: 41234,
    };
    Plan::new(&settings, devices, &programs, &choices)
}

const CPU: Devices = Devices { cores: 8, gpus: None };

fn plan(arguments: &[&str]) -> Plan {
    plan_for(arguments, &CPU)
}

/// One process a paragraph: its words, then what its environment gets and loses.
fn describe(spec: &ProcessSpec) -> String {
    let mut text = format!("{}: {}", spec.role, spec.program.display());
    for word in &spec.arguments {
        let separator = if word.to_string_lossy().starts_with("--") {
            "\n   "
        } else {
            ""
        };
        write!(text, "{separator} {}", word.display()).unwrap();
    }
    for (name, value) in &spec.environment {
        write!(text, "\n  + {name}={}", value.display()).unwrap();
    }
    text
}

fn describe_all(plan: &Plan, model_path: &str) -> String {
    let processes = [&plan.router].into_iter().chain(&plan.download).map(describe);
    let shards = plan.shards(model_path.as_ref(), None);
    processes
        .chain(shards.iter().map(describe))
        .collect::<Vec<_>>()
        .join("\n\n")
}

#[test]
fn the_demo_with_defaults() {
    insta::assert_snapshot!(describe_all(
        &plan(&["--model-id", "demo"]),
        "/packages/model.gguf"
    ));
}

#[test]
fn a_model_of_the_hub_with_many_flags() {
    let arguments = "--model-id owner/name --revision v2 --num-shard 2 --dtype bfloat16 --hostname ::1 --port 8080 \
        --max-input-length 900 --max-total-tokens 1000 --max-batch-prefill-tokens 512 --max-batch-total-tokens 20000 \
        --max-batch-size 16 --shard-uds-path /run/mine --master-addr 10.0.0.1 --master-port 29500 --json-output \
        --huggingface-hub-cache /cache --cors-allow-origin https://a.example --cors-allow-origin https://b.example \
        --prefix-caching off --cuda-graphs 1,2,4 --attention triton --log-level debug --api-key secret-7Q";
    let plan = plan(&arguments.split_whitespace().collect::<Vec<_>>());
    let text = describe_all(&plan, "/cache/snapshot");
    insta::assert_snapshot!(text.replace("API_KEY=secret-7Q", "API_KEY=(the key)"));
    assert_eq!(
        text.matches("secret-7Q").count(),
        1,
        "the key is in the router's environment alone"
    );
}

#[test]
fn a_local_model_needs_no_download_and_the_router_gets_its_path_at_once() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("config.json"), "{}").unwrap();
    let path = folder.path().to_str().unwrap();
    let plan = plan(&["--model-id", path]);
    assert_eq!(plan.download, None);
    assert!(contains_pair(&plan.router.arguments, "--model-path", path));
}

#[test]
fn cores_are_shared_between_shards_and_what_the_user_set_stays() {
    let threads = |arguments: &[&str], cores| {
        let devices = Devices { cores, gpus: None };
        plan_for(arguments, &devices).shards("/m".as_ref(), None)[0]
            .environment
            .get("OMP_NUM_THREADS")
            .cloned()
    };
    assert_eq!(threads(&["--model-id", "demo"], 8), Some("8".into()));
    assert_eq!(
        threads(&["--model-id", "demo", "--num-shard", "3"], 8),
        Some("2".into())
    );
    assert_eq!(
        threads(&["--model-id", "demo", "--num-shard", "3"], 2),
        Some("1".into())
    );
    assert_eq!(
        threads(&["--model-id", "demo", "--omp-num-threads", "5"], 8),
        None
    );

    let waits = plan(&["--model-id", "demo", "--omp-wait-policy", "ACTIVE"]).shards("/m".as_ref(), None);
    assert!(!waits[0].environment.contains_key("OMP_WAIT_POLICY"));
}

#[test]
fn one_shard_a_visible_gpu() {
    let devices = Devices {
        cores: 64,
        gpus: Some(VisibleGpus {
            count: 4,
            variable: "CUDA_VISIBLE_DEVICES",
        }),
    };
    let shards = plan_for(&["--model-id", "owner/name"], &devices).shards("/m".as_ref(), None);
    let ranks: Vec<_> = shards.iter().map(|spec| spec.role).collect();
    assert_eq!(
        ranks,
        [Role::Shard(0), Role::Shard(1), Role::Shard(2), Role::Shard(3)]
    );
    assert!(
        shards
            .iter()
            .all(|spec| contains_pair(&spec.arguments, "--world-size", "4"))
    );
}

#[test]
fn a_socket_is_its_prefix_and_rank() {
    assert_eq!(socket_of("/run/shard".as_ref(), 3), Path::new("/run/shard-3"));
}

fn contains_pair(words: &[OsString], name: &str, value: &str) -> bool {
    words.windows(2).any(|pair| pair[0] == name && pair[1] == value)
}

/// A value for each flag that differs from its default.
fn sample(flag: &str) -> Option<&'static str> {
    let samples = [
        ("--model-id", "owner/name"),
        ("--revision", "v2"),
        ("--sharded", "true"),
        ("--num-shard", "7"),
        ("--hostname", "10.1.2.3"),
        ("--master-addr", "10.1.2.4"),
        ("--shard-uds-path", "/run/mine"),
        ("--huggingface-hub-cache", "/cache"),
        ("--tokenizer-config-path", "/tokenizer.json"),
        ("--generation-config", "none"),
        ("--cors-allow-origin", "https://a.example"),
        ("--prefix-caching", "false"),
        ("--overlap-depth", "3"),
        ("--dtype", "bfloat16"),
        ("--attention", "triton"),
        ("--cuda-memory-fraction", "0.5"),
        ("--cuda-graphs", "1,2"),
        ("--load-format", "dummy"),
        ("--usage-stats", "off"),
        ("--log-level", "debug"),
    ];
    samples
        .iter()
        .find(|(name, _)| *name == flag)
        .map(|(_, value)| *value)
}

/// The words that give a flag, a switch alone or with a value.
fn given(flag: &str) -> Vec<&str> {
    let switches = [
        "--disable-ui",
        "--trust-remote-code",
        "--disable-custom-kernels",
        "--disable-grammar-support",
        "--enable-auto-tool-choice",
        "--enable-prefill-logprobs",
        "--ngrok",
    ];
    if switches.contains(&flag) {
        vec![flag]
    } else {
        vec![flag, sample(flag).unwrap_or("77")]
    }
}

fn with_model(flag: &str) -> Vec<&str> {
    [vec!["--model-id", "owner/name"], given(flag)].concat()
}

/// Whether `words` give the flag as `given` does.
fn reaches(words: &[OsString], flag: &str) -> bool {
    match given(flag)[..] {
        [flag, value] => contains_pair(words, flag, value),
        _ => words.iter().any(|word| *word == *flag),
    }
}

#[test]
fn no_flag_is_swallowed() {
    for (flag, fate) in fates() {
        let words = with_model(&flag);
        let result = settings(&words, &CPU);
        match fate {
            "router" => {
                let words = plan(&words).router.arguments;
                assert!(
                    reaches(&words, &flag),
                    "{flag} does not reach the router: {words:?}"
                );
            }
            "shard" => {
                let words = plan(&words).shards("/m".as_ref(), None).remove(0).arguments;
                assert!(
                    reaches(&words, &flag),
                    "{flag} does not reach the shards: {words:?}"
                );
            }
            "moot" => {
                let expected = Note::Warning(format!("without effect here: {flag}"));
                assert!(
                    result.unwrap().notes.contains(&expected),
                    "{flag} is not told to be moot"
                );
            }
            "missing" => assert_eq!(
                result.unwrap_err().0,
                [crate::problem::Problem::NotSupportedYet { flag }]
            ),
            "left out" => assert_eq!(
                result.unwrap_err().0,
                [crate::problem::Problem::NotSupported { flag }]
            ),
            // Those the launcher uses itself have tests of what they do.
            "launcher" | "surroundings" => {}
            other => panic!("{flag} has the fate {other}"),
        }
    }
}

/// Flags whose use the plan shows: giving one changes what is started.
#[test]
fn the_launchers_own_flags_change_the_plan() {
    let own = [
        "--revision",
        "--num-shard",
        "--hostname",
        "--max-input-length",
        "--master-addr",
        "--huggingface-hub-cache",
        "--json-output",
        "--api-key",
        "--log-level",
    ];
    let show = |words: &[&str]| describe_all(&plan(words), "/m");
    let before = show(&["--model-id", "owner/name"]);
    for flag in own {
        let words = if flag == "--json-output" {
            vec!["--model-id", "owner/name", flag]
        } else {
            with_model(flag)
        };
        assert_ne!(show(&words), before, "{flag} changes nothing");
    }
}

#[test]
fn shards_are_told_how_long_the_download_took() {
    let took = Some(std::time::Duration::from_millis(1500));
    let shards = plan(&["--model-id", "owner/name"]).shards("/m".as_ref(), took);
    let words: Vec<_> = shards[0]
        .arguments
        .iter()
        .map(|word| word.to_string_lossy())
        .collect();
    assert!(
        words.windows(2).any(|pair| pair == ["--download-s", "1.5"]),
        "{words:?}"
    );
}
