// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Numbers with a shape, in double precision.

/// A row-major array.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// The sizes, outermost first.
    pub shape: Vec<usize>,
    /// As many values as the shape says.
    pub values: Vec<f64>,
}

impl Array {
    /// The array of `shape` with `values`.
    ///
    /// # Panics
    /// When the values are not as many as the shape says.
    pub fn new(shape: &[usize], values: Vec<f64>) -> Self {
        assert_eq!(values.len(), shape.iter().product::<usize>(), "values for {shape:?}");
        Self { shape: shape.to_vec(), values }
    }

    /// The array of `shape` whose value at each index is what `value` says.
    pub fn build(shape: &[usize], mut value: impl FnMut(&[usize]) -> f64) -> Self {
        let count = shape.iter().product();
        let mut index = vec![0; shape.len()];
        let mut values = Vec::with_capacity(count);
        for _ in 0..count {
            values.push(value(&index));
            advance(&mut index, shape);
        }
        Self { shape: shape.to_vec(), values }
    }

    /// The value at `index`.
    ///
    /// # Panics
    /// When there is none.
    pub fn at(&self, index: &[usize]) -> f64 {
        assert_eq!(index.len(), self.shape.len(), "index into {:?}", self.shape);
        let inner = |place, (index, size): (&usize, &usize)| {
            assert!(index < size, "index into {:?}", self.shape);
            place * size + index
        };
        self.values[index.iter().zip(&self.shape).fold(0, inner)]
    }

    /// The values, each as what `change` makes of it.
    pub fn map(&self, change: impl Fn(f64) -> f64) -> Self {
        Self { shape: self.shape.clone(), values: self.values.iter().map(|value| change(*value)).collect() }
    }

    /// The values rounded to single precision.
    pub fn to_f32(&self) -> Vec<f32> {
        self.values.iter().map(|value| *value as f32).collect()
    }
}

/// Moves `index` to the next place in row-major order.
fn advance(index: &mut [usize], shape: &[usize]) {
    for (index, size) in index.iter_mut().zip(shape).rev() {
        *index += 1;
        if *index < *size {
            return;
        }
        *index = 0;
    }
}

/// The same numbers at every call: multiples of 1/64 in -1 ..= 1, exact in every number format. Different
/// seeds give different numbers.
pub(crate) fn numbers(shape: &[usize], seed: u64) -> Array {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    Array::build(shape, |_| {
        // Knuth's constants; the low bits of such a generator are poor, so the high ones are used.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 40) % 129) as f64 / 64.0 - 1.0
    })
}
