//! A device that is lost is noticed, reported once in words, and opened again.

use burn::tensor::Tensor;
use purrscope::device::{DeviceChoice, DeviceError, guard};
use purrscope::flow::{Predictor, SampleSettings, seeded_noise};
use purrscope::model::{Model, params};
use purrscope::studio::engine::opener::Opener;

use crate::common::check;

#[test]
fn a_lost_device_is_reported_and_opened_again() {
    let mut opener = Opener::new(DeviceChoice::Gpu(None), None);
    let first = opener.open().unwrap();
    let settings = SampleSettings { labels: vec![1], ..SampleSettings::default() };
    let predict = |model: &Model| {
        let x = seeded_noise(1, model.latent_shape(1));
        model.predict(&x, 0.5, &settings).output.values
    };
    let model = Model::embedded(&first.device).unwrap();
    let expected = predict(&model);
    assert!(first.check().is_ok());
    assert_eq!(opener.open().unwrap().device, first.device, "a device that works is kept");

    first.handles.as_ref().unwrap().device.destroy();
    let error = guard(|| first.check(), || predict(&model)).unwrap_err();
    assert!(matches!(error, DeviceError::Lost { .. }), "{error}");
    let text = error.to_string();
    // Numbers that cannot be read back are never taken for none.
    let read = || params::host(model.codebook().clone());
    assert!(guard(|| first.check(), read).is_err());
    assert!(text.starts_with("the device was lost (gpu: ") && !text.contains('\n'), "{text}");

    let second = opener.open().unwrap();
    assert_ne!(second.device, first.device, "burn has a new name for the new device");
    assert!(second.description.contains("opened again"), "{}", second.description);
    let again = Model::embedded(&second.device).unwrap();
    // Not to the last bit: another test may have other paths of the kernels taken meanwhile.
    check("prediction", "opened again", &predict(&again), &expected, 1e-4);
}

#[test]
fn other_panics_go_on() {
    let caught = std::panic::catch_unwind(|| guard(|| Ok(()), || panic!("something else")));
    assert!(caught.is_err());
    let selected = Opener::new(DeviceChoice::Cpu, None).open().unwrap();
    let sum = Tensor::<1>::ones([3], &selected.device).sum();
    assert_eq!(guard(|| selected.check(), || sum.into_scalar::<f32>()).unwrap(), 3.0);
}
