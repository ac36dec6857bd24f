#![allow(clippy::unwrap_used)]
use super::*;

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

/// Two classes, too sure of themselves.
fn fitted() -> (Answers, Predictions, Calibration) {
    let mut predictions = Predictions::none(ProblemType::SingleLabel);
    let rows = [0.99, 0.9, 0.95, 0.97, 0.02, 0.1, 0.3, 0.05];
    rows.iter().for_each(|&p| predictions.push(&[p, 1.0 - p]));
    let truth = Answers::One(vec![0, 1, 0, 0, 1, 0, 1, 1]);
    let calibration = Calibration::fit(&truth, &predictions, &names(&["no", "yes"]), Goal::F1).unwrap();
    (truth, predictions, calibration)
}

#[test]
fn what_is_fitted_lowers_the_loss() {
    let (truth, predictions, calibration) = fitted();
    assert!(calibration.temperature > 1.0);
    assert!(calibration.fitted.after.log_loss < calibration.fitted.before.log_loss);
    assert_eq!(calibration.effect(&truth, &predictions).unwrap(), calibration.fitted);
    // thresholds are those of the probabilities after the temperature
    let decided = calibration.calibrated(&predictions).with_thresholds(&calibration.threshold_values()).unwrap();
    let metrics = crate::eval::Metrics::new(&truth, &decided.answers, &calibration.labels).unwrap();
    let found = &calibration.thresholds[0];
    assert_eq!((metrics.classes[1].f1, metrics.classes[1].precision), (found.f1, found.precision));
}

#[test]
fn rows_of_one_class_tell_no_temperature() {
    let (_, predictions, _) = fitted();
    let truth = Answers::One(vec![1; 8]);
    let calibration = Calibration::fit(&truth, &predictions, &names(&["no", "yes"]), Goal::F1).unwrap();
    assert_eq!(calibration.temperature, 1.0);
    assert_eq!(calibration.fitted.before, calibration.fitted.after);
}

#[test]
fn the_file_is_what_was_written_or_names_the_key() {
    let directory = tempfile::tempdir().unwrap();
    let read = |labels: &[&str], problem| Calibration::read(directory.path(), &names(labels), problem);
    let single = |labels: &[&str]| read(labels, ProblemType::SingleLabel);
    let missing = single(&["no", "yes"]).unwrap_err().to_string();
    assert!(missing.contains("distune calibrate --model"), "{missing}");
    let (.., calibration) = fitted();
    calibration.write(directory.path()).unwrap();
    assert_eq!(single(&["no", "yes"]).unwrap(), calibration);
    let says = |problem: Result<Calibration>, expected: &str| {
        let message = problem.unwrap_err().to_string();
        assert!(message.contains("calibration.json: ") && message.contains(expected), "{message}");
    };
    says(single(&["yes", "no"]), "labels: expected those of config.json, [\"yes\", \"no\"]");
    says(read(&["no", "yes"], ProblemType::MultiLabel), "thresholds: expected those of [\"no\", \"yes\"]");
    let path = directory.path().join(FILE);
    let text = std::fs::read_to_string(&path).unwrap();
    let edited = |from: &str, to: &str| {
        assert!(text.contains(from), "{text}");
        std::fs::write(&path, text.replacen(from, to, 1)).unwrap();
        single(&["no", "yes"])
    };
    let number = |key: &str| text.split(&format!("\"{key}\": ")).nth(1).unwrap().split([',', '\n']).next().unwrap();
    let of = |key: &str| format!("\"{key}\": {}", number(key));
    says(edited(&of("temperature"), "\"temperature\": 0"), "temperature: expected a number from 0.01 to 100, found 0");
    says(edited(&of("temperature"), "\"temperature\": \"2\""), "temperature: invalid type: string");
    says(edited(&of("threshold"), "\"threshold\": 1.5"), "thresholds[0].threshold: expected a number from 0 to 1");
    says(edited(&of("support"), "\"support\": -1"), "thresholds[0].support: invalid value");
    says(edited("\"temperature\"", "\"temperatur\""), "unknown field `temperatur`");
    std::fs::write(&path, &text[..text.len() / 2]).unwrap();
    says(single(&["no", "yes"]), "EOF while parsing");
}
