//! Pictures that go from the network to the window without leaving the GPU.

use std::fmt;
use std::sync::OnceLock;

use eframe::egui_wgpu::RenderState;
use eframe::wgpu;
use egui::TextureId;
use image::RgbImage;

use crate::kernels::present::{Pixels, PresentError};

/// Shows what was computed on the window's own GPU.
#[derive(Clone)]
pub struct Presenter {
    window: RenderState,
}

impl Presenter {
    /// For tensors on the device of this window.
    pub fn new(window: RenderState) -> Self {
        Self { window }
    }

    /// Pixels as textures of the window. Batches come one after another; all are of one size.
    ///
    /// # Errors
    /// The pixels are not on the window's GPU, or that was lost.
    pub fn show(
        &self,
        batches: impl Iterator<Item = Pixels>,
    ) -> Result<DevicePictures, PresentError> {
        let RenderState { device, queue, renderer, .. } = &self.window;
        let mut size = [0; 2];
        let mut textures = Vec::new();
        for pixels in batches {
            size = [pixels.width, pixels.height()];
            textures.extend(pixels.to_textures(device, queue)?);
        }
        let mut renderer = renderer.write();
        let mut register = |filter: wgpu::FilterMode| {
            let view = |texture: &wgpu::Texture| texture.create_view(&Default::default());
            let views: Vec<_> = textures.iter().map(view).collect();
            views
                .iter()
                .map(|view| renderer.register_native_texture(device, view, filter))
                .collect::<Vec<_>>()
        };
        let (sharp, smooth) =
            (register(wgpu::FilterMode::Nearest), register(wgpu::FilterMode::Linear));
        drop(renderer);
        let window = self.window.clone();
        Ok(DevicePictures { window, textures, sharp, smooth, size, host: OnceLock::new() })
    }
}

impl fmt::Debug for Presenter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Presenter")
    }
}

/// Textures of the window, one a picture; given back when dropped.
pub struct DevicePictures {
    window: RenderState,
    textures: Vec<wgpu::Texture>,
    sharp: Vec<TextureId>,
    smooth: Vec<TextureId>,
    /// Width and height.
    size: [usize; 2],
    host: OnceLock<Option<Vec<RgbImage>>>,
}

impl DevicePictures {
    /// How many there are.
    pub fn count(&self) -> usize {
        self.textures.len()
    }

    /// The textures by which egui knows them, with hard pixels or smooth.
    pub fn ids(&self, sharp: bool) -> &[TextureId] {
        if sharp { &self.sharp } else { &self.smooth }
    }

    /// Bytes that they take on the GPU.
    pub fn bytes(&self) -> usize {
        4 * self.size[0] * self.size[1] * self.count()
    }

    /// The pixels, fetched once; nothing where the GPU is lost.
    pub fn host(&self) -> Option<&[RgbImage]> {
        self.host.get_or_init(|| self.fetch()).as_deref()
    }

    fn fetch(&self) -> Option<Vec<RgbImage>> {
        let RenderState { device, queue, .. } = &self.window;
        let [width, height] = self.size.map(|side| side as u32);
        let row = (4 * width).next_multiple_of(wgpu::COPY_BYTES_PER_ROW_ALIGNMENT);
        let picture = u64::from(row) * u64::from(height);
        let buffer = device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("purrscope pictures on the host"),
            size: picture * self.count() as u64,
            usage: wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::MAP_READ,
            mapped_at_creation: false,
        });
        let mut encoder = device.create_command_encoder(&Default::default());
        for (image, texture) in self.textures.iter().enumerate() {
            let layout = wgpu::TexelCopyBufferLayout {
                offset: image as u64 * picture,
                bytes_per_row: Some(row),
                rows_per_image: None,
            };
            let to = wgpu::TexelCopyBufferInfo { buffer: &buffer, layout };
            encoder.copy_texture_to_buffer(texture.as_image_copy(), to, texture.size());
        }
        queue.submit([encoder.finish()]);
        let (sender, mapped) = std::sync::mpsc::channel();
        buffer.slice(..).map_async(wgpu::MapMode::Read, move |result| {
            // The receiver waits below; it is gone only where waiting failed.
            let _ = sender.send(result);
        });
        device.poll(wgpu::PollType::wait_indefinitely()).ok()?;
        mapped.recv().ok()?.ok()?;
        let bytes = buffer.slice(..).get_mapped_range().ok()?;
        let pictures = bytes.chunks_exact(picture as usize).map(|picture| {
            RgbImage::from_fn(width, height, |x, y| {
                let at = (y * row + 4 * x) as usize;
                image::Rgb([picture[at], picture[at + 1], picture[at + 2]])
            })
        });
        Some(pictures.collect())
    }
}

