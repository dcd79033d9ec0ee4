//! The committed cubins hold every kernel that a launch plan may use, each for the GPU whose name it has.

use jetpace_kernels::abi::Kernel;
use jetpace_kernels::cubin::{CUBINS, Cubin};

/// A little-endian number of `N` bytes.
fn number<const N: usize>(image: &[u8], at: usize) -> usize {
    image[at..at + N].iter().rev().fold(0, |n, byte| n << 8 | usize::from(*byte))
}

/// Names of the global functions of a 64-bit ELF file.
fn functions(image: &[u8]) -> Vec<&str> {
    assert_eq!(&image[..5], b"\x7fELF\x02");
    // e_shoff, e_shentsize, e_shnum.
    let (table, entry, count) = (number::<8>(image, 40), number::<2>(image, 58), number::<2>(image, 60));
    let section = |i: usize| table + i * entry;
    const SYMBOLS: usize = 2;
    let symtab = (0..count).map(section).find(|s| number::<4>(image, s + 4) == SYMBOLS).expect("no symbol table");
    // sh_offset and sh_size; sh_link is the section with the names.
    let (at, bytes) = (number::<8>(image, symtab + 24), number::<8>(image, symtab + 32));
    let names = number::<8>(image, section(number::<4>(image, symtab + 40)) + 24);
    let symbols = (at..at + bytes).step_by(24);
    let global_function = |symbol: &usize| image[symbol + 4] == 0x12;
    let name = |symbol: usize| {
        let start = names + number::<4>(image, symbol);
        let name = image[start..].split(|byte| *byte == 0).next().unwrap_or_default();
        std::str::from_utf8(name).expect("a symbol's name is no text")
    };
    symbols.filter(global_function).map(name).collect()
}

/// The architecture that stands in the file's flags: at another place from ABI version 8 (CUDA 13) on.
fn architecture(image: &[u8]) -> usize {
    let flags = number::<4>(image, 48);
    if image[8] >= 8 { flags >> 8 & 0xff } else { flags & 0xff }
}

#[test]
fn every_kernel_is_in_every_cubin() {
    for Cubin { capability, image } in &CUBINS {
        let found = functions(image);
        for kernel in Kernel::all() {
            assert!(found.contains(&kernel.name().as_str()), "the cubin for {capability} has no {}", kernel.name());
        }
        assert!(found.contains(&"marker"), "the cubin for {capability} has no marker");
    }
}

#[test]
fn every_cubin_is_for_its_capability() {
    for Cubin { capability, image } in &CUBINS {
        let architecture = architecture(image);
        assert_eq!(capability.to_string(), format!("{}.{}", architecture / 10, architecture % 10));
    }
}

/// CUDA 13 writes an ELF that drivers before it do not know; Xavier's and Orin's JetPacks have those.
#[test]
fn only_thors_cubin_is_cuda_13s() {
    for Cubin { capability, image } in &CUBINS {
        assert_eq!(image[8] >= 8, capability.to_string() == "11.0", "{capability}");
    }
}
