use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;

use crate::support::{Server, until, write_model};

/// Puts a directory in the place of another, as a training does.
fn replace(server: &Server, name: &str, new: &str) {
    std::fs::rename(server.path(name), server.path("aside")).unwrap();
    std::fs::rename(server.path(new), server.path(name)).unwrap();
    std::fs::remove_dir_all(server.path("aside")).unwrap();
}

#[test]
fn a_new_version_drops_nothing() {
    let server = Server::new();
    let text = json!({"inputs": "a good film"});
    let old = server.post("/predict", &text).ok();
    let (running, done) = (AtomicBool::new(true), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let (mut client, mut answers) = (server.client(), Vec::new());
                    while running.load(Ordering::Relaxed) {
                        answers.push(client.post("/predict", &text).ok());
                        done.fetch_or(answers.len() > 20, Ordering::Relaxed);
                    }
                    answers
                })
            })
            .collect();
        until("some answers", || done.load(Ordering::Relaxed));
        write_model(&server.path("new"), 3, json!({"id2label": {"0": "down", "1": "up"}}));
        replace(&server, "first", "new");
        until("the new version", || server.post("/predict", &text).ok() != old);
        let new = server.post("/predict", &text).ok();
        assert_eq!(new.as_array().unwrap().len(), 2);
        running.store(false, Ordering::Relaxed);
        for worker in workers {
            let answers = worker.join().unwrap();
            let first_new = answers.iter().position(|answer| *answer == new).unwrap_or(answers.len());
            assert!(answers[..first_new].iter().all(|answer| *answer == old));
            assert!(answers[first_new..].iter().all(|answer| *answer == new));
        }
        assert!(server.get("/info").ok()["model_type"]["classifier"]["label2id"]["up"] == 1);
        let explained = server.post("/explain", &text).ok();
        assert!(explained["label"] == "up" || explained["label"] == "down");
    });
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
