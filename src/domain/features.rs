//! The feature vector: one number per declared feature, and which of them were missing.

use smallvec::SmallVec;

/// The features of one transaction in the order its schema declares them.
///
/// `values` already follow each feature's missing-value policy (a declared value or NaN); `missing`
/// remembers which ones had nothing to compute from, so that rules can treat them as absent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FeatureVector {
    values: Vec<f64>,
    missing: SmallVec<[u64; 2]>,
    /// What masked features were, by their index; kept in memory only.
    masked: Vec<(usize, Option<f64>)>,
    /// An entity's log had dropped events that a window of this vector would have covered.
    pub capped: bool,
}

impl FeatureVector {
    /// Starts an empty vector for `len` features.
    #[must_use]
    pub fn with_capacity(len: usize) -> Self {
        let mut missing = SmallVec::new();
        missing.resize(len.div_ceil(64), 0);
        Self { values: Vec::with_capacity(len), missing, masked: Vec::new(), capped: false }
    }

    /// Appends the next feature: `Some` computed value, or `None` and what stands for it.
    pub fn push(&mut self, computed: Option<f64>, when_missing: f64) {
        let index = self.values.len();
        if computed.is_none() {
            if index / 64 >= self.missing.len() {
                self.missing.push(0);
            }
            self.missing[index / 64] |= 1 << (index % 64);
        }
        self.values.push(computed.unwrap_or(when_missing));
    }

    /// Puts what stands for a missing value in the place of a feature whose source is broken.
    pub fn mask(&mut self, index: usize, when_missing: f64) {
        if index >= self.values.len() || self.masked.iter().any(|(masked, _)| *masked == index) {
            return;
        }
        self.masked.push((index, self.get(index)));
        self.values[index] = when_missing;
        self.missing[index / 64] |= 1 << (index % 64);
    }

    /// Tells whether a feature was masked.
    #[must_use]
    pub fn is_masked(&self) -> bool {
        !self.masked.is_empty()
    }

    /// Returns what masked features were computed as, by index: whoever watches a broken source must see it.
    #[must_use]
    pub fn unmasked(&self) -> &[(usize, Option<f64>)] {
        &self.masked
    }

    /// Returns all values, missing ones replaced by their policy.
    #[must_use]
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// Tells whether the feature at `index` had nothing to compute from.
    #[must_use]
    pub fn is_missing(&self, index: usize) -> bool {
        self.missing.get(index / 64).is_some_and(|word| word >> (index % 64) & 1 == 1)
    }

    /// Returns the computed value, or `None` when the feature was missing or out of bounds.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<f64> {
        if self.is_missing(index) { None } else { self.values.get(index).copied() }
    }

    /// Returns how many features there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Tells whether no feature was pushed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_masked_feature_is_missing_and_remembers_what_it_was() {
        let mut vector = FeatureVector::with_capacity(2);
        vector.push(Some(7.0), 0.0);
        vector.push(None, -1.0);
        for index in [0, 0, 1, 9] {
            vector.mask(index, 3.0);
        }
        assert_eq!((vector.values(), vector.get(0)), (&[3.0, 3.0][..], None));
        assert_eq!(vector.unmasked(), [(0, Some(7.0)), (1, None)]);
    }

    #[test]
    fn missing_features_are_remembered_across_words() {
        let mut vector = FeatureVector::with_capacity(1);
        for index in 0..130 {
            vector.push((index % 3 != 0).then_some(1.0), f64::NAN);
        }
        assert_eq!(vector.len(), 130);
        for index in 0..130 {
            assert_eq!(vector.is_missing(index), index % 3 == 0);
            assert_eq!(vector.get(index).is_some(), index % 3 != 0);
        }
        assert_eq!(vector.get(130), None);
    }
}
