//! The folder that the gallery lies in: one PNG a picture, with its settings inside.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::fs::{self, File};
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use image::RgbImage;
use serde::{Deserialize, Serialize};

use super::item::Item;
use super::stamp;
use crate::flow::Recorded;
use crate::io::{atomic, png};

/// Where deleted pictures wait.
const DELETED: &str = "deleted";
const FAVOURITES: &str = "favourites.json";
/// How long a deleted picture waits.
pub const KEPT_DELETED: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// A file that was being written this long ago no longer is.
const STALE: Duration = Duration::from_secs(24 * 60 * 60);
/// Largest side of a picture, in pixels.
const LARGEST_SIDE: u32 = 8192;
/// Most pictures of the run of a picture: each of them names all, and a folder holds thousands.
const MOST_PICTURES: usize = 1024;
/// Pictures that are reported at once.
const BATCH: usize = 64;

/// The names of favourites, as they are kept.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Favourites {
    format: u32,
    names: BTreeSet<String>,
}

/// The folder of a gallery. It is made with the first picture.
#[derive(Debug, Clone)]
pub struct Folder(PathBuf);

impl Folder {
    /// The folder at a path.
    pub fn new(path: PathBuf) -> Self {
        Self(path)
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Where a picture lies.
    pub fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn deleted(&self, name: &str) -> PathBuf {
        self.0.join(DELETED).join(name)
    }

    /// Hands every picture to `found`, some at a time, and gives the names of the PNG files that are
    /// none of this program's, or broken.
    ///
    /// # Errors
    /// The folder is there, but cannot be read.
    pub fn scan(&self, mut found: impl FnMut(Vec<Item>)) -> io::Result<Vec<String>> {
        let entries = match fs::read_dir(&self.0) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let is_png = |name: &String| {
            !name.starts_with('.')
                && Path::new(name).extension().is_some_and(|end| end.eq_ignore_ascii_case("png"))
        };
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let mut names: Vec<String> = names.filter(is_png).collect();
        // The newest first, since they are looked at first.
        names.sort_unstable_by(|a, b| b.cmp(a));
        let mut skipped = Vec::new();
        for names in names.chunks(BATCH) {
            let mut items = Vec::new();
            for name in names {
                match self.read(name) {
                    Ok(item) => items.push(item),
                    Err(reason) => {
                        tracing::warn!("{} is left out: {reason}", self.file(name).display());
                        skipped.push(name.clone());
                    }
                }
            }
            found(items);
        }
        Ok(skipped)
    }

    /// What a picture says of itself.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn read(&self, name: &str) -> Result<Item, String> {
        let file = File::open(self.file(name)).map_err(text)?;
        let metadata = file.metadata().map_err(text)?;
        if !metadata.is_file() {
            return Err("it is no file".to_owned());
        }
        let stamp = match stamp::of_name(name) {
            Some(stamp) => stamp.to_owned(),
            None => stamp::stamp(metadata.modified().map_err(text)?),
        };
        let (size, json) = png::head(BufReader::new(file)).map_err(text)?;
        item(name.to_owned(), stamp, size, &json)
    }

