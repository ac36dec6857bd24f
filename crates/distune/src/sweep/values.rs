//! The values that a key takes in a sweep: a list, or a range. Read by [`super::Plan`].

use std::path::Path;

use toml::{Table, Value};

use crate::{Error, Result};

/// The values of a key.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// Each of these.
    List(Vec<Value>),
    /// Any number of a range.
    Range(Range),
}

/// Numbers from `min` to `max`, both included.
#[derive(Clone, Debug, PartialEq)]
pub struct Range {
    /// The lowest.
    pub min: f64,
    /// The highest.
    pub max: f64,
    /// Whether equal factors are equally likely, instead of equal distances.
    pub log: bool,
    /// Whether they are whole numbers.
    pub whole: bool,
}

impl Values {
    /// Reads what a file says of a key whose values are such as `example`.
    ///
    /// # Errors
    /// [`Error::File`] for what is neither a list nor a range of numbers.
    pub(super) fn read(path: &Path, key: &str, said: Value, example: &Value) -> Result<Self> {
        let wrong = |problem: &str| {
            let hint = "Expected a list such as [1e-5, 1e-4], or for numbers a range such as { min = 1e-5, max = 1e-3, log = true }";
            Error::file(path, format!("sweep.{key} = {said}: {problem}"), hint)
        };
        match &said {
            Value::Array(list) if list.is_empty() => Err(wrong("an empty list")),
            Value::Array(list) => {
                let again = list.iter().enumerate().find(|(at, value)| list[..*at].contains(value));
                again.map_or(Ok(Self::List(list.clone())), |(_, value)| Err(wrong(&format!("{value} is there twice"))))
            }
            Value::Table(table) => {
                let whole = match example {
                    Value::Integer(_) => true,
                    Value::Float(_) => false,
                    _ => return Err(wrong("not a number, so it has no range")),
                };
                Range::read(table, whole).map(Self::Range).map_err(|problem| wrong(&problem))
            }
            _ => Err(wrong("one value, not several")),
        }
    }

    /// As a file says it.
    pub(super) fn to_toml(&self) -> Value {
        match self {
            Self::List(list) => Value::Array(list.clone()),
            Self::Range(range) => {
                let number = |x: f64| if range.whole { Value::Integer(x as i64) } else { Value::Float(x) };
                let mut table =
                    Table::from_iter([("min".to_owned(), number(range.min)), ("max".to_owned(), number(range.max))]);
                if range.log {
                    table.insert("log".to_owned(), Value::Boolean(true));
                }
                Value::Table(table)
            }
        }
    }

    /// Those of the list, or the ends of the range.
    pub fn some(&self) -> Vec<Value> {
        match self {
            Self::List(list) => list.clone(),
            Self::Range(range) => vec![range.at(0.0), range.at(1.0)],
        }
    }

    /// The value at a place from 0 to 1, where equal lengths of the way are equally likely.
    pub(super) fn at(&self, place: f64) -> Value {
        match self {
            Self::List(list) => list[((place * list.len() as f64) as usize).min(list.len() - 1)].clone(),
            Self::Range(range) => range.at(place),
        }
    }

    /// The place of a value, below 1: where [`Self::at`] gives it.
    pub(super) fn place(&self, value: &Value) -> f64 {
        match self {
            Self::List(list) => {
                let at = list.iter().position(|known| known == value).unwrap_or_default();
                (at as f64 + 0.5) / list.len() as f64
            }
            Self::Range(range) => range.place(value),
        }
    }
}

impl Range {
    fn read(table: &Table, whole: bool) -> Result<Self, String> {
        if let Some(key) = table.keys().find(|key| !["min", "max", "log"].contains(&key.as_str())) {
            return Err(format!("a range has min, max and log, not {key}"));
        }
        let number = |key: &str| match table.get(key) {
            Some(Value::Integer(x)) => Ok(*x as f64),
            Some(Value::Float(x)) if !whole && x.is_finite() => Ok(*x),
            Some(other) => Err(format!("{key} is {other}, not a{} number", if whole { " whole" } else { "" })),
            None => Err(format!("a range without {key}")),
        };
        let log = match table.get("log") {
            None => false,
            Some(Value::Boolean(log)) => *log,
            Some(other) => return Err(format!("log is {other}, not true or false")),
        };
        let range = Self { min: number("min")?, max: number("max")?, log, whole };
        match range {
            Self { min, max, .. } if min >= max => Err(format!("min {min} is not below max {max}")),
            Self { min, log: true, .. } if min <= 0.0 => Err(format!("min {min} has no logarithm")),
            range => Ok(range),
        }
    }

