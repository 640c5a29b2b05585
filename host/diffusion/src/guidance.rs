// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Classifier-free guidance: the prompt's pull, made stronger.

/// How strongly a run follows its prompt, and in which of its steps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Guidance {
    /// How far an answer goes from that of the negative prompt towards, and beyond, that of the prompt: 1 is
    /// the prompt alone.
    pub scale: f32,
    /// How much of the guided answer gets back the deviation of the prompt's own, which guidance inflates: 0
    /// (none) to 1 (all). Lin et al. 2023, arXiv:2305.08891, section 3.4, recommends 0.7 with zero terminal
    /// SNR.
    pub rescale: f32,
    /// The part of the run in which there is guidance, from 0 (its beginning) to 1 (its end).
    /// Kynkäänniemi et al. 2024, arXiv:2404.07724.
    pub interval: (f64, f64),
}

impl Guidance {
    /// Whether any of `steps` steps has guidance.
    pub fn is_used(&self, steps: usize) -> bool {
        (0..steps).any(|step| self.is_used_at(step, steps))
    }

    /// Whether the step of index `step` (from 0) of `steps` has guidance. Where it has not, the network need
    /// not run without the prompt.
    ///
    /// Source: diffusers `guiders/classifier_free_guidance.py`.
    pub fn is_used_at(&self, step: usize, steps: usize) -> bool {
        let bound = |part: f64| (part * steps as f64) as usize;
        self.scale > 1.0 && (bound(self.interval.0)..bound(self.interval.1)).contains(&step)
    }

    /// The guided prediction: from the one without the prompt towards the one with it, and `scale` times as
    /// far, rescaled.
    ///
    /// Source: Ho and Salimans 2022, arXiv:2207.12598, in the scaling of Imagen; for rescaling diffusers'
    /// `rescale_noise_cfg`. Both slices have the same length, which is the answer's.
    pub fn guide(&self, conditional: &[f32], unconditional: &[f32]) -> Vec<f32> {
        let pairs = conditional.iter().zip(unconditional);
        let mut guided: Vec<f32> =
            pairs.map(|(&with, &without)| without + self.scale * (with - without)).collect();
        if self.rescale > 0.0 {
            let ratio = deviation(conditional) / deviation(&guided);
            // An answer without any deviation stays as it is.
            let factor = if ratio.is_finite() { self.rescale * ratio + (1.0 - self.rescale) } else { 1.0 };
            guided.iter_mut().for_each(|value| *value *= factor);
        }
        guided
    }

    /// The guided prediction of a network that edits a picture: from the one without prompt and picture towards the
    /// one with the picture, `image_scale` times as far, and from there [`scale`](Self::scale) times as far as the one
    /// with both. Never rescaled.
    ///
    /// Source: Brooks et al. 2022, arXiv:2211.09800, equation 3. All three slices have the same length, which is the
    /// answer's.
    pub fn guide_edit(&self, both: &[f32], picture: &[f32], neither: &[f32], image_scale: f32) -> Vec<f32> {
        let rows = both.iter().zip(picture).zip(neither);
        let guided = rows.map(|((&both, &picture), &neither)| {
            neither + self.scale * (both - picture) + image_scale * (picture - neither)
        });
        guided.collect()
    }
}

/// The standard deviation of some values.
fn deviation(values: &[f32]) -> f32 {
    let count = values.len() as f64;
    let mean = values.iter().map(|&value| f64::from(value)).sum::<f64>() / count;
    let squares = values.iter().map(|&value| (f64::from(value) - mean).powi(2)).sum::<f64>();
    // torch divides by one less than the count, which the quotient of two deviations does not show.
    (squares / count).sqrt() as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guidance of this scale in every step.
    fn of_scale(scale: f32) -> Guidance {
        Guidance { scale, rescale: 0.0, interval: (0.0, 1.0) }
    }

    #[test]
    fn guidance_of_one_is_the_prompt_alone_and_three_goes_three_times_as_far() {
        let guide = |scale| of_scale(scale).guide(&[2.0, 5.0], &[1.0, 7.0]);
        assert_eq!(guide(1.0), [2.0, 5.0]);
        assert_eq!(guide(3.0), [4.0, 1.0]);
        assert_eq!(guide(0.0), [1.0, 7.0]);
    }

    #[test]
    fn an_edit_is_guided_by_its_picture_and_by_its_prompt_beyond_that() {
        let edit = |scale, image_scale| of_scale(scale).guide_edit(&[5.0], &[3.0], &[2.0], image_scale);
        assert_eq!(edit(1.0, 1.0), [5.0]);
        assert_eq!(edit(0.0, 1.0), [3.0]);
        assert_eq!(edit(0.0, 0.0), [2.0]);
        assert_eq!(edit(7.5, 1.5), [2.0 + 7.5 * 2.0 + 1.5 * 1.0]);
    }

    #[test]
    fn only_guidance_above_one_needs_the_network_twice() {
        assert!(of_scale(1.01).is_used(1) && of_scale(7.5).is_used(20));
        for scale in [1.0, 0.0, -3.0, f32::NAN] {
            assert!(!of_scale(scale).is_used(20), "{scale}");
        }
    }

    #[test]
    fn guidance_is_used_within_its_interval_only() {
        let used = |interval, steps| {
            let guidance = Guidance { interval, ..of_scale(5.0) };
            (0..steps).filter(|&step| guidance.is_used_at(step, steps)).collect::<Vec<_>>()
        };
        assert_eq!(used((0.0, 1.0), 4), [0, 1, 2, 3]);
        assert_eq!(used((0.25, 0.75), 4), [1, 2]);
        assert_eq!(used((0.3, 0.5), 10), [3, 4]);
        assert!(used((0.5, 0.5), 10).is_empty() && used((0.9, 0.1), 10).is_empty());
        // 0.7 * 10 must not fall below 7.
        assert_eq!(used((0.7, 1.0), 10), [7, 8, 9]);
    }

    #[test]
    fn rescaled_guidance_has_the_deviation_of_the_prompts_own_answer() {
        let (with, without) = ([1.0, -2.0, 3.0, 0.5], [0.5, -1.0, -1.0, 0.0]);
        let guidance = |rescale| Guidance { rescale, ..of_scale(6.0) };
        let all = guidance(1.0).guide(&with, &without);
        assert!((deviation(&all) - deviation(&with)).abs() < 1e-6);
        let half = guidance(0.5).guide(&with, &without);
        let none = guidance(0.0).guide(&with, &without);
        assert!((deviation(&half) - (deviation(&all) + deviation(&none)) / 2.0).abs() < 1e-6);
        assert_eq!(guidance(0.7).guide(&[0.0; 3], &[0.0; 3]), [0.0; 3], "nothing to rescale");
    }
}
