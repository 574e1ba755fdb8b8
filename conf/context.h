/*
 * conf/context.h - characters that are allowed between some neighbours only
 *
 * PRECIS takes the CONTEXTJ and CONTEXTO rules over from IDNA (RFC 5892, appendix A): joiners that
 * are invisible except inside some scripts, and punctuation that looks like something else outside
 * its own script.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Whether a rule exists for the character: then it decides, and not the character's category. */
bool context_matters(uint32_t c);

/* The rule for text[i], for which context_matters(). */
bool context_allows(const uint32_t *text, size_t len, size_t i);
