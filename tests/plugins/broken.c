/* SPDX-License-Identifier: GPL-3.0-only
 * SPDX-FileCopyrightText: ALICE contributors
 *
 * Libraries that are no good plugins, each in its own way; the macro BROKEN says which. */
#include <string.h>

#include "alice_backend.h"

#define NO_SYMBOL 1
#define NULL_TABLE 2
#define WRONG_MAJOR 3
#define CUT_SHORT 4
#define NO_FUNCTIONS 5
#define REFUSES_TO_START 6
#define GIVES_NO_INSTANCE 7

#if BROKEN == NO_SYMBOL

int something_else(void);
int something_else(void) { return 0; }

#else

static AliceStatus create(const AliceHost *host, const uint8_t *options, size_t options_len,
                          AliceInstance **instance, AliceError *error) {
    static const char message[] = "the driver is too old";
    (void)host, (void)options, (void)options_len;
    *instance = NULL;
    if (BROKEN == GIVES_NO_INSTANCE) return ALICE_OK;
    memcpy(error->message, message, sizeof message - 1);
    error->message_len = sizeof message - 1;
    return 4711; /* a status that this version does not know */
}

static void destroy(AliceInstance *instance) { (void)instance; }
static AliceStatus text(AliceInstance *i, const AliceSink *s, AliceError *e) { return (void)i, (void)s, (void)e, 0; }
static AliceStatus handle(AliceInstance *i, uint64_t h, AliceError *e) { return (void)i, (void)h, (void)e, 0; }
static AliceStatus load(AliceInstance *i, const uint8_t *r, size_t n, const AliceControl *c, uint64_t *m,
                        const AliceSink *s, AliceError *e) {
    return (void)i, (void)r, (void)n, (void)c, (void)m, (void)s, (void)e, 0;
}
static AliceStatus encode_text(AliceInstance *i, const AliceTextCall *t, const AliceControl *c, uint64_t *h,
                               AliceError *e) {
    return (void)i, (void)t, (void)c, (void)h, (void)e, 0;
}
static AliceStatus denoise(AliceInstance *i, const AliceDenoiseCall *d, const AliceControl *c, AliceError *e) {
    return (void)i, (void)d, (void)c, (void)e, 0;
}
static AliceStatus decode(AliceInstance *i, const AliceDecodeCall *d, const AliceControl *c, AliceError *e) {
    return (void)i, (void)d, (void)c, (void)e, 0;
}

const AliceTable *alice_backend_entry(void) {
    static AliceTable table = {
        .struct_size = sizeof(AliceTable),
        .abi_major = ALICE_ABI_MAJOR,
        .abi_minor = ALICE_ABI_MINOR,
        .create = create,
        .destroy = destroy,
        .describe = text,
        .load = load,
        .encode_text = encode_text,
        .denoise = denoise,
        .decode = decode,
        .release = handle,
        .unload = handle,
        .memory = text,
    }; /* what is missing may be missing */
    if (BROKEN == NULL_TABLE) return NULL;
    if (BROKEN == WRONG_MAJOR) table.abi_major = 99;
    if (BROKEN == CUT_SHORT) table.struct_size = offsetof(AliceTable, memory);
    if (BROKEN == NO_FUNCTIONS) table.denoise = NULL;
    return &table;
}

#endif
