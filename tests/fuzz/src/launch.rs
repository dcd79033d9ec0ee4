//! The reader of launch plans, and the check before anything is launched.

use std::path::Path;

use jetpace_kernels::cubin::Capability;
use jetpace_kernels::launch::LaunchPlan;

/// A plan that is read, checked or not, is written and read back as it was. Whether it may be launched.
pub fn launch(data: &[u8]) -> bool {
    let Ok((name, plan)) = LaunchPlan::parse(data, Path::new("plan.json")) else { return false };
    let again = LaunchPlan::parse(plan.to_json(&name).as_bytes(), Path::new("again.json"));
    assert!(again.is_ok_and(|(other, again)| other == name && again == plan), "{name}: not read back");
    let may = plan.check(Capability::new(8, 7)).is_ok();
    if may {
        assert_eq!(plan.network(&name).blocks.len(), plan.blocks.len());
    }
    may
}
