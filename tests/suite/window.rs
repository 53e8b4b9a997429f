//! The whole program in a real window on a virtual screen, driven by pointer and keys.
//!
//! Needs Xvfb and xdotool, and a Vulkan driver, a software one will do (`./x test` installs them).
#![cfg(target_os = "linux")]

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use purrscope::io::png;
use serde_json::Value;

use crate::common::succeed;

/// A program that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A virtual screen of 1440 x 900 with the studio on it, and a home of its own.
struct Desktop {
    home: PathBuf,
    display: String,
    /// How long the studio is given after every act.
    patience: Duration,
    studio: Running,
    _screen: Running,
}

impl Desktop {
    fn open(home: &Path) -> Self {
        let mut screen = Command::new("Xvfb")
            .args(["-displayfd", "1", "-screen", "0", "1440x900x24"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("Xvfb is needed: ./x test installs it");
        let mut number = String::new();
        let mut said = screen.stdout.take().unwrap();
        let mut byte = [0];
        while said.read(&mut byte).unwrap() == 1 && byte[0] != b'\n' {
            number.push(byte[0] as char);
        }
        let display = format!(":{}", number.trim());
        let studio = Command::new(env!("CARGO_BIN_EXE_purrscope"))
            .args(["--device", "cpu"])
            .current_dir(home)
            .env("HOME", home)
            .env("XDG_RUNTIME_DIR", home)
            .env_remove("XDG_DATA_HOME")
            .env_remove("XDG_CONFIG_HOME")
            .env_remove("WAYLAND_DISPLAY")
            .env("PURRSCOPE_GALLERY", home.join("gallery"))
            .env("DISPLAY", &display)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self {
            home: home.to_owned(),
            display,
            patience: Duration::from_millis(300),
            studio: Running(studio),
            _screen: Running(screen),
        }
    }

    fn act(&self, words: &[&str]) {
        let status = Command::new("xdotool")
            .env("DISPLAY", &self.display)
            .args(words)
            .status()
            .expect("xdotool is needed: ./x test installs it");
        assert!(status.success(), "{words:?}");
        sleep(self.patience);
    }

    fn click(&self, x: u32, y: u32) {
        self.act(&["mousemove", &x.to_string(), &y.to_string()]);
        self.act(&["click", "1"]);
    }

    fn key(&self, key: &str) {
        self.act(&["key", key]);
    }

    /// Every picture in a folder of the home, oldest first.
    fn pictures(&self, folder: &str) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.home.join(folder)).into_iter().flatten();
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        paths.retain(|path| path.extension().is_some_and(|end| end == "png"));
        paths.sort();
        paths
    }

    /// Waits until a folder has so many pictures.
    fn wait_for(&mut self, folder: &str, count: usize) -> Vec<PathBuf> {
        let deadline = Instant::now() + Duration::from_secs(120);
        loop {
            let pictures = self.pictures(folder);
            if pictures.len() >= count {
                return pictures;
            }
            let ended = self.studio.0.try_wait().unwrap();
            assert!(ended.is_none(), "the studio ended: {ended:?}");
            assert!(Instant::now() < deadline, "{folder} has {} pictures", pictures.len());
            sleep(Duration::from_millis(100));
        }
    }
}

fn settings(path: &Path) -> Value {
    serde_json::from_str(&png::settings(&fs::read(path).unwrap()).unwrap()).unwrap()
}

fn pixels(path: &Path) -> image::RgbImage {
    image::open(path).unwrap().to_rgb8()
}

/// Start, generate, scrub, click a token, pin a code, generate again, export, restore the export by
/// command line, and get the same picture.
#[test]
fn a_session_from_the_first_picture_to_the_restored_export() {
    let folder = tempfile::tempdir().unwrap();
    let mut desktop = Desktop::open(folder.path());
    // The first run begins by itself; its pictures are kept.
    desktop.wait_for("gallery", 4);
    // Without a window manager nobody else gives the window the keys.
    desktop.act(&["search", "--sync", "--onlyvisible", "--name", "Purrscope", "windowfocus"]);
    desktop.key("g");
    let pictures = desktop.wait_for("gallery", 8);
    let before = settings(&pictures[7]);
    assert!(before["pins"].is_null(), "{before}");

    // A click comes to nothing where the studio has not drawn yet what is clicked, as on a busy machine:
    // then once more, with more patience.
    let mut kept = 8;
    let pins = loop {
        desktop.key("Left");
        desktop.click(700, 877); // scrub: about the middle of the timeline
        desktop.click(560, 250); // a token of the first picture
        desktop.key("Escape");
        desktop.click(560, 250);
        // The pin button of the likeliest code.
        desktop.click(1395, 193);
        desktop.key("g");
        kept += 4;
        let pictures = desktop.wait_for("gallery", kept);
        let pinned = settings(&pictures[kept - 4]);
        if let Some(pins) = pinned["pins"].as_array() {
            break pins.len();
        }
        desktop.patience *= 3;
        assert!(desktop.patience < Duration::from_secs(10), "no pin reached the run");
    };
    assert_eq!(pins, 1);

    // Where no dialog can be shown, an export goes to the folder of pictures or, without one, home.
    desktop.key("ctrl+shift+s");
    let exported = desktop.wait_for(".", 1).remove(0);
    succeed(
        folder.path(),
        &["sample", "--restore", exported.to_str().unwrap(), "--out", "again", "--device", "cpu"],
    );
    let again = desktop.wait_for("again", 1).remove(0);
    assert_eq!(pixels(&again), pixels(&exported), "the restored picture is another");
    assert_eq!(settings(&again)["pins"], settings(&exported)["pins"]);
}
