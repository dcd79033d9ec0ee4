//! seccomp: the system calls that a daemon or a holder of a clock makes, and no others. What is not listed answers EPERM: a
//! library that tries something unforeseen goes on without it.

#![allow(unsafe_code)]

use std::io;

use libc::{BPF_ABS, BPF_JEQ, BPF_JMP, BPF_JSET, BPF_K, BPF_LD, BPF_RET, BPF_W, sock_filter, sock_fprog};

/// Allowed whatever their arguments. The hot ones first, for kernels that walk the list for every call.
const ALLOWED: &[libc::c_long] = &[
    libc::SYS_pwrite64,
    libc::SYS_futex,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_pread64,
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_readv,
    libc::SYS_ppoll,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_accept4,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    libc::SYS_shutdown,
    libc::SYS_connect,
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_openat,
    libc::SYS_close,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_fcntl,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_statfs,
    libc::SYS_fstatfs,
    libc::SYS_faccessat,
    libc::SYS_lseek,
    libc::SYS_getdents64,
    libc::SYS_readlinkat,
    libc::SYS_getcwd,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_ftruncate,
    libc::SYS_fchmod,
    libc::SYS_mkdirat,
    libc::SYS_renameat2,
    libc::SYS_unlinkat,
    libc::SYS_memfd_create,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_brk,
    libc::SYS_mlock,
    libc::SYS_mlock2,
    libc::SYS_munlock,
    libc::SYS_mlockall,
    libc::SYS_membarrier,
    libc::SYS_getrandom,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_getcpu,
    libc::SYS_uname,
    libc::SYS_sysinfo,
    libc::SYS_prlimit64,
    libc::SYS_getrusage,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_setaffinity,
    libc::SYS_sched_getparam,
    libc::SYS_sched_getscheduler,
    libc::SYS_sched_setscheduler,
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_set_tid_address,
    libc::SYS_prctl,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
    libc::SYS_tgkill,
    libc::SYS_tkill,
    libc::SYS_clock_getres,
    libc::SYS_gettimeofday,
    // `hold`: the end of its command, and telling it to stop.
    libc::SYS_wait4,
    libc::SYS_waitid,
    libc::SYS_kill,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// Those that this architecture alone has.
#[cfg(target_arch = "x86_64")]
const OLD: &[libc::c_long] = &[
    libc::SYS_poll,
    libc::SYS_open,
    libc::SYS_stat,
    libc::SYS_lstat,
    libc::SYS_access,
    libc::SYS_readlink,
    libc::SYS_mkdir,
    libc::SYS_rename,
    libc::SYS_renameat,
    libc::SYS_unlink,
    libc::SYS_arch_prctl,
];
#[cfg(target_arch = "aarch64")]
const OLD: &[libc::c_long] = &[libc::SYS_renameat];
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const OLD: &[libc::c_long] = &[];

#[cfg(target_arch = "x86_64")]
const ARCH: Option<u32> = Some(0xc000_003e);
#[cfg(target_arch = "aarch64")]
const ARCH: Option<u32> = Some(0xc000_00b7);
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const ARCH: Option<u32> = None;

const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
/// The lower half of an argument, on these little-endian machines.
const fn argument(n: u32) -> u32 {
    16 + 8 * n
}

const ALLOW: u32 = 0x7fff_0000;
const KILL: u32 = 0x8000_0000;
const fn refuse(errno: i32) -> u32 {
    0x0005_0000 | errno as u32
}

fn step(code: u32, k: u32, if_true: u8, if_false: u8) -> sock_filter {
    sock_filter { code: code as u16, jt: if_true, jf: if_false, k }
}

fn load(from: u32) -> sock_filter {
    step(BPF_LD | BPF_W | BPF_ABS, from, 0, 0)
}

fn answer(with: u32) -> sock_filter {
    step(BPF_RET | BPF_K, with, 0, 0)
}

/// For one system call: what is done with it where a bit of an argument is set, and where none is.
fn by_bits(number: libc::c_long, argument_no: u32, bits: u32, set: u32, clear: u32) -> [sock_filter; 5] {
    [
        step(BPF_JMP | BPF_JEQ | BPF_K, number as u32, 0, 4),
        load(argument(argument_no)),
        step(BPF_JMP | BPF_JSET | BPF_K, bits, 0, 1),
        answer(set),
        answer(clear),
    ]
}

/// The filter as the kernel runs it.
fn filter(arch: u32) -> Vec<sock_filter> {
    let mut filter = vec![load(ARCHITECTURE), step(BPF_JMP | BPF_JEQ | BPF_K, arch, 1, 0), answer(KILL), load(NUMBER)];
    for number in ALLOWED.iter().chain(OLD) {
        filter.push(step(BPF_JMP | BPF_JEQ | BPF_K, *number as u32, 0, 1));
        filter.push(answer(ALLOW));
    }
    let refused = refuse(libc::EPERM);
    // Threads, and no processes; C libraries fall back to `clone`, whose flags can be seen here, where this is missing.
    filter.extend(by_bits(libc::SYS_clone, 0, libc::CLONE_THREAD as u32, ALLOW, refused));
    filter.push(step(BPF_JMP | BPF_JEQ | BPF_K, libc::SYS_clone3 as u32, 0, 1));
    filter.push(answer(refuse(libc::ENOSYS)));
    // No code is loaded any more.
    for number in [libc::SYS_mmap, libc::SYS_mprotect] {
        filter.extend(by_bits(number, 2, libc::PROT_EXEC as u32, refused, ALLOW));
    }
    // Unix sockets alone: to the service manager, and to see whether somebody listens.
    filter.push(step(BPF_JMP | BPF_JEQ | BPF_K, libc::SYS_socket as u32, 0, 4));
    filter.push(load(argument(0)));
    filter.push(step(BPF_JMP | BPF_JEQ | BPF_K, libc::AF_UNIX as u32, 0, 1));
    filter.push(answer(ALLOW));
    filter.push(answer(refused));
    filter.push(answer(refused));
    filter
}

/// Restricts all threads of this process for good. Needs that no new privileges can be gained.
pub(super) fn restrict() -> io::Result<()> {
    let arch = ARCH.ok_or(io::ErrorKind::Unsupported)?;
    let mut filter = filter(arch);
    let program = sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: the program and the steps that it points to live through the call; the kernel copies them.
    let rc = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            libc::SECCOMP_FILTER_FLAG_TSYNC,
            &raw const program,
        )
    };
    match rc {
        0 => Ok(()),
        ..0 => Err(io::Error::last_os_error()),
        // The thread that has a filter of its own.
        thread => Err(io::Error::other(format!("thread {thread} is under another filter"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernel would answer: the few instructions that the filter has.
    fn run(filter: &[sock_filter], arch: u32, number: libc::c_long, arguments: [u64; 6]) -> u32 {
        let mut data = Vec::new();
        data.extend((number as u32).to_ne_bytes());
        data.extend(arch.to_ne_bytes());
        data.extend(0_u64.to_ne_bytes());
        arguments.iter().for_each(|argument| data.extend(argument.to_ne_bytes()));
        let (mut at, mut loaded) = (0, 0);
        loop {
            let step = filter[at];
            at += 1;
            let jump = |holds: bool| usize::from(if holds { step.jt } else { step.jf });
            match u32::from(step.code) {
                code if code == BPF_LD | BPF_W | BPF_ABS => {
                    let from = step.k as usize;
                    loaded = u32::from_ne_bytes(data[from..from + 4].try_into().unwrap());
                }
                code if code == BPF_JMP | BPF_JEQ | BPF_K => at += jump(loaded == step.k),
                code if code == BPF_JMP | BPF_JSET | BPF_K => at += jump(loaded & step.k != 0),
                code if code == BPF_RET | BPF_K => return step.k,
                code => panic!("{code}"),
            }
        }
    }

    #[test]
    fn what_a_daemon_does_is_allowed_and_the_rest_is_not() {
        let arch = ARCH.unwrap();
        let filter = filter(arch);
        let answer = |number, arguments| run(&filter, arch, number, arguments);
        let refused = refuse(libc::EPERM);
        let at = |n: usize, value: i32| std::array::from_fn(|i| if i == n { value as u64 } else { 0 });
        for (number, arguments, expected) in [
            (libc::SYS_pwrite64, [0; 6], ALLOW),
            (libc::SYS_exit_group, [0; 6], ALLOW),
            (libc::SYS_execve, [0; 6], refused),
            (libc::SYS_ptrace, [0; 6], refused),
            (libc::SYS_mount, [0; 6], refused),
            (libc::SYS_unshare, [0; 6], refused),
            (libc::SYS_init_module, [0; 6], refused),
            (libc::SYS_clone, at(0, libc::CLONE_THREAD | libc::CLONE_VM), ALLOW),
            (libc::SYS_clone, at(0, libc::SIGCHLD), refused),
            (libc::SYS_clone3, [0; 6], refuse(libc::ENOSYS)),
            (libc::SYS_mmap, at(2, libc::PROT_READ | libc::PROT_WRITE), ALLOW),
            (libc::SYS_mmap, at(2, libc::PROT_READ | libc::PROT_EXEC), refused),
            (libc::SYS_mprotect, at(2, libc::PROT_EXEC), refused),
            (libc::SYS_mprotect, at(2, libc::PROT_NONE), ALLOW),
            (libc::SYS_socket, at(0, libc::AF_UNIX), ALLOW),
            (libc::SYS_socket, at(0, libc::AF_INET), refused),
            (libc::SYS_socket, at(0, libc::AF_NETLINK), refused),
        ] {
            assert_eq!(answer(number, arguments), expected, "{number} {arguments:?}");
        }
        assert_eq!(run(&filter, arch ^ 1, libc::SYS_pwrite64, [0; 6]), KILL, "another architecture's numbers");
    }
}
