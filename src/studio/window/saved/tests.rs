use std::thread;
use std::time::Instant;

use super::*;
use crate::studio::pane::Pane;
use crate::studio::testing::fake::{PATIENCE as LONG, card};

/// A file that says `studio` of the studio.
fn kept(folder: &Path, studio: &str) -> PathBuf {
    let file = folder.join("app.ron");
    let parts = BTreeMap::from([(STUDIO, studio)]);
    fs::write(&file, ron::write(&parts).unwrap()).unwrap();
    file
}

fn begin(studio: &str) -> Begun {
    let folder = tempfile::tempdir().unwrap();
    SavedFile::begin(Some(kept(folder.path(), studio))).1
}

/// Waits for what was saved to be on the disk, or for the notice that it is not.
fn settle(saved: &mut SavedFile, notices: &mut Notices) {
    let deadline = Instant::now() + LONG;
    while saved.writing.is_some() {
        assert!(Instant::now() < deadline, "it was never written");
        saved.follow(notices);
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn what_is_kept_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("new/app.ron");
    let (mut saved, first) = SavedFile::begin(Some(file.clone()));
    assert!(first.trouble.is_none());
    let mut kept = Kept { scale: Scale(1.25), light: true, greeted: true, ..Kept::default() };
    kept.draft.sampling.steps = 7;
    kept.presets.save("mine", &kept.draft);
    kept.recent = vec!["cat.png".into()];
    kept.dock.set_shown(Pane::Log, false);
    saved.save(&kept);
    settle(&mut saved, &mut Notices::default());
    let (mut saved, Begun { kept: again, trouble, .. }) = SavedFile::begin(Some(file.clone()));
    assert_eq!(trouble, None);
    assert_eq!(
        (again.draft.clone(), again.presets.clone()),
        (kept.draft.clone(), kept.presets.clone())
    );
    assert_eq!((again.scale, again.light, again.greeted), (Scale(1.25), true, true));
    assert!(again.recent == kept.recent && !again.dock.is_shown(Pane::Log));
    // What has not changed is not written again.
    fs::remove_file(&file).unwrap();
    saved.save(&again);
    settle(&mut saved, &mut Notices::default());
    assert!(!file.exists());
}

#[test]
fn the_end_waits_for_what_was_saved_last() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("app.ron");
    let (mut saved, Begun { mut kept, .. }) = SavedFile::begin(Some(file.clone()));
    for steps in 1..20 {
        kept.draft.sampling.steps = steps;
        saved.save(&kept);
    }
    saved.end();
    assert_eq!(SavedFile::begin(Some(file)).1.kept.draft.sampling.steps, 19);
}

#[test]
fn without_a_file_nothing_is_kept() {
    let (mut saved, begun) = SavedFile::begin(None);
    assert!(begun.trouble.is_none());
    saved.save(&begun.kept);
    assert!(saved.writing.is_none());
}

#[test]
fn numbers_that_cannot_be_cost_nothing_but_themselves() {
    for (text, part) in [
        ("(scale:NaN,draft:(seed:7))", "the scale"),
        ("(scale:inf,draft:(seed:7))", "the scale"),
        ("(scale:1e30,draft:(seed:7))", "the scale"),
        ("(scale:0,draft:(seed:7))", "the scale"),
        ("(scale:\"large\",draft:(seed:7))", "the scale"),
        ("(draft:(seed:7,count:1000000000,steps:1000000000))", "the controls"),
        ("(draft:(seed:7,count:-1))", "the controls"),
        ("(draft:(seed:7,count:0,steps:0))", "the controls"),
        ("(draft:(seed:7,guidance:NaN,eta:1e30,shift:-1,tolerances:(NaN,inf)))", "the controls"),
        ("(draft:(seed:7,from:1e30,points:[(0.5,NaN),(0.1,2)],target:(NaN,-1)))", "the controls"),
        ("(draft:(seed:7,solver:newton,classes:[]))", "the controls"),
        ("(draft:(seed:7),canvas:(opacity:NaN))", "the canvas"),
        ("(draft:(seed:7),playback:(rate:1e30))", "the timeline"),
        ("(draft:(seed:7),playback:(rate:\"fast\"))", "the timeline"),
        ("(draft:(seed:7),dock:(tree:7))", "the layout"),
        ("(draft:(seed:7),presets:(saved:[(name:\"a\",sampling:(steps:0))]))", "the presets"),
        ("(draft:(seed:7),unknown:(1,2),scale:[])", "the scale"),
    ] {
        let Begun { mut kept, trouble, .. } = begin(text);
        let trouble = trouble.unwrap_or_else(|| panic!("{text} was taken as it is"));
        assert!(trouble.contains(part), "{text}: {trouble}");
        assert!(!trouble.contains(" and the"), "{text}: {trouble}");
        assert_eq!(kept.draft.sampling.seed, 7, "{text}");
        assert!(kept.tidy().is_empty(), "{text}");
        assert!((1..=Draft::MAX_COUNT).contains(&kept.draft.count), "{text}");
    }
}

