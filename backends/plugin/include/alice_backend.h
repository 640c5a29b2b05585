/* SPDX-License-Identifier: GPL-3.0-only
 * SPDX-FileCopyrightText: ALICE contributors
 *
 * The contract between the ALICE daemon and a compute backend, for C (C11 or newer, 64-bit). Made from
 * backends/plugin/src/abi.rs; change that.
 *
 * A plugin is a dynamic library libalice_backend_<name>.so that exports alice_backend_entry, the last line of this
 * file; AliceTable, above it, is what it returns. The rules are in docs/PLUGIN.md; in short:
 *
 *  - One instance runs one call at a time, on any thread. Two instances may run at the same time.
 *  - Whoever allocates frees. The daemon allocates every buffer a result goes to; text goes to a sink.
 *  - Nothing passed to a call may be used after the call has returned, but for the functions of AliceHost.
 *  - Structs begin with their size and grow at their end only: read no field behind the other side's size.
 *  - In a list, struct_size is also the distance from one element to the next: use ALICE_AT.
 *  - Texts are UTF-8 with their length, without a closing zero.
 *  - No exception, signal handler or longjmp crosses a call.
 */

#ifndef ALICE_BACKEND_H
#define ALICE_BACKEND_H

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define ALICE_EXPORT __attribute__((visibility("default")))
#else
#define ALICE_EXPORT
#endif

/* Element i of a list whose elements are of the struct that the pointer says. */
#define ALICE_AT(type, list, i) ((const type *)((const char *)(list) + (size_t)(i) * (list)->struct_size))

/* A running backend: whatever the plugin keeps behind the pointer that its create gave out. */
typedef struct AliceInstance AliceInstance;

// The version of the contract: must be equal on both sides. It changes when a field changes its meaning.
#define ALICE_ABI_MAJOR 1

// Counts the additions within one major version; a difference here is never a reason to refuse.
#define ALICE_ABI_MINOR 3

// The daemon puts at most this many elements into a list (chunks, rows, tensors); more is a broken count.
#define ALICE_LIST_LIMIT 65536

// What a call answers: it worked.
#define ALICE_OK 0

// The arguments make no sense.
#define ALICE_INVALID 1

// They make sense, but this backend does not offer it.
#define ALICE_UNSUPPORTED 2

// The model's files are missing, damaged or of another kind than stated.
#define ALICE_BAD_MODEL 3

// The device has not enough memory; a smaller batch may succeed.
#define ALICE_OUT_OF_MEMORY 4

// The control's `progress` said stop.
#define ALICE_CANCELLED 5

// The device is gone; only a new instance can help.
#define ALICE_DEVICE_LOST 6

// A handle that was never given out, or that has been released.
#define ALICE_STALE_HANDLE 7

// The instance is broken, and refuses everything from here on.
#define ALICE_PANIC 8

// The other side does not keep this contract.
#define ALICE_CONTRACT 9

// Anything else.
#define ALICE_INTERNAL 10

// A level of the host's `log`: something failed.
#define ALICE_ERROR 1

// Something is wrong and the work goes on.
#define ALICE_WARN 2

// What an operator wants to know.
#define ALICE_INFO 3

// What a developer wants to know.
#define ALICE_DEBUG 4

// Everything.
#define ALICE_TRACE 5

// What a call answers. Treat a number that is not listed here as an internal error.
typedef int32_t AliceStatus;

// What the daemon offers to a plugin, given to `create`, which copies what it wants to keep. The functions
// and `user` stay valid until the process ends, and may be used from any thread.
typedef struct AliceHost {
    // Bytes in this struct.
    uint32_t struct_size;
    // The daemon's version of the contract.
    uint16_t abi_major;
    // Its minor part.
    uint16_t abi_minor;
    // Handed to both functions.
    void *user;
    // Takes one line for the log: its level, the module it is about, and the text, both in UTF-8. Never log
    // prompts, pictures or keys.
    void (*log)(void *user,
                uint32_t level,
                const uint8_t *target,
                size_t target_len,
                const uint8_t *message,
                size_t message_len);
    // 0 when nobody would read a line of this level.
    int32_t (*log_enabled)(void *user, uint32_t level);
} AliceHost;

