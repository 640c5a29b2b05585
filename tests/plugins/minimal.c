/* SPDX-License-Identifier: GPL-3.0-only
 * SPDX-FileCopyrightText: ALICE contributors
 *
 * A whole plugin in C: it answers every latent with itself, moved by the prompt and the timestep, and paints every
 * picture in one colour. A real one would read its JSON with a parser; here a search in the daemon's compact JSON
 * must do. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "alice_backend.h"

enum { MODELS = 8, CONDITIONINGS = 64, CHANNELS = 4, SCALE = 8, MOST_CELLS = 4096 };
enum { CONTEXT = 8, VOCABULARY = 100, MOST_CHUNKS = 4, FACTOR = 2, MOST_PIXELS = 16384 };

/* What a model is for. */
typedef enum { PICTURES, CONTROL, UPSCALER } Role;

typedef struct {
    uint64_t handle;
    Role role;
} Model;

/* A prompt is encoded by its token ids times their weights: one value per token. A hint is encoded by the mean of its
 * picture: one value, and the sides of the latents that it is for. */
typedef struct {
    uint64_t handle, model;
    size_t len;
    uint32_t height, width;
    float values[MOST_CHUNKS * CONTEXT];
} Conditioning;

struct AliceInstance {
    uint64_t last_handle; /* handles are counted, so none comes back */
    Model models[MODELS];
    Conditioning conditionings[CONDITIONINGS];
};

static AliceStatus fail(AliceError *error, AliceStatus status, const char *message) {
    size_t len = strlen(message);
    if (error && error->message) {
        if (len > error->message_capacity) len = error->message_capacity;
        memcpy(error->message, message, len);
        error->message_len = (uint32_t)len;
    }
    return status;
}

static AliceStatus say(const AliceSink *sink, const char *json, AliceError *error) {
    if (sink->emit(sink->user, (const uint8_t *)json, strlen(json)) == 0) return ALICE_OK;
    return fail(error, ALICE_INTERNAL, "the answer was not taken");
}

static int stopped(const AliceControl *control) { return control && control->progress(control->user, 0, 1) != 0; }

static Model *model_slot(AliceInstance *self, uint64_t handle) {
    for (int i = 0; i < MODELS; i++)
        if (self->models[i].handle == handle) return &self->models[i];
    return NULL;
}

/* Whether there is a model of this handle, and whether it is for this; what is wrong otherwise. */
static AliceStatus check_model(AliceInstance *self, uint64_t handle, Role role, AliceError *error) {
    const Model *model = handle ? model_slot(self, handle) : NULL;
    if (!model) return fail(error, ALICE_STALE_HANDLE, "unknown model");
    return model->role == role ? ALICE_OK : fail(error, ALICE_INVALID, "a model of another kind");
}

/* The slot of this handle; the slots that are free have the handle 0. */
static Conditioning *conditioning_slot(AliceInstance *self, uint64_t handle) {
    for (int i = 0; i < CONDITIONINGS; i++)
        if (self->conditionings[i].handle == handle) return &self->conditionings[i];
    return NULL;
}

static AliceStatus create(const AliceHost *host, const uint8_t *options, size_t len, AliceInstance **out,
                          AliceError *error) {
    (void)options, (void)len;
    if (host->abi_major != ALICE_ABI_MAJOR) return fail(error, ALICE_CONTRACT, "another major version");
    *out = calloc(1, sizeof **out);
    return *out ? ALICE_OK : fail(error, ALICE_OUT_OF_MEMORY, "no memory");
}

static void destroy(AliceInstance *self) { free(self); }

static AliceStatus describe(AliceInstance *self, const AliceSink *sink, AliceError *error) {
    (void)self;
    return say(sink,
               "{\"name\":\"minimal\",\"version\":\"1\",\"devices\":[{\"index\":0,\"name\":\"none\",\"kind\":\"cpu\"}],"
               "\"dtypes\":[\"f32\"],\"families\":[\"sd1\""
#if ALICE_ABI_MINOR >= 2
               ",\"controlnet\",\"upscaler\""
#endif
               "],\"score\":1,\"stand_in\":true}",
               error);
}

/* Whether the request's path, with this behind it, is a file. */
static int has_file(const char *request, const char *name) {
    const char *path = strstr(request, "\"path\":\""), *end = path ? strchr(path + 8, '"') : NULL;
    char file[4096];
    if (!end || snprintf(file, sizeof file, "%.*s%s", (int)(end - path - 8), path + 8, name) >= 4096) return 0;
    FILE *index = fopen(file, "r");
    return index && fclose(index) == 0;
}

