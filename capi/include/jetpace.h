/* jetpace: GPU clocks switched at block boundaries.
 *
 * Open once, then tell the library what the network does:
 *
 *     jetpace_frame_start(j);
 *     for each block: jetpace_block_start(j, id, size); run the block;
 *     jetpace_frame_end(j);
 *
 * Functions give 0, or a negative errno (jetpace_strerror says it in words). None of them ends or unwinds into the
 * program: when anything goes wrong the clock is held at a safe one or handed back to the kernel, and counted in
 * jetpace_stats.
 *
 * Threads: a handle may be used from any thread, by one at a time; a second one meets -EBUSY. Not for signal handlers.
 * fork: the child's calls give -ECHILD and change nothing; its copy of the handle may be closed, which frees nothing.
 *
 * On an asynchronous CUDA stream the host is ahead of the GPU: call jetpace_block_start where the GPU is, after a
 * synchronisation or an event, not where the block is queued. With TensorRT that means whole networks, or engines
 * split at the boundaries (one engine for each block); there is no boundary within one engine.
 */

#ifndef JETPACE_H
#define JETPACE_H

/* Written by cbindgen from capi/src; do not edit. `UPDATE_HEADER=1 cargo test -p jetpace-capi` writes it anew. */

#include <stddef.h>
#include <stdint.h>

// The ABI's version: the soname's number in the upper half, additions in the lower one.
#define JETPACE_ABI_VERSION 4

// jetpace_options.writer: the cheaper one for the caller, by what a write costs on this board.
#define JETPACE_WRITER_AUTO 0

// jetpace_options.writer: the calling thread writes at the boundary.
#define JETPACE_WRITER_INLINE 1

// jetpace_options.writer: a thread of the library writes.
#define JETPACE_WRITER_THREAD 2

// jetpace_stats.state: the table decides.
#define JETPACE_FOLLOWING 0

// jetpace_stats.state: the safe clock is held to the end of the frame.
#define JETPACE_SAFE 1

// jetpace_stats.state: the kernel's own governor decides.
#define JETPACE_HANDED_BACK 2

// jetpace_stats.state: the daemon has gone; the kernel's own governor decides, and the daemon is looked for once a second.
#define JETPACE_NO_DAEMON 3

// jetpace_stats.state: `jetpace calibrate` measures the program: its frames wait for their turn.
#define JETPACE_MEASURED 4

// A table that is followed.
struct jetpace;

// How to open. Set all to zero, then size to sizeof(struct jetpace_options), then what is wanted.
struct jetpace_options {
  // sizeof(struct jetpace_options).
  size_t size;
  // "auto" or NULL for this machine, "sim:NAME" for a virtual board, else the root of a sysfs tree.
  const char *board;
  // The daemon's socket. NULL: $JETPACE_SOCKET or the usual one if a daemon listens there, else the nodes. "": never
  // a daemon.
  const char *socket;
  // A way of fixing the clock, as `jetpace probe` names them; NULL: the cheapest that works.
  const char *way;
  // JETPACE_WRITER_...
  uint32_t writer;
  // SCHED_FIFO priority of the library's thread, 1 to 99; 0: the usual scheduling.
  uint32_t fifo;
  // The CPU of the library's thread, counted from 1; 0: any.
  uint32_t cpu_plus_one;
  // Zero.
  uint32_t reserved;
};

// What happened so far.
struct jetpace_stats {
  // Set by the caller to sizeof(struct jetpace_stats); no more is written.
  size_t size;
  // Frames started.
  uint64_t frames;
  // Frames that ended behind their deadline.
  uint64_t missed;
  // Clock changes asked for.
  uint64_t switches;
  // Things that went wrong; the clock was held or handed back.
  uint64_t faults;
  // Frames in which another client of the daemon was busy, too: their times are not the network's own.
  uint64_t shared_frames;
  // Events that the daemon was too far behind to take, or that nobody was there to take.
  uint64_t lost_events;
  // The clock written last; 0 while the kernel's own governor decides.
  uint64_t clock_hz;
  // JETPACE_FOLLOWING, JETPACE_SAFE, JETPACE_HANDED_BACK, JETPACE_NO_DAEMON or JETPACE_MEASURED.
  uint32_t state;
  // 1 where the daemon writes, 0 where this process does.
  uint32_t by_daemon;
  // How often a daemon was found again, after the one before had gone.
  uint64_t reconnects;
};

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// The library's JETPACE_ABI_VERSION; another upper half than the header's is another ABI.
uint32_t jetpace_abi_version(void);

