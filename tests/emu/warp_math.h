// What a warp computes together, by the layouts that the PTX manual documents. Compiled without sanitizers: it reads
// only operands that the lanes have already read themselves.
#pragma once
#include <cstdint>

namespace emu {

void halves_to_floats(const void *halves, float *to, unsigned count);

struct Shuffle {
    float value;
    unsigned mask;
    float result;
};
void shuffle_xor(void *const *lanes, unsigned count);

struct LdMatrix {
    const uint16_t *line; // the lane's row of 8 elements
    unsigned *result;     // 4 registers
};
void ldmatrix4(void *const *lanes, unsigned count);

struct Mma {
    float *d;
    unsigned a[4], b[2];
};
void mma16816(void *const *lanes, unsigned count);

// d += a * b, 16 x 16 by 16 x 16, all as floats, row by row.
void multiply16(const float *a, const float *b, float *d);

} // namespace emu
