//! The launcher's binary with fake children: what it starts, in which order it ends it, what it says.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod launcher;
mod restarts;

use std::collections::HashSet;
use std::net::{TcpListener, TcpStream};

use launcher::{Launcher, position};
use nix::sys::signal::Signal;
use serde_json::json;

/// A served model from the first bind to the drain.
#[test]
fn a_drain_ends_the_router_first() {
    let mut launcher = Launcher::new(&["--num-shard", "2"]).start();
    let ready = launcher.wait_for("ready on http://");
    assert!(
        ready.contains(&format!("http://127.0.0.1:{}", launcher.port())),
        "{ready}"
    );
    launcher.signal(Signal::SIGTERM);
    let end = launcher.wait();
    assert_eq!(end.code, Some(0), "{}", end.stderr);

    let story = launcher.story();
    let drained = position(&story, "router drained");
    for rank in 0..2 {
        assert!(position(&story, &format!("shard-{rank} serving")) < drained);
        assert!(drained < position(&story, &format!("shard-{rank} terminated")));
    }
    launcher.assert_nothing_left();
}

#[test]
fn the_demo_is_looked_up_and_a_command_to_try_is_printed() {
    let mut launcher = Launcher::with_model("demo", &["--json-output"]).start();
    let hint = launcher.wait_for("try: curl ");
    launcher.signal(Signal::SIGINT);
    assert_eq!(launcher.wait().code, Some(0));

    let hint: serde_json::Value = serde_json::from_str(&hint).unwrap();
    let command = hint["message"].as_str().unwrap();
    assert!(
        command.contains(&format!(
            "http://127.0.0.1:{}/v1/chat/completions",
            launcher.port()
        )),
        "{command}"
    );
    assert_eq!(launcher.argv("download")[..2], ["download", "demo"]);
    assert_eq!(launcher.argv("shard-0")[..2], ["serve", "/models/here"]);
    let orders = launcher.orders();
    assert!(
        orders.contains(&json!({"model_path": "/models/here"})),
        "{orders:?}"
    );
    assert!(
        orders.iter().any(|order| order["phase"] == "download"),
        "{orders:?}"
    );
}

#[test]
fn lines_of_children_carry_their_name() {
    let mut launcher = Launcher::new(&[]).start();
    launcher.wait_for("shard-0 | shard 0 has loaded");
    launcher.signal(Signal::SIGTERM);
    launcher.wait();

    let mut launcher = Launcher::new(&["--json-output"]).start();
    let line: serde_json::Value = serde_json::from_str(&launcher.wait_for("has loaded")).unwrap();
    assert_eq!(
        (&line["process"], &line["message"]),
        (&json!("shard-0"), &json!("shard 0 has loaded"))
    );
    launcher.signal(Signal::SIGTERM);
    launcher.wait();
}

#[test]
fn a_shard_that_dies_takes_the_rest_down_with_its_last_words() {
    let mut launcher = Launcher::new(&["--num-shard", "2"])
        .behave("SHARD_1", "dies")
        .start();
    let end = launcher.wait();
    assert_eq!(end.code, Some(1));
    assert!(
        end.stderr
            .contains("error: shard-1 ended with exit code 3; its last words:"),
        "{}",
        end.stderr
    );
    assert!(
        end.stderr.contains("error: the weights do not fit"),
        "{}",
        end.stderr
    );

    let failed = launcher
        .orders()
        .iter()
        .find_map(|order| order["failed"].as_str().map(str::to_owned))
        .unwrap();
    assert!(failed == "shard-1 ended with exit code 3", "{failed}");
    let story = launcher.story();
    assert!(
        position(&story, "router failed") < position(&story, "shard-0 terminated"),
        "{story:?}"
    );
    launcher.assert_nothing_left();
}

#[test]
fn a_killed_shard_is_told_by_its_signal() {
    let end = Launcher::new(&[]).behave("SHARD_0", "killed").start().wait();
    assert_eq!(end.code, Some(1));
    assert!(
        end.stderr.contains("shard-0 was killed by SIGKILL"),
        "{}",
        end.stderr
    );
}

