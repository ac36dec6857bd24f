//! Files of predictions brought together with the rows that they are for. Called by the command line.

use super::Predictions;
use crate::data::{Answers, LabelMap, PredictionFile, Table, quoted};
use crate::model::ProblemType;
use crate::predict::predicted;
use crate::{Error, Result};

impl PredictionFile {
    /// Checks that the rows are those of a table: as many, and with the same texts where the file has them.
    ///
    /// # Errors
    /// The first row that differs.
    pub fn check_rows(&self, table: &Table) -> Result<()> {
        let of = table.path.display();
        let hint = "Predict all rows of the same file, in its order, and name the same --split";
        if self.len() != table.len() {
            let problem = format!("{} rows, but {of} has {}", self.len(), table.len());
            return Err(Error::file(&self.path, problem, hint));
        }
        for (what, ours, theirs) in [("text", &self.texts, &table.texts), ("second text", &self.pairs, &table.pairs)] {
            let differ = |(ours, theirs): (&String, &String)| ours.trim() != theirs.trim();
            if let Some(row) = ours.iter().zip(theirs).position(differ) {
                let [ours, theirs] = [ours, theirs].map(|texts| quoted(&[&texts[row]], 1));
                let problem =
                    format!("the {what} is {ours}, but that of line {} of {of} is {theirs}", table.lines[row]);
                return Err(Error::row(&self.path, self.lines[row], problem, hint));
            }
        }
        Ok(())
    }

    /// The true labels that the file has itself.
    ///
    /// # Errors
    /// A file without any, and a row that has not one label where each must.
    pub fn own_truth(&self, labels: &LabelMap) -> Result<Answers> {
        let Some(truth) = &self.truth else {
            let hint = "Name the rows with --data, or add them as a column label beside a column predicted";
            return Err(Error::file(&self.path, "has no true labels beside the predicted ones", hint));
        };
        self.answers(truth, &self.ids(labels)?, labels.problem())
    }

    /// The predictions, with the classes of `labels`.
    ///
    /// # Errors
    /// A class that `labels` has not got or that lacks probabilities; a row that has not one label where each must.
    pub fn predictions(&self, labels: &LabelMap) -> Result<Predictions> {
        let ids = self.ids(labels)?;
        let probabilities = self.ordered(&ids, labels)?;
        let answers = match (&self.predicted, &probabilities) {
            (Some(answers), _) => self.answers(answers, &ids, labels.problem())?,
            (None, all) => {
                let mut answers = Answers::none(labels.problem());
                let rows = all.iter().flat_map(|all| all.chunks_exact(labels.len().max(1)));
                rows.for_each(|row| answers.push(predicted(row, labels.problem())));
                answers
            }
        };
        Ok(Predictions { answers, probabilities })
    }

    /// The class id of each name.
    fn ids(&self, labels: &LabelMap) -> Result<Vec<u32>> {
        let mut ids = Vec::new();
        for name in &self.names {
            let (Some(id), shown) = (labels.id(name), quoted(&[name], 1)) else {
                let problem = format!("{} is none of the classes {}", quoted(&[name], 1), quoted(labels.names(), 10));
                return Err(Error::file(&self.path, problem, "Check that it is for these rows"));
            };
            if ids.contains(&id) {
                let same = quoted(&labels.names()[id as usize..=id as usize], 1);
                let problem = format!("{shown} is another name of the class {same}, which it has too");
                return Err(Error::file(&self.path, problem, "Call each class by one name"));
            }
            ids.push(id);
        }
        Ok(ids)
    }

    /// `[N, C]` the probabilities in the order of the class ids.
    fn ordered(&self, ids: &[u32], labels: &LabelMap) -> Result<Option<Vec<f64>>> {
        if self.classes == 0 {
            return Ok(None);
        }
        let places: Option<Vec<usize>> =
            (0..labels.len() as u32).map(|id| ids[..self.classes].iter().position(|known| *known == id)).collect();
        let Some(places) = places else {
            let (expected, found) = (quoted(labels.names(), 10), quoted(&self.names[..self.classes], 10));
            let problem = format!("has probabilities of {found}, expected those of {expected}");
            return Err(Error::file(&self.path, problem, "Predict with a model of the same classes"));
        };
        if places.iter().enumerate().all(|(id, place)| id == *place) {
            return Ok(Some(self.probabilities.clone()));
        }
        let rows = self.probabilities.chunks_exact(self.classes);
        Ok(Some(rows.flat_map(|row| places.iter().map(|&place| row[place])).collect()))
    }

    /// Labels as class ids, as many a row as the problem has.
    fn answers(&self, answers: &Answers, ids: &[u32], problem: ProblemType) -> Result<Answers> {
        let id = |place: &u32| ids[*place as usize];
        match (answers, problem) {
            (Answers::One(all), ProblemType::SingleLabel) => Ok(Answers::One(all.iter().map(id).collect())),
            (answers, ProblemType::MultiLabel) => {
                let row = |row: usize| {
                    let mut ids: Vec<u32> = answers.row(row).iter().map(id).collect();
                    ids.sort_unstable();
                    ids
                };
                Ok(Answers::Several((0..answers.len()).map(row).collect()))
            }
            (Answers::Several(rows), ProblemType::SingleLabel) => {
                let row = rows.iter().position(|ids| ids.len() != 1).unwrap_or(0);
                let problem = format!("has {} labels, but a row has one of them", rows[row].len());
                Err(Error::row(&self.path, self.lines[row], problem, "Fill it in, or remove all but one"))
            }
        }
    }
}
