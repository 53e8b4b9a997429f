//! What the kernels take of a GPU's memory besides their inputs: what they give back, and nothing like
//! another copy of the logits.

use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use burn::tensor::activation::softmax;
use burn::tensor::{Device, Int, Tensor, TensorData};
use burn_wgpu::MemoryConfiguration;
use purrscope::kernels::{self, plain};
use purrscope::rng::Stream;

const TOKENS: usize = 1024;
const CODES: usize = 4096;
const SIZE: usize = 8;
/// Bytes of one tensor of logits.
const LOGITS: f64 = (TOKENS * CODES * 4) as f64;

/// A device with a page of memory an allocation: what it reserves in the course of a call, having kept
/// nothing from before, is what the call needed at once, rounded up to sizes of pages. There is one for
/// all of these tests, which take turns.
fn device() -> MutexGuard<'static, Device> {
    static DEVICE: LazyLock<Mutex<Device>> = LazyLock::new(|| {
        let options = Device::wgpu_options().memory_config(MemoryConfiguration::ExclusivePages);
        Mutex::new(options.init().unwrap())
    });
    DEVICE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn random<const D: usize>(stream: u64, shape: [usize; D], device: &Device) -> Tensor<D> {
    let values = Stream::new(17, stream).normals(shape.iter().product());
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// The most bytes that `run` takes at once besides what is there already, in tensors of logits.
fn taken<T>(device: &Device, mut run: impl FnMut() -> T) -> f64 {
    let reserved = || {
        device.sync().unwrap();
        device.memory_cleanup();
        device.memory_pool_usage().unwrap().bytes_reserved as f64
    };
    // The first call compiles, and the constants that it makes stay.
    drop(run());
    let before = reserved();
    let results = run();
    device.sync().unwrap();
    let after = device.memory_pool_usage().unwrap().bytes_reserved as f64;
    drop(results);
    (after - before) / LOGITS
}

#[test]
fn the_expectation_takes_its_outputs_and_no_more() {
    let device = device();
    let logits = random(1, [TOKENS, CODES], &device);
    let unguided = random(2, [TOKENS, CODES], &device);
    let codebook = random(3, [CODES, SIZE], &device);
    let plain = taken(&device, || softmax(logits.clone() / 0.9, 1).matmul(codebook.clone()));
    assert!(
        plain > 0.9,
        "the measure sees the probabilities that burn's operations store: {plain}"
    );
    let kernel = taken(&device, || {
        kernels::categorical_expectation(logits.clone(), 0.9, codebook.clone(), 16, None)
    });
    let guided = taken(&device, || {
        let guidance = Some((unguided.clone(), 1.5));
        let (logits, codebook) = (logits.clone(), codebook.clone());
        kernels::categorical_expectation_guided(logits, guidance, 0.9, codebook, 16, None)
    });
    println!(
        "of the logits' bytes: burn's operations {plain:.3}, kernel {kernel:.3}, guided {guided:.3}"
    );
    // Mean, entropy, log Z, 16 codes and their probabilities a token.
    let outputs = (TOKENS * (SIZE + 2 + 2 * 16) * 4) as f64 / LOGITS;
    for taken in [kernel, guided] {
        assert!(taken >= outputs * 0.99, "{taken} is less than the outputs, {outputs}");
        assert!(taken < 3.0 * outputs, "{taken}, but the outputs are {outputs}");
    }
}

#[test]
fn nearest_codes_stores_no_distances() {
    let device = device();
    let (x, codebook) = (random(1, [TOKENS, SIZE], &device), random(2, [CODES, SIZE], &device));
    let kernel = taken(&device, || kernels::nearest_codes(x.clone(), codebook.clone(), false));
    let plain = taken(&device, || kernels::plain_nearest_codes(x.clone(), codebook.clone(), false));
    println!("of the distances' bytes: burn's operations {plain:.3}, kernel {kernel:.3}");
    assert!(plain > 0.9 && kernel < 0.02, "kernel {kernel}, burn's operations {plain}");
}

#[test]
fn the_loss_stores_the_gradient_and_no_probabilities() {
    let turn = device();
    let device = turn.clone().autodiff();
    let logits = random(1, [TOKENS, CODES], &device).require_grad();
    let codes: Vec<i64> = (0..TOKENS).map(|token| (token * 7 % CODES) as i64).collect();
    let codes = Tensor::<1, Int>::from_data(codes.as_slice(), &device);
    let step = |loss: fn(Tensor<2>, Tensor<1, Int>) -> Tensor<2>| {
        let gradients = loss(logits.clone(), codes.clone()).square().sum().backward();
        logits.grad(&gradients)
    };
    let kernel = taken(&device, || step(kernels::code_loss));
    let twin = taken(&device, || step(plain::code_loss));
    println!("of the logits' bytes: burn's operations {twin:.3}, kernel {kernel:.3}");
    assert!((0.99..1.3).contains(&kernel), "the gradient alone is 1, the kernel takes {kernel}");
    assert!(twin > 1.5 * kernel, "kernel {kernel}, burn's operations {twin}");
}