    /// The ends between which a place is a share of the way. Whole numbers own half a unit on either side.
    fn ends(&self) -> (f64, f64) {
        let half = if self.whole { 0.5 } else { 0.0 };
        let (low, high) = (self.min - half, self.max + half);
        if self.log { (low.ln(), high.ln()) } else { (low, high) }
    }

    fn at(&self, place: f64) -> Value {
        let (low, high) = self.ends();
        let x = low + place * (high - low);
        let x = if self.log { x.exp() } else { x };
        match self.whole {
            true => Value::Integer(x.round().clamp(self.min, self.max) as i64),
            // three digits, so that what is drawn can be read, and written by hand
            false => Value::Float(format!("{x:.2e}").parse().unwrap_or(x).clamp(self.min, self.max)),
        }
    }

    fn place(&self, value: &Value) -> f64 {
        let (low, high) = self.ends();
        let x = value.as_float().or(value.as_integer().map(|x| x as f64)).unwrap_or(self.min);
        let x = if self.log { x.ln() } else { x };
        ((x - low) / (high - low)).clamp(0.0, 1.0 - f64::EPSILON)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn read(said: &str, example: Value) -> Result<Values> {
        let table: Table = toml::from_str(&format!("x = {said}")).unwrap();
        Values::read(Path::new("a.toml"), "x", table["x"].clone(), &example)
    }

    fn range(said: &str) -> Values {
        read(said, Value::Float(0.0)).unwrap()
    }

    #[test]
    fn places_and_values_belong_together() {
        let list = read("['a', 'b', 'c']", Value::String(String::new())).unwrap();
        let (log, plain) = (range("{ min = 1e-5, max = 1e-3, log = true }"), range("{ min = 0, max = 1 }"));
        let whole = read("{ min = 1, max = 4 }", Value::Integer(0)).unwrap();
        assert_eq!(log.at(0.5), Value::Float(1e-4));
        assert_eq!((log.at(0.0), log.at(1.0)), (Value::Float(1e-5), Value::Float(1e-3)));
        assert_eq!((plain.at(0.123456), list.at(0.99)), (Value::Float(0.123), Value::String("c".into())));
        let counts = (0..1000).map(|i| whole.at(f64::from(i) / 1000.0)).fold([0; 5], |mut counts, value| {
            counts[value.as_integer().unwrap() as usize] += 1;
            counts
        });
        assert_eq!(counts, [0, 250, 250, 250, 250], "each is equally likely");
        for values in [list, log, plain, whole] {
            for place in [0.0, 0.1, 0.5, 0.77, 0.999] {
                let value = values.at(place);
                let back = values.place(&value);
                assert!((0.0..1.0).contains(&back));
                assert_eq!(values.at(back), value, "{values:?}");
            }
            let again = Values::read(Path::new("a.toml"), "x", values.to_toml(), &values.at(0.0)).unwrap();
            assert_eq!(again, values);
        }
    }

    #[test]
    fn faults_are_named() {
        let message = |said: &str, example: Value| read(said, example).unwrap_err().to_string();
        let number = |said: &str| message(said, Value::Float(0.0));
        assert!(number("[]").starts_with("a.toml: sweep.x = []: an empty list. Expected a list such as"));
        assert!(number("[1, 2, 1]").contains(": 1 is there twice"));
        assert!(number("5").contains(": one value, not several"));
        assert!(number("{ min = 1 }").contains(": a range without max"));
        assert!(number("{ min = 1, max = 2, step = 1 }").contains(": a range has min, max and log, not step"));
        assert!(number("{ min = 2, max = 1 }").contains(": min 2 is not below max 1"));
        assert!(number("{ min = 0, max = 1, log = true }").contains(": min 0 has no logarithm"));
        assert!(number("{ min = 'a', max = 1 }").contains(": min is \"a\", not a number"));
        assert!(number("{ min = 1, max = inf }").contains(": max is inf, not a number"));
        assert!(message("{ min = 0.5, max = 2 }", Value::Integer(1)).contains(": min is 0.5, not a whole number"));
        let text = message("{ min = 1, max = 2 }", Value::String(String::new()));
        assert!(text.contains(": not a number, so it has no range"));
    }
}
