// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! What the `parameters` text of a picture says, whichever program of A1111's family has written it: the other way round
//! from [`write`](super::write). Nothing in it is believed to be usable: it fills in a form, and the form is checked.

use alice_diffusion::Sampler;

/// Fewer pairs than this are no line of settings but the end of the prompt, as A1111 has it.
const FEWEST_PAIRS: usize = 3;
/// What stands before the negative prompt.
const NEGATIVE: &str = "Negative prompt:";

/// What a text says. What it does not say is `None`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Parsed {
    /// The prompt, with the tags of its LoRAs.
    pub prompt: String,
    /// The negative prompt.
    pub negative_prompt: Option<String>,
    /// Steps.
    pub steps: Option<u32>,
    /// The sampler with its noise schedule, if ALICE has it.
    pub sampler: Option<Sampler>,
    /// The sampler as the text calls it, where ALICE has none of that name.
    pub unknown_sampler: Option<String>,
    /// The guidance scale.
    pub guidance_scale: Option<f64>,
    /// The seed.
    pub seed: Option<u64>,
    /// Width and height in pixels, before anything made the picture larger.
    pub size: Option<(u32, u32)>,
    /// The model's name or, from other programs, the hash of its file.
    pub model: Option<String>,
    /// How much of a picture to begin with could change, from 0 to 1.
    pub strength: Option<f64>,
    /// How much larger a second run made the picture.
    pub hires_scale: Option<f64>,
    /// Every pair of the line of settings, in its order.
    pub pairs: Vec<(String, String)>,
}

impl Parsed {
    /// The value of the pair called `name`.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.pairs.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    fn number<T: std::str::FromStr>(&self, name: &str) -> Option<T> {
        self.value(name)?.trim().parse().ok()
    }
}

/// Reads a text; one without a line of settings is all prompt.
///
/// Source: the format of `parse_generation_parameters` in A1111's `modules/infotext_utils.py`.
pub fn read(text: &str) -> Parsed {
    let text = text.trim();
    let (words, line) = text.rsplit_once('\n').unwrap_or(("", text));
    let pairs = pairs(line);
    let has_settings = pairs.len() >= FEWEST_PAIRS || line.starts_with("Steps: ");
    let (words, pairs) = if has_settings { (words, pairs) } else { (text, Vec::new()) };
    let (prompt, negative) = split_negative(words);
    let mut parsed = Parsed { prompt, negative_prompt: negative, pairs, ..Parsed::default() };
    parsed.steps = parsed.number("Steps");
    parsed.guidance_scale = parsed.number("CFG scale").filter(|scale: &f64| scale.is_finite());
    parsed.seed = parsed.number("Seed");
    parsed.size = parsed.value("Size").and_then(size);
    parsed.model = parsed.value("Model").or_else(|| parsed.value("Model hash")).map(str::to_owned);
    parsed.strength = parsed.number("Denoising strength").filter(|strength| (0.0..=1.0).contains(strength));
    parsed.hires_scale = hires_scale(&parsed);
    (parsed.sampler, parsed.unknown_sampler) = sampler(&parsed);
    parsed
}

/// The prompt, and the negative one if there is any.
fn split_negative(words: &str) -> (String, Option<String>) {
    let begins = if words.starts_with(NEGATIVE) {
        Some(0)
    } else {
        words.find(&format!("\n{NEGATIVE}")).map(|before| before + 1)
    };
    match begins {
        Some(at) => {
            let negative = words[at + NEGATIVE.len()..].trim().to_owned();
            (words[..at].trim().to_owned(), Some(negative).filter(|negative| !negative.is_empty()))
        }
        None => (words.trim().to_owned(), None),
    }
}

/// `Name: value` pairs between commas; a value in quotes is a JSON string, which may hold commas itself.
fn pairs(line: &str) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    let mut rest = line.trim();
    while let Some((name, behind)) = rest.split_once(':') {
        let name = name.trim();
        if name.is_empty() || name.contains(',') {
            break;
        }
        let (value, next) = value(behind.trim_start());
        pairs.push((name.to_owned(), value));
        rest = next.trim_start_matches(|letter: char| letter == ',' || letter.is_whitespace());
    }
    pairs
}

/// The value that `text` begins with, and what follows it.
fn value(text: &str) -> (String, &str) {
    if text.starts_with('"') {
        let mut strings = serde_json::Deserializer::from_str(text).into_iter::<String>();
        if let Some(Ok(value)) = strings.next() {
            return (value, &text[strings.byte_offset()..]);
        }
    }
    let (value, rest) = text.split_once(',').unwrap_or((text, ""));
    (value.trim().to_owned(), rest)
}

/// `512x768`.
fn size(text: &str) -> Option<(u32, u32)> {
    let (width, height) = text.split_once('x')?;
    Some((width.trim().parse().ok()?, height.trim().parse().ok()?))
}

/// By how much a second run made the picture larger: said, or known from its size.
fn hires_scale(parsed: &Parsed) -> Option<f64> {
    let told = parsed.number("Hires upscale");
    let known = || {
        let ((larger, _), (smaller, _)) = (parsed.value("Hires resize").and_then(size)?, parsed.size?);
        Some(f64::from(larger) / f64::from(smaller))
    };
    told.or_else(known).filter(|scale: &f64| scale.is_finite() && *scale > 1.0)
}

