//! The CUDA driver. Everything unsafe of this crate is in this file, behind functions that are not.
#![allow(unsafe_code)]

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cudarc::driver::sys::{self, CUevent_flags, CUfunction_attribute_enum as FunctionAttribute, CUresult};
use cudarc::driver::{
    CudaContext, CudaEvent, CudaFunction, CudaGraph, CudaSlice, CudaStream, DevicePtr, DeviceRepr, DriverError,
    LaunchConfig, PushKernelArg,
};
use cudarc::nvrtc::Ptx;
use jetpace_tables::units::Hertz;

use crate::abi::{ConvShape, Kernel, LinearShape, PoolShape};
use crate::cubin::{self, Capability};
use crate::error::Error;
use crate::launch::{Gpu, Launch};

/// Every function of the driver that is called. cudarc looks each up at its first call and panics where it is
/// missing, so they are looked up here first.
pub const SYMBOLS: &[&str] = &[
    "cuCtxGetCurrent",
    "cuCtxSetCurrent",
    "cuCtxSynchronize",
    "cuDeviceGet",
    "cuDeviceGetAttribute",
    "cuDeviceGetCount",
    "cuDeviceGetName",
    "cuDevicePrimaryCtxRelease_v2",
    "cuDevicePrimaryCtxRetain",
    "cuEventCreate",
    "cuEventDestroy_v2",
    "cuEventElapsedTime",
    "cuEventQuery",
    "cuEventRecord",
    "cuEventSynchronize",
    "cuFuncGetAttribute",
    "cuFuncSetAttribute",
    "cuGraphDestroy",
    "cuGraphExecDestroy",
    "cuGraphInstantiateWithFlags",
    "cuGraphLaunch",
    "cuGraphUpload",
    "cuInit",
    "cuLaunchKernel",
    "cuMemAllocAsync",
    "cuMemAlloc_v2",
    "cuMemFreeAsync",
    "cuMemFree_v2",
    "cuMemGetInfo_v2",
    "cuMemcpyDtoHAsync_v2",
    "cuMemcpyHtoDAsync_v2",
    "cuMemsetD8Async",
    "cuModuleGetFunction",
    "cuModuleLoadData",
    "cuModuleUnload",
    "cuStreamBeginCapture_v2",
    "cuStreamCreate",
    "cuStreamDestroy_v2",
    "cuStreamEndCapture",
    "cuStreamSynchronize",
];

/// Device nodes that the driver opens, on Jetson and elsewhere.
const DEVICE_NODES: &[&str] = &["nvhost-ctrl-gpu", "nvhost-gpu", "nvgpu/igpu0/ctrl", "nvmap", "nvidiactl", "nvidia0"];

/// A GPU with the kernels loaded and one stream.
pub(super) struct Device {
    context: Arc<CudaContext>,
    stream: Arc<CudaStream>,
    kernels: HashMap<Kernel, CudaFunction>,
    /// The GPU's name.
    pub name: String,
    /// What launch plans need of it.
    pub gpu: Gpu,
    /// Its highest clock.
    pub peak_clock: Hertz,
}

impl Device {
    /// Opens the first GPU.
    ///
    /// # Errors
    /// No driver, one that is too old, no GPU, no permission, or a GPU without kernels.
    pub fn open() -> Result<Self, Error> {
        Self::open_with(None, Kernel::all())
    }

