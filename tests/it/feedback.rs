//! The feedback table against the fixed list on some seeds; `feedback-pairs` has the hundred.

use jetpace_tests::pairs::pairs;

#[test]
fn feedback_is_no_worse_than_the_list_on_the_same_seeds() {
    let folder = tempfile::tempdir().unwrap();
    let paired = pairs(folder.path(), "orin-nano", "vgg19", &[1.26, 1.5, 2.0], 20, 200);
    assert_eq!(paired.len(), 3);
    for pair in &paired {
        assert!(pair.faults().is_empty(), "{}", pair.row());
    }
}
