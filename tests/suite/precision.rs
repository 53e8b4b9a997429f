//! Half precision against f32 and against the reference, on the GPU: agreement, memory, and what the
//! command line makes of it.

use std::fs::{self, File};
use std::io::BufReader;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use image::RgbImage;
use purrscope::flow::{Predictor, SampleSettings, Sampler, Temperature, seeded_noise};
use purrscope::io::png;
use purrscope::io::tensors::{METADATA_KEY, Precision, TensorFile};
use purrscope::model::layers::Initialiser;
use purrscope::model::params::{self, host};
use purrscope::model::precision::has_half;
use purrscope::model::{
    Dit, DitConfig, Guided, Model, ModelCard, Objective, TokenizerConfig, dit, read_card,
};
use serde_json::Value;

use crate::common::{check, fail, golden, gpu, narrow_device, succeed, tensor, worst};
use crate::tolerance::Half;

/// The GPU, where it has 16-bit floats; whoever has none misses these tests, and is told.
fn half_gpu() -> Option<Device> {
    let device = gpu();
    if has_half(&device) {
        return Some(device);
    }
    eprintln!("the adapter has no 16-bit floats: nothing is tested of half precision");
    None
}

/// The golden networks of every objective, their weights in two bytes.
#[test]
fn outputs_in_half_precision_are_near_the_reference() {
    let Some(device) = half_gpu() else { return };
    for objective in Objective::ALL {
        let file = golden(&format!("{objective}.safetensors"));
        let config = DitConfig {
            input_size: 8,
            patch_size: 2,
            in_channels: objective.in_channels(4),
            hidden_size: 48,
            depth: 2,
            num_heads: 3,
            mlp_ratio: 4.0,
            num_classes: 5,
            out_channels: objective.out_channels(37, 4),
            embeds_codes: objective == Objective::Dfm,
        };
        let blank = Dit::new(&config, &mut Initialiser::blank(&device));
        let named = |path: &str| format!("weight.{}", dit::reference_name(path));
        let network = params::load(blank, named, &device, |name, shape| {
            file.numbers_of_shape(name, shape, Precision::F16)
        })
        .unwrap();
        let x = match objective {
            Objective::Dfm => {
                let (shape, codes) = file.integers("zt_codes").unwrap();
                let codes = Tensor::<3, Int>::from_data(TensorData::new(codes, shape), &device);
                network.embed_codes(codes).unwrap()
            }
            _ => tensor(&file, "zt", &device),
        };
        let (_, t) = file.floats("t").unwrap();
        let (_, labels) = file.integers("labels").unwrap();
        let none = Tensor::<1, Int>::full([labels.len()], 5, &device);
        let labels = Tensor::<1, Int>::from_data(labels.as_slice(), &device);
        let conditional = network.forward(x.clone(), &t, labels);
        assert_eq!(conditional.dtype(), DType::F32);
        let unconditional = network.forward(x, &t, none);
        for scale in ["0.0", "1.0", "2.5"] {
            let unconditional = Some((unconditional.clone(), scale.parse().unwrap()));
            let guided = Guided { conditional: conditional.clone(), unconditional };
            let found = host(guided.mixed().swap_dims(1, 2));
            let (_, expected) = file.floats(&format!("out.cfg{scale}")).unwrap();
            let what = format!("{objective} in f16, guidance {scale}");
            check(&what, "gpu", &found, &expected, Half::OUTPUTS);
            assert!(worst(&found, &expected) > 1e-6, "{what}: it was computed in f32");
        }
    }
}

fn settings(labels: Vec<usize>) -> SampleSettings {
    SampleSettings {
        labels,
        seed: 3,
        steps: 8,
        guidance: 1.5,
        temperature: Temperature::Constant(0.9),
        ..SampleSettings::default()
    }
}

/// Mean and largest difference of the levels of pictures.
fn levels(a: &[RgbImage], b: &[RgbImage]) -> (f64, u8) {
    assert_eq!(a.len(), b.len());
    let pairs = || a.iter().flat_map(|a| a.as_raw()).zip(b.iter().flat_map(|b| b.as_raw()));
    let sum: f64 = pairs().map(|(a, b)| f64::from(a.abs_diff(*b))).sum();
    (sum / pairs().count() as f64, pairs().map(|(a, b)| a.abs_diff(*b)).max().unwrap_or(0))
}

