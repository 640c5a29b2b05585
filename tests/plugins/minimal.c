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
enum { CONTEXT = 8, VOCABULARY = 100, MOST_CHUNKS = 4 };

/* A prompt is encoded by its token ids times their weights: one value per token. */
typedef struct {
    uint64_t handle, model;
    size_t len;
    float values[MOST_CHUNKS * CONTEXT];
} Conditioning;

struct AliceInstance {
    uint64_t last_handle; /* handles are counted, so none comes back */
    uint64_t models[MODELS];
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

static uint64_t *model_slot(AliceInstance *self, uint64_t handle) {
    for (int i = 0; i < MODELS; i++)
        if (self->models[i] == handle) return &self->models[i];
    return NULL;
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
               "\"dtypes\":[\"f32\"],\"families\":[\"sd1\"],\"score\":1,\"stand_in\":true}",
               error);
}

/* Whether the request's directory holds a model_index.json. */
static int has_index(const char *request) {
    const char *path = strstr(request, "\"path\":\""), *end = path ? strchr(path + 8, '"') : NULL;
    char file[4096];
    if (!end || snprintf(file, sizeof file, "%.*s/model_index.json", (int)(end - path - 8), path + 8) >= 4096) return 0;
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
    if (!has_index(request)) return fail(error, ALICE_BAD_MODEL, "there is no model_index.json");
    if (stopped(control)) return fail(error, ALICE_CANCELLED, "cancelled");
    uint64_t *slot = model_slot(self, 0);
    if (!slot) return fail(error, ALICE_OUT_OF_MEMORY, "no room for a model");
    AliceStatus status = say(info,
                             "{\"latent_channels\":4,\"output_channels\":4,\"latent_scale\":8,\"text_encoders\":"
                             "[{\"context_length\":8,\"vocab_size\":100,\"hidden_size\":1}],"
                             "\"dtype\":\"f32\",\"memory_bytes\":1}",
                             error);
    if (status == ALICE_OK) *slot = *model = ++self->last_handle;
    return status;
}

static AliceStatus encode_text(AliceInstance *self, const AliceTextCall *call, const AliceControl *control,
                               uint64_t *conditioning, AliceError *error) {
    if (!call->model || !model_slot(self, call->model)) return fail(error, ALICE_STALE_HANDLE, "unknown model");
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

static AliceStatus denoise(AliceInstance *self, const AliceDenoiseCall *call, const AliceControl *control,
                           AliceError *error) {
    size_t len = latent_len(call->channels, call->height, call->width);
    if (!call->model || !model_slot(self, call->model)) return fail(error, ALICE_STALE_HANDLE, "unknown model");
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
        for (size_t j = 0; j < len; j++) call->out[i * len + j] = row->latent[j] + shift;
    }
    return ALICE_OK;
}

static AliceStatus decode(AliceInstance *self, const AliceDecodeCall *call, const AliceControl *control,
                          AliceError *error) {
    static const uint8_t colour[3] = {214, 40, 57};
    size_t len = latent_len(call->channels, call->height, call->width);
    if (!call->model || !model_slot(self, call->model)) return fail(error, ALICE_STALE_HANDLE, "unknown model");
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
    uint64_t *slot = model ? model_slot(self, model) : NULL;
    if (!slot) return fail(error, ALICE_STALE_HANDLE, "unknown model");
    *slot = 0;
    for (int i = 0; i < CONDITIONINGS; i++)
        if (self->conditionings[i].model == model) self->conditionings[i].handle = 0;
    return ALICE_OK;
}

static AliceStatus memory(AliceInstance *self, const AliceSink *sink, AliceError *error) {
    int models = 0, conditionings = 0;
    char json[64];
    for (int i = 0; i < MODELS; i++) models += self->models[i] != 0;
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
    };
    return &table;
}
