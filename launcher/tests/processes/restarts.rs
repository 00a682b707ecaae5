//! Shards that are lost after they served: replaced, the router stays, and all of it has an end.

use nix::sys::signal::Signal;
use serde_json::json;

use crate::launcher::Launcher;

/// How often the story tells this.
fn count(story: &[String], entry: &str) -> usize {
    story.iter().filter(|told| *told == entry).count()
}

#[test]
fn a_lost_shard_has_its_whole_group_replaced_while_the_router_stays() {
    let mut launcher = Launcher::new(&["--num-shard", "2"]).start();
    launcher.wait_for("ready on");
    launcher.signal_child("shard-1", Signal::SIGKILL);
    let loss = launcher.wait_for("shard-1 was killed by SIGKILL");
    assert!(loss.contains("its last words:"), "{loss}");
    launcher.wait_for("the shards are back after ");
    launcher.signal(Signal::SIGTERM);
    assert_eq!(launcher.wait().code, Some(0));

    let orders = launcher.orders();
    let told = json!({"replaced": 2, "cause": "shard-1 was killed by SIGKILL"});
    assert!(orders.contains(&told), "{orders:?}");
    let story = launcher.story();
    assert_eq!(count(&story, "router start"), 1, "{story:?}");
    for who in ["shard-0", "shard-1"] {
        assert_eq!(count(&story, &format!("{who} start")), 2, "{story:?}");
    }
    launcher.assert_nothing_left();
}

#[test]
fn shards_that_the_router_finds_stuck_are_replaced() {
    let mut launcher = Launcher::new(&["--num-shard", "2"])
        .behave("ROUTER", "impatient")
        .start();
    launcher.wait_for("ready on");
    launcher.signal_child("shard-1", Signal::SIGSTOP);
    launcher.wait_for("the shards are stuck: step 7 was not answered within 3 s");
    launcher.wait_for("shard-1 did not end within 1 s: killed");
    launcher.wait_for("the shards are back after ");
    launcher.signal(Signal::SIGTERM);
    assert_eq!(launcher.wait().code, Some(0));
    launcher.assert_nothing_left();
}

#[test]
fn a_shard_that_dies_before_its_group_is_back_ends_the_server() {
    let mut launcher = Launcher::new(&["--num-shard", "2"])
        .behave("SHARD_0", "killed-again")
        .start();
    launcher.wait_for("ready on");
    launcher.signal_child("shard-1", Signal::SIGKILL);
    let end = launcher.wait();
    assert_eq!(end.code, Some(1));
    let sentence = "shard-0 was killed by SIGKILL before the restarted shards were ready";
    assert!(
        end.stderr
            .contains(&format!("error: {sentence}; its last words:")),
        "{}",
        end.stderr
    );
    let orders = launcher.orders();
    assert!(orders.contains(&json!({ "failed": sentence })), "{orders:?}");
    launcher.assert_nothing_left();
}

#[test]
fn a_fifth_loss_within_minutes_is_the_last() {
    let mut launcher = Launcher::new(&[]).start();
    launcher.wait_for("ready on");
    for _ in 0..4 {
        launcher.signal_child("shard-0", Signal::SIGKILL);
        launcher.wait_for("the shards are back after ");
    }
    launcher.signal_child("shard-0", Signal::SIGKILL);
    let end = launcher.wait();
    assert_eq!(end.code, Some(1));
    assert!(
        end.stderr
            .contains("shard-0 was killed by SIGKILL, the 5th loss within 300 s; its last words:"),
        "{}",
        end.stderr
    );
    launcher.assert_nothing_left();
}

/// The second loss is followed by a pause; a drain does not sit it out.
#[test]
fn a_signal_while_shards_are_away_starts_them_and_drains() {
    let mut launcher = Launcher::new(&[]).start();
    launcher.wait_for("ready on");
    launcher.signal_child("shard-0", Signal::SIGKILL);
    launcher.wait_for("the shards are back after ");
    launcher.signal_child("shard-0", Signal::SIGKILL);
    launcher.wait_for("the shards start again");
    launcher.signal(Signal::SIGTERM);
    let end = launcher.wait();
    assert_eq!(end.code, Some(0), "{}", end.stderr);
    launcher.assert_nothing_left();
}