/// One prediction, one decoding, and a whole run of four pictures of the embedded model.
#[test]
fn the_embedded_model_agrees_with_itself_in_f32() {
    let Some(device) = half_gpu() else { return };
    let single = Model::embedded(&device).unwrap();
    let half = Model::embedded_in(Precision::F16, &device).unwrap();
    assert_eq!((single.precision(), half.precision()), (Precision::F32, Precision::F16));
    assert_eq!(host(single.codebook().clone()), host(half.codebook().clone()), "codes are exact");

    let settings = settings(vec![1, 4, 7, 10]);
    let x = seeded_noise(9, single.latent_shape(4));
    let (a, b) = (single.predict(&x, 0.5, &settings), half.predict(&x, 0.5, &settings));
    check("f16: mean", "gpu", &b.output.values, &a.output.values, Half::MEANS);
    let (pa, pb) = (a.posterior.unwrap(), b.posterior.unwrap());
    check("f16: entropy", "gpu", &pb.entropy, &pa.entropy, Half::BELIEFS);
    check("f16: log Z", "gpu", &pb.log_z, &pa.log_z, Half::BELIEFS);
    check("f16: probabilities", "gpu", &pb.top_probs, &pa.top_probs, Half::BELIEFS);
    assert_ne!(pa.log_z, pb.log_z, "it was computed in f32");

    let (mean, most) = levels(&half.decode(&a.output), &single.decode(&a.output));
    println!("decoding the same latents: levels differ by {mean:.3} on average, {most} at most");
    assert!(mean <= Half::DECODED_MEAN && most <= Half::DECODED_MOST, "{mean} {most}");

    let run = |model: &Model| {
        let mut sampler = Sampler::new(model, settings.clone(), None).unwrap();
        sampler.by_ref().for_each(drop);
        let codes = sampler.codes();
        (codes.clone(), model.decode_codes(&codes, 4))
    };
    let ((codes, pictures), (half_codes, half_pictures)) = (run(&single), run(&half));
    let equal = codes.iter().zip(&half_codes).filter(|(a, b)| a == b).count();
    let equal = equal as f64 / codes.len() as f64;
    let (mean, most) = levels(&half_pictures, &pictures);
    println!(
        "a run of 8 guided steps: {:.2} % of the codes equal, levels differ by {mean:.3} on average, \
         {most} at most",
        100.0 * equal
    );
    assert!(equal >= Half::EQUAL_CODES, "{equal}");
    assert!(mean <= Half::PICTURES_MEAN, "{mean}");
}

/// Weights of two bytes go to the device as they are, whatever else is made on the way.
#[test]
fn weights_of_two_bytes_take_half_the_memory() {
    let Some(device) = half_gpu() else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("half.safetensors");
    Model::embedded(&device).unwrap().save(&path, Precision::F16).unwrap();
    let device = narrow_device();
    let taken = |precision| {
        let in_use = || {
            device.sync().unwrap();
            device.memory_pool_usage().unwrap().bytes_in_use
        };
        let before = in_use();
        let model = Model::open_in(precision, &path, &device).unwrap();
        let after = in_use();
        drop(model);
        after - before
    };
    let (single, half) = (taken(Precision::F32), taken(Precision::F16));
    let bytes = fs::metadata(&path).unwrap().len();
    println!("file {bytes}, on the device in f32 {single}, in f16 {half}");
    assert!(half as f64 <= 1.1 * bytes as f64, "{half} of {bytes}");
    assert!(single as f64 >= 1.8 * bytes as f64, "{single} of {bytes}");
}

fn record_of(picture: &Path) -> Value {
    let file = BufReader::new(File::open(picture).unwrap());
    serde_json::from_str(&png::read_settings(file).unwrap()).unwrap()
}

#[test]
fn the_command_line_takes_precision_and_records_say_it() {
    let at = tempfile::tempdir().unwrap();
    let at = at.path();
    let options = |out: &'static str, more: &[&'static str]| {
        let all = ["sample", "--class", "cat-orange-in-a-meadow", "--steps", "3", "--out", out];
        [&all[..], more].concat()
    };
    let refused = ["--device", "cpu", "--precision", "f16"];
    fail(at, &options("a", &refused), 1, "half precision needs a GPU");
    assert!(!at.join("a").exists(), "nothing is made before the precision is known to be there");
    fail(at, &options("a", &["--precision", "f8"]), 1, "unknown precision 'f8'");
    fail(at, &["--train", "run.toml", "--precision", "f16"], 2, "cannot be used with");
    if half_gpu().is_none() {
        fail(at, &options("a", &["--device", "gpu", "--precision", "f16"]), 1, "16-bit floats");
        return;
    }
    let picture = |folder: &str| at.join(folder).join("cat-orange-in-a-meadow-seed0-000.png");
    succeed(at, &options("single", &["--device", "gpu"]));
    assert_eq!(record_of(&picture("single")).get("precision"), None);
    let half = ["--device", "gpu", "--precision", "f16", "--trajectory", "half.safetensors"];
    succeed(at, &options("half", &half));
    assert_eq!(record_of(&picture("half"))["precision"], "f16");
    let run = TensorFile::open(&at.join("half.safetensors")).unwrap();
    let record: Value = serde_json::from_str(run.metadata(METADATA_KEY).unwrap()).unwrap();
    assert_eq!(record["precision"], "f16");

    // Made again without a word about precision: in the one that it was made in.
    let half = picture("half");
    let again = |out: &'static str, more: &[&'static str]| {
        let all = ["sample", "--restore", half.to_str().unwrap(), "--device", "gpu", "--out", out];
        succeed(at, &[&all[..], more].concat());
        fs::read(picture(out)).unwrap()
    };
    assert!(again("again", &[]) == fs::read(&half).unwrap(), "the same picture to the last byte");
    assert!(again("other", &["--precision", "f32"]) != fs::read(&half).unwrap());
    assert_eq!(record_of(&picture("other")).get("precision"), None);
}