// Where a failed call writes a sentence for a person, never a prompt or a picture. The buffer is the caller's.
typedef struct AliceError {
    // Bytes in this struct.
    uint32_t struct_size;
    // Set by the callee: how many bytes of `message` it has written.
    uint32_t message_len;
    // Room for the sentence in UTF-8; no closing zero is needed.
    uint8_t *message;
    // Bytes of room.
    size_t message_capacity;
} AliceError;

// Where a call puts text whose length the caller cannot know.
typedef struct AliceSink {
    // Bytes in this struct.
    uint32_t struct_size;
    // Handed to `emit`.
    void *user;
    // Takes a copy of the bytes; several pieces are joined. Not 0: the text is not wanted any more, and the call
    // ends with an internal error.
    int32_t (*emit)(void *user, const uint8_t *bytes, size_t len);
} AliceSink;

// The caller's ear and brake during one call, used on the thread that made the call.
typedef struct AliceControl {
    // Bytes in this struct.
    uint32_t struct_size;
    // Handed to `progress`.
    void *user;
    // Call it often: once per tensor file, once per network block. 0 goes on; at anything else the call ends at
    // once, as cancelled. `total` may be 0 when it is not known.
    int32_t (*progress)(void *user, uint64_t done, uint64_t total);
} AliceControl;

// One context window of token ids for one text encoder.
typedef struct AliceTextChunk {
    // Bytes in this struct, and the distance to the next one of a list.
    uint32_t struct_size;
    // Which text encoder of the model.
    uint32_t encoder;
    // Token ids.
    const uint32_t *ids;
    // Number of ids.
    size_t id_count;
    // One weight per id.
    const float *weights;
    // Number of weights.
    size_t weight_count;
} AliceTextChunk;

// A tensor with a name.
typedef struct AliceTensor {
    // Bytes in this struct, and the distance to the next one of a list.
    uint32_t struct_size;
    // Number of sizes in `shape`.
    uint32_t rank;
    // What it is, in UTF-8.
    const uint8_t *name;
    // Bytes in `name`.
    size_t name_len;
    // Its sizes, outermost first.
    const uint32_t *shape;
    // Row-major values.
    const float *data;
    // Number of values, the product of the sizes.
    size_t data_len;
} AliceTensor;

// A prompt to encode.
typedef struct AliceTextCall {
    // Bytes in this struct.
    uint32_t struct_size;
    // Layers to leave out at the encoder's end.
    uint32_t clip_skip;
    // The model.
    uint64_t model;
    // The first chunk; see its `struct_size` for the next.
    const struct AliceTextChunk *chunks;
    // Number of chunks.
    size_t chunk_count;
    // The first tensor of extra embedding rows, each named `rows.<encoder>`: `[count, hidden_size]`.
    const struct AliceTensor *extra_rows;
    // Number of such tensors.
    size_t extra_row_count;
} AliceTextCall;

// A picture that guides a row, since 1.2.
typedef struct AliceHint {
    // Bytes in this struct, and the distance to the next one of a list.
    uint32_t struct_size;
    // Factor on everything that the network adds; 0 adds nothing.
    float scale;
    // The model, of the family `controlnet` or `t2i_adapter`.
    uint64_t model;
    // What that model has encoded, for latents of the call's shape.
    uint64_t hint;
} AliceHint;

// One row of a denoising call.
typedef struct AliceDenoiseRow {
    // Bytes in this struct, and the distance to the next one of a list.
    uint32_t struct_size;
    // The timestep in the model's training units.
    float timestep;
    // The encoded prompt.
    uint64_t conditioning;
    // `[channels, height, width]`.
    const float *latent;
    // Number of values in `latent`.
    size_t latent_len;
    // The first of the row's further inputs.
    const struct AliceTensor *extras;
    // Number of further inputs.
    size_t extra_count;
    // The first of the pictures that guide the row. The rows of a call name the same models in the same order.
    // Since 1.2.
    const struct AliceHint *hints;
    // Number of pictures that guide the row, 0 when `encode_hint` is not offered.
    size_t hint_count;
} AliceDenoiseRow;

// One evaluation of the denoiser.
typedef struct AliceDenoiseCall {
    // Bytes in this struct.
    uint32_t struct_size;
    // Channels of one latent.
    uint32_t channels;
    // Rows of one latent's cells.
    uint32_t height;
    // Columns of one latent's cells.
    uint32_t width;
    // The model.
    uint64_t model;
    // The first row; see its `struct_size` for the next.
    const struct AliceDenoiseRow *rows;
    // Number of rows.
    size_t row_count;
    // Initialised room for `[rows, output_channels, height, width]`.
    float *out;
    // Number of values in `out`.
    size_t out_len;
} AliceDenoiseCall;

