//! Reads files of predictions: what `predict --json` prints, or a table with a column of predicted labels, of probabilities, or
//! both. Called by the command line, to judge what another program or an earlier run predicted.

mod formats;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::builder::{BLANK, Cell, Problem, SEPARATOR, label_name, one_of_several, text};
use super::source::{Format, Source};
use super::{contained::contained, delimited};
use crate::data::columns::{LABEL_NAMES, LISTED, PAIR_NAMES, TEXT_NAMES, find_or_guess};
use crate::data::{Answers, quoted};
use crate::model::ProblemType;
use crate::{Error, Result};

/// Names of a column of predicted labels, best first; where there is none, a label column is taken for one.
const PREDICTED_NAMES: [&str; 5] = ["predicted", "prediction", "predicted_label", "predictions", "pred"];
/// Name of a column with a probability for each class.
const PROBABILITIES: &str = "probabilities";
/// What the names of columns with the probability of one class begin with.
const PROBABILITY: &str = "probability_";
/// How far a probability may be beyond 0 or 1.
const ROUNDING: f64 = 1e-6;

/// Predictions for N rows, as a file has them.
#[derive(Clone, Debug, PartialEq)]
pub struct PredictionFile {
    /// The file.
    pub path: PathBuf,
    /// The names of classes that it has; first those with probabilities.
    pub names: Vec<String>,
    /// The predicted labels, as places in `names`; none where the file has probabilities alone.
    pub predicted: Option<Answers>,
    /// `[N, C]` the probabilities of the first C names, as many as [`Self::classes`] says.
    pub probabilities: Vec<f64>,
    /// How many classes have probabilities.
    pub classes: usize,
    /// The true labels, as places in `names`, where the file has them beside the predicted ones.
    pub truth: Option<Answers>,
    /// `[N]` texts; empty where the file has none.
    pub texts: Vec<String>,
    /// `[N]` second texts; empty where the file has none.
    pub pairs: Vec<String>,
    /// `[N]` line in the file on which each row begins, counted from 1. In Parquet, the number of the row.
    pub lines: Vec<u64>,
    /// Whether some row has a list of labels.
    pub several_labels: bool,
}

impl PredictionFile {
    /// Reads a file in any of the formats, or standard input for `-`.
    ///
    /// # Errors
    /// A file that cannot be read, without predictions or without rows; a row without a label, or with a probability that is none or
    /// missing.
    pub fn read(path: &Path) -> Result<Self> {
        let source = Source::open(path)?;
        match source.format {
            Format::Json => formats::json(source),
            Format::Tsv => formats::delimited(source, b'\t'),
            Format::Csv => {
                let delimiter = delimited::sniff(&source.head);
                formats::delimited(source, delimiter)
            }
            Format::Parquet => contained(|| formats::parquet(source)).unwrap_or_else(|| {
                let problem = "not a sound Parquet file: what is in it contradicts itself";
                Err(Error::file(path, problem, "Copy or download it again"))
            }),
            Format::Trees => Err(Error::file(path, "a treebank, expected predictions", HINT)),
        }
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }
}

/// What a file of predictions looks like.
const HINT: &str =
    "Expected what predict --json prints, or columns such as predicted (or label), and probability_NAME for each class";

/// Where the columns of a file are.
struct Places {
    /// Text, second text, predicted label, true label.
    cells: [Option<usize>; 4],
    /// The column that has the probabilities of all classes.
    all: Option<usize>,
    /// Those that have the probability of one class each.
    each: Vec<usize>,
}

impl Places {
    fn find(path: &Path, header: &[String]) -> Result<Self> {
        let guess = |names: &[&str]| find_or_guess(path, header, None, names);
        let pair = PAIR_NAMES.into_iter().find_map(|names| {
            let [first, second] = names.map(|name| guess(&[name]));
            Some([first.ok()??, second.ok()??])
        });
        let (text, second) = match pair {
            Some([text, second]) => (Some(text), Some(second)),
            // as predict prints them
            None => (guess(&TEXT_NAMES)?, guess(&["pair"])?),
        };
        let (named, label) = (guess(&PREDICTED_NAMES)?, guess(&LABEL_NAMES)?);
        let each = (0..header.len()).filter(|&place| header[place].starts_with(PROBABILITY)).collect();
        let places =
            Self { cells: [text, second, named.or(label), named.and(label)], all: guess(&[PROBABILITIES])?, each };
        if places.cells[2].is_none() && places.all.is_none() && places.each.is_empty() {
            let problem = format!("no predictions found; columns found: {}", quoted(header, LISTED));
            return Err(Error::file(path, problem, HINT));
        }
        Ok(places)
    }
}

/// A file of predictions in the making.
struct Builder {
    file: PredictionFile,
    /// The places of the names.
    known: HashMap<String, u32>,
    places: Places,
    header: Vec<String>,
    /// What is wrong with a probability of the object under way, which a JSON error cannot hold.
    problem: Option<Problem>,
}

impl Builder {
    fn new(path: &Path, header: &[String]) -> Result<Self> {
        let places = Places::find(path, header)?;
        let labels = |place: Option<usize>| place.map(|_| Answers::none(ProblemType::SingleLabel));
        let file = PredictionFile {
            path: path.to_owned(),
            names: Vec::new(),
            predicted: labels(places.cells[2]),
            probabilities: Vec::new(),
            classes: 0,
            truth: labels(places.cells[3]),
            texts: Vec::new(),
            pairs: Vec::new(),
            lines: Vec::new(),
            several_labels: false,
        };
        let mut builder = Self { file, known: HashMap::new(), places, header: header.to_vec(), problem: None };
        for place in builder.places.each.clone() {
            builder.class(&header[place][PROBABILITY.len()..]);
        }
        builder.file.classes = builder.file.names.len();
        Ok(builder)
    }

