//! Rows with their predictions as CSV or JSON lines. Called by [`super::output`].

use std::path::Path;

use super::cells::{Pairs, cells, quoted};
use super::output::{Predicted, Shape};
use crate::data::{Chunk, Record};
use crate::{Error, Result};

/// The lines of a chunk as CSV, with a line of names in front of the first one.
pub(super) fn csv(chunk: &Chunk, predicted: &[Predicted], shape: &Shape, first: bool) -> Result<Vec<u8>> {
    let names = shape.names();
    let failed = |error: csv::Error| Error::file(&chunk.table.path, format!("a row cannot be written: {error}"), "");
    let mut to = csv::Writer::from_writer(Vec::new());
    if first {
        to.write_record(chunk.header.names.iter().chain(&names)).map_err(failed)?;
    }
    for (row, (record, predicted)) in chunk.records.iter().zip(predicted).enumerate() {
        let cells = cells(record, &chunk.header).map_err(|problem| of_row(chunk, row, problem))?;
        for cell in &cells {
            to.write_field(cell.text().as_bytes()).map_err(failed)?;
        }
        for value in values(predicted, shape) {
            to.write_field(value).map_err(failed)?;
        }
        to.write_record(None::<&[u8]>).map_err(failed)?;
    }
    to.into_inner().map_err(|error| failed(error.into_error().into()))
}

/// What is predicted for a row as text, in the order of [`Shape::names`].
fn values(predicted: &Predicted, shape: &Shape) -> Vec<String> {
    let mut values = vec![predicted.labels.join("|")];
    values.extend(predicted.probabilities.iter().map(f64::to_string));
    values.extend(predicted.abstained.map(|abstained| abstained.to_string()));
    values.push(predicted.truncated.to_string());
    if shape.logits {
        values.extend(predicted.logits.iter().map(f32::to_string));
    }
    values.extend(predicted.attribution.clone());
    values
}

/// The lines of a chunk as JSON objects: the object of the input with more fields, or one of its columns.
pub(super) fn json(chunk: &Chunk, predicted: &[Predicted], shape: &Shape) -> Result<Vec<u8>> {
    let mut lines = String::new();
    let refused = |row, problem| {
        let line = chunk.table.lines.get(row).copied().unwrap_or_default();
        Error::row(&chunk.table.path, line, problem, "Rename or remove the field")
    };
    for (row, (record, predicted)) in chunk.records.iter().zip(predicted).enumerate() {
        let own = object(record, chunk, shape).map_err(|problem| refused(row, problem))?;
        lines.push('{');
        lines += &own;
        if !own.is_empty() {
            lines += ", ";
        }
        lines += &fields(predicted, shape);
        lines += "}\n";
    }
    Ok(lines.into_bytes())
}

/// The fields of a row of the input, without the brackets around them.
fn object(record: &Record, chunk: &Chunk, shape: &Shape) -> Result<String, String> {
    if let Record::Json(json) = record {
        let taken = shape.fields();
        if let Some((name, _)) = Pairs::of(json)?.0.iter().find(|(name, _)| taken.contains(&name.as_str())) {
            return Err(format!("has a field {name:?} already, which predictions are written into"));
        }
        // line ends cannot be in strings
        let inside = json.trim().strip_prefix('{').and_then(|json| json.strip_suffix('}')).unwrap_or_default();
        return Ok(inside.replace(['\n', '\r'], " ").trim().to_owned());
    }
    let cells = cells(record, &chunk.header)?;
    let pair = |(name, cell): (&String, &super::cells::Cell)| format!("{}: {}", quoted(name), cell.json());
    Ok(chunk.header.names.iter().zip(&cells).map(pair).collect::<Vec<_>>().join(", "))
}

/// What is predicted for a row, as the fields of an object.
fn fields(predicted: &Predicted, shape: &Shape) -> String {
    let labels: Vec<String> = predicted.labels.iter().map(|label| quoted(label)).collect();
    let label = match shape.several {
        true => format!("[{}]", labels.join(", ")),
        false => labels.into_iter().next().unwrap_or_else(|| "null".into()),
    };
    let number = |x: f64| serde_json::Value::from(x).to_string();
    let named = shape.classes.iter().zip(&predicted.probabilities);
    let probabilities: Vec<String> = named.map(|(name, p)| format!("{}: {}", quoted(name), number(*p))).collect();
    let mut fields =
        vec![format!("\"predicted\": {label}"), format!("\"probabilities\": {{{}}}", probabilities.join(", "))];
    fields.extend(predicted.abstained.map(|abstained| format!("\"abstained\": {abstained}")));
    fields.push(format!("\"truncated\": {}", predicted.truncated));
    if shape.logits {
        let logits: Vec<String> =
            predicted.logits.iter().map(|&logit| serde_json::Value::from(logit).to_string()).collect();
        fields.push(format!("\"logits\": [{}]", logits.join(", ")));
    }
    fields.extend(predicted.attribution.as_ref().map(|attribution| format!("\"attribution\": {attribution}")));
    fields.join(", ")
}

/// The error for a row that cannot be written.
pub(super) fn of_row(chunk: &Chunk, row: usize, problem: String) -> Error {
    let line = chunk.table.lines.get(row).copied().unwrap_or_default();
    let hint = "Rename or remove the field, or write .jsonl, whose rows may have any fields";
    Error::row(Path::new(&chunk.table.path), line, problem, hint)
}