impl Drop for DevicePictures {
    fn drop(&mut self) {
        let mut renderer = self.window.renderer.write();
        for id in self.sharp.iter().chain(&self.smooth) {
            renderer.free_texture(id);
        }
    }
}

impl fmt::Debug for DevicePictures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} pictures of {:?} on the GPU", self.count(), self.size)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use eframe::egui_wgpu::RendererOptions;
    use egui_kittest::wgpu::create_render_state;

    use super::*;
    use crate::device::DeviceChoice;
    use crate::doctor::{Records, Standing};
    use crate::flow::{SampleSettings, seeded_noise};
    use crate::model::Model;
    use crate::studio::engine::colormap::viridis;
    use crate::studio::engine::model_worker::ModelWorker;
    use crate::studio::engine::opener::{self, Graphics, Opener};
    use crate::studio::engine::{
        Answer, Command, Drawing, Engine, Event, ModelSource, Question, RunEvent, Worker,
    };

    fn window() -> RenderState {
        create_render_state(opener::wgpu_setup(Graphics::Shared), RendererOptions::PREDICTABLE)
    }

    /// A compute thread on the window's own GPU.
    fn sharing(window: &RenderState) -> Engine {
        let mut opener = Opener::new(DeviceChoice::Gpu(None), Some(window.clone()));
        let state = window.clone();
        Engine::spawn(move || ModelWorker::new(&mut opener, Some(&state)), || {}).unwrap()
    }

    #[test]
    fn a_gpu_that_computes_wrongly_is_used_only_where_it_was_asked_for_and_says_so() {
        let window = window();
        let selected = opener::select_in_window(DeviceChoice::Gpu(None), &window).unwrap();
        let standing = Standing::Wrong { operation: "softmax: off by 1".to_owned() };
        let mut records = Records::knowing(&selected, standing);
        let mut opener = Opener::new(DeviceChoice::Gpu(None), Some(window.clone()));
        let mut worker = ModelWorker::examined(&mut opener, Some(&window), &mut records).unwrap();
        let info = worker.load(&ModelSource::Embedded).unwrap();
        assert!(info.device.starts_with("gpu: "), "{}", info.device);
        assert!(info.device.contains("computes wrongly (softmax: off by 1)"), "{}", info.device);
        // It says so again after the device was lost.
        assert_eq!(opener.open().unwrap().description, info.device);
    }

    #[test]
    fn textures_hold_what_is_decoded_and_are_given_back() {
        let window = window();
        let selected = opener::select_in_window(DeviceChoice::Gpu(None), &window).unwrap();
        let mut model = Model::embedded(&selected.device).unwrap();
        // Two pictures at a time.
        model.logits_budget = 2 * 4 * 64 * 64 * model.card.tokenizer.channels * 2;
        let latents = seeded_noise(3, model.latent_shape(3));
        let presenter = Presenter::new(window.clone());
        let shown = presenter.show(model.decoded(&latents).map(Pixels::of_pictures)).unwrap();
        assert_eq!(shown.count(), 3);
        let known = |shown: &DevicePictures| {
            let renderer = window.renderer.read();
            shown.ids(true).iter().all(|id| renderer.texture(id).is_some())
        };
        assert!(known(&shown));
        let (found, expected) = (shown.host().unwrap(), model.decode(&latents));
        for (found, expected) in found.iter().zip(&expected) {
            let pairs = found.as_raw().iter().zip(expected.as_raw());
            let worst = pairs.map(|(a, b)| a.abs_diff(*b)).max();
            assert!(worst <= Some(1), "off by {worst:?} levels");
        }
        let ids = shown.ids(false).to_vec();
        drop(shown);
        assert!(ids.iter().all(|id| window.renderer.read().texture(id).is_none()));
    }

    #[test]
    fn an_overlay_asked_for_during_a_run_comes_as_textures_of_the_window() {
        let window = window();
        let engine = sharing(&window);
        engine.send(Command::Load(ModelSource::Embedded));
        let settings = SampleSettings { labels: vec![2], steps: 4, ..SampleSettings::default() };
        engine.send(Command::Run { run: 1, settings, start: None, watched: true });
        let mut asked = None;
        let pictures = loop {
            match engine.wait() {
                Event::Run(_, RunEvent::Step { record, .. }) if asked.is_none() => {
                    let (values, shape) = (record.entropy().to_vec(), record.x.shape);
                    let drawing = Drawing::Entropy { values: values.clone(), top: 7.0 };
                    engine.send(Command::Ask(Question::Overlay { ticket: 5, shape, drawing }));
                    asked = Some(values);
                }
                Event::Answered(Answer::Overlaid { ticket, pictures }) => {
                    assert_eq!(ticket, 5);
                    break pictures.expect("the window's GPU is shared");
                }
                event if event.is_failure() => panic!("{event:?}"),
                _ => {}
            }
        };
        assert!(pictures.on_device().is_some());
        let picture = &pictures.host().unwrap()[0];
        for (pixel, entropy) in picture.pixels().zip(asked.unwrap()) {
            let expected = viridis(entropy / 7.0);
            let far = pixel.0.iter().zip(expected.to_array()).map(|(a, b)| a.abs_diff(b)).max();
            assert!(far <= Some(1), "{pixel:?}, not {expected:?}");
        }
    }

    /// The window's device is destroyed during a run.
    #[test]
    fn a_lost_window_device_ends_one_run_and_the_next_one_works() {
        let window = window();
        let engine = sharing(&window);
        let devices = Arc::new(Mutex::new(Vec::new()));
        let wait = || loop {
            if let Some(event) = engine.events().next() {
                if let Event::ModelReady(info) = &event {
                    devices.lock().unwrap().push(info.device.clone());
                }
                return event;
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        let generate = |run, steps| Command::Run {
            run,
            settings: SampleSettings { labels: vec![2], steps, ..SampleSettings::default() },
            start: None,
            watched: true,
        };
        engine.send(Command::Load(ModelSource::Embedded));
        engine.send(generate(1, 500));
        loop {
            if let Event::Run(_, RunEvent::Step { predicted, .. }) = wait() {
                assert!(predicted.unwrap().on_device().is_some(), "pictures stay on the GPU");
                break;
            }
        }
        window.device.destroy();
        let text = loop {
            match wait() {
                Event::Run(run, RunEvent::Failed(text)) => {
                    assert_eq!(run, 1);
                    break text;
                }
                Event::Run(_, RunEvent::Finished { .. }) => {
                    panic!("the run went on without a device")
                }
                _ => {}
            }
        };
        assert!(text.contains("The device was lost"), "{text}");
        engine.send(generate(2, 2));
        loop {
            match wait() {
                Event::Run(2, RunEvent::Finished { pictures, .. }) => {
                    assert!(pictures.on_device().is_none());
                    assert_eq!(pictures.host().unwrap().len(), 1);
                    break;
                }
                event if event.is_failure() => panic!("{event:?}"),
                _ => {}
            }
        }
        assert!(devices.lock().unwrap()[0].contains("shared with the window"));
    }
}
