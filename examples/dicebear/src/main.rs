//! Draws a data set of DiceBear's cats and dogs, all of them CC0: one folder a class, the same pictures
//! from the same numbers, and a table of what is in each.
//!
//! `dicebear FOLDER [--size PIXELS] [--train COUNT] [--holdout COUNT]`, counts being of a class.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use dicebear_core::{Avatar, Style};
use image::RgbImage;
use rayon::prelude::*;
use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg::{Options, Tree};
use serde_json::{Value, json};

const USAGE: &str = "usage: dicebear FOLDER [--size PIXELS] [--train COUNT] [--holdout COUNT]";
/// Pixels a side that a pixel is the mean of.
const SAMPLES: u32 = 4;

/// An animal: its style, its coats in words people know, its heads and its bodies.
struct Animal {
    name: &'static str,
    style: &'static str,
    coats: [(&'static str, &'static str); 6],
    heads: [&'static str; 4],
    bodies: &'static [&'static str],
}

/// The heads of dogs that differ most. The style has five more, which are much alike at 64 pixels: a small
/// flow that knows them all mixes them.
const DOGS_HEADS: [&str; 4] = ["bat", "droopy", "fluffy", "pointed"];
/// All that the style has.
const CATS_HEADS: [&str; 4] = ["kitten", "pointed", "tall", "wide"];

/// The commonest body of dogs. The style's `stocky` and `tall` carry the head 2.4 pixels lower and higher (of
/// 64), less than a token is wide, so that every eye and mouth had to be learned at three heights.
const DOGS_BODIES: &[&str] = &["sitting"];
/// All that the style has; the head sits at one height on both.
const CATS_BODIES: &[&str] = &["chest", "sitting"];

const ANIMALS: [Animal; 2] = [
    Animal {
        name: "cat",
        style: dicebear_styles::CATS,
        coats: [
            ("orange", "#f9b379"),
            ("cream", "#f0dcb1"),
            ("silver", "#c5cbd2"),
            ("white", "#e9e4da"),
            ("brown", "#d39e74"),
            ("blue", "#b0c0d1"),
        ],
        heads: CATS_HEADS,
        bodies: CATS_BODIES,
    },
    Animal {
        name: "dog",
        style: dicebear_styles::DOGS,
        coats: [
            ("golden", "#e0b771"),
            ("brown", "#aa7b54"),
            ("chocolate", "#79543f"),
            ("grey", "#b8bec5"),
            ("white", "#e9e4da"),
            ("red", "#ca7b57"),
        ],
        heads: DOGS_HEADS,
        bodies: DOGS_BODIES,
    },
];

/// Places, with the words for them.
const PLACES: [(&str, &str); 4] = [
    ("meadow", "in a meadow"),
    ("forest", "in the woods"),
    ("livingRoom", "in the living room"),
    ("bedroom", "in the bedroom"),
];

/// What a class is: an animal with a coat, somewhere.
struct Class<'a> {
    /// In words; pictures are drawn from them and a number.
    words: String,
    style: &'a Style,
    options: Value,
}

/// A picture, and the variants that were drawn for it, by name.
struct Drawn {
    picture: RgbImage,
    factors: Vec<(String, String)>,
}

impl Class<'_> {
    /// Its folder, which needs no quotes on a command line: the words with hyphens between them.
    fn name(&self) -> String {
        self.words.replace(", ", "-").replace(' ', "-")
    }

    fn draw(&self, seed: &str, size: u32) -> Result<Drawn> {
        let mut options = self.options.clone();
        options["seed"] = json!(seed);
        let avatar = Avatar::new(self.style, options)?;
        let tree = Tree::from_str(avatar.to_svg(), &Options::default())?;
        let large = size * SAMPLES;
        let mut canvas = Pixmap::new(large, large).context("the size is not that of a picture")?;
        let scale = large as f32 / tree.size().width();
        resvg::render(&tree, Transform::from_scale(scale, scale), &mut canvas.as_mut());
        let drawn = avatar.to_json();
        let factors = drawn["options"].as_object().into_iter().flatten();
        let factors = factors.filter(|(name, _)| name.ends_with("Variant"));
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let factors = factors.map(|(name, value)| (name.replace("Variant", ""), text(value)));
        Ok(Drawn { picture: shrunk(&canvas, size)?, factors: factors.collect() })
    }
}

