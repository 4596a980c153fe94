//! Looks into an ONNX file without running it: which operators it uses, whether it reads other files.
//!
//! ONNX is protocol buffers; this walks the few fields that hold nodes, tensors and sub-graphs and skips
//! the rest. Done before ONNX Runtime sees the file, since loading alone would follow external paths.

use std::collections::BTreeSet;

/// How deep sub-graphs may nest.
const DEPTH_MAX: usize = 8;

/// What a file uses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// Operators as `domain:name`; the default domain is `ai.onnx`.
    pub operators: BTreeSet<String>,
    /// Tensors whose values lie in another file.
    pub external: BTreeSet<String>,
}

/// Operators of a tabular classifier. Left out on purpose: control flow (may never end), randomness (the
/// same input must give the same score), strings, and anything outside the standard.
const ALLOWED_ML: [&str; 18] = [
    "ArrayFeatureExtractor",
    "Binarizer",
    "CastMap",
    "CategoryMapper",
    "FeatureVectorizer",
    "Imputer",
    "LabelEncoder",
    "LinearClassifier",
    "LinearRegressor",
    "Normalizer",
    "OneHotEncoder",
    "SVMClassifier",
    "SVMRegressor",
    "Scaler",
    "TreeEnsemble",
    "TreeEnsembleClassifier",
    "TreeEnsembleRegressor",
    "ZipMap",
];

const ALLOWED_MATHS: [&str; 75] = [
    "Abs",
    "Add",
    "And",
    "ArgMax",
    "ArgMin",
    "BatchNormalization",
    "Cast",
    "Ceil",
    "Clip",
    "Concat",
    "Constant",
    "ConstantOfShape",
    "Cos",
    "Div",
    "Dropout",
    "Elu",
    "Equal",
    "Erf",
    "Exp",
    "Expand",
    "Flatten",
    "Floor",
    "Gather",
    "GatherElements",
    "GatherND",
    "Gelu",
    "Gemm",
    "Greater",
    "GreaterOrEqual",
    "HardSigmoid",
    "HardSwish",
    "Identity",
    "IsInf",
    "IsNaN",
    "LayerNormalization",
    "LeakyRelu",
    "Less",
    "LessOrEqual",
    "Log",
    "LogSoftmax",
    "MatMul",
    "Max",
    "Mean",
    "Min",
    "Mod",
    "Mul",
    "Neg",
    "Not",
    "Or",
    "PRelu",
    "Pow",
    "Range",
    "Reciprocal",
    "ReduceMax",
    "ReduceMean",
    "ReduceMin",
    "ReduceProd",
    "ReduceSum",
    "Relu",
    "Reshape",
    "Selu",
    "Shape",
    "Sigmoid",
    "Sin",
    "Slice",
    "Softmax",
    "Softplus",
    "Split",
    "Sqrt",
    "Squeeze",
    "Sub",
    "Sum",
    "Tanh",
    "Transpose",
    "Unsqueeze",
];

const ALLOWED_OTHER: [&str; 6] = ["Where", "Xor", "TopK", "OneHot", "Tile", "ReduceSumSquare"];

impl Survey {
    /// Surveys an ONNX file.
    ///
    /// # Errors
    /// Where the bytes stop being ONNX.
    pub fn of(model: &[u8]) -> Result<Self, String> {
        let mut survey = Self::default();
        let mut graphs = 0;
        for field in Fields(model) {
            match field? {
                (7, Content::Bytes(graph)) => {
                    graphs += 1;
                    survey.graph(graph, 0)?;
                }
                // Local functions: their nodes run like the graph's own.
                (25, Content::Bytes(function)) => survey.nodes(function, 7, 0)?,
                _ => {}
            }
        }
        if graphs == 1 && !survey.operators.is_empty() {
            return Ok(survey);
        }
        Err("it holds no graph; export it as ONNX again".to_owned())
    }

    /// Returns the operators that are not on the list.
    #[must_use]
    pub fn forbidden(&self) -> Vec<&str> {
        self.operators.iter().map(String::as_str).filter(|operator| !is_allowed(operator)).collect()
    }

    fn graph(&mut self, graph: &[u8], depth: usize) -> Result<(), String> {
        if depth > DEPTH_MAX {
            return Err(format!("its graphs nest deeper than {DEPTH_MAX}"));
        }
        for field in Fields(graph) {
            if let (5, Content::Bytes(tensor)) = field? {
                self.tensor(tensor)?;
            }
        }
        self.nodes(graph, 1, depth)
    }

    fn nodes(&mut self, owner: &[u8], number: u64, depth: usize) -> Result<(), String> {
        for field in Fields(owner) {
            if let (found, Content::Bytes(node)) = field?
                && found == number
            {
                self.node(node, depth)?;
            }
        }
        Ok(())
    }

