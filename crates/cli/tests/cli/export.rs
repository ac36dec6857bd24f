//! `export`: what is written, and when nothing is. What ONNX Runtime makes of it is in `tests/python/onnx.rs`.

use crate::support::Sandbox;

#[test]
fn a_directory_with_everything_appears_whole() {
    let sandbox = Sandbox::trained();
    let before = sandbox.paths();
    let ran = sandbox.succeeds("export --model run --output out/onnx --json");
    let told: serde_json::Value = serde_json::from_str(ran.stdout.trim()).unwrap();
    let model = sandbox.read("out/onnx/model.onnx");
    assert_eq!(told["event"], "export");
    assert_eq!((told["format"].as_str(), told["bytes"].as_u64()), (Some("onnx"), Some(model.len() as u64)));
    // all f32 weights and little else
    let weights = 4 * told["parameters"].as_u64().unwrap() as usize;
    assert!((weights..weights + 40_000).contains(&model.len()), "{} of {weights}", model.len());
    for name in ["config.json", "tokenizer.json"] {
        assert_eq!(sandbox.read(&format!("out/onnx/{name}")), sandbox.read(&format!("run/{name}")), "{name}");
    }
    let new: Vec<_> = sandbox.paths().into_iter().filter(|path| !before.contains(path)).collect();
    assert!(new.iter().all(|path| path.starts_with(sandbox.path("out"))), "{new:?}");

    let message = sandbox.fails("export --model run --output out/onnx");
    assert!(message.contains("the output directory exists"), "{message}");
    sandbox.succeeds("export --model run --output out/onnx --format onnx --overwrite");
    assert_eq!(sandbox.read("out/onnx/model.onnx"), model);
}

#[test]
fn what_cannot_be_exported_leaves_nothing() {
    let sandbox = Sandbox::new();
    let message = sandbox.fails("export --model model --output out/onnx");
    assert!(message.contains("The model has no trained head: fine-tune it first, with distune train"), "{message}");
    let message = sandbox.fails("export --model nowhere/at/all --output onnx");
    assert!(message.contains("nowhere/at/all"), "{message}");
    let message = sandbox.fails("export --model model --output data");
    assert!(message.contains("data: the output directory exists"), "{message}");
}