// Latents to decode into pictures.
typedef struct AliceDecodeCall {
    // Bytes in this struct.
    uint32_t struct_size;
    // Channels of one latent.
    uint32_t channels;
    // Rows of one latent's cells.
    uint32_t height;
    // Columns of one latent's cells.
    uint32_t width;
    // The model.
    uint64_t model;
    // `[rows, channels, height, width]`.
    const float *latents;
    // Number of values in `latents`.
    size_t latents_len;
    // `DecodeOptions` as JSON.
    const uint8_t *options;
    // Bytes in `options`.
    size_t options_len;
    // Initialised room for `[rows, height * latent_scale, width * latent_scale, 3]`.
    uint8_t *out;
    // Bytes in `out`.
    size_t out_len;
} AliceDecodeCall;

// Pictures to encode into latents.
typedef struct AliceEncodeImageCall {
    // Bytes in this struct.
    uint32_t struct_size;
    // Channels of one latent.
    uint32_t channels;
    // Rows of one latent's cells.
    uint32_t height;
    // Columns of one latent's cells.
    uint32_t width;
    // The model.
    uint64_t model;
    // `[rows, height * latent_scale, width * latent_scale, 3]`; with the option `alpha` 4 bytes a pixel, since 1.3.
    const uint8_t *pixels;
    // Bytes in `pixels`.
    size_t pixels_len;
    // Initialised room for `[rows, channels, height, width]`.
    float *mean;
    // Number of values in `mean`.
    size_t mean_len;
    // Initialised room for as many standard deviations.
    float *deviation;
    // Number of values in `deviation`.
    size_t deviation_len;
    // `EncodeOptions` as JSON; none stands for the whole picture in one piece. Since 1.2.
    const uint8_t *options;
    // Bytes in `options`.
    size_t options_len;
} AliceEncodeImageCall;

// A part of an encoded prompt to read back, since 1.1.
typedef struct AliceReadTextCall {
    // Bytes in this struct.
    uint32_t struct_size;
    // The encoded prompt.
    uint64_t conditioning;
    // The name of the part: `tokens` or `pooled`.
    const uint8_t *part;
    // Bytes in `part`.
    size_t part_len;
    // Initialised room for the part's values, row-major; may be null when `out_len` is 0.
    float *out;
    // Number of values in `out`: exactly those of the part, or 0 to ask for their number alone.
    size_t out_len;
} AliceReadTextCall;

// A picture that is to guide rows, since 1.2.
typedef struct AliceHintCall {
    // Bytes in this struct.
    uint32_t struct_size;
    // Channels of a latent of the rows.
    uint32_t channels;
    // Rows of one latent's cells.
    uint32_t height;
    // Columns of one latent's cells.
    uint32_t width;
    // The model, of the family `controlnet` or `t2i_adapter`.
    uint64_t model;
    // `[height * latent_scale, width * latent_scale, 3]`.
    const uint8_t *pixels;
    // Bytes in `pixels`.
    size_t pixels_len;
} AliceHintCall;

// A picture to make larger, since 1.2.
typedef struct AliceUpscaleCall {
    // Bytes in this struct.
    uint32_t struct_size;
    // Rows of the picture's pixels.
    uint32_t height;
    // Columns of the picture's pixels.
    uint32_t width;
    // The model, of the family `upscaler`.
    uint64_t model;
    // `[height, width, 3]`.
    const uint8_t *pixels;
    // Bytes in `pixels`.
    size_t pixels_len;
    // `UpscaleOptions` as JSON.
    const uint8_t *options;
    // Bytes in `options`.
    size_t options_len;
    // Initialised room for `[height * latent_scale, width * latent_scale, 3]`.
    uint8_t *out;
    // Bytes in `out`.
    size_t out_len;
} AliceUpscaleCall;