#[test]
fn a_router_that_dies_takes_the_shards_down() {
    let mut launcher = Launcher::new(&["--num-shard", "2"])
        .behave("ROUTER", "dies")
        .start();
    let end = launcher.wait();
    assert_eq!(end.code, Some(1));
    assert!(
        end.stderr.contains("router ended with exit code 7"),
        "{}",
        end.stderr
    );
    assert!(end.stderr.contains("router: out of luck"), "{}", end.stderr);
    launcher.assert_nothing_left();
}

/// Once with the kernel's help, once with the control pipe alone.
#[test]
fn nothing_outlives_a_killed_launcher() {
    let mut launcher = Launcher::new(&["--num-shard", "2"]).start();
    launcher.wait_for("ready on");
    launcher.signal(Signal::SIGKILL);
    launcher.wait();
    launcher.assert_nothing_left();

    let mut launcher = Launcher::new(&["--num-shard", "2"])
        .behave("ROUTER", "lonely")
        .behave("SHARD_0", "lonely")
        .behave("SHARD_1", "lonely")
        .start();
    launcher.wait_for("ready on");
    launcher.signal(Signal::SIGKILL);
    launcher.wait();
    launcher.assert_nothing_left();
    let story = launcher.story();
    for who in ["router", "shard-0", "shard-1"] {
        position(&story, &format!("{who} pipe ended"));
    }
}

#[test]
fn ctrl_c_while_draining_ends_at_once() {
    let mut launcher = Launcher::new(&["--graceful-termination-timeout", "600"])
        .behave("ROUTER", "stuck")
        .start();
    launcher.wait_for("ready on");
    launcher.signal(Signal::SIGTERM);
    launcher.wait_for("SIGTERM: no new requests");
    launcher.signal(Signal::SIGTERM);
    launcher.signal(Signal::SIGINT);
    launcher.wait_for("SIGINT: ending at once");
    assert_eq!(launcher.wait().code, Some(130));
    launcher.assert_nothing_left();
}

#[test]
fn a_router_that_does_not_finish_in_time_is_killed() {
    let mut launcher = Launcher::new(&["--graceful-termination-timeout", "0"])
        .behave("ROUTER", "stuck")
        .start();
    launcher.wait_for("ready on");
    launcher.signal(Signal::SIGTERM);
    launcher.wait_for("the router did not end in time");
    assert_eq!(launcher.wait().code, Some(0));
    launcher.assert_nothing_left();
}

#[test]
fn a_signal_during_the_download_ends_it() {
    let mut launcher = Launcher::with_model("owner/name", &[])
        .behave("DOWNLOAD", "slow")
        .start();
    launcher.wait_for("downloaded 50 B of 100 B");
    while launcher.story().iter().all(|entry| entry != "router start") {
        std::thread::yield_now();
    }
    assert!(
        TcpStream::connect(format!("127.0.0.1:{}", launcher.port())).is_ok(),
        "the router binds at once"
    );
    launcher.signal(Signal::SIGTERM);
    assert_eq!(launcher.wait().code, Some(0));
    assert!(launcher.story().iter().all(|entry| !entry.starts_with("shard")));
    launcher.assert_nothing_left();
}

#[test]
fn a_download_that_fails_is_one_sentence() {
    let mut launcher = Launcher::with_model("a/b", &[])
        .behave("DOWNLOAD", "refused")
        .start();
    let end = launcher.wait();
    assert_eq!(end.code, Some(1));
    assert_eq!(
        end.stderr,
        "error: the repository a/b is not on the hub: check the name\n"
    );
    assert!(
        launcher
            .orders()
            .contains(&json!({"failed": "the repository a/b is not on the hub: check the name"}))
    );
    launcher.assert_nothing_left();

    let end = Launcher::with_model("a/b", &[])
        .behave("DOWNLOAD", "crashes")
        .start()
        .wait();
    assert!(end.stderr.contains("Traceback: no such module"), "{}", end.stderr);
}

