//! A network at one size on the GPU: its activation buffers, and one graph per block.

use std::collections::BTreeMap;
use std::rc::Rc;

use cudarc::driver::{CudaGraph, CudaSlice};
use half::f16;
use rand::SeedableRng;
use rand_pcg::Pcg64Mcg;

use super::driver::{ConvParameter, Device, LinearParameter, Parameter, PoolParameter, address};
use crate::abi::IMAGE_CHANNELS;
use crate::error::Error;
use crate::launch::{Buffer, Launch, LaunchPlan, Work};
use crate::weights::normal;

/// A layer's weights on the GPU.
pub(super) struct LayerBuffers {
    pub weights: CudaSlice<u16>,
    pub bias: CudaSlice<f32>,
}

/// A network's graphs and what they work on. The graphs hold the buffers' addresses, so they are dropped first, in the
/// order of the fields.
pub(super) struct Prepared {
    /// One per block, in order.
    pub graphs: Vec<CudaGraph>,
    /// All blocks in one, once asked for.
    whole: Option<Rc<CudaGraph>>,
    /// Every block's launches with their parameters.
    launches: Vec<Vec<(Launch, Parameter)>>,
    /// What is launched, on which buffers.
    pub plan: LaunchPlan,
    buffers: BTreeMap<Buffer, CudaSlice<u8>>,
    _workspace: CudaSlice<u8>,
    /// The block that was queued last, behind those before it; none since the image was set.
    pub ran: Option<usize>,
}

impl Prepared {
    /// Allocates the buffers, fills the image with normal numbers from `seed` and captures the graphs.
    pub fn new(
        device: &Device,
        plan: LaunchPlan,
        layers: &BTreeMap<usize, LayerBuffers>,
        seed: u64,
    ) -> Result<Self, Error> {
        let mut buffers = BTreeMap::new();
        for (buffer, bytes) in &plan.buffers {
            let what = format!("an activation buffer for a batch of {}", plan.batch);
            buffers.insert(*buffer, device.zeros(&what, *bytes)?);
        }
        let workspace = device.zeros("the workspace of split sums", plan.workspace_bytes)?;
        let resolve = Resolve { buffers: &buffers, workspace: address(&workspace), layers };
        let launches: Result<Vec<Vec<_>>, Error> = plan
            .blocks
            .iter()
            .map(|block| block.launches.iter().map(|launch| Ok((*launch, resolve.parameter(launch)?))).collect())
            .collect();
        let launches = launches?;
        let graphs = launches.iter().map(|block| device.capture(block)).collect::<Result<_, _>>()?;
        let mut prepared = Self { graphs, whole: None, launches, plan, buffers, _workspace: workspace, ran: None };
        let pixels = prepared.image_len() / 3;
        let image = normal(&mut Pcg64Mcg::seed_from_u64(seed), 1.0, 3 * pixels);
        prepared.set_image(device, &image)?;
        Ok(prepared)
    }

    /// The whole network as one graph, captured at the first call.
    pub fn whole(&mut self, device: &Device) -> Result<Rc<CudaGraph>, Error> {
        let whole = match self.whole.take() {
            Some(whole) => whole,
            None => Rc::new(device.capture(self.launches.iter().flatten())?),
        };
        Ok(self.whole.insert(whole).clone())
    }

    /// Numbers that [`Self::set_image`] wants: three channels of every pixel.
    pub fn image_len(&self) -> usize {
        let image = self.plan.blocks.first().map(|block| block.input);
        image.map_or(0, |i| 3 * (i.elements(self.plan.batch) / u64::from(IMAGE_CHANNELS)) as usize)
    }

    /// Sets the network's input, `[batch][row][column][3]`.
    pub fn set_image(&mut self, device: &Device, values: &[f32]) -> Result<(), Error> {
        let padded: Vec<u16> = values
            .chunks_exact(3)
            .flat_map(|pixel| [pixel[0], pixel[1], pixel[2], 0.0])
            .map(|value| f16::from_f32(value).to_bits())
            .collect();
        self.ran = None;
        match self.buffers.get_mut(&Buffer::Image) {
            Some(buffer) => device.write(buffer, &padded),
            None => Ok(()),
        }
    }

    /// A block's output, `[batch][row][column][channel]`, once everything queued is done.
    pub fn output(&self, device: &Device, block: usize) -> Result<Vec<f32>, Error> {
        let Some((output, buffer)) =
            self.plan.blocks.get(block).and_then(|b| Some((b.output, self.buffers.get(&b.output.buffer)?)))
        else {
            return Ok(Vec::new());
        };
        let halves = device.read(buffer)?;
        let stored = halves[..output.elements(self.plan.batch) as usize].chunks_exact(output.pitch as usize);
        let channels = stored.flat_map(|pixel| &pixel[..output.channels as usize]);
        Ok(channels.map(|bits| f16::from_bits(*bits).to_f32()).collect())
    }
}

/// Turns a plan's names of buffers into addresses.
struct Resolve<'a> {
    buffers: &'a BTreeMap<Buffer, CudaSlice<u8>>,
    workspace: u64,
    layers: &'a BTreeMap<usize, LayerBuffers>,
}

impl Resolve<'_> {
    fn parameter(&self, launch: &Launch) -> Result<Parameter, Error> {
        Ok(match launch.work {
            Work::Conv { input, layer, residual, output, shape } => Parameter::Conv(ConvParameter {
                input: self.buffer(input)?,
                weights: address(&self.layer(layer)?.weights),
                bias: address(&self.layer(layer)?.bias),
                residual: residual.map_or(Ok(0), |r| self.buffer(r))?,
                output: self.buffer(output)?,
                workspace: if shape.splits > 1 { self.workspace } else { 0 },
                shape,
            }),
            Work::Pool { input, output, shape } => {
                Parameter::Pool(PoolParameter { input: self.buffer(input)?, output: self.buffer(output)?, shape })
            }
            Work::Linear { input, layer, output, shape } => Parameter::Linear(LinearParameter {
                input: self.buffer(input)?,
                weights: address(&self.layer(layer)?.weights),
                bias: address(&self.layer(layer)?.bias),
                output: self.buffer(output)?,
                shape,
            }),
        })
    }

    fn buffer(&self, buffer: Buffer) -> Result<u64, Error> {
        self.buffers.get(&buffer).map(address).ok_or_else(|| Error::no_kernel("the network", "a buffer is missing"))
    }

    fn layer(&self, layer: usize) -> Result<&LayerBuffers, Error> {
        self.layers.get(&layer).ok_or_else(|| Error::no_kernel("the network", format_args!("no layer {layer}")))
    }
}