#[test]
fn a_good_session_makes_no_trouble() {
    for text in
        ["()", "(draft:(classes:[\"cat-orange-in-a-meadow\"],count:4,steps:3),greeted:true)"]
    {
        let begun = begin(text);
        assert_eq!(begun.trouble, None, "{text}");
    }
    assert_eq!(begin("(draft:(count:4,steps:3))").kept.draft.sampling.steps, 3);
}

#[test]
fn a_file_that_is_none_is_put_aside() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("app.ron");
    let aside = folder.path().join("app.ron.unreadable");
    for bytes in [&b"}{)(\0\xff"[..], b"", b"(version: 99, nothing: Some(\"x\"))", &[0xff; 5000]] {
        fs::write(&file, bytes).unwrap();
        let (_, begun) = SavedFile::begin(Some(file.clone()));
        let trouble = begun.trouble.unwrap();
        assert!(trouble.contains("could not be read"), "{trouble}");
        assert_eq!(fs::read(&aside).unwrap(), bytes, "{trouble}");
        assert_eq!(begun.kept.draft, Draft::default());
    }
    let good = kept(folder.path(), "(draft:(steps:3))");
    let text = fs::read_to_string(&good).unwrap();
    for cut in 1..text.len() {
        fs::write(&file, &text[..cut]).unwrap();
        assert!(SavedFile::begin(Some(file.clone())).1.trouble.is_some(), "{}", &text[..cut]);
    }
    let big = File::create(&file).unwrap();
    big.set_len(1 << 40).unwrap();
    assert!(SavedFile::begin(Some(file)).1.trouble.unwrap().contains("too large"));
}

#[test]
fn a_file_that_cannot_be_written_is_told_once_and_ends_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("app.ron");
    fs::create_dir(&file).unwrap();
    let (mut saved, begun) = SavedFile::begin(Some(file.clone()));
    assert!(begun.trouble.unwrap().contains("folder"));
    let mut notices = Notices::default();
    for _ in 0..2 {
        saved.save(&begun.kept);
        settle(&mut saved, &mut notices);
    }
    assert_eq!(notices.log.len(), 1, "{:?}", notices.log);
    assert!(notices.banner.as_ref().unwrap().text.contains("app.ron"));
    fs::remove_dir(&file).unwrap();
    saved.save(&begun.kept);
    settle(&mut saved, &mut notices);
    assert!(notices.banner.is_none() && file.is_file());
}

/// Every number of a whole file in turn is one that cannot be meant: what is read can be used.
#[test]
fn every_number_may_be_absurd() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("app.ron");
    let (mut saved, begun) = SavedFile::begin(Some(file.clone()));
    let mut kept = begun.kept;
    kept.presets.save("mine", &kept.draft);
    kept.dock.arrange(1440.0);
    saved.save(&kept);
    settle(&mut saved, &mut Notices::default());
    let parts: BTreeMap<String, String> = ron::read(&fs::read_to_string(&file).unwrap()).unwrap();
    for absurd in ["NaN", "inf", "1e30", "-1e30", "65535", "0", "18446744073709551615", "-5"] {
        for (key, text) in &parts {
            for (from, to) in numbers(text) {
                let text = format!("{}{absurd}{}", &text[..from], &text[to..]);
                let parts = BTreeMap::from([(key.clone(), text.clone())]);
                let Begun { mut kept, mut place, .. } = understand(&parts);
                assert!(kept.tidy().is_empty() && !place.tidy(), "{text}");
                let settings = kept.draft.settings(&card());
                assert!(settings.evaluations(Default::default()).is_none_or(|n| n < 1 << 20));
            }
        }
        let all = numbers(&parts[STUDIO]).into_iter().rev();
        let all = all.fold(parts[STUDIO].clone(), |mut text, (from, to)| {
            text.replace_range(from..to, absurd);
            text
        });
        let Begun { mut kept, .. } = understand(&BTreeMap::from([(STUDIO.to_owned(), all)]));
        assert!(kept.tidy().is_empty());
    }
}

/// Where the numbers of a text stand.
fn numbers(text: &str) -> Vec<(usize, usize)> {
    let number = |c: char| c.is_ascii_digit() || c == '.' || c == '-';
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(from) = text[at..].find([':', '(', ',', '[']).map(|from| at + from + 1) {
        let to = text[from..].find(|c| !number(c)).map_or(text.len(), |len| from + len);
        if to > from {
            found.push((from, to));
        }
        at = from;
    }
    found
}