    /// The same with a cubin of one's own, which has the `wanted` kernels with the parameters of cu/abi.h.
    ///
    /// # Errors
    /// Besides, a cubin for another GPU, or without one of the kernels.
    pub fn open_with(cubin: Option<&[u8]>, wanted: impl Iterator<Item = Kernel>) -> Result<Self, Error> {
        check_library()?;
        let no_device = |e: DriverError| match e.0 {
            CUresult::CUDA_ERROR_STUB_LIBRARY => Error::StubLibrary { path: library() },
            _ => unusable(Path::new("/dev"), code(e)),
        };
        let count = CudaContext::device_count().map_err(no_device)?;
        if count == 0 {
            return Err(unusable(Path::new("/dev"), "it lists none".to_owned()));
        }
        let context = CudaContext::new(0).map_err(|e| failed("opening the GPU", e))?;
        let name = context.name().map_err(|e| failed("asking for the GPU's name", e))?;
        let attribute = |which| context.attribute(which).map_err(|e| failed("asking for the GPU's attributes", e));
        use sys::CUdevice_attribute as Attribute;
        let major = attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?;
        let minor = attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?;
        let multiprocessors = attribute(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?;
        // For people only, so no reason to give up.
        let peak_khz = attribute(Attribute::CU_DEVICE_ATTRIBUTE_CLOCK_RATE).unwrap_or_default();
        let gpu = Gpu {
            capability: Capability::new(major as u8, minor as u8),
            multiprocessors: multiprocessors.max(1) as u32,
        };
        let image = match cubin {
            Some(image) => image,
            None => cubin::find(&name, gpu.capability)?.image,
        };
        // SAFETY: tracking would have cudarc order uses of a buffer on several streams; there is one stream. It has to
        // be off before the first allocation, as its events cannot be waited for inside a capture.
        unsafe { context.disable_event_tracking() };
        let stream = context.new_stream().map_err(|e| failed("creating a stream", e))?;
        let kernels = load(&context, &gpu, image, wanted)?;
        let peak_clock = Hertz::from_khz(u64::try_from(peak_khz).unwrap_or_default());
        Ok(Self { context, stream, kernels, name, gpu, peak_clock })
    }

    /// A buffer of `bytes` zeros; `what` names it where there is no room.
    pub fn zeros(&self, what: &str, bytes: u64) -> Result<CudaSlice<u8>, Error> {
        // Nothing lies at address 0, so an empty buffer gets a byte.
        self.stream.alloc_zeros(bytes.max(1) as usize).map_err(|e| self.no_room(what, bytes, e))
    }

    /// A copy of `data` on the GPU; `what` names it where there is no room.
    pub fn upload<T: DeviceRepr>(&self, what: &str, data: &[T]) -> Result<CudaSlice<T>, Error> {
        self.stream.clone_htod(data).map_err(|e| self.no_room(what, std::mem::size_of_val(data) as u64, e))
    }

    /// Copies fp16 bits into the start of a buffer.
    pub fn write(&self, to: &mut CudaSlice<u8>, halves: &[u16]) -> Result<(), Error> {
        let bytes: Vec<u8> = halves.iter().flat_map(|half| half.to_ne_bytes()).collect();
        if bytes.len() > to.len() {
            return Err(Error::Driver { doing: "copying to the GPU".to_owned(), code: "buffer too small".to_owned() });
        }
        self.stream.memcpy_htod(&bytes, to).map_err(|e| failed("copying to the GPU", e))
    }

    /// A buffer's fp16 bits, once everything queued is done.
    pub fn read(&self, from: &CudaSlice<u8>) -> Result<Vec<u16>, Error> {
        let bytes = self.stream.clone_dtoh(from).map_err(|e| failed("copying from the GPU", e))?;
        self.synchronize()?;
        Ok(bytes.chunks_exact(2).map(|pair| u16::from_ne_bytes([pair[0], pair[1]])).collect())
    }

    /// Waits until everything queued is done.
    pub fn synchronize(&self) -> Result<(), Error> {
        self.stream.synchronize().map_err(|e| failed("waiting for the GPU", e))
    }

    /// An event for timing; waiting for it lets the CPU sleep.
    pub fn event(&self) -> Result<CudaEvent, Error> {
        let flags = Some(CUevent_flags::CU_EVENT_BLOCKING_SYNC);
        self.context.new_event(flags).map_err(|e| failed("creating an event", e))
    }

    /// Puts an event behind everything queued.
    pub fn record(&self, event: &CudaEvent) -> Result<(), Error> {
        event.record(&self.stream).map_err(|e| failed("recording an event", e))
    }

    /// Launches as a graph to be replayed.
    pub fn capture<'a>(&self, launches: impl IntoIterator<Item = &'a (Launch, Parameter)>) -> Result<CudaGraph, Error> {
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        self.stream.begin_capture(mode).map_err(|e| failed("starting to capture a graph", e))?;
        let queued = launches.into_iter().try_for_each(|(launch, parameter)| self.launch(launch, parameter));
        // Ended in any case: a stream that is still capturing can do nothing else.
        let graph = self.stream.end_capture(sys::CUgraphInstantiate_flags(0));
        queued?;
        let graph = graph.map_err(|e| failed("capturing a graph", e))?;
        let graph = graph.ok_or_else(|| Error::Driver {
            doing: "capturing a graph".to_owned(),
            code: "the graph is empty".to_owned(),
        })?;
        graph.upload().map_err(|e| failed("uploading a graph", e))?;
        Ok(graph)
    }