// The functions of a plugin. Those that are optional may be null: "not offered". The size and the two numbers
// of the version keep their places in every major version.
//
// One instance runs one call at a time, on any thread; two instances may run at the same time.
typedef struct AliceTable {
    // Bytes in this struct.
    uint32_t struct_size;
    // The plugin's version of the contract.
    uint16_t abi_major;
    // Its minor part.
    uint16_t abi_minor;
    // Starts a backend with its options, a JSON object. Required.
    AliceStatus (*create)(const struct AliceHost *host,
                          const uint8_t *options,
                          size_t options_len,
                          AliceInstance **instance,
                          struct AliceError *error);
    // Ends an instance and everything in it; null is ignored. Required.
    void (*destroy)(AliceInstance *instance);
    // Emits a Description as JSON. Required.
    AliceStatus (*describe)(AliceInstance *instance, const struct AliceSink *description, struct AliceError *error);
    // Loads the model of a LoadRequest in JSON, sets its handle and emits a ModelInfo as JSON. Required.
    AliceStatus (*load)(AliceInstance *instance,
                        const uint8_t *request,
                        size_t request_len,
                        const struct AliceControl *control,
                        uint64_t *model,
                        const struct AliceSink *info,
                        struct AliceError *error);
    // Makes a model behave as with exactly these adapters, a JSON array of Adapter. Optional.
    AliceStatus (*adapt)(AliceInstance *instance,
                         uint64_t model,
                         const uint8_t *adapters,
                         size_t adapters_len,
                         const struct AliceControl *control,
                         struct AliceError *error);
    // Encodes a prompt and sets the handle of its conditioning. Required.
    AliceStatus (*encode_text)(AliceInstance *instance,
                               const struct AliceTextCall *call,
                               const struct AliceControl *control,
                               uint64_t *conditioning,
                               struct AliceError *error);
    // Evaluates the denoiser once for every row. Required.
    AliceStatus (*denoise)(AliceInstance *instance,
                           const struct AliceDenoiseCall *call,
                           const struct AliceControl *control,
                           struct AliceError *error);
    // Decodes latents into pictures. Required.
    AliceStatus (*decode)(AliceInstance *instance,
                          const struct AliceDecodeCall *call,
                          const struct AliceControl *control,
                          struct AliceError *error);
    // Encodes pictures into the mean and the standard deviation of their latents, each in one piece: it need not
    // look at the call's options. Optional.
    AliceStatus (*encode_image)(AliceInstance *instance,
                                const struct AliceEncodeImageCall *call,
                                const struct AliceControl *control,
                                struct AliceError *error);
    // Forgets an encoded prompt or hint. Required.
    AliceStatus (*release)(AliceInstance *instance, uint64_t conditioning, struct AliceError *error);
    // Frees a model and every conditioning made with it. Required.
    AliceStatus (*unload)(AliceInstance *instance, uint64_t model, struct AliceError *error);
    // Emits a Memory as JSON. Required.
    AliceStatus (*memory)(AliceInstance *instance, const struct AliceSink *memory, struct AliceError *error);
    // Sets how many values a part of an encoded prompt has, and writes them when there is room for exactly as many.
    // No room at all asks for the number alone. Optional, since 1.1.
    AliceStatus (*read_text)(AliceInstance *instance,
                             const struct AliceReadTextCall *call,
                             size_t *values,
                             struct AliceError *error);
    // As `encode_image`, by the call's options, of which `alpha` is asked of plugins since 1.3. Optional, since 1.2.
    AliceStatus (*encode_image_tiled)(AliceInstance *instance,
                                      const struct AliceEncodeImageCall *call,
                                      const struct AliceControl *control,
                                      struct AliceError *error);
    // Encodes a picture that is to guide rows, with a model of the family `controlnet` or `t2i_adapter`, and sets
    // its handle, which is given back with `release`. Without it no row has hints. Optional, since 1.2.
    AliceStatus (*encode_hint)(AliceInstance *instance,
                               const struct AliceHintCall *call,
                               const struct AliceControl *control,
                               uint64_t *hint,
                               struct AliceError *error);
    // Makes a picture larger with a model of the family `upscaler`. Optional, since 1.2.
    AliceStatus (*upscale)(AliceInstance *instance,
                           const struct AliceUpscaleCall *call,
                           const struct AliceControl *control,
                           struct AliceError *error);
} AliceTable;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// The one exported symbol. The table is never changed or freed; the library is never closed.
ALICE_EXPORT const struct AliceTable *alice_backend_entry(void);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* ALICE_BACKEND_H */
