/*
 * relay/seal/explain.h - what `callveil run` sets up, in words
 */
#pragma once

/* On standard output. `command`: up to NULL, may be empty. */
void explain(char **command);
