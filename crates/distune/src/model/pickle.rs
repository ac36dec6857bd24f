//! The tensors that a pickle of `torch.save` describes. Nothing in it is ever run: this is a small interpreter of the opcodes
//! that a state dict needs, which knows a handful of names and refuses every other one. Called by `torch_file.rs`.
//!
//! Values live in arenas and refer to each other by number, so that no nesting is deep and no value is freed in a chain. Texts are
//! borrowed and shapes are short: what a pickle repeats by reference takes no more memory each time.

use std::collections::HashMap;

use safetensors::Dtype;

/// More dimensions than tensors of any model have.
const MOST_DIMENSIONS: usize = 8;

/// A tensor that a pickle describes, with sizes as they are written there.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Described<'a> {
    /// The storage's name.
    pub(super) storage: &'a str,
    pub(super) dtype: Dtype,
    /// Elements of the storage.
    pub(super) storage_len: usize,
    /// The first element's place in the storage.
    pub(super) offset: usize,
    pub(super) shape: Vec<usize>,
    /// Distances between neighbours of each dimension, in elements.
    pub(super) strides: Vec<usize>,
}

/// What a pickle may refer to by name.
#[derive(Clone, Copy, Debug)]
enum Global {
    OrderedDict,
    RebuildTensor,
    RebuildParameter,
    Storage(Dtype),
}

#[derive(Clone, Copy, Debug)]
enum Value<'a> {
    Mark,
    /// None, and whatever else a tensor does not depend on.
    Nothing,
    Integer(i64),
    Text(&'a str),
    Global(Global),
    /// Numbers of the arenas.
    Tuple(usize),
    Dict(usize),
    Storage(usize),
    Tensor(usize),
}

/// Names and tensors of a pickled state dict.
///
/// # Errors
/// What is wrong with it, as a clause that follows the file's name.
pub(super) fn state_dict(pickle: &[u8]) -> Result<Vec<(&str, Described<'_>)>, String> {
    let mut machine = Machine { rest: pickle, ..Machine::default() };
    let Value::Dict(dict) = machine.run()? else {
        return Err("its pickle is no dictionary of tensors".into());
    };
    let mut tensors = Vec::new();
    for (key, value) in machine.dicts.get(dict).into_iter().flatten() {
        match (key, value) {
            (Value::Text(name), Value::Tensor(tensor)) => {
                let tensor = machine.tensors.get(*tensor).cloned();
                tensors.extend(tensor.map(|tensor| (*name, tensor)));
            }
            (Value::Text(name), _) => return Err(format!("its entry {name:?} is not a tensor")),
            _ => return Err("it has an entry whose name is not a text".into()),
        }
    }
    Ok(tensors)
}

#[derive(Default)]
struct Machine<'a> {
    rest: &'a [u8],
    stack: Vec<Value<'a>>,
    memo: HashMap<u32, Value<'a>>,
    tuples: Vec<Vec<Value<'a>>>,
    dicts: Vec<Vec<(Value<'a>, Value<'a>)>>,
    /// Name, dtype and elements.
    storages: Vec<(&'a str, Dtype, usize)>,
    tensors: Vec<Described<'a>>,
}

