use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{How, Server, until, write_model};

/// Puts a directory in the place of another, as a training does.
fn replace(server: &Server, name: &str, new: &str) {
    put(&server.path(new), &server.path(name));
}

fn put(new: &Path, directory: &Path) {
    let aside = directory.with_file_name("aside");
    std::fs::rename(directory, &aside).unwrap();
    std::fs::rename(new, directory).unwrap();
    std::fs::remove_dir_all(aside).unwrap();
}

/// A server that looks at its directories so late that a test does not see it.
fn that_does_not_look() -> Server {
    Server::with(How::default(), |options| options.reload_every = Duration::from_secs(3600))
}

#[test]
fn a_new_version_drops_nothing() {
    answers_change_once("/predict");
}

#[test]
fn a_new_version_drops_no_explanation() {
    answers_change_once("/explain");
}

/// Every answer is wholly that of one version, and none of the old one comes after one of the new one.
fn answers_change_once(route: &str) {
    let server = Server::new();
    let text = json!({"inputs": "a good film"});
    let old = server.post(route, &text).ok();
    let (running, done) = (AtomicBool::new(true), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let (mut client, mut answers) = (server.client(), Vec::new());
                    while running.load(Ordering::Relaxed) {
                        answers.push(client.post(route, &text).ok());
                        done.fetch_or(answers.len() > 20, Ordering::Relaxed);
                    }
                    answers
                })
            })
            .collect();
        until("some answers", || done.load(Ordering::Relaxed));
        write_model(&server.path("new"), 3, json!({"id2label": {"0": "down", "1": "up"}}));
        replace(&server, "first", "new");
        until("the new version", || server.post(route, &text).ok() != old);
        let new = server.post(route, &text).ok();
        running.store(false, Ordering::Relaxed);
        for worker in workers {
            let answers = worker.join().unwrap();
            let first_new = answers.iter().position(|answer| *answer == new).unwrap_or(answers.len());
            assert!(answers[..first_new].iter().all(|answer| *answer == old));
            assert!(answers[first_new..].iter().all(|answer| *answer == new));
        }
        assert_eq!(server.post("/predict", &text).ok().as_array().unwrap().len(), 2);
        assert!(server.get("/info").ok()["model_type"]["classifier"]["label2id"]["up"] == 1);
        let explained = server.post("/explain", &text).ok();
        assert!(explained["label"] == "up" || explained["label"] == "down");
    });
}

/// As editors leave them where a file is open.
#[test]
#[cfg(unix)]
fn a_link_that_leads_nowhere_hides_no_version() {
    let server = Server::new();
    let old = server.predict(json!("a good film")).ok();
    write_model(&server.path("new"), 3, json!({}));
    std::os::unix::fs::symlink("nowhere", server.path("new").join(".#config.json")).unwrap();
    replace(&server, "first", "new");
    until("the new version", || server.predict(json!("a good film")).ok() != old);
}

#[test]
fn a_broken_version_leaves_the_old_one() {
    let server = Server::new();
    let old = server.predict(json!("a good film")).ok();
    write_model(&server.path("new"), 3, json!({}));
    let weights = server.path("new/model.safetensors");
    let bytes = std::fs::read(&weights).unwrap();
    std::fs::write(&weights, &bytes[..bytes.len() / 2]).unwrap();
    replace(&server, "first", "new");
    // many looks
    std::thread::sleep(std::time::Duration::from_millis(200));
    assert_eq!(server.predict(json!("a good film")).ok(), old);
    std::fs::write(server.path("first/model.safetensors"), &bytes).unwrap();
    until("the repaired version", || server.predict(json!("a good film")).ok() != old);
    // no directory is no new version
    std::fs::rename(server.path("first"), server.path("gone")).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(100));
    assert_eq!(server.predict(json!("a good film")).status, 200);
}

/// The weights in f32 are first needed when there is a newer model in the directory already, which is not served yet.
#[test]
fn an_explanation_is_of_the_version_that_is_served() {
    let server = that_does_not_look();
    let scores = server.post("/predict", &json!({"inputs": "a good film", "raw_scores": true})).ok();
    write_model(&server.path("new"), 3, json!({}));
    replace(&server, "first", "new");
    let explained = server.post("/explain", &json!({"inputs": "a good film"})).ok();
    assert_eq!(explained["label"], scores[0]["label"]);
    let difference = explained["logit"].as_f64().unwrap() - scores[0]["score"].as_f64().unwrap();
    // two orders of sums in f32
    assert!(difference.abs() < 1e-4, "{difference}");
}

