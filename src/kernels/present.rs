//! What is to be seen, made into pixels on the device that computed it: pictures, numbers on a ramp of
//! colours, and marks where codes changed. On a GPU that the window shares they become textures
//! without passing through the CPU.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, Dispatch, Flex, backend_extension};
use burn::tensor::{DType, Int, Shape, Tensor, TensorData};
use burn_wgpu::{AutoCompiler, CubeTensor, wgpu};
use cubecl::wgpu::WgpuServer;
use rayon::prelude::*;
use thiserror::Error;

use super::host::Rows;
use crate::readback;

/// Bytes that a row of a buffer must be a multiple of to be copied to a texture.
const ROW_BYTES: usize = wgpu::COPY_BYTES_PER_ROW_ALIGNMENT as usize;
/// Bytes of a pixel: red, green, blue, opacity.
const PIXEL_BYTES: usize = 4;

/// Pixels that cannot be brought to a texture.
#[derive(Debug, Error)]
pub enum PresentError {
    /// What burn's runtime says of the buffer behind the pixels.
    #[error("the pixels cannot be reached on the GPU: {0}")]
    Unreachable(String),
}

/// Width of a row, in pixels, with what it is padded by.
pub fn padded_width(width: usize) -> usize {
    (width * PIXEL_BYTES).next_multiple_of(ROW_BYTES) / PIXEL_BYTES
}

/// Where a GPU leaves a handle of the pixels it makes: an operation on tensors only gives tensors, and
/// those say nothing of the buffer behind them.
#[derive(Clone, Default)]
pub struct Sink(Arc<Mutex<Option<CubeTensor>>>);

impl Sink {
    /// Leaves a handle.
    pub fn put(&self, made: &CubeTensor) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(made.clone());
    }

    fn take(&self) -> Option<CubeTensor> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl fmt::Debug for Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sink")
    }
}

/// Pixels as `[batch, height, padded width]` words of red, green, blue and opacity, lowest byte first.
#[backend_extension(Flex, Cube, Fusion)]
pub trait PresentOps: Backend {
    /// `images`: `[batch, 3, height, width]`
    #[fusion(dtype = DType::I32, shape = padded(&[images[0], images[2], images[3]]))]
    fn pixels_of_pictures(images: FloatTensor<Self>, sink: Sink) -> IntTensor<Self>;

    /// `values`: `[batch, height, width]`
    #[fusion(dtype = DType::I32, shape = padded(&[values[0], values[1], values[2]]))]
    fn pixels_of_ramp(
        values: FloatTensor<Self>,
        most: f32,
        ramp: Vec<u32>,
        sink: Sink,
    ) -> IntTensor<Self>;

    /// `before`, `after`: `[batch, height, width]`
    #[fusion(dtype = DType::I32, shape = padded(&[before[0], before[1], before[2]]))]
    fn pixels_of_changes(
        before: IntTensor<Self>,
        after: IntTensor<Self>,
        mark: u32,
        sink: Sink,
    ) -> IntTensor<Self>;
}

fn padded(extent: &[usize; 3]) -> Shape {
    Shape::from([extent[0], extent[1], padded_width(extent[2])])
}

/// Pixels of a batch of images of one size, on the device.
#[derive(Debug)]
pub struct Pixels {
    /// Width of an image.
    pub width: usize,
    /// `[batch, height, padded width]`
    words: Tensor<3, Int>,
    sink: Sink,
}

impl Pixels {
    /// Pictures. `images`: `[batch, 3, height, width]`, about `[-1, 1]`
    pub fn of_pictures(images: Tensor<4>) -> Self {
        let (sink, width) = (Sink::default(), images.dims()[3]);
        let words = Dispatch::pixels_of_pictures(images.into_dispatch(), sink.clone());
        Self { width, words: Tensor::from_dispatch(words), sink }
    }

    /// Numbers from 0 to `most` as colours of an even ramp. `values`: `[batch, height, width]`
    pub fn of_ramp(values: Tensor<3>, most: f32, ramp: &[[u8; 4]]) -> Self {
        let (sink, width) = (Sink::default(), values.dims()[2]);
        let ramp = ramp.iter().map(|colour| u32::from_le_bytes(*colour)).collect();
        let words = Dispatch::pixels_of_ramp(values.into_dispatch(), most, ramp, sink.clone());
        Self { width, words: Tensor::from_dispatch(words), sink }
    }

    /// The colour `mark` where two grids of codes differ, and nothing elsewhere.
    /// `before`, `after`: `[batch, height, width]`
    pub fn of_changes(before: Tensor<3, Int>, after: Tensor<3, Int>, mark: [u8; 4]) -> Self {
        let (sink, width) = (Sink::default(), before.dims()[2]);
        let (before, after) = (before.into_dispatch(), after.into_dispatch());
        let mark = u32::from_le_bytes(mark);
        let words = Dispatch::pixels_of_changes(before, after, mark, sink.clone());
        Self { width, words: Tensor::from_dispatch(words), sink }
    }

    /// Number of images.
    pub fn batch(&self) -> usize {
        self.words.dims()[0]
    }

    /// Height of an image.
    pub fn height(&self) -> usize {
        self.words.dims()[1]
    }

