//! The virtual boards beside the recorded ones: what is found on them is the same.

use jetpace_devfreq::board::Board;
use jetpace_devfreq::nodes::SysfsRoot;
use jetpace_devfreq::sim;

#[test]
fn virtual_boards_look_like_recorded_ones() {
    for (name, recorded) in
        [("tx2", "tx2-r32.7"), ("xavier-nx", "xavier-nx-r35.5"), ("orin-nano-super", "orin-nano-8gb-super-r36.4")]
    {
        let tree = SysfsRoot::new(jetpace_tests::root().join("tests/boards").join(recorded));
        let real = Board::discover(&tree).unwrap();
        let found = Board::discover(&sim::Board::new(name, 1).unwrap().nodes()).unwrap();
        // Power mode and cap are the recorded machine's own; the virtual ones run without a limit.
        assert_eq!(found.identity, real.identity);
        assert_eq!(found.gpu.device, real.gpu.device);
        assert_eq!(found.gpu.devfreq, real.gpu.devfreq);
        assert_eq!(found.gpu.clocks, real.gpu.clocks);
        assert_eq!(found.gpu.governors, real.gpu.governors);
        assert_eq!(found.gpu.governor, real.gpu.governor);
        assert_eq!(found.gpu.tpc_mask, real.gpu.tpc_mask, "{name}");
        assert_eq!(found.rails, real.rails);
        assert_eq!(found.zones, real.zones);
        assert_eq!(found.over_current, real.over_current);
        let emc = |board: &Board| board.emc.as_ref().map(|emc| (emc.dir.clone(), emc.rate.clone(), emc.lock.clone()));
        assert_eq!(emc(&found), emc(&real), "{name}");
    }
}