static AliceStatus load(AliceInstance *self, const uint8_t *json, size_t len, const AliceControl *control,
                        uint64_t *model, const AliceSink *info, AliceError *error) {
    char request[8192] = {0};
    if (len >= sizeof request) return fail(error, ALICE_INVALID, "the request is too long");
    memcpy(request, json, len);
    if (!strstr(request, "\"dtype\":\"auto\"") && !strstr(request, "\"dtype\":\"f32\""))
        return fail(error, ALICE_UNSUPPORTED, "this number format is not offered");
    if (!strstr(request, "\"device\":0}")) return fail(error, ALICE_INVALID, "there is only device 0");
    Role role = PICTURES;
#if ALICE_ABI_MINOR >= 2
    if (strstr(request, "\"family\":\"controlnet\"")) role = CONTROL;
    if (strstr(request, "\"family\":\"upscaler\"")) role = UPSCALER;
#endif
    static const char *const files[] = {"/model_index.json", "/config.json", ""};
    static const char *const infos[] = {
        "{\"latent_channels\":4,\"output_channels\":4,\"latent_scale\":8,\"text_encoders\":"
        "[{\"context_length\":8,\"vocab_size\":100,\"hidden_size\":1}],\"dtype\":\"f32\",\"memory_bytes\":1}",
        "{\"latent_channels\":4,\"output_channels\":0,\"latent_scale\":8,\"text_encoders\":[],"
        "\"dtype\":\"f32\",\"memory_bytes\":1}",
        "{\"latent_channels\":3,\"output_channels\":3,\"latent_scale\":2,\"text_encoders\":[],"
        "\"dtype\":\"f32\",\"memory_bytes\":1}",
    };
    if (!has_file(request, files[role])) return fail(error, ALICE_BAD_MODEL, "the model's file is not there");
    if (stopped(control)) return fail(error, ALICE_CANCELLED, "cancelled");
    Model *slot = model_slot(self, 0);
    if (!slot) return fail(error, ALICE_OUT_OF_MEMORY, "no room for a model");
    AliceStatus status = say(info, infos[role], error);
    if (status != ALICE_OK) return status;
    slot->role = role;
    slot->handle = *model = ++self->last_handle;
    return ALICE_OK;
}

static AliceStatus encode_text(AliceInstance *self, const AliceTextCall *call, const AliceControl *control,
                               uint64_t *conditioning, AliceError *error) {
    AliceStatus known = check_model(self, call->model, PICTURES, error);
    if (known != ALICE_OK) return known;
    if (call->chunk_count == 0) return fail(error, ALICE_INVALID, "no chunks");
    if (call->chunk_count > MOST_CHUNKS) return fail(error, ALICE_UNSUPPORTED, "more chunks than it can take");
    for (size_t i = 0; i < call->chunk_count; i++) {
        const AliceTextChunk *chunk = ALICE_AT(AliceTextChunk, call->chunks, i);
        if (chunk->encoder != 0) return fail(error, ALICE_INVALID, "there is only encoder 0");
        if (chunk->id_count != CONTEXT || chunk->weight_count != CONTEXT)
            return fail(error, ALICE_INVALID, "a chunk has 8 tokens and weights");
        for (size_t j = 0; j < CONTEXT; j++)
            if (chunk->ids[j] >= VOCABULARY) return fail(error, ALICE_INVALID, "a token outside the vocabulary");
    }
    if (stopped(control)) return fail(error, ALICE_CANCELLED, "cancelled");
    Conditioning *slot = conditioning_slot(self, 0);
    if (!slot) return fail(error, ALICE_OUT_OF_MEMORY, "no room for a conditioning");
    slot->model = call->model;
    slot->handle = *conditioning = ++self->last_handle;
    slot->len = call->chunk_count * CONTEXT;
    slot->height = slot->width = 0;
    for (size_t i = 0; i < slot->len; i++) {
        const AliceTextChunk *chunk = ALICE_AT(AliceTextChunk, call->chunks, i / CONTEXT);
        slot->values[i] = (float)chunk->ids[i % CONTEXT] * chunk->weights[i % CONTEXT];
    }
    return ALICE_OK;
}