    /// Red, green, blue and opacity of every pixel, an image after another, on the host.
    pub fn to_bytes(&self) -> Vec<u8> {
        let words = readback::integers(self.words.clone().narrow(2, 0, self.width));
        words.into_iter().flat_map(|word| (word as i32).to_le_bytes()).collect()
    }

    /// A texture an image, filled on the GPU. The device and queue must be those that burn computes on;
    /// there are none of pixels that were made on the CPU.
    ///
    /// # Errors
    /// The runtime does not give the buffer away, as when the device was lost.
    pub fn to_textures(
        &self,
        device: &wgpu::Device,
        queue: &wgpu::Queue,
    ) -> Result<Vec<wgpu::Texture>, PresentError> {
        let unreachable = |reason: String| PresentError::Unreachable(reason);
        // What was asked for may not have begun; whatever is submitted comes before the copies.
        self.words.device().flush().map_err(|error| unreachable(error.to_string()))?;
        let Some(made) = self.sink.take() else { return Ok(Vec::new()) };
        let resource = made
            .client
            .get_resource::<WgpuServer<AutoCompiler>>(made.handle.clone())
            .map_err(|error| unreachable(error.to_string()))?;
        self.sink.put(&made);
        let resource = resource.resource();
        let (height, padded) = (self.height(), padded_width(self.width));
        let size = wgpu::Extent3d {
            width: self.width as u32,
            height: height as u32,
            depth_or_array_layers: 1,
        };
        let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        let texture = |image: usize| {
            let texture = device.create_texture(&wgpu::TextureDescriptor {
                label: Some("purrscope picture"),
                size,
                mip_level_count: 1,
                sample_count: 1,
                dimension: wgpu::TextureDimension::D2,
                format: wgpu::TextureFormat::Rgba8Unorm,
                usage: wgpu::TextureUsages::TEXTURE_BINDING
                    | wgpu::TextureUsages::COPY_DST
                    | wgpu::TextureUsages::COPY_SRC,
                view_formats: &[],
            });
            let pixels = wgpu::TexelCopyBufferInfo {
                buffer: &resource.buffer,
                layout: wgpu::TexelCopyBufferLayout {
                    offset: resource.offset + (image * height * padded * PIXEL_BYTES) as u64,
                    bytes_per_row: Some((padded * PIXEL_BYTES) as u32),
                    rows_per_image: None,
                },
            };
            encoder.copy_buffer_to_texture(pixels, texture.as_image_copy(), size);
            texture
        };
        let textures = (0..self.batch()).map(texture).collect();
        queue.submit([encoder.finish()]);
        Ok(textures)
    }
}

/// Pixels from a function of row (counted through the batch) and column.
fn pixels(
    [batch, height, width]: [usize; 3],
    pixel: impl Fn(usize, usize) -> u32 + Sync,
) -> IntTensor<Flex> {
    let padded = padded_width(width);
    let mut words = vec![0i32; batch * height * padded];
    words.par_chunks_mut(padded).enumerate().for_each(|(row, words)| {
        for (column, word) in words[..width].iter_mut().enumerate() {
            *word = pixel(row, column) as i32;
        }
    });
    IntTensor::<Flex>::from_data(TensorData::new(words, [batch, height, padded]))
}

impl PresentOps for Flex {
    fn pixels_of_pictures(images: FloatTensor<Self>, _: Sink) -> IntTensor<Self> {
        let images = Rows::new(images);
        let [batch, _, height, width] = images.dims()[..] else { return pixels([0; 3], |_, _| 0) };
        let (plane, values) = (height * width, images.values());
        pixels([batch, height, width], |row, column| {
            let first = row / height * 3 * plane + row % height * width + column;
            let level = |channel: usize| {
                let value = (values[first + channel * plane] + 1.0) * 127.5;
                (value.clamp(0.0, 255.0) + 0.5).floor() as u8
            };
            u32::from_le_bytes([level(0), level(1), level(2), 255])
        })
    }

    fn pixels_of_ramp(
        values: FloatTensor<Self>,
        most: f32,
        ramp: Vec<u32>,
        _: Sink,
    ) -> IntTensor<Self> {
        let values = Rows::new(values);
        let [batch, height, width] = values.dims()[..] else { return pixels([0; 3], |_, _| 0) };
        let last = ramp.len().saturating_sub(1) as f32;
        pixels([batch, height, width], |row, column| {
            let part = (values.values()[row * width + column] / most).clamp(0.0, 1.0);
            ramp[(part * last + 0.5).floor() as usize]
        })
    }

    fn pixels_of_changes(
        before: IntTensor<Self>,
        after: IntTensor<Self>,
        mark: u32,
        _: Sink,
    ) -> IntTensor<Self> {
        let (before, after) = (before.into_data(), after.into_data());
        let [batch, height, width] = before.shape()[..] else { return pixels([0; 3], |_, _| 0) };
        let numbers = |data: TensorData| data.iter::<i64>().collect::<Vec<_>>();
        let (before, after) = (numbers(before), numbers(after));
        pixels([batch, height, width], |row, column| {
            let at = row * width + column;
            if before[at] == after[at] { 0 } else { mark }
        })
    }
}
