//! The whole program in a real window on a virtual screen, driven by pointer and keys.
//!
//! Needs Xvfb and xdotool, and a Vulkan driver, a software one will do (`./x test` installs them).
#![cfg(target_os = "linux")]

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use purrscope::io::png;
use serde_json::Value;

use crate::common::succeed;

/// How long anything is waited for: what takes a moment takes minutes on a machine that is busy with
/// all else.
const PATIENCE: Duration = Duration::from_secs(600);

/// A program that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A virtual screen of 1440 x 900.
struct Screen {
    display: String,
    _server: Running,
}

impl Screen {
    fn open() -> Self {
        let mut server = Command::new("Xvfb")
            .args(["-displayfd", "1", "-screen", "0", "1440x900x24"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("Xvfb is needed: ./x test installs it");
        let mut number = String::new();
        let mut said = server.stdout.take().unwrap();
        let mut byte = [0];
        while said.read(&mut byte).unwrap() == 1 && byte[0] != b'\n' {
            number.push(byte[0] as char);
        }
        Self { display: format!(":{}", number.trim()), _server: Running(server) }
    }

    /// The studio on this screen, with a home of its own; it says what it has to say to a pipe.
    fn studio(&self, home: &Path) -> Command {
        let mut command = studio(home);
        command.env("DISPLAY", &self.display);
        command
    }
}

/// The studio with a home of its own and no screen.
fn studio(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_purrscope"));
    command
        .args(["--device", "cpu"])
        .current_dir(home)
        .env("HOME", home)
        .env("XDG_RUNTIME_DIR", home)
        .env_remove("XDG_DATA_HOME")
        .env_remove("XDG_CONFIG_HOME")
        .env_remove("WAYLAND_DISPLAY")
        .env_remove("DISPLAY")
        .env("PURRSCOPE_GALLERY", home.join("gallery"));
    command
}

/// The studio on a screen of its own.
struct Desktop {
    home: PathBuf,
    /// How long the studio is given after every act.
    patience: Duration,
    studio: Running,
    screen: Screen,
}

impl Desktop {
    fn open(home: &Path) -> Self {
        let screen = Screen::open();
        let studio = screen.studio(home).stderr(Stdio::null()).spawn().unwrap();
        let patience = Duration::from_millis(150);
        Self { home: home.to_owned(), patience, studio: Running(studio), screen }
    }

    /// What xdotool says to some words.
    fn ask(&self, words: &[&str]) -> String {
        let said = Command::new("xdotool")
            .env("DISPLAY", &self.screen.display)
            .args(words)
            .output()
            .expect("xdotool is needed: ./x test installs it");
        assert!(said.status.success(), "{words:?}");
        String::from_utf8(said.stdout).unwrap()
    }

    fn act(&self, words: &[&str]) {
        self.ask(words);
        sleep(self.patience);
    }

    fn click(&self, x: u32, y: u32) {
        self.act(&["mousemove", &x.to_string(), &y.to_string()]);
        self.act(&["click", "1"]);
    }

    fn key(&self, key: &str) {
        self.act(&["key", key]);
    }

    /// Gives the window the keys: without a window manager nobody else does.
    fn focus(&self) {
        self.act(&["search", "--sync", "--onlyvisible", "--name", "Purrscope", "windowfocus"]);
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
        let deadline = Instant::now() + PATIENCE;
        loop {
            let pictures = self.pictures(folder);
            if pictures.len() >= count {
                return pictures;
            }
            let ended = self.studio.0.try_wait().unwrap();
            assert!(ended.is_none(), "the studio ended: {ended:?}");
            assert!(Instant::now() < deadline, "{folder} has {} pictures", pictures.len());
            sleep(Duration::from_millis(50));
        }
    }

    /// Waits until the studio has ended.
    fn wait_end(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(ended) = self.studio.0.try_wait().unwrap() {
                return ended;
            }
            assert!(Instant::now() < deadline, "the studio does not end");
            sleep(Duration::from_millis(20));
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
    desktop.focus();
    desktop.key("g");
    let pictures = desktop.wait_for("gallery", 8);
    let before = settings(&pictures[7]);
    assert!(before["pins"].is_null(), "{before}");

    // A click comes to nothing where the studio has not drawn yet what is clicked, as on a busy machine:
    // then once more, with more patience. One that comes after the run it was meant for is in the next.
    let mut kept = 8;
    let pins = 'pinned: loop {
        desktop.key("Left");
        desktop.click(700, 877); // scrub: about the middle of the timeline
        desktop.click(560, 250); // a token of the first picture
        desktop.key("Escape");
        desktop.click(560, 250);
        // The pin button of the likeliest code.
        desktop.click(1395, 193);
        for _ in 0..2 {
            desktop.key("g");
            kept += 4;
            let pictures = desktop.wait_for("gallery", kept);
            let pinned = settings(&pictures[kept - 4]);
            if let Some(pins) = pinned["pins"].as_array() {
                break 'pinned pins.len();
            }
        }
        desktop.patience *= 2;
        assert!(desktop.patience < PATIENCE / 10, "no pin reached the run");
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

/// Where the studio keeps what it begins with the next time.
fn session_file(home: &Path) -> PathBuf {
    home.join(".local/share/purrscope/app.ron")
}

/// A session of a window far off the screen, of absurd numbers and of a short run.
const LOST: &str = r#"{
    "window": "(normal_geometry:(outer_position_pixels:Some((x:-32000.0,y:-32000.0)),scale_factor:NaN,inner_size_points:(x:1e9,y:NaN)),fullscreen:false,maximized:false)",
    "purrscope-studio-2": "(draft:(count:4,steps:3,guidance:NaN),scale:NaN,playback:(rate:1e30),canvas:(opacity:inf))",
}"#;

/// What was kept of a window that was last off the screen comes back on it; what is asked in the midst
/// of a run ends it, and what is then kept can be read again.
#[test]
fn a_lost_window_comes_back_and_closes_in_the_midst_of_work() {
    let folder = tempfile::tempdir().unwrap();
    let file = session_file(folder.path());
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(&file, LOST).unwrap();
    let mut desktop = Desktop::open(folder.path());
    desktop.wait_for("gallery", 4);
    let window = ["search", "--sync", "--onlyvisible", "--name", "Purrscope", "getwindowgeometry"];
    let said = desktop.ask(&[&window[..], &["--shell"]].concat());
    let number = |name: &str| -> i32 {
        let line = said.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim_start_matches('=').parse().unwrap()
    };
    assert!((0..720).contains(&number("X")) && (0..450).contains(&number("Y")), "{said}");
    assert!(number("WIDTH") >= 640 && number("HEIGHT") >= 420, "{said}");
    desktop.focus();
    // A run is under way, or has just ended, when it is closed.
    desktop.key("g");
    desktop.key("ctrl+q");
    assert_eq!(desktop.wait_end().code(), Some(0));
    let kept = fs::read_to_string(&file).unwrap();
    assert!(
        kept.contains("steps:3") && !kept.contains("NaN") && !kept.contains("-32000"),
        "{kept}"
    );
}

/// Runs the studio, which cannot open its window, to its end.
fn refused(command: &mut Command) -> String {
    let Output { status, stderr, .. } = command.output().unwrap();
    let said = String::from_utf8(stderr).unwrap();
    assert_eq!(status.code(), Some(1), "{said}");
    let (errors, rest): (Vec<_>, Vec<_>) =
        said.lines().partition(|line| line.starts_with("error: "));
    assert_eq!(errors.len(), 1, "{said}");
    // A library below may warn of what it did not find; nothing of ours does, and nothing panics.
    assert!(!said.contains("panicked") && rest.iter().all(|line| line.contains("EGL")), "{said}");
    errors[0].to_owned()
}

#[test]
fn without_a_desktop_one_line_says_what_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let said = refused(&mut studio(folder.path()));
    assert!(said.contains("DISPLAY") && said.contains("purrscope sample"), "{said}");
    let said = refused(studio(folder.path()).env("DISPLAY", ":9999"));
    assert!(said.contains("\":9999\", which does not answer"), "{said}");
}

#[test]
fn without_a_graphics_driver_one_line_says_what_to_install() {
    let folder = tempfile::tempdir().unwrap();
    let nowhere = folder.path().join("nowhere");
    let without = |command: &mut Command| {
        // Of Vulkan, and of OpenGL.
        for name in ["VK_DRIVER_FILES", "VK_ICD_FILENAMES", "__EGL_VENDOR_LIBRARY_DIRS"] {
            command.env(name, &nowhere);
        }
    };
    let screen = Screen::open();
    let mut window = screen.studio(folder.path());
    without(&mut window);
    let said = refused(&mut window);
    assert!(said.contains("Vulkan driver") && said.contains("mesa-vulkan-drivers"), "{said}");
    let mut sample = Command::new(env!("CARGO_BIN_EXE_purrscope"));
    sample.current_dir(folder.path()).env("XDG_RUNTIME_DIR", folder.path());
    sample.args(["sample", "--class", "cat-orange-in-a-meadow", "--out", "out", "--device", "gpu"]);
    without(&mut sample);
    let said = refused(&mut sample);
    assert!(said.contains("mesa-vulkan-drivers") && said.contains("--device cpu"), "{said}");
    let mut devices = Command::new(env!("CARGO_BIN_EXE_purrscope"));
    devices.current_dir(folder.path()).env("XDG_RUNTIME_DIR", folder.path()).arg("devices");
    without(&mut devices);
    let listed = devices.output().unwrap();
    let said = String::from_utf8(listed.stdout).unwrap();
    assert!(listed.status.success() && said.contains("mesa-vulkan-drivers"), "{said}");
}
