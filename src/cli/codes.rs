//! `purrscope encode` and `purrscope decode`: pictures to codes and back.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result, bail, ensure};
use clap::error::ErrorKind;
use clap::{Args, CommandFactory};
use image::RgbImage;
use serde::{Deserialize, Serialize};

use super::{Cli, DeviceArg, PrecisionArg, expect_table};
use crate::data::{Background, Classes, Duplicates, ImageFolder, ShardWriter, Walk, read_square};
use crate::flow::LatentShape;
use crate::io::outputs::{self, Content};
use crate::io::png;
use crate::io::tensors::{METADATA_KEY, TensorFile, TensorWriter};
use crate::model::{Model, from_pictures, params};
use crate::say;

/// Pictures encoded or decoded at once.
const BATCH: usize = 32;

/// Most pictures of a shard, all of which wait in memory until it is written.
const MOST_IN_A_SHARD: i64 = 1_000_000;

/// Pictures that cannot be read are named, so many of them at the most.
const MOST_NAMED: usize = 10;

#[derive(Debug, Args)]
pub struct EncodeArgs {
    /// Model file
    model: PathBuf,
    /// Pictures, or folders of pictures
    #[arg(required = true)]
    pictures: Vec<PathBuf>,
    /// File for the codes: `codes` i64 [pictures, height, width]
    #[arg(long, value_name = "CODES.safetensors", required_unless_present = "shards")]
    out: Option<PathBuf>,
    /// Folder for WebDataset shards of latents instead, of one folder with a sub-folder a class or a table of classes
    #[arg(long, value_name = "DIR", conflicts_with = "out")]
    shards: Option<PathBuf>,
    /// Most pictures of a shard
    #[arg(long, default_value_t = 10_000, requires = "shards",
        value_parser = clap::value_parser!(u32).range(1..=MOST_IN_A_SHARD))]
    shard_size: u32,
    /// Table of the pictures' classes (.csv or .tsv), instead of sub-folders: a column of files and one of classes
    #[arg(long, value_name = "FILE", requires = "shards", conflicts_with = "out")]
    labels: Option<PathBuf>,
    /// What becomes of pictures that are in a class twice: merge reads all of them first and takes one, keep takes them
    /// as they lie
    #[arg(
        long,
        value_name = "merge|keep",
        default_value_t,
        requires = "shards",
        conflicts_with = "out"
    )]
    duplicates: Duplicates,
    /// What shows through where a picture is transparent: white, black or #rrggbb
    #[arg(long, value_name = "COLOUR", default_value_t)]
    background: Background,
    #[command(flatten)]
    device: DeviceArg,
    #[command(flatten)]
    precision: PrecisionArg,
}

#[derive(Debug, Args)]
pub struct DecodeArgs {
    /// Model file
    model: PathBuf,
    /// Codes: `codes` i64 [pictures, height, width]
    codes: PathBuf,
    /// Folder for the PNG files; beside another picture of its name, one gets a number
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    #[command(flatten)]
    device: DeviceArg,
    #[command(flatten)]
    precision: PrecisionArg,
}

/// What a file of codes says of itself.
#[derive(Debug, Serialize, Deserialize)]
struct Header {
    model_hash: String,
    /// The picture that each row was made from.
    pictures: Vec<String>,
}

/// Encodes every readable picture; of the others some are named in warnings, and all counted.
pub fn encode(args: &EncodeArgs) -> Result<()> {
    if let Some(out) = &args.out {
        outputs::check(out, Content::TENSORS, &[&args.model])?;
    }
    if let Some(folder) = &args.shards {
        outputs::check_folder(folder)?;
        args.labels.iter().try_for_each(|table| expect_table(table))?;
        ShardWriter::check(folder)?;
    }
    let selected = args.device.open()?;
    let model = super::open_model(Some(&args.model), &selected, args.precision, None)?;
    let out = match (&args.out, &args.shards) {
        (Some(out), _) => out,
        (None, Some(folder)) => return encode_shards(args, folder, &model),
        (None, None) => bail!("name a file with --out, or a folder with --shards"),
    };
    let mut files = Vec::new();
    for path in &args.pictures {
        files.extend(pictures_at(path)?);
    }
    ensure!(!files.is_empty(), "no pictures were found");
    let taken: Vec<&Path> = files.iter().map(PathBuf::as_path).collect();
    outputs::check(out, Content::TENSORS, &taken)?;
    outputs::prepare(out)?;
    let side = model.card.image_size() as u32;
    let (mut codes, mut names, mut skipped) = (Vec::new(), Vec::new(), 0);
    for files in files.chunks(BATCH) {
        let mut pictures: Vec<RgbImage> = Vec::new();
        for file in files {
            match read_square(file, side, args.background) {
                Ok(picture) => {
                    pictures.push(picture);
                    names.push(file.display().to_string());
                }
                Err(error) => {
                    skipped += 1;
                    if skipped <= MOST_NAMED {
                        tracing::warn!("skipped {error}");
                    }
                }
            }
        }
        if !pictures.is_empty() {
            codes.extend(model.encode(&pictures).into_iter().map(i64::from));
        }
    }
    ensure!(!names.is_empty(), "none of the {} pictures can be read", files.len());
    if skipped > 0 {
        tracing::warn!("{skipped} of {} pictures cannot be read and are left out", files.len());
    }
    let grid = model.card.backbone.input_size;
    let mut writer = TensorWriter::default();
    writer.integers("codes", &[names.len(), grid, grid], codes);
    let header = Header { model_hash: model.hash().to_owned(), pictures: names };
    writer.metadata(METADATA_KEY, serde_json::to_string(&header)?);
    writer.write(out)?;
    super::print(&format!(
        "{} in {}\n",
        say::count(header.pictures.len(), "picture"),
        out.display()
    ))
}

