// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! A seed's noise is torch's.

use alice_diffusion::{LatentShape, Noise};

use super::{cases, deviation, golden, numbers, size};

#[test]
fn noise_is_that_of_torchs_generator_on_the_cpu() {
    let file = golden!("noise.json");
    let mut worst: f32 = 0.0;
    for case in cases(&file) {
        let mut noise = Noise::new(case["seed"].as_str().unwrap().parse().unwrap());
        for (count, expected) in
            case["sizes"].as_array().unwrap().iter().zip(case["values"].as_array().unwrap())
        {
            let shape = LatentShape { channels: 1, height: 1, width: size(count) };
            let got: Vec<f32> =
                noise.latent(shape).values.into_iter().step_by(size(&case["every"])).collect();
            let deviation = deviation(&got, &numbers(expected));
            assert!(deviation <= 1e-6, "seed {}, sizes {}: {deviation}", case["seed"], case["sizes"]);
            worst = worst.max(deviation);
        }
    }
    eprintln!("noise: worst deviation {worst:e} in {} draws", cases(&file).len());
}
