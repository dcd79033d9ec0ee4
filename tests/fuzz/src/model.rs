//! The model reader, and the planner on whatever model was read.

use jetpace_tables::model::Model;
use jetpace_tables::plan::{Ask, Problem};
use jetpace_tables::units::Nanos;
use jetpace_tables::work::Size;

/// A model that reads becomes a problem or an error. Whether it read.
pub fn model(data: &[u8]) -> bool {
    let Ok(model) = serde_json::from_slice::<Model>(data) else { return false };
    for network in model.networks() {
        for emc in model.emc_clocks(network).into_iter().take(2) {
            let ask = Ask {
                network,
                emc,
                size: Size(1),
                deadline: Nanos::from_millis(40),
                period: Nanos::from_millis(50),
                risk: 0.01,
                idle_w: Some(4.5),
                settle: None,
                stall: None,
                leads: true,
            };
            // Both answers are fine; planning itself would be too slow here.
            let _ = Problem::from_model(&model, &ask);
        }
    }
    model.check().is_ok()
}
