//! Whether a model that was read from a file can be relied on.

use std::string::String;

use super::document::{FORMAT, Model};
use crate::names;

/// What is wrong with a model file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadModel {
    /// Another version of the document.
    #[error("format {0}, where this jetpace reads formats 1 and 2: fit the sweep again")]
    Format(u32),
    /// Something is missing.
    #[error("no {0}: fit the sweep again")]
    Missing(&'static str),
    /// A number that no fit gives.
    #[error("{what} is {value}: the file was changed or damaged; fit the sweep again")]
    Value {
        /// Where it is.
        what: String,
        /// What it is.
        value: String,
    },
}

impl Model {
    /// Checks what a fit guarantees: the version, a reference clock at least as high as every clock, ascending clocks, at
    /// least one series with a default form each, and parameters that are finite and not negative.
    pub fn check(&self) -> Result<(), BadModel> {
        let bad =
            |what: String, value: &dyn core::fmt::Display| BadModel::Value { what, value: std::format!("{value}") };
        if !(1..=FORMAT).contains(&self.format) {
            return Err(BadModel::Format(self.format));
        }
        if self.series.is_empty() {
            return Err(BadModel::Missing("series"));
        }
        if self.clocks_hz.is_empty() {
            return Err(BadModel::Missing("clocks_hz"));
        }
        if let Some(pair) = self.clocks_hz.windows(2).find(|pair| pair[0] >= pair[1]) {
            return Err(bad("clocks_hz, which has to ascend,".into(), &pair[1]));
        }
        let positive = self.clocks_hz.first().is_some_and(|clock| clock.get() > 0);
        if !positive || self.clocks_hz.last() > Some(&self.f_ref_hz) {
            return Err(bad("f_ref_hz".into(), &self.f_ref_hz));
        }
        let texts = self.series.iter().flat_map(|series| [&series.model, &series.block]);
        if let Some(name) = texts.into_iter().find(|name| !names::is_plain(name)) {
            return Err(bad("a name, which may hold no control characters,".into(), &names::Shown(name)));
        }
        let number = |what: &str, value: f64| match value.is_finite() && value >= 0.0 {
            true => Ok(()),
            false => Err(bad(what.into(), &value)),
        };
        let voltage = self.device_constants.voltage;
        number("v_knee", voltage.knee)?;
        number("v_slope", voltage.slope)?;
        let constants = &self.device_constants;
        for process in [&constants.time_process, &constants.power_process].into_iter().flatten() {
            for (what, value) in [("sd", process.sd), ("length", process.length), ("noise", process.noise)] {
                number(&std::format!("{what} of a process"), value)?;
                if value == 0.0 {
                    return Err(bad(std::format!("{what} of a process"), &value));
                }
            }
        }
        for series in &self.series {
            let name = std::format!("{} {}", series.model, series.block);
            if series.time_fit(None).is_none() {
                return Err(BadModel::Missing("default time form in a series"));
            }
            number(&std::format!("{name}: time_sd"), series.time_sd)?;
            for (what, scale) in [("time_scale", series.time_scale), ("power_scale", series.power_scale)] {
                number(&std::format!("{name}: {what}"), scale)?;
                if scale == 0.0 {
                    return Err(bad(std::format!("{name}: {what}"), &scale));
                }
            }
            for point in series.points.iter().chain(&series.apart) {
                let positive = point.time_s.is_finite() && point.time_s > 0.0 && point.gpu_freq_hz.get() > 0;
                if !positive || point.power_w.is_some_and(|watts| !watts.is_finite()) {
                    return Err(bad(std::format!("{name}: a point at {}", point.gpu_freq_hz), &point.time_s));
                }
            }
            for fit in &series.time {
                number(&std::format!("{name}: weight of {}", fit.model.form()), fit.weight)?;
                let mut model = fit.model;
                for (param, value) in &model.params() {
                    number(&std::format!("{name}: {} {param}", fit.model.form()), **value)?;
                }
                let time = fit.model.time_s(1.0, 1.0);
                if !time.is_finite() || fit.default && time <= 0.0 {
                    return Err(bad(std::format!("{name}: time at the reference clock"), &time));
                }
            }
            for fit in &series.power {
                number(&std::format!("{name}: weight of {}", fit.model.form()), fit.weight)?;
                let mut model = fit.model;
                for (param, value) in &model.params() {
                    number(&std::format!("{name}: {} {param}", fit.model.form()), **value)?;
                }
            }
        }
        for idle in &self.idle {
            number("idle power_w", idle.power_w)?;
        }
        for change in self.settle.iter().chain(&self.stall) {
            number("time of a change", change.time.mean_s)?;
            number("spread of a change", change.time.sd_s)?;
            number("quantile of a change", change.time.p99_s)?;
        }
        Ok(())
    }
}
