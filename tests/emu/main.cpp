// emu_test [--threads N] [--only PART] [--reverse] [--early] [--stop] full|small|ragged SHAPES
//   full    every shape of the networks at its full size, with the tile that its size asks for
//   small   the same with few pixels but all channels, in both orders of threads and copies
//   ragged  sizes that no tile divides, every tile, split and not
// --only takes the checks whose line contains every PART; --reverse runs threads from last to first; --early copies when a
// copy is issued; --stop ends at the first failure. Prints one line per check; the exit code is 1 where one failed.
#include "fiber.h"
#include "layers.h"
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <functional>
#include <sstream>

namespace {

int checks = 0, failures = 0;
std::vector<std::string> only;
bool stop = false;

void check(const std::string &kernel, const std::string &what, const std::function<std::string()> &run) {
    const std::string name = kernel + ": " + what;
    for (const std::string &part : only)
        if (name.find(part) == std::string::npos) return;
    const std::string wrong = run();
    checks++;
    if (!wrong.empty()) failures++;
    printf("%s %s%s%s\n", wrong.empty() ? "ok  " : "FAIL", name.c_str(), wrong.empty() ? "" : ": ", wrong.c_str());
    fflush(stdout);
    if (stop && failures > 0) exit(1);
}

void check_conv(const ConvShape &s, const Tile &t, int splits) {
    check(t.kernel(), s.name() + (splits > 1 ? " split " + std::to_string(splits) : ""),
          [&] { return run_conv(s, t, splits); });
}

struct Shapes {
    std::vector<ConvShape> convs, stems;
    std::vector<LinearShape> linears;
};

// The lines of shapes.txt; kernels/tests/shapes.rs keeps them in step with the networks.
Shapes read(const char *path) {
    Shapes shapes;
    std::ifstream file(path);
    if (!file) emu::fail("cannot read %s", path);
    for (std::string line; std::getline(file, line);) {
        std::istringstream in(line);
        std::string kind, pool;
        in >> kind;
        if (kind == "conv") {
            ConvShape s{};
            in >> s.inputs >> s.outputs >> s.kernel >> s.stride >> s.pad >> s.side >> s.relu >> s.residual >> pool;
            if (pool == "max") in >> s.window >> s.pool_stride >> s.pool_pad;
            s.pool = pool == "max" ? PoolKind::Max : pool == "average" ? PoolKind::Average : PoolKind::None;
            (s.inputs == 3 ? shapes.stems : shapes.convs).push_back(s);
        } else if (kind == "linear") {
            LinearShape s{};
            in >> s.inputs >> s.outputs >> s.relu;
            shapes.linears.push_back(s);
        } else if (!kind.empty() && kind[0] != '#') {
            emu::fail("%s: what is '%s'?", path, line.c_str());
        }
        if (!in && !in.eof()) emu::fail("%s: cannot read '%s'", path, line.c_str());
    }
    if (shapes.convs.empty() || shapes.stems.empty() || shapes.linears.empty()) emu::fail("%s: shapes missing", path);
    return shapes;
}

// Large tiles for many pixels, as on a GPU.
const Tile &tile_for(const ConvShape &s) {
    const int pixels = s.pixels();
    if (pixels >= 3136) return TILES[s.outputs % 128 == 0 ? 1 : 0];
    if (pixels >= 784) return TILES[2];
    if (pixels >= 196) return TILES[3];
    return TILES[pixels > 32 ? 4 : 5];
}

ConvShape with_side(ConvShape s, int side) {
    s.side = side;
    return s;
}

// The smallest side that still has a border, an inside and every pooling window.
int small_side(const ConvShape &s) { return std::min(s.side, s.stride * (s.window ? 4 : 2) + s.kernel - 2 * s.pad); }

// A fully connected layer at a larger batch is a 1x1 convolution of one pixel.
ConvShape batched(const LinearShape &l, int batch) {
    ConvShape s{l.inputs, (l.outputs + 7) / 8 * 8, 1, 1, 0, 1, l.relu, false};
    s.batch = batch;
    return s;
}

void full(const Shapes &shapes) {
    for (const ConvShape &s : shapes.stems)
        check("stem_" + std::to_string(s.kernel), s.name(), [&] { return run_stem(s); });
    for (const ConvShape &s : shapes.convs) {
        const Tile &t = tile_for(s);
        const int blocks = (s.pixels() + t.m - 1) / t.m * ((s.outputs + t.n - 1) / t.n);
        check_conv(s, t, std::min({steps(s, t), 8, std::max(1, 32 / blocks)}));
    }
    for (const LinearShape &l : shapes.linears) {
        check("linear_1", l.name(), [&] { return run_linear(l); });
        check_conv(batched(l, 3), TILES[5], 4);
    }
    check("marker", "count", run_marker);
}

void small(const Shapes &shapes) {
    for (const ConvShape &s : shapes.stems) {
        const ConvShape few = with_side(s, 4 * s.kernel + 9);
        check("stem_" + std::to_string(s.kernel), few.name(), [&] { return run_stem(few); });
    }
    size_t turn = 0;
    for (const ConvShape &s : shapes.convs) {
        const ConvShape few = with_side(s, small_side(s));
        check_conv(few, TILES[turn % TILES.size()], 1);
        check_conv(few, TILES[(turn + 3) % TILES.size()], std::min(steps(s, TILES[0]), 3));
        turn++;
    }
    for (const LinearShape &l : shapes.linears)
        check("linear_1", l.name(), [&] { return run_linear({l.inputs, std::min(l.outputs, 42), l.relu}); });
    check("marker", "count", run_marker);
}

void ragged() {
    uint32_t state = 12345;
    auto pick = [&state](std::initializer_list<int> from) {
        state = state * 1664525u + 1013904223u;
        return from.begin()[(state >> 16) % from.size()];
    };
    for (const Tile &t : TILES)
        for (int i = 0; i < 24; i++) {
            ConvShape s{};
            s.inputs = pick({8, 24, 32, 40, 64, 72, 136}), s.outputs = pick({8, 16, 64, 72, 136, 200});
            s.kernel = pick({1, 2, 3, 3, 4, 5}), s.stride = pick({1, 1, 2, 3}), s.pad = pick({0, 1, 2});
            s.pad = std::min(s.pad, s.kernel - 1);
            s.side = s.kernel + pick({0, 1, 2, 5, 9}), s.width = s.kernel + pick({0, 1, 3, 8, 14});
            s.batch = pick({1, 1, 2, 3}), s.relu = pick({0, 1}), s.residual = pick({0, 1});
            if (!s.residual && s.out_side() > 1 && s.out_width() > 1 && pick({0, 1}))
                s.pool = PoolKind::Max, s.window = 2, s.pool_stride = 2;
            check_conv(s, t, std::min(pick({1, 1, 2, 5}), steps(s, t)));
        }
    // What is not a number stays so: rectifiers and maxima must not make 0 of it.
    for (const Tile &t : TILES)
        for (int splits : {1, 2})
            for (PoolKind pool : {PoolKind::None, PoolKind::Max}) {
                ConvShape s{72, 72, 3, 1, 1, 6, true, false, pool, 2, 2, 0};
                s.nan = true;
                check_conv(s, t, splits);
            }
    check("max_pool", "NaN", [] { return run_max_pool(1, 7, 7, 72, 3, 2, 1, true); });
    check("linear_1", "NaN", [] { return run_linear({72, 10, true, true}); });
    for (int kernel : {3, 7, 11})
        for (int side : {1, 5, 16, 23})
            for (int batch : {1, 2}) {
                ConvShape s{3, side == 5 ? 128 : 64, kernel, kernel == 3 ? 1 : kernel == 7 ? 2 : 4, kernel / 2,
                            side, true, false};
                s.batch = batch, s.width = side + 13;
                check("stem_" + std::to_string(kernel), s.name(), [&] { return run_stem(s); });
            }
    for (int inputs : {8, 24, 1000, 2048})
        for (int outputs : {1, 3, 10, 64}) {
            const LinearShape l{inputs, outputs, inputs == 24};
            check("linear_1", l.name(), [&] { return run_linear(l); });
        }
    for (int side : {1, 3, 7, 10})
        for (int channels : {8, 72, 264})
            for (int batch : {1, 2}) {
                const std::string at = std::to_string(batch) + "x" + std::to_string(side) + "x" +
                                       std::to_string(side + 1) + "x" + std::to_string(channels);
                if (side >= 3)
                    check("max_pool", at + " 3/2", [&] { return run_max_pool(batch, side, side + 1, channels, 3, 2, side % 2); });
                check("max_pool", at + " 1/1", [&] { return run_max_pool(batch, side, side + 1, channels, 1, 1, 0); });
                check("global_average", at, [&] { return run_average(batch, side, side + 1, channels); });
            }
}

} // namespace

