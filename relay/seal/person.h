/*
 * relay/seal/person.h - as whom an app is run
 *
 * As whoever runs callveil. When that is root, who could undo a seal from inside, as the
 * one who became root: --user, else who called sudo or pkexec, else the owner of the
 * terminal. The way down is complete and cannot be gone back.
 */
#pragma once

#include "relay/seal/why.h"

/* `name`: of --user, or NULL. Return: 0, or -1 and why. */
int person_become(const char *name, char why[SEAL_WHY_LEN]);
