// nvcuda::wmma for 16 x 16 x 16. Which element lies in which lane is undocumented on the hardware, so here it is
// scattered on purpose: a kernel that relies on it fails.
#pragma once
#include "fiber.h"
#include "warp_math.h"
#include <cstring>

namespace emu {
// The matrix element (row * 16 + column) that entry e of a lane stands for: odd multipliers make it a permutation.
constexpr unsigned scattered(unsigned lane, unsigned e) { return ((lane * 8 + e) * 77 + 13) % 256; }

struct Fragment {
    void *x;
    const void *memory; // where it is loaded from or stored to
    unsigned stride;
};

inline void check_wmma(const void *memory, unsigned stride, unsigned stride_multiple, void *const *lanes) {
    if (reinterpret_cast<uintptr_t>(memory) % 32) fail("wmma: address not a multiple of 32");
    if (stride % stride_multiple) fail("wmma: stride %u not a multiple of %u", stride, stride_multiple);
    for (unsigned l = 0; l < 32; l++)
        if (static_cast<const Fragment *>(lanes[l])->memory != memory) fail("wmma: lanes give different addresses");
}
} // namespace emu

namespace nvcuda::wmma {
struct matrix_a {};
struct matrix_b {};
struct accumulator {};
struct row_major {};
struct col_major {};
enum layout_t { mem_row_major, mem_col_major };

template <class Use, int M, int N, int K, class T, class Layout = void> struct fragment {
    static_assert(M == 16 && N == 16 && K == 16, "only 16 x 16 x 16");
    static constexpr int num_elements = 8;
    T x[8];
};

template <class F> void fill_fragment(F &f, float value) {
    for (auto &x : f.x) x = value;
}

// Every lane reads its own eight elements, so that a sanitizer sees the accesses; then the warp meets.
template <class Use, class Layout>
void load_matrix_sync(fragment<Use, 16, 16, 16, __half, Layout> &f, const __half *from, unsigned stride) {
    const unsigned lane = emu::block().current % 32;
    for (unsigned e = 0; e < 8; e++) {
        const unsigned at = emu::scattered(lane, e), row = at / 16, column = at % 16;
        f.x[e] = std::is_same_v<Layout, row_major> ? from[row * stride + column] : from[column * stride + row];
    }
    emu::Fragment op{nullptr, from, stride};
    emu::warp_collective(
        [](void *const *lanes, unsigned) {
            const auto *first = static_cast<const emu::Fragment *>(lanes[0]);
            emu::check_wmma(first->memory, first->stride, 8, lanes);
        },
        &op);
}

inline void store_matrix_sync(float *to, const fragment<accumulator, 16, 16, 16, float> &f, unsigned stride,
                              layout_t) {
    const unsigned lane = emu::block().current % 32;
    for (unsigned e = 0; e < 8; e++) {
        const unsigned at = emu::scattered(lane, e);
        to[at / 16 * stride + at % 16] = f.x[e];
    }
    emu::Fragment op{nullptr, to, stride};
    emu::warp_collective(
        [](void *const *lanes, unsigned) {
            const auto *first = static_cast<const emu::Fragment *>(lanes[0]);
            emu::check_wmma(first->memory, first->stride, 4, lanes);
        },
        &op);
}

template <class A, class B, class C> void mma_sync(C &d, const A &a, const B &b, const C &c) {
    struct Operands {
        C *d;
        const A *a;
        const B *b;
        const C *c;
    } op{&d, &a, &b, &c};
    emu::warp_collective(
        [](void *const *lanes, unsigned) {
            float a[256], b[256], d[256];
            for (unsigned l = 0; l < 32; l++) {
                const auto *m = static_cast<const Operands *>(lanes[l]);
                for (unsigned e = 0; e < 8; e++) {
                    const unsigned at = emu::scattered(l, e);
                    a[at] = static_cast<float>(m->a->x[e]);
                    b[at] = static_cast<float>(m->b->x[e]);
                    d[at] = m->c->x[e];
                }
            }
            emu::multiply16(a, b, d);
            for (unsigned l = 0; l < 32; l++)
                for (unsigned e = 0; e < 8; e++)
                    static_cast<const Operands *>(lanes[l])->d->x[e] = d[emu::scattered(l, e)];
        },
        &op);
}
} // namespace nvcuda::wmma