impl<'a> Machine<'a> {
    /// Runs to the end; what it leaves.
    fn run(&mut self) -> Result<Value<'a>, String> {
        loop {
            let [opcode] = self.bytes()?;
            match opcode {
                b'.' => return self.pop(),
                0x80 => drop(self.bytes::<1>()?),
                0x95 => drop(self.bytes::<8>()?),
                b'(' => self.stack.push(Value::Mark),
                b'N' | 0x88 | 0x89 | b']' => self.stack.push(Value::Nothing),
                b'G' => {
                    self.bytes::<8>()?;
                    self.stack.push(Value::Nothing);
                }
                b'K' | b'M' | b'J' | 0x8a => self.integer(opcode)?,
                b'X' | 0x8c => self.text(opcode)?,
                b'q' | b'r' | 0x94 | b'h' | b'j' => self.memoize(opcode)?,
                b'}' | b's' | b'u' => self.dict(opcode)?,
                b')' | b't' | 0x85..=0x87 => self.tuple(opcode)?,
                b'a' => drop(self.pop()?),
                b'e' => drop(self.pop_mark()?),
                b'c' | 0x93 => self.global(opcode)?,
                b'Q' => self.storage()?,
                b'R' => self.reduce()?,
                b'b' => drop(self.pop()?), // attributes of a dictionary, such as its metadata
                _ => {
                    return Err(format!("its pickle has the opcode {opcode:#04x}, which no dictionary of tensors has"));
                }
            }
        }
    }

    fn take(&mut self, n: usize) -> Result<&'a [u8], String> {
        let (taken, rest) = self.rest.split_at_checked(n).ok_or("its pickle is cut short")?;
        self.rest = rest;
        Ok(taken)
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or("its pickle is cut short")?;
        self.rest = rest;
        Ok(*taken)
    }

    fn line(&mut self) -> Result<&'a str, String> {
        let end = self.rest.iter().position(|byte| *byte == b'\n').ok_or("its pickle is cut short")?;
        let line = self.take(end + 1)?.get(..end).unwrap_or_default();
        std::str::from_utf8(line).map_err(|_| "its pickle has a name that is not UTF-8".into())
    }

    fn pop(&mut self) -> Result<Value<'a>, String> {
        self.stack.pop().ok_or_else(|| "its pickle takes more values than it made".into())
    }

    /// The values above the last mark.
    fn pop_mark(&mut self) -> Result<Vec<Value<'a>>, String> {
        let mark = self.stack.iter().rposition(|value| matches!(value, Value::Mark));
        let mark = mark.ok_or("its pickle takes more values than it made")?;
        let values = self.stack.split_off(mark + 1);
        self.stack.pop();
        Ok(values)
    }

    fn integer(&mut self, opcode: u8) -> Result<(), String> {
        let value = match opcode {
            b'K' => i64::from(u8::from_le_bytes(self.bytes()?)),
            b'M' => i64::from(u16::from_le_bytes(self.bytes()?)),
            b'J' => i64::from(i32::from_le_bytes(self.bytes()?)),
            _ => {
                let [length] = self.bytes()?;
                let bytes = self.take(length.into())?;
                let negative = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
                let mut number = [if negative { 0xff } else { 0 }; 8];
                let place = number.get_mut(..bytes.len()).ok_or("its pickle has a number of more than 64 bits")?;
                place.copy_from_slice(bytes);
                i64::from_le_bytes(number)
            }
        };
        self.stack.push(Value::Integer(value));
        Ok(())
    }

    fn text(&mut self, opcode: u8) -> Result<(), String> {
        let length = match opcode {
            b'X' => u32::from_le_bytes(self.bytes()?) as usize,
            _ => usize::from(u8::from_le_bytes(self.bytes()?)),
        };
        let text = std::str::from_utf8(self.take(length)?).map_err(|_| "its pickle has a text that is not UTF-8")?;
        self.stack.push(Value::Text(text));
        Ok(())
    }

    /// Keeps the top of the stack under a number, or pushes what was kept.
    fn memoize(&mut self, opcode: u8) -> Result<(), String> {
        let number = match opcode {
            b'q' | b'h' => u32::from(u8::from_le_bytes(self.bytes()?)),
            b'r' | b'j' => u32::from_le_bytes(self.bytes()?),
            _ => self.memo.len() as u32,
        };
        if matches!(opcode, b'h' | b'j') {
            let value = self.memo.get(&number).ok_or("its pickle refers to a value that it did not keep")?;
            self.stack.push(*value);
        } else {
            let value = self.stack.last().ok_or("its pickle takes more values than it made")?;
            self.memo.insert(number, *value);
        }
        Ok(())
    }

    fn new_dict(&mut self) {
        self.stack.push(Value::Dict(self.dicts.len()));
        self.dicts.push(Vec::new());
    }

    fn dict(&mut self, opcode: u8) -> Result<(), String> {
        let pairs = match opcode {
            b'}' => {
                self.new_dict();
                return Ok(());
            }
            b's' => {
                let value = self.pop()?;
                vec![self.pop()?, value]
            }
            _ => self.pop_mark()?,
        };
        let Some(Value::Dict(dict)) = self.stack.last() else {
            return Err("its pickle sets an entry of what is no dictionary".into());
        };
        let (pairs, rest) = pairs.as_chunks();
        if let (Some(dict), []) = (self.dicts.get_mut(*dict), rest) {
            dict.extend(pairs.iter().map(|[key, value]| (*key, *value)));
            return Ok(());
        }
        Err("its pickle has an entry without a value".into())
    }

    fn tuple(&mut self, opcode: u8) -> Result<(), String> {
        let values = match opcode {
            b')' => Vec::new(),
            b't' => self.pop_mark()?,
            _ => {
                let values = self.stack.len().checked_sub(usize::from(opcode - 0x84));
                self.stack.split_off(values.ok_or("its pickle takes more values than it made")?)
            }
        };
        self.stack.push(Value::Tuple(self.tuples.len()));
        self.tuples.push(values);
        Ok(())
    }

    fn global(&mut self, opcode: u8) -> Result<(), String> {
        let (module, name) = match opcode {
            b'c' => (self.line()?, self.line()?),
            _ => match (self.pop()?, self.pop()?) {
                (Value::Text(name), Value::Text(module)) => (module, name),
                _ => return Err("its pickle has a name that is not a text".into()),
            },
        };
        let global = match (module, name) {
            ("collections", "OrderedDict") => Global::OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2") => Global::RebuildTensor,
            ("torch._utils", "_rebuild_parameter") => Global::RebuildParameter,
            ("torch", "FloatStorage") => Global::Storage(Dtype::F32),
            ("torch", "HalfStorage") => Global::Storage(Dtype::F16),
            ("torch", "BFloat16Storage") => Global::Storage(Dtype::BF16),
            ("torch", "DoubleStorage") => Global::Storage(Dtype::F64),
            ("torch", "LongStorage") => Global::Storage(Dtype::I64),
            ("torch", "IntStorage") => Global::Storage(Dtype::I32),
            ("torch", "ShortStorage") => Global::Storage(Dtype::I16),
            ("torch", "CharStorage") => Global::Storage(Dtype::I8),
            ("torch", "ByteStorage") => Global::Storage(Dtype::U8),
            ("torch", "BoolStorage") => Global::Storage(Dtype::BOOL),
            _ => {
                let name: String = format!("{module}.{name}").chars().take(100).collect();
                return Err(format!("it asks for {name:?}, which tensors do not need; nothing of it was run"));
            }
        };
        self.stack.push(Value::Global(global));
        Ok(())
    }

    /// `('storage', type, name, place, elements)` to a storage.
    fn storage(&mut self) -> Result<(), String> {
        let tuple = self.pop()?;
        match self.values(tuple) {
            [
                Value::Text("storage"),
                Value::Global(Global::Storage(dtype)),
                Value::Text(name),
                _,
                Value::Integer(n),
            ] => {
                let len = usize::try_from(*n).map_err(|_| "it has a storage of a negative size")?;
                let storage = (*name, *dtype, len);
                self.stack.push(Value::Storage(self.storages.len()));
                self.storages.push(storage);
                Ok(())
            }
            _ => Err("its pickle refers to something outside that is not a storage of numbers".into()),
        }
    }

    /// The values of a tuple; none of what is not a tuple.
    fn values(&self, tuple: Value<'a>) -> &[Value<'a>] {
        match tuple {
            Value::Tuple(tuple) => self.tuples.get(tuple).map_or(&[], Vec::as_slice),
            _ => &[],
        }
    }

    /// A call, of one of three functions.
    fn reduce(&mut self) -> Result<(), String> {
        let (arguments, function) = (self.pop()?, self.pop()?);
        let Value::Global(function) = function else {
            return Err("its pickle calls what is no function; nothing of it was run".into());
        };
        match (function, self.values(arguments)) {
            (Global::OrderedDict, []) => self.new_dict(),
            (Global::RebuildParameter, [tensor @ Value::Tensor(_), ..]) => {
                let tensor = *tensor;
                self.stack.push(tensor);
            }
            (
                Global::RebuildTensor,
                [
                    Value::Storage(storage),
                    Value::Integer(offset),
                    shape @ Value::Tuple(_),
                    strides @ Value::Tuple(_),
                    ..,
                ],
            ) => {
                let (storage, dtype, storage_len) =
                    *self.storages.get(*storage).ok_or("its pickle has no such storage")?;
                let offset = usize::try_from(*offset).map_err(|_| "it has a tensor at a negative offset")?;
                let (shape, strides) = (self.sizes(*shape)?, self.sizes(*strides)?);
                self.stack.push(Value::Tensor(self.tensors.len()));
                self.tensors.push(Described { storage, dtype, storage_len, offset, shape, strides });
            }
            _ => return Err("its pickle calls a function with other values than PyTorch does".into()),
        }
        Ok(())
    }

    /// The sizes of a tuple.
    fn sizes(&self, tuple: Value<'a>) -> Result<Vec<usize>, String> {
        let size = |value: &Value| match value {
            Value::Integer(n) => usize::try_from(*n).map_err(|_| "it has a tensor of a negative size".to_owned()),
            _ => Err("it has a tensor whose shape is not made of numbers".to_owned()),
        };
        match self.values(tuple) {
            values if values.len() > MOST_DIMENSIONS => Err(format!("it has a tensor of {} dimensions", values.len())),
            values => values.iter().map(size).collect(),
        }
    }
}