// Follows a table: through the daemon where one listens, else on this machine's nodes, which needs the permission.
//
// table: a file that `jetpace plan` made, or the daemon's socket; NULL: $JETPACE_TABLE or the daemon's own table. options
// may be NULL. With JETPACE_OFF=1 nothing is followed, unless the options name a board or a socket. With JETPACE_SWEEP=1,
// as `jetpace calibrate --cmd` sets it, the program is measured: the table need not be there yet. A file that takes the table's
// place later is followed from the next frame on, if its blocks are the same. -ESTALE: the table is for another board,
// power mode or release. -EACCES: neither the daemon nor the nodes are
// for this user. -EBADMSG: not a table.
//
// # Safety
// Pointers are NULL or valid, strings end in a zero byte, options->size is true.
int jetpace_open(const char *table,
                 const struct jetpace_options *options,
                 struct jetpace **handle);

// A block's number by its name; not for the hot path. -ENOENT: the table has no such block. While the program is measured,
// every name is one.
//
// # Safety
// As jetpace_open.
int jetpace_block_find(struct jetpace *handle,
                       const char *name,
                       uint32_t *id);

// How many blocks a frame has; their numbers are 0 and up. While the program is measured: how many were asked for.
//
// # Safety
// As jetpace_open.
int jetpace_block_count(struct jetpace *handle,
                        uint32_t *count);

// A frame starts. -ECONNRESET, once: the daemon has gone or serves this handle no more. The kernel's own governor has the
// clock then, further calls give 0 and are counted in lost_events, and the handle goes on by itself once a daemon serves it
// again, which is tried once a second. While the program is measured, it waits here for its turn.
//
// # Safety
// As jetpace_open.
int jetpace_frame_start(struct jetpace *handle);

// A block starts; blocks come in the table's order. Its size (batch, tokens; 0 counts as 1) is the frame's, in the sizes
// that the table was planned for. Allocates nothing and waits for nothing.
//
// # Safety
// As jetpace_open.
int jetpace_block_start(struct jetpace *handle,
                        uint32_t id,
                        uint32_t size);

// Whether a block that has just run is to run once more: 1 or 0. Without a calibration always 0; with it power and settle
// times are measured best where blocks are repeated: `do run(); while (jetpace_block_again(j, id) > 0);`
//
// # Safety
// As jetpace_open.
int jetpace_block_again(struct jetpace *handle,
                        uint32_t id);

// How long a block took by the GPU's own events, in nanoseconds, told once for every run of it before the frame's end.
// Calibration then goes by it instead of by the times of the calls; without a calibration it does nothing.
//
// # Safety
// As jetpace_open.
int jetpace_block_took(struct jetpace *handle,
                       uint32_t id,
                       uint64_t nanoseconds);

// The size (batch, tokens) that this frame should have: the one that `jetpace calibrate --sizes` wants measured, else `own`.
// Asked between a frame's start and its first block.
//
// # Safety
// As jetpace_open; size has room.
int jetpace_frame_size(struct jetpace *handle,
                       uint32_t own,
                       uint32_t *size);

// The frame's last block has ended.
//
// # Safety
// As jetpace_open.
int jetpace_frame_end(struct jetpace *handle);

// What happened so far, as much of it as stats->size has room for.
//
// # Safety
// As jetpace_open; stats->size is true.
int jetpace_stats(struct jetpace *handle, struct jetpace_stats *stats);

// An error of this library in words: of a function's result, negative or not. Never NULL, never to be freed.
const char *jetpace_strerror(int error);

// Puts back what was found, and frees the handle, whatever it returns but -EBUSY. NULL is no error.
//
// # Safety
// As jetpace_open; the handle is not used afterwards.
int jetpace_close(struct jetpace *handle);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* JETPACE_H */
