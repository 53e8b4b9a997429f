//! `purrscope doctor`.

use crate::common::{fail, succeed};

#[test]
fn the_cpu_passes_and_the_report_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let said =
        succeed(folder.path(), &["doctor", "--device", "cpu", "--json", "report/findings.json"]);
    assert!(said.lines().last().unwrap().contains("checks passed"), "{said}");
    assert!(said.lines().all(|line| !line.starts_with("WRONG")), "{said}");
    let report = std::fs::read(folder.path().join("report/findings.json")).unwrap();
    let report: serde_json::Value = serde_json::from_slice(&report).unwrap();
    assert_eq!(report["failed"], 0);
    let findings = report["findings"].as_array().unwrap();
    assert_eq!(findings.len() + 1, said.lines().count());
    assert!(findings.iter().all(|finding| finding["verdict"] == "passed"));
}

#[test]
fn a_report_that_cannot_be_written_is_refused_before_the_examination() {
    let folder = tempfile::tempdir().unwrap();
    fail(folder.path(), &["doctor", "--device", "cpu", "--json", "."], 1, "folder");
}