    fn launch(&self, launch: &Launch, parameter: &Parameter) -> Result<(), Error> {
        let function = self.kernels.get(&launch.kernel).ok_or_else(|| missing(launch.kernel))?;
        let config = LaunchConfig {
            grid_dim: launch.grid.into(),
            block_dim: (launch.kernel.threads(), 1, 1),
            shared_mem_bytes: launch.shared_bytes,
        };
        let mut builder = self.stream.launch_builder(function);
        match parameter {
            Parameter::Conv(p) => builder.arg(p),
            Parameter::Pool(p) => builder.arg(p),
            Parameter::Linear(p) => builder.arg(p),
        };
        // SAFETY: the function is the kernel of that name in a cubin built from cu/, whose only parameter is the struct
        // of cu/abi.h that `Parameter` mirrors; the driver copies it before it returns. Addresses are those of buffers
        // that `Prepared` keeps for as long as the graph in which this launch is captured, and of the sizes of the
        // launch plan, whose tests show that grids stay within them.
        let launched = unsafe { builder.launch(config) };
        launched.map(drop).map_err(|e| failed(&format!("launching {}", launch.kernel.name()), e))
    }

    fn no_room(&self, what: &str, bytes: u64, error: DriverError) -> Error {
        if error.0 != CUresult::CUDA_ERROR_OUT_OF_MEMORY {
            return failed(what, error);
        }
        let mb = |bytes: usize| bytes.div_ceil(1 << 20);
        let free = self
            .context
            .mem_get_info()
            .map_or_else(|_| String::new(), |(free, total)| format!(", {} MB of {} MB are free", mb(free), mb(total)));
        Error::OutOfMemory { what: format!("{what} takes {} MB{free}", mb(bytes as usize)) }
    }
}

/// A struct of cu/abi.h.
#[derive(Clone, Copy)]
pub(super) enum Parameter {
    Conv(ConvParameter),
    Pool(PoolParameter),
    Linear(LinearParameter),
}

/// `JpConv`.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct ConvParameter {
    pub input: u64,
    pub weights: u64,
    pub bias: u64,
    pub residual: u64,
    pub output: u64,
    pub workspace: u64,
    pub shape: ConvShape,
}

/// `JpPool`.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct PoolParameter {
    pub input: u64,
    pub output: u64,
    pub shape: PoolShape,
}

/// `JpLinear`.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct LinearParameter {
    pub input: u64,
    pub weights: u64,
    pub bias: u64,
    pub output: u64,
    pub shape: LinearShape,
}

// SAFETY: plain C structs of addresses and ints, without padding, as in cu/abi.h.
unsafe impl DeviceRepr for ConvParameter {}
// SAFETY: as above.
unsafe impl DeviceRepr for PoolParameter {}
// SAFETY: as above.
unsafe impl DeviceRepr for LinearParameter {}

/// Where a buffer lies on the GPU.
pub(super) fn address<T>(buffer: &CudaSlice<T>) -> u64 {
    buffer.device_ptr(buffer.stream()).0
}

