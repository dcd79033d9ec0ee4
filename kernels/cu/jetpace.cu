// One module with every kernel.
#include "conv.cu"
#include "linear.cu"
#include "marker.cu"
#include "pool.cu"
#include "stem.cu"