    /// The place of a class's name, which is new or known.
    fn class(&mut self, name: &str) -> u32 {
        if let Some(place) = self.known.get(name) {
            return *place;
        }
        let place = self.file.names.len() as u32;
        self.file.names.push(name.to_owned());
        self.known.insert(name.to_owned(), place);
        place
    }

    fn column(&self, cell: usize) -> String {
        self.places.cells[cell].map_or(String::new(), |place| self.header[place].clone())
    }

    /// Takes the row that begins on line `line`: text, second text, predicted and true label. Its probabilities are there already.
    fn row(&mut self, line: u64, cells: [Option<Cell>; 4]) -> Result<()> {
        self.checked(cells).map_err(|(problem, hint)| Error::row(&self.file.path, line, problem, hint))?;
        self.file.lines.push(line);
        Ok(())
    }

    fn checked(&mut self, [first, second, predicted, truth]: [Option<Cell>; 4]) -> Result<(), Problem> {
        let row = self.file.len() * self.file.classes;
        let missing = self.file.probabilities[row..].iter().position(|p| p.is_nan());
        if let Some(class) = missing.or((self.file.probabilities.len() == row && self.has_probabilities()).then_some(0))
        {
            let name = self.file.names.get(class).map_or("each class", String::as_str);
            return Err((format!("no probability of {}", quoted(&[name], 1)), BLANK));
        }
        let first = first.map(|cell| text(cell, "text", &self.column(0))).transpose()?;
        let second = second.map(|cell| text(cell, "second text", &self.column(1))).transpose()?;
        self.file.texts.extend(first);
        self.file.pairs.extend(second);
        for (cell, place) in [(predicted, 2), (truth, 3)] {
            if let Some(cell) = cell {
                let ids = self.labels(cell, &self.column(place))?;
                let answers = if place == 2 { &mut self.file.predicted } else { &mut self.file.truth };
                answers.iter_mut().for_each(|answers| push(answers, &ids));
            }
        }
        Ok(())
    }

    fn has_probabilities(&self) -> bool {
        self.places.all.is_some() || !self.places.each.is_empty()
    }

    /// The labels of a cell: one, a list, or several with | between them; none where it is blank.
    fn labels(&mut self, cell: Cell, column: &str) -> Result<Vec<u32>, Problem> {
        let names = match cell {
            Cell::List(cells) => {
                self.file.several_labels = true;
                cells.into_iter().map(|cell| one_of_several(cell, column)).collect::<Result<Vec<_>, _>>()?
            }
            cell => {
                let name = label_name(cell, column)?;
                if self.known.contains_key(&name) || !name.contains(SEPARATOR) {
                    if name.is_empty() { Vec::new() } else { vec![name] }
                } else {
                    self.file.several_labels = true;
                    name.split(SEPARATOR).map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect()
                }
            }
        };
        let mut ids: Vec<u32> = names.iter().map(|name| self.class(name)).collect();
        ids.sort_unstable();
        ids.dedup();
        Ok(ids)
    }

    /// Makes room for the probabilities of a row, which are missing so far.
    fn begin(&mut self) {
        let filled = (self.file.len() + 1) * self.file.classes;
        self.file.probabilities.resize(filled, f64::NAN);
    }

    /// Takes the probability of a class of the row, most likely the `place`-th one. The first row of an object says which there are.
    fn probability(&mut self, name: &str, place: usize, p: f64) -> Result<(), Problem> {
        let named = || quoted(&[name], 1);
        if !(-ROUNDING..=1.0 + ROUNDING).contains(&p) {
            return Err((format!("the probability of {} is {p}, expected a number from 0 to 1", named()), ""));
        }
        let row = self.file.len() * self.file.classes;
        let class = match self.file.names.get(place).is_some_and(|known| known == name) {
            true => place,
            false => match self.known.get(name) {
                Some(&class) => class as usize,
                None if row == 0 && self.places.each.is_empty() => {
                    self.file.probabilities.push(f64::NAN);
                    self.file.classes += 1;
                    self.class(name) as usize
                }
                None => usize::MAX,
            },
        };
        if class >= self.file.classes {
            return Err((
                format!("a probability of {}, which the first row has not got", named()),
                "Expected the same classes",
            ));
        }
        let to = &mut self.file.probabilities[row + class];
        if !to.is_nan() {
            return Err((format!("two probabilities of {}", named()), "Remove one"));
        }
        *to = p.clamp(0.0, 1.0);
        Ok(())
    }

    fn finish(self) -> Result<PredictionFile> {
        match self.file.is_empty() {
            true => Err(Error::file(&self.file.path, "no rows", HINT)),
            false => Ok(self.file),
        }
    }
}

/// Appends a row's labels; where it has not one, from here on all rows are lists.
fn push(answers: &mut Answers, ids: &[u32]) {
    match (&mut *answers, ids) {
        (Answers::One(all), [id]) => all.push(*id),
        (Answers::One(all), ids) => {
            let mut rows: Vec<Vec<u32>> = all.iter().map(|&id| vec![id]).collect();
            rows.push(ids.to_vec());
            *answers = Answers::Several(rows);
        }
        (Answers::Several(rows), ids) => rows.push(ids.to_vec()),
    }
}
