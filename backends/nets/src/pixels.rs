// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! 8-bit pixels, `[height, width, 3]`, as the planes that networks take which know pictures of 0 ..= 1.

/// Red, green and blue, or what `order` says: `[3, height, width]` in 0 ..= 1.
pub(crate) fn planes(pixels: &[u8], order: [usize; 3]) -> Vec<f32> {
    let plane = |channel| pixels.iter().skip(channel).step_by(3);
    order.into_iter().flat_map(plane).map(|value| f32::from(*value) / 255.0).collect()
}

/// One plane of greys in 0 ..= 1, rounded to 8 bits in between, as pictures of one channel are.
///
/// Source: the weights of ITU-R BT.601 as Pillow has them in its `convert("L")`.
pub(crate) fn grey_plane(pixels: &[u8]) -> Vec<f32> {
    let grey = |pixel: &[u8]| {
        let [red, green, blue] = [0, 1, 2].map(|channel| u32::from(pixel[channel]));
        (19_595 * red + 38_470 * green + 7_471 * blue + (1 << 15)) >> 16
    };
    pixels.chunks_exact(3).map(|pixel| grey(pixel) as f32 / 255.0).collect()
}

/// Red, green and blue planes of about 0 ..= 1 as pixels.
pub(crate) fn to_pixels(planes: &[f32], pixels: &mut [u8]) {
    let plane = planes.len() / 3;
    for (index, pixel) in pixels.chunks_exact_mut(3).enumerate() {
        for (channel, value) in pixel.iter_mut().enumerate() {
            let unit = planes[channel * plane + index].clamp(0.0, 1.0);
            // Halves to even, as torch rounds. A value that is no number becomes 0.
            *value = (unit * 255.0).round_ties_even() as u8;
        }
    }
}

/// Squares of `fold` pixels a side as channels of one pixel: of `[channels, height, width]`, whose sides `fold` divides,
/// `[channels * fold * fold, height / fold, width / fold]`. PyTorch's `pixel_unshuffle`.
pub(crate) fn fold(planes: &[f32], [height, width]: [usize; 2], fold: usize) -> Vec<f32> {
    let mut folded = Vec::with_capacity(planes.len());
    for plane in planes.chunks_exact(height * width) {
        for (down, right) in (0..fold).flat_map(|down| (0..fold).map(move |right| (down, right))) {
            let lines = plane.chunks_exact(width).skip(down).step_by(fold);
            folded.extend(lines.flat_map(|line| line.iter().skip(right).step_by(fold)));
        }
    }
    folded
}

/// Planes continued below and to the right by their mirror image, without the edge itself, to `[rows, columns]`.
pub(crate) fn mirror(planes: &[f32], [height, width]: [usize; 2], [rows, columns]: [usize; 2]) -> Vec<f32> {
    let mirrored = |place: usize, length: usize| match place % (2 * (length - 1)).max(1) {
        inside if inside < length => inside,
        beyond => 2 * (length - 1) - beyond,
    };
    let mut continued = Vec::with_capacity(planes.len() / (height * width) * rows * columns);
    for plane in planes.chunks_exact(height * width) {
        for line in (0..rows).map(|row| &plane[mirrored(row, height) * width..][..width]) {
            continued.extend((0..columns).map(|column| line[mirrored(column, width)]));
        }
    }
    continued
}

/// The upper left `[rows, columns]` of planes.
pub(crate) fn crop(planes: &[f32], [height, width]: [usize; 2], [rows, columns]: [usize; 2]) -> Vec<f32> {
    let lines = planes.chunks_exact(height * width).flat_map(|plane| plane.chunks_exact(width).take(rows));
    lines.flat_map(|line| &line[..columns]).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn squares_become_channels_in_pytorchs_order() {
        let planes: Vec<f32> = (0..16).map(|value| value as f32).collect();
        // torch.pixel_unshuffle(torch.arange(16).reshape(2, 2, 4), 2)
        let expected = [0, 2, 1, 3, 4, 6, 5, 7, 8, 10, 9, 11, 12, 14, 13, 15].map(|value| value as f32);
        assert_eq!(fold(&planes, [2, 4], 2), expected);
        assert_eq!(fold(&planes, [2, 4], 1), planes);
    }

    #[test]
    fn a_picture_is_continued_by_its_mirror_image_and_cut_again() {
        let planes = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        let continued = mirror(&planes, [2, 3], [3, 5]);
        let expected = [1.0, 2.0, 3.0, 2.0, 1.0, 4.0, 5.0, 6.0, 5.0, 4.0, 1.0, 2.0, 3.0, 2.0, 1.0];
        assert_eq!(continued, expected);
        assert_eq!(crop(&continued, [3, 5], [2, 3]), planes);
        assert_eq!(mirror(&[7.0], [1, 1], [2, 4]), [7.0; 8]);
    }

    #[test]
    fn greys_are_those_of_pillow() {
        // Image.new("RGB", (1, 1), pixel).convert("L")
        for (pixel, grey) in [([255, 0, 0], 76), ([0, 255, 0], 150), ([0, 0, 255], 29), ([9, 9, 9], 9)] {
            assert_eq!(grey_plane(&pixel), [grey as f32 / 255.0]);
        }
    }

    #[test]
    fn pixels_survive_the_way_there_and_back() {
        let pixels: Vec<u8> = (0..=255).chain([1, 2]).collect();
        let mut back = vec![0; pixels.len()];
        to_pixels(&planes(&pixels, [0, 1, 2]), &mut back);
        assert_eq!(back, pixels);
        assert_eq!(planes(&[0, 51, 255], [2, 1, 0]), [1.0, 0.2, 0.0]);
    }
}