#if ALICE_ABI_MINOR >= 1
static AliceStatus read_text(AliceInstance *self, const AliceReadTextCall *call, size_t *values, AliceError *error) {
    const Conditioning *slot = call->conditioning ? conditioning_slot(self, call->conditioning) : NULL;
    if (!slot) return fail(error, ALICE_STALE_HANDLE, "unknown conditioning");
    if (call->part_len != 6 || memcmp(call->part, "tokens", 6) != 0)
        return fail(error, ALICE_UNSUPPORTED, "a prompt has nothing but tokens");
    if (call->out_len != 0 && call->out_len != slot->len) return fail(error, ALICE_INVALID, "another room");
    if (call->out_len != 0) memcpy(call->out, slot->values, slot->len * sizeof(float));
    *values = slot->len;
    return ALICE_OK;
}
#endif

/* Values in one latent, 0 for a shape that no latent has. */
static size_t latent_len(uint32_t channels, uint32_t height, uint32_t width) {
    if (channels != CHANNELS || height > MOST_CELLS || width > MOST_CELLS) return 0;
    return (size_t)channels * height * width;
}

#if ALICE_ABI_MINOR >= 2
/* Adds what the row's hints say to `shift`; the rows of a call name the same models as the first. */
static AliceStatus add_hints(AliceInstance *self, const AliceDenoiseCall *call, const AliceDenoiseRow *row,
                             float *shift, AliceError *error) {
    if (row->hint_count != call->rows->hint_count) return fail(error, ALICE_INVALID, "another number of hints");
    for (size_t i = 0; i < row->hint_count; i++) {
        const AliceHint *hint = ALICE_AT(AliceHint, row->hints, i);
        AliceStatus known = check_model(self, hint->model, CONTROL, error);
        if (known != ALICE_OK) return known;
        const Conditioning *picture = hint->hint ? conditioning_slot(self, hint->hint) : NULL;
        if (!picture || picture->model != hint->model) return fail(error, ALICE_STALE_HANDLE, "unknown hint");
        if (picture->height != call->height || picture->width != call->width)
            return fail(error, ALICE_INVALID, "a hint for another shape");
        if (hint->model != ALICE_AT(AliceHint, call->rows->hints, i)->model)
            return fail(error, ALICE_INVALID, "hints of another model");
        /* Neither infinite nor not a number. */
        if (hint->scale - hint->scale != 0) return fail(error, ALICE_INVALID, "a scale that is not finite");
        *shift += hint->scale * picture->values[0];
    }
    return ALICE_OK;
}

static AliceStatus encode_hint(AliceInstance *self, const AliceHintCall *call, const AliceControl *control,
                               uint64_t *hint, AliceError *error) {
    AliceStatus known = check_model(self, call->model, CONTROL, error);
    if (known != ALICE_OK) return known;
    size_t len = latent_len(call->channels, call->height, call->width);
    if (!len || call->pixels_len != len / CHANNELS * SCALE * SCALE * 3)
        return fail(error, ALICE_INVALID, "shape and picture do not fit");
    if (stopped(control)) return fail(error, ALICE_CANCELLED, "cancelled");
    Conditioning *slot = conditioning_slot(self, 0);
    if (!slot) return fail(error, ALICE_OUT_OF_MEMORY, "no room for a hint");
    uint64_t sum = 0;
    for (size_t i = 0; i < call->pixels_len; i++) sum += call->pixels[i];
    slot->model = call->model;
    slot->handle = *hint = ++self->last_handle;
    slot->len = 1;
    slot->height = call->height;
    slot->width = call->width;
    slot->values[0] = (float)sum / (float)call->pixels_len / 255;
    return ALICE_OK;
}

/* Whether the options, which are JSON, ask for a tile without a side. */
static int no_tile(const uint8_t *json, size_t len) {
    char options[64] = {0};
    if (len >= sizeof options) return 0;
    if (len) memcpy(options, json, len);
    return strstr(options, "\"tile\":0}") != NULL;
}

static AliceStatus upscale(AliceInstance *self, const AliceUpscaleCall *call, const AliceControl *control,
                           AliceError *error) {
    AliceStatus known = check_model(self, call->model, UPSCALER, error);
    if (known != ALICE_OK) return known;
    size_t width = call->width, len = width * call->height * 3;
    if (!call->height || !width || call->height > MOST_PIXELS || width > MOST_PIXELS || call->pixels_len != len ||
        call->out_len != len * FACTOR * FACTOR || no_tile(call->options, call->options_len))
        return fail(error, ALICE_INVALID, "sides, picture, tile and room do not fit");
    if (stopped(control)) return fail(error, ALICE_CANCELLED, "cancelled");
    for (size_t i = 0; i < call->out_len; i++) {
        size_t x = i / 3 % (width * FACTOR), y = i / 3 / (width * FACTOR);
        call->out[i] = call->pixels[(y / FACTOR * width + x / FACTOR) * 3 + i % 3];
    }
    return ALICE_OK;
}
#endif

