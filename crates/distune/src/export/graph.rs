//! A DistilBERT classifier as a graph of ONNX operators: `model/forward.rs` in another language. Called by `mod.rs`.
//!
//! The operators stand in the order and form in which ONNX Runtime and OpenVINO look for what they compute as one: attention, GELU, a
//! layer norm of a sum.
//!
//! Legend: B texts, S tokens of the longest one, Q query rows (S, or 1 in the last block), D width, H heads, C classes.

use std::borrow::Cow;

use distune_kernels::LAYER_NORM_EPSILON;

use crate::export::proto::{
    AttributeProto, Dimension, FLOAT, GraphProto, INT64, NodeProto, Size, TensorProto, TensorShapeProto, TensorType,
    TypeProto, ValueInfoProto,
};
use crate::model::Model;
use crate::model::weights::Group;

/// What is added to the scores of tokens that only fill up a batch.
const MASKED: f32 = f32::MIN;

/// `[S, D]`, the embeddings of as many positions as there are tokens.
const POSITIONS: &str = "/embeddings/position_embeddings";

/// A constant of the graph, whose numbers are made when they are written.
pub(super) struct Initializer<'a> {
    name: String,
    shape: Vec<i64>,
    numbers: Numbers<'a>,
}

enum Numbers<'a> {
    /// As they are.
    Floats(Cow<'a, [f32]>),
    /// Of a matrix `[N, K]`, to be written as `[K, N]`.
    Transposed(&'a [f32]),
    Integers(Vec<i64>),
}

impl Initializer<'_> {
    /// Its message without numbers.
    pub(super) fn header(&self) -> TensorProto {
        let data_type = if matches!(self.numbers, Numbers::Integers(_)) { INT64 } else { FLOAT };
        TensorProto { dims: self.shape.clone(), data_type, name: self.name.clone(), raw_data: Vec::new() }
    }

    /// How many bytes its numbers have.
    pub(super) fn bytes(&self) -> usize {
        match &self.numbers {
            Numbers::Floats(numbers) => size_of_val::<[f32]>(numbers),
            Numbers::Transposed(numbers) => size_of_val(*numbers),
            Numbers::Integers(numbers) => size_of_val::<[i64]>(numbers),
        }
    }

    /// Its numbers, little-endian as every machine that this has been run on.
    pub(super) fn numbers(&self) -> Cow<'_, [u8]> {
        match &self.numbers {
            Numbers::Floats(numbers) => Cow::Borrowed(bytemuck::cast_slice(numbers)),
            Numbers::Integers(numbers) => Cow::Borrowed(bytemuck::cast_slice(numbers)),
            Numbers::Transposed(numbers) => {
                let n = self.shape[1] as usize;
                let k = numbers.len() / n;
                let column = |column: usize| (0..n).map(move |row| numbers[row * k + column]);
                Cow::Owned((0..k).flat_map(column).flat_map(f32::to_le_bytes).collect())
            }
        }
    }
}

/// The graph of a model without its constants, and these.
pub(super) fn graph(model: &Model) -> (GraphProto, Vec<Initializer<'_>>) {
    let mut graph = Builder { model, nodes: Vec::new(), initializers: Vec::new(), scope: String::new() };
    graph.constants();
    graph.weights();
    graph.mask();
    let mut hidden = graph.embeddings();
    for i in 0..model.config.n_layers {
        hidden = graph.block(i, hidden);
    }
    graph.head(hidden);
    let [width, classes] = [model.config.dim, model.config.labels.len()].map(|size| Size::Value(size as i64));
    let tokens = |name: &str| value(name, INT64, [param("batch_size"), param("sequence_length")]);
    let message = GraphProto {
        node: graph.nodes,
        name: "distilbert".to_owned(),
        initializer: Vec::new(),
        input: vec![tokens("input_ids"), tokens("attention_mask")],
        output: vec![value("logits", FLOAT, [param("batch_size"), classes])],
        // without this no reader knows that the sum has the shape of its words, nor fuses what needs equal shapes
        value_info: vec![value(POSITIONS, FLOAT, [param("sequence_length"), width])],
    };
    (message, graph.initializers)
}

fn param(name: &str) -> Size {
    Size::Param(name.to_owned())
}

