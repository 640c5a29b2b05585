// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! How far a job has come and what became of it, said to people. `alice.js` says the first of these in the same
//! words.

use crate::jobs::{Place, Progress};

/// What is said while a job is not over.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::pages) struct Now {
    /// Where it stands.
    pub(in crate::pages) doing: String,
    /// When it should be done, as far as that is known.
    pub(in crate::pages) left: String,
    /// Steps done, and steps in all.
    pub(in crate::pages) steps: Option<(u32, u32)>,
}

impl Now {
    /// A job waits; its place is unknown for a moment around its beginning.
    pub(in crate::pages) fn waiting(place: Option<Place>) -> Self {
        let doing = match place.map(|place| place.ahead) {
            None => "Waiting".to_owned(),
            Some(0) => "You are next".to_owned(),
            Some(1) => "1 is before you".to_owned(),
            Some(ahead) => format!("{ahead} are before you"),
        };
        let eta_s = place.and_then(|place| place.eta_s);
        Self {
            doing,
            left: eta_s.map(|eta_s| format!("done in about {}", span(eta_s))).unwrap_or_default(),
            steps: None,
        }
    }

    /// A job runs.
    pub(in crate::pages) fn running(progress: &Progress, eta_s: Option<f64>) -> Self {
        let Progress::Running { step, steps } = *progress else { return Self::waiting(None) };
        let doing = match step {
            0 => "Getting ready".to_owned(),
            step if step >= steps => "Finishing".to_owned(),
            step => format!("Step {step} of {steps}"),
        };
        let left = eta_s.filter(|_| step < steps).map(|eta_s| format!("about {} left", span(eta_s)));
        Self { doing, left: left.unwrap_or_default(), steps: Some((step, steps)) }
    }
}

/// A length of time, as exactly as anybody wants to know it.
fn span(seconds: f64) -> String {
    let (count, unit) = match seconds {
        short if short < 10.0 => (short.ceil().max(1.0), "second"),
        medium if medium < 90.0 => ((medium / 5.0).round() * 5.0, "second"),
        long if long < 5400.0 => ((long / 60.0).round(), "minute"),
        longest => ((longest / 3600.0).round(), "hour"),
    };
    let plural = if count > 1.0 { "s" } else { "" };
    format!("{count} {unit}{plural}")
}

/// What to do about a job that failed, by the word for why.
pub(super) fn advice(code: &str) -> &'static str {
    match code {
        "model_unusable" | "model_not_found" => "Choose another model and paint it again.",
        "timeout" => "Try fewer steps or a smaller size.",
        "interrupted" => "Try a smaller size, fewer steps or fewer pictures.",
        "internal_error" => "Paint it again; if it fails again, the server's log says why.",
        _ => "Paint it again; if it fails again, try a smaller size or fewer pictures.",
    }
}

/// The same about a job that was to make a picture larger.
pub(super) fn advice_about_larger(code: &str) -> &'static str {
    match code {
        "model_unusable" | "model_not_found" => "Choose another upscaler for the picture.",
        "internal_error" => "Upscale the picture again; if it fails again, the server's log says why.",
        _ => "Upscale the picture again; if it fails again, choose another upscaler or a smaller picture.",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(now: &Now) -> [&str; 2] {
        [&now.doing, &now.left]
    }

    #[test]
    fn a_waiting_job_says_how_many_are_before_it_and_when_it_is_done() {
        let place = |ahead, eta_s| Now::waiting(Some(Place { ahead, eta_s }));
        assert_eq!(said(&place(2, Some(41.0))), ["2 are before you", "done in about 40 seconds"]);
        assert_eq!(said(&place(1, Some(0.2))), ["1 is before you", "done in about 1 second"]);
        assert_eq!(said(&place(0, None)), ["You are next", ""]);
        assert_eq!(said(&Now::waiting(None)), ["Waiting", ""]);
    }

    #[test]
    fn a_running_job_says_its_step_and_what_happens_before_the_first_and_after_the_last() {
        let running = |step| Now::running(&Progress::Running { step, steps: 20 }, Some(200.0));
        assert_eq!(said(&running(7)), ["Step 7 of 20", "about 3 minutes left"]);
        assert_eq!(running(7).steps, Some((7, 20)));
        assert_eq!(said(&running(0)), ["Getting ready", "about 3 minutes left"]);
        assert_eq!(said(&running(20)), ["Finishing", ""]);
    }

    #[test]
    fn times_are_told_in_the_unit_that_fits() {
        let told = [0.0, 9.1, 12.4, 89.0, 91.0, 3600.0, 7300.0].map(span);
        let wanted =
            ["1 second", "10 seconds", "10 seconds", "90 seconds", "2 minutes", "60 minutes", "2 hours"];
        assert_eq!(told, wanted);
    }

    #[test]
    fn the_script_has_the_same_words() {
        let script = crate::pages::assets::SCRIPT;
        let said = [
            "You are next",
            "1 is before you",
            " are before you",
            "done in about ",
            "Waiting for its turn",
            "Getting ready",
            "Finishing",
            "Step ",
            " of ",
            " left",
        ];
        for words in said {
            assert!(script.contains(words), "{words}");
        }
    }
}