static AliceStatus denoise(AliceInstance *self, const AliceDenoiseCall *call, const AliceControl *control,
                           AliceError *error) {
    size_t len = latent_len(call->channels, call->height, call->width);
    AliceStatus known = check_model(self, call->model, PICTURES, error);
    if (known != ALICE_OK) return known;
    if (!len || !call->row_count || call->row_count > ALICE_LIST_LIMIT || call->out_len != len * call->row_count)
        return fail(error, ALICE_INVALID, "shape, rows and room do not fit");
    for (size_t i = 0; i < call->row_count; i++) {
        const AliceDenoiseRow *row = ALICE_AT(AliceDenoiseRow, call->rows, i);
        const Conditioning *prompt = row->conditioning ? conditioning_slot(self, row->conditioning) : NULL;
        if (!prompt || prompt->model != call->model) return fail(error, ALICE_STALE_HANDLE, "unknown conditioning");
        if (row->latent_len != len) return fail(error, ALICE_INVALID, "a latent of another length");
        if (stopped(control)) return fail(error, ALICE_CANCELLED, "cancelled");
        float shift = row->timestep / 1000;
        for (size_t j = 0; j < prompt->len; j++) shift += prompt->values[j] / VOCABULARY;
#if ALICE_ABI_MINOR >= 2
        AliceStatus guided = add_hints(self, call, row, &shift, error);
        if (guided != ALICE_OK) return guided;
#endif
        for (size_t j = 0; j < len; j++) call->out[i * len + j] = row->latent[j] + shift;
    }
    return ALICE_OK;
}

static AliceStatus decode(AliceInstance *self, const AliceDecodeCall *call, const AliceControl *control,
                          AliceError *error) {
    static const uint8_t colour[3] = {214, 40, 57};
    size_t len = latent_len(call->channels, call->height, call->width);
    AliceStatus known = check_model(self, call->model, PICTURES, error);
    if (known != ALICE_OK) return known;
    if (!len || call->latents_len == 0 || call->latents_len % len != 0 ||
        call->out_len != call->latents_len / CHANNELS * SCALE * SCALE * 3)
        return fail(error, ALICE_INVALID, "latents and room do not fit");
    if (stopped(control)) return fail(error, ALICE_CANCELLED, "cancelled");
    for (size_t i = 0; i < call->out_len; i++) call->out[i] = colour[i % 3];
    return ALICE_OK;
}

static AliceStatus release(AliceInstance *self, uint64_t conditioning, AliceError *error) {
    Conditioning *slot = conditioning ? conditioning_slot(self, conditioning) : NULL;
    if (!slot) return fail(error, ALICE_STALE_HANDLE, "unknown conditioning");
    slot->handle = 0;
    return ALICE_OK;
}

static AliceStatus unload(AliceInstance *self, uint64_t model, AliceError *error) {
    Model *slot = model ? model_slot(self, model) : NULL;
    if (!slot) return fail(error, ALICE_STALE_HANDLE, "unknown model");
    slot->handle = 0;
    for (int i = 0; i < CONDITIONINGS; i++)
        if (self->conditionings[i].model == model) self->conditionings[i].handle = 0;
    return ALICE_OK;
}

static AliceStatus memory(AliceInstance *self, const AliceSink *sink, AliceError *error) {
    int models = 0, conditionings = 0;
    char json[64];
    for (int i = 0; i < MODELS; i++) models += self->models[i].handle != 0;
    for (int i = 0; i < CONDITIONINGS; i++) conditionings += self->conditionings[i].handle != 0;
    snprintf(json, sizeof json, "{\"weights\":%d,\"working\":%d}", models, conditionings);
    return say(sink, json, error);
}

const AliceTable *alice_backend_entry(void) {
    static const AliceTable table = {
        .struct_size = sizeof(AliceTable),
        .abi_major = ALICE_ABI_MAJOR,
        .abi_minor = ALICE_ABI_MINOR,
        .create = create,
        .destroy = destroy,
        .describe = describe,
        .load = load,
        .encode_text = encode_text,
        .denoise = denoise,
        .decode = decode,
        .release = release,
        .unload = unload,
        .memory = memory,
#if ALICE_ABI_MINOR >= 1
        .read_text = read_text,
#endif
#if ALICE_ABI_MINOR >= 2
        .encode_hint = encode_hint,
        .upscale = upscale,
#endif
    };
    return &table;
}