/// Every pixel the mean of a square of them.
fn shrunk(canvas: &Pixmap, size: u32) -> Result<RgbImage> {
    let opaque = canvas.pixels().iter().all(|pixel| pixel.is_opaque());
    ensure!(opaque, "a picture has transparent places");
    Ok(RgbImage::from_fn(size, size, |x, y| {
        let mut sums = [0u32; 3];
        for at in 0..SAMPLES * SAMPLES {
            let (across, down) = (x * SAMPLES + at % SAMPLES, y * SAMPLES + at / SAMPLES);
            if let Some(pixel) = canvas.pixel(across, down) {
                let channels = [pixel.red(), pixel.green(), pixel.blue()];
                sums.iter_mut().zip(channels).for_each(|(sum, channel)| *sum += u32::from(channel));
            }
        }
        let count = SAMPLES * SAMPLES;
        image::Rgb(sums.map(|sum| ((sum + count / 2) / count) as u8))
    }))
}

/// Draws `count` pictures of every class, with seeds that begin with the name of the part.
fn draw_part(folder: &Path, part: &str, count: usize, size: u32, classes: &[Class]) -> Result<()> {
    let mut table = String::from("file\tclass\tfactors\n");
    for class in classes {
        let name = class.name();
        let folder = folder.join(part).join(&name);
        fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        let lines: Result<Vec<String>> = (0..count)
            .into_par_iter()
            .map(|number| {
                let drawn = class.draw(&format!("{part} {} {number}", class.words), size)?;
                let file = format!("{number:05}.png");
                drawn.picture.save(folder.join(&file))?;
                let mut line = format!("{name}/{file}\t{name}\t");
                for (i, (factor, value)) in drawn.factors.iter().enumerate() {
                    let comma = if i == 0 { "" } else { "," };
                    write!(line, "{comma}{factor}={value}")?;
                }
                Ok(line + "\n")
            })
            .collect();
        table.extend(lines?);
    }
    let path = folder.join(format!("{part}.tsv"));
    fs::write(&path, table).with_context(|| path.display().to_string())
}

fn main() -> Result<()> {
    let mut given = std::env::args().skip(1);
    let (mut folder, mut size, mut train, mut holdout) = (None::<PathBuf>, 64, 400, 20);
    while let Some(word) = given.next() {
        let mut number = || -> Result<usize> {
            given.next().context("a number is missing")?.parse().context("that is not a number")
        };
        match word.as_str() {
            "--size" => size = u32::try_from(number()?)?,
            "--train" => train = number()?,
            "--holdout" => holdout = number()?,
            _ if !word.starts_with('-') && folder.is_none() => folder = Some(word.into()),
            _ => bail!(USAGE),
        }
    }
    let folder = folder.context(USAGE)?;
    ensure!((16..=1024).contains(&size), "--size is from 16 to 1024 pixels");
    let styles = ANIMALS.iter().map(|animal| Style::from_str(animal.style));
    let styles = styles.collect::<Result<Vec<_>, _>>()?;
    let mut classes = Vec::new();
    for (animal, style) in ANIMALS.iter().zip(&styles) {
        for (coat, colour) in animal.coats {
            for (scene, place) in PLACES {
                classes.push(Class {
                    words: format!("{}, {coat}, {place}", animal.name),
                    style,
                    options: json!({
                        "furColor": [colour],
                        "sceneVariant": [scene],
                        "headVariant": animal.heads,
                        "bodyVariant": animal.bodies,
                    }),
                });
            }
        }
    }
    draw_part(&folder, "train", train, size, &classes)?;
    draw_part(&folder, "holdout", holdout, size, &classes)?;
    println!("{} classes of {train} and {holdout} pictures of {size}x{size}", classes.len());
    Ok(())
}
