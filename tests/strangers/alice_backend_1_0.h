/* SPDX-License-Identifier: GPL-3.0-only
 * SPDX-FileCopyrightText: ALICE contributors
 *
 * The contract between the ALICE daemon and a compute backend, for C (C11 or newer, 64-bit).
 *
 * A plugin is a dynamic library libalice_backend_<name>.so that exports alice_backend_entry. The rules are in
 * docs/PLUGIN.md; in short:
 *
 *  - One instance runs one call at a time, on any thread. Two instances may run at the same time.
 *  - Whoever allocates frees. The daemon allocates every buffer a result goes to; text goes to a sink.
 *  - Nothing passed to a call may be used after the call has returned, but for the functions of AliceHost.
 *  - Structs begin with their size and grow at their end only: read no field behind the other side's size.
 *  - In a list, struct_size is also the distance from one element to the next: use ALICE_AT.
 *  - No exception, signal handler or longjmp crosses a call.
 */
#ifndef ALICE_BACKEND_H
#define ALICE_BACKEND_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define ALICE_ABI_MAJOR 1 /* must be equal on both sides */
#define ALICE_ABI_MINOR 0 /* counts additions */

/* The daemon puts at most this many elements into a list. */
#define ALICE_LIST_LIMIT 65536

/* What a call answers. Treat a number that is not listed as ALICE_INTERNAL. */
typedef int32_t AliceStatus;
enum {
    ALICE_OK = 0,
    ALICE_INVALID = 1,       /* the arguments make no sense */
    ALICE_UNSUPPORTED = 2,   /* they make sense, this backend does not offer it */
    ALICE_BAD_MODEL = 3,     /* files missing, damaged or of another kind than stated */
    ALICE_OUT_OF_MEMORY = 4, /* a smaller batch may succeed */
    ALICE_CANCELLED = 5,     /* AliceControl.progress said stop */
    ALICE_DEVICE_LOST = 6,   /* only a new instance can help */
    ALICE_STALE_HANDLE = 7,  /* never given out, or released */
    ALICE_PANIC = 8,         /* the instance is broken and refuses everything from here on */
    ALICE_CONTRACT = 9,      /* the other side does not keep this contract */
    ALICE_INTERNAL = 10      /* anything else */
};

/* Levels of AliceHost.log. */
enum { ALICE_ERROR = 1, ALICE_WARN = 2, ALICE_INFO = 3, ALICE_DEBUG = 4, ALICE_TRACE = 5 };

/* Whatever the plugin keeps behind the pointer that its create gave out. */
typedef struct AliceInstance AliceInstance;

/* Given to create, which copies what it keeps. The functions and user are valid until the process ends, on
 * any thread. Texts are UTF-8 and need no closing zero. */
typedef struct AliceHost {
    uint32_t struct_size;
    uint16_t abi_major;
    uint16_t abi_minor;
    void *user;
    void (*log)(void *user, uint32_t level, const uint8_t *target, size_t target_len, const uint8_t *message,
                size_t message_len);
    int32_t (*log_enabled)(void *user, uint32_t level); /* 0: nobody would read it */
} AliceHost;

/* Call progress often (once per tensor file, once per network block), on the thread of the running call:
 * 0 goes on; otherwise answer ALICE_CANCELLED at once. total may be 0. */
typedef struct AliceControl {
    uint32_t struct_size;
    void *user;
    int32_t (*progress)(void *user, uint64_t done, uint64_t total);
} AliceControl;

/* Takes a copy of the bytes; several pieces are joined. Not 0: end the call with ALICE_INTERNAL. */
typedef struct AliceSink {
    uint32_t struct_size;
    void *user;
    int32_t (*emit)(void *user, const uint8_t *bytes, size_t len);
} AliceSink;

/* Where a failed call writes a sentence for a person (never a prompt or a picture); set message_len. */
typedef struct AliceError {
    uint32_t struct_size;
    uint32_t message_len;
    uint8_t *message;
    size_t message_capacity;
} AliceError;

/* A tensor with a name; data_len is the product of the rank sizes in shape. Element of a list. */
typedef struct AliceTensor {
    uint32_t struct_size;
    uint32_t rank;
    const uint8_t *name;
    size_t name_len;
    const uint32_t *shape;
    const float *data;
    size_t data_len;
} AliceTensor;

