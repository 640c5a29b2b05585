// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Names lead to samplers, and every sampler to its names.

use super::*;

fn names(method: Method) -> impl Iterator<Item = &'static str> {
    let About { name, label, aliases, class, .. } = *method.about();
    [name, label].into_iter().chain(class).chain(aliases.iter().copied())
}

#[test]
fn every_method_is_found_by_each_of_its_names_in_any_case() {
    for &method in Method::ALL {
        for name in names(method) {
            assert_eq!(name.parse(), Ok(Sampler::from(method)), "{name}");
            assert_eq!(name.to_uppercase().parse(), Ok(Sampler::from(method)), "{name}");
        }
    }
}

#[test]
fn no_name_means_two_methods() {
    let mut seen = std::collections::HashMap::new();
    for &method in Method::ALL {
        for name in names(method) {
            let other = seen.insert(name.to_lowercase(), method);
            assert!(other.is_none_or(|other| other == method), "{name}");
        }
    }
}

#[test]
fn a_name_and_a_noise_schedule_make_a_sampler_that_says_its_name() {
    for &method in Method::ALL {
        for schedule in NoiseSchedule::ALL {
            let plain = Sampler::from(method);
            let name = format!("{plain}_{}", schedule.name());
            match method.about().space {
                Space::Sigma => {
                    assert_eq!(name.parse(), plain.on(schedule));
                    assert_eq!(plain.on(schedule).unwrap().name(), name);
                    let labels = format!("{} {}", method.about().label, schedule.label());
                    assert_eq!(labels.parse(), plain.on(schedule), "{labels}");
                }
                _ => assert_eq!(
                    name.parse::<Sampler>(),
                    Err(Error::OwnTimesteps { sampler: method.about().name })
                ),
            }
        }
    }
}

#[test]
fn the_names_that_clients_have_always_used_mean_what_they_always_meant() {
    for (name, meant) in [
        ("dpm++_sde_karras", Sampler::DPMPP_SDE_KARRAS),
        ("dpm++_2m_sde_karras", Sampler::DPMPP_SDE_KARRAS),
        ("DPM++ 2M SDE Karras", Sampler::DPMPP_SDE_KARRAS),
        ("dpm++_karras", Sampler::DPMPP_2M_KARRAS),
        ("dpm++_2m_karras", Sampler::DPMPP_2M_KARRAS),
        ("DPM++ 2M Karras", Sampler::DPMPP_2M_KARRAS),
        ("dpm++", Method::Dpmpp2m.into()),
        ("dpm++_sde", Method::Dpmpp2mSde.into()),
        ("DPM++ SDE", Method::DpmppSde.into()),
        ("euler a", Method::EulerAncestral.into()),
        ("ddim_uniform", Method::Ddim.into()),
        ("unipc", Method::Unipc.into()),
        ("PLMS", Method::Pndm.into()),
    ] {
        assert_eq!(name.parse(), Ok(meant), "{name}");
    }
}

#[test]
fn an_unknown_name_is_an_error_that_lists_the_names() {
    for unknown in ["", "eulr", "karras", "_karras", "eulr_karras", "dpm++ 4m", &"x".repeat(100_000)] {
        let message = unknown.parse::<Sampler>().unwrap_err().to_string();
        assert!(Sampler::listed().all(|sampler| message.contains(&sampler.name())), "{message}");
        assert!(NoiseSchedule::ALL.iter().all(|schedule| message.contains(schedule.name())), "{message}");
        assert!(message.len() < 800, "{message}");
    }
}

#[test]
fn the_readme_shows_the_file_of_a_sampler_as_it_is() {
    let (readme, file) = (include_str!("../../README.md"), include_str!("heun.rs"));
    assert!(readme.contains(file));
    for &method in Method::ALL {
        assert!(readme.contains(&format!("| `{}` |", method.about().name)), "{method:?}");
    }
    for schedule in NoiseSchedule::ALL {
        assert!(readme.contains(&format!("`{}`", schedule.name())), "{schedule:?}");
    }
}