/// Nothing is left of the version that is served where its file is written over, as no command of ours does.
#[test]
fn no_explanation_of_weights_that_were_written_over() {
    let server = that_does_not_look();
    write_model(&server.path("new"), 3, json!({}));
    let weights = "model.safetensors";
    std::fs::write(server.path("first").join(weights), std::fs::read(server.path("new").join(weights)).unwrap())
        .unwrap();
    let message = server.post("/explain", &json!({"inputs": "a good film"})).fails(424, "Backend");
    assert!(message.contains("written over"), "{message}");
    assert_eq!(server.predict(json!("a good film")).status, 200);
}

/// Gives the files of a directory the times of those of another.
fn same_times(directory: &Path, of: &Path) {
    for entry in std::fs::read_dir(of).unwrap() {
        let entry = entry.unwrap();
        let (time, name) = (entry.metadata().unwrap().modified().unwrap(), entry.file_name());
        std::fs::File::options().write(true).open(directory.join(name)).unwrap().set_modified(time).unwrap();
    }
}

/// As `rsync -t`, `cp -p` and a swap of two directories may leave it.
#[cfg(unix)]
#[test]
fn files_of_equal_sizes_and_times() {
    let server = Server::new();
    let answer = || server.predict(json!("a good film")).ok();
    let old = answer();
    write_model(&server.path("new"), 3, json!({}));
    same_times(&server.path("new"), &server.path("first"));
    replace(&server, "first", "new");
    until("the other directory", || answer() != old);
    // the same file with other contents
    let second = answer();
    write_model(&server.path("new"), 4, json!({}));
    let weights = "model.safetensors";
    let (old_file, bytes) = (server.path("first").join(weights), std::fs::read(server.path("new").join(weights)));
    same_times(&server.path("new"), &server.path("first"));
    std::fs::write(&old_file, bytes.unwrap()).unwrap();
    same_times(&server.path("first"), &server.path("new"));
    until("the other contents", || answer() != second);
}

/// What a server of a model says, whose directory gets new contents while it is read for the `n`th time, and those contents again.
fn replaced_while_read(n: usize) -> (Server, Value) {
    let reads = AtomicUsize::new(0);
    let hook = move |directory: &Path| {
        if directory.ends_with("first") && reads.fetch_add(1, Ordering::Relaxed) == n {
            let new = directory.with_file_name("newest");
            write_model(&new, 5, json!({}));
            put(&new, directory);
        }
    };
    let newest = {
        let reference = Server::new();
        write_model(&reference.path("newest"), 5, json!({}));
        let old = reference.predict(json!("a good film")).ok();
        replace(&reference, "first", "newest");
        until("the newest version", || reference.predict(json!("a good film")).ok() != old);
        reference.predict(json!("a good film")).ok()
    };
    (Server::with(How { read: Arc::new(hook), ..How::default() }, |_| {}), newest)
}

#[test]
fn a_directory_that_is_replaced_at_the_start() {
    let (server, newest) = replaced_while_read(0);
    until("the newest version", || server.predict(json!("a good film")).ok() == newest);
}

/// What was read of it may be of both: it is not served.
#[test]
fn a_directory_that_is_replaced_while_it_is_read() {
    let (server, newest) = replaced_while_read(1);
    let old = server.predict(json!("a good film")).ok();
    write_model(&server.path("new"), 3, json!({}));
    replace(&server, "first", "new");
    until("the newest version", || {
        let answer = server.predict(json!("a good film")).ok();
        assert!(answer == old || answer == newest, "an answer of a version that was gone when it was read");
        answer == newest
    });
}

/// A server that panics when it reads its directory for the second time, and what it says before.
fn that_panics_once() -> (Server, Value) {
    let reads = AtomicUsize::new(0);
    let hook = move |directory: &Path| {
        let read = directory.ends_with("first") && reads.fetch_add(1, Ordering::Relaxed) == 1;
        assert!(!read, "as the test wants it");
    };
    let server = Server::with(How { read: Arc::new(hook), ..How::default() }, |_| {});
    let old = server.predict(json!("a good film")).ok();
    (server, old)
}

/// For want of memory or open files, a version that cannot be loaded may be right all the same.
#[test]
fn a_version_that_could_not_be_loaded_is_tried_again() {
    let (server, old) = that_panics_once();
    write_model(&server.path("new"), 3, json!({}));
    replace(&server, "first", "new");
    until("the second attempt", || server.predict(json!("a good film")).ok() != old);
}

/// Whatever a new version does to what reads it, the next one is read.
#[test]
fn a_version_that_panics() {
    let (server, old) = that_panics_once();
    for seed in [3, 4] {
        write_model(&server.path("new"), seed, json!({}));
        replace(&server, "first", "new");
        // many looks
        std::thread::sleep(Duration::from_millis(200));
        assert_eq!(server.predict(json!("a good film")).ok() == old, seed == 3);
    }
}