/* One context window of token ids for one text encoder. Element of a list. */
typedef struct AliceTextChunk {
    uint32_t struct_size;
    uint32_t encoder;
    const uint32_t *ids;
    size_t id_count;
    const float *weights;
    size_t weight_count;
} AliceTextChunk;

typedef struct AliceTextCall {
    uint32_t struct_size;
    uint32_t clip_skip;
    uint64_t model;
    const AliceTextChunk *chunks;
    size_t chunk_count;
    const AliceTensor *extra_rows; /* named "rows.<encoder>": [count, hidden_size] */
    size_t extra_row_count;
} AliceTextCall;

/* One row of a denoising call: latent is [channels, height, width]. Element of a list. */
typedef struct AliceDenoiseRow {
    uint32_t struct_size;
    float timestep;
    uint64_t conditioning;
    const float *latent;
    size_t latent_len;
    const AliceTensor *extras;
    size_t extra_count;
} AliceDenoiseRow;

typedef struct AliceDenoiseCall {
    uint32_t struct_size;
    uint32_t channels;
    uint32_t height;
    uint32_t width;
    uint64_t model;
    const AliceDenoiseRow *rows;
    size_t row_count;
    float *out; /* [rows, output_channels, height, width] */
    size_t out_len;
} AliceDenoiseCall;

typedef struct AliceDecodeCall {
    uint32_t struct_size;
    uint32_t channels;
    uint32_t height;
    uint32_t width;
    uint64_t model;
    const float *latents; /* [rows, channels, height, width] */
    size_t latents_len;
    const uint8_t *options; /* JSON */
    size_t options_len;
    uint8_t *out; /* [rows, height * latent_scale, width * latent_scale, 3] */
    size_t out_len;
} AliceDecodeCall;

typedef struct AliceEncodeImageCall {
    uint32_t struct_size;
    uint32_t channels;
    uint32_t height;
    uint32_t width;
    uint64_t model;
    const uint8_t *pixels; /* [rows, height * latent_scale, width * latent_scale, 3] */
    size_t pixels_len;
    float *mean; /* [rows, channels, height, width] */
    size_t mean_len;
    float *deviation; /* [rows, channels, height, width] */
    size_t deviation_len;
} AliceEncodeImageCall;

/* The functions of a plugin. adapt and encode_image may be null ("not offered"), the others may not.
 * struct_size, abi_major and abi_minor keep their places in every major version. */
typedef struct AliceTable {
    uint32_t struct_size;
    uint16_t abi_major;
    uint16_t abi_minor;
    AliceStatus (*create)(const AliceHost *host, const uint8_t *options, size_t options_len,
                          AliceInstance **instance, AliceError *error);
    void (*destroy)(AliceInstance *instance);
    AliceStatus (*describe)(AliceInstance *instance, const AliceSink *description, AliceError *error);
    AliceStatus (*load)(AliceInstance *instance, const uint8_t *request, size_t request_len,
                        const AliceControl *control, uint64_t *model, const AliceSink *info, AliceError *error);
    AliceStatus (*adapt)(AliceInstance *instance, uint64_t model, const uint8_t *adapters, size_t adapters_len,
                         const AliceControl *control, AliceError *error);
    AliceStatus (*encode_text)(AliceInstance *instance, const AliceTextCall *call, const AliceControl *control,
                               uint64_t *conditioning, AliceError *error);
    AliceStatus (*denoise)(AliceInstance *instance, const AliceDenoiseCall *call, const AliceControl *control,
                           AliceError *error);
    AliceStatus (*decode)(AliceInstance *instance, const AliceDecodeCall *call, const AliceControl *control,
                          AliceError *error);
    AliceStatus (*encode_image)(AliceInstance *instance, const AliceEncodeImageCall *call,
                                const AliceControl *control, AliceError *error);
    AliceStatus (*release)(AliceInstance *instance, uint64_t conditioning, AliceError *error);
    AliceStatus (*unload)(AliceInstance *instance, uint64_t model, AliceError *error);
    AliceStatus (*memory)(AliceInstance *instance, const AliceSink *memory, AliceError *error);
} AliceTable;

/* The one exported symbol. The table is never changed or freed; the library is never closed. */
#if defined(__GNUC__)
__attribute__((visibility("default")))
#endif
const AliceTable *alice_backend_entry(void);

/* Element i of a list whose elements are of the struct that the pointer says. */
#define ALICE_AT(type, list, i) ((const type *)((const char *)(list) + (size_t)(i) * (list)->struct_size))

#ifdef __cplusplus
}
#endif
#endif
