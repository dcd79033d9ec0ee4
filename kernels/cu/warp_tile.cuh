// A warp's M x N piece of C += A B from shared memory: mma.sync from sm_80 on, wmma on sm_72.
// A is [rows][K] and B is [columns][K], fp16, K contiguous, each tile with the row layout of `SharedTile`.
#pragma once
#include "epilogue.cuh"

#if __CUDA_ARCH__ >= 800

// Rows of K elements without padding. The 16-byte chunks of a row are permuted by the row number so that ldmatrix's
// eight rows, and eight neighbouring copies, each lie in different banks. It repeats every 8 rows: an element 8 n rows
// further down lies 8 n STRIDE further on.
template <int K> struct SharedTile {
    static_assert(K == 32 || K == 64, "the permutation below covers rows of 64 and 128 bytes");
    static constexpr int STRIDE = K;
    static __device__ __forceinline__ int offset(int row, int chunk) {
        const int swizzle = K == 64 ? row & 7 : (row >> 1) & 3;
        return row * K + ((chunk ^ swizzle) << 3);
    }
    // The row that a thread copies first; its chunk is thread % (K / 8).
    static __device__ __forceinline__ int first_row(unsigned thread) { return thread / (K / 8); }
};

template <int M, int N> struct WarpTile {
    static constexpr int MI = M / 16;
    static constexpr int NI = N / 8;
    float acc[MI][NI][4];
    unsigned a[MI][4], b[NI / 2][4];

    __device__ __forceinline__ void clear() {
#pragma unroll
        for (int i = 0; i < MI; i++)
#pragma unroll
            for (int j = 0; j < NI; j++)
#pragma unroll
                for (int e = 0; e < 4; e++) acc[i][j][e] = 0.f;
    }

    // Reads the operands of the k-th slice of 16.
    template <int K> __device__ __forceinline__ void load(SharedAt A, SharedAt B, int k) {
        const int lane = threadIdx.x & 31;
        const SharedAt a_row = A + 2 * SharedTile<K>::offset(lane & 15, k * 2 + (lane >> 4));
        const SharedAt b_row =
            B + 2 * SharedTile<K>::offset((lane & 7) + ((lane >> 4) << 3), k * 2 + ((lane >> 3) & 1));
#pragma unroll
        for (int i = 0; i < MI; i++) ldmatrix4(a[i], a_row + i * 32 * SharedTile<K>::STRIDE);
#pragma unroll
        for (int j = 0; j < NI / 2; j++) ldmatrix4(b[j], b_row + j * 32 * SharedTile<K>::STRIDE);
    }

    __device__ __forceinline__ void multiply() {
#pragma unroll
        for (int i = 0; i < MI; i++)
#pragma unroll
            for (int j = 0; j < NI; j++) mma16816(acc[i][j], a[i], b[j / 2][j % 2 * 2], b[j / 2][j % 2 * 2 + 1]);
    }

    // Rows i * 16 to i * 16 + 15 into a Staging<N>.
    __device__ __forceinline__ void stage(float *to, int i) const {
        using S = Staging<N>;
        const int lane = threadIdx.x & 31, row = lane >> 2, column = (lane & 3) * 2;
#pragma unroll
        for (int j = 0; j < NI; j++) {
            // Row + 8 is swapped where this one is.
            float *at = to + row * S::STRIDE + j * 8 + (S::swapped(row, j * 8) ? column ^ 4 : column);
            store_shared(at, make_float2(acc[i][j][0], acc[i][j][1]));
            store_shared(at + 8 * S::STRIDE, make_float2(acc[i][j][2], acc[i][j][3]));
        }
    }
};

#else

// wmma wants rows at a fixed distance; 8 elements of padding spread them over the banks.
template <int K> struct SharedTile {
    static constexpr int STRIDE = K + 8;
    static __device__ __forceinline__ int offset(int row, int chunk) { return row * STRIDE + chunk * 8; }
    // The row that a thread copies first; its chunk is thread % (K / 8). Eight threads store together: two rows of 64
    // bytes, which lie in different banks four rows apart (4 * 80 = 64 modulo 128), not next to each other.
    static __device__ __forceinline__ int first_row(unsigned thread) {
        const int row = static_cast<int>(thread) / (K / 8);
        return K == 64 ? row : (row & ~7) | (row & 1) << 2 | (row >> 1 & 3);
    }
};

template <int M, int N> struct WarpTile {
    static constexpr int MI = M / 16;
    static constexpr int NI = N / 16;
    nvcuda::wmma::fragment<nvcuda::wmma::accumulator, 16, 16, 16, float> acc[MI][NI];

    __device__ __forceinline__ void clear() {
#pragma unroll
        for (int i = 0; i < MI; i++)
#pragma unroll
            for (int j = 0; j < NI; j++) nvcuda::wmma::fill_fragment(acc[i][j], 0.f);
    }

    // The k-th slice of 16, rows STRIDE elements apart.
    template <int STRIDE> __device__ __forceinline__ void multiply(const __half *A, const __half *B, int k) {
        using namespace nvcuda::wmma;
        fragment<matrix_a, 16, 16, 16, __half, row_major> a[MI];
#pragma unroll
        for (int i = 0; i < MI; i++) load_matrix_sync(a[i], A + i * 16 * STRIDE + k * 16, STRIDE);
#pragma unroll
        for (int j = 0; j < NI; j++) {
            fragment<matrix_b, 16, 16, 16, __half, col_major> b;
            load_matrix_sync(b, B + j * 16 * STRIDE + k * 16, STRIDE);
#pragma unroll
            for (int i = 0; i < MI; i++) mma_sync(acc[i][j], a[i], b, acc[i][j]);
        }
    }

    __device__ __forceinline__ void stage(float *to, int i) const {
#pragma unroll
        for (int j = 0; j < NI; j++)
            nvcuda::wmma::store_matrix_sync(to + j * 16, acc[i][j], Staging<N>::STRIDE, nvcuda::wmma::mem_row_major);
    }
};

#endif
