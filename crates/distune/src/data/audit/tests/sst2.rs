//! The known defects of SST-2. Skipped, loudly, where `DISTUNE_SST2` names no directory with its `train.tsv` and `dev.tsv`.

use std::io::Write;

use super::*;
use crate::data::Columns;

#[test]
fn the_known_defects_of_sst2_are_found() {
    let Some(directory) = std::env::var_os("DISTUNE_SST2") else {
        // past the test harness, which hides what a passing test prints
        let text = "SKIPPED: no SST-2; set DISTUNE_SST2 to a directory with its train.tsv and dev.tsv\n";
        std::io::stderr().write_all(text.as_bytes()).unwrap();
        return;
    };
    let (parts, _) = read_parts(&[directory.into()], &Columns::default()).unwrap();
    let (reviews, _) = read_parts(&[project("assets/reviews")], &Columns::default()).unwrap();
    let options = Options { max_length: 128, bundled: Some(&reviews), ..Options::default() };
    let report = check(&parts, &options, &mut ()).unwrap();
    assert_eq!(report.splits.iter().map(|split| split.rows).collect::<Vec<_>>()[..2], [67_349, 872]);
    let of = |kind, split: &str| *found(&report, kind).iter().find(|finding| finding.split == split).unwrap();
    assert_eq!(of(Kind::RepeatedTexts, "train").exact, Some(371));
    assert_eq!(of(Kind::ContradictoryLabels, "train").exact, Some(5));
    assert_eq!(of(Kind::BundledOverlap, "validation").count, 662);
    // after trimming, no dev sentence is in train
    assert_eq!(of(Kind::Overlap, "validation").exact, Some(0));
}