#[test]
fn secrets_go_where_they_are_needed_and_never_into_argv() {
    let mut launcher = Launcher::with_model("owner/name", &["--num-shard", "2"])
        .variable("API_KEY", "key-7Q")
        .variable("HF_TOKEN", "token-7Q")
        .variable("MAX_INPUT_LENGTH", "100")
        .variable("CUDA_VISIBLE_DEVICES", "")
        .start();
    launcher.wait_for("ready on");
    launcher.signal(Signal::SIGTERM);
    let end = launcher.wait();
    for text in [&end.stdout, &end.stderr] {
        assert!(!text.contains("7Q"), "{text}");
    }
    for who in ["router", "download", "shard-0", "shard-1"] {
        assert!(!launcher.argv(who).concat().contains("7Q"), "{who}");
        let environment = launcher.environment(who);
        let has = |name: &str| environment.get(name).is_some();
        assert_eq!(has("API_KEY"), who == "router", "{who}");
        assert_eq!(has("HF_TOKEN"), who == "download", "{who}");
        assert!(!has("MAX_INPUT_LENGTH"), "{who} would read a limit that is spent");
        assert!(has("CUDA_VISIBLE_DEVICES"), "{who}");
    }
}

/// A child that held another's control pipe would keep it alive when the launcher is gone.
#[test]
fn a_child_has_no_descriptor_but_its_own() {
    let mut launcher = Launcher::new(&["--num-shard", "2"]).start();
    launcher.wait_for("ready on");
    launcher.signal(Signal::SIGTERM);
    launcher.wait();
    let mut seen: HashSet<String> = own_pipes();
    for who in ["router", "shard-0", "shard-1"] {
        let pipes = launcher.started(who)["pipes"].as_object().unwrap().clone();
        let pipes: HashSet<String> = pipes
            .values()
            .map(|pipe| pipe.as_str().unwrap().to_owned())
            .collect();
        let new = pipes.difference(&seen).count();
        assert_eq!(
            new, 3,
            "{who}: one each for its output, its errors and its orders"
        );
        assert!(
            own_pipes().is_superset(&pipes.intersection(&seen).cloned().collect()),
            "{who} holds another's pipe"
        );
        seen.extend(pipes);
        assert_eq!(
            launcher.started(who)["group"],
            launcher.started(who)["pid"],
            "{who} has its own process group"
        );
    }
}

/// The pipes this test holds, which its children may have inherited.
fn own_pipes() -> HashSet<String> {
    let entries = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    entries
        .flat_map(|entry| std::fs::read_link(entry.path()))
        .map(|link| link.display().to_string())
        .collect()
}

#[test]
fn a_port_in_use_is_one_sentence() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let mut launcher = Launcher::new(&["--port", &port]).start();
    let end = launcher.wait();
    assert_eq!(end.code, Some(2));
    let expected = format!(
        "error: port {port} of 127.0.0.1 is in use: end the program that holds it, or choose another with --port\n"
    );
    assert_eq!(end.stderr, expected);
    assert!(launcher.story().is_empty());
}

#[test]
fn the_environment_sets_flags_and_nothing_is_not_set() {
    let mut launcher = Launcher::new(&[])
        .variable("HOSTNAME", "127.0.0.1")
        .variable("NUM_SHARD", "2")
        .variable("MAX_TOTAL_TOKENS", "")
        .variable("PREFIX_CACHING", "0")
        .start();
    launcher.wait_for("ready on");
    launcher.signal(Signal::SIGTERM);
    launcher.wait();
    let argv = launcher.argv("router").join(" ");
    assert!(argv.contains("--num-shard 2"), "{argv}");
    assert!(argv.contains("--prefix-caching false"), "{argv}");
    assert!(!argv.contains("--max-total-tokens"), "{argv}");
}

#[test]
fn the_report_of_the_environment() {
    let end = Launcher::bare(&["--env"]).start().wait();
    assert_eq!(end.code, Some(0), "{}", end.stderr);
    for word in ["shardline", "system", "cpu", "cores", "memory", "nvidia-smi"] {
        assert!(end.stdout.contains(word), "no {word} in:\n{}", end.stdout);
    }
}
