/* SPDX-License-Identifier: GPL-3.0-only */
/* SPDX-FileCopyrightText: ALICE contributors */
/* A library that takes its process with it as soon as it is opened. */

#include <stdlib.h>

__attribute__((constructor)) static void crash(void) { abort(); }

/* Nobody comes this far. */
int alice_backend_entry(void);
int alice_backend_entry(void) { return 0; }