/// DiT-XL/2 over 16,384 codes of 8 numbers for 32x32 latents, with the tokenizer that goes with them.
fn largest() -> ModelCard {
    let card = read_card(
        &TensorFile::open(Path::new(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/assets/cats-and-dogs.safetensors"
        )))
        .unwrap(),
    )
    .unwrap();
    ModelCard {
        name: "DiT-XL/2".to_owned(),
        backbone: DitConfig {
            input_size: 32,
            patch_size: 2,
            in_channels: 8,
            hidden_size: 1152,
            depth: 28,
            num_heads: 16,
            mlp_ratio: 4.0,
            num_classes: 1000,
            out_channels: 16_384,
            embeds_codes: false,
        },
        tokenizer: TokenizerConfig {
            image_channels: 3,
            channels: 128,
            multipliers: vec![1, 2, 2, 4],
            residual_blocks: 2,
            attention: true,
            attention_levels: None,
            groups: 32,
            latent_channels: 256,
            code_size: 8,
            codes: 16_384,
            l2_normalised: true,
        },
        class_names: (0..1000).map(|class| class.to_string()).collect(),
        ..card
    }
}

/// The most bytes in use and reserved while some work is done, as another thread sees them.
fn peak<T>(device: &Device, work: impl FnOnce() -> T) -> (T, u64, u64) {
    /// Lets the other thread end, also where the work panics.
    struct Done<'a>(&'a AtomicBool);
    impl Drop for Done<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let (in_use, reserved) = (AtomicU64::new(0), AtomicU64::new(0));
    let done = AtomicBool::new(false);
    let look = |device: &Device| {
        let usage = device.memory_pool_usage().unwrap();
        in_use.fetch_max(usage.bytes_in_use, Ordering::Relaxed);
        reserved.fetch_max(usage.bytes_reserved, Ordering::Relaxed);
    };
    let result = thread::scope(|scope| {
        let (other, done) = (device.clone(), &done);
        scope.spawn(move || {
            while !done.load(Ordering::Relaxed) {
                look(&other);
                thread::sleep(Duration::from_millis(5));
            }
        });
        let _done = Done(done);
        let result = work();
        device.sync().unwrap();
        result
    });
    look(device);
    (result, in_use.into_inner(), reserved.into_inner())
}

/// One guided evaluation for four pictures, and their decoding, where no buffer may be larger than WebGPU
/// grants by default: the weights and 300 MB.
fn the_largest_model_samples_four_pictures(precision: Precision) {
    const MB: f64 = 1e6;
    const BESIDES: f64 = 300.0 * MB;
    let device = narrow_device();
    if precision == Precision::F16 && !has_half(&device) {
        eprintln!("the adapter has no 16-bit floats: nothing is tested");
        return;
    }
    let begun = Instant::now();
    let model = Model::random(largest(), 1, precision, &device);
    device.sync().unwrap();
    let usage = device.memory_pool_usage().unwrap();
    let weights = usage.bytes_in_use as f64;
    println!(
        "{precision}: weights {:.0} MB in use, {:.0} MB reserved, made in {:.0} s",
        weights / MB,
        usage.bytes_reserved as f64 / MB,
        begun.elapsed().as_secs_f64()
    );
    let report = |what: &str, begun: Instant, in_use: u64, reserved: u64| {
        println!(
            "{precision}: {what} in {:.0} s: {:.0} MB in use, {:.0} MB reserved, besides the weights",
            begun.elapsed().as_secs_f64(),
            (in_use as f64 - weights) / MB,
            (reserved as f64 - weights) / MB
        );
    };
    let settings = settings(vec![1, 2, 3, 4]);
    let x = seeded_noise(5, model.latent_shape(4));
    let begun = Instant::now();
    let (predicted, in_use, reserved) = peak(&device, || model.predict(&x, 0.5, &settings));
    report("one guided evaluation of four pictures", begun, in_use, reserved);
    assert!(predicted.output.values.iter().all(|value| value.is_finite()));
    assert!(reserved as f64 - weights <= BESIDES, "{reserved} bytes, {weights} of weights");
    let begun = Instant::now();
    let (pictures, in_use, reserved) = peak(&device, || model.decode(&predicted.output));
    report("decoding four pictures", begun, in_use, reserved);
    assert_eq!(pictures.len(), 4);
    assert!(reserved as f64 - weights <= BESIDES, "{reserved} bytes, {weights} of weights");
}

#[test]
#[ignore = "takes many minutes and 4 GB on a software adapter"]
fn the_largest_model_fits_webgpus_default_limits_in_f16() {
    the_largest_model_samples_four_pictures(Precision::F16);
}

#[test]
#[ignore = "takes many minutes and 5 GB on a software adapter"]
fn the_largest_model_fits_webgpus_default_limits_in_f32() {
    the_largest_model_samples_four_pictures(Precision::F32);
}