/// An input, an output or what is told of a value between.
fn value(name: &str, elem_type: i32, shape: [Size; 2]) -> ValueInfoProto {
    let dim = shape.map(|size| Dimension { value: Some(size) }).to_vec();
    let tensor_type = Some(TensorType { elem_type, shape: Some(TensorShapeProto { dim }) });
    ValueInfoProto { name: name.to_owned(), r#type: Some(TypeProto { tensor_type }) }
}

fn float(name: &str, f: f32) -> AttributeProto {
    AttributeProto { name: name.to_owned(), f, r#type: 1, ..AttributeProto::default() }
}

fn int(name: &str, i: i64) -> AttributeProto {
    AttributeProto { name: name.to_owned(), i, r#type: 2, ..AttributeProto::default() }
}

fn ints(name: &str, ints: &[i64]) -> AttributeProto {
    AttributeProto { name: name.to_owned(), ints: ints.to_vec(), r#type: 7, ..AttributeProto::default() }
}

/// A graph that grows operator by operator. Values are called by the operators that make them.
struct Builder<'a> {
    model: &'a Model,
    nodes: Vec<NodeProto>,
    initializers: Vec<Initializer<'a>>,
    /// Which part of the model is under way, such as "/layer.0"; operators are called by it.
    scope: String,
}

impl<'a> Builder<'a> {
    /// Adds an operator; returns the name of its value.
    fn node(&mut self, op: &str, name: &str, inputs: &[&str], attribute: Vec<AttributeProto>) -> String {
        let name = format!("{}/{name}", self.scope);
        self.named(&name, op, &name, inputs, attribute)
    }

    fn named(&mut self, output: &str, op: &str, name: &str, inputs: &[&str], attribute: Vec<AttributeProto>) -> String {
        let input = inputs.iter().map(|&name| name.to_owned()).collect();
        let (output, name, op_type) = (output.to_owned(), name.to_owned(), op.to_owned());
        self.nodes.push(NodeProto { input, output: vec![output.clone()], name, op_type, attribute });
        output
    }

    fn constant(&mut self, name: &str, shape: &[i64], numbers: Numbers<'a>) {
        self.initializers.push(Initializer { name: name.to_owned(), shape: shape.to_vec(), numbers });
    }

    fn integers(&mut self, name: &str, numbers: &[i64]) {
        self.constant(name, &[numbers.len() as i64], Numbers::Integers(numbers.to_vec()));
    }

    fn number(&mut self, name: &str, number: f32) {
        self.constant(name, &[], Numbers::Floats(vec![number].into()));
    }

    /// What several operators use.
    fn constants(&mut self) {
        let config = &self.model.config;
        let (heads, width) = (config.n_heads as i64, config.dim as i64);
        self.integers("heads", &[0, 0, heads, width / heads]);
        self.integers("width", &[0, 0, width]);
        [("0", 0), ("1", 1)].into_iter().for_each(|(name, number)| self.integers(name, &[number]));
        self.integers("1,2", &[1, 2]);
        self.number("masked", MASKED);
        self.number("one", 1.0);
        self.number("half", 0.5);
        self.number("sqrt_2", std::f32::consts::SQRT_2);
        self.number("sqrt_of_head_width", ((width / heads) as f32).sqrt());
    }

    /// The weight table. Matrices of blocks are transposed: `MatMul` wants them so, and nothing quantizes or fuses a product whose
    /// weights come out of another operator.
    fn weights(&mut self) {
        let model = self.model;
        for tensor in model.weights.table().tensors() {
            let (mut shape, values) =
                (tensor.shape.iter().map(|&n| n as i64).collect::<Vec<_>>(), model.weights.tensor(tensor));
            if tensor.is_linear() && tensor.group < Group::Head {
                shape.reverse();
                self.constant(&transposed(&tensor.name), &shape, Numbers::Transposed(values));
            } else {
                self.constant(&tensor.name, &shape, Numbers::Floats(values.into()));
            }
        }
    }

    /// `[B, *, N]` of `x [B, *, K]`; `layer` names a linear layer of the block `prefix`.
    fn linear(&mut self, x: &str, prefix: &str, layer: &str) -> String {
        let [weight, bias] = ["weight", "bias"].map(|part| format!("{prefix}.{layer}.{part}"));
        let product = self.node("MatMul", &format!("{layer}/MatMul"), &[x, &transposed(&weight)], vec![]);
        self.node("Add", &format!("{layer}/Add"), &[&product, &bias], vec![])
    }

    fn layer_norm(&mut self, x: &str, prefix: &str, layer: &str) -> String {
        let [gamma, beta] = ["weight", "bias"].map(|part| format!("{prefix}.{layer}.{part}"));
        let attributes = vec![int("axis", -1), float("epsilon", LAYER_NORM_EPSILON as f32)];
        self.node("LayerNormalization", layer, &[x, &gamma, &beta], attributes)
    }

    /// "/mask" `[B, 1, 1, S]`: 0 for tokens, [`MASKED`] for what only fills up.
    fn mask(&mut self) {
        let rows = self.node("Unsqueeze", "mask/Unsqueeze", &["attention_mask", "1,2"], vec![]);
        let held = self.node("Cast", "mask/Cast", &[&rows], vec![int("to", FLOAT.into())]);
        let left_out = self.node("Sub", "mask/Sub", &["one", &held], vec![]);
        self.node("Mul", "mask", &[&left_out, "masked"], vec![]);
    }

    /// `[B, S, D] = layer_norm(word + position)`
    fn embeddings(&mut self) -> String {
        self.scope = "/embeddings".to_owned();
        let prefix = "distilbert.embeddings";
        let [words, positions] = ["word", "position"].map(|of| format!("{prefix}.{of}_embeddings.weight"));
        let words = self.node("Gather", "word_embeddings", &[&words, "input_ids"], vec![]);
        let length = self.node("Shape", "length", &["input_ids"], vec![int("start", 1), int("end", 2)]);
        self.named(POSITIONS, "Slice", POSITIONS, &[&positions, "0", &length, "0"], vec![]);
        let sum = self.node("Add", "Add", &[&words, POSITIONS], vec![]);
        self.layer_norm(&sum, prefix, "LayerNorm")
    }

    /// `[B, Q, D]` of a block's input `[B, S, D]`.
    fn block(&mut self, i: usize, input: String) -> String {
        self.scope = format!("/layer.{i}");
        let prefix = format!("distilbert.transformer.layer.{i}");
        // the head reads nothing but first tokens
        let last = i + 1 == self.model.config.n_layers;
        let residual = match last {
            true => self.node("Gather", "first", &[&input, "0"], vec![int("axis", 1)]),
            false => input.clone(),
        };
        let context = self.attention(&residual, &input, &prefix);
        let out = self.linear(&context, &prefix, "attention.out_lin");
        let sum = self.node("Add", "attention/residual", &[&out, &residual], vec![]);
        let hidden = self.layer_norm(&sum, &prefix, "sa_layer_norm");

        let lin1 = self.linear(&hidden, &prefix, "ffn.lin1");
        let activated = self.gelu(&lin1);
        let lin2 = self.linear(&activated, &prefix, "ffn.lin2");
        let sum = self.node("Add", "ffn/residual", &[&lin2, &hidden], vec![]);
        self.layer_norm(&sum, &prefix, "output_layer_norm")
    }

    /// `[B, Q, D]` of queries of `[B, Q, D]`, keys and values of `[B, S, D]`.
    fn attention(&mut self, queries: &str, keys: &str, prefix: &str) -> String {
        let mut heads = |x: &str, name: &str, order: &[i64]| {
            let rows = self.linear(x, prefix, &format!("attention.{name}_lin"));
            let split = self.node("Reshape", &format!("attention/{name}/Reshape"), &[&rows, "heads"], vec![]);
            self.node("Transpose", &format!("attention/{name}"), &[&split], vec![ints("perm", order)])
        };
        let q = heads(queries, "q", &[0, 2, 1, 3]);
        let k = heads(keys, "k", &[0, 2, 3, 1]);
        let v = heads(keys, "v", &[0, 2, 1, 3]);
        let products = self.node("MatMul", "attention/scores", &[&q, &k], vec![]);
        let scaled = self.node("Div", "attention/scaled", &[&products, "sqrt_of_head_width"], vec![]);
        let masked = self.node("Add", "attention/masked", &[&scaled, "/mask"], vec![]);
        let weights = self.node("Softmax", "attention/weights", &[&masked], vec![int("axis", -1)]);
        let context = self.node("MatMul", "attention/context", &[&weights, &v], vec![]);
        let rows = self.node("Transpose", "attention/rows", &[&context], vec![ints("perm", &[0, 2, 1, 3])]);
        self.node("Reshape", "attention", &[&rows, "width"], vec![])
    }

    /// `x · (1 + erf(x / √2)) / 2`
    fn gelu(&mut self, x: &str) -> String {
        let scaled = self.node("Div", "gelu/Div", &[x, "sqrt_2"], vec![]);
        let erf = self.node("Erf", "gelu/Erf", &[&scaled], vec![]);
        let sum = self.node("Add", "gelu/Add", &[&erf, "one"], vec![]);
        let product = self.node("Mul", "gelu/Mul", &[x, &sum], vec![]);
        self.node("Mul", "gelu", &[&product, "half"], vec![])
    }

    /// "logits" `[B, C]` of the last block's `[B, 1, D]`.
    fn head(&mut self, hidden: String) {
        self.scope = "/head".to_owned();
        let first = self.node("Squeeze", "first", &[&hidden, "1"], vec![]);
        let hidden = self.gemm("pre_classifier", "/head/pre_classifier", &first);
        let active = self.node("Relu", "relu", &[&hidden], vec![]);
        self.gemm("classifier", "logits", &active);
    }

    /// `output [B, N]` of `x [B, K]`
    fn gemm(&mut self, layer: &str, output: &str, x: &str) -> String {
        let [weight, bias] = ["weight", "bias"].map(|part| format!("{layer}.{part}"));
        let inputs = [x, &weight, &bias];
        self.named(output, "Gemm", &format!("/head/{layer}"), &inputs, vec![int("transB", 1)])
    }
}

/// What a transposed matrix is called.
fn transposed(name: &str) -> String {
    format!("{name}.transposed")
}
