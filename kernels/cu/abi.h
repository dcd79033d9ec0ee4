/* What the CUDA kernels and their launcher agree on. Plain C: the kernels include it, the launcher mirrors it and a
 * test compares every `#define JP_NAME number` below with the mirror. README.md beside it explains the rules.
 *
 * Activations: fp16, NHWC, dense; channels a multiple of 8 (the network's image: exactly 4, the fourth zero).
 * Weights: fp16. Biases and the split-K workspace: fp32. Pointers 16-byte aligned. Every kernel takes one of the
 * structs below by value as its only parameter. Element counts of one tensor stay below 2^31. */
#ifndef JP_ABI_H
#define JP_ABI_H

/* Raised whenever something below changes its meaning. */
#define JP_ABI_VERSION 1

/* Channels of an activation are padded with zeros to a multiple of this. */
#define JP_CHANNEL_ALIGN 8
/* Channels of the network's image: red, green, blue, zero. */
#define JP_IMAGE_CHANNELS 4
/* Largest side of a filter that conv_* takes (its taps fit the bits of a word). */
#define JP_CONV_KERNEL_MAX 5

/* conv_MxN: a block computes M output pixels x N output channels, JP_CONV_THREADS threads.
 * *_SHARED: dynamic shared memory in bytes on sm_80 and later; *_SHARED_SM72: the same on sm_72. */
#define JP_CONV_THREADS 128
/* Input channels in one step of the inner loop; split-K deals out such steps. */
#define JP_CONV_256X64_K 32
#define JP_CONV_256X64_SHARED 81920
#define JP_CONV_256X64_SHARED_SM72 51200
#define JP_CONV_128X128_K 32
#define JP_CONV_128X128_SHARED 65536
#define JP_CONV_128X128_SHARED_SM72 40960
#define JP_CONV_128X64_K 32
#define JP_CONV_128X64_SHARED 49152
#define JP_CONV_128X64_SHARED_SM72 30720
#define JP_CONV_64X128_K 32
#define JP_CONV_64X128_SHARED 49152
#define JP_CONV_64X128_SHARED_SM72 30720
#define JP_CONV_64X64_K 64
#define JP_CONV_64X64_SHARED 49152
#define JP_CONV_64X64_SHARED_SM72 36864
#define JP_CONV_32X64_K 64
#define JP_CONV_32X64_SHARED 36864
#define JP_CONV_32X64_SHARED_SM72 27648

/* stem_KxK: a block computes JP_STEM_ROWS x JP_STEM_COLS output pixels x JP_STEM_CHANNELS output channels. */
#define JP_STEM_THREADS 128
#define JP_STEM_ROWS 8
#define JP_STEM_COLS 16
#define JP_STEM_CHANNELS 64
/* Elements of one filter row as stored: side * 4 rounded up to a multiple of 16, zeros behind. */
#define JP_STEM_3X3_ROW 16
#define JP_STEM_7X7_ROW 32
#define JP_STEM_11X11_ROW 48

/* conv_reduce, max_pool: threads of a block; a thread does 8 channels of one output pixel. */
#define JP_POINTWISE_THREADS 256
#define JP_POINTWISE_CHANNELS 8

/* global_average: a block averages this many channels of one image. */
#define JP_AVERAGE_THREADS 256
#define JP_AVERAGE_CHANNELS 256

/* linear_1: a block computes this many outputs. */
#define JP_LINEAR_THREADS 128
#define JP_LINEAR_OUTPUTS 4

/* conv_*, conv_reduce and stem_*. */
struct JpConv {
    const void *input;    /* fp16 [batch][height][width][channels] */
    const void *weights;  /* fp16 [out_channels][kernel][kernel][channels]; stem_*: [kernel][out_channels][ROW] */
    const void *bias;     /* fp32 [out_channels] */
    const void *residual; /* fp16, the output's shape, added before rectifying; null for none */
    void *output;         /* fp16 [batch][out_height][out_width][out_channels]; halved sides where pool2 */
    void *workspace;      /* fp32 [splits][rows][out_channels], see README.md; null where splits is 1 */
    int batch;
    int height;
    int width;
    int channels;
    int out_height; /* before pool2 */
    int out_width;
    int out_channels;
    int kernel;
    int stride;
    int pad;
    int relu;   /* 0 or 1 */
    int pool2;  /* 0, or 1: maximum of 2 x 2 with stride 2 behind everything else; not with residual, not in stem_* */
    int splits; /* 1, or how many blocks share the sum over input channels and taps */
    int reserved;
};

/* max_pool and global_average. */
struct JpPool {
    const void *input; /* fp16 [batch][height][width][channels] */
    void *output;      /* fp16 [batch][out_height][out_width][channels] */
    int batch;
    int height;
    int width;
    int channels;
    int out_height; /* global_average: 1 */
    int out_width;
    int window; /* global_average ignores window, stride and pad */
    int stride;
    int pad;
    int reserved;
};

/* linear_1. */
struct JpLinear {
    const void *input;   /* fp16 [inputs] */
    const void *weights; /* fp16 [outputs][inputs] */
    const void *bias;    /* fp32 [outputs] */
    void *output;        /* fp16 [outputs] */
    int inputs;          /* a multiple of 8 */
    int outputs;         /* any */
    int relu;
    int reserved;
};

/* marker. */
struct JpMarker {
    void *word;    /* u32 in mapped host memory: gets the count */
    void *counter; /* u32 in device memory: counts the markers run, so that a replayed graph needs no new argument */
};

#endif
