/*
 * relay/invite/qr.h - a text as a QR code in a terminal
 */
#pragma once

#include <stdio.h>

#define QR_E_TOO_LONG 1 /* no QR code holds so much */
#define QR_E_NARROW   2 /* it would be broken at the terminal's edge */

/* Two modules per character cell, black on white whatever the terminal's own colours are: readers
 * want a light ground, and four modules of it around the code (ISO/IEC 18004, section 9.1).
 * `columns` is the terminal's width. Return: 0, -errno, or QR_E_*; nothing was printed then. */
int qr_print(FILE *out, const char *text, unsigned int columns);
