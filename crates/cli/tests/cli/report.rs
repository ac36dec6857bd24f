//! The page and the model card of a run.

use crate::support::{Sandbox, assert_says, table};

fn read(sandbox: &Sandbox, name: &str) -> String {
    String::from_utf8(sandbox.read(name)).unwrap()
}

#[test]
fn train_names_its_page() {
    let sandbox = Sandbox::new();
    let ran = sandbox.succeeds("train --model model --data data --output run --epochs 1 --unfreeze blocks:1");
    assert_says(&ran.stdout, &["Report: run/report.html"]);
    let page = read(&sandbox, "run/report.html");
    let parts =
        ["comparison", "done", "data", "curves", "figures", "classes", "confusion", "trust", "errors", "slices"];
    for part in parts.into_iter().chain(["environment", "reproduce"]) {
        assert!(page.contains(&format!("<section id=\"{part}\">")), "{part}");
    }
    // what was frozen and what trained, the rows of each split, where the model errs
    assert_says(
        &page,
        &["frozen</span>", "trains</span>", "16 test rows", "judge, once, at the end", "num_train_epochs"],
    );
    assert_says(&page, &["TF-IDF", "Majority class", "train rows"]);
}

/// The second training starts from a trained head, and has no rows of its own to judge by.
#[test]
fn a_training_that_goes_on_is_compared() {
    let sandbox = Sandbox::trained();
    sandbox.succeeds("train --model run --data data --output again --epochs 1");
    assert_says(&read(&sandbox, "again/report.html"), &["Starting model", "ine-tuning", "Against the starting model"]);
    sandbox.remove("data/test.tsv");
    sandbox.succeeds("train --model run --data data --output dev --epochs 1 --select-on dev --no-baselines");
    assert_says(&read(&sandbox, "dev/report.html"), &["on the favourable side", "validation rows"]);
}

/// Every kind of name and text that users have.
#[test]
fn texts_and_names_are_escaped() {
    let sandbox = Sandbox::new();
    let data = table('\t', 0..60)
        .replace("sentence\tlabel", "<script>x\t<b>label")
        .replace("film", "<script>alert(1)</script>");
    sandbox.write("<i>.tsv", data.replace("positive", "<img src=x>"));
    let columns = "--text-column <script>x --label-column <b>label";
    sandbox.succeeds(&format!("train --model model --data <i>.tsv {columns} --output run --epochs 1"));
    let page = read(&sandbox, "run/report.html");
    for markup in ["<script", "<img", "<i>", "<b>label"] {
        assert!(!page.contains(markup), "{markup}");
    }
    assert_says(&page, &["&lt;</span>", "&lt;img src=x&gt;", "&lt;i&gt;.tsv", "&lt;script&gt;x"]);
}

#[test]
fn the_card_tells_no_path() {
    let sandbox = Sandbox::new();
    let (model, data) = (sandbox.path("model"), sandbox.path("data"));
    let command = format!("train --model {} --data {} --output run --epochs 1", model.display(), data.display());
    sandbox.succeeds(&command);
    let card = read(&sandbox, "run/README.md");
    assert_says(&card, &["fine-tuned from `model` on `data`", "type: data\n", "split: test\n", "## Limits"]);
    let directory = sandbox.path("").display().to_string();
    assert!(!card.contains(directory.trim_end_matches('/')), "{card}");
    for unknown in ["license:", "language:", "base_model:", "datasets:"] {
        assert!(!card.contains(unknown), "{unknown}");
    }
}

#[test]
fn the_best_of_a_sweep_has_a_page() {
    let sandbox = Sandbox::new();
    sandbox.succeeds("sweep --model model --data data --output sweep --seeds 2 --epochs 1");
    assert_says(&read(&sandbox, "sweep/best/report.html"), &["16 test rows", "<h1 dir=\"auto\">sweep</h1>"]);
    assert!(!sandbox.path("sweep/trials/1/report.html").exists());
}
