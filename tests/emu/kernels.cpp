// The kernels' own sources as C++, under their names.
#include "jetpace.cu"

EMU_KERNEL(conv_256x64)
EMU_KERNEL(conv_128x128)
EMU_KERNEL(conv_128x64)
EMU_KERNEL(conv_64x128)
EMU_KERNEL(conv_64x64)
EMU_KERNEL(conv_32x64)
EMU_KERNEL(conv_reduce)
EMU_KERNEL(stem_3x3)
EMU_KERNEL(stem_7x7)
EMU_KERNEL(stem_11x11)
EMU_KERNEL(max_pool)
EMU_KERNEL(global_average)
EMU_KERNEL(linear_1)
EMU_KERNEL(marker)
