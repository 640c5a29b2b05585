// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The products of small matrices that changes are kept as. Every value is summed up by one thread and in one order,
//! so that it has the same bits on one processor core and on many.

use std::{num::NonZero, thread};

/// Rows and columns that are summed up at once, in the registers of every 64-bit processor.
const ROWS: usize = 4;
const COLUMNS: usize = 8;
/// Products of fewer multiplications are not worth a second thread.
const WORTH_A_THREAD: usize = 1 << 22;

/// Adds `factor * up · down` to `sum`: `up` is `[rows, rank]`, `down` is `[rank, columns]`, `sum` is
/// `[rows, columns]`.
pub(super) fn add_product(sum: &mut [f32], up: &[f32], down: &[f32], rank: usize, factor: f32) {
    let columns = down.len() / rank;
    let rows = sum.len() / columns;
    let most = thread::available_parallelism().map_or(1, NonZero::get);
    let threads = (sum.len().saturating_mul(rank) / WORTH_A_THREAD).clamp(1, most);
    let rows_each = rows.div_ceil(threads).next_multiple_of(ROWS);
    let mut parts = sum.chunks_mut(rows_each * columns).zip(up.chunks(rows_each * rank));
    let own = parts.next();
    thread::scope(|scope| {
        for (sum, up) in parts {
            scope.spawn(move || add_rows(sum, up, down, rank, factor));
        }
        if let Some((sum, up)) = own {
            add_rows(sum, up, down, rank, factor);
        }
    });
}

/// The same for some of the rows, on this thread.
fn add_rows(sum: &mut [f32], up: &[f32], down: &[f32], rank: usize, factor: f32) {
    let columns = down.len() / rank;
    // A strip of the columns of `down` stays in the nearest cache while all rows go over it.
    let (mut strip, zeros) = (vec![[0.0; COLUMNS]; rank], vec![0.0; rank]);
    for first in (0..columns).step_by(COLUMNS) {
        let width = COLUMNS.min(columns - first);
        for (strip, down) in strip.iter_mut().zip(down.chunks_exact(columns)) {
            strip[..width].copy_from_slice(&down[first..][..width]);
        }
        let blocks = sum.chunks_mut(ROWS * columns).zip(up.chunks(ROWS * rank));
        for (sum, up) in blocks {
            let products = strip_product(up, &strip, &zeros);
            for (sum, products) in sum.chunks_exact_mut(columns).zip(&products) {
                for (sum, product) in sum[first..][..width].iter_mut().zip(products) {
                    *sum += factor * product;
                }
            }
        }
    }
}

/// The product of up to [`ROWS`] rows with a strip; rows that are not there are `zeros`.
fn strip_product(up: &[f32], strip: &[[f32; COLUMNS]], zeros: &[f32]) -> [[f32; COLUMNS]; ROWS] {
    let rank = strip.len();
    let [first, second, third, fourth]: [&[f32]; ROWS] = std::array::from_fn(|row| {
        &up.get(row * rank..).filter(|rest| !rest.is_empty()).unwrap_or(zeros)[..rank]
    });
    let mut sums = [[0.0; COLUMNS]; ROWS];
    for (index, strip) in strip.iter().enumerate() {
        let factors = [first[index], second[index], third[index], fourth[index]];
        for (sums, factor) in sums.iter_mut().zip(factors) {
            for (sum, value) in sums.iter_mut().zip(strip) {
                *sum += factor * value;
            }
        }
    }
    sums
}

/// What LoCon's Tucker form makes of its two inner parts, `[rank, input * height * width]`: of `mid`,
/// `[rank, rank, height * width]`, and `down`, `[rank, input]`, summed over the rank between them.
///
/// Source: LyCORIS `functional/general.py`, `rebuild_tucker`.
pub(super) fn through_mid(mid: &[f32], down: &[f32], rank: usize) -> Vec<f32> {
    let (kernel, input) = (mid.len() / (rank * rank), down.len() / rank);
    let mut joined = vec![0.0; rank * input * kernel];
    for (mid, joined) in mid.chunks_exact(rank * kernel).zip(joined.chunks_exact_mut(input * kernel)) {
        for (mid, down) in mid.chunks_exact(kernel).zip(down.chunks_exact(input)) {
            for (down, joined) in down.iter().zip(joined.chunks_exact_mut(kernel)) {
                for (joined, mid) in joined.iter_mut().zip(mid) {
                    *joined += down * mid;
                }
            }
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Small whole numbers, whose products and sums are exact.
    fn numbers(count: usize, seed: usize) -> Vec<f32> {
        (0..count).map(|index| ((index * 7 + seed * 5) % 11) as f32 - 5.0).collect()
    }

    /// By the definition.
    fn expected(sum: &[f32], up: &[f32], down: &[f32], rank: usize, factor: f32) -> Vec<f32> {
        let columns = down.len() / rank;
        let value = |(place, sum): (usize, &f32)| {
            let (row, column) = (place / columns, place % columns);
            let product: f32 = (0..rank).map(|k| up[row * rank + k] * down[k * columns + column]).sum();
            sum + factor * product
        };
        sum.iter().enumerate().map(value).collect()
    }

    #[test]
    fn products_of_all_sizes_are_those_of_the_definition() {
        for (rows, rank, columns) in
            [(1, 1, 1), (4, 2, 8), (5, 3, 9), (3, 7, 23), (8, 1, 16), (9, 4, 7), (640, 16, 643)]
        {
            let (up, down) = (numbers(rows * rank, 1), numbers(rank * columns, 2));
            let start = numbers(rows * columns, 3);
            let mut sum = start.clone();
            add_product(&mut sum, &up, &down, rank, -0.5);
            assert_eq!(sum, expected(&start, &up, &down, rank, -0.5), "{rows} x {rank} x {columns}");
        }
    }

    #[test]
    fn a_middle_part_joins_kernel_and_input() {
        // Rank 2, one input, a kernel of two pixels: joined[a, 0, k] = Σ_b mid[a, b, k] down[b, 0].
        let mid = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0];
        assert_eq!(through_mid(&mid, &[10.0, 100.0], 2), [310.0, 420.0, 750.0, 860.0]);
        // Two inputs, a kernel of one pixel: the product of the matrices.
        assert_eq!(
            through_mid(&[1.0, 2.0, 3.0, 4.0], &[1.0, 10.0, 100.0, 1000.0], 2),
            [201.0, 2010.0, 403.0, 4030.0]
        );
    }
}