    /// Writes a picture: whole, or not at all. `rest` is what its name says after the time.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub fn write(
        &self,
        at: SystemTime,
        rest: &str,
        image: &RgbImage,
        json: &str,
    ) -> io::Result<Item> {
        let bytes = png::encode(image, json).map_err(io::Error::other)?;
        fs::create_dir_all(&self.0)?;
        let stamp = stamp::stamp(at);
        let mut number = 1;
        let name = loop {
            let name = match number {
                1 => format!("{stamp}-{rest}.png"),
                _ => format!("{stamp}-{rest}-{number}.png"),
            };
            match atomic::write_new(&self.file(&name), &bytes) {
                Ok(()) => break name,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
                Err(error) => return Err(error),
            }
        };
        item(name, stamp, image.dimensions().into(), json).map_err(io::Error::other)
    }

    /// The pixels of a picture.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn picture(&self, name: &str) -> Result<RgbImage, String> {
        read_picture(&self.file(name))
    }

    /// Puts a picture where deleted ones wait, and notes the time.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub fn delete(&self, name: &str) -> io::Result<()> {
        fs::create_dir_all(self.0.join(DELETED))?;
        let from = self.file(name);
        // By this time it is known how long it has waited; it has to be noted first.
        File::options().write(true).open(&from)?.set_modified(SystemTime::now())?;
        fs::rename(from, self.deleted(name))
    }

    /// Takes back [`Folder::delete`].
    ///
    /// # Errors
    /// It is gone, its place is taken, or whatever the file system says.
    pub fn undelete(&self, name: &str) -> io::Result<Item> {
        if self.file(name).exists() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        fs::rename(self.deleted(name), self.file(name))?;
        self.read(name).map_err(io::Error::other)
    }

    /// Removes what was deleted 30 days before `now`, and what a killed program left half written.
    pub fn purge(&self, now: SystemTime) {
        let older = |path: &Path, age: Duration| {
            let modified = fs::metadata(path).and_then(|metadata| metadata.modified());
            modified.is_ok_and(|at| now.duration_since(at).is_ok_and(|since| since > age))
        };
        let files = |folder: &Path| -> Vec<PathBuf> {
            let entries = fs::read_dir(folder).into_iter().flatten();
            entries.filter_map(|entry| Some(entry.ok()?.path())).collect()
        };
        let is_aside = |path: &PathBuf| {
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(atomic::ASIDE))
        };
        let halves = files(&self.0).into_iter().filter(|path| is_aside(path) && older(path, STALE));
        let gone = files(&self.0.join(DELETED)).into_iter().filter(|path| {
            path.extension().is_some_and(|end| end.eq_ignore_ascii_case("png"))
                && older(path, KEPT_DELETED)
        });
        for path in halves.chain(gone) {
            match fs::remove_file(&path) {
                Ok(()) => tracing::info!("{} is removed for good", path.display()),
                Err(error) => tracing::warn!("{} stays: {error}", path.display()),
            }
        }
    }

    /// The names of the favourites; none where there is no list. One that cannot be read is put aside.
    pub fn favourites(&self) -> BTreeSet<String> {
        let path = self.file(FAVOURITES);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    tracing::warn!("{}: {error}", path.display());
                }
                return BTreeSet::new();
            }
        };
        let json = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
        match serde_json::from_slice::<Favourites>(json) {
            Ok(favourites) => favourites.names,
            Err(error) => {
                let aside = self.file("favourites-unreadable.json");
                tracing::warn!("{}: {error}; it becomes {}", path.display(), aside.display());
                if let Err(error) = fs::rename(&path, &aside) {
                    tracing::warn!("{}: {error}", path.display());
                }
                BTreeSet::new()
            }
        }
    }

    /// Writes the list of favourites.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub fn write_favourites(&self, names: BTreeSet<String>) -> io::Result<()> {
        fs::create_dir_all(&self.0)?;
        let json = serde_json::to_vec_pretty(&Favourites { format: 1, names })?;
        atomic::write(&self.file(FAVOURITES), &json)
    }
}

/// The pixels of a PNG.
///
/// # Errors
/// What is wrong with it, in words.
pub fn read_picture(path: &Path) -> Result<RgbImage, String> {
    let mut reader = image::ImageReader::open(path).map_err(text)?;
    reader.set_format(image::ImageFormat::Png);
    let mut limits = image::Limits::default();
    limits.max_image_width = Some(LARGEST_SIDE);
    limits.max_image_height = Some(LARGEST_SIDE);
    reader.limits(limits);
    Ok(reader.decode().map_err(text)?.into_rgb8())
}

fn text(error: impl Display) -> String {
    error.to_string()
}

fn item(name: String, stamp: String, size: [u32; 2], json: &str) -> Result<Item, String> {
    let record = Recorded::from_json(json).map_err(text)?;
    let pictures = record.settings.labels.len();
    if pictures > MOST_PICTURES {
        return Err(format!(
            "it is one of {pictures} pictures of a run, and the gallery takes those of {MOST_PICTURES}"
        ));
    }
    Ok(Item::new(name, stamp, size, record.into()))
}

#[cfg(test)]
pub(super) mod tests {
    use std::process::Command;
    use std::time::Instant;

    use super::*;