    fn node(&mut self, node: &[u8], depth: usize) -> Result<(), String> {
        let (mut operator, mut domain) = (String::new(), "ai.onnx".to_owned());
        for field in Fields(node) {
            match field? {
                (4, Content::Bytes(text)) => operator = String::from_utf8_lossy(text).into_owned(),
                (7, Content::Bytes(text)) if !text.is_empty() => domain = String::from_utf8_lossy(text).into_owned(),
                (5, Content::Bytes(attribute)) => self.attribute(attribute, depth)?,
                _ => {}
            }
        }
        self.operators.insert(format!("{domain}:{operator}"));
        Ok(())
    }

    fn attribute(&mut self, attribute: &[u8], depth: usize) -> Result<(), String> {
        for field in Fields(attribute) {
            match field? {
                (5 | 10, Content::Bytes(tensor)) => self.tensor(tensor)?,
                (6 | 11, Content::Bytes(graph)) => self.graph(graph, depth + 1)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn tensor(&mut self, tensor: &[u8]) -> Result<(), String> {
        let (mut name, mut external) = (String::new(), false);
        for field in Fields(tensor) {
            match field? {
                (8, Content::Bytes(text)) => name = String::from_utf8_lossy(text).into_owned(),
                (13, Content::Bytes(_)) | (14, Content::Number(1)) => external = true,
                _ => {}
            }
        }
        if external {
            self.external.insert(name);
        }
        Ok(())
    }
}

fn is_allowed(operator: &str) -> bool {
    match operator.split_once(':') {
        Some(("ai.onnx.ml", name)) => ALLOWED_ML.contains(&name),
        Some(("ai.onnx", name)) => ALLOWED_MATHS.contains(&name) || ALLOWED_OTHER.contains(&name),
        _ => false,
    }
}

/// One field's content, as the wire has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Content<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    Fixed,
}

/// The fields of a message, one after the other.
struct Fields<'a>(&'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Content<'a>), String>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field().ok_or_else(|| "it is cut off or no ONNX file; copy or export it again".to_owned());
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}

impl<'a> Fields<'a> {
    fn field(&mut self) -> Option<(u64, Content<'a>)> {
        let key = self.number()?;
        let content = match key & 7 {
            0 => Content::Number(self.number()?),
            1 => self.bytes(8).map(|_| Content::Fixed)?,
            2 => {
                let len = usize::try_from(self.number()?).ok()?;
                Content::Bytes(self.bytes(len)?)
            }
            5 => self.bytes(4).map(|_| Content::Fixed)?,
            _ => return None,
        };
        Some((key >> 3, content))
    }

    fn number(&mut self) -> Option<u64> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    fn bytes(&mut self, len: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(number: u8, content: &[u8]) -> Vec<u8> {
        let mut bytes = vec![number << 3 | 2, u8::try_from(content.len()).expect("short")];
        bytes.extend_from_slice(content);
        bytes
    }

    fn node(operator: &str, domain: &str, extra: &[u8]) -> Vec<u8> {
        let content = [message(4, operator.as_bytes()), message(7, domain.as_bytes()), extra.to_vec()].concat();
        message(1, &content)
    }

    #[test]
    fn operators_of_sub_graphs_count() {
        let inner = message(6, &node("Loop", "", &[]));
        let graph = [node("TreeEnsembleClassifier", "ai.onnx.ml", &[]), node("Cast", "", &message(5, &inner))].concat();
        let survey = Survey::of(&message(7, &graph)).expect("a model");
        assert_eq!(survey.forbidden(), ["ai.onnx:Loop"]);
        assert_eq!(survey.operators.len(), 3);
    }

    #[test]
    fn tensors_elsewhere_are_found() {
        let tensor = [message(8, b"weights"), vec![14 << 3, 1]].concat();
        let graph = [node("Gemm", "", &[]), message(5, &tensor)].concat();
        let survey = Survey::of(&message(7, &graph)).expect("a model");
        assert_eq!(survey.external.iter().collect::<Vec<_>>(), ["weights"]);
    }

    #[test]
    fn other_domains_are_forbidden() {
        let survey = Survey::of(&message(7, &node("Add", "com.example", &[]))).expect("a model");
        assert_eq!(survey.forbidden(), ["com.example:Add"]);
    }

    #[test]
    fn what_is_no_model_is_said() {
        for wrong in [&b""[..], b"hello", &[0x3a, 0x05, 0x01], &[0xff; 12]] {
            assert!(Survey::of(wrong).is_err(), "{wrong:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _either = Survey::of(&bytes);
        }
    }
}