int main(int argc, char **argv) {
    std::vector<std::string> words;
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--threads") && i + 1 < argc)
            threads = static_cast<unsigned>(atoi(argv[++i]));
        else if (!strcmp(argv[i], "--only") && i + 1 < argc)
            only.push_back(argv[++i]);
        else if (!strcmp(argv[i], "--reverse"))
            emu::mode.reverse = true;
        else if (!strcmp(argv[i], "--early"))
            emu::mode.early_copies = true;
        else if (!strcmp(argv[i], "--stop"))
            stop = true;
        else
            words.push_back(argv[i]);
    }
    if (words.size() != 2) emu::fail("usage: emu_test [OPTION ...] full|small|ragged SHAPES");
    const Shapes shapes = read(words[1].c_str());
    emu::mode.banks = words[0] != "full"; // what is counted does not depend on the size
    if (words[0] == "full")
        full(shapes);
    else if (words[0] == "small")
        small(shapes);
    else if (words[0] == "ragged")
        ragged();
    else
        emu::fail("what is %s?", words[0].c_str());
    for (const auto &[kernel, passes] : emu::passes()) {
        const double ratio = static_cast<double>(passes.needed) / static_cast<double>(passes.least);
        if (passes.least == 0) continue;
        const bool within = ratio <= 1;
        printf("%s %s: bank conflicts: shared memory is passed through %.3f times as often as its bytes need\n",
               within ? "ok  " : "FAIL", kernel.c_str(), ratio);
        failures += !within;
    }
    printf("%d checks, %d failed\n", checks, failures);
    return failures > 0 || checks == 0;
}