/// Writes the quantised latents of a folder of classes, as the reference's [`get_latents.py`] does.
///
/// [`get_latents.py`]: https://github.com/razvanmatisan/purrception/blob/de66f961c057618baef02ef65a0183acedf7e1f7/get_latents.py#L173-L275
fn encode_shards(args: &EncodeArgs, out: &Path, model: &Model) -> Result<()> {
    let [folder] = &args.pictures[..] else {
        let text = "--shards takes one folder of pictures, with a sub-folder a class";
        Cli::command().error(ErrorKind::TooManyValues, text).exit();
    };
    let classes = args.labels.clone().map_or(Classes::Folders, Classes::Table);
    let found = classes.open(folder, model.card.image_size(), folder)?.on(args.background);
    outputs::prepare_folder(out)?;
    let numbers = class_numbers(&found, model);
    // Another model, other pictures, or other numbers of classes make another set of shards.
    let files =
        found.files().map(|(path, label)| format!("{} {}\n", numbers[label], path.display()));
    let mut origin = format!("{} {} {}", model.hash(), args.shard_size, files.collect::<String>());
    if args.background != Background::default() {
        write!(origin, "on {}", args.background)?;
    }
    let images = args.duplicates.sift(found, &AtomicBool::new(false))?;
    images.tell();
    if images.copies() > 0 {
        write!(origin, "without {} copies", images.copies())?;
    }
    let LatentShape { channels, height, width, .. } = model.latent_shape(1);
    let shape = [channels, height, width];
    let mut writer = ShardWriter::new(out, shape, args.shard_size as usize, &origin)?;
    let labels: Vec<usize> = images.files().map(|(_, label)| numbers[label]).collect();
    let all: Vec<usize> = (0..images.len()).collect();
    for indices in all.chunks(BATCH) {
        let readable: Vec<(usize, RgbImage)> =
            indices.iter().filter_map(|i| Some((*i, images.try_read(*i)?))).collect();
        let (indices, pictures): (Vec<usize>, Vec<RgbImage>) = readable.into_iter().unzip();
        if pictures.is_empty() {
            continue;
        }
        let latents = model.tokenizer.encode(from_pictures(&pictures, model.device()));
        let latents = params::host(model.tokenizer.look_up(model.tokenizer.quantise(latents)));
        for (index, latents) in indices.iter().zip(latents.chunks_exact(channels * height * width))
        {
            writer.push(latents.to_vec(), labels[*index])?;
        }
    }
    let count = writer.finish()?;
    ensure!(count > 0, "none of the {} pictures can be read", images.len());
    super::print(&format!("{} in {}\n", say::count(count, "picture"), out.display()))
}

/// The number of each class of some pictures: that which the model has for its name or, where it lacks one of them, its
/// place in the order of names.
fn class_numbers(images: &ImageFolder, model: &Model) -> Vec<usize> {
    let (names, known) = (images.class_names(), &model.card.class_names);
    let numbers = names.iter().map(|name| known.iter().position(|n| n == name));
    numbers.collect::<Option<_>>().unwrap_or_else(|| {
        tracing::warn!(
            "{}: some of its classes are none of the model's; all are numbered in the order of their names",
            images.root().display()
        );
        (0..names.len()).collect()
    })
}

/// The pictures at `path`: itself, or all below it, in order of name.
fn pictures_at(path: &Path) -> Result<Vec<PathBuf>> {
    let context = || path.display().to_string();
    if !fs::metadata(path).with_context(context)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let found = Walk::default().pictures(path)?;
    if found.is_empty() {
        tracing::warn!("{}: no pictures found", path.display());
    }
    Ok(found)
}

/// Decodes every row of codes to a PNG.
pub fn decode(args: &DecodeArgs) -> Result<()> {
    outputs::check_folder(&args.out)?;
    let selected = args.device.open()?;
    let model = super::open_model(Some(&args.model), &selected, args.precision, None)?;
    let file = TensorFile::open(&args.codes)?;
    let (shape, codes) = file.integers("codes")?;
    let grid = model.card.backbone.input_size;
    let path = args.codes.display();
    let [count, height, width] = shape[..] else {
        bail!("{path}: tensor 'codes' has shape {shape:?}, expected three extents");
    };
    ensure!(
        (height, width) == (grid, grid),
        "{path}: the codes are {height}x{width}, the model's are {grid}x{grid}"
    );
    let known = model.card.tokenizer.codes;
    let codes: Vec<u32> = codes
        .iter()
        .map(|code| u32::try_from(*code).ok().filter(|code| (*code as usize) < known))
        .collect::<Option<_>>()
        .with_context(|| format!("{path}: a code is not from 0 to {}", known - 1))?;
    outputs::prepare_folder(&args.out)?;
    for (batch, codes) in codes.chunks(BATCH * grid * grid).enumerate() {
        let pictures = model.decode_codes(codes, codes.len() / (grid * grid));
        for (i, picture) in pictures.iter().enumerate() {
            let bytes = png::encode(picture, "{}")?;
            super::write_beside(&args.out, &format!("{:05}", batch * BATCH + i), "png", &bytes)?;
        }
    }
    super::print(&format!("{} in {}\n", say::count(count, "picture"), args.out.display()))
}