/// The sampler, or what the text calls one that ALICE does not have. Older texts name the noise schedule with the
/// sampler (`DPM++ 2M Karras`), newer ones as the `Schedule type`.
fn sampler(parsed: &Parsed) -> (Option<Sampler>, Option<String>) {
    let Some(name) = parsed.value("Sampler") else { return (None, None) };
    let schedule = parsed.value("Schedule type").filter(|kind| !kind.eq_ignore_ascii_case("Automatic"));
    let whole = schedule.map_or_else(|| name.to_owned(), |schedule| format!("{name} {schedule}"));
    match whole.parse() {
        Ok(sampler) => (Some(sampler), None),
        // A method has timesteps of its own, or a schedule is unknown: then the method alone.
        Err(_) => match name.parse() {
            Ok(sampler) => (Some(sampler), None),
            Err(_) => (None, Some(whole)),
        },
    }
}

#[cfg(test)]
mod tests {
    use alice_diffusion::Method;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_text_of_a1111_is_read() {
        let text = "masterpiece, a (red:1.2) fox <lora:ink:0.8>\nin the snow\nNegative prompt: blurry, text\nlow\n\
                    Steps: 28, Sampler: DPM++ 2M Karras, CFG scale: 6.5, Seed: 1234567890123, Size: 512x768, \
                    Model hash: 6ce0161689, Model: v1-5-pruned, Denoising strength: 0.4, Clip skip: 2, \
                    ControlNet 0: \"Module: canny, Model: x\", Hires upscale: 1.5, Version: v1.9.4";
        let parsed = read(text);
        assert_eq!(parsed.prompt, "masterpiece, a (red:1.2) fox <lora:ink:0.8>\nin the snow");
        assert_eq!(parsed.negative_prompt.as_deref(), Some("blurry, text\nlow"));
        assert_eq!((parsed.steps, parsed.guidance_scale), (Some(28), Some(6.5)));
        assert_eq!((parsed.seed, parsed.size), (Some(1_234_567_890_123), Some((512, 768))));
        assert_eq!(parsed.sampler, Some(Sampler::DPMPP_2M_KARRAS));
        assert_eq!(parsed.model.as_deref(), Some("v1-5-pruned"));
        assert_eq!((parsed.strength, parsed.hires_scale), (Some(0.4), Some(1.5)));
        assert_eq!(parsed.value("controlnet 0"), Some("Module: canny, Model: x"));
        assert_eq!(parsed.value("Clip skip"), Some("2"));
    }

    #[test]
    fn the_schedule_is_found_where_newer_programs_say_it_and_an_unknown_sampler_is_named() {
        let sampler = |pairs: &str| {
            let parsed = read(&format!("x\nSteps: 1, {pairs}, Seed: 1"));
            (parsed.sampler.map(Sampler::name), parsed.unknown_sampler)
        };
        let known = |name: &str| (Some(name.to_owned()), None);
        assert_eq!(sampler("Sampler: Euler a, Schedule type: Automatic"), known("euler_ancestral"));
        assert_eq!(sampler("Sampler: DPM++ 2M, Schedule type: Karras"), known("dpm++_2m_karras"));
        assert_eq!(sampler("Sampler: Euler, Schedule type: Of tomorrow"), known("euler"));
        assert_eq!(sampler("Sampler: Restart, Schedule type: Karras"), (None, Some("Restart Karras".into())));
    }

    #[test]
    fn a_text_without_settings_is_a_prompt_and_nonsense_is_no_error() {
        assert_eq!(read("a fox: red, and, so on").prompt, "a fox: red, and, so on");
        assert_eq!(read("Negative prompt: rain").negative_prompt.as_deref(), Some("rain"));
        assert_eq!(read("  ").prompt, "");
        let parsed = read("a fox\nSteps: many, CFG scale: NaN, Seed: -1, Size: x, Denoising strength: 7");
        assert_eq!(parsed.prompt, "a fox");
        assert_eq!((parsed.steps, parsed.guidance_scale, parsed.seed), (None, None, None));
        assert_eq!((parsed.size, parsed.strength), (None, None));
    }

    #[test]
    fn settings_alone_have_no_prompt() {
        let parsed = read("Steps: 20, Sampler: Euler, CFG scale: 2.5, Seed: 7");
        assert_eq!((parsed.prompt.as_str(), parsed.steps), ("", Some(20)));
        assert_eq!(parsed.sampler, Some(Method::Euler.into()));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_fail(text in any::<String>()) {
            read(&text);
        }

        #[test]
        fn what_is_written_is_read(
            prompt in "[a-zA-Z(][a-zA-Z0-9 ,.():<>]{0,60}[a-z)]",
            negative in proptest::option::of("[a-z][a-zA-Z0-9 ,()]{0,40}[a-z]"),
            model in "[a-zA-Z0-9][a-zA-Z0-9 ,:\"-]{0,20}[a-z]",
            steps in 1u32..=150,
            seed in any::<u64>(),
            guidance in 0u32..=200,
        ) {
            let guidance_scale = f64::from(guidance) / 10.0;
            let parameters = crate::draft::Parameters {
                prompt: prompt.clone(),
                negative_prompt: negative.clone(),
                steps,
                guidance_scale: guidance_scale as f32 as _,
                seed,
                model: model.clone(),
                ..super::super::tests::parameters()
            };
            let parsed = read(&super::super::write(&parameters, Method::Dpmpp2m.into()));
            prop_assert_eq!(parsed.prompt, prompt);
            prop_assert_eq!(parsed.negative_prompt, negative);
            prop_assert_eq!(parsed.model, Some(model));
            prop_assert_eq!((parsed.steps, parsed.seed), (Some(steps), Some(seed)));
            prop_assert!((parsed.guidance_scale.unwrap() - guidance_scale).abs() < 1e-4);
            prop_assert_eq!(parsed.sampler, Some(Method::Dpmpp2m.into()));
        }
    }
}