    pub const JSON: &str = r#"{"program":"purrscope","model":"a model","model_hash":"0123abcd",
        "labels":[4,4],"seed":7,"class":"cat-orange-in-a-meadow","image":1,"solver":"heun"}"#;

    pub fn picture(level: u8) -> RgbImage {
        RgbImage::from_fn(8, 8, |x, y| image::Rgb([level, x as u8, y as u8]))
    }

    fn folder() -> (tempfile::TempDir, Folder) {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::new(place.path().join("gallery"));
        (place, folder)
    }

    fn scan(folder: &Folder) -> (Vec<Item>, Vec<String>) {
        let mut items = Vec::new();
        let skipped = folder.scan(|found| items.extend(found)).unwrap();
        (items, skipped)
    }

    #[test]
    fn pictures_come_back_with_their_settings() {
        let (_place, folder) = folder();
        assert_eq!(scan(&folder), (vec![], vec![]));
        let now = SystemTime::now();
        let kept: Vec<Item> = (0..3)
            .map(|i| {
                folder.write(now, "000-cat-orange-in-a-meadow-seed7", &picture(i), JSON).unwrap()
            })
            .collect();
        let (mut items, skipped) = scan(&folder);
        items.sort_by(|a, b| a.name.cmp(&b.name));
        assert!(skipped.is_empty());
        assert_eq!(items.len(), 3, "names that are taken are not taken again");
        for (level, item) in kept.iter().enumerate() {
            assert!(items.contains(item));
            assert_eq!(folder.picture(&item.name).unwrap(), picture(level as u8));
            assert_eq!((item.class(), item.size), ("cat-orange-in-a-meadow", [8, 8]));
            assert_eq!(item.made.restored.settings.labels, [4, 4]);
            assert!(item.fits("cat seed7 heun") && item.fits("seed 7") && !item.fits("euler"));
        }
    }

    #[test]
    fn what_is_broken_or_foreign_is_left_out() {
        let (_place, folder) = folder();
        let item = folder.write(SystemTime::now(), "a", &picture(1), JSON).unwrap();
        let whole = fs::read(folder.file(&item.name)).unwrap();
        picture(3).save(folder.file("holiday.png")).unwrap();
        fs::write(folder.file("torn.png"), &whole[..40]).unwrap();
        fs::write(folder.file("empty.png"), []).unwrap();
        fs::write(folder.file("notes.txt"), "not a picture").unwrap();
        fs::write(folder.file(".purrscope-x.png"), &whole[..90]).unwrap();
        fs::create_dir(folder.file("folder.png")).unwrap();
        let odd = png::encode(&picture(0), r#"{"labels":"all"}"#).unwrap();
        fs::write(folder.file("odd.png"), odd).unwrap();
        let crowd = format!("{{\"labels\":[{}0]}}", "0,".repeat(MOST_PICTURES));
        fs::write(folder.file("crowd.png"), png::encode(&picture(0), &crowd).unwrap()).unwrap();
        let (items, mut skipped) = scan(&folder);
        skipped.sort();
        assert_eq!(items, [item]);
        assert_eq!(
            skipped,
            ["crowd.png", "empty.png", "folder.png", "holiday.png", "odd.png", "torn.png"]
        );
        // The settings are whole, the pixels are not.
        fs::write(folder.file("half.png"), &whole[..whole.len() - 30]).unwrap();
        assert!(folder.picture("half.png").is_err());
    }

    #[test]
    fn a_deleted_picture_waits_thirty_days() {
        let (_place, folder) = folder();
        let long_ago = SystemTime::now() - 2 * KEPT_DELETED;
        let item = folder.write(long_ago, "a", &picture(1), JSON).unwrap();
        let path = folder.file(&item.name);
        File::options().write(true).open(&path).unwrap().set_modified(long_ago).unwrap();
        folder.delete(&item.name).unwrap();
        assert!(scan(&folder).0.is_empty());
        folder.purge(SystemTime::now());
        assert_eq!(folder.undelete(&item.name).unwrap(), item);
        assert!(folder.undelete(&item.name).is_err());
        folder.delete(&item.name).unwrap();
        folder.purge(SystemTime::now() + KEPT_DELETED + Duration::from_secs(1));
        assert!(folder.undelete(&item.name).is_err());
    }

    #[test]
    fn what_a_killed_program_left_is_cleared_away_later() {
        let (_place, folder) = folder();
        folder.write(SystemTime::now(), "a", &picture(1), JSON).unwrap();
        fs::write(folder.file(".purrscope-Xa1"), "half").unwrap();
        folder.purge(SystemTime::now());
        assert!(folder.file(".purrscope-Xa1").exists(), "it may be another window's");
        folder.purge(SystemTime::now() + 2 * STALE);
        assert!(!folder.file(".purrscope-Xa1").exists());
        assert_eq!(scan(&folder).0.len(), 1);
    }

    #[test]
    fn favourites_are_kept_and_a_broken_list_is_put_aside() {
        let (_place, folder) = folder();
        assert!(folder.favourites().is_empty());
        let names: BTreeSet<String> = ["b.png".to_owned(), "a.png".to_owned()].into();
        folder.write_favourites(names.clone()).unwrap();
        assert_eq!(folder.favourites(), names);
        fs::write(folder.file(FAVOURITES), "{").unwrap();
        assert!(folder.favourites().is_empty());
        assert!(folder.file("favourites-unreadable.json").exists());
    }

    /// Not a test of its own: the program that the next one kills.
    #[test]
    #[ignore = "run by `a_program_killed_at_any_instant_leaves_whole_pictures`"]
    fn writes_until_it_is_killed() {
        let folder = Folder::new(std::env::var_os("PURRSCOPE_KILLED").unwrap().into());
        for level in 0.. {
            folder.write(SystemTime::now(), "x", &picture(level as u8), JSON).unwrap();
        }
    }

    #[test]
    fn a_program_killed_at_any_instant_leaves_whole_pictures() {
        let (_place, folder) = folder();
        let mut all = 0;
        for round in 0..4 {
            let name = "studio::gallery::folder::tests::writes_until_it_is_killed";
            let mut child = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", name, "--ignored", "--quiet"])
                .env("PURRSCOPE_KILLED", folder.path())
                .stdout(std::process::Stdio::null())
                .spawn()
                .unwrap();
            let begun = Instant::now();
            while scan(&folder).0.len() < all + 3 {
                assert!(
                    begun.elapsed() < crate::studio::testing::fake::PATIENCE,
                    "it wrote nothing"
                );
                std::thread::sleep(Duration::from_millis(1 + 3 * round));
            }
            child.kill().unwrap();
            child.wait().unwrap();
            let (items, skipped) = scan(&folder);
            assert!(skipped.is_empty(), "{skipped:?}");
            for item in &items {
                folder.picture(&item.name).unwrap();
            }
            assert!(items.len() > all);
            all = items.len();
        }
    }
}
