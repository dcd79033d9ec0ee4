#include "warp_math.h"
#include "fiber.h"
#include <cstring>

namespace emu {

void halves_to_floats(const void *halves, float *to, unsigned count) {
    _Float16 h;
    for (unsigned i = 0; i < count; i++) {
        memcpy(&h, static_cast<const char *>(halves) + 2 * i, 2);
        to[i] = static_cast<float>(h);
    }
}

static void whole(unsigned count, const char *what) {
    if (count != 32) fail("%s in a warp of %u lanes", what, count);
}

void shuffle_xor(void *const *lanes, unsigned count) {
    whole(count, "shuffle");
    for (unsigned l = 0; l < 32; l++) {
        auto *mine = static_cast<Shuffle *>(lanes[l]);
        mine->result = static_cast<const Shuffle *>(lanes[l ^ mine->mask])->value;
    }
}

void ldmatrix4(void *const *lanes, unsigned count) {
    whole(count, "ldmatrix");
    for (unsigned m = 0; m < 4; m++) {
        // Lane l gets elements 2 * (l % 4) and the next of row l / 4.
        for (unsigned l = 0; l < 32; l++)
            memcpy(&static_cast<LdMatrix *>(lanes[l])->result[m],
                   static_cast<const LdMatrix *>(lanes[m * 8 + l / 4])->line + l % 4 * 2, 4);
    }
}

void mma16816(void *const *lanes, unsigned count) {
    whole(count, "mma");
    float a[16][16], b[16][8], d[16][8];
    for (unsigned l = 0; l < 32; l++) {
        const auto *m = static_cast<const Mma *>(lanes[l]);
        const unsigned g = l / 4, q = l % 4 * 2;
        float fa[8], fb[4];
        halves_to_floats(m->a, fa, 8);
        halves_to_floats(m->b, fb, 4);
        for (unsigned e = 0; e < 2; e++) {
            a[g][q + e] = fa[e];
            a[g + 8][q + e] = fa[2 + e];
            a[g][q + 8 + e] = fa[4 + e];
            a[g + 8][q + 8 + e] = fa[6 + e];
            b[q + e][g] = fb[e];
            b[q + 8 + e][g] = fb[2 + e];
            d[g][q + e] = m->d[e];
            d[g + 8][q + e] = m->d[2 + e];
        }
    }
    for (unsigned i = 0; i < 16; i++)
        for (unsigned k = 0; k < 16; k++)
            for (unsigned j = 0; j < 8; j++) d[i][j] += a[i][k] * b[k][j];
    for (unsigned l = 0; l < 32; l++) {
        float *to = static_cast<const Mma *>(lanes[l])->d;
        const unsigned g = l / 4, q = l % 4 * 2;
        for (unsigned e = 0; e < 2; e++) {
            to[e] = d[g][q + e];
            to[2 + e] = d[g + 8][q + e];
        }
    }
}

void multiply16(const float *a, const float *b, float *d) {
    for (unsigned i = 0; i < 16; i++)
        for (unsigned k = 0; k < 16; k++)
            for (unsigned j = 0; j < 16; j++) d[i * 16 + j] += a[i * 16 + k] * b[k * 16 + j];
}

} // namespace emu