/// That there is a CUDA driver, with every function that is called.
fn check_library() -> Result<(), Error> {
    // SAFETY: runs the initialisers of the CUDA driver, which every CUDA program runs.
    if !unsafe { sys::is_culib_present() } {
        return Err(Error::NoLibrary);
    }
    // SAFETY: the library is there, so this does not panic; as above.
    let library = unsafe { sys::culib() };
    let absent = |symbol: &&&str| {
        // SAFETY: only looked up, never called as this type.
        unsafe { library.get::<unsafe extern "C" fn()>(symbol.as_bytes()) }.is_err()
    };
    match SYMBOLS.iter().filter(absent).copied().collect::<Vec<_>>() {
        absent if absent.is_empty() => Ok(()),
        absent => Err(Error::OldDriver { symbols: absent.join(", ") }),
    }
}

/// The driver's library as it was loaded: cudarc tries libcuda.so, which the toolkit's stubs have too, before
/// libcuda.so.1.
pub(super) fn library() -> String {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let path = maps.lines().filter_map(|line| line.split_whitespace().nth(5)).find(|path| path.contains("/libcuda.so"));
    path.unwrap_or("libcuda.so").to_owned()
}

/// The cubin's functions, each allowed the shared memory that its launches ask for.
fn load(
    context: &Arc<CudaContext>,
    gpu: &Gpu,
    image: &[u8],
    wanted: impl Iterator<Item = Kernel>,
) -> Result<HashMap<Kernel, CudaFunction>, Error> {
    let module = context.load_module(Ptx::from_binary(image.to_vec())).map_err(|e| failed("loading the kernels", e))?;
    let mut kernels = HashMap::new();
    for kernel in wanted {
        let function = module.load_function(&kernel.name()).map_err(|_| missing(kernel))?;
        // Drivers load a function when it is first needed. That must not happen inside a capture, which forbids what
        // loading does; this attribute cannot be known without.
        let registers = FunctionAttribute::CU_FUNC_ATTRIBUTE_NUM_REGS;
        function.get_attribute(registers).map_err(|e| failed(&format!("loading {}", kernel.name()), e))?;
        let shared = kernel.shared_bytes(gpu.capability);
        // Above 48 KiB shared memory is given on request only.
        if shared > 48 << 10 {
            let attribute = FunctionAttribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            let allowed = function.set_attribute(attribute, shared as i32);
            allowed.map_err(|e| failed(&format!("giving {} its shared memory", kernel.name()), e))?;
        }
        kernels.insert(kernel, function);
    }
    Ok(kernels)
}

fn missing(kernel: Kernel) -> Error {
    Error::Driver { doing: "loading the kernels".to_owned(), code: format!("the cubin has no {}", kernel.name()) }
}

/// Why no GPU can be used: a device node that may not be opened explains it, where there is one.
fn unusable(dev: &Path, code: String) -> Error {
    match closed_node(dev) {
        Some(path) => Error::Permission { path, code },
        None => Error::NoDevice { code },
    }
}

fn closed_node(dev: &Path) -> Option<PathBuf> {
    let open = |path: &PathBuf| std::fs::OpenOptions::new().read(true).write(true).open(path);
    let denied = |path: &PathBuf| open(path).is_err_and(|e| e.kind() == std::io::ErrorKind::PermissionDenied);
    DEVICE_NODES.iter().map(|node| dev.join(node)).find(denied)
}

/// The error's own name. Not its `Display`, which asks the driver for words.
fn code(error: DriverError) -> String {
    format!("{:?}", error.0)
}

/// An error of the driver, by what was being done.
pub(super) fn failed(doing: &str, error: DriverError) -> Error {
    match error.0 {
        CUresult::CUDA_ERROR_OUT_OF_MEMORY => Error::OutOfMemory { what: doing.to_owned() },
        _ => Error::Driver { doing: doing.to_owned(), code: code(error) },
    }
}
